package gocore

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// maxWoken bounds how many goroutines that would have to wake first stand in one path.
const maxWoken = 64

// explain adds the paths that the user asked for: how something live reaches what a goroutine waits for. The mark is done once more, by one
// thread and breadth first, so that a path is a shortest one.
func (p *prover) explain(ctx context.Context) error {
	why := p.t.in.Options.Why
	var asked []int
	var want []heap.Object
	for i := range p.rows {
		if r := &p.rows[i]; slices.Contains(why, r.id) && r.sleep != sleepLive && p.awake[i].Load() {
			asked = append(asked, i)
			for _, w := range p.waitsOf(i) {
				o, _ := p.heap.Find(w.addr)
				want = append(want, o)
			}
		}
	}
	if len(asked) == 0 {
		return nil
	}
	p.awake, p.wokenBy = make([]atomic.Bool, len(p.rows)), make([]heap.Object, len(p.rows))
	m := p.marker()
	p.holdBack(m)
	ways, err := m.Trace(ctx, p.tasks(), want)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("searching what keeps goroutines reachable: %w", err)
		}
		p.t.b.Gap("what keeps goroutines reachable", err.Error())
		return nil
	}
	if p.types, err = p.typesOfPaths(ctx); err != nil {
		return fmt.Errorf("finding the types of what keeps goroutines reachable: %w", err)
	}
	for _, i := range asked {
		p.addPath(ways, i)
	}
	return nil
}

// typesOfPaths finds the types of all objects: to know that of one, one follows the types from the roots on. It is nil for a heap for which that
// takes too long; the steps of the path are then told without types.
func (p *prover) typesOfPaths(ctx context.Context) (*heapTyper, error) {
	if p.heap.Objects() > somePlaces {
		return nil, nil
	}
	types := newHeapTyper(p.t, p.heap, func(heap.Object) bool { return true })
	return types, types.run(ctx, p)
}

// waitsOf lists what a goroutine waits for.
func (p *prover) waitsOf(i int) (list []sleepWait) {
	for _, w := range p.waits {
		if w.row == int32(i) {
			list = append(list, w)
		}
	}
	return list
}

// addPath adds the path to the first of a goroutine's objects that was reached.
func (p *prover) addPath(ways *heap.Ways, i int) {
	r := &p.rows[i]
	for _, w := range p.waitsOf(i) {
		o, _ := p.heap.Find(w.addr)
		if way, ok := ways.To(o); ok {
			addr := w.addr
			if r.waitsOn != 0 {
				addr = r.waitsOn // of a lock the address is that of its semaphore
			}
			p.t.b.Path(evidence.Path{Goroutine: r.id, Sync: addr, Steps: p.steps(ways, way, 0)})
			return
		}
	}
}

// steps turns a way into the steps of a path. A way that begins on the stack of a goroutine which has to wake first is preceded by the way
// to what that one waits for.
func (p *prover) steps(ways *heap.Ways, way heap.Way, woken int) []evidence.PathStep {
	var steps []evidence.PathStep
	if way.Task >= rootTasks {
		i := int(way.Task - rootTasks)
		if p.rows[i].sleep != sleepLive && woken < maxWoken {
			if first, ok := ways.To(p.wokenBy[i]); ok {
				steps = append(p.steps(ways, first, woken+1), evidence.PathStep{Kind: evidence.StepGoroutine, Goroutine: p.rows[i].id, Addr: p.rows[i].g})
			}
		}
		steps = append(steps, p.frameStep(&p.rows[i], way.At))
	} else {
		steps = append(steps, p.rootStep(&p.parts[way.Task], way.At))
	}
	for _, s := range way.Steps {
		name := ""
		if typ := p.heap.TypeOf(s.Object); typ != 0 {
			name, _, _ = p.t.typeOf(typ)
		} else if p.types != nil {
			name = p.types.nameOf(s.Object)
		}
		steps = append(steps, evidence.PathStep{Kind: evidence.StepObject, Addr: p.heap.Base(s.Object), Name: name,
			Size: p.heap.Size(s.Object), Offset: s.Offset})
	}
	return steps
}

// rootStep describes a word of a root that is no stack of a goroutine.
func (p *prover) rootStep(part *rootPart, at uint64) evidence.PathStep {
	switch part.kind {
	case rootData:
		name, off, ok := p.t.globalAt(at)
		if !ok {
			return evidence.PathStep{Kind: evidence.StepGlobal, Addr: at}
		}
		return evidence.PathStep{Kind: evidence.StepGlobal, Addr: at - off, Name: name, Offset: off}
	case rootMachine:
		return evidence.PathStep{Kind: evidence.StepRuntime, Addr: at, Name: fmt.Sprintf("system stack of thread %d", part.m.tid)}
	}
	return evidence.PathStep{Kind: evidence.StepFinalizer, Addr: at}
}

// frameStep finds the frame of a goroutine that holds a word of its stack. A word that is none of the stack was in a register, or in a
// defer record.
func (p *prover) frameStep(r *proofRow, at uint64) evidence.PathStep {
	step := evidence.PathStep{Kind: evidence.StepStack, Addr: at, Goroutine: r.id}
	t := p.t
	stack := t.stackOf(r.g)
	if at < stack.lo || at >= stack.hi {
		return step
	}
	pcs, sps, exact := p.framesOf(r, stack)
	for i, pc := range pcs {
		trap := exact && i == 0
		calls := t.symbols.at(pc, trap, evidence.TrustUnwound)
		if i+1 == len(pcs) || at < sps[i+1] {
			fn, _ := t.tab.Find(pc)
			step.Name = fn.Name()
			step.Depth += max(len(calls)-1, 0)
			return step
		}
		step.Depth += len(calls)
	}
	return step
}

// framesOf walks the stack of a goroutine as live does.
func (p *prover) framesOf(r *proofRow, stack span) (pcs, sps []uint64, exact bool) {
	t := p.t
	if m := t.gOwner[r.g]; m != nil {
		for _, part := range m.parts {
			if part.place == placeGoroutine {
				return part.pcs, part.sps, part.trap
			}
		}
	}
	from := t.saved(r.g)
	if at := t.atSyscall(r.g); r.status == statusSyscall && at.pc != 0 {
		from = at
	}
	u := newUnwinder(t)
	u.walk(from, stack.lo, stack.hi)
	return u.pcs, u.sps, false
}
