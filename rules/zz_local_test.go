package rules_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/godump"
	"github.com/gopostmortem/postmortem/fixtures"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

func TestZZText(t *testing.T) {
	incidents := ruletest.Every(t, func(s *fixtures.Scenario) bool { return strings.HasPrefix(s.Name, "crash-") })
	for i := range incidents {
		incidents[i].Text = true
	}
	ruletest.Fixtures(t, func(paths ...string) (*evidence.Case, error) {
		f, err := os.Open(paths[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		st, _ := f.Stat()
		b := evidence.NewBuilder()
		b.Source(evidence.Source{Path: paths[0], Format: "godump"})
		if err := godump.Format.Read(context.Background(), format.Input{Path: paths[0], File: f, Size: st.Size()}, b); err != nil {
			return nil, err
		}
		return b.Finish(), nil
	}, rules.All(), incidents...)
}
