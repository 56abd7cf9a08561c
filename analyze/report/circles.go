package report

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// link is one step of a circle: a goroutine waits for an object, and who could end that is the goroutine of the next link.
type link struct {
	goroutine int64
	addr      uint64
	mode      evidence.WaitMode
	by        helper
}

// maxCircles is how many circles are drawn; two explain a hang, and one goroutine often closes several.
const maxCircles = 5

// side is a way to wait for an object: who waits to send needs other people than who waits to receive.
type side struct {
	addr  uint64
	sends bool
}

// web is who among the goroutines that could help others waits for whom. It does not grow with the number of waiters.
type web struct {
	m       *maker
	helpers *helpers
	place   map[int64]int // goroutine to node
	ids     []int64       // node to goroutine; the nodes behind these are sides
	sides   map[side]int
	edges   [][]int
}

// circles finds goroutines that wait for each other: one circle for each strongly connected part, the shortest that goes through its
// first goroutine.
func (m *maker) circles(helpers *helpers) [][]link {
	w := &web{m: m, helpers: helpers, place: map[int64]int{}, sides: map[side]int{}}
	w.goroutines()
	for _, id := range w.ids {
		row, _ := m.c.Goroutines().Row(id)
		for _, wait := range w.waits(row) {
			for _, s := range sidesOf(wait, m.c.Goroutines().At(row).Reason) {
				w.edges[w.place[id]] = append(w.edges[w.place[id]], w.side(s))
			}
		}
	}
	var found [][]link
	for _, part := range components(w.edges, len(w.ids)) {
		if c := w.circle(part); c != nil {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b []link) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a[0].goroutine, b[0].goroutine))
	})
	return found[:min(len(found), maxCircles)]
}

// goroutines adds the goroutines that surely help somebody and wait themselves, in the order of their ids.
func (w *web) goroutines() {
	add := func(id int64) {
		if _, have := w.place[id]; have {
			return
		}
		if row, ok := w.m.c.Goroutines().Row(id); ok && len(w.waits(row)) > 0 {
			w.place[id] = 0
			w.ids = append(w.ids, id)
		}
	}
	for _, h := range w.m.c.Holds {
		if surelyHolds(h) {
			add(h.Goroutine)
		}
	}
	for _, k := range w.m.c.Wakers {
		if surelyWakes(k) {
			add(k.Goroutine)
		}
	}
	slices.Sort(w.ids)
	for i, id := range w.ids {
		w.place[id] = i
	}
	w.edges = make([][]int, len(w.ids))
}

// waits are the waits of a row that bind it: those of a select only when no case of it can happen any more.
func (w *web) waits(row int) []evidence.Wait {
	list := w.m.c.Waits(row)
	if g := w.m.c.Goroutines().At(row); g.Reason == "select" && g.Wake != evidence.WakeNever && g.State != evidence.StateLeaked {
		return nil
	}
	return list
}

// sidesOf are the sides at which a wait stands: both where the direction of a select's case is not known.
func sidesOf(w evidence.Wait, reason string) []side {
	switch {
	case w.Mode == evidence.WaitSend, w.Mode == evidence.WaitAny && reason == "chan send":
		return []side{{w.Sync, true}}
	case w.Mode == evidence.WaitAny && reason == "select":
		return []side{{w.Sync, true}, {w.Sync, false}}
	}
	return []side{{w.Sync, false}}
}

func (w *web) side(s side) int {
	node, ok := w.sides[s]
	if ok {
		return node
	}
	node = len(w.edges)
	w.sides[s] = node
	w.edges = append(w.edges, nil)
	for _, h := range w.helpers.of(s.addr) {
		at, waits := w.place[h.goroutine]
		if waits && h.strong && (s.sends && h.senders || !s.sends && h.receivers) {
			w.edges[node] = append(w.edges[node], at)
		}
	}
	return node
}

