package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Knot is a set of goroutines of which none can go on before another one of them does, or one that nothing wakes, with everybody who
// waits behind it.
type Knot struct {
	Kind    KnotKind
	Members []uint32   // rows, by goroutine id
	Ring    []KnotLink // the shortest way round a cycle; empty when there is none
	Objects []uint64   // that the members wait for, by address; empty when they wait for nothing that has one
	Victims []uint32   // rows of all who wait behind it, the members included, in the order of the source
	Proved  bool       // all members are proved never to wake
	Idle    bool       // not proved, and on the ring somebody without a lock that others want waits to receive or to be signalled: there may just be nothing to do
	Grip    Grip       // the weakest on the ring; GripPending when there is no ring
	Loose   []int64    // goroutines that may run and that refer to an object of the ring, at most maxLoose of them
	Wanted  Wanted     // who else needs the members

	port int32 // of orphans: at which they wait; -1 when it is not known
}

// KnotKind is what a knot is made of.
type KnotKind uint8

// The kinds of knots.
const (
	KnotLocks   KnotKind = iota // a cycle of locks alone
	KnotMixed                   // a cycle with a channel, a wait group or a condition in it
	KnotSlots                   // a cycle in which every object is a channel that serves as a semaphore
	KnotOrphan                  // no cycle: nobody is left who could wake them
	KnotForever                 // a nil channel, or select{}
)

// KnotLink is one step round a cycle: Row waits for Object, which waits for Next.
type KnotLink struct {
	Row    uint32
	Object uint64
	Sends  bool // it waits to send
	Grip   Grip // of Next on Object
	Next   uint32
	Ref    evidence.Ref // the Hold or Waker that says so
}

// maxLoose bounds the goroutines named that merely refer to an object of a cycle.
const maxLoose = 8

// IsCycle reports whether the members wait for each other, or one of them for itself.
func (k *Knot) IsCycle() bool { return len(k.Ring) > 0 }

// Sure reports whether a knot is no mere possibility: it is proved, or every step of its ring is inferred without a rival and nobody on it
// may just be idle.
func (k *Knot) Sure() bool { return k.Proved || (k.IsCycle() && k.Grip < GripWeak && !k.Idle) }

// tangle is the part of the graph that is stuck, and its strongly connected components. Its nodes are the waiters and, behind them, the
// ports.
type tangle struct {
	g     *WaitGraph
	part  []int32   // component of a node, -1 for one that is not stuck
	parts [][]int32 // nodes of the components, those that depend on nobody first
	root  []int32   // knot at which a component ends, -1 for none
	arena []int32   // behind parts: each node is in one of them
}

func (g *WaitGraph) findKnots() {
	nodes := len(g.waiters) + len(g.ports)
	t := &tangle{g: g, part: emptyList(nodes), arena: make([]int32, 0, nodes)}
	t.components()
	t.root = emptyList(len(t.parts))
	for part := range t.parts {
		t.judge(int32(part))
	}
	for n := range g.waiters { // in the order of the source
		if part := t.part[n]; part >= 0 && t.root[part] >= 0 {
			k := &g.Knots[t.root[part]]
			k.Victims = append(k.Victims, g.waiters[n].row)
		}
	}
	g.Knots = slices.DeleteFunc(g.Knots, func(k Knot) bool { return len(k.Victims) == 0 }) // a select ends at one of its orphans
	for i := range g.Knots {
		g.finish(&g.Knots[i])
	}
	slices.SortStableFunc(g.Knots, func(a, b Knot) int {
		return cmp.Or(cmp.Compare(len(b.Victims), len(a.Victims)), cmp.Compare(a.Victims[0], b.Victims[0]))
	})
	g.knotOf = emptyList(len(g.waiters))
	for i := range g.Knots {
		for _, row := range g.Knots[i].Victims {
			g.knotOf[g.waiting[row]] = int32(i)
		}
	}
}

