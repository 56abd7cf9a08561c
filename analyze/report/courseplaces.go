package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of the tables of a Course.
const (
	maxPlaces = 12
	maxSpawns = 12
	maxKinds  = 40
)

// WaitingPlace is a place in the code where goroutines waited or were in system calls.
type WaitingPlace struct {
	Ref      string    `json:"ref,omitempty"`
	Kind     string    `json:"kind,omitempty"` // "block" or "syscall"
	Reason   string    `json:"reason,omitempty"`
	Call     string    `json:"call,omitempty"`     // the call of package sync that waited, where the reason is sync
	Location *Location `json:"location,omitempty"` // the innermost line of the program's own
	Count    uint64    `json:"count"`
	TotalNS  uint64    `json:"total_ns"`
	Waits    Spread    `json:"waits"`
	Peak     int       `json:"peak"` // goroutines at once
}

// What is what goroutines did there: "system call", "network", "chan receive".
func (w *WaitingPlace) What() string {
	if w.Kind == evidence.SiteSyscall.String() {
		return "system call"
	}
	return cmp.Or(w.Call, w.Reason)
}

// Started is a go statement with what its goroutines did.
type Started struct {
	Ref      string    `json:"ref,omitempty"`
	Function string    `json:"function,omitempty"` // that they execute
	Location *Location `json:"location,omitempty"` // of the go statement; absent for goroutines that were there before
	Created  uint64    `json:"created"`
	Peak     int       `json:"peak"`
	Time     TimeSums  `json:"time"`
}

// ofRuntime are reasons with which goroutines of the runtime wait for work (runtime/traceruntime.go, traceBlockReason): nobody waits for
// these.
var ofRuntime = map[string]bool{"GC background sweeper wait": true, "GC worker (idle)": true, "system goroutine wait": true,
	"wait until GC ends": true, "forever": true, "preempted": true}

// waitingPlaces are the sites where goroutines waited the longest in all.
func (m *maker) waitingPlaces() []WaitingPlace {
	l := m.c.Timeline
	var list []int
	for i := range l.Sites {
		s := &l.Sites[i]
		waits := s.Kind == evidence.SiteBlock && s.Reason != "" && !ofRuntime[s.Reason] || s.Kind == evidence.SiteSyscall
		if waits && s.TotalNS > 0 && s.Stack != 0 && !m.runtimeStack(s.Stack) {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(l.Sites[b].TotalNS, l.Sites[a].TotalNS) })
	var out []WaitingPlace
	for _, i := range list[:min(len(list), maxPlaces)] {
		s := &l.Sites[i]
		ref, call := evidence.SiteRef(i), ""
		if s.Reason == "sync" {
			call = m.syncCall(s.Stack)
		}
		out = append(out, WaitingPlace{Ref: m.cite(ref), Kind: s.Kind.String(), Reason: Clip(s.Reason, maxSentence), Call: Clip(call, maxSentence),
			Location: m.locationOf(s.Stack, ref), Count: s.Count, TotalNS: s.TotalNS, Waits: spreadOf(&s.Hist, s.MaxNS), Peak: s.Peak})
	}
	return out
}

// runtimeStack reports whether a stack is that of a goroutine of the runtime, or of the tracer: its outermost function is theirs
// (isSystemGoroutine in runtime/traceback.go).
func (m *maker) runtimeStack(id evidence.StackID) bool {
	s := m.c.Stack(id)
	if s.Len() == 0 || s.Elided > 0 {
		return false
	}
	f := s.At(s.Len() - 1).Function
	return strings.HasPrefix(f, "runtime.") && f != "runtime.main" || strings.HasPrefix(f, "runtime/trace.") || strings.HasPrefix(f, "runtime/pprof.")
}

// started are the go statements whose goroutines ran the longest.
func (m *maker) started() []Started {
	l := m.c.Timeline
	var list []int
	for i := range l.Spawns {
		if s := &l.Spawns[i]; !s.System && (s.Created > 0 || s.RunNS > 0) {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		return cmp.Or(cmp.Compare(l.Spawns[b].RunNS, l.Spawns[a].RunNS), cmp.Compare(l.Spawns[b].Created, l.Spawns[a].Created))
	})
	var out []Started
	for _, i := range list[:min(len(list), maxSpawns)] {
		s := &l.Spawns[i]
		ref := evidence.SpawnRef(i)
		out = append(out, Started{Ref: m.cite(ref), Function: m.c.Frame(s.Start).Function, Location: m.locationOf(s.Stack, ref), Created: s.Created,
			Peak: s.Peak, Time: TimeSums{RunNS: s.RunNS, ReadyNS: s.ReadyNS, SyscallNS: s.SyscallNS, BlockedNS: s.BlockedNS}})
	}
	return out
}

