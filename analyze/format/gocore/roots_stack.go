package gocore

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// maxDeferList bounds a list of defer records.
const maxDeferList = 1 << 22

// goroutine scans the stack of a goroutine that can run (runtime/mgcmark.go, scanstack).
func (s *stackScan) goroutine(w *heap.Worker, r *proofRow) error {
	t := s.p.t
	g, ok := s.view.Bytes(r.g, max(t.off.G.Size, s.p.off.context+8))
	if !ok {
		return fmt.Errorf("goroutine %d is not in the core", r.id)
	}
	stack := span{le.Uint64(g[t.off.G.StackLo:]), le.Uint64(g[t.off.G.StackHi:])}
	if stack.lo >= stack.hi || stack.hi-stack.lo > 1<<31 {
		return fmt.Errorf("goroutine %d has a stack from %#x to %#x, which cannot be", r.id, stack.lo, stack.hi)
	}
	s.begin(stack.lo, stack.hi)
	if p := s.planOf(r); p == nil || t.gOwner[r.g] != nil || !s.follow(w, p, le.Uint64(g[t.off.G.PC:]), le.Uint64(g[t.off.G.SP:])) {
		if err := s.live(w, r, stack); err != nil {
			return err
		}
	}
	if err := s.defers(w, r, g); err != nil {
		return err
	}
	// A function that was preempted before its first instruction has its closure nowhere else, and the closure may lie on the stack.
	context := le.Uint64(g[s.p.off.context:])
	s.root(w, r.g+s.p.off.context, context)
	s.drain(w)
	return nil
}

// live scans the frames of a goroutine from where its state says that they begin.
func (s *stackScan) live(w *heap.Worker, r *proofRow, stack span) error {
	t := s.p.t
	m := t.gOwner[r.g]
	if r.status == statusCopystack {
		return s.whole(w, r, stack)
	}
	if r.status == statusSyscall {
		if at := t.atSyscall(r.g); at.sp != 0 && at.pc != 0 {
			return s.walk(w, r, at.pc, at.sp, 0)
		}
	}
	if r.status != statusRunning && (m == nil || r.status != statusSyscall) {
		at := t.saved(r.g)
		return s.walk(w, r, at.pc, at.sp, 0)
	}
	if m == nil || m.thread == nil {
		return fmt.Errorf("goroutine %d was running, and its thread is not in the core", r.id)
	}
	s.registers(w, m)
	any := false
	for _, p := range m.parts {
		if p.place != placeGoroutine || len(p.pcs) == 0 || !stack.holds(p.sps[0]) {
			continue
		}
		any = true
		if err := s.walk(w, r, p.pcs[0], p.sps[0], unsafeFrames); err != nil {
			return err
		}
	}
	switch {
	case !any && m.broken != "":
		return fmt.Errorf("goroutine %d was running, and the registers of its thread are not known: %s", r.id, m.broken)
	case !any:
		return s.whole(w, r, stack)
	}
	return nil
}

// unsafeFrames is how many of the innermost frames of a goroutine on a thread are taken for pointers word by word. The innermost one was
// interrupted anywhere; those after it may be code of the runtime in which the collector never stops a goroutine, and on the system
// stack it works with variables of its caller that the caller's maps no longer have (systemstack and the closure it is given).
const unsafeFrames = 4

// registers takes the registers of a thread for pointers, and those that signals saved.
func (s *stackScan) registers(w *heap.Worker, m *machine) {
	for _, v := range m.thread.Regs.General {
		s.maybe(w, 0, v)
	}
	for _, p := range m.parts {
		if p.regs == nil {
			continue
		}
		for _, v := range append([]uint64{p.regs.FP, p.regs.LR}, p.regs.General...) {
			s.maybe(w, 0, v)
		}
	}
}

// whole takes every word of a stack for a pointer.
func (s *stackScan) whole(w *heap.Worker, r *proofRow, stack span) error {
	if err := s.load(r.id, stack.lo); err != nil {
		return err
	}
	s.doubt(w, stack.lo, stack.hi)
	return nil
}

// load makes the stack readable from sp on.
func (s *stackScan) load(id int64, sp uint64) error {
	if sp < s.lo || sp > s.hi {
		return fmt.Errorf("goroutine %d has SP %#x outside of its stack, which is from %#x to %#x", id, sp, s.lo, s.hi)
	}
	sp &^= 7
	if s.mem != nil && sp >= s.base {
		return nil
	}
	mem, ok := s.p.t.core.Mem.Bytes(sp, s.hi-sp)
	if !ok {
		return fmt.Errorf("the stack of goroutine %d is not all in the core", id)
	}
	s.mem, s.base = mem, sp
	return nil
}

