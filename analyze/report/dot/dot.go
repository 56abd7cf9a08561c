// Package dot writes who waits for what in the language of Graphviz.
package dot

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// maxLabel bounds one label, in bytes.
const maxLabel = 300

// looks are the attributes of edges by kind: a wait is a line, an inference is dashed.
var looks = map[string]struct{ verb, style string }{
	report.EdgeWaits: {"waits", "solid"},
	report.EdgeHeld:  {"held by", "dashed"},
	report.EdgeWakes: {"could be woken by", "dotted"},
}

// Write writes the graph of a report as one digraph. Nodes are numbered: what comes from the evidence stands in labels only, and is
// quoted there.
func Write(w io.Writer, doc *report.Document) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "digraph waits {")
	fmt.Fprintln(b, "  rankdir=LR;")
	index := map[string]int{}
	for i, n := range doc.Waits.Nodes {
		index[n.ID] = i
		fmt.Fprintf(b, "  n%d [%s];\n", i, node(n))
	}
	round := map[[2]string]bool{}
	for _, ids := range doc.Waits.Circles {
		for i := range ids {
			round[[2]string{ids[i], ids[(i+1)%len(ids)]}] = true
		}
	}
	for _, e := range doc.Waits.Edges {
		from, ok := index[e.From]
		to, also := index[e.To]
		if ok && also {
			fmt.Fprintf(b, "  n%d -> n%d [%s];\n", from, to, edge(e, round[[2]string{e.From, e.To}]))
		}
	}
	if n := doc.Waits.Omitted; n > 0 {
		fmt.Fprintf(b, "  label=%s;\n", quote(report.Plural(n, "more object")+" not drawn"))
	}
	fmt.Fprintln(b, "}")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing the graph: %w", err)
	}
	return nil
}

func node(n report.Node) string {
	shape, text := "box", n.ID+" "+n.Text
	switch {
	case n.Kind == "goroutine" || n.Kind == "waiters":
		shape, text = "ellipse", n.Text
	case n.Ref == "":
		text = n.Text
	}
	out := "shape=" + shape + ", label=" + quote(text)
	if n.Wake == "never" || n.Never > 0 {
		out += ", style=filled, fillcolor=lightgrey"
	}
	return out
}

func edge(e report.Edge, thick bool) string {
	look := looks[e.Kind]
	text := look.verb
	if e.Text != "" {
		text = strings.TrimPrefix(text+": "+e.Text, ": ")
	}
	out := "label=" + quote(text)
	if look.style != "" {
		out += ", style=" + look.style
	}
	if thick {
		out += ", penwidth=3"
	}
	return out
}

// quote writes a text as a quoted string. Graphviz obeys backslashes in labels (\n, \l, \G), so each is doubled.
func quote(s string) string {
	s = report.Clip(report.Visible(s), maxLabel)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
