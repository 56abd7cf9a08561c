// Package busyyield recognises loops that poll instead of waiting.
//
// Somebody needs to know when a flag turns, a queue gets an entry or a deadline passes, and asks again and again: with
// runtime.Gosched between the questions, with a sleep of some microseconds, in a select with a default, with a compare-and-swap,
// with a timer that is re-armed at once or a deadline that has passed before the read begins. The processors are busy, and
// nothing is done.
//
// An execution trace has the turns themselves: yields, sleeps and waits with their rate, and how long a goroutine runs in between. What it
// does not have is a loop that asks without ever waiting: that shows only in what such a goroutine was doing when it was taken from its
// processor, or when a CPU sample was taken. A call that asks has a name there (TryLock, a non-blocking receive, a load of an atomic type); a
// test of a plain variable, or a function of sync/atomic that is compiled to an instruction, looks like any computation: where that is all a
// goroutine does, at one line, the rule is silent and says why. Nor does a preemption show what runs in assembly: who is always caught at one call may compute before it.
//
// A core shows a state and not a rate. What supports the diagnosis: the goroutine is caught inside the call that polls; the
// counters of the scheduler (a Gosched loop switches millions of times a second, an HTTP server under full load 70,000 times);
// the machine loop around its pc, when the reader decoded it; and alarms: a sleep, timer or deadline that is due within a
// millisecond.
package busyyield

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is busy-yield.
var Rule = &diagnosis.Rule{
	Name:  "busy-yield",
	Class: "busy-yield",
	Doc: &diagnosis.Doc{
		Title: "A loop polls instead of waiting",
		Sees: "Goroutines that run or could run inside runtime.Gosched, a select with a default, an atomic operation, TryLock, a timer's " +
			"Reset or SetDeadline, called from the program; goroutines whose machine loop only looks at memory; sleeping ones " +
			"whose sleep, timer or deadline is due within a millisecond. The scheduler's counters tell a loop from a single call. In an " +
			"execution trace: lines that yield more than ten thousand times a second, that sleep or wait for a timer or deadline for a " +
			"millisecond hundreds of times a second and do nothing in between, and goroutines that never wait and are in such a call " +
			"whenever they are interrupted or sampled. A look at a file or a lock between two sleeps is a poll as well. A goroutine that stays at one line of " +
			"its own is no finding: it computes there, or asks for a flag.",
		Hurts: "A processor for each polling goroutine, heat, and latency for everybody else; in a container with a CPU quota the quota " +
			"is used up by asking.",
		Confirm: "An execution trace counts the wake-ups per second; `perf top` or a CPU profile shows the loop; `top -H` shows " +
			"threads at 100 %.",
		Fix: "Wait for the event: a channel, sync.Cond, sync.WaitGroup or a context tells you when it happens. If you have to poll, " +
			"use a time.Ticker with an interval that somebody would notice, at least some milliseconds.",
		Not: "Work that computes (no yield, no polling call) is healthy at 100 % CPU. One Gosched in a program that switches rarely, " +
			"tickers, back-off sleeps of milliseconds and more, and goroutines that were just woken stay silent. In a trace so do loops that " +
			"work, call the system or wake somebody in their turns (rate limiters, tickers, game loops), workers that are handed a job and sleep in it, yields between pieces of work, the " +
			"collector's own yields, and benchmarks.",
		Before: "for !ready.Load() {\n\truntime.Gosched()\n}",
		After:  "<-ready // a channel that is closed when it is",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindScheduler, evidence.KindTimeline, evidence.KindGoroutines},
	Limits: append([]diagnosis.Limit{
		{Name: "yields-per-second", Doc: "schedulings per second on the busiest processor from which a goroutine in Gosched is in a loop",
			Default: 300000, Origin: "measured: HTTP server under load 70,000, pipeline 50,000, Gosched loop 3,300,000 to 13,000,000 " +
				"(Go 1.21.13 and 1.26.8, two processors)"},
		{Name: "quiet-per-second", Doc: "schedulings per second below which a single goroutine in Gosched is not in a loop", Default: 10000,
			Origin: "the rate from which an execution trace calls it a loop; a Gosched loop makes hundreds of times more"},
		{Name: "tiny-sleep-ns", Doc: "sleeps, timers and deadlines up to this many nanoseconds are polls", Default: 1500000,
			Origin: "an execution trace's threshold; the timers of an idle program are at least milliseconds apart"},
		{Name: "pacing-sleep-ns", Doc: "sleeps of a single goroutine above this many nanoseconds are a remark", Default: 100000,
			Origin: "who paces a producer sleeps for a millisecond; who waits for a flag sleeps for some microseconds, which the kernel makes 60"},
		{Name: "producer-goroutines", Doc: "living goroutines that one has started from which it is a producer that paces itself", Default: 100,
			Origin: "far more than a program starts in order to wait for them in a loop of sleeps"},
		{Name: "min-sleepers", Doc: "goroutines at one line whose alarm is due within tiny-sleep-ns, when what they asked for is not known",
			Default: 3, Origin: "one ticker of a second is due within 1.5 ms in one core of 700; three at one line practically never"},
		{Name: "min-spinners", Doc: "goroutines inside an atomic operation, timer or deadline call at one line for more than a possible finding",
			Default: 2, Origin: "one goroutine may pass there by chance at the moment of the core; two at one line rarely"},
	}, traceLimits...),
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfPolls, derive.OfRates, derive.OfOrigins, derive.OfTimeline},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	if t.Line != nil {
		told = runTrace(p, t)
		if p.Case.Scheduler == nil { // what goroutines did when the trace ended is no moment of a core
			return nil
		}
	}
	return runMoment(p, told)
}

