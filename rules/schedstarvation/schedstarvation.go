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
			"processor (GOMAXPROCS 1), on a locked thread, or on all processors with hardly any switches since the start.\n\n" +
			"In an execution trace, one of five things. A few goroutines of one go statement take nearly all processor time while others are ready and " +
			"wait for milliseconds; on one processor a few that wait are enough, when the loop neither gives it back nor wakes them. One goroutine " +
			"keeps a processor for ten time slices and more again and again (assembly over a huge block, asyncpreemptoff), and others, a stop of the " +
			"world, or the timers of others wait for it. On one processor, timers fire only when whoever computes is interrupted: once for each of its stretches. One goroutine computes all the time, alone, and many wait for what only it does (serialised work). Or, as a remark, more " +
			"is ready than all processors can do. What a trace cannot know is whether the host gave the process its processors; it never makes more " +
			"than a warning of these, unless a hundred are starved at a time.",
		Hurts: "Requests that need microseconds of work wait for tens of milliseconds and more; heartbeats are missed, deadlines pass.",
		Confirm: "An execution trace shows the scheduling latency and which goroutine runs meanwhile; GODEBUG=schedtrace=1000 prints the " +
			"run queues every second.",
		Fix: "Give the computation fewer processors than the machine has (a limited pool of workers), cut it into pieces, or move it to " +
			"a process of its own. Remove GOMAXPROCS=1 and asyncpreemptoff=1 unless they are measured to be needed.",
		Not: "Workers that all do the same computation share the processors fairly: a queue of their own kind is a busy machine, not " +
			"starvation. So is one of dozens of handlers that is found on the only processor. A pipeline at 100 % CPU switches thousands of times a second. In a trace: a program that " +
			"computes alone while its parents wait for the result, the slow stage of a pipeline, workers that wait for work from a busy producer, a batch of " +
			"equal goroutines, a host that is busy.",
		Before: "runtime.GOMAXPROCS(1)\ngo simulate() // computes for minutes\nhttp.ListenAndServe(addr, nil)",
		After:  "go simulate() // on GOMAXPROCS processors, leaving the others to requests\nhttp.ListenAndServe(addr, nil)",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindTimeline, evidence.KindGoroutines | evidence.KindScheduler, evidence.KindGoroutines},
	Limits: []diagnosis.Limit{
		{Name: "min-runnable", Doc: "goroutines of other parts of the program that must be ready to run", Default: 10,
			Origin: "more than the burst that one event wakes in a healthy server"},
		{Name: "max-switches", Doc: "switches per second on the busiest processor below which the processors are held", Default: 500,
			Origin: "forced preemption alone makes 30 to 100; measured: pipeline 50,000, HTTP server 70,000 (derive.Rates)"},
		{Name: "crowd", Doc: "living goroutines of the go statement that started what computes, from which the machine is busy and nobody a hog",
			Default: 24, Origin: "a loop that hogs is one of a handful (a worker for each of up to 16 processors); a handler is one of dozens"},
		{Name: "critical-runnable", Doc: "ready goroutines from which it is critical, when the processors are held", Default: 100,
			Origin: "at 10 ms a turn the last one waits for a second"},
		{Name: "min-span-ms", Doc: "of a trace: its least length, in milliseconds", Default: 100,
			Origin: "ten time slices of the scheduler (runtime/proc.go, forcePreemptNS)"},
		{Name: "min-latency-ms", Doc: "of a trace: how long one in a hundred of those that became ready must wait for a processor, in milliseconds",
			Default: 5, Origin: "half a time slice; measured: HTTP servers on two processors of a host with a load of 14 stay below 5.5 ms, " +
				"and below 1 ms on an idle one"},
		{Name: "min-share", Doc: "of a trace: share of the processor time that a few goroutines must take", Default: 0.8,
			Origin: "textbook programs have 0.9 and more, and 0.88 where they begin with something else; less leaves a quarter to the others"},
		{Name: "few-ready", Doc: "of a trace: goroutines of other parts that must be ready at a time, on average, for a possible finding",
			Default: 0.5, Origin: "under half, it is a burst now and then"},
		{Name: "min-ready", Doc: "of a trace: the same for a likely one", Default: 2,
			Origin: "one is the partner of whoever computes (a consumer on one processor)"},
		{Name: "serial-share", Doc: "of a trace: share of the time that one goroutine must compute, for serialised work", Default: 0.95,
			Origin: "textbook programs"},
		{Name: "max-running", Doc: "of a trace: goroutines that run at a time, at most, for serialised work", Default: 1.6,
			Origin: "textbook programs: the one and what little the others do"},
		{Name: "min-waiting", Doc: "of a trace: goroutines that must wait for that one at a time, on average", Default: 4,
			Origin: "a pipeline has one stage before and one behind; a test has its parents"},
		{Name: "min-served", Doc: "of a trace: waits that it must have ended at a place, for the place to count", Default: 20,
			Origin: "parents, wait groups and closed channels are served once"},
		{Name: "long-run-ms", Doc: "of a trace: mean stretch on a processor, in milliseconds, from which a goroutine cannot be preempted", Default: 100,
			Origin: "ten time slices; a host with seven threads to a processor made 60 ms of loops that can be preempted"},
		{Name: "min-late", Doc: "of a trace: waits of that length that there must be, beside those of whoever computes", Default: 10,
			Origin: "a quantile of fewer says nothing"},
		{Name: "hog-share", Doc: "of a trace: share of the time that each of the few must run", Default: 0.2,
			Origin: "four of them to a processor, as a pool with more workers than processors has"},
		{Name: "hog-stretch-ms", Doc: "of a trace: their mean stretch on a processor, in milliseconds", Default: 4,
			Origin: "preemption gives 10 ms and more; stages of pipelines and handlers run for microseconds"},
		{Name: "min-victims", Doc: "of a trace: goroutines of other go statements that must have been ready for long", Default: 3,
			Origin: "one feeds whoever computes, and one takes the results"},
		{Name: "min-long-runs", Doc: "of a trace: long stretches that one goroutine must have had, to be one that cannot be preempted", Default: 3,
			Origin: "a host takes a processor away once, and from anybody"},
		{Name: "min-taken", Doc: "of a trace: share of its stretches that the scheduler must have ended, for a loop on the only processor that has nothing " +
			"to do with those that wait", Default: 0.9, Origin: "a worker of a pipeline ends most of its stretches itself, at its channels; a loop one, its last"},
		{Name: "min-stretches", Doc: "of a trace: stretches on the only processor, from which it is no chance that timers fire once for each of them",
			Default: 5, Origin: "with fewer, any count agrees"},
		{Name: "many-timers", Doc: "of a trace: goroutines with late timers from which it is more than a remark", Default: 3,
			Origin: "the period of one may happen to be as long as the stretches"},
		{Name: "overload-busy", Doc: "of a trace: share of the processor time that must be used to speak of overload", Default: 0.8,
			Origin: "less, and processors were idle: it is the host that was busy"},
		{Name: "overload-ready", Doc: "of a trace: ready goroutines for each processor from which it is overload", Default: 4,
			Origin: "a burst or a batch; below, the queue is short"},
		{Name: "overload-latency-ms", Doc: "of a trace: how long one in a hundred must wait, in milliseconds, for overload", Default: 50,
			Origin: "five time slices: what a user begins to feel"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfRates, derive.OfOrigins, derive.OfTimeline},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	both := derive.NewBeside(p, diagnosis.RoleRunner)
	defer both.Flush()
	if t.Line != nil {
		newCourse(p, t, both).judge()
		if p.Case.Scheduler == nil { // what is ready at the end of a trace is one moment of many; a core beside it has more to tell
			return nil
		}
	}
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
	s := &starvation{p: p, both: both, c: p.Case, f: frames, rates: rates, origins: origins}
	s.survey()
	s.judge()
	return nil
}
