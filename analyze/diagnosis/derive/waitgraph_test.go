package derive

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// wakes sets the verdict on a goroutine.
func wakes(w evidence.Wake) func(*evidence.Goroutine) {
	return func(g *evidence.Goroutine) { g.Wake = w }
}

const (
	parkSend    = "runtime.gopark:462 runtime.chansend:283 runtime.chansend1:161 "
	parkReceive = "runtime.gopark:462 runtime.chanrecv:667 runtime.chanrecv1:509 "
	parkSelect  = "runtime.gopark:462 runtime.selectgo:351 "
	parkGroup   = "runtime.gopark:462 runtime.goparkunlock:468 runtime.semacquire1:192 sync.runtime_SemacquireWaitGroup:114 sync.(*WaitGroup).Wait:206 "
	exit        = " runtime.goexit:1"
)

// mutex adds a locked mutex; channel one without a buffer.
func (s *sketch) mutex(addr uint64) {
	s.b.Sync(evidence.Sync{Addr: addr, Kind: evidence.SyncMutex, Locked: true, Waiters: 1})
}

func (s *sketch) channel(addr uint64, n, size int64) {
	s.b.Sync(evidence.Sync{Addr: addr, Kind: evidence.SyncChannel, Len: n, Cap: size, Waiters: -1})
}

func (s *sketch) hold(addr uint64, id int64, grade evidence.HoldGrade) {
	s.b.Hold(evidence.Hold{Sync: addr, Goroutine: id, Grade: grade})
}

func (s *sketch) waker(addr uint64, id int64, act evidence.Act, grade evidence.WakerGrade) {
	s.b.Waker(evidence.Waker{Sync: addr, Goroutine: id, Act: act, Grade: grade})
}

// lock adds a goroutine that waits for a mutex, send and receive one that does so at a channel.
func (s *sketch) lock(addr uint64, line string, change ...func(*evidence.Goroutine)) int64 {
	return s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+line+exit, append(change, waitsOn(addr))...)
}

func (s *sketch) send(addr uint64, line string, change ...func(*evidence.Goroutine)) int64 {
	return s.add(1, evidence.StateWaiting, "chan send", parkSend+line+exit, append(change, waitsOn(addr))...)
}

func (s *sketch) receive(addr uint64, line string, change ...func(*evidence.Goroutine)) int64 {
	return s.add(1, evidence.StateWaiting, "chan receive", parkReceive+line+exit, append(change, waitsOn(addr))...)
}

func (s *sketch) graph() *WaitGraph {
	c, f := s.finish()
	return newWaitGraph(c, f)
}

// ids are the goroutines in rows.
func (g *WaitGraph) ids(rows []uint32) []int64 {
	var list []int64
	for _, r := range rows {
		list = append(list, g.ID(r))
	}
	return list
}

func TestWaitGraphEmpty(t *testing.T) {
	s := newSketch()
	s.mutex(0x100)
	s.lock(0x100, "main.a:1")
	g := s.graph()
	if len(g.Knots) != 0 || g.StuckAt(0) != nil {
		t.Errorf("a lock without a known holder ties a knot: %+v", g.Knots)
	}
}

func TestWaitGraphTwoLocks(t *testing.T) {
	s := newSketch()
	s.mutex(0x100)
	s.mutex(0x200)
	a, b := s.lock(0x200, "main.a:1"), s.lock(0x100, "main.b:2")
	behind := s.lock(0x100, "main.c:3")
	s.hold(0x100, a, evidence.HoldPendingUnlock)
	s.hold(0x200, b, evidence.HoldUnique)
	g := s.graph()
	if len(g.Knots) != 1 {
		t.Fatalf("%d knots", len(g.Knots))
	}
	k := g.Knots[0]
	if k.Kind != KnotLocks || k.Proved || k.Grip != GripUnique || !k.IsCycle() || !k.Sure() || len(k.Ring) != 2 {
		t.Errorf("%+v", k)
	}
	if got := g.ids(k.Members); !slices.Equal(got, []int64{a, b}) {
		t.Errorf("members %v", got)
	}
	if got := g.ids(k.Victims); !slices.Equal(got, []int64{a, b, behind}) {
		t.Errorf("victims %v", got)
	}
	if k.Ring[0].Object != 0x200 || g.ID(k.Ring[0].Next) != b || k.Ring[1].Object != 0x100 || g.ID(k.Ring[1].Next) != a {
		t.Errorf("ring %+v", k.Ring)
	}
	if !slices.Equal(k.Objects, []uint64{0x100, 0x200}) || g.StuckAt(2) != &g.Knots[0] {
		t.Errorf("objects %x, stuck at %v", k.Objects, g.StuckAt(2))
	}
}

