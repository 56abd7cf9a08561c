package derive

import (
	"maps"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// bounds are those of the rule.
var bounds = SpinBounds{LifeNS: 1e8, Active: 0.9, Events: 1000, Samples: 10, Work: 0.15, Asks: 0.4, Sleeps: 0.05, Spread: 0.1, Stretch: 1e8}

// caughtAt adds samples of a goroutine.
func (b *timed) caughtAt(kind evidence.SiteKind, stack string, goroutine int64, n int) {
	b.site(kind, "preempted", stack, n, 2e7)
	if stack == "" {
		b.line.Sites[len(b.line.Sites)-1].Stack = 0
	}
	b.top(evidence.Share{Goroutine: goroutine, Count: uint64(n)})
}

// runner is a goroutine that never waits.
func (b *timed) runner(id int64) {
	b.row(evidence.Actor{Goroutine: id, RunNS: 9e9, ReadyNS: 9e8, Runs: 45, Preempted: 44, LastNS: 10e9})
}

const async = "runtime.asyncPreempt2:320 runtime.asyncPreempt:124 "

func TestSpins(t *testing.T) {
	type at struct {
		stack string
		n     int
	}
	tests := []struct {
		name    string
		caught  []at
		samples []at // by CPU profile
		want    PollShape
		line    int
		caller  string
	}{
		{name: "flag", caught: []at{{async + "sync/atomic.(*Bool).Load:19 main.f:3 main.main:1", 40}}, want: PollSpin, line: 3, caller: "main.main"},
		{name: "compare and swap", caught: []at{{async + "sync/atomic.(*Int32).CompareAndSwap:90 main.f:3", 40}}, want: PollSpin, line: 3},
		{name: "a counter", caught: []at{{async + "sync/atomic.(*Int64).Add:128 main.f:3", 40}}},
		{name: "select with a default", caught: []at{{"runtime.chanrecv:524 runtime.selectnbrecv:805 main.f:4", 8}, {async + "main.f:4", 2}, {async + "main.f:3", 1}},
			want: PollSelect, line: 4},
		{name: "its context is asked at the line of the select", caught: []at{{"runtime.chanrecv:524 runtime.selectnbrecv:805 main.f:4", 20},
			{"context.(*cancelCtx).Done:448 main.f:4", 20}}, want: PollContext, line: 4},
		{name: "and on another line", caught: []at{{"runtime.selectgo:351 main.f:4", 5}, {"context.(*cancelCtx).Done:448 main.f:5", 30}}, want: PollSelect, line: 4},
		{name: "the clock", caught: []at{{"time.Since:1227 main.f:3", 40}}, want: PollClock, line: 3},
		{name: "a deadline that has passed", caught: []at{{"net.(*conn).SetReadDeadline:252 main.f:3", 10}, {"runtime.newobject:9 net.(*conn).Read:187 main.f:4", 20}},
			want: PollDeadline, line: 4},
		{name: "sleeps of nothing", caught: []at{{async + "sync/atomic.(*Int64).Add:128 main.f:3", 36}, {"time.Sleep:330 main.breathe:9 main.f:4", 4}},
			want: PollSleep, line: 4},
		{name: "a helper that asks", caught: []at{{async + "sync/atomic.(*Int64).Load:114 main.empty:9 main.f:3", 6}, {async + "main.empty:9 main.f:3", 4},
			{async + "main.f:3", 4}}, want: PollSpin, line: 3},
		{name: "a helper that works", caught: []at{{async + "sync/atomic.(*Int64).Load:114 main.f:3", 6}, {async + "main.step:9 main.f:4", 8}}},
		{name: "two helpers deep", caught: []at{{async + "sync/atomic.(*Int64).Load:114 main.f:3", 6}, {async + "sync/atomic.(*Int64).Load:114 main.x:1 main.y:1 main.f:4", 8}}},
		{name: "work of the library", caught: []at{{async + "sync/atomic.(*Int64).Load:114 main.f:3", 20}, {async + "strconv.Atoi:9 main.f:4", 8}}},
		{name: "work on a line of its own", caught: []at{{async + "sync/atomic.(*Int64).Load:114 main.f:3", 20}, {async + "main.f:4", 8}}},
		{name: "a plain computation", caught: []at{{async + "main.f:3", 44}}},
		{name: "too few samples", caught: []at{{async + "sync/atomic.(*Bool).Load:19 main.f:3", 9}}},
		{name: "stacks without frames may be anything", caught: []at{{"runtime.chanrecv:524 runtime.selectnbrecv:805 main.f:4", 20}, {"", 8}}},
		{name: "CPU samples decide", caught: []at{{"", 40}}, samples: []at{{"runtime.selectgo:351 main.f:4", 20}}, want: PollSelect, line: 4},
		{name: "unless there are few", caught: []at{{"", 40}}, samples: []at{{"runtime.selectgo:351 main.f:4", 9}}},
		{name: "stacks that lack their inner frames are left out", caught: []at{{async + "sync/atomic.(*Bool).Load:19 main.f:3 main.main:1", 20}, {"main.main:1", 15}},
			want: PollSpin, line: 3, caller: "main.main"},
		{name: "somewhere else for a third of the time", caught: []at{{async + "sync/atomic.(*Bool).Load:19 main.f:3 main.main:1", 20}, {async + "main.g:9 main.main:2", 10}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTimed()
			b.runner(7)
			for _, c := range tt.caught {
				b.caughtAt(evidence.SitePreempt, c.stack, 7, c.n)
			}
			for _, c := range tt.samples {
				b.caughtAt(evidence.SiteSample, c.stack, 7, c.n)
			}
			list := b.done().Spins(bounds)
			if tt.want == PollNone {
				if len(list) != 0 {
					t.Errorf("spins: %+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Shape != tt.want || list[0].Frame.Line != tt.line || list[0].Caller.Function != tt.caller {
				t.Fatalf("spins: %+v", list)
			}
		})
	}
}

func TestSpinsOfWhoWaits(t *testing.T) {
	for name, a := range map[string]evidence.Actor{
		"waits":              {RunNS: 7e9, BlockedNS: 3e9, Runs: 40, Preempted: 40, LastNS: 10e9},
		"many waits":         {RunNS: 99e8, Runs: 20000, Preempted: 40, LastNS: 10e9},
		"many system calls":  {RunNS: 99e8, Runs: 40, Preempted: 40, Syscalls: 20000, LastNS: 10e9},
		"lived for a moment": {RunNS: 5e7, Runs: 4, Preempted: 4, Ended: true, FirstNS: 1e9, LastNS: 105e7},
		"the runtime's own":  {RunNS: 99e8, Runs: 40, Preempted: 40, System: true, LastNS: 10e9},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTimed()
			a.Goroutine = 7
			b.row(a)
			b.caughtAt(evidence.SitePreempt, async+"sync/atomic.(*Bool).Load:19 main.f:3", 7, 40)
			if list := b.done().Spins(bounds); len(list) != 0 {
				t.Errorf("spins: %+v", list)
			}
		})
	}
}

func TestSpinsOfSeveral(t *testing.T) {
	b := newTimed()
	for id := int64(1); id <= 3; id++ {
		b.runner(id)
	}
	b.site(evidence.SitePreempt, "preempted", async+"sync.(*Mutex).TryLock:55 main.f:3", 60, 2e7)
	b.top(evidence.Share{Goroutine: 1, Count: 20}, evidence.Share{Goroutine: 2, Count: 20}, evidence.Share{Goroutine: 3, Count: 20})
	b.caughtAt(evidence.SitePreempt, async+"strconv.Atoi:9 main.f:4", 3, 1)
	list := b.done().Spins(bounds)
	if len(list) != 1 || len(list[0].Goroutines) != 3 || list[0].Samples != 61 || list[0].Asks != 60 || list[0].Work != 1 || list[0].RunNS != 27e9 || len(list[0].Sites) != 2 {
		t.Errorf("spins: %+v", list)
	}
}

func TestAmount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7.4: "7", 99: "99", 99.6: "100", 123: "120", 1250: "1,300", 999999: "1,000,000", 2_740_000: "2,700,000"} {
		if got := Amount(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// TestSpinsThatMayComputeInBetween: a preemption strikes where Go code can be interrupted, and shows no more when that is one call.
func TestSpinsThatMayComputeInBetween(t *testing.T) {
	const entry, inside = "runtime.selectnbrecv:804 main.f:4", "runtime.chanrecv:524 runtime.selectnbrecv:805 main.f:4"
	tests := []struct {
		name    string
		stacks  map[string]int
		samples int
		ns      int64
		blind   bool
	}{
		{name: "one call", stacks: map[string]int{entry: 40}, ns: 2e7, blind: true},
		{name: "hardly elsewhere", stacks: map[string]int{entry: 38, inside: 2}, ns: 2e7, blind: true},
		{name: "two calls of the question", stacks: map[string]int{entry: 30, inside: 10}, ns: 2e7},
		{name: "at any instruction", stacks: map[string]int{async + "main.empty:1 main.f:4": 2, async + "sync/atomic.(*Bool).Load:19 main.f:4": 38}, ns: 2e7},
		{name: "hardly ever", stacks: map[string]int{async + "sync/atomic.(*Bool).Load:19 main.f:4": 38}, ns: 3e8, blind: true},
		{name: "CPU samples strike anywhere", stacks: map[string]int{entry: 40}, samples: 20, ns: 3e8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTimed()
			b.runner(7)
			for _, stack := range slices.Sorted(maps.Keys(tt.stacks)) {
				b.site(evidence.SitePreempt, "preempted", stack, tt.stacks[stack], tt.ns)
				b.top(evidence.Share{Goroutine: 7, Count: uint64(tt.stacks[stack])})
			}
			if tt.samples > 0 {
				b.caughtAt(evidence.SiteSample, inside, 7, tt.samples)
			}
			if list := b.done().Spins(bounds); len(list) != 1 || list[0].Blind != tt.blind {
				t.Errorf("spins: %+v", list)
			}
		})
	}
}

// TestSpinsCompiledIntoTheLoop: a CPU sample stands behind the load, in the loop itself; preemptions at the line say what it is.
func TestSpinsCompiledIntoTheLoop(t *testing.T) {
	const load = async + "sync/atomic.(*Bool).Load:19 main.f:4"
	for name, tt := range map[string]struct {
		loads, others int
		line          string
		want          int
	}{
		"a load":                   {loads: 30, line: "main.f:4", want: 1},
		"a load among other work":  {loads: 10, others: 20, line: "main.f:4"},
		"samples at another line":  {loads: 30, line: "main.f:5"},
		"samples in what it calls": {loads: 30, line: "main.step:9 main.f:4"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTimed()
			b.runner(7)
			b.caughtAt(evidence.SitePreempt, load, 7, tt.loads)
			if tt.others > 0 {
				b.caughtAt(evidence.SitePreempt, async+"main.f:4", 7, tt.others)
			}
			b.caughtAt(evidence.SiteSample, tt.line, 7, 30)
			b.caughtAt(evidence.SiteSample, "runtime.asyncPreempt:9 "+tt.line, 7, 8)
			list := b.done().Spins(bounds)
			if len(list) != tt.want || (tt.want == 1 && (list[0].Asks != 38 || list[0].Samples != 38 || list[0].Shape != PollSpin)) {
				t.Errorf("spins: %+v", list)
			}
		})
	}
}

