package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of the events of a Course: what a person reads.
const (
	maxPauses = 2
	maxStalls = 3
	maxRuns   = 2
	maxBursts = 3
	maxDated  = 5 // findings of which the beginning and the end are told
)

// A burst is a slice of time in which one go statement started many goroutines: at least burstLeast, and burstTimes as many as in its mean slice.
// Chosen: a pool that starts its workers is one, a server's steady stream of requests is none.
const (
	burstLeast = 100
	burstTimes = 8
)

// longRun is how long a goroutine may keep a processor before the runtime asks for it (forcePreemptNS of runtime/proc.go: 10 ms), twice. Longer
// runs are told.
const longRun = 20_000_000

// longPause is how long the world has to stand still for it to be told: what a request notices. Go's own goal is far below.
const longPause = 1_000_000

// dated is an event with its moment.
type dated struct {
	ns          int64
	text, field string
	refs        []evidence.Ref
}

// courseEvents are what happened at moments that are known, in order.
func (m *maker) courseEvents() {
	l := m.c.Timeline
	if l == nil {
		return
	}
	whole := evidence.Ref{Kind: evidence.RefTimeline}
	begin := fmt.Sprintf("the evidence begins, with %s alive", Plural(l.AtStart, "goroutine"))
	if m.doc.Course != nil && m.doc.Course.Began != "" {
		begin = m.doc.Course.Began + ": " + begin
	}
	list := []dated{{0, begin, "timeline", []evidence.Ref{whole}}}
	list = append(list, m.collections()...)
	list = append(list, m.episodes(evidence.EpisodePause, maxPauses, longPause)...)
	list = append(list, m.episodes(evidence.EpisodeStall, maxStalls, 0)...)
	list = append(list, m.episodes(evidence.EpisodeRun, maxRuns, longRun)...)
	list = append(list, m.bursts()...)
	list = append(list, m.slowEvents()...)
	list = append(list, m.findingEvents()...)
	slices.SortStableFunc(list, func(a, b dated) int { return cmp.Compare(a.ns, b.ns) })
	list = append(list, dated{l.SpanNS, fmt.Sprintf("the evidence ends, with %s alive", Plural(l.AtEnd, "goroutine")), "timeline", []evidence.Ref{whole}})
	for _, e := range list {
		m.event(Moment(e.ns, l.SpanNS), e.text, e.field, e.refs...)
	}
}

// collections tells the cycles of the collector as a group.
func (m *maker) collections() []dated {
	l := m.c.Timeline
	if l.GC.Cycles == 0 {
		return nil
	}
	first, last := l.SpanNS, int64(0)
	longest := -1
	for i := range l.Episodes {
		e := &l.Episodes[i]
		if e.Kind != evidence.EpisodeGC {
			continue
		}
		first, last = min(first, e.StartNS), max(last, e.StartNS)
		if longest < 0 || e.NS > l.Episodes[longest].NS {
			longest = i
		}
	}
	for i := range l.Slices { // of many cycles only the longest are kept: the slices know where the first and the last were
		if at := int64(i) * l.SliceNS; l.Slices[i].GC > 0 && l.GC.Cycles > evidence.MaxEpisodes {
			first, last = min(first, at), max(last, at)
		}
	}
	text := fmt.Sprintf("the collector begins the first of %s, the last at %s; active %s of the time, %s of it for pauses",
		Plural(l.GC.Cycles, "cycle"), Moment(last, l.SpanNS), percent(l.ShareOf(l.GC.ActiveNS)), durationSum(l.GC.PauseNS))
	if l.GC.Cycles == 1 {
		text = fmt.Sprintf("the collector begins its only cycle; active %s of the time, %s of it for pauses", percent(l.ShareOf(l.GC.ActiveNS)), durationSum(l.GC.PauseNS))
	}
	refs := []evidence.Ref{{Kind: evidence.RefTimeline}}
	if longest >= 0 {
		e := &l.Episodes[longest]
		if l.GC.Cycles > 1 {
			text += fmt.Sprintf("; the longest took %s, at %s", Duration(e.NS), Moment(e.StartNS, l.SpanNS))
		}
		refs = append(refs, evidence.EpisodeRef(longest))
	} else {
		first = 0
	}
	if l.GC.HeapMax > 0 {
		text += fmt.Sprintf("; the heap was %s to %s", Size(l.GC.HeapMin), Size(l.GC.HeapMax))
	}
	return []dated{{first, text, "gc", refs}}
}

