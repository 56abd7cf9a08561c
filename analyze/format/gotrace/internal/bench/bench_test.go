package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// childEnv makes the test binary a tool to measure.
const childEnv = "TRACEBENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "answer":
		os.Stdout.WriteString("17\n")
	case "fail":
		os.Stderr.WriteString("no such trace\n")
		os.Exit(3)
	case "silent":
	case "swell":
		block := make([]byte, 256<<20)
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			for i := range block {
				block[i]++
			}
		}
	}
}

// peer is a tool of which the executable is this test.
func peer(name, does string) builtTool {
	return builtTool{tool{name: name, what: name, env: []string{childEnv + "=" + does},
		argv: func(exe, trace string) []string { return []string{exe, trace} }}, os.Args[0]}
}

// tracesIn makes a work folder in which a trace lies ready.
func tracesIn(t *testing.T, s traceSpec, size int) {
	t.Helper()
	t.Setenv("POSTMORTEM_FIXTURE_CACHE", filepath.Join(t.TempDir(), "fixtures"))
	path, err := s.place()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMeasureTrace(t *testing.T) {
	s := allTraces[0]
	tracesIn(t, s, 4_200_000)
	reader, left := peer(xpReader, "answer"), peer("left", "answer")
	reader.events = printedEvents
	left.skip = map[string]string{s.name: "too large"}
	got, err := measureTrace(context.Background(), s, []builtTool{reader, left}, 3)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if r := got[0]; r.runs != 3 || r.events != 17 || r.traceBytes != 4_200_000 || r.median.Wall < r.best.Wall || r.rssMax < r.median.RSS {
		t.Errorf("result %+v", r)
	}
	if r := got[1]; r.runs != 0 || r.skipped != "too large" {
		t.Errorf("result %+v of a tool that is left out", r)
	}
}

// TestMeasureTraceFault: a tool that fails, or prints nothing, did not do what is measured, and its time says nothing.
func TestMeasureTraceFault(t *testing.T) {
	s := allTraces[0]
	tracesIn(t, s, 1)
	for does, want := range map[string]string{"fail": "no such trace", "silent": "printed nothing"} {
		_, err := measureAll(context.Background(), []traceSpec{s}, []builtTool{peer(ours, does)}, 1)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.name) {
			t.Errorf("%s: error %v: want %q", does, err, want)
		}
	}
	odd := peer(xpReader, "answer")
	for _, events := range []func([]byte) (uint64, error){reportedEvents, func([]byte) (uint64, error) { return 0, nil }} {
		odd.events = events
		if _, err := measureTrace(context.Background(), s, []builtTool{odd}, 1); err == nil || !strings.Contains(err.Error(), "how many events") {
			t.Errorf("error %v of a tool that read no events", err)
		}
	}
}

func TestReportedEvents(t *testing.T) {
	if n, err := reportedEvents([]byte(`{"tool": {"name": "postmortem"}, "course": {"form": "go 1.26 trace", "events": 12}}`)); n != 12 || err != nil {
		t.Error(n, err)
	}
	if n, err := reportedEvents([]byte(`{"findings": []}`)); n != 0 || err != nil {
		t.Errorf("%d events of a report without a course, %v", n, err)
	}
}

func TestUnfit(t *testing.T) {
	tool := tool{memory: 10e9, skip: map[string]string{longTrace: "too long"}}
	large, small, long := traceSpec{name: serverTrace}, traceSpec{name: smallTrace}, traceSpec{name: longTrace}
	for _, test := range []struct {
		trace     traceSpec
		available uint64
		want      string
	}{
		{large, 11e9, ""}, {large, 9e9, "9000 MB were free"}, {large, 0, ""}, {small, 9e9, ""}, {long, 11e9, "too long"},
	} {
		if got := tool.unfit(test.trace, test.available); got != test.want && (test.want == "" || !strings.Contains(got, test.want)) {
			t.Errorf("%s with %d free: %q, want %q", test.trace.name, test.available, got, test.want)
		}
	}
}

