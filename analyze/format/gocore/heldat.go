package gocore

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
			f.ahead = r
		}
	}
	if len(f.sites)+len(f.released) == 0 && !f.defers && f.ahead == nil {
		return &noHold
	}
	return &f
}
