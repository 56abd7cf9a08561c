package report

import (
	"fmt"
	"strings"
)

// TreeLine is a line of the text form of a Graph.
type TreeLine struct {
	Depth int
	Text  string
}

// Tree writes the graph as an indented list: the circles, and then each object, who holds it, what that one waits for, who could wake
// the waiters, who waits.
func (g Graph) Tree() []TreeLine {
	t := &tree{g: g, text: map[string]string{}, out: map[string][]Edge{}, in: map[string][]Edge{}}
	for _, n := range g.Nodes {
		t.text[n.ID] = n.Text
	}
	for _, e := range g.Edges {
		t.out[e.From] = append(t.out[e.From], e)
		t.in[e.To] = append(t.in[e.To], e)
	}
	for _, ids := range g.Circles {
		t.circle(ids)
	}
	for _, n := range g.Nodes {
		if n.Kind != "goroutine" && n.Kind != "waiters" {
			t.object(n)
		}
	}
	if g.Omitted > 0 {
		t.add(0, "%s not drawn", Plural(g.Omitted, "more object"))
	}
	return t.lines
}

// tree is a text form that is being made.
type tree struct {
	g       Graph
	text    map[string]string
	out, in map[string][]Edge
	lines   []TreeLine
}

func (t *tree) add(depth int, format string, args ...any) {
	t.lines = append(t.lines, TreeLine{depth, fmt.Sprintf(format, args...)})
}

// circle writes goroutines and objects by turns, back to the first.
func (t *tree) circle(ids []string) {
	if len(ids) < 2 {
		return
	}
	t.add(0, "circle of %s:", Plural(len(ids)/2, "goroutine"))
	for i := 0; i+1 < len(ids); i += 2 {
		goroutine, object := ids[i], ids[i+1]
		next := ids[(i+2)%len(ids)]
		by := "held by"
		for _, e := range t.out[object] {
			if e.To == next && e.Kind == EdgeWakes {
				by = "which could be woken by"
			}
		}
		t.add(1, "%s", t.text[goroutine])
		t.add(2, "waits for %s (%s), %s %s", object, t.text[object], by, next)
	}
}

func (t *tree) object(n Node) {
	if n.Kind == "nothing" || strings.HasPrefix(n.ID, "objects:") {
		t.add(0, "%s", n.Text)
	} else {
		t.add(0, "%s: %s", n.ID, n.Text)
	}
	for _, e := range t.out[n.ID] {
		switch e.Kind {
		case EdgeHeld:
			t.add(1, "held by %s [inferred: %s]", t.text[e.To], e.Text)
		case EdgeWakes:
			t.add(1, "could be woken by %s [inferred: %s]", t.text[e.To], e.Text)
		default:
			continue
		}
		for _, further := range t.out[e.To] {
			if further.Kind == EdgeWaits {
				t.add(2, "which waits for %s", further.To)
			}
		}
	}
	for _, e := range t.in[n.ID] {
		if e.Kind == EdgeWaits {
			in := ""
			if strings.HasPrefix(e.Text, "select: ") {
				in = " [" + e.Text + "]"
			}
			t.add(1, "waited for by %s%s", t.text[e.From], in)
		}
	}
}
