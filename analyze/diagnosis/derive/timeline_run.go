package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Kin is a set of goroutines that share the processors as equals: those of one go statement, or one that was there before and of which
// nothing is known.
type Kin struct {
	Spawns []int // rows of Spawns, the one that ran most first
	Lone   int64 // the only goroutine, when no go statement is known
	System bool

	Created            uint64
	Peak, Live         int    // sums over the rows: an upper bound of those that were alive at once
	RunNS, ReadyNS     uint64 // of all of them
	Top                int64  // the goroutine that ran longest; 0 when none stands out
	TopRunNS           uint64
	TopRuns, TopMaxRun uint64
}

// kinKey tells go statements apart by their line, whoever called the function in which they stand.
type kinKey struct {
	lone           int64
	function, file string
	line           int
	start          string
}

// Kins are the goroutines of a Timeline by go statement: those that ran longest first.
func (t *Timeline) Kins() []Kin {
	if t.Line == nil {
		return nil
	}
	index := map[kinKey]int{}
	var list []Kin
	at := func(key kinKey) *Kin {
		i, ok := index[key]
		if !ok {
			i = len(list)
			index[key] = i
			list = append(list, Kin{Lone: key.lone})
		}
		return &list[i]
	}
	for i := range t.Line.Spawns {
		s := &t.Line.Spawns[i]
		if t.unknown(i) {
			continue // whoever stands out among these is a kin of its own
		}
		k := at(t.kinKey(i))
		k.Spawns = append(k.Spawns, i)
		k.System = k.System || s.System
		k.Created += s.Created
		k.Peak += s.Peak
		k.Live += s.Live
		k.RunNS += s.RunNS
		k.ReadyNS += s.ReadyNS
	}
	for i := range t.Line.Actors {
		a := &t.Line.Actors[i]
		if t.unknown(a.Spawn) {
			k := at(kinKey{lone: a.Goroutine})
			k.System, k.RunNS, k.ReadyNS, k.Peak = a.System, a.RunNS, a.ReadyNS, 1
			k.take(a)
			continue
		}
		at(t.kinKey(a.Spawn)).take(a)
	}
	for i := range list {
		slices.SortStableFunc(list[i].Spawns, func(a, b int) int { return cmp.Compare(t.Line.Spawns[b].RunNS, t.Line.Spawns[a].RunNS) })
	}
	slices.SortStableFunc(list, func(a, b Kin) int { return cmp.Compare(b.RunNS, a.RunNS) })
	return list
}

// take remembers the goroutine that ran longest.
func (k *Kin) take(a *evidence.Actor) {
	if k.Top == 0 || a.RunNS > k.TopRunNS {
		k.Top, k.TopRunNS, k.TopRuns, k.TopMaxRun = a.Goroutine, a.RunNS, a.Runs, a.MaxRunNS
	}
}

// unknown reports whether a row of Spawns stands for goroutines of which neither the go statement nor the function is known.
func (t *Timeline) unknown(spawn int) bool {
	s := &t.Line.Spawns[spawn]
	return s.Stack == 0 && t.c.Frame(s.Start).Function == ""
}

func (t *Timeline) kinKey(spawn int) kinKey {
	s := &t.Line.Spawns[spawn]
	key := kinKey{start: t.c.Frame(s.Start).Function}
	if stack := t.c.Stack(s.Stack); stack.Len() > 0 {
		at := stack.At(0)
		key.function, key.file, key.line = at.Function, at.File, at.Line
	} else if s.Stack != 0 {
		key.line = -int(s.Stack) // a stack without names
	}
	return key
}

// Started is the line of the go statement of a row of Spawns: the user's line that leads there; where only libraries do (a timer, a server),
// the function of the user that was started, else the go statement of the library.
func (t *Timeline) Started(spawn int) (evidence.Frame, bool) {
	if spawn < 0 || spawn >= len(t.Line.Spawns) {
		return evidence.Frame{}, false
	}
	s := &t.Line.Spawns[spawn]
	stack, start := t.c.Stack(s.Stack), t.c.Frame(s.Start)
	if i, ok := t.f.UserFrame(stack); ok && stack.At(i).Function != "" {
		return stack.At(i), true
	}
	mine := start.Function != "" && (t.f.Owner(s.Start) == OwnerUser || t.f.Owner(s.Start) == OwnerDependency)
	if stack.Len() > 0 && stack.At(0).Function != "" && !mine {
		return stack.At(0), true
	}
	return start, start.Function != ""
}

// maxSteps bounds the goroutines between the user's line and a go statement of a library: that of net/http has one or two.
const maxSteps = 4

// onlyRoot is the share of the goroutines that execute a function which one row must have started, to be where they come from.
const onlyRoot = 0.9

