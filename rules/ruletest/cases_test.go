package ruletest

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// loud is a rule that reports every running goroutine at its innermost frame.
var loud = &diagnosis.Rule{
	Name: "loud", Class: "busy-yield", Needs: []evidence.Kinds{evidence.KindGoroutines},
	Doc:    &diagnosis.Doc{Title: "t", Sees: "s", Hurts: "h", Confirm: "c", Fix: "mend it", Not: "n", Since: "0"},
	Limits: []diagnosis.Limit{{Name: "least", Doc: "d", Default: 1, Origin: "o"}},
	Run: func(p *diagnosis.Pass) error {
		p.Silent("nobody runs")
		for _, g := range p.Case.Goroutines().All() {
			if g.State != evidence.StateRunning || float64(g.ID) < p.Limit("least") {
				continue
			}
			s := p.Case.Stack(g.Stack)
			p.Report(diagnosis.Finding{
				Subject: g.Ref(), Claim: "it runs", Confidence: diagnosis.Likely, Severity: diagnosis.Warning,
				Because:   []diagnosis.Reason{{Text: "its state", Refs: []evidence.Ref{g.Ref()}}},
				Against:   []diagnosis.Reason{{Text: "it may be right"}},
				Locations: []diagnosis.Location{{Role: diagnosis.RoleRunner, Frame: s.At(0), Ref: g.Ref()}, {Role: diagnosis.RoleCaller, Frame: s.At(1)}},
			})
		}
		return nil
	},
}

const running = `
case 1
frame id=1 function=main.work file=/src/main.go line=12
frame id=2 function=main.main file=/src/main.go line=30
stack id=1 frames=1,2
goroutine id=4 state=running stack=1
`

func TestCaseFaults(t *testing.T) {
	good := "# want: main.work main.go:12 warning likely\n# claim: runs\n# also: caller main.main main.go:30\n# against: may be right"
	tests := []struct{ name, text, fault string }{
		{"met", good + running, ""},
		{"whole path", strings.Replace(good, "main.go:12", "/src/main.go:12", 1) + running, ""},
		{"line", strings.Replace(good, "main.go:12", "main.go:13", 1) + running, "line 1: no finding at main.work main.go:13"},
		{"file", strings.Replace(good, "main.go:12", "ain.go:12", 1) + running, "no finding at"},
		{"function", strings.Replace(good, "main.work", "work", 1) + running, "no finding at"},
		{"severity", strings.Replace(good, "warning", "critical", 1) + running, "severity is warning, want critical"},
		{"confidence", strings.Replace(good, "likely", "proved", 1) + running, "confidence is likely, want proved"},
		{"claim", strings.Replace(good, "runs", "sleeps", 1) + running, "lacks \"sleeps\""},
		{"also", strings.Replace(good, "caller", "creator", 1) + running, "no location is creator"},
		{"against", strings.Replace(good, "may be", "is", 1) + running, "nothing against it"},
		{"unwanted", "# want: nothing" + running, "finding that nobody wanted: main.work /src/main.go:12 warning likely"},
		{"two of one", good + "\n" + good + running, "line 5: no finding"},
		{"silent", "# want: nothing\n# silent: nobody runs" + strings.Replace(running, "running", "waiting", 1), ""},
		{"silent for another reason", "# want: nothing\n# silent: all sleep" + strings.Replace(running, "running", "waiting", 1), "lacks \"all sleep\""},
		{"limit", "# want: nothing\n# limit: loud.least=9" + running, ""},
		{"unknown limit", "# want: nothing\n# limit: loud.most=9" + running, "unknown limit"},
		{"no evidence", "# want: nothing\ncase 1\ndeath signal=6\n", "the rule did not run: needs goroutines"},
		{"broken case", "# want: nothing\ncase 1\nnonsense x=1\n", "unknown record"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := readPlan(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			faults := faultsOfCase(loud, []byte(tt.text), p)
			found := slices.ContainsFunc(faults, func(s string) bool { return strings.Contains(s, tt.fault) })
			if tt.fault == "" && len(faults) > 0 || tt.fault != "" && !found {
				t.Errorf("faults are %q, want %q", faults, tt.fault)
			}
		})
	}
}

