package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of what is told of user tasks and regions.
const (
	maxSlow     = 3  // of which the course is told
	maxLegs     = 64 // of one of them: the longest
	maxPathPart = 4  // that the sentence names
	maxLogs     = 8
)

// Slow is one of the slowest user tasks or regions, with what its time went to.
type Slow struct {
	Ref       string   `json:"ref,omitempty"`
	Kind      string   `json:"kind,omitempty"` // "task" or "region"
	Name      string   `json:"name,omitempty"`
	Goroutine int64    `json:"goroutine,omitempty"` // that began it
	StartNS   int64    `json:"start_ns"`
	NS        int64    `json:"ns"`
	Open      bool     `json:"open,omitempty"` // it had not ended
	Cut       bool     `json:"cut,omitempty"`  // what it began with is not known
	Text      string   `json:"text,omitempty"` // what its time went to, in one sentence
	Legs      []Leg    `json:"legs,omitempty"` // what it waited for, one after the other: the critical path
	Omitted   int      `json:"legs_omitted,omitempty"`
	Logs      []string `json:"logs,omitempty"`
}

// Leg is a stretch of a critical path: one goroutine, one state.
type Leg struct {
	Goroutine int64     `json:"goroutine,omitempty"`
	State     string    `json:"state,omitempty"` // running, ready, syscall, blocked
	Reason    string    `json:"reason,omitempty"`
	Text      string    `json:"text,omitempty"` // "network wait at fetch.go:31"
	Location  *Location `json:"location,omitempty"`
	StartNS   int64     `json:"start_ns"`
	NS        int64     `json:"ns"`
}

// SlowKind is all user tasks or regions of one name.
type SlowKind struct {
	Kind     string    `json:"kind,omitempty"`
	Name     string    `json:"name,omitempty"`
	Location *Location `json:"location,omitempty"` // where one was begun
	Count    uint64    `json:"count"`
	Open     int       `json:"open,omitempty"`
	TotalNS  uint64    `json:"total_ns"`
	Lasted   Spread    `json:"lasted"`
}

func (m *maker) slowKinds() []SlowKind {
	l := m.c.Timeline
	list := make([]int, len(l.Kinds))
	for i := range list {
		list[i] = i
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(l.Kinds[b].TotalNS, l.Kinds[a].TotalNS) })
	var out []SlowKind
	for _, i := range list[:min(len(list), maxKinds)] {
		k := &l.Kinds[i]
		s := SlowKind{Kind: activityWord(k.Region), Name: Clip(k.Name, maxSentence), Count: k.Count, Open: k.Open, TotalNS: k.TotalNS, Lasted: spreadOf(&k.Hist, k.MaxNS)}
		if f, ok := m.telling(k.Stack); ok {
			s.Location = &Location{Function: f.Function, File: f.File, Line: f.Line}
		}
		out = append(out, s)
	}
	return out
}

func activityWord(region bool) string {
	if region {
		return "region"
	}
	return "task"
}

// kindOf is the kind of an activity; an index that leads nowhere is a kind without a name.
func (m *maker) kindOf(a *evidence.Activity) evidence.ActivityKind {
	if a.Kind < 0 || a.Kind >= len(m.c.Timeline.Kinds) {
		return evidence.ActivityKind{Region: true}
	}
	return m.c.Timeline.Kinds[a.Kind]
}

// slowestOnes are the indexes of the activities whose course is told: tasks before regions, because a region says less about what users wait
// for, and the longest first.
func (m *maker) slowestOnes() []int {
	l := m.c.Timeline
	list := make([]int, len(l.Activities))
	for i := range list {
		list[i] = i
	}
	rank := func(i int) int {
		if m.kindOf(&l.Activities[i]).Region {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b int) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(l.Activities[b].NS, l.Activities[a].NS))
	})
	if len(list) > 0 && rank(list[0]) == 0 {
		list = slices.DeleteFunc(list, func(i int) bool { return rank(i) == 1 })
	}
	return list[:min(len(list), maxSlow)]
}

func (m *maker) slowest() []Slow {
	l := m.c.Timeline
	var out []Slow
	for _, i := range m.slowestOnes() {
		a := &l.Activities[i]
		kind := m.kindOf(a)
		ref := evidence.Ref{Kind: evidence.RefActivity, ID: uint64(i)}
		s := Slow{Ref: m.cite(ref), Kind: activityWord(kind.Region), Name: Clip(kind.Name, maxSentence), Goroutine: a.Goroutine, StartNS: a.StartNS, NS: a.NS,
			Open: a.Open, Cut: a.Cut, Text: m.pathText(a)}
		for _, log := range a.Logs[:min(len(a.Logs), maxLogs)] {
			s.Logs = append(s.Logs, Clip(log, maxSentence))
		}
		s.Legs, s.Omitted = m.legs(a)
		out = append(out, s)
	}
	return out
}

