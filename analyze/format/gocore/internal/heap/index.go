package heap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// offsets are the places that the index reads, from the layout of the version.
type offsets struct {
	mspanSize, startAddr, npages, freeIndex, freeIndexForScan, nelems, allocBits uint64
	spanClass, state, userArena, elemSize, specials, largeType, pinner           uint64
	arenas, list, spans, inline, inlineSize                                      uint64
	typeSize, typePtrs, typeFlag, typeKind, typeMask                             uint64
	arenaSize                                                                    uint64
	specialNext, specialOffset, specialKind, specialHead                         uint64
	onDemand                                                                     uint8
	inlineMarks                                                                  bool // pages may have mark bits between objects and bitmap
}

// resolve takes the offsets from a layout.
func (o *offsets) resolve(l *layout.Layout) error {
	for _, f := range []struct {
		to    *uint64
		paths []string
	}{
		{&o.startAddr, []string{"runtime.mspan.startAddr"}}, {&o.npages, []string{"runtime.mspan.npages"}},
		{&o.freeIndex, []string{"runtime.mspan.freeindex"}}, {&o.freeIndexForScan, []string{"runtime.mspan.freeIndexForScan"}},
		{&o.nelems, []string{"runtime.mspan.nelems"}}, {&o.allocBits, []string{"runtime.mspan.allocBits"}},
		{&o.spanClass, []string{"runtime.mspan.spanclass"}}, {&o.state, []string{"runtime.mspan.state"}},
		{&o.userArena, []string{"runtime.mspan.isUserArenaChunk"}}, {&o.elemSize, []string{"runtime.mspan.elemsize"}},
		{&o.specials, []string{"runtime.mspan.specials"}}, {&o.pinner, []string{"runtime.mspan.pinnerBits"}}, {&o.largeType, []string{"runtime.mspan.largeType"}},
		{&o.arenas, []string{"runtime.mheap.arenas"}}, {&o.list, []string{"runtime.mheap.heapArenas", "runtime.mheap.allArenas"}},
		{&o.spans, []string{"runtime.heapArena.spans"}},
		{&o.typeSize, []string{"internal/abi.Type.Size_"}}, {&o.typePtrs, []string{"internal/abi.Type.PtrBytes"}},
		{&o.typeFlag, []string{"internal/abi.Type.TFlag"}}, {&o.typeKind, []string{"internal/abi.Type.Kind_"}},
		{&o.typeMask, []string{"internal/abi.Type.GCData"}},
		{&o.specialNext, []string{"runtime.special.next"}}, {&o.specialOffset, []string{"runtime.special.offset"}},
		{&o.specialKind, []string{"runtime.special.kind"}},
	} {
		at, ok := l.OffsetAny(f.paths...)
		if !ok || at > 1<<20 && f.to != &o.inline {
			return fmt.Errorf("the layout of %s has no %s", l.Version, f.paths[0])
		}
		*f.to = at
	}
	var ok1, ok2, ok3 bool
	o.mspanSize, ok1 = l.Size("runtime.mspan")
	o.arenaSize, ok2 = l.Size("runtime.heapArena")
	o.specialHead, ok3 = l.Size("runtime.special")
	for _, path := range []string{"nelems", "freeindex", "freeIndexForScan"} {
		if n, ok := l.Size("runtime.mspan." + path); !ok || n != 2 {
			return fmt.Errorf("runtime.mspan.%s has not two bytes", path)
		}
	}
	last := slices.Max([]uint64{o.startAddr, o.npages, o.freeIndex, o.freeIndexForScan, o.nelems, o.allocBits, o.elemSize, o.specials, o.largeType, o.pinner}) + wordBytes
	if !ok1 || !ok2 || !ok3 || o.mspanSize < last || o.arenaSize < pagesPerArena*wordBytes || o.mspanSize > 1<<12 ||
		max(o.spanClass, o.state, o.userArena) >= o.mspanSize || o.specialHead > 1<<8 {
		return fmt.Errorf("the layout of %s makes no sense: mspan has %d bytes, heapArena %d", l.Version, o.mspanSize, o.arenaSize)
	}
	if at, ok := l.Offset("runtime.heapArena.pageUseSpanInlineMarkBits"); ok {
		o.inline, o.inlineMarks = at, true
		if o.inlineSize, ok = l.Size("runtime.spanInlineMarkBits"); !ok {
			o.inlineSize = inlineMarkBytes
		}
	}
	if v, ok := l.Const("internal/abi.TFlagGCMaskOnDemand"); ok {
		o.onDemand = uint8(v)
	}
	return nil
}

// inlineMarkBytes is the size of runtime.spanInlineMarkBits (runtime/mgcmark_greenteagc.go, Go 1.25 and 1.26).
const inlineMarkBytes = 128

