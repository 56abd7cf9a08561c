package goroutineleak

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// suspects looks for crowds that are not proved to be lost and that look as if they were: hundreds on one line for minutes, each
// with a channel of its own.
func (l *leak) suspects() {
	crowds := map[part]bool{}
	for i := range l.origins.List {
		o := &l.origins.List[i]
		if float64(o.Count) < l.p.Limit("suspect-goroutines") {
			break // the list is sorted
		}
		for _, g := range o.Groups {
			kind, old := reasonKinds[g.Reason], float64(g.Oldest) >= l.p.Limit("suspect-seconds")
			if (kind == "send" || old && (kind == "receive" || kind == "select")) && !g.AnyFlag.Has(evidence.FlagSystem) {
				crowds[part{g.Stack, o.Created}] = true
			}
		}
	}
	if len(crowds) == 0 {
		return
	}
	told := 0
	for _, s := range l.crowds(crowds) {
		if float64(s.count) >= l.p.Limit("suspect-goroutines") && told < maxFindings && l.suspect(s) {
			l.both.Report(l.possible(s))
			told++
		}
	}
}

// crowds collects the goroutines of these parts that wait and may wake.
func (l *leak) crowds(parts map[part]bool) []*site {
	c := collector{l: l, index: map[siteKey]*site{}, blocked: map[evidence.StackID]evidence.Frame{}}
	rows := l.c.Goroutines()
	for i := range rows.Len() {
		if !parts[part{rows.StackOf(i), rows.Created(i)}] || rows.Wake(i) == evidence.WakeNever {
			continue
		}
		if g := rows.At(i); g.State == evidence.StateWaiting && reasonKinds[g.Reason] != "" {
			c.add(i)
		}
	}
	return c.sorted()
}

// suspect decides whether a crowd is one. A sender does not idle: it has something that nobody takes; how long it has had it decides, or
// else that whoever started it has gone on to something else. Who receives may be a worker, a subscriber, or one half of a connection: it is
// suspected only when whoever started it has ended and it waits for a channel of its own, which workers of a pool do not.
func (l *leak) suspect(s *site) bool {
	addresses := l.c.Kinds().Has(evidence.KindSyncs)
	own := 10*len(s.objects) >= 9*min(s.count, maxObjects)
	kind := reasonKinds[s.first.Reason]
	switch {
	case kind == "select" && (addresses || s.parents.looked == 0): // its channels are many, and one may be a timer's or a context's
		return false
	case addresses && !own:
		return false
	case !addresses && l.explodes(s):
		return false
	case kind == "send":
		return l.old(s) || addresses && s.parents.mostly(s.parents.left)
	}
	return s.parents.mostly(s.parents.gone) && (addresses || s.parents.distinct())
}

// old reports whether the crowd has waited longer than anything that is merely slow.
func (l *leak) old(s *site) bool { return float64(s.oldest) >= l.p.Limit("suspect-seconds") }

// explodes reports whether goroutine-explosion judges the crowd.
func (l *leak) explodes(s *site) bool {
	return float64(s.count) >= l.p.Limit("explosion-goroutines") && 2*s.count >= l.origins.Users
}

// possible tells a crowd.
func (l *leak) possible(s *site) diagnosis.Finding {
	k := l.causeOf(s.first)
	f := diagnosis.Finding{
		Subject: s.subject(), Victims: s.sample, Affected: s.count,
		Claim: fmt.Sprintf("%d goroutines, started in %s, are blocked on one line%s and may be leaked: each %s",
			s.count, nameOf(l.creator(s)), since(s), k.waits+l.thing(s, k)),
		Locations:  l.locations(s),
		Confidence: diagnosis.Possible, Severity: diagnosis.Warning,
		Fix:    k.fix,
		Settle: "a core of Go 1.22 or later, in which it can be proved; or a second dump, in which the same goroutines wait on",
		Next:   []string{"compare the number of goroutines in two dumps or cores, some minutes apart"},
	}
	if !l.old(s) {
		f.Severity = diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Text: "how long they have waited is not known, or not long: somebody may be about to receive from all of them"})
	}
	if reasonKinds[s.first.Reason] != "send" {
		f.Severity = diagnosis.Info // subscribers look the same
		f.Against = append(f.Against, diagnosis.Reason{Text: "goroutines that wait for something rare, one for each subscriber, look the same"})
	}
	add := func(refs []evidence.Ref, format string, args ...any) {
		f.Because = append(f.Because, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
	}
	l.object(s, cause{waits: k.waits, thing: k.thing, leads: k.leads}, add)
	l.start(s, add)
	l.doubts(s, &f)
	return f
}

func since(s *site) string {
	if s.oldest == 0 {
		return ""
	}
	return fmt.Sprintf(", for up to %d s,", s.oldest)
}

// doubts says why it is not proved.
func (l *leak) doubts(s *site, f *diagnosis.Finding) {
	proof := []evidence.Ref{{Kind: evidence.RefProof}}
	against := func(refs []evidence.Ref, text string) {
		f.Against = append(f.Against, diagnosis.Reason{Text: text, Refs: refs})
	}
	switch p := l.c.Proof; {
	case p == nil:
		against(nil, "whether anything still refers to what they wait for is not in this evidence")
	case !p.Done:
		against(proof, "whether anything still refers to what they wait for could not be proved: "+p.Refused)
	default:
		against(proof, "something that can still run reaches what they wait for, and could wake them")
		f.Settle = fmt.Sprintf("what keeps them reachable: `postmortem why goroutine:%d FILE` names it", s.first.ID)
		f.Next = append(f.Next, fmt.Sprintf("postmortem why goroutine:%d FILE", s.first.ID))
	}
	if !l.c.Kinds().Has(evidence.KindSyncs) {
		against(nil, "whether they wait for one channel or each for its own is not in this evidence")
	}
}
