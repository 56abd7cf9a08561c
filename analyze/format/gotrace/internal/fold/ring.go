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
	ringBlock = 1 << 12 // stretches that are allocated at once: a multiple of longRing
	ringLag   = 1024    // rings of dead goroutines that are kept while there are tasks: paths lead over them
)

// stretch is one entry: a goroutine was in a state from a moment on, until the next entry begins.
type stretch struct {
	from  int64  // ns; the state in the lowest two bits
	site  uint32 // of a wait, a system call, or of who is ready
	waker uint32 // ring of the goroutine that ended it; 0 when none did, or it has none
}

func (s stretch) since() int64             { return s.from >> 2 }
func (s stretch) state() evidence.ActState { return evidence.ActState(s.from & 3) }

// ring is the head of a ring: n stretches were written to it so far, the last of them at (n-1)&mask.
type ring struct {
	owner  int64
	born   int64  // of the owner; never when it was there before the trace
	parent uint32 // ring of the goroutine that created it
	n      uint32
	at     uint32 // its place: number of the block and of the entry
	mask   uint32
	lost   uint32 // entries before this one were lost in a shorter place
}

type ringTable struct {
	heads []ring
	room  []*[ringBlock]stretch
	used  int // of the last block
	short []uint32
	long  []uint32 // free rings, the one that was freed first in front
	longs int      // long rings that there are
	full  bool     // tasks or regions were seen
}

func (t *ringTable) init() {
	t.heads = make([]ring, 1, 256)
	t.used = ringBlock
}

// ring gives g a ring, when it has none.
func (f *Folder) ring(g *G) uint32 {
	if g.ring != 0 {
		return g.ring
	}
	t := &f.rings
	if n, ok := t.reuse(); ok {
		h := &t.heads[n]
		*h = ring{owner: g.ID, at: h.at, mask: h.mask}
		g.ring = n
	} else {
		g.ring = uint32(len(t.heads))
		t.heads = append(t.heads, ring{owner: g.ID, at: t.place(shortRing), mask: shortRing - 1})
	}
	t.heads[g.ring].born = never
	if g.flags&gCreated != 0 {
		t.heads[g.ring].born = g.born
	}
	if g.state != StateUnknown {
		t.push(g.ring, actState(g.state), g.since, g.site)
	}
	return g.ring
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

// place makes room for n stretches.
func (t *ringTable) place(n int) uint32 {
	if t.used+n > ringBlock {
		t.room = append(t.room, new([ringBlock]stretch))
		t.used = 0
	}
	at := (len(t.room)-1)*ringBlock + t.used
	t.used += n
	return uint32(at)
}

// free gives back the ring of a goroutine that has ended.
func (t *ringTable) free(n uint32) {
	if n == 0 {
		return
	}
	if t.heads[n].mask == longRing-1 {
		t.long = append(t.long, n)
	} else {
		t.short = append(t.short, n)
	}
}

// at is entry i of a ring, counted from its beginning.
func (t *ringTable) at(h *ring, i uint32) *stretch {
	pos := h.at + i&h.mask
	return &t.room[pos/ringBlock][pos%ringBlock]
}

// push begins a stretch.
func (t *ringTable) push(n uint32, state evidence.ActState, from int64, site uint32) {
	h := &t.heads[n]
	if t.full && h.n == shortRing {
		t.lengthen(h)
	}
	*t.at(h, h.n) = stretch{from<<2 | int64(state), site, 0}
	if h.n++; h.n == math.MaxUint32 {
		h.n, h.lost = h.mask+1+h.n&h.mask, 0 // the same place, the same fill
	}
}

// lengthen moves a short ring to a longer place. The short place is given up: there are at most maxLong.
func (t *ringTable) lengthen(h *ring) {
	if h.mask != shortRing-1 || t.longs == maxLong {
		return
	}
	t.longs++
	longer := *h
	longer.at, longer.mask = t.place(longRing), longRing-1
	for i := h.oldest(); i < h.n; i++ {
		*t.at(&longer, i) = *t.at(h, i)
	}
	longer.lost = h.oldest()
	*h = longer
}

// wokenBy writes down who ended the stretch that was begun last.
func (t *ringTable) wokenBy(n, waker uint32) {
	if h := &t.heads[n]; h.n > 0 {
		t.at(h, h.n-1).waker = waker
	}
}

// oldest is the number of the first entry that is still there.
func (h *ring) oldest() uint32 {
	if h.n > h.mask {
		return max(h.n-h.mask-1, h.lost)
	}
	return h.lost
}

// each yields what g did between two moments, the last stretch first, as far as it is known.
func (t *ringTable) each(g *G, from, to int64, yield func(state evidence.ActState, site uint32, ns int64)) {
	if g.ring == 0 {
		if to > max(from, g.since) {
			yield(actState(g.state), g.site, to-max(from, g.since))
		}
		return
	}
	h := &t.heads[g.ring]
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
