package gocore

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// scale opens a core of the program reachscale up to the point at which the proof begins.
func scale(t testing.TB, args ...string) *target {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "reachscale"))
	if err != nil {
		t.Fatal(err)
	}
	capture, err := fixtures.Crash(context.Background(), fixtures.Program{Dir: dir, Args: args})
	fixtures.Require(t, err)
	f, err := os.Open(capture.Core)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: capture.Core})
	opened, err := open(inputOf(t, f, capture.Core, format.Options{Executable: capture.Exe}), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.close)
	for _, step := range []func() error{opened.findProgram, opened.readVersion, opened.understand, opened.readMachines} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	opened.readThreads(context.Background())
	opened.prepareWaits()
	opened.prepareTransfers()
	opened.prepareHolds()
	if err := opened.readGoroutines(context.Background()); err != nil {
		t.Fatal(err)
	}
	return opened
}

// proveOnce runs a proof over what scale has read, and returns how long it took.
func proveOnce(t testing.TB, s *target, jobs int) (evidence.Proof, time.Duration) {
	t.Helper()
	s.in.Options.Jobs = jobs
	rows := append([]proofRow(nil), s.sleepers...)
	p := newProver(s, rows)
	began := time.Now()
	proof, err := p.run(context.Background())
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	return proof, took
}

// A chain is as fast as a heap: a goroutine wakes when its object is marked, and nobody looks at all of them again.
func TestChainIsLinear(t *testing.T) {
	short, long := scale(t, "0", "2000", "0"), scale(t, "0", "20000", "0")
	fewer, quick := proveOnce(t, short, 1)
	more, slow := proveOnce(t, long, 1)
	if fewer.Candidates < 2000 || more.Candidates < 20000 || fewer.Never != 0 || more.Never != 0 {
		t.Errorf("%+v, %+v", fewer, more)
	}
	t.Logf("2,000 links take %v, 20,000 take %v", quick, slow)
	if slow > 40*quick+time.Second {
		t.Errorf("2,000 links take %v, 20,000 take %v", quick, slow)
	}
}

func TestManyGoroutines(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a core of 20,000 goroutines")
	}
	s := scale(t, "20000", "0", "0")
	for _, jobs := range []int{1, 2} {
		proof, took := proveOnce(t, s, jobs)
		t.Logf("%d jobs: %v, %+v", jobs, took, proof)
		if proof.Never != 10_000 || proof.Candidates < 20_000 {
			t.Errorf("%d never wake of %d", proof.Never, proof.Candidates)
		}
		if took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}

// BenchmarkProof marks a heap of some millions of objects.
func BenchmarkProof(b *testing.B) {
	s := scale(b, "2000", "0", "2000")
	for _, jobs := range []int{1, 2} {
		b.Run(map[int]string{1: "one", 2: "two"}[jobs], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				proof, took := proveOnce(b, s, jobs)
				b.ReportMetric(float64(proof.Objects)/took.Seconds()/1e6, "Mobjects/s")
				b.ReportMetric(float64(proof.Bytes)/took.Seconds()/1e9, "GB/s")
				b.ReportMetric(float64(proof.Objects), "objects")
			}
		})
	}
}
