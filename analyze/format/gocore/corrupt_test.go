package gocore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// corruptions are damages to the runtime's own data: lists that run in circles, sizes and pointers that lie. The rest of the core is
// as it was, so most of the goroutines must still be right.
var corruptions = []struct {
	name  string
	p     fixtures.Program
	edits func(t *testing.T, s *specimen) []edit
	want  string // in the gaps; "|" stands between what will do
	least int    // goroutines that must still be complete, in percent
}{
	{"allm runs in a circle", ledger, func(t *testing.T, s *specimen) []edit {
		m := s.read(t, s.global(t, "runtime.allm"))
		return []edit{s.word(t, m+s.t.off.M.AllLink, m)}
	}, "comes back to", 80},
	{"allm points nowhere", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allm"), 0x1230)}
	}, "breaks off at 0x1230", 80},
	{"allm is empty", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allm"), 0)}
	}, "", 80},
	{"allgs has 1<<60 goroutines", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allgs")+8, 1<<60)}
	}, "allgs says 1152921504606846976 goroutines", 0},
	{"allgs has 100 million goroutines", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allgs")+8, 100<<20)}
	}, "entries of the runtime's list are in the core|layout of the runtime's data does not fit|goroutines", 0},
	{"allgs points nowhere", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allgs"), 0x1230)}
	}, "is not in the core", 0},
	{"allgs is empty", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allgs")+8, 0)}
	}, "no goroutine structure is in the core", 0},
	{"allgs points to text", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allgs"), s.t.tab.Modules[0].Text)}
	}, "goroutine structure", 0},
	{"a goroutine without a structure", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.read(t, s.global(t, "runtime.allgs"))+5*8, 0x1230)}
	}, "its structure is not in the core", 90},
	{"a goroutine twice in allgs", ledger, func(t *testing.T, s *specimen) []edit {
		list := s.read(t, s.global(t, "runtime.allgs"))
		return []edit{s.word(t, list+6*8, s.read(t, list+5*8))}
	}, "", 90},
	{"stack bounds of all ones", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, g+s.t.off.G.StackLo, ^uint64(0)), s.word(t, g+s.t.off.G.StackHi, ^uint64(0))}
	}, "outside the goroutine's stack|no return address", 90},
	{"a stack that is the whole address space", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, g+s.t.off.G.StackLo, 0), s.word(t, g+s.t.off.G.StackHi, ^uint64(0))}
	}, "", 90},
	{"stack bounds the wrong way round", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		lo, hi := s.read(t, g+s.t.off.G.StackLo), s.read(t, g+s.t.off.G.StackHi)
		return []edit{s.word(t, g+s.t.off.G.StackLo, hi), s.word(t, g+s.t.off.G.StackHi, lo)}
	}, "outside the goroutine's stack|no return address", 90},
	{"sched.sp outside of the stack", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, g+s.t.off.G.SP, s.read(t, g+s.t.off.G.StackHi)+4096)}
	}, "outside the goroutine's stack|no return address", 90},
	{"sched.pc is no code", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.waiting(t, "sync.Mutex.Lock")[0]+s.t.off.G.PC, 0x1230)}
	}, "outside the program's Go code", 90},
	{"a return address that is no code", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, s.returnAddress(t, g), 0x1230)}
	}, "outside the program's Go code", 90},
	{"a return address of zero", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, s.returnAddress(t, g), 0)}
	}, "no return address", 90},
	{"a return address of a running goroutine that is no code", router, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.runningReturn(t), 0x1230)}
	}, "outside the program's Go code", 70},
	{"a status that no goroutine has", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, g+s.t.off.G.Status, 0xee)}
	}, "", 90},
	{"every goroutine on one stack of four million frames", ledger, func(t *testing.T, s *specimen) []edit {
		const addr, words = 0x100_0000_0000, 4 << 20
		pc := s.t.tab.Lookup("runtime.gopark")["runtime.gopark"].Entry // where a frame is one word
		stack := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, pc), words)
		edits := append(s.segments(t, s.t.core.Size+int64(len(stack)), elf.ProgHeader{Off: uint64(s.t.core.Size), Vaddr: addr,
			Filesz: uint64(len(stack))}), edit{s.t.core.Size, stack})
		for i, g := range s.waiting(t, "sync.Mutex.Lock") {
			sp := addr + 8*uint64(i)
			edits = append(edits, s.word(t, g+s.t.off.G.StackLo, addr), s.word(t, g+s.t.off.G.StackHi, addr+uint64(len(stack))),
				s.word(t, g+s.t.off.G.SP, sp), s.word(t, g+s.t.off.G.PC, pc))
		}
		return edits
	}, "all stacks of the core together", 0},
	{"a wait reason that does not exist", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "sync.Mutex.Lock")[0]
		return []edit{s.word(t, g+s.t.off.G.WaitReason, 0xff)}
	}, "", 90},
	{"a sudog of another goroutine", ledger, func(t *testing.T, s *specimen) []edit {
		g := s.waiting(t, "select")
		return []edit{s.word(t, s.read(t, g[0]+s.t.off.G.Waiting)+s.t.off.Sudog.G, 0x1230)}
	}, "what goroutines wait for", 100},
	{"select cases in a circle", ledger, func(t *testing.T, s *specimen) []edit {
		sudog := s.read(t, s.waiting(t, "select")[0]+s.t.off.G.Waiting)
		return []edit{s.word(t, sudog+s.t.off.Sudog.WaitLink, sudog)}
	}, "what goroutines wait for", 100},
	{"g.waiting points nowhere", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.waiting(t, "sync.Mutex.Lock")[0]+s.t.off.G.Waiting, 0x1230)}
	}, "what goroutines wait for", 100},
	{"a mutex that is not in the core", ledger, func(t *testing.T, s *specimen) []edit {
		sudog := s.read(t, s.waiting(t, "sync.Mutex.Lock")[0]+s.t.off.G.Waiting)
		return []edit{s.word(t, sudog+s.t.off.Sudog.Elem, 0x12304)}
	}, "state of locks", 100},
	{"deferred calls in a circle", ledger, func(t *testing.T, s *specimen) []edit {
		var edits []edit
		record := s.global(t, "runtime.printBacklog") // any writable place that nothing of this test needs
		for _, g := range s.waiting(t, "sync.Mutex.Lock") {
			edits = append(edits, s.word(t, g+s.t.off.G.Defer, record))
		}
		return append(edits, s.word(t, record+s.t.off.Defer.Link, record))
	}, "", 100},
	{"panics in a circle", router, func(t *testing.T, s *specimen) []edit {
		p := s.read(t, s.t.dead.cur+s.t.off.G.Panic)
		return []edit{s.word(t, p+s.t.off.Panic.Link, p)}
	}, "", 100},
	{"panics point nowhere", router, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.t.dead.cur+s.t.off.G.Panic, 0x1230)}
	}, "chain of panics", 100},
	{"a panic value of no type", router, func(t *testing.T, s *specimen) []edit {
		p := s.read(t, s.t.dead.cur+s.t.off.G.Panic)
		return []edit{s.word(t, p+s.t.off.Panic.Arg, 0x1230)}
	}, "", 100},
	{"a panic string of 1<<60 bytes", router, func(t *testing.T, s *specimen) []edit {
		p := s.read(t, s.t.dead.cur+s.t.off.G.Panic)
		return []edit{s.word(t, s.read(t, p+s.t.off.Panic.Arg+8)+8, 1<<60)}
	}, "", 100},
	{"allp has 1<<60 processors", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allp")+8, 1<<60)}
	}, "processors", 100},
	{"allp has 65536 processors", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allp")+8, 1<<16)}
	}, "", 100},
	{"allp points nowhere", ledger, func(t *testing.T, s *specimen) []edit {
		return []edit{s.word(t, s.global(t, "runtime.allp"), 0x1230)}
	}, "", 100},
	{"65536 processors with a million timers each", ledger22, func(t *testing.T, s *specimen) []edit {
		const addr, ps, timers = 0x100_0000_0000, 1 << 16, 1 << 20
		p := s.read(t, s.read(t, s.global(t, "runtime.allp")))
		data := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, p), ps)
		data = append(data, bytes.Repeat(binary.LittleEndian.AppendUint64(nil, p), timers)...)
		list, ok := s.t.layout.Offset("runtime.p.timers")
		if !ok {
			t.Fatal("the layout has no runtime.p.timers")
		}
		return append(s.segments(t, s.t.core.Size+int64(len(data)), elf.ProgHeader{Off: uint64(s.t.core.Size), Vaddr: addr, Filesz: uint64(len(data))}),
			edit{s.t.core.Size, data}, s.word(t, s.global(t, "runtime.allp"), addr), s.word(t, s.global(t, "runtime.allp")+8, ps),
			s.word(t, p+list, addr+8*ps), s.word(t, p+list+8, timers))
	}, "", 100},
	{"argv points into itself", ledger, func(t *testing.T, s *specimen) []edit {
		at := s.global(t, "runtime.argv")
		return []edit{s.word(t, at, at)}
	}, "", 100},
	{"a treap of waiters in a circle", ledger22, func(t *testing.T, s *specimen) []edit {
		root := s.semaRoot(t)
		node := s.read(t, root)
		return []edit{s.word(t, node+s.t.off.Sudog.Prev, node), s.word(t, node+s.t.off.Sudog.Next, node)}
	}, "", 100},
	{"a list of waiters in a circle", ledger22, func(t *testing.T, s *specimen) []edit {
		node := s.read(t, s.semaRoot(t))
		return []edit{s.word(t, node+s.t.off.Sudog.WaitLink, node)}
	}, "", 100},
	{"a treap that points at the edge of memory", ledger22, func(t *testing.T, s *specimen) []edit {
		// The first word of such a node is absent and the rest is not, and its children are itself.
		edge := s.t.core.Segments[0].Addr
		for _, seg := range s.t.core.Segments {
			if seg.FileSize > 0 && seg.Flags&2 != 0 {
				edge = seg.Addr
			}
		}
		node := edge - 8
		edits := []edit{s.word(t, s.semaRoot(t), node)}
		for _, off := range []uint64{s.t.off.Sudog.Prev, s.t.off.Sudog.Next} {
			edits = append(edits, s.word(t, node+off, node))
		}
		return edits
	}, "", 100},
}