// sample are results: ours takes so long for 105 MB, the peers as long as they did when the goals were set.
func sample(own time.Duration, rss, rssLong uint64) []result {
	find := func(name string) tool {
		for _, t := range allTools {
			if t.name == name {
				return t
			}
		}
		return tool{}
	}
	var all []result
	add := func(trace, name string, bytes int64, wall time.Duration, rss uint64) {
		use := measure.Usage{CPU: wall * 2, Wall: wall, RSS: rss}
		r := result{trace: traceSpec{name: trace, what: "a " + trace, program: "server"}, tool: find(name), traceBytes: bytes, runs: 1, median: use, best: use, rssMax: rss}
		r.events = map[string]uint64{xpReader: 21e6, ours: 20e6}[name]
		all = append(all, r)
	}
	for _, trace := range []string{serverTrace, streamsTrace} {
		add(trace, ours, 105e6, own, rss)
		add(trace, xpReader, 105e6, 2*time.Second, 40e6)
		add(trace, syncPprof, 105e6, 12*time.Second, 8e9)
		add(trace, viewer, 105e6, 66*time.Second, 9e9)
	}
	add(longTrace, ours, 1050e6, own*10, rssLong)
	all = append(all, result{trace: traceSpec{name: longTrace, what: "a long"}, tool: find(syncPprof), skipped: "too long"})
	return all
}

// TestGoals moves one figure at a time over its bound and expects the goals that hang on it, and no other.
func TestGoals(t *testing.T) {
	if m := misses(sample(500*time.Millisecond, 100e6, 120e6)); len(m) != 0 {
		t.Errorf("missed %q at 210 MB/s and 120 MB", m)
	}
	for _, test := range []struct {
		name    string
		results []result
		want    []string
	}{
		{"50 times less time than the viewer", sample(800*time.Millisecond, 100e6, 120e6), []string{"less time than `go tool trace -pprof=sync`", "less time than `go tool trace -pprof=sync`", "viewer"}},
		{"100 MB/s", sample(1050*time.Millisecond, 100e6, 120e6), []string{"120 MB/s", "120 MB/s", "120 MB/s", "sync", "sync", "viewer"}},
		{"300 MB", sample(500*time.Millisecond, 250e6, 300e6), []string{"less than 256 MB"}},
		{"twice the memory", sample(500*time.Millisecond, 60e6, 120e6), []string{"ten times the length"}},
	} {
		m := misses(test.results)
		if len(m) != len(test.want) {
			t.Errorf("%s: missed %q", test.name, m)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(m[i], want) {
				t.Errorf("%s: missed %q: want %q", test.name, m[i], want)
			}
		}
	}
}

// TestGoalsUnmeasured: what was not run is neither reached nor missed.
func TestGoalsUnmeasured(t *testing.T) {
	few := sample(time.Hour, 1e12, 1e12)[1:4]
	if m := misses(few); len(m) != 0 {
		t.Errorf("missed %q without a run of our own", m)
	}
	if table := goalTable(few); strings.Contains(table, "reached") && !strings.Contains(table, "to reach") || strings.Count(table, "not measured") != len(goals) {
		t.Errorf("goals of nothing:\n%s", table)
	}
	none := sample(time.Second, 0, 0)
	for _, miss := range misses(none) {
		if strings.Contains(miss, "length") && !strings.Contains(miss, "not known") {
			t.Errorf("memory that nobody knows: %q", miss)
		}
	}
}

