package derive

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// top names the goroutines of the last site, and gives each a row.
func (b *timed) top(shares ...evidence.Share) {
	s := &b.line.Sites[len(b.line.Sites)-1]
	s.Top = shares
}

func (b *timed) row(a evidence.Actor) { b.line.Actors = append(b.line.Actors, a) }

func TestTurnsAreToldByReasonAndCaller(t *testing.T) {
	tests := []struct {
		name, reason, stack string
		kind                evidence.SiteKind
		want                PollShape
		line                int
	}{
		{name: "yield of Go 1.25, twice on the stack", kind: evidence.SiteYield, reason: "runtime.Gosched", stack: "runtime.Gosched:391 runtime.Gosched:391 main.f:3",
			want: PollYield, line: 3},
		{name: "yield of Go 1.22, not on the stack", kind: evidence.SiteYield, reason: "runtime.Gosched", stack: "main.f:3 main.main:1", want: PollYield, line: 3},
		{name: "the sweeper", kind: evidence.SiteYield, reason: "runtime.Gosched", stack: "runtime.goschedIfBusy:414 runtime.bgsweep:320"},
		{name: "an assist", kind: evidence.SiteYield, reason: "runtime.Gosched", stack: "runtime.Gosched:391 runtime.gcAssistAlloc:672 runtime.mallocgc:1113 main.f:3"},
		{name: "a yield of the library", kind: evidence.SiteYield, reason: "runtime.Gosched", stack: "runtime.Gosched:391 os/exec.(*Cmd).Wait:9 main.f:3"},
		{name: "sleep", reason: "sleep", stack: "time.Sleep:363 main.f:3", want: PollSleep, line: 3},
		{name: "sleep of the library", reason: "sleep", stack: "time.Sleep:363 net/http.(*Server).Shutdown:3200 main.f:3"},
		{name: "select", reason: "select", stack: "runtime.selectgo:351 main.f:3", want: PollTimer, line: 3},
		{name: "select of the library", reason: "select", stack: "runtime.selectgo:351 net/http.(*Transport).roundTrip:660 main.f:3"},
		{name: "receive", reason: "chan receive", stack: "runtime.chanrecv2:514 main.f:3", want: PollTimer, line: 3},
		{name: "send", reason: "chan send", stack: "runtime.chansend1:161 main.f:3"},
		{name: "connection", reason: "network", stack: "internal/poll.(*FD).Read:165 net.(*netFD).Read:68 net.(*conn).Read:196 main.f:3", want: PollDeadline, line: 3},
		{name: "connection of a library's goroutine", reason: "network", stack: "internal/poll.(*FD).Read:165 net/http.(*persistConn).readLoop:2300"},
		{name: "lock", reason: "sync", stack: takes + "main.f:3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTimed()
			b.site(tt.kind, tt.reason, tt.stack, 5, 100)
			list := b.done().Turns()
			if tt.want == PollNone {
				if len(list) != 0 {
					t.Errorf("turns: %+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Shape != tt.want || list[0].Frame.Line != tt.line || list[0].Count != 5 || list[0].WaitNS != 500 {
				t.Errorf("turns: %+v", list)
			}
		})
	}
}

func TestTurnsAddUpByLine(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteBlock, "sleep", "time.Sleep:363 main.f:3 main.a:1", 10, 1000)
	b.line.Sites[0].Load, b.line.Sites[0].FirstNS, b.line.Sites[0].LastNS = []uint32{500, 0, 500}, 1e9, 3e9
	b.top(evidence.Share{Goroutine: 1, Count: 6}, evidence.Share{Goroutine: 2, Count: 4})
	b.site(evidence.SiteBlock, "sleep", "time.Sleep:363 main.f:3 main.b:1", 20, 3000)
	b.line.Sites[1].Load, b.line.Sites[1].FirstNS, b.line.Sites[1].LastNS = []uint32{0, 0, 100, 200}, 2e9, 4e9
	b.top(evidence.Share{Goroutine: 2, Count: 20})
	b.site(evidence.SiteBlock, "sleep", "time.Sleep:363 main.g:8", 50, 10)
	list := b.done().Turns()
	if len(list) != 2 || list[0].Frame.Line != 8 {
		t.Fatalf("the loop with the most turns comes first: %+v", list)
	}
	l := list[1]
	if l.Count != 30 || l.WaitNS != 70000 || l.FirstNS != 1e9 || l.LastNS != 4e9 || !slices.Equal(l.Load, []uint32{500, 0, 600, 200}) {
		t.Errorf("sums: %+v", l)
	}
	if !slices.Equal(l.Top, []evidence.Share{{Goroutine: 2, Count: 24}, {Goroutine: 1, Count: 6}}) {
		t.Errorf("goroutines: %v", l.Top)
	}
	if got := l.Covered(1e9); got != 0.5 { // slices 1 to 4, of which 2 and 3 are loaded
		t.Errorf("covered %v", got)
	}
	if l.Rate() != 10 || l.MeanWait() != 70000.0/30 {
		t.Errorf("rate %v, mean wait %v", l.Rate(), l.MeanWait())
	}
}

