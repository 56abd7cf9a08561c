package schedstarvation

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// course is one run of the rule over a Timeline.
type course struct {
	p    *diagnosis.Pass
	both *derive.Beside
	c    *evidence.Case
	t    *derive.Timeline
	line *evidence.Timeline
	kins []derive.Kin // of the program, without the runtime's own
}

func newCourse(p *diagnosis.Pass, t *derive.Timeline, both *derive.Beside) *course {
	s := &course{p: p, both: both, c: p.Case, t: t, line: t.Line}
	s.kins = slices.DeleteFunc(t.Kins(), func(k derive.Kin) bool { return k.System })
	return s
}

// judge looks for the five ways in which goroutines are kept waiting, the one that explains most first, and tells one of them.
func (s *course) judge() {
	if float64(s.line.SpanNS) < 1e6*s.p.Limit("min-span-ms") {
		s.p.Silent("the timeline is %s long: too short to tell", derive.Lasting(s.line.SpanNS))
		return
	}
	s.p.Silent("no goroutine keeps the processors from others: running %.2f at a time, ready %.2f, of those that became ready 99 %% ran within %s",
		s.mean(s.line.RunNS), s.mean(s.line.ReadyNS), derive.Lasting(s.line.Latency.Quantile(0.99)))
	for _, look := range []func() bool{s.stubborn, s.held, s.timers, s.serial, s.overload} {
		if look() {
			return
		}
	}
}

// mean is a sum over goroutines as the number of them at a time.
func (s *course) mean(ns uint64) float64 { return s.line.ShareOf(ns) }

// late is how many waits for a processor were longer than the limit.
func (s *course) late() uint64 {
	return s.line.Latency.Total() - s.line.Latency.Below(int64(1e6*s.p.Limit("min-latency-ms")))
}

// slow reports whether goroutines that became ready waited for long: so many at a time that it cannot be otherwise, or more often than those
// were preempted that keep the processors.
func (s *course) slow(hogs []derive.Kin, victims float64) bool {
	var own uint64
	for i := range hogs {
		if a, ok := s.line.Actor(hogs[i].Top); ok {
			own += a.Preempted
		}
	}
	return float64(s.line.Latency.Quantile(0.99)) >= 1e6*s.p.Limit("min-latency-ms") &&
		(victims >= s.p.Limit("min-ready") || float64(s.late()) >= s.p.Limit("min-late")+float64(min(own, s.late())))
}

// hogs are the kins of few goroutines, each of which ran for a large part of the time and was hardly ever off the processor by itself.
func (s *course) hogs() (list []derive.Kin, share float64) {
	few := 0
	for _, k := range s.kins {
		alone := s.mean(k.RunNS) / float64(max(k.Peak, 1))
		if alone < s.p.Limit("hog-share") || k.TopRuns == 0 || float64(k.TopRunNS)/float64(k.TopRuns) < 1e6*s.p.Limit("hog-stretch-ms") {
			continue
		}
		few += k.Peak
		share += s.mean(k.RunNS)
		list = append(list, k)
	}
	if float64(few) >= s.p.Limit("crowd") {
		return nil, 0
	}
	return list, share
}

// capacity is how many goroutines could run at a time, on average: GOMAXPROCS may be lowered or raised on the way. Where nothing is known of
// the processors it is what was used; sure is false then.
func (s *course) capacity() (n float64, sure bool) {
	if s.line.Procs == 0 {
		return max(s.mean(s.line.RunNS+s.line.SystemNS), 1), false
	}
	told := s.mean(s.line.RunNS + s.line.SystemNS + s.line.SyscallNS + s.line.IdleNS) // those in system calls may or may not have one
	return min(float64(s.line.Procs), max(told, 1)), true
}

