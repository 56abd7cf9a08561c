package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// waitKind is what a wait reason says about the object: its kind, and how far before the semaphore (or list) that the
// runtime knows the object begins.
type waitKind struct {
	kind evidence.SyncKind
	back uint64
	mode evidence.WaitMode
}

// waitKinds are the wait reasons that have an object. The distances come from the structs: sync.Mutex {state, sema},
// sync.RWMutex {w, writerSem, readerSem, ...}, sync.WaitGroup {noCopy, state, sema}, sync.Cond {noCopy, L, notify}; they
// are the same in Go 1.21 to 1.26.
var waitKinds = map[string]waitKind{
	"sync.Mutex.Lock":               {evidence.SyncMutex, 4, evidence.WaitLock},
	"sync.RWMutex.RLock":            {evidence.SyncRWMutex, 12, evidence.WaitRLock},
	"sync.RWMutex.Lock":             {evidence.SyncRWMutex, 8, evidence.WaitLock},
	"sync.WaitGroup.Wait":           {evidence.SyncWaitGroup, 8, evidence.WaitZero},
	"sync.WaitGroup.Wait (durable)": {evidence.SyncWaitGroup, 8, evidence.WaitZero},
	"sync.Cond.Wait":                {evidence.SyncCond, 16, evidence.WaitSignal},
	"semacquire":                    {evidence.SyncSemaphore, 0, evidence.WaitAny},
	"chan receive":                  {evidence.SyncChannel, 0, evidence.WaitReceive},
	"chan send":                     {evidence.SyncChannel, 0, evidence.WaitSend},
	"chan receive (durable)":        {evidence.SyncChannel, 0, evidence.WaitReceive},
	"chan send (durable)":           {evidence.SyncChannel, 0, evidence.WaitSend},
	"chan receive (synctest)":       {evidence.SyncChannel, 0, evidence.WaitReceive},
	"chan send (synctest)":          {evidence.SyncChannel, 0, evidence.WaitSend},
	"select":                        {evidence.SyncChannel, 0, evidence.WaitAny},
	"select (durable)":              {evidence.SyncChannel, 0, evidence.WaitAny},
	"select (synctest)":             {evidence.SyncChannel, 0, evidence.WaitAny},
}

// prepareWaits resolves the wait reasons of this version.
func (t *target) prepareWaits() {
	t.reasons = t.layout.WaitReasons()
	t.kinds = make([]waitKind, len(t.reasons))
	for i, name := range t.reasons {
		t.kinds[i] = waitKinds[name]
	}
	waits := t.tab.Lookup("sync.(*WaitGroup).Wait", "sync.(*Cond).Wait")
	t.waitGroupWait, t.condWait = waits["sync.(*WaitGroup).Wait"].Entry, waits["sync.(*Cond).Wait"].Entry
	for _, fn := range t.tab.Lookup(wakeAll...) {
		t.wakers = append(t.wakers, fn.Entry)
	}
	t.sleepEntry = t.tab.Lookup("time.Sleep")["time.Sleep"].Entry
	t.readTimers()
	if !t.semaInWaiting() {
		t.sema = t.readSemaphores()
	}
}

// semaInWaiting reports whether g.waiting is set for semaphores and conditions as well as for channels: Go 1.26 does so
// (runtime/sema.go, semacquire1).
func (t *target) semaInWaiting() bool { return t.layout.Version.AtLeast(1, 26) }

// maxCases bounds the sudogs of one goroutine: a select has at most 65,536 cases (runtime/select.go).
const maxCases = 1 << 16

// waitsOn returns the address of the one object a goroutine waits for, or 0; the cases of a select become waits.
func (w *worker) waitsOn(row *gRow, sudog uint64) uint64 {
	if int(row.reason) >= len(w.t.kinds) {
		return 0
	}
	k := w.t.kinds[row.reason]
	switch k.kind {
	case evidence.SyncUnknown:
		return 0
	case evidence.SyncChannel:
		return w.channels(row, sudog, k.mode)
	}
	elem := w.t.sema[row.g].elem
	switch {
	case sudog != 0:
		var ok bool
		if elem, ok = w.u.mem.Uint64(sudog + w.t.off.Sudog.Elem); !ok {
			w.lost++
		}
	case k.kind == evidence.SyncCond:
		elem = w.condition(row.g)
	}
	if k.kind == evidence.SyncSemaphore && w.walked(w.t.waitGroupWait) >= 0 {
		k = waitKinds["sync.WaitGroup.Wait"] // until Go 1.24 the reason is only "semacquire"
	}
	if elem <= k.back {
		return 0
	}
	return w.lock(elem, k)
}

