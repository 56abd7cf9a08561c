package goroutineleak

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// forgottenOnes is a Timeline of two seconds in which a handler starts goroutines that wait at one line.
type forgottenOnes struct {
	reason       string
	n, ended     int
	woken        uint64
	wokenAfter   int64
	waited       uint64 // each of those that wait, on average
	burst        bool
	startersStay bool
	core         bool // a core beside the trace, in which they are proved to be lost
	connections  int  // goroutines of the program's own code that wait for the network
}

func (x *forgottenOnes) evidence() *evidence.Case {
	const span, slice = 2e9, 16e6
	b := evidence.NewBuilder()
	b.Process(func(p *evidence.Process) {
		p.Language, p.MainModule, p.SourceRoot = "go", "example.com/app", "/go/src/"
	})
	frame := func(function string, line int) evidence.FrameID {
		return b.Frame(evidence.Frame{Function: function, File: "/src/app/app.go", Line: line})
	}
	handler, answer := frame("main.handle", 4), frame("main.handle.func1", 6)
	started := b.Stack([]evidence.FrameID{handler}, evidence.StackNote{})
	stack := b.Stack([]evidence.FrameID{answer}, evidence.StackNote{})
	const slices = int(span / slice)
	births, alive := make([]uint32, slices), make([]uint32, slices)
	for i := range slices {
		births[i], alive[i] = uint32((x.n+x.ended)/slices), uint32(x.n*(i+1)/slices)
	}
	last := int64(span - 5e6)
	if x.burst {
		births, last = []uint32{uint32(x.n + x.ended)}, 5e6
	}
	line := evidence.Timeline{SpanNS: span, SliceNS: slice, Procs: 4}
	line.Spawns = []evidence.Spawn{{Stack: started, Start: answer, Created: uint64(x.n + x.ended), Ended: uint64(x.ended), Live: x.n, Peak: x.n,
		Births: births, Alive: alive, LastNS: last}}
	site := evidence.Site{Reason: x.reason, Stack: stack, Count: uint64(x.n) + x.woken, Open: x.n, Peak: x.n, MaxNS: 2 * x.waited,
		TotalNS: uint64(x.n)*x.waited + x.woken*uint64(x.wokenAfter), OpenNS: uint64(x.n) * x.waited}
	for range x.woken {
		site.Hist.Add(x.wokenAfter)
	}
	line.Sites = []evidence.Site{site}
	for i := range x.n {
		b.Goroutine(evidence.Goroutine{ID: int64(100_000 + i), State: evidence.StateWaiting, Reason: x.reason, Stack: stack, Created: handler, Parent: int64(7 + i%50), Wake: x.wake()})
	}
	for i := range 50 {
		if x.startersStay {
			b.Goroutine(evidence.Goroutine{ID: int64(7 + i), State: evidence.StateRunning, Stack: started})
		}
	}
	if x.connections > 0 {
		reader := b.Frame(evidence.Frame{Function: "main.read", File: "/src/app/app.go", Line: 30})
		reads := b.Stack([]evidence.FrameID{reader}, evidence.StackNote{})
		from := frame("main.accept", 25)
		accept := b.Stack([]evidence.FrameID{from}, evidence.StackNote{})
		line.Spawns = append(line.Spawns, evidence.Spawn{Stack: accept, Start: reader, Created: uint64(x.connections), Live: x.connections, LastNS: last})
		for i := range x.connections {
			b.Goroutine(evidence.Goroutine{ID: int64(200_000 + i), State: evidence.StateWaiting, Reason: "IO wait", Stack: reads, Created: from})
		}
	}
	if x.core {
		b.Scheduler(evidence.Scheduler{GOMAXPROCS: 4})
		b.Proof(evidence.Proof{Done: true, Candidates: x.n, Never: x.n})
	}
	b.Timeline(line)
	return b.Finish()
}

