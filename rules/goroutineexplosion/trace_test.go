package goroutineexplosion

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// crowded is a Timeline of two seconds in which one go statement starts n goroutines, of which all but ended are alive.
type crowded struct {
	b              *evidence.Builder
	line           evidence.Timeline
	reason         string
	state          evidence.State
	n, ended       int
	burst          bool
	woken          uint64
	parent         int64 // of all; 0: each has its own
	stack, created evidence.FrameID
}

const span, slice = 2e9, 16e6

func newCrowd(n int) *crowded {
	x := &crowded{b: evidence.NewBuilder(), n: n, reason: "chan send", state: evidence.StateWaiting, woken: 20, parent: 1,
		line: evidence.Timeline{SpanNS: span, SliceNS: slice, Procs: 4}}
	x.b.Process(func(p *evidence.Process) {
		p.Language, p.MainModule, p.SourceRoot = "go", "example.com/app", "/go/src/"
	})
	x.stack, x.created = x.frame("main.deliver", 9), x.frame("main.serve", 4)
	return x
}

func (x *crowded) frame(function string, line int) evidence.FrameID {
	return x.b.Frame(evidence.Frame{Function: function, File: "/src/app/app.go", Line: line})
}

func (x *crowded) run(t *testing.T) *diagnosis.Result {
	t.Helper()
	slices := int(x.line.SpanNS / slice)
	live := x.n - x.ended
	births, alive := make([]uint32, slices), make([]uint32, slices)
	for i := range slices {
		births[i], alive[i] = uint32(x.n/slices), uint32(live*(i+1)/slices)
		if x.burst {
			births[i], alive[i] = 0, uint32(live)
		}
	}
	last := int64(span - 5e6)
	if x.burst {
		births[0], last = uint32(x.n), 5e6
	}
	stack := x.b.Stack([]evidence.FrameID{x.stack}, evidence.StackNote{})
	x.line.Spawns = []evidence.Spawn{{Stack: x.b.Stack([]evidence.FrameID{x.created}, evidence.StackNote{}), Start: x.stack, Created: uint64(x.n),
		Ended: uint64(x.ended), Live: live, Peak: live, Births: births, Alive: alive, LastNS: last}}
	site := evidence.Site{Reason: x.reason, Stack: stack, Count: uint64(live) + x.woken, Open: live, Peak: live, MaxNS: 19e8, TotalNS: uint64(live) * 1e9,
		OpenNS: uint64(live) * 1e9}
	for range x.woken {
		site.Hist.Add(1e9)
	}
	x.line.Sites = []evidence.Site{site}
	for i := range live {
		g := evidence.Goroutine{ID: int64(100 + i), State: x.state, Reason: x.reason, Stack: stack, Created: x.created, Parent: x.parent}
		if x.parent == 0 {
			g.Parent = int64(100_000 + i)
		}
		x.b.Goroutine(g)
	}
	x.b.Timeline(x.line)
	res, err := diagnosis.Run(t.Context(), x.b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.NotChecked) > 0 {
		t.Fatal(err, res.NotChecked)
	}
	return res
}

