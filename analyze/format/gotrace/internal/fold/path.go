package fold

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const (
	maxLegs  = 64
	maxDepth = 32   // wakers of wakers
	maxSteps = 4096 // stretches that are looked at for one path
)

// leg is one stretch of a critical path.
type leg struct {
	goroutine int64
	state     evidence.ActState
	site      uint32 // of the stretch; of a running one, of what it did next
	start, ns int64
}

// walker walks a critical path back in time: along the stretches of a goroutine, and where it was woken by another along those of the
// other, down to the moment at which the wait began.
type walker struct {
	rings *ringTable
	legs  []leg // the last one first
	steps int
	cut   bool
}

// path is the critical path of what g has finished at end and was begun at begin. Cut says that its beginning is not known.
func (f *Folder) path(g *G, begin, end int64) (legs []leg, cut bool) {
	if g == nil || g.spawn == 0 {
		return nil, true
	}
	w := &walker{rings: &f.rings}
	reached := w.walk(f.ring(g), begin, end, 0)
	slices.Reverse(w.legs)
	return w.legs, w.cut || reached > begin
}

// walk follows one goroutine from end back to begin and returns how far it came.
func (w *walker) walk(n uint32, begin, end int64, depth int) int64 {
	h := w.rings.head(n)
	next := uint32(0) // site of the stretch after the one that is looked at
	for i := h.n; i > h.oldest() && end > begin; i-- {
		if w.steps++; w.steps > maxSteps {
			w.cut = true
		}
		if w.cut {
			return end
		}
		s := *w.rings.at(h, i-1)
		if s.since() < end {
			from := max(s.since(), begin)
			if s.state() == evidence.ActBlocked && s.waker != 0 && i < h.n && depth < maxDepth {
				end = w.walk(s.waker, from, end, depth+1)
			}
			site := s.site
			if s.state() == evidence.ActRunning {
				site = next
			}
			w.add(leg{h.owner, s.state(), site, from, end - from})
			end = from
		}
		next = 0
		if s.state() == evidence.ActBlocked || s.state() == evidence.ActSyscall {
			next = s.site
		}
	}
	if end > begin && h.born == end && h.parent != 0 && depth < maxDepth {
		return w.walk(h.parent, begin, end, depth+1)
	}
	return end
}

// add puts a leg in front. One that continues the leg after it is joined with it.
func (w *walker) add(l leg) {
	if l.ns <= 0 || w.cut {
		return
	}
	if n := len(w.legs); n > 0 {
		after := &w.legs[n-1]
		if after.goroutine == l.goroutine && after.state == l.state && after.site == l.site && l.start+l.ns == after.start {
			after.start, after.ns = l.start, after.ns+l.ns
			return
		}
	}
	if len(w.legs) == maxLegs {
		w.cut = true
		return
	}
	w.legs = append(w.legs, l)
}
