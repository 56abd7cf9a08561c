package derive

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Object returns an object of the graph; known is false when its state could not be read.
func (g *WaitGraph) Object(addr uint64) (s evidence.Sync, known bool) {
	at, ok := g.index[addr]
	if !ok {
		s, known = g.c.Sync(addr)
		s.Addr = addr
		return s, known
	}
	return g.objects[at].sync, g.objects[at].known
}

// Name is how an object is called in sentences: "the mutex in field mu of main.Ledger".
func (g *WaitGraph) Name(addr uint64) string {
	s, _ := g.Object(addr)
	kind := s.Kind.String()
	switch s.Kind {
	case evidence.SyncMutex:
		if g.ofOnce(addr) {
			kind = "lock of a sync.Once"
		}
	case evidence.SyncRWMutex:
		kind = "RWMutex"
	case evidence.SyncWaitGroup:
		kind = "wait group"
	case evidence.SyncCond:
		kind = "condition"
	case evidence.SyncUnknown:
		kind = "object"
	}
	if s.Where != "" {
		return "the " + kind + " in " + s.Where
	}
	return "the " + kind + " at " + hex(addr)
}

// ofOnce reports whether a mutex is that of a sync.Once, judged by one who waits for it.
func (g *WaitGraph) ofOnce(addr uint64) bool {
	waiters := g.c.Waiters(addr)
	if len(waiters) == 0 {
		return false
	}
	return locksOnce(g.c.Stack(g.c.Goroutines().StackOf(int(waiters[0]))))
}

// locksOnce reports whether a stack stands in the Lock with which a sync.Once begins (sync/once.go, doSlow; Go 1.21 to 1.26): a function
// that runs under a Once may wait for any other lock.
func locksOnce(s evidence.Stack) bool {
	at, ok := Has(s, "sync.(*Once).doSlow")
	return ok && at > 0 && strings.HasPrefix(s.At(at-1).Function, "sync.(*Mutex).")
}

// Line is the user's line on which a goroutine is blocked.
func (g *WaitGraph) Line(row uint32) (evidence.Frame, bool) {
	s := g.c.Stack(g.c.Goroutines().StackOf(int(row)))
	i, ok := g.f.UserFrame(s)
	if !ok {
		return evidence.Frame{}, false
	}
	return s.At(i), true
}

// At is " in F (file.go:12)" for the line on which a goroutine is blocked; empty when it is not known.
func (g *WaitGraph) At(row uint32) string {
	if f, ok := g.Line(row); ok {
		return " in " + Where(f)
	}
	return ""
}

// ID is the goroutine in a row.
func (g *WaitGraph) ID(row uint32) int64 { return g.c.Goroutines().ID(int(row)) }

// Refs are references to at most n of the goroutines in rows.
func (g *WaitGraph) Refs(rows []uint32, n int) []evidence.Ref {
	var refs []evidence.Ref
	for _, row := range rows[:min(n, len(rows))] {
		refs = append(refs, evidence.GoroutineRef(g.ID(row)))
	}
	return refs
}

// Oldest is the longest time that one of the goroutines in rows has waited, in seconds; 0 when unknown.
func (g *WaitGraph) Oldest(rows []uint32) (oldest uint32) {
	for _, row := range rows {
		oldest = max(oldest, g.c.Goroutines().Seconds(int(row)))
	}
	return oldest
}

// WaitsFor is what a goroutine of a ring does at its object: "waits to send to the channel at 0xc000012345".
func (g *WaitGraph) WaitsFor(l KnotLink) string {
	s, _ := g.Object(l.Object)
	reason := g.c.Goroutines().At(int(l.Row)).Reason
	switch {
	case s.Kind == evidence.SyncChannel && l.Sends:
		return "waits to send to " + g.Name(l.Object)
	case s.Kind == evidence.SyncChannel:
		return "waits to receive from " + g.Name(l.Object)
	case strings.HasSuffix(reason, "RWMutex.RLock"):
		return "waits to read-lock " + g.Name(l.Object)
	}
	return "waits for " + g.Name(l.Object)
}

// LinkReason is the evidence of a step round a ring: who stands in the way, how that is known, and the state of the object.
func (g *WaitGraph) LinkReason(l KnotLink) diagnosis.Reason {
	refs := []evidence.Ref{evidence.GoroutineRef(g.ID(l.Row)), evidence.GoroutineRef(g.ID(l.Next)), l.Ref}
	text := fmt.Sprintf("goroutine %d %s%s%s; ", g.ID(l.Row), g.WaitsFor(l), g.stateOf(l.Object), g.At(l.Row))
	if _, known := g.Object(l.Object); known {
		refs = append(refs, evidence.SyncRef(l.Object))
	}
	return diagnosis.Reason{Text: text + g.inWay(l), Refs: refs}
}

// stateOf is what an object's own state says, in brackets.
func (g *WaitGraph) stateOf(addr uint64) string {
	s, known := g.Object(addr)
	switch {
	case !known:
		return ""
	case s.Kind == evidence.SyncChannel && s.Cap == 0:
		return " (without a buffer)"
	case s.Kind == evidence.SyncChannel:
		return fmt.Sprintf(" (%d of %d elements queued)", s.Len, s.Cap)
	case s.Kind == evidence.SyncWaitGroup:
		return fmt.Sprintf(" (counter %d)", s.Counter)
	case s.Kind == evidence.SyncRWMutex && s.Locked:
		return " (a writer holds it)"
	case s.Kind == evidence.SyncRWMutex && s.Pending:
		return fmt.Sprintf(" (readers inside: %d; a writer is pending, so new readers wait as well)", s.Readers)
	case s.Kind == evidence.SyncRWMutex:
		return fmt.Sprintf(" (readers inside: %d)", s.Readers)
	case s.Kind == evidence.SyncMutex && s.Locked:
		return " (locked)"
	}
	return ""
}

