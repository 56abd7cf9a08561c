package gocore

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
)

// A frame that will unlock a lock before it would lock it holds it: to unlock what is not locked is fatal. And the code that a
// frame has passed tells which locks it has taken, where the frame still keeps what led to them.

// turn is what an act does to one lock.
type turn uint8

const (
	turnNone turn = iota
	turnLock
	turnRLock
	turnTry // it may have taken the lock
	turnUnlock
	turnRUnlock
)

// takes reports whether a turn may leave the lock taken.
func (t turn) takes() bool { return t == turnLock || t == turnRLock || t == turnTry }

// frees reports whether a turn gives the lock back.
func (t turn) frees() bool { return t == turnUnlock || t == turnRUnlock }

// locking are the acts that take a lock or give it back.
var locking = setOf(actLock, actRLock, actUnlock, actRUnlock, actTry, actTake, actInc, actDec)

// turnOf says what an act on a word does to a lock: an inlined method changes the word of a Mutex, or the count of readers.
func turnOf(a act, target uint64, l *contended) turn {
	count := l.kind == evidence.SyncRWMutex && target == l.addr+rwReaderCount
	switch {
	case count && a == actInc:
		return turnRLock
	case count && a == actDec:
		return turnRUnlock
	case count && (a == actTry || a == actTake):
		return turnTry
	case target != l.addr:
		return turnNone
	case l.kind == evidence.SyncMutex && (a == actRLock || a == actRUnlock):
		return turnNone // it is the mutex inside an RWMutex, for which writers wait: readers never take it (sync/rwmutex.go)
	}
	switch a {
	case actLock, actTake:
		return turnLock
	case actRLock:
		return turnRLock
	case actTry:
		return turnTry
	case actUnlock:
		return turnUnlock
	case actRUnlock:
		return turnRUnlock
	case actDec:
		if l.kind == evidence.SyncMutex {
			return turnUnlock
		}
	}
	return turnNone
}

// releases reports whether a reading unlocks something, and whether it calls values, which may do so.
func releases(r *ahead.Reading) (certain, perhaps bool) {
	for i := range r.Events {
		switch act(r.Events[i].Kind) {
		case actUnlock, actRUnlock, actDec:
			certain = true
		case actDynamic:
			perhaps = true
		}
	}
	return certain, perhaps
}

// lockMethod reports whether a function is part of a lock itself: what it does to the lock is the call that is in progress.
func lockMethod(name string) bool {
	return strings.HasPrefix(name, "internal/sync.") || strings.HasPrefix(name, "sync.(*Mutex)") || strings.HasPrefix(name, "sync.(*RWMutex)")
}

// prospect is what a frame will do to locks, worked out for one goroutine.
type prospect struct {
	doings   [][]doing // by event of the reading
	deferred []doing   // by the deferred calls that are pending
	decided  []uint64  // closures of those of which it is known what they do
}

// prospectOf works out what the code ahead of a frame and its deferred calls do to locks.
func (w *worker) prospectOf(s suspect, v *frameView) prospect {
	var p prospect
	if v.ahead != nil {
		place := &spot{w: w, sp: v.lo}
		p.doings = make([][]doing, len(v.ahead.Events))
		for i, first := range v.alike {
			switch {
			case first == int32(i):
				p.doings[i] = w.lockDoings(&v.ahead.Events[i], place)
			case first >= 0:
				p.doings[i] = p.doings[first]
			}
		}
		w.searched += len(p.doings)
	}
	if v.defers {
		for _, closure := range w.pendingDefers(s.g, &v.holdFrame, v.lo, v.hi) {
			if fn, ok := w.closureFunc(closure); ok {
				known := len(p.deferred)
				w.called(fn.Entry, [3]uint64{closure}, maxDynamic, locking.has, func(d doing) { p.deferred = append(p.deferred, d) })
				if len(p.deferred) > known {
					p.decided = append(p.decided, closure)
				}
			}
		}
	}
	return p
}

// lockDoings is what one event does to locks: a call of a value may do several things.
func (w *worker) lockDoings(e *ahead.Event, place *spot) []doing {
	kind := act(e.Kind)
	if kind == actDynamic {
		var all []doing
		w.dynamic(e, place, 1, locking.has, func(d doing) { all = append(all, d) })
		return all
	}
	if !locking.has(kind) {
		return nil
	}
	target, ok := w.ahead.terms.Eval(e.Target, place.sp, place)
	if !ok {
		return nil
	}
	return []doing{{act: kind, target: target}}
}

// touches reports whether anything is done to a lock: nearly always not.
func (p *prospect) touches(l *contended) bool {
	for _, list := range p.doings {
		for _, d := range list {
			if d.target == l.addr || d.target == l.addr+rwReaderCount {
				return true
			}
		}
	}
	return false
}

// pending is the Unlock of a lock that the deferred calls make.
func (p *prospect) pending(l *contended) lockOp {
	for _, d := range p.deferred {
		switch turnOf(d.act, d.target, l) {
		case turnUnlock:
			return opUnlock
		case turnRUnlock:
			return opRUnlock
		}
	}
	return opNone
}

// outlook is what a frame will do to one lock.
type outlook struct {
	frees  turn // turnUnlock or turnRUnlock when it will give the lock back without taking it before
	leaves bool // it will take the lock and not give it back
}

