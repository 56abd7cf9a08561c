// Package deadlockcomm recognises goroutines that wait for a message, a signal or a counter that will never come.
//
// Two stages send to each other and neither receives; a publisher sends with the lock held that its subscriber needs first; a worker
// waits for the wait group that waits for the worker; a Done, a close or a Signal is missing on one way out. Whoever needs them waits
// for ever: the main goroutine, a request, everybody behind a lock.
//
// Goroutines that nobody waits for are a leak and not a deadlock: see goroutine-leak. A goroutine that is blocked is no proof. What is
// reported is either proved (nothing alive leads to what they wait for), or a circle in which every step is inferred from the memory of
// the process.
package deadlockcomm

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is deadlock-comm.
var Rule = &diagnosis.Rule{
	Name:  "deadlock-comm",
	Class: "deadlock-comm",
	Doc: &diagnosis.Doc{
		Title: "Goroutines wait for a message, a signal or a wait group that will never come",
		Sees: "A circle in the wait-for graph with a channel, a wait group or a condition in it: goroutines that send to each other, a lock " +
			"holder that sends to one who needs the lock, a Wait inside of a task of the same group. Or goroutines that are proved never to wake " +
			"(nothing alive in the process leads to what they wait for, or their channel is nil) while somebody needs them: the main goroutine, a " +
			"request, a lock's waiters, a Wait. The line to open is where those are blocked who owe the others something; where nobody is left, the " +
			"line of the Wait or the receive.",
		Hurts: "They never go on, nor does anybody who waits for them: requests without an answer, a shutdown that does not end, a batch that never completes.",
		Confirm: "`postmortem graph` draws the circle. A second core or dump shows the same goroutines at the same lines. For what is proved nothing " +
			"more is needed; what is left is to find the missing send, close, Done or Signal.",
		Fix: mixedFix,
		Not: "Idle workers, servers that wait for connections, tickers, parents that wait for children which work, long polls, a main goroutine " +
			"that waits for a signal or in select{}: somebody may still wake them. Goroutines that nobody waits for: goroutine-leak. All slots of a " +
			"semaphore or a pool taken: resource-exhaustion.",
		Before: "func (b *Broker) Publish(m Msg) {\n\tb.mu.Lock()\n\tdefer b.mu.Unlock()\n\tfor _, s := range b.subs {\n" +
			"\t\ts.inbox <- m // full, and its reader waits for b.mu to acknowledge\n\t}\n}",
		After: "func (b *Broker) Publish(m Msg) {\n\tb.mu.Lock()\n\tsubs := slices.Clone(b.subs)\n\tb.mu.Unlock()\n\tfor _, s := range subs {\n" +
			"\t\ts.inbox <- m\n\t}\n}",
		Since: "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindSyncs | evidence.KindProof | evidence.KindWakers,
		evidence.KindGoroutines | evidence.KindSyncs | evidence.KindWakers, evidence.KindGoroutines | evidence.KindSyncs | evidence.KindProof,
		evidence.KindGoroutines},
	Uses: []diagnosis.Dependency{derive.OfWaitGraph, derive.OfSlots},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	graph, err := diagnosis.Of(p, derive.OfWaitGraph)
	if err != nil {
		return err
	}
	slots, err := diagnosis.Of(p, derive.OfSlots)
	if err != nil {
		return err
	}
	p.Silent("no goroutines that somebody needs wait for what can never come")
	if proof := p.Case.Proof; proof != nil && !proof.Done {
		p.Silent("no circle of channels, wait groups and locks is seen; whether goroutines can never wake could not be proved: %s", proof.Refused)
	}
	t := &teller{p: p, c: p.Case, g: graph, dead: slots.DeadPools(), index: map[string]int{}}
	for i := range graph.Knots {
		t.judge(&graph.Knots[i])
	}
	t.unserved()
	for _, f := range t.findings {
		p.Report(f)
	}
	return nil
}
