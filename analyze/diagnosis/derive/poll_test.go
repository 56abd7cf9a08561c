package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestPollActive(t *testing.T) {
	tests := []struct {
		name  string
		state evidence.State
		stack string
		loop  *evidence.Loop
		want  PollShape
	}{
		{"Gosched", evidence.StateRunnable, "runtime.Gosched:391 main.f:1", nil, PollYield},
		{"Gosched twice", evidence.StateRunnable, "runtime.Gosched:391 runtime.Gosched:387 main.f:1", nil, PollYield},
		{"Gosched of the library", evidence.StateRunnable, "runtime.Gosched:391 internal/x.spin:2 main.f:1", nil, PollNone},
		{"select with default, 1.21", evidence.StateRunnable, "runtime.chanrecv:457 runtime.selectnbrecv:714 main.f:1", nil, PollSelect},
		{"woken in a select", evidence.StateRunnable, "runtime.gopark:1 runtime.selectgo:2 main.f:1", nil, PollNone},
		{"running in a select", evidence.StateRunning, "runtime.selectgo:2 main.f:1", nil, PollSelect},
		{"atomic", evidence.StateRunnable, preempt + "sync/atomic.(*Bool).Load:17 main.f:1", nil, PollSpin},
		{"TryLock", evidence.StateRunning, "internal/sync.(*Mutex).TryLock:5 sync.(*Mutex).TryLock:6 main.f:1", nil, PollTryLock},
		{"Sleep of nothing", evidence.StateRunning, "time.Sleep:340 main.f:1", nil, PollSleep},
		{"woken from Sleep", evidence.StateRunnable, "runtime.gopark:1 time.Sleep:363 main.f:1", nil, PollSleep},
		{"deadline", evidence.StateRunning, "internal/poll.setDeadlineImpl:160 net.(*conn).SetReadDeadline:258 main.f:1", nil, PollDeadline},
		{"panics in a select", evidence.StateRunning, "panic:787 runtime.selectgo:542 main.f:1", nil, PollNone},
		{"computes", evidence.StateRunning, "main.f:1", nil, PollNone},
		{"flag loop", evidence.StateRunning, "main.f:1", &evidence.Loop{Bytes: 12, Loads: 1}, PollSpin},
		{"swap loop", evidence.StateRunning, "main.f:1", &evidence.Loop{Bytes: 30, Atomics: 1, Loads: 2}, PollSpin},
		{"loop that asks by a call", evidence.StateRunning, "main.f:1", &evidence.Loop{Bytes: 60, Atomics: 1, Calls: 1}, PollSpin},
		{"summing loop", evidence.StateRunning, "main.f:1", &evidence.Loop{Bytes: 28, Loads: 2}, PollNone},
		{"storing loop", evidence.StateRunning, "main.f:1", &evidence.Loop{Bytes: 28, Loads: 1, Stores: 1}, PollNone},
		{"long loop", evidence.StateRunning, "main.f:1", &evidence.Loop{Bytes: 400, Loads: 1, Atomics: 1}, PollNone},
		{"no user code", evidence.StateRunning, "runtime.Gosched:391 runtime.bgsweep:2", nil, PollNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSketch()
			id := s.add(1, tt.state, "", tt.stack)
			if tt.loop != nil {
				tt.loop.Goroutine = id
				s.b.Loop(*tt.loop)
			}
			c, f := s.finish()
			g, _ := c.Goroutines().ByID(id)
			poll := newPolls(f, c).Active(g)
			if poll.Shape != tt.want {
				t.Errorf("it %s, want: it %s", poll.Shape, tt.want)
			}
			if poll.Shape != PollNone && c.Stack(g.Stack).At(poll.Frame).Function != "main.f" {
				t.Errorf("blamed %s", c.Stack(g.Stack).At(poll.Frame).Function)
			}
		})
	}
}

