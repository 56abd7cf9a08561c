package report

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Show returns a Document that holds nothing but the given rows and their stacks: what the command behind a piece of evidence
// prints. It is an error to name a row that the Case does not have.
func Show(c *evidence.Case, refs ...evidence.Ref) (*Document, error) {
	m := newMaker(c, Meta{Groups: DefaultGroups})
	for _, r := range refs {
		if m.cite(r) == "" {
			return nil, fmt.Errorf("%s is not in the evidence", r)
		}
	}
	m.inputs()
	m.stacks()
	m.doc.Stacks = slices.DeleteFunc(m.doc.Stacks, func(g Group) bool { return !g.Cited })
	m.doc.Omitted = nil
	m.rows()
	m.valid()
	return m.doc, nil
}
