package gocore

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// What goroutines wait for counts them, or keeps them in a list. When that differs from the goroutines that were found waiting,
// something was not read or was read wrong, and the report must not speak of "all 40 waiters".

// waitKey is an object and what is wanted of it.
type waitKey struct {
	addr uint64
	kind evidence.SyncKind // as the wait reason says: a writer waits for the mutex at the address of its RWMutex
	mode evidence.WaitMode
}

// miscount is an object whose count differs.
type miscount struct {
	addr       uint64
	own, found int
}

// ownCount is how many an object says to wait for it.
type ownCount struct {
	key waitKey
	own int
	all bool // one goroutine wakes all of them, and none is in the count any more when it begins
}

// differs reports whether an object's own count of waiters is not that of the goroutines that were found. As many as are not parked
// may be on their way into the queue or out of it, and so may all when a goroutine is about to wake them.
func (t *target) differs(own, found int, all bool) bool {
	if all && own == 0 && t.waking > 0 {
		return false
	}
	return own-found > t.moving || found-own > t.moving
}

// wakeAll are the functions that take all waiters out of a queue at once and wake them one after the other (runtime/chan.go,
// runtime/sema.go, sync/waitgroup.go, sync/rwmutex.go; Go 1.21 to 1.26).
var wakeAll = []string{"runtime.closechan", "runtime.notifyListNotifyAll", "sync.runtime_notifyListNotifyAll", "sync.(*WaitGroup).Add",
	"sync.(*RWMutex).Unlock"}

// noteMoving notes a goroutine that is not parked.
func (t *target) noteMoving(w *worker, r *gRow) {
	t.moving++
	if slices.ContainsFunc(t.wakers, func(entry uint64) bool { return w.stackHas(r.stack, entry) }) {
		t.waking++
	}
}

// checkCounts compares the counts of a lock, a wait group or a condition that was read with the goroutines that wait for it.
func (t *target) checkCounts(s evidence.Sync) {
	for _, c := range t.countsOf(s) {
		if found := t.waiting[c.key]; t.differs(c.own, found, c.all) {
			t.miscounts = append(t.miscounts, miscount{s.Addr, c.own, found})
			return
		}
	}
}

// countsOf are the counts that an object keeps. An RWMutex (sync/rwmutex.go) has the mutex of its writers, the one writer that
// waits for readers to leave, and those readers that came while a writer held it or waited.
func (t *target) countsOf(s evidence.Sync) []ownCount {
	mutex := waitKey{s.Addr, evidence.SyncMutex, evidence.WaitLock}
	switch s.Kind {
	case evidence.SyncMutex:
		return []ownCount{{mutex, s.Waiters, false}}
	case evidence.SyncWaitGroup:
		return []ownCount{{waitKey{s.Addr, s.Kind, evidence.WaitZero}, s.Waiters, true}}
	case evidence.SyncCond:
		return t.countOfCond(s.Addr)
	case evidence.SyncRWMutex:
		state, ok1 := t.core.Mem.Uint32(s.Addr)
		count, ok2 := t.core.Mem.Uint32(s.Addr + rwReaderCount)
		if !ok1 || !ok2 {
			return nil
		}
		counts := []ownCount{{mutex, int(int32(state) >> mutexWaiterShift), false}}
		queued := 0
		if int32(count) < 0 {
			queued = int(int32(count)) + rwMaxReaders - s.Readers
		}
		pending := 0
		if s.Pending {
			pending = 1
		}
		return append(counts, ownCount{waitKey{s.Addr, s.Kind, evidence.WaitRLock}, queued, true},
			ownCount{waitKey{s.Addr, s.Kind, evidence.WaitLock}, pending, false})
	}
	return nil
}

// countOfCond is the number of tickets that a condition has given away and not called (runtime/sema.go, notifyList).
func (t *target) countOfCond(addr uint64) []ownCount {
	list := addr + waitKinds["sync.Cond.Wait"].back
	given, ok1 := t.core.Mem.Uint32(list + t.off.NotifyList.Wait)
	called, ok2 := t.core.Mem.Uint32(list + t.off.NotifyList.Notify)
	if !ok1 || !ok2 {
		return nil
	}
	return []ownCount{{waitKey{addr, evidence.SyncCond, evidence.WaitSignal}, int(int32(given - called)), true}}
}

