package lockhog

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// sampleVictims is how many waiters a finding names; how many there are stands beside them.
const sampleVictims = 100

// hog is one run of the rule.
type hog struct {
	p        *diagnosis.Pass
	c        *evidence.Case
	f        *derive.Frames
	locks    *derive.Locks
	graph    *derive.WaitGraph
	rates    derive.Rates
	users    int
	blamed   map[evidence.Ref]int // root holder -> index in findings
	findings []diagnosis.Finding
}

func (h *hog) all() {
	h.p.Silent("no lock has %g waiters", h.p.Limit("min-waiters"))
	list, more := h.locks.Longest(h.p.Limit("min-waiters"))
	for _, lock := range list {
		h.judge(lock)
	}
	if more > 0 && len(h.findings) > 0 {
		first := &h.findings[0]
		first.Because = append(first.Because, diagnosis.Reason{Refs: []evidence.Ref{{Kind: evidence.RefProcess}},
			Text: fmt.Sprintf("%d more locks have queues of at least %g goroutines; they were not judged", more, h.p.Limit("min-waiters"))})
	}
	for _, f := range h.findings {
		h.p.Report(f)
	}
}

// judge reports a lock, or adds it to the finding that already blames the same holder.
func (h *hog) judge(lock *derive.Lock) {
	q := h.locks.Judge(lock, h.rates)
	switch q.Verdict {
	case derive.QueueDeadlock:
		h.p.Silent("%d goroutines wait for %s, and those who may hold it wait for each other: see deadlock-lock", lock.Total, lock.Name)
	case derive.QueueShort:
		h.p.Silent("%d goroutines wait for %s, but nobody keeps it for long", lock.Total, lock.Name)
	case derive.QueueUnknown:
		h.unexplained(lock, q)
	default:
		if !h.stuck(lock, q) {
			h.known(lock, q)
		}
	}
}

// stuck reports whether the holder at the end of the chain can never go on: then it is slow no more, and a deadlock rule names the cause.
func (h *hog) stuck(lock *derive.Lock, q derive.Queue) bool {
	row, ok := h.c.Goroutines().Row(q.Root.Holder.G.ID)
	if !ok || q.Guessed {
		return false
	}
	k := h.graph.StuckAt(uint32(row))
	if k == nil || !k.Sure() || h.graph.Hogs(k) {
		return false
	}
	h.p.Silent("%d goroutines wait for %s, and goroutine %d, which holds it, can never go on: see the deadlock rules", lock.Total, lock.Name,
		q.Root.Holder.G.ID)
	return true
}

// unexplained notes a queue whose holder is not known: an open question when it is a long one and others run. Where nothing moves the
// lock may be lost, which is deadlock-lock's.
func (h *hog) unexplained(lock *derive.Lock, q derive.Queue) {
	if !q.Moves && (!lock.Known || lock.Sync.Locked || lock.Sync.Readers > 0) {
		h.p.Silent("%d goroutines wait for %s, which nobody seems to hold: see deadlock-lock", lock.Total, lock.Name)
		return
	}
	say := h.p.Silent
	if float64(lock.Total) >= h.p.Limit("critical-waiters") || float64(lock.Total) >= h.p.Limit("critical-share")*float64(h.users) {
		say = h.p.Open
	}
	say("%d goroutines wait for %s, whose holder is not known, while others run: see lock-hot", lock.Total, lock.Name)
}

func (h *hog) known(lock *derive.Lock, q derive.Queue) {
	root := q.Root.Holder.G.Ref()
	if at, ok := h.blamed[root]; ok {
		h.findings[at].Because = append(h.findings[at].Because, h.queued(lock))
		h.findings[at].Affected = h.findings[at].VictimCount() + lock.Total
		return
	}
	h.blamed[root] = len(h.findings)
	h.findings = append(h.findings, h.finding(lock, q))
}

