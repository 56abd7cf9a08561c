package gcpressure

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// course is one run of the rule over a Timeline.
type course struct {
	p    *diagnosis.Pass
	both *derive.Beside
	t    *derive.Timeline
	line *evidence.Timeline
	gc   *evidence.GCWork
}

var timelineRef = []evidence.Ref{{Kind: evidence.RefTimeline}}

// active is the share of the time in which a collection was in progress.
func (s *course) active() float64 { return s.line.ShareOf(s.gc.ActiveNS) }

// assist is the share of their running time that goroutines helped the collector.
func (s *course) assist() float64 {
	return float64(s.gc.AssistRun) / float64(max(s.line.RunNS, 1))
}

// processors is the share of the processor time that marking took, helpers included; 0 when the number of processors is not known.
func (s *course) processors() float64 {
	if s.line.Procs == 0 {
		return 0
	}
	return s.line.ShareOf(s.gc.WorkerNS+s.gc.AssistRun) / float64(s.line.Procs)
}

// room is the goal that a collection sets divided by what it left alive, on average over the bytes; 0 when it is not known.
func (s *course) room() float64 {
	if s.gc.Marked == 0 {
		return 0
	}
	return float64(s.gc.Goals) / float64(s.gc.Marked)
}

// judge wants both halves of the disease, as on a core: no room, and a collector that runs all the time. The number of cycles is none of
// them: a small heap has many, and a busy one that doubles has the same share of marking as one at its limit. A program that asks for most
// collections itself is judged by what they cost.
func (s *course) judge() {
	busy := s.assist() >= s.p.Limit("assist-share") || s.processors() >= s.p.Limit("processor-share")
	forced, sites := s.forced()
	switch {
	case float64(s.line.SpanNS) < 1e6*s.p.Limit("min-span-ms"):
		s.p.Silent("the timeline is %s long: too short to tell", derive.Lasting(s.line.SpanNS))
	case forced > 0 && 2*forced >= uint64(s.gc.Cycles):
		s.force(forced, sites)
	case s.active() < s.p.Limit("mark-share") || !busy:
		s.p.Silent("a collection was in progress for %s of the time, and goroutines helped it for %s of theirs", derive.Percent(s.active()),
			derive.Percent(s.assist()))
	case !s.enough():
		s.p.Silent("there were %s only: a long one says little", derive.Count(s.gc.Cycles, "collection", "collections"))
	case s.gc.Marked == 0:
		s.p.Open("a collection was in progress for %s of the time, and whether there is room above the live heap is not in this evidence",
			derive.Percent(s.active()))
	case s.room() > s.p.Limit("room"):
		s.p.Silent("a collection was in progress for %s of the time, but each left room: the goal is %.1f times what is alive. The program allocates much",
			derive.Percent(s.active()), s.room())
	default:
		s.both.Hold(s.finding())
	}
}

// enough reports whether the collections that were seen say something: many, or a few of a live heap that hardly grew. In a start-up it does.
func (s *course) enough() bool {
	stays := s.gc.HeapMin > 0 && float64(s.gc.HeapMax) <= s.p.Limit("grown")*float64(s.gc.HeapMin)
	return float64(s.gc.Cycles) >= s.p.Limit("min-cycles") || stays && float64(s.gc.Done) >= s.p.Limit("few-cycles")
}

// helpers are the sites where goroutines were made to help: the longest first.
func (s *course) helpers() []int {
	var list []int
	for i := range s.line.Sites {
		if s.line.Sites[i].Kind == evidence.SiteAssist && s.t.Site(i).User >= 0 {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(s.line.Sites[b].TotalNS, s.line.Sites[a].TotalNS) })
	return list
}

