package lockhot

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
	{Name: "min-waits", Doc: "waits for the lock in a second that there must be", Default: 100,
		Origin: "a section of under a millisecond that is taken all the time makes ten times as many"},
	{Name: "max-hold", Doc: "milliseconds of the holds to which half of the held time belongs; longer ones are lock-hog's", Default: 1,
		Origin: "a mutex whose first waiter stands for over 1 ms goes into starvation mode (starvationThresholdNs, sync/mutex.go)"},
	{Name: "max-stop", Doc: "the same where holders stand in calls or are blocked for most of the time instead of computing", Default: 0.2,
		Origin: "a write to a buffer of the kernel takes a tenth of it; what takes longer waits for a device or for somebody"},
	{Name: "usual-stop", Doc: "milliseconds of the median hold of places that have half of the held time, from which holders that stand in calls or are blocked for most " +
		"of the time are lock-hog's, however short the waits are (those that compute are from max-hold)", Default: 0.05,
		Origin: "a write to a buffer of the kernel takes less than half of it, an fsync to the fastest disk more"},
	{Name: "processors-full", Doc: "share of the processors' time that goroutines ran, while at least one more was ready on average, from which the processors and not the lock are the bottleneck",
		Default: 0.85, Origin: "hot locks left a quarter of the processors without work or more; programs that compute on all of them filled nine tenths"},
	{Name: "max-wait", Doc: "milliseconds of the waits to which half of the waited time belongs (without known holds: that half of the waits last); longer ones behind " +
		"long holds are lock-hog's", Default: 5, Origin: "separated hot locks from slow holders among textbook programs"},
	{Name: "hand-over", Doc: "microseconds that it takes to hand the lock to the next goroutine", Default: 50,
		Origin: "a goroutine that is woken runs after 1 to 50 us on a machine that has a processor for it"},
	{Name: "unexplained", Doc: "how many times longer than the queue and the holds explain the mean wait may be", Default: 10,
		Origin: "a busy host stretches all waits by some times, not by tens"},
}

// traced is one run of the rule over a Timeline.
type traced struct {
	p    *diagnosis.Pass
	c    *evidence.Case
	t    *derive.Timeline
	line *evidence.Timeline
}

func runTrace(p *diagnosis.Pass, t *derive.Timeline) {
	r := &traced{p: p, c: p.Case, t: t, line: t.Line}
	if float64(r.line.SpanNS) < p.Limit("trace-span")*1e9 {
		p.Silent("the trace spans %s, which is too short", derive.Lasting(r.line.SpanNS))
		return
	}
	p.Silent("no lock is waited for in %s of the time by %g goroutines", derive.Percent(p.Limit("contended")), p.Limit("mean-waiters"))
	for i := range t.Locks {
		if i == derive.MaxLocks {
			break
		}
		r.judge(&t.Locks[i])
	}
}

func (r *traced) judge(l *derive.ContendedLock) {
	busy, mean := r.line.ShareOf(l.BusyNS), l.Mean(r.line)/l.Several
	if busy < r.p.Limit("contended") || mean < r.p.Limit("mean-waiters") {
		return
	}
	if r.line.Rate(l.Waits) < r.p.Limit("min-waits") {
		r.p.Silent("%s is waited for most of the time, but only %.0f times a second: see lock-hog", l.Name, r.line.Rate(l.Waits))
		return
	}
	chain := r.t.Behind(l)
	root := &chain[len(chain)-1]
	switch {
	case l.Kind == derive.LockOnce:
		r.p.Silent("%s serves an initialisation: it takes no traffic when that has ended", l.Name)
	case r.unexplained(l, root):
		r.p.Silent("%s is waited for longer than its known holds explain: see lock-hog", l.Name)
	case !r.short(l, root):
		r.p.Silent("%s is held for long at a time or during calls that block: see lock-hog", root.Lock.Name)
	case r.t.Saturated(r.p.Limit("processors-full")):
		r.p.Silent("%s is waited for while goroutines run on %s of the processors and more are ready to: the processors are the bottleneck", l.Name,
			derive.Percent(float64(r.line.RunNS)/(float64(r.line.SpanNS)*float64(r.line.Procs))))
	case r.share(l) < r.p.Limit("min-share"):
		r.p.Silent("the waits for %s are %s of the time in which goroutines worked, wanted to or waited for it: it is not what they wait for most",
			l.Name, derive.Percent(r.share(l)))
	case root.Known > 0 && 2*(root.Collector+root.Ready) >= root.Known && root.Collector >= root.Ready:
		r.p.Silent("%s is waited for while its holders wait for the garbage collector: see gc-pressure", l.Name)
	case root.Known > 0 && 2*(root.Collector+root.Ready) >= root.Known:
		r.p.Silent("%s is waited for while its holders wait for a processor: see sched-starvation", l.Name)
	case root.Lock == l || r.line.ShareOf(root.Lock.BusyNS) < r.p.Limit("contended"): // a busy one further back has a finding of its own
		r.p.Report(r.finding(l, root))
	}
}

