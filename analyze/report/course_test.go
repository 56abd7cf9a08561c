package report_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

func TestDuration(t *testing.T) {
	for ns, want := range map[int64]string{0: "0 ns", 1: "1 ns", 999: "999 ns", 1000: "1 µs", 35_000: "35 µs", 999_400: "999 µs", 999_600: "1 ms", 1_284_000: "1.28 ms",
		412_000_000: "412 ms", 99_960_000: "100 ms", 1_284_000_000: "1.28 s", 59_900_000_000: "59.9 s", 60_000_000_000: "1m0s", 3_723_400_000_000: "1h2m3s",
		-35_000: "-35 µs", math.MinInt64: "-" + time.Duration(math.MaxInt64).Round(time.Second).String()} {
		if got := report.Duration(ns); got != want {
			t.Errorf("Duration(%d) = %q, want %q", ns, got, want)
		}
	}
}

func TestMoment(t *testing.T) {
	for _, test := range []struct {
		ns, span int64
		want     string
	}{{1_284_000_000, 5e9, "+1.284 s"}, {0, 5e9, "+0.000 s"}, {1_284_000, 2e6, "+1.284 ms"}, {700, 1000, "+0.001 ms"}} {
		if got := report.Moment(test.ns, test.span); got != test.want {
			t.Errorf("Moment(%d, %d) = %q, want %q", test.ns, test.span, got, test.want)
		}
	}
}

func TestSpark(t *testing.T) {
	values := []float64{0, 0.001, 1, 4, 8, 9, math.NaN(), -1, math.Inf(1)}
	if got := report.Spark(values, 8, false); got != " ▁▁▄██  █" {
		t.Errorf("blocks: %q", got)
	}
	if got := report.Spark(values, 8, true); got != " ..=@@  @" {
		t.Errorf("plain: %q", got)
	}
	if got := report.Spark([]float64{1}, 0, false); got != " " {
		t.Errorf("without a scale: %q", got)
	}
}

// Joining slices keeps means, sums and largest values what they are.
func TestJoin(t *testing.T) {
	for how, want := range map[string][]float64{report.CourseMean: {2, 5}, report.CourseSum: {4, 5}, report.CourseMost: {3, 5}} {
		r := report.CourseRow{How: how, Values: []float64{1, 3, 5}}
		if got := r.Join(2); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", how, got, want)
		}
		if got := r.Join(1); !slices.Equal(got, r.Values) {
			t.Errorf("%s: one by one is %v", how, got)
		}
	}
}

func TestColumns(t *testing.T) {
	for _, test := range []struct{ slices, most, columns, per int }{{81, 64, 41, 2}, {128, 64, 64, 2}, {64, 64, 64, 1}, {3, 64, 3, 1}, {0, 64, 0, 1}, {128, 8, 8, 16}, {5, 0, 0, 1}, {1, 1, 1, 1}} {
		c := report.Course{Rows: []report.CourseRow{{Values: make([]float64, test.slices)}}}
		if columns, per := c.Columns(test.most); columns != test.columns || per != test.per {
			t.Errorf("%d slices in at most %d: %d columns of %d, want %d of %d", test.slices, test.most, columns, per, test.columns, test.per)
		}
	}
}

// The marks of the axis stand at the columns whose moments they name.
func TestAxis(t *testing.T) {
	c := report.Course{SliceNS: 16 * ms, Rows: []report.CourseRow{{Values: make([]float64, 81)}}}
	axis := c.Axis(64)
	if want := "|+0           |+448 ms      |+896 ms"; axis != want {
		t.Errorf("%q, want %q", axis, want)
	}
	for _, odd := range []report.Course{{}, {SliceNS: -1, Rows: c.Rows}, {SliceNS: math.MaxInt64, Rows: c.Rows}} {
		if got := odd.Axis(64); got != "" {
			t.Errorf("%+v has the axis %q", odd.SliceNS, got)
		}
	}
}

