package heap

import (
	"context"
	"fmt"
)

// Flood goes through the heap from roots, breadth first and with one worker, and gives every object that it reaches a place: a number that
// means something to the caller.
type Flood struct {
	// Root gives the place of an object to which a root leads. at is the address of the word of the root, 0 when that is not known.
	Root func(task uint32, at uint64, o Object) uint32
	// Step gives the place of an object to which an object at a place leads.
	Step func(place uint32, o Object) uint32
	// Stop reports whether an object is reached and not followed.
	Stop func(o Object) bool
}

// flow is what a Flood knows while it runs.
type flow struct {
	*Flood
	task  uint32
	place uint32 // of the object that is being followed
	inner bool   // an object is being followed, not a root
	next  []placed
}

type placed struct {
	o     Object
	place uint32
}

// reached asks for the place of a new object.
func (f *flow) reached(t *trace, o Object, follow bool) {
	p := placed{o: o}
	if f.inner {
		p.place = f.Step(f.place, o)
	} else {
		p.place = f.Root(f.task, t.at, o)
	}
	if follow && !f.Stop(o) {
		f.next = append(f.next, p)
	}
}

// Flood marks what the tasks reach. When it is called again, what was reached before is left alone. Each object is told once.
func (m *Marker) Flood(ctx context.Context, tasks []uint32, f *Flood) error {
	in := &flow{Flood: f}
	m.trace, m.pool = &trace{flow: in}, newPool(1)
	w := &Worker{m: m, h: m.h, block: &block{}, types: map[uint64]typeMap{}, most: 1}
	for _, task := range tasks {
		in.task, m.trace.at = task, 0
		if err := m.run(w, task); err != nil {
			return err
		}
	}
	in.inner = true
	var now []placed
	for len(in.next) > 0 {
		now, in.next = in.next, now[:0]
		for i, p := range now {
			const pause = 1 << 16
			if i%pause == 0 && ctx.Err() != nil {
				return fmt.Errorf("searching the heap: %w", ctx.Err())
			}
			in.place = p.place
			w.spread(p.o)
		}
	}
	return m.err
}

// spread reaches what an object points to.
func (w *Worker) spread(o Object) {
	if f := w.h.spans[o.span()].form; f == formBits || f == formHeader {
		w.scan(o)
		return
	}
	w.h.Pointers(o, func(_, value uint64, doubtful bool) bool {
		if to, ok := w.h.Find(value); ok && (!doubtful || w.h.Allocated(to)) {
			w.mark(value)
		}
		return true
	})
}

// Owned reports whether only a task scans the object: see Own.
func (m *Marker) Owned(o Object) bool {
	n := m.h.number(o)
	return m.bits[n>>5]>>(n&31)&1 != 0
}
