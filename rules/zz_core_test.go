package rules_test

import (
	"os"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
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
	ruletest.Fixtures(t, opener(t), rules.All(), incidents...)
}

func head(f *os.File) []byte {
	b := make([]byte, format.HeadSize)
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}
