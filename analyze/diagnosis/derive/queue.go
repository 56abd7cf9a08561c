package derive

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Verdict is why goroutines queue for a lock.
type Verdict uint8

// The verdicts.
const (
	QueueUnknown  Verdict = iota // nobody is known to hold it
	QueueBlocked                 // the holder is blocked, or waits for another lock whose holder is not known
	QueueSlow                    // the holder computes at length
	QueueShort                   // the holder is in a short section, or the lock is changing hands
	QueueDeadlock                // the holders wait for each other
)

// Queue is a judgement on the goroutines that wait for a lock.
type Queue struct {
	Verdict Verdict
	Root    Link     // the holder to blame; zero for QueueUnknown
	Chain   []Link   // from the lock to the root, the root included
	Rivals  int      // how many other goroutines may be the root instead
	Agree   bool     // the rivals do the same at the same line
	Guessed bool     // the holder was guessed from stacks, not inferred from memory
	Firm    bool     // how long the holder keeps it was decided by figures, not by the shape of its stack
	Moves   bool     // some goroutine of the program was running or ready to run
	Why     []Reason // how the verdict on the holder's time came about
}

// Reason is a sentence of a judgement and what it was read from.
type Reason struct {
	Text string
	Refs []evidence.Ref
}

// The thresholds of Judge. They lie between what was measured for a lock held for milliseconds (150 schedulings a second and
// processor) and for a hot one (3,000 to 130,000); see Rates.
const (
	hotRate   = 1000 // schedulings per second and processor from which a queue moves quickly
	surelyHot = 3000 // the least that was measured for a hot lock; between the two, tickers and sleepers may make the switches
	hotTicks  = 500  // and at least so many in all: start-up alone makes some hundred
	slowRate  = 500  // schedulings per second and processor below which it does not
	slowTime  = 0.5  // seconds the process must have run for that
	slowAge   = 1    // seconds of waiting from which a computing holder is slow, whatever the rates
	maxLinks  = 16   // steps of a guessed chain
	sliceTime = 10   // milliseconds after which the runtime preempts by force (runtime/proc.go, forcePreemptNS)
)

// Judge says why the goroutines queue for a lock of the list.
func (l *Locks) Judge(lock *Lock, r Rates) Queue {
	if known, ok := l.judged[lock]; ok {
		return known
	}
	if l.judged == nil {
		l.judged = map[*Lock]Queue{}
	}
	l.judged[lock] = l.judge(lock, r)
	return l.judged[lock]
}

func (l *Locks) judge(lock *Lock, r Rates) Queue {
	q := Queue{Moves: l.moves()}
	if lock.Known && lock.free() {
		q.Verdict, q.Firm = QueueShort, true
		q.Why = []Reason{{fmt.Sprintf("%s is free at this moment: it is changing hands", lock.Name), []evidence.Ref{lock.Sync.Ref()}}}
		return q
	}
	chain := l.Chain(lock)
	if len(chain.Links) == 0 {
		chain, q.Rivals, q.Agree = l.guess(lock)
		q.Guessed = true
	} else {
		q.Rivals, q.Agree = l.rivals(chain.Links[len(chain.Links)-1])
	}
	q.Chain = chain.Links
	root, ok := chain.Root()
	switch {
	case chain.Cycle:
		q.Verdict = QueueDeadlock
	case !ok:
		q.Verdict = QueueUnknown
	case lock.Known && root.Holder.Doing.Activity == ActivityLock && root.Holder.G.WaitsOn == 0:
		// Who waits is in the table of the lock, until somebody takes it out to wake it (runtime/sema.go, semrelease1).
		q.Verdict, q.Root = QueueShort, root
		q.Why = []Reason{{"who may hold it is on its way into or out of the queue of a lock: it changes hands", []evidence.Ref{root.Holder.G.Ref()}}}
	case root.Holder.Doing.Blocked() || root.Holder.Doing.Activity == ActivityLock:
		q.Verdict, q.Root, q.Firm = QueueBlocked, root, true
	default:
		q.Root = root
		l.judgeTime(&q, lock, r)
	}
	return q
}

