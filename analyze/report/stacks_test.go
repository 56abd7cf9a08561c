package report_test

import (
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// distinct makes n groups of falling size, and a thread with a stack of its own.
func distinct(n int) *evidence.Case {
	b := newCase()
	id := int64(1)
	for i := range n {
		stack := b.Stack([]evidence.FrameID{frame(b, "main.work", "/src/main.go", i+1)}, evidence.StackNote{})
		for range 1 + (n-i)/100 {
			b.Goroutine(evidence.Goroutine{ID: id, State: evidence.StateWaiting, Stack: stack})
			id++
		}
	}
	own := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "epoll_wait", Language: evidence.LanguageC, Module: "libc.so.6"})}, evidence.StackNote{})
	b.Thread(evidence.Thread{TID: 5, Stack: own})
	return b.Finish()
}

func TestStackGroupsAreLimitedAndCounted(t *testing.T) {
	c := distinct(500)
	last := c.Goroutines().At(c.Goroutines().Len() - 1)
	f := diagnosis.Finding{Rule: "r", Claim: "c", Confidence: diagnosis.Likely, Severity: diagnosis.Warning,
		Because: []diagnosis.Reason{because("the smallest group", last.Ref(), evidence.ThreadRef(5))}}
	for _, limit := range []struct{ groups, want int }{{0, 200}, {10, 10}, {-1, 500}} {
		m := meta()
		m.Groups = limit.groups
		doc := report.Build(result(c, f), m)
		total, cited, threads := 0, 0, 0
		for _, g := range doc.Stacks {
			total += g.Count
			if g.Cited {
				cited++
			}
			if g.State == "thread" {
				threads++
			}
		}
		if doc.Omitted != nil {
			total += doc.Omitted.Goroutines
		}
		if total != c.Goroutines().Len() {
			t.Errorf("limit %d: groups and rest hold %d goroutines, want %d", limit.groups, total, c.Goroutines().Len())
		}
		if threads != 1 || len(doc.Stacks) < limit.want || len(doc.Stacks) > limit.want+3 {
			t.Errorf("limit %d: %d groups, of them %d cited, %d of threads", limit.groups, len(doc.Stacks), cited, threads)
		}
	}
}

func TestDeepStackKeepsBothEnds(t *testing.T) {
	b := newCase()
	var frames []evidence.FrameID
	for i := range 5000 {
		frames = append(frames, frame(b, "main.f", "/src/main.go", i+1))
	}
	b.Goroutine(evidence.Goroutine{ID: 1, Stack: b.Stack(frames, evidence.StackNote{Elided: 100, ElidedAt: 50})})
	g := report.Build(result(b.Finish()), meta()).Stacks[0]
	if len(g.Frames) != 80 || g.Elided != 5100-80 || g.ElidedAt != 60 {
		t.Fatalf("%d frames, %d elided at %d", len(g.Frames), g.Elided, g.ElidedAt)
	}
	if g.Frames[0].Line != 1 || g.Frames[79].Line != 5000 {
		t.Errorf("the ends are lines %d and %d", g.Frames[0].Line, g.Frames[79].Line)
	}
}

// A million goroutines in three groups cost no more than the groups: the bound is generous, because machines are shared, but a
// pass over rows with a description each would not meet it.
func TestAMillionGoroutines(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a case of a million goroutines")
	}
	b := newCase()
	b.Grow(1_000_000)
	parked(b, 1, 500_000, "IO wait", "main.read", "/src/main.go", 10, 0)
	parked(b, 500_001, 499_990, "chan receive", "main.recv", "/src/main.go", 20, 0)
	refs := parked(b, 999_991, 10, "select", "main.pick", "/src/main.go", 30, 0)
	c := b.Finish()
	c.Groups()
	c.Resolve(refs[0]) // the index of goroutines by id is the Case's, made once
	f := diagnosis.Finding{Rule: "r", Claim: "c", Confidence: diagnosis.Likely, Severity: diagnosis.Warning, Victims: refs,
		Because: []diagnosis.Reason{because("b", refs...)}}
	start := time.Now()
	doc := report.Build(result(c, f), meta())
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("took %v", took)
	}
	t.Logf("a report of a million goroutines takes %v", time.Since(start))
	if len(doc.Stacks) != 3 || len(doc.Rows) > 30 {
		t.Errorf("%d groups, %d rows", len(doc.Stacks), len(doc.Rows))
	}
}
