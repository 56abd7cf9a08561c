package fold

import (
	"math"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// A ring keeps the last stretches of a goroutine: what it did while it held a lock, and how the critical path of a task ran.
//
// A goroutine gets one when it leaves its first wait or system call; one that is parked for ever has none. Once the trace has shown a task
// or region, every goroutine gets one at its birth, and those that fill theirs get a longer one, as long as the room for them lasts; so
// do those that hold a lock for longer than theirs tells.
const (
	shortRing = 8   // stretches
	longRing  = 128 // stretches
	maxLong   = 4096
	ringBlock = 256  // rings that are allocated at once
	ringLag   = 1024 // rings of dead goroutines that are kept while there are tasks: paths lead over them
)

// stretch is one entry: a goroutine was in a state from a moment on, until the next entry begins.
type stretch struct {
	from  int64  // ns; the state in the lowest two bits
	site  uint32 // of a wait, a system call, or of who is ready
	waker uint32 // ring of the goroutine that ended it; 0 when none did, or it has none
}

func (s stretch) since() int64             { return s.from >> 2 }
func (s stretch) state() evidence.ActState { return evidence.ActState(s.from & 3) }

// ring has the last of n stretches that were written to it. The short one lies in itself, so that a stretch is written to where its head
// has just been read.
type ring struct {
	owner  int64
	born   int64  // of the owner; never when it was there before the trace
	parent uint32 // ring of the goroutine that created it
	n      uint32
	long   uint32 // the longer place that it has moved to; 0: none
	_      uint32
	short  [shortRing]stretch
}

type ringTable struct {
	blocks []*[ringBlock]ring
	used   uint32 // rings; the first is nothing
	longs  []*[longRing]stretch
	short  []uint32
	long   []uint32 // free rings, the one that was freed first in front
	full   bool     // tasks or regions were seen
}

func (t *ringTable) init() { t.used, t.longs = 1, make([]*[longRing]stretch, 1) }

func (t *ringTable) head(n uint32) *ring { return &t.blocks[n/ringBlock][n%ringBlock] }

// ring gives g a ring, when it has none.
func (f *Folder) ring(g *G) uint32 {
	if g.ring != 0 {
		return g.ring
	}
	t := &f.rings
	n, ok := t.reuse()
	if !ok {
		n = t.used
		t.used++
		if int(n/ringBlock) >= len(t.blocks) {
			t.blocks = append(t.blocks, new([ringBlock]ring))
		}
	}
	h := t.head(n)
	h.owner, h.born, h.parent, h.n = g.ID, never, 0, 0
	if g.flags&gCreated != 0 {
		h.born = g.born
	}
	g.ring = n
	if g.state != StateUnknown {
		t.push(n, actState(g.state), g.since, g.site)
	}
	return n
}

// reuse takes a free ring.
func (t *ringTable) reuse() (uint32, bool) {
	for _, list := range []*[]uint32{&t.long, &t.short} {
		free := *list
		if t.full && len(free) > ringLag {
			*list = free[1:]
			return free[0], true
		}
		if !t.full && len(free) > 0 {
			*list = free[:len(free)-1]
			return free[len(free)-1], true
		}
	}
	return 0, false
}

// free gives back the ring of a goroutine that has ended.
func (t *ringTable) free(n uint32) {
	switch {
	case n == 0:
	case t.head(n).long != 0:
		t.long = append(t.long, n)
	default:
		t.short = append(t.short, n)
	}
}

// at is entry i of a ring, counted from its beginning.
func (t *ringTable) at(h *ring, i uint32) *stretch {
	if h.long == 0 {
		return &h.short[i%shortRing]
	}
	return &t.longs[h.long][i%longRing]
}

// push begins a stretch.
func (t *ringTable) push(n uint32, state evidence.ActState, from int64, site uint32) {
	h := t.head(n)
	if t.full && h.n == shortRing {
		t.lengthen(h)
	}
	*t.at(h, h.n) = stretch{from<<2 | int64(state), site, 0}
	if h.n++; h.n == math.MaxUint32 {
		h.n = longRing + h.n%longRing // the same place, the same fill
	}
}

// lengthen moves a short ring to a longer place, as long as there are some.
func (t *ringTable) lengthen(h *ring) {
	if h.long != 0 || len(t.longs) > maxLong {
		return
	}
	longer, n := new([longRing]stretch), uint32(0)
	for i := h.oldest(); i < h.n; i++ {
		longer[n] = *t.at(h, i)
		n++
	}
	h.long, h.n = uint32(len(t.longs)), n
	t.longs = append(t.longs, longer)
}

// wokenBy writes down who ended the stretch that was begun last.
func (t *ringTable) wokenBy(n, waker uint32) {
	if h := t.head(n); h.n > 0 {
		t.at(h, h.n-1).waker = waker
	}
}

// oldest is the number of the first entry that is still there.
func (h *ring) oldest() uint32 {
	size := uint32(shortRing)
	if h.long != 0 {
		size = longRing
	}
	return h.n - min(h.n, size)
}

// each yields what g did between two moments, the last stretch first, as far as it is known.
func (t *ringTable) each(g *G, from, to int64, yield func(state evidence.ActState, site uint32, ns int64)) {
	if g.ring == 0 {
		if to > max(from, g.since) {
			yield(actState(g.state), g.site, to-max(from, g.since))
		}
		return
	}
	h := t.head(g.ring)
	for i := h.n; i > h.oldest() && to > from; i-- {
		s := t.at(h, i-1)
		if begin := max(s.since(), from); begin < to {
			yield(s.state(), s.site, to-begin)
			to = begin
		}
	}
	if to > from && h.oldest() > 0 {
		t.lengthen(h)
	}
}

// actState is the state of a stretch; who is in no known state does not get here.
func actState(s State) evidence.ActState {
	switch s {
	case StateReady:
		return evidence.ActReady
	case StateSyscall:
		return evidence.ActSyscall
	case StateBlocked:
		return evidence.ActBlocked
	}
	return evidence.ActRunning
}
