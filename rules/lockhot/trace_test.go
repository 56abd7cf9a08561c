package lockhot

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

// TestTraceLimits sets each limit just within and just beyond what a case has.
func TestTraceLimits(t *testing.T) {
	for _, tt := range []struct {
		name, limit    string
		within, beyond float64
	}{
		{"hit_trace_counters", "trace-span", 9.9, 10.1},
		{"hit_trace_counters", "contended", 0.98, 1},
		{"hit_trace_counters", "mean-waiters", 13.9, 14.1},
		{"hit_trace_counters", "min-waits", 1999, 2001},
		{"hit_trace_counters", "min-share", 0.9, 0.93},
		{"hit_trace_counters", "max-hold", 0.5, 0.1},
		{"hit_trace_write", "max-stop", 0.5, 0.2},
		{"hit_trace_write", "usual-stop", 0.05, 0.01},
		{"hit_trace_counters", "processors-full", 0.35, 0.25},
		{"hit_trace_short_waits", "max-wait", 5, 1},
		{"hit_trace_no_holds", "max-wait", 5, 1},
	} {
		for value, want := range map[float64]int{tt.within: 1, tt.beyond: 0} {
			var change func(*evidence.Timeline)
			if tt.limit == "processors-full" { // goroutines are always ready
				change = func(l *evidence.Timeline) { l.ReadyNS = uint64(l.SpanNS) }
			}
			limits := map[string]float64{tt.limit: value}
			if tt.limit == "max-stop" {
				limits["max-wait"] = 0.5 // the waits behind the writes are short
			}
			if got := ruletest.Changed(t, Rule, tt.name, limits, change).Findings; len(got) != want {
				t.Errorf("%s with %s=%g: %d findings, want %d", tt.name, tt.limit, value, len(got), want)
			}
		}
	}
}

// TestTraceHolders: holders that wait for the collector or for a processor make other diseases.
func TestTraceHolders(t *testing.T) {
	for _, tt := range []struct {
		name string
		part evidence.HoldPart
		want int
	}{
		{"computing", evidence.HoldPart{State: evidence.ActRunning, NS: 9e9}, 1},
		{"ready", evidence.HoldPart{State: evidence.ActReady, NS: 9e9}, 0},
		{"collecting", evidence.HoldPart{State: evidence.ActBlocked, Reason: "GC mark assist wait for work", NS: 9e9}, 0},
	} {
		got := ruletest.Changed(t, Rule, "hit_trace_counters", nil, func(l *evidence.Timeline) { l.Releases[0].Parts = []evidence.HoldPart{tt.part} }).Findings
		if len(got) != tt.want {
			t.Errorf("holders that are %s: %d findings, want %d", tt.name, len(got), tt.want)
		}
	}
}
