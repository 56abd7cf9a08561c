package order

import "github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"

// machine follows goroutines, Ps and threads through the events of a trace, says which event can come next, and tells the Folder.
//
// What must hold for an event to come next, and what it changes, is that of internal/trace/order.go (Go 1.26). Where that one calls a trace
// broken, this one waits, and takes the event by force when nothing else is left.
type machine struct {
	*teller
	r  *Reader
	gs *goroutines
	ps map[uint64]*proc

	gen     uint64
	first   uint64 // the first generation
	tables  *tables
	gcSeq   uint64
	gcKnown bool
	gcOn    bool
	watch   func(*Event)
	event   Event
	coro    fold.Reason
}

func newMachine(r *Reader, f *fold.Folder) machine {
	t := newTeller(f)
	if r.opt.Jobs != 1 {
		t.start()
	}
	return machine{teller: t, r: r, gs: newGoroutines(), ps: map[uint64]*proc{}, watch: r.opt.Watch, coro: t.reason(coroutineSwitch)}
}

// coroutineSwitch is the reason of a goroutine that handed over to another one (iter.Pull); the format has none.
const coroutineSwitch = "coroutine switch"

func (m *machine) beginGeneration(g *generation) {
	if m.first == 0 {
		m.first = g.gen
	}
	m.gen, m.tables = g.gen, &g.tables
}

// endGeneration forgets, after damage, the goroutines of which this generation has not spoken: it speaks of all that live, so they ended in
// what is missing.
func (m *machine) endGeneration(g *generation) {
	if !g.broken || g.partial {
		return
	}
	var gone []*goroutine
	m.gs.all(func(gr *goroutine) bool {
		if gr.seq.gen != g.gen {
			gone = append(gone, gr)
		}
		return true
	})
	for _, gr := range gone {
		m.unbind(gr)
		m.put(call{what: callExit, time: m.r.last, g: gr.fold})
		m.gs.remove(gr)
	}
}

// unbind takes a goroutine off its thread.
func (m *machine) unbind(g *goroutine) {
	if t := g.on; t != nil && t.g == g {
		t.g = nil
	}
}

// advance takes in the next event of a thread. It returns false, and changes nothing, when something else has to come first; with force it
// takes it anyhow.
func (m *machine) advance(t *thread, e *event, force bool) bool {
	if m.gs.n >= maxLive && m.strange(e) {
		m.r.stats.Refused++
		return true
	}
	ok := true
	switch e.kind {
	case GoStart:
		ok = m.goStart(t, e, force)
	case GoUnblock:
		ok = m.goUnblock(t, e, force)
	case GoBlock, GoStop:
		ok = m.goLeave(t, e, force)
	case GoSyscallBegin:
		ok = m.syscallBegin(t, e, force)
	case GoSyscallEnd, GoSyscallEndBlocked:
		ok = m.syscallEnd(t, e, force)
	case GoCreate, GoCreateBlocked:
		ok = m.goCreate(t, e, force)
	case GoDestroy:
		ok = m.goDestroy(t, e, force)
	case ProcStart:
		ok = m.procStart(t, e, force)
	case ProcStop:
		ok = m.procStop(t, e, force)
	case ProcSteal:
		ok = m.procSteal(t, e, force)
	case GoStatus, GoStatusStack:
		ok = m.goStatus(t, e, force)
	case ProcStatus:
		m.procStatus(t, e)
	case GoSwitch, GoSwitchDestroy:
		ok = m.goSwitch(t, e, force)
	case GoCreateSyscall, GoDestroySyscall:
		ok = m.callback(t, e, force)
	case GCActive, GCBegin, GCEnd:
		ok = m.gc(t, e, force)
	default:
		m.annotation(t, e)
	}
	if ok {
		m.r.stats.Events++
	}
	return ok
}

// Bounds of what is known at once. A goroutine takes some 300 bytes here.
const (
	maxLive = 1 << 22 // goroutines alive
	maxPs   = 1 << 12 // GOMAXPROCS is at most 1,024 on what exists, and may be set higher
)

// strange reports whether an event is about a goroutine that is not known.
func (m *machine) strange(e *event) bool {
	switch e.kind {
	case GoCreate, GoCreateBlocked, GoCreateSyscall, GoStart, GoUnblock, GoSwitch, GoSwitchDestroy, GoStatus, GoStatusStack, GCMarkAssistActive:
		return m.gs.get(e.a0) == nil
	}
	return false
}