// TestForgottenOnes changes one thing at a time in a handler that leaks a sender for each request.
func TestForgottenOnes(t *testing.T) {
	tests := []struct {
		name   string
		change func(*forgottenOnes)
		want   string // severity and confidence; empty for none
		silent string
	}{
		{"as it is", func(*forgottenOnes) {}, "warning likely", ""},
		{"nine of ten get their answer", func(x *forgottenOnes) { x.ended = 9 * x.n }, "warning likely", ""},
		{"others were served in microseconds", func(x *forgottenOnes) { x.woken, x.wokenAfter = 900, 5000 }, "warning likely", ""},
		{"others were served as slowly", func(x *forgottenOnes) { x.woken, x.wokenAfter = 900, 5e8 }, "", "somebody serves them"},
		{"their starters are there", func(x *forgottenOnes) { x.startersStay = true }, "warning possible", ""},
		{"one burst", func(x *forgottenOnes) { x.burst = true }, "info possible", ""},
		{"one burst, and their starters are there", func(x *forgottenOnes) { x.burst, x.startersStay = true, true }, "", "they do not become more"},
		{"too few", func(x *forgottenOnes) { x.n = 150 }, "", "no go statement started 200"},
		{"for a moment", func(x *forgottenOnes) { x.waited = 1e8 }, "", "not for long"},
		{"receivers", func(x *forgottenOnes) { x.reason = "chan receive" }, "warning possible", ""},
		{"receivers whose starters are there", func(x *forgottenOnes) { x.reason, x.startersStay = "chan receive", true }, "info possible", ""},
		{"receivers, some of which have ended", func(x *forgottenOnes) { x.reason, x.ended = "chan receive", 50 }, "info possible", ""},
		{"receivers beside as many connections", func(x *forgottenOnes) { x.reason, x.connections = "chan receive", 300 }, "info possible", ""},
		{"receivers beside a few connections", func(x *forgottenOnes) { x.reason, x.connections = "chan receive", 100 }, "warning possible", ""},
		{"receivers that had something before", func(x *forgottenOnes) { x.reason, x.woken, x.wokenAfter = "chan receive", 900, 5000 }, "", "idle workers"},
		{"a select", func(x *forgottenOnes) { x.reason = "select" }, "warning possible", ""},
		{"a select in one burst", func(x *forgottenOnes) { x.reason, x.burst = "select", true }, "", "they do not become more"},
		{"a select without cases", func(x *forgottenOnes) { x.reason = "select (no cases)" }, "warning likely", ""},
		{"connections", func(x *forgottenOnes) { x.reason = "IO wait" }, "", "no go statement started 200"},
		{"a lock", func(x *forgottenOnes) { x.reason = "sync.Mutex.Lock" }, "", "no go statement started 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := &forgottenOnes{reason: "chan send", n: 500, waited: 9e8}
			tt.change(x)
			res := results(t, x.evidence())
			switch {
			case tt.want == "" && (len(res.Findings) > 0 || !strings.Contains(res.RuledOut[0].Why, tt.silent)):
				t.Errorf("found %+v, silent %v; want %q", res.Findings, res.RuledOut, tt.silent)
			case tt.want != "" && len(res.Findings) != 1:
				t.Errorf("%d findings, silent %v", len(res.Findings), res.RuledOut)
			case tt.want != "":
				f := res.Findings[0]
				at, _ := f.Location()
				if got := fmt.Sprint(f.Severity, " ", f.Confidence); got != tt.want || at.Function != "main.handle.func1" || f.Affected != x.n {
					t.Errorf("%s at %s, %d victims; want %s: %s", got, at.Function, f.Affected, tt.want, f.Claim)
				}
				if f.Confidence == diagnosis.Proved {
					t.Error("nothing is proved by a trace alone")
				}
			}
		})
	}
}

func (x *forgottenOnes) wake() evidence.Wake {
	if x.core {
		return evidence.WakeNever
	}
	return evidence.WakeUnknown
}

// TestOneDiseaseTwice makes one finding of the proof in a core and the growth in the trace beside it.
func TestOneDiseaseTwice(t *testing.T) {
	res := results(t, (&forgottenOnes{reason: "chan send", n: 500, waited: 9e8, core: true}).evidence())
	if len(res.Findings) != 1 {
		t.Fatalf("%d findings: %+v", len(res.Findings), res.Findings)
	}
	f, text := res.Findings[0], ""
	for _, r := range f.Because {
		text += r.Text + "\n"
	}
	if f.Confidence != diagnosis.Proved || !strings.Contains(text, "a second are started") {
		t.Errorf("%s, because %s", f.Confidence, text)
	}
}
