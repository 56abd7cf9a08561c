package resourceexhaustion

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// circleFix is the fix of holders that wait for a second slot.
const circleFix = "Do not ask for a second slot while one is held. Read the outer result to its end and close it before the inner request, pass " +
	"the connection or transaction that is there to what is called, or take all that is needed in one step. A higher limit only moves " +
	"the moment at which as many do this at once as there are slots."

// lostFix is the fix of slots that were not given back.
const lostFix = "Find the way out on which the slot is not given back: an early return, a continue, or a panic that is recovered further out. " +
	"Write the defer that gives it back (rows.Close, tx.Rollback, resp.Body.Close, the release) directly behind the check of the error, " +
	"before anything else can return."

// Bounds of what one finding names.
const (
	sampleVictims = 100
	maxLines      = 5
	maxGroups     = 5
)

// begin fills in what all findings of a resource have.
func (j *judge) begin(r *derive.Resource) diagnosis.Finding {
	f := diagnosis.Finding{Subject: r.Ref, Victims: j.refs(r.Rows, sampleVictims), Affected: r.Total,
		Because: []diagnosis.Reason{j.queued(r)}}
	if len(r.Holders) > 0 {
		f.Subject = r.Holders[0].G.Ref()
	}
	if f.Subject == (evidence.Ref{}) && len(r.Rows) > 0 {
		f.Subject = j.refs(r.Rows, 1)[0]
	}
	return f
}

// end adds the lines, what is open, and the finding.
func (j *judge) end(r *derive.Resource, f diagnosis.Finding) {
	f.Locations = j.locations(r)
	if f.Confidence < diagnosis.Proved {
		f.Settle = "a second core some seconds later shows whether the same goroutines still have the slots and still wait"
		f.Next = []string{"take a second core or goroutine dump some seconds later and compare the goroutines that wait and those that have a slot"}
	} else {
		refs := j.refs(r.Rows, 3)
		if j.c.Proof != nil {
			refs = append(refs, evidence.Ref{Kind: evidence.RefProof})
		}
		f.Because = append(f.Because, diagnosis.Reason{Refs: refs,
			Text: "nothing that is alive in the process leads to what they wait for: by the memory of the process they can never wake"})
	}
	if r.Guessed {
		f.Against = append(f.Against, diagnosis.Reason{Refs: j.refs(r.Rows, 1),
			Text: "without addresses it is not known whether they all wait for the same " + r.Kind})
	}
	j.findings = append(j.findings, f)
}

// refs are references to at most n of the goroutines in rows.
func (j *judge) refs(rows []uint32, n int) []evidence.Ref {
	var refs []evidence.Ref
	for _, row := range rows[:min(n, len(rows))] {
		refs = append(refs, evidence.GoroutineRef(j.c.Goroutines().ID(int(row))))
	}
	return refs
}

// wait is the beginning of a claim: "7 goroutines wait for a connection of the database/sql.DB at 0xc000012345".
func (j *judge) wait(r *derive.Resource) string {
	return derive.Count(r.Total, "goroutine waits", "goroutines wait") + " for a " + r.Slot + " of " + r.Name
}

func (j *judge) circleClaim(r *derive.Resource) string {
	if r.Self {
		return derive.Count(r.Total, "goroutine waits", "goroutines wait") + " to send to " + r.Name + ", which is full, and nobody else would take anything out of it"
	}
	again := !slices.ContainsFunc(r.Holders, func(h derive.SlotHolder) bool { return !h.Again })
	second := "a second one"
	if !again {
		second = "a slot of another resource whose holders wait in turn"
	}
	if len(r.Holders) == 1 {
		return fmt.Sprintf("%s, and goroutine %d, which has all of it, waits for %s%s", j.wait(r), r.Holders[0].G.ID, second, j.at(r, &r.Holders[0]))
	}
	return fmt.Sprintf("%s, and each of the %d goroutines that have one waits for %s%s", j.wait(r), len(r.Holders), second, j.at(r, &r.Holders[0]))
}

func (j *judge) lostClaim(r *derive.Resource) string {
	switch {
	case r.Guessed:
		return j.wait(r) + ", and no goroutine is seen that uses one"
	case r.Self:
		return j.wait(r) + ", and nobody but those who wait would ever give one back"
	case len(r.Holders) > 0:
		return fmt.Sprintf("%s, and %d of its %d slots belong to nobody that is still there", j.wait(r), r.Lost(), r.Used)
	}
	return fmt.Sprintf("%s, and the slots belong to nobody that is still there: %s", j.wait(r), j.counts(r))
}

