package lockhog

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

// ring is the part of a chain that goes round: the links from the lock for which the last holder waits.
func ring(chain []derive.Link) []derive.Link {
	if len(chain) == 0 {
		return nil
	}
	back := chain[len(chain)-1].Holder.G.WaitsOn
	at := slices.IndexFunc(chain, func(k derive.Link) bool { return k.Addr == back })
	return chain[max(at, 0):]
}

// circle reports goroutines that wait for each other's locks, or adds a queue to the finding of the same circle. With the
// holders inferred it is one reading of the evidence, and the only one that explains why none of them moves.
func (h *hog) circle(lock *derive.Lock, q derive.Queue) {
	links := ring(q.Chain)
	if len(links) == 0 {
		return
	}
	first := slices.MinFunc(links, func(a, b derive.Link) int { return int(a.Holder.G.ID - b.Holder.G.ID) })
	if at, ok := h.blamed[first.Holder.G.Ref()]; ok {
		f := &h.findings[at]
		f.Because = append(f.Because, h.queued(lock))
		if !holds(links, lock.Addr) { // those of the circle's own locks are counted
			f.Affected = f.VictimCount() + lock.Total
		}
		f.Victims = append(f.Victims, h.locks.Victims(lock, sampleVictims-min(len(f.Victims), sampleVictims))...)
		f.Claim = h.circleClaim(f.Affected, links)
		return
	}
	h.blamed[first.Holder.G.Ref()] = len(h.findings)
	h.findings = append(h.findings, h.circleFinding(lock, q, links))
}

func (h *hog) circleFinding(lock *derive.Lock, q derive.Queue, links []derive.Link) diagnosis.Finding {
	stuck := 0
	for _, k := range links {
		stuck += len(h.c.Waiters(k.Addr))
	}
	if !holds(links, lock.Addr) {
		stuck += lock.Total
	}
	f := diagnosis.Finding{
		Subject:    links[0].Holder.G.Ref(),
		Victims:    h.locks.Victims(lock, sampleVictims),
		Affected:   stuck,
		Claim:      h.circleClaim(stuck, links),
		Because:    []diagnosis.Reason{h.queued(lock)},
		Locations:  h.circleLines(links),
		Confidence: diagnosis.Possible,
		Severity:   diagnosis.Warning,
		Fix:        circleFix,
		Settle:     "a second core some seconds later shows whether the same goroutines wait at the same lines: a circle never opens by itself",
		Next:       []string{"read, for each goroutine of the circle, which locks its stack has taken before the one it waits for"},
	}
	if len(links) == 1 {
		f.Fix = selfFix
	}
	for i, link := range links {
		r := h.held(link, q)
		r.Text += "; it waits for " + links[(i+1)%len(links)].Name
		f.Because = append(f.Because, r)
	}
	if sure(links) {
		f.Severity = diagnosis.Critical
		return f
	}
	f.Against = []diagnosis.Reason{{Text: "of several goroutines that may hold a lock, one that closes the circle was assumed",
		Refs: []evidence.Ref{links[0].Holder.G.Ref()}}}
	return f
}

// holds reports whether a lock is one of the circle's.
func holds(links []derive.Link, addr uint64) bool {
	return slices.ContainsFunc(links, func(k derive.Link) bool { return k.Addr == addr })
}

// sure reports whether every holder is the only one that can have the lock.
func sure(links []derive.Link) bool {
	return !slices.ContainsFunc(links, func(k derive.Link) bool {
		return k.Holder.Grade != evidence.HoldPendingUnlock && k.Holder.Grade != evidence.HoldUnique
	})
}

// circleNamed is how many goroutines of a circle the claim names; the others stand in the evidence.
const circleNamed = 3

func (h *hog) circleClaim(waiters int, links []derive.Link) string {
	if len(links) == 1 {
		k := links[0]
		return fmt.Sprintf("%d goroutines wait for %s, and goroutine %d, which holds it, waits for it as well%s", waiters, k.Name,
			k.Holder.G.ID, h.waitLine(k))
	}
	var who []string
	for i, k := range links[:min(len(links), circleNamed)] {
		who = append(who, fmt.Sprintf("goroutine %d holds %s and waits for %s%s", k.Holder.G.ID, k.Name,
			links[(i+1)%len(links)].Name, h.waitLine(k)))
	}
	text := fmt.Sprintf("%d goroutines wait for locks in a circle: %s", waiters, strings.Join(who, ", "))
	if n := len(links) - circleNamed; n > 0 {
		text += fmt.Sprintf(", and %d more in the same way", n)
	}
	return text
}

func (h *hog) waitLine(k derive.Link) string {
	if at, ok := h.line(k.Holder); ok {
		return " in " + derive.Where(at)
	}
	return ""
}

// circleLines are the second Lock of each goroutine of the circle, then where they took the first.
func (h *hog) circleLines(links []derive.Link) []diagnosis.Location {
	var list []diagnosis.Location
	for _, k := range links {
		if at, ok := h.line(k.Holder); ok {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: k.Holder.G.Ref()})
		}
	}
	for _, k := range links {
		if site := h.c.Frame(k.Holder.Site); site.Function != "" {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleLock, Frame: site, Ref: k.Holder.G.Ref()})
		}
	}
	return list
}
