package derive

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Outward is a Spot of a lock with the line to open moved to the caller, where the function that takes the lock or lets it go does so for its
// caller: it runs a function that it is given (With), or is one of a pair of methods between which the section lies (Lock and Unlock of a
// wrapper type). Other Spots are returned as they are.
func (t *Timeline) Outward(l *ContendedLock, p Spot) Spot {
	s := t.c.Stack(p.Stack)
	at, ok := t.Frame(p, p.Caller)
	if !ok || p.User != p.Caller || !t.callsBack(at.Function) && !t.paired(l, at.Function) {
		return p
	}
	for i := p.Caller + 1; i < s.Len(); i++ {
		if t.f.Owner(s.FrameID(i)) == OwnerRuntime {
			break
		}
		if s.At(i).Function != at.Function {
			p.User = i
			break
		}
	}
	return p
}

// callsBack reports whether a function was seen to run what its caller had given to it: a closure of the caller, or code of the caller's
// package called from another one. Packages do not import each other in circles, so that such a call goes through a value.
func (t *Timeline) callsBack(function string) bool {
	for i := range t.Line.Sites {
		s := t.c.Stack(t.Line.Sites[i].Stack)
		for k := 1; k+1 < s.Len(); k++ {
			if s.At(k).Function != function {
				continue
			}
			inner, outer := s.At(k-1).Function, s.At(k+1).Function
			if strings.HasPrefix(inner, outer+".func") || Package(inner) == Package(outer) && Package(inner) != Package(function) {
				return true
			}
		}
	}
	return false
}

// paired reports whether a function is one of two methods of a type that the same function calls, of which one was only seen to take the
// lock and the other only to let it go. Who did both would have woken somebody in the first now and then.
func (t *Timeline) paired(l *ContendedLock, function string) bool {
	if l.Released < strangerWakes {
		return false
	}
	takers, leavers := map[string]bool{}, map[string]bool{}
	for _, i := range l.Sites {
		at, _ := t.Frame(t.Places[i], t.Places[i].Caller)
		takers[at.Function] = true
	}
	for _, i := range l.Releases {
		at, _ := t.Frame(t.wakes[i], t.wakes[i].Caller)
		leavers[at.Function] = true
	}
	for _, i := range l.Sites {
		for _, k := range l.Releases {
			a, b, ok := t.pair(t.Places[i], t.wakes[k])
			if ok && (a == function || b == function) && !leavers[a] && !takers[b] {
				return true
			}
		}
	}
	return false
}

// pair are the methods of one type that take a lock and let it go, when the same function calls both.
func (t *Timeline) pair(takes, lets Spot) (taker, leaver string, ok bool) {
	a, okA := t.Frame(takes, takes.Caller)
	b, okB := t.Frame(lets, lets.Caller)
	outA, okC := t.Frame(takes, takes.Caller+1)
	outB, okD := t.Frame(lets, lets.Caller+1)
	ok = okA && okB && okC && okD && strings.Contains(a.Function, ").") && Receiver(a.Function) == Receiver(b.Function) &&
		outA.Function == outB.Function
	return a.Function, b.Function, ok
}

// Caught is where goroutines were seen computing below the function that lets a lock go: the line at which they were sampled or taken off the
// processor most often, and how often. Who still asks for the lock there, or hands it on, is not counted.
func (t *Timeline) Caught(release int) (at evidence.Frame, site int, count uint64, ok bool) {
	waker := t.Waker(release)
	from, known := t.Frame(waker, waker.Caller)
	site = -1
	for i := range t.Line.Sites {
		s := &t.Line.Sites[i]
		if !known || s.Kind != evidence.SiteSample && s.Kind != evidence.SitePreempt || s.Count <= count {
			continue
		}
		stack := t.c.Stack(s.Stack)
		k, below := Has(stack, from.Function)
		if below && (k == 0 || !lockPackages[Package(stack.At(k-1).Function)]) {
			site, count = i, s.Count
		}
	}
	if site < 0 {
		return evidence.Frame{}, -1, 0, false
	}
	at, ok = t.Open(t.Places[site])
	return at, site, count, ok
}
