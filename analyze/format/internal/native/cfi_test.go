package native

import (
	"debug/elf"
	"errors"
	"strings"
	"testing"
)

// fakeMemory is a few words of memory.
type fakeMemory map[uint64]uint64

func (m fakeMemory) Bytes(addr, n uint64) ([]byte, bool) {
	v, ok := m[addr]
	if !ok || n > 8 {
		return nil, false
	}
	return le.AppendUint64(nil, v)[:n], true
}

// ehFrame builds .eh_frame at address base with one CIE and one FDE for lo to lo+size.
func ehFrame(base uint64, aug string, cieProgram []byte, lo, size uint64, program []byte) []byte {
	body := append([]byte{0, 0, 0, 0, 1}, aug...)
	body = append(body, 0, 1, 0x78, 16) // end of the augmentation, code align 1, data align -8, return address in 16
	if strings.HasPrefix(aug, "z") {
		body = append(body, 1, pePCRel|peS4)
	}
	body = pad(append(body, cieProgram...))
	out := append(le.AppendUint32(nil, uint32(len(body))), body...)
	fdeAt := len(out)
	body = le.AppendUint32(nil, uint32(fdeAt+4)) // distance back to the CIE
	body = le.AppendUint32(body, uint32(lo-(base+uint64(fdeAt)+8)))
	body = le.AppendUint32(body, uint32(size))
	body = append(body, 0) // no augmentation data
	body = pad(append(body, program...))
	out = append(append(out, le.AppendUint32(nil, uint32(len(body)))...), body...)
	return le.AppendUint32(out, 0)
}

// pad fills up with DW_CFA_nop.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, cfaNop)
	}
	return b
}

// usual is the state at a function's first instruction on amd64: CFA = rsp + 8, return address at CFA - 8.
var usual = []byte{cfaDef, 7, 8, cfaOffset | 16, 1}

func amd64Regs(rsp, rbp, rip uint64) *Regs {
	r := &Regs{Machine: elf.EM_X86_64}
	r.Set(amd64RSP, rsp)
	r.Set(amd64RBP, rbp)
	r.Set(amd64RA, rip)
	r.Set(3, 0x333) // rbx
	return r
}