func (h *hog) finding(lock *derive.Lock, q derive.Queue) diagnosis.Finding {
	holder := q.Root.Holder
	f := diagnosis.Finding{
		Subject:    holder.G.Ref(),
		Victims:    h.locks.Victims(lock, sampleVictims),
		Affected:   lock.Total,
		Locations:  h.locations(lock, q),
		Confidence: confidence(q),
		Severity:   h.severity(lock, q),
		Next:       []string{"take a second core or goroutine dump some seconds later and see whether goroutine " + fmt.Sprint(holder.G.ID) + " is still there"},
	}
	if lock.Once && !holder.Doing.Blocked() {
		f.Fix = onceFix
	}
	f.Claim = h.claim(lock, q)
	f.Because = append([]diagnosis.Reason{h.queued(lock), h.held(q.Root, q), h.does(q.Root)}, h.links(q)...)
	for _, why := range q.Why {
		f.Because = append(f.Because, diagnosis.Reason(why))
	}
	f.Because = append(f.Because, h.forEver(q)...)
	f.Against = h.against(lock, q)
	if f.Confidence < diagnosis.Proved {
		f.Settle = "who holds the lock, and for how long, stands in an execution trace or a mutex profile; a second core shows whether it is the same goroutine"
	}
	return f
}

// onceFix is the fix of a computing sync.Once: there is nothing wrong with it but when it runs.
const onceFix = "This is initialisation on first use, and it ends. When the first requests must not wait for it, run it before the process " +
	"takes traffic (at start-up, before readiness is reported), or make what it computes smaller."

// forEver is the proof that the holder will never go on, where there is one.
func (h *hog) forEver(q derive.Queue) []diagnosis.Reason {
	row, ok := h.c.Goroutines().Row(q.Root.Holder.G.ID)
	if !ok {
		return nil
	}
	k := h.graph.StuckAt(uint32(row))
	if k == nil || !h.graph.Hogs(k) {
		return nil
	}
	return h.graph.ProofReason(k)
}

func (h *hog) claim(lock *derive.Lock, q derive.Queue) string {
	holder := q.Root.Holder
	article := "goroutine"
	if q.Guessed || holder.Grade == evidence.HoldAmbiguous {
		article = "probably goroutine"
	}
	text := fmt.Sprintf("%d goroutines wait for %s, which %s %d keeps while it %s", lock.Total, lock.Name, article, holder.G.ID, holder.Doing)
	if n := len(q.Chain); n > 1 {
		text = fmt.Sprintf("%d goroutines wait for %s behind a chain of %d locks, at whose end %s %d %s with %s held", lock.Total, lock.Name,
			n, article, holder.G.ID, holder.Doing, q.Root.Name)
	}
	if at, ok := h.line(holder); ok {
		text += fmt.Sprintf(" (%s)", derive.Short(at.Function))
	}
	return text
}

// queued is the evidence of the queue.
func (h *hog) queued(lock *derive.Lock) diagnosis.Reason {
	refs := h.locks.Victims(lock, 3)
	text := fmt.Sprintf("%d goroutines wait for %s", lock.Total, lock.Name)
	if lock.Known {
		refs = append(refs, lock.Sync.Ref())
		text += stateOf(lock.Sync)
	}
	if lock.Oldest > 0 {
		text += fmt.Sprintf("; the longest for at least %d s", lock.Oldest)
	}
	return diagnosis.Reason{Text: text, Refs: refs}
}

func stateOf(s evidence.Sync) string {
	switch {
	case s.Kind == evidence.SyncRWMutex && s.Locked:
		return "; a writer holds it"
	case s.Kind == evidence.SyncRWMutex && s.Pending:
		return fmt.Sprintf("; %d readers are inside and a writer is pending, so new readers wait as well", s.Readers)
	case s.Kind == evidence.SyncRWMutex:
		return fmt.Sprintf("; %d readers are inside", s.Readers)
	case s.Starving:
		return "; it is locked and starving: a waiter has stood behind it for over a millisecond"
	}
	return "; it is locked"
}

