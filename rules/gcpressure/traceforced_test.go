package gcpressure

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// asking is a Timeline of two seconds in which lines of the program ask for collections: so many calls of each.
func asking(t *testing.T, change func(*evidence.Timeline), calls map[string]uint64) *diagnosis.Result {
	t.Helper()
	b := evidence.NewBuilder()
	b.Process(func(p *evidence.Process) {
		p.Language, p.MainModule, p.SourceRoot = "go", "example.com/app", "/go/src/"
	})
	line := evidence.Timeline{SpanNS: 2 * second, SliceNS: 16e6, Procs: 2, RunNS: .4 * second, GC: evidence.GCWork{
		Cycles: 50, ActiveNS: 1.6 * second, WorkerNS: 2.2 * second, Done: 50, Marked: 50 * someMiB, Goals: 100 * someMiB}}
	for _, name := range []string{"main.clean /src/app/clean.go", "main.flush /src/app/flush.go", "main.TestFlush /src/app/flush_test.go", "testing.(*B).runN /go/src/testing/benchmark.go"} {
		function, file, _ := strings.Cut(name, " ")
		for _, inner := range []int{555, 558} { // the two waits of a call
			if calls[function] == 0 {
				continue
			}
			stack := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "runtime.gcWaitOnMark", File: "/go/src/runtime/mgc.go", Line: 630}),
				b.Frame(evidence.Frame{Function: "runtime.GC", File: "/go/src/runtime/mgc.go", Line: inner}),
				b.Frame(evidence.Frame{Function: "runtime/debug.FreeOSMemory", File: "/go/src/runtime/debug/garbage.go", Line: 100}),
				b.Frame(evidence.Frame{Function: function, File: file, Line: 9}),
				b.Frame(evidence.Frame{Function: "main.main", File: "/src/app/main.go", Line: 3})}, evidence.StackNote{})
			line.Sites = append(line.Sites, evidence.Site{Kind: evidence.SiteBlock, Reason: "wait until GC ends", Stack: stack, Count: calls[function],
				TotalNS: calls[function] * 1e7, Peak: 2})
		}
	}
	change(&line)
	b.Timeline(line)
	res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.NotChecked) > 0 {
		t.Fatal(err, res)
	}
	return res
}

// TestForced changes one thing at a time in a program that asks for most of its collections.
func TestForced(t *testing.T) {
	same := func(*evidence.Timeline) {}
	tests := []struct {
		name   string
		calls  map[string]uint64
		change func(*evidence.Timeline)
		says   string // part of the claim, or of the reason for silence
		lines  string // empty for no finding
	}{
		{"for each request", map[string]uint64{"main.clean": 50}, same, "clean (clean.go:9) asks for collections, 25.0 a second: one is in progress 80 %", "main.clean"},
		{"many callers share a cycle", map[string]uint64{"main.clean": 900}, same, "clean (clean.go:9) asks for collections, 25.0 a second", "main.clean"},
		{"two lines", map[string]uint64{"main.clean": 10, "main.flush": 40}, same, "flush (flush.go:9) asks for collections", "main.flush main.clean"},
		{"fewer than half are asked for", map[string]uint64{"main.clean": 24}, same, "each left room", ""},
		{"a test does", map[string]uint64{"main.TestFlush": 50}, same, "50 of 50 collections were asked for by runtime.GC, in a test", ""},
		{"package testing does, before each round", map[string]uint64{"testing.(*B).runN": 50}, same, "in a test", ""},
		{"three in all", map[string]uint64{"main.clean": 3}, func(l *evidence.Timeline) { l.GC.Cycles = 3 }, "now and then", ""},
		{"four, but in ten seconds", map[string]uint64{"main.clean": 4}, func(l *evidence.Timeline) { l.GC.Cycles, l.SpanNS = 4, 10*second }, "now and then", ""},
		{"marking takes little", map[string]uint64{"main.clean": 50}, func(l *evidence.Timeline) { l.GC.WorkerNS = .2 * second }, "marking took 5 %", ""},
		{"seldom in progress", map[string]uint64{"main.clean": 50}, func(l *evidence.Timeline) { l.GC.ActiveNS = .4 * second }, "asked for by runtime.GC", ""},
		{"processors are not known", map[string]uint64{"main.clean": 50}, func(l *evidence.Timeline) { l.Procs = 0 }, "clean (clean.go:9) asks for collections", "main.clean"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := asking(t, tt.change, tt.calls)
			if tt.lines == "" {
				if len(res.Findings) > 0 || !strings.Contains(res.RuledOut[0].Why, tt.says) {
					t.Errorf("found %+v, silent %+v; want %q", res.Findings, res.RuledOut, tt.says)
				}
				return
			}
			if len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Claim, tt.says) || res.Findings[0].Severity != diagnosis.Warning {
				t.Fatalf("found %+v, silent %+v; want %q", res.Findings, res.RuledOut, tt.says)
			}
			var at []string
			for _, l := range res.Findings[0].Locations {
				at = append(at, l.Frame.Function)
			}
			if got := strings.Join(at, " "); got != tt.lines {
				t.Errorf("at %s, want %s", got, tt.lines)
			}
		})
	}
}
