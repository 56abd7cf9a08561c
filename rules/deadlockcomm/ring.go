package deadlockcomm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of what a finding lists.
const (
	sampleVictims = 100 // goroutines named as victims; how many there are stands beside them
	ringNamed     = 3   // goroutines of a circle that the claim names; the others stand in the evidence
	linesNamed    = 16  // lines that are listed as locations
	reasonsNamed  = 16  // reasons; a thousand circles at the same lines tell nothing more
)

// teller makes the findings of one run.
type teller struct {
	p        *diagnosis.Pass
	c        *evidence.Case
	g        *derive.WaitGraph
	dead     map[uint32]*derive.Resource // see derive.Slots.DeadPools
	index    map[string]int              // what a finding is of -> index in findings
	findings []diagnosis.Finding
}

// judge reports a knot that is this rule's.
func (t *teller) judge(k *derive.Knot) {
	switch k.Kind {
	case derive.KnotMixed:
		t.ring(k)
	case derive.KnotSlots:
		if t.inGroup(k) {
			t.ring(k)
		}
	case derive.KnotOrphan, derive.KnotForever:
		if !t.ofLock(k) {
			t.orphans(k)
		}
	}
}

// inGroup reports whether a slot is asked for in the Go of an errgroup with a limit: a task that starts tasks of its own group
// (golang.org/x/sync/errgroup, errgroup.go, since v0.1.0).
func (t *teller) inGroup(k *derive.Knot) bool {
	s := t.c.Stack(t.c.Goroutines().StackOf(int(k.Ring[0].Row)))
	for i := range min(s.Len(), 8) { // a wait stands at the end of the stack
		if strings.HasSuffix(s.At(i).Function, "sync/errgroup.(*Group).Go") {
			return true
		}
	}
	return false
}

// ofLock reports whether orphans wait for a lock: deadlock-lock reports them.
func (t *teller) ofLock(k *derive.Knot) bool {
	return slices.ContainsFunc(k.Objects, func(addr uint64) bool {
		s, _ := t.g.Object(addr)
		return s.Kind == evidence.SyncMutex || s.Kind == evidence.SyncRWMutex
	})
}

// ring reports a circle, or adds it to the finding of another circle at the same lines.
func (t *teller) ring(k *derive.Knot) {
	links := t.inOrder(k)
	if !t.pressed(k) {
		t.p.Silent("goroutine %d and others wait for each other to begin: they may just have nothing to do", t.g.ID(links[0].Row))
		return
	}
	if k.Idle && (k.Grip == derive.GripWeak || len(k.Loose) > 0) {
		t.p.Silent("goroutine %d and others may just have nothing to do: others that they wait for can still run", t.g.ID(links[0].Row))
		return
	}
	key := t.g.RingKey(k)
	if at, ok := t.index[key]; ok {
		t.more(&t.findings[at], k)
		return
	}
	t.index[key] = len(t.findings)
	f := diagnosis.Finding{
		Subject:    evidence.GoroutineRef(t.g.ID(links[0].Row)),
		Victims:    t.g.Refs(k.Victims, sampleVictims),
		Affected:   len(k.Victims),
		Claim:      t.ringClaim(k, links),
		Because:    t.g.ProofReason(k),
		Against:    t.ringAgainst(k),
		Locations:  t.ringLines(links),
		Confidence: confidence(k),
		Fix:        t.ringFix(links),
		Next:       []string{"postmortem graph draws the circle; read at each of its lines what the goroutine has not yet done for the next one"},
	}
	f.Severity = severity(k, f.Confidence)
	for _, l := range links[:min(len(links), reasonsNamed)] {
		f.Because = append(f.Because, t.g.LinkReason(l))
	}
	f.Because = append(f.Because, t.g.Behind(k)...)
	if f.Confidence < diagnosis.Proved {
		f.Settle = "a second core some seconds later shows whether the same goroutines wait at the same lines"
	}
	t.findings = append(t.findings, f)
}

// pressed reports whether somebody in a circle has something to hand over or to finish. Where all merely wait to receive, they may be
// idle, unless it is proved that nobody wakes them, or main is one of them: it seldom waits for work.
func (t *teller) pressed(k *derive.Knot) bool {
	return k.Proved || k.Wanted.By == derive.WantedByMain || slices.ContainsFunc(k.Ring, func(l derive.KnotLink) bool {
		s, _ := t.g.Object(l.Object)
		return s.Kind != evidence.SyncCond && (s.Kind != evidence.SyncChannel || l.Sends)
	})
}

// confidence of a circle: proved when nobody in it can ever wake and no step is one of several readings.
func confidence(k *derive.Knot) diagnosis.Confidence {
	switch {
	case k.Proved && k.Grip < derive.GripWeak:
		return diagnosis.Proved
	case k.Proved, k.Sure() && len(k.Loose) == 0:
		return diagnosis.Likely
	}
	return diagnosis.Possible
}

