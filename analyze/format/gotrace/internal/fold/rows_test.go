package fold

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestDumpReason has the words of traces and of dumps.
func TestDumpReason(t *testing.T) {
	for _, test := range []struct {
		reason string
		frames []Frame
		want   string
	}{
		{"network", frames("internal/poll.(*FD).Read"), "IO wait"},
		{"chan receive", frames("runtime.chanrecv1", "main.f"), "chan receive"},
		{"select", nil, "select"},
		{"sync", testStacks[stackLockA], "sync.Mutex.Lock"},
		{"sync", testStacks[stackWriter], "sync.RWMutex.Lock"},
		{"sync", testStacks[stackReader], "sync.RWMutex.RLock"},
		{"sync", testStacks[stackWaitGroup], "sync.WaitGroup.Wait"},
		{"sync", frames("internal/poll.runtime_Semacquire", "internal/poll.(*fdMutex).rwlock"), "semacquire"},
		{"sync", frames("main.f", "sync.(*Mutex).Lock"), "semacquire"},
		{"sync", nil, "sync"}, // the names are missing
		{"sync.(*Cond).Wait", testStacks[stackLockA], "sync.Cond.Wait"},
		{"forever", frames("runtime.block", "main.main"), "select (no cases)"},
		{"forever", frames("runtime.chanrecv1", "main.f"), "chan receive (nil chan)"},
		{"forever", frames("runtime.chansend1", "main.f"), "chan send (nil chan)"},
		{"forever", nil, "forever"},
		{"system goroutine wait", frames("runtime.gcBgMarkWorker"), "GC worker (idle)"},
		{"system goroutine wait", frames("runtime.somethingNew"), "system goroutine wait"},
		{"GC mark assist wait for work", nil, "GC assist wait"},
		{"GC background sweeper wait", nil, "GC sweep wait"},
		{"", nil, ""},
	} {
		if got := dumpReason(test.reason, test.frames); got != test.want {
			t.Errorf("%q at %v: %q, want %q", test.reason, test.frames, got, test.want)
		}
	}
}

// TestRows makes rows of goroutines in every state.
func TestRows(t *testing.T) {
	h := newHistory(t)
	h.Appear(0, h.g(9), StateRunning, stackMain)
	h.Create(100, h.g(5), h.g(9), stackWorker, stackGo, false)
	h.Create(100, h.g(4), h.g(9), stackWorker, stackGo, true)
	h.Create(100, h.g(3), nil, stackSystem, 0, false)
	h.Create(200, h.g(2), h.g(9), stackWorker, stackGo, false)
	h.Run(200, h.g(2))
	h.Syscall(300, h.g(2), stackRead)
	line, c := h.end(1000)
	var got []evidence.Goroutine
	for _, g := range c.Goroutines().All() {
		got = append(got, g)
	}
	states := []evidence.State{evidence.StateSyscall, evidence.StateRunnable, evidence.StateWaiting, evidence.StateRunnable, evidence.StateRunning}
	for i, g := range got {
		if g.ID != []int64{2, 3, 4, 5, 9}[i] || g.State != states[i] || g.Seconds != 0 || g.Flags.Has(evidence.FlagSystem) != (g.ID == 3) {
			t.Errorf("row %d: %+v", i, g)
		}
		if own := g.ID == 2 || g.ID == 4 || g.ID == 5; own != (g.Parent == 9) || own != (c.Frame(g.Created).Function == "main.start") {
			t.Errorf("row %d: made by %d at %+v", i, g.Parent, c.Frame(g.Created))
		}
	}
	if len(got) != 5 || c.Stack(got[0].Stack).At(0) != (evidence.Frame{Function: "syscall.read", File: "f.go", Line: 10, PC: 100}) {
		t.Errorf("%+v", got)
	}
	if line.AtEnd != 5 || line.Created != 4 || c.Coverage.GoroutinesUnwound != 2 {
		t.Errorf("%+v, %+v", line, c.Coverage)
	}
}

