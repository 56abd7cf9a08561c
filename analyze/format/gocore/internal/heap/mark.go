package heap

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// chunkBytes is how much of a large object is scanned at a time (runtime/mgcmark.go, maxObletBytes).
const chunkBytes = 128 << 10

// taskBit tells a task from an object in the queue.
const taskBit = 1 << 63

// Marker finds what can be reached. Its fields are set before Run, and the methods that look at marks are for afterwards.
type Marker struct {
	h       *Heap
	bits    []uint32 // one for each place for an object
	run     func(w *Worker, task uint32) error
	watched func(w *Worker, o Object)
	held    []heldWord // words of objects that are not followed
	pool    *pool
	mu      sync.Mutex
	err     error
	trace   *trace   // set when the way to objects is wanted
	colours []uint32 // of each place for an object; nil unless colours are wanted, and then the bits say what has an owner
	// Guard calls a function and turns its panic into an error: the core is a mapped file, which may be cut while it is read.
	Guard func(func() error) error

	Counts
}

// Counts sums up a run.
type Counts struct {
	Objects, Bytes uint64 // marked
	Precise        uint64 // words of roots that are pointers for sure
	Doubtful       uint64 // words of roots and objects that were taken for pointers
}

func (c *Counts) add(o Counts) {
	c.Objects += o.Objects
	c.Bytes += o.Bytes
	c.Precise += o.Precise
	c.Doubtful += o.Doubtful
}

// NewMarker returns a Marker without marks. run does a task: it hands the words of a root to its Worker. watched is called once for each
// watched object when it is marked. Both are called from several goroutines; watched may only call Task.
func (h *Heap) NewMarker(run func(w *Worker, task uint32) error, watched func(w *Worker, o Object)) *Marker {
	return &Marker{h: h, bits: make([]uint32, (h.objects+31)/32), run: run, watched: watched}
}

// Watch asks for a call when the object is marked. It changes the index: one Marker at a time may watch.
func (m *Marker) Watch(o Object) { m.h.spans[o.span()].watch = true }

// Hold keeps a word of an object from being followed. ok is false for an object without a bitmap, of which no word can be held.
func (m *Marker) Hold(o Object, offset uint64) (ok bool) {
	s := &m.h.spans[o.span()]
	if s.form != formBits || offset >= s.size {
		return false
	}
	s.held = true
	n, mask := m.h.number(o), uint64(1)<<(offset/wordBytes)
	i := slices.IndexFunc(m.held, func(h heldWord) bool { return h.mask == mask })
	if i < 0 {
		i = len(m.held)
		m.held = append(m.held, heldWord{mask, make([]uint32, len(m.bits))})
	}
	m.held[i].bits[n>>5] |= 1 << (n & 31)
	return true
}

// heldWord is a word that is held in some objects. There may be a million of these, and few words: those of a sudog.
type heldWord struct {
	mask uint64   // of one bit
	bits []uint32 // one for each place for an object
}

// heldOf are the words of an object that are held, a bit for each.
func (m *Marker) heldOf(o Object) uint64 {
	n, mask := m.h.number(o), uint64(0)
	for i := range m.held {
		if m.held[i].bits[n>>5]>>(n&31)&1 != 0 {
			mask |= m.held[i].mask
		}
	}
	return mask
}

// Marked reports whether an object was reached.
func (m *Marker) Marked(o Object) bool {
	n := m.h.number(o)
	return m.bits[n>>5]>>(n&31)&1 != 0
}

// Run does the tasks and marks what they reach, with so many workers. The error is the first of a task's, or the context's.
func (m *Marker) Run(ctx context.Context, tasks []uint32, workers int) error {
	workers = max(workers, 1)
	m.pool = newPool(workers)
	for len(tasks) > 0 {
		b := &block{}
		for b.n < min(len(tasks), blockItems/8) { // small blocks, so that all workers have some
			b.items[b.n] = taskBit | uint64(tasks[b.n])
			b.n++
		}
		tasks = tasks[b.n:]
		m.pool.full = append(m.pool.full, b)
	}
	var wait sync.WaitGroup
	all := make([]*Worker, workers)
	for i := range all {
		all[i] = &Worker{m: m, h: m.h, block: &block{}, types: map[uint64]typeMap{}, most: workers}
		wait.Go(func() {
			if err := m.guard(func() { all[i].loop(ctx) }); err != nil {
				m.fail(err)
			}
		})
	}
	wait.Wait()
	for _, w := range all {
		m.Counts.add(w.Counts)
	}
	if err := ctx.Err(); err != nil && m.err == nil {
		return fmt.Errorf("marking the heap: %w", err)
	}
	return m.err
}

