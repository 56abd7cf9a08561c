package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// TestClock: the CPU between two reports of a reader is that of the part between them.
func TestClock(t *testing.T) {
	c := &clock{}
	c.progress(format.ReadingGoroutines, 10, 20)
	c.progress(format.ReadingGoroutines, 20, 20)
	c.progress(format.IndexingHeap, 0, 1)
	c.progress(format.MarkingHeap, 0, 1)
	c.progress(format.MarkingHeap, 1, 1)
	if c.goroutines != 20 || !c.indexed || !c.proving || c.end.Before(c.begin) {
		t.Fatalf("%+v", c)
	}
	c.read, c.index, c.mark, c.marked = 1*time.Second, 3*time.Second, 4*time.Second, 7*time.Second
	proof := &evidence.Proof{Done: true, Objects: 5, Bytes: 80, Never: 2}
	p, err := c.phases(8*time.Second, 12*time.Second, proof)
	if err != nil {
		t.Fatal(err)
	}
	if p.Proof != 5*time.Second || p.Mark != 3*time.Second || p.Waits != 6*time.Second {
		t.Errorf("proof %v, mark %v, waits %v; want 5 s, 3 s, and 2 s before the proof and 4 s after it", p.Proof, p.Mark, p.Waits)
	}
	if p.Objects != 5 || p.Bytes != 80 || p.Never != 2 || p.Goroutines != 20 {
		t.Errorf("%+v", p)
	}
}

