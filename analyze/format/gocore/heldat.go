package gocore

import "github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"

// noHold stands for a pc at which a function holds and releases nothing.
var noHold holdFrame

// holdAt says what a function may hold at a pc; it is found out once per pc.
func (w *worker) holdAt(e *pcInfo) *holdFrame {
	if e.hold == nil {
		e.hold = w.findHold(e)
	}
	return e.hold
}

func (w *worker) findHold(e *pcInfo) *holdFrame {
	if !e.ok || w.t.libraryEntry[e.fn.Entry] {
		return &noHold
	}
	f := holdFrame{defers: e.fn.DeferReturn() != 0}
	if f.defers {
		f.open = w.t.openDefersOf(w.u.mem, e.fn)
	}
	if c := w.lockCodeOf(e.fn); c != nil {
		f.code, f.sites, f.released = c, c.heldAt(e.pc, w.t.arm64), c.releasedAt(e.pc, w.t.arm64)
		f.first = len(f.released) > 0 && c.unlocksFirst(w.t.arm64) != nil
		f.maybe = len(f.sites) > 0 && c.avoids(f.sites, e.pc, w.t.arm64)
	}
	if r := w.readingOf(e); r != nil && !lockMethod(e.fn.Name()) && !w.t.isRuntime(e.fn) {
		f.frees, f.calls = releases(r)
		if f.frees || f.calls {
			f.ahead, f.alike = r, alike(r)
		}
	}
	if len(f.sites)+len(f.released) == 0 && !f.defers && f.ahead == nil {
		return &noHold
	}
	return &f
}

// alike finds the events of a reading that do the same to the same: a function comes to one call by many ways, and what the call does to
// locks is worked out once for each goroutine.
func alike(r *ahead.Reading) []int32 {
	list := make([]int32, len(r.Events))
	for i := range r.Events {
		e := &r.Events[i]
		if k := act(e.Kind); k != actDynamic && !locking.has(k) {
			list[i] = -1
			continue
		}
		first := 0
		for o := &r.Events[0]; o.Target != e.Target || o.Kind != e.Kind || act(e.Kind) == actDynamic && o.Extra != e.Extra; o = &r.Events[first] {
			first++
		}
		list[i] = int32(first)
	}
	return list
}
