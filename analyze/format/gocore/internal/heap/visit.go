package heap

// Number is the place of an object among all places of the heap: below Objects.
func (h *Heap) Number(o Object) uint64 { return h.number(o) }

// Read returns bytes of an object from an offset on; false when they are not all in the core, or reach beyond the object.
func (h *Heap) Read(o Object, offset, n uint64) ([]byte, bool) {
	s := &h.spans[o.span()]
	if offset > s.size || n > s.size-offset {
		return nil, false
	}
	if s.mem != nil {
		at := uint64(o.index())*s.size + offset
		if at+n > uint64(len(s.mem)) {
			return nil, false
		}
		return s.mem[at : at+n], true
	}
	return h.mem.Bytes(h.Base(o)+offset, n)
}

// Fits reports whether a type has the pointers that the map of an object shows from an offset on: in the first element, and with single in
// no other place. Objects without a map of their own are taken to fit when both have pointers, or none.
func (h *Heap) Fits(o Object, m Mask, offset uint64, single bool) bool {
	s := &h.spans[o.span()]
	if s.form == formNoScan || m.Words == 0 {
		return s.form == formNoScan && m.Words == 0
	}
	if s.form != formBits || offset%wordBytes != 0 || offset >= s.size {
		return true
	}
	have := s.bitsOf(o.index()) >> (offset / wordBytes)
	if words := m.Size / wordBytes; !single && words < 64 {
		have &= 1<<words - 1
	}
	return m.Words <= 64 && have == m.Bits
}

// Mask is where a type has pointers.
type Mask struct {
	Size  uint64 // bytes of the type
	Words uint64 // words of it behind which there are none
	Bits  uint64 // one for each word, when there are at most 64
}

// MaskOf reads where the type at an address has pointers; false when that is not known, as of types whose mask was never needed.
func (h *Heap) MaskOf(typ uint64) (Mask, bool) {
	t := h.typeAt(typ, maxType)
	return Mask{t.size, t.ptrs / wordBytes, t.short}, t.known
}
