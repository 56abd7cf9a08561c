package gotrace_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen"
	"github.com/gopostmortem/postmortem/fixtures"
)

// sums are what is added up of a trace with x/exp/trace.
type sums struct {
	start, end, synced          int64
	events                      uint64
	created, ended              uint64
	atStart, live, peak         int
	run, ready, syscall, block  uint64 // of all goroutines
	gs                          map[trace.GoID]*life
	former                      map[trace.GoID][]*life // of ids that are used again, as those of calls from C are
	blocks                      map[string]uint64      // by reason
	begun                       map[string]uint64      // tasks and regions, by name
	cycles, samples             int
	marking                     bool
	pause                       uint64
	pausing                     map[trace.GoID]int64
	procs                       int
	heap, goal, yields, preempt uint64
}

// life is that of one goroutine.
type life struct {
	state                      trace.GoState
	since                      int64
	run, ready, syscall, block uint64
	runs, syscalls, preempted  uint64
	longest                    uint64
	ended                      bool
}

// leave ends the state that a goroutine was in.
func (s *sums) leave(g *life, t int64) {
	d := uint64(t - g.since)
	switch g.state {
	case trace.GoRunning:
		g.run += d
		s.run += d
		g.longest = max(g.longest, d)
	case trace.GoRunnable:
		g.ready += d
		s.ready += d
	case trace.GoSyscall:
		g.syscall += d
		s.syscall += d
	case trace.GoWaiting:
		g.block += d
		s.block += d
	}
	g.since = t
}

func sumUp(t *testing.T, path string) *sums {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := trace.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &sums{gs: map[trace.GoID]*life{}, former: map[trace.GoID][]*life{}, blocks: map[string]uint64{}, begun: map[string]uint64{}, pausing: map[trace.GoID]int64{}}
	for {
		ev, err := r.ReadEvent()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.event(ev)
	}
	s.live += s.atStart
	s.peak += s.atStart
	return s
}

// close ends what is open. A generation that holds nothing but its clock, at the end of some traces, takes a moment of its own, of which
// x/exp/trace tells nothing.
func (s *sums) close(span int64) {
	if span == s.end-s.start+1 {
		s.end++
	}
	for _, g := range s.gs {
		if !g.ended {
			s.leave(g, s.end)
		}
	}
}

func (s *sums) event(ev trace.Event) {
	now := int64(ev.Time())
	if s.synced > 0 { // the last of all is made up: it is no part of the span
		s.end = s.synced
	}
	s.synced = 0
	if ev.Kind() == trace.EventSync {
		if s.events == 0 {
			s.start = now
		}
		s.synced = now
		return
	}
	s.end = now
	s.events++
	switch ev.Kind() {
	case trace.EventStateTransition:
		if st := ev.StateTransition(); st.Resource.Kind == trace.ResourceGoroutine {
			s.transition(now, st)
		}
	case trace.EventStackSample:
		s.samples++
	case trace.EventTaskBegin:
		s.begun[ev.Task().Type]++
	case trace.EventRegionBegin:
		s.begun[ev.Region().Type]++
	case trace.EventRangeBegin, trace.EventRangeActive:
		switch name := ev.Range().Name; {
		case name == "GC concurrent mark phase":
			if !s.marking { // each generation tells that one is active
				s.cycles++
			}
			s.marking = true
		case strings.HasPrefix(name, "stop-the-world"):
			s.pausing[ev.Goroutine()] = now
		}
	case trace.EventRangeEnd:
		s.marking = s.marking && ev.Range().Name != "GC concurrent mark phase"
		if from, ok := s.pausing[ev.Goroutine()]; ok && strings.HasPrefix(ev.Range().Name, "stop-the-world") {
			s.pause += uint64(now - from)
			delete(s.pausing, ev.Goroutine())
		}
	case trace.EventMetric:
		switch v := ev.Metric().Value.Uint64(); ev.Metric().Name {
		case "/sched/gomaxprocs:threads":
			s.procs = max(s.procs, int(v))
		case "/memory/classes/heap/objects:bytes":
			s.heap = v
		case "/gc/heap/goal:bytes":
			s.goal = v
		}
	}
}

