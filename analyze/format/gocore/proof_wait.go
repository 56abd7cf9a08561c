package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// sleepKind says how a goroutine can be woken.
type sleepKind uint8

const (
	sleepLive    sleepKind = iota // it runs, or something outside of the program's own memory may wake it
	sleepForever                  // nothing ever wakes it
	sleepChannel                  // whoever has one of its channels may wake it
	sleepLock                     // whoever has the lock, the condition or the wait group may wake it
)

// sleepKinds are the wait reasons of candidates (runtime/mgc.go of Go 1.26, isMaybeRunnable). All others are live: the network, a timer,
// the collector or another thread may end the wait.
var sleepKinds = map[string]sleepKind{
	"chan receive (nil chan)": sleepForever,
	"chan send (nil chan)":    sleepForever,
	"select (no cases)":       sleepForever,
	"chan receive":            sleepChannel,
	"chan send":               sleepChannel,
	"select":                  sleepChannel,
	"sync.Cond.Wait":          sleepLock,
	"sync.Mutex.Lock":         sleepLock,
	"sync.RWMutex.Lock":       sleepLock,
	"sync.RWMutex.RLock":      sleepLock,
	"sync.WaitGroup.Wait":     sleepLock,
}

// noteRow keeps a goroutine for the proof; row is its place in the Builder.
func (t *target) noteRow(w *worker, r *gRow, row int) {
	if !t.reaches() {
		return
	}
	n := proofRow{g: r.g, id: r.id, waitsOn: r.waitsOn, row: int32(row), stack: r.stack, worker: w.number, status: uint8(min(r.status, 0xff)), reason: r.reason, system: t.isSystem(r.startpc)}
	if states[r.status] == evidence.StateLeaked {
		n.status = statusWaiting // what the collector found out once may have changed; it is found out again
	}
	if int(r.reason) < len(t.kinds) && t.kinds[r.reason].kind == evidence.SyncSemaphore {
		n.waitGroup = w.stackHas(r.stack, t.waitGroupWait)
	}
	t.sleepers = append(t.sleepers, n)
}

// reaches reports whether the heap is to be walked.
func (t *target) reaches() bool { return t.in.Options.Reach != format.ReachNone && !t.crowded() }

// provedUnasked bounds the goroutines of a process in which it is searched unasked who could wake whom, and which can never wake. It takes about
// five microseconds and 150 bytes for each, so that it would take longer and more memory than all the rest of the diagnosis of a million.
const provedUnasked = 1 << 18

// crowded reports whether there are too many goroutines to decide unasked which can never wake.
func (t *target) crowded() bool {
	return t.in.Options.Reach == format.ReachCase && t.gListed > provedUnasked && len(t.in.Options.Why) == 0
}

// stackHas reports whether a function, given by its entry, is among the inner frames of a stack.
func (w *worker) stackHas(stack uint32, entry uint64) bool {
	const inner = 8 // a wait stands at the end of the stack
	s := &w.stacks[stack]
	for _, ref := range w.arena[s.start:s.end][:min(inner, int(s.end-s.start))] {
		if e := w.u.cache.infos[ref]; e.ok && e.fn.Entry == entry && entry != 0 {
			return true
		}
	}
	return false
}

// candidates finds the goroutines that only the program itself can wake, and what they wait for. A goroutine whose records are being
// changed at the moment of death, because somebody is waking it, is live.
func (p *prover) candidates() {
	t := p.t
	for i := range p.rows {
		r := &p.rows[i]
		if r.status != statusWaiting || r.system || int(r.reason) >= len(t.reasons) || t.gOwner[r.g] != nil {
			continue
		}
		kind := sleepKinds[t.reasons[r.reason]]
		if r.waitGroup {
			kind = sleepLock // up to Go 1.24 the reason is only "semacquire"
		}
		switch kind {
		case sleepForever:
			r.sleep = sleepForever
		case sleepChannel:
			p.channels(i, r)
		case sleepLock:
			p.lock(i, r)
		}
	}
}

// wait notes that a goroutine waits for what lies at an address, and its record of that; false when the object is not on the heap.
func (p *prover) wait(i int, addr, sudog uint64) bool {
	o, ok := p.heap.Find(addr)
	if !ok {
		return false
	}
	head, any := p.first[o]
	if !any {
		head = -1
	}
	p.waits = append(p.waits, sleepWait{row: int32(i), next: head, addr: addr, sudog: sudog})
	p.first[o] = int32(len(p.waits) - 1)
	return true
}

// take gives up the waits that were noted for a goroutine: it is live.
func (p *prover) take(from int) {
	for len(p.waits) > from {
		last := p.waits[len(p.waits)-1]
		o, _ := p.heap.Find(last.addr)
		if p.first[o] = last.next; last.next < 0 {
			delete(p.first, o)
		}
		p.waits = p.waits[:len(p.waits)-1]
	}
}

