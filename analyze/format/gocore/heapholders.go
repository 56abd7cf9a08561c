package gocore

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// Bounds on the tree of what holds what.
const (
	maxHolderPlaces = 1 << 16 // while it is made; what comes later counts for the place above
	maxHolderDepth  = 24
	maxHolders      = 1000 // that are told
	leastHolderPart = 2000 // a place is told when it has so manieth part of what is reachable, 0.05 %
)

// holderPlace is a place in the tree.
type holderPlace struct {
	parent          int32 // -1 of a root
	depth           int
	kind            evidence.StepKind
	name            string
	stack           evidence.StackID
	ownObjects, own uint64
	objects, bytes  uint64 // with all below; computed at the end
	kids            []int32
}

// holderKey names a place among those below one parent.
type holderKey struct {
	parent int32
	kind   evidence.StepKind
	name   string
	stack  evidence.StackID
}

// holderTree is made by going through the heap from the roots, breadth first.
type holderTree struct {
	u      *heapUse
	names  []string // of labels
	inside []bool   // of labels: objects of it are parts of a map
	places []holderPlace
	index  map[holderKey]int32
	moves  map[uint64]int32 // by place and label: where that leads
}

// holders makes the tree: first what variables and finalizers lead to, then what stacks do, at last the runtime.
func (u *heapUse) holders(ctx context.Context, wanted bool) error {
	if u.marker == nil || !wanted {
		return nil
	}
	tree := &holderTree{u: u, index: map[holderKey]int32{}, moves: map[uint64]int32{}}
	for _, l := range u.types.typer.Labels() {
		tree.names = append(tree.names, l.Name)
		tree.inside = append(tree.inside, partOfMap(l.Name))
	}
	m := u.heap.NewMarker(u.task, nil)
	flood := &heap.Flood{Root: tree.root, Step: tree.step, Stop: u.marker.Owned}
	// The runtime's own come last: a collector at work has objects of the program on its system stacks, and does not hold them.
	var shared, stacks []uint32
	own := []uint32{allRecords}
	for i := range u.p.parts {
		if u.p.parts[i].kind == rootMachine {
			own = append(own, uint32(i))
			continue
		}
		shared = append(shared, uint32(i))
	}
	for i := range u.p.rows {
		stacks = append(stacks, rootTasks+uint32(i))
	}
	for _, tasks := range [][]uint32{shared, stacks, own} {
		u.stage(stageHold)
		if err := m.Flood(ctx, tasks, flood); err != nil {
			return err
		}
	}
	u.use.Holders = tree.told(u.use.LiveBytes)
	return nil
}

// partOfMap reports whether a type is one that a map consists of (internal/runtime/maps since Go 1.24, runtime/map.go before; see objtype).
func partOfMap(name string) bool {
	name = strings.TrimPrefix(name, "[]")
	for _, prefix := range []string{"map.group[", "map.bucket[", "table of ", "directory of ", "*maps.table", "maps.table"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// root is the place of an object to which a root leads.
func (h *holderTree) root(task uint32, at uint64, o heap.Object) uint32 {
	u := h.u
	key := holderKey{parent: -1, kind: evidence.StepRuntime}
	switch {
	case task >= rootTasks:
		if g := u.colour[task-rootTasks]; g != 0 {
			key.kind, key.stack = evidence.StepStack, u.groups[g-1].Stack
		}
	case task == allRecords:
	case u.p.parts[task].kind == rootData:
		key.kind = evidence.StepGlobal
		if name, _, ok := u.t.globalAt(at); ok {
			key.name = name
		}
	case u.p.parts[task].kind != rootMachine:
		key.kind = evidence.StepFinalizer
	}
	return h.step(uint32(h.place(key)), o)
}

// step is the place of an object to which an object at a place leads: the place of its type below, or the one above that has its type. Parts of a map are
// the map.
func (h *holderTree) step(from uint32, o heap.Object) uint32 {
	label := h.u.types.typer.Of(o)
	move := uint64(from)<<32 | uint64(label)
	at, ok := h.moves[move]
	if !ok {
		at = h.below(int32(from), label)
		h.moves[move] = at
	}
	p := &h.places[at]
	p.ownObjects++
	p.own += h.u.heap.Size(o)
	return uint32(at)
}

// below is the place of a type below another place.
func (h *holderTree) below(at int32, label uint32) int32 {
	if h.inside[label] && h.places[at].kind == evidence.StepObject {
		return at
	}
	for up := at; up >= 0; up = h.places[up].parent {
		if p := &h.places[up]; p.kind == evidence.StepObject && p.name == h.names[label] {
			return up
		}
	}
	if h.places[at].depth >= maxHolderDepth {
		return at
	}
	return h.place(holderKey{parent: at, kind: evidence.StepObject, name: h.names[label]})
}

// place finds or makes a place; when there are too many it is the one above.
func (h *holderTree) place(key holderKey) int32 {
	if at, ok := h.index[key]; ok {
		return at
	}
	if len(h.places) >= maxHolderPlaces {
		if key.parent >= 0 {
			return key.parent
		}
		key = holderKey{parent: -1, kind: evidence.StepRuntime}
		if at, ok := h.index[key]; ok {
			return at
		}
	}
	p := holderPlace{parent: key.parent, kind: key.kind, name: key.name, stack: key.stack}
	at := int32(len(h.places))
	if key.parent >= 0 {
		up := &h.places[key.parent]
		p.depth = up.depth + 1
		up.kids = append(up.kids, at)
	}
	h.places = append(h.places, p)
	h.index[key] = at
	return at
}

// told sums the tree up and lists what is large in it, the largest first.
func (h *holderTree) told(live uint64) []evidence.Holder {
	var roots []int32
	for i := len(h.places) - 1; i >= 0; i-- { // children come after their parents
		p := &h.places[i]
		p.objects += p.ownObjects
		p.bytes += p.own
		if p.parent < 0 {
			roots = append(roots, int32(i))
			continue
		}
		up := &h.places[p.parent]
		up.objects += p.objects
		up.bytes += p.bytes
	}
	var list []evidence.Holder
	h.list(roots, live/leastHolderPart, &list)
	return list
}

func (h *holderTree) list(places []int32, least uint64, to *[]evidence.Holder) {
	slices.SortFunc(places, func(i, k int32) int {
		a, b := &h.places[i], &h.places[k]
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(b.objects, a.objects), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name),
			cmp.Compare(a.stack, b.stack))
	})
	for _, i := range places {
		p := &h.places[i]
		if p.bytes < max(least, 1) || len(*to) == maxHolders {
			return
		}
		*to = append(*to, evidence.Holder{Depth: p.depth, Kind: p.kind, Name: p.name, Stack: p.stack, Objects: p.objects, Bytes: p.bytes, Own: p.own,
			OwnObjects: p.ownObjects})
		h.list(p.kids, least, to)
	}
}
