package report

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Faults lists what the findings of a result owe to the rules of trust: a claim, a reason, references for every reason that
// supports it, and rows behind every reference. A sound result gives none.
func Faults(res *diagnosis.Result) []string {
	var faults []string
	known := map[evidence.Ref]bool{} // rules cite the same rows again and again
	for i := range res.Findings {
		f := &res.Findings[i]
		c := checker{c: res.Case, known: known, name: fmt.Sprintf("finding F%d (%s)", i+1, f.Rule)}
		c.finding(f)
		faults = append(faults, c.faults...)
	}
	return faults
}

type checker struct {
	c      *evidence.Case
	known  map[evidence.Ref]bool
	name   string
	faults []string
}

func (c *checker) finding(f *diagnosis.Finding) {
	if strings.TrimSpace(f.Claim) == "" {
		c.fault("has no claim")
	}
	if len(f.Because) == 0 {
		c.fault("cites no evidence")
	}
	for i, reason := range f.Because {
		if len(reason.Refs) == 0 {
			c.fault("reason %d names no row", i+1)
		}
		c.refs(reason.Refs, "reason %d", i+1)
	}
	for i, reason := range f.Against {
		c.refs(reason.Refs, "objection %d", i+1)
	}
	if f.Subject != (evidence.Ref{}) {
		c.refs([]evidence.Ref{f.Subject}, "the subject")
	}
	c.refs(f.Victims[:min(len(f.Victims), maxRefs)], "the list of victims")
}

func (c *checker) refs(refs []evidence.Ref, format string, args ...any) {
	for _, r := range refs[:min(len(refs), maxRefs)] {
		ok, asked := c.known[r]
		if !asked {
			ok = c.c.Resolve(r)
			c.known[r] = ok
		}
		if !ok {
			c.fault("%s cites %q, which is not in the evidence", fmt.Sprintf(format, args...), r.String())
		}
	}
}

func (c *checker) fault(format string, args ...any) {
	c.faults = append(c.faults, c.name+" "+fmt.Sprintf(format, args...))
}
