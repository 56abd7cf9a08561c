package fold

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// siteOf finds a site by its kind and the function of its innermost frame.
func siteOf(t *testing.T, line *evidence.Timeline, c *evidence.Case, kind evidence.SiteKind, fn string) evidence.Site {
	t.Helper()
	for _, s := range line.Sites {
		st := c.Stack(s.Stack)
		if s.Kind == kind && (st.Len() > 0 && st.At(0).Function == fn || st.Len() == 0 && fn == "") {
			return s
		}
	}
	t.Errorf("no %v at %q", kind, fn)
	return evidence.Site{}
}

// TestYieldAndPreempt has a goroutine give the processor away and lose it.
func TestYieldAndPreempt(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	h.Yield(1000, h.g(1), h.gosched, stackGosched)
	h.Run(1300, h.g(1))
	h.Yield(21_001_300, h.g(1), h.preempted, stackWorker)
	h.Run(21_001_400, h.g(1))
	h.Yield(21_001_500, h.g(1), h.gosched, stackGosched)
	line, c := h.end(21_002_000)
	s := siteOf(t, &line, c, evidence.SiteYield, "runtime.Gosched")
	if s.Reason != "runtime.Gosched" || s.Count != 2 || s.TotalNS != 800 || s.OpenNS != 500 || s.Open != 1 || s.MaxNS != 500 || s.BusyNS != 800 {
		t.Errorf("yield %+v", s)
	}
	s = siteOf(t, &line, c, evidence.SitePreempt, "main.worker")
	if s.Count != 1 || s.TotalNS != 21_000_000 || s.MaxNS != 21_000_000 || s.Open != 0 || s.BusyNS != 21_000_000 ||
		slicesWith(s.Load) != 22 || s.Load[5] != 1000 {
		t.Errorf("preempt %+v", s)
	}
	if s = siteOf(t, &line, c, evidence.SiteReady, "main.worker"); s.Count != 1 || s.TotalNS != 100 || len(s.Top) != 0 {
		t.Errorf("ready %+v", s)
	}
	if a, _ := line.Actor(1); a.Preempted != 1 || a.Runs != 2 || a.MaxRunNS != 21_000_000 {
		t.Errorf("actor %+v", a)
	}
	if len(line.Episodes) != 1 || line.Episodes[0].Kind != evidence.EpisodeRun || line.Episodes[0].NS != 21_000_000 ||
		line.Episodes[0].StartNS != 1300 || line.Episodes[0].Goroutine != 1 || c.Stack(line.Episodes[0].Stack).At(0).Function != "main.worker" {
		t.Errorf("episodes %+v", line.Episodes)
	}
}

// TestSyscalls has two goroutines in the same system call, one of which loses its processor, and one that stays in it.
func TestSyscalls(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Syscall(100, h.g(1), stackRead)
	h.Syscall(150, h.g(2), stackRead)
	h.Sysexit(300, h.g(1), true)
	h.Sysexit(400, h.g(2), false)
	h.Run(450, h.g(1))
	h.CreateInSyscall(500, h.g(3))
	h.Syscall(700, h.g(2), stackRead)
	line, c := h.end(1000)
	s := siteOf(t, &line, c, evidence.SiteSyscall, "syscall.read")
	if s.Count != 3 || s.TotalNS != 200+250+300 || s.OpenNS != 300 || s.BusyNS != 300+300 || s.Peak != 2 || s.Open != 1 || s.Hist.Total() != 2 {
		t.Errorf("syscall %+v", s)
	}
	if want := []evidence.Share{{Goroutine: 2, Count: 2}, {Goroutine: 1, Count: 1}}; !slices.Equal(s.Top, want) {
		t.Errorf("top %v", s.Top)
	}
	if s = siteOf(t, &line, c, evidence.SiteReady, ""); s.Count != 1 || s.TotalNS != 150 {
		t.Errorf("ready after a system call %+v", s)
	}
	if line.SyscallNS != 200+250+300+500 || line.Created != 1 || line.AtEnd != 3 {
		t.Errorf("%+v", line)
	}
}

// TestUnwoken counts the waits that a timer ends, and the time until the next wait.
func TestUnwoken(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	for i := range int64(3) {
		h.Block(1000*i, h.g(1), h.sleep, stackWorker)
		h.Unblock(1000*i+300, h.g(1), nil, 0)
		h.Run(1000*i+400, h.g(1))
	}
	line, c := h.end(10_000)
	s := siteOf(t, &line, c, evidence.SiteBlock, "main.worker")
	if s.Count != 3 || s.Unwoken != 3 || s.TotalNS != 900 || s.RunNS != 600+600+7600 || s.Reason != "sleep" || len(line.Releases) != 0 {
		t.Errorf("%+v", s)
	}
	if line.Slices[0].SleepNS != 1 || line.Latency.Total() != 3 {
		t.Errorf("%+v, %v", line.Slices[0], line.Latency)
	}
}