// locationOf is the notable line of a stack; nil when nothing is known of it.
func (m *maker) locationOf(id evidence.StackID, ref evidence.Ref) *Location {
	f, ok := m.telling(id)
	if !ok || f == (evidence.Frame{}) {
		return nil
	}
	return &Location{Function: f.Function, File: f.File, Line: f.Line, Ref: m.cite(ref)}
}

// at is " in f at x.go:12" of a stack, or nothing.
func (m *maker) at(id evidence.StackID) string {
	if f, ok := m.telling(id); ok && f.Function != "" {
		return " in " + shortPlace(f)
	}
	return ""
}

// below are the packages that everything waits in.
var below = []string{"runtime.", "internal/", "sync.", "syscall.", "net.", "os.", "io.", "bufio.", "time.", "crypto/tls.", "golang.org/x/sys/"}

// telling is the innermost frame of a stack that says something: of the program, or else of a library that does more than to wait.
func (m *maker) telling(id evidence.StackID) (evidence.Frame, bool) {
	f, ok := m.notableFrame(id)
	if !slices.ContainsFunc(below, func(pkg string) bool { return strings.HasPrefix(f.Function, pkg) }) {
		return f, ok
	}
	for i, outer := range m.c.Stack(id).All() {
		if i >= maxHead {
			break
		}
		if !slices.ContainsFunc(below, func(pkg string) bool { return strings.HasPrefix(outer.Function, pkg) }) {
			return outer, true
		}
	}
	return f, ok
}

// lineOf is " at x.go:12" of a stack, or its function where the line is not known.
func (m *maker) lineOf(id evidence.StackID) string {
	f, ok := m.telling(id)
	if !ok {
		return ""
	}
	if place := Place(f.File, f.Line); place != "" {
		return " at " + place
	}
	if f.Function == "" {
		return ""
	}
	return " in " + ShortFunction(f.Function)
}

// waitWord is what a goroutine did that was blocked for a reason: "network wait", "sync.Mutex.Lock wait".
func (m *maker) waitWord(reason string, id evidence.StackID) string {
	if reason == "" {
		return "wait, reason unknown"
	}
	if reason == "sync" {
		reason = cmp.Or(m.syncCall(id), reason)
	}
	if strings.Contains(strings.ToLower(reason), "wait") || reason == "sleep" || reason == "preempted" {
		return Clip(reason, maxSentence)
	}
	return Clip(reason, maxSentence) + " wait"
}

// syncCall is the call that blocked for the reason "sync": "sync.Mutex.Lock", or "runtime.gcStart" for one of the runtime's own semaphores. They
// share the reason; the stack tells them apart. It is empty when that is not known.
func (m *maker) syncCall(id evidence.StackID) string {
	call := ""
	for i, f := range m.c.Stack(id).All() {
		inside := strings.HasPrefix(f.Function, "sync.") || strings.HasPrefix(f.Function, "internal/sync.") || strings.HasPrefix(f.Function, "runtime.")
		if !inside || i >= maxHead {
			break
		}
		if name, ok := strings.CutPrefix(f.Function, "sync.(*"); ok {
			call = "sync." + strings.Replace(name, ").", ".", 1)
		}
		if call == "" && strings.HasPrefix(f.Function, "runtime.") && !strings.HasPrefix(f.Function, "runtime.gopark") && !strings.HasPrefix(f.Function, "runtime.sem") {
			return f.Function // runtime/sema.go is below it
		}
	}
	return call
}