// free reports whether nobody holds the lock.
func (l *Lock) free() bool { return !l.Sync.Locked && l.Sync.Readers <= 0 && !l.Sync.Pending }

// judgeTime decides whether a holder that computes does so at length.
func (l *Locks) judgeTime(q *Queue, lock *Lock, r Rates) {
	h := q.Root.Holder
	decide := func(v Verdict, firm bool, refs []evidence.Ref, format string, args ...any) {
		q.Verdict, q.Firm = v, firm
		q.Why = append(q.Why, Reason{fmt.Sprintf(format, args...), refs})
	}
	self := []evidence.Ref{h.G.Ref()}
	switch {
	case lock.Oldest >= slowAge:
		decide(QueueSlow, true, l.refs(lock, 1), "a goroutine has waited for it for at least %d s", lock.Oldest)
	case r.Known && r.Sched >= hotRate && r.Sched < surelyHot && l.callsOn(h) && l.alone(h):
		decide(QueueSlow, false, self, "the holder is inside a call that it makes with the lock held, nobody else runs or is about to, and no goroutine is inside an operation of the lock")
	case r.Known && r.Sched >= hotRate && r.Ticks >= hotTicks:
		decide(QueueShort, true, r.Refs, "the busiest processor has switched goroutines about %.0f times a second since the start", r.Sched)
	case r.Known && r.Sched < slowRate && r.Seconds >= slowTime:
		decide(QueueSlow, true, r.Refs, "the busiest processor has switched goroutines only %.0f times a second since the start", r.Sched)
	case h.G.Flags.Has(evidence.FlagAsync) && l.thawed():
		decide(QueueSlow, true, self, "the holder was taken off its processor by force, which the runtime does after %d ms", sliceTime)
	case l.traffic(lock):
		decide(QueueShort, false, self, "others are in the middle of taking or releasing the lock: it changes hands")
	case lock.Once:
		decide(QueueSlow, false, self, "the holder runs the function of a sync.Once; how long that takes is not in this evidence")
	case l.callsOn(h):
		decide(QueueSlow, false, self, "the holder is inside a call that it makes with the lock held; how long that takes is not in this evidence")
	case l.c.Scheduler != nil && l.alone(h):
		decide(QueueSlow, false, self, "nobody else runs or is about to, and no goroutine is inside an operation of the lock: the queue waits for the holder alone")
	default:
		decide(QueueShort, false, self, "the holder is in the function that took the lock; how long it stays there is not in this evidence")
	}
}

// thawed reports whether the world was not frozen for a crash: in a frozen one every goroutine that ran was preempted.
func (l *Locks) thawed() bool {
	return l.c.Scheduler != nil && !l.c.Scheduler.GCWaiting && (l.c.Death == nil || !l.c.Death.Throwing)
}

// callsOn reports whether the holder does work inside a call that it makes from the section: a function of the program or of a
// library, inlined or not. The runtime and the lock's own functions are no work: a short section allocates, looks into a map and
// unlocks.
func (l *Locks) callsOn(h Holder) bool {
	s := l.c.Stack(h.G.Stack)
	for i := range min(h.Depth, s.Len()) {
		if o := l.f.Owner(s.FrameID(i)); o <= OwnerStandard && !lockWork(s.At(i).Function) {
			return true
		}
	}
	return false
}

// lockWork reports whether a function is one of taking and releasing locks, or an atomic operation.
func lockWork(function string) bool {
	pkg := Package(function)
	return lockPackages[pkg] || pkg == "sync/atomic"
}

// alone reports whether the holder is the only goroutine of the program that runs or could: with a short section others would be
// between two of them, or on their way into one.
func (l *Locks) alone(h Holder) bool {
	active := 0
	for _, g := range l.c.Groups() {
		busy := g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted
		if busy && !g.AnyFlag.Has(evidence.FlagSystem) && !Dying(g) {
			active += g.Count
		}
	}
	return active == 1 && (h.G.State == evidence.StateRunning || h.G.State == evidence.StateRunnable || h.G.State == evidence.StatePreempted)
}

