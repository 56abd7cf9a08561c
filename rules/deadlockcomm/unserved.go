package deadlockcomm

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// unserved remarks on wait groups that somebody needs and for which nobody is seen who owes a Done, and on the same of a channel that main
// waits for, although a global variable or the like still leads to them, so that it is not proved. It takes evidence in which such
// goroutines were looked for.
func (t *teller) unserved() {
	if t.c.Proof == nil || !t.c.Proof.Done {
		return
	}
	byLine := map[string][]evidence.Contended{}
	var lines []string
	for x := range t.c.Contended(1) {
		row := x.Rows[0]
		if !t.waitsInVain(x) || t.g.Served(x.Sync.Addr) || t.g.StuckAt(row) != nil {
			continue
		}
		at := t.g.At(row)
		if byLine[at] == nil {
			lines = append(lines, at)
		}
		byLine[at] = append(byLine[at], x)
	}
	for _, at := range lines {
		list := byLine[at]
		need := slices.IndexFunc(list, func(x evidence.Contended) bool { return t.g.Needs(x.Rows[0]) != derive.WantedByNobody })
		if need >= 0 {
			list[0], list[need] = list[need], list[0]
			t.findings = append(t.findings, t.unservedFinding(list))
		}
	}
}

// waitsInVain reports whether an object is one whose waiters count on somebody who is there already: a wait group that is not at zero; a
// channel without a buffer from which main receives in a function that it calls. In main.main itself it may wait for as long as the
// program is to run, and signals come through a buffer (package signal, Notify).
func (t *teller) waitsInVain(x evidence.Contended) bool {
	if x.Sync.Kind == evidence.SyncWaitGroup {
		return x.Sync.Counter > 0
	}
	row := x.Rows[0]
	if x.Sync.Kind != evidence.SyncChannel || x.Sync.Cap > 0 || x.Sync.Closed || t.g.Needs(row) != derive.WantedByMain {
		return false
	}
	at, ok := t.g.Line(row)
	return ok && at.Function != "main.main" && derive.WaitModeOf(t.c.Goroutines().At(int(row)).Reason) == evidence.WaitReceive
}

func (t *teller) unservedFinding(list []evidence.Contended) diagnosis.Finding {
	first := list[0]
	row := first.Rows[0]
	var rows []uint32
	for _, x := range list {
		rows = append(rows, x.Rows...)
	}
	f := diagnosis.Finding{
		Subject:  evidence.GoroutineRef(t.g.ID(row)),
		Victims:  t.g.Refs(rows, sampleVictims),
		Affected: len(rows),
		Claim: fmt.Sprintf("goroutine %d waits%s for a wait group that stands at %d, and no goroutine is seen that owes it a Done", t.g.ID(row),
			t.g.At(row), first.Sync.Counter),
		Because: []diagnosis.Reason{{Text: fmt.Sprintf("%s stands at %d; on no stack is anything that leads to it but on those of its waiters, and no deferred Done is pending",
			t.g.Name(first.Sync.Addr), first.Sync.Counter), Refs: append(t.g.Refs(rows, 3), evidence.SyncRef(first.Sync.Addr), evidence.Ref{Kind: evidence.RefProof})}},
		Against: []diagnosis.Reason{{Text: "something that is alive in the process leads to what it waits for: a goroutine that is yet to come, or one that finds it by several steps, " +
			"may still end the wait", Refs: t.g.Refs(rows, 1)}},
		Confidence: diagnosis.Possible,
		Severity:   diagnosis.Info,
		Fix:        groupFix,
		Settle:     "a second core some seconds later shows whether the same goroutine waits for the same count",
		Next:       []string{"compare each Add with the Done calls that belong to it, on every way out"},
	}
	if first.Sync.Kind == evidence.SyncChannel {
		f.Fix = receiveFix
		f.Settle = "a second core some seconds later shows whether it still waits there"
		f.Next = []string{"look, in the functions that send to this channel or close it, for a way out that does neither"}
		f.Claim = fmt.Sprintf("goroutine %d waits%s to receive, and no goroutine is seen that could send or close", t.g.ID(row), t.g.At(row))
		f.Because[0].Text = fmt.Sprintf("on no stack is anything that leads to %s but on those of its waiters", t.g.Name(first.Sync.Addr))
	}
	if n := len(rows) - 1; n > 0 {
		f.Claim += fmt.Sprintf("; %d more wait in the same way", n)
	}
	if at, ok := t.g.Line(row); ok {
		f.Locations = []diagnosis.Location{{Role: diagnosis.RoleWaiter, Frame: at, Ref: evidence.GoroutineRef(t.g.ID(row))}}
	}
	return f
}
