package report

import (
	"math"
	"time"
	"unicode"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Course is what happened when: the part of a report that only evidence over a span of time has, such as an execution trace. All moments are
// nanoseconds since the beginning, all durations nanoseconds.
type Course struct {
	Sentence   string         `json:"sentence,omitempty"` // what the process spent its time on
	Form       string         `json:"form,omitempty"`     // what the source calls itself: "go 1.26 trace"
	Began      string         `json:"began,omitempty"`    // wall clock of the beginning, RFC 3339 in UTC; absent when the source has none
	SpanNS     int64          `json:"span_ns"`
	Events     uint64         `json:"events"`
	Lost       uint64         `json:"lost,omitempty"`       // events missing from their order or not read, at least
	Processors int            `json:"processors,omitempty"` // GOMAXPROCS, the largest that was seen
	Goroutines Population     `json:"goroutines"`
	Time       TimeSums       `json:"time"`
	Latency    Spread         `json:"latency,omitzero"` // from ready to running
	GC         *Collections   `json:"gc,omitempty"`     // absent when the collector did nothing
	SliceNS    int64          `json:"slice_ns,omitempty"`
	Rows       []CourseRow    `json:"rows,omitempty"`    // one value for each slice of time
	Places     []WaitingPlace `json:"places,omitempty"`  // where goroutines waited, the longest in all first
	Spawns     []Started      `json:"spawns,omitempty"`  // who ran, by go statement, the most processor time first
	Slowest    []Slow         `json:"slowest,omitempty"` // user tasks and regions, with what their time went to
	Kinds      []SlowKind     `json:"kinds,omitempty"`   // user tasks and regions by name
}

// Population counts goroutines.
type Population struct {
	AtStart int    `json:"at_start"`
	Created uint64 `json:"created"`
	Ended   uint64 `json:"ended"`
	AtEnd   int    `json:"at_end"`
	Peak    int    `json:"peak"`
}

// TimeSums are sums over all goroutines of the program, and of the runtime's own and the processors.
type TimeSums struct {
	RunNS     uint64 `json:"run_ns"`
	ReadyNS   uint64 `json:"ready_ns"`
	SyscallNS uint64 `json:"syscall_ns"`
	BlockedNS uint64 `json:"blocked_ns"`
	SystemNS  uint64 `json:"system_ns"` // the runtime's own goroutines on a processor
	IdleNS    uint64 `json:"idle_ns"`   // processors without work
}

// Spread is how durations are distributed. Quantiles are estimates within a power of two.
type Spread struct {
	Count uint64 `json:"count"`
	P50NS int64  `json:"p50_ns"`
	P99NS int64  `json:"p99_ns"`
	MaxNS int64  `json:"max_ns,omitempty"`
}

// Collections is what the garbage collector did.
type Collections struct {
	Cycles      int    `json:"cycles"`
	ActiveNS    uint64 `json:"active_ns"`
	PauseNS     uint64 `json:"pause_ns"` // the world stood still, whoever stopped it
	MaxPauseNS  uint64 `json:"max_pause_ns"`
	AssistNS    uint64 `json:"assist_ns"`     // goroutines in mark assists, waits included
	AssistRunNS uint64 `json:"assist_run_ns"` // of this, on a processor
	WorkerNS    uint64 `json:"worker_ns"`
	SweepNS     uint64 `json:"sweep_ns"`
	HeapMin     uint64 `json:"heap_min"` // bytes
	HeapMax     uint64 `json:"heap_max"`
	HeapLast    uint64 `json:"heap_last"`
	GoalMin     uint64 `json:"goal_min"`
	GoalMax     uint64 `json:"goal_max"`
}

// CourseRow is one figure over time.
type CourseRow struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`   // "goroutines", "share", "MiB", "events"
	How    string    `json:"how"`    // of a slice: "mean", "sum" or "most"; also how slices are joined
	Values []float64 `json:"values"` // by slice
}

// How a value stands for its slice.
const (
	CourseMean = "mean"
	CourseSum  = "sum"
	CourseMost = "most"
)

// permille is the unit of the loads of a Slice.
const permille = 1000

// courseRows are the figures of a Course, in the order in which they are told.
var courseRows = []struct {
	name, unit, how string
	scale           float64
	of              func(*evidence.Slice) uint32
}{
	{"running", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.RunNS }},
	{"ready", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.ReadyNS }},
	{"syscall", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.SyscallNS }},
	{"sync", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.SyncNS }},
	{"channel", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.ChanNS }},
	{"network", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.NetNS }},
	{"sleep", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.SleepNS }},
	{"gc", "share", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.GC }},
	{"assist", "goroutines", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.Assist }},
	{"paused", "share", CourseMean, permille, func(s *evidence.Slice) uint32 { return s.Pause }},
	{"alive", "goroutines", CourseMost, 1, func(s *evidence.Slice) uint32 { return s.Live }},
	{"created", "goroutines", CourseSum, 1, func(s *evidence.Slice) uint32 { return s.Created }},
	{"ended", "goroutines", CourseSum, 1, func(s *evidence.Slice) uint32 { return s.Ended }},
	{"heap", "MiB", CourseMost, 1, func(s *evidence.Slice) uint32 { return s.HeapMB }},
	{"events", "events", CourseSum, 1, func(s *evidence.Slice) uint32 { return s.Events }},
}

// course tells what happened over time, where the evidence has any.
func (m *maker) course() {
	l := m.c.Timeline
	if l == nil {
		return
	}
	m.doc.Course = &Course{
		Sentence: firstWord(stop(m.spent()), unicode.ToUpper), Form: Clip(l.Form, maxSentence), SpanNS: l.SpanNS, Events: l.Events, Lost: l.Lost, Processors: max(l.Procs, 0),
		Goroutines: Population{max(l.AtStart, 0), l.Created, l.Ended, max(l.AtEnd, 0), max(l.Peak, 0)},
		Time:       TimeSums{l.RunNS, l.ReadyNS, l.SyscallNS, l.BlockedNS, l.SystemNS, l.IdleNS},
		Latency:    spreadOf(&l.Latency, 0), GC: collectionsOf(&l.GC), SliceNS: l.SliceNS, Rows: rowsOf(l),
		Places: m.waitingPlaces(), Spawns: m.started(), Slowest: m.slowest(), Kinds: m.slowKinds(),
	}
	if l.WallNS != 0 {
		m.doc.Course.Began = time.Unix(0, l.WallNS).UTC().Format(time.RFC3339Nano)
	}
}

func rowsOf(l *evidence.Timeline) []CourseRow {
	var rows []CourseRow
	slices := l.Slices[:min(len(l.Slices), evidence.MaxSlices)]
	for _, r := range courseRows {
		row := CourseRow{Name: r.name, Unit: r.unit, How: r.how}
		some := false
		for i := range slices {
			v := float64(r.of(&slices[i])) / r.scale
			some = some || v != 0
			row.Values = append(row.Values, v)
		}
		if some {
			rows = append(rows, row)
		}
	}
	return rows
}

func spreadOf(h *evidence.Histogram, most uint64) Spread {
	return Spread{Count: h.Total(), P50NS: h.QuantileUpTo(0.5, most), P99NS: h.QuantileUpTo(0.99, most), MaxNS: int64(min(most, math.MaxInt64))}
}

func collectionsOf(g *evidence.GCWork) *Collections {
	if *g == (evidence.GCWork{}) {
		return nil
	}
	return &Collections{g.Cycles, g.ActiveNS, g.PauseNS, g.MaxPause, g.AssistNS, g.AssistRun, g.WorkerNS, g.SweepNS,
		g.HeapMin, g.HeapMax, g.HeapLast, g.GoalMin, g.GoalMax}
}

// Columns says into how many columns, of how many slices each, a Course is joined so that there are at most most of them.
func (c *Course) Columns(most int) (columns, per int) {
	n := 0
	for i := range c.Rows {
		n = max(n, len(c.Rows[i].Values))
	}
	if n == 0 || most <= 0 {
		return 0, 1
	}
	per = (n + most - 1) / most
	return (n + per - 1) / per, per
}

// Join is the row with per slices in each value.
func (r *CourseRow) Join(per int) []float64 {
	if per <= 1 {
		return r.Values
	}
	var out []float64
	for at := 0; at < len(r.Values); at += per {
		part := r.Values[at:min(at+per, len(r.Values))]
		v := 0.0
		for _, x := range part {
			if r.How == CourseMost {
				v = max(v, x)
			} else {
				v += x
			}
		}
		if r.How == CourseMean {
			v /= float64(len(part))
		}
		out = append(out, v)
	}
	return out
}

// Range is the smallest and the largest value.
func (r *CourseRow) Range() (least, most float64) {
	for i, v := range r.Values {
		if i == 0 || v < least {
			least = v
		}
		most = max(most, v)
	}
	return least, most
}
