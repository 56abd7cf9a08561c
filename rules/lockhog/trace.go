package lockhog

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// traceLimits are the thresholds for execution traces.
var traceLimits = []diagnosis.Limit{
	{Name: "trace-span", Doc: "seconds that a trace must span", Default: 0.1, Origin: "in less, the start of a program is all there is"},
	{Name: "contended", Doc: "share of a trace's span in which somebody must wait for the lock", Default: 0.5,
		Origin: "separated ill textbook programs from healthy ones; under half, the lock is free most of the time"},
	{Name: "mean-waiters", Doc: "goroutines that must wait for the lock on average over the span", Default: 2,
		Origin: "separated ill textbook programs from healthy ones"},
	{Name: "min-waits", Doc: "waits for the lock that there must be", Default: 20, Origin: "fewer are an incident and not a state"},
	{Name: "typical-wait", Doc: "milliseconds of the waits to which half of the waited time belongs (without known holds: that half of the waits last)", Default: 5,
		Origin: "separated ill textbook programs from hot locks, whose waits end within a time slice"},
	{Name: "min-hold", Doc: "milliseconds of the holds to which half of the held time belongs", Default: 1,
		Origin: "a mutex whose first waiter stands for over 1 ms goes into starvation mode (starvationThresholdNs, sync/mutex.go)"},
	{Name: "min-stop", Doc: "the same, in milliseconds, where holders stand in calls or are blocked for most of the time instead of computing", Default: 0.2,
		Origin: "a write to a buffer of the kernel takes a tenth of it; what takes longer waits for a device or for somebody"},
	{Name: "usual-stop", Doc: "milliseconds of the median hold of places that have half of the held time, from which short waits are told as well: of holders that stand " +
		"in calls or are blocked for most of the time (of those that compute it is min-hold)", Default: 0.05,
		Origin: "a write to a buffer of the kernel takes less than half of it, an fsync to the fastest disk more"},
	{Name: "brief-share", Doc: "share of the time in which goroutines worked, wanted to, or waited for the lock, that the waits must have where they are short",
		Default: 0.5, Origin: "under half, the processors and not the lock are what goroutines wait for"},
	{Name: "processors-full", Doc: "share of the processors' time that goroutines ran, while at least one more was ready on average, from which short waits are not told: the processors are what there is too little of",
		Default: 0.85, Origin: "hot locks left a quarter of the processors without work or more; programs that compute on all of them filled nine tenths"},
	{Name: "writer-waits", Doc: "waits of writers for an RWMutex that there must be", Default: 10, Origin: "writers are few where an RWMutex is right"},
	{Name: "writer-wait", Doc: "milliseconds that half of the waits of writers must last", Default: 10, Origin: "one forced preemption (forcePreemptNS, runtime/proc.go)"},
	{Name: "writer-busy", Doc: "share of the span in which a writer must wait", Default: 0.3,
		Origin: "while a writer waits new readers wait as well, so a third of the time is lost to all"},
	{Name: "stall-wait", Doc: "milliseconds of the longest wait from which a single queue is told", Default: 500,
		Origin: "a request that stands for half a second is late for who sent it; a busy host does not make such waits"},
	{Name: "stall-typical", Doc: "milliseconds of the waits to which half of the waited time belongs, from which queues are told that cost mean-waiters over the whole span",
		Default: 100, Origin: "people notice; ten times of what a busy host makes of a short section"},
	{Name: "stall-waiters", Doc: "goroutines that must wait at once in a single queue", Default: 8,
		Origin: "a lock under healthy load had 0 to 3 waiters"},
	{Name: "window-share", Doc: "share of the span of a single stretch with mean-waiters in each part of it, from which it is told", Default: 0.2,
		Origin: "with typical-wait and min-hold, a fifth of the time is more than start-up or the end of a test"},
	{Name: "trace-critical-waiters", Doc: "goroutines that must wait on average over the span, to be critical", Default: 4,
		Origin: "twice of what is a finding"},
	{Name: "trace-critical-share", Doc: "share of the time in which goroutines worked, wanted to, or waited for the lock, that the waits must have to be critical",
		Default: 0.5, Origin: "the process does more of waiting for this lock than of anything"},
}

