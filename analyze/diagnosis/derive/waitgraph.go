package derive

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// WaitGraph is who waits for what, and who could end that wait: the holders of locks and of slots, and the goroutines that would
// send, receive, close, signal, or say that they are done. It has nodes only for objects of which somebody is known to hold or to wake
// them and for goroutines that are proved never to wake, and it is built from columns: a process that is all right costs one pass.
type WaitGraph struct {
	Knots []Knot // what cannot come undone, those with most victims first

	c       *evidence.Case
	f       *Frames
	asleep  bool             // the runtime found that nobody can run: all waits are for ever
	objects []waitObject     // in the order in which they were found
	index   map[uint64]int32 // address -> objects
	waiters []waiter
	edges   []waitEdge
	blocks  []block
	byRow   rowTable // first block of a row
	waiting []int32  // waiter of a row, -1 for none
	knotOf  []int32  // knot of a waiter, -1 for none
	ports   []port   // two for each object: see portOf
}

// Grip is how sure it is that a goroutine stands in the way of another, from strong to weak.
type Grip uint8

// The grips.
const (
	GripPending Grip = iota // a deferred call that would end the wait is pending on its stack
	GripUnique              // the only holder there can be; or the code after its pc would end the wait
	GripWeak                // one of several candidates; or it refers to the object, and what it would do is not known
)

var gripNames = []string{"pending", "unique", "candidate"}

// String is the name of the grip.
func (g Grip) String() string { return gripNames[min(int(g), len(gripNames)-1)] }

// waitObject is an object of the graph.
type waitObject struct {
	sync  evidence.Sync
	known bool // sync was read
}

// waiter is a goroutine that is blocked by the program alone.
type waiter struct {
	row     uint32
	edge    int32 // first of its edges, -1 for none
	never   bool  // proved: it never wakes
	forever bool  // it waits for what never comes: a nil channel, select{}
	free    bool  // it may wake
}

// waitEdge says that a waiter can be woken through a port: of several edges any one is enough.
type waitEdge struct {
	waiter, port       int32
	ofWaiter, intoPort int32 // the next edge of either; -1 ends the list
}

// block says that a goroutine stands behind a port: it holds the lock or the slot, or would wake who waits there.
type block struct {
	row          int32
	port         int32
	grip         Grip
	counts       bool // the port's answer depends on it
	queued       bool // the goroutine waits at the port itself, and has made no promise to come back
	slot, reader bool
	ref          evidence.Ref
	ofRow, next  int32 // the next block of the row, of the port; -1 ends the list
}

// port is one way to wait for an object: a channel has one for receivers and one for senders, everything else has one.
type port struct {
	edge, block int32 // first of each, -1 for none
	need        int32 // how many of the blocks that count have to come free before the port opens
	open        bool
}

// portOf is the number of a port: two for each object.
func portOf(object int32, sends bool) int32 {
	if sends {
		return 2*object + 1
	}
	return 2 * object
}

// OfWaitGraph is the derivation of WaitGraph. Its cost is linear in goroutines, objects, holds and wakers.
var OfWaitGraph = &diagnosis.Derivation[*WaitGraph]{
	Name: "wait-for graph",
	Uses: []diagnosis.Dependency{OfFrames},
	Run: func(p *diagnosis.Pass) (*WaitGraph, error) {
		frames, err := diagnosis.Of(p, OfFrames)
		if err != nil {
			return nil, err
		}
		return newWaitGraph(p.Case, frames), nil
	},
}

func newWaitGraph(c *evidence.Case, f *Frames) *WaitGraph {
	g := &WaitGraph{c: c, f: f, asleep: asleep(c)}
	if !g.worthwhile() {
		return g
	}
	g.makeRoom()
	g.addBlocks()
	g.addWaiters()
	g.settlePorts()
	g.release()
	g.findKnots()
	return g
}

// asleep reports whether the runtime itself found that no goroutine can run (runtime/proc.go, checkdead, Go 1.21 to 1.26): it looks for
// timers, the network poller and system calls before it says so.
func asleep(c *evidence.Case) bool {
	return c.Death != nil && (strings.Contains(c.Death.Fatal, "goroutines are asleep") ||
		strings.Contains(c.Death.Fatal, "no goroutines (main called runtime.Goexit)"))
}

// makeRoom makes the columns. What holds and wakers name bounds the objects, and so do the goroutines.
func (g *WaitGraph) makeRoom() {
	rows, blocks := g.c.Goroutines().Len(), len(g.c.Holds)+len(g.c.Wakers)
	g.byRow, g.waiting = newRowTable(blocks, rows), emptyList(rows)
	g.index = make(map[uint64]int32, min(blocks, rows))
	g.objects, g.ports = make([]waitObject, 0, min(blocks, rows)), make([]port, 0, 2*min(blocks, rows))
	g.blocks = make([]block, 0, blocks)
}