func (s *course) finding() diagnosis.Finding {
	f := diagnosis.Finding{
		Subject: timelineRef[0],
		Claim: fmt.Sprintf("a collection is in progress %s of the time: about %s are alive, and the next is due at %.2f times what the last one left",
			derive.Percent(s.active()), derive.Bytes(s.alive()), s.room()),
		Because: []diagnosis.Reason{
			{Refs: timelineRef, Text: fmt.Sprintf("%d collections in %s; one was in progress for %s of it%s", s.gc.Cycles,
				derive.Lasting(s.line.SpanNS), derive.Percent(s.active()), s.window())},
			{Refs: timelineRef, Text: fmt.Sprintf("the goal that a collection set was %.2f times what it left alive, on average over %d of them (GOGC=100 gives 2)",
				s.room(), s.gc.Done)},
			{Refs: timelineRef, Text: fmt.Sprintf("goroutines spent %s of their running time in helping it%s", derive.Percent(s.assist()), s.taken())},
		},
		Against: []diagnosis.Reason{{Text: "GOMEMLIMIT, GOGC, and what is kept alive are not in a trace"}},
		Fix: "Find what is kept alive (a heap profile, or a core: `postmortem heap`) and bound it, or raise GOMEMLIMIT or GOGC. The line says who " +
			"allocates, which is who has to help, and not who keeps: reuse buffers there (sync.Pool) to make collections rarer.",
		Confidence: diagnosis.Likely, Severity: diagnosis.Warning,
		Settle: "the limit and the live objects by type: a core has both",
		Next:   []string{"take a core and run `postmortem heap CORE`, or a heap profile: go tool pprof http://localhost:6060/debug/pprof/heap"},
	}
	s.name(&f)
	if s.room() > s.p.Limit("likely-room") {
		f.Confidence = diagnosis.Possible
		f.Against = append(f.Against, diagnosis.Reason{Refs: timelineRef, Text: "there is some room: the start of the program may be part of the average, or GOGC is small"})
	}
	if forced, sites := s.forced(); forced > 0 {
		f.Against = append(f.Against, diagnosis.Reason{Refs: []evidence.Ref{evidence.SiteRef(sites[0])},
			Text: derive.Count(int(min(forced, uint64(s.gc.Cycles))), "of the collections was", "of the collections were") + " asked for by runtime.GC"})
	}
	return f
}

// alive is about what is alive: the heap that was told last, which hardly differs from it where there is no room.
func (s *course) alive() uint64 {
	if s.gc.HeapLast > 0 {
		return s.gc.HeapLast
	}
	return s.gc.Marked / uint64(max(s.gc.Done, 1))
}

func (s *course) window() string {
	load := make([]uint32, len(s.line.Slices))
	for i, v := range s.line.Slices {
		load[i] = v.GC
	}
	if spell, ok := derive.Longest(derive.Spells(load, activeFloor, s.line.SliceNS, s.line.SpanNS)); ok {
		return ", most of it " + spell.String()
	}
	return ""
}

// activeFloor is the part of a slice, in thousandths, from which the collector is said to run in it.
const activeFloor = 300

func (s *course) taken() string {
	if share := s.processors(); share > 0 {
		return fmt.Sprintf("; marking took %s of the processor time", derive.Percent(share))
	}
	return ""
}

// maxHelpers bounds the lines that a finding names.
const maxHelpers = 4

// name adds the lines of those that help.
func (s *course) name(f *diagnosis.Finding) {
	seen := map[evidence.Frame]bool{}
	for _, i := range s.helpers() {
		site := &s.line.Sites[i]
		at, ok := s.t.Frame(s.t.Site(i), s.t.Site(i).User)
		key := evidence.Frame{Function: at.Function, File: at.File, Line: at.Line}
		if !ok || at.Function == "" || seen[key] || len(seen) == maxHelpers {
			continue
		}
		seen[key] = true
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleRunner, Frame: at, Ref: evidence.SiteRef(i)})
		f.Victims = append(f.Victims, evidence.SiteRef(i))
		f.Affected = max(f.Affected, site.Peak)
		if len(seen) == 1 {
			f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{evidence.SiteRef(i)}, Text: fmt.Sprintf(
				"who allocates has to help: most of it %s, %d times, %s in all, waits included, at most %d goroutines at once", derive.Where(at),
				site.Count, derive.Lasting(int64(site.TotalNS)), site.Peak)})
		}
	}
}
