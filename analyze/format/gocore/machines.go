package gocore

import (
	"errors"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// machine is one M of the runtime, with the thread it runs on.
type machine struct {
	addr     uint64
	id       int64
	tid      int
	g0, gsig uint64
	cur      uint64 // the goroutine it executes, 0 when none
	goid     int64
	p        int64 // id of its P, -1 when none
	throwing int32
	dying    int32
	spinning bool
	blocked  bool
	inCgo    bool
	lockedG  uint64
	vdsoPC   uint64
	vdsoSP   uint64
	flags    evidence.Flags

	thread *elfcore.Thread
	parts  []part // its stack, joined; nil until the thread was unwound
	broken string // why the walk of its stack ended early; empty when it did not
}

// span is a stack: the addresses from lo to hi.
type span struct{ lo, hi uint64 }

func (s span) holds(sp uint64) bool { return sp >= s.lo && sp <= s.hi && s.lo < s.hi }

// maxMachines bounds the list of Ms: the runtime allows ten thousand by default (debug.SetMaxThreads).
const maxMachines = 1 << 20

// machineBytes is less than an M takes (runtime/runtime2.go, Go 1.21 to 1.26): the core bounds how many there are.
const machineBytes = 512

// readMachines walks allm.
func (t *target) readMachines() error {
	at, ok := t.word("runtime.allm")
	if !ok {
		return errors.New("the runtime's list of threads (allm) was not found")
	}
	byTID := map[int]*elfcore.Thread{}
	for i := range t.core.Threads {
		th := &t.core.Threads[i]
		byTID[th.TID] = th
	}
	t.gOwner, t.byAddr = map[uint64]*machine{}, map[uint64]*machine{}
	most := min(maxMachines, int(t.core.Size/machineBytes)+1)
	for at != 0 && t.byAddr[at] == nil && len(t.machines) < most {
		m, next, ok := t.machine(at)
		if !ok {
			t.b.Gapf("threads", "the list of the runtime's threads breaks off at %#x after %d of them", at, len(t.machines))
			break
		}
		m.thread = byTID[m.tid]
		t.byAddr[at] = m
		t.machines = append(t.machines, m)
		if m.cur != 0 {
			t.gOwner[m.cur] = m
		}
		at = next
	}
	if t.byAddr[at] != nil {
		t.b.Gapf("threads", "the list of the runtime's threads comes back to %#x after %d of them", at, len(t.machines))
	}
	return nil
}

func (t *target) machine(addr uint64) (m *machine, next uint64, ok bool) {
	o := &t.off.M
	mem := t.core.Mem
	word := func(off uint64) uint64 {
		if off == absent {
			return 0
		}
		v, present := mem.Uint64(addr + off)
		ok = ok && present
		return v
	}
	ok = true
	m = &machine{addr: addr, p: -1, id: int64(word(o.ID)), tid: int(word(o.ProcID)), g0: word(o.G0), gsig: word(o.GSignal),
		cur: word(o.Cur), lockedG: word(o.LockedG), vdsoPC: word(o.VDSOPC), vdsoSP: word(o.VDSOSP)}
	next = word(o.AllLink)
	m.throwing = int32(word(o.Throwing))
	m.dying = int32(word(o.Dying))
	m.spinning = word(o.Spinning)&0xff != 0
	m.blocked = word(o.Blocked)&0xff != 0
	m.inCgo = word(o.InCgo)&0xff != 0
	if p := word(o.P); p != 0 {
		id, _ := mem.Uint32(p + t.off.P.ID)
		m.p = int64(id)
	}
	if m.cur != 0 {
		id, _ := mem.Uint64(m.cur + t.off.G.ID)
		m.goid = int64(id)
	}
	return m, next, ok
}

// stackOf returns the bounds of a g's stack.
func (t *target) stackOf(g uint64) span {
	if g == 0 {
		return span{}
	}
	lo, _ := t.core.Mem.Uint64(g + t.off.G.StackLo)
	hi, _ := t.core.Mem.Uint64(g + t.off.G.StackHi)
	return span{lo, hi}
}

// saved returns where a g that does not run will go on.
func (t *target) saved(g uint64) start {
	mem := t.core.Mem
	pc, _ := mem.Uint64(g + t.off.G.PC)
	sp, _ := mem.Uint64(g + t.off.G.SP)
	s := start{pc: pc, sp: sp}
	if t.off.G.LR != absent {
		s.lr, _ = mem.Uint64(g + t.off.G.LR)
	}
	return s
}

// atSyscall returns where a g entered a system call or C.
func (t *target) atSyscall(g uint64) start {
	pc, _ := t.core.Mem.Uint64(g + t.off.G.SyscallPC)
	sp, _ := t.core.Mem.Uint64(g + t.off.G.SyscallSP)
	return start{pc: pc, sp: sp, syscall: true}
}