// follow yields the nodes that a node depends on: a waiter on its ports, a port on the waiters that stand behind it and are stuck.
func (t *tangle) follow(node int32, yield func(int32)) {
	g, ports := t.g, int32(len(t.g.waiters))
	if node < ports {
		for e := g.waiters[node].edge; e >= 0; e = g.edges[e].ofWaiter {
			yield(ports + g.edges[e].port)
		}
		return
	}
	for b := g.ports[node-ports].block; b >= 0; b = g.blocks[b].next {
		x := &g.blocks[b]
		if !x.counts || x.queued {
			continue
		}
		if n := g.waiting[x.row]; n >= 0 && !g.waiters[n].free {
			yield(n)
		}
	}
}

// components finds the strongly connected components of what is stuck (Tarjan's algorithm, with a stack of its own: a chain of locks may
// be as long as there are goroutines).
func (t *tangle) components() {
	s := search{t: t, low: make([]int32, len(t.part)), number: make([]int32, len(t.part))}
	for n := range t.g.waiters {
		if !t.g.waiters[n].free && s.number[n] == 0 {
			s.from(int32(n))
		}
	}
}

// search is one run of Tarjan's algorithm.
type search struct {
	t           *tangle
	number, low []int32 // by node; 0 when it was not visited
	next        int32
	open        []int32 // visited, and not yet in a component
	path        []step
	ahead       []int32 // nodes to visit, those of the last step on the path at the end
}

type step struct {
	node  int32
	begin int // of its part of ahead
}

func (s *search) enter(node int32) {
	s.next++
	s.number[node], s.low[node] = s.next, s.next
	s.open = append(s.open, node)
	s.path = append(s.path, step{node, len(s.ahead)})
	s.t.follow(node, func(to int32) { s.ahead = append(s.ahead, to) })
}

func (s *search) from(start int32) {
	s.enter(start)
	for len(s.path) > 0 {
		at := s.path[len(s.path)-1]
		if len(s.ahead) > at.begin {
			to := s.ahead[len(s.ahead)-1]
			s.ahead = s.ahead[:len(s.ahead)-1]
			switch {
			case s.number[to] == 0:
				s.enter(to)
			case s.t.part[to] < 0: // still open: a way back
				s.low[at.node] = min(s.low[at.node], s.number[to])
			}
			continue
		}
		s.path = s.path[:len(s.path)-1]
		if len(s.path) > 0 {
			up := s.path[len(s.path)-1].node
			s.low[up] = min(s.low[up], s.low[at.node])
		}
		if s.low[at.node] == s.number[at.node] {
			s.close(at.node)
		}
	}
}

// close makes a component of what was visited since a node.
func (s *search) close(node int32) {
	begin := len(s.open) - 1
	for s.open[begin] != node {
		begin--
	}
	part := slices.Clip(append(s.t.arena[len(s.t.arena):], s.open[begin:]...))
	s.t.arena = s.t.arena[:len(s.t.arena)+len(part)]
	slices.Sort(part)
	for _, n := range part {
		s.t.part[n] = int32(len(s.t.parts))
	}
	s.t.parts = append(s.t.parts, part)
	s.open = s.open[:begin]
}

// judge decides whether a component is a knot, and at which knot it ends when it is none. Those it depends on have been judged.
func (t *tangle) judge(part int32) {
	nodes, ports := t.parts[part], int32(len(t.g.waiters))
	exit, closed := t.exit(part)
	switch {
	case len(nodes) > 1 && (closed || t.binding(nodes)):
		t.root[part] = t.knot(nodes)
	case len(nodes) > 1 || !closed:
		t.root[part] = exit
	case nodes[0] >= ports:
		t.root[part] = t.orphan(nodes[0] - ports)
	default:
		t.root[part] = t.alone(nodes[0])
	}
}

