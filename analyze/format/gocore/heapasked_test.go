package gocore

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// The heap is counted unasked where memory is the question, and nowhere else.
func TestHeapAsked(t *testing.T) {
	for _, test := range []struct {
		program fixtures.Program
		reach   format.Reach
		counted bool
		proof   bool
	}{
		{fixtures.Program{Scenario: "crash-oom-cache"}, format.ReachCase, true, true},
		{fixtures.Program{Scenario: "crash-oom-cache", Toolchain: "go1.22.12"}, format.ReachCase, true, true},
		{fixtures.Program{Scenario: "crash-oom-cache"}, format.ReachProof, false, true},
		{fixtures.Program{Scenario: "crash-oom-cache"}, format.ReachNone, false, false},
		{fixtures.Program{Scenario: "crash-oom-cache"}, format.ReachHeap, true, false},
		{fixtures.Program{Scenario: "gcpressure-sessions"}, format.ReachCase, true, true},
		{fixtures.Program{Scenario: "leak-search"}, format.ReachCase, true, true},
		{fixtures.Program{Scenario: "healthy-bigheap"}, format.ReachCase, false, true},
		{fixtures.Program{Scenario: "healthy-pubsub"}, format.ReachCase, false, true},
		{fixtures.Program{Scenario: "crash-nil-router"}, format.ReachCase, false, true},
	} {
		t.Run(strings.TrimSpace(test.program.Scenario+" "+test.program.Toolchain), func(t *testing.T) {
			capture, err := fixtures.Crash(context.Background(), test.program)
			fixtures.Require(t, err)
			c, err := readCore(t, capture.Core, format.Options{Executable: capture.Exe, Reach: test.reach, Variables: format.VariablesNone})
			if err != nil {
				t.Fatal(err)
			}
			if counted := c.HeapUse != nil; counted != test.counted {
				t.Errorf("counted: %v, want %v\n%s", counted, test.counted, gapsOf(c))
			}
			if proof := c.Proof != nil; proof != test.proof {
				t.Errorf("proved: %v, want %v", proof, test.proof)
			}
		})
	}
}

// Go 1.21 keeps another bitmap of pointers: the count is refused with a reason, and the rest of the core is read.
func TestHeapRefusedByVersion(t *testing.T) {
	capture, err := fixtures.Crash(context.Background(), fixtures.Program{Scenario: "crash-oom-cache", Toolchain: "go1.21.13"})
	fixtures.Require(t, err)
	c, err := readCore(t, capture.Core, format.Options{Executable: capture.Exe, Variables: format.VariablesNone})
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, g := range c.Gaps {
		said = said || g.What == evidence.HeapUseGap && g.Why != ""
	}
	if c.HeapUse != nil || !said || c.Goroutines().Len() == 0 {
		t.Errorf("counted %+v, gaps\n%s", c.HeapUse, gapsOf(c))
	}
}

func TestTight(t *testing.T) {
	for name, test := range map[string]struct {
		heap evidence.Heap
		want bool
	}{
		"nothing known":            {evidence.Heap{}, false},
		"no limit":                 {evidence.Heap{Live: 1 << 30, Limit: math.MaxInt64}, false},
		"far from the limit":       {evidence.Heap{Live: 800 << 20, Limit: 1 << 30}, false},
		"near the limit":           {evidence.Heap{Live: 900 << 20, Limit: 1 << 30}, true},
		"near it with the stacks":  {evidence.Heap{Live: 800 << 20, Stacks: 100 << 20, Limit: 1 << 30}, true},
		"goal hardly above":        {evidence.Heap{Marked: 100 << 20, Goal: 105 << 20}, true},
		"goal twice as much":       {evidence.Heap{Marked: 100 << 20, Goal: 200 << 20}, false},
		"a heap of the least goal": {evidence.Heap{Marked: 3 << 20, Goal: 3<<20 + 1}, false},
	} {
		if got := tight(&test.heap); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Above the bound a heap is not counted unasked; where the process died of memory that is said.
func TestHeapTooLarge(t *testing.T) {
	for most, said := range map[uint64]bool{manyPlaces: true, somePlaces: false, fewPlaces: false} {
		b := evidence.NewBuilder()
		(&target{b: b}).tooLarge(1<<40, most)
		if got := len(b.Finish().Gaps) == 1; got != said {
			t.Errorf("bound %d: said %v", most, got)
		}
	}
}

func TestPartOfMap(t *testing.T) {
	for name, want := range map[string]bool{"map.group[string]int": true, "[]map.group[string]int": true, "map.bucket[int]int": true, "table of map[int]int": true,
		"directory of map[int]int": true, "[]*maps.table": true, "map[string]int": false, "main.mapper": false, "[]uint8": false, "": false} {
		if got := partOfMap(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
