package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// span is how long the evidence lasted, in words.
func (m *maker) span() string { return Duration(m.c.Timeline.SpanNS) }

// busyShare is the share of processor time above which a process is called busy, and idleShare the one below which it is called mostly idle.
// Chosen: a reader wants to know which of the two kinds of slowness to look for.
const (
	busyShare = 0.8
	idleShare = 0.1
)

// spent says in one clause what the time of the process went to.
func (m *maker) spent() string {
	l := m.c.Timeline
	if l.RunNS == 0 {
		return "over " + m.span() + " no goroutine was seen running"
	}
	used, kernel := l.ShareOf(l.RunNS), shortCalls(l)
	s := fmt.Sprintf("over %s its goroutines kept %s busy on average", m.span(), processors(used, l.Procs))
	if l.Procs > 0 {
		switch share := used / float64(l.Procs); {
		case share >= busyShare:
			s = fmt.Sprintf("it was busy: over %s its goroutines kept %s occupied on average", m.span(), processors(used, l.Procs))
		case share < idleShare && l.ShareOf(l.RunNS+l.SystemNS+kernel)/float64(l.Procs) < idleShare: // collector and kernel work on the same processors
			s = fmt.Sprintf("it was mostly idle: over %s its goroutines kept %s occupied on average", m.span(), processors(used, l.Procs))
		}
	}
	var more []string
	if l.Latency.Total() > 0 {
		more = append(more, fmt.Sprintf("a ready goroutine waited %s for one (median; %s at the 99th percentile)",
			Duration(l.Latency.Quantile(0.5)), Duration(l.Latency.Quantile(0.99))))
	}
	if inside := l.ShareOf(kernel); l.Procs > 0 && inside >= idleShare*float64(l.Procs) {
		more = append(more, fmt.Sprintf("%.1f goroutines on average were in short system calls", inside))
	}
	if l.GC.Cycles > 0 {
		more = append(more, fmt.Sprintf("the collector was active %s of the time", percent(l.ShareOf(l.GC.ActiveNS))))
		if worked := l.ShareOf(l.GC.WorkerNS); l.Procs > 0 && worked >= idleShare*float64(l.Procs) {
			more = append(more, "its workers kept "+processors(worked, l.Procs)+" busy")
		}
	}
	if len(more) == 0 {
		return s
	}
	return s + "; " + strings.Join(more, "; ")
}

// shortCall is the mean length, in nanoseconds, below which a system call is work of the kernel and no wait.
const shortCall = 1e6

// shortCalls is the time that goroutines spent in system calls which are short as a rule.
func shortCalls(l *evidence.Timeline) uint64 {
	var sum uint64
	for i := range l.Sites {
		if s := &l.Sites[i]; s.Kind == evidence.SiteSyscall && s.Count > 0 && float64(s.TotalNS)/float64(s.Count) < shortCall {
			sum += s.TotalNS
		}
	}
	return sum
}

// processors is "2.4 of 8 processors".
func processors(used float64, of int) string {
	if of <= 0 {
		return fmt.Sprintf("%.1f processors", used)
	}
	digits := 1
	if used < 1 {
		digits = 2
	}
	noun := "processors"
	if of == 1 {
		noun = "processor"
	}
	return fmt.Sprintf("%.*f of %d %s", digits, used, of, noun)
}

