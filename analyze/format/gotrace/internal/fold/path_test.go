package fold

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// course is what each goroutine did, in order, of a history that was played.
type course map[int64][]evidence.Leg

func (c course) set(at, id int64, state evidence.ActState) {
	list := c[id]
	if n := len(list); n > 0 {
		list[n-1].NS = at - list[n-1].StartNS
	}
	c[id] = append(list, evidence.Leg{Goroutine: id, State: state, StartNS: at})
}

// covers reports whether a goroutine was in the state of a leg all the time. Neighbours of the same state are one leg of a path.
func (c course) covers(l evidence.Leg) bool {
	at := l.StartNS
	for _, s := range c[l.Goroutine] {
		if s.State == l.State && s.StartNS <= at && at < s.StartNS+s.NS {
			at = s.StartNS + s.NS
		}
	}
	return at >= l.StartNS+l.NS
}

// gather plays a goroutine that has workers do parts of a task, each of which waits for others, and waits for all of them. The workers do
// little enough to be remembered.
func gather(h *history, workers int64, depth int) (course, int64) {
	c, at := course{}, int64(1000)
	h.Appear(0, h.g(1), StateRunning, stackMain)
	c.set(0, 1, evidence.ActRunning)
	h.Task(at, h.g(1), 1, 0, "gather", stackMain)
	next := int64(2)
	var work func(parent int64, depth int)
	work = func(parent int64, depth int) {
		first := next
		for range workers {
			at += 10
			h.Create(at, h.g(next), h.g(parent), stackWorker, stackGo, false)
			c.set(at, next, evidence.ActReady)
			next++
		}
		last := next
		at += 5
		h.Block(at, h.g(parent), h.sync, stackWaitGroup)
		c.set(at, parent, evidence.ActBlocked)
		for id := first; id < last; id++ {
			at += 7
			h.Run(at, h.g(id))
			c.set(at, id, evidence.ActRunning)
			at += 100
			h.Syscall(at, h.g(id), stackRead)
			c.set(at, id, evidence.ActSyscall)
			at += 300 * id
			h.Sysexit(at, h.g(id), false)
			c.set(at, id, evidence.ActRunning)
			at += 20
			if depth > 1 {
				work(id, depth-1)
			}
			if id == last-1 {
				at++
				h.Unblock(at, h.g(parent), h.g(id), stackSend)
				c.set(at, parent, evidence.ActReady)
			}
			at += 3
			h.Exit(at, h.g(id))
			c.set(at, id, evidence.ActRunning)
		}
		at += 50
		h.Run(at, h.g(parent))
		c.set(at, parent, evidence.ActRunning)
	}
	work(1, depth)
	at += 100
	h.TaskEnd(at, h.g(1), 1)
	c.set(at, 1, evidence.ActRunning)
	return c, at
}

// TestPathsAreTrue plays trees of goroutines and holds every leg of the path against what was played.
func TestPathsAreTrue(t *testing.T) {
	for _, test := range []struct {
		workers int64
		depth   int
	}{{1, 1}, {3, 1}, {1, 3}, {2, 3}, {4, 2}} {
		h := newHistory(t)
		c, at := gather(h, test.workers, test.depth)
		line, _ := h.end(at + 100)
		if len(line.Activities) != 1 {
			t.Fatalf("%+v", line.Activities)
		}
		a := line.Activities[0]
		if a.Cut || a.Open {
			t.Errorf("%+v: cut %v, open %v", test, a.Cut, a.Open)
		}
		contiguous(t, a)
		blocked := int64(0)
		for i, l := range a.Path {
			if !c.covers(l) {
				t.Errorf("%+v: leg %d is not what goroutine %d did: %+v", test, i, l.Goroutine, l)
			}
			if l.State == evidence.ActBlocked {
				blocked += l.NS
			}
			if i > 0 && l.State == a.Path[i-1].State && l.Goroutine == a.Path[i-1].Goroutine && l.Stack == a.Path[i-1].Stack {
				t.Errorf("%+v: legs %d and %d are one", test, i-1, i)
			}
		}
		if blocked != 0 {
			t.Errorf("%+v: every wait was ended by one who worked; %d ns are left as waits", test, blocked)
		}
	}
}

// TestPathOfManyLegs has more legs than a path: its end is kept.
func TestPathOfManyLegs(t *testing.T) {
	h := newHistory(t)
	c, at := gather(h, 1, 20)
	line, _ := h.end(at)
	a := line.Activities[0]
	if !a.Cut || len(a.Path) != maxLegs {
		t.Fatalf("%d legs, cut %v", len(a.Path), a.Cut)
	}
	if last := a.Path[maxLegs-1]; last.StartNS+last.NS != a.StartNS+a.NS || last.Goroutine != 1 {
		t.Errorf("the last leg is %+v", last)
	}
	for i, l := range a.Path {
		if !c.covers(l) {
			t.Errorf("leg %d is not what goroutine %d did: %+v", i, l.Goroutine, l)
		}
	}
}

// TestPathOfNobody has tasks that are ended by no goroutine, or are open and their goroutine gone.
func TestPathOfNobody(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Task(100, nil, 1, 0, "a", 0)
	h.TaskEnd(200, nil, 1)
	h.Task(300, h.g(2), 2, 0, "b", 0)
	h.Task(350, h.g(2), 2, 0, "b", 0) // again
	h.Exit(400, h.g(2))
	h.Task(500, h.g(1), 3, 2, "c", 0)
	line, _ := h.end(1000)
	if len(line.Activities) != 3 {
		t.Fatalf("%+v", line.Activities)
	}
	for _, a := range line.Activities {
		name := line.Kinds[a.Kind].Name
		if open, known := name != "a", name == "c"; a.Open != open || a.Cut == known || (len(a.Path) > 0) != known {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestPathEnds walks rings that were made by hand: wakers that wake each other at the same moment, and rings of others.
func TestPathEnds(t *testing.T) {
	table := &ringTable{blocks: []*[ringBlock]ring{new([ringBlock]ring)}}
	for n, owner := range []int64{0, 10, 20} {
		h := table.head(uint32(n))
		h.owner, h.born = owner, never
	}
	table.push(1, evidence.ActRunning, 0, 0)
	table.push(1, evidence.ActBlocked, 100, 5)
	table.wokenBy(1, 2)
	table.push(1, evidence.ActReady, 200, 6)
	table.push(2, evidence.ActBlocked, 0, 7)
	table.wokenBy(2, 1)
	table.push(2, evidence.ActReady, 150, 8)
	table.push(2, evidence.ActReady, 200, 8)
	w := &walker{rings: table}
	if reached := w.walk(1, 0, 250, 0); reached != 0 || w.cut {
		t.Errorf("reached %d, cut %v", reached, w.cut)
	}
	slices.Reverse(w.legs)
	sum := int64(0)
	for _, l := range w.legs {
		if l.start != sum {
			t.Errorf("%+v", w.legs)
		}
		sum += l.ns
	}
	if sum != 250 {
		t.Errorf("%d ns of %d", sum, 250)
	}
	if reached := (&walker{rings: table}).walk(0, 0, 50, 0); reached != 50 {
		t.Error("a ring of nobody")
	}
	w = &walker{rings: table, steps: maxSteps}
	if w.walk(1, 0, 250, 0); !w.cut {
		t.Error("a walk without end")
	}
	w = &walker{rings: table}
	if w.walk(1, 0, 250, maxDepth); w.legs[1].state != evidence.ActBlocked {
		t.Errorf("too deep: the wait itself is told: %+v", w.legs)
	}
}