// held looks for a few goroutines that have all processors while those of other go statements are ready.
func (s *course) held() bool {
	hogs, share := s.hogs()
	if len(hogs) == 0 {
		return false
	}
	ready := s.line.ReadyNS
	for i := range hogs {
		ready -= min(ready, hogs[i].ReadyNS)
	}
	victims := s.mean(ready)
	n, sure := s.capacity()
	if share < s.p.Limit("min-share")*n {
		return false
	}
	list, count := s.victims(hogs)
	switch {
	case victims < s.p.Limit("few-ready") || float64(count) < s.p.Limit("min-victims"):
		s.p.Silent("%s of the processor time goes to %s, and hardly anybody else wants to run (%.2f at a time)", derive.Percent(share/n),
			s.name(&hogs[0]), victims)
		return false
	case !s.slow(hogs, victims):
		s.p.Silent("%s of the processor time goes to %s, but who becomes ready runs soon as a rule: %d of %d waits were long", derive.Percent(share/n),
			s.name(&hogs[0]), s.late(), s.line.Latency.Total())
		return false
	}
	s.both.Hold(s.heldFinding(holding{hogs: hogs, share: share, capacity: n, sure: sure, ready: victims, victims: list, count: count,
		apart: sure && n < oneProcessor && s.apart(hogs)}))
	return true
}

// apart reports whether those that keep the processor have nothing to do with those that wait for it: they leave it only when it is taken from
// them, and hardly ever wake anybody. A worker that is fed by others and feeds others does both.
func (s *course) apart(hogs []derive.Kin) bool {
	var served uint64
	for i := range hogs {
		a, ok := s.line.Actor(hogs[i].Top)
		if !ok || float64(a.Preempted) < s.p.Limit("min-taken")*float64(a.Runs) || float64(a.Runs) < s.p.Limit("min-stretches") {
			return false
		}
		for k := range s.line.Releases {
			for _, share := range s.line.Releases[k].Top {
				if share.Goroutine == a.Goroutine {
					served += share.Count
				}
			}
		}
	}
	return 2*served < s.late()
}

// holding is what held found.
type holding struct {
	hogs                   []derive.Kin
	share, capacity, ready float64
	sure                   bool
	apart                  bool // on one processor, and they have nothing to do with those that wait
	victims                []derive.Kin
	count                  int
}

// victims are the kins that were ready for long, and how many goroutines they have.
func (s *course) victims(hogs []derive.Kin) (list []derive.Kin, count int) {
	for _, k := range s.kins {
		own := slices.ContainsFunc(hogs, func(h derive.Kin) bool { return h.Top == k.Top && h.Lone == k.Lone && slices.Equal(h.Spawns, k.Spawns) })
		if !own && s.mean(k.ReadyNS) >= victimShare {
			list = append(list, k)
			count += k.Peak
		}
	}
	slices.SortStableFunc(list, func(a, b derive.Kin) int {
		switch {
		case a.ReadyNS > b.ReadyNS:
			return -1
		case a.ReadyNS < b.ReadyNS:
			return 1
		}
		return 0
	})
	return list, count
}

// victimShare is the part of the time that the goroutines of a go statement must have been ready, all together, to be told of.
const victimShare = 0.02

// overload looks for more ready goroutines than processors most of the time, all processors at work, and nobody who has them alone.
func (s *course) overload() bool {
	n := float64(max(s.line.Procs, 1))
	crowded := 0
	for _, v := range s.line.Slices {
		if float64(v.ReadyNS) >= 1000*n {
			crowded++
		}
	}
	p99 := s.line.Latency.Quantile(0.99)
	busy := s.mean(s.line.RunNS+s.line.SystemNS) >= s.p.Limit("overload-busy")*n
	if s.line.Procs == 0 || s.mean(s.line.ReadyNS) < s.p.Limit("overload-ready")*n || 4*crowded < 3*len(s.line.Slices) ||
		float64(p99) < 1e6*s.p.Limit("overload-latency-ms") || float64(s.late()) < s.p.Limit("min-late") {
		return false
	}
	if !busy {
		s.p.Silent("goroutines were ready and did not run (99 %% within %s) although processors had no work: the host was busy", derive.Lasting(p99))
		return false
	}
	list, _ := s.victims(nil)
	if len(list) == 0 || 4*list[0].ReadyNS >= 3*s.line.ReadyNS {
		s.p.Silent("%.1f goroutines are ready at a time, nearly all of one go statement: they share the processors as equals, a busy machine",
			s.mean(s.line.ReadyNS))
		return false
	}
	s.both.Hold(s.overloadFinding(list, p99))
	return true
}