// TestPrograms runs call frame instructions and looks at the caller they give.
func TestPrograms(t *testing.T) {
	mem := fakeMemory{0x1000: 0xaaaa, 0x1008: 0xbbbb, 0x1010: 0xcccc, 0x1018: 0xdddd, 0x2000: 0x1000}
	for _, tc := range []struct {
		name    string
		program []byte
		at      uint64 // offset in the function
		sp, pc  uint64 // of the caller
		rbx     uint64 // 0: not known
	}{
		{"at the start", nil, 0, 0x1008, 0xaaaa, 0x333},
		{"pushed rbp and rbx", []byte{cfaAdvance | 1, cfaDefOffset, 16, cfaAdvance | 1, cfaDefOffset, 24, cfaOffset | 3, 3}, 5, 0x1018, 0xcccc, 0xaaaa},
		{"an advance that is not reached", []byte{cfaAdvance | 9, cfaDefOffset, 16}, 8, 0x1008, 0xaaaa, 0x333},
		{"an advance that is just reached", []byte{cfaAdvance | 9, cfaDefOffset, 16}, 9, 0x1010, 0xbbbb, 0x333},
		{"wide advances", []byte{cfaAdvance1, 1, cfaAdvance2, 1, 0, cfaAdvance4, 1, 0, 0, 0, cfaDefOffset, 16}, 3, 0x1010, 0xbbbb, 0x333},
		{"frame pointer", []byte{cfaDefRegister, 6, cfaDefOffset, 16}, 0, 0x1018, 0xcccc, 0x333},
		{"remember and restore", []byte{cfaRemember, cfaDefOffset, 32, cfaOffset | 3, 2, cfaRestoreState}, 0, 0x1008, 0xaaaa, 0x333},
		{"restore of one register", []byte{cfaOffset | 3, 1, cfaRestore | 3}, 0, 0x1008, 0xaaaa, 0x333},
		{"restore, long form", []byte{cfaOffsetExt, 3, 1, cfaRestoreExt, 3}, 0, 0x1008, 0xaaaa, 0x333},
		{"undefined", []byte{cfaUndefined, 3}, 0, 0x1008, 0xaaaa, 0},
		{"same value", []byte{cfaUndefined, 3, cfaSameValue, 3}, 0, 0x1008, 0xaaaa, 0x333},
		{"in another register", []byte{cfaRegister, 3, 6}, 0, 0x1008, 0xaaaa, 0x1008},
		{"value offset", []byte{cfaValOffset, 3, 1}, 0, 0x1008, 0xaaaa, 0x1000},
		{"value offset, signed", []byte{cfaValOffsetSF, 3, 0x7f}, 0, 0x1008, 0xaaaa, 0x1010},
		{"offset, signed", []byte{cfaOffsetExtSF, 3, 0x7f}, 0, 0x1008, 0xaaaa, 0xcccc},
		{"negative offset of gcc", []byte{cfaNegOffsetExt, 3, 1}, 0, 0x1008, 0xaaaa, 0xcccc},
		{"expression", []byte{cfaExpr, 3, 2, opLit0 + 8, opPlus}, 0, 0x1008, 0xaaaa, 0xcccc},
		{"value expression", []byte{cfaValExpr, 3, 2, opLit0 + 8, opPlus}, 0, 0x1008, 0xaaaa, 0x1010},
		{"CFA by expression", []byte{cfaDefExpr, 3, opBreg0 + 7, 16, opNop}, 0, 0x1010, 0xbbbb, 0x333},
		{"signed CFA", []byte{cfaDefSF, 7, 0x7e}, 0, 0x1010, 0xbbbb, 0x333},
		{"signed CFA offset", []byte{cfaDefOffsetSF, 0x7e}, 0, 0x1010, 0xbbbb, 0x333},
		{"vector registers are ignored", []byte{cfaOffsetExt, 60, 1, cfaArgsSize, 16}, 0, 0x1008, 0xaaaa, 0x333},
		{"a register whose place is absent", []byte{cfaOffset | 3, 60}, 0, 0x1008, 0xaaaa, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const lo = 0x5000
			f := &frames{data: ehFrame(0x4000, "zR", usual, lo, 16, tc.program), addr: 0x4000, eh: true}
			f.build()
			d := f.find(lo + tc.at)
			if d == nil || d.lo != lo || d.hi != lo+16 {
				t.Fatalf("FDE %+v", d)
			}
			r, err := d.rowAt(lo + tc.at)
			if err != nil {
				t.Fatal(err)
			}
			got, end, err := r.apply(amd64Regs(0x1000, 0x1008, lo), d.cie.raReg, mem, 0)
			if err != nil || end {
				t.Fatalf("end %v, %v", end, err)
			}
			rbx, _ := got.Get(3)
			if got.SP() != tc.sp || got.PC() != tc.pc || rbx != tc.rbx {
				t.Errorf("sp %#x pc %#x rbx %#x, want %#x %#x %#x", got.SP(), got.PC(), rbx, tc.sp, tc.pc, tc.rbx)
			}
		})
	}
}

