package markdown_test

import (
	"math"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// The course of time is drawn, and stands as numbers beside it: one column for each part of the time, and one row for each figure.
func TestCourse(t *testing.T) {
	doc := load(t, "traced")
	got := write(t, doc)
	_, rest, ok := strings.Cut(got, "## What happened when\n")
	section, _, _ := strings.Cut(rest, "\n## ")
	if !ok || !strings.Contains(section, "```text\nWhat happened when: 1.28 s from 2026-09-21T14:13:20.123Z, a column is 32 ms\n") {
		t.Fatalf("the drawing is missing:\n%s", section)
	}
	if !strings.Contains(section, "| from | +0.000 s | +0.176 s |") {
		t.Error("the table of phases has no times")
	}
	for _, r := range doc.Course.Rows {
		if !strings.Contains(section, "\n| "+r.Name) {
			t.Errorf("no row for %s", r.Name)
		}
	}
	for _, want := range []string{"**Slow task** `checkout` of goroutine 18 at +0.640 s: 412 ms: 300 ms network wait at fetch.go:31", "| +0.946 s | 19 ms | 21 | system call at ledger.go:44 |",
		"| `price` | region | 760 |", "| network | 25 s | 8,000 |", "| `(*Server).serve` | 412 | 110 | 2.9 s |", "- order: 4711"} {
		if !strings.Contains(section, want) {
			t.Errorf("the section does not say %q", want)
		}
	}
	if strings.Contains(write(t, load(t, "lockhog")), "What happened when") {
		t.Error("evidence of one moment has a course")
	}
}

// Anything may stand in a saved report, and cells stay cells.
func TestOddCourses(t *testing.T) {
	const evil = "| a ` b \n# c </td> @team\x1b[2J"
	for _, c := range []report.Course{{}, {SliceNS: 1, Rows: []report.CourseRow{{}, {Name: evil, Unit: evil, How: evil, Values: []float64{1, -5, math.MaxFloat64, 1e-320}}}},
		{Sentence: evil, Slowest: []report.Slow{{Name: evil, Kind: evil, Text: evil, Logs: []string{evil}, Legs: make([]report.Leg, 100)}}},
		{Kinds: []report.SlowKind{{Name: evil, Kind: evil, Location: &report.Location{Function: evil, File: evil, Line: -1}}}},
		{Places: []report.WaitingPlace{{Reason: evil, Kind: evil}}, Spawns: []report.Started{{Function: evil}}}} {
		got := write(t, &report.Document{Course: &c})
		outside, _ := blocks(t, got)
		shown(t, got, outside)
		cells := 0
		for _, line := range strings.Split(outside, "\n") {
			cells = checkRow(t, line, cells)
		}
	}
}
