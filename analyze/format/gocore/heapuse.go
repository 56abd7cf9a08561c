package gocore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// Bounds on what is told of a heap.
const (
	maxRetained      = 50  // groups of goroutines, by what they retain
	maxRetainedTypes = 10  // types of what a group retains, by bytes
	maxHeapTypes     = 500 // types, by bytes; the rest is told as one
)

// heapUse counts the heap object by object.
type heapUse struct {
	t      *target
	p      *prover
	heap   *heap.Heap
	marker *heap.Marker
	colour []heap.Colour // of each goroutine: the number of its group
	groups []evidence.Retained
	types  *heapTyper
	use    evidence.HeapUse
}

// readHeapUse fills evidence.HeapUse. What is allocated is counted even where reachability cannot be decided.
func (t *target) readHeapUse(ctx context.Context, rows []proofRow) error {
	asked := t.heapAsked()
	if asked.most == 0 {
		return nil
	}
	u := &heapUse{t: t, p: &prover{t: t, view: t.core.Mem.View(), rows: rows, cond: map[uint64]map[uint64]uint64{}, least: 1 << 12}}
	refused, err := u.index(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.b.Gap(evidence.HeapUseGap, err.Error())
			return nil
		}
		return fmt.Errorf("counting the heap: %w", ctx.Err())
	}
	if places := u.heap.Objects(); places > asked.most {
		t.tooLarge(places, asked.most)
		return nil
	}
	if refused == nil {
		refused = u.reach(ctx)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("counting the heap: %w", ctx.Err())
	}
	if refused != nil {
		u.use.Refused, u.marker = refused.Error(), nil
	}
	if err := u.count(); err != nil {
		t.b.Gap(evidence.HeapUseGap, err.Error())
		return nil
	}
	if err := u.holders(ctx, asked.whole); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("counting the heap: %w", ctx.Err())
		}
		t.b.Gap(evidence.HeapUseGap, err.Error())
	}
	t.b.HeapUse(u.use)
	return nil
}

// Stages of a count, as progress tells them: each takes about as long as the others.
const (
	stageMark = iota
	stageType
	stageHold
	stages
)

func (u *heapUse) stage(n int64) { u.t.in.Options.Report(format.CountingHeap, n, stages) }

// index reads the heap. The first error says why it can be counted only, the second that not even this is possible.
func (u *heapUse) index(ctx context.Context) (refused, err error) {
	t := u.t
	mheap, ok := t.vars.addr("runtime.mheap_")
	if !ok {
		return nil, errors.New("the runtime's record of the heap (mheap_) was not found")
	}
	src := heap.Source{Mem: t.core.Mem, Layout: t.layout, MHeap: mheap, CoreSize: uint64(t.core.Size), ARM64: t.arm64}
	u.heap, refused = heap.Build(ctx, src)
	if refused != nil {
		src.Partial = true
		if u.heap, err = heap.Build(ctx, src); err != nil {
			return nil, err
		}
	}
	u.p.heap = u.heap
	return refused, nil
}

// reach marks the heap from all roots, in colours: what a group of goroutines alone keeps has the colour of the group. The error says why
// reachability cannot be decided.
func (u *heapUse) reach(ctx context.Context) error {
	t, p := u.t, u.p
	if t.unread > 0 {
		return fmt.Errorf("the structures of %d goroutines are not in the core", t.unread)
	}
	for _, step := range []func() error{p.resolve, p.selfCheck, p.listRoots} {
		if err := step(); err != nil {
			return err
		}
	}
	u.makeGroups()
	m := u.heap.NewPainter(u.task)
	m.Guard = func(run func() error) error { return guarded(t.in, run) }
	stacks := make([]uint32, 0, len(p.rows))
	for i := range p.rows {
		u.own(m, &p.rows[i])
		stacks = append(stacks, rootTasks+uint32(i))
	}
	parts := append(make([]uint32, 0, len(p.parts)+1), allRecords)
	for i := range p.parts {
		parts = append(parts, uint32(i))
	}
	u.stage(stageMark)
	if err := m.Run(ctx, parts, p.workers()); err != nil {
		return err
	}
	if err := m.Run(ctx, stacks, p.workers()); err != nil {
		return err
	}
	u.marker = m
	u.stage(stageType)
	u.types = newHeapTyper(t, u.heap, func(o heap.Object) bool { return m.Colour(o) != 0 })
	return u.types.run(ctx, p)
}