// maxStitched bounds the copies of spans that lie in several segments of the core.
const maxStitched = 64 << 20

// Source is what an index is made of.
type Source struct {
	Mem      *elfcore.Memory
	Layout   *layout.Layout
	MHeap    uint64 // address of runtime.mheap_
	CoreSize uint64 // bytes of the core: it bounds how many arenas there can be
	ARM64    bool
	Partial  bool // spans may be missing: the index is good for counting, and not for marking
}

// build is an index in the making.
type build struct {
	h        *Heap
	src      Source
	view     *elfcore.View
	base     uint64 // arenaBaseOffset
	numbers  []uint64
	missing  int    // spans that are not in the core
	at       uint64 // the first of them
	stitched uint64
}

// Build makes the index. The error says what is missing: nothing can be proved with a part of a heap.
func Build(ctx context.Context, src Source) (*Heap, error) {
	if v := src.Layout.Version; !v.AtLeast(1, 22) || v.AtLeast(1, 27) {
		return nil, fmt.Errorf("the heap of Go %s keeps its pointer maps in another way than that of Go 1.22 to 1.26", v.Release())
	}
	if src.Layout.Version.Devel {
		return nil, errors.New("the program was built by a development version of Go, whose heap is that of no release")
	}
	if slices.Contains(src.Layout.Version.Experiments, "noallocheaders") {
		return nil, errors.New("the program was built with GOEXPERIMENT=noallocheaders, which keeps pointer maps in another way")
	}
	b := &build{h: &Heap{mem: src.Mem}, src: src, view: src.Mem.View()}
	if err := b.h.off.resolve(src.Layout); err != nil {
		return nil, err
	}
	if !src.ARM64 {
		b.base = 0xffff800000000000 // arenaBaseOffset (runtime/malloc.go)
	}
	if err := b.listArenas(); err != nil {
		return nil, err
	}
	for _, n := range b.numbers {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("indexing the heap: %w", err)
		}
		if err := b.arena(n); err != nil {
			return nil, err
		}
	}
	if b.missing > 0 && !src.Partial {
		return nil, fmt.Errorf("the core lacks %d spans of the heap, the first at %#x", b.missing, b.at)
	}
	if len(b.h.spans) == 0 {
		return nil, errors.New("the heap has no spans")
	}
	return b.h, b.place()
}

// address is where an arena begins.
func (b *build) address(number uint64) uint64 { return number<<arenaShift + b.base }

// listArenas reads the numbers of the arenas.
func (b *build) listArenas() error {
	o := &b.h.off
	list, ok1 := b.view.Uint64(b.src.MHeap + o.list)
	n, ok2 := b.view.Uint64(b.src.MHeap + o.list + 8)
	if !ok1 || !ok2 {
		return fmt.Errorf("the runtime's record of the heap at %#x is not in the core", b.src.MHeap)
	}
	if n == 0 || n > b.src.CoreSize/(pagesPerArena*wordBytes)+1 || n > arenaEntries {
		return fmt.Errorf("the heap has %d arenas, which cannot be", n)
	}
	raw, ok := b.view.Bytes(list, 8*n)
	if !ok {
		return fmt.Errorf("the list of %d arenas at %#x is not in the core", n, list)
	}
	for ; len(raw) >= 8; raw = raw[8:] {
		number := le.Uint64(raw)
		if number >= arenaEntries {
			return fmt.Errorf("the heap lists arena %#x, which cannot be", number)
		}
		b.numbers = append(b.numbers, number)
	}
	if at, ok := b.src.Layout.Offset("runtime.mheap.userArenaArenas"); ok {
		if n, ok := b.view.Uint64(b.src.MHeap + at + 8); !ok || n != 0 {
			return errors.New("the program uses arenas of package arena, whose pointers are not known")
		}
	}
	slices.Sort(b.numbers)
	b.numbers = slices.Compact(b.numbers)
	return nil
}

// arena reads the spans that begin in an arena.
func (b *build) arena(number uint64) error {
	o := &b.h.off
	l2, ok1 := b.view.Uint64(b.src.MHeap + o.arenas)
	info, ok2 := b.view.Uint64(l2 + 8*number)
	spans, ok3 := b.view.Bytes(info+o.spans, pagesPerArena*wordBytes)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("the record of the heap's arena %#x is not in the core", b.address(number))
	}
	var inline []byte
	if o.inlineMarks {
		if inline, ok1 = b.view.Bytes(info+o.inline, pagesPerArena/8); !ok1 {
			return fmt.Errorf("the record of the heap's arena %#x is not in the core", b.address(number))
		}
	}
	for page := uint64(0); page < pagesPerArena; {
		mspan := le.Uint64(spans[8*page:])
		if mspan == 0 {
			page++
			continue
		}
		raw, ok := b.view.Bytes(mspan, o.mspanSize)
		if !ok {
			return fmt.Errorf("the record %#x of a span of the heap is not in the core", mspan)
		}
		at := b.address(number) + page<<pageShift
		if raw[o.state] != spanInUse || le.Uint64(raw[o.startAddr:]) != at {
			page++ // a stack, or a record that was used before for this page
			continue
		}
		marks := inline != nil && inline[page>>3]>>(page&7)&1 != 0
		if err := b.span(raw, mspan, at, marks); err != nil {
			return err
		}
		page += le.Uint64(raw[o.npages:])
	}
	return nil
}

