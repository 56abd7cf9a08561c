package heap

import "sync/atomic"

// Colour says from where an object is reached: from nowhere (0), from the roots of one owner (its number), or from those of several
// (Shared).
type Colour uint32

// Shared is the colour of what more than one owner keeps, and of what a root keeps that is nobody's own.
const Shared = ^Colour(0)

// NewPainter returns a Marker that gives colours instead of marks. A task says with Paint whose root it scans. The colour of an object
// only moves from none to one owner's to Shared, and it is scanned again when it moved: at most twice. Run may be called several times:
// once for the roots that are nobody's own saves work later. It takes four bytes for each place of the heap.
func (h *Heap) NewPainter(run func(w *Worker, task uint32) error) *Marker {
	m := h.NewMarker(run, nil)
	m.colours = make([]uint32, h.objects)
	return m
}

// Own says that only a task scans the object, with its Object method: whoever else reaches it learns nothing of what it leads to.
func (m *Marker) Own(o Object) {
	n := m.h.number(o)
	m.bits[n>>5] |= 1 << (n & 31)
}

// Colour is from where an object was reached.
func (m *Marker) Colour(o Object) Colour { return Colour(m.colours[m.h.number(o)]) }

// Paint sets the colour of what the task reaches from now on.
func (w *Worker) Paint(c Colour) { w.colour = uint32(c) }

// take makes the colour of an object that is about to be scanned that of what it leads to. Of a large object the index counts parts.
func (w *Worker) take(o Object) {
	if w.m.colours == nil {
		return
	}
	s := &w.h.spans[o.span()]
	n := s.first
	if s.form != formLarge {
		n += uint64(o.index())
	}
	w.colour = atomic.LoadUint32(&w.m.colours[n])
}

// tint gives an object the worker's colour.
func (w *Worker) tint(o Object, s *span, n uint64) {
	at := &w.m.colours[n]
	for {
		old := atomic.LoadUint32(at)
		if old == w.colour || old == uint32(Shared) || w.colour == 0 {
			return
		}
		next := w.colour
		if old != 0 {
			next = uint32(Shared)
		}
		if !atomic.CompareAndSwapUint32(at, old, next) {
			continue
		}
		if old == 0 {
			w.Objects++
			w.Bytes += s.size
		}
		if s.form != formNoScan && w.m.bits[n>>5]>>(n&31)&1 == 0 {
			w.push(uint64(o))
		}
		return
	}
}
