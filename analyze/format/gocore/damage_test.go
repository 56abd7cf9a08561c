package gocore

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// A damaged core gives one clear error, or a partial case whose Gaps name what is missing, and never a wrong stack.

var damagePrograms = []struct {
	name string
	p    fixtures.Program
}{
	{"lockhog-ledger", fixtures.Program{Scenario: "lockhog-ledger"}},
	{"crash-nil-router", fixtures.Program{Scenario: "crash-nil-router"}},
	{"busy-dispatcher", fixtures.Program{Scenario: "busy-dispatcher"}},
	{"go1.22 lockhog-ledger", fixtures.Program{Scenario: "lockhog-ledger", Toolchain: "go1.22.12"}},
	{"PIE stripped", fixtures.Program{Scenario: "lockhog-ledger", Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}},
}

func TestCutCore(t *testing.T) {
	for _, p := range damagePrograms {
		s := newSpecimen(t, p.p)
		for _, percent := range []float64{0.1, 1, 10, 50, 90, 99.9} {
			t.Run(fmt.Sprintf("%s/%g%%", p.name, percent), func(t *testing.T) {
				s.checkCut(t, int64(float64(s.t.core.Size)*percent/100))
			})
		}
	}
}

// The cuts that hurt most go through the runtime's own structures: the list of goroutines, a g, the stacks.
func TestCutCoreInStructures(t *testing.T) {
	for _, p := range damagePrograms {
		s := newSpecimen(t, p.p)
		list, err := s.t.allgs()
		if err != nil {
			t.Fatal(err)
		}
		var places []uint64
		for i := 0; i+8 <= len(list); i += 40 {
			g := le.Uint64(list[i:])
			sp, hi := s.read(t, g+s.t.off.G.SP), s.read(t, g+s.t.off.G.StackHi)
			places = append(places, g+16, sp, (sp+hi)/2, hi-8)
		}
		places = append(places, s.read(t, s.global(t, "runtime.allgs"))+16, s.global(t, "runtime.allgs"), s.read(t, s.global(t, "runtime.allm"))+8)
		for _, addr := range places {
			src, ok := s.t.core.Mem.Source(addr)
			if !ok {
				continue // the bounds of a system stack reach beyond what was dumped
			}
			t.Run(fmt.Sprintf("%s/%#x", p.name, addr), func(t *testing.T) { s.checkCut(t, src.Offset) })
		}
	}
}

// programAt is where in the core the program's own data begins: of a core that is cut before, not even the Go version is known. The
// segments are in the order of addresses, and Go 1.26 may put the heap before a position-independent program.
func (s *specimen) programAt(t *testing.T) int64 {
	src, ok := s.t.core.Mem.Source(s.global(t, "runtime.firstmoduledata"))
	if !ok {
		t.Fatal("the program's data is not in the core")
	}
	return src.Offset
}

// checkCut reads the first size bytes of the core.
func (s *specimen) checkCut(t *testing.T, size int64) {
	path := s.copy(t, size)
	c, err := readDamaged(t, path, format.Options{Executable: s.Exe})
	if err != nil {
		checkError(t, path, err)
		if size > s.t.core.Size/10 && size > s.programAt(t) {
			t.Error(err)
		}
		return
	}
	checkHonest(t, c, s.Text)
	gaps := gapsOf(c)
	if !strings.Contains(gaps, "the core is cut off") {
		t.Errorf("no gap says that the core is cut off:\n%s", gaps)
	}
	if c.Process.PID != s.PID || c.Death == nil || c.Death.Signal == 0 {
		t.Errorf("process %d, death %+v: the notes at the beginning tell both", c.Process.PID, c.Death)
	}
	if n := s.whole.Goroutines().Len(); c.Coverage.GoroutinesUnwound < n && !strings.Contains(gaps, "goroutine") {
		t.Errorf("%d of %d goroutines, and no gap says so:\n%s", c.Coverage.GoroutinesUnwound, n, gaps)
	}
}

// phdr is a program header of the core: where it stands in the file, and what it says.
type phdr struct {
	at int64
	elf.ProgHeader
}

// Fields of Elf64_Phdr.
const (
	phdrOff    = 8
	phdrVaddr  = 16
	phdrFilesz = 32
	phdrMemsz  = 40
)

