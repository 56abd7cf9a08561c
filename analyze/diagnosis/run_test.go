package diagnosis

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// page is a complete Doc.
func page() *Doc {
	return &Doc{Title: "t", Sees: "s", Hurts: "h", Confirm: "c", Fix: "turn it off", Not: "n", Since: "0.1.0"}
}

// rule is a valid rule that runs f.
func rule(name string, f func(*Pass) error) *Rule {
	return &Rule{Name: name, Class: "lock-hog", Doc: page(), Needs: []evidence.Kinds{evidence.KindGoroutines}, Run: f}
}

func silent(*Pass) error { return nil }

// oneGoroutine is a Case with a goroutine and nothing else.
func oneGoroutine() *evidence.Case {
	b := evidence.NewBuilder()
	b.Goroutine(evidence.Goroutine{ID: 1})
	return b.Finish()
}

func mustRun(t *testing.T, opt Options, rules ...*Rule) *Result {
	t.Helper()
	res, err := Run(context.Background(), oneGoroutine(), rules, opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestValidate(t *testing.T) {
	var a, b *Derivation[int]
	a = &Derivation[int]{Name: "a"}
	b = &Derivation[int]{Name: "b", Uses: []Dependency{a}}
	a.Uses = []Dependency{b}
	for name, test := range map[string]struct {
		change func(*Rule)
		part   string
	}{
		"good":         {func(*Rule) {}, ""},
		"name":         {func(r *Rule) { r.Name = "Lock_Hog" }, "lower case"},
		"empty name":   {func(r *Rule) { r.Name = "" }, "lower case"},
		"class":        {func(r *Rule) { r.Class = "flu" }, `unknown class "flu"`},
		"needs":        {func(r *Rule) { r.Needs = nil }, "Needs is empty"},
		"run":          {func(r *Rule) { r.Run = nil }, "Run is missing"},
		"no page":      {func(r *Rule) { r.Doc = nil }, "Doc is missing"},
		"title":        {func(r *Rule) { r.Doc.Title = "" }, "Doc.Title is empty"},
		"look-alike":   {func(r *Rule) { r.Doc.Not = "" }, "Doc.Not is empty"},
		"limit's name": {func(r *Rule) { r.Limits = []Limit{{Name: "a b", Doc: "d", Origin: "o"}} }, `limit "a b"`},
		"limit's page": {func(r *Rule) { r.Limits = []Limit{{Name: "a", Doc: "d"}} }, "Origin is empty"},
		"limit twice": {func(r *Rule) {
			r.Limits = []Limit{{Name: "a", Doc: "d", Origin: "o"}, {Name: "a", Doc: "d", Origin: "o"}}
		}, "stands twice"},
		"cycle": {func(r *Rule) { r.Uses = []Dependency{a} }, "a needs itself"},
	} {
		r := rule("good", silent)
		test.change(r)
		err := Validate([]*Rule{r})
		if (err == nil) != (test.part == "") || err != nil && !strings.Contains(err.Error(), test.part) {
			t.Errorf("%s: %v, want %q", name, err, test.part)
		}
	}
	if err := Validate([]*Rule{rule("x", silent), rule("x", silent), nil}); err == nil ||
		!strings.Contains(err.Error(), "registered twice") || !strings.Contains(err.Error(), "number 3 is nil") {
		t.Errorf("a double and a missing rule: %v", err)
	}
}

func TestValidateTellsAll(t *testing.T) {
	r := &Rule{Name: "x"}
	err := Validate([]*Rule{r})
	for _, part := range []string{"unknown class", "Needs", "Run", "Doc"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not tell of %s", err, part)
		}
	}
	if _, err := Run(context.Background(), oneGoroutine(), []*Rule{r}, Options{}); err == nil {
		t.Error("an invalid rule was run")
	}
}

// TestOpenQuestion: what a rule cannot explain is not covered up by what it says later.
func TestOpenQuestion(t *testing.T) {
	res := mustRun(t, Options{}, rule("asks", func(p *Pass) error {
		p.Silent("nothing yet")
		p.Open("%d goroutines wait", 30)
		p.Silent("nothing else")
		return nil
	}))
	if want := []Silence{{Rule: "asks", Why: "30 goroutines wait", Open: true}}; !reflect.DeepEqual(res.RuledOut, want) {
		t.Errorf("ruled out %+v, want %+v", res.RuledOut, want)
	}
}

// TestSilence has a rule for each reason to say nothing.
func TestSilence(t *testing.T) {
	needs := rule("needs", silent)
	needs.Needs = []evidence.Kinds{evidence.KindSyncs | evidence.KindHolds, evidence.KindProfile}
	res := mustRun(t, Options{Disabled: map[string]bool{"off": true}, MinConfidence: Likely},
		rule("quiet", silent),
		rule("explains", func(p *Pass) error { p.Silent("no lock has more than %d waiters", 2); return nil }),
		rule("unsure", func(p *Pass) error { p.Report(Finding{Confidence: Possible}); return nil }),
		rule("fails", func(*Pass) error { return errors.New("no luck") }),
		rule("panics", func(*Pass) error { panic("a fault in a rule") }),
		rule("asks", func(p *Pass) error { p.Limit("height"); return nil }),
		rule("off", func(*Pass) error { t.Error("a disabled rule was run"); return nil }),
		needs,
	)
	ruledOut := []Silence{
		{Rule: "quiet", Why: "nothing in the evidence matches"},
		{Rule: "explains", Why: "no lock has more than 2 waiters"},
		{Rule: "unsure", Why: "1 findings below confidence likely"},
	}
	notChecked := []Silence{
		{Rule: "fails", Why: "failed: no luck"},
		{Rule: "panics", Why: "failed: panic in rule panics: a fault in a rule"},
		{Rule: "asks", Why: `failed: rule asks asks for limit "height", which it does not document`},
		{Rule: "off", Why: "disabled on the command line"},
		{Rule: "needs", Why: "needs syncs and holds; this case has goroutines"},
	}
	if !reflect.DeepEqual(res.RuledOut, ruledOut) || !reflect.DeepEqual(res.NotChecked, notChecked) {
		t.Errorf("ruled out %+v\nnot checked %+v", res.RuledOut, res.NotChecked)
	}
	if len(res.Findings) != 0 {
		t.Errorf("findings %+v", res.Findings)
	}
}

// TestFaultStaysWithItsRule runs a good rule behind one that failed.
func TestFaultStaysWithItsRule(t *testing.T) {
	res := mustRun(t, Options{},
		rule("bad", func(p *Pass) error { p.Limit("unknown"); p.Report(Finding{Confidence: Proved}); return nil }),
		rule("good", func(p *Pass) error { p.Report(Finding{Claim: "it is so", Confidence: Proved}); return nil }))
	if len(res.Findings) != 1 || res.Findings[0].Rule != "good" || len(res.NotChecked) != 1 {
		t.Errorf("findings %+v, not checked %+v", res.Findings, res.NotChecked)
	}
}

func TestLimits(t *testing.T) {
	r := rule("limited", func(p *Pass) error {
		p.Silent("a=%v b=%v", p.Limit("a"), p.Limit("b"))
		return nil
	})
	r.Limits = []Limit{{Name: "a", Doc: "d", Origin: "o", Default: 3}, {Name: "b", Doc: "d", Origin: "o", Default: 4}}
	res := mustRun(t, Options{Limits: map[string]float64{"limited.b": 0}}, r)
	if got := res.RuledOut[0].Why; got != "a=3 b=0" {
		t.Errorf("limits %s", got)
	}
	_, err := Run(context.Background(), oneGoroutine(), []*Rule{r}, Options{Limits: map[string]float64{"limited.c": 1, "x.a": 1}})
	if err == nil || !strings.Contains(err.Error(), `"limited.c"`) {
		t.Errorf("unknown limits: %v, want the first by name", err)
	}
}

func TestFindingDefaults(t *testing.T) {
	own := Finding{Fix: "do that", Confidence: Likely, Severity: Info}
	plain := Finding{Confidence: Likely, Severity: Warning}
	res := mustRun(t, Options{}, rule("r", func(p *Pass) error { p.Report(own); p.Report(plain); return nil }))
	if len(res.Findings) != 2 || res.Findings[0].Fix != "turn it off" || res.Findings[1].Fix != "do that" {
		t.Fatalf("findings %+v", res.Findings)
	}
	if f := res.Findings[0]; f.Rule != "r" || f.Class != "lock-hog" {
		t.Errorf("finding %+v", f)
	}
	if _, ok := own.Location(); ok {
		t.Error("a finding without locations has a location")
	}
	at := evidence.Frame{Function: "main.f", Line: 3}
	own.Locations = []Location{{Role: RoleHolder, Frame: at}, {Role: RoleWaiter}}
	if got, ok := own.Location(); !ok || got != at {
		t.Errorf("location %+v", got)
	}
}

// TestOrder reports findings in the reverse of the order they must come in: one difference at a time.
func TestOrder(t *testing.T) {
	victims := func(n int) []evidence.Ref { return make([]evidence.Ref, n) }
	want := []Finding{
		{Severity: Critical, Confidence: Possible, Class: "accept-backlog"},
		{Severity: Warning, Confidence: Proved, Class: "accept-backlog"},
		{Severity: Warning, Confidence: Likely, Class: "crash-nil"},
		{Severity: Warning, Confidence: Likely, Class: "goroutine-explosion", Affected: 40000},
		{Severity: Warning, Confidence: Likely, Class: "goroutine-explosion", Affected: 2000},
		{Severity: Warning, Confidence: Likely, Class: "lock-hog", Affected: 900},
		{Severity: Warning, Confidence: Likely, Class: "lock-hog", Victims: victims(9)},
		{Severity: Warning, Confidence: Likely, Class: "lock-hog", Victims: victims(2), Rule: "a"},
		{Severity: Warning, Confidence: Likely, Class: "lock-hog", Victims: victims(2), Rule: "b", Subject: evidence.GoroutineRef(4)},
		{Severity: Warning, Confidence: Likely, Class: "lock-hog", Victims: victims(2), Rule: "b", Subject: evidence.GoroutineRef(5)},
		{Severity: Warning, Confidence: Likely, Class: "lock-hog", Victims: victims(2), Rule: "b", Subject: evidence.SyncRef(1)},
		{Severity: Info, Confidence: Proved, Class: "crash-nil"},
	}
	for i := range want {
		for j := range want {
			got := order(want[i], want[j])
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("order(%d, %d) = %d", i, j, got)
			}
		}
	}
}

