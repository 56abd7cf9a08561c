package schedstarvation

import (
	"math"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// scene is a Timeline of two seconds: an engine takes the only processor, and clients are ready behind it.
type scene struct {
	b    *evidence.Builder
	line evidence.Timeline
}

const second = 1e9

func newScene() *scene {
	s := &scene{b: evidence.NewBuilder(), line: evidence.Timeline{Form: "go 1.26 trace", SpanNS: 2 * second, SliceNS: 16e6, Procs: 1,
		RunNS: 1.98 * second, ReadyNS: 20 * second}}
	s.b.Process(func(p *evidence.Process) {
		p.Language, p.MainModule, p.SourceRoot = "go", "example.com/app", "/go/src/"
	})
	for range 400 {
		s.line.Latency.Add(12e6)
	}
	s.line.Spawns = []evidence.Spawn{
		{Stack: s.stack("main.main"), Start: s.frame("main.engine"), Created: 1, Peak: 1, Live: 1, RunNS: 1.9 * second, ReadyNS: .05 * second},
		{Stack: s.stack("main.serve"), Start: s.frame("main.client"), Created: 40, Peak: 40, Live: 40, RunNS: .05 * second, ReadyNS: 19 * second},
	}
	s.line.Actors = []evidence.Actor{{Goroutine: 7, Spawn: 0, RunNS: 1.9 * second, MaxRunNS: 20e6, Runs: 150, Preempted: 150}}
	s.line.Sites = []evidence.Site{{Kind: evidence.SitePreempt, Reason: "preempted", Stack: s.stack("main.compute", "main.engine"), Count: 150,
		Top: []evidence.Share{{Goroutine: 7, Count: 150}}}}
	return s
}

func (s *scene) frame(function string) evidence.FrameID {
	return s.b.Frame(evidence.Frame{Function: function, File: "/src/app/app.go", Line: len(function)})
}

func (s *scene) stack(functions ...string) evidence.StackID {
	var ids []evidence.FrameID
	for _, f := range functions {
		ids = append(ids, s.frame(f))
	}
	return s.b.Stack(ids, evidence.StackNote{})
}

func (s *scene) run(t *testing.T) *diagnosis.Result {
	t.Helper()
	s.b.Timeline(s.line)
	res, err := diagnosis.Run(t.Context(), s.b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, failed := range res.NotChecked {
		t.Errorf("the rule did not run: %s", failed.Why)
	}
	return res
}

// TestHeld changes one thing at a time in a program that starves, and says what must become of the finding.
func TestHeld(t *testing.T) {
	tests := []struct {
		name   string
		change func(*evidence.Timeline)
		want   string // part of the claim; empty for none
		silent string
	}{
		{"as it is", func(*evidence.Timeline) {}, "goroutine 7 in compute takes 95 % of the processor time", ""},
		{"one of two processors", func(l *evidence.Timeline) { l.Procs, l.IdleNS = 2, 2*second }, "", "a program that does one thing at a time"},
		{"GOMAXPROCS was lowered", func(l *evidence.Timeline) { l.Procs, l.IdleNS = 2, .02*second }, "takes 95 % of the processor time", ""},
		{"nothing is known of processors", func(l *evidence.Timeline) { l.Procs = 0 }, "takes 95 % of the processor time", ""},
		{"half of the time", func(l *evidence.Timeline) { l.Actors[0].RunNS /= 2; l.Spawns[0].RunNS /= 2 }, "", "no goroutine keeps the processors"},
		{"it gives the processor back all the time", func(l *evidence.Timeline) { l.Actors[0].Runs = 5000 }, "", "no goroutine keeps the processors"},
		{"who is ready runs within microseconds", func(l *evidence.Timeline) {
			l.Latency = evidence.Histogram{}
			for range 4000 {
				l.Latency.Add(2000)
			}
		}, "", "runs soon"},
		{"a few long waits of thousands", func(l *evidence.Timeline) {
			for range 100_000 {
				l.Latency.Add(2000)
			}
		}, "", "runs soon"},
		{"as many long waits as it was preempted itself", func(l *evidence.Timeline) {
			l.Latency = evidence.Histogram{}
			for range 150 {
				l.Latency.Add(12e6)
			}
			l.ReadyNS, l.Spawns[1].ReadyNS = 1.5*second, 1.4*second
		}, "", "150 of 150 waits were long"},
		{"few and very long waits", func(l *evidence.Timeline) {
			l.Latency = evidence.Histogram{}
			for range 8 {
				l.Latency.Add(second)
			}
		}, "10.0 goroutines of other parts of the program are ready at a time and one in a hundred waits 1", ""},
		{"nobody is ready", func(l *evidence.Timeline) { l.ReadyNS = .1 * second; l.Spawns[1].ReadyNS = .05 * second }, "", "hardly anybody else wants to run"},
		{"one other goroutine", func(l *evidence.Timeline) { l.Spawns[1].Peak = 1 }, "", "hardly anybody else wants to run"},
		{"a crowd of thirty computes", func(l *evidence.Timeline) { l.Spawns[0].Peak = 30 }, "", "no goroutine keeps the processors"},
		{"it is the runtime's own", func(l *evidence.Timeline) { l.Spawns[0].System, l.Actors[0].System = true, true }, "", ""},
		{"fifty milliseconds", func(l *evidence.Timeline) { l.SpanNS = 50e6 }, "", "too short"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.change(&s.line)
			res := s.run(t)
			if tt.want == "" {
				if len(res.Findings) > 0 {
					t.Fatalf("found: %s", res.Findings[0].Claim)
				}
				if !strings.Contains(res.RuledOut[0].Why, tt.silent) {
					t.Errorf("silent because %q, want %q", res.RuledOut[0].Why, tt.silent)
				}
				return
			}
			if len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Claim, tt.want) {
				t.Fatalf("found %+v, silent %v; want %q", res.Findings, res.RuledOut, tt.want)
			}
			if f := res.Findings[0]; f.Severity > diagnosis.Warning || f.Affected != 40 || len(f.Against) == 0 {
				t.Errorf("severity %s, %d victims, against %v: it may be the host", f.Severity, f.Affected, f.Against)
			}
		})
	}
}

