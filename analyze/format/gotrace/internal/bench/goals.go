package main

import (
	"fmt"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// on are results by trace and tool; what was not run is not in it.
type on map[[2]string]result

func index(results []result) on {
	by := on{}
	for _, r := range results {
		if r.runs > 0 {
			by[[2]string{r.trace.name, r.tool.name}] = r
		}
	}
	return by
}

// goal is a figure to reach.
type goal struct {
	trace string
	text  string
	needs [][2]string // the runs that it compares
	met   func(by on) (got string, ok bool)
}

// goals are the figures that the reader was built to.
var goals = []goal{
	speed(serverTrace, 120, 200), speed(streamsTrace, 120, 200), speed(longTrace, 120, 200),
	faster(serverTrace, syncPprof, 20), faster(streamsTrace, syncPprof, 20), faster(streamsTrace, viewer, 100),
	memoryBelow(longTrace, 256e6), flat(longTrace, serverTrace, 1.25),
}

// speed is the goal of a diagnosis at so many megabytes a second.
func speed(trace string, least, aim float64) goal {
	own := [2]string{trace, ours}
	return goal{trace, fmt.Sprintf("a diagnosis at %.0f MB/s or more on two processors (aim: %.0f)", least, aim), [][2]string{own}, func(by on) (string, bool) {
		r := by[own]
		median := perSecond(r.traceBytes, r.median)
		return fmt.Sprintf("%.0f MB/s, %.0f in the best run", median, perSecond(r.traceBytes, r.best)), median >= least
	}}
}

// faster is the goal of a diagnosis in so many times less wall time than a peer takes.
func faster(trace, peer string, times float64) goal {
	own, other := [2]string{trace, ours}, [2]string{trace, peer}
	text := fmt.Sprintf("a diagnosis in %.0f times less time than %s", times, whatOf(peer))
	return goal{trace, text, [][2]string{own, other}, func(by on) (string, bool) {
		a, b := by[own].median, by[other].median
		r := ratio(b.Wall, a.Wall)
		return fmt.Sprintf("%.0f times (%s against %s), %.0f times less CPU", r, measure.Seconds(a.Wall), measure.Seconds(b.Wall), ratio(b.CPU, a.CPU)), r >= times
	}}
}

// memoryBelow is the goal of a diagnosis with less memory than so many bytes.
func memoryBelow(trace string, most uint64) goal {
	own := [2]string{trace, ours}
	return goal{trace, "less than " + megabytes(most) + " of memory (peak RSS, the largest of the runs)", [][2]string{own}, func(by on) (string, bool) {
		rss := by[own].rssMax
		return megabytes(rss), rss > 0 && rss < most
	}}
}

// flat is the goal of memory that does not grow with the length of a trace.
func flat(long, short string, most float64) goal {
	a, b := [2]string{long, ours}, [2]string{short, ours}
	text := fmt.Sprintf("ten times the length takes at most %.2f times the memory", most)
	return goal{long, text, [][2]string{a, b}, func(by on) (string, bool) {
		x, y := by[a].median.RSS, by[b].median.RSS
		if y == 0 {
			return "not known", false
		}
		r := float64(x) / float64(y)
		return fmt.Sprintf("%.2f times (%s against %s)", r, megabytes(x), megabytes(y)), x > 0 && r <= most
	}}
}

// verdict of a goal; known is false when what it compares was not measured.
func (g *goal) verdict(by on) (got string, ok, known bool) {
	for _, need := range g.needs {
		if _, measured := by[need]; !measured {
			return "", false, false
		}
	}
	got, ok = g.met(by)
	return got, ok, true
}

// misses are the goals of what was measured that were not reached.
func misses(results []result) []string {
	by := index(results)
	var missed []string
	for i := range goals {
		if got, ok, known := goals[i].verdict(by); known && !ok {
			missed = append(missed, fmt.Sprintf("%s: %s: %s", goals[i].trace, goals[i].text, got))
		}
	}
	return missed
}

func whatOf(name string) string {
	for _, t := range allTools {
		if t.name == name {
			return t.what
		}
	}
	return name
}

// perSecond is in megabytes (a million bytes) of the trace.
func perSecond(bytes int64, use measure.Usage) float64 {
	if use.Wall <= 0 {
		return 0
	}
	return float64(bytes) / 1e6 / use.Wall.Seconds()
}

// ratio is a/b, 0 when one of them was not measured.
func ratio(a, b time.Duration) float64 {
	if a == 0 || b == 0 {
		return 0
	}
	return a.Seconds() / b.Seconds()
}
