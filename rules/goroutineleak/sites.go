package goroutineleak

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// spot is a line of code, whatever the instruction.
type spot struct {
	function, file string
	line           int
}

func spotOf(f evidence.Frame) spot { return spot{f.Function, f.File, f.Line} }

// part is a set of goroutines with one stack and one go statement: what evidence.Retained counts.
type part struct {
	stack   evidence.StackID
	created evidence.FrameID
}

// site is the goroutines of one go statement that are blocked on one line.
type site struct {
	key     siteKey
	first   evidence.Goroutine // the first in the order of the source
	created evidence.Frame
	blocked evidence.Frame // the user's line where there is one
	count   int
	marked  int // of these, marked by the runtime's own detector
	oldest  uint32
	parts   map[part]int
	objects map[uint64]bool // what they wait for, as far as that is one object; at most maxObjects of them
	sample  []evidence.Ref
	parents parents

	behind int   // goroutines elsewhere that wait for these
	cause  *site // for which the first of these waits; nil when nobody keeps them but what nobody will do
}

type siteKey struct{ created, blocked spot }

// parents is what became of the goroutines that executed the go statement.
type parents struct {
	looked, gone int
	left         int            // they have ended, or have returned from the function with the go statement
	alive        int64          // one that is there; 0 when none is
	ids          map[int64]bool // whether it has left
}

// distinct reports whether most were started by a goroutine of their own: nobody sets up a pool like that.
func (p *parents) distinct() bool { return 2*len(p.ids) >= p.looked }

// mostly reports whether n is at least nine tenths of those that were looked at.
func (p *parents) mostly(n int) bool { return p.looked > 0 && 10*n >= 9*p.looked }

// Bounds of what is kept of one site.
const (
	maxObjects = 4096
	maxSample  = 20
	maxLooked  = 4096 // members whose parent is looked up
)

// collector puts goroutines into sites.
type collector struct {
	l       *leak
	index   map[siteKey]*site
	list    []*site
	blocked map[evidence.StackID]evidence.Frame
}

// fate is what a goroutine that can never wake is part of.
type fate uint8

const (
	fateLeak     fate = iota
	fateBehind        // it waits for leaked ones: they are the cause
	fateDeadlock      // somebody needs it, or it waits in a circle: the rules for deadlocks tell
)

// fateOf decides by the knot behind which the goroutine in a row waits.
func (l *leak) fateOf(row int) (fate, *derive.Knot) {
	k := l.graph.StuckAt(uint32(row))
	switch {
	case l.dead[uint32(row)] != nil: // resource-exhaustion tells of the pool
		return fateDeadlock, k
	case k == nil:
		return fateLeak, nil
	case k.Kind != derive.KnotOrphan && k.Kind != derive.KnotForever, k.Wanted.By != derive.WantedByNobody, l.queue(k):
		return fateDeadlock, k
	}
	if _, member := slices.BinarySearchFunc(k.Members, l.graph.ID(uint32(row)), func(m uint32, id int64) int { return cmp.Compare(l.graph.ID(m), id) }); member {
		return fateLeak, k
	}
	return fateBehind, k
}

// serves reports whether a goroutine is one that a pool from which nothing comes any more has started for itself: its stack ends in the
// pool's package, and nobody else's code is on it.
func (l *leak) serves(row int) bool {
	if len(l.dead) == 0 {
		return false
	}
	if l.pools == nil {
		l.pools = map[string]bool{}
		for _, r := range l.dead {
			l.pools[r.Kind[:max(0, strings.LastIndexByte(r.Kind, '.'))]] = true
		}
	}
	s := l.c.Stack(l.c.Goroutines().StackOf(row))
	if _, others := l.f.UserFrame(s); others {
		return false
	}
	for i := range s.Len() {
		if l.pools[derive.Package(s.At(i).Function)] {
			return true
		}
	}
	return false
}

// queue reports whether several wait for one lock that is taken: whoever kept it, deadlock-lock tells of it.
func (l *leak) queue(k *derive.Knot) bool {
	return len(k.Victims) > 1 && slices.ContainsFunc(k.Objects, func(addr uint64) bool {
		s, known := l.graph.Object(addr)
		return known && (s.Kind == evidence.SyncMutex && s.Locked || s.Kind == evidence.SyncRWMutex && (s.Locked || s.Readers > 0))
	})
}

// sites groups the leaked goroutines, and apart from them those that wait for leaked ones elsewhere.
func (l *leak) sites(rows []int) (sites, behind []*site) {
	blocked := map[evidence.StackID]evidence.Frame{}
	roots, others := collector{l: l, index: map[siteKey]*site{}, blocked: blocked}, collector{l: l, index: map[siteKey]*site{}, blocked: blocked}
	var chained []int
	for _, row := range rows {
		switch f, _ := l.fateOf(row); {
		case l.c.Goroutines().ID(row) == mainID || f == fateDeadlock || l.serves(row):
		case f == fateBehind:
			chained = append(chained, row)
		default:
			roots.add(row)
		}
	}
	for _, row := range chained {
		_, k := l.fateOf(row)
		cause := int(k.Members[0])
		if roots.at(cause) == nil || roots.key(cause) == roots.key(row) {
			roots.add(row)
			continue
		}
		others.add(row)
		roots.at(cause).behind++
		s := others.at(row)
		if s.cause == nil {
			s.cause = roots.at(cause)
		}
	}
	return roots.sorted(), others.sorted()
}

