package deadlocklock

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// circleFix is the fix of locks whose holders wait for each other.
const circleFix = "Take the locks in one order everywhere: by an id, by an address, or by a rule that is written beside the fields. " +
	"Where one function needs two locks whose order its caller decides, sort them first, or copy what is needed under the first " +
	"lock, release it, and only then take the second."

// selfFix is the fix of a goroutine that waits for what it holds.
const selfFix = "A sync.Mutex and the write side of a sync.RWMutex cannot be taken twice by one goroutine, and a second RLock waits behind " +
	"a pending writer. Split the method: one that takes the lock, and one without it for callers that have it already."

// upgradeFix is the fix of a reader that wants to write.
const upgradeFix = "A read lock cannot be turned into a write lock: release it first, take the write lock, and look again whether the change is " +
	"still needed, because another goroutine may have come in between."

// onceFix is the fix of a sync.Once that runs into itself.
const onceFix = "The function of a sync.Once must not reach the same Once again. Let it call what it needs without going through the Once, or " +
	"give the parts that need each other a Once of their own."

// Bounds of what a finding lists.
const (
	sampleVictims = 100 // goroutines named as victims; how many there are stands beside them
	ringNamed     = 3   // goroutines of a circle that the claim names; the others stand in the evidence
	linesNamed    = 16  // lines of a circle that are listed as locations
)

// teller makes the findings of one run.
type teller struct {
	p        *diagnosis.Pass
	g        *derive.WaitGraph
	index    map[string]int // lines of a circle -> index in findings
	findings []diagnosis.Finding
}

// ring reports a circle of locks, or adds it to the finding of another circle at the same lines.
func (t *teller) ring(k *derive.Knot) {
	key := t.g.RingKey(k)
	if at, ok := t.index[key]; ok {
		t.more(&t.findings[at], k)
		return
	}
	t.index[key] = len(t.findings)
	f := diagnosis.Finding{
		Subject:    evidence.GoroutineRef(t.g.ID(k.Ring[0].Row)),
		Victims:    t.g.Refs(k.Victims, sampleVictims),
		Affected:   len(k.Victims),
		Claim:      t.claim(k),
		Because:    t.g.ProofReason(k),
		Against:    t.against(k),
		Locations:  t.lines(k),
		Confidence: t.confidence(k),
		Severity:   diagnosis.Critical,
		Fix:        t.fix(k),
		Next:       []string{"read, for each goroutine of the circle, which locks its stack has taken before the one it waits for"},
	}
	for _, l := range k.Ring {
		f.Because = append(f.Because, t.g.LinkReason(l))
	}
	if !k.Proved && t.sealed(k) {
		f.Because = append(f.Because, diagnosis.Reason{Refs: t.g.Refs(k.Members, 3),
			Text: "nobody else can unlock it: the mutex of a sync.Once is its own, and only the Do that has locked it unlocks it, when its function returns"})
	}
	f.Because = append(f.Because, t.between(k)...)
	f.Because = append(f.Because, t.g.Behind(k)...)
	if f.Confidence == diagnosis.Possible {
		f.Severity = diagnosis.Warning
	}
	if f.Confidence < diagnosis.Proved {
		f.Settle = "a second core some seconds later shows whether the same goroutines wait at the same lines: a circle never opens by itself"
	}
	t.findings = append(t.findings, f)
}

// confidence: that none of them wakes is proved by the memory of the process. That they hold the locks is inferred, and where it is only
// one of several readings the circle is no more than likely.
func (t *teller) confidence(k *derive.Knot) diagnosis.Confidence {
	switch {
	case k.Proved && k.Grip < derive.GripWeak, t.sealed(k):
		return diagnosis.Proved
	case k.Proved, k.Grip < derive.GripWeak:
		return diagnosis.Likely
	}
	return diagnosis.Possible
}

// sealed reports whether a circle is made of locks that only their holders can unlock: those of sync.Once (sync/once.go, doSlow, which
// unlocks in a deferred call; Go 1.21 to 1.26), with that call pending. Any other lock might be unlocked by somebody else.
func (t *teller) sealed(k *derive.Knot) bool {
	return k.Grip == derive.GripPending && !slices.ContainsFunc(k.Ring, func(l derive.KnotLink) bool { return t.form(l) != formOnce })
}

// more adds a circle to the finding of another one at the same lines.
func (t *teller) more(f *diagnosis.Finding, k *derive.Knot) {
	const listed = 16 // reasons; a thousand circles at the same lines tell nothing more
	f.Affected += len(k.Victims)
	f.Victims = append(f.Victims, t.g.Refs(k.Victims, sampleVictims-min(len(f.Victims), sampleVictims))...)
	if len(f.Because) < listed {
		l := k.Ring[0]
		f.Because = append(f.Because, diagnosis.Reason{Refs: t.g.Refs(k.Members, 3),
			Text: fmt.Sprintf("goroutine %d is in another circle at the same lines; it %s", t.g.ID(l.Row), t.g.WaitsFor(l))})
	}
}

