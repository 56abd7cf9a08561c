package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Growth is a go statement that started goroutines in the time of a Timeline, with what became of them.
type Growth struct {
	Rows           []int          // rows of Spawns
	At             evidence.Frame // the user's line of the go statement, or the one that made a library execute it
	Mine           bool           // At is in the program's code or in a dependency
	Through        evidence.Frame // the go statement of the library, when At is that of the goroutine in which the library executes it
	Created, Ended uint64
	Live           int // at the end, those that were there before left out
	FirstNS        int64
	LastNS         int64
	Stands         []Stand // where those that live stand at the end, most goroutines first
	Parents        Parents
}

// Stand is a line at which goroutines of one go statement stand at the end.
type Stand struct {
	Stack  evidence.StackID
	Reason string
	Doing  Doing
	Count  int
	First  int64  // the first of them in the order of the source
	Site   int    // row of Sites; -1 when there is none
	Began  uint64 // how often a wait began there, whoever waited
	Open   int    // how many wait there at the end
	AgeNS  int64  // how long those have waited, on average
	UsedNS int64  // what nearly all waits that ended there took at most; 0 when none ended
}

// Woken is how many waits at the place have ended.
func (s *Stand) Woken() uint64 { return s.Began - min(uint64(s.Open), s.Began) }

// agedTimes is how much longer than the waits that ended there those at a place have waited, on average, when nobody serves it any more.
// In a queue that is served, however slowly, both are of one size.
const agedTimes = 50

// Forgotten reports whether those at the place look as if nobody would wake them: no wait there has ended, or those that did were of
// another order of magnitude.
func (s *Stand) Forgotten() bool {
	return s.Site >= 0 && (s.Woken() == 0 || s.AgeNS > agedTimes*s.UsedNS)
}

// Parents is what became of the goroutines that executed a go statement.
type Parents struct {
	Looked int   // goroutines whose parent is known, at most maxParents
	Gone   int   // of these, those whose parent has ended or has left the function with the go statement
	Many   int   // distinct parents
	Only   int64 // the only one; 0 when there are several
}

// growthFloor is the number of goroutines below which a go statement is not looked at. It is far below every limit of a rule.
const growthFloor = 50

// OfGrowth is the derivation of the growths of a Timeline, the most living goroutines first.
var OfGrowth = &diagnosis.Derivation[[]Growth]{
	Name: "growth",
	Uses: []diagnosis.Dependency{OfFrames, OfTimeline},
	Run: func(p *diagnosis.Pass) ([]Growth, error) {
		t, err := diagnosis.Of(p, OfTimeline)
		if err != nil {
			return nil, err
		}
		return t.growths(), nil
	},
}

func (t *Timeline) growths() []Growth {
	var list []Growth
	for _, k := range t.Kins() {
		if k.System || k.Lone != 0 || k.Created < growthFloor || k.Live < growthFloor {
			continue
		}
		g := Growth{Rows: k.Spawns, FirstNS: t.Line.SpanNS}
		for _, row := range k.Spawns {
			s := &t.Line.Spawns[row]
			g.Created += s.Created
			g.Ended += s.Ended
			g.Live += s.Live
			g.FirstNS, g.LastNS = min(g.FirstNS, s.FirstNS), max(g.LastNS, s.LastNS)
		}
		g.Live = int(min(uint64(g.Live), g.Created)) // who was there before and is still there is no growth
		slices.SortStableFunc(g.Rows, func(a, b int) int { return cmp.Compare(t.Line.Spawns[b].Created, t.Line.Spawns[a].Created) })
		t.place(&g)
		list = append(list, g)
	}
	t.stands(list)
	slices.SortStableFunc(list, func(a, b Growth) int { return cmp.Compare(b.Live, a.Live) })
	return list
}

// place finds the line that starts the goroutines.
func (t *Timeline) place(g *Growth) {
	row := g.Rows[0]
	g.At, _ = t.Started(row)
	at, steps, ok := t.Root(row)
	switch {
	case ok:
		g.At, g.Mine = at, true
		if steps > 0 {
			g.Through = t.c.Stack(t.Line.Spawns[row].Stack).At(0)
		}
	case g.At.Function != "":
		o := t.f.Owner(t.Line.Spawns[row].Start)
		g.Mine = g.At == t.c.Frame(t.Line.Spawns[row].Start) && (o == OwnerUser || o == OwnerDependency)
	}
}

// startKey is how a goroutine that is alive at the end tells the go statement that started it. It is empty for what has none, as the
// goroutines of timers.
type startKey struct {
	function, file string
	line           int
}

func startOf(f evidence.Frame) startKey { return startKey{f.Function, f.File, f.Line} }

type standKey struct {
	growth int
	stack  evidence.StackID
	state  evidence.State
	reason string
}

// origin is a stack with the go statement of who stands there.
type origin struct {
	stack   evidence.StackID
	created evidence.FrameID
}

