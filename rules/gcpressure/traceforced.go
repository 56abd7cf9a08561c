package gcpressure

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// forced is how often the program asked for a collection itself. Who calls runtime.GC waits until it ends, and before that for one that is in
// progress (runtime/mgc.go, gcWaitOnMark): the place in runtime.GC with the most waits has one for each call.
func (s *course) forced() (calls uint64, sites []int) {
	at := map[int]uint64{} // by line of runtime.GC
	for i := range s.line.Sites {
		site := &s.line.Sites[i]
		if site.Kind != evidence.SiteBlock || site.Reason != "wait until GC ends" {
			continue
		}
		line := 0
		if stack := s.p.Case.Stack(site.Stack); stack.Len() > 0 {
			if i, ok := derive.Has(stack, "runtime.GC"); ok {
				line = stack.At(i).Line
			}
		}
		at[line] += site.Count
		calls = max(calls, at[line])
		sites = append(sites, i)
	}
	return calls, sites
}

// caller is a line that asks for collections.
type caller struct {
	at     evidence.Frame
	rows   []int // of Sites
	count  uint64
	waitNS uint64
	peak   int
}

// callers are the lines of the program that ask for collections, the one that waited longest first. Package testing asks for one before each
// benchmark, and tests do so around what they measure: those are left out.
func (s *course) callers(sites []int) (list []caller, tests bool) {
	for _, i := range sites {
		site := &s.line.Sites[i]
		at, ok := s.asks(site.Stack)
		if !ok {
			tests = tests || strings.HasPrefix(at.Function, "testing.") || strings.HasSuffix(at.File, "_test.go")
			continue
		}
		k := 0
		for k < len(list) && (list[k].at.Function != at.Function || list[k].at.File != at.File || list[k].at.Line != at.Line) {
			k++
		}
		if k == len(list) {
			list = append(list, caller{at: at})
		}
		c := &list[k]
		c.rows = append(c.rows, i)
		c.count += site.Count
		c.waitNS += site.TotalNS
		c.peak = max(c.peak, site.Peak)
		for ; k > 0 && list[k].waitNS > list[k-1].waitNS; k-- {
			list[k], list[k-1] = list[k-1], list[k]
		}
	}
	return list, tests
}

// asks is the line that calls runtime.GC or debug.FreeOSMemory; ok says whether it is the program's own, or that of a dependency, and no test.
func (s *course) asks(id evidence.StackID) (at evidence.Frame, ok bool) {
	stack, frames := s.p.Case.Stack(id), s.t.Frames()
	for i := range stack.Len() {
		at = stack.At(i)
		if strings.HasPrefix(at.Function, "runtime.") || strings.HasPrefix(at.Function, "runtime/debug.") {
			continue
		}
		owner := frames.Owner(stack.FrameID(i))
		return at, at.Function != "" && (owner == derive.OwnerUser || owner == derive.OwnerDependency) && !strings.HasSuffix(at.File, "_test.go")
	}
	return evidence.Frame{}, false
}

// force judges a program most of whose collections are asked for: by what they take and not by the room that they leave.
func (s *course) force(forced uint64, sites []int) {
	list, tests := s.callers(sites)
	took, known := s.processors(), s.line.Procs > 0
	if !known {
		took = s.line.ShareOf(s.gc.WorkerNS + s.gc.AssistRun) // of one processor
	}
	const asked = "%d of %d collections were asked for by runtime.GC"
	n := min(forced, uint64(s.gc.Cycles))
	rate := s.line.Rate(n)
	switch {
	case len(list) == 0 && tests:
		s.p.Silent(asked+", in a test", n, s.gc.Cycles)
	case len(list) == 0:
		s.p.Silent(asked+", and not by the program's own code", n, s.gc.Cycles)
	case float64(n) < s.p.Limit("forced-cycles") || rate < s.p.Limit("forced-per-second"):
		s.p.Silent(asked+": %.1f a second, now and then", n, s.gc.Cycles, rate)
	case s.active() < s.p.Limit("mark-share") || took < s.p.Limit("forced-share"):
		s.p.Silent(asked+", and marking took %s of the processor time", n, s.gc.Cycles, derive.Percent(took))
	default:
		s.both.Hold(s.forcedFinding(list, took, n))
	}
}

func (s *course) forcedFinding(list []caller, took float64, asked uint64) diagnosis.Finding {
	top := &list[0]
	f := diagnosis.Finding{
		Subject: timelineRef[0],
		Claim: fmt.Sprintf("%s asks for collections, %.1f a second: one is in progress %s of the time, and marking takes %s of the processor time",
			derive.Where(top.at), s.line.Rate(asked), derive.Percent(s.active()), derive.Percent(took)),
		Because: []diagnosis.Reason{
			{Refs: timelineRef, Text: fmt.Sprintf("%d collections in %s, %d of them asked for by runtime.GC; one was in progress for %s of the time%s", s.gc.Cycles,
				derive.Lasting(s.line.SpanNS), asked, derive.Percent(s.active()), s.window())},
			{Refs: timelineRef, Text: fmt.Sprintf("mark workers ran for %s in all, and the program's goroutines for %s",
				derive.Lasting(int64(s.gc.WorkerNS)), derive.Lasting(int64(s.line.RunNS)))},
		},
		Against: []diagnosis.Reason{{Text: "whether memory has to be given back so often is known to who wrote it"}},
		Fix: "Take the call out: the collector starts by itself when the heap has grown, and gives memory back in the background. Where memory must stay " +
			"below a bound, set GOMEMLIMIT (debug.SetMemoryLimit) instead of calling runtime.GC or debug.FreeOSMemory per request or in a loop; where " +
			"something must be given back at once, close it instead of waiting for a finalizer.",
		Confidence: diagnosis.Likely, Severity: diagnosis.Warning,
		Settle: "the same load without the call",
		Next:   []string{"take the call out and trace again: collections become rarer, and the mark workers' time goes away"},
	}
	if s.line.Procs == 0 {
		f.Confidence = diagnosis.Possible
		f.Against = append(f.Against, diagnosis.Reason{Text: "GOMAXPROCS is not in this evidence: the share is that of one processor"})
	}
	for i := range list[:min(len(list), maxHelpers)] {
		c := &list[i]
		var refs []evidence.Ref
		for _, row := range c.rows {
			refs = append(refs, evidence.SiteRef(row))
		}
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleCaller, Frame: c.at, Ref: refs[0]})
		f.Victims = append(f.Victims, refs[0])
		f.Affected = max(f.Affected, c.peak)
		f.Because = append(f.Because, diagnosis.Reason{Refs: refs, Text: fmt.Sprintf(
			"who calls runtime.GC waits until the collection has ended: %s, %d waits, %s in all, at most %s at once", derive.Where(c.at), c.count,
			derive.Lasting(int64(c.waitNS)), derive.Count(c.peak, "goroutine", "goroutines"))})
	}
	return f
}