// severity: where somebody may just be idle, a circle is a remark.
func severity(k *derive.Knot, c diagnosis.Confidence) diagnosis.Severity {
	switch {
	case k.Idle:
		return diagnosis.Info
	case c == diagnosis.Possible:
		return diagnosis.Warning
	}
	return diagnosis.Critical
}

// inOrder turns the ring so that it begins with the one whose wait explains most: a lost signal before a send or a lock, these before a
// receive; and who waits for a wait group waits for the others.
func (t *teller) inOrder(k *derive.Knot) []derive.KnotLink {
	best := 0
	for i := range k.Ring {
		if t.explains(k.Ring[i]) < t.explains(k.Ring[best]) {
			best = i
		}
	}
	return append(slices.Clone(k.Ring[best:]), k.Ring[:best]...)
}

// explains ranks a step of a ring, the one that explains most first.
func (t *teller) explains(l derive.KnotLink) int {
	switch s, _ := t.g.Object(l.Object); {
	case s.Kind == evidence.SyncCond:
		return 0
	case s.Kind == evidence.SyncWaitGroup:
		return 3
	case s.Kind == evidence.SyncChannel && !l.Sends:
		return 2
	}
	return 1
}

// more adds a circle to the finding of another one at the same lines.
func (t *teller) more(f *diagnosis.Finding, k *derive.Knot) {
	f.Affected += len(k.Victims)
	f.Victims = append(f.Victims, t.g.Refs(k.Victims, sampleVictims-min(len(f.Victims), sampleVictims))...)
	if len(f.Because) < reasonsNamed {
		f.Because = append(f.Because, diagnosis.Reason{Refs: t.g.Refs(k.Members, 3),
			Text: fmt.Sprintf("goroutine %d is in another circle at the same lines", t.g.ID(k.Ring[0].Row))})
	}
}

func (t *teller) ringClaim(k *derive.Knot, links []derive.KnotLink) string {
	if len(links) == 1 {
		l := links[0]
		text := fmt.Sprintf("goroutine %d %s%s, and it is itself who would have to end that wait", t.g.ID(l.Row), t.g.WaitsFor(l), t.g.At(l.Row))
		if n := len(k.Members) - 1; n > 0 {
			text += "; the same is true of " + derive.Count(n, "more goroutine", "more goroutines")
		}
		if n := len(k.Victims) - len(k.Members); n > 0 {
			text += "; " + derive.Count(n, "other waits", "others wait") + " behind them"
		}
		return text
	}
	var who []string
	for _, l := range links[:min(len(links), ringNamed)] {
		who = append(who, fmt.Sprintf("goroutine %d %s%s, where goroutine %d stands in the way", t.g.ID(l.Row), t.g.WaitsFor(l), t.g.At(l.Row), t.g.ID(l.Next)))
	}
	text := fmt.Sprintf("%d goroutines wait in a circle: %s", len(k.Victims), strings.Join(who, "; "))
	if n := len(links) - ringNamed; n > 0 {
		text += fmt.Sprintf("; and so on over %d more", n)
	}
	return text
}

func (t *teller) ringAgainst(k *derive.Knot) []diagnosis.Reason {
	var list []diagnosis.Reason
	say := func(refs []evidence.Ref, text string) { list = append(list, diagnosis.Reason{Text: text, Refs: refs}) }
	if k.Grip == derive.GripWeak {
		say(t.g.Refs(k.Members, 3), "one step of the circle rests on a goroutine that refers to the object, or on one of several candidates")
	}
	if len(k.Loose) > 0 {
		var refs []evidence.Ref
		for _, id := range k.Loose {
			refs = append(refs, evidence.GoroutineRef(id))
		}
		say(refs, derive.Count(len(k.Loose), "goroutine that can run refers", "goroutines that can run refer")+
			" to what the circle waits for; what they will do with it is not known")
	}
	if k.Idle {
		say(t.g.Refs(k.Members, 3), "somebody in the circle waits to receive or for a signal, which is also what a goroutine without work does")
	}
	if !k.Proved {
		say(t.g.Refs(k.Members, 3), t.g.Unproved(k))
	}
	return list
}

// ringLines are the blocked statements of the circle, then where its locks were taken.
func (t *teller) ringLines(links []derive.KnotLink) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(l diagnosis.Location) {
		if l.Frame.Function != "" && len(list) < linesNamed && !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	for _, l := range links {
		if at, ok := t.g.Line(l.Row); ok {
			add(diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: evidence.GoroutineRef(t.g.ID(l.Row))})
		}
	}
	for _, l := range links {
		if l.Ref.Kind == evidence.RefHold {
			h := t.c.Holds[l.Ref.ID]
			add(diagnosis.Location{Role: diagnosis.RoleLock, Frame: t.c.Frame(h.Site), Ref: evidence.GoroutineRef(h.Goroutine)})
		}
	}
	return list
}
