package schedstarvation

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// stubborn looks for goroutines that keep a processor far beyond the time slice of the scheduler, so that others, or a stop of the world,
// have to wait for them.
func (s *course) stubborn() bool {
	long := int64(1e6 * s.p.Limit("long-run-ms"))
	list := s.longKins(long)
	for i, k := range list {
		runs, sum := s.longRuns(k, long)
		if float64(s.mostOfOne(runs)) < s.p.Limit("min-long-runs") || 2*sum < k.RunNS {
			continue
		}
		w := s.waitsFor(list, long, runs)
		if len(w.pauses) == 0 && w.ready < s.p.Limit("few-ready") && len(w.delayed) == 0 && len(w.timers) == 0 {
			s.p.Silent("%s keeps a processor for up to %s at a time, but nobody waits for it", s.name(&k), derive.Lasting(int64(k.TopMaxRun)))
			continue
		}
		list[0], list[i] = list[i], list[0] // the one that is told of
		s.both.Hold(s.stubbornFinding(list, runs, w))
		return true
	}
	return false
}

// longKins are the kins whose goroutine that ran most has long stretches on average.
func (s *course) longKins(long int64) (list []derive.Kin) {
	for _, k := range s.kins {
		if k.TopRuns > 0 && k.TopRunNS/k.TopRuns >= uint64(long) {
			list = append(list, k)
		}
	}
	return list
}

// behind is who waits while goroutines keep processors that they should have given back.
type behind struct {
	pauses  []int   // rows of Episodes: stops of the world
	ready   float64 // goroutines of other parts that are ready at a time
	delayed []int   // rows of Actors: of other parts, each of which waited for long again and again
	timers  []int   // rows of Sites: waits for time that end only between the stretches
	timed   int     // goroutines there
}

func (s *course) waitsFor(list []derive.Kin, long int64, runs []int) behind {
	own := map[int64]bool{}
	var ran, ready, stretches uint64
	for i := range list {
		ran += list[i].RunNS
		ready += list[i].ReadyNS
		stretches += list[i].TopRuns
		own[list[i].Top] = true
	}
	w := behind{pauses: s.pauses(long, runs), ready: s.mean(s.line.ReadyNS - min(s.line.ReadyNS, ready))}
	for i := range s.line.Actors {
		a := &s.line.Actors[i]
		mine := own[a.Goroutine] || slices.ContainsFunc(list, func(k derive.Kin) bool { return s.belongs(a.Goroutine, k) })
		if !mine && !a.System && float64(a.Runs) >= s.p.Limit("min-stretches") && s.mean(a.ReadyNS) >= victimShare &&
			float64(a.ReadyNS)/float64(a.Runs) >= 1e6*s.p.Limit("min-latency-ms") {
			w.delayed = append(w.delayed, i)
		}
	}
	n, sure := s.capacity()
	if !sure || s.mean(ran) < s.p.Limit("min-share")*n || float64(stretches) < s.p.Limit("min-stretches") {
		return w // a processor without such a loop looks at the timers
	}
	beat := pulse{own: own, least: list[0].TopRuns, most: stretches, stretch: float64(ran) / float64(stretches)}
	for i := range list {
		beat.least = min(beat.least, list[i].TopRuns)
	}
	for i := range s.line.Sites {
		if s.beat(i, beat) {
			w.timers = append(w.timers, i)
			w.timed += s.line.Sites[i].Peak
		}
	}
	return w
}

// longRuns are the longest stretches on a processor of the goroutines of a kin, by their rows of Episodes.
func (s *course) longRuns(k derive.Kin, long int64) (rows []int, sum uint64) {
	for i := range s.line.Episodes {
		e := &s.line.Episodes[i]
		if e.Kind != evidence.EpisodeRun || e.NS < long || !s.belongs(e.Goroutine, k) {
			continue
		}
		rows = append(rows, i)
		sum += uint64(e.NS)
	}
	return rows, sum
}

// mostOfOne is how many of the stretches one goroutine has, of those the one with the most. Of a crowd of handlers each has one on a busy host.
func (s *course) mostOfOne(runs []int) int {
	most, of := 0, map[int64]int{}
	for _, i := range runs {
		g := s.line.Episodes[i].Goroutine
		of[g]++
		most = max(most, of[g])
	}
	return most
}

// belongs reports whether a goroutine is one of a kin.
func (s *course) belongs(goroutine int64, k derive.Kin) bool {
	if goroutine == k.Top {
		return true
	}
	a, ok := s.line.Actor(goroutine)
	return ok && slices.Contains(k.Spawns, a.Spawn)
}

// pauses are the stops of the world that took long while one of the stretches lasted, by their rows of Episodes.
func (s *course) pauses(long int64, runs []int) []int {
	var rows []int
	for i := range s.line.Episodes {
		e := &s.line.Episodes[i]
		if e.Kind != evidence.EpisodePause || e.NS < long/2 {
			continue
		}
		for _, k := range runs {
			r := &s.line.Episodes[k]
			if r.Goroutine != e.Goroutine && r.StartNS < e.StartNS+e.NS && e.StartNS < r.StartNS+r.NS {
				rows = append(rows, i)
				break
			}
		}
	}
	return rows
}
