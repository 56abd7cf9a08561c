package markdown

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Bounds of lists that a person reads; the JSON report holds the rest.
const (
	maxFindings = 50
	maxGaps     = 200
	maxModules  = 200
	maxRefs     = 6 // behind one sentence
)

// findings writes each finding as a section of its own, so that a huge one cannot take the others away.
func (p *page) findings(doc *report.Document) {
	if len(doc.Findings) == 0 {
		return
	}
	p.fits("\n## Findings\n")
	for _, f := range doc.Findings[:min(len(doc.Findings), maxFindings)] {
		var b section
		finding(&b, f)
		if !p.fits(b.String()) {
			p.dropped = append(p.dropped, "finding "+inline(report.Clip(f.ID, 20)))
		}
	}
}

func finding(b *section, f report.Finding) {
	b.linef("\n### %s: %s\n", inline(f.ID), inline(f.Rule))
	b.linef("%s.\n", strings.TrimRight(inline(f.Claim), "."))
	b.linef("%s, %s, %s.", inline(string(f.Status)), inline(f.Severity), inline(f.Confidence))
	if len(f.Locations) > 0 {
		b.linef("")
		b.table("role", "function", "line", "row")
		for _, l := range f.Locations {
			b.row(inline(l.Role), code(l.Function), code(report.FullPlace(l.File, l.Line)), code(l.Ref))
		}
	}
	if v := f.Victims; v != nil && v.Count > 0 {
		b.linef("\nWho: %s%s", report.Count(v.Count), refs(v.Sample, v.Count-len(v.Sample)))
	}
	evidence(b, "Evidence", f.Because)
	if f.Status == report.Established {
		evidence(b, "What it leaves open", f.Against)
	} else {
		evidence(b, "What speaks against it", f.Against)
	}
	paragraph(b, "How sure", f.How)
	paragraph(b, "What would settle it", f.Settle)
	paragraph(b, "Fix", f.Fix)
	excerpt(b, f.Source)
	if len(f.Next) > 0 {
		b.linef("\nTo confirm:\n")
		b.WriteString(fenced("text", f.Next))
	}
	if f.Docs != "" {
		b.linef("\nPage of the rule: %s", code(f.Docs))
	}
}

func paragraph(b *section, title, text string) {
	if text != "" {
		b.linef("\n**%s.** %s", title, inline(text))
	}
}

func evidence(b *section, title string, list []report.Evidence) {
	if len(list) == 0 {
		return
	}
	b.linef("\n%s:\n", title)
	for _, e := range list {
		b.linef("- **%s** %s%s", inline(e.ID), inline(e.Text), refs(e.Refs, e.More))
		if e.Show != "" {
			b.linef("  - %s", code(e.Show))
		}
	}
}

// refs lists references in brackets; more is how many were left out.
func refs(list []string, more int) string {
	if len(list) == 0 {
		return ""
	}
	shown := list[:min(len(list), maxRefs)]
	more += len(list) - len(shown)
	out := make([]string, 0, len(shown)+1)
	for _, r := range shown {
		out = append(out, code(r))
	}
	if more > 0 {
		out = append(out, report.Count(more)+" more")
	}
	return " (" + strings.Join(out, ", ") + ")"
}

func excerpt(b *section, e *report.Excerpt) {
	if e == nil || len(e.Lines) == 0 {
		return
	}
	var lines []string
	for _, l := range e.Lines {
		mark := "  "
		if l.Number == e.Blamed {
			mark = "> "
		}
		lines = append(lines, fmt.Sprintf("%s%4d  %s", mark, l.Number, strings.ReplaceAll(l.Text, "\t", "    ")))
	}
	b.linef("\n%s:\n", code(report.FullPlace(e.File, e.Blamed)))
	b.WriteString(fenced("go", lines))
}

