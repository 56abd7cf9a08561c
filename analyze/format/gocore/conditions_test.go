package gocore

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// TestOtherConditionInFrame: up to Go 1.25 only the frame of Cond.Wait leads to the condition. A word in it that is left from another
// condition, with waiters of its own, is not what the goroutine waits for.
func TestOtherConditionInFrame(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{Toolchain: "go1.24.13"})
	waiter, other := s.first(t, "lostCond"), s.first(t, "keptByCond")
	own := s.rowOf(t, s.gOf(t, waiter)).WaitsOn
	decoy := s.rowOf(t, s.gOf(t, other)).WaitsOn
	if own == 0 || decoy == 0 || own == decoy {
		t.Fatalf("the conditions are %#x and %#x", own, decoy)
	}
	walk := s.t.newPoolSearch()
	if !walk.walk(s.gOf(t, waiter)) {
		t.Fatal("the goroutine cannot be walked")
	}
	frame := walk.w.walked(s.t.condWait)
	if frame < 0 {
		t.Fatal("it is not in Cond.Wait")
	}
	path := s.copy(t, s.t.core.Size, s.word(t, walk.w.u.sps[frame], decoy))
	read, err := readDamaged(t, path, format.Options{Executable: s.Exe})
	if err != nil {
		t.Fatal(err)
	}
	if g, _ := read.Goroutines().ByID(waiter); g.WaitsOn != own {
		t.Errorf("goroutine %d waits for %#x, want %#x", waiter, g.WaitsOn, own)
	}
}