// TestSpawns counts births and deaths by go statement.
func TestSpawns(t *testing.T) {
	h := newHistory(t)
	h.Appear(0, h.g(1), StateRunning, stackMain)
	h.Appear(0, h.g(2), StateBlocked, 0) // what it is is not known yet
	for i := range int64(6) {
		h.Create(i*ms, h.g(10+i), h.g(1), stackWorker, stackGo, false)
		if i >= 2 {
			h.Exit(i*ms, h.g(10+i-2))
		}
		h.Run(i*ms+100, h.g(10+i))
	}
	h.Unblock(7*ms, h.g(2), nil, 0)
	h.Run(7*ms, h.g(2))
	h.Block(7*ms, h.g(2), h.recv, stackSystem)
	h.CreateInSyscall(8*ms, h.g(3))
	h.Sysexit(8*ms, h.g(3), false)
	h.Syscall(8*ms+1, h.g(3), stackFromC)
	line, c := h.end(10 * ms)
	s := line.Spawns[0]
	if c.Frame(s.Start).Function != "main.worker" || c.Stack(s.Stack).At(0).Function != "main.start" || s.Created != 6 || s.Ended != 4 ||
		s.Live != 2 || s.Peak != 3 || s.Before != 0 || s.System || s.LifeNS != 4*2*ms || s.FirstNS != 0 || s.LastNS != 5*ms ||
		!slices.Equal(s.Births, []uint32{1, 1, 1, 1, 1, 1}) || !slices.Equal(s.Alive, []uint32{1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}) {
		t.Errorf("%+v", s)
	}
	if s.RunNS != 4*(2*ms-100)+(6*ms-100)+(5*ms-100) || s.ReadyNS != 600 {
		t.Errorf("run %d, ready %d", s.RunNS, s.ReadyNS)
	}
	system, fromC := 0, 0
	for _, s := range line.Spawns[1:] {
		name := c.Frame(s.Start).Function
		switch {
		case s.System:
			system++
			if name != "runtime.gcBgMarkWorker" || s.Before != 1 || s.Live != 1 || s.Stack != 0 {
				t.Errorf("%+v of %q", s, name)
			}
		case name == "runtime.cgocallback":
			fromC++
			if s.Created != 1 || !slices.Equal(s.Births, []uint32{0, 0, 0, 0, 0, 0, 0, 0, 1}) {
				t.Errorf("%+v", s)
			}
		case name != "main.main":
			t.Errorf("%+v of %q", s, name)
		}
	}
	if len(line.Spawns) != 4 || system != 1 || fromC != 1 {
		t.Errorf("%d rows", len(line.Spawns))
	}
	if g, _ := c.Goroutines().ByID(2); !g.Flags.Has(evidence.FlagSystem) {
		t.Errorf("%+v", g)
	}
}

// TestManySpawns has more go statements than are kept.
func TestManySpawns(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	for i := range int64(maxSpawns + 50) {
		h.Create(i, h.g(10+i), h.g(1), stackWorker, Stack(1000+i), false)
		h.Exit(i, h.g(10+i))
	}
	line, c := h.end(1_000_000)
	sum := uint64(0)
	for _, s := range h.spawns.rows {
		sum += s.created
	}
	if len(h.spawns.rows) > maxSpawns+2 || len(line.Spawns) != outSpawns || sum != maxSpawns+50 || len(c.Gaps) < 2 {
		t.Errorf("%d kept, %d told, %d created, gaps %v", len(h.spawns.rows), len(line.Spawns), sum, c.Gaps)
	}
}

