package derive

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Turns is a loop of the program that goes round by giving its processor away: by yielding, by a sleep, by waiting for a timer or a
// deadline. It is all that goroutines did in one of these ways at one line.
type Turns struct {
	Shape PollShape
	Frame evidence.Frame // the line
	Sites []int          // in the order of the Timeline

	Count   uint64 // how often it went round
	Ended   uint64 // of these, those that came back
	WaitNS  uint64 // away
	RunNS   uint64 // on a processor, between coming back and the next wait
	Hist    evidence.Histogram
	Unwoken uint64 // came back, but not because a goroutine had done something
	FirstNS int64
	LastNS  int64
	Load    []uint32
	Peak    int
	Reads   uint64           // of deadlines: reads and writes that were tried at the line
	Top     []evidence.Share // goroutines
	Bench   bool             // the loop is the body of a benchmark
}

// WindowNS is the time from the first turn to the last.
func (l *Turns) WindowNS() int64 { return max(l.LastNS-l.FirstNS, 1) }

// Rate is how often a second it went round while it did.
func (l *Turns) Rate() float64 { return float64(l.Count) / (float64(l.WindowNS()) / 1e9) }

// MeanWait is how long it was away each turn.
func (l *Turns) MeanWait() float64 { return float64(l.WaitNS) / float64(max(l.Count, 1)) }

// ShortWaits are the waits in powers of two of ns up to bits, and how long they were on average at most: what a host that stood still has
// made long is left out.
func (l *Turns) ShortWaits(bits int) (count uint64, mean float64) {
	rest := float64(l.WaitNS)
	for i, n := range l.Hist {
		if i <= bits {
			count += uint64(n)
		} else {
			rest -= float64(n) * float64(uint64(1)<<(i-1))
		}
	}
	return count, max(rest, 0) / float64(max(count, 1))
}

// MeanRun is how long it ran each turn.
func (l *Turns) MeanRun() float64 { return float64(l.RunNS) / float64(max(l.Count, 1)) }

// Occupied is the share of its window for which the loop took up the goroutines that were there at once, away or on a processor: 1 of
// goroutines that only go round.
func (l *Turns) Occupied() float64 {
	return float64(l.WaitNS+l.RunNS) / float64(l.WindowNS()) / float64(max(l.Peak, 1))
}

// Covered is the share of the slices in its window in which somebody was there.
func (l *Turns) Covered(sliceNS int64) float64 {
	if sliceNS <= 0 {
		return 0
	}
	return CoveredSlices(l.Load, l.FirstNS, l.LastNS, sliceNS)
}

// CoveredSlices is the share of the slices from one moment to another in which a load is not zero.
func CoveredSlices(load []uint32, from, to, sliceNS int64) float64 {
	first, last := max(from, 0)/sliceNS, max(to, 0)/sliceNS
	if last < first {
		return 0
	}
	busy := 0
	for i := first; i <= last && i < int64(len(load)); i++ {
		if load[i] > 0 {
			busy++
		}
	}
	return float64(busy) / float64(last-first+1)
}

// TimedOut is the share of the waits at a deadline that ended because it passed. A read is tried before each wait, and once more when
// data have come, but not when the deadline has (internal/poll/fd_unix.go, FD.Read, Go 1.21 to 1.26): so a wait for data has two tries.
func (l *Turns) TimedOut() float64 {
	if l.Count == 0 || l.Reads == 0 {
		return 0
	}
	return min(max(2-float64(l.Reads)/float64(l.Count), 0), 1)
}

// turnReasons are the waits by which loops go round (traceBlockReasonStrings in runtime/traceruntime.go, Go 1.22 to 1.26).
var turnReasons = map[string]PollShape{"sleep": PollSleep, "select": PollTimer, "chan receive": PollTimer, "network": PollDeadline}

