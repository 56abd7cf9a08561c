// Package lockhot recognises a lock with short sections that takes all the traffic.
//
// No section is long, and no goroutine is to blame; but every request goes through the lock, several times, and with enough
// goroutines most of them stand in its queue at any moment. The program does the work of one processor, whatever the machine
// has. Counters in one map behind one mutex, a token bucket, a cache with a global lock are the usual ones.
//
// An execution trace shows how often and how long the lock is waited for and held. A core shows one moment: a queue, and a lock that is
// changing hands or whose holder is in the middle of a short section. That is possible, not proved. The counters of the scheduler support it: a queue that moves makes thousands of switches a second.
package lockhot

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is lock-hot.
var Rule = &diagnosis.Rule{
	Name:  "lock-hot",
	Class: "lock-hot",
	Doc: &diagnosis.Doc{
		Title: "One lock with short sections takes all the traffic",
		Sees: "Many goroutines, most of those that want to work, wait for one lock, and it is free at this moment (it changes hands) or " +
			"its holder runs inside a short section. With the scheduler's counters in the core and a high rate of switches it is " +
			"likely, without them possible. In an execution trace: the lock is waited for most of the time, by several goroutines on " +
			"average, half of the held time is in holds under max-hold, the holders compute, and the waits are most of what goroutines do beside " +
			"running. Where a wrapper takes the lock for its callers, the line to open is the call.",
		Hurts: "The program runs at the speed of one processor; each further goroutine adds waiting and switches, not throughput.",
		Confirm: "A mutex profile (runtime.SetMutexProfileFraction(5), then /debug/pprof/mutex) or an execution trace: the share of the " +
			"time for which the lock is contended, and how long it is held.",
		Fix: "Take the lock less often or let it cover less: sharded locks, sync/atomic counters, per-goroutine counts that are merged " +
			"now and then, a copy-on-write map behind an atomic pointer, a batch per lock.",
		Not: "A short mutex under load has a few waiters while most goroutines run or could run: too few, and too small a share of the time. A " +
			"holder that is blocked, be it for a tenth of a millisecond each time, is lock-hog. In a trace: a program that fills all processors.",
		Before: "func (c *Counters) Inc(name string) {\n\tc.mu.Lock()\n\tc.m[name]++\n\tc.mu.Unlock()\n}",
		After:  "type Counters struct{ requests, errors atomic.Int64 }\n\nfunc (c *Counters) IncRequests() { c.requests.Add(1) }",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindSyncs | evidence.KindHolds | evidence.KindScheduler, evidence.KindTimeline,
		evidence.KindGoroutines},
	Limits: append([]diagnosis.Limit{
		{Name: "min-waiters", Doc: "goroutines that must wait for the lock", Default: 8,
			Origin: "a lock under healthy load had 0 to 3 waiters in a snapshot of 2 to 8 processors; hot ones have nearly all workers"},
		{Name: "per-processor", Doc: "waiters for each processor (GOMAXPROCS)", Default: 1,
			Origin: "fewer waiters than processors leave some of them at work elsewhere"},
		{Name: "min-share", Doc: "share of the goroutines that want to work (wait for the lock, run, or could run) that must wait for it",
			Default: 0.5, Origin: "under half, the processors and not the lock are what goroutines wait for"},
	}, traceLimits...),
	Uses: []diagnosis.Dependency{derive.OfTimeline, derive.OfFrames, derive.OfLocks, derive.OfRates},
	Run:  run,
}

// sampleVictims is how many waiters a finding names.
const sampleVictims = 100

// hot is one run of the rule.
type hot struct {
	p     *diagnosis.Pass
	c     *evidence.Case
	f     *derive.Frames
	locks *derive.Locks
	rates derive.Rates
	ready int // goroutines that run or could, elsewhere than in a lock operation
	moves int // goroutines that run or could inside a lock operation
}

func run(p *diagnosis.Pass) error {
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	if t.Decides() {
		runTrace(p, t)
		return nil
	}
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	locks, err := diagnosis.Of(p, derive.OfLocks)
	if err != nil {
		return err
	}
	rates, err := diagnosis.Of(p, derive.OfRates)
	if err != nil {
		return err
	}
	h := &hot{p: p, c: p.Case, f: frames, locks: locks, rates: rates}
	h.survey()
	p.Silent("no lock has %g waiters", p.Limit("min-waiters"))
	list, _ := locks.Longest(p.Limit("min-waiters"))
	for _, lock := range list {
		h.judge(lock)
	}
	return nil
}

// survey counts the goroutines of the program that run or are ready to.
func (h *hot) survey() {
	for _, g := range h.c.Groups() {
		active := g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted
		switch {
		case !active || g.AnyFlag.Has(evidence.FlagSystem):
		case h.f.InTraffic(h.c.Stack(g.Stack)):
			h.moves += g.Count
		default:
			h.ready += g.Count
		}
	}
}

