package derive

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Beside makes one finding of two that tell the same disease at the same place: one from a Timeline and one from a core beside it. The one
// from the core is told, because it knows values and limits, with what the course over time adds to it.
type Beside struct {
	p     *diagnosis.Pass
	roles []diagnosis.Role
	held  []diagnosis.Finding
}

// NewBeside takes two findings for one when they have the same line in each of the roles that both have; without roles, any two.
func NewBeside(p *diagnosis.Pass, roles ...diagnosis.Role) *Beside {
	return &Beside{p: p, roles: roles}
}

// Hold keeps a finding from a Timeline until Flush.
func (b *Beside) Hold(f diagnosis.Finding) { b.held = append(b.held, f) }

// Report tells a finding from a core, with what is held of the same place.
func (b *Beside) Report(f diagnosis.Finding) {
	for i := range b.held {
		if b.same(&f, &b.held[i]) {
			b.p.Report(joined(f, b.held[i]))
			b.held = slices.Delete(b.held, i, i+1)
			return
		}
	}
	b.p.Report(f)
}

// Flush tells what is held and was not told with another. Nothing is held afterwards.
func (b *Beside) Flush() {
	for _, f := range b.held {
		b.p.Report(f)
	}
	b.held = nil
}

// same reports whether two findings share a line in every role that both have, and in one at least.
func (b *Beside) same(x, y *diagnosis.Finding) bool {
	some := len(b.roles) == 0
	for _, role := range b.roles {
		mine, other := linesOf(x, role), linesOf(y, role)
		if len(mine) == 0 || len(other) == 0 {
			continue
		}
		if !slices.ContainsFunc(mine, func(s startKey) bool { return slices.Contains(other, s) }) {
			return false
		}
		some = true
	}
	return some
}

func linesOf(f *diagnosis.Finding, role diagnosis.Role) (list []startKey) {
	for _, l := range f.Locations {
		if l.Role == role && l.Frame.Function != "" {
			list = append(list, startOf(l.Frame))
		}
	}
	return list
}

// joined is the first finding with what the second adds. Of the severities and confidences the higher one counts: each of the two sources
// would have said so alone. What speaks against it is what the surer one says, which knows what the other asks for.
func joined(f, over diagnosis.Finding) diagnosis.Finding {
	f.Because = slices.Concat(f.Because, over.Because)
	for _, l := range over.Locations {
		key := startOf(l.Frame)
		if !slices.ContainsFunc(f.Locations, func(k diagnosis.Location) bool { return k.Role == l.Role && startOf(k.Frame) == key }) {
			f.Locations = append(f.Locations[:len(f.Locations):len(f.Locations)], l)
		}
	}
	if over.Confidence > f.Confidence {
		f.Against = over.Against
	}
	for _, v := range over.Victims {
		if v.Kind != evidence.RefGoroutine && !slices.Contains(f.Victims, v) {
			f.Victims = append(f.Victims[:len(f.Victims):len(f.Victims)], v)
		}
	}
	f.Affected = max(f.VictimCount(), over.VictimCount())
	f.Confidence, f.Severity = max(f.Confidence, over.Confidence), max(f.Severity, over.Severity)
	return f
}
