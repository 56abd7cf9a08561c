package deadlockcomm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// loss is what orphans wait for that will never come.
type loss uint8

const (
	lossUnknown  loss = iota
	lossSender        // they wait to receive
	lossReceiver      // they wait to send
	lossDone          // of a wait group
	lossSignal
	lossNil      // the channel is nil
	lossCase     // they wait in a select
	lossNilCases // so they do, and all of its channels are nil
)

// lossWords end the sentence "N goroutines wait ...".
var lossWords = []string{"for what nobody is left to do", "to receive, and nobody is left who could send or close",
	"to send, and nobody is left who could receive", "for a wait group, and nobody is left who could call its Done",
	"for a condition, and nobody is left who could signal it", "at a nil channel, which never lets anybody through",
	"in a select, and nobody is left who could make one of its cases possible", "in a select whose channels are all nil"}

var lossFixes = []string{mixedFix, receiveFix, receiverFix, groupFix, condFix, nilFix, caseFix, nilFix}

// lossOf tells by the wait reason of a member.
func (t *teller) lossOf(k *derive.Knot) loss {
	if k.Kind == derive.KnotForever {
		return lossNil
	}
	reason := t.c.Goroutines().At(int(k.Members[0])).Reason
	for _, addr := range k.Objects {
		switch s, _ := t.g.Object(addr); {
		case s.Kind == evidence.SyncWaitGroup:
			return lossDone
		case s.Kind == evidence.SyncCond:
			return lossSignal
		case s.Kind == evidence.SyncChannel && derive.WaitModeOf(reason) == evidence.WaitSend:
			return lossReceiver
		case s.Kind == evidence.SyncChannel && derive.WaitModeOf(reason) == evidence.WaitReceive:
			return lossSender
		}
	}
	switch derive.WaitModeOf(reason) {
	case evidence.WaitReceive:
		return lossSender
	case evidence.WaitSend:
		return lossReceiver
	case evidence.WaitZero:
		return lossDone
	case evidence.WaitSignal:
		return lossSignal
	}
	return t.selectLoss(int(k.Members[0]))
}

// selectLoss tells of a member that waits in a select. The runtime puts a goroutine into the queues of all its channels that are not nil
// (runtime/select.go, selectgo, Go 1.21 to 1.26).
func (t *teller) selectLoss(row int) loss {
	switch proof := t.c.Proof; {
	case !strings.HasPrefix(t.c.Goroutines().At(row).Reason, "select"):
		return lossUnknown
	case proof != nil && proof.Done && len(t.c.Waits(row)) == 0:
		return lossNilCases
	}
	return lossCase
}

// orphans reports goroutines that nothing can wake and that somebody needs. Those of the same stack are one finding.
func (t *teller) orphans(k *derive.Knot) {
	if !t.needed(k) {
		return
	}
	what := t.lossOf(k)
	key := fmt.Sprint(what, t.g.At(k.Members[0]))
	at, ok := t.index[key]
	if !ok {
		at = len(t.findings)
		t.index[key] = at
		t.findings = append(t.findings, t.orphanFinding(k, what))
		return
	}
	f := &t.findings[at]
	f.Affected += len(k.Victims)
	f.Victims = append(f.Victims, t.g.Refs(k.Victims, sampleVictims-min(len(f.Victims), sampleVictims))...)
	if len(f.Because) < reasonsNamed {
		f.Because = append(f.Because, t.waits(k, what))
	}
	f.Claim = t.orphanClaim(k, what, f.Affected)
}

// needed reports whether somebody needs the goroutines of a knot. Where the runtime has ended the process because nobody could run, it has
// said so itself, and only what explains why is worth a finding.
func (t *teller) needed(k *derive.Knot) bool {
	if k.Wanted.By == derive.WantedByNobody {
		t.p.Silent("goroutine %d and others can never wake, but nobody waits for them: see goroutine-leak", t.g.ID(k.Members[0]))
		return false
	}
	if !slices.ContainsFunc(k.Members, func(row uint32) bool { return t.dead[row] == nil }) {
		t.p.Silent("goroutine %d and others wait for a slot of %s, from which nothing comes any more: see resource-exhaustion",
			t.g.ID(k.Members[0]), t.dead[k.Members[0]].Name)
		return false
	}
	if t.g.Hogs(k) {
		t.p.Silent("goroutine %d can never go on with a lock held for which others wait: see lock-hog", t.g.ID(k.Members[0]))
		return false
	}
	if t.g.Asleep() && k.Kind == derive.KnotOrphan && len(k.Victims) == len(k.Members) {
		t.p.Silent("every goroutine waited for another, and which of them should have woken which is not in the evidence: see crash-fatal")
		return false
	}
	return true
}