func (c *collector) sorted() []*site {
	slices.SortStableFunc(c.list, func(a, b *site) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.first.ID, b.first.ID))
	})
	return c.list
}

func (c *collector) key(row int) siteKey {
	t := c.l.c.Goroutines()
	return siteKey{spotOf(c.l.c.Frame(t.Created(row))), spotOf(c.blockedAt(t.StackOf(row)))}
}

// blockedAt is the line on which a stack is blocked: the user's, or a dependency's, or else the innermost that is not the
// runtime's.
func (c *collector) blockedAt(id evidence.StackID) evidence.Frame {
	if f, known := c.blocked[id]; known {
		return f
	}
	s := c.l.c.Stack(id)
	at, ok := c.l.f.UserFrame(s)
	if !ok {
		at = slices.IndexFunc(frameIDs(s), func(f evidence.FrameID) bool { return !c.l.machinery(f) })
	}
	var f evidence.Frame
	if s.Len() > 0 {
		f = s.At(max(at, 0))
	}
	c.blocked[id] = f
	return f
}

func frameIDs(s evidence.Stack) []evidence.FrameID {
	ids := make([]evidence.FrameID, s.Len())
	for i := range ids {
		ids[i] = s.FrameID(i)
	}
	return ids
}

// at returns the site of a row that was added.
func (c *collector) at(row int) *site { return c.index[c.key(row)] }

func (c *collector) add(row int) {
	g := c.l.c.Goroutines().At(row)
	key := c.key(row)
	s := c.index[key]
	if s == nil {
		s = &site{key: key, first: g, created: c.l.c.Frame(g.Created), blocked: c.blockedAt(g.Stack), parts: map[part]int{}, objects: map[uint64]bool{}}
		c.index[key] = s
		c.list = append(c.list, s)
	}
	s.count++
	s.parts[part{g.Stack, g.Created}]++
	s.oldest = max(s.oldest, g.Seconds)
	if g.State == evidence.StateLeaked {
		s.marked++
	}
	if g.WaitsOn != 0 && len(s.objects) < maxObjects {
		s.objects[g.WaitsOn] = true
	}
	if len(s.sample) < maxSample {
		s.sample = append(s.sample, g.Ref())
	}
	s.parents.look(c.l, g)
}

// look finds out what became of the parent of one goroutine.
func (p *parents) look(l *leak, g evidence.Goroutine) {
	if g.Parent == 0 || p.looked == maxLooked {
		return
	}
	p.looked++
	if p.ids == nil {
		p.ids = map[int64]bool{}
	}
	parent, alive := l.c.Goroutines().ByID(g.Parent)
	left, known := p.ids[g.Parent]
	if !known {
		left = !alive || l.returned(parent, g.Created)
		p.ids[g.Parent] = left
	}
	switch {
	case !alive:
		p.gone++
	case p.alive == 0:
		p.alive = g.Parent
	}
	if left {
		p.left++
	}
}

// returned reports whether a goroutine is out of the function in which a go statement of the user stands.
func (l *leak) returned(parent evidence.Goroutine, created evidence.FrameID) bool {
	if l.f.Owner(created) != derive.OwnerUser {
		return false // the function is a library's, and its caller may be the one that collects
	}
	_, inside := derive.Has(l.c.Stack(parent.Stack), l.c.Frame(created).Function)
	return !inside
}

// keeps is what the goroutines of a site alone keep in memory, by HeapUse; known is false where nobody counted.
func (s *site) keeps(h *evidence.HeapUse) (bytes uint64, known bool) {
	if h == nil {
		return 0, false
	}
	for _, r := range h.Retained {
		if n := s.parts[part{r.Stack, r.Created}]; n > 0 && n == r.Goroutines { // of a mixed group it is not known whose it is
			bytes += r.Bytes + r.StackBytes
			known = true
		}
	}
	return bytes, known
}

// mostly says which types take most of what the goroutines of a site alone keep.
func (s *site) mostly(h *evidence.HeapUse) string {
	sums := map[string]uint64{}
	objects := uint64(0)
	for _, r := range h.Retained {
		if n := s.parts[part{r.Stack, r.Created}]; n == 0 || n != r.Goroutines {
			continue
		}
		objects += r.Bytes
		for _, t := range r.Types {
			if t.Name != "" {
				sums[t.Name] += t.Bytes
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(sums), func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	var list []string
	for _, name := range names[:min(len(names), maxKeptTypes)] {
		if keptShare*sums[name] >= objects {
			list = append(list, fmt.Sprintf("%s of %s", size(sums[name]), derive.Quote(name)))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return ": " + strings.Join(list, ", ")
}

// Bounds on the types in the sentence about what is kept.
const (
	maxKeptTypes = 3
	keptShare    = 10 // a type is named from the tenth part on
)
