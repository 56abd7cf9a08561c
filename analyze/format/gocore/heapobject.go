package gocore

// Constants of the heap index on 64-bit Linux (runtime/mheap.go, runtime/malloc.go, Go 1.21 to 1.26).
const (
	arenaBytes     = 64 << 20
	heapPage       = 8 << 10
	pagesPerArena  = arenaBytes / heapPage
	arenaBaseAMD64 = 0xffff800000000000
	arenaEntries   = 1 << 22 // arenaL2Bits
	spanInUse      = 1       // mSpanInUse
	maxObject      = 1 << 40
)

// object is an object of the heap: the addresses from base to base+size.
type object struct{ base, size uint64 }

// heapObject finds the object that holds addr; false for what is not in the heap.
func (t *target) heapObject(addr uint64) (object, bool) {
	span, ok := t.spanOf(addr)
	if !ok {
		return object{}, false
	}
	startAt, ok1 := t.layout.Offset("runtime.mspan.startAddr")
	sizeAt, ok2 := t.layout.Offset("runtime.mspan.elemsize")
	stateAt, ok3 := t.layout.Offset("runtime.mspan.state")
	if !ok1 || !ok2 || !ok3 {
		return object{}, false
	}
	begin, ok1 := t.core.Mem.Uint64(span + startAt)
	size, ok2 := t.core.Mem.Uint64(span + sizeAt)
	state, ok3 := t.core.Mem.Uint8(span + stateAt)
	if !ok1 || !ok2 || !ok3 || state != spanInUse || size == 0 || size > maxObject || addr < begin {
		return object{}, false
	}
	return object{begin + (addr-begin)/size*size, size}, true
}

// spanOf finds the mspan of an address: mheap_.arenas[0][index].spans[page].
func (t *target) spanOf(addr uint64) (uint64, bool) {
	heap, ok := t.vars.addr("runtime.mheap_")
	arenasAt, ok1 := t.layout.Offset("runtime.mheap.arenas")
	spansAt, ok2 := t.layout.Offset("runtime.heapArena.spans")
	if !ok || !ok1 || !ok2 {
		return 0, false
	}
	base := uint64(arenaBaseAMD64)
	if t.arm64 {
		base = 0
	}
	index := (addr - base) / arenaBytes
	l2, ok := t.core.Mem.Uint64(heap + arenasAt)
	if !ok || index >= arenaEntries {
		return 0, false
	}
	arena, ok := t.core.Mem.Uint64(l2 + 8*index)
	if !ok || arena == 0 {
		return 0, false
	}
	span, ok := t.core.Mem.Uint64(arena + spansAt + 8*(addr/heapPage%pagesPerArena))
	return span, ok && span != 0
}