// verdict is which of the figures of a lock fired.
type verdict uint8

const (
	quiet     verdict = iota
	sustained         // there is a queue most of the time
	writers           // writers of an RWMutex do not get in
	stalled           // single long queues
	windowed          // there is a queue for a good part of the time, and then no more
	brief             // there is a queue most of the time; its waits are short, and yet it is slow work that they wait for
)

// traced is one run of the rule over a Timeline.
type traced struct {
	p        *diagnosis.Pass
	c        *evidence.Case
	t        *derive.Timeline
	line     *evidence.Timeline
	blamed   map[*derive.ContendedLock]int // root lock -> index in findings
	findings []diagnosis.Finding
	said     bool // why the rule is silent; of several locks the one with the longest waits says it
}

func runTrace(p *diagnosis.Pass, t *derive.Timeline) {
	r := &traced{p: p, c: p.Case, t: t, line: t.Line, blamed: map[*derive.ContendedLock]int{}}
	if float64(r.line.SpanNS) < r.p.Limit("trace-span")*1e9 {
		p.Silent("the trace spans %s, which is too short", derive.Lasting(r.line.SpanNS))
		return
	}
	p.Silent("no lock is waited for in more than %s of the %s that the trace spans", derive.Percent(r.p.Limit("contended")), derive.Lasting(r.line.SpanNS))
	for i := range t.Locks {
		if i == derive.MaxLocks {
			break
		}
		r.judge(&t.Locks[i])
	}
	for _, f := range r.findings {
		p.Report(f)
	}
}

// judge reports a lock, or adds it to the finding that already blames the lock at the root.
func (r *traced) judge(l *derive.ContendedLock) {
	v, crowded := r.figure(l), r.crowded(l)
	if v == quiet && !crowded {
		r.passed(l, "")
		return
	}
	chain := r.t.Behind(l)
	root := &chain[len(chain)-1]
	known, long, stopped := float64(root.Known), r.p.Limit("min-hold")*1e6, r.p.Limit("min-stop")*1e6
	steady := crowded && root.Lock.HoldNS > 0 && root.Steady(long, r.p.Limit("usual-stop")*1e6)
	if v == quiet && steady {
		v = brief
	}
	switch {
	case v == quiet:
		r.passed(l, ": see lock-hot")
	case len(root.Lock.Releases) == 0:
		r.p.Open("goroutines waited for %s for %s in all, and nobody was seen to let it go", l.Name, derive.Lasting(int64(l.WaitNS)))
	case root.Lock.HoldNS > 0 && !steady && !root.Slow(long, stopped) && (v != stalled || !oneHold(root.Lock, l)):
		r.silent("%s is waited for, but seldom held for long (%s at a time): see lock-hot", l.Name, derive.Typical(&root.Lock.Holds, 0.5, root.Lock.MaxHold))
	case root.Known > 0 && float64(root.Collector+root.Ready) >= known/2 && root.Collector >= root.Ready:
		r.silent("%s is waited for while its holders wait for the garbage collector: see gc-pressure", l.Name)
	case root.Known > 0 && float64(root.Collector+root.Ready) >= known/2:
		r.silent("%s is waited for while its holders wait for a processor: see sched-starvation", l.Name)
	default:
		r.known(l, v, chain)
	}
}

// silent says why the rule reports nothing, once.
func (r *traced) silent(format string, args ...any) {
	if !r.said {
		r.said = true
		r.p.Silent(format, args...)
	}
}

// passed says what speaks against a lock that is waited for most of the time and is no finding.
func (r *traced) passed(l *derive.ContendedLock, see string) {
	each := ""
	if l.Several > 1 {
		each = " for each"
	}
	if busy := r.line.ShareOf(l.BusyNS); busy >= r.p.Limit("contended") {
		r.silent("%s is waited for in %s of the time, by %.1f goroutines on average%s; half of its %s lasted under %s%s", l.Name, derive.Percent(busy),
			l.Mean(r.line)/l.Several, each, derive.Count(int(l.Waits), "wait", "waits"), derive.Typical(&l.Hist, 0.5, l.MaxWait), see)
	}
}

