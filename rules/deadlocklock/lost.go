package deadlocklock

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// lostFix is the fix of a lock that is taken and that nobody alive seems to hold.
const lostFix = "Find the Lock that is not followed by an Unlock on every way out: an early return, a continue, or a panic that is recovered " +
	"further out. Write defer mu.Unlock() right behind each Lock; where the section must end earlier, move it into a function of its own."

// ofLock reports whether orphans wait for a lock that is taken.
func (t *teller) ofLock(k *derive.Knot) bool {
	for _, addr := range k.Objects {
		s, known := t.g.Object(addr)
		if known && (s.Kind == evidence.SyncMutex && s.Locked || s.Kind == evidence.SyncRWMutex && (s.Locked || s.Readers > 0)) {
			return true
		}
	}
	return false
}

func waiting(n int) string { return derive.Count(n, "goroutine waits", "goroutines wait") }

// orphaned reports a lock that nothing alive leads to: whoever took it has ended, or has forgotten it.
func (t *teller) orphaned(k *derive.Knot) {
	name := t.g.Name(k.Objects[0])
	f := t.lostFinding(k.Victims, evidence.SyncRef(k.Objects[0]), t.g.Refs(k.Members, sampleVictims))
	f.Locations = t.waiterLines(k.Members) // the line of the Lock, before those of others who wait for these goroutines
	for _, l := range t.waiterLines(k.Victims) {
		if len(f.Locations) < maxWaiterLines && !slices.Contains(f.Locations, l) {
			f.Locations = append(f.Locations, l)
		}
	}
	f.Claim = fmt.Sprintf("%s for %s, which is locked, and nobody is left who could unlock it%s", waiting(len(k.Victims)), name, t.g.At(k.Members[0]))
	f.Because = append(t.g.ProofReason(k), diagnosis.Reason{Refs: append(t.g.Refs(k.Members, 3), evidence.SyncRef(k.Objects[0])),
		Text: fmt.Sprintf("%s is locked, %s for it, and no goroutine is seen to hold it: who took it has ended, has returned without the Unlock, or can never go on either", name, waiting(len(k.Members)))})
	f.Confidence, f.Severity = diagnosis.Proved, diagnosis.Critical
	t.findings = append(t.findings, f)
}

// lost reports locks that are taken and whose holder is not found, when nothing in the program moves that could let them go in a moment.
func (t *teller) lost(locks *derive.Locks, rates derive.Rates) {
	list, _ := locks.Longest(min(t.p.Limit("min-orphaned"), t.p.Limit("min-orphaned-unread")))
	for _, lock := range list {
		if len(lock.Holders) > 0 || t.g.StuckAt(lock.Rows[0]) != nil {
			continue
		}
		least := t.p.Limit("min-orphaned-unread")
		if lock.Known {
			least = t.p.Limit("min-orphaned")
		}
		taken := !lock.Known || lock.Sync.Locked || lock.Sync.Readers > 0
		q := locks.Judge(lock, rates)
		if float64(lock.Total) < least || !taken || q.Verdict != derive.QueueUnknown || q.Moves {
			continue
		}
		t.findings = append(t.findings, t.lostLock(locks, lock))
	}
}

func (t *teller) lostLock(locks *derive.Locks, lock *derive.Lock) diagnosis.Finding {
	subject := evidence.Ref{}
	refs := locks.Victims(lock, 3)
	state := "the state of the lock is not in the evidence"
	if lock.Known {
		subject, state = lock.Sync.Ref(), "it is locked"
		refs = append(refs, subject)
	}
	f := t.lostFinding(lock.Rows, subject, locks.Victims(lock, sampleVictims))
	f.Affected = lock.Total
	f.Claim = fmt.Sprintf("%s for %s, and no goroutine is seen that could hold it; it may have ended without the Unlock",
		waiting(lock.Total), lock.Name)
	text := fmt.Sprintf("%s for %s; %s", waiting(lock.Total), lock.Name, state)
	if lock.Oldest > 0 {
		text += fmt.Sprintf("; the longest for at least %d s", lock.Oldest)
	}
	f.Because = []diagnosis.Reason{{Text: text, Refs: refs}}
	f.Against = []diagnosis.Reason{{Text: "whoever has it and gives it back several calls deep, or through a function value, is not seen", Refs: refs[:1]}}
	f.Confidence, f.Severity = diagnosis.Possible, diagnosis.Warning
	f.Settle = "a mutex profile or an execution trace from before the queue formed shows who took the lock last"
	return f
}

// lostFinding is what all findings of lost locks share.
func (t *teller) lostFinding(rows []uint32, subject evidence.Ref, victims []evidence.Ref) diagnosis.Finding {
	return diagnosis.Finding{Subject: subject, Victims: victims, Affected: len(rows), Locations: t.waiterLines(rows), Fix: lostFix,
		Next: []string{"look for a return or panic between Lock and Unlock in the functions that take this lock"}}
}

// maxWaiterLines bounds the places of waiters in one finding.
const maxWaiterLines = 5

// waiterLines are the distinct lines at which goroutines ask for the lock, those of most waiters first.
func (t *teller) waiterLines(rows []uint32) []diagnosis.Location {
	count := map[evidence.Frame]int{}
	var frames []evidence.Frame
	for _, row := range rows {
		at, ok := t.g.Line(row)
		if !ok {
			continue
		}
		at.PC = 0 // two calls of one line are one place
		if count[at]++; count[at] == 1 {
			frames = append(frames, at)
		}
	}
	slices.SortStableFunc(frames, func(a, b evidence.Frame) int { return count[b] - count[a] })
	var list []diagnosis.Location
	for _, at := range frames[:min(len(frames), maxWaiterLines)] {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at})
	}
	return list
}
