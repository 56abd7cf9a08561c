// Package lockhog recognises a lock that one goroutine keeps while it does something slow.
//
// The story is always the same: a method takes the lock "to be safe" around everything it does, and among that is a write to
// a journal, a request to another service, a sleep between retries or a send to a subscriber. As long as the device or the
// peer is quick nobody notices. When it is not, every goroutine that wants the lock stands behind the one that has it, and the
// process looks dead although only one goroutine waits for something slow.
//
// An execution trace says more: who let the lock go, how long it had been held at least, and what its holder did in that time.
//
// Go's locks do not record who holds them. The holder is inferred by the reader (a deferred Unlock that is pending, or the only
// goroutine that can have passed the Lock), and where the evidence has no memory, from the stacks alone; the finding says
// which. A chain of locks is followed to its root: who waits for a second lock with the first one held is not to blame.
package lockhog

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is lock-hog.
var Rule = &diagnosis.Rule{
	Name:  "lock-hog",
	Class: "lock-hog",
	Doc: &diagnosis.Doc{
		Title: "A lock is held during slow work while others wait for it",
		Sees: "Several goroutines wait for one sync.Mutex, sync.RWMutex, sync.Once or file descriptor lock, and the goroutine that " +
			"holds it is blocked (file, network, sleep, channel, another process, C) or computes at length. In a core the holder " +
			"is inferred from memory, with a grade; in a goroutine dump it is guessed from the stacks: who stands behind the Lock " +
			"in the function in which the others ask for it. Holders that wait for a further lock are followed to the root; when " +
			"that is a circle, or can never go on, the deadlock rules name it. An execution trace has times instead of addresses: there " +
			"a lock is what its waiters and those who wake them have in common. It is told when it is waited for most of the time, when " +
			"the writers of an RWMutex hardly get in, or for a single long queue; where each wait is short, when the holds are spent in calls or " +
			"blocked, or one place keeps the lock for long each time. It comes with the line on which its holders spend the time, how " +
			"long they keep it, and the queue over time.",
		Hurts: "All goroutines that need the lock advance at the pace of the slowest thing that is done with it held. One slow disk, " +
			"peer or log reader stops the whole service.",
		Confirm: "Take a second core or dump a few seconds later: the same holder at the same line settles it. A mutex profile " +
			"(runtime.SetMutexProfileFraction) or an execution trace shows how long the lock is held.",
		Fix: "Do the slow work without the lock: copy what is needed, unlock, then write, send, sleep or compute; take the lock again " +
			"to store the result. Where the order of writes matters, hand them to one goroutine over a channel. Give every call to " +
			"the outside a deadline.",
		Not: "A queue for a short section (lock-hot at most), goroutines that wait their turn to read one descriptor or to accept " +
			"connections, a sync.Once that computes and candidates that stand behind a leader (a remark), conditions and wait groups: waiting is what they are for. Fewer " +
			"waiters than min-waiters stay silent. In a trace: short sections that compute, whatever their traffic, the runtime's own semaphores, queues " +
			"whose holders wait for a processor or for the collector, and short waits of a program that fills all processors.",
		Before: "func (l *Ledger) Append(r Record) error {\n\tl.mu.Lock()\n\tdefer l.mu.Unlock()\n\tl.seq++\n" +
			"\treturn l.journal.Write(r.encode(l.seq)) // a slow disk stops every caller\n}",
		After: "func (l *Ledger) Append(r Record) error {\n\tl.mu.Lock()\n\tl.seq++\n\tseq := l.seq\n\tl.mu.Unlock()\n" +
			"\tl.records <- r.encode(seq) // one goroutine writes them\n\treturn nil\n}",
		Seen:  []string{"https://github.com/golang/go/issues/52432", "https://github.com/livekit/protocol/pull/1701"},
		Since: "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindSyncs | evidence.KindHolds, evidence.KindTimeline, evidence.KindGoroutines},
	Limits: append([]diagnosis.Limit{
		{Name: "min-waiters", Doc: "goroutines that must wait for the lock", Default: derive.HogWaiters,
			Origin: "a lock under healthy load had 0 to 3 waiters in a snapshot of 2 to 8 processors"},
		{Name: "critical-waiters", Doc: "waiters from which a blocked holder is critical whatever else runs", Default: 20,
			Origin: "more than a healthy pool of request handlers has waiting for anything at one moment"},
		{Name: "critical-share", Doc: "share of the program's goroutines that must wait for a lock whose holder is parked, to be critical",
			Default: 0.5, Origin: "half of the program stands still"},
	}, traceLimits...),
	Uses: []diagnosis.Dependency{derive.OfTimeline, derive.OfFrames, derive.OfLocks, derive.OfRates, derive.OfOrigins, derive.OfWaitGraph},
	Run:  run,
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
	origins, err := diagnosis.Of(p, derive.OfOrigins)
	if err != nil {
		return err
	}
	graph, err := diagnosis.Of(p, derive.OfWaitGraph)
	if err != nil {
		return err
	}
	h := &hog{p: p, c: p.Case, f: frames, locks: locks, graph: graph, rates: rates, users: origins.Users, blamed: map[evidence.Ref]int{}}
	h.all()
	return nil
}