func TestSparks(t *testing.T) {
	c := report.Course{Processors: 4, SliceNS: ms, Rows: []report.CourseRow{
		{Name: "running", Unit: "goroutines", How: report.CourseMean, Values: []float64{4, 2, 0.1}},
		{Name: "ready", Unit: "goroutines", How: report.CourseMean, Values: []float64{0.01, 0, 0}},
		{Name: "sleep", Unit: "goroutines", How: report.CourseMean, Values: []float64{0.3, 2, 0.5}},
		{Name: "gc", Unit: "share", How: report.CourseMean, Values: []float64{0, 0.5, 0}},
		{Name: "alive", Unit: "goroutines", How: report.CourseMost, Values: []float64{7, 7, 7}},
		{Name: "created", Unit: "goroutines", How: report.CourseSum, Values: []float64{0, 0, 30}}}}
	var got []string
	for _, r := range c.Sparks(64, false, true) {
		got = append(got, r.Label+" "+r.Line+" "+r.Note)
	}
	want := []string{"running █▄▁ at most 4 of 4", "GC active  ▄  at most 50 %", "created   █ at most 30 in 1 ms"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if n := len(c.Sparks(64, false, false)); n != 6 {
		t.Errorf("the long form has %d rows", n)
	}
}

func traceDocument(res *diagnosis.Result) *report.Document {
	return report.Build(res, report.Meta{Tool: "postmortem", Version: "0.1.0"})
}

// Evidence over time is not of one moment: nothing says so, and nobody is sent for a trace.
func TestTraceIsNoMoment(t *testing.T) {
	doc := traceDocument(quiet())
	text := string(encode(t, doc))
	for _, no := range []string{"a state, not a rate", "Take a second capture", "at that moment", " unwound"} {
		if strings.Contains(text, no) {
			t.Errorf("a trace is told with %q", no)
		}
	}
	for _, want := range []string{"rules looked at 424 goroutines over 1.28 s", "of 8 processors", "Most waiting: 25 s of waiting for the network in api.fetch at fetch.go:31",
		"Most processor time: 280 ms of 310 ms", "does not show sizes of reads and writes", "postmortem profile sync -o sync.pb.gz trace.out", "1,234,567 events over 1.28 s read, at least 12 lost"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if doc.Verdict.Status != report.Clean {
		t.Errorf("verdict %s", doc.Verdict.Status)
	}
}

func TestLostEventsAreInconclusive(t *testing.T) {
	for name, change := range map[string]func(*evidence.Timeline){
		"of 200 events are lost": func(l *evidence.Timeline) { l.Lost = 100 },
		"no event could be read": func(l *evidence.Timeline) { l.Events = 0 },
		"have no names":          func(l *evidence.Timeline) { l.NoNames = true },
	} {
		b := newTrace()
		l := evidence.Timeline{SpanNS: ms, Events: 100}
		change(&l)
		b.Timeline(l)
		v := traceDocument(result(b.Finish())).Verdict
		if v.Status != report.Inconclusive || !strings.Contains(v.Sentence, name) {
			t.Errorf("%s: %s, %q", name, v.Status, v.Sentence)
		}
	}
	b := newTrace()
	b.Timeline(evidence.Timeline{SpanNS: ms, Events: 100_000, Lost: 900}) // below one of a hundred
	if v := traceDocument(result(b.Finish())).Verdict; v.Status != report.Clean {
		t.Errorf("few lost events: %s, %q", v.Status, v.Sentence)
	}
}

// Goroutines that have ended are described by what they did, with the stack of their go statement.
func TestEndedGoroutine(t *testing.T) {
	doc := traceDocument(traced())
	for _, r := range doc.Rows {
		switch r.Ref {
		case "goroutine:18":
			if !strings.HasPrefix(r.Text, "ended, executed (*Server).serve, started in (*Server).Run at server.go:64; running 90 ms") {
				t.Errorf("goroutine 18: %q", r.Text)
			}
			at := slices.IndexFunc(doc.Stacks, func(g report.Group) bool { return g.ID == r.Stack })
			if at < 0 || doc.Stacks[at].Frames[0].Line != 64 {
				t.Errorf("the stack of goroutine 18 is %d in %d", r.Stack, len(doc.Stacks))
			}
		case "goroutine:7": // alive, and an actor
			if !strings.Contains(r.Text, "IO wait") || !strings.Contains(r.Text, "on a processor once") {
				t.Errorf("goroutine 7: %q", r.Text)
			}
		}
	}
}

// The events stand in the order of time, each with its source.
func TestEventsInOrder(t *testing.T) {
	var at []string
	for _, e := range traceDocument(traced()).Timeline {
		at = append(at, e.At)
		if e.Source == "" || len(e.Refs) == 0 || !strings.HasPrefix(e.At, "+") {
			t.Errorf("event %+v", e)
		}
	}
	if !slices.IsSorted(at) || len(at) < 10 {
		t.Errorf("events at %q", at)
	}
}

func TestSlowest(t *testing.T) {
	c := traceDocument(traced()).Course
	if len(c.Slowest) != 2 || c.Slowest[0].Name != "checkout" || c.Slowest[0].Kind != "task" {
		t.Fatalf("slowest: %+v", c.Slowest)
	}
	want := "412 ms: 300 ms network wait at fetch.go:31, 80 ms sync.Mutex.Lock wait at ledger.go:42, " +
		"19 ms system call at ledger.go:44 (goroutine 21), 12 ms running"
	if got := c.Slowest[0].Text; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	var sum int64
	last := int64(0)
	for _, leg := range c.Slowest[0].Legs {
		if leg.StartNS < last {
			t.Errorf("legs are out of order: %+v", c.Slowest[0].Legs)
		}
		last = leg.StartNS
		sum += leg.NS
	}
	if sum != c.Slowest[0].NS {
		t.Errorf("legs of %d ns in a task of %d", sum, c.Slowest[0].NS)
	}
	if got := c.Slowest[1].Text; got != "100 ms so far; what it spent them on is not known" {
		t.Errorf("without a path: %q", got)
	}
}

// A path of a thousand legs keeps the longest, in order, and says how many are missing.
func TestLongPath(t *testing.T) {
	b := newTrace()
	a := evidence.Activity{NS: 1000 * ms, Cut: true}
	for i := range int64(1000) {
		a.Path = append(a.Path, evidence.Leg{Goroutine: i % 7, State: evidence.ActState(i % 4), Reason: "r" + string(rune('a'+i%26)), StartNS: (500 + i) * ms, NS: (i * 37) % 101})
	}
	b.Timeline(evidence.Timeline{SpanNS: 1000 * ms, Events: 1, Kinds: []evidence.ActivityKind{{Name: "long"}}, Activities: []evidence.Activity{a}})
	s := traceDocument(result(b.Finish())).Course.Slowest[0]
	if len(s.Legs) != 64 || s.Omitted != 936 {
		t.Errorf("%d legs, %d omitted", len(s.Legs), s.Omitted)
	}
	if !slices.IsSortedFunc(s.Legs, func(x, y report.Leg) int { return int(x.StartNS - y.StartNS) }) {
		t.Error("legs are out of order")
	}
	if !strings.HasSuffix(s.Text, "; what its first 500 ms went to was not kept") {
		t.Errorf("the text hides what is not known: %q", s.Text)
	}
}

// A burst is told once, at its moment; a steady stream is none.
func TestBursts(t *testing.T) {
	steady, burst := make([]uint32, 64), make([]uint32, 64)
	for i := range steady {
		steady[i], burst[i] = 100, 1
	}
	burst[32] = 400
	b := newTrace()
	b.Timeline(evidence.Timeline{SpanNS: 1024 * ms, Events: 1, SliceNS: 16 * ms, Slices: make([]evidence.Slice, 64),
		Spawns: []evidence.Spawn{{Created: 6400, Births: steady}, {Created: 463, Births: burst}, {System: true, Created: 463, Births: burst}}})
	var got []string
	for _, e := range traceDocument(result(b.Finish())).Timeline {
		if strings.Contains(e.Text, "started within") {
			got = append(got, e.At+" "+e.Text)
		}
	}
	if want := []string{"+0.512 s 400 goroutines started within 16 ms, of 463 in all"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