// circle is a shortest circle through the first goroutine of a part; nil when there is none. A goroutine alone is one when it waits
// for a lock that it holds; that it would send to itself one day is none.
func (w *web) circle(part []int) []link {
	start := slices.Min(part) // goroutines have the lower numbers
	if start >= len(w.ids) || len(part) == 1 {
		return nil
	}
	inside := map[int]bool{}
	several := 0
	for _, n := range part {
		inside[n] = true
		if n < len(w.ids) {
			several++
		}
	}
	from := map[int]int{}
	for todo := []int{start}; len(todo) > 0; todo = todo[1:] {
		for _, to := range w.edges[todo[0]] {
			if _, seen := from[to]; seen || !inside[to] {
				continue
			}
			if several > 1 && to == start && todo[0] >= len(w.ids) && from[todo[0]] == start {
				continue // it would help itself
			}
			from[to] = todo[0]
			if to != start {
				todo = append(todo, to)
			}
		}
	}
	if _, closed := from[start]; !closed {
		return nil
	}
	return w.links(start, from, several == 1)
}

// links reads the way back from the start to itself.
func (w *web) links(start int, from map[int]int, alone bool) []link {
	var list []link
	for to := start; ; {
		at := from[to]
		waiter := from[at]
		l, ok := w.link(waiter, at, w.ids[to])
		if !ok || alone && l.by.edge != EdgeHeld {
			return nil
		}
		list = append(list, l)
		if to = waiter; to == start {
			slices.Reverse(list)
			return list
		}
	}
}

func (w *web) link(waiter, node int, next int64) (link, bool) {
	row, _ := w.m.c.Goroutines().Row(w.ids[waiter])
	reason := w.m.c.Goroutines().At(row).Reason
	for _, wait := range w.waits(row) {
		for _, s := range sidesOf(wait, reason) {
			if w.sides[s] != node {
				continue
			}
			for _, h := range w.helpers.of(s.addr) {
				if h.goroutine == next && h.strong && (s.sends && h.senders || !s.sends && h.receivers) {
					return link{w.ids[waiter], s.addr, wait.Mode, h}, true
				}
			}
		}
	}
	return link{}, false
}

// components returns the strongly connected parts of a graph with more than one node that can be reached from its first nodes
// (Tarjan, 1972), without recursion: a chain may be as long as there are goroutines.
func components(edges [][]int, roots int) [][]int {
	t := &tarjan{edges: edges, number: make([]int, len(edges)), low: make([]int, len(edges)), on: make([]bool, len(edges))}
	for n := range roots {
		if t.number[n] == 0 {
			t.visit(n)
		}
	}
	return t.parts
}

type tarjan struct {
	edges  [][]int
	number []int // order of the first visit, from 1
	low    []int // the lowest number that can be reached
	on     []bool
	stack  []int
	last   int
	parts  [][]int
}

// visited is a node on the way and the next of its edges.
type visited struct{ node, edge int }

func (t *tarjan) open(n int) visited {
	t.last++
	t.number[n], t.low[n], t.on[n] = t.last, t.last, true
	t.stack = append(t.stack, n)
	return visited{node: n}
}

func (t *tarjan) visit(start int) {
	way := []visited{t.open(start)}
	for len(way) > 0 {
		top := &way[len(way)-1]
		if list := t.edges[top.node]; top.edge < len(list) {
			to := list[top.edge]
			top.edge++
			if t.number[to] == 0 {
				way = append(way, t.open(to))
			} else if t.on[to] {
				t.low[top.node] = min(t.low[top.node], t.number[to])
			}
			continue
		}
		n := top.node
		if way = way[:len(way)-1]; len(way) > 0 {
			above := way[len(way)-1].node
			t.low[above] = min(t.low[above], t.low[n])
		}
		if t.low[n] == t.number[n] {
			t.close(n)
		}
	}
}

func (t *tarjan) close(n int) {
	at := slices.Index(t.stack, n)
	part := slices.Clone(t.stack[at:])
	t.stack = t.stack[:at]
	for _, p := range part {
		t.on[p] = false
	}
	if len(part) > 1 {
		t.parts = append(t.parts, part)
	}
}
