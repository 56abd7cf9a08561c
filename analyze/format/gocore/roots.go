package gocore

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// scanPart is how many bytes of a root are one piece of work.
const scanPart = 256 << 10

// proofRow is a goroutine as the proof sees it.
type proofRow struct {
	g         uint64
	id        int64
	waitsOn   uint64 // the object, where the reader found one
	row       int32  // of the Builder
	stack     uint32 // of the worker
	worker    uint16
	status    uint8
	reason    uint8
	system    bool
	sleep     sleepKind
	waitGroup bool // it waits in WaitGroup.Wait, whatever its reason says
}

// Tasks of the mark: those below rootTasks are parts of roots, the others stacks of goroutines by their number.
const rootTasks = 1 << 30

// rootKind is what a part of a root is.
type rootKind uint8

const (
	rootData rootKind = iota // a part of the data or bss segment, with its pointer mask
	rootFinalizers
	rootCleanups
	rootSpecials
	rootMachine // the system stack of a thread that runs Go code
)

// rootPart is one piece of work.
type rootPart struct {
	kind  rootKind
	addr  uint64 // of the first word
	bytes uint64
	mask  []byte
	m     *machine
}

// prover decides which goroutines can never wake.
type prover struct {
	t       *target
	view    *elfcore.View // until the mark begins
	heap    *heap.Heap
	off     reachOffsets
	rows    []proofRow
	parts   []rootPart
	waits   []sleepWait // what sleepers wait for, in lists by object
	first   map[heap.Object]int32
	awake   []atomic.Bool // by row
	wokenBy []heap.Object // by row; kept only when the way is wanted
	types   *heapTyper    // of the objects on that way; nil when they are not known
	cond    map[uint64]map[uint64]uint64
	least   uint64 // no pointer is below
}

// sleepWait is one object that a goroutine waits for.
type sleepWait struct {
	row   int32
	next  int32 // of the same object; -1 at the end
	addr  uint64
	sudog uint64 // the runtime's record of the wait, which leads to the object
}

// reachOffsets are the places that only the proof needs.
type reachOffsets struct {
	dataMask, dataCount, bssMask, bssCount uint64
	recvLast, sendLast                     uint64
	sudogC, sudogElem                      uint64 // the words that the collector follows
	selectDone, context                    uint64 // of a g
	finLink, finCount, finItems, finSize   uint64
	finMost                                uint64
	next                                   uint64 // moduledata.next
	cleanAll, cleanLink, cleanCount        uint64
	cleanItems, cleanSize, cleanMost       uint64
	specialFn, specialHandle, cleanupBytes uint64
}

func (p *prover) resolve() error {
	o, l := &p.off, p.t.layout
	for _, f := range []struct {
		to    *uint64
		paths []string
	}{
		{&o.dataMask, []string{"runtime.moduledata.gcdatamask.bytedata"}}, {&o.dataCount, []string{"runtime.moduledata.gcdatamask.n"}},
		{&o.bssMask, []string{"runtime.moduledata.gcbssmask.bytedata"}}, {&o.bssCount, []string{"runtime.moduledata.gcbssmask.n"}},
		{&o.recvLast, []string{"runtime.hchan.recvq.last"}}, {&o.sendLast, []string{"runtime.hchan.sendq.last"}},
		{&o.sudogC, []string{"runtime.sudog.c.vp", "runtime.sudog.c"}}, {&o.sudogElem, []string{"runtime.sudog.elem.vp", "runtime.sudog.elem"}},
		{&o.selectDone, []string{"runtime.g.selectDone"}}, {&o.context, []string{"runtime.g.sched.ctxt"}}, {&o.next, []string{"runtime.moduledata.next"}},
		{&o.finLink, []string{"runtime.finBlock.alllink", "runtime.finblock.alllink"}},
		{&o.finCount, []string{"runtime.finBlock.cnt", "runtime.finblock.cnt"}},
		{&o.finItems, []string{"runtime.finBlock.fin", "runtime.finblock.fin"}},
		{&o.specialFn, []string{"runtime.specialfinalizer.fn"}},
	} {
		at, ok := l.OffsetAny(f.paths...)
		if !ok {
			return fmt.Errorf("the layout of %s has no %s", l.Version, f.paths[0])
		}
		*f.to = at
	}
	var ok bool
	if o.finSize, o.finMost, ok = l.Array("runtime.finBlock.fin"); !ok {
		if o.finSize, o.finMost, ok = l.Array("runtime.finblock.fin"); !ok {
			return errors.New("the layout has no list of finalizers")
		}
	}
	o.specialHandle, o.cleanupBytes = absent, 0
	if at, ok := l.Offset("runtime.specialWeakHandle.handle"); ok {
		o.specialHandle = at
	}
	if n, ok := l.Size("runtime.specialCleanup"); ok {
		o.cleanupBytes = n
	}
	if !l.Version.AtLeast(1, 25) {
		return nil
	}
	var ok1, ok2, ok3, ok4, ok5 bool
	o.cleanAll, ok1 = l.Offset("runtime.cleanupQueue.all")
	o.cleanLink, ok2 = l.Offset("runtime.cleanupBlock.alllink")
	o.cleanCount, ok3 = l.Offset("runtime.cleanupBlock.n")
	o.cleanItems, ok4 = l.Offset("runtime.cleanupBlock.cleanups")
	o.cleanSize, o.cleanMost, ok5 = l.Array("runtime.cleanupBlock.cleanups")
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return errors.New("the layout has no queue of cleanups")
	}
	return nil
}

