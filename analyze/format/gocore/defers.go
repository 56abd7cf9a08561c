package gocore

import (
	"encoding/binary"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// pendingUnlock looks for a deferred Unlock of a lock that the frame has registered and not yet run.
func (t *target) pendingUnlock(s suspect, v *frameView, l *contended) (lockOp, bool) {
	if op := v.prospect.pending(l); op != opNone {
		return op, true
	}
	for _, closure := range s.w.pendingDefers(s.g, &v.holdFrame, v.lo, v.hi) {
		if slices.Contains(v.prospect.decided, closure) {
			continue // the words behind a closure may be another's
		}
		if op := t.unlocksWhat(s.w, closure, l); op != opNone {
			return op, true
		}
	}
	return opNone, false
}

// pendingDefers returns the closures of the deferred calls that a frame has registered and not yet run: those in the bits and
// slots of open-coded defers, and those in the goroutine's list of defer records. The slice is good until the next call.
func (w *worker) pendingDefers(g uint64, f *holdFrame, lo, hi uint64) []uint64 {
	w.closures = w.openClosures(w.closures[:0], &f.open, lo, hi, true)
	w.closures = w.recordedClosures(w.closures, g, lo, hi)
	return w.closures
}

// openDefers says where a function keeps its open-coded defers: distances below varp, the top of its locals
// (runtime/panic.go, initOpenCodedDefers; Go 1.21 has a slot offset for each defer, runOpenDeferFrame).
type openDefers struct {
	bits  uint64   // of the byte with a bit for each registered defer
	slots []uint64 // of each defer's closure; empty when the function has no open-coded defers
}

// openDefersOf reads the table of a function.
func (t *target) openDefersOf(mem *elfcore.View, fn pcln.Func) openDefers {
	at, ok := fn.FuncData(pcln.FuncDataOpenCodedDeferInfo)
	if !ok {
		return openDefers{}
	}
	info := atMost(mem, at, 64)
	bits, n := binary.Uvarint(info)
	if n <= 0 {
		return openDefers{}
	}
	return openDefers{bits, t.deferSlots(info[n:])}
}

// openClosures appends the closures of the open-coded defers whose bits are set, or of those whose bits are not.
func (w *worker) openClosures(closures []uint64, open *openDefers, lo, hi uint64, set bool) []uint64 {
	if len(open.slots) == 0 {
		return closures
	}
	top := hi // varp: below the return address and the saved frame pointer
	if !w.t.arm64 {
		top -= 8
	}
	if top > lo {
		top -= 8
	}
	bits, ok := w.u.mem.Uint8(top - open.bits)
	if !ok || bits == 0 && set {
		return closures
	}
	for i, slot := range open.slots {
		if (bits>>i&1 != 0) != set {
			continue
		}
		if c, ok := w.u.mem.Uint64(top - slot); ok && c != 0 {
			closures = append(closures, c)
		}
	}
	return closures
}

// deferSlots gives the distance of each defer's closure slot below varp.
func (t *target) deferSlots(info []byte) []uint64 {
	const most = 8 // a byte of bits
	first, n := binary.Uvarint(info)
	if n <= 0 {
		return nil
	}
	var slots []uint64
	if t.layout.Version.AtLeast(1, 22) {
		for i := range uint64(most) {
			slots = append(slots, first-8*i)
		}
		return slots
	}
	info = info[n:]
	for range min(first, most) {
		off, n := binary.Uvarint(info)
		if n <= 0 {
			break
		}
		info = info[n:]
		slots = append(slots, off)
	}
	slices.Reverse(slots) // the last defer comes first
	return slots
}

// maxDefers bounds the list of defer records.
const maxDefers = 1 << 12

// recordedClosures appends the closures of the defer records that a frame has made.
func (w *worker) recordedClosures(closures []uint64, g, lo, hi uint64) []uint64 {
	w.eachDefer(g, lo, hi, func(_, closure uint64) { closures = append(closures, closure) })
	return closures
}

// eachDefer visits the defer records that a frame has made, those whose sp lies in it, with their closures.
func (w *worker) eachDefer(g, lo, hi uint64, visit func(record, closure uint64)) {
	o := &w.t.off.Defer
	mem := w.u.mem
	at, _ := mem.Uint64(g + w.t.off.G.Defer)
	for n := 0; at != 0 && n < maxDefers; n++ {
		sp, ok := mem.Uint64(at + o.SP)
		if !ok {
			break
		}
		if fn, _ := mem.Uint64(at + o.Fn); sp >= lo && sp < hi && fn != 0 {
			visit(at, fn)
		}
		at, _ = mem.Uint64(at + o.Link)
		w.searched++
	}
}

// closureFunc is the function that a closure calls.
func (w *worker) closureFunc(closure uint64) (pcln.Func, bool) {
	if e := w.closureInfo(closure); e != nil {
		return e.fn, true
	}
	return pcln.Func{}, false
}

// closureInfo is what is known of the entry of the function that a closure calls; nil when it is none.
func (w *worker) closureInfo(closure uint64) *pcInfo {
	if closure == w.closure && closure != 0 {
		return w.closureIs
	}
	w.closure, w.closureIs = closure, w.findClosure(closure)
	return w.closureIs
}

func (w *worker) findClosure(closure uint64) *pcInfo {
	entry, ok := w.u.mem.Uint64(closure)
	if !ok {
		return nil
	}
	e := w.u.cache.known(entry)
	if e == nil {
		if fn, ok := w.t.tab.Find(entry); !ok || fn.Entry != entry {
			return nil // not kept: a damaged core has any number of these
		}
		e = w.u.info(entry)
	}
	if !e.ok || e.fn.Entry != entry {
		return nil
	}
	return e
}

// unlocksWhat reports whether calling a closure unlocks the lock: its code has an Unlock, and what it has captured leads that
// Unlock to the lock, or it names the global.
func (t *target) unlocksWhat(w *worker, closure uint64, l *contended) lockOp {
	fn, ok := w.closureFunc(closure)
	if !ok {
		return opNone
	}
	c := w.lockCodeOf(fn)
	if c == nil {
		if f := t.lockEntries[fn.Entry]; f.unlocks() && f.fits(l.kind) && t.captures(w, closure, l.addr) {
			return f.op // defer of the method itself
		}
		return opNone
	}
	captured := w.captured(closure)
	for i := range c.sites {
		s := &c.sites[i]
		if s.unlocks() && s.fits(l.kind) && t.aimOf(w, c, c.sites[i:i+1], captured, l) == aimLock {
			return s.op
		}
	}
	return opNone
}

// maxCaptured bounds the captured variables of a deferred function that are looked at.
const maxCaptured = 8

// captured are the words of a closure behind its code pointer.
func (w *worker) captured(closure uint64) []uint64 {
	var words []uint64
	for i := uint64(1); i <= maxCaptured; i++ {
		if _, next := w.closureFunc(closure + 8*i); next {
			break // closures of deferred calls stand one behind the other on the stack
		}
		if v, ok := w.u.mem.Uint64(closure + 8*i); ok {
			words = append(words, v)
		}
	}
	return words
}

// captures reports whether a closure has captured the address of the lock itself.
func (t *target) captures(w *worker, closure, lock uint64) bool {
	return slices.Contains(w.captured(closure), lock)
}

// unlockIn is the kind of Unlock that a deferred function calls.
func (w *worker) unlockIn(fn pcln.Func) lockFunc {
	c := w.lockCodeOf(fn)
	if c == nil {
		return w.t.lockEntries[fn.Entry] // defer of the method itself
	}
	for _, s := range c.sites {
		if s.op == opUnlock || s.op == opRUnlock {
			return s.lockFunc
		}
	}
	return lockFunc{}
}
