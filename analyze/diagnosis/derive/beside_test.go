package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// told is a finding with a line for each role.
func told(claim string, lines map[diagnosis.Role]int) diagnosis.Finding {
	f := diagnosis.Finding{Claim: claim, Because: []diagnosis.Reason{{Text: claim}}, Confidence: diagnosis.Possible, Severity: diagnosis.Info}
	for _, role := range []diagnosis.Role{diagnosis.RoleCreator, diagnosis.RoleWaiter} {
		if lines[role] > 0 {
			f.Locations = append(f.Locations, diagnosis.Location{Role: role, Frame: evidence.Frame{Function: "main.f", File: "/src/f.go", Line: lines[role]}})
		}
	}
	return f
}

var besideDoc = &diagnosis.Doc{Title: "t", Sees: "s", Hurts: "h", Confirm: "c", Fix: "f", Not: "n", Before: "b", After: "a", Since: "0.1.0"}

// besideRule tells a finding from a Timeline and one from a core.
func besideRule(over, core diagnosis.Finding, roles ...diagnosis.Role) *diagnosis.Rule {
	return &diagnosis.Rule{Name: "twice", Class: "lock-hog", Doc: besideDoc, Needs: []evidence.Kinds{evidence.KindGoroutines}, Run: func(p *diagnosis.Pass) error {
		b := NewBeside(p, roles...)
		defer b.Flush()
		b.Hold(over)
		b.Report(core)
		return nil
	}}
}

// TestBeside tells one disease at one place once, and two places twice.
func TestBeside(t *testing.T) {
	const creator, waiter = diagnosis.RoleCreator, diagnosis.RoleWaiter
	type lines = map[diagnosis.Role]int
	tests := []struct {
		name       string
		over, core lines
		roles      []diagnosis.Role
		want       int
	}{
		{"the same lines", lines{creator: 1, waiter: 2}, lines{creator: 1, waiter: 2}, []diagnosis.Role{creator, waiter}, 1},
		{"another line of waiting", lines{creator: 1, waiter: 2}, lines{creator: 1, waiter: 3}, []diagnosis.Role{creator, waiter}, 2},
		{"a line of waiting that only one knows", lines{creator: 1}, lines{creator: 1, waiter: 3}, []diagnosis.Role{creator, waiter}, 1},
		{"the role that counts", lines{creator: 1, waiter: 2}, lines{creator: 1, waiter: 3}, []diagnosis.Role{creator}, 1},
		{"nothing in common", lines{creator: 1}, lines{waiter: 1}, []diagnosis.Role{creator, waiter}, 2},
		{"a rule that tells of the process", lines{creator: 1}, lines{creator: 9}, nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			over, core := told("over time", tt.over), told("in the core", tt.core)
			over.Confidence, over.Severity, over.Affected = diagnosis.Likely, diagnosis.Warning, 40
			over.Against, core.Against = []diagnosis.Reason{{Text: "doubt"}}, []diagnosis.Reason{{Text: "how it changes is not known"}}
			res, err := diagnosis.Run(t.Context(), oneOf(t), []*diagnosis.Rule{besideRule(over, core, tt.roles...)}, diagnosis.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Findings) != tt.want {
				t.Fatalf("%d findings, want %d: %+v", len(res.Findings), tt.want, res)
			}
			if tt.want > 1 {
				return
			}
			f := res.Findings[0]
			if f.Claim != "in the core" || len(f.Because) != 2 || f.Confidence != diagnosis.Likely || f.Severity != diagnosis.Warning || f.Affected != 40 {
				t.Errorf("joined to %+v", f)
			}
			if len(f.Against) != 1 || f.Against[0].Text != "doubt" {
				t.Errorf("the surer one doubts otherwise: %+v", f.Against)
			}
		})
	}
}

// oneOf is a Case with one goroutine.
func oneOf(t *testing.T) *evidence.Case {
	t.Helper()
	b := evidence.NewBuilder()
	b.Goroutine(evidence.Goroutine{ID: 1})
	return b.Finish()
}