// walk scans the frames from pc and sp on, the first of them, where that is unsafe, word by word. Where the frames cannot be told apart
// the rest of the stack is taken for pointers.
func (s *stackScan) walk(w *heap.Worker, r *proofRow, pc, sp uint64, unsafe int) error {
	if err := s.load(r.id, sp); err != nil {
		return err
	}
	arm64 := s.p.t.arm64
	if arm64 && unsafe > 0 {
		s.doubt(w, sp, s.hi) // the return address may still be in a register
		return nil
	}
	doubtful := false
	for ; sp < s.hi; unsafe-- {
		f := s.frameOf(pc)
		fp := sp + f.delta
		if !f.known || f.stop && !f.top || fp < sp || fp > s.hi || arm64 && f.delta == 0 && !f.top {
			// Without a frame, as in a function that was preempted before its first instruction, arm64 has the return address in a register.
			s.doubt(w, sp, s.hi)
			return nil
		}
		s.frame(w, f, sp, fp, doubtful || unsafe > 0)
		if f.top {
			return nil
		}
		next := s.word(fp - 8)
		if arm64 {
			next = s.word(sp)
		}
		if next == 0 || next == pc && fp == sp {
			s.doubt(w, fp, s.hi)
			return nil
		}
		// Arguments without a map lie in the frame of the caller. The caller of an injected call was interrupted between the points at which
		// its maps hold, and so were its arguments, which lie in the frame of its own caller.
		doubtful = f.unknown
		if f.role == roleInjected {
			unsafe = max(unsafe, 3)
		}
		if arm64 && f.role == roleInjected {
			s.doubt(w, fp, s.hi) // the faked call has a frame of another form
			return nil
		}
		pc, sp = next, fp
	}
	return nil
}

// frame scans one frame from sp to fp (runtime/mgcmark.go, scanframeworker).
func (s *stackScan) frame(w *heap.Worker, f *frameMap, sp, fp uint64, doubtful bool) {
	varp, argp := pcln.FrameBounds(sp, fp, s.p.t.arm64)
	if doubtful || f.role == roleInjected {
		// At such a pc the maps say nothing of the arguments either.
		s.doubt(w, sp, fp)
		s.doubt(w, argp, min(argp+f.space, s.hi))
	} else {
		s.mapped(w, f, sp, fp, varp, argp)
	}
	for i := range f.objects {
		o := &f.objects[i]
		base := varp
		if o.Off >= 0 {
			base = argp
		}
		if at := base + uint64(o.Off); at >= sp && at < s.hi {
			s.objects = append(s.objects, stackObject{addr: at, of: o})
		}
	}
}

// mapped scans a frame by its pointer maps.
func (s *stackScan) mapped(w *heap.Worker, f *frameMap, sp, fp, varp, argp uint64) {
	switch {
	case f.untyped || varp > sp && uint64(-int64(f.lowest)) > varp-sp:
		s.doubt(w, sp, fp)
	case varp > sp:
		for _, off := range f.locals {
			at := varp + uint64(int64(off))
			s.root(w, at, s.word(at))
		}
	}
	for _, off := range f.args {
		at := argp + uint64(off)
		s.root(w, at, s.word(at))
	}
}

// defers follows the defer records of a goroutine, whose structure is g: they lie on its stack and on the heap in turns, and its innermost panic, which
// lies on the stack.
func (s *stackScan) defers(w *heap.Worker, r *proofRow, g []byte) error {
	o, mem := s.p.t.off, s.view
	s.root(w, r.g+o.G.Panic, le.Uint64(g[o.G.Panic:]))
	d := le.Uint64(g[o.G.Defer:])
	for n := 0; d != 0; n++ {
		if n == maxDeferList {
			return fmt.Errorf("the list of defer records of goroutine %d has no end", r.id)
		}
		s.root(w, 0, d)
		fn, ok1 := mem.Uint64(d + o.Defer.Fn)
		link, ok2 := mem.Uint64(d + o.Defer.Link)
		if !ok1 || !ok2 {
			return fmt.Errorf("the defer record %#x of goroutine %d is not in the core", d, r.id)
		}
		s.root(w, d+o.Defer.Fn, fn)
		d = link
	}
	return nil
}

// statusCopystack is _Gcopystack.
const statusCopystack = 8

// machine scans the stack of a thread's g0 as far as it is in use, and the thread's registers: a timer's function or the scheduler
// may hold the last pointer to something (runtime/mgcmark.go does not need to, because it runs at a safe point).
func (s *stackScan) machine(w *heap.Worker, m *machine) error {
	t := s.p.t
	if m.thread == nil {
		return fmt.Errorf("thread %d was running Go code and is not in the core", m.tid)
	}
	stack := t.stackOf(m.g0)
	saved := t.saved(m.g0)
	low := uint64(0)
	for _, p := range m.parts {
		if p.place == placeSystem && len(p.sps) > 0 && (low == 0 || p.sps[0] < low) {
			low = p.sps[0]
		}
	}
	if stack.holds(m.thread.Regs.SP) {
		low = m.thread.Regs.SP
	}
	if low == 0 && stack.holds(saved.sp) {
		low = saved.sp
	}
	s.begin(0, 0)
	s.registers(w, m)
	if low == 0 {
		return nil // a thread that C has made, which executes a goroutine
	}
	hi := stack.hi
	if !stack.holds(low) { // C's stack: the runtime knows its end only roughly
		hi = low + min(uint64(len(t.core.Mem.Contiguous(low))), maxSystemStack)
	}
	for at := low &^ 7; at+8 <= hi; {
		n := min(hi-at, scanPart)
		part, ok := t.core.Mem.Bytes(at, n)
		if !ok {
			return fmt.Errorf("the system stack of thread %d is not all in the core", m.tid)
		}
		for i := 0; i+8 <= len(part); i += 8 {
			s.maybe(w, at+uint64(i), le.Uint64(part[i:]))
		}
		at += n
	}
	return nil
}
