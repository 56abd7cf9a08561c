package diagnosis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Silence is a rule that reported nothing, and why.
type Silence struct {
	Rule, Why string
	Open      bool // it saw something that it cannot explain: see Pass.Open
}

// Result is what a run of rules over a Case gave.
type Result struct {
	Case       *evidence.Case
	Findings   []Finding // the best explanation first
	RuledOut   []Silence // rules that ran and found nothing
	NotChecked []Silence // rules that could not run: evidence missing, disabled, failed
}

// Options changes a run.
type Options struct {
	Limits        map[string]float64 // "rule.limit" -> value
	Disabled      map[string]bool    // rules not to run
	MinConfidence Confidence         // findings below are dropped and named under RuledOut
}

// Run runs rules over a Case. A rule that fails does not stop the others: it is listed under NotChecked with its error.
// The error is of the run itself: an invalid rule, an unknown limit, a cancelled context.
func Run(ctx context.Context, c *evidence.Case, rules []*Rule, opt Options) (*Result, error) {
	if err := Validate(rules); err != nil {
		return nil, err
	}
	if err := checkLimits(rules, opt.Limits); err != nil {
		return nil, err
	}
	res := &Result{Case: c}
	m := &memo{values: map[Dependency]derived{}}
	for _, rule := range rules {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("diagnosis stopped before rule %s: %w", rule.Name, err)
		}
		runRule(ctx, res, rule, m, opt)
	}
	if err := ctx.Err(); err != nil { // the last rule may have given up for that reason
		return nil, fmt.Errorf("diagnosis stopped: %w", err)
	}
	slices.SortStableFunc(res.Findings, order)
	causesFirst(res.Findings)
	return res, nil
}

// causesFirst moves a finding that others explain right behind the first of them: the end that the runtime put to a process in which
// nobody could run is the symptom of the deadlock that it met.
func causesFirst(findings []Finding) {
	for i := 0; i < len(findings); i++ {
		f := findings[i]
		cause := slices.IndexFunc(findings[i:], func(c Finding) bool {
			return c.Severity == Critical && len(c.Explained) == 0 && slices.Contains(f.Explained, c.Class)
		})
		if cause <= 0 {
			continue
		}
		copy(findings[i:i+cause], findings[i+1:i+cause+1])
		findings[i+cause] = f
		i-- // another one stands here now; a finding moves only behind one that nothing explains, so this ends
	}
}

func runRule(ctx context.Context, res *Result, rule *Rule, m *memo, opt Options) {
	if opt.Disabled[rule.Name] {
		res.NotChecked = append(res.NotChecked, Silence{Rule: rule.Name, Why: "disabled on the command line"})
		return
	}
	if !enough(rule, res.Case.Kinds()) {
		why := fmt.Sprintf("needs %s; this case has %s", rule.Needs[0], res.Case.Kinds())
		res.NotChecked = append(res.NotChecked, Silence{Rule: rule.Name, Why: why})
		return
	}
	m.fault = nil
	p := &Pass{Context: ctx, Case: res.Case, rule: rule, limits: limitsOf(rule, opt.Limits), memo: m, uses: rule.Uses}
	err := cmp.Or(guarded(rule, p), m.fault)
	if err != nil {
		res.NotChecked = append(res.NotChecked, Silence{Rule: rule.Name, Why: "failed: " + err.Error()})
		return
	}
	keep(res, p, opt.MinConfidence)
}

// guarded runs a rule and turns a panic in it into an error: one broken rule must not take the report away from a person
// who waits for it.
func guarded(rule *Rule, p *Pass) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic in rule %s: %v", rule.Name, v)
		}
	}()
	return rule.Run(p)
}

func keep(res *Result, p *Pass, least Confidence) {
	kept, dropped := 0, 0
	for _, f := range p.findings {
		if f.Confidence < least {
			dropped++
			continue
		}
		kept++
		res.Findings = append(res.Findings, f)
	}
	switch {
	case kept > 0:
	case dropped > 0:
		why := fmt.Sprintf("%d findings below confidence %s", dropped, least)
		res.RuledOut = append(res.RuledOut, Silence{Rule: p.rule.Name, Why: why})
	default:
		res.RuledOut = append(res.RuledOut, Silence{p.rule.Name, cmp.Or(p.silent, "nothing in the evidence matches"), p.open})
	}
}

func enough(rule *Rule, have evidence.Kinds) bool {
	return slices.ContainsFunc(rule.Needs, have.Has)
}