var (
	ledger   = fixtures.Program{Scenario: "lockhog-ledger"}
	ledger22 = fixtures.Program{Scenario: "lockhog-ledger", Toolchain: "go1.22.12"}
	router   = fixtures.Program{Scenario: "crash-nil-router"}
)

// returnAddress is where the return address of the innermost frame of a parked goroutine stands.
func (s *specimen) returnAddress(t testing.TB, g uint64) uint64 {
	t.Helper()
	u := newUnwinder(s.t)
	at := s.t.saved(g)
	stack := s.t.stackOf(g)
	u.walk(at, stack.lo, stack.hi)
	if len(u.sps) < 2 {
		t.Fatalf("the goroutine at %#x has %d frames", g, len(u.sps))
	}
	return u.sps[1] - 8
}

// runningReturn is where a return address on the stack of a goroutine stands that was on a thread.
func (s *specimen) runningReturn(t testing.TB) uint64 {
	t.Helper()
	for _, m := range s.t.machines {
		status, _ := s.t.core.Mem.Uint32(m.cur + s.t.off.G.Status)
		for _, p := range m.parts {
			if status != statusSyscall && p.place == placeGoroutine && len(p.sps) > 1 {
				return p.sps[1] - 8
			}
		}
	}
	t.Fatal("no goroutine was on a thread")
	return 0
}