func (j *judge) stuckClaim(r *derive.Resource) string {
	h := j.grouped(r)[0]
	text := fmt.Sprintf("%s, and all goroutines that have one are blocked", j.wait(r))
	return text + fmt.Sprintf(": %s %s%s", derive.Count(h.count, "goroutine, which", "goroutines, each of which"), h.first.Doing, j.at(r, h.first))
}

// at is " in F (file.go:12)" for the line at which a holder is blocked.
func (j *judge) at(r *derive.Resource, h *derive.SlotHolder) string {
	if f, ok := j.line(r, h); ok {
		return " in " + derive.Where(f)
	}
	return ""
}

// line is the user's line at which a holder is. Where it asks for a second slot through a helper that others call from elsewhere, it is
// the line that calls the helper: the helper is right, what is done with a slot in hand is not.
func (j *judge) line(r *derive.Resource, h *derive.SlotHolder) (evidence.Frame, bool) {
	s := j.c.Stack(h.G.Stack)
	i, ok := j.f.UserFrame(s)
	if !ok {
		return evidence.Frame{}, false
	}
	if h.Again {
		i += j.helper(r, h, s, i)
	}
	return s.At(i), true
}

// helper is how many frames, from frame i of a holder's stack outwards, belong to a helper through which others ask as well. It stays
// within what the holder called since it has the slot.
func (j *judge) helper(r *derive.Resource, h *derive.SlotHolder, s evidence.Stack, i int) int {
	least := 0
	for _, a := range r.Asking {
		if a.Line < 0 {
			continue
		}
		t, same := j.c.Stack(j.c.Goroutines().StackOf(int(a.Row))), 0
		for i+same < s.Len() && a.Line+same < t.Len() && s.At(i+same).Function == t.At(a.Line+same).Function {
			same++
		}
		differ := i+same <= h.Depth && i+same < s.Len() && a.Line+same < t.Len()
		if differ && same > 0 && (least == 0 || same < least) {
			least = same
		}
	}
	return least
}

// counts is what the resource itself says: "4 of 4 given away".
func (j *judge) counts(r *derive.Resource) string {
	switch {
	case r.Used >= 0 && r.Limit > 0:
		return fmt.Sprintf("%d of %d are given away", r.Used, r.Limit)
	case r.Limit > 0:
		return fmt.Sprintf("the limit is %d", r.Limit)
	}
	return "its counters are not known"
}

// queued is the evidence of the queue.
func (j *judge) queued(r *derive.Resource) diagnosis.Reason {
	refs := j.refs(r.Rows, 3)
	if r.Ref != (evidence.Ref{}) {
		refs = append(refs, r.Ref)
	}
	text := j.wait(r) + "; " + j.counts(r)
	if r.Counted >= 0 && r.Counted != r.Total {
		text += fmt.Sprintf(", and it counts %d waiters itself", r.Counted)
	}
	if r.Oldest > 0 {
		text += fmt.Sprintf("; the longest for at least %d s", r.Oldest)
	}
	return diagnosis.Reason{Text: text, Refs: refs}
}

// holderGroup are holders that do the same at the same line.
type holderGroup struct {
	first *derive.SlotHolder
	count int
	slots int64
	refs  []evidence.Ref
}

// grouped joins the holders with the same stack and wait, the most first.
func (j *judge) grouped(r *derive.Resource) []holderGroup {
	type key struct {
		stack evidence.StackID
		grade evidence.HoldGrade
		asks  int
	}
	index := map[key]int{}
	var groups []holderGroup
	for i := range r.Holders {
		h := &r.Holders[i]
		k := key{h.G.Stack, h.Grade, h.Asks}
		at, ok := index[k]
		if !ok {
			at = len(groups)
			index[k] = at
			groups = append(groups, holderGroup{first: h})
		}
		g := &groups[at]
		g.count++
		g.slots += h.Slots
		if len(g.refs) < 6 { // three goroutines
			g.refs = append(g.refs, h.G.Ref(), h.Ref)
		}
	}
	slices.SortStableFunc(groups, func(a, b holderGroup) int { return cmp.Compare(b.count, a.count) })
	return groups
}

