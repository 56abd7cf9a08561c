package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const (
	lockA = 0xc000010000
	lockB = 0xc000020000
)

func TestLocksByAddress(t *testing.T) {
	s := newSketch()
	s.b.Sync(evidence.Sync{Addr: lockA, Kind: evidence.SyncMutex, Locked: true, Waiters: 5, Where: "global main.mu"})
	s.add(3, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).a:10", waitsOn(lockA))
	s.add(2, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).b:20", waitsOn(lockA), func(g *evidence.Goroutine) { g.Seconds = 7 })
	s.add(9, evidence.StateWaiting, "chan receive", "runtime.gopark:1 runtime.chanrecv:2 main.c:30", waitsOn(lockB))
	l := locksOfCase(t, s)
	if len(l.List) != 1 {
		t.Fatalf("%d locks, want 1: a channel is none", len(l.List))
	}
	lock := l.List[0]
	if lock.Total != 5 || lock.Oldest != 7 || !lock.Known || lock.Name != "the mutex in global main.mu" {
		t.Errorf("got %d waiters, oldest %d, known %v, %q", lock.Total, lock.Oldest, lock.Known, lock.Name)
	}
	if len(lock.Waiters) != 2 || lock.Waiters[0].Count != 3 {
		t.Errorf("waiters by stack: %+v", lock.Waiters)
	}
	if at := l.c.Stack(lock.Waiters[0].Stack).At(lock.Waiters[0].Frame); at.Function != "main.(*T).a" {
		t.Errorf("the frame that called Lock is %s", at.Function)
	}
}

func TestLocksWithoutAddress(t *testing.T) {
	s := newSketch()
	s.add(3, evidence.StateWaiting, "sync.RWMutex.RLock", parkRead+"main.(*T).get:10")
	s.add(2, evidence.StateWaiting, "sync.RWMutex.RLock", parkRead+"main.(*T).list:20")
	s.add(4, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.(*T).put:30")
	s.add(1, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.alone:40")
	l := locksOfCase(t, s)
	names := map[string]int{}
	for _, lock := range l.List {
		names[lock.Name] = lock.Total
	}
	if len(names) != 2 || names["the RWMutex of main.(*T)"] != 5 || names["the mutex of main.(*T)"] != 4 {
		t.Errorf("got %v: methods of one type are one lock, a mutex and an RWMutex are two, one waiter is none", names)
	}
}

func TestDescriptorLocks(t *testing.T) {
	for _, addr := range []uint64{lockA, 0} {
		s := newSketch()
		s.add(8, evidence.StateWaiting, "semacquire", parkDescriptor+"internal/poll.(*FD).readLock:220 internal/poll.(*FD).Accept:598 net.(*TCPListener).Accept:387 main.serve:9", waitsOn(addr))
		if l := locksOfCase(t, s); len(l.List) != 0 {
			t.Errorf("address %#x: goroutines that take turns to accept are no queue for a lock", addr)
		}
		s = newSketch()
		s.add(8, evidence.StateWaiting, "semacquire", parkDescriptor+"internal/poll.(*FD).writeLock:239 internal/poll.(*FD).Write:361 os.(*File).write:47 os.(*File).Write:215 main.log:9", waitsOn(addr))
		l := locksOfCase(t, s)
		if len(l.List) != 1 || !l.List[0].FD {
			t.Errorf("address %#x: writers of one descriptor are a queue: %+v", addr, l.List)
		}
	}
}

func TestLockOfOnce(t *testing.T) {
	s := newSketch()
	s.add(3, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"sync.(*Once).doSlow:83 sync.(*Once).Do:69 main.conf:12", waitsOn(lockA))
	l := locksOfCase(t, s)
	if len(l.List) != 1 || !l.List[0].Once {
		t.Fatalf("got %+v", l.List)
	}
	if at := l.c.Stack(l.List[0].Waiters[0].Stack).At(l.List[0].Waiters[0].Frame); at.Function != "main.conf" {
		t.Errorf("Once is called by %s", at.Function)
	}
}

// A function that runs under a sync.Once may wait for any other lock, of the standard library too.
func TestLockUnderOnce(t *testing.T) {
	s := newSketch()
	s.add(3, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"net/http.load:7 sync.(*Once).doSlow:83 sync.(*Once).Do:69 main.conf:12", waitsOn(lockA))
	if l := locksOfCase(t, s); len(l.List) != 1 || l.List[0].Once {
		t.Errorf("%+v", l.List)
	}
}

func TestHolders(t *testing.T) {
	s := newSketch()
	first := s.add(3, evidence.StateWaiting, "sync.Mutex.Lock", parkMutex+"main.get:10", waitsOn(lockA))
	h := s.add(1, evidence.StateWaiting, "sleep", "runtime.gopark:1 time.Sleep:2 main.get:14")
	for id := first; id <= h; id++ {
		s.b.Hold(evidence.Hold{Sync: lockA, Goroutine: id, Grade: evidence.HoldAmbiguous})
	}
	s.b.Hold(evidence.Hold{Sync: lockA, Goroutine: 999, Grade: evidence.HoldPendingUnlock}) // of a goroutine that was not read
	l := locksOfCase(t, s)
	got := l.List[0].Holders
	if len(got) != 1 || got[0].G.ID != h || got[0].Grade != evidence.HoldUnique {
		t.Errorf("candidates that wait for the lock themselves cannot hold it: %+v", got)
	}
}

func TestSpread(t *testing.T) {
	rows := make([]uint32, 10_000)
	for i := range rows {
		rows[i] = uint32(i)
	}
	got := spread(rows, 100)
	if len(got) != 100 || got[0] != 0 || got[99] != 9900 {
		t.Errorf("%d rows from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if len(spread(rows[:5], 100)) != 5 {
		t.Error("few rows are all taken")
	}
}

func TestReceiver(t *testing.T) {
	for function, want := range map[string]string{"main.(*T).Get": "main.(*T)", "main.run": "main.run", "main.run.func2": "main.run",
		"main.(*T[...]).Get.func1": "main.(*T[...])", "a.b/c.(*D).E": "a.b/c.(*D)"} {
		if got := Receiver(function); got != want {
			t.Errorf("Receiver(%q) = %q, want %q", function, got, want)
		}
	}
}

func TestInTraffic(t *testing.T) {
	for stack, want := range map[string]bool{
		parkMutex + "main.get:10": true,
		"runtime.goyield:1 runtime.semrelease1:2 internal/sync.runtime_Semrelease:3 internal/sync.(*Mutex).unlockSlow:4 main.get:11": true,
		"runtime.gopark:1 sync.runtime_notifyListWait:2 sync.(*Cond).Wait:3 main.get:12":                                             false,
		preempt + "main.get:13":     false,
		"main.get:14 sync.(*T).x:1": false,
	} {
		s := newSketch()
		id := s.add(1, evidence.StateRunnable, "", stack)
		c, f := s.finish()
		g, _ := c.Goroutines().ByID(id)
		if got := f.InTraffic(c.Stack(g.Stack)); got != want {
			t.Errorf("InTraffic(%s) = %v", stack, got)
		}
	}
}
