package schedstarvation

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// form is a change to a Timeline and what must come of it.
type form struct {
	name   string
	change func(*evidence.Timeline)
	want   string // "severity confidence"; empty for none
	says   string // part of the claim, or of the reason for silence
}

func checkForms(t *testing.T, build func() *scene, forms []form) {
	t.Helper()
	for _, tt := range forms {
		t.Run(tt.name, func(t *testing.T) {
			s := build()
			tt.change(&s.line)
			res := s.run(t)
			got, text := "", res.RuledOut
			if len(res.Findings) > 0 {
				got = fmt.Sprint(res.Findings[0].Severity, " ", res.Findings[0].Confidence)
			}
			if len(res.Findings) > 1 || got != tt.want {
				t.Fatalf("%q of %d findings, want %q; silent %v", got, len(res.Findings), tt.want, text)
			}
			if tt.want != "" && !strings.Contains(res.Findings[0].Claim, tt.says) {
				t.Errorf("the claim %q lacks %q", res.Findings[0].Claim, tt.says)
			}
			if tt.want == "" && !strings.Contains(text[0].Why, tt.says) {
				t.Errorf("silent because %q, want %q", text[0].Why, tt.says)
			}
		})
	}
}

func same(*evidence.Timeline) {}

// steady is a load of so many goroutines all the time.
func steady(thousandths uint32) []uint32 {
	load := make([]uint32, 125) // two seconds of 16 ms
	for i := range load {
		load[i] = thousandths
	}
	return load
}

// newSerial is a scene on four processors: one goroutine computes, and thirty clients wait to hand it their work.
func newSerial() *scene {
	s := newScene()
	s.line.Procs, s.line.IdleNS, s.line.RunNS, s.line.ReadyNS = 4, 5.9*second, 2.05*second, .1*second
	s.line.Latency = evidence.Histogram{}
	s.line.Actors[0].RunNS, s.line.Spawns[0].RunNS = 1.96*second, 1.96*second
	s.line.Spawns[1].ReadyNS = .05 * second
	s.line.Sites = append(s.line.Sites, evidence.Site{Reason: "chan send", Stack: s.stack("runtime.chansend1", "main.ask"), Count: 820, Peak: 30, Load: steady(25000)})
	for range 800 {
		s.line.Sites[1].Hist.Add(60e6)
	}
	s.line.Releases = []evidence.Release{{Site: 1, Stack: s.stack("main.engine"), Count: 800, Top: []evidence.Share{{Goroutine: 7, Count: 800}}}}
	s.stack("runtime.chanrecv2", "main.ask")
	return s
}

func TestSerial(t *testing.T) {
	checkForms(t, newSerial, []form{
		{"as it is", same, "warning likely", "goroutine 7 computes 98 % of the time in compute, and 25.0 goroutines wait for it at a time, while only 1.02 run of 4"},
		{"for answers", func(l *evidence.Timeline) { l.Sites[1].Reason = "chan receive" }, "warning likely", "25.0 goroutines"},
		{"in a select", func(l *evidence.Timeline) { l.Sites[1].Reason = "select" }, "info possible", "25.0 goroutines"},
		{"for a condition", func(l *evidence.Timeline) { l.Sites[1].Reason = "sync.(*Cond).Wait" }, "info possible", "25.0 goroutines"},
		{"for the network", func(l *evidence.Timeline) { l.Sites[1].Reason = "network" }, "", "0.0 others wait for it"},
		{"half of them are woken by another", func(l *evidence.Timeline) {
			l.Releases[0].Top[0].Count = 400
		}, "warning likely", "12.5 goroutines"},
		{"all but a few are woken by another", func(l *evidence.Timeline) { l.Releases[0].Top[0].Count = 40 }, "", "1.2 others wait for it"},
		{"all are woken by another", func(l *evidence.Timeline) { l.Releases[0].Top[0].Goroutine = 9 }, "", "0.0 others wait for it"},
		{"time wakes most of them", func(l *evidence.Timeline) { l.Sites[1].Unwoken = 8000 }, "", "2.3 others wait for it"},
		{"three wait", func(l *evidence.Timeline) { l.Sites[1].Load = steady(3000) }, "", "3.0 others wait for it"},
		{"each is woken once", func(l *evidence.Timeline) { l.Releases[0].Count, l.Releases[0].Top[0].Count = 10, 10 }, "", "0.0 others wait for it"},
		{"it computes four fifths of the time", func(l *evidence.Timeline) { l.Actors[0].RunNS = 1.6 * second }, "", "no goroutine keeps the processors"},
		{"others compute as well", func(l *evidence.Timeline) { l.RunNS = 5 * second }, "", "no goroutine keeps the processors"},
		{"on the only processor", func(l *evidence.Timeline) { l.Procs, l.IdleNS = 1, 0 }, "", "hardly anybody else wants to run"},
	})
}

