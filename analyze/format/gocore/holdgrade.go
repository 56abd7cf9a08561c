package gocore

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// grade turns the candidates for one lock into holds. A lock for writing has one holder: a single pending Unlock is strong,
// a single candidate whose frame and code lead to the lock is the unique one, and several make each ambiguous. Readers may be
// many.
func grade(cands []candidate) []evidence.Hold {
	cands = oncePerGoroutine(cands)
	exact, strong := 0, 0
	for _, c := range cands {
		switch {
		case c.hold.Reader:
		case c.deferred:
			strong++
		case c.aim == aimLock:
			exact++
		}
	}
	var holds []evidence.Hold
	for _, c := range cands {
		h := c.hold
		switch {
		case c.deferred && (h.Reader || strong == 1):
			h.Grade = evidence.HoldPendingUnlock
		case strong == 1 && !h.Reader, exact == 1 && strong == 0 && !h.Reader && c.aim != aimLock:
			continue // another goroutine has the stronger sign of the one place there is
		case h.Reader, c.aim == aimLock && exact == 1 && strong == 0:
			h.Grade = evidence.HoldUnique
		default:
			h.Grade = evidence.HoldAmbiguous
		}
		holds = append(holds, h)
	}
	return holds[:min(len(holds), maxHolds)]
}

// maxHolds bounds the candidates that are listed for one lock.
const maxHolds = 64

// oncePerGoroutine keeps the best candidate of each goroutine and mode: a pending Unlock first, then the innermost frame.
func oncePerGoroutine(cands []candidate) []candidate {
	slices.SortStableFunc(cands, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.hold.Goroutine, b.hold.Goroutine), cmp.Compare(a.hold.Depth, b.hold.Depth))
	})
	type key struct {
		goroutine int64
		reader    bool
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(cands, func(c candidate) bool {
		k := key{c.hold.Goroutine, c.hold.Reader}
		twice := seen[k]
		seen[k] = true
		return twice
	})
}

func rank(c candidate) int {
	switch {
	case c.deferred:
		return 0
	case c.aim == aimLock:
		return 1
	}
	return 2
}