// outlookOn works out what a frame will do to a lock. waits says that the call that is in progress takes it.
func (v *frameView) outlookOn(l *contended, waits bool) outlook {
	if v.ahead == nil || !v.prospect.touches(l) {
		return outlook{leaves: waits}
	}
	turns := make([]turn, len(v.ahead.Events))
	for i, list := range v.prospect.doings {
		for _, d := range list {
			if t := turnOf(d.act, d.target, l); t != turnNone {
				turns[i] = t
			}
		}
	}
	o := outlook{leaves: waits}
	given := map[int32]bool{} // the takings, by event, that are given back; -1 is the call in progress
	for i, t := range turns {
		e := &v.ahead.Events[i]
		if !t.frees() {
			continue
		}
		k := e.Past
		for k >= 0 && turns[k] == turnNone {
			k = v.ahead.Events[k].Past
		}
		given[k] = true
		if k < 0 && !waits && !e.Aside && o.frees == turnNone {
			o.frees = t
		}
		if e.Aside {
			return outlook{frees: o.frees} // a defer statement: all that was taken before is given back
		}
	}
	o.leaves = waits && !given[-1]
	for i, t := range turns {
		if (t == turnLock || t == turnRLock) && !v.ahead.Events[i].Aside && !given[int32(i)] && !again(v.ahead, turns, int32(i)) {
			o.leaves = true
		}
	}
	return o
}

// again reports whether the taking of a lock goes on in another event of the same taking: the slow path of an inlined Lock.
func again(r *ahead.Reading, turns []turn, at int32) bool {
	for i, t := range turns {
		if k := r.Events[i].Past; t.takes() && k == at {
			return true
		}
	}
	return false
}

// defersAgain reports whether a frame that waits for a lock has taken it in an earlier round of a loop: a deferred call that gives it back
// is pending, the record of which a defer statement in a loop has made (runtime/panic.go, deferproc; others lie on the stack), and the
// function comes to no such statement without passing the Lock that is in progress.
func (t *target) defersAgain(s suspect, v *frameView, l *contended) bool {
	w := s.w
	var locks []lockSite
	for _, site := range v.code.sites {
		if !site.unlocks() && site.fits(l.kind) && v.code.inside(site, v.pc) {
			locks = append(locks, site)
		}
	}
	statements, before := 0, false
	eachCall(v.code.code, v.fn.Entry, t.arm64, func(at, size, to uint64) {
		if t.acts[to].act == actDefer {
			statements++
			before = before || v.code.avoids(locks, at+size, t.arm64)
		}
	})
	if len(locks) == 0 || statements == 0 || before {
		return false
	}
	found, stack := false, t.stackOf(s.g)
	w.eachDefer(s.g, v.lo, v.hi, func(record, closure uint64) {
		found = found || !stack.holds(record) && t.unlocksWhat(w, closure, l) != opNone
	})
	return found
}

// trace is whether a frame has taken a lock by what it has passed.
type trace uint8

const (
	traceUnknown trace = iota
	traceFree          // no way to where it stands leaves the lock taken
	traceSome          // some ways leave it taken
	traceHeld          // all that were followed do
)

// passedBy follows a frame from its entry: has it taken a lock and not given it back? mode is how, and site is the address behind
// the call that took it.
func (w *worker) passedBy(f *leadCode, place *spot, l *contended, waits bool) (t trace, mode turn, site uint64) {
	arrivals := w.arrivalsAt(f)
	held, free := 0, 0
	for i := range arrivals {
		switch m, at := w.lastTurn(&arrivals[i], place, l, waits); {
		case m == turnLock || m == turnRLock:
			held++
			mode, site = m, at
		case m != turnTry:
			free++
		}
	}
	partial := w.ahead.partial[readingKey{f.pc, f.exact}]
	switch {
	case held > 0 && held == len(arrivals):
		t = traceHeld
	case held > 0:
		t = traceSome
	case free > 0 && free == len(arrivals) && !partial:
		t = traceFree
	}
	return t, mode, site
}

// lastTurn is what a way did last to a lock; turnTry when that is not certain. waits says that the call that is in progress takes
// the lock: when it is inlined, its beginning was passed.
func (w *worker) lastTurn(a *ahead.Arrival, place *spot, l *contended, waits bool) (turn, uint64) {
	bound := a.Bind(place.sp, place)
	took, certain := false, true
	for i := range a.Events {
		e := &a.Events[i]
		k := act(e.Kind)
		if e.Aside || k != actDynamic && !locking.has(k) {
			continue
		}
		target, ok := bound.Eval(&w.ahead.terms, e.Target)
		if k == actDynamic || !ok {
			if k == actUnlock || k == actRUnlock || k == actDec {
				return turnTry, 0 // it may be this lock that was given back
			}
			certain = false // it may be this lock that was taken
			continue
		}
		t := turnOf(k, target, l)
		if waits && (k == actTake || k == actInc) && t.takes() {
			waits = false
			continue
		}
		if t != turnNone {
			return t, e.At
		}
		took = took || k == actLock || k == actRLock || k == actTake
	}
	if took && certain {
		return turnNone, 0 // it has taken others, and all that it has taken are known
	}
	return turnTry, 0
}
