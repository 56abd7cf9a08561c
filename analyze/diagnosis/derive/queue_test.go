package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// queue has eight waiters in main.(*T).get:10 and one holder of lockA.
func queue(s *sketch, lock evidence.Sync, state evidence.State, reason, holder string, depth int, change ...func(*evidence.Goroutine)) {
	lock.Addr, lock.Kind = lockA, max(lock.Kind, evidence.SyncMutex)
	s.b.Sync(lock)
	s.add(8, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10", waitsOn(lockA))
	id := s.add(1, state, reason, holder, change...)
	s.b.Hold(evidence.Hold{Sync: lockA, Goroutine: id, Grade: evidence.HoldUnique, Depth: depth})
}

func TestJudge(t *testing.T) {
	held := evidence.Sync{Locked: true}
	fast := Rates{Known: true, Seconds: 2, Sched: 5000, Ticks: 10_000}
	slow := Rates{Known: true, Seconds: 2, Sched: 50, Ticks: 100}
	const inside = "main.(*T).get:12"
	tests := []struct {
		name  string
		build func(*sketch)
		rates Rates
		want  Verdict
		firm  bool
	}{
		{"free", func(s *sketch) { queue(s, evidence.Sync{}, evidence.StateRunnable, "", inside, 0) }, slow, QueueShort, true},
		{"sleeps", func(s *sketch) {
			queue(s, held, evidence.StateWaiting, "sleep", "runtime.gopark:1 time.Sleep:2 "+inside, 2)
		},
			fast, QueueBlocked, true},
		{"computes, few switches", func(s *sketch) { queue(s, held, evidence.StateRunning, "", inside, 0) }, slow, QueueSlow, true},
		{"computes, many switches", func(s *sketch) { queue(s, held, evidence.StateRunning, "", inside, 0) }, fast, QueueShort, true},
		{"computes, no rate", func(s *sketch) { queue(s, held, evidence.StateRunning, "", inside, 0) }, Rates{}, QueueShort, false},
		{"computes in a callee, no rate", func(s *sketch) { queue(s, held, evidence.StateRunning, "", "main.sum:3 "+inside, 1) },
			Rates{}, QueueSlow, false},
		{"callee, but one is in Lock", func(s *sketch) {
			queue(s, held, evidence.StateRunning, "", "main.sum:3 "+inside, 1)
			s.add(1, evidence.StateRunnable, "", parkMutex+"main.(*T).get:10")
		}, Rates{}, QueueShort, false},
		{"an old waiter", func(s *sketch) {
			queue(s, held, evidence.StateRunning, "", inside, 0)
			s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10", waitsOn(lockA), func(g *evidence.Goroutine) { g.Seconds = 3 })
		}, fast, QueueSlow, true},
		{"preempted by force, world not frozen", func(s *sketch) {
			s.b.Scheduler(evidence.Scheduler{GOMAXPROCS: 2})
			queue(s, held, evidence.StateRunnable, "", preempt+inside, 2, flagged(evidence.FlagAsync))
		}, Rates{}, QueueSlow, true},
		{"preempted by force, world frozen", func(s *sketch) {
			s.b.Scheduler(evidence.Scheduler{GOMAXPROCS: 2, GCWaiting: true})
			queue(s, held, evidence.StateRunnable, "", preempt+inside, 2, flagged(evidence.FlagAsync))
			s.add(1, evidence.StateRunnable, "", "main.work:1")
		}, Rates{}, QueueShort, false},
		{"computes, and nobody else is active", func(s *sketch) {
			s.b.Scheduler(evidence.Scheduler{GOMAXPROCS: 2})
			queue(s, held, evidence.StateRunning, "", inside, 0)
		}, Rates{}, QueueSlow, false},
		{"computes in the library alone, some switches", func(s *sketch) { queue(s, held, evidence.StateRunning, "", "sort.Slice:3 "+inside, 1) },
			Rates{Known: true, Seconds: 5, Sched: 2600, Ticks: 13000}, QueueSlow, false},
		{"computes in the library", func(s *sketch) { queue(s, held, evidence.StateRunning, "", "sort.Slice:3 "+inside, 1) },
			Rates{}, QueueSlow, false},
		{"computes in the runtime", func(s *sketch) { queue(s, held, evidence.StateRunning, "", "runtime.mapassign:3 "+inside, 1) },
			Rates{}, QueueShort, false},
		{"itself", func(s *sketch) {
			queue(s, held, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).again:20 "+inside, 8, waitsOn(lockA))
		}, slow, QueueDeadlock, false},
		{"another lock, holder unknown", func(s *sketch) {
			queue(s, held, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*U).put:20 "+inside, 8, waitsOn(lockB))
		}, slow, QueueBlocked, true},
		{"nobody", func(s *sketch) {
			s.b.Sync(evidence.Sync{Addr: lockA, Kind: evidence.SyncMutex, Locked: true})
			s.add(8, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10", waitsOn(lockA))
		}, slow, QueueUnknown, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSketch()
			tt.build(s)
			l := locksOfCase(t, s)
			q := l.Judge(&l.List[0], tt.rates)
			if q.Verdict != tt.want || q.Firm != tt.firm {
				t.Errorf("verdict %d firm %v, want %d %v; why %v", q.Verdict, q.Firm, tt.want, tt.firm, q.Why)
			}
		})
	}
}

func TestChain(t *testing.T) {
	s := newSketch()
	s.add(8, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10", waitsOn(lockA))
	middle := s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*U).put:20 main.(*T).get:12", waitsOn(lockB))
	root := s.add(1, evidence.StateWaiting, "chan send", "runtime.gopark:1 runtime.chansend:2 main.(*U).flush:30")
	s.b.Hold(evidence.Hold{Sync: lockA, Goroutine: middle, Grade: evidence.HoldPendingUnlock, Depth: 8})
	s.b.Hold(evidence.Hold{Sync: lockB, Goroutine: root, Grade: evidence.HoldUnique, Depth: 2})
	l := locksOfCase(t, s)
	q := l.Judge(&l.List[0], Rates{})
	if q.Verdict != QueueBlocked || q.Root.Holder.G.ID != root || len(q.Chain) != 2 || q.Chain[0].Holder.G.ID != middle {
		t.Errorf("the root is goroutine %d behind %d links, want %d behind 2", q.Root.Holder.G.ID, len(q.Chain), root)
	}
}

func TestChainOfLocksEndsInCycle(t *testing.T) {
	s := newSketch()
	s.add(8, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10", waitsOn(lockA))
	a := s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.x:20", waitsOn(lockB))
	b := s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.y:30", waitsOn(lockA))
	s.b.Hold(evidence.Hold{Sync: lockA, Goroutine: a, Grade: evidence.HoldUnique})
	s.b.Hold(evidence.Hold{Sync: lockB, Goroutine: b, Grade: evidence.HoldUnique})
	l := locksOfCase(t, s)
	if q := l.Judge(&l.List[0], Rates{}); q.Verdict != QueueDeadlock {
		t.Errorf("verdict %d", q.Verdict)
	}
}

func TestGuess(t *testing.T) {
	s := newSketch()
	s.add(8, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10")
	s.add(1, evidence.StateWaiting, "sleep", "runtime.gopark:1 time.Sleep:2 main.(*T).get:8") // before the Lock
	s.add(3, evidence.StateWaiting, "chan receive", "runtime.gopark:1 runtime.chanrecv:2 main.idle:50")
	root := s.add(1, evidence.StateWaiting, "chan send", "runtime.gopark:1 runtime.chansend:2 main.emit:40 main.(*T).get:14")
	l := locksOfCase(t, s)
	q := l.Judge(&l.List[0], Rates{})
	if q.Verdict != QueueBlocked || !q.Guessed || q.Root.Holder.G.ID != root || q.Rivals != 0 {
		t.Errorf("verdict %d, guessed %v, holder %d, %d rivals", q.Verdict, q.Guessed, q.Root.Holder.G.ID, q.Rivals)
	}
	if q.Root.Holder.Depth != 3 {
		t.Errorf("it holds the lock in frame %d, want that of get", q.Root.Holder.Depth)
	}
}

func TestGuessFollowsAChain(t *testing.T) {
	s := newSketch()
	s.add(8, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).get:10")
	s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*U).put:20 main.(*T).get:12")
	root := s.add(1, evidence.StateWaiting, "IO wait", parkPoll+"net.(*netFD).Write:98 net.(*conn).Write:208 main.(*U).flush:30")
	l := locksOfCase(t, s)
	q := l.Judge(&l.List[0], Rates{})
	if len(q.Chain) != 2 || q.Root.Holder.G.ID != root {
		t.Errorf("%d links to goroutine %d, want 2 to %d", len(q.Chain), q.Root.Holder.G.ID, root)
	}
}

func TestDying(t *testing.T) {
	for flags, want := range map[evidence.Flags]bool{0: false, evidence.FlagDying: true,
		evidence.FlagDying | evidence.FlagSignal: false} {
		if got := Dying(evidence.Group{AnyFlag: flags}); got != want {
			t.Errorf("flags %x: %v", flags, got)
		}
	}
}
