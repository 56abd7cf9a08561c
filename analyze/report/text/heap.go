package text

import (
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// WriteHeap writes what the heap holds: for a Document made by report.Heap.
func WriteHeap(w io.Writer, doc *report.Document, opt Options) error {
	p := newPage(opt)
	if doc.HeapUse != nil {
		p.heap(doc.HeapUse)
	}
	p.blank()
	p.coverage(doc)
	p.gaps(doc)
	return p.flush(w, "heap")
}

func (p *page) heap(h *report.HeapUse) {
	p.tone(strong).para("", h.Sentence+".")
	p.next = plain
	p.holders(h)
	if len(h.Types) > 0 {
		p.head("Types of what is reachable")
		rows := [][]string{{"bytes", "share", "objects", "type"}}
		for _, t := range h.Types {
			rows = append(rows, []string{report.Size(t.Bytes), report.Part(t.Bytes, h.LiveBytes), report.Count(int(t.Objects)), t.Text()})
		}
		p.table(rows)
	}
	p.keepers(h)
	p.classes(h)
	if o := h.Omitted; o != nil {
		p.blank()
		p.para("", fmt.Sprintf("Left out: %s; --all shows them.", rest(o)))
	}
	if len(h.Unknown) > 0 {
		p.head("Not known")
		for _, s := range h.Unknown {
			p.para("  ", s)
		}
	}
}

// rest names what was left out.
func rest(o *report.HeapRest) string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{o.Holders, "place"}, {o.Types, "type"}, {o.Groups, "group of goroutines"}, {o.Classes, "row of allocation classes"}} {
		if part.n > 0 {
			what, of, _ := strings.Cut(part.what, " of ")
			if text := report.Plural(part.n, what); of != "" {
				parts = append(parts, text+" of "+of)
			} else {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, ", ")
}

// holders writes the tree of what holds what.
func (p *page) holders(h *report.HeapUse) {
	if len(h.Holders) == 0 {
		return
	}
	p.head("Held by")
	p.para("  ", "Each object stands once: on a shortest way to it from a variable or a stack.")
	rows := [][]string{{"bytes", "share", "objects", "who"}}
	for _, at := range h.Holders {
		rows = append(rows, []string{report.Size(at.Bytes), report.Part(at.Bytes, h.LiveBytes), report.Count(int(at.Objects)), strings.Repeat("  ", at.Depth) + at.Text()})
	}
	p.table(rows)
}

// keepers writes which goroutines keep memory that nobody else does.
func (p *page) keepers(h *report.HeapUse) {
	if len(h.Retained) == 0 {
		return
	}
	p.head("Kept by goroutines alone")
	p.para("  ", "What they keep would be free if they ended.")
	for _, r := range h.Retained {
		s := fmt.Sprintf("%s (%s) in %s by %s", report.Size(r.Bytes), report.Part(r.Bytes, h.LiveBytes), report.Plural(int(r.Objects), "object"),
			report.Plural(r.Goroutines, "goroutine"))
		if r.Place != "" {
			s += " in " + r.Place
		}
		if c := r.Created; c != nil {
			s += ", created by " + report.ShortFunction(c.Function) + " at " + report.Place(c.File, c.Line)
		}
		p.hang("  ", "    ", s)
		var types []string
		for _, t := range r.Types[:min(len(r.Types), 3)] {
			types = append(types, fmt.Sprintf("%s of %s", report.Size(t.Bytes), t.Text()))
		}
		detail := strings.Join(types, ", ")
		if r.StackBytes > 0 {
			detail += fmt.Sprintf("; and %s of stacks; %s", report.Size(r.StackBytes), r.Stack)
		}
		p.tone(faint).hang("    ", "    ", detail)
		p.next = plain
	}
}

func (p *page) classes(h *report.HeapUse) {
	if len(h.Classes) == 0 {
		return
	}
	p.head("Allocation classes")
	rows := [][]string{{"allocated", "objects", "reachable", "size", "pointers"}}
	for _, c := range h.Classes {
		size, pointers := report.Size(c.Size), "yes"
		if c.Size == 0 {
			size = "above 32 KiB"
		}
		if c.NoScan {
			pointers = "no"
		}
		live := report.Size(c.LiveBytes)
		if h.LiveObjects == 0 {
			live = "?"
		}
		rows = append(rows, []string{report.Size(c.Bytes), report.Count(int(c.Objects)), live, size, pointers})
	}
	p.table(rows)
}

// leastLast is the width that the last column of a table needs; in a narrower terminal each row is a sentence.
const leastLast = 20

// table writes rows with aligned columns: numbers to the right, the last column to the left. The first row is the head. Spaces before a text in
// the last column indent it.
func (p *page) table(rows [][]string) {
	last := len(rows[0]) - 1
	width := make([]int, last)
	for _, r := range rows {
		for i := range width {
			width[i] = max(width[i], lipgloss.Width(r[i]))
		}
	}
	for n, r := range rows {
		var b strings.Builder
		for i, w := range width {
			b.WriteString("  " + strings.Repeat(" ", w-lipgloss.Width(r[i])) + r[i])
		}
		text := strings.TrimLeft(r[last], " ")
		b.WriteString("  " + r[last][:len(r[last])-len(text)])
		if n == 0 {
			p.tone(faint)
		}
		if used := lipgloss.Width(b.String()); used+leastLast <= p.width {
			p.hang(b.String(), strings.Repeat(" ", used+2), text)
		} else if n > 0 {
			p.hang("  ", "    ", strings.Join(append(r[:last:last], text), ", "))
		}
		p.next = plain
	}
}