// describeSite is one line about what happened at a place.
func (m *maker) describeSite(s *evidence.Site) string {
	var what string
	durations := true
	switch s.Kind {
	case evidence.SiteBlock:
		what = fmt.Sprintf("goroutines blocked here %s (%s)", times(s.Count), cmp.Or(s.Reason, "reason unknown"))
	case evidence.SiteSyscall:
		what = "goroutines entered a system call here " + times(s.Count)
	case evidence.SiteYield:
		what = "goroutines gave the processor away here " + times(s.Count)
	case evidence.SitePreempt:
		what = "goroutines were taken from the processor here " + times(s.Count) + ", while they computed"
	case evidence.SiteSample:
		return Count64(s.Count) + " CPU samples" + m.at(s.Stack)
	case evidence.SiteReady:
		what = "goroutines were made ready from here " + times(s.Count)
	case evidence.SiteAssist:
		what = "goroutines assisted the collector here " + times(s.Count)
	default:
		durations = false
		what = s.Kind.String() + " " + times(s.Count)
	}
	if durations && s.TotalNS > 0 {
		what += fmt.Sprintf(", %s in all, %s at the median, at most %s", durationSum(s.TotalNS), Duration(s.Hist.QuantileUpTo(0.5, s.MaxNS)), durationSum(s.MaxNS))
	}
	if s.Peak > 1 {
		what += ", up to " + Count(s.Peak) + " at once"
	}
	if s.Open > 0 {
		what += ", " + Count(s.Open) + " of them still at the end"
	}
	if at := m.at(s.Stack); at != "" {
		what += "," + at
	}
	return what + m.between(s.FirstNS, s.LastNS)
}

// between is ", from +0.1 s to +1.2 s".
func (m *maker) between(first, last int64) string {
	span := m.c.Timeline.SpanNS
	if last <= first {
		return ", at " + Moment(first, span)
	}
	return ", from " + Moment(first, span) + " to " + Moment(last, span)
}

// times is "once", "1,204 times".
func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return Count64(n) + " times"
}

func (m *maker) describeRelease(r *evidence.Release) string {
	s := fmt.Sprintf("%s at site:%d ended from here", plural64(r.Count, "wait"), r.Site)
	s += fmt.Sprintf(", %s of waiting in all, at most %s", durationSum(r.WaitNS), durationSum(r.MaxWait))
	if r.HoldNS > 0 {
		s += fmt.Sprintf("; who let go had held it for %s in all, at most %s", durationSum(r.HoldNS), durationSum(r.MaxHold))
	}
	for i, p := range r.Parts[:min(len(r.Parts), evidence.MaxParts)] {
		lead := ", meanwhile "
		if i > 0 {
			lead = ", "
		}
		s += lead + durationSum(p.NS) + " " + m.stateWord(p.State, p.Reason, p.Stack) + m.lineOf(p.Stack)
	}
	if at := m.at(r.Stack); at != "" {
		s += "; let go" + at
	}
	return s
}

func (m *maker) describeSpawn(s *evidence.Spawn) string {
	who := "goroutines"
	if s.System {
		who = "goroutines of the runtime"
	}
	if f := m.c.Frame(s.Start); f.Function != "" {
		who += " that execute " + ShortFunction(f.Function)
	}
	text := fmt.Sprintf("%s: %s created", who, Count64(s.Created))
	if s.Before > 0 {
		text += ", " + Count(s.Before) + " there before"
	}
	text += fmt.Sprintf(", %s ended, at most %s alive, %s at the end; %s", Count64(s.Ended), Count(s.Peak), Count(s.Live),
		sums(s.RunNS, s.ReadyNS, s.SyscallNS, s.BlockedNS))
	if s.Stack != 0 {
		text += "; started" + m.at(s.Stack)
	}
	return text
}

// sums is what goroutines did in all.
func sums(run, ready, syscall, blocked uint64) string {
	return fmt.Sprintf("running %s, ready %s, in system calls %s, blocked %s", durationSum(run), durationSum(ready), durationSum(syscall), durationSum(blocked))
}

// describeActor is what a goroutine did; for one that had ended it is all there is.
func (m *maker) describeActor(a *evidence.Actor) string {
	s := fmt.Sprintf("%s; on a processor %s, at most %s without a break", sums(a.RunNS, a.ReadyNS, a.SyscallNS, a.BlockedNS), times(a.Runs), durationSum(a.MaxRunNS))
	if a.Preempted > 0 {
		s += ", preempted " + times(a.Preempted)
	}
	if a.Syscalls > 0 {
		s += ", " + plural64(a.Syscalls, "system call")
	}
	return s + m.between(a.FirstNS, a.LastNS)
}

