package pcln

import (
	"debug/dwarf"
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/fixtures"
)

// The compiler writes the same facts a second time, as DWARF, in other encodings and for other readers: line tables, the tree of
// inlined calls, and call frame information.

var programs = []struct {
	name string
	p    fixtures.Program
}{
	{"go1.26 amd64", fixtures.Program{Scenario: "lockhog-ledger"}},
	{"go1.21 amd64", fixtures.Program{Scenario: "lockhog-ledger", Toolchain: "go1.21.13"}},
	{"go1.26 arm64", fixtures.Program{Scenario: "lockhog-ledger", Env: []string{"GOARCH=arm64"}}},
}

func TestFileLineEqualsGosym(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.p)
			pclntab, err := p.elf.Section(".gopclntab").Data()
			if err != nil {
				t.Fatal(err)
			}
			want, err := gosym.NewTable(nil, gosym.NewLineTable(pclntab, p.tab.Modules[0].Text))
			if err != nil {
				t.Fatal(err)
			}
			compared := 0
			samples(p.tab, func(f Func, pc uint64) {
				file, line, fn := want.PCToLine(pc)
				if fn == nil {
					t.Fatalf("%#x: gosym knows no function, we know %s", pc, f.Name())
				}
				gotFile, gotLine := f.FileLine(pc)
				if fn.Name != f.FullName() || gotFile != file || gotFile != "" && gotLine != line {
					t.Errorf("%#x: %s %s:%d, gosym says %s %s:%d", pc, f.FullName(), gotFile, gotLine, fn.Name, file, line)
				}
				compared++
			})
			if compared < 2000 {
				t.Errorf("only %d pcs were compared", compared)
			}
		})
	}
}

// inlinedCallOf is a DW_TAG_inlined_subroutine.
type inlinedCallOf struct {
	lo, hi uint64
	depth  int // nesting
	name   string
	line   int // of the call, in the caller
}

// inlinedOf reads the tree of inlined calls of a program, sorted by address.
func inlinedOf(t *testing.T, f *elf.File) []inlinedCallOf {
	t.Helper()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	var all []inlinedCallOf
	depth := 0
	r := d.Reader()
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		if e.Tag == dwarf.TagInlinedSubroutine {
			all = append(all, inlinedEntry(t, d, e, depth)...)
		}
		switch {
		case e.Tag == 0:
			depth--
		case e.Children:
			depth++
		}
	}
	sort.SliceStable(all, func(i, k int) bool { return all[i].lo < all[k].lo })
	return all
}

func inlinedEntry(t *testing.T, d *dwarf.Data, e *dwarf.Entry, depth int) []inlinedCallOf {
	origin := d.Reader()
	origin.Seek(e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset))
	what, err := origin.Next()
	if err != nil {
		t.Fatal(err)
	}
	name, _ := what.Val(dwarf.AttrName).(string)
	line, _ := e.Val(dwarf.AttrCallLine).(int64)
	ranges, err := d.Ranges(e)
	if err != nil {
		t.Fatal(err)
	}
	var calls []inlinedCallOf
	for _, r := range ranges {
		calls = append(calls, inlinedCallOf{r[0], r[1], depth, printName(name), int(line)})
	}
	return calls
}

// at gives the inlined calls that hold pc, innermost first.
func at(all []inlinedCallOf, pc uint64) []inlinedCallOf {
	var found []inlinedCallOf
	end := sort.Search(len(all), func(i int) bool { return all[i].lo > pc })
	const reach = 4096 // more than the ranges of one function
	for i := end - 1; i >= 0 && i > end-reach; i-- {
		if pc < all[i].hi {
			found = append(found, all[i])
		}
	}
	slices.SortStableFunc(found, func(a, b inlinedCallOf) int { return b.depth - a.depth })
	return found
}

func TestCallsEqualDWARF(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.p)
			all := inlinedOf(t, p.elf)
			compared, nested := 0, 0
			samples(p.tab, func(f Func, pc uint64) {
				want := at(all, pc)
				if len(want) == 0 {
					return
				}
				got := f.Calls(pc)
				compared++
				if len(want) > 1 {
					nested++
				}
				if gotText, wantText := callsText(got), inlinedText(want); gotText != wantText {
					t.Errorf("%#x in %s: %s, DWARF says %s", pc, f.Name(), gotText, wantText)
				}
			})
			if compared < 1000 || nested < 100 {
				t.Errorf("only %d pcs were compared, %d of them nested", compared, nested)
			}
		})
	}
}

// callsText gives the inlined calls with the lines at which they were called.
func callsText(calls []Call) string {
	var s strings.Builder
	for i, c := range calls {
		if c.Inlined != (i+1 < len(calls)) {
			return fmt.Sprintf("flag Inlined is wrong: %+v", calls)
		}
		if c.Inlined {
			fmt.Fprintf(&s, "%s called at line %d; ", c.Function, calls[i+1].Line)
		}
	}
	return s.String()
}

func inlinedText(want []inlinedCallOf) string {
	var s strings.Builder
	for _, c := range want {
		fmt.Fprintf(&s, "%s called at line %d; ", c.name, c.line)
	}
	return s.String()
}

