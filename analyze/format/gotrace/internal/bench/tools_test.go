package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// TestBuiltReader builds the reader as the benchmark does and measures it on a trace that it makes.
func TestBuiltReader(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	t.Setenv("POSTMORTEM_FIXTURE_CACHE", filepath.Join(t.TempDir(), "fixtures"))
	picked, err := measure.Pick(allTools, xpReader, func(t tool) string { return t.name })
	if err != nil {
		t.Fatal(err)
	}
	tools, err := buildAll(context.Background(), picked)
	if err != nil {
		t.Fatal(err)
	}
	got, err := measureAll(context.Background(), []traceSpec{{name: "try", program: "streams", bytes: 100_000}}, tools, 2)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if r := got[0]; r.runs != 2 || r.events < 10_000 || r.median.CPU == 0 || r.traceBytes < 100_000 {
		t.Errorf("result %+v", r)
	}
	picked[0].pkg = "./no/such/package"
	if _, err := buildAll(context.Background(), picked); err == nil || !strings.Contains(err.Error(), xpReader) {
		t.Errorf("error %v of a tool that cannot be built", err)
	}
}

// TestKilled: a peer that wants more memory than it may have is told of as not run, and the others are measured.
func TestKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("private memory is known on Linux only")
	}
	s := allTraces[0]
	tracesIn(t, s, 1)
	large := peer("large", "swell")
	large.memory = 64 << 20
	got, err := measureTrace(context.Background(), s, []builtTool{large, peer("other", "answer")}, 2)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if r := got[0]; r.runs != 0 || !strings.Contains(r.skipped, "67 MB") {
		t.Errorf("result %+v of a tool that was killed", r)
	}
	if got[1].runs != 2 {
		t.Errorf("result %+v of the other", got[1])
	}
	if table := figures(got); !strings.Contains(table, "| large | not run: it was killed") {
		t.Errorf("no word of it in\n%s", table)
	}
}

func TestMakeTraces(t *testing.T) {
	tracesIn(t, allTraces[0], 10)
	path, err := allTraces[0].place()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = w
	err = bench(context.Background(), options{make: true, traces: allTraces[0].name})
	w.Close()
	printed, _ := io.ReadAll(r)
	if want := allTraces[0].name + " " + path + "\n"; err != nil || string(printed) != want {
		t.Errorf("printed %q, %v; want %q", printed, err, want)
	}
}

// TestToolsAndGoals: every goal compares tools and traces that there are, and none of which it is known that they do not run.
func TestToolsAndGoals(t *testing.T) {
	for i := range goals {
		for _, need := range goals[i].needs {
			traces, err := measure.Pick(allTraces, need[0], func(s traceSpec) string { return s.name })
			if err != nil {
				t.Errorf("goal %q: %v", goals[i].text, err)
				continue
			}
			tools, err := measure.Pick(allTools, need[1], func(t tool) string { return t.name })
			if err != nil {
				t.Errorf("goal %q: %v", goals[i].text, err)
				continue
			}
			if why := tools[0].unfit(traces[0], 0); why != "" {
				t.Errorf("goal %q can never be measured: %s", goals[i].text, why)
			}
		}
	}
}

// TestMakefile holds what BENCH means: one section, both, or flags for one.
func TestMakefile(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is missing")
	}
	command := regexp.MustCompile(`go run \./analyze/format/(gocore|gotrace)/internal/bench(.*)`)
	for value, want := range map[string][]string{
		"":                                  {"gocore -write", "gotrace -write"},
		"cores":                             {"gocore -write"},
		"traces":                            {"gotrace -write"},
		"-cores 1k,100k":                    {"gocore -cores 1k,100k"},
		"traces -traces server -rounds 2":   {"gotrace -traces server -rounds 2"},
		"cores -profile DIR":                {"gocore -profile DIR"},
		"traces -write -rounds 3 -doc x.md": {"gotrace -write -rounds 3 -doc x.md"},
	} {
		cmd := exec.Command("make", "-n", "bench", "BENCH="+value)
		cmd.Dir = filepath.Join("..", "..", "..", "..", "..")
		cmd.Env = append(os.Environ(), "MAKEFLAGS=") // of the make that runs the tests
		printed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range command.FindAllStringSubmatch(string(printed), -1) {
			got = append(got, m[1]+strings.TrimRight(m[2], " "))
		}
		if !slices.Equal(got, want) {
			t.Errorf("BENCH=%q runs %q, want %q", value, got, want)
		}
	}
}

// TestPage: the page has the section of the cores, which the benchmark of traces must not touch.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := measure.WriteSection(path, "traces", section(sample(1, 1, 1))); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	between := func(page []byte) string {
		_, rest, found := strings.Cut(string(page), "<!-- begin cores -->\n")
		section, _, closed := strings.Cut(rest, "<!-- end cores -->\n")
		if !found || !closed {
			t.Error("no section of the cores in the page")
		}
		return section
	}
	if before, after := between(text), between(got); before != after || !strings.Contains(after, "## Cores") {
		t.Errorf("the section of the cores became\n%s", after)
	}
	if n := strings.Count(string(got), "## Execution traces\n"); n != 1 {
		t.Errorf("%d sections of traces", n)
	}
}

// TestSlow: a run of which the time is over is told apart from one that failed.
func TestSlow(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := peer("slow", "swell").measure(ctx, "x"); !errors.Is(err, errSlow) {
		t.Errorf("error %v", err)
	}
}
