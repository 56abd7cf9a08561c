// Package deadlocklock recognises goroutines that wait for each other's locks.
//
// One code path takes lock A and then B, another takes B and then A. Each is right by itself, and for months nothing happens, because
// the two must meet within microseconds. When they do, both wait for ever, and with them everybody who needs either lock. The other
// forms are shorter: a method that holds the lock calls a method that takes it again; a reader takes the read lock a second time while
// a writer waits in between; a reader asks for the write lock; a goroutine ended without its Unlock.
//
// Who holds a lock is inferred by the reader, and every step of the circle says how. That nobody else can wake the goroutines is
// proved where the locks are reachable from nothing that is alive; a lock in a global variable can never be proved in that way.
package deadlocklock

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is deadlock-lock.
var Rule = &diagnosis.Rule{
	Name:  "deadlock-lock",
	Class: "deadlock-lock",
	Doc: &diagnosis.Doc{
		Title: "Goroutines wait for each other's locks, or for a lock that nobody will release",
		Sees: "A circle in the wait-for graph that is made of locks alone: each goroutine holds a sync.Mutex, a sync.RWMutex or a sync.Once and " +
			"waits for the one that the next of them holds. A circle of one is re-entry: the goroutine waits for a lock that it holds, wants to write " +
			"what it is reading, or reads again while a writer waits in between. Holders are inferred from memory, with a grade: a deferred " +
			"Unlock that is pending is strong, candidates are weak. Also a lock that is taken, waited for, and held by nobody who is still alive. The " +
			"line to open is the second Lock.",
		Hurts: "None of them ever goes on, nor does anybody who comes to need one of these locks. The process looks alive and answers less and less.",
		Confirm: "A second core or dump shows the same goroutines at the same lines: a circle never opens by itself. Read, for each goroutine, " +
			"which locks its stack took before the one that it waits for.",
		Fix: circleFix,
		Not: "A chain of locks that ends in a goroutine which works: lock-hog names it. A lock that is free or changing hands at this moment. A long " +
			"queue behind a leader or a slow holder. Candidates for a holder of which one can run: nothing is said.",
		Before: "func transfer(from, to *Account, n int) {\n\tfrom.mu.Lock()\n\tdefer from.mu.Unlock()\n" +
			"\tto.mu.Lock() // the opposite transfer has it, and waits for from.mu\n\tdefer to.mu.Unlock()\n\tfrom.balance, to.balance = from.balance-n, to.balance+n\n}",
		After: "func transfer(from, to *Account, n int) {\n\tfirst, second := from, to\n\tif second.id < first.id {\n\t\tfirst, second = second, first\n\t}\n" +
			"\tfirst.mu.Lock()\n\tdefer first.mu.Unlock()\n\tsecond.mu.Lock()\n\tdefer second.mu.Unlock()\n\tfrom.balance, to.balance = from.balance-n, to.balance+n\n}",
		Since: "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindSyncs | evidence.KindHolds, evidence.KindGoroutines},
	Limits: []diagnosis.Limit{
		{Name: "min-orphaned", Doc: "goroutines that must wait for a lock that nobody is seen to hold, when that is not proved", Default: 2,
			Origin: "one waiter may stand behind a holder that was just about to let go when the evidence was taken"},
		{Name: "min-orphaned-unread", Doc: "the same where the state of the lock is not in the evidence (a dump)", Default: 5,
			Origin: "a lock under healthy load had 0 to 3 waiters in a snapshot of 2 to 8 processors"},
	},
	Uses: []diagnosis.Dependency{derive.OfWaitGraph, derive.OfLocks, derive.OfRates},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	graph, err := diagnosis.Of(p, derive.OfWaitGraph)
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
	p.Silent("no goroutines wait for each other's locks")
	t := &teller{p: p, g: graph, index: map[string]int{}}
	for i := range graph.Knots {
		k := &graph.Knots[i]
		switch {
		case k.Kind == derive.KnotLocks:
			t.ring(k)
		case k.Kind == derive.KnotOrphan && k.Wanted.By != derive.WantedByNobody && t.ofLock(k): // one that nobody needs is a leak
			t.orphaned(k)
		}
	}
	t.lost(locks, rates)
	for _, f := range t.findings {
		p.Report(f)
	}
	return nil
}
