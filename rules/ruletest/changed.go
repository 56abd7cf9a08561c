package ruletest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Changed runs a rule over testdata/NAME.case with some of the rule's limits set, by their names without that of the rule, after a change of
// the Timeline of the case, which may be nil. A rule that could not be checked fails the test.
func Changed(t *testing.T, rule *diagnosis.Rule, name string, limits map[string]float64, change func(*evidence.Timeline)) *diagnosis.Result {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".case"))
	if err != nil {
		t.Fatal(err)
	}
	b := evidence.NewBuilder()
	if err := evidence.ReadText(bytes.NewReader(text), b); err != nil {
		t.Fatal(err)
	}
	c := b.Finish()
	if change != nil {
		change(c.Timeline)
	}
	set := map[string]float64{}
	for limit, v := range limits {
		set[rule.Name+"."+limit] = v
	}
	res, err := diagnosis.Run(t.Context(), c, []*diagnosis.Rule{rule}, diagnosis.Options{Limits: set})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.NotChecked {
		t.Fatalf("%s: %s", name, s.Why)
	}
	return res
}