// TestOdd runs the rule over Timelines that no sound trace gives: it must neither fail nor find anything.
func TestOdd(t *testing.T) {
	full := func(l *evidence.Timeline) {
		for range evidence.MaxSlices {
			l.Slices = append(l.Slices, evidence.Slice{RunNS: math.MaxUint32, ReadyNS: math.MaxUint32})
		}
	}
	for name, line := range map[string]evidence.Timeline{
		"empty":          {},
		"no time":        {Procs: 1, RunNS: 5, ReadyNS: math.MaxUint64},
		"a span only":    {SpanNS: 10 * second, Procs: 2},
		"a negative one": {SpanNS: -5, Procs: 2, RunNS: 1},
		"no slices":      {SpanNS: second, Procs: 1, RunNS: second, ReadyNS: 90 * second},
		"nobody runs":    {SpanNS: second, Procs: 2, Spawns: []evidence.Spawn{{}}, Actors: []evidence.Actor{{Goroutine: 3}}},
		"runs of nobody": {SpanNS: second, Procs: 2, Episodes: []evidence.Episode{{Kind: evidence.EpisodeRun, NS: second, Goroutine: 99}}},
	} {
		for _, fill := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s := &scene{b: evidence.NewBuilder(), line: line}
				if fill {
					full(&s.line)
				}
				if res := s.run(t); len(res.Findings) > 0 {
					t.Errorf("found: %s", res.Findings[0].Claim)
				}
			})
		}
	}
}

// TestWithoutNames tells of a starving loop in a trace that lost its tables of names.
func TestWithoutNames(t *testing.T) {
	s := newScene()
	for i := range s.line.Spawns {
		s.line.Spawns[i].Stack, s.line.Spawns[i].Start = 0, 0
	}
	s.line.Sites[0].Stack = 0
	s.line.NoNames = true
	for id := range int64(5) {
		s.line.Actors = append(s.line.Actors, evidence.Actor{Goroutine: 20 + id, Spawn: 1, ReadyNS: 3 * second, Runs: 90})
	}
	res := s.run(t)
	if len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Claim, "goroutine 7 takes 95 %") {
		t.Fatalf("found %+v, silent %v", res.Findings, res.RuledOut)
	}
	if len(res.Findings[0].Locations) > 0 {
		t.Errorf("nothing has a name, and it is at %+v", res.Findings[0].Locations)
	}
}