// exit returns the knot at which those end on whom a component depends; closed reports that there are none. One with a cycle explains
// more than one without.
func (t *tangle) exit(part int32) (knot int32, closed bool) {
	knot, closed = -1, true
	for _, n := range t.parts[part] {
		t.follow(n, func(to int32) {
			if t.part[to] == part {
				return
			}
			root := t.root[t.part[to]]
			closed = closed && root < 0
			if root >= 0 && (knot < 0 || t.g.Knots[knot].Kind >= KnotOrphan && t.g.Knots[root].Kind < KnotOrphan) {
				knot = root
			}
		})
	}
	return knot, closed
}

// binding reports whether everything in a component has to come free before it goes on, so that it is a cycle whatever else it depends
// on.
func (t *tangle) binding(nodes []int32) bool {
	for _, n := range nodes {
		if p := n - int32(len(t.g.waiters)); p >= 0 && (t.g.objects[p/2].sync.Kind == evidence.SyncChannel ||
			t.g.objects[p/2].sync.Kind == evidence.SyncCond) {
			return false
		}
	}
	return true
}

// knot adds a cycle.
func (t *tangle) knot(nodes []int32) int32 {
	k := Knot{Proved: true, port: -1}
	ports := int32(len(t.g.waiters))
	for _, n := range nodes {
		if n < ports {
			k.Members = append(k.Members, t.g.waiters[n].row)
			k.Proved = k.Proved && (t.g.waiters[n].never || t.g.waiters[n].forever)
		}
	}
	k.Ring = t.ring(nodes)
	k.Kind = t.kindOf(k.Ring)
	return t.add(k)
}

// orphan adds goroutines that wait at a port that nobody stuck or free stands behind.
func (t *tangle) orphan(p int32) int32 {
	return t.add(Knot{Kind: KnotOrphan, Proved: true, Objects: []uint64{t.g.objects[p/2].sync.Addr}, port: p})
}

// alone adds a goroutine that waits for nothing the graph knows, and never wakes.
func (t *tangle) alone(n int32) int32 {
	w := t.g.waiters[n]
	kind := KnotOrphan
	if w.forever {
		kind = KnotForever
	}
	return t.add(Knot{Kind: kind, Proved: true, Members: []uint32{w.row}, port: -1})
}

func (t *tangle) add(k Knot) int32 {
	t.g.Knots = append(t.g.Knots, k)
	return int32(len(t.g.Knots) - 1)
}

// finish sorts what a knot lists, and adds what is seen only when the whole graph is known.
func (g *WaitGraph) finish(k *Knot) {
	rows := g.c.Goroutines()
	if k.Members == nil { // orphans
		for _, row := range k.Victims {
			if g.waitsAt(int32(row), k.port) {
				k.Members = append(k.Members, row)
			}
		}
	}
	slices.SortFunc(k.Members, func(a, b uint32) int { return cmp.Compare(rows.ID(int(a)), rows.ID(int(b))) })
	for _, l := range k.Ring {
		k.Objects = append(k.Objects, l.Object)
		k.Grip = max(k.Grip, l.Grip)
		kind := g.objects[g.index[l.Object]].sync.Kind
		rests := kind == evidence.SyncCond || kind == evidence.SyncChannel && !l.Sends
		k.Idle = k.Idle || !k.Proved && rests && !g.awaited(l.Row) // nobody rests with a lock that others wait for
	}
	slices.Sort(k.Objects)
	k.Objects = slices.Compact(k.Objects)
	k.Loose = g.loose(k)
	k.Wanted = g.wanted(k)
}

// loose lists goroutines that may run and that refer to an object that a ring waits for.
func (g *WaitGraph) loose(k *Knot) []int64 {
	var list []int64
	for _, l := range k.Ring {
		for b := g.ports[portOf(g.index[l.Object], l.Sends)].block; b >= 0; b = g.blocks[b].next {
			x := &g.blocks[b]
			if x.row >= 0 && (g.waiting[x.row] < 0 || g.waiters[g.waiting[x.row]].free) {
				list = append(list, g.c.Goroutines().ID(int(x.row)))
			}
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return list[:min(len(list), maxLoose)]
}