func (s *specimen) phdrs(t testing.TB) []phdr {
	t.Helper()
	f, err := elf.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const begin, size = 64, 56
	var all []phdr
	for i, p := range f.Progs {
		all = append(all, phdr{begin + int64(i)*size, p.ProgHeader})
	}
	return all
}

func put64(at int64, v uint64) edit { return edit{at, binary.LittleEndian.AppendUint64(nil, v)} }
func put32(at int64, v uint32) edit { return edit{at, binary.LittleEndian.AppendUint32(nil, v)} }

// headerDamage is what may be wrong with the headers and notes of a core.
var headerDamage = []struct {
	name  string
	edits func(t *testing.T, s *specimen) []edit
	want  string // in the error or in the gaps; "|" stands between what will do
	whole bool   // every goroutine must still be there
}{
	{"no PT_NOTE", func(t *testing.T, s *specimen) []edit { return []edit{{s.note(t).at, make([]byte, 56)}} }, "no PT_NOTE", false},
	{"a note of 4 GB", func(t *testing.T, s *specimen) []edit {
		return []edit{put32(int64(s.note(t).Off)+4, 1<<32-1)}
	}, "claims a name of", false},
	{"a PT_NOTE of 4 GB", func(t *testing.T, s *specimen) []edit {
		return []edit{put64(s.note(t).at+phdrFilesz, 1<<32)}
	}, "segment at", true},
	{"a PT_NOTE beyond the end", func(t *testing.T, s *specimen) []edit {
		return []edit{put64(s.note(t).at+phdrOff, 1<<62)}
	}, "notes", false},
	{"p_filesz beyond the end", func(t *testing.T, s *specimen) []edit {
		return eachLoad(t, s, func(p phdr) edit { return put64(p.at+phdrFilesz, 1<<40) })
	}, "cut off|pages differ", false},
	{"p_filesz of all ones", func(t *testing.T, s *specimen) []edit {
		return eachLoad(t, s, func(p phdr) edit { return put64(p.at+phdrFilesz, ^uint64(0)) })
	}, "impossible sizes|pages differ", false},
	{"p_memsz of all ones", func(t *testing.T, s *specimen) []edit {
		return eachLoad(t, s, func(p phdr) edit { return put64(p.at+phdrMemsz, ^uint64(0)) })
	}, "impossible sizes", true},
	{"p_memsz of 0", func(t *testing.T, s *specimen) []edit {
		return eachLoad(t, s, func(p phdr) edit { return put64(p.at+phdrMemsz, 0) })
	}, "no PT_LOAD|no Go build information", false},
	{"all segments at one address", func(t *testing.T, s *specimen) []edit {
		return eachLoad(t, s, func(p phdr) edit { return put64(p.at+phdrVaddr, 0x400000) })
	}, "overlap|pages differ|no Go build information", false},
	{"all segments from one offset", func(t *testing.T, s *specimen) []edit {
		return eachLoad(t, s, func(p phdr) edit { return put64(p.at+phdrOff, 0) })
	}, "", false},
	{"a segment laid over the others", func(t *testing.T, s *specimen) []edit {
		last := s.loads(t)[len(s.loads(t))-1]
		return []edit{put64(last.at+phdrVaddr, s.loads(t)[0].Vaddr), put64(last.at+phdrFilesz, 1<<32), put64(last.at+phdrMemsz, 1<<32)}
	}, "overlap|cut off", false},
	{"program headers beyond the end", func(t *testing.T, s *specimen) []edit { return []edit{put64(32, 1<<50)} }, "program headers", false},
	{"no program headers", func(t *testing.T, s *specimen) []edit { return []edit{{56, []byte{0, 0}}} }, "no PT_LOAD|no Go build information", false},
	{"65535 program headers", func(t *testing.T, s *specimen) []edit { return []edit{{56, []byte{0xfe, 0xff}}} }, "", false},
	{"60000 segments of the same bytes", func(t *testing.T, s *specimen) []edit {
		more := make([]elf.ProgHeader, 60000)
		for i := range more {
			more[i] = elf.ProgHeader{Vaddr: 0x100_0000_0000 + uint64(i)<<26, Filesz: 60 << 20}
		}
		return s.segments(t, s.t.core.Size, more...)
	}, "cut off", false},
	{"a page size of 3", func(t *testing.T, s *specimen) []edit { return s.auxv(t, 6, 3) }, "", true},
	{"a page size of 1 GB", func(t *testing.T, s *specimen) []edit { return s.auxv(t, 6, 1<<30) }, "", true},
	{"an entry point elsewhere", func(t *testing.T, s *specimen) []edit { return s.auxv(t, 9, 0x1234) }, "", true},
	{"another machine", func(t *testing.T, s *specimen) []edit { return []edit{{18, []byte{183, 0}}} }, "EM_AARCH64", false},
	{"big-endian", func(t *testing.T, s *specimen) []edit { return []edit{{5, []byte{2}}} }, "little-endian", false},
	{"32-bit", func(t *testing.T, s *specimen) []edit { return []edit{{4, []byte{1}}} }, "64-bit", false},
}

