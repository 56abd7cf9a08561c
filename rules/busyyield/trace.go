package busyyield

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// traceLimits are the thresholds for execution traces.
var traceLimits = []diagnosis.Limit{
	{Name: "trace-span", Doc: "seconds that a trace, and a loop in it, must last", Default: 0.1, Origin: "in less, the start of a program is all there is"},
	{Name: "trace-yields", Doc: "calls of runtime.Gosched a second at one line of the program", Default: 10000,
		Origin: "cooperative yields between pieces of work stayed under 4,000 a second, loops made 100,000 and more (Go 1.22 and 1.26, two processors)"},
	{Name: "trace-yield-slices", Doc: "share of the slices of its time in which a loop of yields must go round", Default: 0.5,
		Origin: "separated ill textbook programs from healthy ones"},
	{Name: "trace-occupied", Doc: "share of its time for which a loop of yields must take up its goroutines", Default: 0.3,
		Origin: "a loop that waits takes them up all the time; yields between other work or waits hardly"},
	{Name: "trace-polls", Doc: "sleeps, timers or deadlines a second at one line", Default: 200,
		Origin: "a loop that sleeps for a millisecond makes 900; a ticker for people at most 100"},
	{Name: "trace-tiny", Doc: "share of the waits that must be tiny", Default: 0.8, Origin: "separated ill textbook programs from healthy ones"},
	{Name: "trace-poll-slices", Doc: "share of the slices of its time in which a loop of sleeps must go round", Default: 0.8,
		Origin: "separated ill textbook programs from healthy ones"},
	{Name: "trace-turn-ns", Doc: "nanoseconds that a loop may run each turn on average; more is work", Default: 20000,
		Origin: "measured: loops that only ask run for 0.1 to 8 us a turn; a ticker with work for 30 us and more"},
	{Name: "trace-ask-ns", Doc: "nanoseconds a turn above which a lone loop that sleeps by the millisecond may work, and is a remark", Default: 5000,
		Origin: "measured: loops that only ask run for 0.1 to 8 us a turn, half of them for less than 2"},
	{Name: "trace-rearm-ns", Doc: "the same of a lone loop that waits for a timer", Default: 10000,
		Origin: "measured: to re-arm a timer and to wait in a select takes 4 to 8 us and a new timer 8 to 21 us, a sleep 0.5 us (Go 1.22 to 1.26)"},
	{Name: "trace-look-ns", Doc: "nanoseconds that a system call may take on average to be a look at a file or a lock", Default: 10000,
		Origin: "measured: 0.9 to 1.3 us to look for a file or to try a lock; what takes longer than ten times that moves something"},
	{Name: "trace-window", Doc: "share of the span below which a loop is an episode: of yields it is told with less weight, of sleeps not at all",
		Default: 0.5, Origin: "who polls for half of the time does so by design; tests wait in short loops of sleeps"},
	{Name: "trace-cost", Doc: "share of a processor from which a loop of yields is critical", Default: 0.2,
		Origin: "a fifth of a processor; measured 0.4 to 1 in loops that wait by yielding"},
	{Name: "trace-timed-out", Doc: "share of the waits for a connection that must end by their deadline", Default: 0.5,
		Origin: "in a server each wait ends with data: none"},
	{Name: "trace-deeds", Doc: "system calls and wakes each turn from which a loop of sleeps paces its work, which is healthy", Default: 0.5,
		Origin: "who only asks finds something in few of its turns"},
	{Name: "spin-samples", Doc: "preemptions and CPU samples of a goroutine that never waits, to judge it by", Default: 10,
		Origin: "the runtime interrupts who runs on each 10 to 20 ms: a fifth of a second"},
	{Name: "spin-sure", Doc: "preemptions and CPU samples for more than a possible finding", Default: 20,
		Origin: "with 90 % of 20 samples the share of the time is at least 70 % (one-sided binomial bound of 95 %)"},
	{Name: "spin-active", Doc: "share of its life that such a goroutine must run or want to", Default: 0.9, Origin: "who waits for a tenth of the time waits properly"},
	{Name: "spin-events", Doc: "waits and system calls a second that such a goroutine may make", Default: 1000,
		Origin: "more leave a trace of their own, and are told by their rate"},
	{Name: "spin-work", Doc: "share of its samples that may be in anything but the question", Default: 0.15,
		Origin: "loops that check a context beside cheap work had 30 % and more"},
	{Name: "spin-asks", Doc: "share of its samples that must be in the call that asks", Default: 0.4,
		Origin: "measured 0.5 to 1: the rest are locks around the question and the loop itself"},
	{Name: "spin-sleeps", Doc: "the same when the call is time.Sleep, which returns at once for a sleep of nothing", Default: 0.05,
		Origin: "one sample in twenty: a goroutine that never sleeps has no other reason to be there"},
	{Name: "spin-spread", Doc: "share of its preemptions that must be elsewhere than at one call; fewer show where it can be interrupted and not what it does",
		Default: 0.1, Origin: "measured: loops that only ask 0.18 to 0.57, loops around assembly of 64 KiB to 8 MiB 0 to 0.02 (Go 1.22 to 1.26)"},
	{Name: "spin-stretch-ns", Doc: "nanoseconds between its preemptions, half of the time, from which they say little: something runs that cannot be interrupted",
		Default: 1e8, Origin: "ten times the quantum of 10 ms (runtime/proc.go, forcePreemptNS); measured 17 to 50 ms in loops that only ask, on a busy host"},
	{Name: "spin-line", Doc: "share of its samples at one line of its own from which a goroutine that never waits is named as one that cannot be told", Default: 0.95,
		Origin: "measured: spins on a lock or a flag 0.98 to 1; all but one of spin-sure samples"},
}

