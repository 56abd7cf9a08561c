package markdown_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/markdown"
)

func heapOf(t *testing.T, h *report.HeapUse, opt markdown.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := markdown.WriteHeap(&b, &report.Document{HeapUse: h}, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What the process wrote stays in its cell of the table.
func TestWriteHeap(t *testing.T) {
	h := &report.HeapUse{Sentence: "1.0 KiB are reachable <b>", Objects: 4, Bytes: 2048, LiveObjects: 3, LiveBytes: 1024, Unknown: []string{"Memory outside."},
		Types:    []report.HeapType{{Name: "x|y`\x1b[2J", Objects: 2, Bytes: 512, Trust: "guessed"}, {Objects: 1, Bytes: 100}},
		Holders:  []report.Holder{{Kind: "global", Name: "main.a|b", Objects: 3, Bytes: 1000}, {Depth: 1, Kind: "object", Name: "main.T", Objects: 3, Bytes: 1000}},
		Retained: []report.Retained{{Place: "serve at s.go:4", Created: &report.Location{Function: "main.main", File: "/src/m.go", Line: 3}, Goroutines: 2, Objects: 2, Bytes: 256, StackBytes: 4096}}}
	got := heapOf(t, h, markdown.Options{})
	for _, part := range []string{"## What the heap holds\n", "1.0 KiB are reachable `<b>`.", "| 1000 B | 97.7 % | 3 | &emsp;`main.T` |", "| 100 B | 9.8 % | 1 | `(type not known)` |",
		"| 256 B | 25.0 % | 2 | 4.0 KiB | 2 | `serve at s.go:4` | `main.main at m.go:3` |", "- Memory outside."} {
		if !strings.Contains(got, part) {
			t.Errorf("it lacks %q:\n%s", part, got)
		}
	}
	for line := range strings.Lines(got) {
		if n := strings.Count(line, "|"); strings.HasPrefix(line, "|") && n != 5 && n != 8 {
			t.Errorf("a row of %d bars: %q", n, line)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

// Without types there are the allocation classes, and where they are known they are left out.
func TestWriteHeapClasses(t *testing.T) {
	h := &report.HeapUse{Sentence: "counted", Bytes: 2048, Classes: []report.HeapClass{{Size: 48, Objects: 2, Bytes: 96}, {NoScan: true, Objects: 1, Bytes: 40_960}}}
	got := heapOf(t, h, markdown.Options{})
	if !strings.Contains(got, "| 96 B | 2 | 48 B | yes |\n| 40.0 KiB | 1 | above 32 KiB | no |\n") {
		t.Errorf("the classes are not there:\n%s", got)
	}
	h.Types = []report.HeapType{{Name: "x"}}
	if got := heapOf(t, h, markdown.Options{}); strings.Contains(got, "Allocation classes") {
		t.Errorf("classes beside types:\n%s", got)
	}
}

// A report that does not fit says what it lacks.
func TestWriteHeapBudget(t *testing.T) {
	h := &report.HeapUse{Sentence: strings.Repeat("long ", 2000)}
	if got := heapOf(t, h, markdown.Options{MaxBytes: 4000}); len(got) > 4000 || !strings.Contains(got, "What the heap holds") {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
}