// TestDerivation counts how often a value is computed, and by whom it may be asked for.
func TestDerivation(t *testing.T) {
	computed := 0
	base := &Derivation[int]{Name: "base", Run: func(*Pass) (int, error) { computed++; return 20, nil }}
	double := &Derivation[int]{Name: "double", Uses: []Dependency{base}, Run: func(p *Pass) (int, error) {
		n, err := Of(p, base)
		return 2 * n, err
	}}
	broken := &Derivation[string]{Name: "broken", Run: func(*Pass) (string, error) { return "", errors.New("no data") }}
	greedy := &Derivation[int]{Name: "greedy", Run: func(p *Pass) (int, error) { return int(p.Limit("a")), nil }}
	use := func(name string, f func(*Pass) error, uses ...Dependency) *Rule {
		r := rule(name, f)
		r.Uses = uses
		r.Limits = []Limit{{Name: "a", Doc: "d", Origin: "o"}}
		return r
	}
	ask := func(p *Pass) error {
		n, err := Of(p, double)
		p.Silent("%d", n)
		return err
	}
	fail := func(p *Pass) error { _, err := Of(p, broken); return err }
	res := mustRun(t, Options{},
		use("one", ask, double), use("two", ask, double), use("stranger", ask), use("bypass", func(p *Pass) error { _, err := Of(p, base); return err }, double),
		use("fails", fail, broken), use("fails-too", fail, broken),
		use("greedy", func(p *Pass) error { _, err := Of(p, greedy); return err }, greedy))
	if computed != 1 {
		t.Errorf("the shared value was computed %d times", computed)
	}
	if want := []Silence{{Rule: "one", Why: "40"}, {Rule: "two", Why: "40"}}; !reflect.DeepEqual(res.RuledOut, want) {
		t.Errorf("ruled out %+v, want %+v", res.RuledOut, want)
	}
	want := []string{"stranger asks for derivation double", "bypass asks for derivation base", "derivation broken: no data",
		"derivation broken: no data", `greedy asks for limit "a"`}
	if len(res.NotChecked) != len(want) {
		t.Fatalf("not checked %+v", res.NotChecked)
	}
	for i, part := range want {
		if !strings.Contains(res.NotChecked[i].Why, part) {
			t.Errorf("%s: %q, want %q", res.NotChecked[i].Rule, res.NotChecked[i].Why, part)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := 0
	stop := rule("stop", func(p *Pass) error { ran++; cancel(); return p.Context.Err() })
	for _, rules := range [][]*Rule{{stop, rule("next", func(*Pass) error { ran += 10; return nil })}, {stop}} {
		if _, err := Run(ctx, oneGoroutine(), rules, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if ran != 1 {
		t.Errorf("rules ran: %d", ran)
	}
	fresh, last := context.WithCancel(context.Background())
	defer last()
	only := rule("only", func(p *Pass) error { last(); return p.Context.Err() })
	if _, err := Run(fresh, oneGoroutine(), []*Rule{only}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the last rule: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []Confidence{Possible, Likely, Proved} {
		if got, err := ParseConfidence(c.String()); got != c || err != nil {
			t.Errorf("confidence %v: %v, %v", c, got, err)
		}
	}
	for _, s := range []Severity{0, Info, Warning, Critical} {
		if got, err := ParseSeverity(s.String()); got != s || err != nil {
			t.Errorf("severity %v: %v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "sure", "PROVED"} {
		if _, err := ParseConfidence(bad); err == nil {
			t.Errorf("confidence %q was taken", bad)
		}
		if _, err := ParseSeverity(bad); err == nil {
			t.Errorf("severity %q was taken", bad)
		}
	}
	if Confidence(99).String() != "proved" || Severity(99).String() != "critical" {
		t.Error("a value out of range must not panic")
	}
}

// TestCausesFirst: a finding that says which classes explain it stands behind the first critical finding of those, and only then.
func TestCausesFirst(t *testing.T) {
	end := Finding{Rule: "end", Class: "crash-fatal", Severity: Critical, Confidence: Proved, Explained: []string{"deadlock-lock"}}
	knot := Finding{Rule: "knot", Class: "deadlock-lock", Severity: Critical, Confidence: Likely}
	guess := Finding{Rule: "guess", Class: "deadlock-lock", Severity: Warning, Confidence: Possible}
	other := Finding{Rule: "other", Class: "lock-hog", Severity: Critical, Confidence: Likely}
	for _, c := range []struct {
		in   []Finding
		want string
	}{
		{[]Finding{end, other, knot}, "other knot end"},
		{[]Finding{end, end, knot}, "knot end end"},
		{[]Finding{end, other, guess}, "end other guess"},
		{[]Finding{end}, "end"},
		{nil, ""},
	} {
		causesFirst(c.in)
		var names []string
		for _, f := range c.in {
			names = append(names, f.Rule)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