// inWay says who stands in the way, and how that was inferred.
func (g *WaitGraph) inWay(l KnotLink) string {
	who := fmt.Sprintf("goroutine %d", g.ID(l.Next))
	if l.Next == l.Row {
		who = "it"
	}
	if l.Ref.Kind == evidence.RefHold {
		return who + " holds it" + g.holdWords(g.c.Holds[l.Ref.ID], l.Grip)
	}
	w := g.c.Wakers[l.Ref.ID]
	text := who + " " + wakerWords(w)
	if w.Site != 0 {
		text += " in " + Where(g.c.Frame(w.Site))
	}
	return text + because(w.Why)
}

func (g *WaitGraph) holdWords(h evidence.Hold, grip Grip) string {
	text, back := "", "Unlock of it"
	if h.Reader {
		text, back = " for reading", "RUnlock of it"
	}
	if s, _ := g.Object(h.Sync); s.Kind == evidence.SyncChannel {
		text, back = " by one of its slots", "call that gives it back"
	}
	switch {
	case h.Grade == evidence.HoldPendingUnlock:
		text += ": a deferred " + back + " is pending on its stack"
	case h.Grade == evidence.HoldUnique:
		text += ": nobody else can have taken it"
	case grip < GripWeak:
		text += ": all other candidates wait for it themselves"
	default:
		text += ", as one of several candidates"
	}
	return text + because(h.Why)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

var actWords = map[evidence.Act]string{evidence.ActUnknown: "end the wait", evidence.ActSend: "send to it",
	evidence.ActReceive: "receive from it", evidence.ActClose: "close it", evidence.ActDone: "call its Done",
	evidence.ActSignal: "signal it", evidence.ActBroadcast: "signal it"}

// wakerWords says what a goroutine would do for those who wait, and how that is known.
func wakerWords(w evidence.Waker) string {
	act := actWords[w.Act]
	switch {
	case w.Grade == evidence.WakerPending:
		return "is to " + act + " in a deferred call that is pending on its stack"
	case w.Grade == evidence.WakerAhead && w.Act != evidence.ActUnknown:
		return "would " + act + " further on in its code"
	}
	return "refers to it and may " + act
}

// ProofReason is the evidence that none of the members of a knot can ever wake; empty when that is not proved.
func (g *WaitGraph) ProofReason(k *Knot) []diagnosis.Reason {
	refs := g.Refs(k.Members, 3)
	switch {
	case !k.Proved:
		return nil
	case k.Kind == KnotForever:
		return []diagnosis.Reason{{Text: "the channel is nil: nothing can ever be sent to it or received from it", Refs: refs}}
	case g.asleep:
		return []diagnosis.Reason{{Text: "the runtime itself found that no goroutine of the process could ever run again",
			Refs: append(refs, evidence.Ref{Kind: evidence.RefDeath})}}
	case g.c.Proof != nil:
		refs = append(refs, evidence.Ref{Kind: evidence.RefProof})
	}
	return []diagnosis.Reason{{Text: "nothing that is alive in the process leads to what they wait for: by the memory of the process they can never wake",
		Refs: refs}}
}

// Unproved says why a knot is not proved.
func (g *WaitGraph) Unproved(k *Knot) string {
	p := g.c.Proof
	switch {
	case k.Proved:
		return ""
	case p == nil:
		return "this evidence has no memory in which it could be proved that nobody else can wake them"
	case !p.Done:
		return "whether somebody else can still wake them could not be searched for: " + p.Refused
	}
	return "something that is alive in the process leads to what they wait for, so that it cannot be proved that nobody else wakes them"
}

// RingKey is the same for circles that run over the same lines with the same certainty, whichever of their members comes first.
func (g *WaitGraph) RingKey(k *Knot) string {
	var lines []string
	for _, l := range k.Ring {
		lines = append(lines, g.At(l.Row))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "|") + fmt.Sprint(k.Proved, k.Grip)
}

// Behind counts those who wait behind the members of a knot, with the first of them; nil when there are none.
func (g *WaitGraph) Behind(k *Knot) []diagnosis.Reason {
	inside := map[uint32]bool{}
	for _, row := range k.Members {
		inside[row] = true
	}
	others := slices.DeleteFunc(slices.Clone(k.Victims), func(row uint32) bool { return inside[row] })
	if len(others) == 0 {
		return nil
	}
	text := Count(len(others), "other goroutine waits", "other goroutines wait") + " behind them"
	if at := g.At(others[0]); at != "" {
		text += fmt.Sprintf(", goroutine %d%s", g.ID(others[0]), at)
	}
	if oldest := g.Oldest(k.Victims); oldest > 0 {
		text += fmt.Sprintf("; the longest wait has lasted at least %d s", oldest)
	}
	return []diagnosis.Reason{{Text: text, Refs: g.Refs(others, 3)}}
}
