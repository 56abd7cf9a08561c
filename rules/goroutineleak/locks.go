package goroutineleak

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// keptLocks looks for locks that were kept by goroutines that have ended, and that something still refers to: each goroutine of a site
// waits for a lock of its own, all these locks are held, and nobody is seen who holds one. One such lock may be a holder that was not
// recognised; of several, each with another waiter, that is less and less likely.
func (l *leak) keptLocks() {
	held := map[uint64]bool{}
	for _, h := range l.c.Holds {
		if g, ok := l.c.Goroutines().ByID(h.Goroutine); ok && g.WaitsOn != h.Sync { // a candidate that waits for it stands before it
			held[h.Sync] = true
		}
	}
	c := collector{l: l, index: map[siteKey]*site{}, blocked: map[evidence.StackID]evidence.Frame{}}
	for s := range l.c.Syncs() {
		if s.Kind == evidence.SyncChannel && s.Where == "" {
			break // the plain channels come last
		}
		if (s.Kind != evidence.SyncMutex && s.Kind != evidence.SyncRWMutex) || !s.Locked || held[s.Addr] {
			continue
		}
		for _, row := range l.c.Waiters(s.Addr) {
			if l.c.Goroutines().Wake(int(row)) != evidence.WakeNever && l.graph.StuckAt(row) == nil {
				c.add(int(row))
			}
		}
	}
	for i, s := range c.sorted() {
		if i < maxFindings && float64(len(s.objects)) >= l.p.Limit("suspect-locks") && 10*len(s.objects) >= 9*min(s.count, maxObjects) {
			l.both.Report(l.kept(s))
		}
	}
}

// kept tells a site of waiters for locks that nobody is seen to hold.
func (l *leak) kept(s *site) diagnosis.Finding {
	k := causes["lock"]
	f := diagnosis.Finding{
		Subject: s.subject(), Victims: s.sample, Affected: s.count,
		Claim: fmt.Sprintf("%d goroutines, started in %s, wait%s each for a lock of its own that is held, and nobody is seen who holds one: "+
			"they may be leaked", s.count, nameOf(l.creator(s)), since(s)),
		Locations:  l.locations(s),
		Confidence: diagnosis.Possible, Severity: diagnosis.Info,
		Fix:    k.fix,
		Settle: "a second core some seconds later, in which the same goroutines wait for the same locks",
		Next:   []string{"look, between the Lock and the Unlock of these locks, for a way out that leaves the Unlock out"},
	}
	if l.old(s) {
		f.Severity = diagnosis.Warning
	}
	add := func(refs []evidence.Ref, format string, args ...any) {
		f.Because = append(f.Because, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
	}
	l.object(s, cause{waits: k.waits, thing: k.thing, leads: k.leads}, add)
	l.start(s, add)
	f.Against = append(f.Against, diagnosis.Reason{Text: "who holds a lock is inferred; a holder that gives it back several calls deep, or through a function value, is not seen"})
	l.doubts(s, &f)
	return f
}