// walked is the index of the frame of a function, given by its entry, among the inner frames of the last walk; -1 when there is
// none.
func (w *worker) walked(entry uint64) int {
	const inner = 8 // a wait stands at the end of the stack
	for i, ref := range w.u.refs[:min(len(w.u.refs), inner)] {
		if e := w.u.cache.infos[ref]; e.ok && e.fn.Entry == entry && entry != 0 {
			return i
		}
	}
	return -1
}

// condition finds the list of the condition that the goroutine of the last walk waits for. Up to Go 1.25 nothing points from a
// goroutine to it (runtime/sema.go, notifyListWait), but the frame of Cond.Wait keeps the Cond, which it locks again
// afterwards. A word counts when what it points to is a Cond in whose list the goroutine stands.
func (w *worker) condition(g uint64) uint64 {
	i := w.walked(w.t.condWait)
	if i < 0 || i+1 >= len(w.u.sps) {
		return 0
	}
	back := waitKinds["sync.Cond.Wait"].back
	for at := w.u.sps[i]; at < w.u.sps[i+1]+callerSlots; at += 8 {
		v, ok := w.u.mem.Uint64(at)
		if ok && v > back && w.isCondition(v+back) && w.listed(v + back)[g] {
			return v + back
		}
	}
	return 0
}

// isCondition reports whether there is a list of waiters of a condition at an address.
func (w *worker) isCondition(list uint64) bool {
	if known, ok := w.conds[list]; ok {
		return known
	}
	o := w.t.off
	head, ok := w.u.mem.Uint64(list + o.NotifyList.Head)
	yes := false
	given, ok1 := w.u.mem.Uint32(list + o.NotifyList.Wait)
	called, ok2 := w.u.mem.Uint32(list + o.NotifyList.Notify)
	if ok && ok1 && ok2 && head != 0 && int32(given-called) > 0 {
		g, _ := w.u.mem.Uint64(head + o.Sudog.G)
		reason, ok := w.u.mem.Uint8(g + o.G.WaitReason)
		yes = ok && int(reason) < len(w.t.kinds) && w.t.kinds[reason].kind == evidence.SyncCond
	}
	w.conds[list] = yes
	return yes
}

// minStack is the least that a goroutine takes (runtime/stack.go, stackMin): the core bounds how many there are.
const minStack = 2 << 10

// listed are the goroutines in the list of a condition. Each goroutine is in one list at most; what is beyond belongs to a core that lies.
func (w *worker) listed(list uint64) map[uint64]bool {
	if known, ok := w.lists[list]; ok {
		return known
	}
	if w.lists == nil {
		w.lists = map[uint64]map[uint64]bool{}
	}
	o, found := w.t.off, map[uint64]bool{}
	w.lists[list] = found
	sudog, _ := w.u.mem.Uint64(list + o.NotifyList.Head)
	for most := int(w.t.core.Size / minStack); sudog != 0 && w.standing < most; w.standing++ {
		g, ok1 := w.u.mem.Uint64(sudog + o.Sudog.G)
		next, ok2 := w.u.mem.Uint64(sudog + o.Sudog.Next)
		if !ok1 || !ok2 || found[g] {
			break
		}
		found[g], sudog = true, next
	}
	return found
}

// lock notes a lock or the like.
func (w *worker) lock(elem uint64, k waitKind) uint64 {
	addr := elem - k.back
	w.locks[addr] = max(w.locks[addr], k.kind) // a mutex at the address of an RWMutex is its field w
	w.waiting[waitKey{addr, k.kind, k.mode}]++
	return addr
}

