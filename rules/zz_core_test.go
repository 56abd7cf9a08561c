package rules_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gocore"
	"github.com/gopostmortem/postmortem/fixtures"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

func TestZZCore(t *testing.T) {
	incidents := ruletest.Every(t, func(s *fixtures.Scenario) bool { return strings.HasPrefix(s.Name, os.Getenv("PRE")) })
	for i := range incidents {
		incidents[i].Text = os.Getenv("TXT") != ""
		incidents[i].Program.Toolchain = os.Getenv("TC")
	}
	ruletest.Fixtures(t, func(paths ...string) (*evidence.Case, error) {
		f, err := os.Open(paths[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		st, _ := f.Stat()
		b := evidence.NewBuilder()
		b.Source(evidence.Source{Path: paths[0], Format: "gocore"})
		if err := gocore.Format.Read(context.Background(), format.Input{Path: paths[0], File: f, Size: st.Size(), Head: head(f)}, b); err != nil {
			return nil, err
		}
		return b.Finish(), nil
	}, rules.All(), incidents...)
}

func head(f *os.File) []byte {
	b := make([]byte, format.HeadSize)
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}
