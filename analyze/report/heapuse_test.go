package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// counted is a heap of 3 MiB: answers that leaked goroutines keep, and a store in a global variable.
func counted(stack evidence.StackID, created evidence.FrameID) evidence.HeapUse {
	return evidence.HeapUse{Objects: 20_000, Bytes: 5 << 20, LiveObjects: 12_000, LiveBytes: 3 << 20,
		Classes: []evidence.HeapClass{{Size: 1024, NoScan: true, Objects: 3000, Bytes: 3000 << 10, LiveObjects: 1500, LiveBytes: 1500 << 10},
			{Size: 64, Objects: 9000, Bytes: 9000 << 6, LiveObjects: 9000, LiveBytes: 9000 << 6}, {NoScan: true, Objects: 1, Bytes: 1 << 20, LiveObjects: 1, LiveBytes: 1 << 20}},
		Types: []evidence.HeapType{{Name: "[]uint8", Objects: 1501, Bytes: 2524 << 10, Trust: evidence.TrustRead}, {Name: "ask.answer", Objects: 9000, Bytes: 500 << 10, Trust: evidence.TrustRead},
			{Name: "string", Objects: 1490, Bytes: 40 << 10, Trust: evidence.TrustGuessed}, {Objects: 9, Bytes: 8 << 10, Trust: evidence.TrustGuessed}},
		Retained: []evidence.Retained{{Stack: stack, Created: created, Goroutines: 30, Objects: 1500, Bytes: 1500 << 10, StackBytes: 60 << 10,
			Types: []evidence.HeapType{{Name: "[]uint8", Objects: 1500, Bytes: 1500 << 10, Trust: evidence.TrustRead}}}},
		Holders: []evidence.Holder{{Kind: evidence.StepStack, Stack: stack, Objects: 1500, Bytes: 1500 << 10},
			{Depth: 1, Name: "[]uint8", Objects: 1500, Bytes: 1500 << 10, Own: 1500 << 10, OwnObjects: 1500},
			{Kind: evidence.StepGlobal, Name: "main.hubs", Objects: 10_000, Bytes: 1 << 20},
			{Depth: 1, Name: "ask.answer", Objects: 10_000, Bytes: 1 << 20, Own: 500 << 10, OwnObjects: 9000},
			{Depth: 2, Objects: 1000, Bytes: 524 << 10, Own: 524 << 10, OwnObjects: 1000}, {Kind: evidence.StepRuntime, Objects: 5, Bytes: 20 << 10}}}
}

func TestHeap(t *testing.T) {
	c := leaked().Case
	doc := report.Heap(c, meta(), 3)
	golden(t, "answers/heap", doc)
	h := doc.HeapUse
	const want = "3.0 MiB are reachable in 12,000 objects (2.0 MiB more are garbage that was not collected yet): 82.2 % is []uint8, 16.3 % is ask.answer, " +
		"48.8 % is kept by 30 goroutines alone in ask.first.func1 at ask.go:14"
	if h.Sentence != want {
		t.Errorf("the sentence is\n%s\nwant\n%s", h.Sentence, want)
	}
	if o := h.Omitted; o == nil || *o != (report.HeapRest{Types: 1, Holders: 1}) {
		t.Errorf("left out are %+v", h.Omitted)
	}
	if len(doc.Stacks) != 1 || h.Retained[0].Stack != h.Holders[0].Stack || h.Holders[0].Place != "ask.first.func1 at ask.go:14" {
		t.Errorf("stacks %+v, retained %+v, holders %+v", doc.Stacks, h.Retained, h.Holders)
	}
	all := report.Heap(c, meta(), -1).HeapUse
	if all.Omitted != nil || len(all.Types) != 4 || len(all.Holders) != 6 {
		t.Errorf("asked for all: %+v", all)
	}
	if report.Heap(healthy().Case, meta(), 3) != nil {
		t.Error("a heap that nobody counted is shown")
	}
	if next := report.Build(leaked(), meta()).Next; !slices.Contains(next, "postmortem heap core.1234") {
		t.Errorf("nothing leads to the command: %q", next)
	}
}

// What is not known is said: unknown types, guesses, and everything when the core has holes.
func TestHeapUnknown(t *testing.T) {
	unknown := strings.Join(report.Heap(leaked().Case, meta(), 3).HeapUse.Unknown, "\n")
	for _, part := range []string{"The types of 9 objects, 8.0 KiB (0.3 %)", "The types of 1,490 objects, 40.0 KiB (1.3 %), are guesses", "Memory outside of the Go heap"} {
		if !strings.Contains(unknown, part) {
			t.Errorf("%q lacks %q", unknown, part)
		}
	}
	b := newCase()
	b.HeapUse(evidence.HeapUse{Objects: 4, Bytes: 4096, Refused: "a span is missing", Classes: []evidence.HeapClass{{Size: 1024, Objects: 4, Bytes: 4096}}})
	h := report.Heap(b.Finish(), meta(), 3).HeapUse
	if h.Sentence != "4.0 KiB are allocated in 4 objects; what of it is reachable is not known" || len(h.Unknown) != 1 || !strings.Contains(h.Unknown[0], "a span is missing") {
		t.Errorf("%q, %q", h.Sentence, h.Unknown)
	}
}

func TestHolderText(t *testing.T) {
	for want, h := range map[string]report.Holder{
		"global variable main.hubs": {Kind: "global", Name: "main.hubs"}, "global variables": {Kind: "global"},
		"stacks of goroutines, stack:3": {Kind: "stack", Stack: "stack:3"}, "stacks of goroutines in main at m.go:3, stack:3": {Kind: "stack", Stack: "stack:3", Place: "main at m.go:3"},
		"finalizers and cleanups": {Kind: "finalizer"}, "the runtime": {Kind: "runtime"}, "(type not known)": {Kind: "object"}, "[]int": {Kind: "object", Name: "[]int"},
	} {
		if got := h.Text(); got != want {
			t.Errorf("%+v is %q, want %q", h, got, want)
		}
	}
	for want, part := range map[string][2]uint64{"100.0 %": {7, 7}, "99.9 %": {999_999, 1_000_000}, "0.0 %": {0, 5}, "?": {5, 0}} {
		if got := report.Part(part[0], part[1]); got != want {
			t.Errorf("%d of %d is %q, want %q", part[0], part[1], got, want)
		}
	}
}
