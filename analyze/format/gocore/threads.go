package gocore

import (
	"context"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// place is the stack a part of a thread's frames lies on.
type place uint8

const (
	placeGoroutine place = iota
	placeSystem          // g0, or a stack of C
	placeSignal          // gsignal
)

// part is a run of frames on one stack.
type part struct {
	place  place
	pcs    []uint64
	sps    []uint64
	elided int                // frames left out after the first keepEnds
	trap   bool               // the innermost pc is exact
	regs   *elfcore.Regs      // of the innermost frame, where something saved them all
	native []evidence.FrameID // frames of C; then pcs is empty
	signal *signalInfo        // the signal that interrupted the part; nil when none did
}

// signalInfo is what a signal frame says of its signal.
type signalInfo struct {
	number, code, sender int
	addr, pc             uint64
}

// maxHops bounds the changes of stack of one thread: signal handler, system stack, C, goroutine, and C calling back.
const maxHops = 64

// threadWalk joins the stacks of one thread.
type threadWalk struct {
	t        *target
	u        *unwinder
	m        *machine // nil for a thread that the runtime does not know
	parts    []part
	broken   string
	switched bool        // the walk has gone from the system stack to the goroutine
	called   bool        // the walk has gone from the vDSO to who called it
	signal   *signalInfo // of the signal frame that was crossed last, for the next part
}

// readThreads unwinds every thread of the core.
func (t *target) readThreads(ctx context.Context) {
	t.prepareNative()
	u := newUnwinder(t)
	byTID := map[int]*machine{}
	for _, m := range t.machines {
		if m.thread != nil {
			byTID[m.tid] = m
		}
	}
	for i := range t.core.Threads {
		if ctx.Err() != nil {
			return // the goroutines come next, and report it
		}
		th := &t.core.Threads[i]
		m := byTID[th.TID]
		w := &threadWalk{t: t, u: u, m: m}
		w.run(th)
		if m != nil {
			m.parts, m.broken = w.parts, w.broken
			m.flags = w.machineFlags(m, w.parts)
		}
		t.addThread(th, w)
	}
}

// machineFlags are the flags that the state of a thread gives to its goroutine.
func (w *threadWalk) machineFlags(m *machine, parts []part) evidence.Flags {
	var f evidence.Flags
	if m.inCgo {
		f |= evidence.FlagCgo
	}
	if m.dying != 0 || m.throwing != 0 {
		f |= evidence.FlagDying
	}
	interrupted := false
	for _, p := range parts {
		interrupted = interrupted || p.signal != nil
		if p.place == placeGoroutine && (p.signal != nil || interrupted && w.called) { // a call of the vDSO runs on the system stack
			f |= evidence.FlagSignal
		}
		for _, pc := range p.pcs {
			if p.place == placeGoroutine && w.u.info(pc).role == roleCgoCallback {
				f |= evidence.FlagCallback
			}
		}
	}
	return f
}

// on names the stack that a thread executes on: that of its innermost frame.
func (w *threadWalk) on() string {
	names := map[place]string{placeGoroutine: "goroutine", placeSystem: "system stack", placeSignal: "signal stack"}
	switch {
	case len(w.parts) == 0:
		return ""
	case len(w.parts[0].native) > 0:
		return "C"
	}
	return names[w.parts[0].place]
}

func (t *target) addThread(th *elfcore.Thread, w *threadWalk) {
	row := evidence.Thread{TID: th.TID, M: -1, Processor: -1, Signal: th.Signal, Syscall: th.Regs.OrigSyscall,
		UserNS: th.UserNS, SystemNS: th.SystemNS}
	if m := w.m; m != nil {
		row.M, row.Goroutine, row.Processor, row.State = m.id, m.goid, int(m.p), machineState(m)
	}
	row.On = w.on()
	var frames []evidence.FrameID
	note := evidence.StackNote{Broken: w.broken}
	for _, p := range w.parts {
		frames = append(frames, p.native...)
		own := evidence.StackNote{Elided: p.elided, ElidedAt: keepEnds}
		frames, own = t.symbols.appendStack(frames, w.u.numbers(nil, p.pcs), p.trap, w.u, own)
		if own.Elided > 0 {
			note.Elided, note.ElidedAt = own.Elided, own.ElidedAt
		}
	}
	row.Stack = t.b.Stack(frames, note)
	t.b.Thread(row)
	c := evidence.Coverage{ThreadsSeen: 1}
	if w.broken == "" {
		c.ThreadsUnwound = 1
	} else {
		t.brokenThreads.add(w.broken, int64(th.TID))
	}
	t.b.Coverage(c)
}

func machineState(m *machine) string {
	switch {
	case m.dying != 0 || m.throwing != 0:
		return "crashed"
	case m.inCgo:
		return "in C"
	case m.blocked:
		return "idle"
	case m.spinning:
		return "spinning"
	case m.cur != 0:
		return "running"
	}
	return "idle"
}

// run unwinds a thread from its registers, over every change of stack.
func (w *threadWalk) run(th *elfcore.Thread) {
	at := start{pc: th.Regs.PC, sp: th.Regs.SP, lr: th.Regs.LR, trap: true}
	at.regs = &th.Regs
	for range maxHops {
		var next start
		var ok bool
		if w.u.info(at.pc).ok {
			next, ok = w.goFrames(at)
		} else {
			next, ok = w.nativeFrames(w.regsAt(at), at)
		}
		if !ok {
			return
		}
		at = next
	}
	w.broken = "more changes of stack than a thread can have"
}

// regsAt are the registers at the beginning of a walk: all of them where they were saved, else those that the walk knows.
func (w *threadWalk) regsAt(at start) *elfcore.Regs {
	if at.regs != nil {
		return at.regs
	}
	return &elfcore.Regs{Machine: w.t.core.Machine, PC: at.pc, SP: at.sp, FP: at.fp, LR: at.lr}
}

// bounds finds the stack that holds sp.
func (w *threadWalk) bounds(sp uint64) (span, place) {
	if w.m != nil {
		if s := w.t.stackOf(w.m.cur); s.holds(sp) {
			return s, placeGoroutine
		}
		if s := w.t.stackOf(w.m.gsig); s.holds(sp) {
			return s, placeSignal
		}
	}
	// A system stack. Of those that C has made the runtime knows the end only roughly (runtime/cgo, threadentry), so the
	// bound is the memory that is there; Go's frames end at mstart in any case.
	rest := w.t.core.Mem.Contiguous(sp)
	return span{sp, sp + min(uint64(len(rest)), maxSystemStack)}, placeSystem
}

// maxSystemStack is as much of a system stack as is walked; the usual limit is 8 MB.
const maxSystemStack = 64 << 20

// epollDelay notes how long the thread that waits for the network will wait at most: the argument of netpoll where its slot agrees
// with the timeout that the kernel was given, else that timeout. It is the fourth argument of epoll_pwait (the kernel's calling
// conventions: r10, x3), in whole ms (runtime/netpoll_epoll.go, netpoll).
func (w *threadWalk) epollDelay(at start) {
	const (
		inner = 4 // the wrappers of the system call
		ms    = 1_000_000
	)
	if at.regs == nil {
		return
	}
	for i, pc := range w.u.pcs[:min(len(w.u.pcs), inner)] {
		if e := w.u.info(pc); !e.ok || e.role != rolePoll {
			continue
		}
		name := "r10"
		if w.t.arm64 {
			name = "x3"
		}
		v, ok := at.regs.Get(name)
		timeout := int64(int32(v))
		if !ok || timeout <= 0 {
			return
		}
		w.t.pollDelay = (timeout + 1) * ms
		args := w.t.frameArguments(w.u.mem, w.u.pcs, w.u.sps, i, false)
		if len(args) > 0 && args[0].known && max(int64(args[0].value)/ms, 1) == timeout {
			w.t.pollDelay = int64(args[0].value)
		}
		return
	}
}

// goFrames walks Go frames and finds where the stack goes on.
func (w *threadWalk) goFrames(at start) (next start, ok bool) {
	stack, where := w.bounds(at.sp)
	e := w.u.walk(at, stack.lo, stack.hi)
	w.epollDelay(at)
	if len(w.u.pcs) > 0 {
		w.parts = append(w.parts, part{place: where, pcs: append([]uint64(nil), w.u.pcs...),
			sps: append([]uint64(nil), w.u.sps...), elided: w.u.elided, trap: at.trap, regs: at.regs, signal: w.signal})
		w.signal = nil
	}
	switch e.role {
	case roleSigreturn:
		return w.interrupted(e.sp)
	case roleSigtramp:
		return w.afterSigtramp(e)
	case roleSwitch, roleMorestack:
		if where == placeSystem {
			return w.toGoroutine(w.t.saved)
		}
	case roleCgo:
		if where == placeSystem {
			return w.toGoroutine(w.t.atSyscall)
		}
	case roleNone:
		if e.broken != "" || !w.u.info(e.pc).writesSP {
			break
		}
		if next, ok := w.beforeVDSO(); ok {
			return next, true
		}
		if next, ok := w.unswitched(at, where, e); ok {
			return next, true
		}
	}
	if e.broken != "" && where == placeSystem && e.pc != 0 && !w.u.info(e.pc).ok {
		return start{pc: e.pc, sp: e.sp, trap: false}, w.canUnwindNative()
	}
	if e.broken != "" {
		w.broken = e.broken
	}
	return start{}, false
}

// beforeVDSO returns where the thread called the vDSO from: the runtime notes it for the time of the call, in which it changes to
// the system stack (runtime/sys_linux_amd64.s, nanotime1).
func (w *threadWalk) beforeVDSO() (start, bool) {
	m := w.m
	if m == nil || m.vdsoPC == 0 || m.vdsoSP == 0 || w.called || !w.u.info(m.vdsoPC).ok {
		return start{}, false
	}
	w.called = true
	return start{pc: m.vdsoPC, sp: m.vdsoSP}, true
}

// unswitched returns the caller of a function that changes to the system stack and was interrupted before it did, or after it came back: its
// stack pointer is still one of the goroutine's stack, and what the tables say of its frame holds. The runtime has noted no call of the vDSO
// then: vdsoSP is 0, whatever vdsoPC is between the stores of the two (runtime/time_linux_amd64.s, time.now).
func (w *threadWalk) unswitched(at start, where place, e end) (start, bool) {
	if !at.trap || where != placeGoroutine || len(w.u.pcs) != 1 || w.u.usesLR || w.m == nil || w.m.vdsoSP != 0 {
		return start{}, false
	}
	fp := e.sp + w.u.info(e.pc).delta
	pc, ok := w.u.mem.Uint64(fp - 8)
	if !ok || !w.u.info(pc).ok {
		return start{}, false
	}
	return start{pc: pc, sp: fp}, true
}

// toGoroutine goes from the system stack to the goroutine that the thread executes, once.
func (w *threadWalk) toGoroutine(from func(g uint64) start) (start, bool) {
	if w.m == nil || w.m.cur == 0 || w.switched {
		return start{}, false
	}
	w.switched = true
	s := from(w.m.cur)
	return s, s.pc != 0 && w.u.info(s.pc).ok
}

// The kernel's signal frame. amd64: struct rt_sigframe is {pretcode, ucontext, siginfo}, and the return from the handler has
// taken pretcode off the stack (arch/x86/include/asm/sigframe.h); in the ucontext uc_mcontext begins at 40 with r8..r15, rdi,
// rsi, rbp, rbx, rdx, rax, rcx, rsp, rip. arm64: {siginfo of 128 bytes, ucontext}; uc_mcontext begins at 176 with the fault
// address, x0..x30, sp, pc (arch/arm64/kernel/signal.c, include/uapi/asm/sigcontext.h).
const (
	amd64ContextRegs = 40
	arm64SiginfoLen  = 128
	arm64ContextRegs = 176 + 8
	amd64Siginfo     = 304 // after the ucontext: flags, link, stack, mcontext of 256 bytes, mask
)

// interrupted returns where the thread was when the signal came: context is the address of the ucontext.
func (w *threadWalk) interrupted(context uint64) (start, bool) {
	regs := w.t.savedRegs(context)
	if regs.PC == 0 && regs.SP == 0 {
		w.broken = "the registers saved by the signal are not in the core"
		return start{}, false
	}
	s := start{pc: regs.PC, sp: regs.SP, lr: regs.LR, trap: true, regs: &regs}
	w.signal = w.t.signalInfo(context, s.pc)
	return s, true
}

// signalInfo reads the siginfo that lies beside a ucontext: the signal number, a code, and behind them the sender or the
// fault address (include/uapi/asm-generic/siginfo.h).
func (t *target) signalInfo(context, pc uint64) *signalInfo {
	at := context + amd64Siginfo
	if t.arm64 {
		at = context - arm64SiginfoLen
	}
	raw, ok := t.core.Mem.Bytes(at, 24)
	if !ok {
		return &signalInfo{pc: pc}
	}
	s := &signalInfo{number: int(int32(le.Uint32(raw))), code: int(int32(le.Uint32(raw[8:]))), pc: pc}
	if s.code > 0 {
		s.addr = le.Uint64(raw[16:])
	} else {
		s.sender = int(int32(le.Uint32(raw[16:])))
	}
	return s
}

// afterSigtramp finds the signal frame beyond the runtime's handler: sigtramp is the outermost Go frame of its stack, and
// what called it is the kernel.
func (w *threadWalk) afterSigtramp(e end) (start, bool) {
	frame := e.sp
	if e.broken == "" {
		frame += w.u.info(e.pc).delta
	}
	if w.t.arm64 {
		frame += arm64SiginfoLen
	}
	return w.interrupted(frame)
}

// threadStack returns the goroutine's own frames of a running goroutine, as its thread has them. Without the thread what the
// scheduler saved last is used, and said to be old.
func (w *worker) threadStack(row *gRow, raw []byte) uint32 {
	o := &w.t.off.G
	m := w.t.gOwner[row.g]
	if m != nil && (row.status != statusSyscall || le.Uint64(raw[o.SyscallSP:]) == 0) {
		for _, p := range m.parts {
			if p.place == placeGoroutine && len(p.pcs) > 0 {
				return w.joined(m)
			}
		}
	}
	stack := span{le.Uint64(raw[o.StackLo:]), le.Uint64(raw[o.StackHi:])}
	if row.status == statusSyscall {
		s := start{pc: le.Uint64(raw[o.SyscallPC:]), sp: le.Uint64(raw[o.SyscallSP:]), syscall: true}
		if s.pc != 0 {
			return w.unwind(s, stack.lo, stack.hi)
		}
	}
	s := start{pc: le.Uint64(raw[o.PC:]), sp: le.Uint64(raw[o.SP:])}
	e := w.u.walk(s, stack.lo, stack.hi)
	why := "it was running and its thread's registers are not in the core: these frames are older"
	if row.status != statusRunning || m != nil && m.offStack(stack) {
		why = e.broken
	}
	return w.intern(w.u.refs, false, w.u.note(why))
}

// offStack reports whether the thread was seen on the system stack, and nothing says that it went there from the goroutine's without saving
// where that was, as calls of the vDSO do. Then what the scheduler saved is where the goroutine is: it is about to start, or has just stopped
// (runtime/proc.go, execute: the status changes first).
func (m *machine) offStack(stack span) bool {
	if m.vdsoSP >= stack.lo && m.vdsoSP < stack.hi {
		return false
	}
	return slices.ContainsFunc(m.parts, func(p part) bool { return p.place == placeSystem })
}

// joined interns the parts of a thread that lie on the goroutine's stack.
func (w *worker) joined(m *machine) uint32 {
	w.u.pcs, w.u.sps = w.u.pcs[:0], w.u.sps[:0]
	trap, any, elided, at := false, false, 0, 0
	for _, p := range m.parts {
		if p.place != placeGoroutine {
			continue
		}
		if !any {
			trap, any = p.trap, true
		}
		if p.elided > 0 {
			elided, at = p.elided, len(w.u.pcs)+keepEnds
		}
		w.u.pcs, w.u.sps = append(w.u.pcs, p.pcs...), append(w.u.sps, p.sps...)
	}
	w.u.refs = w.u.numbers(w.u.refs[:0], w.u.pcs)
	return w.intern(w.u.refs, trap, evidence.StackNote{Elided: elided, ElidedAt: at, Broken: m.goroutineBroken()})
}

// goroutineBroken says why the goroutine's part of a thread's stack ends early: the walk broke off, and it was there.
func (m *machine) goroutineBroken() string {
	if n := len(m.parts); n > 0 && m.parts[n-1].place == placeGoroutine {
		return m.broken
	}
	return ""
}