// clockBits is the power of two of nanoseconds in which a histogram counts the shortest sleeps of a program that idles: a little over the
// millisecond that epoll counts in (runtime/netpoll_epoll.go, netpoll, Go 1.21 to 1.26).
const clockBits = 21

// traced is one run of the rule over a Timeline.
type traced struct {
	p    *diagnosis.Pass
	c    *evidence.Case
	t    *derive.Timeline
	line *evidence.Timeline
	told map[string]bool // functions whose loops were reported
}

// runTrace looks at a Timeline. It returns the functions whose loops it has reported.
func runTrace(p *diagnosis.Pass, t *derive.Timeline) map[string]bool {
	y := &traced{p: p, c: p.Case, t: t, line: t.Line, told: map[string]bool{}}
	if float64(y.line.SpanNS) < p.Limit("trace-span")*1e9 {
		p.Silent("the trace spans %s, which is too short", derive.Lasting(y.line.SpanNS))
		return y.told
	}
	p.Silent("no loop of yields, tiny sleeps, timers or deadlines, and no goroutine that is seen in a call that asks; a test of a variable " +
		"is compiled to an instruction and cannot be told from a computation")
	loops := t.Turns()
	for i := range loops {
		y.judge(&loops[i])
	}
	y.spins()
	return y.told
}

// verdict is what a loop of turns comes to; confidence 0 is nothing.
type verdict struct {
	confidence diagnosis.Confidence
	severity   diagnosis.Severity
	against    string
}

func (y *traced) judge(l *derive.Turns) {
	if float64(l.WindowNS()) < y.p.Limit("trace-span")*1e9 || l.Rate() < y.fewest(l.Shape) {
		return
	}
	v := y.weigh(l)
	if v.confidence == 0 {
		return
	}
	if l.Bench {
		y.p.Silent("%s is the body of a benchmark, which goes round on purpose", derive.Short(l.Frame.Function))
		return
	}
	if l.Shape != derive.PollYield && inTest(l.Frame) {
		y.p.Silent("%s sleeps for a moment %.0f times a second, in a test: tests stand in for work by sleeping", derive.Short(l.Frame.Function), l.Rate())
		return
	}
	if y.line.ShareOf(uint64(l.WindowNS())) < y.p.Limit("trace-window") {
		if l.Shape != derive.PollYield {
			y.p.Silent("%s sleeps for a moment %.0f times a second, for %s only", derive.Short(l.Frame.Function), l.Rate(), derive.Lasting(l.WindowNS()))
			return
		}
		v.severity--
	}
	if inTest(l.Frame) {
		v.severity = diagnosis.Info
	}
	y.report(l, v)
}

// inTest reports whether a line stands in a file of tests: what goes round there is not the program.
func inTest(f evidence.Frame) bool { return strings.HasSuffix(f.File, "_test.go") }

func (y *traced) fewest(s derive.PollShape) float64 {
	if s == derive.PollYield {
		return y.p.Limit("trace-yields")
	}
	return y.p.Limit("trace-polls")
}

