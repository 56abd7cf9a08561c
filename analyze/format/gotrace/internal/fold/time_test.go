package fold

import (
	"reflect"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// within is true of values of a table by slice that are rounded.
func within(got, want []uint32, by uint32) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i]+by < want[i] || want[i]+by < got[i] {
			return false
		}
	}
	return true
}

// TestSlices has one goroutine run, wait and call in known slices.
func TestSlices(t *testing.T) {
	const ms = 1_000_000
	h := newHistory(t)
	h.Appear(0, h.g(1), StateRunning, stackMain)
	h.Appear(0, h.g(2), StateBlocked, stackRecv) // of which the reason is not known
	h.Block(1*ms+ms/2, h.g(1), h.sync, stackLockA)
	h.Unblock(3*ms, h.g(1), nil, 0)
	h.Run(3*ms+ms/4, h.g(1))
	h.Syscall(4*ms, h.g(1), stackRead)
	h.Sysexit(6*ms, h.g(1), false)
	h.Block(6*ms, h.g(1), h.net, stackNet)
	h.Unblock(7*ms, h.g(1), nil, 0)
	h.Run(7*ms, h.g(1))
	h.Block(7*ms, h.g(1), h.sel, stackSelect)
	line, c := h.end(8*ms + ms/2)
	want := []evidence.Slice{
		{RunNS: 1000}, {RunNS: 500, SyncNS: 500}, {SyncNS: 1000}, {ReadyNS: 250, RunNS: 750}, {SyscallNS: 1000}, {SyscallNS: 1000},
		{NetNS: 1000}, {ChanNS: 1000}, {ChanNS: 500},
	}
	for i := range want {
		want[i].Live = 2
		want[i].Events = line.Slices[i].Events
	}
	if line.SliceNS != ms || !slices.Equal(line.Slices, want) {
		t.Errorf("%+v", line.Slices)
	}
	if s := siteOf(t, &line, c, evidence.SiteSyscall, "syscall.read"); !slices.Equal(s.Load, []uint32{0, 0, 0, 0, 1000, 1000}) {
		t.Errorf("load %v", s.Load)
	}
	if s := siteOf(t, &line, c, evidence.SiteBlock, "runtime.selectgo"); !slices.Equal(s.Load, []uint32{0, 0, 0, 0, 0, 0, 0, 1000, 500}) {
		t.Errorf("load %v", s.Load)
	}
	if s := siteOf(t, &line, c, evidence.SiteBlock, "runtime.chanrecv1"); !slices.Equal(s.Load, []uint32{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 500}) {
		t.Errorf("load %v", s.Load)
	}
}

// long plays a history of so many nanoseconds in which three goroutines do the same every fiftieth of it.
func long(t *testing.T, span int64) (*history, evidence.Timeline, *evidence.Case) {
	h := newHistory(t)
	h.running(1, 2)
	h.Appear(0, h.g(3), StateBlocked, stackNet)
	p := span / 50
	for i := range int64(50) {
		at := i * p
		h.Syscall(at, h.g(1), stackRead)
		h.Sysexit(at+p/2, h.g(1), false)
		h.Create(at+p/2, h.g(100+i), h.g(1), stackWorker, stackGo, false)
		h.Run(at+p/2, h.g(100+i))
		if i%2 == 1 {
			h.Exit(at+p*3/4, h.g(100+i))
		}
		h.Heap(at+p*3/4, uint64(i+1)<<20)
	}
	line, c := h.end(span)
	return h, line, c
}