var gradeWords = map[evidence.HoldGrade]string{evidence.HoldPendingUnlock: "what gives it back is a deferred call that is pending",
	evidence.HoldUnique: "nobody else can have it", evidence.HoldAmbiguous: "as one of several candidates"}

// holders is the evidence of who has the slots, and of what they do with them.
func (j *judge) holders(r *derive.Resource) []diagnosis.Reason {
	var list []diagnosis.Reason
	groups := j.grouped(r)
	for _, g := range groups[:min(len(groups), maxGroups)] {
		who := fmt.Sprintf("goroutine %d has", g.first.G.ID)
		if g.count > 1 {
			who = fmt.Sprintf("%d goroutines have", g.count)
		}
		text := fmt.Sprintf("%s %s of it (%s)", who, derive.Count(int(g.slots), r.Slot, many(r.Slot)), cmp.Or(gradeWords[g.first.Grade], "how that was inferred is not recorded"))
		if g.first.Why != "" {
			text += ": " + g.first.Why
		}
		does := g.first.Doing.String()
		switch {
		case g.first.Again:
			does = "waits for another one"
		case g.first.Asks >= 0:
			does = "waits for a " + j.slots.List[g.first.Asks].Slot + " of " + j.slots.List[g.first.Asks].Name
		}
		if g.count == 1 {
			text += "; it " + does + j.at(r, g.first)
		} else {
			text += fmt.Sprintf("; each %s%s", does, j.at(r, g.first))
		}
		list = append(list, diagnosis.Reason{Text: text, Refs: g.refs})
	}
	if n := len(groups) - maxGroups; n > 0 {
		list = append(list, diagnosis.Reason{Text: derive.Count(n, "more group of holders does", "more groups of holders do") + " something else",
			Refs: []evidence.Ref{groups[maxGroups].first.G.Ref()}})
	}
	return list
}

func many(slot string) string {
	if strings.HasPrefix(slot, "place ") {
		return "places" + strings.TrimPrefix(slot, "place")
	}
	return slot + "s"
}

// bodies are goroutines of an http.Transport that wait for somebody to read or close a response's body.
const readLoop = "net/http.(*persistConn).readLoop"

// unowned is the evidence that slots were not given back.
func (j *judge) unowned(r *derive.Resource) []diagnosis.Reason {
	if r.Self {
		return []diagnosis.Reason{{Refs: j.refs(r.Rows, 3), Text: "those who wait would each give one back later, and the code of nobody else is seen to come to that"}}
	}
	list := []diagnosis.Reason{{Refs: []evidence.Ref{r.Ref}, Text: fmt.Sprintf("no live frame of a goroutine refers to what stands for %d of the slots",
		max(r.Lost(), 1))}}
	if r.Kind != "net/http.Transport" {
		return list
	}
	open, refs := 0, []evidence.Ref(nil)
	for _, g := range j.c.Groups() {
		if i, ok := derive.Has(j.c.Stack(g.Stack), readLoop); ok && i <= 2 && g.Reason == "select" { // directly above runtime.selectgo
			open += g.Count
			refs = append(refs, j.c.Goroutines().At(g.First).Ref())
		}
	}
	if open > 0 {
		list = append(list, diagnosis.Reason{Refs: refs[:min(len(refs), 3)],
			Text: derive.Count(open, "connection waits", "connections wait") + " for the body of a response to be read to its end or closed"})
	}
	return list
}

// locations are the lines at which the slots are kept, and then those at which they are asked for.
func (j *judge) locations(r *derive.Resource) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(l diagnosis.Location, most int) {
		known := slices.ContainsFunc(list, func(o diagnosis.Location) bool {
			return o.Frame.Function == l.Frame.Function && o.Frame.Line == l.Frame.Line
		})
		if !known && len(list) < most {
			list = append(list, l)
		}
	}
	for _, g := range j.grouped(r) {
		if at, ok := j.line(r, g.first); ok {
			add(diagnosis.Location{Role: diagnosis.RoleHolder, Frame: at, Ref: g.first.G.Ref()}, maxLines)
		}
	}
	held := len(list)
	for _, a := range r.Asking {
		s := j.c.Stack(j.c.Goroutines().StackOf(int(a.Row)))
		if a.Line >= 0 {
			add(diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: s.At(a.Line)}, held+maxLines)
		}
	}
	return list
}