// goroutine returns the goroutine with an id. One that nobody has told of is there after damage only: it is made, in a state.
func (m *machine) goroutine(time int64, id uint64, state fold.State, status uint8) *goroutine {
	g := m.gs.get(id)
	if g == nil {
		g = m.gs.add(id)
		g.status = status
		m.put(call{what: callAppear, time: time, g: g.fold, x: g.id, b: uint32(state), flag: true})
	}
	return g
}

// restate puts a goroutine into the state that an event proves it to be in, after damage.
func (m *machine) restate(time int64, g *goroutine, status uint8) {
	if g.status != status {
		g.status = status
		m.put(call{what: callRestate, time: time, g: g.fold, b: uint32(stateOf[status])})
	}
}

// release takes whatever goroutine a thread still has off it, because what took it off is missing.
func (m *machine) release(time int64, t *thread, but *goroutine) {
	if g := t.g; g != nil && g != but {
		if g.status == goRunning || g.status == goSyscall {
			g.status = goBad
			m.put(call{what: callRestate, time: time, g: g.fold, b: uint32(fold.StateUnknown)})
		}
		t.g = nil
	}
}

// running is the goroutine that a thread runs, when it runs one and has a P.
func (t *thread) running() (*goroutine, bool) {
	return t.g, t.g != nil && t.p != nil && t.g.status == goRunning
}

func (m *machine) goStart(t *thread, e *event, force bool) bool {
	g := m.gs.get(e.a0)
	if !force && (g == nil || g.status != goRunnable || !g.seq.follows(m.gen, e.a1) || t.p == nil || t.g != nil) {
		return false
	}
	time := m.tell(t, e, e.a0)
	if force {
		g = m.goroutine(time, e.a0, fold.StateReady, goRunnable)
		m.restate(time, g, goRunnable)
		m.unbind(g)
		m.release(time, t, nil)
	}
	g.seq, g.status, g.on, t.g = seq{m.gen, e.a1}, goRunning, t, g
	m.next(callRun, time, g.fold)
	return true
}

func (m *machine) goUnblock(t *thread, e *event, force bool) bool {
	g := m.gs.get(e.a0)
	if !force && (g == nil || g.status != goWaiting || !g.seq.follows(m.gen, e.a1)) {
		return false
	}
	time := m.tell(t, e, e.a0)
	if force {
		g = m.goroutine(time, e.a0, fold.StateBlocked, goWaiting)
		m.restate(time, g, goWaiting)
		m.unbind(g)
	}
	g.seq, g.status = seq{m.gen, e.a1}, goRunnable
	c := m.next(callUnblock, time, g.fold)
	c.by, c.a = t.by(), uint32(m.stack(uint64(e.a2)))
	return true
}

// by is the goroutine on a thread, as the Folder knows it; nil when there is none.
func (t *thread) by() *fold.G {
	if t.g == nil {
		return nil
	}
	return t.g.fold
}

// goLeave is a running goroutine that blocks, or gives its processor away.
func (m *machine) goLeave(t *thread, e *event, force bool) bool {
	g, ok := t.running()
	if !ok && !force {
		return false
	}
	time := m.tell(t, e, 0)
	if g == nil {
		return true // who left is not known
	}
	m.restate(time, g, goRunning)
	t.g = nil
	if e.kind == GoBlock {
		g.status = goWaiting
		reason := m.reasonOf(e.a0, e.kind) // which may be a call of its own
		c := m.next(callBlock, time, g.fold)
		c.b, c.a = uint32(reason), uint32(m.stack(e.a1))
		return true
	}
	g.status = goRunnable
	reason := m.reasonOf(e.a0, e.kind) // which may be a call of its own
	c := m.next(callYield, time, g.fold)
	c.b, c.a = uint32(reason), uint32(m.stack(e.a1))
	return true
}

func (m *machine) syscallBegin(t *thread, e *event, force bool) bool {
	g, ok := t.running()
	if !force && (!ok || !t.p.seq.follows(m.gen, e.a0)) {
		return false
	}
	time := m.tell(t, e, 0)
	if t.p != nil {
		t.p.seq, t.p.status = seq{m.gen, e.a0}, procSyscall
	}
	if g == nil {
		return true
	}
	m.restate(time, g, goRunning)
	g.status = goSyscall
	m.next(callSyscall, time, g.fold).a = uint32(m.stack(e.a1))
	return true
}

