// Package schedstarvation recognises a loop that keeps the processors from everyone else.
//
// The Go scheduler is fair as long as it gets a turn: every goroutine is preempted after 10 ms, and the others follow. With one
// processor (GOMAXPROCS=1, or a container with a CPU limit under 2) and a computing loop, each of fifty woken goroutines
// still waits 10 ms for each of its turns; with asynchronous preemption switched off it waits for the end of the loop.
//
// In a core this is a queue of goroutines that want nothing but a processor, a few that compute elsewhere, and processors that
// have switched goroutines rarely. A crash freezes the world first, so what was running may be found runnable, preempted.
package schedstarvation

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is sched-starvation.
var Rule = &diagnosis.Rule{
	Name:  "sched-starvation",
	Class: "sched-starvation",
	Doc: &diagnosis.Doc{
		Title: "One loop keeps the processors from everyone else",
		Sees: "Goroutines that are ready to run and get no processor, while others compute in a different part of the program: on one " +
			"processor (GOMAXPROCS 1), on a locked thread, or on all processors with hardly any switches since the start.",
		Hurts: "Requests that need microseconds of work wait for tens of milliseconds and more; heartbeats are missed, deadlines pass.",
		Confirm: "An execution trace shows the scheduling latency and which goroutine runs meanwhile; GODEBUG=schedtrace=1000 prints the " +
			"run queues every second.",
		Fix: "Give the computation fewer processors than the machine has (a limited pool of workers), cut it into pieces, or move it to " +
			"a process of its own. Remove GOMAXPROCS=1 and asyncpreemptoff=1 unless they are measured to be needed.",
		Not: "Workers that all do the same computation share the processors fairly: a queue of their own kind is a busy machine, not " +
			"starvation. So is one of dozens of handlers that is found on the only processor. A pipeline at 100 % CPU switches thousands of times a second.",
		Before: "runtime.GOMAXPROCS(1)\ngo simulate() // computes for minutes\nhttp.ListenAndServe(addr, nil)",
		After:  "go simulate() // on GOMAXPROCS processors, leaving the others to requests\nhttp.ListenAndServe(addr, nil)",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindScheduler, evidence.KindGoroutines},
	Limits: []diagnosis.Limit{
		{Name: "min-runnable", Doc: "goroutines of other parts of the program that must be ready to run", Default: 10,
			Origin: "more than the burst that one event wakes in a healthy server"},
		{Name: "max-switches", Doc: "switches per second on the busiest processor below which the processors are held", Default: 500,
			Origin: "forced preemption alone makes 30 to 100; measured: pipeline 50,000, HTTP server 70,000 (derive.Rates)"},
		{Name: "crowd", Doc: "living goroutines of the go statement that started what computes, from which the machine is busy and nobody a hog",
			Default: 24, Origin: "a loop that hogs is one of a handful (a worker for each of up to 16 processors); a handler is one of dozens"},
		{Name: "critical-runnable", Doc: "ready goroutines from which it is critical, when the processors are held", Default: 100,
			Origin: "at 10 ms a turn the last one waits for a second"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfRates, derive.OfOrigins},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	rates, err := diagnosis.Of(p, derive.OfRates)
	if err != nil {
		return err
	}
	origins, err := diagnosis.Of(p, derive.OfOrigins)
	if err != nil {
		return err
	}
	s := &starvation{p: p, c: p.Case, f: frames, rates: rates, origins: origins}
	s.survey()
	s.judge()
	return nil
}
