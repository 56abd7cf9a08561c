package gcpressure

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestHelpersAreNamed names the lines that were made to help, the longest first and each once, and not those without code of the program.
func TestHelpersAreNamed(t *testing.T) {
	b := evidence.NewBuilder()
	b.Process(func(p *evidence.Process) {
		p.Language, p.MainModule, p.SourceRoot = "go", "example.com/app", "/go/src/"
	})
	stack := func(function, file string, line int, under ...evidence.FrameID) evidence.StackID {
		return b.Stack(append([]evidence.FrameID{b.Frame(evidence.Frame{Function: function, File: file, Line: line})}, under...), evidence.StackNote{})
	}
	render := b.Frame(evidence.Frame{Function: "main.render", File: "/src/app/render.go", Line: 12})
	line := atLimit()
	assist := func(s evidence.StackID, total uint64, peak int) {
		line.Sites = append(line.Sites, evidence.Site{Kind: evidence.SiteAssist, Stack: s, Count: 50, TotalNS: total, Peak: peak})
	}
	assist(stack("main.fill", "/src/app/fill.go", 3), 2*second, 2)
	assist(stack("runtime.mallocgc", "/go/src/runtime/malloc.go", 9, render), 5*second, 6)
	assist(stack("runtime.growslice", "/go/src/runtime/slice.go", 7, render), 4*second, 9) // the same line
	assist(stack("runtime.bgsweep", "/go/src/runtime/mgcsweep.go", 1), 9*second, 1)
	for i := range 6 {
		assist(stack("main.more", "/src/app/more.go", 20+i), uint64(second-i), 1)
	}
	line.Sites = append(line.Sites, evidence.Site{Kind: evidence.SiteBlock, Reason: "select", Stack: stack("main.idle", "/src/app/idle.go", 1), TotalNS: 9 * second})
	b.Timeline(line)
	res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.Findings) != 1 {
		t.Fatalf("%v, %+v", err, res)
	}
	f := res.Findings[0]
	var got []string
	for _, l := range f.Locations {
		got = append(got, l.Frame.Function)
	}
	if want := "main.render main.fill main.more main.more"; strings.Join(got, " ") != want || f.Locations[2].Frame.Line != 20 {
		t.Errorf("locations are %v, want %s", got, want)
	}
	said := false
	for _, r := range f.Because {
		said = said || strings.Contains(r.Text, "most of it render (render.go:12), 50 times, 5 s in all, waits included, at most 6 goroutines at once")
	}
	if !said {
		t.Errorf("because %+v", f.Because)
	}
	if f.Affected != 6 || len(f.Victims) != 4 {
		t.Errorf("%d goroutines, victims %v", f.Affected, f.Victims)
	}
}

// TestCoreBeside makes one finding of what the heap of a core and the trace beside it tell.
func TestCoreBeside(t *testing.T) {
	for name, heap := range map[string]evidence.Heap{
		"room":    {Live: someMiB, Marked: someMiB, Goal: 2 * someMiB},
		"no room": {Live: someMiB, Marked: someMiB, Goal: someMiB + 1<<20, CPU: .5, Cycles: 900},
	} {
		b := evidence.NewBuilder()
		b.Heap(heap)
		b.Goroutine(evidence.Goroutine{ID: 1, State: evidence.StateRunning})
		b.Timeline(atLimit())
		res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
		if err != nil || len(res.Findings) != 1 {
			t.Fatalf("%s in the core: %v, %d findings, want 1", name, err, len(res.Findings))
		}
		text := ""
		for _, r := range res.Findings[0].Because {
			text += r.Text + "\n"
		}
		if core := strings.Contains(text, "since the start"); core != (heap.CPU > 0) || !strings.Contains(text, "40 collections in 2 s") {
			t.Errorf("%s in the core: because %s", name, text)
		}
	}
}

// TestWindow says when most of it was.
func TestWindow(t *testing.T) {
	line := atLimit()
	for i := range 125 {
		s := evidence.Slice{}
		if i >= 40 {
			s.GC = 900
		}
		line.Slices = append(line.Slices, s)
	}
	f := judge(t, line).Findings[0]
	if !strings.Contains(f.Because[0].Text, "most of it from 640 ms to 2 s") {
		t.Errorf("because %q", f.Because[0].Text)
	}
}
