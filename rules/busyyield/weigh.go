package busyyield

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// plurals are the shapes as said of several goroutines; the phrases of derive are those of one.
var plurals = map[derive.PollShape]string{
	derive.PollYield: "yield with runtime.Gosched instead of waiting", derive.PollSelect: "poll in a select with a default",
	derive.PollSpin: "spin on a variable", derive.PollTryLock: "spin on TryLock", derive.PollSleep: "poll with tiny sleeps",
	derive.PollTimer: "re-arm a timer that fires at once", derive.PollDeadline: "poll with tiny deadlines",
	derive.PollLength: "poll the length of a channel"}

func plural(n int, s derive.PollShape) string {
	if n == 1 {
		return s.String()
	}
	return plurals[s]
}

// weigh decides how sure a loop is and how bad; confidence 0 means it is not worth a finding.
func (y *yield) weigh(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
	if l.poll.Outer {
		return y.weighOuter(l)
	}
	switch l.shape {
	case derive.PollYield:
		return y.weighYield(l)
	case derive.PollSleep, derive.PollTimer, derive.PollDeadline:
		return y.weighTimed(l)
	case derive.PollSelect:
		return y.weighSelect(l)
	}
	return y.weighSpin(l)
}

// weighOuter: the loop makes a polling call each turn, and its goroutine was caught in another part of the turn. Alone in a program
// that has nothing else to do, it goes round as fast as it can; beside others it may have been at work.
func (y *yield) weighOuter(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
	why := []diagnosis.Reason{{Refs: []evidence.Ref{l.first.Ref()}, Text: fmt.Sprintf(
		"the loop around what it was caught in is %d bytes of code, stores nothing and calls %s each turn", l.poll.Loop.Bytes, l.poll.Callee)}}
	many := l.active >= int(y.p.Limit("min-spinners"))
	switch {
	case y.alone(l) && y.cpu(l):
		return diagnosis.Likely, diagnosis.Warning, append(why, y.cpuReason(l)...)
	case y.alone(l) && !y.timed(), many:
		return diagnosis.Possible, diagnosis.Warning, why
	}
	return diagnosis.Possible, diagnosis.Info, why
}

// timed reports whether the threads' times are in the evidence.
func (y *yield) timed() bool {
	return slices.ContainsFunc(y.c.Threads, func(t evidence.Thread) bool { return t.UserNS+t.SystemNS > 0 })
}

// weighYield goes by the rate of switches: nothing else makes as many as a Gosched loop.
func (y *yield) weighYield(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
	r := y.rates
	if !r.Known {
		if l.active >= int(y.p.Limit("min-spinners")) {
			return diagnosis.Likely, diagnosis.Warning, nil
		}
		return diagnosis.Possible, diagnosis.Warning, nil
	}
	why := []diagnosis.Reason{{Refs: r.Refs, Text: fmt.Sprintf(
		"the busiest processor has switched goroutines %d times in %.1f s, about %.0f times a second; a server under full load makes some ten thousand",
		r.Ticks, r.Seconds, r.Sched)}}
	switch {
	case r.Sched >= y.p.Limit("yields-per-second"):
		return diagnosis.Likely, diagnosis.Critical, why
	case r.Sched < y.p.Limit("quiet-per-second") && l.active < int(y.p.Limit("min-spinners")):
		y.p.Silent("a goroutine is in runtime.Gosched, but the processors have switched only %.0f times a second", r.Sched)
		return 0, 0, nil
	}
	return diagnosis.Possible, diagnosis.Warning, why
}

// weighTimed goes by the alarms of parked goroutines, and by how many were caught in the call that arms the next one.
func (y *yield) weighTimed(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
	if a := l.poll.Alarm; a != nil {
		why := []diagnosis.Reason{{Refs: []evidence.Ref{l.first.Ref()}, Text: alarmText(a, l.parked)}}
		switch {
		case l.count() == 1 && y.starts(l):
			y.p.Silent("goroutine %d sleeps for a moment between the goroutines that it starts: it paces its work", l.first.ID)
			return 0, 0, nil
		case l.count() == 1 && float64(a.AskedNS) > y.p.Limit("pacing-sleep-ns"):
			return diagnosis.Possible, diagnosis.Info, why
		case a.AskedNS > 0, l.parked >= int(y.p.Limit("min-sleepers")):
			return diagnosis.Likely, diagnosis.Warning, why
		case l.active > 0, y.switching() && y.alone(l):
			return diagnosis.Possible, diagnosis.Warning, why
		}
		y.p.Silent("one %s is due within a millisecond, which happens by chance as well", a.Source)
		return 0, 0, nil
	}
	switch {
	case l.poll.Woken && y.switching() && y.alone(l): // nobody else makes the switches
		return diagnosis.Possible, diagnosis.Warning, []diagnosis.Reason{{Refs: y.rates.Refs, Text: fmt.Sprintf(
			"nothing else runs or is about to, and the busiest processor has switched goroutines about %.0f times a second", y.rates.Sched)}}
	case l.poll.Woken && l.active >= int(y.p.Limit("min-sleepers")): // or sleepers that began together
		return diagnosis.Possible, diagnosis.Info, nil
	case l.poll.Woken:
		y.p.Silent("a goroutine was just woken from its sleep, which every sleeper is now and then")
		return 0, 0, nil
	case l.active >= int(y.p.Limit("min-spinners")):
		return diagnosis.Likely, diagnosis.Warning, nil
	}
	return diagnosis.Possible, diagnosis.Info, nil
}

