package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// Every kind of row of a Timeline is one line that says what, how often, how long, where and when.
func TestRowsOfTimeline(t *testing.T) {
	rows := map[string]string{}
	for _, r := range traceDocument(traced()).Rows {
		rows[r.Ref] = r.Text
	}
	const ledger, checkout = ", in (*Ledger).Add at ledger.go:42", ", in (*Server).checkout at checkout.go:20"
	for ref, want := range map[string]string{
		"site:0": "goroutines blocked here 1,204 times (sync), 21 s in all, 25.2 ms at the median, at most 210 ms, up to 96 at once, 7 of them still at the end" +
			ledger + ", from +0.640 s to +0.960 s",
		"site:2": "goroutines entered a system call here 1,210 times, 900 ms in all, 524 µs at the median, at most 12 ms, in (*Ledger).Add at ledger.go:44, from +0.640 s to +0.961 s",
		"site:4": "goroutines were made ready from here 1,204 times, 10 ms in all, 6.14 µs at the median, at most 1 ms, in (*Ledger).Add at ledger.go:47, from +0.641 s to +0.960 s",
		"site:6": "goroutines were taken from the processor here 3 times, while they computed, 60 ms in all, 0 ns at the median, at most 24 ms" + checkout + ", from +0.100 s to +0.130 s",
		"site:7": "31 CPU samples in (*Server).checkout at checkout.go:20",
		"site:8": "goroutines gave the processor away here once" + checkout + ", at +0.005 s",
		"site:9": "goroutines assisted the collector here 4 times, 2 ms in all, 0 ns at the median, at most 1 ms" + checkout + ", from +0.005 s to +0.050 s",
		"release:0": "1,197 waits at site:0 ended from here, 20 s of waiting in all, at most 210 ms; who let go had held it for 310 ms in all, at most 12 ms, " +
			"meanwhile 290 ms system call at ledger.go:44, 20 ms running; let go in (*Ledger).Add at ledger.go:47",
		"spawn:1": "goroutines that execute (*Server).serve: 412 created, 380 ended, at most 110 alive, 32 at the end; running 2.9 s, ready 38 ms, in system calls 900 ms, " +
			"blocked 40 s; started in (*Server).Run at server.go:64",
		"spawn:2": "goroutines of the runtime: 0 created, 8 there before, 0 ended, at most 8 alive, 8 at the end; running 120 ms, ready 0 ns, in system calls 0 ns, blocked 0 ns",
		"pair:0": "goroutines 7 and 18 woke each other 90,000 times and ran 300 ms meanwhile; 7 waited in sync.Mutex.Lock wait at ledger.go:42; 18 waited in network wait at fetch.go:31" +
			", from +0.010 s to +0.900 s",
		"episode:0":  "a cycle of the collector of 30 ms, at +0.150 s",
		"episode:2":  "the world stood still for 1.42 ms (GC mark termination), at +1.144 s",
		"episode:4":  "nobody ran and nobody was in a system call for 9 ms, though goroutines were ready or waited for each other, at +0.700 s",
		"episode:5":  "goroutine 18 kept a processor for 24 ms without a break in (*Server).checkout at checkout.go:20, at +0.106 s",
		"activity:0": `region "price" of goroutine 18 at +0.120 s: 4 ms: 4 ms running`,
		"timeline": "1,234,567 events over 1.28 s; goroutines: 12 at the beginning, 412 created, 380 ended, at most 120 alive; " +
			"running 3.1 s, ready 40 ms, in system calls 900 ms, blocked 48 s",
	} {
		if rows[ref] != want {
			t.Errorf("%s:\n%q\nwant\n%q", ref, rows[ref], want)
		}
	}
}

