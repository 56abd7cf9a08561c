package markdown

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Bounds of a drawing. GitHub refuses mermaid sources of more than 50,000 characters.
const (
	maxNodes   = 40
	maxEdges   = 120
	maxLabel   = 100 // characters of one label: at most six characters of source each
	maxMermaid = 50_000
)

// Mermaid writes the graph as mermaid source, without a fence: who waits for what (arrow), who holds it and who could wake the waiters
// (dotted arrows), circles drawn thick. It draws at most 40 nodes and stays under 50,000 characters. An empty graph gives "".
func Mermaid(g report.Graph) string {
	if len(g.Nodes) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	index := map[string]int{}
	for i, n := range g.Nodes[:min(len(g.Nodes), maxNodes)] {
		index[n.ID] = i
		open, end := "[", "]"
		if n.Kind == "goroutine" || n.Kind == "waiters" {
			open, end = "(", ")"
		}
		text := n.Text
		if open == "[" && !strings.HasPrefix(n.ID, "objects:") && n.ID != "nothing" {
			text = n.ID + " " + n.Text
		}
		write(&b, fmt.Sprintf("  n%d%s\"%s\"%s\n", i, open, label(text), end))
	}
	round := circled(g)
	for _, e := range g.Edges[:min(len(g.Edges), maxEdges)] {
		from, ok := index[e.From]
		to, also := index[e.To]
		if ok && also {
			write(&b, edge(from, to, e, round[[2]string{e.From, e.To}]))
		}
	}
	return b.String()
}

// circled is the pairs of neighbours in circles.
func circled(g report.Graph) map[[2]string]bool {
	pairs := map[[2]string]bool{}
	for _, ids := range g.Circles {
		for i := range ids {
			pairs[[2]string{ids[i], ids[(i+1)%len(ids)]}] = true
		}
	}
	return pairs
}

func edge(from, to int, e report.Edge, thick bool) string {
	arrow, text := "-->", "waits"
	switch e.Kind {
	case report.EdgeHeld:
		arrow, text = "-.->", "held by"
	case report.EdgeWakes:
		arrow, text = "-.->", "could be woken by"
	}
	if thick {
		arrow = "==>"
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return fmt.Sprintf("  n%d %s|\"%s\"| n%d\n", from, arrow, label(text), to)
}

// write adds a line unless the drawing would become too long for GitHub.
func write(b *strings.Builder, line string) {
	if b.Len()+len(line) < maxMermaid {
		b.WriteString(line)
	}
}

// label escapes a text for a quoted mermaid label: everything that is not plain becomes a character code, which mermaid writes
// as #NN;.
func label(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range report.Visible(s) {
		if n++; n > maxLabel {
			b.WriteString("...")
			break
		}
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', strings.ContainsRune(" .,:/_-()", r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}
