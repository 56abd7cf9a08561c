package fold

import (
	"cmp"
	"slices"
)

const (
	loadFrom   = 5_000_000 // ns that a goroutine must have run before its load by slice is kept
	maxLoads   = 1 << 10
	topActors  = 48 // by the time that they ran
	topSystem  = 8  // of the runtime's own
	maxActors  = 512
	roomNamed  = 1 << 10 // ended goroutines that a row names
	roomRecent = 1 << 10 // goroutines that ended last: who is counted last in a row's shares is often one of them
)

// actor is a row of Timeline.Actors: a goroutine that has ended, or at the end of the trace.
type actor struct {
	id                        int64
	spawn                     uint32
	system, ended             bool
	run, ready, sys, block    int64
	most                      int64
	runs, preempted, syscalls uint32
	born, last                int64
	load                      []float32
}

// slot has the load of a goroutine that has run for long.
type slot struct {
	owner int64
	sum   int64
	load  []float32
}

type actorTable struct {
	from   int64 // ns
	slots  []slot
	free   []uint32
	top    [2][]actor // ended ones that ran most: the user's, the runtime's own
	least  [2]int64   // less than which is not among them, once they are full
	named  []actor
	recent []actor // a ring
	next   int
}

func (t *actorTable) init() {
	t.from, t.slots = loadFrom, make([]slot, 1)
}

// ran adds the stretch of running that ends at t to the load of a goroutine. What it ran before it got a slot is not in it.
func (f *Folder) ran(g *G, t int64) {
	a := &f.actors
	if g.load == 0 || a.slots[g.load].owner != g.ID {
		if g.load = a.slot(g.ID); g.load == 0 {
			return
		}
	}
	s := &a.slots[g.load]
	s.sum += t - g.since
	if int(f.slice) < len(s.load) && g.since >= f.end-f.width {
		s.load[f.slice] += float32(t - g.since)
		return
	}
	s.load = f.addSpan(s.load, g.since, t)
}

// slot gives away a slot. When none is free, the half that ran less is taken back, and who ran less than they will not get one again.
func (t *actorTable) slot(id int64) uint32 {
	if len(t.free) == 0 && len(t.slots) > maxLoads {
		t.thin()
	}
	n := uint32(len(t.slots))
	if k := len(t.free); k > 0 {
		n, t.free = t.free[k-1], t.free[:k-1]
	} else {
		t.slots = append(t.slots, slot{})
	}
	t.slots[n] = slot{owner: id}
	return n
}

func (t *actorTable) thin() {
	at := make([]uint32, 0, len(t.slots))
	for i := 1; i < len(t.slots); i++ {
		at = append(at, uint32(i))
	}
	slices.SortStableFunc(at, func(a, b uint32) int { return cmp.Compare(t.slots[a].sum, t.slots[b].sum) })
	for _, n := range at[:len(at)/2] {
		t.from = max(t.from, t.slots[n].sum)
		t.slots[n] = slot{}
		t.free = append(t.free, n)
	}
}

// take is the load of a goroutine, whose slot is free then.
func (t *actorTable) take(g *G) []float32 {
	if g.load == 0 || t.slots[g.load].owner != g.ID {
		return nil
	}
	load := t.slots[g.load].load
	t.slots[g.load] = slot{}
	t.free = append(t.free, g.load)
	return load
}

// actor makes a row of a goroutine.
func (f *Folder) actor(g *G, last int64) actor {
	preempted := uint32(0)
	if g.extra != 0 {
		preempted = f.extra(g).preempted
	}
	return actor{id: g.ID, spawn: g.spawn, system: g.flags&gUser == 0, run: g.run, ready: g.ready, sys: g.sys, block: g.block,
		most: g.most, runs: g.runs, preempted: preempted, syscalls: g.syscalls, born: g.born, last: last, load: f.actors.take(g)}
}

// gone keeps a goroutine that has ended for a while.
func (f *Folder) gone(g *G, t int64) {
	a := &f.actors
	row := f.actor(g, t)
	row.ended = true
	if g.flags&gNamed != 0 && len(a.named) < roomNamed {
		a.named = append(a.named, row)
		return
	}
	kind, room := 0, topActors
	if row.system {
		kind, room = 1, topSystem
	}
	if row.run >= a.least[kind] {
		if keepTop(&a.top[kind], room, &row) {
			return
		}
		a.least[kind] = leastOf(a.top[kind]).run
	}
	a.remember(row)
}

// keepTop puts a row among those that ran most, and has row be the one that falls out; ok when none does.
func keepTop(top *[]actor, room int, row *actor) (ok bool) {
	if len(*top) < room {
		*top = append(*top, *row)
		return true
	}
	if least := leastOf(*top); row.run > least.run {
		*least, *row = *row, *least
	}
	return false
}

func leastOf(list []actor) *actor {
	least := &list[0]
	for i := range list {
		if list[i].run < least.run {
			least = &list[i]
		}
	}
	return least
}

func (t *actorTable) remember(row actor) {
	if len(t.recent) < roomRecent {
		t.recent = append(t.recent, row)
		return
	}
	t.recent[t.next] = row
	t.next = (t.next + 1) % roomRecent
}

// widen follows Folder.widen.
func (t *actorTable) widen() {
	for i := range t.slots {
		t.slots[i].load = halve(t.slots[i].load)
	}
	for _, list := range [][]actor{t.top[0], t.top[1], t.named, t.recent} {
		for i := range list {
			list[i].load = halve(list[i].load)
		}
	}
}

// ended finds a goroutine that has ended.
func (t *actorTable) index() map[int64]*actor {
	out := map[int64]*actor{}
	for _, list := range [][]actor{t.recent, t.named, t.top[1], t.top[0]} {
		for i := range list {
			out[list[i].id] = &list[i]
		}
	}
	return out
}
