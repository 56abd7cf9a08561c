package gocore

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// The runtime of Go 1.26 has a detector of leaked goroutines. A program that takes its profile just before it dies leaves the answer in its
// core: the status of each leaked goroutine says so. These tests hold the proof against it.

// leakOracles are the programs of the comparison: they call pprof.Lookup("goroutineleak") before they end, and are built so that it is
// there. A program is added here by a line.
var leakOracles = []struct {
	name  string
	p     fixtures.Program
	leaks int // at least so many
}{
	{"reach", fixtures.Program{Args: []string{"profile"}}, 48},
	{"reach", fixtures.Program{Args: []string{"profile"}, Flags: []string{"-ldflags=-s -w"}}, 48},
	{"reach", fixtures.Program{Args: []string{"profile"}, Flags: []string{"-gcflags=all=-N -l"}}, 48},
	{"reach", fixtures.Program{Args: []string{"profile"}, Env: []string{"GOEXPERIMENT=goroutineleakprofile,nogreenteagc"}}, 48},
}

// missedPerThousand is how many leaks, of a thousand that the runtime found, the proof may miss: a word that is scanned without a
// pointer map keeps what it seems to point to.
const missedPerThousand = 2

func TestProofEqualsRuntime(t *testing.T) {
	for _, c := range leakOracles {
		name := c.name
		for _, f := range append(c.p.Flags, c.p.Env...) {
			name += " " + f
		}
		t.Run(name, func(t *testing.T) {
			c.p.Env = append([]string{"GOEXPERIMENT=goroutineleakprofile"}, c.p.Env...)
			i := die(t, c.name, c.p)
			compareLeaks(t, i.Case, c.leaks)
		})
	}
}

// compareLeaks compares the statuses that the runtime left with the verdicts.
func compareLeaks(t *testing.T, c *evidence.Case, least int) {
	t.Helper()
	if c.Proof == nil || !c.Proof.Done {
		t.Fatalf("no proof: %+v", c.Proof)
	}
	leaked, missed, extra := 0, 0, 0
	gs := c.Goroutines()
	for row, g := range gs.All() {
		never := gs.Wake(row) == evidence.WakeNever || gs.Wake(row) == evidence.WakeByDesign
		is := g.State == evidence.StateLeaked
		if is {
			leaked++
		}
		switch {
		case is && !never:
			missed++
			t.Logf("goroutine %d (%s) is leaked, and the proof says %s", g.ID, c.Stack(g.Stack).At(max(c.Stack(g.Stack).Len()-2, 0)).Function, gs.Wake(row))
		case never && !is:
			extra++
			t.Errorf("goroutine %d (%s) is not leaked, and the proof says %s", g.ID, c.Stack(g.Stack).At(max(c.Stack(g.Stack).Len()-2, 0)).Function, gs.Wake(row))
		}
	}
	t.Logf("%d leaked, %d missed, %d too many, of %d goroutines", leaked, missed, extra, gs.Len())
	if leaked < least {
		t.Errorf("the runtime found %d leaks, at least %d were expected", leaked, least)
	}
	if missed*1000 > leaked*missedPerThousand {
		t.Errorf("%d of %d leaks were missed", missed, leaked)
	}
}
