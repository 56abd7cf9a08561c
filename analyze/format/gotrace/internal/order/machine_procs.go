package order

import "github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"

func (m *machine) proc(id uint64) *proc {
	p := m.ps[id]
	if p == nil {
		if len(m.ps) >= maxPs {
			id = 0 // a file that lies
			if p = m.ps[id]; p != nil {
				return p
			}
		}
		p = &proc{id: id}
		p.number = m.newProc(&p.fold)
		m.ps[id] = p
	}
	return p
}

func (m *machine) procStart(t *thread, e *event, force bool) bool {
	p := m.proc(e.a0)
	if !force && (!p.known || p.status != procIdle || !p.seq.follows(m.gen, e.a1) || t.p != nil) {
		return false
	}
	time := m.tell(t, e, 0)
	if force {
		m.dropProc(p)
	}
	p.known, p.seq, p.status, p.on, t.p = true, seq{m.gen, e.a1}, procRunning, t, p
	m.put(call{what: callProcRun, time: time, x: p.number})
	return true
}

// dropProc takes a P off its thread, after damage.
func (m *machine) dropProc(p *proc) {
	if t := p.on; t != nil && t.p == p {
		t.p = nil
	}
}

func (m *machine) procStop(t *thread, e *event, force bool) bool {
	p := t.p
	if !force && (p == nil || p.status != procRunning && p.status != procSyscall) {
		return false
	}
	time := m.tell(t, e, 0)
	if p != nil {
		p.status, t.p = procIdle, nil
		m.put(call{what: callProcStop, time: time, x: p.number})
	}
	return true
}

// procSteal is a P that is taken from a thread in a system call: by another thread, or by that thread itself when it comes back.
func (m *machine) procSteal(t *thread, e *event, force bool) bool {
	p := m.proc(uint64(e.a2))
	if !force && (!p.known || p.status != procSyscall && p.status != procAbandoned || !p.seq.follows(m.gen, e.a1)) {
		return false
	}
	abandoned := p.status == procAbandoned
	victim := m.r.threads[e.a0]
	if !force && !abandoned && (victim == nil || victim.p != p) {
		return false
	}
	time := m.tell(t, e, 0)
	p.known, p.seq, p.status = true, seq{m.gen, e.a1}, procIdle
	if !abandoned && victim != nil && victim.p == p {
		victim.p = nil
	}
	if force {
		m.dropProc(p)
	}
	m.put(call{what: callProcStop, time: time, x: p.number})
	return true
}

// procStatus is the status of a P at the beginning of a generation.
func (m *machine) procStatus(t *thread, e *event) {
	p, status := m.proc(e.a0), uint8(min(e.a1, numProcStatuses))
	if status == procBad || status == numProcStatuses {
		m.tell(t, e, 0)
		return
	}
	if p.known && status == procAbandoned && p.status == procSyscall {
		status = procSyscall // its thread is known
	}
	time := m.tell(t, e, 0)
	p.seq = seq{m.gen, 0}
	if p.known && p.status != status { // what changed it is missing
		m.dropProc(p)
	}
	p.known, p.status = true, status
	switch status {
	case procRunning:
		p.on, t.p = t, p
		m.put(call{what: callProcRun, time: time, x: p.number})
	case procSyscall:
		if uint64(e.a1) == procSyscall {
			p.on, t.p = t, p
		}
		m.put(call{what: callProcRun, time: time, x: p.number})
	default:
		m.put(call{what: callProcStop, time: time, x: p.number})
	}
}

// goStatus is the status of a goroutine at the beginning of a generation.
func (m *machine) goStatus(t *thread, e *event, force bool) bool {
	status := uint8(min(uint64(e.a2), numGoStatuses))
	if status == goBad || status == numGoStatuses {
		m.tell(t, e, e.a0)
		return true
	}
	g := m.gs.get(e.a0)
	if g != nil && g.status != status && g.status != goBad && !force {
		return false
	}
	m.event.Old = g != nil
	time := m.tell(t, e, e.a0)
	if g == nil {
		g = m.gs.add(e.a0)
		g.status = status
		m.put(call{what: callAppear, time: time, g: g.fold, x: g.id, b: uint32(stateOf[status]), a: uint32(m.stack(uint64(e.a3)))})
	}
	m.restate(time, g, status)
	g.seq = seq{m.gen, 0}
	switch status {
	case goRunning:
		m.bind(time, t, g)
	case goSyscall:
		on := t
		if e.a1 != t.id {
			on = m.r.thread(e.a1)
		}
		m.bind(time, on, g)
	}
	return true
}