func TestDamagedHeaders(t *testing.T) {
	for _, p := range damagePrograms {
		s := newSpecimen(t, p.p)
		for _, d := range headerDamage {
			t.Run(p.name+"/"+d.name, func(t *testing.T) {
				path := s.copy(t, s.t.core.Size, d.edits(t, s)...)
				c, err := readDamaged(t, path, format.Options{Executable: s.Exe})
				if err != nil {
					checkError(t, path, err)
					if d.whole || !containsAny(err.Error(), d.want) {
						t.Errorf("%v; want something about %q", err, d.want)
					}
					return
				}
				checkHonest(t, c, s.Text)
				if gaps := gapsOf(c); !containsAny(gaps, d.want) {
					t.Errorf("no gap has %q:\n%s", d.want, gaps)
				}
				if n := s.whole.Goroutines().Len(); d.whole && c.Coverage.GoroutinesUnwound != n {
					t.Errorf("%d of %d goroutines:\n%s", c.Coverage.GoroutinesUnwound, n, gapsOf(c))
				}
			})
		}
	}
}

func containsAny(text, alternatives string) bool {
	return slices.ContainsFunc(strings.Split(alternatives, "|"), func(a string) bool { return strings.Contains(text, a) })
}

func (s *specimen) note(t testing.TB) phdr {
	for _, p := range s.phdrs(t) {
		if p.Type == elf.PT_NOTE {
			return p
		}
	}
	t.Fatal("the core has no notes")
	return phdr{}
}

func (s *specimen) loads(t testing.TB) []phdr {
	var loads []phdr
	for _, p := range s.phdrs(t) {
		if p.Type == elf.PT_LOAD {
			loads = append(loads, p)
		}
	}
	return loads
}

func eachLoad(t testing.TB, s *specimen, damage func(phdr) edit) []edit {
	var edits []edit
	for _, p := range s.loads(t) {
		edits = append(edits, damage(p))
	}
	return edits
}

// segments writes the table of program headers anew, at an offset of the file, with some more writable segments in it.
func (s *specimen) segments(t testing.TB, at int64, more ...elf.ProgHeader) []edit {
	t.Helper()
	old := s.phdrs(t)
	table := make([]byte, 56*len(old))
	f, err := os.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(table, 64); err != nil {
		t.Fatal(err)
	}
	for _, p := range more {
		table = binary.LittleEndian.AppendUint32(table, uint32(elf.PT_LOAD))
		table = binary.LittleEndian.AppendUint32(table, uint32(elf.PF_R|elf.PF_W))
		for _, v := range []uint64{p.Off, p.Vaddr, 0, p.Filesz, p.Filesz, 4096} {
			table = binary.LittleEndian.AppendUint64(table, v)
		}
	}
	count := binary.LittleEndian.AppendUint16(nil, uint16(len(old)+len(more)))
	return []edit{put64(32, uint64(at)), {56, count}, {at, table}}
}

// auxv changes an entry of the auxiliary vector.
func (s *specimen) auxv(t testing.TB, typ, value uint64) []edit {
	t.Helper()
	p := s.note(t)
	notes := make([]byte, p.Filesz)
	f, err := os.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(notes, int64(p.Off)); err != nil {
		t.Fatal(err)
	}
	old, ok := s.t.core.Auxv[typ]
	entry := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, typ), old)
	at := strings.Index(string(notes), string(entry))
	if !ok || at < 0 {
		t.Fatalf("no entry %d in the auxiliary vector", typ)
	}
	return []edit{put64(int64(p.Off)+int64(at)+8, value)}
}
