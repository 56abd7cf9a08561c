package busyyield

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// plurals are the shapes as said of several goroutines; the phrases of derive are those of one.
var plurals = map[derive.PollShape]string{
	derive.PollYield: "yield with runtime.Gosched instead of waiting", derive.PollSelect: "poll in a select with a default",
	derive.PollSpin: "spin on a variable", derive.PollTryLock: "spin on TryLock", derive.PollSleep: "poll with tiny sleeps",
	derive.PollTimer: "re-arm a timer that fires at once", derive.PollDeadline: "poll with tiny deadlines"}

func plural(n int, s derive.PollShape) string {
	if n == 1 {
		return s.String()
	}
	return plurals[s]
}

// weigh decides how sure a loop is and how bad; confidence 0 means it is not worth a finding.
func (y *yield) weigh(l *loop) (diagnosis.Confidence, diagnosis.Severity, []diagnosis.Reason) {
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
		case a.AskedNS > 0, l.parked >= int(y.p.Limit("min-sleepers")):
			return diagnosis.Likely, diagnosis.Warning, why
		case l.active > 0:
			return diagnosis.Possible, diagnosis.Warning, why
		}
		y.p.Silent("one %s is due within a millisecond, which happens by chance as well", a.Source)
		return 0, 0, nil
	}
	switch {
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

func alarmText(a *evidence.Alarm, n int) string {
	if a.AskedNS > 0 {
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

// cpu reports whether the thread of the loop's goroutine has computed for most of the life of the process.
func (y *yield) cpu(l *loop) bool {
	t, ok := y.thread(l)
	return ok && y.c.Process.UptimeNS > 0 && float64(t.UserNS+t.SystemNS) >= busyThread*float64(y.c.Process.UptimeNS)
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
	t, _ := y.thread(l)
	return []diagnosis.Reason{{Refs: []evidence.Ref{t.Ref()}, Text: fmt.Sprintf("its thread has used %.1f s of processor time in the %.1f s of the process",
		float64(t.UserNS+t.SystemNS)/1e9, float64(y.c.Process.UptimeNS)/1e9)}}
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
