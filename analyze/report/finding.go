package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func (m *maker) findings() {
	for i := range m.res.Findings {
		m.doc.Findings = append(m.doc.Findings, m.finding(i, &m.res.Findings[i]))
	}
}

func (m *maker) finding(i int, f *diagnosis.Finding) Finding {
	out := Finding{
		ID: fmt.Sprintf("F%d", i+1), Rule: f.Rule, Class: f.Class,
		Severity: f.Severity.String(), Confidence: f.Confidence.String(), Status: statusOf(f.Confidence),
		Claim: Clip(f.Claim, maxText), Subject: m.cite(f.Subject),
		Fix: Clip(f.Fix, maxText), Settle: Clip(f.Settle, maxText), How: m.how(f),
	}
	if f.Rule != "" {
		out.Docs = "docs/rules/" + f.Rule + ".md"
	}
	if page := m.page(f.Rule); page != nil {
		out.Title = page.Title
		out.Fix = cmp.Or(out.Fix, page.Fix)
	}
	for _, l := range f.Locations {
		out.Locations = append(out.Locations, Location{l.Frame.Function, l.Frame.File, l.Frame.Line, string(l.Role), m.cite(l.Ref)})
	}
	if len(out.Locations) > 0 {
		first := out.Locations[0]
		out.Location = &first
		out.Source = m.excerpt(first)
	}
	out.Victims = m.victims(f)
	out.Because = m.reasons(f.Because)
	out.Against = m.reasons(f.Against)
	for _, step := range f.Next {
		out.Next = append(out.Next, Clip(m.withFiles(step), maxText))
	}
	return out
}

// withFiles puts the inputs into a command that a rule has written for FILE.
func (m *maker) withFiles(step string) string {
	if rest, ok := strings.CutSuffix(step, " FILE"); ok && IsCommand(step) && len(m.c.Sources) > 0 {
		return rest + m.files()
	}
	return step
}

func (m *maker) page(rule string) *diagnosis.Doc {
	if m.meta.RuleDocs == nil {
		return nil
	}
	return m.meta.RuleDocs(rule)
}

// excerpt asks for the source around a location.
func (m *maker) excerpt(l Location) *Excerpt {
	if m.meta.Sources == nil || l.File == "" || l.Line <= 0 {
		return nil
	}
	lines, ok := m.meta.Sources.SourceLines(l.File, l.Line, sourceAround)
	if !ok || len(lines) == 0 {
		return nil
	}
	e := &Excerpt{File: l.File, Blamed: l.Line}
	for _, line := range lines {
		e.Lines = append(e.Lines, Line{line.Number, Clip(line.Text, maxText)})
	}
	return e
}

// victims counts who suffers and names the first few: a lock may have a million waiters.
func (m *maker) victims(f *diagnosis.Finding) *Victims {
	if f.VictimCount() == 0 {
		return nil
	}
	v := &Victims{Count: f.VictimCount()}
	for _, r := range f.Victims[:min(len(f.Victims), maxRefs)] {
		if ref := m.cite(r); ref != "" {
			v.Sample = append(v.Sample, ref)
		}
	}
	return v
}

// reasons numbers the evidence over the whole report, so that "E7" names one thing wherever it is said.
func (m *maker) reasons(list []diagnosis.Reason) []Evidence {
	var out []Evidence
	for _, r := range list {
		m.evidence++
		e := Evidence{ID: fmt.Sprintf("E%d", m.evidence), Text: Clip(r.Text, maxText), More: max(0, len(r.Refs)-maxRefs)}
		for _, ref := range r.Refs[:min(len(r.Refs), maxRefs)] {
			if text := m.cite(ref); text != "" {
				e.Refs = append(e.Refs, text)
			}
		}
		if len(e.Refs) > 0 && len(m.c.Sources) > 0 {
			e.Show = m.tool() + " stacks --ref " + e.Refs[0] + m.files()
		}
		out = append(out, e)
	}
	return out
}

func statusOf(c diagnosis.Confidence) Status {
	switch c {
	case diagnosis.Proved:
		return Established
	case diagnosis.Likely:
		return Supported
	}
	return Suspected
}

// meanings say what a degree of confidence means.
var meanings = map[diagnosis.Confidence]string{
	diagnosis.Proved:   "Proved: the cited evidence admits no other reading.",
	diagnosis.Likely:   "Likely: the evidence fits this reading, and others remain possible.",
	diagnosis.Possible: "Possible: the evidence fits this reading but does not decide it.",
}

// how says how the confidence of a finding came about: what the word means, how much speaks for and against, and what in the
// evidence was inferred and not read.
func (m *maker) how(f *diagnosis.Finding) string {
	s := meanings[f.Confidence]
	speaks := "speaks"
	if len(f.Because) != 1 {
		speaks = "speak"
	}
	s += fmt.Sprintf(" %s %s for it", Plural(len(f.Because), "observation"), speaks)
	if f.Confidence < diagnosis.Proved { // against what is proved nothing speaks: what stands there is what it leaves open
		s += fmt.Sprintf(", %s against", Count(len(f.Against)))
	}
	s += "."
	grade, guessed := m.weakest(f)
	if grade != evidence.HoldUnknown {
		s += fmt.Sprintf(" Who holds the lock is inferred (%s): Go's locks do not record their owner.", grade)
	}
	if guessed {
		s += " A cited stack holds frames that were found by scanning memory; they may be wrong."
	}
	return s
}

// weakest looks at the rows that support a finding: the weakest grade of the holds among them, and whether a stack holds
// guessed frames.
func (m *maker) weakest(f *diagnosis.Finding) (grade evidence.HoldGrade, guessed bool) {
	for _, reason := range f.Because {
		for _, r := range reason.Refs[:min(len(reason.Refs), maxRefs)] {
			if m.cite(r) == "" {
				continue
			}
			if r.Kind == evidence.RefHold {
				grade = max(grade, m.c.Holds[r.ID].Grade)
			}
			guessed = guessed || m.guessed(r)
		}
	}
	return grade, guessed
}

func (m *maker) guessed(r evidence.Ref) bool {
	for i, frame := range m.c.Stack(m.stackOf(r)).All() {
		if i >= maxHead {
			break
		}
		if frame.Trust == evidence.TrustGuessed {
			return true
		}
	}
	return false
}