func (m *machine) syscallEnd(t *thread, e *event, force bool) bool {
	g, blocked := t.g, e.kind == GoSyscallEndBlocked
	ok := g != nil && g.status == goSyscall
	if blocked {
		ok = ok && (t.p == nil || t.p.status != procSyscall)
	} else {
		ok = ok && t.p != nil && t.p.status == procSyscall
	}
	if !ok && !force {
		return false
	}
	time := m.tell(t, e, 0)
	if !blocked && t.p != nil {
		t.p.status = procRunning
	}
	if g == nil {
		return true
	}
	m.restate(time, g, goSyscall)
	g.status = goRunning
	if blocked {
		g.status, t.g = goRunnable, nil
	}
	m.next(callSysexit, time, g.fold).flag = blocked
	return true
}

func (m *machine) goCreate(t *thread, e *event, force bool) bool {
	if !force && (t.p == nil || t.g != nil && t.g.status != goRunning || m.gs.get(e.a0) != nil) {
		return false
	}
	time := m.tell(t, e, e.a0)
	if old := m.gs.get(e.a0); old != nil { // its end is missing
		m.end(time, old)
	}
	g := m.gs.add(e.a0)
	g.seq, g.status = seq{m.gen, 0}, goRunnable
	if e.kind == GoCreateBlocked {
		g.status = goWaiting
	}
	m.put(call{what: callCreate, time: time, g: g.fold, x: g.id, by: t.by(), a: uint32(m.stack(e.a1)), b: uint32(m.stack(uint64(e.a2))), flag: e.kind == GoCreateBlocked})
	return true
}

// end forgets a goroutine.
func (m *machine) end(time int64, g *goroutine) {
	m.unbind(g)
	m.put(call{what: callExit, time: time, g: g.fold})
	m.gs.remove(g)
}

func (m *machine) goDestroy(t *thread, e *event, force bool) bool {
	g, ok := t.running()
	if !ok && !force {
		return false
	}
	time := m.tell(t, e, 0)
	if g != nil {
		t.g = nil
		m.put(call{what: callExit, time: time, g: g.fold})
		m.gs.remove(g)
	}
	return true
}

// goSwitch is a goroutine that hands over to another one, and blocks or ends: three events for internal/trace, three moments.
func (m *machine) goSwitch(t *thread, e *event, force bool) bool {
	g, ok := t.running()
	next := m.gs.get(e.a0)
	if !force && (!ok || next == nil || next.status != goWaiting || !next.seq.follows(m.gen, e.a1)) {
		return false
	}
	time := m.tell(t, e, e.a0)
	if force {
		next = m.goroutine(time, e.a0, fold.StateBlocked, goWaiting)
		m.restate(time, next, goWaiting)
		m.unbind(next)
	}
	c := m.next(callUnblock, time, next.fold)
	c.by, c.a = t.by(), uint32(0)
	time = m.r.tick(e.time)
	t.g = nil
	switch {
	case g == nil:
	case e.kind == GoSwitch:
		m.restate(time, g, goRunning)
		g.status = goWaiting
		m.put(call{what: callBlock, time: time, g: g.fold, b: uint32(m.coro), a: uint32(0)})
	default:
		m.put(call{what: callExit, time: time, g: g.fold})
		m.gs.remove(g)
	}
	time = m.r.tick(e.time)
	next.seq, next.status, next.on, t.g = seq{m.gen, e.a1}, goRunning, t, next
	m.next(callRun, time, next.fold)
	return true
}

// callback is C that calls into Go on a thread of its own: a goroutine that appears in a system call, and goes away in one.
func (m *machine) callback(t *thread, e *event, force bool) bool {
	if e.kind == GoCreateSyscall {
		if !force && (t.g != nil || m.gs.get(e.a0) != nil) {
			return false
		}
		time := m.tell(t, e, e.a0)
		if old := m.gs.get(e.a0); old != nil {
			m.end(time, old)
		}
		m.release(time, t, nil)
		g := m.gs.add(e.a0)
		g.seq, g.status, g.on, t.g = seq{m.gen, 0}, goSyscall, t, g
		m.put(call{what: callCreateInSyscall, time: time, g: g.fold, x: g.id})
		return true
	}
	g := t.g
	if !force && (g == nil || g.status != goSyscall || t.p != nil && t.p.status != procSyscall) {
		return false
	}
	if p := t.p; p != nil { // the thread loses its P, of which nobody else may know yet
		p.status, t.p = procAbandoned, nil
		m.put(call{what: callProcStop, time: m.r.tick(e.time), x: p.number})
	}
	time := m.tell(t, e, 0)
	if g != nil {
		t.g = nil
		m.put(call{what: callExit, time: time, g: g.fold})
		m.gs.remove(g)
	}
	return true
}
