package report

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of an answer.
const (
	maxSteps   = 200 // of a path: both ends of a longer one are kept
	maxHelpers = 20
)

// Why returns a Document that says of each goroutine what keeps it reachable, that it can never wake, or why neither is known. It is
// an error to name a goroutine that the Case does not have.
func Why(c *evidence.Case, meta Meta, goroutines ...int64) (*Document, error) {
	m := newMaker(c, meta)
	m.inputs()
	for _, id := range goroutines {
		row, ok := c.Goroutines().Row(id)
		if !ok {
			return nil, fmt.Errorf("%s is not in the evidence", evidence.GoroutineRef(id))
		}
		m.doc.Paths = append(m.doc.Paths, m.why(row))
	}
	m.coverage()
	m.proof()
	m.doc.Notes = nil
	m.gaps()
	m.rows()
	m.valid()
	return m.doc, nil
}

func (m *maker) why(row int) Path {
	g := m.c.Goroutines().At(row)
	p := Path{Goroutine: m.cite(g.Ref()), Wake: g.Wake.String()}
	if at, ok := m.pathOf(g.ID); ok {
		path := m.c.Paths[at]
		if path.Sync != 0 {
			p.Sync = m.cite(evidence.SyncRef(path.Sync))
		}
		p.Steps = m.steps(path.Steps)
	}
	for _, w := range m.c.Waits(row) {
		if p.Sync == "" {
			p.Sync = m.cite(evidence.SyncRef(w.Sync))
		}
		p.Helpers = append(p.Helpers, m.helpersOf(w.Sync)...)
	}
	p.Helpers = p.Helpers[:min(len(p.Helpers), maxHelpers)]
	p.Answer = m.answer(g, p)
	return p
}

func (m *maker) pathOf(goroutine int64) (int, bool) {
	for i := range m.c.Paths {
		if m.c.Paths[i].Goroutine == goroutine {
			return i, true
		}
	}
	return 0, false
}

// answer is one sentence with a final stop.
func (m *maker) answer(g evidence.Goroutine, p Path) string {
	name := fmt.Sprintf("Goroutine %d", g.ID)
	place := ""
	if at := m.placeOf(g.Ref(), g.Stack); at != "" {
		place = ", in " + at + ","
	}
	switch {
	case g.State == evidence.StateLeaked && g.Wake != evidence.WakeNever:
		return name + place + " can never wake: the runtime's own leak detector marked it."
	case g.Wake == evidence.WakeNever && p.Sync == "":
		return name + place + " can never wake: it waits for what never comes (" + g.Reason + ")."
	case g.Wake == evidence.WakeNever:
		return name + place + " can never wake: nothing that can still run reaches what it waits for, so there is no path to show."
	case g.Wake == evidence.WakeByDesign:
		return name + place + " waits in its own select{}: it never wakes, and is not meant to."
	case len(p.Steps) > 0:
		return fmt.Sprintf("%s%s may still be woken: %s leads to what it waits for, in %s.", name, place, rootOf(p.Steps[0]), Plural(len(p.Steps), "step"))
	case g.State != evidence.StateWaiting:
		return fmt.Sprintf("%s%s is not blocked: it is %s.", name, place, g.State)
	}
	return name + place + " " + m.unknown(g)
}

// unknown says why there is neither a path nor a proof.
func (m *maker) unknown(g evidence.Goroutine) string {
	switch p := m.c.Proof; {
	case p == nil:
		return "was not looked at: this evidence holds no memory, so it does not tell what refers to what it waits for."
	case !p.Done:
		return "has no verdict: " + Clip(p.Refused, maxSentence) + "."
	case g.Wake == evidence.WakePossible && len(m.c.Waits(m.rowOf(g))) == 0:
		return "may still be woken: what it waits for (" + g.Reason + ") does not depend on the program alone."
	case g.Wake == evidence.WakePossible:
		return "may still be woken, and the path to what it waits for is not in this evidence: ask for it with the core itself."
	}
	return "has no verdict: the search did not judge it."
}

func (m *maker) rowOf(g evidence.Goroutine) int {
	row, _ := m.c.Goroutines().Row(g.ID)
	return row
}

