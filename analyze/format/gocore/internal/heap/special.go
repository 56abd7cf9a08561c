package heap

import "fmt"

// Special is a record that the runtime attaches to an object: a finalizer, a cleanup, a weak pointer (runtime/mheap.go, special).
type Special struct {
	Addr   uint64 // of the record
	Object Object
	Kind   uint8
	Data   uint64 // address of what follows the common head of the record
}

// maxSpecials bounds the list of one span.
const maxSpecials = 1 << 20

// Specials visits the special records of all spans. The error says which one is not in the core.
func (h *Heap) Specials(visit func(Special)) error {
	o := &h.off
	for _, n := range h.special {
		s := &h.spans[n]
		at, ok := h.mem.Uint64(s.mspan + o.specials)
		for i := 0; ok && at != 0; i++ {
			offset, ok1 := h.mem.Uint16(at + o.specialOffset)
			kind, ok2 := h.mem.Uint8(at + o.specialKind)
			if !ok1 || !ok2 || i == maxSpecials {
				return fmt.Errorf("a special record of the heap at %#x is not in the core, or its list has no end", at)
			}
			inner := uint64(offset)
			if o.specialKind-o.specialOffset == wordBytes { // a word since Go 1.24
				if inner, ok = h.mem.Uint64(at + o.specialOffset); !ok {
					break
				}
			}
			object, found := h.Find(s.base + inner)
			if !found {
				return fmt.Errorf("the special record at %#x is of no object", at)
			}
			visit(Special{at, object, kind, at + o.specialHead})
			at, ok = h.mem.Uint64(at + o.specialNext)
		}
		if !ok {
			return fmt.Errorf("the special records of the span at %#x are not all in the core", s.base)
		}
	}
	return nil
}

// Pinned visits the objects that the program has pinned for C (runtime/pinner.go): memory that is not the heap's may point to them. The
// error says which record is not in the core.
func (h *Heap) Pinned(visit func(Object)) error {
	for _, n := range h.pinned {
		s := &h.spans[n]
		at, ok := h.mem.Uint64(s.mspan + h.off.pinner)
		bits, ok2 := h.mem.Bytes(at, (2*uint64(s.nelems)+7)/8) // pinned once, pinned several times
		if !ok || !ok2 {
			return fmt.Errorf("the record of pinned objects of the span at %#x is not in the core", s.base)
		}
		for i := range s.nelems {
			if bits[i>>2]>>(i&3*2)&3 != 0 {
				visit(objectAt(n, uint64(i)))
			}
		}
	}
	return nil
}