// TestBrokenPrograms lists instructions that are refused.
func TestBrokenPrograms(t *testing.T) {
	many := make([]byte, maxRemembered+1)
	for i := range many {
		many[i] = cfaRemember
	}
	for name, program := range map[string][]byte{
		"unknown":                  {0x3f, 0, 0, 0},
		"restore without remember": {cfaRestoreState},
		"too many remembered":      many,
		"a block beyond the end":   {cfaDefExpr, 0xff, 0x7f},
	} {
		f := &frames{data: ehFrame(0x4000, "zR", usual, 0x5000, 16, program), addr: 0x4000, eh: true}
		f.build()
		d := f.find(0x5000)
		if d == nil {
			t.Fatalf("%s: no FDE", name)
		}
		if _, err := d.rowAt(0x5000); !errors.Is(err, errCFI) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutermost(t *testing.T) {
	f := &frames{data: ehFrame(0x4000, "zR", append([]byte{cfaUndefined, 16}, usual[:3]...), 0x5000, 16, nil), addr: 0x4000, eh: true}
	f.build()
	r, err := f.find(0x5000).rowAt(0x5000)
	if err != nil {
		t.Fatal(err)
	}
	if _, end, err := r.apply(amd64Regs(0x1000, 0, 0), 16, fakeMemory{}, 0); !end || err != nil {
		t.Errorf("end %v, %v", end, err)
	}
}

func TestSignedReturnAddress(t *testing.T) {
	program := []byte{cfaDef, 31, 16, cfaOffset | 30, 1, cfaNegateRA}
	f := &frames{data: ehFrame(0x4000, "zR", program, 0x5000, 16, nil), addr: 0x4000, eh: true}
	f.build()
	r, err := f.find(0x5000).rowAt(0x5000)
	if err != nil {
		t.Fatal(err)
	}
	regs := &Regs{Machine: elf.EM_AARCH64}
	regs.Set(arm64SP, 0x1000)
	got, _, err := r.apply(regs, arm64LR, fakeMemory{0x1008: 0x00ab_ffff_1234_5678}, 0)
	if err != nil || got.PC() != 0xffff_1234_5678 || got.SP() != 0x1010 {
		t.Errorf("pc %#x sp %#x, %v", got.PC(), got.SP(), err)
	}
}

func TestAugmentations(t *testing.T) {
	f := &frames{data: ehFrame(0x4000, "zRS", usual, 0x5000, 16, nil), addr: 0x4000, eh: true}
	f.build()
	if d := f.find(0x5000); d == nil || !d.cie.signal {
		t.Errorf("signal frame: %+v", d)
	}
	for _, aug := range []string{"eh", "xyz"} {
		f := &frames{data: ehFrame(0x4000, aug, usual, 0x5000, 16, nil), addr: 0x4000, eh: true}
		if f.build(); len(f.index) != 0 {
			t.Errorf("augmentation %q is accepted", aug)
		}
	}
}

func TestEhFrameHdr(t *testing.T) {
	head := []byte{1, pePCRel | peS4, peU4, peDataRel | peS4}
	head = le.AppendUint32(head, 0x100) // .eh_frame is 0x100 behind this word
	head = le.AppendUint32(head, 2)
	for _, v := range []int32{-0x1000, 0x104, 0x2000, 0x120} {
		head = le.AppendUint32(head, uint32(v))
	}
	h, ok := parseHeader(head, 0x10000)
	if !ok || h.eh != 0x10104 {
		t.Fatalf("%+v %v", h, ok)
	}
	for addr, want := range map[uint64]uint64{0xf000: 0x10104, 0x11fff: 0x10104, 0x12000: 0x10120, 0x90000: 0x10120} {
		if got, ok := h.find(addr); !ok || got != want {
			t.Errorf("%#x: %#x %v, want %#x", addr, got, ok, want)
		}
	}
	if _, ok := h.find(0x100); ok {
		t.Error("an address before the first is found")
	}
	if _, ok := parseHeader(head[:20], 0x10000); ok {
		t.Error("a table that is cut off is used")
	}
	head[3] = peAbsptr
	if h, ok := parseHeader(head, 0x10000); ok || h.eh == 0 {
		t.Error("a table in another encoding is searched, or .eh_frame is lost")
	}
}

func TestExpressions(t *testing.T) {
	regs := amd64Regs(0x1000, 0x2000, 0)
	mem := fakeMemory{0x1010: 0x1122334455667788}
	for _, tc := range []struct {
		name    string
		program []byte
		want    uint64
	}{
		{"literal", []byte{opLit0 + 31}, 31},
		{"constants", []byte{opConst1u, 0xff, opConst1s, 0xff, opPlus, opConst2u, 2, 0, opPlus, opConst4u, 1, 0, 0, 0, opPlus}, 0x101},
		{"signed LEB", []byte{opConsts, 0x7f}, ^uint64(0)},
		{"register and load", []byte{opBreg0 + 7, 16, opDeref}, 0x1122334455667788},
		{"load of two bytes", []byte{opBregx, 7, 16, opDerefSize, 2}, 0x7788},
		{"stack", []byte{opLit0 + 1, opLit0 + 2, opOver, opSwap, opMinus}, ^uint64(0)},
		{"rot", []byte{opLit0 + 1, opLit0 + 2, opLit0 + 3, opRot, opDrop, opDrop}, 3},
		{"division rounds to zero", []byte{opConst1s, 0xf9, opLit0 + 2, opDiv}, ^uint64(2)},
		{"branch taken", []byte{opLit0 + 1, opBra, 1, 0, opLit0 + 9, opLit0 + 5}, 5},
		{"branch not taken", []byte{opLit0, opBra, 1, 0, opLit0 + 9, opLit0 + 5, opPlus}, 14},
		{"comparison is signed", []byte{opConst1s, 0xff, opLit0, opLt}, 1},
		{"the condition of x86's PLT", []byte{opBreg0 + 7, 8, opConst1u, 0x0f, opAnd, opLit0 + 11, opGe}, 0},
	} {
		if got, err := evaluate(tc.program, regs, mem, 0); err != nil || got != tc.want {
			t.Errorf("%s: %#x %v, want %#x", tc.name, got, err, tc.want)
		}
	}
	for name, program := range map[string][]byte{
		"empty":              {},
		"underflow":          {opPlus},
		"division by zero":   {opLit0 + 1, opLit0, opDiv},
		"endless loop":       {opSkip, 0xfd, 0xff},
		"endless stack":      {opLit0, opSkip, 0xfc, 0xff},
		"jump out":           {opSkip, 0x10, 0x10},
		"unknown register":   {opBreg0 + 12, 0},
		"unknown operation":  {0xe0},
		"absent address":     {opLit0, opDeref},
		"cut off":            {opConst8u, 1},
		"load of nine bytes": {opLit0, opDerefSize, 9},
	} {
		if got, err := evaluate(program, regs, mem, 0); !errors.Is(err, errExpr) {
			t.Errorf("%s: %#x %v", name, got, err)
		}
	}
}

func TestLEB(t *testing.T) {
	for _, tc := range []struct {
		in []byte
		u  uint64
		s  int64
	}{{[]byte{0x02}, 2, 2}, {[]byte{0x7f}, 127, -1}, {[]byte{0x80, 0x7f}, 0x3f80, -128}, {[]byte{0xe5, 0x8e, 0x26}, 624485, 624485}} {
		if got := (&reader{b: tc.in}).uleb(); got != tc.u {
			t.Errorf("%x: unsigned %d, want %d", tc.in, got, tc.u)
		}
		if got := (&reader{b: tc.in}).sleb(); got != tc.s {
			t.Errorf("%x: signed %d, want %d", tc.in, got, tc.s)
		}
	}
	r := &reader{b: []byte{0x80, 0x80}}
	if r.uleb(); !r.bad {
		t.Error("a number without an end is accepted")
	}
}

func TestSymbolChoice(t *testing.T) {
	mod := &Module{Path: "/lib/x.so", Bias: 0x1000, symbols: []symbol{
		{addr: 0x10, size: 0x100, name: "_ZN3foo3barEi"},
		{addr: 0x20, name: "label"},
		{addr: 0x200, name: "asm"},
		{addr: 0x300, size: 8, name: "_RNvC6_123foo3bar"},
	}}
	mod.symbolsOnce.Do(func() {})
	m := &Modules{modules: []*Module{mod}, ranges: []moduleRange{{0x1000, 0x2000, mod}}}
	for pc, want := range map[uint64]Symbol{
		0x1010: {Name: "foo::bar(int)", Linker: "_ZN3foo3barEi", Module: "/lib/x.so", Offset: 0},
		0x1028: {Name: "foo::bar(int)", Linker: "_ZN3foo3barEi", Module: "/lib/x.so", Offset: 0x18},
		0x1204: {Name: "asm", Linker: "asm", Module: "/lib/x.so", Offset: 4},
		0x1304: {Name: "123foo::bar", Linker: "_RNvC6_123foo3bar", Module: "/lib/x.so", Offset: 4},
		0x1308: {Module: "/lib/x.so", Offset: 0x308},
		0x1001: {Module: "/lib/x.so", Offset: 1},
	} {
		if got, ok := m.Symbol(pc); !ok || got != want {
			t.Errorf("%#x: %+v, want %+v", pc, got, want)
		}
	}
	if s, ok := m.Symbol(0x3000); ok || s != (Symbol{}) {
		t.Errorf("outside: %+v", s)
	}
	if rankOf(elf.STT_FUNC, elf.STB_WEAK, "pause") >= rankOf(elf.STT_FUNC, elf.STB_GLOBAL, "__libc_pause") {
		t.Error("pause is the better name")
	}
}

// FuzzFrames holds that no section makes the parser or the interpreter panic or hang.
func FuzzFrames(f *testing.F) {
	f.Add(ehFrame(0x4000, "zR", usual, 0x5000, 16, []byte{cfaAdvance | 1, cfaDefOffset, 16}), true)
	f.Add(ehFrame(0x4000, "zRS", usual, 0x5000, 16, []byte{cfaDefExpr, 3, opBreg0 + 7, 16, opNop}), true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 8, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false)
	f.Fuzz(func(t *testing.T, data []byte, eh bool) {
		s := &frames{data: data, addr: 0x4000, eh: eh}
		s.build()
		for i, e := range s.index {
			if i > 100 {
				break
			}
			d := s.find(e.lo)
			if d == nil {
				continue
			}
			for _, at := range []uint64{d.lo, d.hi - 1} {
				if r, err := d.rowAt(at); err == nil {
					_, _, _ = r.apply(amd64Regs(0x1000, 0x2000, at), d.cie.raReg, fakeMemory{0x1000: 1}, 0)
				}
			}
		}
		parseHeader(data, 0x4000)
	})
}

// FuzzExpression holds the same for expressions.
func FuzzExpression(f *testing.F) {
	f.Add([]byte{opBreg0 + 7, 16, opDeref})
	f.Add([]byte{opLit0, opSkip, 0xfc, 0xff})
	f.Fuzz(func(t *testing.T, program []byte) {
		_, _ = evaluate(program, amd64Regs(0x1000, 0x2000, 0), fakeMemory{0x1000: 0x1008}, 0)
	})
}