// newStubborn is a scene on two processors: one goroutine has run five times for 300 ms without a break, and a collection waits for it.
func newStubborn() *scene {
	s := newScene()
	s.line.Procs, s.line.IdleNS, s.line.RunNS, s.line.ReadyNS = 2, 1.9*second, 2*second, .1*second
	s.line.Latency = evidence.Histogram{}
	s.line.Actors[0] = evidence.Actor{Goroutine: 7, RunNS: 1.9 * second, Runs: 7, Preempted: 5, MaxRunNS: 3e8}
	s.line.Spawns[1].ReadyNS = .05 * second
	for i := range 5 {
		s.line.Episodes = append(s.line.Episodes, evidence.Episode{Kind: evidence.EpisodeRun, Goroutine: 7, StartNS: int64(i) * 35e7, NS: 3e8})
	}
	s.line.Episodes = append(s.line.Episodes, evidence.Episode{Kind: evidence.EpisodePause, What: "GC sweep termination", Goroutine: 1, StartNS: 4e8, NS: 2e8})
	return s
}

func TestStubborn(t *testing.T) {
	pause := func(l *evidence.Timeline) *evidence.Episode { return &l.Episodes[5] }
	crowd := func(l *evidence.Timeline) {
		l.ReadyNS, l.Spawns[1].ReadyNS = 4*second, 3.9*second
		for range 50 {
			l.Latency.Add(2e8)
		}
	}
	const claim = "goroutine 7 in compute keeps a processor for up to 300 ms at a time and cannot be preempted"
	checkForms(t, newStubborn, []form{
		{"as it is", same, "warning likely", claim},
		{"nobody waits", func(l *evidence.Timeline) { l.Episodes = l.Episodes[:5] }, "", "alone, and 0.0 others wait for it"},
		{"others are ready", func(l *evidence.Timeline) { l.Episodes = l.Episodes[:5]; crowd(l) }, "warning possible", claim},
		{"others are ready, and the world waits", crowd, "warning likely", claim},
		{"the world stopped soon", func(l *evidence.Timeline) { pause(l).NS = 1e6 }, "", ""},
		{"the world stopped at another time", func(l *evidence.Timeline) { pause(l).StartNS = 195e7; pause(l).NS = 5e7 }, "", ""},
		{"it stopped the world itself", func(l *evidence.Timeline) { pause(l).Goroutine = 7 }, "", ""},
		{"twice only", func(l *evidence.Timeline) { l.Episodes = append(l.Episodes[:2], l.Episodes[5]) }, "", ""},
		{"most stretches are short", func(l *evidence.Timeline) { l.Actors[0].Runs = 190 }, "", ""},
		{"long stretches are the least of it", func(l *evidence.Timeline) {
			for i := range 5 {
				l.Episodes[i].NS = 11e7
			}
		}, "", ""},
	})
}

// newTimers is a scene on one processor: the engine runs for 20 ms at a time, and twelve gateways sleep in between.
func newTimers() *scene {
	s := newScene()
	s.line.ReadyNS, s.line.Latency = .02*second, evidence.Histogram{}
	s.line.Actors[0].Runs, s.line.Actors[0].Preempted = 95, 95
	s.line.Spawns[1].ReadyNS = .01 * second
	s.line.Sites = append(s.line.Sites, evidence.Site{Reason: "sleep", Stack: s.stack("time.Sleep", "main.gateway"), Count: 12 * 90, Peak: 12, Unwoken: 12 * 90,
		TotalNS: 12 * 90 * 21e6, MaxNS: 25e6})
	for range 12 * 90 {
		s.line.Sites[1].Hist.Add(21e6)
	}
	return s
}

