package gocore

import (
	"fmt"
	"math"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// memoryDeaths are parts of the fatal errors with which the runtime ends a process that gets no more memory (mem_linux.go, mheap.go,
// mcache.go, malloc.go and mpagealloc_64bit.go of Go 1.21 to 1.26).
var memoryDeaths = []string{"out of memory", "cannot allocate memory", "failed to reserve page summary memory",
	"memory reservation exceeds address space limit", "failed to allocate aligned heap memory"}

// When the heap is counted unasked.
const (
	nearLimit   = 0.85    // of GOMEMLIMIT is in use: the runtime keeps a few per cent below it when it is bound by it (runtime/mgcpacer.go)
	tightGoal   = 1.2     // the next collection is due at so many times what survived the last: with GOGC=100 it is twice as much
	tightLeast  = 4 << 20 // bytes that survived: below, the goal is the smallest there is (runtime/mgcpacer.go, defaultHeapMinimum)
	severalLost = 10      // goroutines that can never wake: fewer come from what runs once
)

// Bounds on the places for objects of a heap that is counted unasked: a million takes one to two seconds of one processor.
const (
	manyPlaces = 1 << 26 // where the process died of memory
	somePlaces = 1 << 23 // where the limit is near, or several goroutines are lost
	fewPlaces  = 1 << 20 // where one goroutine is lost
)

// fewGoroutines bounds the goroutines of a process whose heap is counted only because some are lost. All stacks are read again for it: it
// takes as long as all the rest of the diagnosis, which for a hundred thousand goroutines is half a second.
const fewGoroutines = 1 << 14

// heapQuestion is how far the heap is counted.
type heapQuestion struct {
	most  uint64 // places for objects, at most; 0 means not at all
	whole bool   // what holds the memory is asked, and not only what some goroutines keep
}

// heapAsked decides whether the heap is counted. It is when the user wants it, when the process died because it got no more memory, when the
// collector has no room, and when goroutines were found that can never wake, so that it can be said what they keep.
func (t *target) heapAsked() heapQuestion {
	switch t.in.Options.Reach {
	case format.ReachHeap:
		return heapQuestion{math.MaxUint64, true}
	case format.ReachCase:
	default:
		return heapQuestion{}
	}
	fatal := ""
	t.b.Death(func(d *evidence.Death) { fatal = d.Fatal })
	for _, part := range memoryDeaths {
		if strings.Contains(fatal, part) {
			return heapQuestion{manyPlaces, true}
		}
	}
	switch {
	case tight(&t.figures):
		return heapQuestion{somePlaces, true}
	case t.goroutines > fewGoroutines:
		return heapQuestion{}
	case t.never >= severalLost:
		return heapQuestion{somePlaces, false}
	case t.never > 0:
		return heapQuestion{fewPlaces, false}
	}
	return heapQuestion{}
}

// tight reports whether the collector has no room, by the runtime's own figures.
func tight(h *evidence.Heap) bool {
	used := float64(max(h.Live, h.InUse) + h.Stacks)
	if h.Limit > 0 && h.Limit < math.MaxInt64 && used >= nearLimit*float64(h.Limit) {
		return true
	}
	return h.Marked >= tightLeast && h.Goal > 0 && float64(h.Goal) <= tightGoal*float64(h.Marked)
}

// tooLarge says that a heap was not counted unasked. Where the memory is not the question nobody misses it.
func (t *target) tooLarge(places, most uint64) {
	if most >= manyPlaces {
		t.b.Gap(evidence.HeapUseGap, fmt.Sprintf("it has places for %d objects, which takes a while: `postmortem heap` counts them", places))
	}
}
