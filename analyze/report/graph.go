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
	maxHolderNodes = 3      // candidates for the holder drawn for one object
	maxGrouped     = 10_000 // waiters of one object that are told apart by stack; the rest is counted
)

// graph draws who waits for what, and who holds it: for the objects that findings cite, those with an inferred holder, and
// the locks that others wait for. Waiters with the same stack are one node.
func (m *maker) graph() Graph {
	g := &drawing{m: m, index: map[string]int{}, holder: map[int64]bool{}}
	objects := m.objects()
	for _, o := range objects {
		for _, h := range o.holds {
			g.holder[m.c.Holds[h].Goroutine] = true
		}
	}
	for _, o := range objects {
		if len(g.out.Nodes)+o.nodes() > maxNodes {
			g.out.Omitted++
			continue
		}
		g.object(o)
	}
	g.chain()
	return g.out
}

// contended is an object that may be drawn.
type contended struct {
	addr  uint64
	rows  []uint32 // who waits
	holds []int
}

// nodes is an upper bound of the nodes it takes: itself, its holders, its waiters, the rest of the waiters.
func (o contended) nodes() int {
	return 1 + min(len(o.holds), maxHolderNodes) + min(len(o.rows), maxWaiterNodes+1)
}

// objects lists what is worth drawing, the most waited for first. An object that nobody waits for is worth drawing only when
// a finding cites it.
func (m *maker) objects() []contended {
	cited := map[uint64]bool{}
	for _, r := range m.cited {
		if r.Kind == evidence.RefSync {
			cited[r.ID] = true
		}
	}
	addrs, holds := m.candidates(cited), m.holds()
	var list []contended
	for addr := range addrs {
		o := contended{addr: addr, rows: m.c.Waiters(addr), holds: holds[addr]}
		if len(o.rows) > 0 || cited[addr] {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b contended) int {
		return cmp.Or(cmp.Compare(len(b.rows), len(a.rows)), cmp.Compare(a.addr, b.addr))
	})
	return list
}

// holds indexes the holds by object, the strongest first, in one pass: Case.HoldsOf would pass over all of them for each object,
// and a process may hold as many locks as it has connections.
func (m *maker) holds() map[uint64][]int {
	index := map[uint64][]int{}
	for i, h := range m.c.Holds {
		index[h.Sync] = append(index[h.Sync], i)
	}
	for _, list := range index {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(m.c.Holds[a].Grade, m.c.Holds[b].Grade) })
	}
	return index
}

// candidates are addresses: cited, held, or of a lock that counts waiters itself. Plain channels, of which a process may have
// one for each of a million goroutines, are looked at only when a finding cites them.
func (m *maker) candidates(cited map[uint64]bool) map[uint64]bool {
	addrs := map[uint64]bool{}
	for addr := range cited {
		addrs[addr] = true
	}
	for _, h := range m.c.Holds {
		addrs[h.Sync] = true
		if g, ok := m.c.Goroutines().ByID(h.Goroutine); ok && g.WaitsOn != 0 { // a chain or a cycle goes on there
			addrs[g.WaitsOn] = true
		}
	}
	for s := range m.c.Syncs() {
		if s.Kind == evidence.SyncChannel && s.Where == "" {
			break // the plain channels come last
		}
		if s.Waiters > 0 && (s.Kind == evidence.SyncMutex || s.Kind == evidence.SyncRWMutex) {
			addrs[s.Addr] = true
		}
	}
	return addrs
}

// drawing is a Graph that is being made.
type drawing struct {
	m      *maker
	out    Graph
	index  map[string]int // node by id
	holder map[int64]bool // goroutines that hold something: each is a node of its own
	many   int            // number of the last node for several waiters
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
	if !slices.Contains(g.out.Edges, e) {
		g.out.Edges = append(g.out.Edges, e)
	}
}