// TestClockWithoutProof: what proved nothing must not look fast.
func TestClockWithoutProof(t *testing.T) {
	done := &clock{indexed: true, proving: true}
	for name, test := range map[string]struct {
		c     *clock
		proof *evidence.Proof
	}{
		"no mark":  {&clock{indexed: true}, &evidence.Proof{Done: true}},
		"no proof": {done, nil},
		"refused":  {done, &evidence.Proof{Refused: "the core lacks a span"}},
	} {
		if _, err := test.c.phases(1, 2, test.proof); !errors.Is(err, errNoProof) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestMedianPhases(t *testing.T) {
	p := medianPhases([]phases{
		{Proof: 3, Mark: 30, MarkWall: 300, Waits: 7, Objects: 5}, {Proof: 1, Mark: 20, MarkWall: 200, Waits: 9, Objects: 5},
		{Proof: 2, Mark: 10, MarkWall: 400, Waits: 8, Objects: 5},
	})
	if want := (phases{Proof: 2, Mark: 20, MarkWall: 200, Waits: 8, Objects: 5}); p != want {
		t.Errorf("%+v, want %+v", p, want)
	}
	if p := medianPhases(nil); p != (phases{}) {
		t.Errorf("of no runs %+v", p)
	}
}

// provedSample are results that reach all goals when slow is short.
func provedSample(slow time.Duration) map[string]proofResult {
	second := time.Second
	return map[string]proofResult{
		"heap": {
			one: phases{Mark: second, MarkWall: second, Proof: second, Objects: 20e6, Bytes: 1e9}, two: phases{MarkWall: second / 2},
			use: measure.Usage{Private: 100e6}, ours: measure.Usage{CPU: second}, peer: measure.Usage{CPU: 4 * second},
		},
		"leaked": {one: phases{Proof: slow, Never: 50_000, Goroutines: 100_000}},
		"chain":  {one: phases{Proof: slow, Goroutines: 20_000}},
		"100k":   {one: phases{Waits: slow, Proof: slow, Goroutines: 100_000}},
		"10k":    {one: phases{Proof: slow / 100, Waits: slow / 100, Goroutines: 10_000}},
		"1m":     {one: phases{Proof: slow, Waits: slow, Goroutines: 1_000_000}, use: measure.Usage{Private: 300e6}},
	}
}

func TestProofGoals(t *testing.T) {
	if m := proofMisses(provedSample(100 * time.Millisecond)); len(m) != 0 {
		t.Errorf("missed %q", m)
	}
	m := strings.Join(proofMisses(provedSample(2*time.Second)), "\n")
	for _, want := range []string{"50,000 of them leaked", "chain of 20,000", "in 1 s of CPU"} {
		if !strings.Contains(m, want) {
			t.Errorf("no %q among the missed\n%s", want, m)
		}
	}
}

// TestProofGoalsTeeth: each goal must be missed by figures that are just too bad.
func TestProofGoalsTeeth(t *testing.T) {
	for name, spoil := range map[string]func(map[string]proofResult){
		"GB/s": func(by map[string]proofResult) { change(by, "heap", func(r *proofResult) { r.one.Bytes = 4e8 }) },
		"10 million": func(by map[string]proofResult) {
			change(by, "heap", func(r *proofResult) { r.one.Objects = 9e6; r.use.Private = 1e6 })
		},
		"1.7 times": func(by map[string]proofResult) {
			change(by, "heap", func(r *proofResult) { r.two.MarkWall = 600 * time.Millisecond })
		},
		"viewcore": func(by map[string]proofResult) {
			change(by, "heap", func(r *proofResult) { r.peer.CPU = 2900 * time.Millisecond })
		},
		"an object":   func(by map[string]proofResult) { change(by, "heap", func(r *proofResult) { r.use.Private = 201e6 }) },
		"a goroutine": func(by map[string]proofResult) { change(by, "1m", func(r *proofResult) { r.use.Private = 401e6 }) },
		"leaked":      func(by map[string]proofResult) { change(by, "leaked", func(r *proofResult) { r.one.Never = 49_999 }) },
		"chain":       func(by map[string]proofResult) { change(by, "chain", func(r *proofResult) { r.one.Never = 1 }) },
		"linear": func(by map[string]proofResult) {
			change(by, "1m", func(r *proofResult) { r.one.Waits = 5 * time.Second })
		},
	} {
		by := provedSample(100 * time.Millisecond)
		spoil(by)
		if m := proofMisses(by); len(m) != 1 || !strings.Contains(m[0], name) {
			t.Errorf("%s: missed %q", name, m)
		}
	}
}

func change(by map[string]proofResult, core string, f func(*proofResult)) {
	r := by[core]
	f(&r)
	by[core] = r
}

// TestProofTables: what was not measured is left out, and no row of it is empty.
func TestProofTables(t *testing.T) {
	all := provedSample(100 * time.Millisecond)
	got := proofTables(all)
	for _, want := range []string{
		"| heap | mark at 0.5 GB/s or more on one thread | 1.00 GB/s | reached |",
		"1.000 s against 4.000 s: 4.0 times less | reached |",
		"| 100,000 goroutines, 50,000 of them leaked | 100000 | 50000 |",
		"| 0.20 µs against 0.20 µs |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := proofTables(nil); got != "" {
		t.Errorf("of nothing %q", got)
	}
	few := proofTables(map[string]proofResult{"10k": all["10k"]})
	if strings.Contains(few, "reached") || strings.Contains(few, "| heap |") || !strings.Contains(few, "10,000 goroutines of a service") {
		t.Errorf("of one core\n%s", few)
	}
	heap := all["heap"]
	heap.peer = measure.Usage{}
	if got := proofTables(map[string]proofResult{"heap": heap}); strings.Contains(got, viewcore) {
		t.Errorf("viewcore was not run, and is compared with:\n%s", got)
	}
}

func TestPickCores(t *testing.T) {
	compared, proofs, err := pickCores("100k,leaked,deep")
	if err != nil || len(compared) != 2 || len(proofs) != 2 || compared[1].name != "deep" || proofs[0].name != "100k" || proofs[1].name != "leaked" {
		t.Errorf("%v, %v, %v", compared, proofs, err)
	}
	if _, _, err := pickCores("2k"); err == nil || !strings.Contains(err.Error(), "2k") {
		t.Errorf("error %v: want one that names 2k", err)
	}
	if compared, proofs, err := pickCores(""); err != nil || len(compared) != len(allCores) || len(proofs) != len(proofCores) {
		t.Errorf("%d and %d cores, %v", len(compared), len(proofs), err)
	}
	if all := both(allCores, proofCores); len(all) != len(allCores)+len(proofCores)-2 {
		t.Errorf("%d cores: 100k and 1m are in both lists", len(all))
	}
}