func limitsOf(rule *Rule, set map[string]float64) map[string]float64 {
	limits := map[string]float64{}
	for _, l := range rule.Limits {
		limits[l.Name] = l.Default
		if v, ok := set[rule.Name+"."+l.Name]; ok {
			limits[l.Name] = v
		}
	}
	return limits
}

// order puts the best explanation first: worse before milder, surer before weaker, causes before symptoms (Classes), more
// victims before fewer; then by names, so that the order never depends on chance. Between
// findings of equal weight and certainty, an order of magnitude more victims goes before the list of classes: forty thousand
// goroutines in a queue are no symptom of a few that sleep.
func order(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(b.Severity, a.Severity),
		cmp.Compare(b.Confidence, a.Confidence),
		cmp.Compare(magnitude(b), magnitude(a)),
		cmp.Compare(slices.Index(Classes, a.Class), slices.Index(Classes, b.Class)),
		cmp.Compare(b.VictimCount(), a.VictimCount()),
		cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.Subject.Kind, b.Subject.Kind),
		cmp.Compare(a.Subject.ID, b.Subject.ID),
	)
}

// magnitude is the power of ten of a finding's victims, all below a thousand alike: there the cause of a queue, one goroutine, is
// worth more than its length. Whole powers, and not the quotient of two numbers, make it one order for any set of findings.
func magnitude(f Finding) int {
	if crashClass(f.Class) {
		return math.MaxInt // what ended the process explains most, whomever it hit
	}
	power := 0
	for n := f.VictimCount(); n >= 1000; n /= 10 {
		power++
	}
	return power
}

func crashClass(class string) bool { return strings.HasPrefix(class, "crash-") }

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Validate refuses rules that are not fit to run: a bad or double name, an unknown class, a missing page, evidence or
// function, a limit without a page, a cycle among derivations. All faults are returned, joined.
func Validate(rules []*Rule) error {
	var faults []error
	seen := map[string]bool{}
	for i, r := range rules {
		if r == nil {
			faults = append(faults, fmt.Errorf("rule number %d is nil", i+1))
			continue
		}
		if seen[r.Name] {
			faults = append(faults, fmt.Errorf("rule %s: registered twice", r.Name))
		}
		seen[r.Name] = true
		for _, fault := range faultsOf(r) {
			faults = append(faults, fmt.Errorf("rule %q: %w", r.Name, fault))
		}
	}
	return errors.Join(faults...)
}

func faultsOf(r *Rule) []error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(nameForm.MatchString(r.Name), "the name must be lower case words joined by hyphens")
	check(slices.Contains(Classes, r.Class), "unknown class %q", r.Class)
	check(len(r.Needs) > 0, "Needs is empty")
	check(r.Run != nil, "Run is missing")
	if r.Doc == nil {
		return append(faults, errors.New("Doc is missing"))
	}
	for _, field := range []struct{ name, text string }{{"Title", r.Doc.Title}, {"Sees", r.Doc.Sees}, {"Hurts", r.Doc.Hurts},
		{"Confirm", r.Doc.Confirm}, {"Fix", r.Doc.Fix}, {"Not", r.Doc.Not}, {"Since", r.Doc.Since}} {
		check(field.text != "", "Doc.%s is empty", field.name)
	}
	limits := map[string]bool{}
	for _, l := range r.Limits {
		check(!limits[l.Name], "limit %q stands twice", l.Name)
		limits[l.Name] = true
		check(nameForm.MatchString(l.Name), "limit %q: bad name", l.Name)
		check(l.Doc != "" && l.Origin != "", "limit %q: Doc or Origin is empty", l.Name)
	}
	if cycle := findCycle(r.Uses, nil); cycle != "" {
		faults = append(faults, fmt.Errorf("derivations form a cycle: %s", cycle))
	}
	return faults
}

func findCycle(uses, path []Dependency) string {
	for _, d := range uses {
		if slices.Contains(path, d) {
			return d.name() + " needs itself"
		}
		if cycle := findCycle(d.uses(), append(slices.Clip(path), d)); cycle != "" {
			return cycle
		}
	}
	return ""
}

// checkLimits refuses a setting that no rule has.
func checkLimits(rules []*Rule, set map[string]float64) error {
	known := map[string]bool{}
	for _, r := range rules {
		for _, l := range r.Limits {
			known[r.Name+"."+l.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !known[name] {
			return fmt.Errorf("unknown limit %q: `postmortem rules --limits` lists them", name)
		}
	}
	return nil
}