// TestOpenWait has a wait that began before the trace and does not end, and one that began in it.
func TestOpenWait(t *testing.T) {
	h := newHistory(t)
	h.Appear(0, h.g(1), StateBlocked, stackRecv)
	h.Appear(0, h.g(2), StateReady, stackSend)
	h.Run(500, h.g(2))
	h.Block(1000, h.g(2), h.recv, stackRecv)
	line, c := h.end(3_000_000_000)
	var reasons []string
	for _, s := range line.Sites {
		if s.Kind == evidence.SiteBlock {
			reasons = append(reasons, s.Reason)
			if s.Open != 1 || s.Count != 1 || s.OpenNS != s.TotalNS || s.Hist.Total() != 0 || s.BusyNS != s.TotalNS {
				t.Errorf("%+v", s)
			}
		}
	}
	if !slices.Equal(reasons, []string{"", "chan receive"}) {
		t.Errorf("reasons %q: of the first the trace does not tell", reasons)
	}
	if s := siteOf(t, &line, c, evidence.SiteReady, "runtime.chansend1"); s.TotalNS != 500 {
		t.Errorf("%+v", s)
	}
	g, _ := c.Goroutines().ByID(2)
	if g.State != evidence.StateWaiting || g.Reason != "chan receive" || g.Seconds != 2 || c.Stack(g.Stack).At(0).Function != "runtime.chanrecv1" {
		t.Errorf("row %+v", g)
	}
	if g, _ = c.Goroutines().ByID(1); g.Reason != "" || g.Seconds != 3 || c.Coverage.GoroutinesSeen != 2 || c.Coverage.GoroutinesUnwound != 2 {
		t.Errorf("row %+v, coverage %+v", g, c.Coverage)
	}
}

func TestSamples(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	for i := range int64(10) {
		h.Sample(i*1_000_000, h.g(1), stackWorker)
	}
	h.Sample(9_500_000, nil, stackWorker)
	line, c := h.end(10_000_000)
	s := siteOf(t, &line, c, evidence.SiteSample, "main.worker")
	if s.Count != 11 || s.TotalNS != 0 || s.Top[0] != (evidence.Share{Goroutine: 1, Count: 10}) ||
		!slices.Equal(s.Load, []uint32{1, 1, 1, 1, 1, 1, 1, 1, 1, 2}) {
		t.Errorf("%+v", s)
	}
}

// TestShares has the counters of a busy site: who is frequent is found, and no count is too large by more than sampling explains.
func TestShares(t *testing.T) {
	var s site
	for i := range uint64(100_000) {
		s.count++
		switch {
		case i%2 == 0:
			s.counted(7)
		case i%10 == 1:
			s.counted(8)
		default:
			s.counted(int64(1000 + i))
		}
	}
	top := s.top.list()
	if len(top) != evidence.MaxShares || top[0].Goroutine != 7 || top[1].Goroutine != 8 {
		t.Fatalf("%+v", top)
	}
	if n := top[0].Count; n < 49_000 || n > 51_000 {
		t.Errorf("%d of 50,000", n)
	}
	if n := top[1].Count; n > 10_500 {
		t.Errorf("%d of 10,000", n)
	}
	var few shares
	for i := range int64(6) {
		for range 10 - i {
			few.add(i + 1)
		}
	}
	few.add(0)
	if top := few.list(); top[0] != (evidence.Share{Goroutine: 1, Count: 10}) || top[1] != (evidence.Share{Goroutine: 2, Count: 9}) || len(top) != 4 {
		t.Errorf("%+v", top)
	}
}

// TestSampledEvenly takes every eighth visit, of goroutines that take turns in whatever number.
func TestSampledEvenly(t *testing.T) {
	for turns := 1; turns <= 16; turns++ {
		seen := make([]int, turns)
		const n = 1 << 16
		for i := range n {
			if sampled(uint64(exactly + 1 + i)) {
				seen[i%turns]++
			}
		}
		for k, v := range seen {
			if want := n / turns / inEight; v < want*98/100-2 || v > want*102/100+2 {
				t.Errorf("%d turns: %d visits of number %d, want about %d", turns, v, k, want)
			}
		}
	}
}

// TestManySites has more stacks and reasons than are kept, and more sites than are told.
func TestManySites(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	for i := range int64(maxSites + 5000) {
		h.Block(i*10, h.g(1), h.recv, Stack(1000+i))
		h.Unblock(i*10+3, h.g(1), nil, 0)
		h.Run(i*10+5, h.g(1))
	}
	h.Block(1_000_000, h.g(1), h.recv, maxStacks+5)
	h.Unblock(1_000_003, h.g(1), nil, 0)
	h.Run(1_000_003, h.g(1))
	h.Block(1_000_003, h.g(1), 9999, stackRecv) // no number of this Folder
	line, c := h.end(1_000_005)
	if len(line.Sites) > outSites || len(h.sites.rows) > maxSites {
		t.Errorf("%d sites, %d kept", len(line.Sites), len(h.sites.rows))
	}
	if s := line.Sites[0]; s.Stack != 0 || s.Count < 5000 {
		t.Errorf("the rest is not the largest: %+v", s)
	}
	var what []string
	for _, g := range c.Gaps {
		what = append(what, g.What)
	}
	if !slices.Contains(what, "sites") {
		t.Errorf("gaps %v", c.Gaps)
	}
}

func TestReasons(t *testing.T) {
	f := New(testStacks)
	if a := f.Reason("a"); f.Reason("") != 0 || a != f.Reason("a") || a == f.Reason("b") {
		t.Error("numbers")
	}
	long := make([]byte, 10_000)
	f.Reason(string(long))
	last := Reason(0)
	for i := range 1000 {
		last = f.Reason(string(rune('A'+i%26)) + string(rune('0'+i/26)))
	}
	if last != f.Reason(other) || len(f.reasons) > maxReasons || f.refused.reasons == 0 {
		t.Errorf("%d reasons", len(f.reasons))
	}
	if clip("abc") != "abc" || len(clip(string(long))) > maxText+3 {
		t.Error("clip")
	}
	euro := ""
	for range 100 {
		euro += "€"
	}
	if got := clip(euro); got != euro[:198]+"..." {
		t.Errorf("%q", got)
	}
}

// slicesWith is the number of slices in which a load is not zero.
func slicesWith(load []uint32) int {
	n := 0
	for _, v := range load {
		if v > 0 {
			n++
		}
	}
	return n
}
