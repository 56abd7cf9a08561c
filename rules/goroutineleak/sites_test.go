package goroutineleak

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// chain makes a Case of n goroutines that can never wake: each sends on a channel that the next one receives from, and the last one to
// nobody, or, when closed, to the first.
func chain(n int, closed bool) *evidence.Case {
	b := evidence.NewBuilder()
	stack := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "main.step", File: "/src/step.go", Line: 3})}, evidence.StackNote{})
	start := b.Frame(evidence.Frame{Function: "main.start", File: "/src/step.go", Line: 9})
	const base = 0xc000000000
	for i := range n {
		b.Goroutine(evidence.Goroutine{ID: int64(10 + i), State: evidence.StateWaiting, Reason: "chan send", Stack: stack, Created: start,
			WaitsOn: uint64(base + 96*i), Wake: evidence.WakeNever})
		b.Sync(evidence.Sync{Addr: uint64(base + 96*i), Kind: evidence.SyncChannel})
		if i > 0 || closed {
			b.Waker(evidence.Waker{Sync: uint64(base + 96*((i+n-1)%n)), Goroutine: int64(10 + i), Act: evidence.ActReceive, Grade: evidence.WakerAhead})
		}
	}
	b.Proof(evidence.Proof{Done: true, Candidates: n, Never: n})
	return b.Finish()
}

func results(t *testing.T, c *evidence.Case) *diagnosis.Result {
	t.Helper()
	res, err := diagnosis.Run(t.Context(), c, []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.NotChecked) > 0 {
		t.Fatal(err, res.NotChecked)
	}
	return res
}

// TestLongChain follows a chain that is longer than any stack of calls should be, and the same chain closed to a circle.
func TestLongChain(t *testing.T) {
	const n = 200_000
	open := results(t, chain(n, false))
	if len(open.Findings) != 1 || open.Findings[0].VictimCount() != n {
		t.Errorf("an open chain gives %d findings, want one with all %d goroutines", len(open.Findings), n)
	}
	closed := results(t, chain(n, true))
	if len(closed.Findings) != 0 || !strings.Contains(closed.RuledOut[0].Why, "deadlock") {
		t.Errorf("a circle gives %d findings and says %v", len(closed.Findings), closed.RuledOut)
	}
}

// TestManySites tells the largest sites only, and counts the rest.
func TestManySites(t *testing.T) {
	b := evidence.NewBuilder()
	for i := range 3 * maxFindings {
		stack := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "main.step", File: "/src/step.go", Line: 1 + i})}, evidence.StackNote{})
		b.Goroutine(evidence.Goroutine{ID: int64(10 + i), State: evidence.StateWaiting, Reason: "chan send", Stack: stack, Wake: evidence.WakeNever})
	}
	b.Proof(evidence.Proof{Done: true, Candidates: 3 * maxFindings, Never: 3 * maxFindings})
	res := results(t, b.Finish())
	if len(res.Findings) != maxFindings {
		t.Fatalf("%d findings, want %d", len(res.Findings), maxFindings)
	}
	said := 0
	for _, f := range res.Findings {
		for _, r := range f.Because {
			if strings.HasPrefix(r.Text, "40 more goroutines of 40 other places") {
				said++
			}
		}
	}
	if said != 1 {
		t.Errorf("the rest is told %d times", said)
	}
}

// TestSenders tells who helps whom: a second sender is no help for one that waits to send, and a close of its own neither.
func TestSenders(t *testing.T) {
	b := evidence.NewBuilder()
	stack := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "main.feed", File: "/src/feed.go", Line: 3})}, evidence.StackNote{})
	for id := range int64(2) {
		b.Goroutine(evidence.Goroutine{ID: 10 + id, State: evidence.StateWaiting, Reason: "chan send", Stack: stack, WaitsOn: 0xc000, Wake: evidence.WakeNever})
		b.Waker(evidence.Waker{Sync: 0xc000, Goroutine: 10 + id, Act: evidence.ActSend, Grade: evidence.WakerAhead})
		b.Waker(evidence.Waker{Sync: 0xc000, Goroutine: 10 + id, Act: evidence.ActClose, Grade: evidence.WakerPending})
	}
	b.Sync(evidence.Sync{Addr: 0xc000, Kind: evidence.SyncChannel})
	b.Proof(evidence.Proof{Done: true, Candidates: 2, Never: 2})
	res := results(t, b.Finish())
	if len(res.Findings) != 1 || res.Findings[0].VictimCount() != 2 {
		t.Errorf("two senders that nobody receives from give %+v, %v", res.Findings, res.RuledOut)
	}
}