func (y *traced) weigh(l *derive.Turns) verdict {
	turn := y.p.Limit("trace-turn-ns")
	if l.Shape == derive.PollDeadline {
		turn *= 2 // to set the deadline and to try the read is part of the question
	}
	if l.MeanRun() > turn {
		y.p.Silent("%s gives its processor away between pieces of work of %s", derive.Short(l.Frame.Function), derive.Lasting(int64(l.MeanRun())))
		return verdict{}
	}
	if l.Shape == derive.PollYield {
		return y.weighYields(l)
	}
	tiny, mean := l.ShortWaits(clockBits)
	switch {
	case mean > y.p.Limit("tiny-sleep-ns"), float64(tiny) < y.p.Limit("trace-tiny")*float64(l.Ended),
		l.Covered(y.line.SliceNS) < y.p.Limit("trace-poll-slices"):
		return verdict{}
	case l.Shape != derive.PollSleep && float64(l.Unwoken) < y.p.Limit("trace-tiny")*float64(l.Ended):
		return verdict{} // somebody sends: that is what the loop waits for
	case l.Shape == derive.PollDeadline:
		return y.weighDeadlines(l)
	}
	return y.weighPolls(l)
}

func (y *traced) weighYields(l *derive.Turns) verdict {
	if l.Covered(y.line.SliceNS) < y.p.Limit("trace-yield-slices") {
		return verdict{}
	}
	if l.Occupied() < y.p.Limit("trace-occupied") {
		y.p.Silent("%s yields %.0f times a second and does other things most of the time", derive.Short(l.Frame.Function), l.Rate())
		return verdict{}
	}
	if y.line.ShareOf(l.RunNS) >= y.p.Limit("trace-cost") {
		return verdict{confidence: diagnosis.Likely, severity: diagnosis.Critical}
	}
	return verdict{confidence: diagnosis.Likely, severity: diagnosis.Warning}
}

// weighPolls: what a sleep was meant to last is not in a trace. The shortest lasts a millisecond in a program that idles, so a loop that
// paces its work and one that asks are told apart by what they do in their turns.
func (y *traced) weighPolls(l *derive.Turns) verdict {
	limit, count := y.p.Limit("trace-deeds"), float64(max(l.Count, 1))
	beside := y.t.Sideline(l)
	if handed := float64(max(beside.Woken, beside.Handed)); handed >= limit*count {
		y.p.Silent("%s sleeps for a moment between %.1f hand-overs through channels or conditions each turn: the sleep is part of its work",
			derive.Short(l.Frame.Function), handed/count)
		return verdict{}
	}
	deeds := y.t.Deeds(l)
	looks := deeds >= limit && y.looks(&beside, count)
	if deeds >= limit && !looks {
		y.p.Silent("%s sleeps for a moment between system calls and wakes: it paces its work", derive.Short(l.Frame.Function))
		return verdict{}
	}
	if looks && float64(beside.Reads) >= limit*count {
		return verdict{diagnosis.Possible, diagnosis.Info, "who samples a file, or reads at a bounded rate, looks the same"}
	}
	if l.MeanWait() >= 1e6 && len(l.Top) < 2 {
		v := verdict{diagnosis.Possible, diagnosis.Warning, "a loop that paces cheap work by the millisecond looks the same"}
		if l.MeanRun() > y.cheap(l.Shape) {
			v.severity = diagnosis.Info
		}
		return v
	}
	return verdict{confidence: diagnosis.Likely, severity: diagnosis.Warning}
}

// looks reports whether all that happens each turn is a short call that asks: whether a file is there, whether a lock is free.
func (y *traced) looks(b *derive.Sideline, turns float64) bool {
	asks := b.Looks + b.Reads
	return float64(b.Calls+b.Wakes) < y.p.Limit("trace-deeds")*turns && asks > 0 && float64(b.LookNS) <= y.p.Limit("trace-look-ns")*float64(asks)
}

// cheap is how long a lone loop may run each turn to do nothing but ask.
func (y *traced) cheap(s derive.PollShape) float64 {
	if s == derive.PollTimer {
		return y.p.Limit("trace-rearm-ns")
	}
	return y.p.Limit("trace-ask-ns")
}

func (y *traced) weighDeadlines(l *derive.Turns) verdict {
	if l.TimedOut() < y.p.Limit("trace-timed-out") {
		return verdict{}
	}
	return verdict{confidence: diagnosis.Likely, severity: diagnosis.Warning}
}