func (t *teller) orphanFinding(k *derive.Knot, what loss) diagnosis.Finding {
	f := diagnosis.Finding{
		Subject:    evidence.GoroutineRef(t.g.ID(k.Members[0])),
		Victims:    t.g.Refs(k.Victims, sampleVictims),
		Affected:   len(k.Victims),
		Claim:      t.orphanClaim(k, what, len(k.Victims)),
		Because:    append(t.g.ProofReason(k), t.waits(k, what), t.need(k)),
		Against:    t.orphanAgainst(k, what),
		Locations:  t.orphanLines(k),
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Fix:        lossFixes[what],
		Next:       []string{"look, in the functions that were given what they wait for, for a way out without the send, close, Done or Signal"},
	}
	f.Because = append(f.Because, t.g.Behind(k)...)
	return f
}

func (t *teller) orphanClaim(k *derive.Knot, what loss, affected int) string {
	text := fmt.Sprintf("goroutine %d waits%s %s", t.g.ID(k.Members[0]), t.g.At(k.Members[0]), lossWords[what])
	if affected > 1 {
		text = fmt.Sprintf("%d goroutines can never go on: goroutine %d waits%s %s", affected, t.g.ID(k.Members[0]), t.g.At(k.Members[0]), lossWords[what])
	}
	switch row := k.Wanted.Row; {
	case k.Wanted.By == derive.WantedByMain && !slices.Contains(k.Members, row):
		text += "; the main goroutine waits behind it" + t.g.At(row)
	case k.Wanted.By == derive.WantedByLock:
		text += fmt.Sprintf("; others wait for a lock that goroutine %d holds", t.g.ID(row))
	}
	return text
}

// waits is the evidence of what the members wait for.
func (t *teller) waits(k *derive.Knot, what loss) diagnosis.Reason {
	refs := t.g.Refs(k.Members, 3)
	text := fmt.Sprintf("goroutine %d waits %s", t.g.ID(k.Members[0]), lossWords[what])
	if len(k.Members) > 1 {
		text = fmt.Sprintf("%d goroutines wait %s", len(k.Members), lossWords[what])
	}
	for _, addr := range k.Objects {
		s, known := t.g.Object(addr)
		if !known {
			continue
		}
		refs = append(refs, s.Ref())
		text += ": " + t.g.Name(addr)
		switch s.Kind {
		case evidence.SyncWaitGroup:
			text += fmt.Sprintf(" stands at %d", s.Counter)
		case evidence.SyncChannel:
			text += fmt.Sprintf(" holds %d of %d elements", s.Len, s.Cap)
		}
		break
	}
	return diagnosis.Reason{Text: text, Refs: refs}
}

// need is the evidence that it is a deadlock and not a leak.
func (t *teller) need(k *derive.Knot) diagnosis.Reason {
	row := k.Wanted.Row
	text := fmt.Sprintf("%s: goroutine %d%s", k.Wanted.By, t.g.ID(row), t.g.At(row))
	return diagnosis.Reason{Text: text, Refs: []evidence.Ref{evidence.GoroutineRef(t.g.ID(row))}}
}

func (t *teller) orphanAgainst(k *derive.Knot, what loss) []diagnosis.Reason {
	if what == lossNil || what == lossNilCases {
		return nil
	}
	return []diagnosis.Reason{{Text: "who was to wake them has gone, so the line where that was left out is not in the evidence", Refs: t.g.Refs(k.Members, 1)}}
}

// orphanLines are the lines at which the members wait, and that of who needs them.
func (t *teller) orphanLines(k *derive.Knot) []diagnosis.Location {
	var list []diagnosis.Location
	seen := map[evidence.StackID]bool{}
	for _, row := range append(slices.Clone(k.Members), k.Wanted.Row) {
		stack := t.c.Goroutines().StackOf(int(row))
		if seen[stack] || len(list) >= linesNamed {
			continue
		}
		seen[stack] = true
		if at, ok := t.g.Line(row); ok {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: evidence.GoroutineRef(t.g.ID(row))})
		}
	}
	return list
}
