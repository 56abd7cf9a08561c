package gocore

import (
	"encoding/binary"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// Two locks of one object look the same to who only sees a pointer to the object. The code of a Lock tells them apart: it adds
// the place of the lock to that pointer.

// aim says how the words of a frame and the code of a Lock agree with a lock.
type aim uint8

const (
	aimNowhere aim = iota // nothing in the frame leads to the lock, or the code leads to another place in its object
	aimObject             // a word leads into the object of the lock, and the code does not say where in it
	aimLock               // a word, and what the code adds to it, give the lock
)

// aimOf is the best aim of some sites at a lock, given the words of the frame.
func (t *target) aimOf(w *worker, c *lockCode, sites []lockSite, words []uint64, l *contended) aim {
	best := aimNowhere
	for i := range sites {
		if s := &sites[i]; l.global {
			best = max(best, t.aimAtGlobal(w, c, s, l))
		} else {
			best = max(best, s.aimAt(words, l))
		}
	}
	return best
}

// aimAt compares the words of a frame, moved by what the site adds, with a lock in the heap. Words that are themselves such a
// sum are not moved again. When several places in the object come out, one of them is as good as another.
func (s *lockSite) aimAt(words []uint64, l *contended) aim {
	var inside []uint64
	for _, v := range words {
		if v >= l.lo && v < l.hi {
			inside = append(inside, v)
		}
	}
	exact := slices.Contains(inside, l.addr)
	switch {
	case len(inside) == 0:
		return aimNowhere
	case len(s.offsets) == 0 && exact:
		return aimLock
	case len(s.offsets) == 0:
		return aimObject
	}
	sums := s.sums(inside, l)
	switch {
	case sums[l.addr] && len(sums) == 1:
		return aimLock
	case sums[l.addr], exact, len(sums) == 0:
		return aimObject
	}
	return aimNowhere
}

// sums are the places in the object of the lock that words and offsets make.
func (s *lockSite) sums(inside []uint64, l *contended) map[uint64]bool {
	all := map[uint64]bool{}
	for _, v := range inside {
		for _, off := range s.offsets {
			all[v+uint64(off)] = true
		}
	}
	once := map[uint64]bool{}
	for _, v := range inside {
		for _, off := range s.offsets {
			if sum := v + uint64(off); !all[v] && sum >= l.lo && sum < l.hi {
				once[sum] = true
			}
		}
	}
	return once
}

// aimAtGlobal looks for the address of a global lock in the code of the site, then in that of the whole function.
func (t *target) aimAtGlobal(w *worker, c *lockCode, s *lockSite, l *contended) aim {
	lo := max(s.lo-min(s.lo, beforeCall), c.fn.Entry)
	switch {
	case s.helper != nil && t.codeNames(w, s.helper.fn, l.addr):
		return aimLock
	case s.helper != nil:
		return aimNowhere
	case t.names(c.code[lo-c.fn.Entry:s.hi-c.fn.Entry], lo, l.addr):
		return aimLock
	case t.codeNames(w, c.fn, l.addr):
		return aimObject
	}
	return aimNowhere
}

// beforeCall is how many bytes before a call its argument may be made.
const beforeCall = 24

// fillOffsets notes what the code of each site adds to a pointer. The parts of one inlined call share it.
func (c *lockCode) fillOffsets(arm64 bool) {
	starts := c.instructions(arm64)
	byCall := map[uint64][]int64{}
	for i := range c.sites {
		s := &c.sites[i]
		if s.helper == nil {
			byCall[s.call] = append(byCall[s.call], c.offsetsOf(s, starts, arm64)...)
		}
	}
	for i := range c.sites {
		if s := &c.sites[i]; s.helper == nil {
			s.offsets = byCall[s.call]
		}
	}
}

// instructions lists where the instructions of a function begin.
func (c *lockCode) instructions(arm64 bool) []uint64 {
	var starts []uint64
	for at := uint64(0); at < uint64(len(c.code)); {
		starts = append(starts, at)
		step, ok := decodeFlow(c.code[at:], c.fn.Entry+at, arm64)
		if !ok {
			break
		}
		at += step.size
	}
	return starts
}

// offsetsOf looks inside a site, and where that tells nothing at the few instructions before it, nearest first.
func (c *lockCode) offsetsOf(s *lockSite, starts []uint64, arm64 bool) []int64 {
	const before = 6
	var inside []int64
	var recent []uint64
	for _, at := range starts {
		pc := c.fn.Entry + at
		if pc >= s.hi {
			break
		}
		if pc < s.lo {
			recent = append(recent, at)
			continue
		}
		if off, ok := c.offsetAt(s, at, arm64); ok && off != 0 {
			inside = append(inside, off)
		}
	}
	if len(inside) > 0 {
		return inside
	}
	for i := len(recent) - 1; i >= max(0, len(recent)-before); i-- {
		if off, ok := c.offsetAt(s, recent[i], arm64); ok && off != 0 {
			return []int64{off}
		}
	}
	return nil
}

// offsetAt is what one instruction of a site adds. An inlined RLock or RUnlock begins with the count of readers.
func (c *lockCode) offsetAt(s *lockSite, at uint64, arm64 bool) (int64, bool) {
	inlinedReader := s.kind == evidence.SyncRWMutex && (s.op == opRLock || s.op == opRUnlock) && s.hi-s.lo != callSize(arm64)
	if arm64 {
		word := binary.LittleEndian.Uint32(c.code[at:])
		add := word&0xffc00000 == 0x91000000 && word>>5&31 != 31 // ADD (immediate), not of SP (Arm ARM, C6.2)
		return int64(word >> 10 & 0xfff), add && !inlinedReader
	}
	off, locked, ok := layout.AddressOffset(c.code[at:])
	if inlinedReader {
		return off - rwReaderCount, ok && locked
	}
	return off, ok
}

// callSize is the length of a direct call.
func callSize(arm64 bool) uint64 {
	if arm64 {
		return 4
	}
	return 5
}

// frameView is a frame of the goroutine that is being searched, with its memory.
type frameView struct {
	holdFrame
	fn     pcln.Func
	lo, hi uint64
	words  []uint64 // all of it, old ones too
	live   []uint64 // those that the compiler's pointer maps know to be live pointers; all where there are no maps

	pc       uint64
	exact    bool // pc was not carried out yet
	waits    bool // what the goroutine waits in was called by this frame
	prospect prospect
}

// view prepares a frame of the last walk; false when its extent is not known.
func (w *worker) view(s suspect, f holdFrame) (*frameView, bool) {
	lo, hi, ok := w.u.extent(f.index)
	if !ok {
		return nil, false
	}
	v := &frameView{holdFrame: f, fn: w.u.info(w.u.pcs[f.index]).fn, lo: lo, hi: hi, pc: w.u.pcs[f.index]}
	v.prospect = w.prospectOf(s, v)
	if len(f.sites)+len(f.released) > 0 {
		v.words = w.frameWords(s, f.index, lo, hi)
		v.live = w.liveOf(v)
	}
	return v, true
}

// liveOf are the words of a frame that its function still uses: those of the pointer maps, and the variables whose address was taken, which
// the maps leave out.
func (w *worker) liveOf(v *frameView) []uint64 {
	trap := v.index == 0 || w.u.info(w.u.pcs[v.index-1]).role == roleInjected
	words, ok := w.mappedWords(v.index)
	objects, known := v.fn.StackObjects()
	if trap || !ok || !known {
		return v.words
	}
	varp, argp := pcln.FrameBounds(v.lo, v.hi, w.t.arm64)
	for _, o := range objects {
		at := argp + uint64(o.Off)
		if o.Off < 0 {
			at = varp + uint64(o.Off)
		}
		for n := uint64(0); n < min(o.PtrBytes, maxObjectBytes); n += 8 {
			if x, ok := w.u.mem.Uint64(at + n); ok && x != 0 {
				words = append(words, x)
			}
		}
	}
	return words
}

// frameWords are the words of a frame, with the spill slots that it has in its caller's. Of a frame that was interrupted they
// are the registers too: those of the thread, or those that runtime.asyncPreempt has saved in its own frame.
func (w *worker) frameWords(s suspect, frame int, lo, hi uint64) []uint64 {
	if frame > 0 && w.u.info(w.u.pcs[frame-1]).role == roleInjected {
		lo = w.u.sps[frame-1]
	}
	raw := w.u.mem.Memory().Contiguous(lo)
	raw = raw[:min(uint64(len(raw)), hi+callerSlots-lo)]
	w.searched += len(raw) / 8
	words := make([]uint64, 0, len(raw)/8)
	for ; len(raw) >= 8; raw = raw[8:] {
		words = append(words, binary.LittleEndian.Uint64(raw))
	}
	m := w.t.gOwner[s.g]
	if frame > 0 || m == nil {
		return words
	}
	for _, p := range m.parts {
		if p.place == placeGoroutine && p.regs != nil && len(p.pcs) > 0 && p.pcs[0] == w.u.pcs[0] {
			return append(words, p.regs.General...)
		}
	}
	return words
}