// span adds a span.
func (b *build) span(raw []byte, mspan, at uint64, inlineMarks bool) error {
	o := &b.h.off
	s := span{base: at, mspan: mspan, size: le.Uint64(raw[o.elemSize:]), nelems: uint32(le.Uint16(raw[o.nelems:])), first: b.h.objects}
	bytes := le.Uint64(raw[o.npages:]) << pageShift
	class := raw[o.spanClass]
	switch {
	case raw[o.userArena] != 0:
		return errors.New("the program uses arenas of package arena, whose pointers are not known")
	case bytes == 0 || bytes>>arenaShift > uint64(len(b.numbers)) || s.size == 0 || s.size%wordBytes != 0 || s.nelems == 0 || s.size > bytes || uint64(s.nelems)*s.size > bytes,
		class>>1 == 0 && s.nelems != 1, class>>1 != 0 && bytes > 1<<20:
		return fmt.Errorf("the span at %#x has %d objects of %d bytes in %d, which cannot be", at, s.nelems, s.size, bytes)
	}
	if class>>1 != 0 {
		s.magic = ^uint32(0)/uint32(s.size) + 1
	}
	switch {
	case class&1 != 0:
		s.form = formNoScan
	case s.size <= bitmapLimit && class>>1 != 0:
		s.form = formBits
		s.bits = uint32(bytes - bytes/wordBytes/8)
		if inlineMarks {
			s.bits -= uint32(o.inlineSize)
		}
		if uint64(s.bits) < uint64(s.nelems)*s.size {
			return fmt.Errorf("the %d objects of %d bytes of the span at %#x leave no room for its pointer map", s.nelems, s.size, at)
		}
	case class>>1 != 0:
		s.form = formHeader
	default:
		s.form = formLarge
	}
	if !b.read(&s, bytes) {
		if b.missing++; b.missing == 1 {
			b.at = at
		}
	}
	if le.Uint64(raw[o.specials:]) != 0 {
		b.h.special = append(b.h.special, uint32(len(b.h.spans)))
	}
	if le.Uint64(raw[o.pinner:]) != 0 {
		b.h.pinned = append(b.h.pinned, uint32(len(b.h.spans)))
	}
	b.h.objects += uint64(s.nelems)
	b.h.spans = append(b.h.spans, s)
	return nil
}

// read takes the memory of a span that has pointers, or only makes sure that it is there.
func (b *build) read(s *span, bytes uint64) bool {
	switch s.form {
	case formNoScan:
		return true
	case formLarge:
		return b.present(s.base, s.size)
	}
	mem, ok := b.view.Bytes(s.base, bytes)
	if len(b.src.Mem.Contiguous(s.base)) < len(mem) {
		b.stitched += bytes
	}
	s.mem = mem
	return ok && b.stitched <= maxStitched
}

// present reports whether all of a region is in the core.
func (b *build) present(addr, n uint64) bool {
	for n > 0 {
		rest := uint64(len(b.src.Mem.Contiguous(addr)))
		if rest == 0 {
			return false
		}
		rest = min(rest, n)
		addr, n = addr+rest, n-rest
	}
	return true
}

// place makes the table from pages to spans.
func (b *build) place() error {
	h := b.h
	h.minimum = h.spans[0].base >> arenaShift
	last := h.minimum
	for i := range h.spans {
		end := (h.spans[i].base + h.spans[i].size*uint64(h.spans[i].nelems) - 1) >> arenaShift
		h.minimum, last = min(h.minimum, h.spans[i].base>>arenaShift), max(last, end)
	}
	if last-h.minimum >= arenaEntries {
		return errors.New("the arenas of the heap lie too far apart")
	}
	h.arenas = make([]*[pagesPerArena]uint32, last-h.minimum+1)
	for i := range h.spans {
		s := &h.spans[i]
		end := s.base + s.size*uint64(s.nelems)
		for at := s.base; at < end; at += 1 << pageShift {
			pages := &h.arenas[at>>arenaShift-h.minimum]
			if *pages == nil {
				*pages = new([pagesPerArena]uint32)
			}
			(*pages)[at>>pageShift&(pagesPerArena-1)] = uint32(i) + 1
		}
	}
	return nil
}