// legs are the longest stretches of a path, in the order of time.
func (m *maker) legs(a *evidence.Activity) ([]Leg, int) {
	list := make([]int, len(a.Path))
	for i := range list {
		list[i] = i
	}
	slices.SortStableFunc(list, func(x, y int) int { return cmp.Compare(a.Path[y].NS, a.Path[x].NS) })
	list = list[:min(len(list), maxLegs)]
	slices.Sort(list)
	var out []Leg
	for _, i := range list {
		leg := &a.Path[i]
		step := Leg{Goroutine: leg.Goroutine, State: leg.State.String(), Reason: Clip(leg.Reason, maxSentence), StartNS: leg.StartNS, NS: leg.NS,
			Text: m.stateWord(leg.State, leg.Reason, leg.Stack)}
		if leg.State == evidence.ActBlocked || leg.State == evidence.ActSyscall { // of others the stack is that of somebody else, or of later
			step.Text += m.lineOf(leg.Stack)
		}
		if f, ok := m.telling(leg.Stack); ok {
			step.Location = &Location{Function: f.Function, File: f.File, Line: f.Line}
		}
		out = append(out, step)
	}
	return out, len(a.Path) - len(out)
}

// Title is the name in quotation marks.
func (s *Slow) Title() string {
	if s.Name == "" {
		return "one whose name is not known"
	}
	return `"` + s.Name + `"`
}

// Longest are the n longest legs, in the order of time.
func (s *Slow) Longest(n int) []Leg {
	if len(s.Legs) <= n {
		return s.Legs
	}
	legs := slices.Clone(s.Legs)
	slices.SortStableFunc(legs, func(x, y Leg) int { return cmp.Compare(y.NS, x.NS) })
	legs = legs[:n]
	slices.SortStableFunc(legs, func(x, y Leg) int { return cmp.Compare(x.StartNS, y.StartNS) })
	return legs
}

// stateWord is what a goroutine did in a stretch of time.
func (m *maker) stateWord(state evidence.ActState, reason string, stack evidence.StackID) string {
	switch state {
	case evidence.ActRunning:
		return "running"
	case evidence.ActReady:
		return "waiting for a processor"
	case evidence.ActSyscall:
		return "system call"
	}
	return m.waitWord(reason, stack)
}

// pathPart is what a path spent in one way.
type pathPart struct {
	text      string
	goroutine int64
	many      bool // several goroutines did it
	ns        int64
}

// pathParts sums a path by what was done, the most time first.
func (m *maker) pathParts(a *evidence.Activity) []pathPart {
	var parts []pathPart
	index := map[string]int{}
	for i := range a.Path {
		leg := &a.Path[i]
		text := m.stateWord(leg.State, leg.Reason, leg.Stack)
		if leg.State == evidence.ActBlocked || leg.State == evidence.ActSyscall {
			text += m.lineOf(leg.Stack)
		}
		at, known := index[text]
		if !known {
			at = len(parts)
			index[text] = at
			parts = append(parts, pathPart{text: text, goroutine: leg.Goroutine})
		}
		parts[at].ns += leg.NS
		parts[at].many = parts[at].many || parts[at].goroutine != leg.Goroutine
	}
	slices.SortStableFunc(parts, func(x, y pathPart) int { return cmp.Compare(y.ns, x.ns) })
	return parts
}

// pathText sums a path: "412 ms: 300 ms network wait at fetch.go:31, 80 ms system call at log.go:44 (goroutine 18), 12 ms running". Only
// goroutines other than the one that began it are named.
func (m *maker) pathText(a *evidence.Activity) string {
	parts := m.pathParts(a)
	s := Duration(a.NS)
	if a.Open {
		s += " so far"
	}
	if len(parts) == 0 {
		return s + "; what it spent them on is not known"
	}
	rest, unknown := a.NS, int64(0)
	if a.Cut { // more was done than is kept: the path begins late
		unknown = min(max(a.Path[0].StartNS-a.StartNS, 0), a.NS)
	}
	rest -= unknown
	for i, p := range parts[:min(len(parts), maxPathPart)] {
		lead := ", "
		if i == 0 {
			lead = ": "
		}
		s += lead + Duration(p.ns) + " " + p.text
		if !p.many && p.goroutine != 0 && p.goroutine != a.Goroutine {
			s += fmt.Sprintf(" (goroutine %d)", p.goroutine)
		}
		rest -= p.ns
	}
	if named(a, rest) {
		s += ", " + Duration(rest) + " otherwise"
	}
	if named(a, unknown) {
		s += "; what its first " + Duration(unknown) + " went to was not kept"
	}
	return s
}

// restShare is the share of an activity from which on it is said that parts of its time are not named.
const restShare = 0.01

// named reports whether a part of an activity is large enough to be named.
func named(a *evidence.Activity, part int64) bool {
	return float64(part) >= restShare*float64(a.NS) && part > 0
}

func (m *maker) describeActivity(a *evidence.Activity) string {
	kind := m.kindOf(a)
	return fmt.Sprintf("%s %q of goroutine %d at %s: %s", activityWord(kind.Region), Clip(kind.Name, maxSentence), a.Goroutine,
		Moment(a.StartNS, m.c.Timeline.SpanNS), m.pathText(a))
}
