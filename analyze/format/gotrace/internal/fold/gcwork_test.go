package fold

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestCollector plays a cycle with its pauses, an assist, a worker, and what is told of the heap.
func TestCollector(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	h.Appear(0, h.g(2), StateReady, 0)
	h.Heap(0, 30<<20)
	h.Goal(0, 50<<20)
	h.Pause(1000, h.g(1), "GC sweep termination", stackMain)
	h.GC(1100, true)
	h.GC(1100, true) // again, as every generation tells
	h.PauseEnd(1200, h.g(1))
	h.Run(1200, h.g(2))
	h.Label(1200, h.g(2), "GC (dedicated)")
	h.Assist(2000, h.g(1), true, stackMain)
	h.Block(2500, h.g(1), h.Reason("GC mark assist wait for work"), stackMain)
	h.Unblock(3500, h.g(1), h.g(2), stackSystem)
	h.Run(3600, h.g(1))
	h.Assist(4000, h.g(1), false, 0)
	h.Pause(5000, h.g(2), "GC mark termination", 0)
	h.Heap(5100, 20<<20)
	h.GC(5200, false)
	h.Goal(5300, 40<<20)
	h.PauseEnd(5500, h.g(2))
	h.Block(5500, h.g(2), h.Reason("system goroutine wait"), stackSystem)
	h.Goal(6000, 41<<20) // of another cause
	h.GC(9000, true)
	line, c := h.end(10_000)
	want := evidence.GCWork{Cycles: 2, ActiveNS: 4100 + 1000, PauseNS: 200 + 500, MaxPause: 500, AssistNS: 2000, AssistRun: 900,
		WorkerNS: 4300, HeapMin: 20 << 20, HeapMax: 30 << 20, HeapLast: 20 << 20, GoalMin: 40 << 20, GoalMax: 50 << 20,
		Done: 1, Marked: 20 << 20, Goals: 40 << 20}
	if line.GC != want {
		t.Errorf("%+v\nwant %+v", line.GC, want)
	}
	if s := siteOf(t, &line, c, evidence.SiteAssist, "main.main"); s.TotalNS != 2000 || s.Count != 1 {
		t.Errorf("%+v", s)
	}
	if line.SystemNS != 4300 || line.RunNS != 2500+6400 {
		t.Errorf("system %d, user %d", line.SystemNS, line.RunNS)
	}
	var kinds []evidence.EpisodeKind
	for _, e := range line.Episodes {
		kinds = append(kinds, e.Kind)
		if e.Kind == evidence.EpisodePause && e.NS == 500 && (e.What != "GC mark termination" || e.Goroutine != 2 || e.StartNS != 5000) {
			t.Errorf("%+v", e)
		}
	}
	if len(kinds) != 4 || kinds[0] != evidence.EpisodeGC || kinds[3] != evidence.EpisodePause || line.Episodes[0].NS != 4100 {
		t.Errorf("episodes %+v", line.Episodes)
	}
	s := line.Slices[0]
	if s.GC != 5 || s.Pause != 1 || s.Assist != 2 || s.HeapMB != 30 {
		t.Errorf("%+v", s)
	}
	if g, _ := c.Goroutines().ByID(2); g.Reason != "GC worker (idle)" || !g.Flags.Has(evidence.FlagSystem) {
		t.Errorf("%+v", g)
	}
}

// TestOpenAssistAndPause ends a trace in the middle of both.
func TestOpenAssistAndPause(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Assist(1000, h.g(1), true, stackMain)
	h.Assist(1500, h.g(1), true, stackMain) // its end is missing
	h.Assist(1600, h.g(2), true, stackMain)
	h.Pause(1700, nil, "start trace", 0)
	h.Exit(1900, h.g(2))
	h.PauseEnd(1950, h.g(7)) // of nobody
	line, c := h.end(2000)
	s := siteOf(t, &line, c, evidence.SiteAssist, "main.main")
	if s.Count != 3 || s.Open != 1 || s.OpenNS != 500 || s.TotalNS != 500+500+300 || line.GC.AssistNS != 1300 || line.GC.AssistRun != 1300 ||
		line.GC.PauseNS != 300 {
		t.Errorf("%+v, %+v", s, line.GC)
	}
}

// TestProcs counts the time of processors without work.
func TestProcs(t *testing.T) {
	h := newHistory(t)
	var p [3]P
	h.Procs(0, 3)
	h.ProcRun(0, &p[0])
	h.ProcStop(0, &p[1])
	h.ProcStop(0, &p[2])
	h.ProcRun(100, &p[1])
	h.ProcStop(150, &p[0])
	h.ProcStop(150, &p[0])
	h.Sweep(200, &p[1], true)
	h.Sweep(250, &p[1], false)
	h.Sweep(260, &p[1], false)
	h.Procs(300, 1) // two are no more, and stay stopped
	line, _ := h.end(400)
	if line.IdleNS != 2*100+1*50+2*150 || line.Procs != 3 || line.GC.SweepNS != 50 {
		t.Errorf("idle %d, %d Ps, swept %d", line.IdleNS, line.Procs, line.GC.SweepNS)
	}
}

