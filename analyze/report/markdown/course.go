package markdown

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Bounds of what is told of the course of time.
const (
	sparkColumns = 64 // of the drawing
	phases       = 8  // columns of the table: what a page holds
	legsShown    = 16
	sparkLabel   = 12
)

// course writes what happened over time: a drawing, a table of phases, where the time went.
func course(b *section, doc *report.Document) {
	c := doc.Course
	if c == nil {
		return
	}
	if c.Sentence != "" {
		b.linef("%s\n", inline(c.Sentence))
	}
	drawing(b, c)
	phaseTable(b, c)
	slowest(b, c)
	kinds(b, c)
	places(b, c)
	spawns(b, c)
}

func drawing(b *section, c *report.Course) {
	rows := c.Sparks(sparkColumns, false, true)
	if len(rows) == 0 {
		return
	}
	lines := []string{c.Head(sparkColumns)}
	for _, r := range rows {
		label := r.Label + strings.Repeat(" ", max(1, sparkLabel-len([]rune(r.Label))))
		lines = append(lines, strings.TrimRight(label+r.Line+" "+r.Note, " "))
	}
	if axis := c.Axis(sparkColumns); axis != "" {
		lines = append(lines, strings.Repeat(" ", sparkLabel)+axis)
	}
	b.WriteString(fenced("text", lines))
}

// phaseTable writes the same figures as numbers, a column for each part of the time.
func phaseTable(b *section, c *report.Course) {
	n, per := c.Columns(phases)
	if n == 0 || c.SliceNS <= 0 {
		return
	}
	titles := []string{"from"}
	for i := range n {
		titles = append(titles, report.Moment(int64(i*per)*c.SliceNS, c.SpanNS))
	}
	b.linef("")
	b.table(titles...)
	for i := range c.Rows {
		r := &c.Rows[i]
		cells := []string{inline(r.Name)}
		switch r.Unit {
		case "share":
			cells[0] += ", % of the time"
		case "MiB":
			cells[0] += ", MiB"
		}
		for _, v := range r.Join(per) {
			cells = append(cells, r.Text(v))
		}
		for len(cells) <= n {
			cells = append(cells, "")
		}
		b.row(cells...)
	}
}

// slowest writes what the slowest tasks or regions waited for, step by step.
func slowest(b *section, c *report.Course) {
	for _, s := range c.Slowest {
		b.linef("\n**Slow %s** %s of goroutine %d at %s: %s.", inline(s.Kind), title(&s), s.Goroutine, inline(report.Moment(s.StartNS, c.SpanNS)), strings.TrimRight(inline(s.Text), "."))
		if len(s.Legs) > 0 {
			b.linef("")
			b.table("when", "how long", "goroutine", "what")
		}
		for _, leg := range s.Longest(legsShown) {
			b.row(report.Moment(leg.StartNS, c.SpanNS), report.Duration(leg.NS), fmt.Sprint(leg.Goroutine), inline(leg.Text))
		}
		if n := len(s.Legs) - legsShown; n > 0 {
			b.linef("\nBetween them were %s.", report.Plural(n+s.Omitted, "shorter step"))
		}
		for i, log := range s.Logs {
			if i == 0 {
				b.linef("\nLogged in it:\n")
			}
			b.linef("- %s", inline(log))
		}
	}
}

func kinds(b *section, c *report.Course) {
	if len(c.Kinds) == 0 {
		return
	}
	b.linef("\nUser tasks and regions:\n")
	b.table("name", "kind", "count", "median", "p99", "longest", "begun in")
	for _, k := range c.Kinds {
		b.row(code(k.Name), inline(k.Kind), report.Count64(k.Count), report.Duration(k.Lasted.P50NS), report.Duration(k.Lasted.P99NS), report.Duration(k.Lasted.MaxNS), where(k.Location))
	}
}

func places(b *section, c *report.Course) {
	if len(c.Places) == 0 {
		return
	}
	b.linef("\nWhere goroutines waited:\n")
	b.table("what", "in all", "times", "median", "p99", "longest", "at once", "where")
	for _, p := range c.Places {
		b.row(inline(p.What()), sum(p.TotalNS), report.Count64(p.Count), report.Duration(p.Waits.P50NS), report.Duration(p.Waits.P99NS), report.Duration(p.Waits.MaxNS),
			report.Count(p.Peak), where(p.Location))
	}
}

func spawns(b *section, c *report.Course) {
	if len(c.Spawns) == 0 {
		return
	}
	b.linef("\nWho ran, by go statement:\n")
	b.table("function", "created", "at once", "running", "ready", "in system calls", "blocked", "started in")
	for _, s := range c.Spawns {
		b.row(code(report.ShortFunction(s.Function)), report.Count64(s.Created), report.Count(s.Peak), sum(s.Time.RunNS), sum(s.Time.ReadyNS), sum(s.Time.SyscallNS),
			sum(s.Time.BlockedNS), where(s.Location))
	}
}

func title(s *report.Slow) string {
	if s.Name == "" {
		return s.Title()
	}
	return code(s.Name)
}

func sum(ns uint64) string { return report.Duration(int64(min(ns, 1<<62))) }

// where is a line of code in a table.
func where(l *report.Location) string {
	if l == nil {
		return ""
	}
	return code(strings.TrimSpace(report.ShortFunction(l.Function) + " " + report.Place(l.File, l.Line)))
}
