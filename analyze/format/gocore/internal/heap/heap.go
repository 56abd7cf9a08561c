package heap

import (
	"encoding/binary"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

var le = binary.LittleEndian

// Constants of the heap on 64-bit Linux (runtime/malloc.go, runtime/mheap.go, Go 1.22 to 1.26).
const (
	arenaShift    = 26 // heapArenaBytes is 64 MB
	pageShift     = 13 // pageSize is 8 KB
	pagesPerArena = 1 << (arenaShift - pageShift)
	arenaEntries  = 1 << 22 // arenaL2Bits
	spanInUse     = 1       // mSpanInUse
	bitmapLimit   = 512     // minSizeForMallocHeader: objects up to this have a bitmap in their span
	wordBytes     = 8
	headerBytes   = 8 // mallocHeaderSize
)

// form is how the pointers of a span's objects are described.
type form uint8

const (
	formNoScan form = iota // there are none
	formBits               // a bitmap at the end of the span
	formHeader             // a type in the first word of the object
	formLarge              // one object, whose type the span names
)

// span is a run of pages with objects of one size.
type span struct {
	base   uint64
	size   uint64 // of an object
	mem    []byte // the whole span; nil for objects without pointers and for large ones, which are read in parts
	first  uint64 // number of its first object among all objects of the heap
	mspan  uint64 // address of the runtime's record
	bits   uint32 // offset of the bitmap in mem
	nelems uint32
	magic  uint32 // 2^32 / size, rounded up: mspan.divMul
	form   form
	watch  bool // objects of it are watched
	held   bool // words of its objects are held back
}

// Heap is the index of a heap. It is immutable and safe for concurrent use, but for the bits of a Marker.
type Heap struct {
	mem     *elfcore.Memory
	off     offsets
	spans   []span
	arenas  []*[pagesPerArena]uint32 // span number plus one by page; of the arenas from minimum on
	minimum uint64                   // number of the first arena, without the base offset
	objects uint64                   // places for objects in all spans
	special []uint32                 // numbers of spans with special records
	pinned  []uint32                 // numbers of spans with pinned objects
}

// Object names an object: the number of its span and its place in it.
type Object uint64

// None is no object.
const None = ^Object(0)

func objectAt(span uint32, index uint64) Object { return Object(uint64(span)<<32 | index) }

func (o Object) span() uint32  { return uint32(o >> 32) }
func (o Object) index() uint32 { return uint32(o) }

// Find returns the object that holds addr: any address from its first to its last byte. ok is false for what is not in the heap: globals,
// stacks, free pages, the runtime's own memory.
func (h *Heap) Find(addr uint64) (o Object, ok bool) {
	at := addr>>arenaShift - h.minimum
	if at >= uint64(len(h.arenas)) {
		return None, false
	}
	pages := h.arenas[at]
	if pages == nil {
		return None, false
	}
	n := pages[addr>>pageShift&(pagesPerArena-1)]
	if n == 0 {
		return None, false
	}
	s := &h.spans[n-1]
	index := (addr - s.base) * uint64(s.magic) >> 32 // 0 in a span of one object, whose magic is 0
	if index >= uint64(s.nelems) {
		return None, false
	}
	return objectAt(n-1, index), true
}

// Base is the address of an object.
func (h *Heap) Base(o Object) uint64 {
	s := &h.spans[o.span()]
	return s.base + uint64(o.index())*s.size
}

// Size is the number of bytes that an object takes in its span.
func (h *Heap) Size(o Object) uint64 { return h.spans[o.span()].size }

// NoScan reports whether an object is of a class without pointers.
func (h *Heap) NoScan(o Object) bool { return h.spans[o.span()].form == formNoScan }

// Objects is the number of places for objects, used or not.
func (h *Heap) Objects() uint64 { return h.objects }

// number is the place of an object among all objects of the heap.
func (h *Heap) number(o Object) uint64 { return h.spans[o.span()].first + uint64(o.index()) }

// Span describes a span to a visitor of Spans.
type Span struct {
	Base   uint64
	Elem   uint64 // bytes of an object
	Count  int    // places for objects
	NoScan bool
	Large  bool // one object of its own size
	h      *Heap
	n      uint32
}

// Object is an object of the span.
func (s Span) Object(i int) Object { return objectAt(s.n, uint64(i)) }

// Allocated returns which of the places are taken, and false when the core lacks the record of it.
func (s Span) Allocated() (AllocSet, bool) { return s.h.allocSet(s.n) }

// Spans visits every span that holds objects.
func (h *Heap) Spans(visit func(Span)) {
	for i := range h.spans {
		s := &h.spans[i]
		visit(Span{s.base, s.size, int(s.nelems), s.form == formNoScan, s.magic == 0, h, uint32(i)})
	}
}

// AllocSet says which places of a span hold objects.
type AllocSet struct {
	free uint64 // places below are taken
	bits []byte
}

// Has reports whether a place is taken.
func (a AllocSet) Has(i uint32) bool {
	return uint64(i) < a.free || a.bits[i>>3]>>(i&7)&1 != 0
}

// allocSet reads which places are taken: those below freeindex were given out since the last sweep, of the others those whose
// bit was set by it (runtime/mbitmap.go, isFree).
func (h *Heap) allocSet(n uint32) (AllocSet, bool) {
	s := &h.spans[n]
	raw, ok := h.mem.Bytes(s.mspan, h.off.mspanSize)
	if !ok {
		return AllocSet{}, false
	}
	bits, ok := h.mem.Bytes(le.Uint64(raw[h.off.allocBits:]), uint64(s.nelems+7)/8)
	free := max(le.Uint16(raw[h.off.freeIndex:]), le.Uint16(raw[h.off.freeIndexForScan:]))
	return AllocSet{uint64(free), bits}, ok
}

// Allocated reports whether an object is in use; one whose record is missing counts as used.
func (h *Heap) Allocated(o Object) bool {
	set, ok := h.allocSet(o.span())
	return !ok || set.Has(o.index())
}