func stallsOf(line *evidence.Timeline) []evidence.Episode {
	var out []evidence.Episode
	for _, e := range line.Episodes {
		if e.Kind == evidence.EpisodeStall {
			out = append(out, e)
		}
	}
	return out
}

const ms = 1_000_000

// TestStalls has times in which nobody runs, for several causes. Only those in which somebody could have run are stalls.
func TestStalls(t *testing.T) {
	for name, test := range map[string]struct {
		play func(h *history)
		want []evidence.Episode
	}{
		"ready but not run": {func(h *history) {
			h.Yield(10*ms, h.g(1), h.gosched, stackGosched)
			h.Run(30*ms, h.g(1))
		}, []evidence.Episode{{Kind: evidence.EpisodeStall, What: "ready, but not run", StartNS: 10 * ms, NS: 20 * ms}}},
		"ready later": {func(h *history) {
			h.Block(10*ms, h.g(1), h.net, stackNet)
			h.Unblock(50*ms, h.g(1), nil, 0)
			h.Run(75*ms, h.g(1))
		}, []evidence.Episode{{Kind: evidence.EpisodeStall, What: "ready, but not run", StartNS: 50 * ms, NS: 25 * ms}}},
		"asleep": {func(h *history) {
			h.Block(10*ms, h.g(1), h.sleep, stackMain)
			h.Unblock(90*ms, h.g(1), nil, 0)
			h.Run(90*ms, h.g(1))
		}, nil},
		"the world stands still": {func(h *history) {
			h.Yield(10*ms, h.g(1), h.gosched, stackGosched)
			h.Pause(11*ms, nil, "stop", 0)
			h.PauseEnd(39*ms, nil)
			h.Run(40*ms, h.g(1))
		}, nil},
		"the collector runs": {func(h *history) {
			h.Appear(0, h.g(2), StateRunning, stackSystem)
			h.Yield(10*ms, h.g(1), h.gosched, stackGosched)
			h.Run(40*ms, h.g(1))
		}, nil},
		"all wait for each other": {func(h *history) {
			h.Appear(0, h.g(2), StateRunning, stackWorker)
			h.Block(10*ms, h.g(1), h.recv, stackRecv)
			h.Block(20*ms, h.g(2), h.sync, stackLockA)
		}, []evidence.Episode{{Kind: evidence.EpisodeStall, What: "blocked by each other", StartNS: 20 * ms, NS: 80 * ms}}},
		"one may have a timer": {func(h *history) {
			h.Appear(0, h.g(2), StateRunning, stackWorker)
			h.Block(10*ms, h.g(1), h.recv, stackRecv)
			h.Block(20*ms, h.g(2), h.sel, stackSelect)
		}, nil},
		"one waits for signals": {func(h *history) {
			h.Appear(0, h.g(2), StateSyscall, stackSignals)
			h.Block(10*ms, h.g(1), h.recv, stackRecv)
		}, nil},
		"ready at the end": {func(h *history) {
			h.Appear(0, h.g(2), StateSyscall, stackSignals)
			h.Yield(10*ms, h.g(1), h.gosched, stackGosched)
		}, []evidence.Episode{{Kind: evidence.EpisodeStall, What: "ready, but not run", StartNS: 10 * ms, NS: 90 * ms}}},
		"in a system call": {func(h *history) {
			h.Appear(0, h.g(2), StateSyscall, stackRead)
			h.Yield(10*ms, h.g(1), h.gosched, stackGosched)
			h.Run(40*ms, h.g(1))
		}, nil},
		"ended by a call from C": {func(h *history) {
			h.Yield(5*ms, h.g(1), h.gosched, stackGosched)
			h.Run(6*ms, h.g(1))
			h.Block(7*ms, h.g(1), h.recv, stackRecv)
			h.CreateInSyscall(40*ms, h.g(2))
		}, nil},
	} {
		h := newHistory(t)
		h.Appear(0, h.g(1), StateRunning, stackMain)
		test.play(h)
		line, _ := h.end(100 * ms)
		got := stallsOf(&line)
		if len(got) != len(test.want) || len(got) == 1 && got[0] != test.want[0] {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// TestLongestEpisodes keeps the longest of many.
func TestLongestEpisodes(t *testing.T) {
	var tops episodeTable
	for i := range int64(100) {
		tops.add(evidence.EpisodeGC, episode{start: i, ns: (i * 37) % 100})
	}
	sum := int64(0)
	for _, e := range tops.rows[evidence.EpisodeGC] {
		sum += e.ns
	}
	if n := len(tops.rows[evidence.EpisodeGC]); n != evidence.MaxEpisodes || sum != (84+99)*16/2 {
		t.Errorf("%d rows, %d ns", n, sum)
	}
}