func (g *drawing) object(o contended) {
	ref := g.m.cite(evidence.SyncRef(o.addr))
	s, ok := g.m.c.Sync(o.addr)
	n := Node{ID: evidence.SyncRef(o.addr).String(), Kind: s.Kind.String(), Text: "object that could not be read", Count: len(o.rows), Ref: ref}
	if ok {
		n.Text = describeObject(s)
	}
	id := g.node(n)
	for _, h := range o.holds[:min(len(o.holds), maxHolderNodes)] {
		hold := g.m.c.Holds[h]
		text := hold.Grade.String()
		if hold.Reader {
			text += ", for reading"
		}
		g.edge(id, g.goroutine(hold.Goroutine), EdgeHeld, text)
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
	return g.node(Node{ID: ref.String(), Kind: "goroutine", Text: text, Count: 1, Ref: g.m.cite(ref)})
}

// waiting is a set of waiters of one object with the same stack.
type waiting struct {
	stack evidence.StackID
	first uint32
	count int
}

func (g *drawing) waiters(object string, o contended) {
	sets, rest := g.bySet(object, o)
	for i, w := range sets {
		if i >= maxWaiterNodes {
			rest += w.count
			continue
		}
		row := g.m.c.Goroutines().At(int(w.first))
		if w.count == 1 {
			g.edge(g.goroutine(row.ID), object, EdgeWaits, row.Reason)
			continue
		}
		g.many++
		text := Plural(w.count, "goroutine")
		if place := g.m.placeOf(row.Ref(), w.stack); place != "" {
			text += " in " + place
		}
		id := g.node(Node{ID: fmt.Sprintf("waiters:%d", g.many), Kind: "waiters", Text: text, Count: w.count, Ref: g.m.cite(row.Ref())})
		g.edge(id, object, EdgeWaits, row.Reason)
	}
	if rest > 0 {
		g.many++
		id := g.node(Node{ID: fmt.Sprintf("waiters:%d", g.many), Kind: "waiters", Text: Plural(rest, "goroutine") + " elsewhere", Count: rest})
		g.edge(id, object, EdgeWaits, "")
	}
}

// bySet tells the waiters apart by stack, the largest set first. Those that hold something themselves are drawn at once.
func (g *drawing) bySet(object string, o contended) (sets []waiting, rest int) {
	index := map[evidence.StackID]int{}
	for i, row := range o.rows {
		if i >= maxGrouped {
			return sets, len(o.rows) - i
		}
		w := g.m.c.Goroutines().At(int(row))
		if _, drawn := g.index[w.Ref().String()]; g.holder[w.ID] && (drawn || len(g.out.Nodes) < maxNodes-maxWaiterNodes-1) {
			g.edge(g.goroutine(w.ID), object, EdgeWaits, w.Reason)
			continue
		}
		at, ok := index[w.Stack]
		if !ok {
			at = len(sets)
			index[w.Stack] = at
			sets = append(sets, waiting{w.Stack, row, 0})
		}
		sets[at].count++
	}
	slices.SortStableFunc(sets, func(a, b waiting) int { return cmp.Compare(b.count, a.count) })
	return sets, rest
}

// chain adds what the drawn holders wait for, where that is drawn too.
func (g *drawing) chain() {
	for _, n := range g.out.Nodes {
		ref, err := evidence.ParseRef(n.ID)
		if err != nil || ref.Kind != evidence.RefGoroutine {
			continue
		}
		row, _ := g.m.c.Goroutines().ByID(int64(ref.ID))
		object := evidence.SyncRef(row.WaitsOn).String()
		if _, drawn := g.index[object]; row.WaitsOn != 0 && drawn {
			g.edge(n.ID, object, EdgeWaits, row.Reason)
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
			return shortPlace(f), true
		}
	}
	if s.Len() == 0 {
		return "", false
	}
	return shortPlace(s.At(0)), true
}

// TreeLine is a line of the text form of a Graph.
type TreeLine struct {
	Depth int
	Text  string
}

// Tree writes the graph as an indented list: each object, who holds it, what that one waits for, who waits.
func (g Graph) Tree() []TreeLine {
	text := map[string]string{}
	for _, n := range g.Nodes {
		text[n.ID] = n.Text
	}
	var lines []TreeLine
	for _, n := range g.Nodes {
		if n.Kind == "goroutine" || n.Kind == "waiters" {
			continue
		}
		lines = append(lines, TreeLine{0, n.ID + ": " + n.Text})
		lines = append(lines, g.holders(n.ID, text)...)
		for _, e := range g.Edges {
			if e.To == n.ID && e.Kind == EdgeWaits {
				lines = append(lines, TreeLine{1, "waited for by " + text[e.From]})
			}
		}
	}
	if g.Omitted > 0 {
		lines = append(lines, TreeLine{0, Plural(g.Omitted, "more object") + " not drawn"})
	}
	return lines
}

func (g Graph) holders(object string, text map[string]string) []TreeLine {
	var lines []TreeLine
	for _, e := range g.Edges {
		if e.From != object || e.Kind != EdgeHeld {
			continue
		}
		lines = append(lines, TreeLine{1, fmt.Sprintf("held by %s [inferred: %s]", text[e.To], e.Text)})
		for _, further := range g.Edges {
			if further.From == e.To && further.Kind == EdgeWaits {
				lines = append(lines, TreeLine{2, "which waits for " + further.To})
			}
		}
	}
	return lines
}
