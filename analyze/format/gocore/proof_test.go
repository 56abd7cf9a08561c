package gocore

import (
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

func TestVerdicts(t *testing.T) {
	for _, toolchain := range []string{"", "go1.24.13", "go1.22.12"} {
		for name, flags := range map[string][]string{"plain": nil, "stripped": {"-ldflags=-s -w"}, "pie": {"-buildmode=pie"}, "unoptimized": {"-gcflags=all=-N -l"}} {
			t.Run(versionName(toolchain)+"/"+name, func(t *testing.T) {
				i := die(t, "reach", fixtures.Program{Toolchain: toolchain, Flags: flags})
				i.checkVerdicts(t, 39)
			})
		}
	}
}

// The toolchains between these, another collector, and another architecture have layouts of their own.
func TestVerdictsOfOtherRuntimes(t *testing.T) {
	for name, p := range map[string]fixtures.Program{
		"go1.25":            {Toolchain: "go1.25.7"},
		"go1.25 stripped":   {Toolchain: "go1.25.7", Flags: []string{"-ldflags=-s -w"}},
		"go1.25 greenteagc": {Toolchain: "go1.25.7", Env: []string{"GOEXPERIMENT=greenteagc"}},
		"go1.23":            {Toolchain: "go1.23.12"},
		"go1.23 stripped":   {Toolchain: "go1.23.12", Flags: []string{"-ldflags=-s -w"}},
		"nogreenteagc":      {Env: []string{"GOEXPERIMENT=nogreenteagc"}},
		"stripped pie":      {Flags: []string{"-ldflags=-s -w", "-buildmode=pie"}},
		"cgo":               {Env: []string{"CGO_ENABLED=1"}},
		"arm64":             {Env: []string{"GOARCH=arm64"}},
		"arm64 go1.24":      {Toolchain: "go1.24.13", Env: []string{"GOARCH=arm64"}},
		"arm64 stripped":    {Env: []string{"GOARCH=arm64"}, Flags: []string{"-ldflags=-s -w"}},
	} {
		t.Run(name, func(t *testing.T) { die(t, "reach", p).checkVerdicts(t, 39) })
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
		t.Run(name, func(t *testing.T) { die(t, "reachmodern", p).checkVerdicts(t, 11) })
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
