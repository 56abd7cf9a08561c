package text

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// verbose writes what the compact form leaves out.
func (p *page) verbose(doc *report.Document) {
	p.statements("Impact", doc.Impact)
	if len(doc.Timeline) > 0 {
		p.head("Timeline")
		for _, e := range doc.Timeline {
			p.para("  ", fmt.Sprintf("%s: %s (%s)", e.At, e.Text, e.Source))
		}
	}
	p.graph(doc)
	if doc.HeapUse != nil {
		p.head("What the heap holds")
		p.heap(doc.HeapUse)
	}
	p.silences("Ruled out", doc.RuledOut)
	p.silences("Not checked", doc.NotChecked)
	p.environment(doc)
	if len(doc.Reproduce) > 0 {
		p.head("Reproduce")
		for _, c := range doc.Reproduce {
			p.line("  " + report.Visible(c))
		}
	}
	for _, in := range doc.Inputs {
		p.item("input", fmt.Sprintf("%s (%s, %s bytes) sha256 %s", in.Path, in.Format, report.Count(int(in.Size)), orDash(in.SHA256)))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p *page) statements(title string, list []report.Statement) {
	if len(list) == 0 {
		return
	}
	p.head(title)
	for _, s := range list {
		p.para("  ", s.Text)
	}
}

func (p *page) graph(doc *report.Document) {
	tree := doc.Waits.Tree()
	if len(tree) == 0 {
		return
	}
	p.head("Who waits for what")
	for _, l := range tree {
		indent := strings.Repeat("  ", l.Depth+1)
		p.hang(indent, indent+"    ", l.Text)
	}
}

func (p *page) silences(title string, list []report.Silence) {
	if len(list) == 0 {
		return
	}
	p.head(title)
	for _, s := range list {
		p.para("  ", s.Rule+": "+s.Why)
	}
}

func (p *page) environment(doc *report.Document) {
	e := doc.Process
	p.head("Environment")
	p.item("process", strings.TrimSpace(fmt.Sprintf("%s %s", number("pid ", e.PID), e.Executable)))
	p.item("built with", strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Version, strings.Trim(e.GOOS+"/"+e.GOARCH, "/"), e.Experiment)))
	if doc.Course != nil {
		p.item("evidence", doc.Course.Form)
	}
	p.item("GOMAXPROCS", number("", e.GOMAXPROCS))
	p.item("signal", e.Signal)
	p.item("uptime", e.Uptime)
	for _, s := range e.Settings {
		p.item("setting", s.Key+"="+s.Value)
	}
	for _, m := range e.Modules {
		p.item("module", m.Path+" "+m.Version)
	}
	p.item("arguments", strings.Join(e.Args, " "))
	p.item("environ", strings.Join(e.Environ, " "))
}

// number is a labelled number, or nothing for zero, which means unknown.
func number(label string, n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s%d", label, n)
}

// closing writes what was read, what was not, and what to do now.
func (p *page) closing(doc *report.Document) {
	p.blank()
	p.coverage(doc)
	p.gaps(doc)
	if n, k := len(doc.RuledOut), len(doc.NotChecked); n+k > 0 && !p.opt.Verbose {
		p.item("silent", fmt.Sprintf("%s ruled out, %d not checked (--verbose lists them)", report.Plural(n, "rule"), k))
	}
	if len(doc.Next) == 0 {
		return
	}
	p.head("Next")
	for i, step := range doc.Next {
		if i == nextCompact && !p.opt.Verbose {
			p.para("  ", fmt.Sprintf("... and %s (--verbose)", report.Plural(len(doc.Next)-i, "more step")))
			break
		}
		if report.IsCommand(step) {
			p.line("  " + report.Visible(step))
		} else {
			p.para("  ", step)
		}
	}
}

func (p *page) coverage(doc *report.Document) {
	p.item("coverage", doc.Coverage.Sentence)
	if r := doc.Coverage.Reachability; r != "" {
		p.item("", "reachability: "+r)
	}
}

// gaps are printed in every form of the report; the compact one counts those after the first few.
func (p *page) gaps(doc *report.Document) {
	label := "gaps"
	for i, g := range doc.Gaps {
		if i == gapsCompact && !p.opt.Verbose {
			p.item("", fmt.Sprintf("... and %s (--verbose lists them)", report.Plural(len(doc.Gaps)-i, "more gap")))
			return
		}
		p.item(label, fmt.Sprintf("%s: %s (%s)", g.What, g.Why, g.Source))
		label = ""
	}
}

func (p *page) group(g report.Group) {
	title := report.Plural(g.Count, "goroutine")
	if g.Count == 0 && g.State != "" { // a thread, or a place in the course of time
		title = g.State
	} else if g.State != "" {
		title += ", " + g.State
	}
	if g.Reason != "" {
		title += ": " + g.Reason
	}
	if g.Oldest > 0 {
		title += ", for at least " + report.Seconds(g.Oldest)
	}
	title += never(g)
	p.blank()
	p.tone(strong).para("", fmt.Sprintf("%s (stack:%d, %s)", title, g.ID, g.Sample))
	for i, f := range g.Frames {
		if g.Elided > 0 && i == g.ElidedAt {
			p.para("  ", "... "+report.Plural(g.Elided, "frame")+" left out")
		}
		p.frame(f)
		for _, v := range f.Variables {
			p.hang("      ", "        ", v.Name+" "+v.Type+" = "+v.Value)
		}
	}
	if g.Broken != "" {
		p.para("  ", "unwinding ended here: "+g.Broken)
	}
}

// never is what the verdicts on the goroutines of a group add to its title.
func never(g report.Group) string {
	switch {
	case g.Never == 0:
		return ""
	case g.Never == 1 && g.Count == 1:
		return ", can never wake"
	case g.Never >= g.Count:
		return ", all can never wake"
	}
	return ", " + report.Count(g.Never) + " of them can never wake"
}

func (p *page) frame(f report.Frame) {
	s := f.Function
	if at := report.FullPlace(f.File, f.Line); at != "" {
		s += "  " + at
	} else if f.Module != "" {
		s += "  in " + f.Module
	}
	if f.Inlined {
		s += " (inlined)"
	}
	if f.Trust == "guessed" || f.Trust == "matched" {
		s += " (" + f.Trust + ")"
	}
	p.hang("  ", "      ", s)
}
