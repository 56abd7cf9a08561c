package gocore

import (
	"strconv"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// busyCores is how many moments of the program reachbusy are looked at, in each of the ways it is built; in the wide campaign there are
// more (see wideEnv).
const (
	busyCores     = 2
	busyCoresWide = 20
)

// In a program that is never quiet and that loses nothing, no goroutine may be said never to wake: at any moment some are being
// woken, some are interrupted anywhere, and the last pointer to what others wait for may be in a register.
func TestNothingIsLostInMotion(t *testing.T) {
	moments, cores := busyCores, 0
	if wide() {
		moments = busyCoresWide
	}
	verdicts := 0
	for name, p := range map[string]fixtures.Program{
		"plain":       {},
		"stripped":    {Flags: []string{"-ldflags=-s -w"}},
		"unoptimized": {Flags: []string{"-gcflags=all=-N -l"}},
		"go1.24":      {Toolchain: "go1.24.13"},
		"go1.22":      {Toolchain: "go1.22.12"},
		"arm64":       {Env: []string{"GOARCH=arm64"}},
		"processors":  {RunEnv: []string{"GOMAXPROCS=8", "GOGC=10"}},
	} {
		t.Run(name, func(t *testing.T) {
			candidates := 0
			for moment := range moments {
				p.Args = []string{strconv.Itoa(moment)} // another run, and so another core
				i := die(t, "reachbusy", p)
				if i.Proof == nil || !i.Proof.Done {
					t.Errorf("moment %d: no proof: %+v", moment, i.Proof)
					continue
				}
				candidates += i.Proof.Candidates
				cores++
				verdicts += i.Goroutines().Len()
				// What they wait for changes while the core is made of them; that must not look like damage.
				if g := gapsOf(i.Case); strings.Contains(g, "who waits") {
					t.Errorf("moment %d: %s", moment, g)
				}
				gs := i.Goroutines()
				for row, g := range gs.All() {
					if gs.Wake(row) != evidence.WakePossible {
						t.Errorf("moment %d: goroutine %d (%s, %s) is said to be %s", moment, g.ID, g.Reason, i.Stack(g.Stack).At(i.Stack(g.Stack).Len()-1).Function, gs.Wake(row))
					}
				}
			}
			if candidates < 100*moments {
				t.Errorf("only %d goroutines were decided on", candidates)
			}
		})
	}
	t.Logf("%d cores, %d verdicts", cores, verdicts)
}