// rootOf names the first step of a path in a sentence.
func rootOf(s PathStep) string {
	name := ""
	if s.Name != "" {
		name = " " + s.Name
	}
	switch s.Kind {
	case evidence.StepGlobal.String():
		return "the global variable" + name
	case evidence.StepStack.String():
		if s.Goroutine != "" {
			return "the stack of " + s.Goroutine + " (" + s.Name + ")"
		}
		return "a stack" + name
	case evidence.StepFinalizer.String():
		return "a finalizer or cleanup" + name
	case evidence.StepRuntime.String():
		return "the runtime" + name
	}
	return "something live" + name
}

// steps copies a path; of a long one the ends are kept.
func (m *maker) steps(list []evidence.PathStep) []PathStep {
	var out []PathStep
	for i, s := range list {
		if len(list) > maxSteps && i == maxSteps/2 {
			out = append(out, PathStep{Kind: "object", Text: Plural(len(list)-maxSteps, "step") + " left out"})
		}
		if len(list) <= maxSteps || i < maxSteps/2 || i >= len(list)-maxSteps/2 {
			out = append(out, m.step(s))
		}
	}
	return out
}

func (m *maker) step(s evidence.PathStep) PathStep {
	out := PathStep{Kind: s.Kind.String(), Name: Clip(s.Name, maxText), Size: s.Size, Offset: s.Offset}
	if s.Addr != 0 {
		out.Addr = fmt.Sprintf("0x%x", s.Addr)
	}
	if s.Goroutine != 0 {
		out.Goroutine = m.cite(evidence.GoroutineRef(s.Goroutine))
	}
	out.Text = Clip(stepText(s), maxText)
	return out
}

// stepText is one line about a step.
func stepText(s evidence.PathStep) string {
	text := s.Name
	switch s.Kind {
	case evidence.StepGlobal:
		text = "global " + orUnnamed(s.Name)
	case evidence.StepStack:
		text = fmt.Sprintf("stack of goroutine %d, frame %d", s.Goroutine, s.Depth)
		if s.Name != "" {
			text += " (" + s.Name + ")"
		}
	case evidence.StepFinalizer:
		text = "finalizer or cleanup"
		if s.Name != "" {
			text += " " + s.Name
		}
	case evidence.StepRuntime:
		text = "the runtime: " + orUnnamed(s.Name)
	case evidence.StepGoroutine:
		text = fmt.Sprintf("goroutine %d, which can wake", s.Goroutine)
	case evidence.StepObject:
		text = "object of type " + orUnnamed(s.Name)
	}
	if s.Addr != 0 {
		text += fmt.Sprintf(" at 0x%x", s.Addr)
	}
	if s.Size > 0 {
		text += ", " + Size(s.Size)
	}
	if s.Offset > 0 {
		text += fmt.Sprintf(", the pointer at offset %d", s.Offset)
	}
	return text
}

func orUnnamed(s string) string {
	if s == "" {
		return "(not known)"
	}
	return s
}

// helpersOf lists who holds an object or could wake its waiters.
func (m *maker) helpersOf(addr uint64) []Evidence {
	var out []Evidence
	add := func(text string, r evidence.Ref) {
		m.evidence++
		e := Evidence{ID: fmt.Sprintf("E%d", m.evidence), Text: Clip(text, maxText)}
		if ref := m.cite(r); ref != "" {
			e.Refs = []string{ref}
		}
		out = append(out, e)
	}
	for _, i := range m.c.HoldsOf(addr) {
		h := m.c.Holds[i]
		add(fmt.Sprintf("goroutine %d holds it (inferred: %s)", h.Goroutine, h.Grade), evidence.Ref{Kind: evidence.RefHold, ID: uint64(i)})
	}
	for _, i := range m.c.WakersOf(addr) {
		w := m.c.Wakers[i]
		add(fmt.Sprintf("goroutine %d could wake it (inferred: %s)", w.Goroutine, wakerText(w)), evidence.Ref{Kind: evidence.RefWaker, ID: uint64(i)})
	}
	return out
}