// TestWaitGraphVerdictWins holds an inference against a verdict: who is proved never to wake does not, though a holder may run.
func TestWaitGraphVerdictWins(t *testing.T) {
	s := newSketch()
	s.mutex(0x100)
	a := s.lock(0x100, "main.a:1", wakes(evidence.WakeNever))
	run := s.add(1, evidence.StateRunning, "", "main.r:1"+exit)
	s.hold(0x100, run, evidence.HoldPendingUnlock)
	g := s.graph()
	if len(g.Knots) != 1 || g.Knots[0].Kind != KnotOrphan || !g.Knots[0].Proved || g.ids(g.Knots[0].Members)[0] != a {
		t.Errorf("%+v", g.Knots)
	}
}

func TestWaitGraphSelectNeedsAll(t *testing.T) {
	for name, free := range map[string]bool{"stuck": false, "free": true} {
		s := newSketch()
		s.channel(0x100, 0, 0)
		s.channel(0x200, 0, 0)
		s.channel(0x300, 0, 0)
		sel := s.add(1, evidence.StateWaiting, "select", parkSelect+"main.s:1"+exit)
		s.b.Wait(evidence.Wait{Goroutine: sel, Sync: 0x100, Mode: evidence.WaitSend})
		s.b.Wait(evidence.Wait{Goroutine: sel, Sync: 0x300, Mode: evidence.WaitSend})
		peer := s.send(0x200, "main.p:2")
		s.waker(0x100, peer, evidence.ActReceive, evidence.WakerAhead)
		s.waker(0x300, peer, evidence.ActReceive, evidence.WakerAhead)
		s.waker(0x200, sel, evidence.ActReceive, evidence.WakerAhead)
		if free {
			s.waker(0x300, s.add(1, evidence.StateRunnable, "", "main.r:1"+exit), evidence.ActReceive, evidence.WakerAhead)
		}
		g := s.graph()
		if stuck := len(g.Knots) == 1 && g.Knots[0].Kind == KnotMixed; stuck == free {
			t.Errorf("%s: %+v", name, g.Knots)
		}
	}
}

func TestWaitGraphGroupNeedsAll(t *testing.T) {
	s := newSketch()
	s.b.Sync(evidence.Sync{Addr: 0x100, Kind: evidence.SyncWaitGroup, Counter: 2, Waiters: 1})
	s.channel(0x200, 0, 0)
	wait := s.add(1, evidence.StateWaiting, "sync.WaitGroup.Wait", parkGroup+"main.main:1"+exit, waitsOn(0x100))
	stuck := s.send(0x200, "main.w:2", wakes(evidence.WakeNever))
	run := s.add(1, evidence.StateRunning, "", "main.r:1"+exit)
	s.waker(0x100, stuck, evidence.ActDone, evidence.WakerPending)
	s.waker(0x100, run, evidence.ActDone, evidence.WakerPending)
	g := s.graph()
	if len(g.Knots) != 1 || !slices.Equal(g.ids(g.Knots[0].Victims), []int64{wait, stuck}) {
		t.Fatalf("%+v", g.Knots)
	}
	if w := g.Knots[0].Wanted; w.By != WantedByMain || g.ID(w.Row) != wait {
		t.Errorf("wanted %v", w)
	}
}