func TestSection(t *testing.T) {
	got := section(sample(1050*time.Millisecond, 100e6, 120e6))
	for _, want := range []string{
		"## Execution traces", "| server | a diagnosis at 120 MB/s or more on two processors (aim: 200) | 100 MB/s, 100 in the best run | **missed** |",
		"| long | less than 256 MB of memory (peak RSS, the largest of the runs) | 120 MB | reached |",
		"63 times (1.050 s against 66.0 s), 63 times less CPU",
		"21000000 events in 105 MB, 5.0 bytes an event as x/exp/trace counts them; we count 20000000 (it adds one for each generation).",
		"| postmortem, two processors | 1 | 2.100 s | 1.050 s | 1.050 s | 100.0 | 100 MB | - | 1.0x | 1.0x |",
		"| `go tool trace -pprof=sync` | not run: too long |",
		"#### Memory against length", "| server | 100 MB | - | 40 MB | 8000 MB |", "| long | 120 MB | - | - | - |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the section:\n%s", want, got)
		}
	}
}

func TestPick(t *testing.T) {
	name := func(s traceSpec) string { return s.name }
	got, err := measure.Pick(allTraces, "long,small", name)
	if err != nil || len(got) != 2 || got[0].name != longTrace || got[1].name != smallTrace {
		t.Errorf("picked %v, %v", got, err)
	}
	if _, err := measure.Pick(allTraces, "small,huge", name); err == nil || !strings.Contains(err.Error(), "huge") {
		t.Errorf("error %v: want one that names huge", err)
	}
	if err := bench(context.Background(), options{write: true, traces: smallTrace}); err == nil || !strings.Contains(err.Error(), "-write") {
		t.Errorf("error %v: a part of the figures must not replace all", err)
	}
}

// TestPlace: another program, size or name is another file; the same is the same.
func TestPlace(t *testing.T) {
	t.Setenv("POSTMORTEM_FIXTURE_CACHE", filepath.Join(t.TempDir(), "fixtures"))
	seen := map[string]bool{}
	for _, s := range append([]traceSpec{{name: "x", program: "server", bytes: 1}, {name: "x", program: "server", bytes: 2}, {name: "x", program: "streams", bytes: 1}}, allTraces...) {
		path, err := s.place()
		again, _ := s.place()
		if err != nil || seen[path] || path != again {
			t.Errorf("%s: %s and %s, %v", s.name, path, again, err)
		}
		seen[path] = true
	}
	if _, err := (traceSpec{name: "x", program: "missing"}).place(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v of a program that is not there", err)
	}
}

// TestObtain makes a small trace of each program, and holds what it has to be: a whole trace with goroutines that meet.
func TestObtain(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the programs")
	}
	for _, program := range []string{"server", "streams"} {
		t.Run(program, func(t *testing.T) {
			t.Setenv("POSTMORTEM_FIXTURE_CACHE", filepath.Join(t.TempDir(), "fixtures"))
			s := traceSpec{name: "try", program: program, bytes: 300_000}
			work, err := measure.WorkDir()
			if err != nil {
				t.Fatal(err)
			}
			old := filepath.Join(work, "traces", "try-0123.trace")
			if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o755), os.WriteFile(old, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			path, err := s.obtain(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
			if len(left) != 1 || left[0] != path {
				t.Errorf("%q are left: want the trace alone", left)
			}
			checkTrace(t, path, s.bytes)
			before, _ := os.Stat(path)
			if again, err := s.obtain(context.Background()); err != nil || again != path {
				t.Error(again, err)
			}
			if after, _ := os.Stat(path); !after.ModTime().Equal(before.ModTime()) {
				t.Error("the trace was made twice")
			}
		})
	}
}

// checkTrace reads a trace to its end.
func checkTrace(t *testing.T, path string, least int64) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Size() < least || info.Size() > 20*least {
		t.Errorf("%d bytes for %d, %v", info.Size(), least, err)
	}
	r, err := trace.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	blocked := map[string]int{}
	for {
		e, err := r.ReadEvent()
		if err != nil {
			if err.Error() != "EOF" {
				t.Error(err)
			}
			break
		}
		if e.Kind() == trace.EventStateTransition {
			blocked[e.StateTransition().Reason]++
		}
	}
	if blocked["select"] == 0 || blocked["chan receive"] == 0 {
		t.Errorf("reasons %v: want channels and select", blocked)
	}
}
