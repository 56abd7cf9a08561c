package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// HoldShare is what holders of a lock did for a part of the time for which they had it.
type HoldShare struct {
	Spot    Spot
	State   evidence.ActState
	NS      uint64
	Count   uint64
	Release int // the Release in which most of it stands
	most    uint64
}

// Holding is what the holders of a lock did while others waited for it.
type Holding struct {
	Lock   *ContendedLock
	Shares []HoldShare // longest first; the same work at the same line is one, whoever let go
	Known  uint64      // of Lock.HoldNS: what the shares explain
	Heavy  int64       // half of the time for which it was held belongs to holds of at least this length
	Usual  int64       // half of that time was spent by places whose median hold is at least this
	Next   *ContendedLock
	NextNS uint64 // how much of the holds was spent waiting for Next
	NextAt Spot   // and where

	Running, Ready, Collector, Stopped uint64 // of Known: computed, waited for a processor, for the collector, was blocked or in a call
}

// Main is the share that explains most of the holds; ok is false when none is known.
func (h *Holding) Main() (HoldShare, bool) {
	if len(h.Shares) == 0 {
		return HoldShare{}, false
	}
	return h.Shares[0], true
}

// Holding adds up what the holders of a lock did.
func (t *Timeline) Holding(l *ContendedLock) Holding {
	h := Holding{Lock: l, Heavy: Weighty(&l.Holds), Usual: t.usual(l)}
	for _, r := range l.Releases {
		for _, part := range t.Line.Releases[r].Parts {
			h.add(t, r, part)
		}
	}
	slices.SortStableFunc(h.Shares, func(a, b HoldShare) int { return cmp.Compare(b.NS, a.NS) })
	h.follow(t)
	return h
}

func (h *Holding) add(t *Timeline, release int, part evidence.HoldPart) {
	spot := t.Stretch(part.State, part.Reason, part.Stack)
	if spot.Lock != LockNone && h.Lock == t.lockAt(part.Stack) {
		return // it had let go in between and queues again: no part of a hold
	}
	h.Known += part.NS
	switch {
	case spot.Doing.Activity == ActivityCollector:
		h.Collector += part.NS
	case part.State == evidence.ActRunning:
		h.Running += part.NS
	case part.State == evidence.ActReady:
		h.Ready += part.NS
	default:
		h.Stopped += part.NS
	}
	for i := range h.Shares {
		if s := &h.Shares[i]; s.State == part.State && t.sameWork(s, spot, release) {
			s.NS += part.NS
			s.Count += part.Count
			if part.NS > s.most {
				s.most, s.Release, s.Spot = part.NS, release, spot
			}
			return
		}
	}
	h.Shares = append(h.Shares, HoldShare{Spot: spot, State: part.State, NS: part.NS, Count: part.Count, Release: release, most: part.NS})
}

// sameWork reports whether a share is of the same kind and at the same line. For time on a processor the line is where the lock was let go.
func (t *Timeline) sameWork(s *HoldShare, spot Spot, release int) bool {
	if s.State == evidence.ActRunning || s.State == evidence.ActReady {
		a, okA := t.Open(t.wakes[s.Release])
		b, okB := t.Open(t.wakes[release])
		return okA == okB && a.Function == b.Function
	}
	if s.Spot.Doing.Activity != spot.Doing.Activity {
		return false
	}
	a, okA := t.Open(s.Spot)
	b, okB := t.Open(spot)
	return okA == okB && a.Function == b.Function && a.Line == b.Line
}

// lockAt is the lock that goroutines wait for at a stack; nil when there is none.
func (t *Timeline) lockAt(stack evidence.StackID) *ContendedLock {
	if t.byStack == nil {
		t.byStack = map[evidence.StackID]*ContendedLock{}
		for i := range t.Locks {
			for _, site := range t.Locks[i].Sites {
				t.byStack[t.Line.Sites[site].Stack] = &t.Locks[i]
			}
		}
	}
	return t.byStack[stack]
}

