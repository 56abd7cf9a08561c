package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// FuzzCourse tells whatever a saved Case says happened: without a panic, in bounds, with rows behind every reference, and the same twice.
func FuzzCourse(f *testing.F) {
	for _, make := range []func() *diagnosis.Result{traced, quiet, brief, hostileTrace} {
		var b bytes.Buffer
		if err := make().Case.WriteText(&b); err != nil {
			f.Fatal(err)
		}
		if _, err := readCase(b.String()); err == nil { // figures beyond what the text form holds cannot be saved
			f.Add(b.String())
		}
	}
	f.Add("case 1\ntimeline span=-9223372036854775808 slice=-1 procs=-7\nslice run=4294967295\nepisode kind=stall start=-5 ns=9223372036854775807\nspawn births=4294967295\n")
	f.Add("case 1\ntimeline span=1 slice=9223372036854775807\nslice\nslice live=3\nactivitykind\nactivity ns=-1 start=-9223372036854775808\nleg ns=-1\ngcwork cycles=-1\nepisode\n")
	f.Fuzz(checkTold)
}

// checkTold tells what the text of a Case says, where it is one.
func checkTold(t *testing.T, text string) {
	if len(text) > 1<<16 {
		return
	}
	c, err := readCase(text)
	if err != nil || c.Timeline == nil {
		return
	}
	doc := report.Build(&diagnosis.Result{Case: c}, report.Meta{})
	first := encode(t, doc)
	if again := encode(t, report.Build(&diagnosis.Result{Case: c}, report.Meta{})); !bytes.Equal(first, again) {
		t.Fatal("two reports differ")
	}
	if len(first) > 8<<20 {
		t.Errorf("%d bytes of report of %d bytes", len(first), len(text))
	}
	for _, row := range doc.Rows {
		if ref, err := evidence.ParseRef(row.Ref); err != nil || !c.Resolve(ref) || row.Text == "" {
			t.Errorf("row %+v (%v)", row, err)
		}
	}
	for _, columns := range []int{0, 1, 7, 64} {
		for _, r := range doc.Course.Sparks(columns, false, false) {
			if n := len([]rune(r.Line)); n > columns {
				t.Errorf("%d columns, at most %d were wanted", n, columns)
			}
		}
		if axis := doc.Course.Axis(columns); len(axis) > columns+64 {
			t.Errorf("the axis of %d columns is %q", columns, axis)
		}
	}
}

func readCase(text string) (*evidence.Case, error) {
	b := evidence.NewBuilder()
	err := evidence.ReadText(strings.NewReader(text), b)
	return b.Finish(), err
}