// makeGroups puts the goroutines into groups: the same stack, the same go statement. Colour 0 is nobody's.
func (u *heapUse) makeGroups() {
	type site struct {
		stack   evidence.StackID
		created evidence.FrameID
	}
	numbers := map[site]heap.Colour{}
	u.colour = make([]heap.Colour, len(u.p.rows))
	for i := range u.p.rows {
		r := &u.p.rows[i]
		var s site
		s.stack, s.created = u.t.b.SiteOf(int(r.row))
		n, known := numbers[s]
		if !known {
			u.groups = append(u.groups, evidence.Retained{Stack: s.stack, Created: s.created})
			n = heap.Colour(len(u.groups))
			numbers[s] = n
		}
		g := &u.groups[n-1]
		g.Goroutines++
		stack := u.t.stackOf(r.g)
		g.StackBytes += stack.hi - min(stack.lo, stack.hi)
		u.colour[i] = n
	}
}

// task does one piece of work of the mark. The runtime's list of goroutines and the queues of channels and locks lead to every goroutine;
// what a goroutine's own records lead to is its own nevertheless.
func (u *heapUse) task(w *heap.Worker, task uint32) error {
	if task < rootTasks {
		w.Paint(heap.Shared)
		if task == allRecords {
			u.keepRecords(w)
			return nil
		}
		return u.p.task(w, task)
	}
	r := &u.p.rows[task-rootTasks]
	w.Paint(u.colour[task-rootTasks])
	u.records(r, w.Object)
	return u.p.task(w, task)
}

// allRecords is the task that marks the records of all goroutines: the runtime keeps those for others when a goroutine ends.
const allRecords = rootTasks - 1

func (u *heapUse) keepRecords(w *heap.Worker) {
	for i := range u.p.rows {
		u.records(&u.p.rows[i], func(o heap.Object) { w.Root(0, u.heap.Base(o)) })
	}
}

// own makes a goroutine's records its own.
func (u *heapUse) own(m *heap.Marker, r *proofRow) { u.records(r, m.Own) }

// records visits a goroutine's structure and those that stand for it in queues.
func (u *heapUse) records(r *proofRow, visit func(heap.Object)) {
	t, p := u.t, u.p
	at := func(addr uint64) {
		if o, ok := u.heap.Find(addr); ok && addr != 0 {
			visit(o)
		}
	}
	at(r.g)
	sudog, ok := t.core.Mem.Uint64(r.g + t.off.G.Waiting)
	for n := 0; ok && sudog != 0 && n < maxCases; n++ {
		if g, _ := t.core.Mem.Uint64(sudog + t.off.Sudog.G); g != r.g {
			break // of a semaphore the list goes on to those of all who wait for it
		}
		at(sudog)
		sudog, ok = t.core.Mem.Uint64(sudog + t.off.Sudog.WaitLink)
	}
	at(t.walkSemaphores().waits[r.g].sudog)
	if r.waitsOn != 0 && int(r.reason) < len(t.kinds) && t.kinds[r.reason].kind == evidence.SyncCond && r.status == statusWaiting {
		at(p.notified(r.waitsOn + t.kinds[r.reason].back)[r.g])
	}
}

// classKey is an allocation class.
type classKey struct {
	size   uint64
	noscan bool
}

// count sums up the objects by class, type and group.
func (u *heapUse) count() error {
	classes := map[classKey]*evidence.HeapClass{}
	missing := 0
	u.heap.Spans(func(s heap.Span) {
		key := classKey{s.Elem, s.NoScan}
		if s.Large {
			key.size = 0
		}
		c := classes[key]
		if c == nil {
			c = &evidence.HeapClass{Size: key.size, NoScan: key.noscan}
			classes[key] = c
		}
		taken, ok := s.Allocated()
		if !ok {
			missing++
			return
		}
		u.span(s, taken, c)
	})
	if missing > 0 {
		u.t.b.Gapf(evidence.HeapUseGap, "of %d spans the core does not say which of their objects are in use", missing)
	}
	for _, c := range classes {
		u.use.Objects += c.Objects
		u.use.Bytes += c.Bytes
		u.use.LiveObjects += c.LiveObjects
		u.use.LiveBytes += c.LiveBytes
		if c.Objects > 0 {
			u.use.Classes = append(u.use.Classes, *c)
		}
	}
	slices.SortFunc(u.use.Classes, func(a, b evidence.HeapClass) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Size, b.Size), compareBool(a.NoScan, b.NoScan))
	})
	if u.use.Objects == 0 {
		return errors.New("no object of the heap is in use, which cannot be")
	}
	if u.marker != nil {
		u.use.Types = u.types.table(u.types.sums)
		u.keepLargest()
	}
	return nil
}

