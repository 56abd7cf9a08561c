package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Link is one step of a chain of locks: a lock and the goroutine that seems to hold it.
type Link struct {
	Addr   uint64
	Name   string
	Holder Holder
}

// Chain is the way from a lock to what keeps it: the holder, the lock that one waits for, its holder, and so on. The last
// link is the root.
type Chain struct {
	Links []Link
	Cycle bool // the holders wait for each other: a deadlock
}

// Root is the last link; ok is false when no holder is known.
func (c Chain) Root() (Link, bool) {
	if len(c.Links) == 0 {
		return Link{}, false
	}
	return c.Links[len(c.Links)-1], true
}

// Chain follows the holders from a lock to the root.
func (l *Locks) Chain(lock *Lock) Chain {
	var chain Chain
	if len(lock.Holders) == 0 {
		return chain
	}
	seen := map[uint64]bool{}
	addr, name, holders := lock.Addr, lock.Name, lock.Holders
	for {
		seen[addr] = true
		h := holders[0]
		chain.Links = append(chain.Links, Link{addr, name, h})
		next := h.G.WaitsOn
		if h.Doing.Activity != ActivityLock || next == 0 {
			return chain
		}
		if seen[next] {
			chain.Cycle = true
			return chain
		}
		holders = l.holdersOf(next)
		if len(holders) == 0 {
			return chain
		}
		addr, name = next, l.nameOf(next)
	}
}

func (l *Locks) nameOf(addr uint64) string {
	for i := range l.List {
		if l.List[i].Addr == addr {
			return l.List[i].Name
		}
	}
	s, _ := l.c.Sync(addr)
	s.Addr = addr
	lock := Lock{Addr: addr, Sync: s}
	return lock.name()
}

// Candidate is a set of goroutines with the same stack that may hold a lock because they stand where one stands after taking
// it. The stacks alone cannot tell more.
type Candidate struct {
	Holder
	Count  int
	Beyond bool // it stands behind the line where the waiters ask for the lock, in the same function
}

// Candidates returns the goroutines that may hold a lock, judged by stacks alone: they are inside the function that the waiters
// are in (behind the line of the Lock), or inside another method of the same type, and do something else than to wait for
// that lock. The best come first.
func (l *Locks) Candidates(lock *Lock) []Candidate {
	l.indexNames()
	var list []Candidate
	seen := map[int]bool{}
	for _, w := range lock.places() {
		if w.Frame < 0 {
			continue
		}
		call := l.c.Stack(w.Stack).At(w.Frame)
		for _, at := range l.byName[Receiver(call.Function)] {
			if !seen[at] {
				seen[at] = true
				list = l.candidate(list, lock, at)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Candidate) int {
		return cmp.Or(-compareBool(a.Beyond, b.Beyond), cmp.Compare(rank(a.Doing), rank(b.Doing)), cmp.Compare(a.Count, b.Count))
	})
	return list
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// candidate adds the group when it can hold the lock.
func (l *Locks) candidate(list []Candidate, lock *Lock, at int) []Candidate {
	group := l.c.Groups()[at]
	g := l.c.Goroutines().At(group.First)
	d := l.f.Doing(g)
	s := l.c.Stack(g.Stack)
	if d.Activity == ActivityReady || (d.Activity == ActivityLock && l.sameOwner(lock, s)) {
		return list // it waits for this lock, or has just been woken from the queue
	}
	best, sure := -1, false
	for i := range s.Len() { // the outermost such frame has the whole section inside it; one behind the Lock goes first
		if beyond, stands := lock.standsAfter(l.c, s.At(i)); stands && (beyond || !sure) {
			best, sure = i, beyond
		}
	}
	if best < 0 {
		return list
	}
	h := Holder{G: g, Depth: best, Ref: g.Ref(), Doing: d}
	return append(list, Candidate{Holder: h, Count: group.Count, Beyond: sure})
}

// places are the waiters that a guess goes by: those of the commonest stacks.
func (l *Lock) places() []LockWaiters { return l.Waiters[:min(len(l.Waiters), 16)] }

// sameOwner reports whether a waiting stack waits for a lock of the same owner.
func (l *Locks) sameOwner(lock *Lock, s evidence.Stack) bool {
	at, ok := l.f.LockCall(s)
	if !ok {
		return false
	}
	owner := Receiver(s.At(at).Function)
	return slices.ContainsFunc(lock.places(), func(w LockWaiters) bool {
		return w.Frame >= 0 && Receiver(l.c.Stack(w.Stack).At(w.Frame).Function) == owner
	})
}

// standsAfter reports whether a frame is where one can be with the lock held: in another method of the owner, or in a waiter's
// function behind the line of its Lock (then beyond is true).
func (l *Lock) standsAfter(c *evidence.Case, frame evidence.Frame) (beyond, stands bool) {
	for _, w := range l.places() {
		if w.Frame < 0 {
			continue
		}
		call := c.Stack(w.Stack).At(w.Frame)
		if call.Function == frame.Function && l.FD {
			return false, true // the lock is taken inside the call that uses it
		}
		if call.Function == frame.Function {
			return frame.Line > call.Line, frame.Line > call.Line
		}
		stands = stands || Receiver(call.Function) == Receiver(frame.Function)
	}
	return false, stands
}

// indexNames lists for each receiver or function the groups that have it on their stack.
func (l *Locks) indexNames() {
	if l.byName != nil {
		return
	}
	l.byName = map[string][]int{}
	for at, g := range l.c.Groups() {
		if g.AnyFlag.Has(evidence.FlagSystem) {
			continue
		}
		s := l.c.Stack(g.Stack)
		for i := range min(s.Len(), maxNamedFrames) {
			if o := l.f.Owner(s.FrameID(i)); o == OwnerRuntime || o == OwnerNative {
				continue
			}
			name := Receiver(s.At(i).Function)
			if list := l.byName[name]; len(list) == 0 || list[len(list)-1] != at {
				l.byName[name] = append(list, at)
			}
		}
	}
}

// maxNamedFrames bounds how deep a stack is searched for a holder's frame.
const maxNamedFrames = 512
