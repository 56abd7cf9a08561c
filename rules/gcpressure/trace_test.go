package gcpressure

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const (
	second  = 1e9
	someMiB = 64 << 20
)

// atLimit is a Timeline of two seconds in which a heap of 64 MiB is at its limit.
func atLimit() evidence.Timeline {
	return evidence.Timeline{SpanNS: 2 * second, SliceNS: 16e6, Procs: 2, RunNS: 2 * second, GC: evidence.GCWork{
		Cycles: 40, ActiveNS: 1.7 * second, AssistNS: 3 * second, AssistRun: .4 * second, WorkerNS: .8 * second,
		HeapLast: someMiB, HeapMax: someMiB, GoalMax: 2 * someMiB, Done: 39, Marked: 39 * someMiB, Goals: 39 * someMiB * 107 / 100}}
}

func judge(t *testing.T, line evidence.Timeline) *diagnosis.Result {
	t.Helper()
	b := evidence.NewBuilder()
	b.Timeline(line)
	res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.NotChecked) > 0 {
		t.Fatal(err, res.NotChecked)
	}
	return res
}

// few leaves n collections that took as long as all did.
func few(g *evidence.GCWork, n int) {
	g.Cycles, g.Done, g.Marked, g.Goals = n, n, uint64(n)*someMiB, uint64(n)*someMiB/100*107
}

// TestHalves takes one half of the disease away at a time.
func TestHalves(t *testing.T) {
	tests := []struct {
		name   string
		change func(*evidence.GCWork)
		silent string // empty: found
	}{
		{"as it is", func(*evidence.GCWork) {}, ""},
		{"a hundred times as many cycles with the same work", func(g *evidence.GCWork) { g.Cycles *= 100; g.Done *= 100; g.Marked *= 100; g.Goals *= 100 }, ""},
		{"helpers only", func(g *evidence.GCWork) { g.WorkerNS = 0 }, ""},
		{"workers only", func(g *evidence.GCWork) { g.AssistRun = 0 }, ""},
		{"neither", func(g *evidence.GCWork) { g.WorkerNS, g.AssistRun = 0, 0 }, "goroutines helped it for 0 % of theirs"},
		{"twice the room", func(g *evidence.GCWork) { g.Goals = 2 * g.Marked }, "each left room: the goal is 2.0 times"},
		{"half as much room as is usual", func(g *evidence.GCWork) { g.Goals = g.Marked / 2 * 3 }, "each left room: the goal is 1.5 times"},
		{"some room", func(g *evidence.GCWork) { g.Goals = g.Marked / 3 * 4 }, ""},
		{"a sixth of the time", func(g *evidence.GCWork) { g.ActiveNS = .3 * second }, "in progress for 15 % of the time"},
		{"seven cycles", func(g *evidence.GCWork) { g.Cycles = 7 }, "there were 7 collections only"},
		{"a few long ones", func(g *evidence.GCWork) { few(g, 3); g.HeapMin = someMiB / 10 * 8 }, ""},
		{"two long ones", func(g *evidence.GCWork) { few(g, 2); g.HeapMin = someMiB / 10 * 8 }, "there were 2 collections only"},
		{"a few of a heap that grows", func(g *evidence.GCWork) { few(g, 4); g.HeapMin = someMiB / 4 }, "there were 4 collections only"},
		{"no cycle ended", func(g *evidence.GCWork) { g.Done, g.Marked, g.Goals = 0, 0, 0 }, "is not in this evidence"},
		{"no collector", func(g *evidence.GCWork) { *g = evidence.GCWork{} }, "in progress for 0 % of the time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line := atLimit()
			tt.change(&line.GC)
			res := judge(t, line)
			if tt.silent == "" {
				likely := line.GC.Goals < line.GC.Marked/4*5
				if len(res.Findings) != 1 || likely != (res.Findings[0].Confidence == diagnosis.Likely) || res.Findings[0].Severity != diagnosis.Warning || !strings.Contains(res.Findings[0].Claim, "64.0 MiB are alive") {
					t.Errorf("found %+v, silent %v", res.Findings, res.RuledOut)
				}
				return
			}
			if len(res.Findings) > 0 || !strings.Contains(res.RuledOut[0].Why, tt.silent) {
				t.Errorf("found %+v, silent %v; want %q", res.Findings, res.RuledOut, tt.silent)
			}
		})
	}
}

// TestUnknownRoom says that a question is open, which a clean case is not.
func TestUnknownRoom(t *testing.T) {
	line := atLimit()
	line.GC.Done, line.GC.Marked, line.GC.Goals = 0, 0, 0
	if res := judge(t, line); len(res.RuledOut) != 1 || !res.RuledOut[0].Open {
		t.Errorf("ruled out: %+v", res.RuledOut)
	}
}

// TestForcedOddly counts waits for cycles that were asked for, as a damaged trace may have more of them than cycles.
func TestForcedOddly(t *testing.T) {
	line := atLimit()
	for n, found := range map[uint64]int{0: 1, 19: 1, 20: 0, 5000: 0} {
		line.Sites = []evidence.Site{{Kind: evidence.SiteBlock, Reason: "wait until GC ends", Count: n}, {Kind: evidence.SiteBlock, Reason: "select", Count: 900}}
		if res := judge(t, line); len(res.Findings) != found {
			t.Errorf("of 40 collections %d were asked for: %d findings, silent %v", n, len(res.Findings), res.RuledOut)
		}
	}
}

// TestOdd runs the rule over Timelines that no sound trace gives.
func TestOdd(t *testing.T) {
	for name, line := range map[string]evidence.Timeline{
		"empty":       {},
		"no time":     {GC: atLimit().GC},
		"backwards":   {SpanNS: -1, GC: atLimit().GC},
		"no marks":    {SpanNS: second, GC: evidence.GCWork{Cycles: 9, ActiveNS: second, AssistRun: second, Goals: 5}},
		"nobody runs": {SpanNS: second, Procs: 2, GC: evidence.GCWork{Cycles: 9}},
	} {
		if res := judge(t, line); len(res.Findings) > 0 {
			t.Errorf("%s: found %s", name, res.Findings[0].Claim)
		}
	}
}
