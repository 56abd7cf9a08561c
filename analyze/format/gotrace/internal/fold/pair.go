package fold

import (
	"cmp"
	"slices"
)

const (
	minWakes  = 16      // of one goroutine by the other, to be looked at as a pair
	roomPairs = 1 << 12 // pairs that are kept while the trace is read
)

// pair is a row of Timeline.Pairs while it is filled. Index 0 is the goroutine with the smaller id.
type pair struct {
	id          [2]int64
	site        [2]uint32
	wakes       [2]uint64 // of it, by the other
	run         [2]int64
	first, last int64
}

type pairTable struct {
	rows  []pair
	index map[[2]int64]int
}

func (t *pairTable) init() { t.index = map[[2]int64]int{} }

// woken counts who wakes g. A goroutine has one candidate for its partner; every wake by another takes one vote from it.
func (f *Folder) woken(t int64, g, by *G) {
	x := f.extra(g)
	switch {
	case x.partner == by.ID:
		x.votes++
		x.wakes++
	case x.votes > 0:
		x.votes--
		return
	default:
		f.unpair(g)
		x.partner, x.votes, x.wakes, x.firstWake = by.ID, 1, 1, t
	}
	x.lastWake, x.pairSite = t, g.site
}

// unpair keeps what was counted of the partner of g.
func (f *Folder) unpair(g *G) {
	if g.extra == 0 {
		return
	}
	x := f.extra(g)
	if x.wakes < minWakes {
		return
	}
	side, id := 0, [2]int64{g.ID, x.partner}
	if g.ID > x.partner {
		side, id = 1, [2]int64{x.partner, g.ID}
	}
	t := &f.pairs
	n, ok := t.index[id]
	if !ok {
		t.prune()
		n = len(t.rows)
		t.index[id] = n
		t.rows = append(t.rows, pair{id: id, first: x.firstWake, last: x.lastWake})
	}
	p := &t.rows[n]
	p.site[side] = x.pairSite
	p.wakes[side] += uint64(x.wakes)
	p.run[side] = g.run
	p.first, p.last = min(p.first, x.firstWake), max(p.last, x.lastWake)
	g.flags |= gNamed
	x.wakes, x.votes = 0, 0
}

// prune throws the rarer half away when the table is full.
func (t *pairTable) prune() {
	if len(t.rows) < roomPairs {
		return
	}
	slices.SortStableFunc(t.rows, comparePairs)
	t.rows = t.rows[:roomPairs/2]
	clear(t.index)
	for i := range t.rows {
		t.index[t.rows[i].id] = i
	}
}

func comparePairs(a, b pair) int {
	return cmp.Or(cmp.Compare(b.wakes[0]+b.wakes[1], a.wakes[0]+a.wakes[1]), slices.Compare(a.id[:], b.id[:]))
}