// bind puts a goroutine on a thread.
func (m *machine) bind(time int64, t *thread, g *goroutine) {
	if t.g == g {
		return
	}
	m.release(time, t, g)
	g.on, t.g = t, g
}

// gc is the beginning or end of a cycle: their sequence numbers put them in order where their times do not.
func (m *machine) gc(t *thread, e *event, force bool) bool {
	n := e.a0
	switch {
	case force:
	case e.kind == GCActive && m.gen == m.first, e.kind == GCBegin && !m.gcKnown:
	case !m.gcKnown || n != m.gcSeq+1 || m.gcOn == (e.kind == GCBegin):
		return false
	}
	time := m.tell(t, e, 0)
	m.gcKnown, m.gcSeq, m.gcOn = true, n, e.kind != GCEnd
	m.put(call{what: callGC, time: time, flag: m.gcOn})
	return true
}

// annotation is everything that changes no state of the scheduler.
func (m *machine) annotation(t *thread, e *event) {
	time := m.tell(t, e, 0)
	switch e.kind {
	case HeapAlloc:
		m.next(callHeap, time, nil).x = e.a0
	case HeapGoal:
		m.put(call{what: callGoal, time: time, x: e.a0})
	case ProcsChange:
		m.put(call{what: callProcs, time: time, x: min(e.a0, maxProcs)})
	case GCSweepBegin, GCSweepEnd:
		if t.p != nil {
			m.put(call{what: callSweep, time: time, x: t.p.number, flag: e.kind == GCSweepBegin})
		}
	case GCSweepActive:
		m.put(call{what: callSweep, time: time, x: m.proc(e.a0).number, flag: true})
	case GCMarkAssistActive:
		m.put(call{what: callAssist, time: time, g: m.goroutine(time, e.a0, fold.StateUnknown, goBad).fold, flag: true})
	default:
		if t.g != nil {
			m.ofGoroutine(time, t.g, e)
		}
	}
}

// maxProcs bounds GOMAXPROCS, which a file that lies could make anything.
const maxProcs = 1 << 16

// ofGoroutine is an event in the life of the goroutine that a thread runs.
func (m *machine) ofGoroutine(time int64, g *goroutine, e *event) {
	text := m.tables.strings.get
	switch e.kind {
	case STWBegin:
		m.putText(call{what: callPause, time: time, g: g.fold, a: uint32(m.stack(e.a1))}, text(e.a0))
	case STWEnd:
		m.put(call{what: callPauseEnd, time: time, g: g.fold})
	case GCMarkAssistBegin, GCMarkAssistEnd:
		m.put(call{what: callAssist, time: time, g: g.fold, flag: e.kind == GCMarkAssistBegin, a: uint32(m.stack(e.a0))})
	case GoLabel:
		m.putText(call{what: callLabel, time: time, g: g.fold}, text(e.a0))
	case UserTaskBegin:
		m.put(call{what: callParent, x: e.a1})
		m.putText(call{what: callTask, time: time, g: g.fold, x: e.a0, a: uint32(m.stack(uint64(e.a3)))}, text(uint64(e.a2)))
	case UserTaskEnd:
		m.put(call{what: callTaskEnd, time: time, g: g.fold, x: e.a0})
	case UserRegionBegin:
		m.putText(call{what: callRegion, time: time, g: g.fold, x: e.a0, a: uint32(m.stack(uint64(e.a2)))}, text(e.a1))
	case UserRegionEnd:
		m.putText(call{what: callRegionEnd, time: time, g: g.fold, x: e.a0}, text(e.a1))
	case UserLog:
		m.putText(call{what: callLog, time: time, g: g.fold, x: e.a0}, text(e.a1), text(uint64(e.a2)))
	}
}

// sample tells a CPU sample.
func (m *machine) sample(s *sample, t *tables) {
	var g *fold.G
	if gr := m.gs.get(s.g); gr != nil && s.g != 0 {
		g = gr.fold
	}
	time := m.r.tick(s.time)
	m.r.stats.Events++
	if m.watch != nil {
		m.event = Event{Time: time, Kind: CPUSample, M: int64(s.m), P: int64(s.p), G: number(s.g), Stack: m.stack(s.stack)}
		m.watch(&m.event)
	}
	m.put(call{what: callSample, time: time, g: g, a: uint32(m.stack(s.stack))})
}
