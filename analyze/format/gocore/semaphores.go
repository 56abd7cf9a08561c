package gocore

import (
	"cmp"
	"maps"
	"slices"
)

// sudogBytes is less than a sudog takes (runtime/runtime2.go, Go 1.21 to 1.26): the core bounds how many there are.
const sudogBytes = 64

// readSemaphores reads the table of semaphore waiters (runtime/sema.go, semtable): from each goroutine to the address it
// waits for. It is needed up to Go 1.25, where g.waiting is nil for semaphores.
//
// Each root is a treap of sudogs, one for each address, linked by prev and next; behind each stands a list, linked by
// waitlink, of the other goroutines that wait for the same address.
func (t *target) readSemaphores() map[uint64]semaWait { return t.walkSemaphores().waits }

// walkSemaphores walks the table once.
func (t *target) walkSemaphores() *semaWalk {
	if t.semaWalked == nil {
		t.semaWalked = t.walkTable()
	}
	return t.semaWalked
}

func (t *target) walkTable() *semaWalk {
	w := &semaWalk{t: t, waits: map[uint64]semaWait{}, most: int(t.core.Size / sudogBytes)}
	table, ok := t.vars.addr("runtime.semtable")
	stride, count, sized := t.layout.Array("runtime.semTable")
	treap, known := t.layout.Offset("runtime.semaRoot.treap")
	if !ok || !sized || !known {
		t.b.Gap("what goroutines wait for", "the address of the runtime's semaphore table is not known")
		return w
	}
	for i := range count {
		root, ok := t.core.Mem.Uint64(table + i*stride + treap)
		if !ok {
			t.b.Gapf("what goroutines wait for", "a part of the runtime's semaphore table at %#x is not in the core", table+i*stride)
			return w
		}
		w.tree(root)
	}
	return w
}

type semaWalk struct {
	t     *target
	waits map[uint64]semaWait // by goroutine
	seen  int                 // sudogs
	most  int
}

// semaWait is the place of a goroutine in the table.
type semaWait struct{ elem, sudog uint64 }

// tree walks a treap with a list of nodes to visit: recursion on a damaged core could be endless.
func (w *semaWalk) tree(root uint64) {
	o := &w.t.off.Sudog
	mem := w.t.core.Mem
	todo := []uint64{root}
	for len(todo) > 0 && w.seen < w.most {
		node := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		elem, ok := mem.Uint64(node + o.Elem)
		if node == 0 || !ok || !w.list(node, elem) {
			continue
		}
		prev, _ := mem.Uint64(node + o.Prev)
		next, _ := mem.Uint64(node + o.Next)
		todo = append(todo, prev, next)
	}
}

// list notes the goroutines that wait for one address; it returns false when the node was seen before or is not in the core.
func (w *semaWalk) list(node, elem uint64) bool {
	o := &w.t.off.Sudog
	mem := w.t.core.Mem
	for first := true; node != 0 && w.seen < w.most; first = false {
		g, ok := mem.Uint64(node + o.G)
		if !ok {
			return !first
		}
		if _, twice := w.waits[g]; twice {
			return !first
		}
		w.seen++
		w.waits[g] = semaWait{elem, node}
		node, _ = mem.Uint64(node + o.WaitLink)
	}
	return true
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