// Root is the user's line that leads to a row of Spawns: on the stack of the go statement, or, where a library starts goroutines from a goroutine
// of its own, on the stack of the go statement that started that one, and so on. Steps is how many goroutines lie in between.
func (t *Timeline) Root(spawn int) (at evidence.Frame, steps int, ok bool) {
	for steps = range maxSteps {
		if spawn < 0 || spawn >= len(t.Line.Spawns) {
			break
		}
		stack := t.c.Stack(t.Line.Spawns[spawn].Stack)
		if i, found := t.f.UserFrame(stack); found && stack.At(i).Function != "" {
			return stack.At(i), steps, true
		}
		spawn = t.executed(stack)
	}
	return evidence.Frame{}, 0, false
}

// executed is the row of Spawns of nearly all goroutines that execute the outermost function of a stack; -1 when there is none.
func (t *Timeline) executed(stack evidence.Stack) int {
	outer := ""
	for i := stack.Len() - 1; i >= 0 && outer == ""; i-- {
		if f := stack.At(i).Function; f != "runtime.goexit" {
			outer = f
		}
	}
	if outer == "" {
		return -1
	}
	best, all := -1, uint64(0)
	for i := range t.Line.Spawns {
		s := &t.Line.Spawns[i]
		if t.c.Frame(s.Start).Function != outer {
			continue
		}
		all += s.Created + uint64(max(s.Before, 0))
		if best < 0 || s.Created > t.Line.Spawns[best].Created {
			best = i
		}
	}
	if best < 0 || float64(t.Line.Spawns[best].Created) < onlyRoot*float64(all) {
		return -1
	}
	return best
}

// runKinds are the kinds of sites at which a goroutine was caught while it computed, the ones that tell most first.
var runKinds = []evidence.SiteKind{evidence.SiteSample, evidence.SitePreempt, evidence.SiteYield}

// Computes is where a goroutine was caught computing: the place at which it was seen most often, by samples or when it was taken off the
// processor, with its row of Sites. Where it was never caught it is the place of others that execute the same function, where it stands at
// the end, or where it was started; in the latter cases the row is -1.
func (t *Timeline) Computes(goroutine int64) (evidence.Frame, int, bool) {
	if at, site := t.runSite(func(s *evidence.Site) uint64 { return countOf(s.Top, goroutine) }); site >= 0 {
		return at, site, true
	}
	a, known := t.Line.Actor(goroutine)
	if known {
		if start := t.c.Frame(t.Line.Spawns[a.Spawn].Start).Function; start != "" {
			if at, site := t.runSite(func(s *evidence.Site) uint64 { return t.executes(s, start) }); site >= 0 {
				return at, site, true
			}
		}
	}
	if g, ok := t.c.Goroutines().ByID(goroutine); ok {
		stack := t.c.Stack(g.Stack)
		if i, found := t.f.UserFrame(stack); found && stack.At(i).Function != "" {
			return stack.At(i), -1, true
		}
	}
	if known {
		if start := t.c.Frame(t.Line.Spawns[a.Spawn].Start); start.Function != "" {
			return start, -1, true
		}
		at, found := t.Started(a.Spawn)
		return at, -1, found
	}
	return evidence.Frame{}, -1, false
}

// runSite is the user's line of the site of computing goroutines that has most of what is counted; -1 when none has any.
func (t *Timeline) runSite(count func(*evidence.Site) uint64) (evidence.Frame, int) {
	for _, kind := range runKinds {
		best, most, line := -1, uint64(0), evidence.Frame{}
		for i := range t.Line.Sites {
			s := &t.Line.Sites[i]
			at, ok := t.Frame(t.Site(i), t.Site(i).User) // a stack that was cut off has frames without names
			if s.Kind != kind || !ok || at.Function == "" {
				continue
			}
			if n := count(s); n > most {
				best, most, line = i, n, at
			}
		}
		if best >= 0 {
			return line, best
		}
	}
	return evidence.Frame{}, -1
}

// executes is how often a site was reached by goroutines that execute a function.
func (t *Timeline) executes(s *evidence.Site, start string) uint64 {
	stack := t.c.Stack(s.Stack)
	for i := stack.Len() - 1; i >= max(0, stack.Len()-2); i-- { // outside of it there may be runtime.goexit
		if stack.At(i).Function == start {
			return s.Count
		}
	}
	return 0
}

func countOf(top []evidence.Share, goroutine int64) uint64 {
	for _, s := range top {
		if s.Goroutine == goroutine {
			return s.Count
		}
	}
	return 0
}

// Since says from when on something happened: "since the start" within the first slice, "since 350 ms".
func (t *Timeline) Since(ns int64) string {
	if ns < t.Line.SliceNS {
		return "since the start"
	}
	return "since " + Lasting(ns)
}

// Frames are the frames of the Case.
func (t *Timeline) Frames() *Frames { return t.f }

// Mean is how many goroutines were at a site on average over the whole Timeline.
func (t *Timeline) Mean(site int) float64 {
	sum := 0.0
	for _, v := range t.Line.Sites[site].Load {
		sum += float64(v) / 1000
	}
	if t.Line.SpanNS <= 0 {
		return 0
	}
	return min(sum*float64(t.Line.SliceNS)/float64(t.Line.SpanNS), float64(max(t.Line.Sites[site].Peak, 1)))
}