// describeEnded describes a goroutine that only the Timeline knows.
func (m *maker) describeEnded(id int64) string {
	a, _ := m.c.Timeline.Actor(id)
	state := "not in the last state of the process"
	if a.Ended {
		state = "ended"
	}
	if a.System {
		state += ", of the runtime"
	}
	if a.Spawn >= 0 && a.Spawn < len(m.c.Timeline.Spawns) {
		spawn := &m.c.Timeline.Spawns[a.Spawn]
		if f := m.c.Frame(spawn.Start); f.Function != "" {
			state += ", executed " + ShortFunction(f.Function)
		}
		if spawn.Stack != 0 {
			state += ", started" + m.at(spawn.Stack)
		}
	}
	return state + "; " + m.describeActor(&a)
}

func (m *maker) describePair(p *evidence.Pair) string {
	l := m.c.Timeline
	s := fmt.Sprintf("goroutines %d and %d woke each other %s and ran %s meanwhile", p.A, p.B, times(p.Count), durationSum(p.RunNS))
	for _, side := range []struct {
		who  int64
		site int
	}{{p.A, p.SiteA}, {p.B, p.SiteB}} {
		if side.site >= 0 && side.site < len(l.Sites) {
			site := &l.Sites[side.site]
			s += fmt.Sprintf("; %d waited in %s%s", side.who, m.waitWord(site.Reason, site.Stack), m.lineOf(site.Stack))
		}
	}
	return s + m.between(p.FirstNS, p.LastNS)
}

// pairStack is where one of a pair waits.
func (m *maker) pairStack(p *evidence.Pair) evidence.StackID {
	if p.SiteA >= 0 && p.SiteA < len(m.c.Timeline.Sites) {
		return m.c.Timeline.Sites[p.SiteA].Stack
	}
	return 0
}

func (m *maker) describeTimeline() string {
	l := m.c.Timeline
	return fmt.Sprintf("%s over %s; goroutines: %d at the beginning, %s created, %s ended, at most %s alive; %s",
		plural64(l.Events, "event"), m.span(), l.AtStart, Count64(l.Created), Count64(l.Ended), Count(l.Peak), sums(l.RunNS, l.ReadyNS, l.SyscallNS, l.BlockedNS))
}

// describeCourse describes the rows that only a Timeline has.
func (m *maker) describeCourse(r evidence.Ref) string {
	l := m.c.Timeline
	switch r.Kind {
	case evidence.RefSite:
		return m.describeSite(&l.Sites[r.ID])
	case evidence.RefRelease:
		return m.describeRelease(&l.Releases[r.ID])
	case evidence.RefSpawn:
		return m.describeSpawn(&l.Spawns[r.ID])
	case evidence.RefPair:
		return m.describePair(&l.Pairs[r.ID])
	case evidence.RefEpisode:
		return m.episodeText(&l.Episodes[r.ID]) + ", at " + Moment(l.Episodes[r.ID].StartNS, l.SpanNS)
	case evidence.RefActivity:
		return m.describeActivity(&l.Activities[r.ID])
	}
	return m.describeTimeline()
}

// courseStack is the stack of a row that only a Timeline has; zero when it has none.
func (m *maker) courseStack(r evidence.Ref) evidence.StackID {
	l := m.c.Timeline
	switch r.Kind {
	case evidence.RefSite:
		return l.Sites[r.ID].Stack
	case evidence.RefRelease:
		return l.Releases[r.ID].Stack
	case evidence.RefSpawn:
		return l.Spawns[r.ID].Stack
	case evidence.RefPair:
		return m.pairStack(&l.Pairs[r.ID])
	case evidence.RefEpisode:
		return l.Episodes[r.ID].Stack
	case evidence.RefActivity:
		return m.kindOf(&l.Activities[r.ID]).Stack
	}
	return 0
}

// actorStack is the go statement of a goroutine that only the Timeline knows: its own stack is gone.
func (m *maker) actorStack(id int64) evidence.StackID {
	if m.c.Timeline == nil {
		return 0
	}
	a, ok := m.c.Timeline.Actor(id)
	if !ok || a.Spawn < 0 || a.Spawn >= len(m.c.Timeline.Spawns) {
		return 0
	}
	return m.c.Timeline.Spawns[a.Spawn].Stack
}
