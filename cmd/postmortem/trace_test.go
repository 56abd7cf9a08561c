package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// TestTraceReport tells a trace of this very process in every style. The JSON follows its schema, every reference has a row, and what it says of
// itself adds up.
func TestTraceReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.out")
	record(t, path)
	code, text, stderr := call("-f", "json", "-o", "case="+path+".case", path)
	if code != exitClean {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	schema, err := c.Compile("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Error(err)
	}
	var doc report.Document
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	checkCourse(t, &doc)

	for style, wants := range map[string][]string{"text": {"What happened when: ", "User tasks and regions", "converse", "running"},
		"markdown": {"## What happened when", "| from | +0", "`converse`"}} {
		code, out, stderr := call("-f", style, path)
		for _, want := range wants {
			if code != exitClean || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d %s, no %q in\n%s", style, code, stderr, want, out)
			}
		}
	}
	checkSaved(t, path+".case", &doc)
}

// checkCourse holds the parts of a report of a trace together.
func checkCourse(t *testing.T, doc *report.Document) {
	t.Helper()
	l := doc.Course
	if l == nil || l.Events == 0 || l.Lost != 0 || l.SpanNS <= 0 || l.Began == "" {
		t.Fatalf("course %+v", l)
	}
	if got := uint64(l.Goroutines.AtStart) + l.Goroutines.Created - l.Goroutines.Ended; got != uint64(l.Goroutines.AtEnd) {
		t.Errorf("goroutines: %+v", l.Goroutines)
	}
	at := slices.IndexFunc(l.Rows, func(r report.CourseRow) bool { return r.Name == "running" })
	if at < 0 {
		t.Fatalf("rows %v", l.Rows)
	}
	sum := 0.0
	for _, v := range l.Rows[at].Values {
		sum += v * float64(l.SliceNS)
	}
	// Goroutines that were there before are known for the runtime's own only when they block.
	if run, system := float64(l.Time.RunNS), float64(l.Time.SystemNS); sum < 0.9*run || sum > 1.1*(run+system) {
		t.Errorf("goroutines ran %d ns, by slices %.0f", l.Time.RunNS, sum)
	}
	tasks := slices.IndexFunc(l.Kinds, func(k report.SlowKind) bool { return k.Name == "converse" && k.Kind == "task" && k.Count == 6 })
	if tasks < 0 || len(l.Slowest) != 3 || l.Slowest[0].Legs == nil {
		t.Errorf("kinds %+v, slowest %+v", l.Kinds, l.Slowest)
	}
	for _, s := range l.Slowest {
		for _, leg := range s.Legs {
			if leg.NS < 0 || leg.StartNS < s.StartNS || leg.StartNS+leg.NS > s.StartNS+s.NS {
				t.Errorf("a leg lies outside of its task: %+v of %d ns from %d on", leg, s.NS, s.StartNS)
			}
		}
	}
	for _, e := range doc.Timeline {
		if !strings.HasPrefix(e.At, "+") || e.Source == "" {
			t.Errorf("event %+v", e)
		}
	}
}

// checkSaved reads the saved Case: its report is the same but for what it says of its inputs, and every row of it can be shown.
func checkSaved(t *testing.T, path string, doc *report.Document) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := evidence.NewBuilder()
	if err := evidence.ReadText(f, b); err != nil {
		t.Fatal(err)
	}
	c := b.Finish()
	for _, row := range doc.Rows {
		ref, err := evidence.ParseRef(row.Ref)
		if err != nil || !c.Resolve(ref) {
			t.Errorf("%s (%v) is not in the saved Case", row.Ref, err)
			continue
		}
		shown, err := report.Show(c, ref)
		if err != nil || len(shown.Rows) != 1 || shown.Rows[0].Text != row.Text {
			t.Errorf("%s: saved and shown it is %+v, %v; the report says %q", row.Ref, shown, err, row.Text)
		}
	}
}
