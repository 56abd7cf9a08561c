package text

import (
	"fmt"
	"image/color"
	"io"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// tone is the meaning of a colour.
type tone uint8

const (
	plain tone = iota
	alarm
	warn
	good
	faint
	strong
)

// colours are those of the terminal's own palette, so that they fit its background.
var colours = map[tone]color.Color{alarm: lipgloss.Red, warn: lipgloss.Yellow, good: lipgloss.Green, faint: lipgloss.BrightBlack}

// page collects lines.
type page struct {
	opt   Options
	width int
	next  tone // of the next paragraph
	b     strings.Builder
}

func newPage(opt Options) *page {
	if opt.Width == 0 {
		opt.Width = DefaultWidth
	}
	return &page{opt: opt, width: max(opt.Width, minWidth)}
}

func (p *page) flush(w io.Writer, what string) error {
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("writing the %s: %w", what, err)
	}
	return nil
}

// tone colours what is written next.
func (p *page) tone(t tone) *page {
	p.next = t
	return p
}

// line writes one line that is safe already.
func (p *page) line(s string) {
	s = strings.TrimRight(s, " ")
	if p.opt.Plain {
		s = strings.ReplaceAll(s, "µ", "u") // of durations
	}
	if p.opt.Color && p.next != plain && s != "" {
		style := lipgloss.NewStyle().Bold(p.next != faint)
		if c := colours[p.next]; c != nil {
			style = style.Foreground(c)
		}
		s = style.Render(s)
	}
	p.b.WriteString(s)
	p.b.WriteByte('\n')
}

func (p *page) blank() {
	if p.b.Len() > 0 {
		p.line("")
	}
}

func (p *page) head(title string) {
	p.blank()
	p.tone(strong).line(title)
	p.next = plain
}

// para writes a paragraph; every line begins with indent. Nothing is written for an empty text.
func (p *page) para(indent, s string) { p.hang(indent, indent, s) }

// labelWidth is the column at which the text of an item begins.
const labelWidth = 12

// item writes a label and a text that hangs beside it. Nothing is written for an empty text.
func (p *page) item(label, s string) {
	label = report.Visible(label)
	first := "  " + label + strings.Repeat(" ", max(1, labelWidth-2-lipgloss.Width(label)))
	p.hang(first, strings.Repeat(" ", labelWidth), s)
}

// command writes a command on a line of its own, unbroken, so that it can be copied.
func (p *page) command(label, s string) {
	p.line("  " + label + strings.Repeat(" ", max(1, labelWidth-2-len(label))) + report.Visible(s))
}

// step writes a command, or a sentence that may be wrapped.
func (p *page) step(label, s string) {
	if report.IsCommand(s) {
		p.command(label, s)
		return
	}
	p.item(label, s)
}

// code writes one line of source code, with tabs as four spaces and cut at the width.
func (p *page) code(lead, s string) {
	s = report.Visible(strings.ReplaceAll(s, "\t", "    "))
	var b strings.Builder
	room := p.width - lipgloss.Width(lead)
	for _, r := range s {
		w := lipgloss.Width(string(r))
		if room < w {
			break
		}
		room -= w
		b.WriteRune(r)
	}
	p.line(lead + b.String())
	p.next = plain
}

// hang wraps a text at word boundaries. A word that is wider than a line, such as a path, stays whole: a broken path cannot be
// copied.
func (p *page) hang(first, rest, s string) {
	t := p.next
	p.next = plain
	if s == "" {
		return
	}
	line, used, empty := first, lipgloss.Width(first), true
	for word := range strings.FieldsFuncSeq(report.Visible(s), func(r rune) bool { return r == ' ' }) {
		w := lipgloss.Width(word)
		if !empty && used+1+w > p.width {
			p.tone(t).line(line)
			line, used, empty = rest, lipgloss.Width(rest), true
		}
		if !empty {
			line, used = line+" ", used+1
		}
		line, used, empty = line+word, used+w, false
	}
	p.tone(t).line(line)
	p.next = plain
}
