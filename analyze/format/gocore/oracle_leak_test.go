package gocore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// Go 1.26 has a detector of leaked goroutines in every binary. The program leakoracle takes its profile just before it dies, and the
// detector leaves its answer in the statuses of the goroutines: an oracle for every single verdict, that shares no code with this one.

// wideEnv makes the tests of this file run their wide campaigns, which take some minutes:
//
//	POSTMORTEM_WIDE=1 go test ./analyze/format/gocore -run 'TestVerdictsEqualLeak|TestNothingIsLost|TestProofOfHoles' -v -timeout 30m
const wideEnv = "POSTMORTEM_WIDE"

func wide() bool { return os.Getenv(wideEnv) != "" }

const leakProfile = "GOEXPERIMENT=goroutineleakprofile"

// leakBuilds are ways to build leakoracle.
var leakBuilds = []build{
	{"default", fixtures.Program{Env: []string{leakProfile}}},
	{"PIE", fixtures.Program{Env: []string{leakProfile}, Flags: []string{"-buildmode=pie"}}},
	{"stripped", fixtures.Program{Env: []string{leakProfile}, Flags: []string{"-ldflags=-s -w"}}},
	{"without DWARF", fixtures.Program{Env: []string{leakProfile}, Flags: []string{"-ldflags=-w"}}},
	{"cgo", fixtures.Program{Env: []string{leakProfile, "CGO_ENABLED=1"}, Flags: []string{"-tags=withcgo"}}},
	{"unoptimised", fixtures.Program{Env: []string{leakProfile}, Flags: []string{"-gcflags=all=-N -l"}}},
	{"without Green Tea", fixtures.Program{Env: []string{"GOEXPERIMENT=nogreenteagc,goroutineleakprofile"}}},
	{"without Green Tea, stripped", fixtures.Program{Env: []string{"GOEXPERIMENT=nogreenteagc,goroutineleakprofile"},
		Flags: []string{"-ldflags=-s -w"}}},
}

// leakEnds are ways in which it dies; "gc" while a collection marks, "sweep" before spans were swept. The first three are tried with
// every build, the others with the first ones: what the collector is doing matters to the heap, how the process ends to one stack.
var leakEnds = []string{"gc", "sweep", "panic", "nil", "abort"}

// Which builds are tried with which ends.
const (
	endsOfAll    = 3
	buildsOfEnds = 2
)

// leakSum counts verdicts.
type leakSum struct {
	mu                                     sync.Mutex
	cores, verdicts, leaked, missed, extra int
}

// maxMissed is the share of the leaks that may be missed: words on stacks and in objects without a map are taken for pointers.
const maxMissed = 0.002

func TestVerdictsEqualLeakProfile(t *testing.T) {
	seeds, objects := 1, 2000
	if wide() {
		seeds, objects = 3, 4000
	}
	sum := leakSum{}
	t.Run("cores", func(t *testing.T) {
		for b, one := range leakBuilds {
			for e, end := range leakEnds {
				if e >= endsOfAll && b >= buildsOfEnds && !wide() {
					continue
				}
				for seed := range seeds {
					n := 1 + seed + seeds*(e+len(leakEnds)*b)
					p := one.prog
					p.Args = []string{fmt.Sprint(n), fmt.Sprint(objects), end}
					t.Run(fmt.Sprintf("%s/%s/%d", one.name, end, n), func(t *testing.T) {
						t.Parallel()
						sum.check(t, p)
					})
				}
			}
		}
	})
	t.Logf("%d cores, %d verdicts, %d leaked, %d missed, %d extra", sum.cores, sum.verdicts, sum.leaked, sum.missed, sum.extra)
	if float64(sum.missed) > maxMissed*float64(sum.leaked) {
		t.Errorf("%d of %d leaks were missed", sum.missed, sum.leaked)
	}
}

// check holds the verdicts on one core against the statuses in it.
func (s *leakSum) check(t *testing.T, p fixtures.Program) {
	c := readProgram(t, "leakoracle", p, fixtures.Crash)
	if c.Proof == nil || !c.Proof.Done {
		t.Fatalf("no proof: %+v", c.Proof)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cores++
	leaked := 0
	for row, g := range c.Goroutines().All() {
		s.verdicts++
		never := c.Goroutines().Wake(row) == evidence.WakeNever
		switch told := g.State == evidence.StateLeaked; {
		case told && !never:
			s.missed++
			t.Logf("goroutine %d (%s) is leaked, and was not found:\n%s", g.ID, g.Reason, framesOfCase(c, g))
		case !told && never:
			s.extra++
			t.Errorf("goroutine %d (%s) is not leaked, and is said to be:\n%s", g.ID, g.Reason, framesOfCase(c, g))
		}
		if g.State == evidence.StateLeaked {
			leaked++
		}
	}
	s.leaked += leaked
	if leaked < 100 {
		t.Errorf("the runtime found only %d leaks: the program does not show anything", leaked)
	}
}

// readProgram runs a program of testdata/programs, takes its core and reads it without the variables of stacks.
func readProgram(t *testing.T, name string, p fixtures.Program, take func(context.Context, fixtures.Program) (*fixtures.Capture, error)) *evidence.Case {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", name))
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	capture, err := take(context.Background(), p)
	fixtures.Require(t, err)
	c, err := readCore(t, capture.Core, format.Options{Executable: capture.Exe, Variables: format.VariablesNone})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