// semaRoot is the address of a root of runtime.semtable that has waiters.
func (s *specimen) semaRoot(t testing.TB) uint64 {
	t.Helper()
	table := s.global(t, "runtime.semtable")
	stride, count, _ := s.t.layout.Array("runtime.semTable")
	treap, _ := s.t.layout.Offset("runtime.semaRoot.treap")
	for i := range count {
		if at := table + i*stride + treap; s.read(t, at) != 0 {
			return at
		}
	}
	t.Fatal("nobody waits for a semaphore")
	return 0
}

func TestCorruptStructures(t *testing.T) {
	specimens := map[string]*specimen{}
	for _, c := range corruptions {
		key := c.p.Scenario + c.p.Toolchain
		if specimens[key] == nil {
			specimens[key] = newSpecimen(t, c.p)
		}
		s := specimens[key]
		t.Run(c.name, func(t *testing.T) {
			path := s.copy(t, s.t.core.Size, c.edits(t, s)...)
			got, err := readDamaged(t, path, format.Options{Executable: s.Exe})
			if err != nil {
				checkError(t, path, err)
				t.Errorf("the rest of the core is readable: %v", err)
				return
			}
			complete, n := checkHonest(t, got, s.Text), s.whole.Goroutines().Len()
			if complete*100 < n*c.least {
				t.Errorf("%d of %d goroutines are complete:\n%s", complete, n, gapsOf(got))
			}
			if gaps := gapsOf(got); !containsAny(gaps, c.want) {
				t.Errorf("no gap has %q:\n%s", c.want, gaps)
			}
			if gaps := gapsOf(got); strings.Count(gaps, "\n") > 20 {
				t.Errorf("%d gaps", strings.Count(gaps, "\n"))
			}
		})
	}
}