// crowded reports whether so many wait for a lock all the time that the queue outweighs what the process does, however short each wait is.
func (r *traced) crowded(l *derive.ContendedLock) bool {
	return r.queued(l) && r.hurt(l) >= r.p.Limit("brief-share") && !r.t.Saturated(r.p.Limit("processors-full"))
}

// queued reports whether there is a queue for the lock most of the time.
func (r *traced) queued(l *derive.ContendedLock) bool {
	return r.line.ShareOf(l.BusyNS) >= r.p.Limit("contended") && l.Mean(r.line)/l.Several >= r.p.Limit("mean-waiters") &&
		float64(l.Waits) >= r.p.Limit("min-waits")
}

// oneHold reports whether a single hold explains the longest wait.
func oneHold(held, waited *derive.ContendedLock) bool {
	return float64(held.MaxHold) >= oneHoldShare*float64(waited.MaxWait)
}

// oneHoldShare is the share of the longest wait that a single hold must last to explain it. Of a queue behind a slow call the one has the
// length of the other; behind many short holds it is less than a tenth.
const oneHoldShare = 0.5

// figure says which of the thresholds a lock is over.
func (r *traced) figure(l *derive.ContendedLock) verdict {
	mean := l.Mean(r.line) / l.Several
	typical := float64(derive.Weighty(&l.Hist)) / 1e6
	if l.HoldNS == 0 {
		typical = float64(l.Hist.Quantile(0.5)) / 1e6 // no holds tell a hot lock apart
	}
	switch {
	case r.queued(l) && typical >= r.p.Limit("typical-wait"):
		return sustained
	case r.writersStarve(l):
		return writers
	case r.stalls(l, mean, typical):
		return stalled
	case float64(l.Waits) >= r.p.Limit("min-waits") && typical >= r.p.Limit("typical-wait") && l.HoldNS > 0 && r.longWindow(l):
		return windowed
	}
	return quiet
}

// stalls reports whether many stand at once, and long: once for very long, or so often that it costs as much as a queue all the time.
func (r *traced) stalls(l *derive.ContendedLock, mean, typical float64) bool {
	if float64(l.Peak)/l.Several < r.p.Limit("stall-waiters") {
		return false
	}
	return float64(l.MaxWait)/1e6 >= r.p.Limit("stall-wait") || mean >= r.p.Limit("mean-waiters") && typical >= r.p.Limit("stall-typical")
}

// window is the longest stretch in which mean-waiters wait in each slice.
func (r *traced) window(l *derive.ContendedLock) (derive.Spell, bool) {
	floor := uint32(1000 * r.p.Limit("mean-waiters") * l.Several)
	return derive.Longest(derive.Spells(l.Load, floor, r.line.SliceNS, r.line.SpanNS))
}

func (r *traced) longWindow(l *derive.ContendedLock) bool {
	w, ok := r.window(l)
	return ok && r.line.ShareOf(uint64(w.EndNS-w.StartNS)) >= r.p.Limit("window-share")
}

// writersStarve reports whether the writers of an RWMutex wait long and often.
func (r *traced) writersStarve(l *derive.ContendedLock) bool {
	w := r.writerWaits(l)
	return float64(w.count) >= r.p.Limit("writer-waits") && float64(w.hist.Quantile(0.5))/1e6 >= r.p.Limit("writer-wait") &&
		r.line.ShareOf(w.busy) >= r.p.Limit("writer-busy") && l.Several == 1
}

// writerSum is what the writers among the waiters waited.
type writerSum struct {
	count, busy, max uint64
	hist             evidence.Histogram
}

func (r *traced) writerWaits(l *derive.ContendedLock) writerSum {
	var w writerSum
	for _, i := range l.Sites {
		if r.t.Places[i].Lock != derive.LockWrite {
			continue
		}
		s := &r.line.Sites[i]
		w.count += s.Count
		w.busy = max(w.busy, s.BusyNS)
		w.max = max(w.max, s.MaxNS)
		for k, n := range s.Hist {
			w.hist[k] += n
		}
	}
	return w
}