// follow finds the lock for which the holders waited most.
func (h *Holding) follow(t *Timeline) {
	sums, where := map[*ContendedLock]uint64{}, map[*ContendedLock]Spot{}
	for i := range h.Shares {
		s := &h.Shares[i]
		if s.State != evidence.ActBlocked || s.Spot.Lock == LockNone {
			continue
		}
		next := t.lockAt(s.Spot.Stack)
		if next == nil {
			continue
		}
		if sums[next] == 0 {
			where[next] = s.Spot // the shares are sorted
		}
		sums[next] += s.NS
		if sums[next] > h.NextNS {
			h.Next, h.NextNS, h.NextAt = next, sums[next], where[next]
		}
	}
}

// maxHoldChain bounds how many locks are followed from one to the next.
const maxHoldChain = 8

// Behind are the holdings from a lock to the one at the root: where the holders of one wait, for at least half of their holds, for a
// further lock, that one comes next. It ends before a lock that was there already.
func (t *Timeline) Behind(l *ContendedLock) []Holding {
	var chain []Holding
	for range maxHoldChain {
		h := t.Holding(l)
		chain = append(chain, h)
		again := slices.ContainsFunc(chain, func(x Holding) bool { return x.Lock == h.Next })
		if h.Next == nil || again || 2*h.NextNS < h.Known {
			break
		}
		l = h.Next
	}
	return chain
}

// explained is the share of the time in which somebody waited that the holds must fill to explain it. Holds are lower bounds; those of a hot
// lock whose holders are preempted now and then filled a seventh, those of slow holders nine tenths.
const explained = 0.3

// fill reports whether the holds are a good part of the time in which somebody waited.
func (h *Holding) fill() bool { return float64(h.Lock.HoldNS) >= explained*float64(h.Lock.BusyNS) }

// stops reports whether the holders stand in calls or are blocked for most of the holds.
func (h *Holding) stops() bool { return h.Known > 0 && 2*h.Stopped >= h.Known }

// Slow reports whether the queue is there because holders keep the lock for long: the holds fill a good part of the time in which somebody
// waited, and half of the held time is in holds of at least long nanoseconds, or of stopped ones when for most of it the holders do not
// compute but stand in a call or are blocked. Of unknown holds it cannot be said.
func (h *Holding) Slow(long, stopped float64) bool {
	return h.fill() && (float64(h.Heavy) >= long || h.stops() && float64(h.Heavy) >= stopped)
}

// Steady is Slow of what usually happens at the places where the lock is held, and not of the few holds that a preemption or a host that
// stood still has made long. Who keeps a lock for long each time is found beside others who only touch it.
func (h *Holding) Steady(long, stopped float64) bool {
	return h.fill() && (float64(h.Usual) >= long || h.stops() && float64(h.Usual) >= stopped)
}

// usual is the length at which half of the held time is reached, over the places that let go, from the longest median hold down.
func (t *Timeline) usual(l *ContendedLock) int64 {
	rows := slices.Clone(l.Releases)
	median := func(i int) int64 { return t.Line.Releases[i].Holds.Quantile(0.5) }
	slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare(median(b), median(a)) })
	var seen uint64
	for _, i := range rows {
		seen += t.Line.Releases[i].HoldNS
		if l.HoldNS > 0 && seen >= l.HoldNS-seen {
			return median(i)
		}
	}
	return 0
}

// Saturated reports whether goroutines ran for a share of the processors' time while, on average, at least one more was ready to: then who waits
// for a short section would find no processor if it did not.
func (t *Timeline) Saturated(share float64) bool {
	l := t.Line
	room := float64(l.SpanNS) * float64(l.Procs)
	return room > 0 && float64(l.RunNS) >= share*room && l.ReadyNS >= uint64(l.SpanNS)
}

// Weighty is the duration at which half of the summed time is reached, from the longest down: the middle of its power of two. Many short
// durations do not hide the long ones in which the time went, as they do in a median.
func Weighty(h *evidence.Histogram) int64 {
	weight := func(i int) float64 {
		if i == 0 {
			return 0
		}
		return 0.75 * float64(uint64(1)<<i)
	}
	var total, seen float64
	for i, n := range h {
		total += weight(i) * float64(n)
	}
	for i := len(h) - 1; i >= 0; i-- {
		seen += weight(i) * float64(h[i])
		if total > 0 && 2*seen >= total {
			return int64(weight(i))
		}
	}
	return 0
}
