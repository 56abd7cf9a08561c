package schedstarvation

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// queue is goroutines that wait at one site for a goroutine that computes.
type queue struct {
	site   int
	mean   float64 // how many wait at a time
	served uint64  // waits that the goroutine has ended
	sites  []int   // rows of Releases that say so
	firm   bool    // what they do there is to hand something over, or to wait for an answer, and not to wait for work
}

// serial looks for one goroutine that computes all the time, alone, and ends the waits of many others.
func (s *course) serial() bool {
	if s.line.Procs == 1 || s.mean(s.line.RunNS) >= s.p.Limit("max-running") {
		return false
	}
	for i := range s.line.Actors {
		a := &s.line.Actors[i]
		if a.System || s.line.ShareOf(a.RunNS) < s.p.Limit("serial-share") {
			continue
		}
		firm, weak := s.queues(a.Goroutine)
		list, sure := firm, true
		if waiting(firm) < s.p.Limit("min-waiting") {
			list, sure = slices.Concat(firm, weak), false
		}
		if waiting(list) < s.p.Limit("min-waiting") {
			s.p.Silent("goroutine %d runs %s of the time, alone, and %.1f others wait for it at a time: a program that does one thing at a time",
				a.Goroutine, derive.Percent(s.line.ShareOf(a.RunNS)), waiting(list))
			return false
		}
		s.both.Hold(s.serialFinding(a, list, sure))
		return true
	}
	return false
}

func waiting(list []queue) float64 {
	sum := 0.0
	for _, q := range list {
		sum += q.mean
	}
	return sum
}

// queues are the sites whose waits a goroutine ends, those with the most waiters first. Waits that end once, as that of a parent for its
// child, do not count.
func (s *course) queues(goroutine int64) (firm, weak []queue) {
	bySite := map[int]*queue{}
	var order []int
	total := map[int]uint64{}
	for i := range s.line.Releases {
		r := &s.line.Releases[i]
		total[r.Site] += r.Count
		for _, share := range r.Top {
			if share.Goroutine != goroutine {
				continue
			}
			q := bySite[r.Site]
			if q == nil {
				q = &queue{site: r.Site}
				bySite[r.Site] = q
				order = append(order, r.Site)
			}
			q.served += share.Count
			q.sites = append(q.sites, i)
		}
	}
	for _, at := range order {
		q := bySite[at]
		spot := s.t.Site(at)
		kind, counts := s.wants(at)
		if s.line.Sites[at].Kind != evidence.SiteBlock || spot.Own || !counts || float64(q.served) < s.p.Limit("min-served") {
			continue
		}
		q.mean = s.t.Mean(at) * float64(q.served) / float64(max(total[at]+s.line.Sites[at].Unwoken, q.served))
		if q.firm = kind; q.firm {
			firm = append(firm, *q)
		} else {
			weak = append(weak, *q)
		}
	}
	for _, list := range [][]queue{firm, weak} {
		slices.SortStableFunc(list, func(a, b queue) int { return cmp.Compare(b.mean, a.mean) })
	}
	return firm, weak
}

// wants says whether goroutines that wait at a site want something from whoever wakes them. Who sends, waits for a lock or receives one
// answer does; who waits in a select or a condition may as well be a worker without work, and who takes the next value of a channel in
// a loop is one.
func (s *course) wants(site int) (firm, counts bool) {
	spot := s.t.Site(site)
	switch spot.Doing.Activity {
	case derive.ActivitySend, derive.ActivityLock, derive.ActivitySemaphore, derive.ActivityGroup:
		return true, true
	case derive.ActivityReceive:
		_, next := derive.Has(s.c.Stack(spot.Stack), "runtime.chanrecv2")
		return true, !next
	case derive.ActivitySelect, derive.ActivityCond:
		return false, true
	}
	return false, false
}