// percent is a share in words: "34 %", "0.3 %", "less than 0.1 %".
func percent(share float64) string {
	switch p := share * 100; {
	case p == 0:
		return "0 %"
	case p < 0.1:
		return "less than 0.1 %"
	case p < 10:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

// spending says what the time of the process went to: for who finds nothing wrong and still wants to know why it is slow.
func (m *maker) spending() []string {
	c := m.doc.Course
	if c == nil {
		return nil
	}
	out := []string{c.Sentence}
	if len(c.Spawns) > 0 && c.Spawns[0].Time.RunNS > 0 && c.Spawns[0].Time.RunNS <= c.Time.RunNS {
		first := c.Spawns[0]
		s := fmt.Sprintf("Most processor time: %s of %s in goroutines", durationSum(first.Time.RunNS), durationSum(c.Time.RunNS))
		if first.Function != "" {
			s += " that execute " + ShortFunction(first.Function)
		}
		if at := first.Location; at != nil {
			s += ", started at " + cmp.Or(Place(at.File, at.Line), ShortFunction(at.Function))
		}
		if first.Function != "" || first.Location != nil {
			out = append(out, s+".")
		}
	}
	if s := m.longestWait(); s != "" {
		out = append(out, s)
	}
	return out
}

// profileKinds are the profiles that show more of what classes of findings name; see package traceprofile.
var profileKinds = map[string]string{"lock-hog": "mutex-holder", "lock-hot": "mutex-holder", "sched-starvation": "sched", "busy-yield": "sched",
	"syscall-churn": "syscall", "tiny-io": "syscall", "slow-dependency": "net"}

// profileKind is the profile to look at next.
func (m *maker) profileKind() string {
	if len(m.res.Findings) > 0 {
		return cmp.Or(profileKinds[m.res.Findings[0].Class], "sync")
	}
	return "sync"
}

// longestWait names the place with the most waiting that somebody ended: who waits for work, or sleeps, waits for nobody.
func (m *maker) longestWait() string {
	for _, p := range m.doc.Course.Places {
		if p.Reason == "sleep" || p.Count < 2 || p.Location == nil {
			continue
		}
		what := "system calls"
		if p.Kind == evidence.SiteBlock.String() {
			what = plainReason(&p)
		}
		return fmt.Sprintf("Most waiting: %s of %s in %s, %s.", durationSum(p.TotalNS), what,
			shortPlace(evidence.Frame{Function: p.Location.Function, File: p.Location.File, Line: p.Location.Line}), times(p.Count))
	}
	return ""
}

// plainReason is a reason of a block inside a sentence.
func plainReason(p *WaitingPlace) string {
	switch {
	case strings.HasPrefix(p.Call, "sync.Mutex.") || strings.HasPrefix(p.Call, "sync.RWMutex."):
		return "waiting for locks"
	case p.Reason == "network":
		return "waiting for the network"
	}
	return "waiting (" + Clip(p.What(), maxSentence) + ")"
}

// population is how many goroutines the evidence tells of.
func (m *maker) population() int {
	n := max(m.c.Coverage.GoroutinesSeen, m.c.Goroutines().Len())
	if l := m.c.Timeline; l != nil {
		n = max(n, l.AtStart+int(min(l.Created, maxPopulation)))
	}
	return n
}

// maxPopulation bounds what a saved Case can claim, so that sums stay whole.
const maxPopulation = 1 << 50

// totals says what happened in all, where the evidence covers a span of time.
func (m *maker) totals() {
	l := m.c.Timeline
	if l == nil {
		return
	}
	whole := evidence.Ref{Kind: evidence.RefTimeline}
	add := func(format string, args ...any) {
		m.doc.Impact = append(m.doc.Impact, m.statement(fmt.Sprintf(format, args...), whole))
	}
	add("%s", m.doc.Course.Sentence)
	add("%s created and %s ended; %s alive at the beginning, %s at the end, at most %s at once.", plural64(l.Created, "goroutine"), Count64(l.Ended), Count(l.AtStart), Count(l.AtEnd), Count(l.Peak))
	if s := shares(l); s != "" {
		add("Of their time goroutines were %s.", s)
	}
	switch g := &l.GC; {
	case g.Cycles == 0 && g.PauseNS > 0:
		add("No collection began; the world stood still for %s, at most %s at once.", durationSum(g.PauseNS), durationSum(g.MaxPause))
	case g.Cycles > 0:
		add("The collector: %s, active for %s (%s); the world stood still for %s, at most %s at once; goroutines assisted for %s; mark workers ran for %s.",
			Plural(g.Cycles, "cycle"), durationSum(g.ActiveNS), percent(l.ShareOf(g.ActiveNS)), durationSum(g.PauseNS), durationSum(g.MaxPause),
			durationSum(g.AssistNS), durationSum(g.WorkerNS))
	}
}

// shares are the shares of the time of goroutines by state.
func shares(l *evidence.Timeline) string {
	states := []struct {
		ns   uint64
		name string
	}{{l.RunNS, "running"}, {l.ReadyNS, "ready to run"}, {l.SyscallNS, "in system calls"}, {l.BlockedNS, "blocked"}}
	total := 0.0
	for _, s := range states {
		total += float64(s.ns)
	}
	if total == 0 {
		return ""
	}
	var parts []string
	for _, s := range slices.Clone(states) {
		parts = append(parts, s.name+" "+percent(float64(s.ns)/total))
	}
	return strings.Join(parts, ", ")
}

// eventCoverage says how much of the events was read.
func (m *maker) eventCoverage() string {
	l := m.c.Timeline
	s := plural64(l.Events, "event") + " over " + m.span() + " read"
	if l.Lost > 0 {
		s += ", at least " + Count64(l.Lost) + " lost"
	} else {
		s += ", none known to be lost"
	}
	s += "; " + Plural(m.population(), "goroutine") + " seen"
	if c := m.c.Coverage; c.GoroutinesSeen > 0 && c.GoroutinesUnwound < c.GoroutinesSeen {
		s += "; stacks of " + Count(c.GoroutinesUnwound) + " of " + Count(c.GoroutinesSeen) + " known"
	}
	if len(m.c.Threads) > 0 {
		s += "; " + shareText(Share{m.c.Coverage.ThreadsSeen, m.c.Coverage.ThreadsUnwound}, "thread")
	}
	return s
}

// enoughEvents is the share of events below which what was not read may hold the cause: what salvage of a damaged trace promises.
const enoughEvents = 0.99

// lacksEvents says what is missing of a Timeline, in the middle of a sentence.
func (m *maker) lacksEvents() string {
	l := m.c.Timeline
	switch {
	case l == nil:
		return ""
	case l.Events == 0:
		return "no event could be read"
	case float64(l.Lost) > (1-enoughEvents)*(float64(l.Events)+float64(l.Lost)):
		return fmt.Sprintf("at least %s of %s are lost", Count64(l.Lost), plural64(l.Events+min(l.Lost, 1<<62), "event"))
	case l.NoNames:
		return "some places in the code have no names, because tables of the trace are missing"
	}
	return ""
}
