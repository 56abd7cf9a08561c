package derive

import "github.com/gopostmortem/postmortem/analyze/evidence"

// settlePorts decides for each port which blocks count and how many of them must come free. A port about which nothing is known is
// open: whoever waits there may be woken.
func (g *WaitGraph) settlePorts() {
	for p := range g.ports {
		if g.ports[p].edge >= 0 {
			g.settle(int32(p))
		}
	}
}

func (g *WaitGraph) settle(p int32) {
	o := g.objects[p/2]
	switch {
	case o.known && passable(o.sync, p%2 == 1):
		g.ports[p].open = true
	case o.sync.Kind == evidence.SyncChannel:
		g.settleChannel(p)
	case o.sync.Kind == evidence.SyncNetpoll:
		g.ports[p].open = true
	case o.sync.Kind == evidence.SyncCond:
		g.settleAny(p, GripWeak)
	default:
		g.settleAll(p)
	}
	if g.ports[p].need == 0 {
		g.ports[p].open = true
	}
}

// passable reports whether an object lets the next one through at this moment: it is changing hands.
func passable(s evidence.Sync, sends bool) bool {
	switch s.Kind {
	case evidence.SyncMutex:
		return !s.Locked
	case evidence.SyncRWMutex:
		return !s.Locked && s.Readers <= 0 && !s.Pending
	case evidence.SyncWaitGroup:
		return s.Counter <= 0
	case evidence.SyncChannel:
		return s.Closed || (sends && s.Len < s.Cap) || (!sends && s.Len > 0)
	}
	return false
}

// settleAll is for locks and wait groups: all that surely stand in the way must come free. Where only candidates are known, or more
// than can be (two holders of one mutex), one that comes free may be the one.
func (g *WaitGraph) settleAll(p int32) {
	g.dropQueued(p)
	o := g.objects[p/2]
	sure := g.count(p, GripUnique)
	switch {
	case sure == 0:
		g.ports[p].need = min(g.count(p, GripWeak), 1)
	case o.known && sure > limitOf(o.sync):
		g.ports[p].need = 1
	default:
		g.ports[p].need = sure
	}
}

// limitOf is how many can hold an object, or owe it, at the same time.
func limitOf(s evidence.Sync) int32 {
	const most = 1 << 30
	switch {
	case s.Kind == evidence.SyncRWMutex && !s.Locked:
		return int32(min(max(s.Readers, 1), most))
	case s.Kind == evidence.SyncWaitGroup:
		return int32(min(max(s.Counter, 1), most))
	case s.Kind == evidence.SyncMutex, s.Kind == evidence.SyncRWMutex:
		return 1
	}
	return most
}

// dropQueued takes out mere candidates that wait for the lock themselves: they stand at the Lock and not behind it. When one other is
// left, that is the one.
func (g *WaitGraph) dropQueued(p int32) {
	queued, left, last := 0, 0, int32(-1)
	for b := g.ports[p].block; b >= 0; b = g.blocks[b].next {
		x := &g.blocks[b]
		switch {
		case x.grip < GripWeak:
			return
		case x.ref.Kind == evidence.RefHold && g.waitsAt(x.row, p):
			x.row = -1
			queued++
		default:
			left++
			last = b
		}
	}
	if queued > 0 && left == 1 && g.blocks[last].ref.Kind == evidence.RefHold {
		g.blocks[last].grip = GripUnique
	}
}

// waitsAt reports whether the goroutine in a row waits at a port.
func (g *WaitGraph) waitsAt(row, p int32) bool {
	n := g.waiting[row]
	if n < 0 {
		return false
	}
	for e := g.waiters[n].edge; e >= 0; e = g.edges[e].ofWaiter {
		if g.edges[e].port == p {
			return true
		}
	}
	return false
}

// settleChannel is for channels: any one that comes free is enough. Senders wait for those whose code receives; who merely refers to the
// channel counts only when there are none. For receivers all count: an idle worker waits for whoever may have work one day. Holders of
// slots count when all slots are accounted for.
func (g *WaitGraph) settleChannel(p int32) {
	o := g.objects[p/2]
	slots := int64(0)
	for b := g.ports[p].block; b >= 0; b = g.blocks[b].next {
		if g.blocks[b].slot {
			slots++
		}
	}
	if slots > 0 && slots < o.sync.Cap && !g.waitedForEver(p) {
		g.ports[p].open = true
		return
	}
	least := GripWeak
	if p%2 == 1 && g.count(p, GripUnique) > 0 {
		least = GripUnique
	}
	g.settleAny(p, least)
}

// settleAny is for objects at which any one is enough. Those who wait there themselves are no answer: when nobody else is known, nothing
// is.
func (g *WaitGraph) settleAny(p int32, weakest Grip) {
	n := g.count(p, weakest)
	for b := g.ports[p].block; b >= 0; b = g.blocks[b].next {
		x := &g.blocks[b]
		if x.counts && !x.slot && x.grip > GripPending && g.waitsAt(x.row, p) {
			x.queued = true
			n--
		}
	}
	g.ports[p].need = min(n, 1)
}

// waitedForEver reports whether somebody at the port is proved never to wake.
func (g *WaitGraph) waitedForEver(p int32) bool {
	for e := g.ports[p].edge; e >= 0; e = g.edges[e].intoPort {
		if g.waiters[g.edges[e].waiter].never {
			return true
		}
	}
	return false
}

// count marks the blocks of a port that are at least so strong as those that count, and returns how many there are.
func (g *WaitGraph) count(p int32, weakest Grip) int32 {
	n := int32(0)
	for b := g.ports[p].block; b >= 0; b = g.blocks[b].next {
		x := &g.blocks[b]
		x.counts = x.row >= 0 && x.grip <= weakest
		if x.counts {
			n++
		}
	}
	return n
}

// release finds who may wake: the least fixpoint of "it is not blocked by the program alone, or a port that it waits at opens", a port
// being open when enough of those that stand in its way may wake. Each edge and each block is passed over once.
func (g *WaitGraph) release() {
	var ready []int32 // rows that may wake and whose blocks have not been looked at
	for _, row := range g.byRow.rows() {
		if g.waiting[row] < 0 {
			ready = append(ready, row)
		}
	}
	for p := range g.ports {
		if g.ports[p].open {
			ready = g.wake(int32(p), ready)
		}
	}
	for len(ready) > 0 {
		row := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for b := g.byRow.of(row); b >= 0; b = g.blocks[b].ofRow {
			x := &g.blocks[b]
			if !x.counts || g.ports[x.port].open {
				continue
			}
			if g.ports[x.port].need--; g.ports[x.port].need == 0 {
				g.ports[x.port].open = true
				ready = g.wake(x.port, ready)
			}
		}
	}
}

// wake marks those who wait at a port that opens. Who is proved never to wake does not, whatever the inferences say.
func (g *WaitGraph) wake(p int32, ready []int32) []int32 {
	for e := g.ports[p].edge; e >= 0; e = g.edges[e].intoPort {
		w := &g.waiters[g.edges[e].waiter]
		if w.never || w.free {
			continue
		}
		w.free = true
		ready = append(ready, int32(w.row))
	}
	return ready
}
