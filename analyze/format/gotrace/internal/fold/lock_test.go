package fold

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// releaseBy finds the release of a stack whose innermost frame outside of package sync is in a function, of waits of a reason.
func releasesOf(line *evidence.Timeline, c *evidence.Case, fn string) []evidence.Release {
	var out []evidence.Release
	for _, r := range line.Releases {
		for _, fr := range c.Stack(r.Stack).All() {
			if fr.Function == fn {
				out = append(out, r)
				break
			}
		}
	}
	return out
}

func wantHold(t *testing.T, r evidence.Release, count uint64, holds ...uint64) {
	t.Helper()
	var sum, most uint64
	for _, h := range holds {
		sum += h
		most = max(most, h)
	}
	if r.Count != count || r.HoldNS != sum || r.MaxHold != most || r.Holds.Total() != uint64(len(holds)) {
		t.Errorf("%d releases, held %d (longest %d, %d times), want %d, %d (%d, %d times)", r.Count, r.HoldNS, r.MaxHold, r.Holds.Total(),
			count, sum, most, len(holds))
	}
}

// running has goroutines run from the beginning.
func (h *history) running(ids ...int64) {
	for _, id := range ids {
		h.Appear(0, h.g(id), StateRunning, stackWorker)
	}
}

// TestHoldOfOneThatWaited has goroutine 2 wait for a lock, get it, write to a file under it, and let 3 have it.
func TestHoldOfOneThatWaited(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3)
	h.Block(100, h.g(2), h.sync, stackLockA)
	h.Block(150, h.g(3), h.sync, stackLockA)
	h.Unblock(1000, h.g(2), h.g(1), stackUnlockA) // 1 has held it at least since 2 waits
	h.Run(1100, h.g(2))
	h.Syscall(1200, h.g(2), stackWrite)
	h.Sysexit(5200, h.g(2), true)
	h.Run(5300, h.g(2))
	h.Unblock(5400, h.g(3), h.g(2), stackUnlockA) // 2 has held it since it runs
	line, c := h.end(6000)
	rs := releasesOf(&line, c, "main.a")
	if len(rs) != 1 || line.Sites[rs[0].Site].Reason != "sync" {
		t.Fatalf("releases %+v", line.Releases)
	}
	wantHold(t, rs[0], 2, 900, 4300)
	if rs[0].WaitNS != 900+5250 || rs[0].MaxWait != 5250 {
		t.Errorf("waits %d, %d", rs[0].WaitNS, rs[0].MaxWait)
	}
	p := rs[0].Parts
	if len(p) != 3 || p[0].State != evidence.ActSyscall || p[0].NS != 4000 || c.Stack(p[0].Stack).At(0).Function != "syscall.write" ||
		p[1].State != evidence.ActRunning || p[1].NS != 900+100+100 || p[1].Stack != 0 || p[2].State != evidence.ActReady || p[2].NS != 100 {
		t.Errorf("parts %+v", p)
	}
}

// TestHoldIsNotBeforeTheQueue has a goroutine take a lock after a wait, let it go with nobody waiting, do something else, take it again
// without a wait, and let it go to one that waits. Only the last of it is sure.
func TestHoldIsNotBeforeTheQueue(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3)
	h.Block(100, h.g(2), h.sync, stackLockA)
	h.Unblock(200, h.g(2), h.g(1), stackUnlockA)
	h.Run(210, h.g(2))
	h.Block(300, h.g(2), h.sleep, stackRecv) // without the lock
	h.Unblock(9000, h.g(2), nil, 0)
	h.Run(9000, h.g(2))
	h.Block(9500, h.g(3), h.sync, stackLockA)
	h.Unblock(9600, h.g(3), h.g(2), stackUnlockA)
	line, c := h.end(10_000)
	wantHold(t, releasesOf(&line, c, "main.a")[0], 2, 100, 100)
}

// TestHoldOfNewcomer has a goroutine that never waits take the lock between two others: its hold begins when the lock was let go last.
func TestHoldOfNewcomer(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3, 4)
	h.Block(100, h.g(2), h.sync, stackLockA)
	h.Block(110, h.g(3), h.sync, stackLockA)
	h.Unblock(200, h.g(2), h.g(1), stackUnlockA)
	h.Unblock(700, h.g(3), h.g(4), stackUnlockA)
	line, c := h.end(1000)
	wantHold(t, releasesOf(&line, c, "main.a")[0], 2, 100, 500)
}

