package rules_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
	"github.com/gopostmortem/postmortem/rules"
)

// TestMemoryIsNamed holds findings about memory against programs whose memory is known: a reason that cites the count of the heap names the type
// that takes it, and the way through which it is held. Without debug information the way is not known, and what is known is said.
func TestMemoryIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and crashes fixture programs: left out with -short")
	}
	stripped := []string{"-ldflags=-s -w"}
	const cache = "through main.cache -> map[string]*main.thumbnail -> main.thumbnail -> []uint8"
	for _, test := range []struct {
		name    string
		program fixtures.Program
		rule    string
		reasons []string
		claim   string
	}{
		{"oom", fixtures.Program{Scenario: "crash-oom-cache"}, "crash-oom", []string{"objects of type []uint8", cache, "keeps 1"}, "are []uint8, held by main.thumbnail"},
		{"oom go1.22", fixtures.Program{Scenario: "crash-oom-cache", Toolchain: "go1.22.12"}, "crash-oom", []string{"objects of type []uint8", cache}, "held by main.thumbnail"},
		{"oom go1.24", fixtures.Program{Scenario: "crash-oom-cache", Toolchain: "go1.24.13"}, "crash-oom", []string{"objects of type []uint8", cache}, "held by main.thumbnail"},
		{"oom stripped", fixtures.Program{Scenario: "crash-oom-cache", Flags: stripped}, "crash-oom", []string{"keeps 1"}, "could get no more memory"},
		{"limit", fixtures.Program{Scenario: "gcpressure-sessions"}, "gc-pressure", []string{"objects of type map", "through main.service -> main.session"}, ""},
		{"leak", fixtures.Program{Scenario: "leak-search"}, "goroutine-leak", []string{"of objects and stacks would be free if they ended: ", "of chan main.answer"}, "they alone keep"},
	} {
		t.Run(test.name, func(t *testing.T) {
			capture, err := fixtures.Crash(context.Background(), test.program)
			fixtures.Require(t, err)
			c, err := opener(t)(capture.Core)
			if err != nil {
				t.Fatal(err)
			}
			result, err := diagnosis.Run(t.Context(), c, rules.All(), diagnosis.Options{})
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(result.Findings, func(f diagnosis.Finding) bool { return f.Rule == test.rule })
			if at < 0 {
				t.Fatalf("no finding of %s: %+v", test.rule, result.Findings)
			}
			f := result.Findings[at]
			if !strings.Contains(f.Claim, test.claim) {
				t.Errorf("the claim %q lacks %q", f.Claim, test.claim)
			}
			for _, part := range test.reasons {
				if !slices.ContainsFunc(f.Because, func(r diagnosis.Reason) bool { return strings.Contains(r.Text, part) && citesCount(r.Refs) }) {
					t.Errorf("no reason that cites the count says %q: %+v", part, f.Because)
				}
			}
		})
	}
}

func citesCount(refs []evidence.Ref) bool {
	return slices.Contains(refs, evidence.Ref{Kind: evidence.RefHeapUse})
}
