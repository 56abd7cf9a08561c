package native

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// Addresses of the process that fakeCore describes: code that belongs to no file, and a stack.
const (
	fakeCode  = 0x10000
	fakeStack = 0x20000
)

// fakeCore writes a core with one executable page that begins with code, and one page of stack that begins with words.
func fakeCore(t *testing.T, machine elf.Machine, code []byte, words ...uint64) *elfcore.Core {
	t.Helper()
	const page, headers, phdrSize = 4096, 64 + 2*56, 56
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	le.PutUint16(h[16:], uint16(elf.ET_CORE))
	le.PutUint16(h[18:], uint16(machine))
	le.PutUint64(h[32:], 64)
	le.PutUint16(h[54:], phdrSize)
	le.PutUint16(h[56:], 2)
	for i, seg := range []struct{ addr, flags uint64 }{{fakeCode, 5}, {fakeStack, 6}} {
		h = le.AppendUint32(h, uint32(elf.PT_LOAD))
		h = le.AppendUint32(h, uint32(seg.flags))
		for _, v := range []uint64{headers + uint64(i)*page, seg.addr, 0, page, page, 0} {
			h = le.AppendUint64(h, v)
		}
	}
	body := make([]byte, 2*page)
	copy(body, code)
	for i, w := range words {
		le.PutUint64(body[page+8*i:], w)
	}
	path := filepath.Join(t.TempDir(), "core")
	if err := os.WriteFile(path, append(h, body...), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := elfcore.Open(path, elfcore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func regsAt(machine elf.Machine, pc, sp, fp, lr uint64) Regs {
	r := Regs{Machine: machine}
	r.Set(r.pcIndex(), pc)
	r.Set(r.spIndex(), sp)
	if machine == elf.EM_AARCH64 {
		r.Set(arm64FP, fp)
		r.Set(arm64LR, lr)
	} else {
		r.Set(amd64RBP, fp)
	}
	return r
}

// TestTrampolineByCode recognises the trampolines of musl, of Go and of qemu, and restores every register.
func TestTrampolineByCode(t *testing.T) {
	for name, tc := range map[string]struct {
		machine elf.Machine
		code    []byte
		saved   int // word of the first register
		order   []int
	}{
		"amd64, rax": {elf.EM_X86_64, amd64Sigreturn[0], amd64Saved / 8, amd64SavedOrder},
		"amd64, eax": {elf.EM_X86_64, amd64Sigreturn[1], amd64Saved / 8, amd64SavedOrder},
		"arm64":      {elf.EM_AARCH64, arm64Sigreturn[0], arm64Saved / 8, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.order == nil {
				for i := range numRegs {
					tc.order = append(tc.order, i)
				}
			}
			words := make([]uint64, tc.saved+len(tc.order))
			for i, reg := range tc.order {
				words[tc.saved+i] = 0x1000 + uint64(reg)
			}
			c := fakeCore(t, tc.machine, tc.code, words...)
			m, _ := NewModules(c, elfcore.FindOptions{})
			got, trust, ret, ok := m.Step(regsAt(tc.machine, fakeCode, fakeStack, 0, 0), true, c.Mem.View())
			if !ok || trust != Signal || ret {
				t.Fatalf("ok %v, trust %v, return address %v", ok, trust, ret)
			}
			for _, reg := range tc.order {
				if v, ok := got.Get(reg); !ok || v != 0x1000+uint64(reg) {
					t.Errorf("register %d is %#x %v", reg, v, ok)
				}
			}
		})
	}
}

// TestFramePointers follows the chain where there is no better information, and stops where it makes no sense.
func TestFramePointers(t *testing.T) {
	for _, machine := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
		// Two frames; the outer one has no caller.
		c := fakeCore(t, machine, nil, fakeStack+32, fakeCode+0x100, 0, 0, 0, fakeCode+0x200)
		m, _ := NewModules(c, elfcore.FindOptions{})
		s := m.Unwind(regsAt(machine, fakeCode+0x10, fakeStack, fakeStack, 0), c.Mem.View(), Options{})
		if len(s.Frames) != 3 || s.Frames[1].PC != fakeCode+0x100 || s.Frames[2].PC != fakeCode+0x200 || s.Frames[2].Trust != FramePointer {
			t.Fatalf("%v: frames %+v", machine, s.Frames)
		}
		if s.Gap == nil || !strings.Contains(s.Gap.Why, "belongs to no file") {
			t.Errorf("%v: gap %v", machine, s.Gap)
		}
	}
	for name, words := range map[string][]uint64{
		"points at itself":           {fakeStack, fakeCode + 0x100},
		"points down":                {fakeStack - 8, fakeCode + 0x100},
		"return address is no code":  {fakeStack + 32, fakeStack},
		"return address is not here": {fakeStack + 32, 0xdead0000},
	} {
		c := fakeCore(t, elf.EM_X86_64, nil, words...)
		m, _ := NewModules(c, elfcore.FindOptions{})
		if s := m.Unwind(regsAt(elf.EM_X86_64, fakeCode, fakeStack, fakeStack, 0), c.Mem.View(), Options{}); len(s.Frames) != 1 || s.Gap == nil {
			t.Errorf("%s: %d frames, gap %v", name, len(s.Frames), s.Gap)
		}
	}
}

// TestJumpAstray finds the caller of a bad function pointer, for the innermost frame only.
func TestJumpAstray(t *testing.T) {
	for _, tc := range []struct {
		machine elf.Machine
		lr      uint64
		words   []uint64
		sp      uint64
	}{
		{elf.EM_X86_64, 0, []uint64{fakeCode + 0x20}, fakeStack + 8},
		{elf.EM_AARCH64, fakeCode + 0x20, nil, fakeStack},
	} {
		c := fakeCore(t, tc.machine, nil, tc.words...)
		m, _ := NewModules(c, elfcore.FindOptions{})
		start := regsAt(tc.machine, 0, fakeStack, 0, tc.lr)
		got, trust, ret, ok := m.Step(start, false, c.Mem.View())
		if !ok || trust != Guess || !ret || got.PC() != fakeCode+0x20 || got.SP() != tc.sp {
			t.Errorf("%v: pc %#x sp %#x, %v %v %v", tc.machine, got.PC(), got.SP(), trust, ret, ok)
		}
		if _, _, _, ok := m.Step(start, true, c.Mem.View()); ok {
			t.Errorf("%v: a return address that is no code is followed", tc.machine)
		}
	}
}

// TestNoProgress holds that a frame that would be its own caller ends the walk.
func TestNoProgress(t *testing.T) {
	a, b := regsAt(elf.EM_AARCH64, 1, 100, 0, 0), regsAt(elf.EM_AARCH64, 2, 100, 0, 0)
	if !progress(&a, &b) {
		t.Error("a leaf of arm64 has no frame")
	}
	if progress(&a, &a) {
		t.Error("the same frame again")
	}
	down := regsAt(elf.EM_AARCH64, 2, 99, 0, 0)
	if progress(&a, &down) {
		t.Error("the stack grows down")
	}
}

// TestReturnAddressLookup holds that a call at the very end of a function is looked up in that function.
func TestReturnAddressLookup(t *testing.T) {
	s := state{regs: regsAt(elf.EM_X86_64, 0x1000, 0, 0, 0)}
	if s.lookup() != 0x1000 {
		t.Error("an instruction that runs is looked up where it is")
	}
	s.ret = true
	if s.lookup() != 0xfff {
		t.Error("a return address belongs to the call before it")
	}
}

func TestFromThread(t *testing.T) {
	words := make([]uint64, 34)
	for i := range words {
		words[i] = uint64(i) + 100
	}
	amd := FromThread(elfcore.NewRegs(elf.EM_X86_64, words))
	// The kernel has rbx at 5, rsp at 19, rip at 16, r15 at 0.
	for reg, want := range map[int]uint64{3: 105, amd64RSP: 119, amd64RA: 116, 15: 100} {
		if v, ok := amd.Get(reg); !ok || v != want {
			t.Errorf("amd64 register %d: %d %v, want %d", reg, v, ok, want)
		}
	}
	arm := FromThread(elfcore.NewRegs(elf.EM_AARCH64, words))
	if arm.PC() != 132 || arm.SP() != 131 || arm.FP() != 129 {
		t.Errorf("arm64: pc %d sp %d fp %d", arm.PC(), arm.SP(), arm.FP())
	}
	if _, ok := arm.Get(numRegs); ok {
		t.Error("there is no such register")
	}
	arm.forget(5)
	if _, ok := arm.Get(5); ok {
		t.Error("a forgotten register is answered")
	}
}

// TestNotAnImage tells mapped data files from images that are missing.
func TestNotAnImage(t *testing.T) {
	c := fakeCore(t, elf.EM_X86_64, nil)
	mapping := func(path string, start uint64) elfcore.Module {
		return elfcore.Module{Path: path, Mappings: []elfcore.FileMapping{{Start: start, End: start + 0x1000, Path: path}}}
	}
	missing := elfcore.ErrNoFile
	for _, tc := range []struct {
		name string
		mod  elfcore.Module
		err  error
		want bool
	}{
		{"loaded", mapping("/lib/x", fakeCode), nil, true},
		{"the file is no ELF", mapping("/usr/share/locale", 0x900000), elfcore.ErrNotELF, false},
		{"missing, with dumped contents that are no ELF", mapping("/data/db", fakeStack), missing, false},
		{"missing, and not dumped", mapping("/data/db", 0x900000), missing, false},
		{"a device", mapping("/dev/shm/x", fakeCode), missing, false},
		{"the missing program", elfcore.Module{Path: "/srv/app", Exe: true}, missing, true},
	} {
		if got := isImage(c, tc.mod, tc.err); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// TestGapSaysWhy names the module whose file is missing.
func TestGapSaysWhy(t *testing.T) {
	c := fakeCore(t, elf.EM_X86_64, nil)
	why := errors.New("it was deleted")
	m := &Modules{machine: elf.EM_X86_64}
	m.add(elfcore.Module{Path: "/lib/gone.so", Mappings: []elfcore.FileMapping{{Start: fakeCode, End: fakeCode + 0x1000}}}, nil, 0, why, elfcore.FindOptions{})
	s := m.Unwind(regsAt(elf.EM_X86_64, fakeCode+8, fakeStack, 0, 0), c.Mem.View(), Options{})
	if len(s.Frames) != 1 || s.Frames[0].Symbol.Module != "/lib/gone.so" {
		t.Fatalf("frames %+v", s.Frames)
	}
	if s.Gap == nil || !strings.Contains(s.Gap.Why, "/lib/gone.so") || !strings.Contains(s.Gap.Why, "it was deleted") {
		t.Errorf("gap %v", s.Gap)
	}
	if got := m.All()[0].String(); got != "/lib/gone.so (it was deleted)" || m.All()[0].Name() != "gone.so" {
		t.Error(got)
	}
}

func TestTrustNames(t *testing.T) {
	for trust, want := range map[Trust]string{Context: "context", Signal: "signal", CFI: "cfi", FramePointer: "frame pointer", Guess: "guess", 99: "guess"} {
		if trust.String() != want {
			t.Errorf("%d: %s", trust, trust)
		}
	}
}
