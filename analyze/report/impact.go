package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// impact says what the incident does to the process: who is affected, what everyone was doing, since when.
func (m *maker) impact() {
	m.affected()
	m.totals()
	m.states()
	if d := m.c.Death; d != nil {
		m.doc.Impact = append(m.doc.Impact, m.statement(m.doc.Death.Sentence, evidence.Ref{Kind: evidence.RefDeath}))
	}
}

func (m *maker) affected() {
	if len(m.res.Findings) == 0 {
		return
	}
	victims, count := m.res.Findings[0].Victims, m.res.Findings[0].VictimCount()
	if count == 0 {
		return
	}
	all := m.c.Goroutines().Len()
	if m.c.Timeline != nil {
		all = max(count, m.population())
	}
	text := fmt.Sprintf("Finding F1 affects %s of %s", Count(count), Plural(all, "goroutine"))
	if len(victims) > 0 && victims[0].Kind != evidence.RefGoroutine {
		text = "Finding F1 affects " + Plural(count, "row")
	}
	sample := victims[:min(len(victims), maxRefs)]
	var longest uint32
	for _, r := range sample {
		if r.Kind == evidence.RefGoroutine && m.cite(r) != "" {
			g, _ := m.c.Goroutines().ByID(int64(r.ID))
			longest = max(longest, g.Seconds)
		}
	}
	if first, last, _, ok := m.window(0); ok {
		text += fmt.Sprintf("; what it names was seen between %s and %s", Moment(first, m.c.Timeline.SpanNS), Moment(last, m.c.Timeline.SpanNS))
	} else if longest > 0 {
		text += "; one of them has waited for at least " + Seconds(longest)
	} else {
		text += "; since when is not recorded"
	}
	m.doc.Impact = append(m.doc.Impact, m.statement(text+".", sample...))
}

// states counts the goroutines by state, from the groups.
func (m *maker) states() {
	counts := map[evidence.State]int{}
	for _, g := range m.c.Groups() {
		counts[g.State] += g.Count
	}
	if len(counts) == 0 {
		return
	}
	var parts []string
	for s := evidence.StateUnknown; s <= evidence.StateLeaked; s++ {
		if counts[s] > 0 {
			parts = append(parts, Count(counts[s])+" "+s.String())
		}
	}
	largest := m.c.Groups()[0]
	lead := "The goroutines were"
	if m.c.Timeline != nil {
		lead = "At the end the goroutines were"
	}
	text := fmt.Sprintf(lead+": %s. The largest group with one stack has %s", strings.Join(parts, ", "), Count(largest.Count))
	if largest.Reason != "" {
		text += " (" + largest.Reason + ")"
	}
	var refs []evidence.Ref
	if largest.Stack != 0 {
		refs = []evidence.Ref{evidence.StackRef(largest.Stack)}
	}
	m.doc.Impact = append(m.doc.Impact, m.statement(text+".", refs...))
}

// timeline lists what the evidence dates, from the earliest to the end. A core knows few times, and each is a lower bound.
func (m *maker) timeline() {
	if n := m.c.Process.UptimeNS; n > 0 {
		m.event(before(n), "the process was running", "process", evidence.Ref{Kind: evidence.RefProcess})
	}
	if m.c.Timeline == nil { // otherwise the moments are known
		m.waitEvents()
	}
	if h := m.c.Heap; h != nil && h.LastGCNS > 0 {
		m.event(before(h.LastGCNS), "the last garbage collection ended", "heap", evidence.Ref{Kind: evidence.RefHeap})
	}
	for i := len(m.c.Panics) - 1; i >= 0; i-- { // the newest stands first
		p := m.c.Panics[i]
		text := fmt.Sprintf("panic on goroutine %d: %s", p.Goroutine, Clip(cmp.Or(p.Text, p.Type, "value not read"), maxSentence))
		if p.Recovered {
			text += " (recovered)"
		}
		m.event("before the end, in this order", text, "panic records", evidence.Ref{Kind: evidence.RefPanic, ID: uint64(i)})
	}
	if m.c.Death != nil {
		m.event("the end", m.doc.Death.Sentence, "signal and runtime state", evidence.Ref{Kind: evidence.RefDeath})
	}
}

// maxWaits is how many of the longest waits the timeline shows.
const maxWaits = 3

func (m *maker) waitEvents() {
	var longest []evidence.Group
	for _, g := range m.c.Groups() {
		if g.Oldest > 0 && g.AnyFlag&evidence.FlagSystem == 0 {
			longest = append(longest, g)
		}
	}
	slices.SortStableFunc(longest, func(a, b evidence.Group) int { return cmp.Compare(b.Oldest, a.Oldest) })
	for _, g := range longest[:min(len(longest), maxWaits)] {
		text := "the first goroutine of a group of " + Count(g.Count) + " began to wait"
		if g.Reason != "" {
			text += " (" + g.Reason + ")"
		}
		if f, ok := m.notable(g.Stack); ok {
			text += " in " + f
		}
		m.event(before(int64(g.Oldest)*int64(time.Second)), text, "wait times", evidence.StackRef(g.Stack))
	}
}

func before(ns int64) string { return "at least " + time.Duration(ns).String() + " before the end" }

func (m *maker) event(at, text, field string, refs ...evidence.Ref) {
	var paths []string
	for _, s := range m.c.Sources {
		paths = append(paths, s.Path)
	}
	e := Event{At: at, Text: text, Source: field + " of " + strings.Join(paths, ", ")}
	e.Refs = m.statement("", refs...).Refs
	m.doc.Timeline = append(m.doc.Timeline, e)
}