// span counts the objects of a span.
func (u *heapUse) span(s heap.Span, taken heap.AllocSet, c *evidence.HeapClass) {
	for i := range s.Count {
		if !taken.Has(uint32(i)) {
			continue
		}
		c.Objects++
		c.Bytes += s.Elem
		if u.marker == nil {
			continue
		}
		o := s.Object(i)
		colour := u.marker.Colour(o)
		if colour == 0 {
			continue
		}
		c.LiveObjects++
		c.LiveBytes += s.Elem
		u.types.count(o, s.Elem)
		if colour != heap.Shared {
			g := &u.groups[colour-1]
			g.Objects++
			g.Bytes += s.Elem
		}
	}
}

// keepLargest keeps the groups that retain most, and says what it is that they retain.
func (u *heapUse) keepLargest() {
	order := make([]int, len(u.groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int {
		a, b := &u.groups[i], &u.groups[k]
		return cmp.Or(cmp.Compare(b.Bytes+b.StackBytes, a.Bytes+a.StackBytes), cmp.Compare(b.Goroutines, a.Goroutines))
	})
	order = order[:min(len(order), maxRetained)]
	sums := map[heap.Colour]map[uint32]heapSum{}
	for _, i := range order {
		if u.groups[i].Objects > 0 {
			sums[heap.Colour(i+1)] = map[uint32]heapSum{}
		}
	}
	u.retainedTypes(sums)
	for _, i := range order {
		g := u.groups[i]
		if of := sums[heap.Colour(i+1)]; of != nil {
			list := make([]heapSum, len(u.types.sums))
			for label, sum := range of {
				list[label] = sum
			}
			types := u.types.table(list)
			g.Types = types[:min(len(types), maxRetainedTypes)]
		}
		u.use.Retained = append(u.use.Retained, g)
	}
}

// retainedTypes sums up, by type, the objects of the groups that sums has.
func (u *heapUse) retainedTypes(sums map[heap.Colour]map[uint32]heapSum) {
	if len(sums) == 0 {
		return
	}
	u.heap.Spans(func(s heap.Span) {
		taken, ok := s.Allocated()
		for i := range s.Count {
			o := s.Object(i)
			colour := u.marker.Colour(o)
			if !ok || colour == 0 || colour == heap.Shared {
				continue
			}
			if of := sums[colour]; of != nil && taken.Has(uint32(i)) {
				label := u.types.typer.Of(o)
				sum := of[label]
				sum.objects++
				sum.bytes += s.Elem
				of[label] = sum
			}
		}
	})
}

func compareBool(a, b bool) int {
	if a == b {
		return 0
	}
	if b {
		return -1
	}
	return 1
}

// table lists types by bytes, the unknown among them; sums are by label.
func (h *heapTyper) table(sums []heapSum) []evidence.HeapType {
	type row struct {
		name  string
		trust evidence.Trust
	}
	rows := map[row]*evidence.HeapType{}
	for label, n := range sums {
		if n.objects == 0 {
			continue
		}
		l := h.typer.Labels()[label]
		r := row{l.Name, trustOf(l.Rank)}
		if rows[r] == nil {
			rows[r] = &evidence.HeapType{Name: r.name, Trust: r.trust}
		}
		rows[r].Objects += n.objects
		rows[r].Bytes += n.bytes
	}
	list := make([]evidence.HeapType, 0, len(rows))
	for _, r := range rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b evidence.HeapType) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Objects, a.Objects), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Trust, b.Trust))
	})
	return fold(list)
}

// otherTypes stands for the small rest of the types.
const otherTypes = "(other types)"

func fold(list []evidence.HeapType) []evidence.HeapType {
	if len(list) <= maxHeapTypes {
		return list
	}
	rest := evidence.HeapType{Name: otherTypes, Trust: evidence.TrustRead}
	for _, t := range list[maxHeapTypes:] {
		rest.Objects += t.Objects
		rest.Bytes += t.Bytes
		if t.Trust != evidence.TrustRead {
			rest.Trust = t.Trust
		}
	}
	return append(list[:maxHeapTypes:maxHeapTypes], rest)
}