func TestWaitsThatTimeOut(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tries int
		want  float64
	}{
		{"one try for each wait: all time out", 100, 1},
		{"two tries: all end with data", 200, 0},
		{"one in four with data", 125, 0.75},
		{"more tries than that", 500, 0},
		{"none known", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newTimed()
			b.site(evidence.SiteBlock, "network", "internal/poll.(*FD).Read:165 net.(*netFD).Read:68 net.(*conn).Read:196 main.f:3", 100, 1e6)
			b.site(evidence.SiteSyscall, "", "syscall.read:736 syscall.Read:183 internal/poll.(*FD).Read:161 net.(*netFD).Read:68 net.(*conn).Read:196 main.f:3", tt.tries, 500)
			b.site(evidence.SiteSyscall, "", "syscall.read:736 syscall.Read:183 internal/poll.(*FD).Read:161 net.(*netFD).Read:68 net.(*conn).Read:196 main.g:9", 999, 500)
			if got := b.done().Turns()[0].TimedOut(); got != tt.want {
				t.Errorf("timed out: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestYieldsRunAsTheirGoroutines(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteYield, "runtime.Gosched", "runtime.Gosched:391 main.f:3", 1000, 100)
	b.top(evidence.Share{Goroutine: 1, Count: 600}, evidence.Share{Goroutine: 2, Count: 400}, evidence.Share{Goroutine: 3, Count: 1})
	b.row(evidence.Actor{Goroutine: 1, RunNS: 50000, Runs: 600})
	b.row(evidence.Actor{Goroutine: 2, RunNS: 90000, Runs: 800}) // half of its turns elsewhere
	l := b.done().Turns()[0]
	if l.RunNS != 100000 || l.MeanRun() != 100 {
		t.Errorf("ran %d ns, %v a turn", l.RunNS, l.MeanRun())
	}
	l.FirstNS, l.LastNS = 0, 1e6
	if got := l.Occupied(); got != 0.2 { // 100,000 ns away and as many on a processor
		t.Errorf("occupied %v", got)
	}
	l.Peak = 4
	if got := l.Occupied(); got != 0.05 {
		t.Errorf("occupied %v of four goroutines", got)
	}
}

func TestDeeds(t *testing.T) {
	b := newTimed()
	sleep := b.site(evidence.SiteBlock, "sleep", "time.Sleep:363 main.f:3", 100, 1e6)
	b.top(evidence.Share{Goroutine: 1, Count: 60}, evidence.Share{Goroutine: 2, Count: 40})
	b.row(evidence.Actor{Goroutine: 1, Syscalls: 30})
	b.row(evidence.Actor{Goroutine: 2})
	r := b.release(sleep, "runtime.chansend1:161 main.f:4", 20, 0)
	b.line.Releases[r].Top = []evidence.Share{{Goroutine: 2, Count: 20}, {Goroutine: 9, Count: 5}}
	tl := b.done()
	if got := tl.Deeds(&tl.Turns()[0]); got != 0.5 {
		t.Errorf("deeds %v: 30 calls and 20 wakes in 100 turns", got)
	}
	if got := tl.Deeds(&Turns{}); got != 0 {
		t.Errorf("deeds of nobody: %v", got)
	}
}

func TestBenchmarks(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteYield, "runtime.Gosched", "runtime.Gosched:391 main.BenchmarkF:3 testing.(*B).runN:219", 5, 100)
	b.site(evidence.SiteYield, "runtime.Gosched", "runtime.Gosched:391 main.f:8 main.BenchmarkF:3 testing.(*B).runN:219", 4, 100)
	b.line.Spawns = []evidence.Spawn{{Stack: b.stack("main.BenchmarkF:2 testing.(*B).runN:219")}, {Stack: b.stack("main.main:2")}}
	b.row(evidence.Actor{Goroutine: 1})
	b.row(evidence.Actor{Goroutine: 2, Spawn: 1})
	plain := b.stack("main.f:1")
	tl := b.done()
	list := tl.Turns()
	if !list[0].Bench || list[1].Bench {
		t.Error("only what the benchmark itself does goes round on purpose")
	}
	for goroutine, want := range map[int64]bool{1: true, 2: false, 3: false} {
		if got := tl.UnderBenchmark(plain, goroutine); got != want {
			t.Errorf("goroutine %d under a benchmark: %v", goroutine, got)
		}
	}
	if !tl.UnderBenchmark(tl.Line.Sites[1].Stack, 3) {
		t.Error("a stack under a benchmark was not seen")
	}
}

func TestNoTimelineHasNoLoops(t *testing.T) {
	c, f := newSketch().finish()
	tl := timelineOf(c, f)
	if len(tl.Turns()) != 0 || len(tl.Spins(SpinBounds{})) != 0 {
		t.Error("loops without a Timeline")
	}
}

func TestShortWaitsLeaveOutPauses(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteBlock, "sleep", "time.Sleep:363 main.f:3", 90, 1_200_000)
	s := &b.line.Sites[0]
	for range 10 {
		s.Hist.Add(20_000_000)
		s.TotalNS += 20_000_000
	}
	l := b.done().Turns()[0]
	count, mean := l.ShortWaits(21)
	// 10 waits of 20 ms count as 16.8 ms: 32 ms of them remain among 90 short ones.
	if want := (90*1.2e6 + 10*(20e6-float64(1<<24))) / 90; count != 90 || mean != want {
		t.Errorf("%d short waits of %v, want %v", count, mean, want)
	}
	if count, mean := (&Turns{}).ShortWaits(21); count != 0 || mean != 0 {
		t.Errorf("no waits: %d of %v", count, mean)
	}
}

func TestCoveredSlices(t *testing.T) {
	load := []uint32{1, 0, 1, 1}
	for _, tt := range []struct {
		from, to int64
		want     float64
	}{{0, 39, 0.75}, {20, 39, 1}, {10, 29, 0.5}, {30, 79, 0.2}, {-50, 5, 1}, {39, 0, 0}, {90, 99, 0}, {0, 1 << 62, 3.0 / ((1<<62)/10 + 1)}} {
		if got := CoveredSlices(load, tt.from, tt.to, 10); got != tt.want {
			t.Errorf("from %d to %d: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
	if got := (&Turns{Load: load}).Covered(0); got != 0 {
		t.Errorf("slices without a width: %v", got)
	}
}
