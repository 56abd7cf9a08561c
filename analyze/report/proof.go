package report

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// proof copies what the search for goroutines that can never wake gave.
func (m *maker) proof() {
	p := m.c.Proof
	if p == nil {
		return
	}
	m.doc.Proof = &Proof{Done: p.Done, Refused: Clip(p.Refused, maxText), Candidates: p.Candidates, Never: p.Never, Objects: p.Objects, Bytes: p.Bytes,
		Precise: p.Precise, Doubtful: p.Doubtful}
	m.doc.Coverage.Reachability = proofSentence(p)
}

// proofSentence says how far the search came, without a final stop.
func proofSentence(p *evidence.Proof) string {
	if !p.Done {
		why := p.Refused
		if why == "" {
			why = "the search was not finished"
		}
		return "no verdicts: " + Clip(why, maxSentence)
	}
	s := fmt.Sprintf("%s judged, %s can never wake", Plural(p.Candidates, "goroutine"), Count(p.Never))
	if p.Candidates == 0 {
		s = "no goroutine waits for the program alone"
	}
	if p.Objects > 0 {
		s += fmt.Sprintf("; %s of %s reached", Plural(int(p.Objects), "object"), Size(p.Bytes))
	}
	return s
}

func (m *maker) describePoolAt(addr uint64) string {
	for _, p := range m.c.Pools {
		if p.Addr == addr {
			return describePool(p)
		}
	}
	return ""
}

func describePool(p evidence.Pool) string {
	parts := []string{p.Kind}
	if p.Where != "" {
		parts = append(parts, p.Where)
	}
	used := "slots in use unknown"
	if p.Used >= 0 {
		used = fmt.Sprintf("%s in use", Plural(int(p.Used), "slot"))
	}
	if p.Limit > 0 {
		used += " of " + Count(int(p.Limit))
	}
	parts = append(parts, used)
	if p.Waiting > 0 {
		parts = append(parts, "counts "+Plural(p.Waiting, "waiter"))
	}
	return strings.Join(parts, ", ")
}

func describePoolUse(u evidence.PoolUse) string {
	if u.Role == evidence.PoolWaits {
		return fmt.Sprintf("goroutine %d waits for %s of pool:0x%x: %s", u.Goroutine, Plural(int(u.Slots), "slot"), u.Pool, u.Why)
	}
	return fmt.Sprintf("goroutine %d holds %s of pool:0x%x (%s): %s", u.Goroutine, Plural(int(u.Slots), "slot"), u.Pool, u.Grade, u.Why)
}

// describeHeapUse prints figures only.
func describeHeapUse(h *evidence.HeapUse) string {
	s := fmt.Sprintf("%s of %s on the heap", Plural(int(h.Objects), "object"), Size(h.Bytes))
	switch {
	case h.Refused != "":
		s += "; what of it is reachable is not known: " + h.Refused
	case h.LiveObjects > 0:
		s += fmt.Sprintf(", %s of %s reachable", Plural(int(h.LiveObjects), "object"), Size(h.LiveBytes))
	}
	return s
}