// runMoment looks at a core or a dump, except at functions whose loops a trace has told of.
func runMoment(p *diagnosis.Pass, told map[string]bool) error {
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	polls, err := diagnosis.Of(p, derive.OfPolls)
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
	y := &yield{p: p, c: p.Case, f: frames, polls: polls, rates: rates, origins: origins, index: map[place]int{}}
	y.active()
	y.parked()
	if p.Case.Timeline == nil {
		p.Silent("no goroutine was caught polling")
	}
	for i := range y.loops {
		if !told[y.loops[i].function] {
			y.judge(&y.loops[i])
		}
	}
	return nil
}

// place is a line and the way it polls.
type place struct {
	function string
	line     int
	shape    derive.PollShape
}

// loop is what was found at one place.
type loop struct {
	place
	frame  evidence.Frame
	first  evidence.Goroutine
	poll   derive.Poll
	active int // goroutines that run or could
	parked int // goroutines whose alarm is due at once
	rows   []evidence.Ref
}

func (l *loop) count() int { return l.active + l.parked }

// yield is one run of the rule.
type yield struct {
	p       *diagnosis.Pass
	c       *evidence.Case
	f       *derive.Frames
	polls   *derive.Polls
	rates   derive.Rates
	origins derive.Origins
	loops   []loop
	index   map[place]int
}

// active looks at the goroutines that are on a processor or want one, a member of each group.
func (y *yield) active() {
	for _, g := range y.c.Groups() {
		switch g.State {
		case evidence.StateRunning, evidence.StateRunnable, evidence.StatePreempted:
			first := y.c.Goroutines().At(g.First)
			if poll := y.polls.Active(first); poll.Shape != derive.PollNone {
				y.add(first, poll, g.Count, true)
			}
		}
	}
}

// parked looks at the goroutines that a timer is about to wake. There are few of them: readers record no later alarms.
func (y *yield) parked() {
	for _, a := range y.c.Alarms {
		g, ok := y.c.Goroutines().ByID(a.Goroutine)
		if !ok || g.State != evidence.StateWaiting || y.polls.Alarm(g.ID) == nil {
			continue
		}
		if poll := y.polls.Parked(g, int64(y.p.Limit("tiny-sleep-ns"))); poll.Shape != derive.PollNone {
			y.add(g, poll, 1, false)
		}
	}
}

// sampleVictims is how many goroutines a finding names.
const sampleVictims = 100

func (y *yield) add(g evidence.Goroutine, poll derive.Poll, count int, active bool) {
	frame := y.c.Stack(g.Stack).At(poll.Frame)
	if l := poll.Loop; poll.Shape == derive.PollSpin && l != nil && !l.Called && l.Back != 0 {
		if back := y.c.Frame(l.Back); back.Function == frame.Function { // wherever in the loop it was caught
			frame.Line = back.Line
		}
	}
	key := place{frame.Function, frame.Line, poll.Shape}
	at, ok := y.index[key]
	if !ok {
		at = len(y.loops)
		y.index[key] = at
		y.loops = append(y.loops, loop{place: key, frame: frame, first: g, poll: poll})
	}
	l := &y.loops[at]
	if active {
		l.active += count
	} else {
		l.parked += count
	}
	if len(l.rows) < sampleVictims {
		l.rows = append(l.rows, g.Ref())
	}
}

func (y *yield) judge(l *loop) {
	confidence, severity, why := y.weigh(l)
	if confidence == 0 {
		return
	}
	y.p.Report(diagnosis.Finding{
		Subject: l.first.Ref(), Victims: l.rows, Affected: l.count(),
		Claim:      fmt.Sprintf("%s %s: %s in %s", goroutines(l.count()), plural(l.count(), l.shape), "caught", derive.Short(l.function)),
		Because:    append([]diagnosis.Reason{y.caught(l)}, why...),
		Against:    y.against(l, confidence),
		Locations:  []diagnosis.Location{{Role: diagnosis.RoleLoop, Frame: l.frame, Ref: l.first.Ref()}},
		Confidence: confidence,
		Severity:   severity,
		Settle:     "a core shows a state and not a rate: an execution trace counts how often the loop asks, a CPU profile what it costs",
		Next:       []string{"take an execution trace of a second of the living process and count the events of this goroutine"},
	})
}

func goroutines(n int) string {
	if n == 1 {
		return "a goroutine"
	}
	return fmt.Sprintf("%d goroutines", n)
}