func TestPollParked(t *testing.T) {
	const limit = 1_500_000
	tests := []struct {
		name  string
		alarm evidence.Alarm
		want  PollShape
	}{
		{"tiny sleep", evidence.Alarm{Source: evidence.AlarmSleep, AskedNS: 5000, DueNS: 2000}, PollSleep},
		{"long sleep that ends now", evidence.Alarm{Source: evidence.AlarmSleep, AskedNS: 1_000_000_000, DueNS: 2000}, PollNone},
		{"timer overdue", evidence.Alarm{Source: evidence.AlarmTimer, AskedNS: -1, DueNS: -300}, PollTimer},
		{"deadline soon", evidence.Alarm{Source: evidence.AlarmDeadline, AskedNS: -1, DueNS: 20_000}, PollDeadline},
		{"timer in 20 ms", evidence.Alarm{Source: evidence.AlarmTimer, AskedNS: -1, DueNS: 20_000_000}, PollNone},
	}
	for _, tt := range tests {
		s := newSketch()
		id := s.add(1, evidence.StateWaiting, "select", "runtime.gopark:1 runtime.selectgo:2 main.f:1")
		tt.alarm.Goroutine = id
		s.b.Alarm(tt.alarm)
		s.b.Alarm(evidence.Alarm{Goroutine: id, AskedNS: -1, DueNS: 90_000_000}) // the earliest counts
		c, f := s.finish()
		g, _ := c.Goroutines().ByID(id)
		if got := newPolls(f, c).Parked(g, limit); got.Shape != tt.want {
			t.Errorf("%s: it %s", tt.name, got.Shape)
		}
	}
}

func TestAlarmHorizon(t *testing.T) {
	s := newSketch()
	s.b.Alarm(evidence.Alarm{Goroutine: 1, DueNS: evidence.AlarmHorizon + 1})
	if c, _ := s.finish(); len(c.Alarms) != 0 {
		t.Error("an alarm behind the horizon is kept")
	}
}

func TestRates(t *testing.T) {
	build := func(uptime int64, ps ...evidence.Processor) Rates {
		s := newSketch()
		s.b.Process(func(p *evidence.Process) { p.UptimeNS = uptime })
		if len(ps) > 0 {
			s.b.Scheduler(evidence.Scheduler{Processors: ps})
		}
		c, _ := s.finish()
		return ratesOf(c)
	}
	two := []evidence.Processor{{ID: 0, SchedTick: 10, SyscallTick: 4000}, {ID: 3, SchedTick: 600, SyscallTick: 7}}
	r := build(2_000_000_000, two...)
	if !r.Known || r.Sched != 300 || r.Syscalls != 2000 || len(r.Refs) != 2 || r.Refs[0].ID != 3 || r.Refs[1].ID != 0 {
		t.Errorf("got %+v", r)
	}
	if r := build(0, two...); r.Known || r.Ticks != 600 {
		t.Errorf("without a time there is no rate: %+v", r)
	}
	if r := build(20_000_000, two...); r.Known {
		t.Errorf("a start-up of 20 ms has no rate: %+v", r)
	}
	if r := build(2_000_000_000); r.Known {
		t.Errorf("without a scheduler there is no rate: %+v", r)
	}
}

func TestOrigins(t *testing.T) {
	s := newSketch()
	site := s.b.Frame(evidence.Frame{Function: "main.spawn", File: "/src/app/main.go", Line: 7})
	other := s.b.Frame(evidence.Frame{Function: "main.main", File: "/src/app/main.go", Line: 9})
	s.add(1, evidence.StateWaiting, "chan receive", "runtime.gopark:1 main.main:3")
	s.add(2, evidence.StateWaiting, "GC worker (idle)", "runtime.gopark:1 runtime.gcBgMarkWorker:2", flagged(evidence.FlagSystem))
	s.add(3, evidence.StateWaiting, "chan send", "runtime.gopark:1 main.f:4", createdAt(site, 1))
	s.add(2, evidence.StateRunnable, "", "main.f:5", createdAt(site, 1))
	s.add(1, evidence.StateRunnable, "", "main.g:6", createdAt(other, 1))
	s.next = 40
	s.add(1, evidence.StateRunnable, "", "main.g:6", createdAt(other, 39))
	c, _ := s.finish()
	o := originsOf(c)
	if o.Users != 8 || o.LastID != 41 || len(o.List) != 2 || o.List[0].Created != site || o.List[0].Count != 5 || len(o.List[0].Groups) != 2 {
		t.Fatalf("got %+v", o)
	}
	first, second := o.List[0], o.List[1]
	first.CountParents(c)
	second.CountParents(c)
	if first.Parent != 1 || first.Parents != 1 || second.Parent != 0 || second.Parents != 2 {
		t.Errorf("parents: %d (%d), %d (%d)", first.Parent, first.Parents, second.Parent, second.Parents)
	}
}
