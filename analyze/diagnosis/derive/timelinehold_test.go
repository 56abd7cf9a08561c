package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func blocked(stack evidence.StackID, reason string, ns uint64) evidence.HoldPart {
	return evidence.HoldPart{State: evidence.ActBlocked, Reason: reason, Stack: stack, NS: ns, Count: 1}
}

func running(ns uint64) evidence.HoldPart {
	return evidence.HoldPart{State: evidence.ActRunning, NS: ns, Count: 1}
}

func TestHolding(t *testing.T) {
	b := newTimed()
	sleepA, sleepB := b.stack("time.Sleep:363 main.f:5 main.a:1"), b.stack("time.Sleep:363 main.f:5 main.b:1")
	mark := b.stack("runtime.gcParkAssist:700 main.f:6")
	again := b.stack(takes + "main.f:1 main.a:1")
	x := b.site(evidence.SiteBlock, "sync", takes+"main.f:1 main.a:1", 10, 1e9)
	b.release(x, letsGo+"main.f:9 main.a:1", 5, 1e9, blocked(sleepA, "sleep", 2e9), running(1e9), blocked(again, "sync", 5e9))
	second := b.release(x, letsGo+"main.f:9 main.b:1", 5, 1e9, blocked(sleepB, "sleep", 3e9), running(1e9),
		blocked(mark, "GC mark assist wait for work", 5e8), evidence.HoldPart{State: evidence.ActReady, NS: 25e7, Count: 3})
	tl := b.done()
	h := tl.Holding(&tl.Locks[0])
	if h.Known != 775e7 || h.Running != 2e9 || h.Stopped != 5e9 || h.Collector != 5e8 || h.Ready != 25e7 || h.Next != nil {
		t.Errorf("the holding is %+v", h)
	}
	first, ok := h.Main()
	if !ok || first.NS != 5e9 || first.Release != second || first.Spot.Doing.Activity != ActivitySleep {
		t.Errorf("most of it is %+v", first)
	}
	if h.Heavy < 5e8 || h.Heavy > 2e9 {
		t.Errorf("half of the time is in holds of %d", h.Heavy)
	}
}

func TestNoHolding(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteBlock, "sync", takes+"main.f:1", 10, 1e9)
	tl := b.done()
	h := tl.Holding(&tl.Locks[0])
	if _, ok := h.Main(); ok || h.Heavy != 0 || h.Known != 0 {
		t.Errorf("a lock that nobody let go was held: %+v", h)
	}
}

// chained builds locks of which the holders of each wait for the next; the last one waits for number back, or sleeps when that is -1.
func chained(n, back int) *Timeline {
	b := newTimed()
	names := []string{"main.a:1", "main.b:1", "main.c:1", "main.d:1", "main.e:1", "main.f:1", "main.g:1", "main.h:1", "main.i:1", "main.j:1", "main.k:1"}[:n]
	var stacks []evidence.StackID
	for i, name := range names {
		b.site(evidence.SiteBlock, "sync", takes+name, 100-i, 1e7)
		stacks = append(stacks, b.stack(takes+name))
	}
	sleep := b.stack("time.Sleep:363 main.z:1")
	for i, name := range names {
		part := blocked(sleep, "sleep", 9e6)
		switch {
		case i+1 < n:
			part = blocked(stacks[i+1], "sync", 9e6)
		case back >= 0:
			part = blocked(stacks[back], "sync", 9e6)
		}
		b.release(i, letsGo+name[:len(name)-1]+"2", 10, 1e6, part, running(1e6))
	}
	return b.done()
}

func TestBehind(t *testing.T) {
	for _, tt := range []struct {
		name          string
		n, back, want int
	}{{"one", 1, -1, 1}, {"three", 3, -1, 3}, {"by turns", 2, 0, 2}, {"longer than is followed", 11, -1, maxHoldChain}} {
		tl := chained(tt.n, tt.back)
		chain := tl.Behind(&tl.Locks[0])
		if len(chain) != tt.want {
			t.Errorf("%s: a chain of %d, want %d", tt.name, len(chain), tt.want)
		}
		for i, h := range chain {
			if h.Lock != &tl.Locks[i] {
				t.Errorf("%s: link %d is %s", tt.name, i, h.Lock.Name)
			}
		}
	}
}

