package report

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Show returns a Document that holds nothing but the given rows and their stacks: what the command behind a piece of evidence
// prints. It is an error to name a row that the Case does not have.
func Show(c *evidence.Case, refs ...evidence.Ref) (*Document, error) {
	m := &maker{res: &diagnosis.Result{Case: c}, c: c, meta: Meta{Groups: DefaultGroups}, doc: &Document{Schema: Schema},
		resolved: map[evidence.Ref]bool{}}
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
	makeValid(reflect.ValueOf(m.doc).Elem())
	return m.doc, nil
}