func (m *Marker) guard(run func()) error {
	if m.Guard == nil {
		run()
		return nil
	}
	return m.Guard(func() error {
		run()
		return nil
	})
}

func (m *Marker) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
	m.pool.stop()
}

// Worker marks. It is for one goroutine.
type Worker struct {
	Counts
	m     *Marker
	h     *Heap
	block *block
	types map[uint64]typeMap
	most  int
	// colour is whose roots are being scanned.
	colour uint32
	// Last type that was asked for: most objects of a span have the same.
	typ     uint64
	typMost uint64
	typMap  typeMap
	warmth  byte // of no meaning: see warm
	// User is the caller's own: what its tasks keep from one to the next.
	User any
}

// Heap is the heap that is marked.
func (w *Worker) Heap() *Heap { return w.h }

// loop takes work until there is none.
func (w *Worker) loop(ctx context.Context) {
	const pause = 1 << 12 // items between two looks at the others
	for n := 0; ; n++ {
		if w.block.n == 0 {
			b := w.m.pool.get(w.block)
			if b == nil {
				return
			}
			w.block = b
		}
		if n%pause == 0 && ctx.Err() != nil {
			w.m.pool.stop()
			return
		}
		if n%64 == 0 && w.most > 1 && w.block.n > 1 && w.m.pool.hungry() {
			w.share()
		}
		w.block.n--
		item := w.block.items[w.block.n]
		if item&taskBit == 0 {
			w.take(Object(item))
			w.scan(Object(item))
		} else if err := w.m.run(w, uint32(item)); err != nil {
			w.m.fail(err)
			return
		}
	}
}

// share gives half of the work away.
func (w *Worker) share() {
	half := w.block.n / 2
	b := &block{n: half}
	copy(b.items[:], w.block.items[:half])
	w.block.n = copy(w.block.items[:], w.block.items[half:w.block.n])
	w.m.pool.put(b)
}

func (w *Worker) push(item uint64) {
	if w.block.n == blockItems {
		w.block = w.m.pool.put(w.block)
	}
	w.block.items[w.block.n] = item
	w.block.n++
}

// Task asks for a task to be done.
func (w *Worker) Task(task uint32) {
	if w.m.trace != nil {
		w.m.trace.tasks = append(w.m.trace.tasks, task)
		return
	}
	w.push(taskBit | uint64(task))
}

// Root marks what a word of a root at an address points to.
func (w *Worker) Root(at, value uint64) {
	w.Precise++
	if w.m.trace != nil && w.m.trace.spies(w.h, at, value) {
		return
	}
	w.mark(value)
}

// Doubt marks the object that a word may point to: one that is allocated.
func (w *Worker) Doubt(at, value uint64) {
	o, ok := w.h.Find(value)
	if !ok || !w.h.Allocated(o) || w.m.trace != nil && w.m.trace.spies(w.h, at, value) {
		return
	}
	w.Doubtful++
	w.mark(value)
}

// Object scans an object without marking it: what a finalizer will reach through it.
func (w *Worker) Object(o Object) {
	if w.m.trace != nil || w.m.colours != nil {
		w.h.Pointers(o, func(offset, value uint64, doubtful bool) bool {
			w.Root(w.h.Base(o)+offset, value)
			return true
		})
		return
	}
	w.scan(o)
}

// mark marks the object that holds an address, if it is one of the heap.
func (w *Worker) mark(addr uint64) {
	o, ok := w.h.Find(addr)
	if !ok {
		return
	}
	s := &w.h.spans[o.span()]
	n := s.first + uint64(o.index())
	if w.m.colours != nil {
		w.tint(o, s, n)
		return
	}
	word, bit := &w.m.bits[n>>5], uint32(1)<<(n&31)
	if atomic.LoadUint32(word)&bit != 0 || atomic.OrUint32(word, bit)&bit != 0 {
		return
	}
	w.Objects++
	w.Bytes += s.size
	if s.watch && w.m.watched != nil {
		w.m.watched(w, o)
	}
	if w.m.trace != nil {
		w.m.trace.reached(n, o, s.form != formNoScan)
	} else if s.form != formNoScan {
		w.warm(s, o.index())
		w.push(uint64(o))
	}
}

