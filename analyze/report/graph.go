package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of the graph.
const (
	maxNodes       = 40     // a drawing with more is not looked at (the order of the house: shared with mermaid's limit)
	maxWaiterNodes = 4      // groups of waiters drawn for one object
	maxHelperNodes = 3      // holders, and as many of those who could wake, drawn for one object
	maxGrouped     = 10_000 // waiters of one object that are told apart by stack; the rest is counted
)

// graph draws who waits for what, who holds it, and who could wake the waiters: first the circles, then the objects that findings cite,
// those with an inferred holder, and the locks that others wait for. Waiters with the same stack are one node.
func (m *maker) graph(s scope) Graph {
	g := &drawing{m: m, scope: s, index: map[string]int{}, drawn: map[Edge]bool{}, keeper: map[int64]bool{}, helpers: m.helpers()}
	for _, h := range m.c.Holds {
		g.keeper[h.Goroutine] = true
	}
	circles := m.circles(g.helpers)
	for _, c := range circles {
		g.circle(c)
	}
	g.selecting = m.selecting()
	for _, o := range m.objects(g, circles) {
		if len(g.out.Nodes)+o.nodes() > s.nodes {
			if _, have := g.index[evidence.SyncRef(o.addr).String()]; !have {
				g.out.Omitted++
			}
			continue
		}
		g.object(o)
	}
	g.pools()
	g.rest()
	g.chain()
	return g.out
}

// drawing is a Graph that is being made.
type drawing struct {
	m         *maker
	scope     scope
	out       Graph
	index     map[string]int // node by id
	drawn     map[Edge]bool
	keeper    map[int64]bool // goroutines that hold something: each is a node of its own
	helpers   *helpers
	selecting map[uint64][]uint32 // rows of goroutines in a select, by object
	many      int                 // number of the last node for several waiters
}

func (g *drawing) node(n Node) string {
	if _, have := g.index[n.ID]; !have {
		g.index[n.ID] = len(g.out.Nodes)
		g.out.Nodes = append(g.out.Nodes, n)
	}
	return n.ID
}

func (g *drawing) edge(from, to, kind, text string) {
	e := Edge{from, to, kind, text}
	if !g.drawn[e] {
		g.drawn[e] = true
		g.out.Edges = append(g.out.Edges, e)
	}
}

// circle draws goroutines that wait for each other, and nobody else yet.
func (g *drawing) circle(links []link) {
	if len(g.out.Nodes)+2*len(links) > g.scope.nodes {
		g.out.Omitted += len(links)
		return
	}
	var ids []string
	for i, l := range links {
		from, object := g.goroutine(l.goroutine), g.objectNode(l.addr)
		g.edge(from, object, EdgeWaits, g.reasonOf(l.goroutine, l.mode))
		g.edge(object, g.goroutine(links[(i+1)%len(links)].goroutine), l.by.edge, l.by.text)
		ids = append(ids, from, object)
	}
	g.out.Circles = append(g.out.Circles, ids)
}

// reasonOf is the text of a wait: the reason, and in a select what the case wants.
func (g *drawing) reasonOf(id int64, mode evidence.WaitMode) string {
	row, _ := g.m.c.Goroutines().ByID(id)
	return reasonText(row.Reason, mode)
}

func reasonText(reason string, mode evidence.WaitMode) string {
	if reason == "select" && mode != evidence.WaitAny {
		return "select: " + mode.String()
	}
	return reason
}

func (g *drawing) objectNode(addr uint64) string {
	ref := g.m.cite(evidence.SyncRef(addr))
	s, ok := g.m.c.Sync(addr)
	n := Node{ID: evidence.SyncRef(addr).String(), Kind: s.Kind.String(), Text: "object that could not be read", Ref: ref,
		Count: len(g.m.c.Waiters(addr)) + len(g.selecting[addr])}
	if ok {
		n.Text = describeObject(s)
	}
	return g.node(n)
}

func (g *drawing) object(o contended) {
	id := g.objectNode(o.addr)
	g.out.Nodes[g.index[id]].Count = len(o.rows) + len(o.selects) // one of a circle was drawn before the selects were known
	drawn := map[string]int{}
	for _, h := range g.helpers.of(o.addr) {
		if drawn[h.edge]++; drawn[h.edge] <= maxHelperNodes && len(g.out.Nodes) < g.scope.nodes {
			g.edge(id, g.goroutine(h.goroutine), h.edge, h.text)
		}
	}
	g.waiters(id, o)
}

func (g *drawing) goroutine(id int64) string {
	ref := evidence.GoroutineRef(id)
	row, _ := g.m.c.Goroutines().ByID(id)
	text := fmt.Sprintf("goroutine %d, %s", id, row.State)
	if row.Reason != "" {
		text += ": " + row.Reason
	}
	if place := g.m.placeOf(ref, row.Stack); place != "" {
		text += ", in " + place
	}
	n := Node{ID: ref.String(), Kind: "goroutine", Text: text + fateOf(row), Count: 1, Ref: g.m.cite(ref)}
	if row.Wake != evidence.WakeUnknown {
		n.Wake = row.Wake.String()
	}
	return g.node(n)
}

// fateOf is what a verdict adds to the text of a goroutine.
func fateOf(g evidence.Goroutine) string {
	switch {
	case g.Wake == evidence.WakeNever || g.State == evidence.StateLeaked:
		return "; it can never wake"
	case g.Wake == evidence.WakeByDesign:
		return "; it is meant to wait for ever"
	}
	return ""
}

