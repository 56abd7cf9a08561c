package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// There may be a hundred thousand goroutines, and nearly none holds a lock. What their code says of that is found out once for each
// return address and each function that is deferred; of the goroutines that are left no more than a few words are looked at.

// suspect is a goroutine with a frame that may hold a lock, whichever it is. There may be one for each goroutine, so it keeps
// no more than what it takes to walk the stack again.
type suspect struct {
	g        uint64
	w        *worker
	released uint64 // the lock that its Cond.Wait has unlocked, 0 outside of one
	awaits   uint64 // the object it waits for
}

// holdFramesOf finds the frames of the last walk that may hold a lock.
func (w *worker) holdFramesOf() []holdFrame {
	var found []holdFrame
	pcs := w.u.refs
	const depth = 256 // the frames of a deep recursion repeat
	for i, pc := range pcs[:min(len(pcs), depth)] {
		if w.u.cache.marks[pc]&markNoHold != 0 {
			continue
		}
		e := w.u.cache.infos[pc]
		if w.shared.get(e.pc)&markNoHold != 0 {
			w.u.cache.marks[pc] |= markNoHold
		} else if h := w.holdAt(e); h == &noHold {
			w.u.cache.marks[pc] |= markNoHold
			w.shared.put(e.pc, markNoHold)
		} else {
			f := *h
			f.index = i
			found = append(found, f)
		}
	}
	return found
}

// suspect notes the goroutine of the last walk when its stack has frames that may hold a lock.
func (w *worker) suspect(row *gRow, raw []byte) {
	s := &w.stacks[row.stack]
	if !s.searched {
		s.searched = true
		s.holds = w.holdFramesOf()
		s.cond = w.walked(w.t.condWait) + 1
		s.waiter = w.waiterFrame()
	}
	if len(s.holds) == 0 || len(w.suspects) >= maxSuspects {
		return
	}
	x := suspect{g: row.g, w: w, awaits: row.waitsOn}
	if s.cond > 0 {
		x.released = w.releasedBy(row)
	}
	if w.mayHold(&x, s, le.Uint64(raw[w.t.off.G.Defer:]) != 0) {
		w.suspects = append(w.suspects, x)
	}
}

// releasedBy is the lock that a goroutine inside Cond.Wait has unlocked: that of its Cond, which it waits for itself when it has
// been signalled.
func (w *worker) releasedBy(row *gRow) uint64 {
	if int(row.reason) >= len(w.t.kinds) || w.t.kinds[row.reason].kind != evidence.SyncCond {
		return row.waitsOn
	}
	const locker = 8 // sync.Cond{noCopy, L Locker, ...}: the second word of the interface (sync/cond.go)
	lock, _ := w.u.mem.Uint64(row.waitsOn + locker)
	return lock
}

// besides is a frame without what its call of Cond.Wait makes void: the one lock that it has passed is taken for the one that
// Wait has unlocked.
func (f *holdFrame) besides(s *suspect, cond int) holdFrame {
	rest := *f
	if f.voids(s, cond) {
		rest.sites = nil
	}
	return rest
}

func (f *holdFrame) voids(s *suspect, cond int) bool {
	return s.released != 0 && f.index == cond && len(f.sites) == 1
}

// mayHold reports whether the goroutine of the last walk holds some lock, as far as can be seen before the locks are known:
// nearly every goroutine of a server has frames with deferred calls, and nearly none of those is an Unlock. records says that it
// has records of deferred calls.
func (w *worker) mayHold(s *suspect, stack *stackRow, records bool) bool {
	for i := range stack.holds {
		f := &stack.holds[i]
		if len(f.sites) > 0 && !f.voids(s, stack.cond) || w.searched > maxSearch {
			return true
		}
		if f.ahead == nil && !records && len(f.open.slots) == 0 {
			continue
		}
		lo, hi, ok := w.u.extent(f.index)
		if !ok {
			continue
		}
		if f.ahead != nil && w.freesAnother(f, s, lo, f.index == stack.waiter) {
			return true
		}
		w.closures = w.openClosures(w.closures[:0], &f.open, lo, hi, true)
		if records {
			w.closures = w.recordedClosures(w.closures, s.g, lo, hi)
		}
		for _, closure := range w.closures {
			if w.closureUnlocks(closure) && (s.released == 0 || !w.t.captures(w, closure, s.released)) {
				return true
			}
		}
	}
	return false
}

// freesAnother reports whether a frame, when it goes on, unlocks something: what it waits for itself, in a call of its own, does not count,
// and neither does what is not known. A value that it calls may unlock something too: the Unlock of a sync.Locker does.
func (w *worker) freesAnother(f *holdFrame, s *suspect, sp uint64, waits bool) bool {
	place, found := &spot{w: w, sp: sp}, false
	w.searched += len(f.alike)
	for i, first := range f.alike {
		if first != int32(i) {
			continue
		}
		switch e := &f.ahead.Events[i]; act(e.Kind) {
		case actUnlock, actRUnlock, actDec:
			target, ok := w.ahead.terms.Eval(e.Target, sp, place)
			found = ok && !(waits && (target == s.awaits || target == s.awaits+rwReaderCount))
		case actDynamic:
			w.dynamic(e, place, 1, unlocking.has, func(doing) { found = true })
		}
		if found {
			return true
		}
	}
	return false
}

// unlocking are the acts that give a lock back.
var unlocking = setOf(actUnlock, actRUnlock, actDec)

// unlockClass says whether calling a closure of a function unlocks something.
type unlockClass uint8

const (
	unlocksUnknown unlockClass = iota
	unlocksNever
	unlocksAlways
	unlocksSome // what its closure leads to decides
)

// closureUnlocks reports whether calling a closure unlocks something.
func (w *worker) closureUnlocks(closure uint64) bool {
	e := w.closureInfo(closure)
	if e == nil {
		return false
	}
	if e.unlocks == unlocksUnknown {
		e.unlocks = w.unlockClassOf(e.fn)
	}
	return e.unlocks == unlocksAlways || e.unlocks == unlocksSome && w.unlocksValue(e.fn.Entry, closure)
}

// unlockClassOf says which class a deferred function is of.
func (w *worker) unlockClassOf(fn pcln.Func) unlockClass {
	if w.unlockIn(fn).op != opNone {
		return unlocksAlways
	}
	l := w.leadOf(fn.Entry)
	if !l.indirect {
		return unlocksNever
	}
	if _, acts := w.t.acts[fn.Entry]; acts || l.class != actNone {
		return unlocksSome
	}
	if r := w.readingAt(fn, fn.Entry); r != nil {
		if certain, perhaps := releases(r); certain || perhaps {
			return unlocksSome
		}
	}
	return unlocksNever
}

// unlocksValue reports whether a deferred function calls a value that unlocks something: the Unlock of a sync.Locker.
func (w *worker) unlocksValue(entry, closure uint64) bool {
	found := false
	w.called(entry, [3]uint64{closure}, maxDynamic, unlocking.has, func(doing) { found = true })
	w.searched++
	return found
}

// extent is the memory of a frame of the last walk; false when the next frame is on another stack.
func (u *unwinder) extent(frame int) (lo, hi uint64, ok bool) {
	if frame >= len(u.sps) {
		return 0, 0, false
	}
	lo = u.sps[frame]
	if frame+1 < len(u.sps) {
		hi = u.sps[frame+1]
	} else {
		hi = lo + u.cache.infos[u.refs[frame]].delta
	}
	return lo, hi, hi >= lo
}

// maxSuspects bounds the goroutines of one part of allgs whose stacks are searched for locks.
const maxSuspects = chunk