// TestHoldOfManyLocks has pairs of goroutines, each with a lock of its own that they take at the same line: that others let theirs go
// says nothing of a hold.
func TestHoldOfManyLocks(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3, 4, 5, 6)
	at := int64(0)
	for range 20 { // 1, 3 and 5 hold for 1000 at the same time, then their partners do
		for _, side := range []int64{0, 1} {
			for id := int64(1); id <= 5; id += 2 {
				h.Block(at+id, h.g(id+1-side), h.sync, stackLockA)
			}
			for id := int64(1); id <= 5; id += 2 {
				h.Unblock(at+1000+id, h.g(id+1-side), h.g(id+side), stackUnlockA)
				h.Run(at+1000+id, h.g(id+1-side))
			}
			at += 2000
		}
	}
	// Newcomers: 1 lets go its lock twice, without a wait of its own in between.
	for range 10 {
		for id := int64(1); id <= 5; id += 2 {
			h.Block(at+id, h.g(id+1), h.sync, stackLockA)
		}
		for id := int64(1); id <= 5; id += 2 {
			h.Unblock(at+1000+id, h.g(id+1), h.g(id), stackUnlockA)
			h.Run(at+1000+id, h.g(id+1))
		}
		at += 2000
	}
	line, c := h.end(at)
	r := releasesOf(&line, c, "main.a")[0]
	if short := r.Holds.Below(900); r.Holds.Total() != 150 || short > 5 {
		t.Errorf("%d of %d holds are too short", short, r.Holds.Total())
	}
}

// TestHoldOfNestedLocks has a goroutine wait for a second lock while it holds the first: the wait is a part of the first hold.
func TestHoldOfNestedLocks(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3, 4)
	h.Block(100, h.g(2), h.sync, stackLockA)
	h.Block(110, h.g(3), h.sync, stackLockA)
	h.Unblock(200, h.g(2), h.g(1), stackUnlockA)
	h.Run(200, h.g(2))
	h.Block(300, h.g(2), h.sync, stackLockB)
	h.Unblock(1300, h.g(2), h.g(4), stackUnlockB)
	h.Run(1300, h.g(2))
	h.Block(1350, h.g(1), h.sync, stackLockB)
	h.Unblock(1400, h.g(1), h.g(2), stackUnlockB)
	h.Unblock(1500, h.g(3), h.g(2), stackUnlockA)
	line, c := h.end(2000)
	a, b := releasesOf(&line, c, "main.a")[0], releasesOf(&line, c, "main.b")[0]
	wantHold(t, b, 2, 1000, 50)
	wantHold(t, a, 2, 100, 1300)
	if a.Parts[0].State != evidence.ActBlocked || a.Parts[0].NS != 1000 || a.Parts[0].Reason != "sync" {
		t.Errorf("parts %+v", a.Parts)
	}
}

// TestReadersAreLetInAtOnce has a writer let three readers and the next writer go: one hold, not four.
func TestReadersAreLetInAtOnce(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3, 4, 5)
	for id := int64(2); id <= 4; id++ {
		h.Block(100*id, h.g(id), h.sync, stackReader)
	}
	h.Block(500, h.g(5), h.sync, stackWriter)
	for id := int64(2); id <= 4; id++ {
		h.Unblock(9000+id, h.g(id), h.g(1), stackWriterUnlock)
	}
	h.Unblock(9010, h.g(5), h.g(1), stackWriterNext)
	line, c := h.end(10_000)
	rs := releasesOf(&line, c, "main.set")
	if len(rs) != 2 {
		t.Fatalf("releases %+v", rs)
	}
	slices.SortFunc(rs, func(a, b evidence.Release) int { return int(b.Count) - int(a.Count) })
	wantHold(t, rs[0], 3, 8802)
	wantHold(t, rs[1], 1, 8510)
}

// TestWaitGroupIsNoLock has waits with the reason "sync" that nobody holds.
func TestWaitGroupIsNoLock(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Block(100, h.g(1), h.sync, stackWaitGroup)
	h.Unblock(500, h.g(1), h.g(2), stackUnlockA) // whatever it looks like
	h.Run(500, h.g(1))
	h.Block(600, h.g(1), h.sync, stackRecv) // a semaphore of the runtime
	h.Unblock(700, h.g(1), h.g(2), stackUnlockA)
	line, _ := h.end(1000)
	for _, r := range line.Releases {
		if r.HoldNS != 0 || r.Holds.Total() != 0 {
			t.Errorf("held %d", r.HoldNS)
		}
	}
}