// short reports whether nobody keeps the lock for long, or so that the waits get long.
func (r *traced) short(l *derive.ContendedLock, root *derive.Holding) bool {
	if root.Lock.HoldNS > 0 {
		if root.Steady(r.p.Limit("max-hold")*1e6, r.p.Limit("usual-stop")*1e6) {
			return false
		}
		slow := root.Slow(r.p.Limit("max-hold")*1e6, r.p.Limit("max-stop")*1e6)
		return !slow || float64(derive.Weighty(&l.Hist)) < r.p.Limit("max-wait")*1e6
	}
	return float64(l.Hist.Quantile(0.5)) < r.p.Limit("max-wait")*1e6
}

// unexplained reports whether waits are far longer than a queue behind such holds can make them, hand-over to the next goroutine included:
// then they wait for something that the holds do not show, such as the readers of an RWMutex.
func (r *traced) unexplained(l *derive.ContendedLock, root *derive.Holding) bool {
	holds := root.Lock.Holds.Total()
	if holds == 0 || l.Waits == 0 {
		return false
	}
	turn := float64(root.Lock.HoldNS)/float64(holds) + r.p.Limit("hand-over")*1e3
	return float64(l.WaitNS)/float64(l.Waits) > r.p.Limit("unexplained")*turn*(l.Mean(r.line)+1)
}

// share is what the waits have of the time in which goroutines worked, wanted to, or waited for this lock.
func (r *traced) share(l *derive.ContendedLock) float64 {
	all := l.WaitNS + r.line.RunNS + r.line.ReadyNS
	if all == 0 {
		return 0
	}
	return float64(l.WaitNS) / float64(all)
}

func (r *traced) finding(l *derive.ContendedLock, root *derive.Holding) diagnosis.Finding {
	f := diagnosis.Finding{
		Subject:  evidence.SiteRef(l.Sites[0]),
		Affected: l.Peak,
		Claim: fmt.Sprintf("%.1f goroutines on average wait for %s, %.0f times a second, in %s of the time, though it is held for %s at a time",
			l.Mean(r.line), l.Name, r.line.Rate(l.Waits), derive.Percent(r.line.ShareOf(l.BusyNS)), r.held(root)),
		Because:    r.because(l, root),
		Locations:  r.locations(l, root),
		Confidence: diagnosis.Likely,
		Severity:   diagnosis.Warning,
		Next:       []string{"postmortem profile mutex-holder -o mutex-holder.pb.gz FILE"},
	}
	if root.Lock.HoldNS == 0 {
		f.Confidence = diagnosis.Possible
		f.Against = []diagnosis.Reason{{Text: "how long the lock was held is not in the trace"}}
		f.Settle = "a mutex profile (runtime.SetMutexProfileFraction) shows how long the lock is held"
	}
	if l.Several > 1 {
		f.Against = append(f.Against, diagnosis.Reason{Text: fmt.Sprintf(
			"the holds add up to more than the time there was, so these are at least %.0f locks that the same lines take", l.Several)})
	}
	return f
}

func (r *traced) held(root *derive.Holding) string {
	if root.Lock.HoldNS == 0 {
		return "an unknown time"
	}
	return derive.Typical(&root.Lock.Holds, 0.5, root.Lock.MaxHold)
}

