package rules_test

import (
	"context"
	"go/version"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/fixtures"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

// TestTraceFixtures diagnoses an execution trace of every program whose header says that it is judged by one, and holds the findings
// against the `// want-trace` comments.
func TestTraceFixtures(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and traces fixture programs: left out with -short")
	}
	ruletest.Fixtures(t, opener(t), rules.All(), ruletest.EveryTraced(t, nil)...)
}

// traceRuntimes are the versions at which the programs are judged beside the present one: all whose traces have the form of Go 1.22.
var traceRuntimes = []string{"go1.22.12", "go1.23.12", "go1.24.13", "go1.25.7"}

// TestTraceOlderRuntimes diagnoses traces of older versions of the runtime. The programs are dealt out in turn, an ill one and its twin to
// the same version, so that each is judged at one.
func TestTraceOlderRuntimes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and traces fixture programs: left out with -short")
	}
	var families []string
	byVersion := map[string][]ruletest.Incident{}
	for _, in := range ruletest.EveryTraced(t, func(s *fixtures.Scenario) bool { return s.Traced == fixtures.TracedOnly }) {
		family := strings.TrimSuffix(in.Program.Scenario, "-fixed")
		if !slices.Contains(families, family) {
			families = append(families, family)
		}
		in.Program.Toolchain = runtimeFor(t, in.Program.Scenario, slices.Index(families, family))
		byVersion[in.Program.Toolchain] = append(byVersion[in.Program.Toolchain], in)
	}
	for _, v := range traceRuntimes {
		t.Run(v, func(t *testing.T) { ruletest.Fixtures(t, opener(t), rules.All(), byVersion[v]...) })
	}
}

// runtimeFor deals out a version to the n-th family: one that is not older than the program's header asks for.
func runtimeFor(t *testing.T, scenario string, n int) string {
	t.Helper()
	s, err := fixtures.Describe(scenario)
	if err != nil {
		t.Fatal(err)
	}
	fit := slices.DeleteFunc(slices.Clone(traceRuntimes), func(v string) bool { return version.Compare(v, "go"+s.Go) < 0 })
	if len(fit) == 0 {
		t.Fatalf("%s asks for Go %s, which is newer than %s", scenario, s.Go, traceRuntimes)
	}
	return fit[n%len(fit)]
}

// otherTraces are ways to trace of which one program of a kind is enough.
var otherTraces = map[string]fixtures.TraceOptions{
	"with CPU samples": {CPU: true},
	"flight recorder":  {Flight: true},
	"without Stop":     {Unstopped: true},
}

// tracedInEveryWay are the programs that are traced in the other ways too: a lock, a poll, a growth, and two that are well.
var tracedInEveryWay = []string{"trace-busy-jobs", "trace-explode-events", "trace-healthy-api", "trace-healthy-imports", "trace-hog-throttle"}

// TestTraceOptions diagnoses traces that were made in another way: the same is found.
func TestTraceOptions(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and traces fixture programs: left out with -short")
	}
	for name, options := range otherTraces {
		t.Run(name, func(t *testing.T) {
			incidents := ruletest.EveryTraced(t, func(s *fixtures.Scenario) bool { return slices.Contains(tracedInEveryWay, s.Name) })
			if len(incidents) != len(tracedInEveryWay) {
				t.Fatalf("%d programs of %d were found", len(incidents), len(tracedInEveryWay))
			}
			for i := range incidents {
				incidents[i].Take = func(ctx context.Context, p fixtures.Program) (*fixtures.Capture, error) {
					return fixtures.TraceWith(ctx, p, options)
				}
			}
			ruletest.Fixtures(t, opener(t), rules.All(), incidents...)
		})
	}
}
