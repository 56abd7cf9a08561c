package text_test

import (
	"math"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

// The course of time looks the same at every width, wraps nothing, and is drawn without blocks where those cannot be shown.
func TestCourseGolden(t *testing.T) {
	golden(t, "traced.narrow.txt", write(t, load(t, "traced"), text.Options{Width: 44}))
	golden(t, "traced.wide.txt", write(t, load(t, "traced"), text.Options{Width: 200, Verbose: true}))
	golden(t, "quiettrace.plain.txt", write(t, load(t, "quiettrace"), text.Options{Plain: true}))
}

func TestPlainIsASCII(t *testing.T) {
	for _, name := range []string{"traced", "quiettrace", "brieftrace"} {
		for _, verbose := range []bool{false, true} {
			for i, r := range write(t, load(t, name), text.Options{Plain: true, Verbose: verbose}) {
				if r > 0x7e {
					t.Errorf("%s: byte %d is %q", name, i, r)
				}
			}
		}
	}
}

// Sparklines of one report are of one length, at most 64 columns, and stand below each other.
func TestSparklinesAlign(t *testing.T) {
	for _, width := range []int{40, 60, 80, 200} {
		found := 0
		for _, line := range strings.Split(write(t, load(t, "traced"), text.Options{Width: width}), "\n") {
			at := strings.IndexAny(line, "▁▂▃▄▅▆▇█")
			if at < 0 {
				continue
			}
			found++
			if label := []rune(line)[:14]; strings.ContainsAny(string(label), "▁▂▃▄▅▆▇█") {
				t.Errorf("width %d: the drawing begins in the label: %q", width, line)
			}
			drawn := 0
			for _, r := range line {
				if strings.ContainsRune("▁▂▃▄▅▆▇█", r) {
					drawn++
				}
			}
			if lipgloss.Width(line) > width || drawn > 64 {
				t.Errorf("width %d: %d columns, %d drawn: %q", width, lipgloss.Width(line), drawn, line)
			}
		}
		if found < 8 {
			t.Errorf("width %d: %d sparklines", width, found)
		}
	}
}

// With a finding the findings come before the tables; without one everything is told at once.
func TestCourseOrder(t *testing.T) {
	got := write(t, load(t, "traced"), text.Options{})
	at := 0
	for _, part := range []string{"Verdict: supported", "What happened when:", "F1 lock-hog: critical", "Events", "Slowest tasks", "User tasks and regions", "coverage"} {
		i := strings.Index(got[at:], part)
		if i < 0 {
			t.Fatalf("%q is missing or out of order:\n%s", part, got)
		}
		at += i
	}
	if strings.Contains(got, "Where goroutines waited") {
		t.Error("the short form of a report with a finding has the table of waits")
	}
	if clean := write(t, load(t, "quiettrace"), text.Options{}); !strings.Contains(clean, "Where goroutines waited") {
		t.Error("a report without findings does not say where goroutines waited")
	}
}

// "assume all fields are optional": and all may be anything.
func TestOddCourses(t *testing.T) {
	for _, c := range []report.Course{{}, {Rows: []report.CourseRow{{}}}, {Rows: []report.CourseRow{{Name: "running", Values: []float64{0}}}},
		{SpanNS: -1, SliceNS: -1, Processors: -1, Began: "yesterday", Rows: []report.CourseRow{{Name: "\x1b[31m", Unit: "\x1b", How: "sum", Values: []float64{math.MaxFloat64, -1, 1e-300}}}},
		{SliceNS: math.MaxInt64, SpanNS: math.MaxInt64, Rows: []report.CourseRow{{Name: "x", How: "mean", Values: make([]float64, 100_000)}}},
		{Slowest: []report.Slow{{}}, Kinds: []report.SlowKind{{}}, Places: []report.WaitingPlace{{}}, Spawns: []report.Started{{}}},
		{Slowest: []report.Slow{{Name: "\x1b[2J", Logs: []string{"\r\x07"}, Legs: []report.Leg{{Text: "\x1b"}}, NS: math.MinInt64}}}} {
		for _, verbose := range []bool{false, true} {
			got := write(t, &report.Document{Course: &c, Timeline: []report.Event{{At: "+\x1b", Text: "\x1b"}}}, text.Options{Verbose: verbose, Width: 40})
			if strings.ContainsAny(got, "\x1b\r\x07") {
				t.Errorf("%+v: %q", c, got)
			}
		}
	}
}