func (r *traced) because(l *derive.ContendedLock, root *derive.Holding) []diagnosis.Reason {
	site, release := []evidence.Ref{evidence.SiteRef(l.Sites[0])}, []evidence.Ref(nil)
	list := []diagnosis.Reason{
		{Refs: site, Text: fmt.Sprintf("%d waits for %s in %s: half of them lasted over %s, one in a hundred over %s, the longest %s; %s waited at once",
			l.Waits, l.Name, derive.Lasting(r.line.SpanNS), derive.Typical(&l.Hist, 0.5, l.MaxWait), derive.Typical(&l.Hist, 0.99, l.MaxWait),
			derive.Lasting(int64(l.MaxWait)), l.Most())},
		{Refs: append([]evidence.Ref{{Kind: evidence.RefTimeline}}, site...),
			Text: fmt.Sprintf("the waits for it add up to %s; in the same time goroutines ran for %s and were ready to for %s",
				derive.Lasting(int64(l.WaitNS)), derive.Lasting(int64(r.line.RunNS)), derive.Lasting(int64(r.line.ReadyNS)))},
	}
	if root.Lock.HoldNS > 0 {
		release = append(release, evidence.ReleaseRef(root.Lock.Releases[0]))
		list = append(list, diagnosis.Reason{Refs: release, Text: fmt.Sprintf("%s was let go to a waiter %d times, after holds of at least %s (median), %s (one in a hundred), %s (longest)",
			root.Lock.Name, root.Lock.Released, derive.Typical(&root.Lock.Holds, 0.5, root.Lock.MaxHold), derive.Typical(&root.Lock.Holds, 0.99, root.Lock.MaxHold),
			derive.Lasting(int64(root.Lock.MaxHold)))})
	}
	if s, at, ok := r.work(root); ok {
		list = append(list, diagnosis.Reason{Refs: []evidence.Ref{evidence.ReleaseRef(s.Release)}, Text: fmt.Sprintf("for %s of that time who holds it %s, at %s",
			derive.Percent(float64(s.NS)/float64(root.Known)), s.Spot.Doing, derive.Where(at))})
	}
	if at, site, ok := r.caught(root); ok {
		list = append(list, diagnosis.Reason{Refs: []evidence.Ref{evidence.SiteRef(site)}, Text: fmt.Sprintf(
			"below the function that lets it go, goroutines were caught computing most often at %s", derive.Where(at))})
	}
	return list
}

// notable is the share from which a stop within the sections is told.
const notable = 0.2

// work is the stop on which the holders spend most of a section, when it is a notable part.
func (r *traced) work(root *derive.Holding) (derive.HoldShare, evidence.Frame, bool) {
	for _, s := range root.Shares {
		if s.State != evidence.ActBlocked && s.State != evidence.ActSyscall {
			continue
		}
		at, ok := r.t.Open(s.Spot)
		return s, at, ok && root.Known > 0 && float64(s.NS) >= notable*float64(root.Known)
	}
	return derive.HoldShare{}, evidence.Frame{}, false
}

// minCaught is how often computing must have been caught to name a line of a short section.
const minCaught = 2

// caught is where holders were seen computing, when that is what they do for most of the holds.
func (r *traced) caught(root *derive.Holding) (evidence.Frame, int, bool) {
	share, known := root.Main()
	if !known || share.State != evidence.ActRunning {
		return evidence.Frame{}, -1, false
	}
	at, site, count, ok := r.t.Caught(share.Release)
	return at, site, ok && count >= minCaught
}

// locations are where the lock is asked for, by the longest waits first, and what its holders compute or stop for.
func (r *traced) locations(l *derive.ContendedLock, root *derive.Holding) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(p derive.Spot, site int) {
		at, ok := r.t.Open(p)
		known := slices.ContainsFunc(list, func(x diagnosis.Location) bool { return x.Frame.File == at.File && x.Frame.Line == at.Line })
		if ok && !known && len(list) < maxLockLines {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleLock, Frame: at, Ref: evidence.SiteRef(site)})
		}
	}
	for _, i := range l.Sites {
		add(r.t.Outward(l, r.t.Places[i]), i)
	}
	for _, i := range l.Sites { // and the line itself, where that was the caller of a wrapper
		add(r.t.Places[i], i)
	}
	if at, site, ok := r.caught(root); ok {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleRunner, Frame: at, Ref: evidence.SiteRef(site)})
	}
	if s, at, ok := r.work(root); ok {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleHolder, Frame: at, Ref: evidence.ReleaseRef(s.Release)})
	}
	return list
}