// TestWaitGraphWanted tells the deadlocked from the leaked.
func TestWaitGraphWanted(t *testing.T) {
	const orphan = 0x100
	serve := " net/http.(*conn).serve:2000"
	for name, c := range map[string]struct {
		want WantedBy
		make func(*sketch)
	}{
		"nobody":  {WantedByNobody, func(s *sketch) { s.next = 9; s.send(orphan, "main.w:2", wakes(evidence.WakeNever)) }},
		"main":    {WantedByMain, func(s *sketch) { s.send(orphan, "main.main:2", wakes(evidence.WakeNever)) }},
		"request": {WantedByRequest, func(s *sketch) { s.next = 9; s.send(orphan, "main.h:2"+serve, wakes(evidence.WakeNever)) }},
		"lock": {WantedByLock, func(s *sketch) {
			s.next = 9
			s.mutex(0x200)
			s.hold(0x200, s.send(orphan, "main.h:2", wakes(evidence.WakeNever)), evidence.HoldPendingUnlock)
			s.lock(0x200, "main.o:3")
		}},
		"wait": {WantedByWait, func(s *sketch) {
			s.next = 9
			s.b.Sync(evidence.Sync{Addr: 0x300, Kind: evidence.SyncWaitGroup, Counter: 1, Waiters: 1})
			s.waker(0x300, s.send(orphan, "main.h:2", wakes(evidence.WakeNever)), evidence.ActDone, evidence.WakerPending)
			s.add(1, evidence.StateWaiting, "sync.WaitGroup.Wait", parkGroup+"main.c:1"+exit, waitsOn(0x300))
		}},
		"closer": {WantedByNobody, func(s *sketch) {
			s.next = 9
			s.b.Sync(evidence.Sync{Addr: 0x300, Kind: evidence.SyncWaitGroup, Counter: 1, Waiters: 1})
			s.waker(0x300, s.send(orphan, "main.h:2", wakes(evidence.WakeNever)), evidence.ActDone, evidence.WakerPending)
			s.waker(orphan, s.add(1, evidence.StateWaiting, "sync.WaitGroup.Wait", parkGroup+"main.c:1"+exit, waitsOn(0x300)),
				evidence.ActClose, evidence.WakerAhead)
		}},
	} {
		s := newSketch()
		s.channel(orphan, 0, 0)
		c.make(s)
		g := s.graph()
		if len(g.Knots) != 1 || g.Knots[0].Wanted.By != c.want {
			t.Errorf("%s: %+v", name, g.Knots)
		}
	}
}

func TestWaitGraphForever(t *testing.T) {
	s := newSketch()
	s.add(1, evidence.StateWaiting, "select (no cases)", "runtime.gopark:462 runtime.block:104 main.main:9"+exit, wakes(evidence.WakeByDesign))
	nilChan := s.add(1, evidence.StateWaiting, "chan send (nil chan)", parkSend+"main.n:9"+exit)
	g := s.graph()
	if len(g.Knots) != 2 {
		t.Fatalf("%+v", g.Knots)
	}
	for _, k := range g.Knots {
		if k.Kind != KnotForever || !k.Proved || k.Wanted.By != WantedByNobody {
			t.Errorf("%+v", k)
		}
	}
	if g.ids(g.Knots[1].Members)[0] != nilChan {
		t.Errorf("members %v", g.ids(g.Knots[1].Members))
	}
}

// TestWaitGraphSlots: all slots of a semaphore are held by those who want another; with a slot unaccounted for, nothing is stuck.
func TestWaitGraphSlots(t *testing.T) {
	for held, want := range map[int]int{2: 1, 1: 0} {
		s := newSketch()
		s.channel(0x100, 2, 2)
		for i := range 2 {
			if id := s.send(0x100, "main.h:2"); i < held {
				s.hold(0x100, id, evidence.HoldPendingUnlock)
			}
		}
		g := s.graph()
		if len(g.Knots) != want || (want > 0 && g.Knots[0].Kind != KnotSlots) {
			t.Errorf("%d slots held: %+v", held, g.Knots)
		}
	}
}

// TestWaitGraphReaders: of two readers inside one is known and works, the other is stuck: the writer waits for both.
func TestWaitGraphReaders(t *testing.T) {
	s := newSketch()
	s.b.Sync(evidence.Sync{Addr: 0x100, Kind: evidence.SyncRWMutex, Readers: 2, Pending: true, Waiters: -1})
	writer := s.add(1, evidence.StateWaiting, "sync.RWMutex.Lock", "runtime.gopark:1 sync.(*RWMutex).Lock:155 main.w:1"+exit, waitsOn(0x100))
	again := s.add(1, evidence.StateWaiting, "sync.RWMutex.RLock", parkRead+"main.size:1 main.r:2"+exit, waitsOn(0x100))
	run := s.add(1, evidence.StateRunning, "", "main.r:3"+exit)
	for _, id := range []int64{again, run} {
		s.b.Hold(evidence.Hold{Sync: 0x100, Goroutine: id, Grade: evidence.HoldUnique, Reader: true})
	}
	s.b.Hold(evidence.Hold{Sync: 0x100, Goroutine: run, Grade: evidence.HoldUnique}) // for writing: the lock says that it is not
	g := s.graph()
	if len(g.Knots) != 1 || !slices.Equal(g.ids(g.Knots[0].Victims), []int64{writer, again}) || len(g.Knots[0].Ring) != 1 {
		t.Fatalf("%+v", g.Knots)
	}
	if got := g.WaitsFor(g.Knots[0].Ring[0]); got != "waits to read-lock the RWMutex at 0x100" {
		t.Errorf("%q", got)
	}
}