// starts reports whether the goroutine of the loop is the parent of a big crowd: it makes work, and does not wait for any.
func (y *yield) starts(l *loop) bool {
	for i := range y.origins.List {
		o := y.origins.List[i]
		if float64(o.Count) < y.p.Limit("producer-goroutines") {
			return false // the list is sorted
		}
		if o.CountParents(y.c); o.Parent == l.first.ID {
			return true
		}
	}
	return false
}

// switching reports whether the processors switch as often as an execution trace asks of a loop.
func (y *yield) switching() bool {
	return y.rates.Known && y.rates.Seconds*1e9 >= shortestLife && y.rates.Sched >= y.p.Limit("quiet-per-second")
}

func alarmText(a *evidence.Alarm, n int) string {
	if a.AskedNS > 0 {
		switch a.Source {
		case evidence.AlarmTimer:
			return fmt.Sprintf("it waits for a timer or ticker of %s", nanoseconds(a.AskedNS))
		case evidence.AlarmDeadline:
			return fmt.Sprintf("it waits for a deadline %s ahead", nanoseconds(a.AskedNS))
		}
		return fmt.Sprintf("it sleeps for %s", nanoseconds(a.AskedNS))
	}
	return fmt.Sprintf("the %s of %s there is due within %s", a.Source, goroutines(n), nanoseconds(max(a.DueNS, 1)))
}

func nanoseconds(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d ns", n)
	}
	return fmt.Sprintf("%.4g us", float64(n)/1000)
}

// weighSelect: a select with a default is a poll only in a loop. That it runs and not waits is the state; the loop around it is
// told by the machine code, by several goroutines at the line, or by a processor that does nothing but this.
func (y *yield) weighSelect(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
	if l.poll.Callee == "runtime.selectgo" && !y.alone(l) && l.active < int(y.p.Limit("min-spinners")) {
		y.p.Silent("a goroutine was in a select at the moment of the core, beside others that worked")
		return 0, 0, nil
	}
	sends := l.poll.Callee == "runtime.selectnbsend" // to drop what nobody takes is a decision, and the loop around it produces
	if !sends && (l.active >= int(y.p.Limit("min-spinners")) || y.cpu(l)) {
		return diagnosis.Likely, diagnosis.Warning, y.cpuReason(l)
	}
	return diagnosis.Possible, diagnosis.Info, nil
}

// weighSpin: a loop that only looks is what it is; a goroutine caught in one atomic operation may pass by.
func (y *yield) weighSpin(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
	if m := l.poll.Loop; l.poll.Weak {
		why := []diagnosis.Reason{{Refs: []evidence.Ref{l.first.Ref()}, Text: fmt.Sprintf(
			"the code around its pc is a loop of %d bytes with %d atomic instructions and %d calls, which stores nothing itself",
			m.Bytes, m.Atomics, m.Calls)}}
		if l.active >= int(y.p.Limit("min-spinners")) {
			return diagnosis.Possible, diagnosis.Warning, append(why, y.cpuReason(l)...)
		}
		return diagnosis.Possible, diagnosis.Info, append(why, y.cpuReason(l)...)
	}
	if m := l.poll.Loop; m != nil && l.poll.Callee == "" {
		why := []diagnosis.Reason{{Refs: []evidence.Ref{l.first.Ref()}, Text: fmt.Sprintf(
			"the code around its pc is a loop of %d bytes without calls or stores, with %d atomic instructions: it can only end when another goroutine stores",
			m.Bytes, m.Atomics)}}
		if m.Atomics > 0 || l.active >= int(y.p.Limit("min-spinners")) {
			return diagnosis.Likely, diagnosis.Warning, append(why, y.cpuReason(l)...)
		}
		return diagnosis.Possible, diagnosis.Warning, append(why, y.cpuReason(l)...)
	}
	switch {
	case l.active >= int(y.p.Limit("min-spinners")):
		return diagnosis.Likely, diagnosis.Warning, y.cpuReason(l)
	case y.cpu(l):
		return diagnosis.Possible, diagnosis.Warning, y.cpuReason(l)
	case l.shape == derive.PollTryLock:
		return diagnosis.Possible, diagnosis.Warning, nil
	case l.shape == derive.PollLength && y.alone(l):
		return diagnosis.Possible, diagnosis.Warning, nil
	case y.only(l):
		return diagnosis.Possible, diagnosis.Info, nil
	}
	y.p.Silent("one goroutine was in an atomic operation, which says nothing of a loop")
	return 0, 0, nil
}