// What the process spent its time on, in one sentence.
func TestSpent(t *testing.T) {
	for want, l := range map[string]evidence.Timeline{
		"Over 1 s no goroutine was seen running.":                                            {SpanNS: 1e9},
		"Over 1 s its goroutines kept 1.5 processors busy on average.":                       {SpanNS: 1e9, RunNS: 15e8},
		"Over 1 s its goroutines kept 1.5 of 4 processors busy on average.":                  {SpanNS: 1e9, RunNS: 15e8, Procs: 4},
		"It was busy: over 1 s its goroutines kept 3.9 of 4 processors occupied on average.": {SpanNS: 1e9, RunNS: 39e8, Procs: 4},
		"It was mostly idle: over 1 s its goroutines kept 0.05 of 1 processor occupied on average.": {SpanNS: 1e9, RunNS: 5e7, Procs: 1,
			Sites: []evidence.Site{{Kind: evidence.SiteSyscall, Count: 1, TotalNS: 1e9}}},
		"Over 1 s its goroutines kept 1.0 of 4 processors busy on average; the collector was active 0.5 % of the time.": {SpanNS: 1e9, RunNS: 1e9, Procs: 4,
			GC: evidence.GCWork{Cycles: 1, ActiveNS: 5e6}},
		"Over 1 s its goroutines kept 1.0 of 4 processors busy on average; the collector was active less than 0.1 % of the time.": {SpanNS: 1e9, RunNS: 1e9, Procs: 4,
			GC: evidence.GCWork{Cycles: 1, ActiveNS: 5}},
		"Over 1 s its goroutines kept 0.10 of 2 processors busy on average; the collector was active 80 % of the time; its workers kept 1.4 of 2 processors busy.": {
			SpanNS: 1e9, RunNS: 1e8, SystemNS: 145e7, Procs: 2, GC: evidence.GCWork{Cycles: 50, ActiveNS: 8e8, WorkerNS: 14e8}},
		"Over 1 s its goroutines kept 0.05 of 1 processor busy on average; 0.9 goroutines on average were in short system calls.": {
			SpanNS: 1e9, RunNS: 5e7, Procs: 1, Sites: []evidence.Site{{Kind: evidence.SiteSyscall, Count: 90_000, TotalNS: 9e8}}},
	} {
		b := newTrace()
		l.Events = 1
		b.Timeline(l)
		if got := traceDocument(result(b.Finish())).Course.Sentence; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// finding is one that cites rows of a trace.
func finding(class string, refs ...evidence.Ref) diagnosis.Finding {
	return diagnosis.Finding{Rule: class, Class: class, Claim: "something", Because: []diagnosis.Reason{because("rows", refs...)}, Severity: diagnosis.Warning, Confidence: diagnosis.Likely}
}

// The beginning and the end of what a finding names are events, with the rows that they were read from.
func TestSignsOfFindings(t *testing.T) {
	for name, test := range map[string]struct {
		refs []evidence.Ref
		want []string
	}{
		"first and last":           {[]evidence.Ref{evidence.SiteRef(0), evidence.SiteRef(1), evidence.SpawnRef(0)}, []string{"+2.000 s the first sign of F1 (x)", "+6.000 s the last sign of F1 (x)"}},
		"one moment":               {[]evidence.Ref{evidence.SiteRef(2)}, []string{"+4.000 s the only sign of F1 (x)"}},
		"throughout":               {[]evidence.Ref{evidence.SiteRef(3)}, []string{"+0.100 s signs of F1 (x) from the beginning to the end"}},
		"go statements only alone": {[]evidence.Ref{evidence.SpawnRef(0)}, []string{"+1.000 s the first sign of F1 (x)", "+8.000 s the last sign of F1 (x)"}},
		"a release is its site":    {[]evidence.Ref{evidence.ReleaseRef(0)}, []string{"+3.000 s the first sign of F1 (x)", "+6.000 s the last sign of F1 (x)"}},
		"an episode, an activity": {[]evidence.Ref{evidence.EpisodeRef(0), {Kind: evidence.RefActivity}, {Kind: evidence.RefPair}},
			[]string{"+5.000 s the first sign of F1 (x)", "+7.500 s the last sign of F1 (x)"}},
		"nothing dated": {[]evidence.Ref{{Kind: evidence.RefTimeline}}, nil},
	} {
		b := newTrace()
		b.Timeline(evidence.Timeline{SpanNS: 10e9, Events: 1, Sites: []evidence.Site{{FirstNS: 2e9, LastNS: 5e9}, {FirstNS: 3e9, LastNS: 6e9}, {FirstNS: 4e9, LastNS: 4e9}, {FirstNS: 1e8, LastNS: 99e8}},
			Releases: []evidence.Release{{Site: 1}}, Spawns: []evidence.Spawn{{Created: 2, FirstNS: 1e9, LastNS: 8e9}}, Episodes: []evidence.Episode{{StartNS: 5e9, NS: 1e9}},
			Pairs: []evidence.Pair{{FirstNS: 6e9, LastNS: 7e9}}, Kinds: []evidence.ActivityKind{{Region: true}}, Activities: []evidence.Activity{{StartNS: 7e9, NS: 5e8}}})
		doc := traceDocument(result(b.Finish(), finding("x", test.refs...)))
		var got []string
		for _, e := range doc.Timeline {
			if strings.Contains(e.Text, "F1") {
				got = append(got, e.At+" "+e.Text)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Without a collection nothing is said of the collector, and waits that a trace dates are not dated from the end.
func TestNoCollection(t *testing.T) {
	b := newTrace()
	s, _ := serverStacks(b)
	b.Timeline(evidence.Timeline{SpanNS: 5e9, Events: 1, GC: evidence.GCWork{PauseNS: 30_000, MaxPause: 20_000}})
	b.Goroutine(evidence.Goroutine{ID: 1, State: evidence.StateWaiting, Stack: s.lock, Seconds: 3})
	doc := traceDocument(result(b.Finish()))
	if text := doc.Impact[2].Text; text != "No collection began; the world stood still for 30 µs, at most 20 µs at once." {
		t.Errorf("%q", text)
	}
	for _, e := range doc.Timeline {
		if !strings.HasPrefix(e.At, "+") {
			t.Errorf("event %+v", e)
		}
	}
}

// Remarks are told once, among the findings: their rows are no events.
func TestRemarksAreNoEvents(t *testing.T) {
	for _, e := range traceDocument(traced()).Timeline {
		if strings.Contains(e.Text, "F2") {
			t.Errorf("event %q", e.Text)
		}
	}
}

// A stall is told when somebody wanted to run, and not when everybody slept.
func TestStalls(t *testing.T) {
	for name, test := range map[string]struct {
		slice evidence.Slice
		want  int
	}{
		"all sleep":        {evidence.Slice{SleepNS: 9000, NetNS: 3000}, 0},
		"ready":            {evidence.Slice{ReadyNS: 1000}, 1},
		"for each other":   {evidence.Slice{ChanNS: 400, SyncNS: 400}, 1},
		"hardly ever":      {evidence.Slice{ReadyNS: 100}, 0},
		"nothing is known": {evidence.Slice{}, 0},
	} {
		b := newTrace()
		b.Timeline(evidence.Timeline{SpanNS: 1e9, Events: 1, SliceNS: 16 * ms, Slices: slices.Repeat([]evidence.Slice{test.slice}, 63),
			Episodes: []evidence.Episode{{Kind: evidence.EpisodeStall, StartNS: 100 * ms, NS: 80 * ms}, {Kind: evidence.EpisodePause, StartNS: 1, NS: 10_000}}})
		got := 0
		for _, e := range traceDocument(result(b.Finish())).Timeline {
			if strings.Contains(e.Text, "nobody ran") {
				got++
			}
			if strings.Contains(e.Text, "stood still") {
				t.Errorf("a pause of 10 µs is told: %q", e.Text)
			}
		}
		if got != test.want {
			t.Errorf("%s: %d stalls, want %d", name, got, test.want)
		}
	}
}

// Places where the runtime waits for work are nobody's waits; of a library the frame is named that does more than to wait.
func TestPlaces(t *testing.T) {
	b := newTrace()
	stack := func(functions ...string) evidence.StackID {
		var ids []evidence.FrameID
		for _, f := range functions {
			ids = append(ids, frame(b, f, "/go/src/x.go", 10))
		}
		return b.Stack(ids, evidence.StackNote{})
	}
	site := func(reason string, total uint64, functions ...string) evidence.Site {
		return evidence.Site{Kind: evidence.SiteBlock, Reason: reason, Count: 2, TotalNS: total, Stack: stack(functions...)}
	}
	b.Timeline(evidence.Timeline{SpanNS: 1e9, Events: 1, RunNS: 1, Sites: []evidence.Site{
		site("sleep", 900, "runtime.bgscavenge"), site("chan receive", 800, "runtime.chanrecv1", "runtime/trace.(*tracer).read"),
		site("system goroutine wait", 700, "main.f"), site("", 650, "main.f"), {Kind: evidence.SiteBlock, Reason: "select", TotalNS: 600},
		site("select", 500, "runtime.selectgo", "net/http.(*persistConn).writeLoop"),
		site("network", 400, "internal/poll.(*FD).Read", "net.(*conn).Read", "bufio.(*Reader).Peek", "net/http.(*conn).serve", "example.com/app.(*server).run"),
		site("sync", 300, "sync.(*WaitGroup).Wait", "runtime.main"),
		site("sync", 200, "runtime.gopark", "runtime.semacquire", "runtime.gcStart", "runtime.mallocgc", "main.fill"),
		{Kind: evidence.SiteReady, TotalNS: 100, Stack: stack("main.f")}}})
	doc := traceDocument(result(b.Finish()))
	var got []string
	for _, p := range doc.Course.Places {
		got = append(got, p.What()+" "+p.Location.Function)
	}
	want := []string{"select net/http.(*persistConn).writeLoop", "network example.com/app.(*server).run", "sync.WaitGroup.Wait sync.(*WaitGroup).Wait", "runtime.gcStart main.fill"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if want := "Most waiting: 500 ns of waiting (select) in (*persistConn).writeLoop at x.go:10, 2 times."; !slices.Contains(doc.Verdict.Detail, want) {
		t.Errorf("no %q in %q", want, doc.Verdict.Detail)
	}
}

// The profile to look at next is the one that shows what was found.
func TestNextProfile(t *testing.T) {
	for class, want := range map[string]string{"lock-hog": "mutex-holder", "sched-starvation": "sched", "slow-dependency": "net", "syscall-churn": "syscall", "anything": "sync"} {
		b := newTrace()
		b.Timeline(evidence.Timeline{SpanNS: 1e9, Events: 1, Sites: []evidence.Site{{}}})
		doc := traceDocument(result(b.Finish(), finding(class, evidence.SiteRef(0))))
		if step := "postmortem profile " + want + " -o " + want + ".pb.gz trace.out"; !slices.Contains(doc.Next, step) {
			t.Errorf("%s: no %q in %q", class, step, doc.Next)
		}
	}
	for _, step := range traceDocument(healthy()).Next {
		if strings.Contains(step, "profile") {
			t.Errorf("evidence of one moment leads to %q", step)
		}
	}
}

// A dump beside a trace: both are told, and the goroutines of the dump are those of the last moment.
func TestTraceBesideDump(t *testing.T) {
	b := newTrace()
	s, start := serverStacks(b)
	b.Timeline(serverTimeline(s, start))
	b.Source(evidence.Source{Path: "dump.txt", Format: "godump"})
	refs := parked(b, 1, 900, "chan receive", "example.com/shop/api.(*Server).loop", "/src/shop/api/loop.go", 3, 0)
	b.Thread(evidence.Thread{TID: 7})
	b.Coverage(evidence.Coverage{GoroutinesSeen: 900, GoroutinesUnwound: 900, ThreadsSeen: 4, ThreadsUnwound: 3})
	f := finding("x", evidence.SiteRef(0))
	f.Victims = refs
	doc := traceDocument(result(b.Finish(), f))
	if want := "1,234,567 events over 1.28 s read, none known to be lost; 900 goroutines seen; 3 of 4 threads unwound"; doc.Coverage.Sentence != want {
		t.Errorf("coverage %q, want %q", doc.Coverage.Sentence, want)
	}
	if want := "Finding F1 affects 900 of 900 goroutines; what it names was seen between +0.640 s and +0.960 s."; doc.Impact[0].Text != want {
		t.Errorf("impact %q, want %q", doc.Impact[0].Text, want)
	}
	if doc.Process.GOMAXPROCS != 8 || len(doc.Inputs) != 2 || !strings.HasSuffix(doc.Timeline[0].Source, "of trace.out, dump.txt") {
		t.Errorf("process %+v, inputs %v, source %q", doc.Process, doc.Inputs, doc.Timeline[0].Source)
	}
}

// Tables and lists of a Course are bounded, whatever a trace has.
func TestCourseIsBounded(t *testing.T) {
	b := newTrace()
	l := evidence.Timeline{SpanNS: 1e9, Events: 1, SliceNS: ms, Slices: make([]evidence.Slice, 5000)}
	stack := b.Stack([]evidence.FrameID{frame(b, "main.f", "/src/f.go", 1)}, evidence.StackNote{})
	for i := range 3000 {
		n := uint64(i + 1)
		l.Sites = append(l.Sites, evidence.Site{Kind: evidence.SiteBlock, Reason: "select", Stack: stack, TotalNS: n})
		l.Spawns = append(l.Spawns, evidence.Spawn{Stack: stack, Created: n, Births: []uint32{5000}})
		l.Kinds = append(l.Kinds, evidence.ActivityKind{Name: strings.Repeat("n", 5000), TotalNS: n})
		l.Activities = append(l.Activities, evidence.Activity{Kind: i, NS: int64(i), Logs: slices.Repeat([]string{"log"}, 100)})
		l.Episodes = append(l.Episodes, evidence.Episode{Kind: evidence.EpisodeRun, NS: 1e9})
	}
	l.Slices[0].RunNS = 1
	b.Timeline(l)
	doc := traceDocument(result(b.Finish()))
	c := doc.Course
	if len(c.Places) != 12 || len(c.Spawns) != 12 || len(c.Kinds) != 40 || len(c.Slowest) != 3 || len(c.Slowest[0].Logs) != 8 || len(doc.Timeline) > 40 {
		t.Errorf("%d places, %d spawns, %d kinds, %d slow, %d logs, %d events", len(c.Places), len(c.Spawns), len(c.Kinds), len(c.Slowest), len(c.Slowest[0].Logs), len(doc.Timeline))
	}
	if c.Places[0].TotalNS != 3000 || c.Slowest[0].NS != 2999 || len(c.Kinds[0].Name) > 500 || len(c.Rows[0].Values) != evidence.MaxSlices {
		t.Errorf("the first place has %d ns, the slowest %d ns, a name %d bytes, a row %d values", c.Places[0].TotalNS, c.Slowest[0].NS, len(c.Kinds[0].Name), len(c.Rows[0].Values))
	}
}

// Tasks go before regions; where there are no tasks the slowest regions are told.
func TestTasksBeforeRegions(t *testing.T) {
	for _, test := range []struct {
		kinds []evidence.ActivityKind
		want  []string
	}{
		{[]evidence.ActivityKind{{Region: true, Name: "r"}, {Name: "t"}}, []string{"t"}},
		{[]evidence.ActivityKind{{Region: true, Name: "r"}, {Region: true, Name: "s"}}, []string{"r", "s"}},
	} {
		b := newTrace()
		b.Timeline(evidence.Timeline{SpanNS: 1e9, Events: 1, Kinds: test.kinds, Activities: []evidence.Activity{{Kind: 1, NS: 5}, {Kind: 0, NS: 9}}})
		var got []string
		for _, s := range traceDocument(result(b.Finish())).Course.Slowest {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: %q, want %q", test.kinds, got, test.want)
		}
	}
	s := report.Slow{Legs: []report.Leg{{StartNS: 1, NS: 5}, {StartNS: 2, NS: 1}, {StartNS: 3, NS: 9}}}
	if got := s.Longest(2); len(got) != 2 || got[0].StartNS != 1 || got[1].StartNS != 3 || len(s.Longest(9)) != 3 {
		t.Errorf("the longest two of %v are %v", s.Legs, got)
	}
}