// reportCounts files one Gap for all objects whose counts differ.
func (t *target) reportCounts() {
	if n := len(t.miscounts); n > 0 {
		m := t.miscounts[0]
		t.b.Gapf("who waits for locks", "%d locks count other numbers of waiters than were found; the one at %#x counts %d, and %d were found",
			n, m.addr, m.own, m.found)
	}
}

// alone marks the address of a channel in whose queues one goroutine stands, as it says itself. Channels are on the heap, at even addresses.
const alone = 1

// inQueue is the address of a channel in one of whose queues a parked goroutine should stand, marked when nobody else does.
func (w *worker) inQueue(c, sudog uint64) uint64 {
	o, ch := &w.t.off.Sudog, &w.t.off.Chan
	receives, ok1 := w.u.mem.Uint64(c + ch.RecvQ)
	sends, ok2 := w.u.mem.Uint64(c + ch.SendQ)
	next, ok3 := w.u.mem.Uint64(sudog + o.Next)
	if ok1 && ok2 && ok3 && next == 0 && (receives == sudog && sends == 0 || sends == sudog && receives == 0) {
		return c | alone
	}
	return c
}

// checkQueues compares the queues of channels with the goroutines that say that they wait there, a select as often as it has the channel.
func (t *target) checkQueues() {
	slices.Sort(t.queued)
	mem := t.core.Mem.View()
	var wrong []miscount
	for at := 0; at < len(t.queued); {
		c, found := t.queued[at]&^alone, 0
		only := t.queued[at] != c
		for ; at < len(t.queued) && t.queued[at]&^alone == c; at++ {
			found++
		}
		if only && found == 1 {
			continue
		}
		closed, ok := mem.Uint32(c + t.off.Chan.Closed)
		if !ok {
			continue
		}
		most := found + t.moving + 1 // what is beyond makes no difference any more
		own := t.queueLength(mem, c+t.off.Chan.RecvQ, most)
		own += t.queueLength(mem, c+t.off.Chan.SendQ, most-own)
		if t.differs(own, found, closed != 0) {
			wrong = append(wrong, miscount{c, own, found})
		}
	}
	t.queued = nil
	if n := len(wrong); n > 0 {
		m := wrong[0]
		t.b.Gapf("who waits for channels", "%d channels have other numbers of goroutines in their queues than wait for them; the one at %#x has %d, and %d wait",
			n, m.addr, m.own, m.found)
	}
}

// queueLength counts the parked goroutines in a queue of a channel, up to a number. Those of others stay there for a moment: a select
// that was woken takes itself out of the queues of its other channels when it runs (runtime/select.go).
func (t *target) queueLength(mem *elfcore.View, queue uint64, most int) (n int) {
	o := t.off
	sudog, _ := mem.Uint64(queue)
	for seen := 0; sudog != 0 && seen < most+t.moving; seen++ {
		g, ok1 := mem.Uint64(sudog + o.Sudog.G)
		status, ok2 := mem.Uint32(g + o.G.Status)
		if !ok1 || !ok2 {
			break
		}
		if parked(status &^ statusScan) {
			n++
		}
		if sudog, ok1 = mem.Uint64(sudog + o.Sudog.Next); !ok1 || n == most {
			break
		}
	}
	return n
}

// parked reports whether a goroutine of a status waits for something.
func parked(status uint32) bool {
	return status == statusWaiting || states[status] == evidence.StateLeaked
}

// checkCounts compares the queues of pools with the goroutines that wait in them.
func (s *poolSearch) checkCounts() {
	var wrong []miscount
	for _, addr := range sortedKeys(s.pools) {
		p := s.pools[addr]
		if p.kind != poolSQL && p.kind != poolSemaphore {
			continue // their waiters are counted one by one
		}
		if found := len(p.uses); s.t.differs(p.Waiting, found, false) && (p.Waiting > found || p.Waiting < found-p.asking-s.t.moving) {
			wrong = append(wrong, miscount{addr, p.Waiting, found})
		}
	}
	if n := len(wrong); n > 0 {
		m := wrong[0]
		s.t.b.Gapf("who waits for pools", "%d pools have other numbers of requests than goroutines wait for them; the %s at %#x has %d, and %d were found",
			n, s.pools[m.addr].Kind, m.addr, m.own, m.found)
	}
}
