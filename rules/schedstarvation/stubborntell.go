package schedstarvation

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// stubbornFinding tells of the first of the kins; runs are its long stretches, rows of Episodes.
func (s *course) stubbornFinding(list []derive.Kin, runs []int, w behind) diagnosis.Finding {
	k := list[0]
	at, refs := s.runner(k.Top)
	longest := s.line.Episodes[runs[0]]
	for _, i := range runs {
		refs = append(refs, evidence.EpisodeRef(i))
	}
	f := diagnosis.Finding{
		Subject: evidence.GoroutineRef(k.Top), Affected: max(1, int(w.ready+0.5), len(w.delayed), w.timed),
		Claim: fmt.Sprintf("%s %s a processor for up to %s at a time and cannot be preempted; %s", s.name(&k), verb(k.Peak, "keeps", "keep"),
			derive.Lasting(longest.NS), s.behindText(w)),
		Because: []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf(
			"%d stretches of %s and more without a break; the scheduler asks for the processor after 10 ms (runtime/proc.go, forcePreemptNS). "+
				"The line is where it could be interrupted at last: what kept it is what it does before", len(runs), derive.Lasting(int64(1e6*s.p.Limit("long-run-ms"))))}},
		Against:   []diagnosis.Reason{{Text: hostDoubt}},
		Locations: at, Confidence: diagnosis.Possible, Severity: diagnosis.Warning,
		Fix: "Let the loop be preempted: remove asyncpreemptoff=1 from GODEBUG, build with Go 1.14 or later, cut long work in assembly (bytes.Count, hashes, " +
			"compression over one huge block) or in functions without calls into pieces with runtime.Gosched or a function call between them.",
		Settle: "GODEBUG and the Go version of the process, and a trace on an idle host",
		Next:   []string{"look at GODEBUG (asyncpreemptoff) of the process, and at the loop for assembly"},
	}
	for i := range list[1:min(len(list), maxKins)] {
		more, own := s.runner(list[i+1].Top)
		if len(more) > 0 && (len(at) == 0 || more[0].Frame != at[0].Frame) {
			f.Locations = append(f.Locations, more...)
		}
		f.Because = append(f.Because, diagnosis.Reason{Refs: own, Text: fmt.Sprintf("so does %s, for up to %s at a time", s.name(&list[i+1]),
			derive.Lasting(int64(list[i+1].TopMaxRun)))})
	}
	s.behindReasons(&f, list, w)
	if len(w.pauses) == 0 && len(w.delayed) == 0 && w.ready < s.p.Limit("few-ready") && float64(w.timed) < s.p.Limit("many-timers") {
		f.Severity = diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Text: "for how long they meant to wait is not in a trace: a period as long as the stretches looks the same"})
	}
	return f
}

// behindText says in a few words who waits.
func (s *course) behindText(w behind) string {
	switch {
	case w.ready >= s.p.Limit("few-ready") || len(w.delayed) == 0 && len(w.timers) == 0:
		return fmt.Sprintf("%.1f goroutines are ready meanwhile", w.ready)
	case len(w.delayed) > 0:
		a := &s.line.Actors[w.delayed[0]]
		return fmt.Sprintf("who becomes ready waits for it: %s, for %s on average (goroutine %d)", derive.Count(len(w.delayed), "goroutine", "goroutines"),
			derive.Lasting(int64(a.ReadyNS/max(a.Runs, 1))), a.Goroutine)
	}
	return fmt.Sprintf("the timers of others are looked at only in between: those of %s", derive.Count(w.timed, "goroutine", "goroutines"))
}

// behindReasons adds who waits.
func (s *course) behindReasons(f *diagnosis.Finding, list []derive.Kin, w behind) {
	if len(w.pauses) > 0 {
		var pauses []evidence.Ref
		most := int64(0)
		for _, i := range w.pauses {
			pauses = append(pauses, evidence.EpisodeRef(i))
			most = max(most, s.line.Episodes[i].NS)
		}
		f.Because = append(f.Because, diagnosis.Reason{Refs: pauses, Text: fmt.Sprintf(
			"the world was to stop while it ran, and everybody waited for it: %s, up to %s (%s)",
			derive.Count(len(w.pauses), "pause", "pauses"), derive.Lasting(most), s.line.Episodes[w.pauses[0]].What)})
		f.Confidence = diagnosis.Likely
	}
	if w.ready >= s.p.Limit("few-ready") || len(w.delayed) > 0 {
		others, count := s.victims(list)
		waiters, victims := s.waitsLine(others)
		f.Locations, f.Victims, f.Affected = append(f.Locations, waiters...), victims, max(count, 1)
		if len(others) > 0 {
			f.Because = append(f.Because, diagnosis.Reason{Refs: append([]evidence.Ref{timelineRef}, victims...), Text: "ready meanwhile: " + s.kinText(others)})
		}
		f.Because = append(f.Because, s.latency())
	}
	for _, i := range w.delayed[:min(len(w.delayed), maxKins)] {
		a := &s.line.Actors[i]
		f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{evidence.GoroutineRef(a.Goroutine)}, Text: fmt.Sprintf(
			"goroutine %d became ready %d times and waited %s for a processor on average", a.Goroutine, a.Runs, derive.Lasting(int64(a.ReadyNS/max(a.Runs, 1))))})
	}
	s.lateTimers(f, w.timers)
}
