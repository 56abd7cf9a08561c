package gocore

import (
	"encoding/binary"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// pendingUnlock looks for a deferred Unlock of a lock that the frame has registered and not yet run: in the bits and slots of
// open-coded defers, and in the goroutine's list of defer records.
func (t *target) pendingUnlock(s suspect, fn pcln.Func, lo, hi uint64, l *contended) (lockOp, bool) {
	for _, closure := range t.openDefers(s.w, fn, lo, hi) {
		if op := t.unlocksWhat(s.w, closure, l); op != opNone {
			return op, true
		}
	}
	for _, closure := range t.deferRecords(s.row.g, lo, hi) {
		if op := t.unlocksWhat(s.w, closure, l); op != opNone {
			return op, true
		}
	}
	return opNone, false
}

// openDefers returns the closures of the open-coded defers of a frame whose bits are set (runtime/panic.go,
// initOpenCodedDefers; Go 1.21 has a slot offset for each defer, runOpenDeferFrame).
func (t *target) openDefers(w *worker, fn pcln.Func, lo, hi uint64) []uint64 {
	at, ok := fn.FuncData(pcln.FuncDataOpenCodedDeferInfo)
	if !ok {
		return nil
	}
	info := atMost(w.u.mem, at, 64)
	top := hi // varp: below the return address and the saved frame pointer
	if !t.arm64 {
		top -= 8
	}
	if top > lo {
		top -= 8
	}
	bitsAt, n := binary.Uvarint(info)
	if n <= 0 {
		return nil
	}
	info = info[n:]
	bits, ok := w.u.mem.Uint8(top - bitsAt)
	if !ok || bits == 0 {
		return nil
	}
	var closures []uint64
	for i, slot := range t.deferSlots(info) {
		if bits&(1<<i) == 0 {
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
	return slots
}

// maxDefers bounds the list of defer records.
const maxDefers = 1 << 12

// deferRecords returns the closures of the defer records that a frame has made: those whose sp lies in it.
func (t *target) deferRecords(g, lo, hi uint64) []uint64 {
	o := &t.off.Defer
	mem := t.core.Mem
	at, _ := mem.Uint64(g + t.off.G.Defer)
	var closures []uint64
	for n := 0; at != 0 && n < maxDefers; n++ {
		sp, ok := mem.Uint64(at + o.SP)
		if !ok {
			break
		}
		if fn, _ := mem.Uint64(at + o.Fn); sp >= lo && sp < hi && fn != 0 {
			closures = append(closures, fn)
		}
		at, _ = mem.Uint64(at + o.Link)
		t.searched++
	}
	return closures
}

// unlocksWhat reports whether calling a closure unlocks the lock: its code has an Unlock, and it has captured the lock, or names
// the global.
func (t *target) unlocksWhat(w *worker, closure uint64, l *contended) lockOp {
	entry, ok := w.u.mem.Uint64(closure)
	if !ok {
		return opNone
	}
	fn, ok := t.tab.Find(entry)
	if !ok || fn.Entry != entry {
		return opNone
	}
	f := t.unlockIn(w, fn)
	if f.op == opNone || !f.fits(l.kind) {
		return opNone
	}
	if l.global {
		if t.codeNames(w, fn, l.addr) {
			return f.op
		}
		return opNone
	}
	if t.captures(w, closure, l.addr) {
		return f.op
	}
	return opNone
}

// captures reports whether a closure has captured the address of the lock itself. One that has captured only the object
// around the lock may unlock another lock in it.
func (t *target) captures(w *worker, closure, lock uint64) bool {
	const most = 8
	for i := uint64(1); i <= most; i++ {
		if v, ok := w.u.mem.Uint64(closure + 8*i); ok && v == lock {
			return true
		}
	}
	return false
}

// unlockIn is the kind of Unlock that a deferred function calls.
func (t *target) unlockIn(w *worker, fn pcln.Func) lockFunc {
	c := w.lockCodeOf(fn)
	if c == nil {
		return t.lockEntries[fn.Entry] // defer of the method itself
	}
	for _, s := range c.sites {
		if s.op == opUnlock || s.op == opRUnlock {
			return s.lockFunc
		}
	}
	return lockFunc{}
}