func TestTimers(t *testing.T) {
	const silent = "hardly anybody else wants to run"
	checkForms(t, newTimers, []form{
		{"as it is", same, "warning possible", "takes 95 % of the only processor, for 20 ms at a time on average, and the timers of 12 goroutines"},
		{"one heartbeat", func(l *evidence.Timeline) {
			site := &l.Sites[1]
			site.Peak, site.Count, site.Unwoken, site.TotalNS, site.Hist = 1, 90, 90, 90*21e6, evidence.Histogram{}
			for range 90 {
				site.Hist.Add(21e6)
			}
		}, "info possible", "the timers of 1 goroutine "},
		{"it cannot be preempted", func(l *evidence.Timeline) {
			l.Actors[0].Runs, l.Actors[0].Preempted, l.Actors[0].MaxRunNS = 9, 9, 22e7
			site := &l.Sites[1]
			site.Count, site.Unwoken, site.TotalNS, site.Hist = 108, 108, 108*205e6, evidence.Histogram{}
			for range 108 {
				site.Hist.Add(205e6)
			}
		}, "warning likely", "for 211 ms at a time"},
		{"they sleep for three stretches", func(l *evidence.Timeline) { l.Sites[1].Peak = 36 }, "", silent},
		{"others wake them", func(l *evidence.Timeline) { l.Sites[1].Unwoken = 900 }, "", silent},
		{"their sleeps are short", func(l *evidence.Timeline) { l.Sites[1].TotalNS /= 4 }, "", silent},
		{"it is the engine that sleeps there", func(l *evidence.Timeline) { l.Sites[1].Top = []evidence.Share{{Goroutine: 7, Count: 90}} }, "", silent},
		{"the engine gives way by itself", func(l *evidence.Timeline) { l.Actors[0].Runs, l.Actors[0].Preempted = 400, 400 }, "", silent},
		{"two processors", func(l *evidence.Timeline) { l.Procs, l.IdleNS = 2, 2*second }, "", "does one thing at a time"},
	})
}

// newOverload is a scene on two processors with two crowds that want six seconds of them each second.
func newOverload() *scene {
	s := newScene()
	s.line.Procs, s.line.IdleNS, s.line.RunNS, s.line.ReadyNS = 2, .02*second, 3.9*second, 40*second
	s.line.Latency = evidence.Histogram{}
	for range 100 {
		s.line.Latency.Add(9e7)
	}
	s.line.Spawns[0].Peak, s.line.Spawns[0].ReadyNS, s.line.Spawns[0].RunNS = 50, 18*second, 1.9*second
	s.line.Spawns[1].RunNS = 1.9 * second
	s.line.Actors[0].RunNS = .1 * second
	for range 125 {
		s.line.Slices = append(s.line.Slices, evidence.Slice{RunNS: 1950, ReadyNS: 20000})
	}
	return s
}

func TestOverload(t *testing.T) {
	checkForms(t, newOverload, []form{
		{"as it is", same, "info possible", "20.0 goroutines are ready to run at a time, for 2 processors that all work"},
		{"the processors idle", func(l *evidence.Timeline) { l.RunNS, l.IdleNS = 2*second, 2*second }, "", "the host was busy"},
		{"one crowd", func(l *evidence.Timeline) { l.Spawns[0].ReadyNS = second; l.Spawns[1].ReadyNS = 38 * second }, "", "nearly all of one go statement"},
		{"a third of the time", func(l *evidence.Timeline) {
			for i := range 84 {
				l.Slices[i].ReadyNS = 0
			}
		}, "", "no goroutine keeps the processors"},
		{"a short queue", func(l *evidence.Timeline) { l.ReadyNS = 10 * second }, "", "no goroutine keeps the processors"},
		{"short waits", func(l *evidence.Timeline) {
			for range 90_000 {
				l.Latency.Add(1e5)
			}
		}, "", "no goroutine keeps the processors"},
		{"GOMAXPROCS is not known", func(l *evidence.Timeline) { l.Procs = 0 }, "", "no goroutine keeps the processors"},
	})
}

