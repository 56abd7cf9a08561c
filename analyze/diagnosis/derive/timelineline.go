package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// OneLine is a line at which goroutines that never wait were found nearly always, in code of the program itself. A question that is compiled
// to an instruction looks like that (a load of a flag, TryLock), and a computation that fits into a line as well.
type OneLine struct {
	Frame   evidence.Frame
	Samples uint64
	There   uint64 // of these, at the line
	Bench   bool   // under a benchmark, which goes round on purpose

	stack evidence.StackID // of one of the samples
}

// OneLines are those lines, the ones with the most samples first. Share is that of the samples which must be at the line.
func (t *Timeline) OneLines(b SpinBounds, share float64) []OneLine {
	if t.Line == nil {
		return nil
	}
	byGoroutine := t.caught()
	var list []OneLine
	for i := range t.Line.Actors {
		a := &t.Line.Actors[i]
		if !t.restless(a, b) {
			continue
		}
		one := t.oneLine(t.whole(fairest(byGoroutine[a.Goroutine], b.Samples)))
		if one.Samples < max(b.Samples, 1) || float64(one.There) < share*float64(one.Samples) {
			continue
		}
		one.Bench = t.UnderBenchmark(one.stack, a.Goroutine)
		n := slices.IndexFunc(list, func(l OneLine) bool {
			return l.Frame.Function == one.Frame.Function && l.Frame.Line == one.Frame.Line
		})
		if n < 0 {
			list = append(list, one)
			continue
		}
		l := &list[n]
		l.Samples, l.There, l.Bench = l.Samples+one.Samples, l.There+one.There, l.Bench || one.Bench
	}
	slices.SortStableFunc(list, func(a, b OneLine) int { return cmp.Compare(b.Samples, a.Samples) })
	return list
}

// oneLine is the line of the program itself with the most of these samples.
func (t *Timeline) oneLine(list []catch) OneLine {
	var lines []OneLine
	var total uint64
	for _, c := range list {
		total += c.count
		at, ok := t.uncalled(c.stack)
		if !ok {
			continue
		}
		f := c.stack.At(at)
		n := slices.IndexFunc(lines, func(l OneLine) bool { return l.Frame.Function == f.Function && l.Frame.Line == f.Line })
		if n < 0 {
			n = len(lines)
			lines = append(lines, OneLine{Frame: f, stack: c.stack.ID})
		}
		lines[n].There += c.count
	}
	var best OneLine
	for _, l := range lines {
		if l.There > best.There {
			best = l
		}
	}
	best.Samples = total
	return best
}

// uncalled is the innermost frame when it is the program's own: it has called nothing there.
func (t *Timeline) uncalled(s evidence.Stack) (int, bool) {
	at, ok := t.programFrame(s, 0)
	for i := range max(at, 0) {
		if !interrupted(s, i) {
			return -1, false
		}
	}
	return at, ok
}
