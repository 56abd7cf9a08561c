package goroutineexplosion

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// has reports whether one of the reasons holds a text.
func has(list []diagnosis.Reason, text string) bool {
	return slices.ContainsFunc(list, func(r diagnosis.Reason) bool { return strings.Contains(r.Text, text) })
}

// TestWhatIsSaid reads the sentences of a finding: the rates, where they stand, and who lets them go on.
func TestWhatIsSaid(t *testing.T) {
	x := newCrowd(1500)
	x.ended = 100
	at := x.b.Stack([]evidence.FrameID{x.frame("main.drain", 30)}, evidence.StackNote{})
	few := x.b.Stack([]evidence.FrameID{x.frame("main.peek", 40)}, evidence.StackNote{})
	x.line.Releases = []evidence.Release{{Site: 0, Stack: few, Count: 3}, {Site: 0, Stack: at, Count: 17}, {Site: 5, Stack: few, Count: 900}}
	f := x.run(t).Findings[0]
	for _, text := range []string{
		"since the start about 750 a second are started and 50 a second end",
		"there were more and more of them until the end of the timeline",
		"1400 of 1400 have one stack, deliver (app.go:9): sends to a channel; 10 a second get on from there, the longest wait took 1.9 s",
		"who lets them go on: drain (app.go:30), 17 times",
	} {
		if !has(f.Because, text) {
			t.Errorf("nothing says %q: %+v", text, f.Because)
		}
	}
	if !strings.Contains(f.Claim, "1500 goroutines were started in serve within 2 s and 100 have ended: 1400 are alive at the end; 1400 of them stand at one line") {
		t.Errorf("the claim is %q", f.Claim)
	}
	if len(f.Locations) != 2 || f.Locations[0].Role != diagnosis.RoleCreator || f.Locations[1].Role != diagnosis.RoleWaiter || f.Locations[1].Frame.Line != 9 {
		t.Errorf("locations are %+v", f.Locations)
	}
	if len(f.Against) > 0 || len(f.Explained) > 0 {
		t.Errorf("against %v, explained by %v", f.Against, f.Explained)
	}
}

// TestLockIsTheCause puts the queue at a lock behind whoever holds it.
func TestLockIsTheCause(t *testing.T) {
	x := newCrowd(1500)
	x.reason = "sync.Mutex.Lock"
	f := x.run(t).Findings[0]
	if !slices.Contains(f.Explained, "lock-hog") || !has(f.Against, "who holds it is the cause") {
		t.Errorf("explained by %v, against %+v", f.Explained, f.Against)
	}
}

// TestWithoutGoroutines tells of growth in a trace whose end is missing: nobody knows where they stand.
func TestWithoutGoroutines(t *testing.T) {
	births, alive := make([]uint32, 125), make([]uint32, 125)
	for i := range births {
		births[i], alive[i] = 20, uint32(20*(i+1))
	}
	x := newCrowd(0)
	created := x.b.Stack([]evidence.FrameID{x.created}, evidence.StackNote{})
	x.b.Timeline(evidence.Timeline{SpanNS: span, SliceNS: slice, Spawns: []evidence.Spawn{{Stack: created, Start: x.stack, Created: 2500, Live: 2500,
		Births: births, Alive: alive, LastNS: span - 5e6}}})
	res, err := diagnosis.Run(t.Context(), x.b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.Findings) != 1 {
		t.Fatalf("%v, %+v, silent %v", err, res.Findings, res.RuledOut)
	}
	if f := res.Findings[0]; f.Confidence != diagnosis.Possible || len(f.Locations) != 1 || !strings.HasSuffix(f.Claim, "2500 are alive at the end") {
		t.Errorf("%s, at %+v: %s", f.Confidence, f.Locations, f.Claim)
	}
}

// TestCoreBeside makes one finding of what the core and the trace beside it tell of one go statement.
func TestCoreBeside(t *testing.T) {
	x := newCrowd(1500)
	x.burst, x.ended = true, 0
	x.b.Scheduler(evidence.Scheduler{GOMAXPROCS: 4})
	res := x.run(t)
	if len(res.Findings) != 1 {
		t.Fatalf("%d findings: %+v", len(res.Findings), res.Findings)
	}
	core, trace := false, false
	for _, r := range res.Findings[0].Because {
		core = core || strings.Contains(r.Text, "the highest goroutine id is")
		trace = trace || strings.Contains(r.Text, "a second are started")
	}
	if !core || !trace {
		t.Errorf("because %+v", res.Findings[0].Because)
	}
}