// channels notes the channels of a receive, a send or a select. In a select whose channels are all nil there are none, and nothing
// wakes it.
func (p *prover) channels(i int, r *proofRow) {
	t := p.t
	mem, o := p.view, &t.off.Sudog
	from := len(p.waits)
	sudog, ok := mem.Uint64(r.g + t.off.G.Waiting)
	chosen, ok2 := mem.Uint32(r.g + p.off.selectDone)
	live := !ok || !ok2 || chosen != 0 || sudog == 0 && t.reasons[r.reason] != "select"
	for n := 0; sudog != 0 && !live; n++ {
		c, ok1 := mem.Uint64(sudog + o.C)
		g, ok2 := mem.Uint64(sudog + o.G)
		next, ok3 := mem.Uint64(sudog + o.WaitLink)
		live = !ok1 || !ok2 || !ok3 || g != r.g || n == maxCases || !p.queued(c, sudog) || !p.wait(i, c, sudog)
		sudog = next
	}
	if live {
		p.take(from)
		return
	}
	r.sleep = sleepChannel
}

// queued reports whether a sudog stands in one of the queues of an open channel: its neighbours say so too. Who wakes a goroutine takes
// it out first, and changes its status later (runtime/chan.go, dequeue and closechan).
func (p *prover) queued(c, sudog uint64) bool {
	mem, o, ch := p.view, &p.t.off.Sudog, &p.t.off.Chan
	closed, ok1 := mem.Uint32(c + ch.Closed)
	prev, ok2 := mem.Uint64(sudog + o.Prev)
	next, ok3 := mem.Uint64(sudog + o.Next)
	if !ok1 || !ok2 || !ok3 || closed != 0 {
		return false
	}
	is := func(at uint64) bool {
		v, ok := mem.Uint64(at)
		return ok && v == sudog
	}
	before := prev != 0 && is(prev+o.Next) || prev == 0 && (is(c+ch.RecvQ) || is(c+ch.SendQ))
	after := next != 0 && is(next+o.Prev) || next == 0 && (is(c+p.off.recvLast) || is(c+p.off.sendLast))
	return before && after
}

// lock notes the lock, the condition or the wait group of a goroutine.
func (p *prover) lock(i int, r *proofRow) {
	if addr, sudog, ok := p.lockOf(r); ok && p.wait(i, addr, sudog) {
		r.sleep = sleepLock
	}
}

// lockOf is the address of the semaphore, or the list of the condition, in whose queue a goroutine stands with a sudog; false when it is
// in none.
func (p *prover) lockOf(r *proofRow) (addr, sudog uint64, ok bool) {
	t, mem := p.t, p.view
	if t.kinds[r.reason].kind == evidence.SyncCond {
		list := r.waitsOn + t.kinds[r.reason].back
		if r.waitsOn != 0 {
			sudog = p.notified(list)[r.g]
		}
		return list, sudog, sudog != 0
	}
	wait, ok := p.t.walkSemaphores().waits[r.g]
	if !ok || !t.semaInWaiting() {
		return wait.elem, wait.sudog, ok
	}
	sudog, ok1 := mem.Uint64(r.g + t.off.G.Waiting)
	elem, ok2 := mem.Uint64(sudog + t.off.Sudog.Elem)
	return wait.elem, wait.sudog, ok1 && ok2 && sudog == wait.sudog && elem == wait.elem
}

// notified lists who waits in the list of a condition, with their sudogs (runtime/sema.go, notifyList).
func (p *prover) notified(list uint64) map[uint64]uint64 {
	if known, ok := p.cond[list]; ok {
		return known
	}
	mem, o := p.t.core.Mem, p.t.off
	found := map[uint64]uint64{}
	p.cond[list] = found
	sudog, _ := mem.Uint64(list + o.NotifyList.Head)
	for range len(p.rows) {
		g, ok1 := mem.Uint64(sudog + o.Sudog.G)
		next, ok2 := mem.Uint64(sudog + o.Sudog.Next)
		if sudog == 0 || !ok1 || !ok2 {
			break
		}
		found[g] = sudog
		sudog = next
	}
	return found
}

// holdBack keeps the mark from what candidates wait for: the runtime's own records of their waits lead to it. A candidate of which
// that is not possible is live.
func (p *prover) holdBack(m *heap.Marker) (ok bool) {
	for i := range p.waits {
		wait := &p.waits[i]
		offset := p.off.sudogElem
		if p.rows[wait.row].sleep == sleepChannel {
			offset = p.off.sudogC
		}
		o, found := p.heap.Find(wait.sudog)
		if !found || !m.Hold(o, wait.sudog+offset-p.heap.Base(o)) {
			return false // allocated by nobody: it cannot be
		}
	}
	return true
}
