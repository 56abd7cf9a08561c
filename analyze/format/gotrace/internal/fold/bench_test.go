package fold

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// mix is the stream of a server: n goroutines that block on channels, locks and the network, wake each other and make system calls. It
// returns the number of events.
func mix(f *Folder, gs []G, rounds int) int {
	w := newWords(f)
	t, events := int64(0), 0
	f.Begin(t)
	for i := range gs {
		gs[i].ID = int64(i + 1)
		f.Appear(t, &gs[i], StateRunning, stackWorker)
	}
	for r := range rounds {
		for i := range gs {
			g, by := &gs[i], &gs[(i*7+r+1)%len(gs)]
			if by == g {
				by = &gs[(i+1)%len(gs)]
			}
			t += 50
			f.Syscall(t, g, stackWrite)
			f.Sysexit(t+300, g, false)
			f.Syscall(t+310, g, stackRead)
			f.Sysexit(t+350, g, false)
			switch (r + i) % 3 {
			case 0:
				f.Block(t+400, g, w.recv, stackRecv)
				f.Unblock(t+600, g, by, stackSend)
			case 1:
				f.Block(t+400, g, w.sync, stackLockA)
				f.Unblock(t+600, g, by, stackUnlockA)
			case 2:
				f.Block(t+400, g, w.net, stackNet)
				f.Unblock(t+600, g, nil, 0)
			}
			f.Run(t+800, g)
			t += 1000
			events += 7
		}
	}
	return events
}

// benchmarkMix also tells the best of the runs: they are short enough to be within a time slice of a machine that others use too.
func benchmarkMix(b *testing.B, goroutines int) {
	const length = 20_000
	gs := make([]G, goroutines)
	events, best := 0, math.Inf(1)
	for b.Loop() {
		clear(gs)
		f := New(testStacks)
		start := time.Now()
		n := mix(f, gs, max(length/goroutines, 3))
		best = min(best, float64(time.Since(start).Nanoseconds())/float64(n))
		events += n
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(best, "best-ns/event")
}

func BenchmarkMix16(b *testing.B)   { benchmarkMix(b, 16) }
func BenchmarkMix1000(b *testing.B) { benchmarkMix(b, 1000) }
func BenchmarkMix100k(b *testing.B) { benchmarkMix(b, 100_000) }

// BenchmarkChurn creates goroutines that run once and end.
func BenchmarkChurn(b *testing.B) {
	f := New(testStacks)
	f.Begin(0)
	main := &G{ID: 1}
	f.Appear(0, main, StateRunning, stackMain)
	t, id := int64(0), int64(1)
	for b.Loop() {
		t += 100
		id++
		g := &G{ID: id}
		f.Create(t, g, main, stackWorker, stackGo, false)
		f.Run(t+10, g)
		f.Exit(t+50, g)
	}
}

// BenchmarkFinish finishes with a hundred thousand goroutines.
func BenchmarkFinish(b *testing.B) {
	for b.Loop() {
		f := New(testStacks)
		gs := make([]G, 100_000)
		mix(f, gs, 1)
		f.Finish(1e9, liveOf(gs), evidence.NewBuilder())
	}
}

func liveOf(gs []G) func(func(*G) bool) {
	all := make([]*G, len(gs))
	for i := range gs {
		all[i] = &gs[i]
	}
	return slices.Values(all)
}
