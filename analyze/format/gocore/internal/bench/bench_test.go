package main

import (
	"context"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// childEnv makes the test binary a process to measure.
const childEnv = "BENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "work":
		os.Stdout.WriteString("one\ntwo\n")
	}
}

// TestMeasureIdle: a tool that prints too little did not do its work, and its time says nothing.
func TestMeasureIdle(t *testing.T) {
	t.Setenv(childEnv, "work")
	tool := builtTool{tool: tool{name: "lazy", lines: true}}
	if _, err := tool.measure(context.Background(), []string{os.Args[0]}, 3); err == nil {
		t.Error("two lines for three goroutines were taken for an answer")
	}
	if _, err := tool.measure(context.Background(), []string{os.Args[0]}, 2); err != nil {
		t.Error(err)
	}
}

// TestDeepSource holds that the generated program parses and has the call sites that its name promises.
func TestDeepSource(t *testing.T) {
	source := deepSource()
	if source != deepSource() {
		t.Error("two runs write different programs: the core would be captured anew each time")
	}
	if _, err := parser.ParseFile(token.NewFileSet(), "main.go", source, 0); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(source, "(n-1, next(path))"); n < 10_000 {
		t.Errorf("%d call sites, want at least 10,000", n)
	}
}

// TestDeepTarget: each kind of call must reach every function, or walks would gather in a few.
func TestDeepTarget(t *testing.T) {
	for k := range deepCalls {
		hit := map[int]bool{}
		for i := range deepFunctions {
			hit[deepTarget(i, k)] = true
		}
		if len(hit) != deepFunctions {
			t.Errorf("calls of kind %d reach %d of %d functions", k, len(hit), deepFunctions)
		}
	}
}

func TestPick(t *testing.T) {
	got, err := measure.Pick(allCores, "deep,1k", func(c coreSpec) string { return c.name })
	if err != nil || len(got) != 2 || got[0].name != "deep" || got[1].name != "1k" {
		t.Errorf("picked %v, %v", got, err)
	}
	if _, err := measure.Pick(allCores, "1k,2k", func(c coreSpec) string { return c.name }); err == nil || !strings.Contains(err.Error(), "2k") {
		t.Errorf("error %v: want one that names 2k", err)
	}
}

// sample are results of postmortem and delve's library, and of a tool that was left out.
func sample(ourCPU time.Duration) []result {
	c := coreSpec{name: "100k", what: "100,000 goroutines of a service"}
	return []result{
		{core: c, tool: tool{name: ours, what: "postmortem"}, runs: 5, use: measure.Usage{CPU: ourCPU, Wall: ourCPU, RSS: 300 << 20}, heap: peaks{40 << 20, 50 << 20}},
		{core: c, tool: tool{name: withoutReach, what: "less"}, runs: 5, use: measure.Usage{CPU: ourCPU / 2, Wall: ourCPU / 2}},
		{core: c, tool: tool{name: delveLibrary, what: "delve"}, runs: 1, use: measure.Usage{CPU: 10 * time.Second, Wall: 11 * time.Second, RSS: 1 << 30}},
		{core: c, tool: tool{name: viewcore, what: "viewcore"}, skipped: "too large"},
	}
}

func TestTable(t *testing.T) {
	got := table(sample(100 * time.Millisecond))
	for _, want := range []string{
		"| postmortem | 5 | 0.100 s | 0.100 s | 300 MB | - | 40 MB (spans 50 MB) | 1.0x |",
		"| delve | 1 | 10.0 s | 11.0 s | 1024 MB | - | - | 100.0x |",
		"| viewcore | not run: too large |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestMisses(t *testing.T) {
	if m := misses(sample(100 * time.Millisecond)); len(m) != 0 {
		t.Errorf("missed %q at 100 times less", m)
	}
	m := misses(sample(time.Second))
	if len(m) != 2 || !strings.Contains(m[0], "20 times") || !strings.Contains(m[1], "10 times") {
		t.Errorf("missed %q: want the goals of 50 times, with the 20 and 10 that were measured", m)
	}
}

func TestSection(t *testing.T) {
	got := section(sample(time.Second), provedSample(time.Second))
	for _, want := range []string{"## Cores", "| 100k | with everything, at least 50 times less CPU", "**missed**", "### Who waits for whom"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the section", want)
		}
	}
}