// waiting is a set of waiters of one object with the same stack.
type waiting struct {
	stack        evidence.StackID
	first        uint32
	count, never int
	text         string // of the edge
}

func (w *waiting) add(g evidence.Goroutine) {
	w.count++
	if g.Wake == evidence.WakeNever || g.State == evidence.StateLeaked {
		w.never++
	}
}

func (g *drawing) waiters(object string, o contended) {
	sets, rest := g.bySet(object, o)
	for i, w := range sets {
		if i >= maxWaiterNodes {
			rest += w.count
			continue
		}
		g.set(object, w)
	}
	if rest > 0 {
		g.many++
		id := g.node(Node{ID: fmt.Sprintf("waiters:%d", g.many), Kind: "waiters", Text: Plural(rest, "goroutine") + " elsewhere", Count: rest})
		g.edge(id, object, EdgeWaits, "")
	}
}

// set draws waiters with one stack.
func (g *drawing) set(object string, w waiting) {
	row := g.m.c.Goroutines().At(int(w.first))
	if w.count == 1 {
		g.edge(g.goroutine(row.ID), object, EdgeWaits, w.text)
		return
	}
	g.many++
	text := Plural(w.count, "goroutine")
	if place := g.m.placeOf(row.Ref(), w.stack); place != "" {
		text += " in " + place
	}
	switch {
	case w.never == w.count:
		text += "; they can never wake"
	case w.never > 0:
		text += fmt.Sprintf("; %s of them can never wake", Count(w.never))
	}
	id := g.node(Node{ID: fmt.Sprintf("waiters:%d", g.many), Kind: "waiters", Text: text, Count: w.count, Never: w.never, Ref: g.m.cite(row.Ref())})
	g.edge(id, object, EdgeWaits, w.text)
}

// bySet tells the waiters apart by stack, the largest set first. Those that hold something themselves are drawn at once.
func (g *drawing) bySet(object string, o contended) (sets []waiting, rest int) {
	type setKey struct {
		stack evidence.StackID
		text  string
	}
	index := map[setKey]int{}
	addr := o.addr
	for i, row := range slices.Concat(o.rows, o.selects) {
		if i >= maxGrouped {
			return sets, len(o.rows) + len(o.selects) - i
		}
		w := g.m.c.Goroutines().At(int(row))
		text := reasonText(w.Reason, g.m.modeOf(int(row), addr))
		if _, drawn := g.index[w.Ref().String()]; drawn || g.keeper[w.ID] && len(g.out.Nodes) < g.scope.nodes-maxWaiterNodes-1 {
			g.edge(g.goroutine(w.ID), object, EdgeWaits, text)
			continue
		}
		key := setKey{w.Stack, text}
		at, ok := index[key]
		if !ok {
			at = len(sets)
			index[key] = at
			sets = append(sets, waiting{stack: w.Stack, first: row, text: text})
		}
		sets[at].add(w)
	}
	slices.SortStableFunc(sets, func(a, b waiting) int { return cmp.Compare(b.count, a.count) })
	return sets, rest
}

// chain adds what the drawn goroutines wait for, where that is drawn too.
func (g *drawing) chain() {
	for _, n := range g.out.Nodes {
		ref, err := evidence.ParseRef(n.ID)
		if err != nil || ref.Kind != evidence.RefGoroutine {
			continue
		}
		row, _ := g.m.c.Goroutines().Row(int64(ref.ID))
		reason := g.m.c.Goroutines().At(row).Reason
		for _, w := range g.m.c.Waits(row) {
			if _, drawn := g.index[evidence.SyncRef(w.Sync).String()]; drawn {
				g.edge(n.ID, evidence.SyncRef(w.Sync).String(), EdgeWaits, reasonText(reason, w.Mode))
			}
		}
	}
}

// placeOf is the line to show for a goroutine: the one a finding names, or the innermost that is not the machinery of Go.
func (m *maker) placeOf(r evidence.Ref, stack evidence.StackID) string {
	if f, ok := m.where[r]; ok {
		return shortPlace(f)
	}
	place, _ := m.notable(stack)
	return place
}

func shortPlace(f evidence.Frame) string {
	if place := Place(f.File, f.Line); place != "" {
		return ShortFunction(f.Function) + " at " + place
	}
	return ShortFunction(f.Function)
}

// notable is the innermost frame that is not of the standard library as far as its name tells (an import path without a dot in
// its first element, other than main's own module), or else the innermost frame. It labels; it accuses nobody: the rules
// decide whose line is to blame.
func (m *maker) notable(id evidence.StackID) (string, bool) {
	f, ok := m.notableFrame(id)
	return shortPlace(f), ok
}

func (m *maker) notableFrame(id evidence.StackID) (evidence.Frame, bool) {
	s := m.c.Stack(id)
	for i, f := range s.All() {
		if i >= maxHead {
			break
		}
		root, _, path := strings.Cut(f.Function, "/")
		pkg, _, _ := strings.Cut(root, ".")
		own := m.c.Process.MainModule
		outside := path && strings.Contains(root, ".")
		if outside || pkg == "main" || own != "" && strings.HasPrefix(f.Function, own) {
			return f, true
		}
	}
	if s.Len() == 0 {
		return evidence.Frame{}, false
	}
	return s.At(0), true
}