func TestWeighty(t *testing.T) {
	var h evidence.Histogram
	if Weighty(&h) != 0 {
		t.Error("no holds are heavy")
	}
	for range 1000 {
		h.Add(1000)
	}
	if got := Weighty(&h); got < 500 || got > 2000 {
		t.Errorf("holds of 1 us give %d", got)
	}
	for range 10 {
		h.Add(1e6) // a hundredth of the holds, ten times of the time
	}
	if got := Weighty(&h); got < 5e5 || got > 2e6 {
		t.Errorf("few long holds give %d", got)
	}
	h = evidence.Histogram{5}
	if Weighty(&h) != 0 {
		t.Error("holds of no time are heavy")
	}
}

func TestSlow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hold  int64
		count int
		stops bool
		want  bool
	}{{"long holds fill the time", 2e6, 4000, false, true}, {"a few long holds", 2e6, 100, true, false},
		{"short holds fill the time", 5e5, 16000, false, false}, {"short holds in calls", 5e5, 16000, true, true},
		{"very short holds in calls", 5e4, 160000, true, false}, {"not known", 0, 100, false, false}} {
		b := newTimed()
		x := b.site(evidence.SiteBlock, "sync", takes+"main.f:1", 10000, 1e6) // busy for 9 s
		part := running(uint64(tt.hold) * uint64(tt.count))
		if tt.stops {
			part.State, part.Stack = evidence.ActSyscall, b.stack(writeEnd+"main.f:2")
		}
		b.release(x, letsGo+"main.f:2", tt.count, tt.hold, part)
		tl := b.done()
		if h := tl.Holding(&tl.Locks[0]); h.Slow(1e6, 2e5) != tt.want {
			t.Errorf("%s: slow is %t", tt.name, !tt.want)
		}
	}
}

// TestSteady: what usually happens where the lock is held, whatever a few holds came to or others do who only touch it.
func TestSteady(t *testing.T) {
	type place struct {
		holds []int64
		times int
	}
	for _, tt := range []struct {
		name   string
		places []place
		stops  bool
		usual  int64 // at least, within its power of two
		want   bool
	}{
		{"one keeps it each time, many touch it", []place{{[]int64{2e6}, 3000}, {[]int64{400}, 9000}}, false, 1 << 20, true},
		{"a few of the short holds were stretched", []place{{[]int64{400, 400, 400, 6e6}, 1000}}, false, 256, false},
		{"long, but no part of the waits", []place{{[]int64{2e6}, 100}}, false, 1 << 20, false},
		{"short holds in calls", []place{{[]int64{1e5}, 60000}}, true, 1 << 16, true},
		{"short holds that compute", []place{{[]int64{1e5}, 60000}}, false, 1 << 16, false},
		{"very short holds in calls", []place{{[]int64{1e4}, 600000}}, true, 1 << 13, false},
		{"the long ones have a third", []place{{[]int64{2e6}, 1000}, {[]int64{1e4}, 400000}}, false, 1 << 13, false},
		{"not known", []place{{[]int64{0}, 100}}, false, 0, false},
	} {
		b := newTimed()
		x := b.site(evidence.SiteBlock, "sync", takes+"main.f:1", 10000, 1e6) // busy for 9 s
		for i, p := range tt.places {
			part := running(1e6)
			if tt.stops {
				part.State, part.Stack = evidence.ActSyscall, b.stack(writeEnd+"main.f:2")
			}
			row := b.release(x, letsGo+[]string{"main.f:2", "main.g:2"}[i], 0, 0, part)
			for _, ns := range p.holds {
				for range p.times {
					b.line.Releases[row].Holds.Add(ns)
				}
				b.line.Releases[row].HoldNS += uint64(ns) * uint64(p.times)
				b.line.Releases[row].Count += uint64(p.times)
			}
		}
		tl := b.done()
		h := tl.Holding(&tl.Locks[0])
		if h.Usual < tt.usual || h.Usual > 2*tt.usual || h.Steady(1e6, 5e4) != tt.want {
			t.Errorf("%s: %d ns as a rule, steady is %t", tt.name, h.Usual, h.Steady(1e6, 5e4))
		}
	}
}

func TestSaturated(t *testing.T) {
	for _, tt := range []struct {
		run, ready uint64
		procs      int
		want       bool
	}{{36e9, 10e9, 4, true}, {33e9, 10e9, 4, false}, {36e9, 9e9, 4, false}, {36e9, 10e9, 0, false}} {
		tl := &Timeline{Line: &evidence.Timeline{SpanNS: 10e9, Procs: tt.procs, RunNS: tt.run, ReadyNS: tt.ready}}
		if tl.Saturated(0.85) != tt.want {
			t.Errorf("ran %d and ready %d on %d processors: saturated is %t", tt.run, tt.ready, tt.procs, !tt.want)
		}
	}
}