func environment(b *section, doc *report.Document) {
	e := doc.Process
	rows := [][2]string{
		{"process", strings.TrimPrefix(strconv.Itoa(e.PID), "0")}, {"executable", code(e.Executable)}, {"main module", code(e.MainModule)},
		{"version", inline(e.Version)}, {"system", code(strings.Trim(e.GOOS+"/"+e.GOARCH, "/"))}, {"signal", inline(e.Signal)},
		{"GOMAXPROCS", number(e.GOMAXPROCS)}, {"CPUs", number(e.CPUs)}, {"threads", number(e.Threads)},
		{"goroutines", number(e.Goroutines)}, {"uptime, at least", inline(e.Uptime)}, {"GOEXPERIMENT", inline(e.Experiment)},
	}
	if doc.Course != nil {
		rows = append(rows, [2]string{"evidence", inline(doc.Course.Form)})
	}
	for _, s := range e.Settings {
		rows = append(rows, [2]string{"build setting", code(s.Key + "=" + s.Value)})
	}
	for _, m := range e.Modules[:min(len(e.Modules), maxModules)] {
		rows = append(rows, [2]string{"module", code(strings.TrimSpace(m.Path + " " + m.Version))})
	}
	if n := len(e.Modules) - maxModules; n > 0 {
		rows = append(rows, [2]string{"module", report.Count(n) + " more in the JSON report"})
	}
	for _, a := range e.Args {
		rows = append(rows, [2]string{"argument", code(a)})
	}
	for _, name := range e.Environ {
		rows = append(rows, [2]string{"environment, name", code(name)})
	}
	b.table("what", "value")
	for _, r := range rows {
		if r[1] != "" {
			b.row(r[0], r[1])
		}
	}
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return report.Count(n)
}

func reproduce(b *section, doc *report.Document) {
	if len(doc.Reproduce) == 0 {
		return
	}
	b.WriteString(fenced("sh", doc.Reproduce))
	b.linef("\nThe inputs must have the hashes given at the top.")
}

func next(b *section, doc *report.Document) {
	for _, s := range doc.Next {
		b.linef("1. %s", showStep(s))
	}
}

// showStep shows a command as code and a sentence as text.
func showStep(s string) string {
	if report.IsCommand(s) {
		return code(s)
	}
	return inline(s)
}

func toDo(b *section, doc *report.Document) {
	for i, s := range doc.ToDo {
		if i > 0 {
			b.linef("")
		}
		b.linef("### %s\n\nTODO: %s", inline(s.Title), inline(s.Ask))
	}
}

// appendix writes the stack groups until the budget is used up, and says how many are missing.
func (p *page) appendix(doc *report.Document) {
	if len(doc.Stacks) == 0 || !p.fits("\n## Appendix: stack groups\n") {
		return
	}
	groups, goroutines := 0, 0
	if o := doc.Omitted; o != nil {
		groups, goroutines = o.Groups, o.Goroutines
	}
	for i, g := range doc.Stacks {
		if p.fits(group(g)) {
			continue
		}
		for _, rest := range doc.Stacks[i:] {
			groups, goroutines = groups+1, goroutines+rest.Count
		}
		break
	}
	if groups > 0 {
		p.b.WriteString(fmt.Sprintf("\n%s with %s left out: `postmortem stacks` prints them all.\n",
			report.Plural(groups, "more group"), report.Plural(goroutines, "goroutine")))
	}
}

// group is one <details> block. An empty line after the summary makes GitHub read Markdown again.
func group(g report.Group) string {
	title := report.Plural(g.Count, "goroutine")
	if g.Count == 0 && g.State != "" { // a thread, or a place in the course of time
		title = g.State
	} else if g.State != "" {
		title += ", " + g.State
	}
	if g.Never > 0 {
		title += ", " + report.Count(g.Never) + " can never wake"
	}
	title = summary(title)
	if g.Reason != "" {
		title += ": <code>" + summary(g.Reason) + "</code>" // in code nobody is mentioned
	}
	var lines []string
	for i, f := range g.Frames {
		if g.Elided > 0 && i == g.ElidedAt {
			lines = append(lines, "... "+report.Plural(g.Elided, "frame")+" left out")
		}
		lines = append(lines, frame(f))
		for _, v := range f.Variables {
			lines = append(lines, "      "+v.Name+" "+v.Type+" = "+v.Value)
		}
	}
	if g.Broken != "" {
		lines = append(lines, "unwinding ended here: "+g.Broken)
	}
	return fmt.Sprintf("\n<details><summary>%s (stack:%d, %s)</summary>\n\n%s\n</details>\n", title, g.ID,
		summary(g.Sample), fenced("text", lines))
}

func frame(f report.Frame) string {
	s := f.Function
	if f.Inlined {
		s += " (inlined)"
	}
	if f.Trust == "guessed" || f.Trust == "matched" {
		s += " (" + f.Trust + ")"
	}
	if at := report.FullPlace(f.File, f.Line); at != "" {
		return s + "  " + at
	}
	if f.Module != "" {
		return s + "  in " + f.Module
	}
	return s
}
