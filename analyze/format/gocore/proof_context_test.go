package gocore

import (
	"debug/elf"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// TestSavedContext: a function that was preempted before its first instruction has its closure only in the context register, which
// the runtime saves in its g, and the closure of a deferred call may lie on the stack. The variable of keepOnStack that leads to the
// lock is made reachable in that way alone.
func TestSavedContext(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	id := s.first(t, "keptByObject")
	row := s.rowOf(t, s.gOf(t, id))
	object := row.WaitsOn - 24 // guarded{name string; next *guarded; mu sync.Mutex}
	for _, g := range s.waiting(t, "sleep") {
		slots, variable := s.pathsOnStack(t, g, object)
		if len(slots) == 0 {
			continue
		}
		var cut []edit
		for _, at := range slots {
			cut = append(cut, s.word(t, at, 0))
		}
		context := s.word(t, s.field(t, g, "runtime.g.sched.ctxt"), variable)
		for _, c := range []struct {
			name  string
			edits []edit
			want  evidence.Wake
		}{{"not at all", cut, evidence.WakeNever}, {"by the context", append(cut, context), evidence.WakePossible}} {
			read, err := readDamaged(t, s.copy(t, s.t.core.Size, c.edits...), format.Options{Executable: s.Exe})
			if err != nil {
				t.Fatal(err)
			}
			if g, ok := read.Goroutines().ByID(id); !ok || g.Wake != c.want {
				t.Errorf("reached %s: goroutine %d is %s, want %s (%+v)", c.name, id, g.Wake, c.want, read.Proof)
			}
		}
		return
	}
	t.Fatalf("no goroutine sleeps with a pointer to %#x in a variable", object)
}

// pathsOnStack finds a variable on the stack of a goroutine that holds a pointer, and the words of the stack that point to the variable.
func (s *specimen) pathsOnStack(t *testing.T, g, pointer uint64) (slots []uint64, variable uint64) {
	t.Helper()
	stack := s.t.stackOf(g)
	for at := s.t.saved(g).sp; at < stack.hi; at += 8 {
		if v := s.read(t, at); v%8 == 0 && stack.holds(v) && v > at && s.read(t, v) == pointer {
			slots, variable = append(slots, at), v
		}
	}
	return slots, variable
}

// TestBeforeTheFrame: arm64 has the return address of a function that was preempted before its first instruction in a register, and the
// word at SP is that of its caller. What the callers keep is kept.
func TestBeforeTheFrame(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{Env: []string{"GOARCH=arm64"}})
	fn, ok := s.t.tab.Lookup("main.keptByStack")["main.keptByStack"]
	if !ok {
		t.Fatal("no function")
	}
	var all []edit
	for _, g := range s.waiting(t, "sleep") {
		all = append(all, s.word(t, s.field(t, g, "runtime.g.sched.lr"), s.t.saved(g).pc), s.word(t, g+s.t.off.G.PC, fn.Entry))
	}
	read, err := readDamaged(t, s.copy(t, s.t.core.Size, all...), format.Options{Executable: s.Exe})
	if err != nil {
		t.Fatal(err)
	}
	if read.Proof == nil || !read.Proof.Done {
		t.Fatalf("no proof: %+v", read.Proof)
	}
	gs := read.Goroutines()
	for row := range gs.Len() {
		whole, _ := s.whole.Goroutines().ByID(gs.ID(row))
		if gs.Wake(row) == evidence.WakeNever && whole.Wake != evidence.WakeNever {
			t.Errorf("goroutine %d (%s) is said to be never", gs.ID(row), framesOfCase(s.whole, whole))
		}
	}
}

// TestRegisters: the last pointer to what a goroutine waits for may be in a register of a thread that runs Go code.
func TestRegisters(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "reachmodern"))
	if err != nil {
		t.Fatal(err)
	}
	const moments = 4 // of a living process with busy goroutines; one that dies takes the processors from its threads
	for try := range moments {
		p := fixtures.Program{Dir: dir}
		if try > 0 {
			p.RunEnv = []string{fmt.Sprintf("MOMENT=%d", try)}
		}
		if registersAsRoots(t, specimenOf(t, p, fixtures.Gcore)) {
			return
		}
	}
	t.Errorf("in none of %d cores a thread runs Go code", moments)
}

// registersAsRoots puts the last pointer into a register of each thread that runs Go code; false when there is none.
func registersAsRoots(t *testing.T, s *specimen) bool {
	t.Helper()
	id := s.first(t, "lostPlain")
	channel := s.channelOf(t, s.gOf(t, id))
	tried := false
	for _, m := range s.t.machines {
		if m.p < 0 || m.thread == nil {
			continue
		}
		tried = true
		read, err := readDamaged(t, s.copy(t, s.t.core.Size, s.register(t, m.tid, channel)), format.Options{Executable: s.Exe})
		if err != nil {
			t.Fatal(err)
		}
		if g, _ := read.Goroutines().ByID(id); g.Wake != evidence.WakePossible {
			t.Errorf("thread %d has %#x in a register, and goroutine %d is %s (%+v)", m.tid, channel, id, g.Wake, read.Proof)
		}
	}
	if g, _ := s.whole.Goroutines().ByID(id); g.Wake != evidence.WakeNever {
		t.Errorf("goroutine %d of the whole core is %s", id, g.Wake)
	}
	return tried
}

// register is an edit of R15 of a thread, in its note (NT_PRSTATUS: struct elf_prstatus of linux/elfcore.h, amd64).
func (s *specimen) register(t *testing.T, thread int, value uint64) edit {
	t.Helper()
	const (
		status, pid, registers = 1, 32, 112
		header                 = 12 + 8 // sizes and type, "CORE\0" on 4 bytes
	)
	f, err := elf.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at+header <= len(notes); {
			size, kind := int(le.Uint32(notes[at+4:])), le.Uint32(notes[at+8:])
			if desc := at + header; kind == status && int(le.Uint32(notes[desc+pid:])) == thread {
				return edit{int64(p.Off) + int64(desc+registers), le.AppendUint64(nil, value)}
			}
			at += header + (size+3)&^3
		}
	}
	t.Fatalf("no note of thread %d", thread)
	return edit{}
}