// traffic reports whether goroutines that run or could are inside an operation of this lock, judged by who calls it.
func (l *Locks) traffic(lock *Lock) bool {
	return slices.ContainsFunc(l.c.Groups(), func(g evidence.Group) bool {
		s := l.c.Stack(g.Stack)
		active := g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted
		return active && l.f.InTraffic(s) && l.sameOwner(lock, s)
	})
}

// moves reports whether a goroutine of the program was on a processor or wanted one.
func (l *Locks) moves() bool {
	return slices.ContainsFunc(l.c.Groups(), func(g evidence.Group) bool {
		return !g.AnyFlag.Has(evidence.FlagSystem) && !Dying(g) &&
			(g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted)
	})
}

// Dying reports whether a group is the goroutine that prints the end of the process because of what it did itself. One that
// only happened to run when the signal came (its registers are those of the signal frame) was at work.
func Dying(g evidence.Group) bool {
	return g.AnyFlag.Has(evidence.FlagDying) && !g.AnyFlag.Has(evidence.FlagSignal)
}

// refs are references to the first n waiters.
func (l *Locks) refs(lock *Lock, n int) []evidence.Ref {
	var refs []evidence.Ref
	for _, row := range lock.Rows[:min(n, len(lock.Rows))] {
		refs = append(refs, evidence.GoroutineRef(l.c.Goroutines().ID(int(row))))
	}
	return refs
}

// Victims returns references to at most n waiters.
func (l *Locks) Victims(lock *Lock, n int) []evidence.Ref { return l.refs(lock, n) }

// rivals counts the other goroutines that may be the holder as well, and tells whether they do the same as it.
func (l *Locks) rivals(root Link) (n int, agree bool) {
	if root.Holder.Grade != evidence.HoldAmbiguous {
		return 0, false
	}
	agree = true
	for _, h := range l.holdersOf(root.Addr) {
		if h.G.ID == root.Holder.G.ID {
			continue
		}
		n++
		agree = agree && l.sameLine(h, root.Holder)
	}
	return n, agree && n > 0
}

func (l *Locks) sameLine(a, b Holder) bool {
	x, okX := l.f.UserFrame(l.c.Stack(a.G.Stack))
	y, okY := l.f.UserFrame(l.c.Stack(b.G.Stack))
	if !okX || !okY || a.Doing.Activity != b.Doing.Activity {
		return false
	}
	fa, fb := l.c.Stack(a.G.Stack).At(x), l.c.Stack(b.G.Stack).At(y)
	return fa.Function == fb.Function && fa.Line == fb.Line
}

// guess follows the most probable holders by stacks alone.
func (l *Locks) guess(lock *Lock) (Chain, int, bool) {
	var chain Chain
	rivals, agree := 0, false
	seen := map[string]bool{}
	for range maxLinks {
		list := l.Candidates(lock)
		if len(list) == 0 || (!list[0].Beyond && len(list) > 1) {
			return chain, rivals, agree
		}
		best := list[0]
		rivals, agree = best.Count-1, true
		for _, c := range list[1:] {
			if c.Beyond == best.Beyond {
				rivals, agree = rivals+c.Count, false
			}
		}
		chain.Links = append(chain.Links, Link{lock.Addr, lock.Name, best.Holder})
		if best.Doing.Activity != ActivityLock {
			return chain, rivals, agree
		}
		next := l.lockOf(best.G)
		if seen[next.Owner] { // the same type again, perhaps another lock of it: without addresses nobody can tell
			return chain, rivals, agree
		}
		seen[next.Owner] = true
		lock = next
	}
	return chain, rivals, agree
}

// lockOf makes a Lock of what one goroutine waits for.
func (l *Locks) lockOf(g evidence.Goroutine) *Lock {
	s := l.c.Stack(g.Stack)
	frame, ok := l.f.LockCall(s)
	lock := &Lock{Addr: g.WaitsOn, Total: 1, Waiters: []LockWaiters{{Stack: g.Stack, Reason: g.Reason, Count: 1, Frame: frame}}}
	if ok {
		lock.Owner = Receiver(s.At(frame).Function)
	}
	l.classify(lock)
	return lock
}