// Turns are the loops that give their processor away, those with the most turns first. Which of them poll is for a rule to say: a
// server that waits for its clients goes round as well.
func (t *Timeline) Turns() []Turns {
	if t.Line == nil {
		return nil
	}
	type place struct {
		function string
		line     int
		shape    PollShape
	}
	var list []Turns
	index := map[place]int{}
	for i := range t.Line.Sites {
		shape, at := t.turnAt(i)
		if shape == PollNone {
			continue
		}
		s := t.c.Stack(t.Line.Sites[i].Stack)
		key := place{s.At(at).Function, s.At(at).Line, shape}
		n, ok := index[key]
		if !ok {
			n = len(list)
			index[key] = n
			list = append(list, Turns{Shape: shape, Frame: s.At(at), FirstNS: t.Line.Sites[i].FirstNS})
		}
		list[n].add(&t.Line.Sites[i], i)
		list[n].Bench = list[n].Bench || t.benchBody(s, at)
	}
	for i := range list {
		switch list[i].Shape {
		case PollDeadline:
			list[i].Reads = t.tries(list[i].Frame)
		case PollYield:
			list[i].RunNS = max(list[i].RunNS, t.ranBetween(&list[i]))
		}
	}
	slices.SortStableFunc(list, func(a, b Turns) int { return cmp.Compare(b.Count, a.Count) })
	return list
}

// ranBetween is how long goroutines ran in so many turns: a yield ends no wait, so that a site does not tell. A goroutine runs as long in one
// turn as in another, and one that is not named as long as those that are.
func (t *Timeline) ranBetween(l *Turns) uint64 {
	var ran, runs uint64
	for _, share := range l.Top {
		if a, ok := t.Line.Actor(share.Goroutine); ok {
			ran, runs = ran+a.RunNS, runs+a.Runs
		}
	}
	return uint64(float64(ran) / float64(max(runs, 1)) * float64(l.Count))
}

// turnAt says how a site goes round, and which frame's loop it is.
func (t *Timeline) turnAt(i int) (PollShape, int) {
	site, spot := &t.Line.Sites[i], t.Site(i)
	s := t.c.Stack(site.Stack)
	at, ok := t.programFrame(s, 0)
	if spot.Own || !ok {
		return PollNone, 0
	}
	shape := PollNone
	switch site.Kind {
	case evidence.SiteYield:
		shape = PollYield
	case evidence.SiteBlock:
		shape = turnReasons[site.Reason]
	}
	if shape == PollDeadline || (shape != PollNone && t.calledFor(s, at, shape)) {
		return shape, at
	}
	return PollNone, 0
}

// calledFor reports whether the program itself asked for the yield or wait, and not something that it called: the collector yields, and
// the standard library polls, for reasons of their own. Up to Go 1.22 runtime.Gosched is not on the stack, since Go 1.25 it is twice.
func (t *Timeline) calledFor(s evidence.Stack, at int, shape PollShape) bool {
	for i := range at {
		name := s.At(i).Function
		switch {
		case t.f.made(s, i):
		case shape == PollYield:
			if name != "runtime.Gosched" {
				return false
			}
		case t.f.Owner(s.FrameID(i)) != OwnerRuntime && !isSleep(name):
			return false
		}
	}
	return true
}

// programFrame is the innermost frame, from one on, that somebody of the program or of a dependency wrote.
func (t *Timeline) programFrame(s evidence.Stack, from int) (int, bool) {
	for i, ok := t.f.OutsideStandard(s, from); ok; i, ok = t.f.OutsideStandard(s, i+1) {
		if !t.f.made(s, i) {
			return i, true
		}
	}
	return -1, false
}

func (l *Turns) add(s *evidence.Site, i int) {
	l.Sites = append(l.Sites, i)
	l.Count += s.Count
	l.Ended += s.Hist.Total()
	l.WaitNS += s.TotalNS
	l.RunNS += s.RunNS
	l.Unwoken += s.Unwoken
	for k, n := range s.Hist {
		l.Hist[k] += n
	}
	l.FirstNS, l.LastNS = min(l.FirstNS, s.FirstNS), max(l.LastNS, s.LastNS)
	l.Load = addLoads(l.Load, s.Load)
	l.Peak = max(l.Peak, s.Peak)
	l.Top = addShares(l.Top, s.Top)
}