func TestOneLines(t *testing.T) {
	for name, tt := range map[string]struct {
		there, elsewhere string
		n, m             int
		want             bool
	}{
		"a line":                {there: async + "main.f:4 main.main:1", n: 40, want: true},
		"nearly always":         {there: async + "main.f:4 main.main:1", n: 39, elsewhere: async + "main.f:5 main.main:1", m: 1, want: true},
		"two lines":             {there: async + "main.f:4 main.main:1", n: 36, elsewhere: async + "main.f:5 main.main:1", m: 4},
		"a call of the library": {there: async + "strconv.Atoi:9 main.f:4 main.main:1", n: 40},
		"few samples":           {there: async + "main.f:4 main.main:1", n: 9},
		"a benchmark":           {there: async + "main.f:4 testing.(*B).runN:1", n: 40, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTimed()
			for id := int64(7); id <= 8; id++ {
				b.runner(id)
				b.caughtAt(evidence.SitePreempt, tt.there, id, tt.n)
				if tt.m > 0 {
					b.caughtAt(evidence.SitePreempt, tt.elsewhere, id, tt.m)
				}
			}
			list := b.done().OneLines(bounds, 0.95)
			if !tt.want {
				if len(list) != 0 {
					t.Errorf("lines: %+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Frame.Line != 4 || list[0].There != uint64(2*tt.n) || list[0].Samples != uint64(2*(tt.n+tt.m)) ||
				list[0].Bench != (name == "a benchmark") {
				t.Errorf("lines: %+v", list)
			}
		})
	}
}
