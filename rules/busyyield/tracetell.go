package busyyield

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// words are what is said of a shape in a trace.
var words = map[derive.PollShape]struct{ one, many, fix string }{
	derive.PollYield: {"yields with runtime.Gosched", "yield with runtime.Gosched",
		"Wait for what the loop looks for: a channel, sync.Cond or sync.WaitGroup wakes the goroutine when it happens. runtime.Gosched only " +
			"lets others run first; with nothing else to run the loop has a processor to itself."},
	derive.PollSleep: {"sleeps for a moment", "sleep for a moment",
		"Have who changes the state say so: a channel, sync.Cond, sync.WaitGroup or a context wakes the goroutine when it happens. If it can " +
			"only be polled, use a time.Ticker with an interval that somebody would notice, and back off."},
	derive.PollTimer: {"waits for a timer that fires at once", "wait for a timer that fires at once",
		"Put the event itself into the select beside the context, in place of the timer. Where a timer must be, arm it for when something is due, " +
			"and not for when to look again."},
	derive.PollDeadline: {"waits for a connection until a deadline that passes at once", "wait for a connection until a deadline that passes at once",
		"Read without a deadline in a goroutine of its own, and end it by closing the connection or by one SetReadDeadline(time.Now()) when the " +
			"program stops. A deadline is for a peer that is late, seconds ahead."},
	derive.PollSelect: {"polls in a select with a default", "poll in a select with a default",
		"Leave out the default, so that the select waits; add what else can happen, a context's Done for instance, as a case."},
	derive.PollTryLock: {"spins on TryLock", "spin on TryLock", "Call Lock: it spins for a moment by itself and then waits."},
	derive.PollSpin: {"spins on an atomic variable", "spin on an atomic variable",
		"Wait for who stores: a channel that is closed, sync.Cond, sync.WaitGroup or sync.Mutex. A spin is right for some nanoseconds at most."},
	derive.PollLength: {"polls the length of a channel", "poll the length of a channel", "Receive from the channel, in a select when there are several."},
	derive.PollClock: {"asks for the time without a pause", "ask for the time without a pause",
		"Use time.Sleep, time.AfterFunc, a time.Timer or a context with a deadline: the runtime wakes the goroutine when it is time."},
}

// spinWords are what is said instead of a goroutine that never waits.
var spinWords = map[derive.PollShape]struct{ one, many string }{
	derive.PollSleep:    {"calls time.Sleep, which returns at once,", "call time.Sleep, which returns at once,"},
	derive.PollTimer:    {"re-arms a timer without a pause", "re-arm timers without a pause"},
	derive.PollDeadline: {"tries a connection whose deadline has passed", "try connections whose deadlines have passed"},
}

// report tells of a loop that gives its processor away.
func (y *traced) report(l *derive.Turns, v verdict) {
	subject, victims := y.goroutines(l.Top, l.Sites[0])
	who := max(len(victims), 1, l.Peak)
	f := diagnosis.Finding{
		Subject: subject, Victims: victims, Affected: who,
		Claim:      fmt.Sprintf("%s %s %s times a second, in %s", y.name(l.Top, who), y.phrase(l.Shape, who), derive.Amount(l.Rate()), derive.Short(l.Frame.Function)),
		Because:    []diagnosis.Reason{y.turns(l), {Text: y.course(l), Refs: refs(l.Sites)}},
		Locations:  []diagnosis.Location{{Role: diagnosis.RoleLoop, Frame: l.Frame, Ref: evidence.SiteRef(l.Sites[0])}},
		Confidence: v.confidence, Severity: v.severity, Fix: words[l.Shape].fix,
	}
	if l.Shape == derive.PollDeadline {
		f.Because = append(f.Because, diagnosis.Reason{Refs: refs(l.Sites), Text: fmt.Sprintf(
			"%d reads and writes were tried in %d waits: one that ends with data makes two, so %s of them ended by their deadline",
			l.Reads, l.Count, derive.Percent(l.TimedOut()))})
	}
	if v.against != "" {
		f.Against = append(f.Against, diagnosis.Reason{Text: v.against, Refs: refs(l.Sites)})
		f.Settle = "the source: whether something happens in most turns, or the loop only looks"
	}
	y.told[l.Frame.Function] = true
	y.p.Report(f)
}

// turns says what a turn is.
func (y *traced) turns(l *derive.Turns) diagnosis.Reason {
	text := fmt.Sprintf("%d turns from %s to %s: away for %s and on a processor for %s each, on average", l.Count,
		derive.Lasting(l.FirstNS), derive.Lasting(l.LastNS), derive.Lasting(int64(l.MeanWait())), derive.Lasting(int64(l.MeanRun())))
	if l.Shape != derive.PollYield && l.Shape != derive.PollDeadline && l.Ended > 0 {
		text += fmt.Sprintf("; %s of them were ended by the clock and not by a goroutine", derive.Percent(float64(l.Unwoken)/float64(l.Ended)))
	}
	return diagnosis.Reason{Text: text, Refs: refs(l.Sites)}
}

// course says what it costs, and how long it went on.
func (y *traced) course(l *derive.Turns) string {
	return fmt.Sprintf("the loop went round in %s of the trace and ran for %s of a processor", derive.Percent(min(y.line.ShareOf(uint64(l.WindowNS())), 1)),
		derive.Percent(y.line.ShareOf(l.RunNS)))
}

