package text

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Bounds of what is told of the course of time.
const (
	sparkColumns  = 64 // of sparklines, at most
	leastColumns  = 12 // in the narrowest terminal
	eventsCompact = 6
	placesCompact = 3
	kindsCompact  = 5
	legsShown     = 12
	sparkLabel    = 14 // column at which sparklines begin
)

// course writes what happened over time: events, where the time went.
func (p *page) course(doc *report.Document) {
	c := doc.Course
	if c == nil {
		return
	}
	p.events(doc)
	p.slowest(c)
	p.kinds(c)
	if p.opt.Verbose || !blames(doc) {
		p.places(c)
	}
	if p.opt.Verbose {
		p.spawns(c)
	}
}

// blames reports whether a finding explains something: then the tables of where time went in general are left to the long form.
func blames(doc *report.Document) bool {
	return len(doc.Findings) > 0 && doc.Findings[0].Severity != "info"
}

// sparks writes one line for each figure, with the time axis below.
func (p *page) sparks(c *report.Course) {
	if c == nil {
		return
	}
	notes, most := 0, 0
	for _, r := range c.Sparks(sparkColumns, p.opt.Plain, !p.opt.Verbose) {
		notes = max(notes, lipgloss.Width(r.Note))
	}
	columns := max(leastColumns, min(sparkColumns, p.width-sparkLabel-1-notes))
	rows := c.Sparks(columns, p.opt.Plain, !p.opt.Verbose)
	if len(rows) == 0 {
		return
	}
	p.blank()
	p.tone(strong).para("", c.Head(columns))
	for _, r := range rows {
		label := "  " + report.Visible(r.Label)
		line := label + strings.Repeat(" ", max(1, sparkLabel-lipgloss.Width(label))) + r.Line
		most = max(most, lipgloss.Width(line))
		if lipgloss.Width(line)+1+lipgloss.Width(r.Note) <= p.width {
			line += " " + r.Note
		}
		p.line(line)
	}
	if axis := c.Axis(columns); axis != "" && sparkLabel+lipgloss.Width(axis) <= max(p.width, most) {
		p.tone(faint).line(strings.Repeat(" ", sparkLabel) + axis)
		p.next = plain
	}
}

// events writes what happened when. The first and the last event of a Course are its ends, which the short form leaves out.
func (p *page) events(doc *report.Document) {
	list := doc.Timeline
	if !p.opt.Verbose {
		list = nil
		for _, e := range doc.Timeline {
			if strings.HasPrefix(e.At, "+") && !strings.HasPrefix(e.Source, "timeline of ") {
				list = append(list, e)
			}
		}
	}
	if len(list) == 0 || p.opt.Verbose { // the long form has a section for them
		return
	}
	p.head("Events")
	width := 0
	for _, e := range list {
		width = max(width, lipgloss.Width(report.Visible(e.At)))
	}
	for i, e := range list {
		if i == eventsCompact {
			p.para("  ", fmt.Sprintf("... and %s (--verbose)", report.Plural(len(list)-i, "more event")))
			break
		}
		at := report.Visible(e.At)
		p.hang("  "+strings.Repeat(" ", max(0, width-lipgloss.Width(at)))+at+"  ", strings.Repeat(" ", width+4), e.Text)
	}
}

// slowest writes what the slowest tasks or regions waited for.
func (p *page) slowest(c *report.Course) {
	if len(c.Slowest) == 0 {
		return
	}
	p.head("Slowest " + c.Slowest[0].Kind + "s and where their time went")
	for _, s := range c.Slowest {
		p.hang("  ", "      ", fmt.Sprintf("%s of goroutine %d at %s, %s", s.Title(), s.Goroutine, report.Moment(s.StartNS, c.SpanNS), s.Text))
		if !p.opt.Verbose {
			continue
		}
		for _, leg := range s.Longest(legsShown) {
			p.hang("      ", "          ", legText(leg, c.SpanNS))
		}
		if n := len(s.Legs) - legsShown; n > 0 {
			p.para("      ", fmt.Sprintf("and %s between them", report.Plural(n+s.Omitted, "shorter step")))
		}
		for _, log := range s.Logs {
			p.hang("      log  ", "           ", log)
		}
	}
}

func legText(leg report.Leg, span int64) string {
	return fmt.Sprintf("%s %s %s (goroutine %d)", report.Moment(leg.StartNS, span), report.Duration(leg.NS), leg.Text, leg.Goroutine)
}

// kinds writes the table of user tasks and regions.
func (p *page) kinds(c *report.Course) {
	if len(c.Kinds) == 0 {
		return
	}
	p.head("User tasks and regions")
	rows := [][]string{{"count", "median", "p99", "longest", "kind", "name"}}
	for i, k := range c.Kinds {
		if i == kindsCompact && !p.opt.Verbose {
			break
		}
		rows = append(rows, []string{report.Count64(k.Count), report.Duration(k.Lasted.P50NS), report.Duration(k.Lasted.P99NS), report.Duration(k.Lasted.MaxNS), k.Kind, report.Visible(k.Name)})
	}
	p.table(rows)
	if n := len(c.Kinds) + 1 - len(rows); n > 0 {
		p.para("  ", fmt.Sprintf("... and %s (--verbose)", report.Plural(n, "more name")))
	}
}

// places writes where goroutines waited.
func (p *page) places(c *report.Course) {
	if len(c.Places) == 0 {
		return
	}
	p.head("Where goroutines waited")
	rows := [][]string{{"in all", "times", "median", "longest", "at once", "where"}}
	for i, w := range c.Places {
		if i == placesCompact && !p.opt.Verbose {
			break
		}
		rows = append(rows, []string{report.Duration(int64(min(w.TotalNS, 1<<62))), report.Count64(w.Count), report.Duration(w.Waits.P50NS), report.Duration(w.Waits.MaxNS),
			report.Count(w.Peak), report.Visible(w.What() + where(w.Location))})
	}
	p.table(rows)
}

// spawns writes who ran.
func (p *page) spawns(c *report.Course) {
	if len(c.Spawns) == 0 {
		return
	}
	p.head("Who ran, by go statement")
	rows := [][]string{{"running", "ready", "syscalls", "blocked", "created", "at once", "who"}}
	for _, s := range c.Spawns {
		who := report.ShortFunction(s.Function)
		if s.Location != nil {
			who += ", started" + where(s.Location)
		}
		rows = append(rows, []string{sum(s.Time.RunNS), sum(s.Time.ReadyNS), sum(s.Time.SyscallNS), sum(s.Time.BlockedNS), report.Count64(s.Created), report.Count(s.Peak),
			report.Visible(who)})
	}
	p.table(rows)
}

func sum(ns uint64) string { return report.Duration(int64(min(ns, 1<<62))) }

// where is " in f at x.go:12".
func where(l *report.Location) string {
	if l == nil {
		return ""
	}
	s := " in " + report.ShortFunction(l.Function)
	if at := report.Place(l.File, l.Line); at != "" {
		s += " at " + at
	}
	return s
}