func (r *traced) known(l *derive.ContendedLock, v verdict, chain []derive.Holding) {
	root := chain[len(chain)-1].Lock
	if at, ok := r.blamed[root]; ok {
		f := &r.findings[at]
		f.Because = append(f.Because, r.queue(l, v))
		f.Affected = f.VictimCount() + l.Peak
		return
	}
	r.blamed[root] = len(r.findings)
	r.findings = append(r.findings, r.finding(l, v, chain))
}

func (r *traced) finding(l *derive.ContendedLock, v verdict, chain []derive.Holding) diagnosis.Finding {
	root := &chain[len(chain)-1]
	work := r.workOf(root)
	f := diagnosis.Finding{
		Subject:    r.subject(work),
		Victims:    r.victims(l),
		Affected:   l.Peak,
		Claim:      r.claim(l, v, chain, work),
		Because:    r.because(l, v, chain, work),
		Against:    r.against(l, v, root, work),
		Locations:  r.locations(l, chain, work),
		Confidence: r.confidence(l, v, chain, work),
		Severity:   r.severity(l, v, root, work),
		Fix:        r.fixFor(l, root, v, work),
		Next:       []string{"postmortem profile mutex-holder -o mutex-holder.pb.gz FILE"},
	}
	if f.Confidence < diagnosis.Likely {
		f.Settle = "a mutex profile (runtime.SetMutexProfileFraction) names who held the lock"
	}
	return f
}

// The fixes for locks that want another one than the rule's.
const (
	logFix = "Do not let the logger write to something slow: give it a writer that buffers and never blocks its callers (one goroutine that " +
		"writes, a bounded queue, a count of dropped lines), log less on the paths of requests, and find out why the reader of the log is slow."
	readersFix = "Keep the read side short: copy what is needed under RLock and work on the copy. One slow reader stops the writer, and with it " +
		"every reader that comes later. A copy-on-write value behind an atomic pointer needs no lock for readers."
	briefFix = "Do the call for many at once: let the callers append what they have under the lock, and let one goroutine write or send all that has " +
		"gathered with one call and without the lock, then tell those whose part is done (a group commit). Where callers need not know that it " +
		"is done, hand the work to one goroutine over a channel. More locks help only where there is more than one file or peer."
)

func (r *traced) fixFor(l *derive.ContendedLock, root *derive.Holding, v verdict, w work) string {
	switch {
	case root.Lock.Logger != "":
		return logFix
	case l.Kind == derive.LockOnce:
		return onceFix
	case v == writers, r.byReader(w):
		return readersFix
	case v == brief && w.known && !w.computes:
		return briefFix
	}
	return ""
}

// confidence is Proved when the holds and the queue agree: each wake names who let go and for how long it had held, what it did in that
// time is known, and together the holds fill the time in which somebody waited.
func (r *traced) confidence(l *derive.ContendedLock, v verdict, chain []derive.Holding, w work) diagnosis.Confidence {
	root := &chain[len(chain)-1]
	held := float64(root.Lock.HoldNS)
	switch {
	case held == 0 || !w.known:
		return diagnosis.Possible
	case v == brief: // fewer or shorter holds would do as well: how much of it is the traffic, nobody can say
		return diagnosis.Likely
	case r.idleTurns(l, root, w), r.line.NoNames, r.line.Lost > 0, len(chain) > 1, l.Several > 1, r.byReader(w), w.hidden, !r.encloses(l, w):
		return diagnosis.Likely
	}
	busy := float64(root.Lock.BusyNS)
	if held >= agreeLow*busy && held <= agreeHigh*busy && float64(w.ns) >= mostOfHold*held {
		return diagnosis.Proved
	}
	return diagnosis.Likely
}

// byReader reports whether it was a reader of an RWMutex that let go.
func (r *traced) byReader(w work) bool { return r.t.Waker(w.release).Lock == derive.LockRead }

