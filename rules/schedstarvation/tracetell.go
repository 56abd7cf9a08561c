package schedstarvation

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// hostDoubt is what a trace cannot know.
const hostDoubt = "a trace does not know whether the host gave the process its processors: on a busy or suspended machine every stretch and every wait " +
	"is longer than the program made it"

var timelineRef = evidence.Ref{Kind: evidence.RefTimeline}

// name is a kin in a sentence: its line, or its goroutine.
func (s *course) name(k *derive.Kin) string {
	who := fmt.Sprintf("goroutine %d", k.Top)
	if k.Peak > 1 {
		who = fmt.Sprintf("%d goroutines", k.Peak)
	}
	if at, _, ok := s.t.Computes(k.Top); ok {
		who += " in " + derive.Short(at.Function)
	}
	return who
}

// runner is the line of a goroutine that computes, with the row that says so.
func (s *course) runner(goroutine int64) ([]diagnosis.Location, []evidence.Ref) {
	refs := []evidence.Ref{evidence.GoroutineRef(goroutine)}
	at, site, ok := s.t.Computes(goroutine)
	if !ok {
		return nil, refs
	}
	list := []diagnosis.Location{{Role: diagnosis.RoleRunner, Frame: at, Ref: refs[0]}}
	if site >= 0 {
		refs = append(refs, evidence.SiteRef(site))
	}
	return list, refs
}

// window says from when to when a goroutine ran.
func (s *course) window(goroutine int64) string {
	if a, ok := s.line.Actor(goroutine); ok {
		if spell, found := derive.Longest(derive.Spells(a.Load, loadFloor, s.line.SliceNS, s.line.SpanNS)); found {
			return spell.String()
		}
	}
	return "from the start to " + derive.Lasting(s.line.SpanNS)
}

// loadFloor is the load of a slice, in thousandths, from which a goroutine is said to run in it.
const loadFloor = 200

// waitsLine is the locations and references of those who wait for a processor.
func (s *course) waitsLine(list []derive.Kin) (at []diagnosis.Location, refs []evidence.Ref) {
	for i := range list[:min(len(list), maxKins)] {
		k := &list[i]
		if len(k.Spawns) == 0 {
			refs = append(refs, evidence.GoroutineRef(k.Lone))
			continue
		}
		refs = append(refs, evidence.SpawnRef(k.Spawns[0]))
		if frame, ok := s.t.Started(k.Spawns[0]); ok {
			at = append(at, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: frame, Ref: evidence.SpawnRef(k.Spawns[0])})
		}
	}
	return at, refs
}

// maxKins bounds the go statements that a finding names.
const maxKins = 3

// kinText lists who waits: "4.7 goroutines at a time started in (*Server).Serve".
func (s *course) kinText(list []derive.Kin) string {
	var parts []string
	for i := range list[:min(len(list), maxKins)] {
		k := &list[i]
		text := fmt.Sprintf("goroutine %d", k.Lone)
		if len(k.Spawns) > 0 {
			text = derive.Count(k.Peak, "goroutine", "goroutines")
			if frame, ok := s.t.Started(k.Spawns[0]); ok {
				text += " started in " + derive.Short(frame.Function)
			}
		}
		parts = append(parts, fmt.Sprintf("%s (%.1f of them at a time)", text, s.mean(k.ReadyNS)))
	}
	return strings.Join(parts, ", ")
}

// latency says how long goroutines waited for a processor.
func (s *course) latency() diagnosis.Reason {
	h := &s.line.Latency
	return diagnosis.Reason{Refs: []evidence.Ref{timelineRef}, Text: fmt.Sprintf(
		"who became ready waited for a processor: half up to %s, one in a hundred for %s and more; %d of %d waits took over %s",
		derive.Lasting(h.Quantile(0.5)), derive.Lasting(h.Quantile(0.99)), s.late(), h.Total(),
		derive.Lasting(int64(1e6*s.p.Limit("min-latency-ms"))))}
}

func (s *course) heldFinding(h holding) diagnosis.Finding {
	top := &h.hogs[0]
	at, refs := s.runner(top.Top)
	waiters, victims := s.waitsLine(h.victims)
	f := diagnosis.Finding{
		Subject: evidence.GoroutineRef(top.Top), Victims: victims, Affected: h.count,
		Claim: fmt.Sprintf("%s %s %s of the processor time, while %.1f goroutines of other parts of the program are ready at a time and one in a hundred waits %s",
			s.name(top), verb(top.Peak, "takes", "take"), derive.Percent(h.share/h.capacity), h.ready, derive.Lasting(s.line.Latency.Quantile(0.99))),
		Because: []diagnosis.Reason{
			{Refs: refs, Text: fmt.Sprintf("goroutine %d ran %s of the time (%s), for up to %s without a break", top.Top,
				derive.Percent(s.line.ShareOf(top.TopRunNS)), s.window(top.Top), derive.Lasting(int64(top.TopMaxRun)))},
			{Refs: append([]evidence.Ref{timelineRef}, victims...), Text: "ready meanwhile: " + s.kinText(h.victims)},
			s.latency(),
		},
		Against:   []diagnosis.Reason{{Text: hostDoubt}},
		Locations: append(at, waiters...), Confidence: diagnosis.Likely, Severity: diagnosis.Warning,
		Settle: "whether the processes beside it took processor time: the pressure figures of the host, or another trace on an idle one",
		Next:   []string{"give the computation fewer workers than GOMAXPROCS and trace again: the latencies fall to microseconds"},
	}
	switch {
	case !h.sure:
		f.Against = append(f.Against, diagnosis.Reason{Text: "GOMAXPROCS is not in this evidence"})
	case h.capacity < oneProcessor:
		f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{timelineRef}, Text: "the program may use one processor only (GOMAXPROCS)"})
	default:
		f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{timelineRef}, Text: fmt.Sprintf("the program may use %.1f processors", h.capacity)})
	}
	if !h.sure || h.ready < s.p.Limit("min-ready") {
		f.Confidence = diagnosis.Possible
	}
	switch {
	case h.apart:
		f.Confidence = diagnosis.Likely
		f.Because = append(f.Because, diagnosis.Reason{Refs: refs, Text: fmt.Sprintf(
			"it left the processor when it was taken from it, hardly ever by itself, and hardly ever wakes anybody: whoever waits, waits for the processor "+
				"alone, and %d times for long", s.late())})
	case h.ready < s.p.Limit("min-ready"):
		f.Severity = diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Text: "few are ready at a time: those that feed workers and collect from them look the same"})
	}
	if h.sure && h.ready >= s.p.Limit("critical-runnable") {
		f.Severity = diagnosis.Critical
	}
	return f
}

