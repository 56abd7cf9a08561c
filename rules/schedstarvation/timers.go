package schedstarvation

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Whose time has come is not ready before somebody looks at the timers, and on one processor that is between two stretches of whoever
// computes (runtime/proc.go, checkTimers). So the lateness of a timer is no wait for a processor in a trace. It shows in another way: every
// goroutine that waits for a short time wakes once for each stretch, neither more nor less often.

// How well the waits of others agree with the stretches of whoever computes, to be made by them.
const (
	timedAlone = 0.9 // of the ended waits at a place, those that time ended
	leastAgree = 0.7 // wakes of a goroutine for each stretch, and the mean wait by the mean stretch
	mostAgree  = 1.3 // wakes of a goroutine for each stretch
)

// timers looks for one goroutine on the only processor whose stretches are the beat of all timers.
func (s *course) timers() bool {
	hogs, share := s.hogs()
	n, sure := s.capacity()
	if len(hogs) == 0 || hogs[0].Peak > 1 || n >= oneProcessor || !sure || share < s.p.Limit("min-share")*n {
		return false
	}
	k := hogs[0]
	stretches := k.TopRuns
	if a, ok := s.line.Actor(k.Top); ok && float64(a.Preempted) >= s.p.Limit("min-stretches") {
		stretches = a.Preempted // it may also leave the processor by itself in between
	}
	stretch := float64(k.TopRunNS) / float64(max(stretches, 1))
	if float64(stretches) < s.p.Limit("min-stretches") || stretch < 1e6*s.p.Limit("min-latency-ms") {
		return false
	}
	var late []int
	count := 0
	for i := range s.line.Sites {
		if s.beat(i, pulse{own: map[int64]bool{k.Top: true}, least: stretches, most: stretches, stretch: stretch}) {
			late = append(late, i)
			count += s.line.Sites[i].Peak
		}
	}
	if len(late) == 0 {
		return false
	}
	s.both.Hold(s.timersFinding(k, late, count, stretches, int64(stretch)))
	return true
}

// pulse is the stretches between which alone timers are looked at.
type pulse struct {
	own         map[int64]bool // goroutines that have them
	least, most uint64         // how many: of one goroutine, and of all
	stretch     float64        // how long they are on average, in nanoseconds
}

// beat reports whether the waits at a site are ended by time, once for each stretch of those that compute and after about as long.
func (s *course) beat(i int, p pulse) bool {
	site, spot := &s.line.Sites[i], s.t.Site(i)
	ended := site.Hist.Total()
	switch spot.Doing.Activity {
	case derive.ActivitySleep, derive.ActivityReceive, derive.ActivitySelect:
	default:
		return false
	}
	if site.Kind != evidence.SiteBlock || spot.Own || spot.User < 0 || float64(ended) < s.p.Limit("min-stretches") || site.Peak == 0 || float64(site.Unwoken) < timedAlone*float64(ended) {
		return false
	}
	for _, share := range site.Top {
		if p.own[share.Goroutine] {
			return false // it waits there itself
		}
	}
	mean := float64(site.TotalNS-min(site.OpenNS, site.TotalNS)) / float64(ended)
	wakes := float64(ended) / float64(site.Peak)
	return mean >= leastAgree*p.stretch && wakes >= leastAgree*float64(p.least) && wakes <= mostAgree*float64(p.most)
}

func (s *course) timersFinding(k derive.Kin, late []int, count int, stretches uint64, stretch int64) diagnosis.Finding {
	at, refs := s.runner(k.Top)
	f := diagnosis.Finding{
		Subject: evidence.GoroutineRef(k.Top), Affected: count,
		Claim: fmt.Sprintf("%s takes %s of the only processor, for %s at a time on average, and the timers of %s are looked at only in between", s.name(&k),
			derive.Percent(s.mean(k.RunNS)), derive.Lasting(stretch), derive.Count(count, "goroutine", "goroutines")),
		Because: []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf("goroutine %d ran %s of the time (%s), in %d stretches of up to %s", k.Top,
			derive.Percent(s.line.ShareOf(k.TopRunNS)), s.window(k.Top), stretches, derive.Lasting(int64(k.TopMaxRun)))}},
		Against: []diagnosis.Reason{{Text: hostDoubt},
			{Text: "for how long they meant to wait is not in a trace: a period as long as the stretches looks the same"}},
		Locations: at, Confidence: diagnosis.Possible, Severity: diagnosis.Info,
		Settle: "the periods of these timers are known to who wrote them",
		Next:   []string{"give the program a second processor and trace again: the waits fall to what was asked for"},
	}
	s.lateTimers(&f, late)
	if stubborn := float64(stretch) >= 1e6*s.p.Limit("long-run-ms"); stubborn || float64(count) >= s.p.Limit("many-timers") {
		f.Severity = diagnosis.Warning
		if stubborn && float64(count) >= s.p.Limit("many-timers") {
			f.Confidence = diagnosis.Likely
		}
	}
	return f
}

// lateTimers names those that wait for nothing but time.
func (s *course) lateTimers(f *diagnosis.Finding, late []int) {
	for _, i := range late[:min(len(late), maxKins)] {
		site := &s.line.Sites[i]
		ref, where := evidence.SiteRef(i), ""
		if frame, ok := s.t.Open(s.t.Site(i)); ok {
			f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: frame, Ref: ref})
			where = " in " + derive.Where(frame)
		}
		f.Victims = append(f.Victims, ref)
		f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{ref}, Text: fmt.Sprintf(
			"%s%s %s for nothing but time and %s once for each stretch: %d waits, half of them took up to %s, the longest %s",
			derive.Count(site.Peak, "goroutine", "goroutines"), where, verb(site.Peak, "waits", "wait"), verb(site.Peak, "wakes", "wake"), site.Hist.Total(), derive.Typical(&site.Hist, 0.5, site.MaxNS), derive.Lasting(int64(site.MaxNS)))})
	}
}