// held is the evidence of who holds it.
func (h *hog) held(link derive.Link, q derive.Queue) diagnosis.Reason {
	refs := []evidence.Ref{link.Holder.G.Ref()}
	if link.Holder.Ref.Kind == evidence.RefHold {
		refs = append(refs, link.Holder.Ref)
	}
	text := fmt.Sprintf("goroutine %d holds %s: %s", link.Holder.G.ID, link.Name, grade(link.Holder, q))
	if link.Holder.Why != "" {
		text += " (" + link.Holder.Why + ")"
	}
	return diagnosis.Reason{Text: text, Refs: refs}
}

func grade(holder derive.Holder, q derive.Queue) string {
	switch {
	case q.Guessed && q.Rivals == 0:
		return "guessed from the stacks, as no other goroutine stands between a Lock and its Unlock"
	case q.Guessed:
		return fmt.Sprintf("guessed from the stacks, one of %d goroutines that stand between a Lock and its Unlock", q.Rivals+1)
	case holder.Grade == evidence.HoldPendingUnlock:
		return "a deferred Unlock of it is pending on its stack"
	case holder.Grade == evidence.HoldUnique:
		return "it is the only goroutine that can have taken it"
	case holder.Grade == evidence.HoldAmbiguous:
		return fmt.Sprintf("one of %d candidates", q.Rivals+1)
	}
	return "how that was inferred is not recorded"
}

func (h *hog) does(link derive.Link) diagnosis.Reason {
	text := fmt.Sprintf("goroutine %d %s", link.Holder.G.ID, link.Holder.Doing)
	if at, ok := h.line(link.Holder); ok {
		text += ", called from " + derive.Where(at)
	}
	if link.Holder.G.Seconds > 0 {
		text += fmt.Sprintf(", for at least %d s", link.Holder.G.Seconds)
	}
	return diagnosis.Reason{Text: text, Refs: []evidence.Ref{link.Holder.G.Ref()}}
}

// links names the goroutines between the queue and the root.
func (h *hog) links(q derive.Queue) []diagnosis.Reason {
	var list []diagnosis.Reason
	for i := 0; i+1 < len(q.Chain); i++ {
		r := h.held(q.Chain[i], q)
		r.Text += fmt.Sprintf("; it waits for %s itself", q.Chain[i+1].Name)
		list = append(list, r)
	}
	return list
}

func (h *hog) against(lock *derive.Lock, q derive.Queue) []diagnosis.Reason {
	var list []diagnosis.Reason
	say := func(refs []evidence.Ref, format string, args ...any) {
		list = append(list, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
	}
	self := []evidence.Ref{q.Root.Holder.G.Ref()}
	if q.Rivals > 0 {
		say(self, "%d other goroutines may hold the lock as well", q.Rivals)
	}
	if q.Root.Holder.Doing.Activity == derive.ActivityLock {
		say(self, "the holder waits for another lock, whose holder is not known")
	}
	if lock.Once {
		say(h.locks.Victims(lock, 1), "a sync.Once runs its function once: when that ends, the queue is gone for good")
	}
	if h.accepts(q.Root.Holder) {
		say(self, "the holder waits for a connection to accept: goroutines that take turns at that stand idle, not in a queue")
	}
	if h.leads(lock, q) {
		say(self, "the holder waits to receive, the others ask for the lock where it took it, and nobody waits for them: so stand candidates behind a leader")
	}
	if lock.Oldest == 0 && q.Root.Holder.G.Seconds == 0 {
		say(nil, "the evidence has no waiting times: it is one moment, and the holder may have let go right after it")
	}
	return list
}

// accepts reports whether the holder is in Accept, as under the accept mutex of a group of servers.
func (h *hog) accepts(holder derive.Holder) bool {
	_, ok := derive.Has(h.c.Stack(holder.G.Stack), "internal/poll.(*FD).Accept")
	return ok
}
