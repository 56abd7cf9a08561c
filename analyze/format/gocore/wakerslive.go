package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// A goroutine that refers to an object may wake those who wait for it, though its code does not say so: it passes the object on, or
// calls something that could not be followed. Which words of a frame are alive the compiler's pointer maps tell: a word that was
// left over refers to nothing.

// liveWords are the places of the live pointers of a frame.
type liveWords struct {
	locals, args pcln.PointerMap
	objects      []pcln.StackObject // variables whose addresses are taken: they live when something live points to them
	ok           bool               // the function has maps, and the frame is at a call
}

func liveWordsAt(fn pcln.Func, pc uint64, exact bool) liveWords {
	if exact {
		return liveWords{}
	}
	if !fn.KeepsPointers() {
		objects, _ := fn.StackObjects()
		return liveWords{objects: objects}
	}
	locals, args, ok1, ok2 := fn.PointerMaps(pc)
	objects, ok3 := fn.StackObjects()
	return liveWords{locals, args, objects, ok1 && ok2 && ok3}
}

// some reports whether a frame has live pointers.
func (l *liveWords) some() bool { return l.ok && (hasAny(l.locals) || hasAny(l.args)) }

func hasAny(m pcln.PointerMap) bool {
	for i := range min(m.Len(), maxLiveWords) {
		if m.Has(i) {
			return true
		}
	}
	return false
}

// each visits the live pointers of a frame.
func (l *liveWords) each(w *worker, sp, fp uint64, visit func(v uint64)) {
	if !l.ok {
		return
	}
	varp, argp := pcln.FrameBounds(sp, fp, w.t.arm64)
	for _, part := range []struct {
		m  pcln.PointerMap
		at uint64
	}{{l.locals, varp - 8*uint64(l.locals.Len())}, {l.args, argp}} {
		for i := range min(part.m.Len(), maxLiveWords) {
			if !part.m.Has(i) {
				continue
			}
			if v, ok := w.u.mem.Uint64(part.at + 8*uint64(i)); ok && v >= minPointer {
				visit(v)
			}
		}
	}
}

// variable finds the variable that a word into the stack of the last walk points to, and how many of its words may be pointers.
func (w *worker) variable(leads []leadFrame, v uint64) (at, words uint64) {
	for k := range leads {
		lo, hi, ok := w.u.extent(leads[k].index)
		if !ok {
			continue
		}
		if at, words := leads[k].live.variable(w, lo, hi, v); words > 0 {
			return at, words
		}
	}
	return 0, 0
}

// variable is the same in one frame.
func (l *liveWords) variable(w *worker, sp, fp, v uint64) (at, words uint64) {
	varp, argp := pcln.FrameBounds(sp, fp, w.t.arm64)
	for _, o := range l.objects {
		at := argp + uint64(o.Off)
		if o.Off < 0 {
			at = varp + uint64(o.Off)
		}
		if v >= at && v-at < o.Size {
			return at, o.PtrBytes / 8
		}
	}
	return 0, 0
}

const (
	maxLiveWords = 1 << 10 // of one frame: a longer one is an array
	minPointer   = 4 << 10 // smaller values are no pointers (runtime/stack.go, adjustpointers)
	maxHop       = 16      // words of an object that are looked at
	maxReferrers = 1 << 15 // goroutines: to look at the words of more takes too long
)

// references is the search for who refers to the objects that nobody else would wake.
type references struct {
	s      *wakerSearch
	wanted []bool           // by number of the object
	inside map[uint64]int32 // objects that are no channels, by the heap object that they are part of
	filter [1 << 10]uint64  // bits of the addresses that are wanted: most words are none
}

func newReferences(s *wakerSearch, wanted []bool, inside map[uint64]int32) *references {
	r := &references{s: s, wanted: wanted, inside: inside}
	for i, yes := range wanted {
		if yes {
			r.mark(s.list[i].addr)
		}
	}
	for base := range inside {
		r.mark(base)
	}
	return r
}

func (r *references) bit(v uint64) (word, bit uint64) {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	h := v * golden >> 48
	return h >> 6, 1 << (h & 63)
}

func (r *references) mark(v uint64) {
	word, bit := r.bit(v)
	r.filter[word] |= bit
}

// object is the wanted object that a word leads to.
func (r *references) object(v uint64) (int32, bool) {
	if word, bit := r.bit(v); r.filter[word]&bit == 0 {
		return 0, false
	}
	if i, ok := r.s.number[v]; ok && r.wanted[i] {
		return i, true
	}
	i, ok := r.inside[v]
	return i, ok
}

// frame looks at the live words of a frame, and at the words of what they point to.
func (r *references) frame(x goer, leads []leadFrame, f *leadFrame, at foundWaker, stack span) {
	w := r.s.w
	lo, hi, _ := w.u.extent(f.index)
	at.grade, at.act = evidence.WakerRefers, actNone
	f.live.each(w, lo, hi, func(v uint64) {
		r.file(x, at, v)
		n := uint64(0)
		switch {
		case v >= stack.lo && v < stack.hi:
			v, n = w.variable(leads, v)
			n = min(n, maxHop)
		default:
			o, ok := w.t.heapObject(v)
			if !ok {
				return
			}
			r.file(x, at, o.base)
			v, n = o.base, min(maxHop, o.size/8)
		}
		for i := range n {
			if p, ok := w.u.mem.Uint64(v + 8*i); ok && p >= minPointer {
				r.file(x, at, p)
			}
		}
	})
}

func (r *references) file(x goer, at foundWaker, v uint64) {
	i, ok := r.object(v)
	if !ok || r.s.w.waitsFor(x, r.s.list[i].addr) {
		return
	}
	at.object = i
	r.s.file(at)
}