// spins tells of goroutines that ask and never wait.
func (y *traced) spins() {
	bounds := derive.SpinBounds{LifeNS: uint64(y.p.Limit("trace-span") * 1e9), Active: y.p.Limit("spin-active"),
		Events: y.p.Limit("spin-events"), Samples: uint64(y.p.Limit("spin-samples")), Work: y.p.Limit("spin-work"), Asks: y.p.Limit("spin-asks"),
		Sleeps: y.p.Limit("spin-sleeps"), Spread: y.p.Limit("spin-spread"), Stretch: int64(y.p.Limit("spin-stretch-ns"))}
	list := y.t.Spins(bounds)
	for i := range list {
		what := derive.Short(list[i].Frame.Function)
		switch {
		case list[i].Bench:
			y.p.Silent("%s is the body of a benchmark, which goes round on purpose", what)
		case list[i].Blind && list[i].Shape != derive.PollClock: // a look at the clock has one place at most where it can be interrupted
			y.p.Silent("%s is interrupted at one call only, or hardly ever: whether it asks all the time, or computes in between in something "+
				"that cannot be interrupted (assembly), cannot be told", what)
		case list[i].Shape == derive.PollContext: // most often a loop whose work is cheaper than to ask before each piece of it
			y.p.Silent("%s asks all the time whether its context is done, and what it does in between is too short to be seen", what)
		default:
			y.reportSpin(&list[i])
		}
	}
	bounds.Samples = uint64(y.p.Limit("spin-sure"))
	for _, l := range y.t.OneLines(bounds, y.p.Limit("spin-line")) {
		if !l.Bench && !y.told[l.Frame.Function] {
			y.p.Silent("%s stays at one line for nearly all of a processor: a computation or a question without a pause, which a trace cannot tell apart",
				derive.Short(l.Frame.Function))
		}
	}
}

func (y *traced) reportSpin(s *derive.Spin) {
	victims := make([]evidence.Ref, 0, len(s.Goroutines))
	top := make([]evidence.Share, 0, len(s.Goroutines))
	for _, id := range s.Goroutines {
		victims = append(victims, evidence.GoroutineRef(id))
		top = append(top, evidence.Share{Goroutine: id})
	}
	n := len(victims)
	phrase := y.phrase(s.Shape, n)
	if w, ok := spinWords[s.Shape]; ok {
		phrase = w.many
		if n == 1 {
			phrase = w.one
		}
	}
	f := diagnosis.Finding{
		Subject: victims[0], Victims: victims,
		Claim: fmt.Sprintf("%s %s for %s of a processor, in %s", y.name(top, n), phrase, derive.Percent(y.line.ShareOf(s.RunNS)),
			derive.Short(s.Frame.Function)),
		Because: []diagnosis.Reason{
			{Refs: victims, Text: fmt.Sprintf("no waits, yields or sleeps: of %s that goroutines were there they ran for %s",
				derive.Lasting(int64(s.LifeNS)), derive.Lasting(int64(s.RunNS)))},
			{Refs: refs(s.Sites), Text: fmt.Sprintf("of %d times that it was interrupted or sampled it was asking %d times, most often in %s, and in what may be work %d times",
				s.Samples, s.Asks, s.Callee, s.Work)},
		},
		Locations:  y.spinLines(s),
		Confidence: diagnosis.Likely, Severity: diagnosis.Warning, Fix: words[s.Shape].fix,
		Settle: "a CPU profile, or a core of the living process: it shows the machine loop",
	}
	if inTest(s.Frame) {
		f.Severity = diagnosis.Info
	}
	if s.Shape == derive.PollClock || float64(s.Asks) < y.p.Limit("spin-asks")*float64(s.Samples) || float64(s.Samples) < y.p.Limit("spin-sure") {
		f.Confidence = diagnosis.Possible
		f.Against = append(f.Against, diagnosis.Reason{Refs: refs(s.Sites), Text: fmt.Sprintf(
			"a spin leaves no events: this is read from %d samples of what the goroutine was doing", s.Samples)})
	}
	if s.Blind {
		f.Severity = diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Refs: refs(s.Sites), Text: "it is interrupted at one call only, or hardly ever: it may compute in " +
			"between in something that cannot be interrupted (assembly)"})
	}
	y.told[s.Frame.Function] = true
	y.p.Report(f)
}

// spinLines are the line that asks, and who called its function.
func (y *traced) spinLines(s *derive.Spin) []diagnosis.Location {
	list := []diagnosis.Location{{Role: diagnosis.RoleLoop, Frame: s.Frame, Ref: evidence.SiteRef(s.Sites[0])}}
	if s.Caller.Function != "" {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleCaller, Frame: s.Caller, Ref: evidence.SiteRef(s.Sites[0])})
	}
	return list
}

func (y *traced) phrase(s derive.PollShape, n int) string {
	if n == 1 {
		return words[s].one
	}
	return words[s].many
}

// name is "goroutine 7" or "4 goroutines".
func (y *traced) name(top []evidence.Share, n int) string {
	if n == 1 && len(top) > 0 {
		return fmt.Sprintf("goroutine %d", top[0].Goroutine)
	}
	return goroutines(n)
}

// goroutines are those that are named with a loop and stand in a table; the subject is the one that went round most, else the site.
func (y *traced) goroutines(top []evidence.Share, site int) (evidence.Ref, []evidence.Ref) {
	var list []evidence.Ref
	for _, s := range top {
		if ref := evidence.GoroutineRef(s.Goroutine); len(list) < sampleVictims && y.c.Resolve(ref) {
			list = append(list, ref)
		}
	}
	if len(list) == 0 {
		return evidence.SiteRef(site), nil
	}
	return list[0], list
}

// maxSites is how many sites a reason cites.
const maxSites = 5

func refs(sites []int) []evidence.Ref {
	var list []evidence.Ref
	for _, i := range sites[:min(len(sites), maxSites)] {
		list = append(list, evidence.SiteRef(i))
	}
	return list
}
