package heap

import "math/bits"

// kindGCProg is set where GCData is a program and not a mask (runtime/type.go up to Go 1.23; later versions do not use the bit).
const kindGCProg = 1 << 6

// typeMap says which words of a type are pointers.
type typeMap struct {
	size, ptrs uint64 // bytes of the type; bytes of it behind which there are no pointers
	mask       []byte
	short      uint64 // the mask, when it has at most 64 bits
	known      bool   // false: every word may be a pointer
}

// maxType bounds a type: of larger ones every word is taken for a pointer.
const maxType = 1 << 30

// typeAt reads a type's pointer mask. Types whose mask the runtime makes when it first needs it (TFlagGCMaskOnDemand) may not have
// one yet.
func (h *Heap) typeAt(addr, most uint64) typeMap {
	o := &h.off
	if addr == 0 {
		return typeMap{}
	}
	size, ok1 := h.mem.Uint64(addr + o.typeSize)
	ptrs, ok2 := h.mem.Uint64(addr + o.typePtrs)
	flag, ok3 := h.mem.Uint8(addr + o.typeFlag)
	kind, ok4 := h.mem.Uint8(addr + o.typeKind)
	mask, ok5 := h.mem.Uint64(addr + o.typeMask)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || size == 0 || size > min(most, maxType) || ptrs > size || ptrs%wordBytes != 0 || kind&kindGCProg != 0 {
		return typeMap{}
	}
	if flag&o.onDemand != 0 {
		if mask, ok1 = h.mem.Uint64(mask); !ok1 {
			return typeMap{}
		}
	}
	t := typeMap{size: size, ptrs: ptrs}
	t.mask, t.known = h.mem.Bytes(mask, (ptrs/wordBytes+7)/8)
	if t.known && ptrs <= 64*wordBytes {
		for i, b := range t.mask {
			t.short |= uint64(b) << (8 * i)
		}
		if words := ptrs / wordBytes; words < 64 {
			t.short &= 1<<words - 1
		}
	}
	return t
}

// bitsOf returns the bitmap of an object in a span with bitmaps.
func (s *span) bitsOf(index uint32) uint64 {
	words := uint32(s.size / wordBytes)
	at := index * words
	from := s.bits + at>>6<<3
	shift := at & 63
	m := s.word(from) >> shift
	if shift+words > 64 {
		m |= s.word(from+8) << (64 - shift)
	}
	if words < 64 {
		m &= 1<<words - 1
	}
	return m
}

func (s *span) word(at uint32) uint64 {
	if uint64(at)+8 > uint64(len(s.mem)) {
		return 0
	}
	return le.Uint64(s.mem[at:])
}

// Bits returns the pointer map of an object of up to 512 bytes, a bit for each of its words; false for one without a bitmap.
func (h *Heap) Bits(o Object) (uint64, bool) {
	s := &h.spans[o.span()]
	if s.form != formBits {
		return 0, false
	}
	return s.bitsOf(o.index()), true
}

// TypeOf is the address of the type in an object's header, or of that of a large object; 0 where there is none.
func (h *Heap) TypeOf(o Object) uint64 {
	s := &h.spans[o.span()]
	switch s.form {
	case formHeader:
		return le.Uint64(s.mem[uint64(o.index())*s.size:])
	case formLarge:
		typ, _ := h.mem.Uint64(s.mspan + h.off.largeType)
		return typ
	}
	return 0
}

// HeaderBytes is how far behind an object's address its contents begin.
func (h *Heap) HeaderBytes(o Object) uint64 {
	if h.spans[o.span()].form == formHeader {
		return headerBytes
	}
	return 0
}

// Pointers visits the words of an object that may be pointers and are not nil: their offset in the object and their value. It stops
// when visit returns false. doubtful says that it is not known which words are pointers, so that all of them are visited.
func (h *Heap) Pointers(o Object, visit func(offset, value uint64, doubtful bool) bool) {
	s := &h.spans[o.span()]
	base := uint64(o.index()) * s.size
	switch s.form {
	case formBits:
		for m := s.bitsOf(o.index()); m != 0; m &= m - 1 {
			off := uint64(bits.TrailingZeros64(m)) * wordBytes
			if v := le.Uint64(s.mem[base+off:]); v != 0 && !visit(off, v, false) {
				return
			}
		}
	case formHeader:
		t := h.typeAt(le.Uint64(s.mem[base:]), s.size-headerBytes)
		t.each(s.mem[base:base+s.size], headerBytes, 0, visit)
	case formLarge:
		t := h.typeAt(h.TypeOf(o), s.size)
		for at := uint64(0); at < s.size; at += chunkBytes {
			n := min(chunkBytes, s.size-at)
			part, ok := h.mem.Bytes(s.base+at, n)
			if !ok || !t.each(part, 0, at, visit) {
				return
			}
		}
	}
}

// each visits the pointers of a part of an object that holds elements of a type one behind the other: part begins at offset from of the
// object, and its elements at head of it. It returns false when visit did.
func (t *typeMap) each(part []byte, head, from uint64, visit func(offset, value uint64, doubtful bool) bool) bool {
	for off := head; off+wordBytes <= uint64(len(part)); off += wordBytes {
		if t.known {
			in := (from + off - head) % t.size
			if in >= t.ptrs {
				off += (t.size - in - 1) &^ (wordBytes - 1) // to the last word of the element
				continue
			}
			if word := in / wordBytes; t.mask[word>>3]>>(word&7)&1 == 0 {
				continue
			}
		}
		if v := le.Uint64(part[off:]); v != 0 && !visit(from+off, v, !t.known) {
			return false
		}
	}
	return true
}
