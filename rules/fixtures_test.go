package rules_test

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

// TestFixtures diagnoses a core of every fixture program with all rules and holds the findings against the programs' own
// `// want` comments.
func TestFixtures(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes every fixture program: left out with -short")
	}
	ruletest.Fixtures(t, opener(t), rules.All(), ruletest.Every(t, nil)...)
}

// TestCrashTexts diagnoses the crash text of every program that dies by itself.
func TestCrashTexts(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes fixture programs: left out with -short")
	}
	incidents := ruletest.Every(t, func(s *fixtures.Scenario) bool { return strings.HasPrefix(s.Name, "crash-") })
	for i := range incidents {
		incidents[i].Text = true
	}
	ruletest.Fixtures(t, opener(t), rules.All(), incidents...)
}

// TestOlderRuntimes diagnoses cores of all programs, and the texts of the ones that die by themselves, for other versions of
// the runtime: the oldest that is supported, and the first with the new maps and the new names of wrappers.
func TestOlderRuntimes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes fixture programs: left out with -short")
	}
	for _, toolchain := range []string{"go1.21.13", "go1.24.13"} {
		t.Run(toolchain, func(t *testing.T) {
			incidents := ruletest.Every(t, nil)
			for i := range incidents {
				incidents[i].Program.Toolchain = toolchain
				if strings.HasPrefix(incidents[i].Program.Scenario, "crash-") {
					text := incidents[i]
					text.Name, text.Text = text.Program.Scenario+" text", true
					incidents = append(incidents, text)
				}
			}
			ruletest.Fixtures(t, opener(t), rules.All(), incidents...)
		})
	}
}

// TestStripped diagnoses cores of stripped programs: neither symbols nor debug information.
func TestStripped(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes fixture programs: left out with -short")
	}
	incidents := ruletest.Every(t, func(s *fixtures.Scenario) bool { return strings.HasPrefix(s.Name, "lockhog-") })
	for i := range incidents {
		incidents[i].Program.Flags = []string{"-ldflags=-s -w"}
	}
	ruletest.Fixtures(t, opener(t), rules.All(), incidents...)
}

func opener(t *testing.T) ruletest.Opener {
	return func(paths ...string) (*evidence.Case, error) {
		return analyze.Open(t.Context(), paths, format.Options{})
	}
}
