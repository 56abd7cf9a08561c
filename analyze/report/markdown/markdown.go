// Package markdown writes a report as an incident report in GitHub Flavored Markdown.
//
// Texts of the program under examination are shown and never obeyed: see inline, code and fenced. The report stays under the
// size at which a GitHub step summary is dropped whole.
package markdown

import (
	"fmt"
	"io"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Options changes what is written.
type Options struct {
	MaxBytes int // of the whole report; 0 is DefaultMaxBytes
}

// DefaultMaxBytes keeps a report below the 1,024 KiB over which GitHub drops a step summary whole.
const DefaultMaxBytes = 1_000_000

// reserve is kept free for the notes that say what was dropped.
const reserve = 2_000

// Write writes the report.
func Write(w io.Writer, doc *report.Document, opt Options) error {
	if doc.HeapOnly() {
		return WriteHeap(w, doc, opt)
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	p := &page{left: max(0, opt.MaxBytes-reserve)}
	for _, s := range []struct {
		title string
		write func(*section, *report.Document)
	}{
		{"", header}, {"Verdict", verdict}, {"Impact", impact}, {"Timeline", timeline}, {"What happened when", course}, {"Findings", nil},
		{"Who waits for what", graph}, {"What the heap holds", heap}, {"Ruled out and not checked", silent}, {"Environment", environment},
		{"Reproduce this report", reproduce}, {"Next steps", next}, {"To be written by people", toDo},
	} {
		if s.write == nil {
			p.findings(doc)
			continue
		}
		p.section(s.title, func(b *section) { s.write(b, doc) })
	}
	p.appendix(doc)
	p.notes()
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("writing the Markdown report: %w", err)
	}
	return nil
}

// page is the report that is being written, with what is left of its budget.
type page struct {
	b       strings.Builder
	left    int
	dropped []string // titles of sections that did not fit
}

// fits writes a text when the budget allows.
func (p *page) fits(s string) bool {
	if len(s) > p.left {
		return false
	}
	p.left -= len(s)
	p.b.WriteString(s)
	return true
}

// section writes a section under its heading, or nothing when it has no content. One that does not fit is dropped whole.
func (p *page) section(title string, write func(*section)) {
	var b section
	write(&b)
	if b.Len() == 0 {
		return
	}
	text := b.String()
	if title != "" {
		text = "\n## " + title + "\n\n" + text
	}
	if !p.fits(text) {
		p.dropped = append(p.dropped, title)
	}
}

func (p *page) notes() {
	if len(p.dropped) > 0 {
		p.b.WriteString("\nLeft out, because the report would have become too large: " + strings.Join(p.dropped, ", ") +
			". The JSON report has them.\n")
	}
}

// section is a part of the page.
type section struct{ strings.Builder }

func (b *section) linef(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }

// row writes a table row. Cells are safe already.
func (b *section) row(cells ...string) { b.linef("| %s |", strings.Join(cells, " | ")) }

// table writes the head of a table.
func (b *section) table(titles ...string) {
	b.row(titles...)
	b.row(strings.Split(strings.Repeat("---,", len(titles)-1)+"---", ",")...)
}

func header(b *section, doc *report.Document) {
	b.linef("# Incident report (generated draft)\n")
	b.linef("Written by %s %s, schema %s. Sections marked TODO are for people to write.", inline(doc.Tool.Name),
		inline(doc.Tool.Version), code(doc.Schema))
	if len(doc.Inputs) == 0 {
		return
	}
	b.linef("")
	b.table("input", "format", "bytes", "sha256", "build id")
	for _, in := range doc.Inputs {
		b.row(code(in.Path), inline(in.Format), report.Count(int(in.Size)), code(in.SHA256), code(in.BuildID))
	}
}

func verdict(b *section, doc *report.Document) {
	v := doc.Verdict
	b.linef("**%s:** %s", inline(string(v.Status)), inline(v.Sentence))
	if len(v.Detail) > 0 {
		b.linef("")
		for _, d := range v.Detail {
			b.linef("- %s", inline(d))
		}
	}
	if len(doc.Findings) == 0 {
		return
	}
	b.linef("")
	b.table("finding", "rule", "severity", "status", "confidence", "who")
	for i, f := range doc.Findings {
		if i == maxFindings {
			b.linef("\n%s in the JSON report.", report.Plural(len(doc.Findings)-i, "more finding"))
			break
		}
		affected := ""
		if f.Victims != nil {
			affected = report.Count(f.Victims.Count)
		}
		b.row(inline(f.ID), code(f.Rule), inline(f.Severity), inline(string(f.Status)), inline(f.Confidence), affected)
	}
}

func impact(b *section, doc *report.Document) {
	for _, s := range doc.Impact {
		b.linef("- %s%s", inline(s.Text), refs(s.Refs, 0))
	}
}

func timeline(b *section, doc *report.Document) {
	if len(doc.Timeline) == 0 {
		return
	}
	b.table("when", "what", "source")
	for _, e := range doc.Timeline {
		b.row(inline(e.At), inline(e.Text), inline(e.Source))
	}
}

func graph(b *section, doc *report.Document) {
	if len(doc.Waits.Nodes) == 0 {
		return
	}
	b.WriteString(fenced("mermaid", strings.Split(strings.TrimSuffix(Mermaid(doc.Waits), "\n"), "\n")))
	var lines []string
	for _, l := range doc.Waits.Tree() {
		lines = append(lines, strings.Repeat("  ", l.Depth)+l.Text)
	}
	b.linef("")
	b.WriteString(fenced("text", lines))
}

func silent(b *section, doc *report.Document) {
	b.linef("Coverage: %s.", inline(strings.TrimSuffix(doc.Coverage.Sentence, ".")))
	if r := doc.Coverage.Reachability; r != "" {
		b.linef("\nReachability: %s.", inline(strings.TrimSuffix(r, ".")))
	}
	for _, n := range doc.Notes {
		b.linef("\n%s", inline(n))
	}
	silences(b, "ruled out", doc.RuledOut)
	silences(b, "not checked", doc.NotChecked)
	if len(doc.Gaps) == 0 {
		b.linef("\nGaps: none.")
		return
	}
	b.linef("\nWhat could not be read:\n")
	b.table("gap", "why", "source")
	for i, g := range doc.Gaps {
		if i == maxGaps {
			b.linef("\n%s in the JSON report.", report.Plural(len(doc.Gaps)-i, "more gap"))
			break
		}
		b.row(inline(g.What), inline(g.Why), inline(g.Source))
	}
}

func silences(b *section, title string, list []report.Silence) {
	if len(list) == 0 {
		return
	}
	b.linef("")
	b.table("rule "+title, "why")
	for _, s := range list {
		b.row(code(s.Rule), inline(s.Why))
	}
}