// TestPairs has two goroutines play ping-pong, and others that do not.
func TestPairs(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3)
	at := int64(0)
	for i := range int64(40) {
		h.Block(at, h.g(1), h.recv, stackRecv)
		h.Unblock(at+10, h.g(1), h.g(2), stackSend)
		h.Run(at+20, h.g(1))
		h.Block(at+30, h.g(2), h.send, stackSend)
		h.Unblock(at+40, h.g(2), h.g(1), stackRecv)
		h.Run(at+50, h.g(2))
		if i%4 == 0 { // 2 wakes 3, but 3 wakes nobody
			h.Block(at+60, h.g(3), h.recv, stackRecv)
			h.Unblock(at+70, h.g(3), h.g(2), stackSend)
			h.Run(at+80, h.g(3))
			h.Block(at+81, h.g(1), h.sync, stackLockA)
			h.Unblock(at+82, h.g(1), h.g(3), stackUnlockA)
			h.Run(at+83, h.g(1))
		}
		at += 100
	}
	h.Exit(at, h.g(2))
	line, c := h.end(at + 100)
	if len(line.Pairs) != 1 {
		t.Fatalf("%+v", line.Pairs)
	}
	p := line.Pairs[0]
	a1, _ := line.Actor(1)
	a2, ok := line.Actor(2)
	if p.A != 1 || p.B != 2 || p.Count != 80 || p.FirstNS != 10 || p.LastNS != at-100+40 || p.RunNS != a1.RunNS+a2.RunNS || !ok ||
		c.Stack(line.Sites[p.SiteA].Stack).At(0).Function != "runtime.chanrecv1" ||
		c.Stack(line.Sites[p.SiteB].Stack).At(0).Function != "runtime.chansend1" {
		t.Errorf("%+v, %+v, %+v", p, a1, a2)
	}
}

// TestPartnerChanges votes: the old partner is kept as long as it wakes more often than all others.
func TestPartnerChanges(t *testing.T) {
	f := New(testStacks)
	g := &G{ID: 1, flags: gUser}
	for i, by := range []int64{2, 3, 3, 2, 2, 2, 3, 4, 2, 2} {
		f.woken(int64(i), g, &G{ID: by})
	}
	if x := f.extra(g); x.partner != 2 || x.wakes == 0 || x.lastWake != 9 {
		t.Errorf("%+v", x)
	}
	for i := range roomPairs * 2 {
		g := &G{ID: int64(10 + i), flags: gUser}
		x := f.extra(g)
		x.partner, x.wakes = int64(1_000_000-i), uint32(minWakes+i%100)
		f.unpair(g)
	}
	if n := len(f.pairs.rows); n > roomPairs || n != len(f.pairs.index) {
		t.Errorf("%d pairs", n)
	}
	for id, n := range f.pairs.index {
		if f.pairs.rows[n].id != id {
			t.Fatal("index")
		}
	}
}

// TestActors has many goroutines end: those that ran most are told, and those that a row names.
func TestActors(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	at := int64(0)
	for i := range int64(3000) {
		g := h.g(10 + i)
		h.Create(at, g, h.g(1), stackWorker, stackGo, false)
		h.Run(at, g)
		at += 1000 + i
		if i == 77 {
			at += 12 * ms
		}
		h.Exit(at, g)
	}
	line, _ := h.end(at)
	if n := len(line.Actors); n > maxActors || n < topActors {
		t.Errorf("%d actors", n)
	}
	if a, ok := line.Actor(10 + 77); !ok || a.RunNS != 1077+12*ms || !a.Ended || slicesWith(a.Load) == 0 || a.Runs != 1 {
		t.Errorf("%+v", a)
	}
	for i := range int64(40) {
		if _, ok := line.Actor(10 + 2999 - i); !ok {
			t.Errorf("goroutine %d ran longer than most", 10+2999-i)
		}
	}
	if line.Actors[0].Goroutine != 1 || line.Spawns[line.Actors[1].Spawn].Created != 3000 {
		t.Errorf("%+v", line.Actors[:2])
	}
}

// TestManyLoads has more goroutines run for long than there are slots for their loads.
func TestManyLoads(t *testing.T) {
	h := newHistory(t)
	at := int64(0)
	const n = 3 * maxLoads
	for i := range int64(n) {
		h.Create(at, h.g(i+1), nil, stackWorker, stackGo, false)
		h.Run(at, h.g(i+1))
		at += loadFrom + (i*31)%n*1000
		h.Block(at, h.g(i+1), h.recv, stackRecv)
	}
	if len(h.actors.slots) > maxLoads+1 || h.actors.from <= loadFrom {
		t.Errorf("%d slots, from %d", len(h.actors.slots), h.actors.from)
	}
	line, _ := h.end(at)
	loads := 0
	for _, a := range line.Actors[:topActors] {
		if len(a.Load) > 0 {
			loads++
		}
	}
	if loads < topActors*9/10 {
		t.Errorf("%d of those that ran most have a load", loads)
	}
}