func TestPlanErrors(t *testing.T) {
	for text, want := range map[string]string{
		"case 1": "want `# want: nothing` or one",
		"# want: nothing\n# want: f m.go:1 info likely": "not both",
		"# want: f m.go:1 info maybe":                   "line 1: confidence",
		"# want: f m.go:1 bad likely":                   "line 1: severity",
		"# want: f m.go info likely":                    "want a function and file:line",
		"# prose\n# claim: x":                           "line 2: claim stands before any want",
		"# want: nothing\n# limit: a.b=x":               "line 2: strconv",
	} {
		if _, err := readPlan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("readPlan(%q) gives %v, want %q", text, err, want)
		}
	}
}

func TestPlanPlace(t *testing.T) {
	p, err := readPlan("# want: std::vector<int, A>::at(unsigned long) a.cc:7 critical proved\n# Note: prose with a colon")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.findings[0].where; got != (place{"std::vector<int, A>::at(unsigned long)", "a.cc", 7}) {
		t.Errorf("the place is %+v", got)
	}
	p, err = readPlan("# want: - critical proved")
	if err != nil || !p.findings[0].where.matches(evidence.Frame{}) || p.findings[0].where.matches(evidence.Frame{Function: "f"}) {
		t.Errorf("a want without a place: %+v, %v", p, err)
	}
}

func TestFaults(t *testing.T) {
	b := evidence.NewBuilder()
	b.Goroutine(evidence.Goroutine{ID: 4})
	c := b.Finish()
	here, gone := evidence.GoroutineRef(4), evidence.GoroutineRef(5)
	sound := func() diagnosis.Finding {
		return diagnosis.Finding{Claim: "c", Fix: "f", Confidence: diagnosis.Likely, Severity: diagnosis.Info,
			Because: []diagnosis.Reason{{Text: "t", Refs: []evidence.Ref{here}}}}
	}
	tests := []struct {
		name, fault string
		spoil       func(*diagnosis.Finding)
	}{
		{"sound", "", func(*diagnosis.Finding) {}},
		{"full stop", "full stop", func(f *diagnosis.Finding) { f.Claim = "c." }},
		{"two lines", "several lines", func(f *diagnosis.Finding) { f.Claim = "c\nd" }},
		{"no confidence", "confidence 0", func(f *diagnosis.Finding) { f.Confidence = 0 }},
		{"no severity", "severity 0", func(f *diagnosis.Finding) { f.Severity = 0 }},
		{"no fix", "no fix", func(f *diagnosis.Finding) { f.Fix = "" }},
		{"no reason", "no reason", func(f *diagnosis.Finding) { f.Because = nil }},
		{"no row", "cites no row", func(f *diagnosis.Finding) { f.Because[0].Refs = nil }},
		{"bad row", "goroutine:5 names no row", func(f *diagnosis.Finding) { f.Against = []diagnosis.Reason{{Text: "t", Refs: []evidence.Ref{gone}}} }},
		{"bad subject", "subject goroutine:5", func(f *diagnosis.Finding) { f.Subject = gone }},
		{"bad victim", "victim goroutine:5", func(f *diagnosis.Finding) { f.Victims = []evidence.Ref{here, gone} }},
		{"empty place", "first location", func(f *diagnosis.Finding) { f.Locations = []diagnosis.Location{{}} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := sound()
			tt.spoil(&f)
			faults := strings.Join(Faults(c, &f), "; ")
			if (tt.fault == "") != (faults == "") || !strings.Contains(faults, tt.fault) {
				t.Errorf("faults are %q, want %q", faults, tt.fault)
			}
		})
	}
}
