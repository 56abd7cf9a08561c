package gocore

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
	"github.com/gopostmortem/postmortem/fixtures"
)

// A core of 40 MB is no input for a fuzzer. So the input is a list of changes to a core: each names a place in one of the
// structures that the reader looks at, and what to write there. Half of what is worth writing are pointers to other structures,
// which random bytes would never hit.

// region is a part of the core that the reader looks at: a structure, a stack, the headers.
type region struct {
	at   int64  // in the file
	addr uint64 // in memory; 0 for headers and notes
	size int64
}

// patient is a core that is changed, read and restored again and again.
type patient struct {
	path    string
	exe     string
	file    *os.File
	regions []region
}

const maxRegions = 256 // a region is named by a byte

func newPatient(f *testing.F, p fixtures.Program) *patient {
	f.Helper()
	s := newSpecimen(f, p)
	path := filepath.Join(f.TempDir(), "core")
	copySparse(f, s.Core, path, s.t.core.Size)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { file.Close() })
	notes := s.note(f)
	out := &patient{path: path, exe: s.Exe, file: file, regions: []region{
		{0, 0, int64(notes.Off)}, {int64(notes.Off), 0, int64(notes.Filesz)}}}
	s.eachStructure(f, func(addr, size uint64) {
		src, ok := s.t.core.Mem.Source(addr)
		if !ok || src.Kind != elfcore.FromCore || len(out.regions) == maxRegions {
			return
		}
		size = min(size, uint64(len(s.t.core.Mem.Contiguous(addr))), 1<<16)
		out.regions = append(out.regions, region{src.Offset, addr, int64(size)})
	})
	return out
}

// eachStructure visits the runtime's structures in the core: variables, threads, processors, goroutines with their stacks and waits.
func (s *specimen) eachStructure(t testing.TB, visit func(addr, size uint64)) {
	for _, name := range []string{"runtime.allgs", "runtime.allm", "runtime.allp", "runtime.sched", "runtime.semtable",
		"runtime.firstmoduledata", "runtime.argv", "runtime.printBacklog", "runtime.gcController", "runtime.mheap_"} {
		visit(s.global(t, name), 512)
	}
	for _, name := range []string{"runtime.allgs", "runtime.allp"} {
		visit(s.read(t, s.global(t, name)), 256)
	}
	for _, m := range s.t.machines {
		visit(m.addr, 1024)
		visit(m.gsig, s.t.off.G.Size)
		for _, p := range m.parts {
			if len(p.sps) > 0 {
				visit(p.sps[0], 2048)
			}
		}
	}
	list, err := s.t.allgs()
	if err != nil {
		t.Fatal(err)
	}
	for ; len(list) >= 8; list = list[8:] {
		g := le.Uint64(list)
		visit(g, s.t.off.G.Size)
		visit(s.read(t, g+s.t.off.G.SP), 1024)
		for _, field := range []uint64{s.t.off.G.Waiting, s.t.off.G.Defer, s.t.off.G.Panic, s.t.off.G.Labels} {
			visit(s.read(t, g+field), 128)
		}
	}
	for obj := range s.whole.Syncs() {
		visit(obj.Addr, 96)
	}
}

// A change has 12 bytes: the region, where in it (2 bytes), how, and 8 bytes of value.
const (
	changeSize = 12
	maxChanges = 16
)

// How the value of a change is meant.
const (
	writeWord    = iota // 8 bytes, at a multiple of 8
	writePointer        // to a place in a region: its number, and where in it, in 2 bytes each
	writeHalf           // 4 bytes, anywhere
	writeByte
)

// decode turns an input into edits of the file.
func (p *patient) decode(input []byte) []edit {
	var edits []edit
	for ; len(input) >= changeSize && len(edits) < maxChanges; input = input[changeSize:] {
		r := p.regions[int(input[0])%len(p.regions)]
		off, value := int64(binary.LittleEndian.Uint16(input[1:])), input[4:changeSize]
		e := edit{at: r.at + off%r.size, data: value}
		switch input[3] % 4 {
		case writePointer:
			to := p.regions[int(binary.LittleEndian.Uint16(value))%len(p.regions)]
			inside := uint64(binary.LittleEndian.Uint16(value[2:])) % uint64(to.size)
			e.data = binary.LittleEndian.AppendUint64(nil, to.addr+inside&^7)
			fallthrough
		case writeWord:
			e.at = r.at + off%r.size&^7
		case writeHalf:
			e.data = value[:4]
		case writeByte:
			e.data = value[:1]
		}
		edits = append(edits, e)
	}
	return edits
}

// with runs do while the core has the edits.
func (p *patient) with(t testing.TB, edits []edit, do func()) {
	t.Helper()
	var undo []edit
	for _, e := range edits {
		old := make([]byte, len(e.data))
		n, err := p.file.ReadAt(old, e.at)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		undo = append(undo, edit{e.at, old[:n]})
		if _, err := p.file.WriteAt(e.data[:n], e.at); err != nil {
			t.Fatal(err)
		}
	}
	do()
	for i := len(undo) - 1; i >= 0; i-- {
		if _, err := p.file.WriteAt(undo[i].data, undo[i].at); err != nil {
			t.Fatal(err)
		}
	}
}

// change builds a part of an input by hand.
func change(region byte, off uint16, how byte, value uint64) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{region}, off)
	return binary.LittleEndian.AppendUint64(append(b, how), value)
}

// FuzzRead holds that no damage makes the reader panic, hang or allocate without bound, and that it gives an error of the promised
// form or a case.
func FuzzRead(f *testing.F) {
	patients := []*patient{
		newPatient(f, fixtures.Program{Scenario: "lockhog-ledger", Flags: []string{"-ldflags=-w"}}),
		newPatient(f, fixtures.Program{Scenario: "lockhog-ledger", Toolchain: "go1.22.12", Flags: []string{"-ldflags=-w"}}),
		newPatient(f, fixtures.Program{Scenario: "crash-nil-router", Flags: []string{"-ldflags=-w"}}),
		newPatient(f, fixtures.Program{Scenario: "lockhog-ledger", Env: []string{"GOARCH=arm64"}, Flags: []string{"-ldflags=-w"}}),
	}
	for which := range patients {
		f.Add(byte(which), []byte{})
		f.Add(byte(which), change(2, 8, writeWord, 1<<60))                                  // length of allgs
		f.Add(byte(which), change(2, 0, writePointer, 40))                                  // allgs points into a structure
		f.Add(byte(which), append(change(14, 0, writeWord, 0), change(20, 8, 0, 1<<63)...)) // two changes
		f.Add(byte(which), change(60, 300, writePointer, 60))
	}
	f.Fuzz(func(t *testing.T, which byte, input []byte) {
		p := patients[int(which)%len(patients)]
		p.with(t, p.decode(input), func() {
			c, err := readDamaged(t, p.path, format.Options{Executable: p.exe})
			if err != nil {
				checkError(t, p.path, err)
				return
			}
			if err := c.WriteText(io.Discard); err != nil {
				t.Errorf("the case cannot be written: %v", err)
			}
		})
	})
}