// encloses reports whether the function that lets go is seen to have the lock: the work is done below it, or goroutines ask for the lock in
// it. A mutex may be unlocked by another goroutine than the one that locked it.
func (r *traced) encloses(l *derive.ContendedLock, w work) bool {
	waker := r.t.Waker(w.release)
	from, ok := r.t.Frame(waker, waker.Caller)
	if !ok {
		return false
	}
	if _, below := derive.Has(r.c.Stack(w.spot.Stack), from.Function); below {
		return true
	}
	return slices.ContainsFunc(l.Sites, func(i int) bool {
		at, asks := r.t.Frame(r.t.Places[i], r.t.Places[i].Caller)
		return asks && at.Function == from.Function
	})
}

// How far the holds of a lock and the time in which somebody waited for it may lie apart to agree, and how much of the holds has to be
// one kind of work at one line to be what they are spent on.
const (
	agreeLow   = 0.7
	agreeHigh  = 1.15
	mostOfHold = 0.7
)

// severity is Critical only for a queue that stands most of the time and outweighs what the process does.
func (r *traced) severity(l *derive.ContendedLock, v verdict, root *derive.Holding, w work) diagnosis.Severity {
	switch {
	case r.idleTurns(l, root, w):
		return diagnosis.Info
	case l.Kind == derive.LockOnce && w.computes:
		return diagnosis.Info // an initialisation, which ends
	case l.Kind == derive.LockOnce, v != sustained, root.Lock.HoldNS == 0:
		return diagnosis.Warning
	}
	if l.Mean(r.line)/l.Several >= r.p.Limit("trace-critical-waiters") && r.hurt(l) >= r.p.Limit("trace-critical-share") {
		return diagnosis.Critical
	}
	return diagnosis.Warning
}

// hurt is the share of the waits in the time in which goroutines worked, wanted to, or waited for this lock.
func (r *traced) hurt(l *derive.ContendedLock) float64 {
	all := l.WaitNS + r.line.RunNS + r.line.ReadyNS
	if all == 0 {
		return 0
	}
	return float64(l.WaitNS) / float64(all)
}

// idleTurns reports whether the queue looks like goroutines that take turns to receive: who has the lock does nothing with it but wait for
// something to come, and all others ask for it in the same function. Then they stand idle, and nobody waits for them to go on.
func (r *traced) idleTurns(l *derive.ContendedLock, root *derive.Holding, w work) bool {
	if l != root.Lock || !w.known || !w.receives || w.ns*100 < root.Known*turnShare {
		return false
	}
	at, ok := r.t.Frame(r.t.Waker(w.release), r.t.Waker(w.release).Caller)
	if !ok {
		return false
	}
	for _, i := range l.Sites {
		p := r.t.Places[i]
		if from, ok := r.t.Frame(p, p.Caller); !ok || from.Function != at.Function {
			return false
		}
	}
	return true
}

// turnShare is the percentage of the holds that receiving must have to be the only thing that is done with the lock.
const turnShare = 95

// subject is the goroutine that held the lock most of the time, or else the place where it was let go.
func (r *traced) subject(w work) evidence.Ref {
	row := &r.line.Releases[w.release]
	if len(row.Top) > 0 && float64(row.Top[0].Count) >= oneHolder*float64(row.Count) {
		if ref := evidence.GoroutineRef(row.Top[0].Goroutine); r.c.Resolve(ref) {
			return ref
		}
	}
	return evidence.ReleaseRef(w.release)
}

// oneHolder is the share of the wakes from which one goroutine is the holder.
const oneHolder = 0.9

// victims are goroutines that waited, as far as they are known by name.
func (r *traced) victims(l *derive.ContendedLock) []evidence.Ref {
	var list []evidence.Ref
	seen := map[int64]bool{}
	for _, i := range l.Sites {
		for _, share := range r.line.Sites[i].Top {
			ref := evidence.GoroutineRef(share.Goroutine)
			if seen[share.Goroutine] || !r.c.Resolve(ref) || len(list) >= sampleVictims {
				continue
			}
			seen[share.Goroutine] = true
			list = append(list, ref)
		}
	}
	return list
}

// lockNames joins the names of a chain: "the mutex of main.(*A), whose holders wait for the mutex of main.(*B)".
func lockNames(chain []derive.Holding) string {
	text := chain[0].Lock.Name
	for _, h := range chain[1:] {
		text += fmt.Sprintf(", whose holders wait for %s", h.Lock.Name)
	}
	return text
}