// listRoots makes the list of roots but for the stacks of goroutines.
func (p *prover) listRoots() error {
	t := p.t
	if n := len(t.tab.Modules); n != 1 {
		return fmt.Errorf("the program has %d modules: plugins were not tried", n)
	}
	m := t.tab.Modules[0]
	if next, ok := t.core.Mem.Uint64(m.Addr + p.off.next); !ok || next != 0 {
		return errors.New("the program has plugins, which were not tried")
	}
	if err := p.segment("data", m.Data, m.EData, m.Addr+p.off.dataMask, m.Addr+p.off.dataCount); err != nil {
		return err
	}
	if err := p.segment("bss", m.BSS, m.EBSS, m.Addr+p.off.bssMask, m.Addr+p.off.bssCount); err != nil {
		return err
	}
	p.parts = append(p.parts, rootPart{kind: rootSpecials})
	at, ok := t.word("runtime.allfin")
	if !ok {
		return errors.New("the runtime's list of finalizers (allfin) was not found")
	}
	p.parts = append(p.parts, rootPart{kind: rootFinalizers, addr: at})
	if t.layout.Version.AtLeast(1, 25) {
		queue, ok := t.vars.addr("runtime.gcCleanups")
		all, read := t.core.Mem.Uint64(queue + p.off.cleanAll)
		if !ok || !read {
			return errors.New("the runtime's queue of cleanups (gcCleanups) was not found")
		}
		p.parts = append(p.parts, rootPart{kind: rootCleanups, addr: all})
	}
	for _, m := range t.machines {
		if p.runs(m) {
			p.parts = append(p.parts, rootPart{kind: rootMachine, m: m})
		}
	}
	return nil
}

// runs reports whether a thread executes Go code, or may: it has a P, or its goroutine runs. What others have left on their system
// stacks is old.
func (p *prover) runs(m *machine) bool {
	if m.p >= 0 {
		return true
	}
	if m.cur == 0 {
		return false
	}
	status, ok := p.t.core.Mem.Uint32(m.cur + p.t.off.G.Status)
	return !ok || status&^statusScan == statusRunning
}

// segment lists the parts of a data segment.
func (p *prover) segment(name string, lo, hi, maskAt, countAt uint64) error {
	mem := p.t.core.Mem
	mask, ok1 := mem.Uint64(maskAt)
	words, ok2 := mem.Uint32(countAt)
	if !ok1 || !ok2 || hi < lo || uint64(words)*8+8 <= hi-lo || hi-lo > 1<<40 {
		return fmt.Errorf("the pointer mask of the %s segment makes no sense: %d bits for %d bytes", name, words, hi-lo)
	}
	hi = min(hi, lo+8*uint64(words)) // a last part of a word is no pointer
	for at := lo; at < hi; at += scanPart {
		n := min(scanPart, hi-at)
		bits, ok := mem.Bytes(mask+(at-lo)/64, (n+63)/64)
		if !ok {
			return fmt.Errorf("the pointer mask of the %s segment is not in the core", name)
		}
		p.parts = append(p.parts, rootPart{kind: rootData, addr: at, bytes: n, mask: bits})
	}
	return nil
}

// task does one piece of work of the mark.
func (p *prover) task(w *heap.Worker, task uint32) error {
	if w.User == nil {
		w.User = newStackScan(p)
	}
	s := w.User.(*stackScan)
	if task >= rootTasks {
		return s.goroutine(w, &p.rows[task-rootTasks])
	}
	part := &p.parts[task]
	switch part.kind {
	case rootData:
		return p.data(w, part)
	case rootFinalizers:
		return p.finalizers(w, part.addr)
	case rootCleanups:
		return p.cleanups(w, part.addr)
	case rootSpecials:
		return p.specials(w)
	}
	return s.machine(w, part.m)
}

