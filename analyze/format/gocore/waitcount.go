package gocore

import "github.com/gopostmortem/postmortem/analyze/evidence"

// A lock counts those that wait for it. When the count differs from the goroutines that were found waiting, something was not
// read or was read wrong, and the report must not speak of "all 40 waiters".

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

// checkCounts compares the counts of a lock that was read with the goroutines that wait for it. As many as are not parked may
// be on their way into the queue or out of it.
func (t *target) checkCounts(s evidence.Sync) {
	for _, c := range t.countsOf(s) {
		found := t.waiting[c.key]
		if d := c.own - found; d > t.moving || -d > t.moving {
			t.miscounts = append(t.miscounts, miscount{s.Addr, c.own, found})
			return
		}
	}
}

// ownCount is how many an object says to wait for it.
type ownCount struct {
	key waitKey
	own int
}

// countsOf are the counts that an object keeps. An RWMutex (sync/rwmutex.go) has the mutex of its writers, the one writer that
// waits for readers to leave, and those readers that came while a writer held it or waited.
func (t *target) countsOf(s evidence.Sync) []ownCount {
	mutex := waitKey{s.Addr, evidence.SyncMutex, evidence.WaitLock}
	switch s.Kind {
	case evidence.SyncMutex:
		return []ownCount{{mutex, s.Waiters}}
	case evidence.SyncWaitGroup:
		return []ownCount{{waitKey{s.Addr, s.Kind, evidence.WaitZero}, s.Waiters}}
	case evidence.SyncRWMutex:
		state, ok1 := t.core.Mem.Uint32(s.Addr)
		count, ok2 := t.core.Mem.Uint32(s.Addr + rwReaderCount)
		if !ok1 || !ok2 {
			return nil
		}
		counts := []ownCount{{mutex, int(int32(state) >> mutexWaiterShift)}}
		queued := 0
		if int32(count) < 0 {
			queued = int(int32(count)) + rwMaxReaders - s.Readers
		}
		pending := 0
		if s.Pending {
			pending = 1
		}
		return append(counts, ownCount{waitKey{s.Addr, s.Kind, evidence.WaitRLock}, queued},
			ownCount{waitKey{s.Addr, s.Kind, evidence.WaitLock}, pending})
	}
	return nil
}

// reportCounts files one Gap for all objects whose counts differ.
func (t *target) reportCounts() {
	if n := len(t.miscounts); n > 0 {
		m := t.miscounts[0]
		t.b.Gapf("who waits for locks", "%d locks count other numbers of waiters than were found; the one at %#x counts %d, and %d were found",
			n, m.addr, m.own, m.found)
	}
}