// episodes are the longest of one kind that are at least so long.
func (m *maker) episodes(kind evidence.EpisodeKind, most int, least int64) []dated {
	l := m.c.Timeline
	var list []int
	for i := range l.Episodes {
		if e := &l.Episodes[i]; e.Kind == kind && e.NS >= least && e.NS > 0 && (kind != evidence.EpisodeStall || m.stalled(e)) {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(l.Episodes[b].NS, l.Episodes[a].NS) })
	var out []dated
	for _, i := range list[:min(len(list), most)] {
		out = append(out, dated{l.Episodes[i].StartNS, m.episodeText(&l.Episodes[i]), kind.String() + " episodes", []evidence.Ref{evidence.EpisodeRef(i)}})
	}
	return out
}

// stalledLeast is how many goroutines must have been ready, or blocked by others, on average, for a stall to be told: a process in which everybody
// sleeps is none.
const stalledLeast = 0.5

// stalled reports whether somebody wanted to run in the slices of a stall.
func (m *maker) stalled(e *evidence.Episode) bool {
	l := m.c.Timeline
	if l.SliceNS <= 0 || len(l.Slices) == 0 || e.StartNS < 0 {
		return true
	}
	first := min(e.StartNS/l.SliceNS, int64(len(l.Slices)-1))
	last := min((e.StartNS+e.NS-1)/l.SliceNS, int64(len(l.Slices)-1))
	if last-first >= 2 { // the ends belong to what was before and after
		first, last = first+1, last-1
	}
	wanted := 0.0
	for i := first; i <= last; i++ {
		wanted += float64(l.Slices[i].ReadyNS) + float64(l.Slices[i].SyncNS) + float64(l.Slices[i].ChanNS)
	}
	return wanted >= stalledLeast*permille*float64(last-first+1)
}

// episodeText says what an episode was.
func (m *maker) episodeText(e *evidence.Episode) string {
	var s string
	switch e.Kind {
	case evidence.EpisodeGC:
		s = "a cycle of the collector of " + Duration(e.NS)
	case evidence.EpisodePause:
		s = "the world stood still for " + Duration(e.NS)
		if e.What != "" {
			s += " (" + Clip(e.What, maxSentence) + ")"
		}
	case evidence.EpisodeStall:
		s = "nobody ran and nobody was in a system call for " + Duration(e.NS) + ", though goroutines were ready or waited for each other"
	case evidence.EpisodeRun:
		return fmt.Sprintf("goroutine %d kept a processor for %s without a break", e.Goroutine, Duration(e.NS)) + m.at(e.Stack)
	default:
		s = e.Kind.String() + " of " + Duration(e.NS)
	}
	if e.Goroutine != 0 {
		s += fmt.Sprintf(", by goroutine %d", e.Goroutine)
	}
	return s + m.at(e.Stack)
}

// bursts are the slices of time in which a go statement started far more goroutines than usual.
func (m *maker) bursts() []dated {
	l := m.c.Timeline
	type burst struct {
		spawn, slice int
		n            uint32
	}
	var list []burst
	for i := range l.Spawns {
		s := &l.Spawns[i]
		if s.System || len(s.Births) == 0 || len(l.Slices) == 0 {
			continue
		}
		at := 0
		for j, n := range s.Births {
			if n > s.Births[at] {
				at = j
			}
		}
		n := s.Births[at]
		if mean := float64(s.Created) / float64(len(l.Slices)); n >= burstLeast && float64(n) >= burstTimes*mean {
			list = append(list, burst{i, at, n})
		}
	}
	slices.SortStableFunc(list, func(a, b burst) int { return cmp.Compare(b.n, a.n) })
	var out []dated
	for _, b := range list[:min(len(list), maxBursts)] {
		s := &l.Spawns[b.spawn]
		text := fmt.Sprintf("%s started within %s", Plural(int(b.n), "goroutine"), Duration(l.SliceNS))
		if uint64(b.n) < s.Created {
			text += ", of " + Count64(s.Created) + " in all"
		}
		out = append(out, dated{max(int64(b.slice)*l.SliceNS, s.FirstNS), text + m.at(s.Stack), "spawns", []evidence.Ref{evidence.SpawnRef(b.spawn)}})
	}
	return out
}

