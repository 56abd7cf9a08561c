package ruletest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Cases runs a rule over testdata/*.case in the folder of the test and holds the findings against the comments in the files.
func Cases(t *testing.T, rule *diagnosis.Rule) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "*.case"))
	if err != nil {
		t.Fatal(err)
	}
	hits, misses := 0, 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPlan(string(text))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if p.nothing {
			misses++
		} else {
			hits++
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".case"), func(t *testing.T) { runCase(t, rule, path, text, p) })
	}
	if hits == 0 || misses == 0 {
		t.Errorf("testdata has %d cases with findings and %d without: each rule wants both", hits, misses)
	}
}

func runCase(t *testing.T, rule *diagnosis.Rule, path string, text []byte, p *plan) {
	t.Helper()
	for _, fault := range faultsOfCase(rule, text, p) {
		t.Errorf("%s: %s", path, fault)
	}
}

// faultsOfCase runs the rule over the case and returns every departure from the plan.
func faultsOfCase(rule *diagnosis.Rule, text []byte, p *plan) []string {
	b := evidence.NewBuilder()
	if err := evidence.ReadText(bytes.NewReader(text), b); err != nil {
		return []string{err.Error()}
	}
	c := b.Finish()
	res, err := diagnosis.Run(context.Background(), c, []*diagnosis.Rule{rule}, diagnosis.Options{Limits: p.limits})
	if err != nil {
		return []string{err.Error()}
	}
	again, err := diagnosis.Run(context.Background(), c, []*diagnosis.Rule{rule}, diagnosis.Options{Limits: p.limits})
	if err != nil || !reflect.DeepEqual(res.Findings, again.Findings) {
		return []string{"a second run over the same case gives other findings"}
	}
	faults := p.compare(res)
	for i := range res.Findings {
		for _, fault := range Faults(c, &res.Findings[i]) {
			faults = append(faults, fmt.Sprintf("finding %q: %s", res.Findings[i].Claim, fault))
		}
	}
	return faults
}

// compare pairs the expectations with the findings by place.
func (p *plan) compare(res *diagnosis.Result) []string {
	faults := p.compareSilence(res)
	taken := make([]bool, len(res.Findings))
	for i := range p.findings {
		e := &p.findings[i]
		k := e.find(res.Findings, taken)
		if k < 0 {
			faults = append(faults, fmt.Sprintf("line %d: no finding at %s", e.at, e.where))
			continue
		}
		taken[k] = true
		for _, fault := range e.missing(&res.Findings[k]) {
			faults = append(faults, fmt.Sprintf("line %d: %s", e.at, fault))
		}
	}
	for k := range res.Findings {
		if f := &res.Findings[k]; !taken[k] {
			at, _ := f.Location()
			faults = append(faults, fmt.Sprintf("finding that nobody wanted: %s %s:%d %s %s: %s",
				at.Function, at.File, at.Line, f.Severity, f.Confidence, f.Claim))
		}
	}
	return faults
}

// compareSilence checks that the rule ran, and what it says when it found nothing.
func (p *plan) compareSilence(res *diagnosis.Result) []string {
	var faults []string
	for _, s := range res.NotChecked {
		faults = append(faults, fmt.Sprintf("the rule did not run: %s", s.Why))
	}
	for _, part := range p.silent {
		if len(res.RuledOut) == 0 || !strings.Contains(res.RuledOut[0].Why, part) {
			faults = append(faults, fmt.Sprintf("the reason for silence lacks %q: %v", part, res.RuledOut))
		}
	}
	return faults
}

// find returns the index of a free finding at the expected place, -1 for none. One that meets the expectation in full goes
// first, so that two findings at one line are told apart.
func (e *expectation) find(findings []diagnosis.Finding, taken []bool) int {
	best := -1
	for k := range findings {
		at, _ := findings[k].Location()
		if taken[k] || !e.where.matches(at) {
			continue
		}
		if len(e.missing(&findings[k])) == 0 {
			return k
		}
		if best < 0 {
			best = k
		}
	}
	return best
}

// Faults says in what a finding is not fit to be printed: a claim without evidence, a reference to no row, no degree of
// confidence. Every finding of every rule is held against it.
func Faults(c *evidence.Case, f *diagnosis.Finding) []string {
	var faults []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	check(f.Claim != "" && !strings.HasSuffix(f.Claim, "."), "the claim is empty or ends with a full stop")
	check(!strings.Contains(f.Claim, "\n"), "the claim has several lines")
	check(f.Confidence >= diagnosis.Possible && f.Confidence <= diagnosis.Proved, "confidence %d", f.Confidence)
	check(f.Severity >= diagnosis.Info && f.Severity <= diagnosis.Critical, "severity %d", f.Severity)
	check(f.Fix != "", "it has no fix")
	check(len(f.Because) > 0, "it gives no reason")
	check(f.Subject == (evidence.Ref{}) || c.Resolve(f.Subject), "subject %s names no row", f.Subject)
	check(len(f.Locations) == 0 || f.Locations[0].Frame.Function != "", "its first location has no function")
	for _, v := range f.Victims {
		check(c.Resolve(v), "victim %s names no row", v)
	}
	for _, l := range f.Locations {
		check(l.Ref == (evidence.Ref{}) || c.Resolve(l.Ref), "location %s: %s names no row", l.Frame.Function, l.Ref)
	}
	for i, r := range append(f.Because[:len(f.Because):len(f.Because)], f.Against...) {
		check(r.Text != "", "reason %d is empty", i)
		check(i >= len(f.Because) || len(r.Refs) > 0, "reason %q cites no row", r.Text)
		for _, ref := range r.Refs {
			check(c.Resolve(ref), "reason %q: %s names no row", r.Text, ref)
		}
	}
	return faults
}