func (s *sums) transition(now int64, st trace.StateTransition) {
	from, to := st.Goroutine()
	id := st.Resource.Goroutine()
	switch from {
	case trace.GoUndetermined: // told late, but it is so since the beginning
		g := &life{state: to, since: s.start}
		if to == trace.GoSyscall {
			g.syscalls++
		}
		s.gs[id] = g
		s.atStart++
		return
	case trace.GoNotExist:
		g := &life{state: to, since: now}
		if to == trace.GoSyscall {
			g.syscalls++
		}
		if old := s.gs[id]; old != nil {
			s.former[id] = append(s.former[id], old)
		}
		s.gs[id] = g
		s.created++
		s.live++
		s.peak = max(s.peak, s.live)
		return
	}
	g := s.gs[id]
	if from == to {
		return
	}
	s.leave(g, now)
	g.state = to
	switch {
	case to == trace.GoNotExist:
		g.ended = true
		s.ended++
		s.live--
	case to == trace.GoRunning && from == trace.GoRunnable:
		g.runs++
	case to == trace.GoSyscall:
		g.syscalls++
	case to == trace.GoWaiting:
		s.blocks[st.Reason]++
	case from == trace.GoRunning && st.Reason == "preempted" && handsOver(st.Stack):
	case from == trace.GoRunning && st.Reason == "preempted":
		g.preempted++
		s.preempt++
	case from == trace.GoRunning:
		s.yields++
	}
}

// handsOver reports whether a goroutine gives a semaphore away together with its processor (goyield in semrelease1, runtime/sema.go), which
// the runtime calls preempted and a Timeline does not.
func handsOver(st trace.Stack) bool {
	for f := range st.Frames() {
		if strings.HasSuffix(f.Func, "sync.runtime_Semrelease") || strings.HasSuffix(f.Func, "sync.(*Mutex).unlockSlow") {
			return true
		}
	}
	return false
}

// wantTotals holds a Timeline against what x/exp/trace tells: all sums, and every goroutine that has a row.
func wantTotals(t *testing.T, line *evidence.Timeline, want *sums) {
	t.Helper()
	equal := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want.close(line.SpanNS)
	equal("span", line.SpanNS, want.end-want.start)
	equal("created", line.Created, want.created)
	equal("ended", line.Ended, want.ended)
	equal("at the start", line.AtStart, want.atStart)
	equal("at the end", line.AtEnd, want.live)
	equal("peak", line.Peak, want.peak)
	equal("GOMAXPROCS", line.Procs, want.procs)
	equal("cycles", line.GC.Cycles, want.cycles)
	equal("pauses", line.GC.PauseNS, want.pause)
	equal("heap", line.GC.HeapLast, want.heap)
	equal("on processors", line.RunNS+line.SystemNS, want.run)
	var run, ready, syscall, block, created, ended uint64
	for _, s := range line.Spawns {
		run, ready, syscall, block = run+s.RunNS, ready+s.ReadyNS, syscall+s.SyscallNS, block+s.BlockedNS
		created, ended = created+s.Created, ended+s.Ended
	}
	equal("sum of running", run, want.run)
	equal("sum of ready", ready, want.ready)
	equal("sum of system calls", syscall, want.syscall)
	equal("sum of blocked", block, want.block)
	equal("sum of created", created, want.created)
	equal("sum of ended", ended, want.ended)
	wantSiteCounts(t, line, want)
	if len(line.Actors) == 0 {
		t.Error("no goroutine has a row")
	}
	for _, a := range line.Actors {
		g := want.gs[trace.GoID(a.Goroutine)]
		if g == nil {
			t.Errorf("goroutine %d is not in the trace", a.Goroutine)
			continue
		}
		equals := func(g *life) bool {
			return *g == life{run: a.RunNS, ready: a.ReadyNS, syscall: a.SyscallNS, block: a.BlockedNS, runs: a.Runs, syscalls: a.Syscalls,
				preempted: a.Preempted, ended: a.Ended, longest: a.MaxRunNS, state: g.state, since: g.since}
		}
		if !equals(g) && !slices.ContainsFunc(want.former[trace.GoID(a.Goroutine)], equals) {
			t.Errorf("goroutine %d\n%+v, want\n%+v", a.Goroutine, a, *g)
		}
	}
}