// TestHolderWithManyStretches has a holder whose work under the lock is longer than a short ring, twice.
func TestHolderWithManyStretches(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3)
	at := int64(0)
	for round := range 2 {
		h.Block(at, h.g(3), h.sync, stackLockA)
		for range 20 {
			h.Syscall(at+10, h.g(1), stackWrite)
			h.Sysexit(at+60, h.g(1), false)
			at += 100
		}
		h.Unblock(at, h.g(3), h.g(1), stackUnlockA)
		h.Run(at, h.g(3))
		at += 1000
		if h.rings.head(h.g(1).ring).long == 0 {
			t.Errorf("round %d: a short ring", round)
		}
	}
	line, c := h.end(at)
	r := releasesOf(&line, c, "main.a")[0]
	wantHold(t, r, 2, 2000, 2000)
	if p := r.Parts; len(p) != 2 || p[0].State != evidence.ActSyscall || p[0].NS != (20+4)*50 || p[0].Count != 24 || p[1].State != evidence.ActRunning {
		t.Errorf("parts %+v: the second time all 20 calls are known", p)
	}
}

func TestHoldParts(t *testing.T) {
	var h holds
	for i := range uint32(40) {
		h.add(evidence.ActSyscall, i+1, int64(i+1))
	}
	h.add(evidence.ActRunning, 7, 1000)
	h.add(evidence.ActRunning, 9, 1000)
	found := map[part]bool{}
	for _, p := range h.parts {
		found[p] = true
	}
	if !found[part{evidence.ActRunning, 0, 2000, 2}] || !found[part{evidence.ActSyscall, 40, 40, 1}] {
		t.Errorf("parts %+v", h.parts)
	}
}

func TestLockClasses(t *testing.T) {
	var l lockClasses
	l.init()
	a, b, c := l.of(lockCaller{"mutex", "f", 1}), l.of(lockCaller{"mutex", "f", 2}), l.of(lockCaller{"mutex", "g", 1})
	if a == b || b == c || l.of(lockCaller{"mutex", "f", 1}) != a {
		t.Error("numbers")
	}
	l.rows[b], l.rows[a] = lockClass{let: 5, by: 7, one: 1}, lockClass{let: 3, by: 8, many: 2}
	if l.join(c, b) != l.join(b, c) || l.root(a) == l.root(b) {
		t.Error("join")
	}
	if r := l.join(c, a); r != l.root(b) || l.rows[r] != (lockClass{let: 5, by: 7, one: 1, many: 2}) || !l.rows[r].isMany() {
		t.Error("all are one now")
	}
	if l.join(0, a) != l.root(a) {
		t.Error("a line that is not known")
	}
}

// TestStackInfo looks at stacks of several versions.
func TestStackInfo(t *testing.T) {
	const lock, release, reader, system, signal = atLock, atRelease, atReader, atSystem, atSignal
	for _, test := range []struct {
		want   uint8
		class  bool
		frames []Frame
	}{
		{lock, true, frames("sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "main.f")},
		{lock, true, frames("internal/sync.runtime_SemacquireMutex", "internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "main.f")},
		{lock, true, frames("sync.(*Mutex).Lock", "sync.(*Once).doSlow", "sync.(*Once).Do", "main.f")},
		{lock | reader, true, frames("sync.(*RWMutex).RLock", "main.f")},
		{release, true, frames("runtime.sync_runtime_Semrelease", "sync.(*Mutex).Unlock", "main.f")},
		{release | atHandover, true, frames("runtime.goyield", "sync.(*Mutex).unlockSlow", "sync.(*Mutex).Unlock", "main.f")},
		{release | atHandover, true, frames("internal/sync.runtime_Semrelease", "internal/sync.(*Mutex).Unlock", "main.f")},
		{release, true, frames("sync.(*RWMutex).rUnlockSlow", "sync.(*RWMutex).RUnlock", "main.f")},
		{0, false, frames("sync.(*WaitGroup).Wait", "main.f")},
		{0, false, frames("sync.(*Cond).Wait", "main.f")},
		{0, false, frames("internal/poll.runtime_Semacquire", "internal/poll.(*fdMutex).rwlock", "main.f")},
		{0, false, frames("main.(*Mutex).Lock", "main.f")},
		{0, false, frames("golang.org/x/sync.(*Mutex).Lock", "main.f")},
		{lock, false, frames("sync.(*Mutex).Lock")}, // a cut stack
		{system, false, frames("runtime.gopark", "runtime.bgsweep")},
		{system, false, frames("runtime/trace.Start.func1")},
		{0, false, frames("main.main", "runtime.main")},
		{0, false, frames("main.f", "runtime.corostart")},
		{signal, false, frames("runtime.notetsleepg", "os/signal.signal_recv", "os/signal.loop")},
		{0, false, nil},
	} {
		f := New(nil)
		got := f.inspect(test.frames)
		if got.flags != test.want|atSeen || (got.class != 0) != test.class || (got.start != 0) != (test.frames != nil) {
			t.Errorf("%v: %+v, want flags %b, class %v", test.frames, got, test.want, test.class)
		}
	}
}