// addLoads adds loads by slice.
func addLoads(a, b []uint32) []uint32 {
	sum := append([]uint32(nil), a...)
	for i, v := range b {
		if i >= len(sum) {
			sum = append(sum, 0)
		}
		sum[i] += v
	}
	return sum
}

// addShares adds the shares of goroutines: the largest first.
func addShares(a, b []evidence.Share) []evidence.Share {
	sum := append([]evidence.Share(nil), a...)
	for _, v := range b {
		if i := slices.IndexFunc(sum, func(s evidence.Share) bool { return s.Goroutine == v.Goroutine }); i >= 0 {
			sum[i].Count += v.Count
		} else {
			sum = append(sum, v)
		}
	}
	slices.SortFunc(sum, func(a, b evidence.Share) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Goroutine, b.Goroutine))
	})
	return sum
}

// transferNames are the system calls that move bytes, in the words of package syscall.
var transferNames = setOf("read", "readv", "pread", "recvfrom", "recvmsg", "recvfrominet4", "recvfrominet6", "recvmsginet4", "recvmsginet6",
	"recvfromunix", "write", "writev", "pwrite", "sendto", "sendmsg", "sendtoinet4", "sendtoinet6", "sendmsgn", "sendmsgninet4",
	"sendmsgninet6", "sendfile", "preadv", "pwritev", "send", "recv")

// Moves reports whether a Spot is a system call that moves bytes.
func (p *Spot) Moves() bool { return transferNames[p.Syscall] }

// tries counts the reads and writes at a line.
func (t *Timeline) tries(line evidence.Frame) uint64 {
	var n uint64
	for i := range t.Line.Sites {
		if spot := t.Site(i); t.Line.Sites[i].Kind != evidence.SiteSyscall || !spot.Moves() {
			continue
		}
		s := t.c.Stack(t.Line.Sites[i].Stack)
		if at, ok := t.programFrame(s, 0); ok && s.At(at).Function == line.Function && s.At(at).Line == line.Line {
			n += t.Line.Sites[i].Count
		}
	}
	return n
}

// Deeds is what the named goroutines did besides, each turn on average: system calls, and goroutines that they woke.
func (t *Timeline) Deeds(l *Turns) float64 {
	var deeds, turns uint64
	for _, share := range l.Top {
		a, ok := t.Line.Actor(share.Goroutine)
		if !ok {
			continue
		}
		turns += share.Count
		deeds += a.Syscalls + t.wakesBy(share.Goroutine)
	}
	if turns == 0 {
		return 0
	}
	return float64(deeds) / float64(turns)
}

// wakesBy is how many waits a goroutine has ended, at least.
func (t *Timeline) wakesBy(goroutine int64) uint64 {
	var n uint64
	for i := range t.Line.Releases {
		for _, share := range t.Line.Releases[i].Top {
			if share.Goroutine == goroutine {
				n += share.Count
			}
		}
	}
	return n
}

// benchBody reports whether package testing calls a frame's function as a benchmark: what stands there goes round on purpose.
func (t *Timeline) benchBody(s evidence.Stack, at int) bool {
	return at+1 < s.Len() && strings.HasPrefix(s.At(at+1).Function, "testing.(*B).")
}

// UnderBenchmark reports whether package testing repeats what is on a stack, or has had the goroutine started that it belongs to: then
// how often it happens says nothing about the program.
func (t *Timeline) UnderBenchmark(stack evidence.StackID, goroutine int64) bool {
	stacks := []evidence.StackID{stack}
	if a, ok := t.Line.Actor(goroutine); ok && a.Spawn >= 0 && a.Spawn < len(t.Line.Spawns) {
		stacks = append(stacks, t.Line.Spawns[a.Spawn].Stack)
	}
	for _, id := range stacks {
		for _, f := range t.c.Stack(id).All() {
			if strings.HasPrefix(f.Function, "testing.(*B).") {
				return true
			}
		}
	}
	return false
}