// TestCoreBeside lets the core tell as well where there is one beside the trace: its queue is another finding.
func TestCoreBeside(t *testing.T) {
	s := newScene()
	s.line.Procs, s.line.IdleNS = 2, 2*second // the trace says nothing
	s.b.Scheduler(evidence.Scheduler{GOMAXPROCS: 1, CPUs: 4})
	computes, waits := s.stack("main.compute", "main.engine"), s.stack("runtime.gopark", "main.client")
	s.b.Goroutine(evidence.Goroutine{ID: 7, State: evidence.StateRunning, Stack: computes, Created: s.frame("main.main")})
	for id := range int64(30) {
		s.b.Goroutine(evidence.Goroutine{ID: 20 + id, State: evidence.StateRunnable, Stack: waits, Created: s.frame("main.serve")})
	}
	res := s.run(t)
	if len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Claim, "30 goroutines are ready to run and get no processor") {
		t.Errorf("found %+v, silent %v", res.Findings, res.RuledOut)
	}
	if len(res.Findings) == 1 && res.Findings[0].Severity != diagnosis.Warning {
		t.Errorf("severity %s", res.Findings[0].Severity)
	}
}

// TestApart tells a loop on the only processor from the stage of a pipeline, when few are ready at a time.
func TestApart(t *testing.T) {
	build := func() *scene {
		s := newScene()
		s.line.ReadyNS, s.line.Spawns[1].ReadyNS = 2.4*second, 2.3*second
		return s
	}
	checkForms(t, build, []form{
		{"it leaves the processor when it is taken from it, and wakes nobody", same, "warning likely", "1.2 goroutines"},
		{"it leaves it by itself", func(l *evidence.Timeline) { l.Actors[0].Preempted = 100 }, "info possible", "1.2 goroutines"},
		{"it wakes those that wait", func(l *evidence.Timeline) {
			l.Releases = []evidence.Release{{Count: 300, Top: []evidence.Share{{Goroutine: 7, Count: 300}}}}
		}, "info possible", "1.2 goroutines"},
		{"somebody else wakes them", func(l *evidence.Timeline) {
			l.Releases = []evidence.Release{{Count: 300, Top: []evidence.Share{{Goroutine: 8, Count: 300}}}}
		}, "warning likely", "1.2 goroutines"},
		{"two processors, two loops", func(l *evidence.Timeline) {
			l.Procs, l.RunNS, l.Spawns[0].Peak, l.Spawns[0].RunNS = 2, 3.9*second, 2, 3.8*second
		}, "info possible", "1.2 goroutines"},
	})
}

// TestOneDiseaseTwice makes one finding of what a core and the trace beside it tell of one loop.
func TestOneDiseaseTwice(t *testing.T) {
	s := newScene()
	loop, client := s.stack("main.compute", "main.engine"), s.stack("main.client")
	s.b.Scheduler(evidence.Scheduler{GOMAXPROCS: 1, CPUs: 2})
	s.b.Goroutine(evidence.Goroutine{ID: 7, State: evidence.StateRunning, Stack: loop, Created: s.frame("main.main")})
	for i := range int64(40) {
		s.b.Goroutine(evidence.Goroutine{ID: 100 + i, State: evidence.StateRunnable, Stack: client, Created: s.frame("main.serve")})
	}
	res := s.run(t)
	if len(res.Findings) != 1 {
		t.Fatalf("%d findings: %+v", len(res.Findings), res.Findings)
	}
	text := ""
	for _, r := range res.Findings[0].Because {
		text += r.Text + "\n"
	}
	if !strings.Contains(text, "the machine has 2") || !strings.Contains(text, "goroutine 7 ran 95 % of the time") {
		t.Errorf("because %s", text)
	}
}