// channels returns the channel a goroutine waits for; for a select with several cases it notes them and returns 0.
func (w *worker) channels(row *gRow, sudog uint64, mode evidence.WaitMode) uint64 {
	o := &w.t.off.Sudog
	loop := sudog // a sudog seen before, moved on at each power of two: a chain that runs in a circle meets it
	for n := 0; sudog != 0 && n < maxCases; n++ {
		c, ok := w.u.mem.Uint64(sudog + o.C)
		if g, _ := w.u.mem.Uint64(sudog + o.G); !ok || g != row.g {
			w.lost++ // absent, or of another goroutine: what follows would be another's too
			break
		}
		if c != 0 {
			w.channel(c)
			if w.t.seeks {
				w.queued = append(w.queued, w.inQueue(c, sudog))
			}
			w.timerAlarm(row, c)
		}
		next, _ := w.u.mem.Uint64(sudog + o.WaitLink)
		if n == 0 && next == 0 {
			if mode == evidence.WaitAny && c != 0 {
				w.waits = append(w.waits, evidence.Wait{Goroutine: row.id, Sync: c, Mode: w.direction(c, sudog)})
				return 0
			}
			return c
		}
		if c != 0 {
			w.waits = append(w.waits, evidence.Wait{Goroutine: row.id, Sync: c, Mode: w.direction(c, sudog)})
		}
		if next == loop {
			w.lost++
			break
		}
		if n&(n+1) == 0 {
			loop = next
		}
		sudog = next
	}
	return 0
}

// maxQueue bounds the search for a sudog in a channel's queue when only its direction is wanted.
const maxQueue = 64

// direction finds out whether a select case sends or receives, by the queue its sudog stands in. A long queue is searched
// from the sudog backwards, which ends at the queue's head.
func (w *worker) direction(c, sudog uint64) evidence.WaitMode {
	o := w.t.off
	recv, _ := w.u.mem.Uint64(c + o.Chan.RecvQ)
	send, _ := w.u.mem.Uint64(c + o.Chan.SendQ)
	switch {
	case recv != 0 && send == 0:
		return evidence.WaitReceive
	case send != 0 && recv == 0:
		return evidence.WaitSend
	}
	for range maxQueue {
		if sudog == recv {
			return evidence.WaitReceive
		}
		if sudog == send {
			return evidence.WaitSend
		}
		prev, ok := w.u.mem.Uint64(sudog + o.Sudog.Prev)
		if !ok || prev == 0 {
			break
		}
		sudog = prev
	}
	return evidence.WaitAny
}

// channel reads a channel, unless it was seen lately; the Builder drops what is left of repetitions.
func (w *worker) channel(c uint64) {
	slot := &w.recent[c>>5%uint64(len(w.recent))]
	if *slot == c {
		return
	}
	*slot = c
	o := &w.t.off.Chan
	count, ok1 := w.u.mem.Uint64(c + o.Count)
	size, ok2 := w.u.mem.Uint64(c + o.Size)
	closed, ok3 := w.u.mem.Uint32(c + o.Closed)
	elem, ok4 := w.u.mem.Bytes(c+o.ElemSize, 2) // uint16 (runtime/chan.go, hchan; Go 1.21 to 1.26)
	if ok1 && ok2 && ok3 && ok4 {
		w.chans = append(w.chans, evidence.Sync{Addr: c, Kind: evidence.SyncChannel, Len: int64(count), Cap: int64(size),
			Closed: closed != 0, Blank: le.Uint16(elem) == 0, Waiters: -1})
	}
}

