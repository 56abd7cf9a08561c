package gocore

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// liveWords are the words of a frame of the last walk that hold pointers which its function will still use, by the compiler's
// pointer maps. Of a frame that was interrupted, or whose function has no maps, they are all its words.
func (s *poolSearch) liveWords(frame int) []uint64 {
	if !s.interrupted(frame) {
		if words, ok := s.w.mappedWords(frame); ok {
			return words
		}
	}
	lo, hi, ok := s.w.u.extent(frame)
	if !ok || !s.w.u.info(s.w.u.pcs[frame]).ok {
		return nil
	}
	return s.w.frameWords(suspect{g: s.g}, frame, lo, hi)
}

// mappedWords are the words of a frame of the last walk that are live pointers, by the maps for its return address, in order and each
// once; false when its function has no maps. They hold only where the frame stopped at a call of its own.
func (w *worker) mappedWords(frame int) ([]uint64, bool) {
	u := w.u
	lo, hi, ok := u.extent(frame)
	e := u.info(u.pcs[frame])
	if !ok || !e.ok {
		return nil, false
	}
	locals, ok := e.fn.LocalsMap(e.pc)
	if !ok {
		return nil, false
	}
	varp, argp := pcln.FrameBounds(lo, hi, w.t.arm64)
	var words []uint64
	add := func(m pcln.PointerMap, base uint64) {
		for i := range m.Len() {
			if !m.Has(i) {
				continue
			}
			if v, ok := u.mem.Uint64(base + 8*uint64(i)); ok && v != 0 {
				words = append(words, v)
			}
		}
	}
	if n := 8 * uint64(locals.Len()); varp >= lo && n <= varp-lo {
		add(locals, varp-n)
	}
	if args, ok := e.fn.ArgsMap(e.pc); ok && args.Len() <= maxArgWords {
		add(args, argp)
	}
	slices.Sort(words)
	return slices.Compact(words), true
}

// keptWords are the live words of a frame and what its pending deferred calls have captured.
func (s *poolSearch) keptWords(frame int) []uint64 {
	words := s.liveWords(frame)
	for _, closure := range s.pendingOf(frame) {
		words = append(words, s.w.captured(closure)...)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// interrupted reports whether a frame of the last walk did not stop at a call of its own.
func (s *poolSearch) interrupted(frame int) bool {
	if frame == 0 {
		return s.w.stacks[s.row.stack].firstTrap || s.row.status == statusRunning
	}
	return s.w.u.info(s.w.u.pcs[frame-1]).role == roleInjected
}

// maxArgWords bounds the argument words that are looked at: more than a page of them belongs to a damaged table.
const maxArgWords = 512

// maxPoolObjects bounds the objects that are looked into: about a second. The words of one object that are looked at are bounded by
// maxObjectBytes: what is larger is no handle of a slot.
const (
	maxPoolObjects = 1 << 19
	maxObjectBytes = 512
)

// objectWords are the words of the object that a pointer leads into: on the heap, a variable of the goroutine's own stack whose
// address was taken, or a global.
func (s *poolSearch) objectWords(p uint64) []uint64 {
	if own := s.stackObject(p); own != nil {
		return own
	}
	if words, ok := s.known[p]; ok {
		return words
	}
	if s.objects >= maxPoolObjects {
		s.full = true
		return nil
	}
	s.objects++
	var words []uint64
	if o, ok := s.t.heapObject(p); ok {
		words = s.wordsAt(o.base, min(o.size, maxObjectBytes))
	} else if s.t.inGlobals(p) {
		words = s.wordsAt(p&^7, maxObjectBytes)
	}
	s.known[p] = words
	return words
}

// wordsAt reads the words of some memory that may be pointers.
func (s *poolSearch) wordsAt(addr, size uint64) []uint64 {
	raw, ok := s.w.u.mem.Bytes(addr, size&^7)
	if !ok {
		return nil
	}
	const lowest = 1 << 16 // nothing is mapped below on Linux (vm.mmap_min_addr)
	var words []uint64
	for ; len(raw) >= 8; raw = raw[8:] {
		if v := le.Uint64(raw); v >= lowest && v&7 == 0 {
			words = append(words, v)
		}
	}
	s.w.searched += int(size / 8)
	return words
}

// stackObject gives the words of the variable on the goroutine's own stack that a pointer leads into; nil when it leads elsewhere.
func (s *poolSearch) stackObject(p uint64) []uint64 {
	u := s.w.u
	n := len(u.sps)
	if n < 2 || p < u.sps[0] || p >= u.sps[n-1] || u.elided > 0 {
		return nil
	}
	frame, found := slices.BinarySearch(u.sps, p)
	if !found {
		frame--
	}
	lo, hi, ok := u.extent(frame)
	if !ok {
		return nil
	}
	e := u.info(u.pcs[frame])
	if !e.ok {
		return nil
	}
	objects, _ := e.fn.StackObjects()
	varp, argp := pcln.FrameBounds(lo, hi, s.t.arm64)
	for _, o := range objects {
		at := argp + uint64(o.Off)
		if o.Off < 0 {
			at = varp + uint64(o.Off)
		}
		if p >= at && p < at+o.Size {
			return s.wordsAt(at, min(o.Size, maxObjectBytes))
		}
	}
	return nil
}

// channelsOf are the channels that the goroutine of the last walk waits for.
func (s *poolSearch) channelsOf() []uint64 {
	const most = 64 // cases of the selects of these libraries
	o := &s.t.off.Sudog
	mem := s.w.u.mem
	sudog, _ := mem.Uint64(s.g + s.t.off.G.Waiting)
	var list []uint64
	for range most {
		g, ok := mem.Uint64(sudog + o.G)
		if sudog == 0 || !ok || g != s.g {
			break
		}
		if c, _ := mem.Uint64(sudog + o.C); c != 0 {
			list = append(list, c)
		}
		sudog, _ = mem.Uint64(sudog + o.WaitLink)
	}
	return list
}

// pendingOf are the closures of the deferred calls that a frame of the last walk has registered and not run.
func (s *poolSearch) pendingOf(frame int) []uint64 {
	lo, hi, ok := s.w.u.extent(frame)
	e := s.w.u.info(s.w.u.pcs[frame])
	if !ok || !e.ok || e.fn.DeferReturn() == 0 {
		return nil
	}
	f := holdFrame{index: frame, defers: true, open: s.w.t.openDefersOf(s.w.u.mem, e.fn)}
	return s.w.pendingDefers(s.g, &f, lo, hi)
}

// isFunc reports whether a closure's code is a function of the program.
func (s *poolSearch) isFunc(closure uint64) bool {
	_, ok := s.w.closureFunc(closure)
	return ok
}