// TestWaitGraphLongChain: a chain as long as there are goroutines ends in a cycle, and neither recursion nor a square gets in the way.
func TestWaitGraphLongChain(t *testing.T) {
	const n = 20_000
	s := newSketch()
	for i := range n {
		s.mutex(uint64(0x1000 + 16*i))
		s.hold(uint64(0x1000+16*i), s.lock(uint64(0x1000+16*min(i+1, n-1)), "main.a:1"), evidence.HoldPendingUnlock)
	}
	g := s.graph()
	if len(g.Knots) != 1 || len(g.Knots[0].Victims) != n || len(g.Knots[0].Ring) != 1 {
		t.Errorf("%d knots", len(g.Knots))
	}
}

// big is a process with 100,000 goroutines and 50,000 objects: pairs in a deadlock, leaks, and queues behind holders that run.
func big() (*evidence.Case, *Frames) {
	const objects = 50_000
	s := newSketch()
	for i := range objects {
		a := uint64(0x1000 + 64*i)
		switch i % 5 {
		case 0, 1:
			s.mutex(a)
			s.hold(a, s.lock(a^64, "main.a:1"), evidence.HoldPendingUnlock)
			s.lock(a, "main.b:1")
		case 2:
			s.channel(a, 0, 0)
			s.send(a, "main.leak:1", wakes(evidence.WakeNever))
			s.send(a, "main.leak:1", wakes(evidence.WakeNever))
		case 3:
			s.mutex(a)
			s.hold(a, s.add(1, evidence.StateWaiting, "IO wait", parkPoll+"main.io:1"+exit), evidence.HoldPendingUnlock)
			s.lock(a, "main.c:1")
		default:
			s.channel(a, 0, 0)
			s.waker(a, s.receive(a+8, "main.idle:1"), evidence.ActSend, evidence.WakerRefers)
			s.receive(a, "main.idle:2")
		}
	}
	return s.finish()
}

func BenchmarkWaitGraph(b *testing.B) {
	c, f := big()
	newWaitGraph(c, f) // the indexes of the Case are made once
	b.ResetTimer()
	for b.Loop() {
		if g := newWaitGraph(c, f); len(g.Knots) == 0 {
			b.Fatal("no knots")
		}
	}
	b.ReportMetric(float64(c.Goroutines().Len()), "goroutines")
}

func TestWaitGraphWords(t *testing.T) {
	for got, want := range map[string]string{
		GripPending.String(): "pending", GripWeak.String(): "candidate", WantedByMain.String(): "the main goroutine cannot go on",
		fmt.Sprint(WaitModeOf("chan send (durable)")): "send", fmt.Sprint(WaitModeOf("select (synctest)")): "any",
		fmt.Sprint(WaitModeOf("sync.WaitGroup.Wait (durable)")): "zero", fmt.Sprint(WaitModeOf("sleep")): "any",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestWaitGraphReaderOfMutex: writers of an RWMutex queue for the mutex inside it, which no reader ever takes.
func TestWaitGraphReaderOfMutex(t *testing.T) {
	s := newSketch()
	s.mutex(0x100)
	s.mutex(0x200)
	a, b := s.lock(0x200, "main.a:1"), s.lock(0x100, "main.b:2")
	s.hold(0x100, a, evidence.HoldPendingUnlock)
	s.b.Hold(evidence.Hold{Sync: 0x200, Goroutine: b, Grade: evidence.HoldUnique, Reader: true})
	if g := s.graph(); len(g.Knots) != 0 {
		t.Errorf("a reader holds a mutex: %+v", g.Knots)
	}
}

// TestWaitGraphIdle: who receives may have nothing to do, but not while others wait for a lock that it holds.
func TestWaitGraphIdle(t *testing.T) {
	for _, held := range []bool{false, true} {
		s := newSketch()
		s.channel(0x200, 0, 0)
		a := s.receive(0x200, "main.a:1")
		var b int64
		if held {
			s.mutex(0x100)
			b = s.lock(0x100, "main.b:2")
			s.hold(0x100, a, evidence.HoldPendingUnlock)
		} else {
			s.b.Sync(evidence.Sync{Addr: 0x100, Kind: evidence.SyncWaitGroup, Counter: 1, Waiters: 1})
			b = s.add(1, evidence.StateWaiting, "sync.WaitGroup.Wait", parkGroup+"main.b:2"+exit, waitsOn(0x100))
			s.waker(0x100, a, evidence.ActDone, evidence.WakerPending)
		}
		s.waker(0x200, b, evidence.ActClose, evidence.WakerAhead)
		g := s.graph()
		if len(g.Knots) != 1 || g.Knots[0].Idle == held || g.Knots[0].Sure() != held {
			t.Errorf("with a lock held %t: %+v", held, g.Knots)
		}
	}
}
