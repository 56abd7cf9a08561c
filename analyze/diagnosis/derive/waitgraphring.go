package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// hop is how a node was reached in the search for a ring.
type hop struct {
	from  int32 // waiter
	block int32 // block on the port between them
}

// ring finds the shortest way from the member with the lowest goroutine id back to itself; of several the one over the strongest grips.
func (t *tangle) ring(nodes []int32) []KnotLink {
	g := t.g
	start, lowest := int32(-1), int64(0)
	for _, n := range nodes {
		if int(n) >= len(g.waiters) {
			continue
		}
		if id := g.c.Goroutines().ID(int(g.waiters[n].row)); start < 0 || id < lowest {
			start, lowest = n, id
		}
	}
	reached, seen := map[int32]hop{}, map[int32]bool{}
	queue := []int32{start}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, b := range t.blocksOf(n, seen) {
			to := g.waiting[g.blocks[b].row]
			if _, known := reached[to]; !known {
				reached[to] = hop{n, b}
				queue = append(queue, to)
			}
		}
		if _, back := reached[start]; back {
			return t.unwind(reached, start)
		}
	}
	return nil
}

// blocksOf lists the stuck blocks of the component on the ports a waiter waits at, the strongest first. A port is looked at once: a
// thousand waiters of one channel reach the same goroutines.
func (t *tangle) blocksOf(n int32, seen map[int32]bool) []int32 {
	g := t.g
	var list []int32
	for e := g.waiters[n].edge; e >= 0; e = g.edges[e].ofWaiter {
		p := g.edges[e].port
		if seen[p] {
			continue
		}
		seen[p] = true
		for b := g.ports[p].block; b >= 0; b = g.blocks[b].next {
			x := &g.blocks[b]
			if !x.counts || x.queued {
				continue
			}
			if to := g.waiting[x.row]; to >= 0 && t.part[to] == t.part[n] && !g.waiters[to].free {
				list = append(list, b)
			}
		}
	}
	slices.SortFunc(list, func(a, b int32) int {
		return cmp.Or(cmp.Compare(g.blocks[a].grip, g.blocks[b].grip), cmp.Compare(a, b))
	})
	return list
}

// unwind walks the ring backwards from its start.
func (t *tangle) unwind(reached map[int32]hop, start int32) []KnotLink {
	var ring []KnotLink
	for n := start; ; {
		h := reached[n]
		b := t.g.blocks[h.block]
		ring = append(ring, KnotLink{Row: t.g.waiters[h.from].row, Object: t.g.objects[b.port/2].sync.Addr, Sends: b.port%2 == 1,
			Grip: b.grip, Next: uint32(b.row), Ref: b.ref})
		if n = h.from; n == start {
			slices.Reverse(ring)
			return ring
		}
	}
}

// kindOf tells what a ring is made of.
func (t *tangle) kindOf(ring []KnotLink) KnotKind {
	locks, slots := true, true
	for _, l := range ring {
		o := t.g.objects[t.g.index[l.Object]]
		held := l.Ref.Kind == evidence.RefHold
		channel := o.sync.Kind == evidence.SyncChannel
		locks = locks && held && !channel
		slots = slots && channel && (held || t.bothWays(l, ring))
	}
	switch {
	case locks:
		return KnotLocks
	case slots:
		return KnotSlots
	}
	return KnotMixed
}

// bothWays reports whether a ring is one goroutine that waits at a buffered channel for what it would do itself: it has taken a slot and
// asks for another.
func (t *tangle) bothWays(l KnotLink, ring []KnotLink) bool {
	return len(ring) == 1 && l.Row == l.Next && t.g.objects[t.g.index[l.Object]].sync.Cap > 0 && l.Grip == GripPending
}