// addObjects hands the objects that a worker saw to the Builder.
func (t *target) addObjects(w *worker) {
	for _, s := range w.chans {
		t.b.Sync(s)
		t.channels = append(t.channels, s.Addr)
	}
	for _, wait := range w.waits {
		t.b.Wait(wait)
	}
	for addr, kind := range w.locks {
		t.locks[addr] = max(t.locks[addr], kind)
	}
	for _, x := range w.transfers {
		x.Depth = t.logicalDepth(w, x.stack, x.Depth)
		t.b.Transfer(x.Transfer)
	}
	t.queued = append(t.queued, w.queued...)
	w.queued = w.queued[:0]
	w.chans, w.waits, w.transfers = w.chans[:0], w.waits[:0], w.transfers[:0]
	for key, n := range w.waiting {
		t.waiting[key] += n
	}
	clear(w.locks)
	clear(w.waiting)
	t.lost += w.lost
	w.lost = 0
	t.keepAlarms(w)
	for _, l := range w.loops {
		l.Depth = t.logicalDepth(w, l.stack, l.Depth)
		if c := l.fn.Calls(l.back); len(c) > 0 {
			l.Back = t.b.Frame(evidence.Frame{Function: c[0].Function, File: c[0].File, Line: c[0].Line, PC: l.back, Inlined: c[0].Inlined,
				Trust: evidence.TrustMatched})
		}
		t.b.Loop(l.Loop)
	}
	w.loops = w.loops[:0]
	t.suspects = append(t.suspects, w.suspects...)
	w.suspects = w.suspects[:0]
	t.slotWaiters = append(t.slotWaiters, w.slotWaiters...)
	w.slotWaiters = w.slotWaiters[:0]
}

// Bits of the words that the locks keep (sync/mutex.go, sync/rwmutex.go, sync/waitgroup.go; internal/sync/mutex.go from
// Go 1.24). They are the same in Go 1.21 to 1.26.
const (
	mutexLocked      = 1
	mutexStarving    = 4
	mutexWaiterShift = 3
	rwMaxReaders     = 1 << 30
	rwReaderCount    = 16 // offset in sync.RWMutex
	waitGroupState   = 0
)

// readLocks reads the state of every lock that somebody waits for.
func (t *target) readLocks() {
	for _, addr := range sortedKeys(t.locks) {
		s := evidence.Sync{Addr: addr, Kind: t.locks[addr], Waiters: -1, Trust: evidence.TrustRead}
		switch s.Kind {
		case evidence.SyncMutex:
			t.readMutex(&s, addr)
		case evidence.SyncRWMutex:
			t.readRWMutex(&s)
		case evidence.SyncWaitGroup:
			if state, ok := t.core.Mem.Uint64(addr + waitGroupState); ok {
				s.Counter = int64(int32(state >> 32))
				s.Waiters = int(uint32(state) &^ (1 << 31)) // bit 31: in a synctest bubble (sync/waitgroup.go, Go 1.25)
			} else {
				t.unreadable = append(t.unreadable, addr)
			}
		}
		s.Where = t.whereIs(addr)
		t.b.Sync(s)
		t.checkCounts(s)
	}
	t.reportCounts()
	t.checkQueues()
}

// reportWaits files the Gaps of waits and of what is waited for.
func (t *target) reportWaits() {
	if t.lost > 0 {
		t.b.Gapf("what goroutines wait for", "the runtime's records of it are damaged or not in the core, for %d goroutines", t.lost)
	}
	if n := len(t.unreadable); n > 0 {
		t.b.Gapf("state of locks", "%d of them are not in the core, the first at %#x", n, t.unreadable[0])
	}
}

func (t *target) readMutex(s *evidence.Sync, addr uint64) {
	state, ok := t.core.Mem.Uint32(addr)
	if !ok {
		t.unreadable = append(t.unreadable, addr)
		return
	}
	s.Locked, s.Starving = state&mutexLocked != 0, state&mutexStarving != 0
	s.Waiters = int(int32(state) >> mutexWaiterShift)
}

// readRWMutex reads an RWMutex: a writer holds its field w and has taken rwMaxReaders off the count of readers.
func (t *target) readRWMutex(s *evidence.Sync) {
	count, ok := t.core.Mem.Uint32(s.Addr + rwReaderCount)
	leaving, _ := t.core.Mem.Uint32(s.Addr + rwReaderCount + 4)
	if !ok {
		t.unreadable = append(t.unreadable, s.Addr)
		return
	}
	readers := int64(int32(count))
	if readers < 0 {
		s.Pending = int32(leaving) > 0
		s.Locked = !s.Pending
		s.Readers = int(int32(leaving))
		return
	}
	s.Readers = int(readers)
}
