package report_test

import (
	"math"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const ms = 1_000_000

// newTrace opens a Builder as a trace leaves it, which knows little of the process.
func newTrace() *evidence.Builder {
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: "trace.out", Format: "gotrace", Size: 4_194_304})
	b.Process(func(p *evidence.Process) { p.Language, p.Version = "go", "go1.26" })
	return b
}

func hist(durations ...int64) (h evidence.Histogram) {
	for _, ns := range durations {
		h.Add(ns)
	}
	return h
}

// places are the stacks of a small server.
type traceStacks struct{ lock, unlock, fetch, write, accept, spawn, sleep, task evidence.StackID }

func serverStacks(b *evidence.Builder) (s traceStacks, start evidence.FrameID) {
	stack := func(frames ...evidence.FrameID) evidence.StackID { return b.Stack(frames, evidence.StackNote{}) }
	serve := frame(b, "example.com/shop/api.(*Server).serve", "/src/shop/api/server.go", 88)
	s.lock = stack(frame(b, "sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46), frame(b, "example.com/shop/ledger.(*Ledger).Add", "/src/shop/ledger/ledger.go", 42), serve)
	s.unlock = stack(frame(b, "sync.(*Mutex).Unlock", "/go/src/sync/mutex.go", 65), frame(b, "example.com/shop/ledger.(*Ledger).Add", "/src/shop/ledger/ledger.go", 47), serve)
	s.fetch = stack(frame(b, "internal/poll.(*FD).Read", "/go/src/internal/poll/fd_unix.go", 165), frame(b, "example.com/shop/api.fetch", "/src/shop/api/fetch.go", 31), serve)
	s.write = stack(frame(b, "syscall.write", "/go/src/syscall/zsyscall_linux_amd64.go", 964), frame(b, "example.com/shop/ledger.(*Ledger).Add", "/src/shop/ledger/ledger.go", 44), serve)
	s.accept = stack(frame(b, "net.(*TCPListener).Accept", "/go/src/net/tcpsock.go", 380), frame(b, "example.com/shop/api.(*Server).Run", "/src/shop/api/server.go", 60))
	s.spawn = stack(frame(b, "example.com/shop/api.(*Server).Run", "/src/shop/api/server.go", 64))
	s.sleep = stack(frame(b, "time.Sleep", "/go/src/runtime/time.go", 363), frame(b, "example.com/shop/api.(*Server).tick", "/src/shop/api/tick.go", 12))
	s.task = stack(frame(b, "example.com/shop/api.(*Server).checkout", "/src/shop/api/checkout.go", 20), serve)
	return s, serve
}

// serverTimeline is 1.284 s of a server whose ledger writes a file under its lock.
func serverTimeline(s traceStacks, start evidence.FrameID) evidence.Timeline {
	t := evidence.Timeline{Form: "go 1.26 trace", WallNS: 1_790_000_000_123_456_789, SpanNS: 1284 * ms, Events: 1_234_567, Procs: 8,
		Created: 412, Ended: 380, AtStart: 12, AtEnd: 44, Peak: 120, RunNS: 3100 * ms, ReadyNS: 40 * ms, SyscallNS: 900 * ms, BlockedNS: 48_000 * ms,
		SystemNS: 120 * ms, IdleNS: 6000 * ms, Latency: hist(2000, 35_000, 36_000, 41_000, 1_200_000),
		GC: evidence.GCWork{Cycles: 3, ActiveNS: 96 * ms, PauseNS: ms, MaxPause: 420_000, AssistNS: 2 * ms, AssistRun: ms, WorkerNS: 80 * ms,
			HeapMin: 4 << 20, HeapMax: 31 << 20, HeapLast: 20 << 20, GoalMin: 8 << 20, GoalMax: 62 << 20},
		SliceNS: 16 * ms}
	for i := range 81 {
		sl := evidence.Slice{RunNS: 2400, ReadyNS: uint32(i % 5 * 10), SyscallNS: 700, NetNS: 20_000, SleepNS: 1000, Live: 60, HeapMB: uint32(4 + i%27), Events: 15_000, Created: 2, Ended: 2}
		if i >= 40 && i < 60 {
			sl.RunNS, sl.SyncNS, sl.Live, sl.ChanNS = 900, uint32(i)*1000, 120, 250
		}
		if i%30 == 9 {
			sl.GC, sl.Pause, sl.Assist = 1000, 20, 125
		}
		if i == 40 {
			sl.Created = 250
		}
		t.Slices = append(t.Slices, sl)
	}
	births := make([]uint32, 41)
	births[40] = 250
	t.Sites = []evidence.Site{
		{Kind: evidence.SiteBlock, Reason: "sync", Stack: s.lock, Count: 1204, TotalNS: 21_000 * ms, MaxNS: 210 * ms, Hist: hist(10*ms, 17*ms, 210*ms), Peak: 96, Open: 7,
			BusyNS: 320 * ms, FirstNS: 640 * ms, LastNS: 960 * ms, Top: []evidence.Share{{Goroutine: 18, Count: 40}}},
		{Kind: evidence.SiteBlock, Reason: "network", Stack: s.fetch, Count: 8000, TotalNS: 25_000 * ms, MaxNS: 300 * ms, Hist: hist(3*ms, 2*ms, 300*ms), Peak: 20, FirstNS: ms, LastNS: 1280 * ms, Unwoken: 8000},
		{Kind: evidence.SiteSyscall, Stack: s.write, Count: 1210, TotalNS: 900 * ms, MaxNS: 12 * ms, Hist: hist(ms, ms/2), Peak: 1, FirstNS: 640 * ms, LastNS: 961 * ms},
		{Kind: evidence.SiteBlock, Reason: "sleep", Stack: s.sleep, Count: 12, TotalNS: 1200 * ms, MaxNS: 100 * ms, Hist: hist(100 * ms), Peak: 1, FirstNS: 0, LastNS: 1200 * ms},
		{Kind: evidence.SiteReady, Stack: s.unlock, Count: 1204, TotalNS: 10 * ms, MaxNS: ms, Hist: hist(8000), FirstNS: 641 * ms, LastNS: 960 * ms},
		{Kind: evidence.SiteBlock, Reason: "GC worker (idle)", Count: 40, TotalNS: 90_000 * ms, MaxNS: 400 * ms},
		{Kind: evidence.SitePreempt, Stack: s.task, Count: 3, TotalNS: 60 * ms, MaxNS: 24 * ms, FirstNS: 100 * ms, LastNS: 130 * ms},
		{Kind: evidence.SiteSample, Stack: s.task, Count: 31},
		{Kind: evidence.SiteYield, Reason: "runtime.Gosched", Stack: s.task, Count: 1, FirstNS: 5 * ms, LastNS: 5 * ms},
		{Kind: evidence.SiteAssist, Stack: s.task, Count: 4, TotalNS: 2 * ms, MaxNS: ms, FirstNS: 5 * ms, LastNS: 50 * ms}}
	t.Releases = []evidence.Release{{Site: 0, Stack: s.unlock, Count: 1197, WaitNS: 20_000 * ms, MaxWait: 210 * ms, HoldNS: 310 * ms, MaxHold: 12 * ms, Holds: hist(ms),
		Top: []evidence.Share{{Goroutine: 18, Count: 40}}, Parts: []evidence.HoldPart{{State: evidence.ActSyscall, Stack: s.write, NS: 290 * ms, Count: 1197}, {State: evidence.ActRunning, NS: 20 * ms, Count: 1197}}}}
	t.Spawns = []evidence.Spawn{{Start: start, Before: 4, Live: 4, Peak: 4, RunNS: 20 * ms, BlockedNS: 5000 * ms},
		{Stack: s.spawn, Start: start, Created: 412, Ended: 380, Live: 32, Peak: 110, RunNS: 2900 * ms, ReadyNS: 38 * ms, SyscallNS: 900 * ms, BlockedNS: 40_000 * ms,
			FirstNS: 3 * ms, LastNS: 1280 * ms, Births: births},
		{System: true, Before: 8, Live: 8, Peak: 8, RunNS: 120 * ms}}
	t.Actors = []evidence.Actor{{Goroutine: 18, Spawn: 1, Ended: true, RunNS: 90 * ms, ReadyNS: ms, SyscallNS: 30 * ms, BlockedNS: 800 * ms, MaxRunNS: 24 * ms, Runs: 400,
		Preempted: 2, Syscalls: 120, FirstNS: 100 * ms, LastNS: 1180 * ms}, {Goroutine: 7, Spawn: 0, RunNS: ms, Runs: 1, FirstNS: 0, LastNS: 1284 * ms}}
	t.Pairs = []evidence.Pair{{A: 7, B: 18, SiteA: 0, SiteB: 1, Count: 90_000, RunNS: 300 * ms, FirstNS: 10 * ms, LastNS: 900 * ms}}
	t.Episodes = []evidence.Episode{{Kind: evidence.EpisodeGC, StartNS: 150 * ms, NS: 30 * ms}, {Kind: evidence.EpisodeGC, StartNS: 1110 * ms, NS: 34 * ms},
		{Kind: evidence.EpisodePause, What: "GC mark termination", StartNS: 1144 * ms, NS: 1_420_000}, {Kind: evidence.EpisodePause, What: "start trace", StartNS: 0, NS: 30_000},
		{Kind: evidence.EpisodeStall, StartNS: 700 * ms, NS: 9 * ms}, {Kind: evidence.EpisodeRun, StartNS: 106 * ms, NS: 24 * ms, Goroutine: 18, Stack: s.task}}
	return t
}

// addTasks adds user tasks with their paths.
func addTasks(t *evidence.Timeline, s traceStacks) {
	t.Kinds = []evidence.ActivityKind{{Name: "checkout", Stack: s.task, Count: 380, Open: 2, TotalNS: 40_000 * ms, MaxNS: 412 * ms, Hist: hist(80*ms, 90*ms, 412*ms)},
		{Region: true, Name: "price", Stack: s.task, Count: 760, TotalNS: 800 * ms, MaxNS: 4 * ms, Hist: hist(ms, ms)}}
	t.Activities = []evidence.Activity{
		{Kind: 1, Task: 9, Goroutine: 18, StartNS: 120 * ms, NS: 4 * ms, Path: []evidence.Leg{{Goroutine: 18, State: evidence.ActRunning, StartNS: 120 * ms, NS: 4 * ms}}},
		{Kind: 0, Task: 9, Goroutine: 18, StartNS: 640 * ms, NS: 412 * ms, Logs: []string{"order: 4711"}, Path: []evidence.Leg{
			{Goroutine: 18, State: evidence.ActRunning, Stack: s.fetch, StartNS: 640 * ms, NS: 5 * ms},
			{Goroutine: 18, State: evidence.ActBlocked, Reason: "network", Stack: s.fetch, StartNS: 645 * ms, NS: 300 * ms},
			{Goroutine: 18, State: evidence.ActReady, StartNS: 945 * ms, NS: ms},
			{Goroutine: 21, State: evidence.ActSyscall, Stack: s.write, StartNS: 946 * ms, NS: 19 * ms},
			{Goroutine: 18, State: evidence.ActBlocked, Reason: "sync", Stack: s.lock, StartNS: 965 * ms, NS: 80 * ms},
			{Goroutine: 18, State: evidence.ActRunning, StartNS: 1045 * ms, NS: 7 * ms}}},
		{Kind: 0, Task: 12, Goroutine: 19, StartNS: 1184 * ms, NS: 100 * ms, Open: true, Cut: true}}
}

// traced is a trace with a disease, user tasks, and goroutines that have ended.
func traced() *diagnosis.Result {
	b := newTrace()
	s, start := serverStacks(b)
	t := serverTimeline(s, start)
	addTasks(&t, s)
	b.Timeline(t)
	for i := range 7 {
		b.Goroutine(evidence.Goroutine{ID: int64(40 + i), State: evidence.StateWaiting, Reason: "sync.Mutex.Lock", Stack: s.lock, Created: start})
	}
	b.Goroutine(evidence.Goroutine{ID: 7, State: evidence.StateWaiting, Reason: "IO wait", Stack: s.accept})
	b.Coverage(evidence.Coverage{GoroutinesSeen: 44, GoroutinesUnwound: 44})
	site, release, holder := evidence.SiteRef(0), evidence.ReleaseRef(0), evidence.GoroutineRef(18)
	return result(b.Finish(), diagnosis.Finding{
		Rule: "lock-hog", Class: "lock-hog", Subject: release, Victims: []evidence.Ref{evidence.GoroutineRef(40), holder}, Affected: 96,
		Claim: "goroutines waited 1,204 times for one lock, up to 96 at once, while its holders wrote to a file",
		Because: []diagnosis.Reason{because("1,204 waits of 21 s in all", site),
			because("holders were in a system call for 290 of 310 ms", release, evidence.SiteRef(2)),
			because("goroutine 18 let go most often", holder, evidence.SpawnRef(1), evidence.Ref{Kind: evidence.RefPair}, evidence.Ref{Kind: evidence.RefActivity, ID: 1}),
			because("all of it within 320 ms", evidence.EpisodeRef(4), evidence.Ref{Kind: evidence.RefTimeline})},
		Locations: []diagnosis.Location{loc(diagnosis.RoleHolder, release, "example.com/shop/ledger.(*Ledger).Add", "/src/shop/ledger/ledger.go", 44),
			loc(diagnosis.RoleWaiter, site, "example.com/shop/ledger.(*Ledger).Add", "/src/shop/ledger/ledger.go", 42)},
		Confidence: diagnosis.Likely, Severity: diagnosis.Critical,
	}, diagnosis.Finding{Rule: "busy-yield", Class: "busy-yield", Claim: "every other row", Severity: diagnosis.Info, Confidence: diagnosis.Possible, Subject: evidence.GoroutineRef(7),
		Because: []diagnosis.Reason{because("places", evidence.SiteRef(3), evidence.SiteRef(4), evidence.SiteRef(6), evidence.SiteRef(7), evidence.SiteRef(8), evidence.SiteRef(9)),
			because("others", evidence.SpawnRef(0), evidence.SpawnRef(2), evidence.EpisodeRef(0), evidence.EpisodeRef(2), evidence.EpisodeRef(5), evidence.Ref{Kind: evidence.RefActivity})}})
}

// quiet is a trace of a process that is well: nothing is found, and where its time went is told.
func quiet() *diagnosis.Result {
	b := newTrace()
	s, start := serverStacks(b)
	t := serverTimeline(s, start)
	t.WallNS, t.RunNS, t.Lost = 0, 310*ms, 12
	t.Spawns[1].RunNS = 280 * ms
	b.Timeline(t)
	b.Goroutine(evidence.Goroutine{ID: 7, State: evidence.StateRunning, Stack: s.accept})
	b.Coverage(evidence.Coverage{GoroutinesSeen: 44, GoroutinesUnwound: 43})
	return result(b.Finish())
}

// brief is a trace of which little was read: no names, no slices, one event of two.
func brief() *diagnosis.Result {
	b := newTrace()
	b.Timeline(evidence.Timeline{Form: "go 1.22 trace", SpanNS: 70_000, Events: 100, Lost: 100, NoNames: true})
	b.Gap("trace.out", "the file is truncated")
	return result(b.Finish())
}

// hostileTrace holds texts that try to break out of every syntax, and figures that try to break sums.
func hostileTrace() *diagnosis.Result {
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: "trace '" + evil, Format: "gotrace"})
	at := frame(b, "main."+evil, evil, 3)
	stack := b.Stack([]evidence.FrameID{at}, evidence.StackNote{Broken: evil})
	const huge = math.MaxInt64
	t := evidence.Timeline{Form: evil, WallNS: math.MinInt64, SpanNS: huge, Events: math.MaxUint64, Lost: math.MaxUint64, Procs: -1, Created: math.MaxUint64, AtStart: -5,
		RunNS: math.MaxUint64, ReadyNS: math.MaxUint64, SliceNS: huge, GC: evidence.GCWork{Cycles: math.MaxInt, ActiveNS: math.MaxUint64, PauseNS: 1, HeapMax: math.MaxUint64}}
	for range evidence.MaxSlices {
		t.Slices = append(t.Slices, evidence.Slice{RunNS: math.MaxUint32, Live: math.MaxUint32, HeapMB: math.MaxUint32, Created: math.MaxUint32, GC: math.MaxUint32, Pause: 1})
	}
	t.Sites = []evidence.Site{{Reason: evil, Stack: stack, Count: math.MaxUint64, TotalNS: math.MaxUint64, MaxNS: math.MaxUint64, Peak: -1, FirstNS: huge, LastNS: math.MinInt64},
		{Kind: 200, Reason: evil, Stack: stack, Count: 1}}
	t.Releases = []evidence.Release{{Site: 7, Stack: stack, HoldNS: math.MaxUint64, Parts: []evidence.HoldPart{{State: 99, Reason: evil, NS: math.MaxUint64}}}}
	t.Spawns = []evidence.Spawn{{Stack: stack, Start: at, Created: math.MaxUint64, FirstNS: math.MinInt64, Births: []uint32{math.MaxUint32}}}
	t.Actors = []evidence.Actor{{Goroutine: 1, Spawn: -3, RunNS: math.MaxUint64}, {Goroutine: 2, Spawn: 99}}
	t.Pairs = []evidence.Pair{{SiteA: -1, SiteB: 99}}
	t.Episodes = []evidence.Episode{{Kind: evidence.EpisodePause, What: evil, NS: huge, StartNS: math.MinInt64}, {Kind: 77, NS: math.MinInt64}}
	t.Kinds = []evidence.ActivityKind{{Name: evil, Stack: stack, Count: math.MaxUint64, TotalNS: math.MaxUint64, MaxNS: math.MaxUint64}}
	t.Activities = []evidence.Activity{{NS: huge, StartNS: huge, Logs: []string{evil, evil}, Path: []evidence.Leg{{State: evidence.ActBlocked, Reason: evil, Stack: stack, NS: huge}, {NS: huge}}},
		{Kind: -4, NS: math.MinInt64}}
	b.Timeline(t)
	refs := []evidence.Ref{evidence.SiteRef(0), evidence.SiteRef(1), evidence.ReleaseRef(0), evidence.SpawnRef(0), {Kind: evidence.RefPair}, evidence.EpisodeRef(0),
		evidence.EpisodeRef(1), {Kind: evidence.RefActivity}, {Kind: evidence.RefActivity, ID: 1}, {Kind: evidence.RefTimeline}, evidence.GoroutineRef(1), evidence.GoroutineRef(2)}
	return result(b.Finish(), diagnosis.Finding{Rule: "lock-hog", Class: "lock-hog", Claim: evil, Because: []diagnosis.Reason{because(evil, refs...)}, Victims: refs,
		Confidence: diagnosis.Likely, Severity: diagnosis.Critical})
}