// data scans a part of a data segment by its pointer mask.
func (p *prover) data(w *heap.Worker, part *rootPart) error {
	mem, ok := p.t.core.Mem.Bytes(part.addr, part.bytes)
	if !ok {
		return fmt.Errorf("the global variables at %#x are not in the core", part.addr)
	}
	for i := 0; i+8 <= len(mem); i += 8 {
		b := part.mask[i>>6]
		if b == 0 {
			i |= 56 // to the last word of this byte
			continue
		}
		if b>>(i>>3&7)&1 != 0 {
			if v := le.Uint64(mem[i:]); v != 0 {
				w.Root(part.addr+uint64(i), v)
			}
		}
	}
	return nil
}

// maxBlocks bounds the lists of blocks of finalizers and cleanups.
const maxBlocks = 1 << 20

// finalizers scans the finalizers that wait to be run (runtime/mfinal.go, allfin).
func (p *prover) finalizers(w *heap.Worker, block uint64) error {
	return p.blocks(w, "finalizers", block, [5]uint64{p.off.finLink, p.off.finCount, p.off.finItems, p.off.finSize, p.off.finMost})
}

// cleanups scans the cleanups that wait to be run (runtime/mcleanup.go, gcCleanups).
func (p *prover) cleanups(w *heap.Worker, block uint64) error {
	return p.blocks(w, "cleanups", block, [5]uint64{p.off.cleanLink, p.off.cleanCount, p.off.cleanItems, p.off.cleanSize, p.off.cleanMost})
}

// blocks scans a list of blocks, whose items are taken for pointers. at has the places of the link, the count and the items, and the
// size and the largest number of items.
func (p *prover) blocks(w *heap.Worker, what string, block uint64, at [5]uint64) error {
	mem := p.t.core.Mem
	for n := 0; block != 0; n++ {
		link, ok1 := mem.Uint64(block + at[0])
		count, ok2 := mem.Uint32(block + at[1])
		if !ok1 || !ok2 || n == maxBlocks || uint64(count) > at[4] {
			return fmt.Errorf("the list of waiting %s at %#x is not in the core, or damaged", what, block)
		}
		items, ok := mem.Bytes(block+at[2], uint64(count)*at[3])
		if !ok {
			return fmt.Errorf("the waiting %s at %#x are not in the core", what, block)
		}
		for i := 0; i+8 <= len(items); i += 8 {
			if v := le.Uint64(items[i:]); v >= p.least {
				w.Doubt(block+at[2]+uint64(i), v)
			}
		}
		block = link
	}
	return nil
}

// specials scans the records that the runtime attaches to objects (runtime/mgcmark.go, markrootSpans), and the objects that are pinned: C
// may lead to them.
func (p *prover) specials(w *heap.Worker) error {
	kind := map[uint8]string{}
	for _, name := range specialKinds {
		if v, ok := p.t.layout.Const("runtime._KindSpecial" + name); ok {
			kind[uint8(v)] = name
		}
	}
	var failed error
	err := p.heap.Specials(func(s heap.Special) {
		switch kind[s.Kind] {
		case "Finalizer":
			w.Object(s.Object) // the finalizer will get it, and what it leads to
			p.special(w, s.Addr+p.off.specialFn, 8, &failed)
		case "WeakHandle":
			p.special(w, s.Addr+p.off.specialHandle, 8, &failed)
			// The collector does not count it. But what a blocked goroutine alone keeps is never collected, so that whoever has
			// the weak pointer gets the object, and may wake the goroutine.
			w.Root(s.Addr, p.heap.Base(s.Object))
		case "Cleanup":
			p.special(w, s.Data, s.Addr+p.off.cleanupBytes-s.Data, &failed)
		case "":
			failed = fmt.Errorf("the heap has a special record of kind %d, which is not known", s.Kind)
		}
	})
	pinned := p.heap.Pinned(func(o heap.Object) { w.Root(0, p.heap.Base(o)) })
	return errors.Join(err, pinned, failed)
}

// special takes the words of a record for pointers.
func (p *prover) special(w *heap.Worker, at, n uint64, failed *error) {
	raw, ok := p.t.core.Mem.Bytes(at, n)
	if !ok || n > 1<<10 {
		*failed = fmt.Errorf("a special record of the heap at %#x is not in the core", at)
		return
	}
	for i := 0; i+8 <= len(raw); i += 8 {
		if v := le.Uint64(raw[i:]); v >= p.least {
			w.Doubt(at+uint64(i), v)
		}
	}
}

// specialKinds are the kinds of special records (runtime/mheap.go, _KindSpecial..., Go 1.22 to 1.26).
var specialKinds = []string{"Finalizer", "WeakHandle", "Cleanup", "Profile", "Reachable", "PinCounter", "TinyBlock", "CheckFinalizer",
	"Bubble", "Secret"}