func (h *hot) judge(lock *derive.Lock) {
	share := float64(lock.Total+h.moves) / float64(lock.Total+h.moves+h.ready)
	procs := 0
	if h.c.Scheduler != nil {
		procs = h.c.Scheduler.GOMAXPROCS
	}
	q := h.locks.Judge(lock, h.rates)
	short := q.Verdict == derive.QueueShort || (q.Verdict == derive.QueueUnknown && q.Moves)
	switch {
	case lock.Once:
		h.p.Silent("%s serves an initialisation: it takes no traffic when that has ended", lock.Name)
	case !short:
		h.p.Silent("%s is held by a goroutine that is slow or not known: see lock-hog", lock.Name)
	case float64(lock.Total) < h.p.Limit("per-processor")*float64(procs):
		h.p.Silent("%d goroutines wait for %s, fewer than there are processors", lock.Total, lock.Name)
	case share < h.p.Limit("min-share"):
		h.p.Silent("%d goroutines wait for %s while %d run or could: the processors are the bottleneck", lock.Total, lock.Name, h.ready)
	default:
		h.p.Report(h.finding(lock, q))
	}
}

func (h *hot) finding(lock *derive.Lock, q derive.Queue) diagnosis.Finding {
	f := diagnosis.Finding{
		Victims: h.locks.Victims(lock, sampleVictims), Affected: lock.Total,
		Claim: fmt.Sprintf("%d goroutines wait for %s, and nothing says that one keeps it for long: %d of %d that want to work are in its queue or about to be",
			lock.Total, lock.Name, lock.Total+h.moves, lock.Total+h.moves+h.ready),
		Locations:  h.locations(lock, q),
		Confidence: h.confidence(q),
		Severity:   diagnosis.Warning,
		Settle:     "a core shows a state and not a rate: a mutex profile or an execution trace shows how often and how long the lock is taken",
		Next:       []string{"take a mutex profile: curl localhost:6060/debug/pprof/mutex after runtime.SetMutexProfileFraction(5)"},
	}
	if lock.Known {
		f.Subject = lock.Sync.Ref()
	}
	f.Because = h.because(lock, q)
	if q.Root.Holder.G.ID == 0 {
		f.Against = []diagnosis.Reason{{Text: "the goroutine that held the lock last is not known"}}
	}
	return f
}

func (h *hot) because(lock *derive.Lock, q derive.Queue) []diagnosis.Reason {
	list := []diagnosis.Reason{{Text: fmt.Sprintf("%d goroutines wait for %s; of those that run or are ready to, %d are inside a lock operation and %d elsewhere",
		lock.Total, lock.Name, h.moves, h.ready),
		Refs: h.locks.Victims(lock, 3)}}
	if g := q.Root.Holder.G; g.ID != 0 {
		list = append(list, diagnosis.Reason{Text: fmt.Sprintf("goroutine %d, which seems to hold it, %s", g.ID, q.Root.Holder.Doing),
			Refs: []evidence.Ref{g.Ref()}})
	}
	for _, why := range q.Why {
		list = append(list, diagnosis.Reason(why))
	}
	if h.busy() && len(q.Why) == 0 {
		list = append(list, diagnosis.Reason{Text: fmt.Sprintf("the busiest processor has switched goroutines about %.0f times a second",
			h.rates.Sched), Refs: h.rates.Refs})
	}
	return list
}

// busyRate is how many switches a second and processor support a queue that moves (see derive.Rates for what was measured).
const busyRate = 1000

func (h *hot) busy() bool {
	return h.rates.Known && h.rates.Sched >= busyRate && h.rates.Ticks >= busyRate/2
}

// confidence is Likely only with counters that support it.
func (h *hot) confidence(q derive.Queue) diagnosis.Confidence {
	if h.busy() && q.Verdict == derive.QueueShort {
		return diagnosis.Likely
	}
	return diagnosis.Possible
}

// maxLockLines bounds the distinct lines of waiters in a finding.
const maxLockLines = 3

// locations are where the lock is asked for, by most goroutines first, and the holder's line where one is known: nobody is to
// blame for a short section, so the line to open is the Lock.
func (h *hot) locations(lock *derive.Lock, q derive.Queue) []diagnosis.Location {
	var list []diagnosis.Location
	for _, w := range lock.Waiters {
		s := h.c.Stack(w.Stack)
		i, ok := h.f.UserFrame(s)
		known := ok && slices.ContainsFunc(list, func(l diagnosis.Location) bool { return l.Frame.File == s.At(i).File && l.Frame.Line == s.At(i).Line })
		if ok && !known && len(list) < maxLockLines {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleLock, Frame: s.At(i)})
		}
	}
	if g := q.Root.Holder.G; g.ID != 0 {
		s := h.c.Stack(g.Stack)
		if i, ok := h.f.UserFrameFrom(s, min(q.Root.Holder.Depth, s.Len())); ok {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleHolder, Frame: s.At(i), Ref: g.Ref()})
		}
	}
	return list
}
