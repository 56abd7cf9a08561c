package report_test

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// Every command behind a piece of evidence leads to a row, with its stack where it has one.
func TestShow(t *testing.T) {
	for _, s := range samples() {
		res := s.make()
		for _, row := range report.Build(res, s.meta).Rows {
			ref, err := evidence.ParseRef(row.Ref)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := report.Show(res.Case, ref)
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
				continue
			}
			if len(doc.Rows) != 1 || doc.Rows[0] != row {
				t.Errorf("%s: %s shows %+v, the report says %+v", s.name, row.Ref, doc.Rows, row)
			}
			if (len(doc.Stacks) > 0) != (row.Stack != 0) {
				t.Errorf("%s: %s shows %d stacks", s.name, row.Ref, len(doc.Stacks))
			}
		}
	}
	for _, r := range []evidence.Ref{evidence.GoroutineRef(4040), {}} {
		if _, err := report.Show(crash().Case, r); err == nil || !strings.Contains(err.Error(), "not in the evidence") {
			t.Errorf("%v: error is %v", r, err)
		}
	}
}
