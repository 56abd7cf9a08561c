package gocore

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// selfCheck holds the heap against objects whose contents are known: every g has a pointer map, in which some fields must be pointers
// and others must not. A map that is read from the wrong place makes half of the heap unreachable, and nothing else would tell.
func (p *prover) selfCheck() error {
	t := p.t
	o := &t.off.G
	if t.gCount != t.gListed {
		return fmt.Errorf("only %d of %d entries of the runtime's list of goroutines are in the core", t.gListed, t.gCount)
	}
	for i := range p.rows {
		r := &p.rows[i]
		object, ok := p.heap.Find(r.g)
		if !ok || p.heap.Base(object) != r.g || p.heap.Size(object) < o.Size || !p.heap.Allocated(object) {
			return fmt.Errorf("the heap does not know the structure of goroutine %d at %#x: the layout does not fit", r.id, r.g)
		}
		bits, ok := p.heap.Bits(object)
		if !ok {
			return fmt.Errorf("the structure of goroutine %d has no pointer map", r.id)
		}
		for _, f := range []struct {
			off     uint64
			pointer bool
		}{{o.Panic, true}, {o.Defer, true}, {o.Waiting, true}, {o.StackLo, false}, {o.StackHi, false}, {o.SP, false}} {
			if bits>>(f.off/8)&1 != 0 != f.pointer {
				return fmt.Errorf("the pointer map of goroutine %d is not that of a goroutine: the maps of the heap lie elsewhere in this core", r.id)
			}
		}
	}
	return p.checkHeaders()
}

// checkHeaders does the same for objects that carry their type: the Ps, which are large.
func (p *prover) checkHeaders() error {
	t := p.t
	size, ok1 := t.layout.Size("runtime.p")
	at, ok2 := t.vars.addr("runtime.allp")
	list, ok3 := t.core.Mem.Uint64(at)
	n, ok4 := t.core.Mem.Uint64(at + 8)
	if !ok1 || !ok2 || !ok3 || !ok4 || n == 0 || n > 1<<16 {
		return fmt.Errorf("the runtime's list of processors (allp) was not found")
	}
	for i := range n {
		addr, ok := t.core.Mem.Uint64(list + 8*i)
		object, found := p.heap.Find(addr)
		if !ok || !found || addr-p.heap.Base(object) != p.heap.HeaderBytes(object) || p.heap.Size(object) < size {
			return fmt.Errorf("the heap does not know the structure of processor %d at %#x: the layout does not fit", i, addr)
		}
		if got, ok := p.typeSize(object); !ok || got != size {
			return fmt.Errorf("the type of processor %d has %d bytes, and its layout %d", i, got, size)
		}
	}
	return nil
}

// typeSize is the size of the type that an object carries.
func (p *prover) typeSize(o heap.Object) (uint64, bool) {
	at, ok := p.t.layout.OffsetAny("internal/abi.Type.Size_")
	if !ok {
		return 0, false
	}
	return p.t.core.Mem.Uint64(p.heap.TypeOf(o) + at)
}