// TestWiden tells the same of histories of very different lengths: only the width of the slices differs.
func TestWiden(t *testing.T) {
	for _, span := range []int64{100_000_000, 1_000_000_000, 77_777_777_777, 5_000_000_000_000} {
		h, line, c := long(t, span)
		width := int64(firstWidth)
		for width*evidence.MaxSlices <= span {
			width *= 2
		}
		if line.SliceNS != width || len(line.Slices) != int(span/width)+1 {
			t.Errorf("span %d: %d slices of %d", span, len(line.Slices), line.SliceNS)
		}
		var run, sys, created, ended float64
		for i, s := range line.Slices {
			run, sys, created, ended = run+float64(s.RunNS), sys+float64(s.SyscallNS), created+float64(s.Created), ended+float64(s.Ended)
			if i > 0 && (s.HeapMB < line.Slices[i-1].HeapMB || s.Live+1 < line.Slices[i-1].Live) {
				t.Errorf("span %d: slice %d %+v after %+v", span, i, s, line.Slices[i-1])
			}
		}
		unit := float64(line.SliceNS) / 1000
		near := func(what string, got, want float64) {
			if got < want*0.99 || got > want*1.01 {
				t.Errorf("span %d: %s %v, want %v", span, what, got, want)
			}
		}
		near("run", run*unit, float64(line.RunNS))
		near("syscalls", sys*unit, float64(line.SyscallNS))
		near("all syscalls", float64(line.SyscallNS), float64(span)/2)
		if created != 50 || ended != 25 || line.Slices[len(line.Slices)-1].HeapMB != 50 {
			t.Errorf("span %d: %v created, %v ended", span, created, ended)
		}
		s := siteOf(t, &line, c, evidence.SiteSyscall, "syscall.read")
		load := float64(0)
		for _, v := range s.Load {
			load += float64(v) * unit
		}
		near("load of the site", load, float64(s.TotalNS))
		spawn := line.Spawns[slices.IndexFunc(line.Spawns, func(s evidence.Spawn) bool { return s.Created > 0 })]
		births := uint32(0)
		for i, n := range spawn.Births {
			births += n
			if i+1 < len(line.Slices) && spawn.Alive[i] == 0 && births > 1 {
				t.Errorf("span %d: alive %v", span, spawn.Alive)
			}
		}
		if births != 50 || len(spawn.Alive) != len(line.Slices) || spawn.Alive[len(spawn.Alive)-1] != 25 || spawn.Live != 25 || spawn.Peak != 26 {
			t.Errorf("span %d: spawn %+v", span, spawn)
		}
		actor, ok := line.Actor(2)
		if load = 0; ok {
			for _, v := range actor.Load {
				load += float64(v) * unit
			}
		}
		near("load of an actor", load, float64(span))
		if h.slice != int32(len(line.Slices)-1) {
			t.Error("present slice")
		}
	}
}

// TestWidenMeansTheSame holds the rows of a long history against those of one that is a thousand times shorter.
func TestWidenMeansTheSame(t *testing.T) {
	_, a, ca := long(t, 100_000_000<<3)
	_, b, cb := long(t, 100_000_000<<10)
	if len(a.Slices) != len(b.Slices) {
		t.Fatalf("%d and %d slices", len(a.Slices), len(b.Slices))
	}
	for i := range a.Slices {
		x, y := a.Slices[i], b.Slices[i]
		if !within([]uint32{x.RunNS, x.ReadyNS, x.SyscallNS, x.Live, x.Created, x.HeapMB}, []uint32{y.RunNS, y.ReadyNS, y.SyscallNS, y.Live, y.Created, y.HeapMB}, 1) {
			t.Errorf("slice %d: %+v and %+v", i, x, y)
		}
	}
	x, y := siteOf(t, &a, ca, evidence.SiteSyscall, "syscall.read"), siteOf(t, &b, cb, evidence.SiteSyscall, "syscall.read")
	if !within(x.Load, y.Load, 1) || !slices.Equal(a.Spawns[0].Births, b.Spawns[0].Births) || !slices.Equal(a.Spawns[0].Alive, b.Spawns[0].Alive) {
		t.Errorf("loads %v and %v\nbirths %v and %v\nalive %v and %v", x.Load, y.Load, a.Spawns[0].Births, b.Spawns[0].Births,
			a.Spawns[0].Alive, b.Spawns[0].Alive)
	}
}

// TestClock has moments that decrease, jump, and are absurd.
func TestClock(t *testing.T) {
	f := New(testStacks)
	f.Begin(5_000_000)
	if f.at(5_000_100) != 100 || f.at(5_000_050) != 100 || f.at(-1<<63) < 100 {
		t.Error("a moment that decreases")
	}
	f = New(testStacks)
	f.Begin(-100)
	for _, at := range []int64{-50, 1 << 40, -1 << 63, 1<<63 - 1, 0} {
		before := f.now
		if got := f.at(at); got < before || got > maxTime || got >= f.end || f.slice >= evidence.MaxSlices {
			t.Errorf("at %d: %d", at, got)
		}
	}
	g := &G{ID: 1}
	f.Appear(0, g, StateRunning, stackMain)
	line := f.Finish(1<<62, slices.Values([]*G{g}), evidence.NewBuilder())
	if len(line.Slices) > evidence.MaxSlices || line.SpanNS > maxTime {
		t.Errorf("%d slices, span %d", len(line.Slices), line.SpanNS)
	}
}

// TestNothing finishes what has not begun.
func TestNothing(t *testing.T) {
	line := New(testStacks).Finish(1000, slices.Values([]*G{nil, {ID: 5}}), evidence.NewBuilder())
	if line.SpanNS != 0 || line.AtEnd != 0 || line.Events != 0 || len(line.Sites)+len(line.Actors)+len(line.Spawns) != 0 {
		t.Errorf("%+v", line)
	}
}

// TestSameTwice has a history give the same Timeline every time.
func TestSameTwice(t *testing.T) {
	_, first, _ := long(t, 3_000_000_000)
	for range 5 {
		if _, again, _ := long(t, 3_000_000_000); !reflect.DeepEqual(first, again) {
			t.Fatal("another Timeline")
		}
	}
}