// stands finds out where the goroutines of growths stand, and what became of their parents: one look at every goroutine.
func (t *Timeline) stands(list []Growth) {
	if len(list) == 0 {
		return
	}
	byStart := map[startKey][]int{}
	for i := range list {
		key := startKey{}
		if stack := t.c.Stack(t.Line.Spawns[list[i].Rows[0]].Stack); stack.Len() > 0 {
			key = startOf(stack.At(0))
		}
		byStart[key] = append(byStart[key], i)
	}
	index, owners := map[standKey]int{}, map[origin]int{}
	parents := make([]map[int64]bool, len(list))
	rows := t.c.Goroutines()
	for i := range rows.Len() {
		from := origin{rows.StackOf(i), rows.Created(i)}
		at, known := owners[from]
		if !known {
			at = t.whose(list, byStart[startOf(t.c.Frame(from.created))], from)
			owners[from] = at
		}
		if at < 0 {
			continue
		}
		g := rows.At(i)
		key := standKey{at, g.Stack, g.State, g.Reason}
		k, ok := index[key]
		if !ok {
			k = len(list[at].Stands)
			index[key] = k
			list[at].Stands = append(list[at].Stands, Stand{Stack: g.Stack, Reason: g.Reason, Doing: t.f.Doing(g), First: g.ID, Site: -1})
		}
		list[at].Stands[k].Count++
		if parents[at] == nil {
			parents[at] = map[int64]bool{}
		}
		t.parent(&list[at].Parents, parents[at], g)
	}
	t.serve(list)
}

// whose is the one of several growths with the same go statement that a goroutine belongs to: by the function that it executes. Where there
// is no go statement nothing else tells. It is -1 when none fits.
func (t *Timeline) whose(list []Growth, candidates []int, from origin) int {
	stack := t.c.Stack(from.stack)
	for _, i := range candidates {
		start := t.c.Frame(t.Line.Spawns[list[i].Rows[0]].Start).Function
		if _, mine := Has(stack, start); mine && start != "" {
			return i
		}
	}
	if len(candidates) == 0 || t.c.Frame(from.created).Function == "" {
		return -1
	}
	return candidates[0]
}

// serve adds to the stands what is known of the waits there, and sorts them.
func (t *Timeline) serve(list []Growth) {
	blocks := map[evidence.StackID][]int{}
	for i := range t.Line.Sites {
		if site := &t.Line.Sites[i]; site.Kind == evidence.SiteBlock {
			blocks[site.Stack] = append(blocks[site.Stack], i)
		}
	}
	for i := range list {
		slices.SortStableFunc(list[i].Stands, func(a, b Stand) int { return cmp.Compare(b.Count, a.Count) })
		for k := range list[i].Stands {
			s := &list[i].Stands[k]
			t.waits(s, blocks[s.Stack])
		}
	}
}

// parent looks up what became of the goroutine that started g.
func (t *Timeline) parent(p *Parents, known map[int64]bool, g evidence.Goroutine) {
	if g.Parent == 0 || p.Looked == maxParents {
		return
	}
	p.Looked++
	gone, ok := known[g.Parent]
	if !ok {
		parent, alive := t.c.Goroutines().ByID(g.Parent)
		gone = !alive
		if alive && t.f.Owner(g.Created) == OwnerUser {
			_, inside := Has(t.c.Stack(parent.Stack), t.c.Frame(g.Created).Function)
			gone = !inside && parent.Stack != 0
		}
		known[g.Parent] = gone
		p.Only = g.Parent
	}
	if p.Many = len(known); p.Many > 1 {
		p.Only = 0
	}
	if gone {
		p.Gone++
	}
}

// waits adds up the sites of a stand: the blocks at the same stack.
func (t *Timeline) waits(s *Stand, sites []int) {
	var ended evidence.Histogram
	var waited uint64
	for _, i := range sites {
		site := &t.Line.Sites[i]
		s.Began += site.Count
		s.Open += site.Open
		waited += site.OpenNS
		for k, n := range site.Hist {
			ended[k] += n
		}
		if s.Site < 0 || site.Count > t.Line.Sites[s.Site].Count {
			s.Site = i
		}
	}
	s.UsedNS = ended.Quantile(0.99)
	if s.Open > 0 {
		s.AgeNS = int64(waited / uint64(s.Open))
	}
}

// Rises reports whether the goroutines of a go statement became more and more until the end: they were created all along, and not in one
// burst, and there are more at the end than in the middle of that time by a share of at least least. A go statement that has started
// nothing for long has come to its end.
func (t *Timeline) Rises(g *Growth, least float64) bool {
	line := t.Line
	from, n := int(g.FirstNS/max(line.SliceNS, 1)), int(line.SpanNS/max(line.SliceNS, 1))
	if n-from < risingSlices || line.SpanNS-g.LastNS > (line.SpanNS-g.FirstNS)/risingParts {
		return false
	}
	births := make([]uint32, risingParts)
	mid := 0
	for _, row := range g.Rows {
		s := &line.Spawns[row]
		for i, b := range s.Births {
			if i >= from {
				births[min((i-from)*risingParts/max(n-from, 1), risingParts-1)] += b
			}
		}
		if at := from + (n-from)/2; at < len(s.Alive) {
			mid += int(s.Alive[at])
		}
	}
	live := 0
	for _, row := range g.Rows {
		live += line.Spawns[row].Live
	}
	steady := 0
	for _, b := range births {
		share := float64(b) * risingParts / float64(max(g.Created, 1)) // 1 when all parts are alike
		if share > burstBirths {
			return false
		}
		if share >= steadyBirths {
			steady++
		}
	}
	return steady >= risingSteady && float64(live-mid) >= least*float64(live)
}

// What is a rise. The time since the first creation is cut into parts, most of which have creations, and none has nearly all: a program
// may stand still for a while in between.
const (
	risingParts  = 5
	risingSlices = 4 * risingParts // fewer slices of time are a burst, however they are spread
	risingSteady = 3               // parts that have creations
	steadyBirths = 0.2             // creations of such a part, of what it had if all parts were alike
	burstBirths  = 3               // creations of a part, in the same unit, that make it a burst
)