// Asleep reports whether the runtime ended the process because no goroutine could run.
func (g *WaitGraph) Asleep() bool { return g.asleep }

// worthwhile reports whether anything in the case can tie a knot.
func (g *WaitGraph) worthwhile() bool {
	if len(g.c.Holds)+len(g.c.Wakers) > 0 || g.asleep {
		return true
	}
	for _, group := range g.c.Groups() {
		if group.Never > 0 || group.State == evidence.StateLeaked || forever(group.Reason) {
			return true
		}
	}
	return false
}

func emptyList(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = -1
	}
	return list
}

// object returns the number of the object at an address, and adds it when it is new.
func (g *WaitGraph) object(addr uint64) int32 {
	if at, ok := g.index[addr]; ok {
		return at
	}
	s, ok := g.c.Sync(addr)
	if !ok {
		s = evidence.Sync{Addr: addr, Waiters: -1}
	}
	at := int32(len(g.objects))
	g.index[addr] = at
	g.objects = append(g.objects, waitObject{s, ok})
	g.ports = append(g.ports, port{edge: -1, block: -1}, port{edge: -1, block: -1})
	return at
}

// addBlocks takes in holds and wakers.
func (g *WaitGraph) addBlocks() {
	for i, h := range g.c.Holds {
		at := g.object(h.Sync)
		s := g.objects[at].sync
		slot := s.Kind == evidence.SyncChannel
		if s.Kind == evidence.SyncRWMutex && g.objects[at].known && (s.Locked || s.Readers > 0) && h.Reader == s.Locked {
			continue // the lock itself says that it is held in the other way
		}
		if s.Kind == evidence.SyncMutex && h.Reader {
			continue // the mutex inside an RWMutex, which only writers take (sync/rwmutex.go)
		}
		sends := slot && s.Cap > 0 && s.Len == s.Cap // taken by a send, given back by a receive
		g.addBlock(h.Goroutine, block{port: portOf(at, sends), grip: holdGrip(h.Grade), slot: slot, reader: h.Reader,
			ref: evidence.Ref{Kind: evidence.RefHold, ID: uint64(i)}})
	}
	for i, w := range g.c.Wakers {
		at, ref := g.object(w.Sync), evidence.Ref{Kind: evidence.RefWaker, ID: uint64(i)}
		channel := g.objects[at].sync.Kind == evidence.SyncChannel
		grip := wakerGrip(w)
		if channel && w.Act == evidence.ActReceive && g.asksForSlot(w) {
			continue // it would give back what it waits for
		}
		if !channel || w.Act != evidence.ActReceive {
			g.addBlock(w.Goroutine, block{port: portOf(at, false), grip: grip, ref: ref})
		}
		if channel && (w.Act == evidence.ActReceive || w.Act == evidence.ActUnknown) {
			g.addBlock(w.Goroutine, block{port: portOf(at, true), grip: grip, ref: ref})
		}
	}
}

// asksForSlot reports whether a goroutine waits itself for a slot of the full semaphore that it would give one back to.
func (g *WaitGraph) asksForSlot(w evidence.Waker) bool {
	s := g.objects[g.index[w.Sync]].sync
	at, ok := g.c.Goroutines().ByID(w.Goroutine)
	return ok && at.WaitsOn == w.Sync && s.Blank && s.Cap > 0 && s.Len == s.Cap && w.Grade == evidence.WakerAhead
}

func (g *WaitGraph) addBlock(goroutine int64, b block) {
	row, ok := g.c.Goroutines().Row(goroutine)
	if !ok {
		return
	}
	n := int32(len(g.blocks))
	b.row, b.ofRow, b.next = int32(row), g.byRow.of(int32(row)), g.ports[b.port].block
	g.byRow.set(b.row, n)
	g.ports[b.port].block = n
	g.blocks = append(g.blocks, b)
}

func holdGrip(grade evidence.HoldGrade) Grip {
	switch grade {
	case evidence.HoldPendingUnlock:
		return GripPending
	case evidence.HoldUnique:
		return GripUnique
	}
	return GripWeak
}

func wakerGrip(w evidence.Waker) Grip {
	switch {
	case w.Act == evidence.ActUnknown:
		return GripWeak
	case w.Grade == evidence.WakerPending:
		return GripPending
	case w.Grade == evidence.WakerAhead:
		return GripUnique
	}
	return GripWeak
}