func (t *teller) claim(k *derive.Knot) string {
	if len(k.Ring) == 1 {
		return t.selfClaim(k)
	}
	var who []string
	for i, l := range k.Ring[:min(len(k.Ring), ringNamed)] {
		before := k.Ring[(i+len(k.Ring)-1)%len(k.Ring)].Object
		who = append(who, fmt.Sprintf("goroutine %d holds %s and %s%s", t.g.ID(l.Row), t.g.Name(before), t.g.WaitsFor(l), t.g.At(l.Row)))
	}
	text := fmt.Sprintf("%d goroutines wait for locks in a circle: %s", len(k.Victims), strings.Join(who, ", "))
	if n := len(k.Ring) - ringNamed; n > 0 {
		text += fmt.Sprintf(", and %d more in the same way", n)
	}
	return text
}

// selfClaim is the claim of a goroutine that waits for itself.
func (t *teller) selfClaim(k *derive.Knot) string {
	l := k.Ring[0]
	who, name, at := fmt.Sprintf("goroutine %d", t.g.ID(l.Row)), t.g.Name(l.Object), t.g.At(l.Row)
	text := fmt.Sprintf("%s waits for %s, which it holds itself%s", who, name, at)
	switch t.form(l) {
	case formUpgrade:
		text = fmt.Sprintf("%s asks for the write lock of %s while it holds the read lock%s", who, name, at)
	case formRead:
		text = fmt.Sprintf("%s read-locks %s a second time%s, behind a writer that waits for its first read lock", who, name, at)
	}
	if n := len(k.Victims) - 1; n > 0 {
		text += "; " + derive.Count(n, "more goroutine waits", "more goroutines wait") + " behind it"
	}
	return text
}

// form is how a goroutine waits for itself.
type form uint8

const (
	formLock    form = iota // it locks what it has locked
	formUpgrade             // it reads and wants to write
	formRead                // it reads and wants to read
	formOnce                // the function of a sync.Once reaches the same Once
)

func (t *teller) form(l derive.KnotLink) form {
	reader := l.Ref.Kind == evidence.RefHold && t.p.Case.Holds[l.Ref.ID].Reader
	read := strings.HasSuffix(t.p.Case.Goroutines().At(int(l.Row)).Reason, "RWMutex.RLock")
	switch {
	case reader && read:
		return formRead
	case reader:
		return formUpgrade
	case strings.HasPrefix(t.g.Name(l.Object), "the lock of a sync.Once"):
		return formOnce
	}
	return formLock
}

func (t *teller) fix(k *derive.Knot) string {
	if len(k.Ring) > 1 {
		return circleFix
	}
	switch t.form(k.Ring[0]) {
	case formUpgrade:
		return upgradeFix
	case formOnce:
		return onceFix
	}
	return selfFix
}

// between names the writer that waits between two read locks.
func (t *teller) between(k *derive.Knot) []diagnosis.Reason {
	l := k.Ring[0]
	if len(k.Ring) > 1 || t.form(l) != formRead {
		return nil
	}
	for _, row := range k.Victims {
		g := t.p.Case.Goroutines().At(int(row))
		if g.WaitsOn == l.Object && !strings.HasSuffix(g.Reason, "RLock") {
			return []diagnosis.Reason{{Text: fmt.Sprintf("goroutine %d wants to write%s: it waits for the readers inside, and new readers wait for it", g.ID, t.g.At(row)),
				Refs: []evidence.Ref{g.Ref(), evidence.SyncRef(l.Object)}}}
		}
	}
	return nil
}

func (t *teller) against(k *derive.Knot) []diagnosis.Reason {
	var list []diagnosis.Reason
	say := func(refs []evidence.Ref, text string) { list = append(list, diagnosis.Reason{Text: text, Refs: refs}) }
	if k.Grip == derive.GripWeak {
		say(t.g.Refs(k.Members, 3), "of several goroutines that may hold a lock, all of which are stuck, one that closes the circle was assumed")
	}
	sure := t.confidence(k)
	if !k.Proved && sure < diagnosis.Proved {
		say(t.g.Refs(k.Members, 3), t.g.Unproved(k))
	}
	if sure < diagnosis.Proved && t.g.Oldest(k.Victims) == 0 {
		say(nil, "the evidence is one moment, without waiting times, and a lock does not record its owner")
	}
	return list
}

// lines are the second Lock of each goroutine of the circle, then where they took the first, then who waits in between.
func (t *teller) lines(k *derive.Knot) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(l diagnosis.Location) {
		if l.Frame.Function != "" && len(list) < linesNamed && !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	for _, l := range k.Ring {
		if at, ok := t.g.Line(l.Row); ok {
			add(diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: evidence.GoroutineRef(t.g.ID(l.Row))})
		}
	}
	for _, l := range k.Ring {
		if l.Ref.Kind == evidence.RefHold {
			h := t.p.Case.Holds[l.Ref.ID]
			add(diagnosis.Location{Role: diagnosis.RoleLock, Frame: t.p.Case.Frame(h.Site), Ref: evidence.GoroutineRef(h.Goroutine)})
		}
	}
	for _, r := range t.between(k) {
		if row, ok := t.p.Case.Goroutines().Row(int64(r.Refs[0].ID)); ok {
			at, _ := t.g.Line(uint32(row))
			add(diagnosis.Location{Role: diagnosis.RoleWriter, Frame: at, Ref: r.Refs[0]})
		}
	}
	return list
}