// alone reports whether the goroutines of the loop are the only ones of the program that run or could.
func (y *yield) alone(l *loop) bool {
	others := -l.active
	for _, g := range y.c.Groups() {
		active := g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted
		if active && !g.AnyFlag.Has(evidence.FlagSystem) && !derive.Dying(g) {
			others += g.Count
		}
	}
	return others <= 0
}

// only reports whether everything of the program that runs or could is in the function of the loop.
func (y *yield) only(l *loop) bool {
	for _, g := range y.c.Groups() {
		active := g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted
		s := y.c.Stack(g.Stack)
		i, user := y.f.UserFrame(s)
		if active && user && !derive.Dying(g) && s.At(i).Function != l.function {
			return false
		}
	}
	return true
}

// busyThread is the share of the process's time for which the goroutine's thread must have been on a processor.
const busyThread = 0.8

// shortestLife is the time under which the share of the processor says nothing: start-up computes.
const shortestLife = 500_000_000 // nanoseconds

// cpu reports whether the loop's goroutine has computed for most of the life of the process: by the time of its thread, or when it
// is the only one that is active, of all threads together, because a goroutine moves between them.
func (y *yield) cpu(l *loop) bool {
	used, _, ok := y.used(l)
	return ok && y.c.Process.UptimeNS >= shortestLife && float64(used) >= busyThread*float64(y.c.Process.UptimeNS)
}

// used is the processor time that counts for the loop, and the thread it is of; no thread when it is the sum of all.
func (y *yield) used(l *loop) (int64, evidence.Ref, bool) {
	if y.alone(l) && y.timed() {
		var sum int64
		for _, t := range y.c.Threads {
			sum += t.UserNS + t.SystemNS
		}
		return sum, evidence.Ref{Kind: evidence.RefProcess}, true
	}
	t, ok := y.thread(l)
	return t.UserNS + t.SystemNS, t.Ref(), ok
}

func (y *yield) thread(l *loop) (evidence.Thread, bool) {
	for _, t := range y.c.Threads {
		if t.Goroutine == l.first.ID || (l.first.Thread != 0 && t.TID == l.first.Thread) {
			return t, true
		}
	}
	return evidence.Thread{}, false
}

func (y *yield) cpuReason(l *loop) []diagnosis.Reason {
	if !y.cpu(l) {
		return nil
	}
	used, ref, _ := y.used(l)
	whose := "its thread has"
	if ref.Kind == evidence.RefProcess {
		whose = "nothing else runs or is about to, and the threads together have"
	}
	return []diagnosis.Reason{{Refs: []evidence.Ref{ref}, Text: fmt.Sprintf("%s used %.1f s of processor time in the %.1f s of the process",
		whose, float64(used)/1e9, float64(y.c.Process.UptimeNS)/1e9)}}
}

// caught is the evidence of the state.
func (y *yield) caught(l *loop) diagnosis.Reason {
	text := fmt.Sprintf("%s at %s:%d", goroutines(l.count()), l.frame.File, l.frame.Line)
	switch {
	case l.active > 0 && l.poll.Callee != "":
		text += fmt.Sprintf(", %d running or ready to run, in %s", l.active, l.poll.Callee)
	case l.active > 0:
		text += fmt.Sprintf(", %d running or ready to run", l.active)
	}
	if l.parked > 0 {
		text += fmt.Sprintf(", %d waiting for a timer that is due at once", l.parked)
	}
	return diagnosis.Reason{Text: text, Refs: l.rows[:min(len(l.rows), 5)]}
}

func (y *yield) against(l *loop, c diagnosis.Confidence) []diagnosis.Reason {
	if c > diagnosis.Possible {
		return nil
	}
	return []diagnosis.Reason{{Text: "the goroutine may have passed here once, at the moment of the core", Refs: []evidence.Ref{l.first.Ref()}}}
}