// wantSiteCounts compares how often goroutines blocked, by reason, and how often tasks and regions began, by name.
func wantSiteCounts(t *testing.T, line *evidence.Timeline, want *sums) {
	t.Helper()
	blocks, begun, samples, yields, preempt := map[string]uint64{}, map[string]uint64{}, 0, uint64(0), uint64(0)
	for _, s := range line.Sites {
		switch s.Kind {
		case evidence.SiteBlock:
			blocks[s.Reason] += s.Count
		case evidence.SiteSample:
			samples += int(s.Count)
		case evidence.SiteYield:
			yields += s.Count
		case evidence.SitePreempt:
			preempt += s.Count
		}
	}
	for reason, n := range want.blocks {
		if reason == "" {
			reason = handover
		}
		if blocks[reason] != n {
			t.Errorf("blocked for %q: %d, want %d", reason, blocks[reason], n)
		}
	}
	for _, k := range line.Kinds {
		begun[k.Name] += k.Count
	}
	for name, n := range want.begun {
		if begun[name] != n {
			t.Errorf("tasks and regions %q: %d, want %d", name, begun[name], n)
		}
	}
	if samples != want.samples || yields != want.yields || preempt != want.preempt {
		t.Errorf("%d samples, %d yields, %d preempted; want %d, %d, %d", samples, yields, preempt, want.samples, want.yields, want.preempt)
	}
}

// handover is the reason of a goroutine that let another one run in its place (iter.Pull), for which x/exp/trace has none.
const handover = "coroutine switch"

// TestTotals holds the sums of the Timeline against x/exp/trace, for traces of Go 1.22 and later.
func TestTotals(t *testing.T) {
	for _, toolchain := range specimen.New {
		for _, mode := range specimen.Modes {
			if !specimen.HasMode(toolchain, mode) {
				continue
			}
			t.Run(toolchain+"/"+mode, func(t *testing.T) {
				path := specimen.All(t, toolchain, mode)
				c, err := readPath(t, path)
				if err != nil {
					t.Fatal(err)
				}
				wantTotals(t, c.Timeline, sumUp(t, path))
			})
		}
	}
}

// TestTotalsLegacy holds the same for traces of Go 1.11 to 1.21.
func TestTotalsLegacy(t *testing.T) {
	for _, toolchain := range specimen.Old {
		t.Run(toolchain, func(t *testing.T) {
			path := specimen.Legacy(t, toolchain, 1)
			c, err := readPath(t, path)
			if err != nil {
				t.Fatal(err)
			}
			want := sumUp(t, path)
			want.blocks["unspecified"] = want.blocks[""]
			delete(want.blocks, "")
			wantTotals(t, c.Timeline, want)
			if c.Timeline.Events != want.events {
				t.Errorf("%d events, want %d", c.Timeline.Events, want.events)
			}
		})
	}
}

// TestTotalsOfFixtures holds the same for every program of fixtures that is judged by its trace. The traces are those of the tests of the
// rules.
func TestTotalsOfFixtures(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a hundred programs are traced")
	}
	const most = 16 << 20 // bytes: x/exp/trace takes seconds for more
	names, err := fixtures.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, name := range names {
		scenario, err := fixtures.Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		if scenario.Traced == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			traced, err := fixtures.Trace(context.Background(), fixtures.Program{Scenario: name})
			fixtures.Require(t, err)
			if info, err := os.Stat(traced.Trace); err != nil || info.Size() > most {
				t.Skipf("the trace is larger than %d bytes: %v", most, err)
			}
			c, err := readPath(t, traced.Trace)
			if err != nil {
				t.Fatal(err)
			}
			wantTotals(t, c.Timeline, sumUp(t, traced.Trace))
			compared++
		})
	}
	t.Logf("%d traces", compared)
}