// slowEvents are the beginnings of the slowest tasks or regions.
func (m *maker) slowEvents() []dated {
	l := m.c.Timeline
	var out []dated
	for _, i := range m.slowestOnes() {
		a := &l.Activities[i]
		kind := m.kindOf(a)
		text := fmt.Sprintf("%s %q of %s begins on goroutine %d", activityWord(kind.Region), Clip(kind.Name, maxSentence/4), Duration(a.NS), a.Goroutine)
		out = append(out, dated{a.StartNS, text, "user tasks and regions", []evidence.Ref{{Kind: evidence.RefActivity, ID: uint64(i)}}})
	}
	return out
}

// span of what a reference of a Timeline names; ok is false when it has none.
func (m *maker) spanOf(r evidence.Ref) (first, last int64, ok bool) {
	if m.c.Timeline == nil || !m.c.Resolve(r) {
		return 0, 0, false
	}
	l := m.c.Timeline
	switch r.Kind {
	case evidence.RefSite:
		return l.Sites[r.ID].FirstNS, l.Sites[r.ID].LastNS, true
	case evidence.RefSpawn:
		return l.Spawns[r.ID].FirstNS, l.Spawns[r.ID].LastNS, l.Spawns[r.ID].Created > 0
	case evidence.RefPair:
		return l.Pairs[r.ID].FirstNS, l.Pairs[r.ID].LastNS, true
	case evidence.RefEpisode:
		return l.Episodes[r.ID].StartNS, l.Episodes[r.ID].StartNS + l.Episodes[r.ID].NS, true
	case evidence.RefActivity:
		return l.Activities[r.ID].StartNS, l.Activities[r.ID].StartNS + l.Activities[r.ID].NS, true
	case evidence.RefRelease:
		if s := l.Releases[r.ID].Site; s >= 0 && s < len(l.Sites) {
			return l.Sites[s].FirstNS, l.Sites[s].LastNS, true
		}
	}
	return 0, 0, false
}

// window is the first and the last moment of the rows that support finding i, and the rows that they were read from. Go statements count only
// where nothing else is dated: they were there before what their goroutines did.
func (m *maker) window(i int) (first, last int64, refs []evidence.Ref, ok bool) {
	if first, last, refs, ok = m.windowOf(i, false); !ok {
		first, last, refs, ok = m.windowOf(i, true)
	}
	return first, last, refs, ok
}

func (m *maker) windowOf(i int, spawns bool) (first, last int64, refs []evidence.Ref, ok bool) {
	var a, b evidence.Ref
	for _, reason := range m.res.Findings[i].Because {
		for _, r := range reason.Refs[:min(len(reason.Refs), maxRefs)] {
			from, to, known := m.spanOf(r)
			if !known || (r.Kind == evidence.RefSpawn) != spawns {
				continue
			}
			if !ok || from < first {
				first, a = from, r
			}
			if !ok || to > last {
				last, b = to, r
			}
			ok = true
		}
	}
	return first, last, []evidence.Ref{a, b}, ok
}

// throughout is the part of the time, counted from either end, within which a beginning or an end is that of the evidence.
const throughout = 50

// findingEvents are the beginning and the end of what the findings name.
func (m *maker) findingEvents() []dated {
	var out []dated
	for i := range m.res.Findings[:min(len(m.res.Findings), maxDated)] {
		first, last, refs, ok := m.window(i)
		if !ok || m.res.Findings[i].Severity < diagnosis.Warning {
			continue
		}
		name := fmt.Sprintf("of F%d (%s)", i+1, m.res.Findings[i].Rule)
		if edge := m.c.Timeline.SpanNS / throughout; first <= edge && last >= m.c.Timeline.SpanNS-edge {
			out = append(out, dated{first, "signs " + name + " from the beginning to the end" + m.at(m.stackOf(refs[0])), m.fieldOf(refs[0]), refs[:1]})
			continue
		}
		if last <= first {
			out = append(out, dated{first, "the only sign " + name + m.at(m.stackOf(refs[0])), m.fieldOf(refs[0]), refs[:1]})
			continue
		}
		out = append(out, dated{first, "the first sign " + name + m.at(m.stackOf(refs[0])), m.fieldOf(refs[0]), refs[:1]},
			dated{last, "the last sign " + name + m.at(m.stackOf(refs[1])), m.fieldOf(refs[1]), refs[1:]})
	}
	return out
}

// fieldOf is the table that a reference points into, as sources are told.
func (m *maker) fieldOf(r evidence.Ref) string {
	if r.Kind == evidence.RefActivity {
		return "user tasks and regions"
	}
	name, _, _ := strings.Cut(r.String(), ":")
	return name + "s"
}
