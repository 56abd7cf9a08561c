package ruletest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// Opener reads the files of one incident, as analyze.Open does.
type Opener func(paths ...string) (*evidence.Case, error)

// Take makes a capture: fixtures.Crash, fixtures.Gcore, fixtures.Dump or fixtures.Trace.
type Take func(context.Context, fixtures.Program) (*fixtures.Capture, error)

// Incident is one fixture program, how it is captured and which file of the capture is diagnosed.
type Incident struct {
	Name    string // of the subtest; empty: the scenario's name
	Program fixtures.Program
	Take    Take     // nil: fixtures.Crash, of a Trace fixtures.Trace
	Text    bool     // diagnose the crash text instead of the core
	Trace   bool     // diagnose an execution trace: the truth is in the `// want-trace` comments, and a remark must be wanted as well
	Lacks   []string // rules that this capture holds too little evidence for: their `// want` need not be met
}

// Every makes an incident of each scenario that match accepts; nil accepts all. The order is that of the names. Programs that are
// judged by their traces only are left out.
func Every(t *testing.T, match func(*fixtures.Scenario) bool) []Incident {
	t.Helper()
	return every(t, func(s *fixtures.Scenario) bool { return s.Traced != fixtures.TracedOnly && (match == nil || match(s)) })
}

// EveryTraced is Every for the programs that are judged by their traces.
func EveryTraced(t *testing.T, match func(*fixtures.Scenario) bool) []Incident {
	t.Helper()
	all := every(t, func(s *fixtures.Scenario) bool { return s.Traced != "" && (match == nil || match(s)) })
	for i := range all {
		all[i].Trace = true
	}
	return all
}

func every(t *testing.T, match func(*fixtures.Scenario) bool) []Incident {
	t.Helper()
	names, err := fixtures.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	var all []Incident
	for _, name := range names {
		s, err := fixtures.Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		if match(s) {
			all = append(all, Incident{Program: fixtures.Program{Scenario: name}})
		}
	}
	return all
}

// Fixtures captures each incident, opens it, runs the rules over it and holds the findings against the `// want` comments of
// the program: each want of one of the rules is met by a finding of that rule at that line, every critical finding or
// warning meets a want, and so a program without want has none. Wants of rules that are not among the given ones are left out. Of a
// trace `// want-trace` counts instead, and every finding must meet one.
func Fixtures(t *testing.T, open Opener, rules []*diagnosis.Rule, incidents ...Incident) {
	t.Helper()
	if len(incidents) == 0 {
		t.Fatal("no incident to test")
	}
	for _, in := range incidents {
		t.Run(in.name(), func(t *testing.T) { in.run(t, open, rules) })
	}
}

func (in *Incident) name() string {
	if in.Name != "" {
		return in.Name
	}
	if in.Text {
		return in.Program.Scenario + "/text"
	}
	if in.Trace {
		return in.Program.Scenario + "/trace"
	}
	return in.Program.Scenario
}

// attempts is how many captures of a program that runs on are looked at before a want counts as unmet. A core is one moment, and
// a poller may be anywhere in its loop; a finding that is not wanted counts in every capture.
const attempts = 5

func (in *Incident) run(t *testing.T, open Opener, rules []*diagnosis.Rule) {
	t.Helper()
	scenario, err := fixtures.Describe(in.Program.Scenario)
	if err != nil {
		t.Fatal(err)
	}
	read := fixtures.Wants
	if in.Trace {
		read = fixtures.WantsTrace
	}
	wants, err := read(scenario.Dir)
	if err != nil {
		t.Fatal(err)
	}
	j := judge{scenario: scenario.Name, wants: wants, rules: rules, lacks: in.Lacks, strict: in.Trace}
	tries := attempts
	if scenario.Ends == fixtures.EndsCrash {
		tries = 1
	}
	var unmet []string
	for try := range tries {
		res := in.diagnose(t, open, rules, try)
		for _, fault := range j.faults(res) {
			t.Error(fault)
		}
		if unmet = j.unmet(res); len(unmet) == 0 {
			break
		}
	}
	for _, fault := range unmet {
		t.Error(fault)
	}
}

