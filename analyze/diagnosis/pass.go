package diagnosis

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Pass is the only door between a rule and its run.
type Pass struct {
	Context context.Context // cancelled when the run is
	Case    *evidence.Case

	rule     *Rule
	limits   map[string]float64
	memo     *memo
	uses     []Dependency
	findings []Finding
	silent   string
	open     bool
}

// Limit returns the value of a threshold of the rule. Asking for one that the rule does not document is a mistake that
// Run reports as the rule's error.
func (p *Pass) Limit(name string) float64 {
	v, ok := p.limits[name]
	if !ok && p.memo.fault == nil {
		p.memo.fault = fmt.Errorf("rule %s asks for limit %q, which it does not document", p.rule.Name, name)
	}
	return v
}

// Report adds a finding.
func (p *Pass) Report(f Finding) {
	f.Rule, f.Class = p.rule.Name, p.rule.Class
	if f.Fix == "" {
		f.Fix = p.rule.Doc.Fix
	}
	p.findings = append(p.findings, f)
}

// Silent says why the rule reports nothing: "no lock has more than 2 waiters". The last call counts.
func (p *Pass) Silent(format string, args ...any) {
	if !p.open { // an open question is not covered up by a later remark
		p.silent = fmt.Sprintf(format, args...)
	}
}

// Open says what the rule saw and cannot explain: a queue whose holder is not known. It reports nothing either, but a case with an
// open question is not a clean one.
func (p *Pass) Open(format string, args ...any) {
	p.Silent(format, args...)
	p.open = true
}

// Dependency is a Derivation of any type.
type Dependency interface {
	name() string
	uses() []Dependency
}

// Derivation is something computed from a Case that several rules share.
type Derivation[T any] struct {
	Name string
	Uses []Dependency // other derivations that Run asks for
	Run  func(*Pass) (T, error)
}

func (d *Derivation[T]) name() string       { return d.Name }
func (d *Derivation[T]) uses() []Dependency { return d.Uses }

// memo holds the derivations of one Case.
type memo struct {
	values map[Dependency]derived
	fault  error
}

type derived struct {
	value any
	err   error
}

// Of returns the value of a derivation, computing it at the first request. The rule (or derivation) that asks must name it
// in Uses.
func Of[T any](p *Pass, d *Derivation[T]) (T, error) {
	var zero T
	if !slices.Contains(p.uses, Dependency(d)) {
		return zero, fmt.Errorf("rule %s asks for derivation %s, which is not in its Uses", p.rule.Name, d.Name)
	}
	if known, ok := p.memo.values[d]; ok {
		value, _ := known.value.(T)
		return value, known.err
	}
	inner := *p
	inner.uses, inner.findings = d.Uses, nil
	inner.limits = nil // the value is shared: it must not depend on which rule asks first
	value, err := d.Run(&inner)
	if err != nil {
		err = fmt.Errorf("derivation %s: %w", d.Name, err)
	}
	p.memo.values[d] = derived{value, err}
	return value, err
}