// The shares of stacks below which "nothing found" says little. Chosen, not measured: an undamaged core gives more than 999 of
// 1,000 goroutines; of threads there are few, and those that a library or the kernel left without unwind tables are common.
const (
	enoughGoroutines = 0.95
	enoughThreads    = 0.5
)

func (m *maker) coverage() {
	c := m.c.Coverage
	out := Coverage{Goroutines: Share{c.GoroutinesSeen, c.GoroutinesUnwound}, Threads: Share{c.ThreadsSeen, c.ThreadsUnwound}, Dead: c.GoroutinesDead}
	var parts []string
	if c.GoroutinesSeen > 0 {
		parts = append(parts, shareText(out.Goroutines, "goroutine"))
	}
	if c.ThreadsSeen > 0 {
		parts = append(parts, shareText(out.Threads, "thread"))
	}
	out.Sentence = strings.Join(parts, "; ")
	if m.c.Timeline != nil {
		out.Sentence = m.eventCoverage()
		m.doc.Notes = append(m.doc.Notes, "A trace shows what goroutines did and for how long. It does not show sizes of reads and writes, addresses of locks and "+
			"channels, or values.")
	}
	if out.Sentence == "" {
		out.Sentence = "no goroutines and no threads were seen"
	}
	m.doc.Coverage = out
	if died := len(m.res.Findings) > 0 && crash(&m.res.Findings[0]); m.momentary() && m.c.Kinds() != 0 && !died {
		m.doc.Notes = append(m.doc.Notes,
			"The evidence shows a state, not a rate: it says what was going on at one moment, not how often or for how long.")
	}
}

func shareText(s Share, noun string) string {
	return fmt.Sprintf("%s of %s unwound", Count(s.Unwound), Plural(s.Seen, noun))
}

// poor reports evidence in which the cause may well be missing.
func (m *maker) poor() bool { return m.lacking() != "" }

// lacking says what is missing, in the middle of a sentence; empty when coverage is good.
func (m *maker) lacking() string {
	c := m.c.Coverage
	if lacks := m.lacksEvents(); lacks != "" {
		return lacks
	}
	switch {
	case m.c.Timeline != nil: // the stacks of a trace come with its events, and are whole
	case c.GoroutinesSeen == 0 && m.c.Goroutines().Len() == 0 && c.ThreadsSeen == 0 && len(m.c.Threads) == 0:
		return "no stack could be read"
	case float64(c.GoroutinesUnwound) < enoughGoroutines*float64(c.GoroutinesSeen):
		return "only " + shareText(Share{c.GoroutinesSeen, c.GoroutinesUnwound}, "goroutine")
	case float64(c.ThreadsUnwound) < enoughThreads*float64(c.ThreadsSeen):
		return "only " + shareText(Share{c.ThreadsSeen, c.ThreadsUnwound}, "thread")
	}
	for _, g := range m.c.Gaps {
		text := strings.ToLower(g.What + " " + g.Why)
		for _, word := range []string{"truncated", "cut short", "incomplete"} {
			if strings.Contains(text, word) {
				return "the input is damaged (" + Clip(g.What, maxSentence/4) + ")"
			}
		}
	}
	return ""
}

// openSettings are the build settings that are printed. Others are not: -ldflags may carry tokens (-X main.token=...), and
// CGO_CFLAGS paths of the build machine.
var openSettings = []string{"-buildmode", "-compiler", "-race", "-msan", "-asan", "-cover", "-tags", "-trimpath",
	"CGO_ENABLED", "GOAMD64", "GOARM64", "GOARCH", "GOOS", "GOEXPERIMENT", "GOFIPS140", "DefaultGODEBUG",
	"vcs", "vcs.revision", "vcs.time", "vcs.modified"}

func (m *maker) process() {
	p := m.c.Process
	out := Process{PID: p.PID, Language: p.Language, Version: p.Version, GOOS: p.GOOS, GOARCH: p.GOARCH,
		Threads: max(p.Threads, len(m.c.Threads)), Goroutines: max(m.c.Goroutines().Len(), m.c.Coverage.GoroutinesSeen),
		Executable: p.Executable, MainModule: p.MainModule, Experiment: p.Experiment, Stripped: p.Stripped}
	if p.UptimeNS > 0 {
		out.Uptime = time.Duration(p.UptimeNS).String()
	}
	if m.c.Death != nil {
		out.Signal = signalName(m.c.Death)
	}
	if l := m.c.Timeline; l != nil {
		out.GOMAXPROCS, out.Goroutines = l.Procs, max(out.Goroutines, m.population())
	}
	if s := m.c.Scheduler; s != nil {
		out.GOMAXPROCS, out.CPUs = s.GOMAXPROCS, s.CPUs
	}
	for _, mod := range p.Modules {
		out.Modules = append(out.Modules, Module(mod))
	}
	for _, s := range p.Settings {
		if slices.Contains(openSettings, s.Key) {
			out.Settings = append(out.Settings, Setting(s))
		}
	}
	if m.meta.ShowArgs {
		out.Args = slices.Clone(p.Args)
		for _, name := range p.Environ {
			name, _, _ = strings.Cut(name, "=") // names only, whatever a reader put there
			out.Environ = append(out.Environ, name)
		}
	}
	m.doc.Process = out
}
