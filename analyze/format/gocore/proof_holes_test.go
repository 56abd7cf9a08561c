package gocore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

const (
	holeBytes = 4096
	holes     = 48 // that are tried; in the wide campaign all are (see wideEnv)
)

// TestProofOfHoles takes single pages out of the writable memory of a core: of the heap, of stacks, of globals, of the runtime's records.
// Whatever is missing, no goroutine may be said never to wake that can; either the proof is refused or the page did not matter.
func TestProofOfHoles(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	never := map[int64]bool{}
	gs := s.whole.Goroutines()
	for row := range gs.Len() {
		never[gs.ID(row)] = gs.Wake(row) == evidence.WakeNever
	}
	pages := s.usedPages(t)
	all := len(pages)
	if !wide() {
		r := rand.New(rand.NewPCG(3, 4))
		r.Shuffle(len(pages), func(i, k int) { pages[i], pages[k] = pages[k], pages[i] })
		pages = pages[:min(holes, len(pages))]
	}
	refused := 0
	for _, at := range pages {
		read, _ := readDamaged(t, s.copy(t, s.t.core.Size, s.hole(t, at)...), format.Options{Executable: s.Exe})
		if read.Proof == nil || !read.Proof.Done {
			refused++
		}
		found := read.Goroutines()
		for row := range found.Len() {
			if found.Wake(row) == evidence.WakeNever && !never[found.ID(row)] {
				t.Errorf("without the page at %#x goroutine %d is said to be never", at, found.ID(row))
			}
		}
	}
	t.Logf("%d of %d holes, of %d pages in use, made it refuse", refused, len(pages), all)
	if refused < len(pages)/4 {
		t.Errorf("only %d of %d holes made it refuse", refused, len(pages))
	}
}

// TestProofRefusesHoles takes out pages of which it is known what they hold: each is missed by its own name.
func TestProofRefusesHoles(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	variables := s.variables(t, "main.table", "main.large")
	for name, c := range map[string]struct {
		at   uint64
		want string
	}{
		"a variable":              {variables["main.table"] + 1024, "global variables"},
		"a part of a large array": {s.read(t, variables["main.large"]) + 400<<10, "spans of the heap"},
		"a span":                  {s.rowOf(t, s.gOf(t, s.first(t, "lostLock"))).WaitsOn, "spans of the heap"},
		"a stack":                 {s.t.saved(s.gOf(t, s.first(t, "keepOnStack"))).sp, "the stack of goroutine"},
	} {
		read, err := readDamaged(t, s.copy(t, s.t.core.Size, s.hole(t, c.at&^(holeBytes-1))...), format.Options{Executable: s.Exe})
		if err != nil {
			t.Fatal(err)
		}
		if read.Proof == nil || !strings.Contains(read.Proof.Refused, c.want) {
			t.Errorf("%s at %#x: %+v, want a refusal with %q", name, c.at, read.Proof, c.want)
		}
	}
}

// variables are the addresses of variables by the symbol table.
func (s *specimen) variables(t *testing.T, names ...string) map[string]uint64 {
	t.Helper()
	f, err := elf.Open(s.Exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, y := range symbols {
		if slices.Contains(names, y.Name) {
			found[y.Name] = y.Value + s.t.bias
		}
	}
	if len(found) != len(names) {
		t.Fatalf("found %v of %v", found, names)
	}
	return found
}

// usedPages are the pages of writable segments that hold something.
func (s *specimen) usedPages(t *testing.T) (pages []uint64) {
	t.Helper()
	f, err := elf.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	empty := make([]byte, holeBytes)
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_W == 0 {
			continue
		}
		page := make([]byte, holeBytes)
		for off := uint64(0); off+holeBytes <= p.Filesz; off += holeBytes {
			if _, err := p.ReadAt(page, int64(off)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(page, empty) {
				pages = append(pages, p.Vaddr+off)
			}
		}
	}
	return pages
}

// hole takes a page out of a core: its segment ends there, and the last one of the core, which is the kernel's, becomes the rest of it.
func (s *specimen) hole(t *testing.T, at uint64) []edit {
	t.Helper()
	const headers = 64 << 10
	f, err := os.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw := make([]byte, headers)
	if _, err := f.ReadAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	var head elf.Header64
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, &head); err != nil {
		t.Fatal(err)
	}
	place := func(i uint16) int64 { return int64(head.Phoff) + int64(i)*int64(head.Phentsize) }
	for i := range head.Phnum {
		var p elf.Prog64
		if err := binary.Read(bytes.NewReader(raw[place(i):]), binary.LittleEndian, &p); err != nil {
			t.Fatal(err)
		}
		if elf.ProgType(p.Type) != elf.PT_LOAD || at < p.Vaddr || at >= p.Vaddr+p.Filesz {
			continue
		}
		rest := p
		p.Filesz = at - p.Vaddr
		p.Memsz = p.Filesz
		skipped := p.Filesz + holeBytes
		rest.Off, rest.Vaddr, rest.Filesz, rest.Memsz = rest.Off+skipped, rest.Vaddr+skipped, rest.Filesz-skipped, rest.Memsz-skipped
		return []edit{{place(i), encoded(t, p)}, {place(head.Phnum - 1), encoded(t, rest)}}
	}
	t.Fatalf("%#x is in no segment", at)
	return nil
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
