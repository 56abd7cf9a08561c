package pcln

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	_ "unsafe" // for the link to the runtime's own variable

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/fixtures"
)

// lastmoduledatap points to the moduledata of this very test; there is only one.
//
//go:linkname lastmoduledatap runtime.lastmoduledatap
var lastmoduledatap uintptr

// files is memory that an io.ReaderAt holds at some addresses.
type files []struct {
	lo, size uint64
	from     io.ReaderAt
	off      uint64
}

func (m files) Bytes(addr, n uint64) ([]byte, bool) {
	for _, p := range m {
		if addr >= p.lo && addr-p.lo <= p.size && n <= p.size-(addr-p.lo) {
			b := make([]byte, n)
			_, err := p.from.ReadAt(b, int64(p.off+addr-p.lo))
			return b, err == nil
		}
	}
	return nil, false
}

// ownTable reads the tables of this test process, out of its own memory.
func ownTable(t testing.TB) *Table {
	t.Helper()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "/proc/self/mem", For: "comparing with the runtime's own answers"})
	}
	t.Cleanup(func() { mem.Close() })
	known, err := layout.For(runtime.Version(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := Load(files{{0, 1 << 62, mem, 0}}, known, uint64(lastmoduledatap))
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// program is an executable on disk and its tables.
type program struct {
	elf *elf.File
	tab *Table
	mem files
	at  uint64 // of the moduledata
	off *layout.Layout
}

// load builds a fixture and reads its tables from the file.
func load(t testing.TB, p fixtures.Program) *program {
	t.Helper()
	exe, err := fixtures.Build(context.Background(), p)
	fixtures.Require(t, err)
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	out := &program{elf: f}
	for _, s := range f.Progs {
		if s.Type == elf.PT_LOAD {
			out.mem = append(out.mem, files{{s.Vaddr, s.Filesz, s.ReaderAt, 0}}...)
		}
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	version := ""
	for _, s := range symbols {
		switch s.Name {
		case "runtime.firstmoduledata":
			out.at = s.Value
		case "runtime.buildVersion.str":
			b, _ := out.mem.Bytes(s.Value, s.Size)
			version = string(b)
		}
	}
	if out.off, err = layout.FromELF(f, version); err != nil {
		t.Fatal(err)
	}
	if out.tab, err = Load(out.mem, out.off, out.at); err != nil {
		t.Fatal(err)
	}
	return out
}

// samples visits some thousand pcs, spread over all functions: their first and last bytes, and some in between.
func samples(tab *Table, visit func(f Func, pc uint64)) {
	tab.All(func(f Func) bool {
		stride := uint64(61) // a prime, so that it meets all parts of the code
		if f.m.quantum > 1 {
			stride = 7 * f.m.quantum
		}
		for pc := f.Entry; pc < f.End; pc += stride {
			visit(f, pc)
		}
		return true
	})
}

// The runtime of this process answers for the same tables.
func TestInnermostCallEqualsRuntime(t *testing.T) {
	tab := ownTable(t)
	compared := 0
	samples(tab, func(f Func, pc uint64) {
		if pc == f.End-1 || f.u32(funcNameOff) == 0 {
			return // pc+1 is another function; and the runtime takes the first name of the table for none
		}
		want, _ := runtime.CallersFrames([]uintptr{uintptr(pc + 1)}).Next() // taken for a return address: it looks at pc
		got := f.Calls(pc)[0]
		if want.File == "?" {
			want.File = "" // padding behind the last instruction
		}
		if got.Function != want.Function || got.File != want.File || got.Line != want.Line {
			t.Errorf("%#x: %s %s:%d, the runtime says %s %s:%d", pc, got.Function, got.File, got.Line, want.Function, want.File, want.Line)
		}
		compared++
	})
	if compared < 2000 {
		t.Errorf("only %d pcs were compared", compared)
	}
}

func TestFindEqualsRuntime(t *testing.T) {
	tab := ownTable(t)
	compared := 0
	tab.All(func(f Func) bool {
		want := runtime.FuncForPC(uintptr(f.Entry))
		if want == nil {
			t.Errorf("%#x (%s): the runtime knows no function", f.Entry, f.Name())
			return true
		}
		for _, pc := range []uint64{f.Entry, f.End - 1} {
			got, ok := tab.Find(pc)
			if !ok || got.Entry != f.Entry || got.End != f.End {
				t.Errorf("Find(%#x) = %#x to %#x, %v; it lies in %s, %#x to %#x", pc, got.Entry, got.End, ok, f.Name(), f.Entry, f.End)
			}
		}
		if got := f.Calls(f.Entry); want.Name() != "" && uint64(want.Entry()) == f.Entry && got[0].Function != want.Name() && got[len(got)-1].Function != want.Name() {
			t.Errorf("%#x: %+v, the runtime says %s", f.Entry, got, want.Name())
		}
		compared++
		return true
	})
	if compared < 1000 {
		t.Errorf("only %d functions were compared", compared)
	}
}

func TestLookupFindsExactNames(t *testing.T) {
	tab := ownTable(t)
	got := tab.Lookup("runtime.gopark", "runtime.main", "runtime.noSuchFunction", "runtime.gopar")
	if len(got) != 2 || got["runtime.gopark"].FullName() != "runtime.gopark" || !got["runtime.main"].Valid() {
		t.Errorf("found %v", got)
	}
	if (Func{}).Valid() {
		t.Error("the zero Func is none")
	}
	if f := got["runtime.gopark"]; f.StartLine() == 0 || f.Flag()&FlagTopFrame != 0 {
		t.Errorf("gopark: line %d, flags %#x", f.StartLine(), f.Flag())
	}
	if f := tab.Lookup("runtime.goexit")["runtime.goexit"]; !f.Valid() || f.Flag()&FlagTopFrame == 0 {
		t.Error("goexit is the outermost frame of a goroutine")
	}
}

func TestFindOutside(t *testing.T) {
	tab := ownTable(t)
	m := tab.Modules[0]
	for _, pc := range []uint64{0, 1, m.MinPC - 1, m.MaxPC, m.MaxPC + 1<<32, ^uint64(0)} {
		if f, ok := tab.Find(pc); ok {
			t.Errorf("Find(%#x) = %s", pc, f.Name())
		}
	}
}

func TestPrintName(t *testing.T) {
	for in, want := range map[string]string{
		"main.f":                            "main.f",
		"main.F[int]":                       "main.F[...]",
		"main.F[go.shape.[]int].func1":      "main.F[...].func1",
		"main.(*T[go.shape.int_0]).M":       "main.(*T[...]).M",
		"main.F[main.G[int],string].func2":  "main.F[...].func2",
		"main.odd[":                         "main.odd[",
		"]main.odd":                         "]main.odd",
		"main.odd]x[":                       "main.odd]x[",
		"":                                  "",
		"go.shape.struct { main.x [3]int }": "go.shape.struct { main.x [...]int }",
	} {
		if got := printName(in); got != want {
			t.Errorf("printName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestVarint(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		v    uint32
		size int
	}{
		{nil, 0, 0},
		{[]byte{0x80}, 0, 0},
		{[]byte{0x80, 0x80, 0x80, 0x80, 0x80}, 0, 0},
		{[]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 0, 0},
		{[]byte{0x00}, 0, 1},
		{[]byte{0x7f, 0x01}, 127, 1},
		{[]byte{0xac, 0x02}, 300, 2},
		{[]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, 1<<32 - 1, 5},
	} {
		if v, n := varint(c.in); v != c.v || n != c.size {
			t.Errorf("varint(%x) = %d in %d bytes, want %d in %d", c.in, v, n, c.v, c.size)
		}
	}
	for uv, want := range map[uint32]int32{0: 0, 1: -1, 2: 1, 3: -2, 1<<32 - 1: -1 << 31, 1<<32 - 2: 1<<31 - 1} {
		if got := zigzag(uv); got != want {
			t.Errorf("zigzag(%d) = %d, want %d", uv, got, want)
		}
	}
}

// overlay is memory with some bytes changed.
type overlay struct {
	Memory
	words map[uint64]uint64
}

func (o overlay) Bytes(addr, n uint64) ([]byte, bool) {
	b, ok := o.Memory.Bytes(addr, n)
	for at, v := range o.words {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], v)
		for i, x := range w {
			if k := at + uint64(i) - addr; ok && k < n {
				b[k] = x
			}
		}
	}
	return b, ok
}

// offsets maps paths to places; absent ones are not in the layout.
type offsets map[string]uint64

func (o offsets) Offset(path string) (uint64, bool) {
	v, ok := o[path]
	return v, ok
}

func TestLoadRefuses(t *testing.T) {
	p := load(t, fixtures.Program{Scenario: "lockhog-ledger"})
	field := func(name string) uint64 {
		off, ok := p.off.Offset("runtime.moduledata." + name)
		if !ok {
			t.Fatalf("no field %s", name)
		}
		return p.at + off
	}
	header, _ := word(p.mem, field("pcHeader"))
	text, _ := word(p.mem, field("text"))
	for _, c := range []struct {
		name  string
		words map[uint64]uint64
		want  string
	}{
		{"header nowhere", map[uint64]uint64{field("pcHeader"): 0x10}, "is not in memory"},
		{"magic of Go 1.16", map[uint64]uint64{header: 0x08010000fffffffa}, "has magic 0xfffffffa"},
		{"32-bit", map[uint64]uint64{header: 0x04010000fffffff1}, "pointer size 4"},
		{"quantum 0", map[uint64]uint64{header: 0x08000000fffffff1}, "text"},
		{"another count", map[uint64]uint64{header + 8: 17}, "counts 17 functions"},
		{"no functions", map[uint64]uint64{field("ftab") + 8: 0}, "the module -1"},
		{"text ends before it begins", map[uint64]uint64{field("etext"): text - 1}, "does not hold"},
		{"huge table", map[uint64]uint64{field("pctab") + 8: 1 << 60}, "field pctab: bad slice header"},
		{"table beyond memory", map[uint64]uint64{field("funcnametab"): 1 << 50}, "field funcnametab"},
		{"a million sections", map[uint64]uint64{field("textsectmap"): text, field("textsectmap") + 8: 1 << 14}, "sections of text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(overlay{p.mem, c.words}, p.off, p.at)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestLoadWithoutModules(t *testing.T) {
	p := load(t, fixtures.Program{Scenario: "lockhog-ledger"})
	if _, err := Load(p.mem, p.off, 0); err == nil || !strings.Contains(err.Error(), "no module data") {
		t.Errorf("address 0: %v", err)
	}
	if _, err := Load(p.mem, p.off, 1<<40); err == nil {
		t.Error("an address outside of memory is no module data")
	}
	if _, err := Load(p.mem, offsets{}, p.at); err == nil || !strings.Contains(err.Error(), "runtime.moduledata.next") {
		t.Errorf("empty layout: %v", err)
	}
	if _, err := Load(p.mem, offsets{"runtime.moduledata.next": 8}, p.at); err == nil || !strings.Contains(err.Error(), "has no field pcHeader") {
		t.Errorf("layout with one field: %v", err)
	}
}

// A list of modules may be damaged behind the program itself, or run in a circle.
func TestLoadModuleList(t *testing.T) {
	p := load(t, fixtures.Program{Scenario: "lockhog-ledger"})
	off, _ := p.off.Offset("runtime.moduledata.next")
	for name, next := range map[string]uint64{"circle": p.at, "garbage": p.at + 24, "nowhere": 1 << 50} {
		tab, err := Load(overlay{p.mem, map[uint64]uint64{p.at + off: next}}, p.off, p.at)
		if err != nil || len(tab.Modules) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Text may consist of sections with gaps between them (runtime/symtab.go, textAddr).
func TestSections(t *testing.T) {
	m := &Module{Text: 0x1000, sections: []section{{0, 0x100, 0x1000}, {0x100, 0x300, 0x9000}}}
	for off, want := range map[uint32]uint64{0: 0x1000, 0xff: 0x10ff, 0x100: 0x9000, 0x2ff: 0x91ff, 0x300: 0x9200} {
		if got := m.address(off); got != want {
			t.Errorf("address(%#x) = %#x, want %#x", off, got, want)
		}
		if got, ok := m.offset(want); off < 0x300 && (!ok || got != off) {
			t.Errorf("offset(%#x) = %#x, %v, want %#x", want, got, ok, off)
		}
	}
	for _, pc := range []uint64{0xfff, 0x1100, 0x8fff, 0x9200} {
		if off, ok := m.offset(pc); ok {
			t.Errorf("offset(%#x) = %#x, but it lies in no section", pc, off)
		}
	}
	one := &Module{Text: 0x1000}
	if got, ok := one.offset(0x1234); !ok || got != 0x234 {
		t.Errorf("one section: %#x, %v", got, ok)
	}
	if _, ok := one.offset(0xfff); ok {
		t.Error("an address before text has no offset")
	}
}

// Two sections that a module declares must give the same functions as none.
func TestModuleWithSections(t *testing.T) {
	p := load(t, fixtures.Program{Scenario: "lockhog-ledger"})
	split := *p.tab.Modules[0]
	size := split.EText - split.Text
	split.sections = []section{{0, size / 2, split.Text}, {size / 2, size, split.Text + size/2}}
	two := &Table{mem: p.mem, Modules: []*Module{&split}}
	samples(p.tab, func(f Func, pc uint64) {
		if got, ok := two.Find(pc); !ok || got.Entry != f.Entry || got.End != f.End {
			t.Errorf("%#x: %#x to %#x, %v, want %s", pc, got.Entry, got.End, ok, f.Name())
		}
	})
}
