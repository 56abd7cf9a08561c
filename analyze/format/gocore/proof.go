package gocore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// mainID is the id of the main goroutine (runtime/proc.go, newproc of runtime.main).
const mainID = 1

// prove decides which goroutines can never wake again: those that wait for something which nothing live can reach. It is the definition
// of the runtime's own detector of leaks (runtime/mgc.go of Go 1.26, findGoroutineLeaks), applied to the memory of the dead process.
// What is missing of that memory makes it give no verdicts at all.
func (t *target) prove(ctx context.Context) error {
	if t.crowded() {
		t.b.Proof(evidence.Proof{Refused: fmt.Sprintf("%d goroutines are more than the %d for which that is done unasked: --reach proof does it", t.gListed, provedUnasked)})
	}
	if t.in.Options.Reach == format.ReachHeap || !t.reaches() || len(t.sleepers) == 0 {
		return nil
	}
	p := newProver(t, t.sleepers)
	t.sleepers = nil
	proof, err := p.run(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("proving which goroutines can never wake: %w", ctx.Err())
	}
	if err != nil {
		t.b.Proof(evidence.Proof{Refused: err.Error()})
		return nil
	}
	t.b.Proof(proof)
	t.never = proof.Never
	t.verdicts(p)
	return p.explain(ctx)
}

// newProver returns a prover for the live goroutines of a process.
func newProver(t *target, rows []proofRow) *prover {
	const firstPage = 1 << 12 // is never mapped
	return &prover{t: t, view: t.core.Mem.View(), rows: rows, first: map[heap.Object]int32{}, cond: map[uint64]map[uint64]uint64{}, least: firstPage}
}

// verdicts hands the verdicts to the Builder.
func (t *target) verdicts(p *prover) {
	for i := range p.rows {
		t.b.Wake(int(p.rows[i].row), p.verdict(i))
	}
}

func (p *prover) verdict(i int) evidence.Wake {
	r := &p.rows[i]
	switch {
	case r.sleep == sleepLive || p.awake[i].Load():
		return evidence.WakePossible
	case r.id == mainID && p.t.reasons[r.reason] == "select (no cases)":
		return evidence.WakeByDesign
	}
	return evidence.WakeNever
}

// run does the whole proof.
func (p *prover) run(ctx context.Context) (evidence.Proof, error) {
	report := p.t.in.Options.Report
	report(format.IndexingHeap, 0, 1)
	if err := p.prepare(ctx); err != nil {
		return evidence.Proof{}, err
	}
	m := p.marker()
	if !p.holdBack(m) {
		return evidence.Proof{}, errors.New("the runtime's records of who waits for what are not on the heap")
	}
	for o := range p.first {
		m.Watch(o)
	}
	report(format.MarkingHeap, 0, 1)
	if err := m.Run(ctx, p.tasks(), p.workers()); err != nil {
		return evidence.Proof{}, err
	}
	report(format.MarkingHeap, 1, 1)
	proof := evidence.Proof{Done: true, Objects: m.Objects, Bytes: m.Bytes, Precise: m.Precise, Doubtful: m.Doubtful}
	for i := range p.rows {
		if p.rows[i].sleep != sleepLive {
			proof.Candidates++
		}
		if p.verdict(i) == evidence.WakeNever {
			proof.Never++
		}
	}
	return proof, nil
}

// prepare reads all that the mark needs, and makes sure that it is what it is taken for.
func (p *prover) prepare(ctx context.Context) error {
	t := p.t
	if t.unread > 0 {
		return fmt.Errorf("the structures of %d goroutines are not in the core", t.unread)
	}
	mheap, ok := t.vars.addr("runtime.mheap_")
	if !ok {
		return errors.New("the runtime's record of the heap (mheap_) was not found")
	}
	if err := p.resolve(); err != nil {
		return err
	}
	var err error
	p.heap, err = heap.Build(ctx, heap.Source{Mem: t.core.Mem, Layout: t.layout, MHeap: mheap, CoreSize: uint64(t.core.Size), ARM64: t.arm64})
	if err != nil {
		return err
	}
	if err := p.selfCheck(); err != nil {
		return err
	}
	if err := p.listRoots(); err != nil {
		return err
	}
	p.awake = make([]atomic.Bool, len(p.rows))
	p.waits = make([]sleepWait, 0, len(p.rows))
	p.candidates()
	return nil
}

// marker returns a Marker that wakes goroutines as it reaches what they wait for.
func (p *prover) marker() *heap.Marker {
	m := p.heap.NewMarker(p.task, p.wake)
	m.Guard = func(run func() error) error { return guarded(p.t.in, run) }
	return m
}

// workers is how many threads mark.
func (p *prover) workers() int {
	if jobs := p.t.in.Options.Jobs; jobs > 0 {
		return jobs
	}
	return runtime.GOMAXPROCS(0)
}

// tasks are the roots: parts of globals and the like, and the stacks of goroutines that are no candidates.
func (p *prover) tasks() []uint32 {
	tasks := make([]uint32, 0, len(p.parts)+len(p.rows))
	for i := range p.parts {
		tasks = append(tasks, uint32(i))
	}
	for i := range p.rows {
		if p.rows[i].sleep == sleepLive {
			tasks = append(tasks, rootTasks+uint32(i))
		}
	}
	return tasks
}

// wake makes the goroutines that wait for an object live: it was reached.
func (p *prover) wake(w *heap.Worker, o heap.Object) {
	i, ok := p.first[o]
	if !ok {
		return
	}
	for ; i >= 0; i = p.waits[i].next {
		row := p.waits[i].row
		if p.awake[row].Swap(true) {
			continue
		}
		if p.wokenBy != nil {
			p.wokenBy[row] = o
		}
		w.Task(rootTasks + uint32(row))
	}
}