// EachInlined must list, in order, just the code for which Calls gives inlined calls, and the same ones.
func TestEachInlinedEqualsCalls(t *testing.T) {
	p := load(t, programs[0].p)
	runs := 0
	p.tab.All(func(f Func) bool {
		next := f.Entry
		f.EachInlined(func(lo, hi uint64, calls []Inlined) {
			if lo < next || hi <= lo {
				t.Errorf("%s: run %#x to %#x after %#x", f.Name(), lo, hi, next)
			}
			checkPlain(t, f, next, lo)
			next = hi
			for _, pc := range []uint64{lo, hi - 1} {
				compareInlined(t, f, pc, calls)
			}
			runs++
		})
		checkPlain(t, f, next, f.End)
		return true
	})
	if runs < 1000 {
		t.Errorf("only %d runs", runs)
	}
}

func checkPlain(t *testing.T, f Func, lo, hi uint64) {
	if lo < hi && (len(f.Calls(lo)) != 1 || len(f.Calls(hi-1)) != 1) {
		t.Errorf("%s: %#x to %#x has inlined calls that EachInlined left out", f.Name(), lo, hi)
	}
}

func compareInlined(t *testing.T, f Func, pc uint64, calls []Inlined) {
	got := f.Calls(pc)
	if len(got) != len(calls)+1 {
		t.Errorf("%s at %#x: %d inlined calls, Calls has %d", f.Name(), pc, len(calls), len(got)-1)
		return
	}
	for i, c := range calls {
		if c.Function != got[i].Function || c.Call < f.Entry || c.Call >= f.End {
			t.Errorf("%s at %#x: %s called at %#x, Calls has %s", f.Name(), pc, c.Function, c.Call, got[i].Function)
		}
	}
}

// Call frame information as Go's linker writes it (cmd/link/internal/ld/dwarf.go, writeframes; DWARF 4, section 6.4).
const (
	cfaAdvance1  = 0x02
	cfaAdvance2  = 0x03
	cfaAdvance4  = 0x04
	cfaUndefined = 0x07
	cfaSame      = 0x08
	cfaSaved     = 0x11 // DW_CFA_offset_extended_sf
	cfaDefOffset = 0x13 // DW_CFA_def_cfa_offset_sf
	cfaAdvance   = 0x40
	dataAlign    = -4
)

// eachCFA visits the runs of code of .debug_frame and the distance from SP to the CFA.
func eachCFA(t *testing.T, data []byte, visit func(lo, hi uint64, cfa int64)) {
	t.Helper()
	for len(data) >= 20 {
		n := binary.LittleEndian.Uint32(data)
		block := data[4 : 4+n]
		data = data[4+n:]
		if binary.LittleEndian.Uint32(block) == 1<<32-1 {
			continue // a CIE
		}
		pc := binary.LittleEndian.Uint64(block[4:])
		end := pc + binary.LittleEndian.Uint64(block[12:])
		runCFA(t, block[20:], pc, end, visit)
	}
}

func runCFA(t *testing.T, code []byte, pc, end uint64, visit func(lo, hi uint64, cfa int64)) {
	cfa, set := int64(0), false
	advance := func(n uint64) { // in bytes: the code alignment factor is 1
		if set {
			visit(pc, min(pc+n, end), cfa)
		}
		pc += n
	}
	for len(code) > 0 {
		op := code[0]
		code = code[1:]
		switch {
		case op == 0: // padding
		case op&0xc0 == cfaAdvance:
			advance(uint64(op & 0x3f))
		case op == cfaAdvance1:
			advance(uint64(code[0]))
			code = code[1:]
		case op == cfaAdvance2:
			advance(uint64(binary.LittleEndian.Uint16(code)))
			code = code[2:]
		case op == cfaAdvance4:
			advance(uint64(binary.LittleEndian.Uint32(code)))
			code = code[4:]
		case op == cfaDefOffset:
			v, n := sleb(code)
			cfa, set, code = v*dataAlign, true, code[n:]
		case op == cfaSaved:
			_, n := sleb(code[1:]) // after the register
			code = code[1+n:]
		case op == cfaSame, op == cfaUndefined:
			code = code[1:] // the register
		default:
			t.Fatalf("unknown operation %#x at %#x", op, pc)
		}
	}
}

func sleb(b []byte) (v int64, n int) {
	for shift := uint(0); ; shift += 7 {
		c := b[n]
		n++
		v |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v, n
		}
	}
}

func TestSPDeltaEqualsCallFrames(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.p)
			data, err := p.elf.Section(".debug_frame").Data()
			if err != nil {
				t.Fatal(err)
			}
			quantum, ret := uint64(4), int64(0)
			if p.elf.Machine == elf.EM_X86_64 {
				quantum, ret = 1, 8 // the CFA lies above the return address
			}
			runs := 0
			eachCFA(t, data, func(lo, hi uint64, cfa int64) {
				f, ok := p.tab.Find(lo)
				if !ok || hi <= lo {
					return
				}
				for _, pc := range []uint64{lo, (hi - 1) &^ (quantum - 1)} {
					got, ok := f.SPDelta(pc)
					if !ok || int64(got)+ret != cfa {
						t.Errorf("%s at %#x: %d, %v, want %d", f.Name(), pc, got, ok, cfa-ret)
					}
				}
				runs++
			})
			if runs < 2000 {
				t.Errorf("only %d runs were compared", runs)
			}
		})
	}
}
