// Package text writes a report for a terminal: the verdict first, then what supports it, then what to do.
//
// Everything that comes from the program under examination goes through report.Visible, so that a panic value cannot move the
// cursor, change colours or forge lines. Lines are wrapped at the width of the terminal and carry no trailing spaces.
package text

import (
	"fmt"
	"io"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Options changes how a report looks.
type Options struct {
	Color   bool // ANSI colours
	Width   int  // columns; 0 is DefaultWidth, and less than 40 is 40
	Plain   bool // no characters beyond ASCII of our own
	Verbose bool // all findings in full, every gap, every silent rule, the environment
}

// DefaultWidth is the width when nobody says: that of the oldest terminals, which also fits into a mail.
const DefaultWidth = 80

const (
	minWidth    = 40
	fullCompact = 3 // findings in full when not verbose: the first explains, the next two are its rivals
	gapsCompact = 3
	nextCompact = 4
)

// Write writes the report.
func Write(w io.Writer, doc *report.Document, opt Options) error {
	if doc.HeapOnly() {
		return WriteHeap(w, doc, opt)
	}
	p := newPage(opt)
	p.verdict(doc)
	p.sparks(doc.Course)
	p.findings(doc)
	p.course(doc)
	if opt.Verbose {
		p.verbose(doc)
	}
	p.closing(doc)
	return p.flush(w, "report")
}

// WriteStacks writes the stack groups of the report.
func WriteStacks(w io.Writer, doc *report.Document, opt Options) error {
	p := newPage(opt)
	for _, g := range doc.Stacks {
		p.group(g)
	}
	if o := doc.Omitted; o != nil {
		p.para("", fmt.Sprintf("%s in %s left out.", report.Plural(o.Goroutines, "goroutine"), report.Plural(o.Groups, "more group")))
	}
	p.blank()
	p.coverage(doc)
	p.gaps(doc)
	return p.flush(w, "stacks")
}

// WriteRows writes the rows of the report and the stacks that belong to them: for a Document made by report.Show.
func WriteRows(w io.Writer, doc *report.Document, opt Options) error {
	p := newPage(opt)
	for _, r := range doc.Rows {
		p.para("", r.Ref+": "+r.Text)
	}
	for _, g := range doc.Stacks {
		p.group(g)
	}
	return p.flush(w, "rows")
}

// WriteGraph writes who waits for what as an indented list.
func WriteGraph(w io.Writer, doc *report.Document, opt Options) error {
	p := newPage(opt)
	p.graph(doc)
	if len(doc.Waits.Nodes) == 0 {
		p.para("", "Nobody waits for anything that this evidence names.")
	}
	p.blank()
	p.coverage(doc)
	p.gaps(doc)
	return p.flush(w, "graph")
}

// WriteWhy writes what keeps goroutines reachable: for a Document made by report.Why.
func WriteWhy(w io.Writer, doc *report.Document, opt Options) error {
	p := newPage(opt)
	for i, path := range doc.Paths {
		if i > 0 {
			p.blank()
		}
		p.path(path)
	}
	for _, r := range doc.Rows {
		if len(doc.Paths) == 1 && (r.Ref == doc.Paths[0].Goroutine || r.Ref == doc.Paths[0].Sync) {
			p.para("", r.Ref+": "+r.Text)
		}
	}
	p.blank()
	p.coverage(doc)
	p.gaps(doc)
	return p.flush(w, "why")
}

func (p *page) path(path report.Path) {
	p.tone(strong).para("", path.Answer)
	for i, s := range path.Steps {
		lead := "  "
		if i > 0 {
			lead = "  -> "
		}
		p.hang(lead, "       ", s.Text)
	}
	if len(path.Steps) > 0 && path.Sync != "" {
		p.hang("  -> ", "       ", path.Sync+", for which it waits")
	}
	for _, e := range path.Helpers {
		text := e.Text
		if len(e.Refs) > 0 {
			text += " [" + p.list(e.Refs, len(e.Refs)) + "]"
		}
		p.hang("  ", "      ", text)
	}
}

var statusTones = map[report.Status]tone{report.Established: alarm, report.Supported: alarm, report.Suspected: warn,
	report.Inconclusive: warn, report.Clean: good}

func (p *page) verdict(doc *report.Document) {
	v := doc.Verdict
	p.tone(statusTones[v.Status]).para("", v.Sentence)
	label := "Verdict: " + string(v.Status)
	if v.Finding != "" {
		label += " (" + v.Finding + ")"
	}
	p.tone(faint).para("", label+".")
	for _, d := range v.Detail {
		p.para("  ", d)
	}
}

func (p *page) findings(doc *report.Document) {
	full := 0
	var short []report.Finding
	for _, f := range doc.Findings {
		if p.opt.Verbose || f.Severity != "info" && full < fullCompact {
			full++
			p.finding(f)
			continue
		}
		short = append(short, f)
	}
	if len(short) == 0 {
		return
	}
	p.head("Also")
	for _, f := range short {
		p.hang("  ", "      ", fmt.Sprintf("%s %s: %s%s (%s, %s)", f.ID, f.Rule, f.Claim, place(f.Location), f.Severity, f.Confidence))
	}
}

func place(l *report.Location) string {
	if l == nil {
		return ""
	}
	if at := report.Place(l.File, l.Line); at != "" {
		return ", at " + at
	}
	return ""
}

var severityTones = map[string]tone{"critical": alarm, "warning": warn}

func (p *page) finding(f report.Finding) {
	p.blank()
	p.tone(severityTones[f.Severity]).para("", fmt.Sprintf("%s %s: %s, %s", f.ID, f.Rule, f.Severity, f.Confidence))
	p.para("  ", f.Claim)
	for _, l := range f.Locations {
		p.location(l)
	}
	if v := f.Victims; v != nil && v.Count > 0 {
		who := report.Count(v.Count)
		if len(v.Sample) > 0 {
			who += ": " + p.list(v.Sample, v.Count)
		}
		p.item("who", who)
	}
	p.excerpt(f.Source)
	p.evidence("because", f.Because)
	if f.Status == report.Established {
		p.evidence("limits", f.Against)
	} else {
		p.evidence("against", f.Against)
	}
	p.item("how sure", f.How)
	p.item("settle", f.Settle)
	p.item("fix", f.Fix)
	if p.opt.Verbose {
		for _, step := range f.Next {
			p.step("next", step)
		}
		p.item("page", f.Docs)
	}
}

func (p *page) location(l report.Location) {
	at := report.FullPlace(l.File, l.Line)
	if l.Ref != "" {
		at += " (" + l.Ref + ")"
	}
	p.item(l.Role, l.Function+"  "+at)
}

// shown is how many references stand behind a sentence; the rest is counted.
const shown = 4

// list joins references; total is how many there are in all.
func (p *page) list(refs []string, total int) string {
	most := shown
	if p.opt.Verbose {
		most = len(refs)
	}
	s := ""
	for i, r := range refs[:min(len(refs), most)] {
		if i > 0 {
			s += ", "
		}
		s += r
	}
	if left := total - min(len(refs), most); left > 0 {
		s += ", ... (" + report.Count(left) + " more)"
	}
	return s
}

func (p *page) evidence(label string, list []report.Evidence) {
	for _, e := range list {
		text := e.Text
		if len(e.Refs) > 0 {
			text += " [" + p.list(e.Refs, len(e.Refs)+e.More) + "]"
		}
		p.item(label, e.ID+" "+text)
		if p.opt.Verbose && e.Show != "" {
			p.command("", e.Show)
		}
		label = ""
	}
}

func (p *page) excerpt(e *report.Excerpt) {
	if e == nil {
		return
	}
	for _, l := range e.Lines {
		mark, t := "  ", plain
		if l.Number == e.Blamed {
			mark, t = "> ", alarm
		}
		p.tone(t).code(fmt.Sprintf("    %s%4d  ", mark, l.Number), l.Text)
	}
}
