package markdown

import (
	"fmt"
	"io"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// WriteHeap writes what the heap holds: for a Document made by report.Heap.
func WriteHeap(w io.Writer, doc *report.Document, opt Options) error {
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	p := &page{left: max(0, opt.MaxBytes-reserve)}
	p.section("What the heap holds", func(b *section) { heap(b, doc) })
	p.appendix(doc)
	p.notes()
	if _, err := io.WriteString(w, strings.TrimPrefix(p.b.String(), "\n")); err != nil {
		return fmt.Errorf("writing the heap: %w", err)
	}
	return nil
}

// heap writes what the heap holds, when it was counted.
func heap(b *section, doc *report.Document) {
	h := doc.HeapUse
	if h == nil {
		return
	}
	b.linef("%s.", inline(h.Sentence))
	if len(h.Holders) > 0 {
		b.linef("\nHeld by (each object once, on a shortest way from a variable or a stack):\n")
		b.table("Bytes", "Share", "Objects", "Who")
		for _, at := range h.Holders {
			b.row(report.Size(at.Bytes), report.Part(at.Bytes, h.LiveBytes), report.Count(int(at.Objects)), strings.Repeat("&emsp;", at.Depth)+code(at.Text()))
		}
	}
	if len(h.Types) > 0 {
		b.linef("\nTypes of what is reachable:\n")
		b.table("Bytes", "Share", "Objects", "Type")
		for _, t := range h.Types {
			b.row(report.Size(t.Bytes), report.Part(t.Bytes, h.LiveBytes), report.Count(int(t.Objects)), code(t.Text()))
		}
	}
	keepers(b, h)
	classes(b, h)
	for i, s := range h.Unknown {
		if i == 0 {
			b.linef("\nNot known:\n")
		}
		b.linef("- %s", inline(s))
	}
}

// keepers writes which goroutines keep memory that nobody else does.
func keepers(b *section, h *report.HeapUse) {
	if len(h.Retained) == 0 {
		return
	}
	b.linef("\nKept by goroutines alone (free if they ended):\n")
	b.table("Bytes", "Share", "Objects", "Stacks", "Goroutines", "Where", "Created by")
	for _, r := range h.Retained {
		created := ""
		if c := r.Created; c != nil {
			created = report.ShortFunction(c.Function) + " at " + report.Place(c.File, c.Line)
		}
		b.row(report.Size(r.Bytes), report.Part(r.Bytes, h.LiveBytes), report.Count(int(r.Objects)), report.Size(r.StackBytes), report.Count(r.Goroutines),
			code(r.Place), code(created))
	}
}

// classes writes the allocation classes where nothing better is known.
func classes(b *section, h *report.HeapUse) {
	if len(h.Classes) == 0 || len(h.Types) > 0 {
		return
	}
	b.linef("\nAllocation classes:\n")
	b.table("Allocated", "Objects", "Size", "Pointers")
	for _, c := range h.Classes {
		size, pointers := report.Size(c.Size), "yes"
		if c.Size == 0 {
			size = "above 32 KiB"
		}
		if c.NoScan {
			pointers = "no"
		}
		b.row(report.Size(c.Bytes), report.Count(int(c.Objects)), size, pointers)
	}
}
