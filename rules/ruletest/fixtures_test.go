package ruletest

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// at is a finding of rule loud at a line of a file.
func at(file string, line int, severity diagnosis.Severity) diagnosis.Finding {
	frame := evidence.Frame{Function: "main.f", File: file, Line: line}
	return diagnosis.Finding{Rule: "loud", Claim: "c", Fix: "f", Confidence: diagnosis.Likely, Severity: severity,
		Because:   []diagnosis.Reason{{Text: "t", Refs: []evidence.Ref{{Kind: evidence.RefProcess}}}},
		Locations: []diagnosis.Location{{Role: diagnosis.RoleCrash, Frame: frame}}}
}

func TestJudge(t *testing.T) {
	const file = "/x/fixtures/go/demo/main.go"
	loudly := func(lines ...int) []diagnosis.Finding {
		var all []diagnosis.Finding
		for _, n := range lines {
			all = append(all, at(file, n, diagnosis.Warning))
		}
		return all
	}
	want := func(line int, group string, rules ...string) fixtures.Want {
		return fixtures.Want{File: "main.go", Line: line, Rules: rules, Group: group}
	}
	tests := []struct {
		name     string
		wants    []fixtures.Want
		findings []diagnosis.Finding
		lacks    []string
		strict   bool
		fault    string
	}{
		{"healthy", nil, nil, nil, false, ""},
		{"met", []fixtures.Want{want(5, "", "loud")}, loudly(5), nil, false, ""},
		{"unmet", []fixtures.Want{want(5, "", "loud")}, nil, nil, false, "no finding of loud at main.go:5: loud; it was silent: nobody runs"},
		{"other line", []fixtures.Want{want(5, "", "loud")}, loudly(6), nil, false, "not wanted: loud, warning"},
		{"other line is no hit", []fixtures.Want{want(5, "", "loud")}, loudly(6), nil, false, "no finding of loud at main.go:5"},
		{"false alarm", nil, loudly(6), nil, false, "not wanted"},
		{"a remark is no alarm", nil, []diagnosis.Finding{at(file, 6, diagnosis.Info)}, nil, false, ""},
		{"a remark on a trace", nil, []diagnosis.Finding{at(file, 6, diagnosis.Info)}, nil, true, "not wanted: loud, info"},
		{"a wanted remark on a trace", []fixtures.Want{want(6, "", "loud")}, []diagnosis.Finding{at(file, 6, diagnosis.Info)}, nil, true, ""},
		{"other rule", []fixtures.Want{want(5, "", "quiet")}, nil, nil, false, ""},
		{"other rule's line", []fixtures.Want{want(5, "", "quiet")}, loudly(5), nil, false, "not wanted"},
		{"group", []fixtures.Want{want(5, "g", "loud"), want(6, "g", "loud")}, loudly(6), nil, false, ""},
		{"group unmet", []fixtures.Want{want(5, "g", "loud"), want(6, "g", "loud")}, nil, nil, false, "no finding of loud"},
		{"two groups", []fixtures.Want{want(5, "g", "loud"), want(6, "h", "loud")}, loudly(6), nil, false, "at main.go:5"},
		{"excused", []fixtures.Want{want(5, "", "loud")}, nil, []string{"loud"}, false, ""},
		{"excused, yet elsewhere", []fixtures.Want{want(5, "", "loud")}, loudly(7), []string{"loud"}, false, "not wanted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := &diagnosis.Result{Case: evidence.NewBuilder().Finish(), Findings: tt.findings}
			if len(tt.findings) == 0 {
				res.RuledOut = []diagnosis.Silence{{Rule: "loud", Why: "nobody runs"}}
			}
			j := judge{scenario: "demo", wants: tt.wants, rules: []*diagnosis.Rule{loud}, lacks: tt.lacks, strict: tt.strict}
			faults := strings.Join(append(j.faults(res), j.unmet(res)...), "\n")
			if (tt.fault == "") != (faults == "") || !strings.Contains(faults, tt.fault) {
				t.Errorf("faults are %q, want %q", faults, tt.fault)
			}
		})
	}
}

func TestJudgeFailedRule(t *testing.T) {
	res := &diagnosis.Result{Case: evidence.NewBuilder().Finish(),
		NotChecked: []diagnosis.Silence{{Rule: "loud", Why: "failed: boom"}, {Rule: "quiet", Why: "needs heap"}}}
	j := judge{scenario: "demo", rules: []*diagnosis.Rule{loud}}
	if faults := j.faults(res); len(faults) != 1 || faults[0] != "rule loud failed: boom" {
		t.Errorf("faults are %q", faults)
	}
}

func TestEvery(t *testing.T) {
	all := Every(t, nil)
	if len(all) == 0 {
		t.Fatal("no scenario was found")
	}
	one := Every(t, func(s *fixtures.Scenario) bool { return s.Name == all[0].Program.Scenario })
	if len(one) != 1 || one[0].name() != all[0].Program.Scenario {
		t.Errorf("a match of one gives %+v", one)
	}
	for _, in := range EveryTraced(t, nil) {
		s, err := fixtures.Describe(in.Program.Scenario)
		if err != nil || !in.Trace || s.Traced == "" || !strings.HasSuffix(in.name(), "/trace") {
			t.Errorf("%s is judged by its trace: %+v, %v", in.name(), s, err)
		}
	}
	one[0].Text = true
	if got := one[0].name(); !strings.HasSuffix(got, "/text") {
		t.Errorf("a text is called %q", got)
	}
}
