package gocore

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// verdictsOf counts the verdicts on the goroutines that have a function on their stacks.
func (i *incident) verdictsOf(function string) map[evidence.Wake]int {
	found := map[evidence.Wake]int{}
	gs := i.Goroutines()
	for row := range gs.Len() {
		for _, f := range i.Stack(gs.StackOf(row)).All() {
			if f.Function == function {
				found[gs.Wake(row)]++
				break
			}
		}
	}
	return found
}

// checkVerdicts holds the proof against what the program said.
func (i *incident) checkVerdicts(t *testing.T, least int) {
	t.Helper()
	if i.Proof == nil || !i.Proof.Done {
		t.Fatalf("no proof: %+v", i.Proof)
	}
	checked := 0
	for _, l := range i.lines(t, "verdict") {
		count, _ := strconv.Atoi(l[1])
		want := evidence.WakePossible
		if l[2] == "never" {
			want = evidence.WakeNever
		}
		got := i.verdictsOf(l[0])
		if got[want] != count || len(got) != 1 {
			t.Errorf("%s: %v, want %d times %s", l[0], got, count, want)
		}
		checked++
	}
	if checked < least {
		t.Errorf("only %d kinds of goroutines were checked", checked)
	}
}

// verdictBuilds are the runtimes and the builds whose heaps, roots and stacks differ: each version and each way of building at least
// once, and not all of them with each other. The standard library is compiled for each, which costs more than the test.
var verdictBuilds = []fixtures.Program{
	{}, {Toolchain: "go1.25.7"}, {Toolchain: "go1.24.13"}, {Toolchain: "go1.23.12"}, {Toolchain: "go1.22.12"},
	// Without a symbol table the runtime's variables are found by tables that each version has of its own.
	{Flags: stripped}, {Toolchain: "go1.25.7", Flags: stripped}, {Toolchain: "go1.24.13", Flags: stripped},
	{Toolchain: "go1.23.12", Flags: stripped}, {Toolchain: "go1.22.12", Flags: stripped},
	{Flags: []string{"-buildmode=pie"}},
	{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{Toolchain: "go1.22.12", Flags: []string{"-buildmode=pie"}},
	{Flags: []string{"-gcflags=all=-N -l"}},
	{Toolchain: "go1.23.12", Flags: []string{"-gcflags=all=-N -l"}},
	{Env: []string{"CGO_ENABLED=1"}},
	{Env: []string{"GOEXPERIMENT=nogreenteagc"}},
	{Toolchain: "go1.25.7", Env: []string{"GOEXPERIMENT=greenteagc"}},
	{Env: []string{"GOARCH=arm64"}},
	{Env: []string{"GOARCH=arm64"}, Flags: stripped},
	{Toolchain: "go1.22.12", Env: []string{"GOARCH=arm64"}},
}

var stripped = []string{"-ldflags=-s -w"}

func TestVerdicts(t *testing.T) {
	for _, p := range verdictBuilds {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) {
			t.Parallel()
			die(t, "reach", p).checkVerdicts(t, 39)
		})
	}
}

// A core is no safe point, and the runtime knows of objects in ways of its own.
func TestVerdictsOfUnusualRoots(t *testing.T) {
	for name, p := range map[string]fixtures.Program{
		"plain":       {},
		"unoptimized": {Flags: []string{"-gcflags=all=-N -l"}},
		"go1.24":      {Toolchain: "go1.24.13"},
		"arm64":       {Env: []string{"GOARCH=arm64"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			die(t, "reachmodern", p).checkVerdicts(t, 11)
		})
	}
	t.Run("gcore", func(t *testing.T) {
		readCapture(t, "reachmodern", fixtures.Program{}, fixtures.Gcore).checkVerdicts(t, 11)
	})
}

// The heap of Go 1.21 has another scheme.
func TestGo121IsRefused(t *testing.T) {
	refuses(t, die(t, "reach", fixtures.Program{Toolchain: "go1.21.13"}).Case, "1.22 to 1.26")
}

// Cores that a debugger made of a live process have no signal frames.
func TestVerdictsOfGcore(t *testing.T) {
	readCapture(t, "reach", fixtures.Program{}, fixtures.Gcore).checkVerdicts(t, 39)
}