// TestCrowds changes one thing at a time in a crowd of 1,500 that grows in a queue.
func TestCrowds(t *testing.T) {
	tests := []struct {
		name   string
		change func(*crowded)
		want   string // severity and confidence; empty for none
		silent string
	}{
		{"as it is", func(*crowded) {}, "warning likely", ""},
		{"a tenth has ended", func(x *crowded) { x.ended = 150 }, "warning likely", ""},
		{"a third has ended", func(x *crowded) { x.ended = 500 }, "warning possible", ""},
		{"most have ended", func(x *crowded) { x.ended = 1000 }, "", "1000 of 1500 goroutines started in serve have ended"},
		{"two hundred", func(x *crowded) { x.n = 250 }, "", "no go statement started 300"},
		{"in one burst", func(x *crowded) { x.burst = true }, "info possible", ""},
		{"a small burst", func(x *crowded) { x.burst, x.n = true, 800 }, "", "a batch"},
		{"a burst for which the starter waits", func(x *crowded) {
			x.burst = true
			at := []evidence.FrameID{x.frame("sync.(*WaitGroup).Wait", 1), x.created}
			x.b.Goroutine(evidence.Goroutine{ID: 1, State: evidence.StateWaiting, Reason: "sync.WaitGroup.Wait", Stack: x.b.Stack(at, evidence.StackNote{})})
		}, "", "a batch"},
		{"a burst that nobody serves", func(x *crowded) { x.burst, x.woken = true, 0 }, "info possible", ""},
		{"a pool that was never used", func(x *crowded) { x.burst, x.woken, x.reason = true, 0, "chan receive" }, "", "a leak, if anything"},
		{"tokens that everybody waits for and nobody has", func(x *crowded) { x.burst, x.woken, x.reason, x.parent = true, 0, "chan receive", 0 }, "info possible", ""},
		{"growth that nobody serves", func(x *crowded) { x.woken = 0 }, "", "a leak, if anything"},
		{"subscribers", func(x *crowded) { x.reason, x.woken = "select", 900 }, "", "idle"},
		{"connections", func(x *crowded) { x.reason = "IO wait" }, "", "idle"},
		{"sleepers", func(x *crowded) { x.reason = "sleep" }, "info possible", ""},
		{"ready to run", func(x *crowded) { x.state, x.reason = evidence.StateRunnable, "" }, "warning likely", ""},
		{"a lock", func(x *crowded) { x.reason = "sync.Mutex.Lock" }, "warning possible", ""},
		{"a hundred thousand", func(x *crowded) { x.n = 120_000 }, "critical likely", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newCrowd(1500)
			tt.change(x)
			res := x.run(t)
			switch {
			case tt.want == "" && (len(res.Findings) > 0 || !strings.Contains(res.RuledOut[0].Why, tt.silent)):
				t.Errorf("found %+v, silent %v; want %q", res.Findings, res.RuledOut, tt.silent)
			case tt.want != "" && len(res.Findings) != 1:
				t.Errorf("%d findings, silent %v", len(res.Findings), res.RuledOut)
			case tt.want != "":
				f := res.Findings[0]
				at, _ := f.Location()
				if got := fmt.Sprint(f.Severity, " ", f.Confidence); got != tt.want || at.Function != "main.serve" || at.Line != 4 || f.Affected != x.n-x.ended {
					t.Errorf("%s at %s:%d, %d victims; want %s: %s", got, at.Function, at.Line, f.Affected, tt.want, f.Claim)
				}
			}
		})
	}
}

// TestOdd runs the rule over Timelines that no sound trace gives.
func TestOdd(t *testing.T) {
	for name, line := range map[string]evidence.Timeline{
		"empty":                  {},
		"no slices":              {SpanNS: span, Spawns: []evidence.Spawn{{Stack: 3, Created: 1000, Live: 1000}}},
		"more ended than began":  {SpanNS: span, SliceNS: slice, Spawns: []evidence.Spawn{{Stack: 3, Created: 5, Ended: 900, Live: 400}}},
		"alive and never begun":  {SpanNS: span, SliceNS: slice, Spawns: []evidence.Spawn{{Stack: 3, Live: 4000, Before: 4000}}},
		"a last before the span": {SpanNS: span, SliceNS: slice, Spawns: []evidence.Spawn{{Stack: 3, Created: 900, Live: 900, FirstNS: span, LastNS: -5}}},
	} {
		x := newCrowd(0)
		x.b.Timeline(line)
		res, err := diagnosis.Run(t.Context(), x.b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
		if err != nil || len(res.NotChecked) > 0 || len(res.Findings) > 0 {
			t.Errorf("%s: %v, %v, %+v", name, err, res.NotChecked, res.Findings)
		}
	}
}
