package heap

import (
	"context"
	"fmt"
	"slices"
)

// trace remembers from where each object was reached, breadth first, so that the way to an object is a shortest one.
type trace struct {
	parent []uint64 // of each object: the object or task that it was reached from
	queue  []Object
	tasks  []uint32
	from   uint64
	want   map[uint64]bool // numbers of objects

	flow    *flow  // set when all that is reached gets a place; then the rest is not used
	at      uint64 // address of the word of a root that is being followed
	spied   uint64 // number of an object, plus one, that a root is searched for
	spiedAt uint64
}

// reached notes a new object.
func (t *trace) reached(number uint64, o Object, follow bool) {
	if t.flow != nil {
		t.flow.reached(t, o, follow)
		return
	}
	t.parent[number] = t.from
	t.queue = append(t.queue, o)
	delete(t.want, number)
}

// spies notes the address of the word that points to the object which is searched for.
func (t *trace) spies(h *Heap, at, value uint64) bool {
	t.at = at
	if t.spied == 0 {
		return false
	}
	if o, ok := h.Find(value); ok && h.number(o)+1 == t.spied && t.spiedAt == 0 {
		t.spiedAt = at
	}
	return true
}

// Step is an object on the way to another, with the offset of the pointer to the next step.
type Step struct {
	Object Object
	Offset uint64
}

// Way is how an object was reached: from a word of a root, through objects. The last step is the object itself.
type Way struct {
	Task  uint32
	At    uint64 // address of the word of the root; 0 when it is not known
	Steps []Step
}

// Ways are the ways to the objects that a Trace has reached.
type Ways struct {
	w *Worker
	t *trace
}

// Trace marks with one worker, breadth first, until the wanted objects are found or nothing more can be reached. It takes eight bytes for
// every object of the heap.
func (m *Marker) Trace(ctx context.Context, tasks []uint32, want []Object) (*Ways, error) {
	t := &trace{parent: make([]uint64, m.h.objects), tasks: slices.Clone(tasks), want: map[uint64]bool{}}
	for _, o := range want {
		t.want[m.h.number(o)] = true
	}
	m.trace, m.pool = t, newPool(1)
	w := &Worker{m: m, h: m.h, block: &block{}, types: map[uint64]typeMap{}, most: 1}
	const pause = 1 << 12
	for n := 0; len(t.want) > 0 && (len(t.tasks) > 0 || len(t.queue) > 0); n++ {
		if n%pause == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("searching the heap: %w", ctx.Err())
		}
		if err := w.next(t); err != nil {
			return nil, err
		}
	}
	return &Ways{w, t}, nil
}

// To returns the way to an object; false when it was not reached.
func (s *Ways) To(o Object) (Way, bool) {
	if !s.w.m.Marked(o) {
		return Way{}, false
	}
	return s.w.way(s.t, o), true
}

// next does a task, or scans an object. Tasks go first: roots are the shortest ways.
func (w *Worker) next(t *trace) error {
	if len(t.tasks) > 0 {
		task := t.tasks[0]
		t.tasks = t.tasks[1:]
		t.from = taskBit | uint64(task)
		return w.m.run(w, task)
	}
	o := t.queue[0]
	t.queue = t.queue[1:]
	t.from = uint64(o)
	held := w.m.heldOf(o)
	w.h.Pointers(o, func(offset, value uint64, doubtful bool) bool {
		if word := offset / wordBytes; held != 0 && word < 64 && held>>word&1 != 0 {
			return true
		}
		if to, ok := w.h.Find(value); ok && (!doubtful || w.h.Allocated(to)) {
			w.mark(value)
		}
		return true
	})
	return nil
}

// maxWay bounds a way: a list of a million elements is no explanation, and only its ends are kept.
const maxWay = 1 << 10

// way goes back from an object to a root.
func (w *Worker) way(t *trace, o Object) Way {
	var back []Step
	child := None
	for {
		step := Step{Object: o}
		if child != None {
			step.Offset = w.offsetOf(o, child)
		}
		back = append(back, step)
		if len(back) > maxWay {
			back = append(back[:maxWay/2], back[maxWay/2+1:]...)
		}
		parent := t.parent[w.h.number(o)]
		if parent&taskBit != 0 {
			way := Way{Task: uint32(parent)}
			for i := len(back) - 1; i >= 0; i-- {
				way.Steps = append(way.Steps, back[i])
			}
			way.At = w.rootWord(t, way.Task, o)
			return way
		}
		child, o = o, Object(parent)
	}
}

// offsetOf finds the pointer from one object to another.
func (w *Worker) offsetOf(o, child Object) uint64 {
	found := uint64(0)
	w.h.Pointers(o, func(offset, value uint64, doubtful bool) bool {
		to, ok := w.h.Find(value)
		if ok && to == child {
			found = offset
			return false
		}
		return true
	})
	return found
}

// rootWord does a task once more to find the word of it that points to an object.
func (w *Worker) rootWord(t *trace, task uint32, o Object) uint64 {
	t.spied, t.spiedAt = w.h.number(o)+1, 0
	defer func() { t.spied = 0 }()
	if err := w.m.run(w, task); err != nil {
		return 0
	}
	return t.spiedAt
}
