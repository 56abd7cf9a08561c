package derive

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Wanted says who needs goroutines that never go on. When nobody does they are a leak, and otherwise a deadlock.
type Wanted struct {
	By  WantedBy
	Row uint32 // the goroutine that needs them, or that is needed; valid unless By is WantedByNobody
}

// WantedBy is who needs a goroutine.
type WantedBy uint8

// Who needs a goroutine, from the strongest reason to the weakest.
const (
	WantedByNobody  WantedBy = iota
	WantedByMain             // the main goroutine is one of them, or waits behind them
	WantedByLock             // others wait for a lock that one of them holds, or several for one whose holder has gone
	WantedByRequest          // one of them answers a request, or runs a test
	WantedByWait             // somebody else waits for a wait group that they hold up
	WantedByCycle            // they wait for each other
)

var wantedPhrases = []string{"nobody waits for them", "the main goroutine cannot go on", "others wait for a lock that is held",
	"a request waits for its answer", "somebody waits for a wait group that they hold up", "they wait for each other"}

// String is a clause: "a request waits for its answer".
func (w WantedBy) String() string { return wantedPhrases[min(int(w), len(wantedPhrases)-1)] }

// requests are the functions in which a goroutine serves somebody outside of it, who waits for the answer: net/http (server.go and
// h2_bundle.go, Go 1.21 to 1.26), golang.org/x/net/http2 (server.go), google.golang.org/grpc (server.go), net/rpc (server.go), testing
// (testing.go).
var requests = setOf("net/http.(*conn).serve", "net/http.(*http2serverConn).runHandler",
	"golang.org/x/net/http2.(*serverConn).runHandler", "google.golang.org/grpc.(*Server).handleStream", "net/rpc.(*service).call",
	"testing.tRunner")

// mainGoroutine is the id of the goroutine that runs main.main (runtime/proc.go: it is the first one made).
const mainGoroutine = 1

// wanted decides by all who wait behind a knot.
func (g *WaitGraph) wanted(k *Knot) Wanted {
	best := Wanted{}
	offer := func(by WantedBy, row uint32) {
		if best.By == WantedByNobody || by < best.By {
			best = Wanted{by, row}
		}
	}
	asked := map[evidence.StackID]bool{}
	for _, row := range k.Victims {
		id, stack := g.c.Goroutines().ID(int(row)), g.c.Goroutines().StackOf(int(row))
		if id == mainGoroutine && !g.designed(row) {
			offer(WantedByMain, row)
		}
		if g.awaited(row) {
			offer(WantedByLock, row)
		}
		serves, known := asked[stack]
		if !known {
			serves = g.serves(stack)
			asked[stack] = serves
		}
		if serves {
			offer(WantedByRequest, row)
		}
		if g.waitsForGroup(row) && !(k.port >= 0 && g.waitsAt(int32(row), k.port)) && !g.closes(row) {
			offer(WantedByWait, row)
		}
	}
	switch {
	case k.Kind == KnotLocks || k.Kind == KnotMixed:
		offer(WantedByCycle, k.Members[0])
	case k.Kind == KnotOrphan && k.port >= 0 && len(k.Victims) > 1 && isLock(g.objects[k.port/2].sync):
		offer(WantedByLock, k.Members[0])
	}
	return best
}

func isLock(s evidence.Sync) bool {
	return s.Kind == evidence.SyncMutex || s.Kind == evidence.SyncRWMutex
}

// designed reports whether a goroutine is main in a select{} of its own: it is not meant to wake.
func (g *WaitGraph) designed(row uint32) bool {
	at := g.c.Goroutines().At(int(row))
	return at.Wake == evidence.WakeByDesign || at.Reason == "select (no cases)"
}

// serves reports whether a stack is that of a goroutine which answers a request.
func (g *WaitGraph) serves(stack evidence.StackID) bool {
	s := g.c.Stack(stack)
	for i := max(0, s.Len()-maxNamedFrames); i < s.Len(); i++ {
		if requests[s.At(i).Function] {
			return true
		}
	}
	return false
}

// awaited reports whether a goroutine surely holds a lock for which another one waits.
func (g *WaitGraph) awaited(row uint32) bool {
	for b := g.byRow.of(int32(row)); b >= 0; b = g.blocks[b].ofRow {
		x := &g.blocks[b]
		if !x.counts || x.slot || x.ref.Kind != evidence.RefHold || x.grip == GripWeak {
			continue
		}
		for e := g.ports[x.port].edge; e >= 0; e = g.edges[e].intoPort {
			if w := g.waiters[g.edges[e].waiter]; w.row != row && !w.free {
				return true
			}
		}
	}
	return false
}

// waitsForGroup reports whether a goroutine waits for a wait group.
func (g *WaitGraph) waitsForGroup(row uint32) bool {
	for e := g.waiters[g.waiting[row]].edge; e >= 0; e = g.edges[e].ofWaiter {
		if g.objects[g.edges[e].port/2].sync.Kind == evidence.SyncWaitGroup {
			return true
		}
	}
	return false
}

// closes reports whether all that a goroutine is known to do for others is to close channels at which nobody waits to receive: the
// helper that closes the results once the workers are done. Nobody needs it when the reader of the results has gone.
func (g *WaitGraph) closes(row uint32) bool {
	found := false
	for b := g.byRow.of(int32(row)); b >= 0; b = g.blocks[b].ofRow {
		x := &g.blocks[b]
		if x.ref.Kind != evidence.RefWaker || g.c.Wakers[x.ref.ID].Act != evidence.ActClose {
			continue
		}
		if g.ports[x.port].edge >= 0 {
			return false
		}
		found = true
	}
	return found
}

// HogWaiters is how many goroutines must wait for a lock before lock-hog names its holder: a lock under healthy load had 0 to 3 waiters
// in a snapshot of 2 to 8 processors.
const HogWaiters = 5

// Hogs reports whether the only harm that a knot without a cycle does is the queue for a lock, and that queue is long enough for lock-hog:
// then the cause is that something slow was done with the lock held, and that it will never end is a detail.
func (g *WaitGraph) Hogs(k *Knot) bool {
	if k.port >= 0 && isLock(g.objects[k.port/2].sync) {
		return false
	}
	return k.Kind == KnotOrphan && k.Wanted.By == WantedByLock && len(k.Victims)-len(k.Members) >= HogWaiters
}

// Needs says whether a goroutine of its own has somebody who needs it: it is main, serves a request, or surely holds a lock for which
// others wait.
func (g *WaitGraph) Needs(row uint32) WantedBy {
	switch {
	case g.ID(row) == mainGoroutine && !g.designed(row):
		return WantedByMain
	case g.awaited(row):
		return WantedByLock
	case g.serves(g.c.Goroutines().StackOf(int(row))):
		return WantedByRequest
	}
	return WantedByNobody
}

// Served reports whether some goroutine is known that holds an object or could wake those who wait for it.
func (g *WaitGraph) Served(addr uint64) bool {
	at, ok := g.index[addr]
	return ok && (g.ports[portOf(at, false)].block >= 0 || g.ports[portOf(at, true)].block >= 0)
}

// StuckAt returns the knot behind which the goroutine in a row waits; nil when it may go on as far as is known.
func (g *WaitGraph) StuckAt(row uint32) *Knot {
	if int(row) >= len(g.waiting) || g.waiting[row] < 0 || g.knotOf[g.waiting[row]] < 0 {
		return nil
	}
	return &g.Knots[g.knotOf[g.waiting[row]]]
}
