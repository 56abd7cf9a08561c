package rules_test

import (
	"slices"
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

// olderRuntimes are the versions at which the programs are judged beside the present one, by whether they need the heap to be walked,
// which Go 1.21 does not allow (another bitmap scheme): the oldest that is supported, and the first with the new maps and the new names
// of wrappers.
var olderRuntimes = map[string]func(*fixtures.Scenario) bool{
	"go1.21.13": func(s *fixtures.Scenario) bool { return !walked(s) },
	"go1.22.12": walked,
	"go1.24.13": func(s *fixtures.Scenario) bool { return !walked(s) },
}

// walked reports whether a program is about goroutines that can never go on.
func walked(s *fixtures.Scenario) bool {
	return slices.ContainsFunc([]string{"deadlock-", "exhaust-", "leak-"}, func(prefix string) bool { return strings.HasPrefix(s.Name, prefix) })
}

// TestOlderRuntimes diagnoses cores of all programs, and the texts of the ones that die by themselves, for other versions of
// the runtime.
func TestOlderRuntimes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes fixture programs: left out with -short")
	}
	for toolchain, match := range olderRuntimes {
		t.Run(toolchain, func(t *testing.T) {
			incidents := ruletest.Every(t, match)
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

// strippedToo are the programs that are judged without symbols and debug information as well.
var strippedToo = []string{"lockhog-", "deadlock-transfer", "deadlock-scheduler", "deadlock-upgrade", "deadlock-comm-crawl", "deadlock-comm-pipeline",
	"exhaust-pool", "exhaust-weighted", "leak-search", "leak-batch", "leak-feed"}

// TestStripped diagnoses cores of stripped programs: neither symbols nor debug information.
func TestStripped(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes fixture programs: left out with -short")
	}
	incidents := ruletest.Every(t, func(s *fixtures.Scenario) bool {
		return slices.ContainsFunc(strippedToo, func(prefix string) bool { return strings.HasPrefix(s.Name, prefix) })
	})
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