// oneProcessor is the number of processors, on average, below which there is one.
const oneProcessor = 1.2

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (s *course) serialFinding(a *evidence.Actor, list []queue, sure bool) diagnosis.Finding {
	at, refs := s.runner(a.Goroutine)
	where := ""
	if len(at) > 0 {
		where = " in " + derive.Short(at[0].Frame.Function)
	}
	n := waiting(list)
	f := diagnosis.Finding{
		Subject: evidence.GoroutineRef(a.Goroutine), Affected: max(1, int(n+0.5)),
		Claim: fmt.Sprintf("goroutine %d computes %s of the time%s, and %.1f goroutines wait for it at a time, while only %.2f run of %d that could",
			a.Goroutine, derive.Percent(s.line.ShareOf(a.RunNS)), where, n, s.mean(s.line.RunNS), max(s.line.Procs, 2)),
		Because: []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf("goroutine %d ran %s of the time (%s); all others together %.2f",
			a.Goroutine, derive.Percent(s.line.ShareOf(a.RunNS)), s.window(a.Goroutine), s.mean(s.line.RunNS-min(s.line.RunNS, a.RunNS)))}},
		Locations: at, Confidence: diagnosis.Likely, Severity: diagnosis.Warning,
		Fix: "Let the work be done by those who ask for it, or by several workers: keep in the one goroutine what needs order, and take the computation out " +
			"of it. Where it guards shared state, split the state (by key, by shard) and give each part a goroutine or a lock of its own.",
		Settle: "whether the order in which it works is needed is known to who wrote it",
		Next:   []string{"take a CPU profile: go tool pprof shows what the goroutine computes"},
	}
	for _, q := range list[:min(len(list), maxKins)] {
		spot := s.t.Site(q.site)
		site := &s.line.Sites[q.site]
		own := []evidence.Ref{evidence.SiteRef(q.site), evidence.ReleaseRef(q.sites[0])}
		where := ""
		if frame, ok := s.t.Open(spot); ok {
			f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: frame, Ref: evidence.SiteRef(q.site)})
			where = " in " + derive.Where(frame)
		}
		f.Because = append(f.Because, diagnosis.Reason{Refs: own, Text: fmt.Sprintf(
			"%.1f goroutines at a time, at most %d%s: each %s; it ended %d of these waits, half of them took up to %s, the longest %s",
			q.mean, site.Peak, where, spot.Doing, q.served, derive.Typical(&site.Hist, 0.5, site.MaxNS), derive.Lasting(int64(site.MaxNS)))})
		f.Victims = append(f.Victims, evidence.SiteRef(q.site))
	}
	f.Against = []diagnosis.Reason{{Text: "it may be meant: work that needs one order can be done by one goroutine only"}}
	if !sure {
		f.Confidence, f.Severity = diagnosis.Possible, diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Text: "workers that wait for work from a busy producer look the same"})
	}
	return f
}

func (s *course) overloadFinding(list []derive.Kin, p99 int64) diagnosis.Finding {
	waiters, victims := s.waitsLine(list)
	count := 0
	for i := range list {
		count += list[i].Peak
	}
	top := s.kins[0]
	at, refs := s.runner(top.Top)
	return diagnosis.Finding{
		Subject: timelineRef, Victims: victims, Affected: count,
		Claim: fmt.Sprintf("%.1f goroutines are ready to run at a time, for %d processors that all work, and one in a hundred waits %s and more",
			s.mean(s.line.ReadyNS), s.line.Procs, derive.Lasting(p99)),
		Because: []diagnosis.Reason{
			{Refs: append([]evidence.Ref{timelineRef}, victims...), Text: "ready: " + s.kinText(list)},
			{Refs: refs, Text: fmt.Sprintf("most processor time, %.2f of %d, goes to %s", s.mean(top.RunNS), s.line.Procs, s.name(&top))},
			s.latency(),
		},
		Against: []diagnosis.Reason{{Text: hostDoubt},
			{Text: "nobody keeps the processors from the others: it is more work than they can do"}},
		Locations: append(at, waiters...), Confidence: diagnosis.Possible, Severity: diagnosis.Info,
		Fix: "Do less for each request, admit fewer at a time (a semaphore before the work, not a goroutine for each piece), or give the program more " +
			"processors.",
		Settle: "whether other processes took processor time at that moment: the pressure figures of the host",
		Next:   []string{"take a CPU profile of the same load"},
	}
}