// diagnose captures the program and runs the rules. Each try has an environment of its own, and with it a capture of its own.
func (in *Incident) diagnose(t *testing.T, open Opener, rules []*diagnosis.Rule, try int) *diagnosis.Result {
	t.Helper()
	take, program := in.Take, in.Program
	if take == nil {
		take = fixtures.Crash
		if in.Trace {
			take = fixtures.Trace
		}
	}
	if try > 0 {
		program.RunEnv = append(slices.Clone(program.RunEnv), fmt.Sprintf("ATTEMPT=%d", try))
	}
	capture, err := take(t.Context(), program)
	fixtures.Require(t, err)
	path := capture.Core
	switch {
	case in.Trace:
		path = capture.Trace
	case in.Text || path == "":
		path = capture.Text
	}
	c, err := open(path)
	if err != nil {
		t.Fatalf("opening %s: %v", path, err)
	}
	res, err := diagnosis.Run(t.Context(), c, rules, diagnosis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// judge compares a result with the wants of a scenario.
type judge struct {
	scenario string
	wants    []fixtures.Want
	rules    []*diagnosis.Rule
	lacks    []string
	strict   bool // a remark must be wanted too
}

// faults are the findings that nobody wants, and those that are not fit to print.
func (j *judge) faults(res *diagnosis.Result) []string {
	var faults []string
	for _, s := range res.NotChecked {
		if strings.HasPrefix(s.Why, "failed: ") {
			faults = append(faults, fmt.Sprintf("rule %s %s", s.Rule, s.Why))
		}
	}
	for i := range res.Findings {
		f := &res.Findings[i]
		for _, fault := range Faults(res.Case, f) {
			faults = append(faults, fmt.Sprintf("%s: %q: %s", f.Rule, f.Claim, fault))
		}
		if (j.strict || f.Severity > diagnosis.Info) && !j.wanted(f) {
			faults = append(faults, "not wanted: "+describe(f))
		}
	}
	return faults
}

// wanted reports whether some want names the finding's rule at the finding's line.
func (j *judge) wanted(f *diagnosis.Finding) bool {
	return slices.ContainsFunc(j.wants, func(w fixtures.Want) bool { return slices.Contains(w.Rules, f.Rule) && j.at(w, f) })
}

func (j *judge) at(w fixtures.Want, f *diagnosis.Finding) bool {
	frame, ok := f.Location()
	return ok && w.At(j.scenario, frame.File, frame.Line)
}

// unmet lists the wants that no finding meets. Wants that share a rule and a group are one: a finding on any of their lines
// meets them.
func (j *judge) unmet(res *diagnosis.Result) []string {
	var faults []string
	groups := map[string]bool{}
	for _, w := range j.wants {
		for _, rule := range w.Rules {
			group := rule + "~" + w.Group
			if j.excused(rule) || (w.Group != "" && groups[group]) {
				continue
			}
			groups[group] = true
			if !j.met(res, rule, w) {
				faults = append(faults, fmt.Sprintf("no finding of %s at %s; %s", rule, w, heard(res, rule)))
			}
		}
	}
	return faults
}

func (j *judge) excused(rule string) bool {
	known := slices.ContainsFunc(j.rules, func(r *diagnosis.Rule) bool { return r.Name == rule })
	return !known || slices.Contains(j.lacks, rule)
}

// met reports whether a finding of the rule lies on the line of the want, or on a line of its group.
func (j *judge) met(res *diagnosis.Result, rule string, want fixtures.Want) bool {
	places := []fixtures.Want{want}
	if want.Group != "" {
		places = slices.DeleteFunc(slices.Clone(j.wants), func(w fixtures.Want) bool {
			return w.Group != want.Group || !slices.Contains(w.Rules, rule)
		})
	}
	for i := range res.Findings {
		f := &res.Findings[i]
		if f.Rule == rule && slices.ContainsFunc(places, func(w fixtures.Want) bool { return j.at(w, f) }) {
			return true
		}
	}
	return false
}

// heard says what the rule said instead of meeting a want.
func heard(res *diagnosis.Result, rule string) string {
	var said []string
	for i := range res.Findings {
		if f := &res.Findings[i]; f.Rule == rule {
			said = append(said, "it found: "+describe(f))
		}
	}
	for _, s := range append(slices.Clone(res.RuledOut), res.NotChecked...) {
		if s.Rule == rule {
			said = append(said, "it was silent: "+s.Why)
		}
	}
	return strings.Join(said, "; ")
}

func describe(f *diagnosis.Finding) string {
	at, _ := f.Location()
	return fmt.Sprintf("%s, %s, %s, at %s (%s:%d): %s", f.Rule, f.Severity, f.Confidence, at.Function, at.File, at.Line, f.Claim)
}
