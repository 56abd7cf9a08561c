package gocore

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// held turns the claims on the slots of a pool into uses, a row for each goroutine and grade. Of a slot that several refer to, those
// count whose frames are nearest to it; when these are still several, each is one of the candidates.
func (p *foundPool) held() []evidence.PoolUse {
	type key struct {
		goroutine int64
		grade     evidence.HoldGrade
	}
	index := map[key]int{}
	var uses []evidence.PoolUse
	for _, slot := range sortedKeys(p.claims) {
		list := nearest(p.claims[slot])
		for _, c := range list {
			k := key{c.goroutine, c.grade(len(list))}
			if at, ok := index[k]; ok {
				uses[at].Slots++
				continue
			}
			index[k] = len(uses)
			uses = append(uses, evidence.PoolUse{Pool: p.Addr, Goroutine: c.goroutine, Role: evidence.PoolHolds, Slots: 1,
				Grade: k.grade, Depth: c.depth, Frame: c.frame, Why: c.why})
		}
	}
	uses = p.bounded(uses)
	slices.SortStableFunc(uses, func(a, b evidence.PoolUse) int {
		return cmp.Or(cmp.Compare(a.Goroutine, b.Goroutine), cmp.Compare(a.Grade, b.Grade))
	})
	return uses
}

// bounded makes the holders that are not certain ambiguous when more slots are claimed than are given away.
func (p *foundPool) bounded(uses []evidence.PoolUse) []evidence.PoolUse {
	claimed := int64(0)
	for _, u := range uses {
		if u.Grade != evidence.HoldAmbiguous {
			claimed += u.Slots
		}
	}
	if p.Used < 0 || claimed <= p.Used {
		return uses
	}
	for i := range uses {
		if uses[i].Grade == evidence.HoldUnique {
			uses[i].Grade = evidence.HoldAmbiguous
		}
	}
	return uses
}

// nearest are the claims of the best kind: a pending release first, then the fewest objects in between.
func nearest(list []claim) []claim {
	rank := func(c claim) int {
		if c.pending {
			return -1
		}
		return c.level
	}
	best := rank(slices.MinFunc(list, func(a, b claim) int { return cmp.Compare(rank(a), rank(b)) }))
	var near []claim
	for _, c := range list {
		if rank(c) == best {
			near = append(near, c)
		}
	}
	return near
}

// grade of a claim among so many on the same slot.
func (c *claim) grade(rivals int) evidence.HoldGrade {
	switch {
	case c.pending && rivals == 1:
		return evidence.HoldPendingUnlock
	case rivals == 1:
		return evidence.HoldUnique
	}
	return evidence.HoldAmbiguous
}