// warm reads a byte of an object that will be scanned soon, and one of its bitmap, so that they are on their way from memory meanwhile:
// most of the time of a mark goes by waiting for them, one after the other.
func (w *Worker) warm(s *span, index uint32) {
	if at := uint64(index) * s.size; at < uint64(len(s.mem)) {
		w.warmth += s.mem[at]
	}
	if at := uint64(s.bits) + uint64(index)*(s.size/wordBytes)/8; s.form == formBits && at < uint64(len(s.mem)) {
		w.warmth += s.mem[at]
	}
}

// scan marks what an object points to. Of a large object the index in its span, which is always 0, counts the parts.
func (w *Worker) scan(o Object) {
	s := &w.h.spans[o.span()]
	switch s.form {
	case formBits:
		m := s.bitsOf(o.index())
		if s.held {
			m &^= w.m.heldOf(o)
		}
		for mem := s.mem[uint64(o.index())*s.size:]; m != 0; m &= m - 1 {
			if v := le.Uint64(mem[bits.TrailingZeros64(m)*wordBytes:]); v != 0 {
				w.mark(v)
			}
		}
	case formHeader:
		mem := s.mem[uint64(o.index())*s.size:][:s.size]
		t := w.typeAt(le.Uint64(mem), s.size-headerBytes)
		if !t.known {
			w.doubtful(mem)
			return
		}
		w.elements(t, mem[headerBytes:], 0)
	case formLarge:
		w.chunk(o, s)
	}
}

// chunk scans a part of a large object, after it has left the next part for later.
func (w *Worker) chunk(o Object, s *span) {
	at := uint64(o.index()) * chunkBytes
	if at >= s.size {
		return
	}
	if at+chunkBytes < s.size {
		w.push(uint64(o) + 1)
	}
	typ, ok1 := w.h.mem.Uint64(s.mspan + w.h.off.largeType)
	mem, ok2 := w.h.mem.Bytes(s.base+at, min(chunkBytes, s.size-at))
	if !ok1 || !ok2 {
		w.m.fail(fmt.Errorf("the core lacks a part of the object of %d bytes at %#x", s.size, s.base))
		return
	}
	if t := w.typeAt(typ, s.size); t.known {
		w.elements(t, mem, at)
	} else {
		w.doubtful(mem)
	}
}

// doubtful takes every word for a pointer.
func (w *Worker) doubtful(mem []byte) {
	for ; len(mem) >= wordBytes; mem = mem[wordBytes:] {
		if v := le.Uint64(mem); v != 0 {
			w.Doubt(0, v)
		}
	}
}

// typeAt is Heap.typeAt with a memory.
func (w *Worker) typeAt(addr, most uint64) *typeMap {
	if addr == w.typ && most == w.typMost && addr != 0 {
		return &w.typMap
	}
	t, ok := w.types[addr]
	if !ok || t.size > most {
		t = w.h.typeAt(addr, most)
		w.types[addr] = t
	}
	w.typ, w.typMost, w.typMap = addr, most, t
	return &w.typMap
}

// elements scans a part of an object that holds elements of a type one behind the other; from is the offset of the part.
func (w *Worker) elements(t *typeMap, mem []byte, from uint64) {
	if t.ptrs == 0 {
		return
	}
	start := from - from%t.size // of the element that the part begins in
	for ; start < from+uint64(len(mem)); start += t.size {
		if t.ptrs <= 64*wordBytes && start >= from && start-from+t.ptrs <= uint64(len(mem)) {
			part := mem[start-from:]
			for m := t.short; m != 0; m &= m - 1 {
				if v := le.Uint64(part[bits.TrailingZeros64(m)*wordBytes:]); v != 0 {
					w.mark(v)
				}
			}
			continue
		}
		w.element(t, mem, start, from)
	}
}

// element scans one element, of which a part may lie outside of the memory.
func (w *Worker) element(t *typeMap, mem []byte, start, from uint64) {
	first := uint64(0)
	if from > start {
		first = (from - start) / wordBytes
	}
	last := min(t.ptrs, from+uint64(len(mem))-start) / wordBytes
	for word := first; word < last; word++ {
		if word&7 == 0 && t.mask[word>>3] == 0 {
			word += 7
			continue
		}
		if t.mask[word>>3]>>(word&7)&1 != 0 {
			if v := le.Uint64(mem[start+word*wordBytes-from:]); v != 0 {
				w.mark(v)
			}
		}
	}
}
