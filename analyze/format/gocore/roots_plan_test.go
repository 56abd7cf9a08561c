package gocore

import (
	"context"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// scanned is what a scan of one stack has found.
type scanned struct {
	heap.Counts
	inner   []uint64
	objects []stackObject
}

// TestPlans: for every goroutine that has one, the plan of its stack finds what a walk finds.
func TestPlans(t *testing.T) {
	s := scale(t, "0", "2000", "0")
	p := newProver(s, s.sleepers)
	if err := p.prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	planned, words := 0, uint64(0)
	m := p.heap.NewMarker(func(w *heap.Worker, task uint32) error {
		if w.User == nil {
			w.User = newStackScan(p)
		}
		scan, r := w.User.(*stackScan), &p.rows[task]
		stack, at := s.stackOf(r.g), s.saved(r.g)
		before := w.Counts
		scan.begin(stack.lo, stack.hi)
		if err := scan.live(w, r, stack); err != nil {
			return err
		}
		walked := scanned{since(w.Counts, before), slices.Clone(scan.inner), slices.Clone(scan.objects)}
		scan.planOf(r)
		plan := scan.planOf(r)
		if plan == nil {
			return nil
		}
		planned++
		before = w.Counts
		scan.begin(stack.lo, stack.hi)
		if scan.follow(w, plan, at.pc+1, at.sp) || scan.follow(w, plan, at.pc, at.sp+4) || scan.follow(w, plan, at.pc, stack.hi-plan.size+8) {
			t.Errorf("the plan of goroutine %d fits another place", r.id)
		}
		if !scan.follow(w, plan, at.pc, at.sp) {
			t.Errorf("the plan of goroutine %d does not fit it", r.id)
		}
		got := scanned{since(w.Counts, before), scan.inner, scan.objects}
		if got.Precise != walked.Precise || got.Doubtful != walked.Doubtful || !slices.Equal(got.inner, walked.inner) || !slices.Equal(got.objects, walked.objects) {
			t.Errorf("goroutine %d: the plan finds %+v, the walk %+v", r.id, got, walked)
		}
		words += got.Precise
		return nil
	}, nil)
	tasks := make([]uint32, len(p.rows))
	for i := range tasks {
		tasks[i] = uint32(i)
	}
	if err := m.Run(context.Background(), tasks, 1); err != nil {
		t.Fatal(err)
	}
	if 2*planned < len(p.rows) || words < uint64(planned) {
		t.Errorf("%d of %d goroutines have plans, with %d pointers", planned, len(p.rows), words)
	}
}

// since are the words that were counted since.
func since(now, before heap.Counts) heap.Counts {
	return heap.Counts{Precise: now.Precise - before.Precise, Doubtful: now.Doubtful - before.Doubtful}
}
