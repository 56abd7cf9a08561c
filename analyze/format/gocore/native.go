package gocore

import (
	"path/filepath"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
	"github.com/gopostmortem/postmortem/analyze/format/internal/native"
)

// prepareNative opens the shared objects of the process when a thread may have frames of C: when it is outside Go code, or
// when the program uses cgo, so that a signal may have interrupted C. A program of pure Go pays nothing.
func (t *target) prepareNative() {
	if !t.mayRunC() {
		return
	}
	opt := t.in.Options
	modules, gaps := native.NewModules(t.core, elfcore.FindOptions{
		Exe: opt.Executable, Sysroot: opt.Sysroot, DebugDirs: opt.DebugDirs, BesideCore: true})
	for _, g := range gaps {
		t.b.Gap(g.What, g.Why)
	}
	t.native = modules
}

func (t *target) mayRunC() bool {
	if addr, ok := t.vars.addr("runtime.iscgo"); ok {
		if cgo, ok := t.core.Mem.Uint8(addr); ok && cgo != 0 {
			return true
		}
	}
	for i := range t.core.Threads {
		if _, ok := t.tab.Find(t.core.Threads[i].Regs.PC); !ok {
			return true
		}
	}
	return false
}

// nativeFrames walks frames of C until it meets Go code. regs are those of the thread, or those that a signal saved.
func (w *threadWalk) nativeFrames(regs *elfcore.Regs, at start) (start, bool) {
	if next, ok := w.beforeVDSO(); ok {
		return next, true
	}
	if w.t.native == nil {
		return w.leaveC("it is in code outside Go")
	}
	s := w.t.native.Unwind(native.FromThread(*regs), w.u.mem, native.Options{
		Return: !at.trap, Stop: func(pc uint64) bool { return w.u.info(pc).ok }})
	p := part{place: placeSystem, signal: w.signal}
	w.signal = nil
	for _, f := range s.Frames {
		p.native = append(p.native, w.t.nativeFrame(f))
	}
	w.parts = append(w.parts, p)
	if s.Stopped {
		fp := s.Next.FP()
		return start{pc: s.Next.PC(), sp: s.Next.SP(), fp: fp, trap: !s.NextReturn}, true
	}
	if s.Gap != nil {
		return w.leaveC(s.Gap.What + ": " + s.Gap.Why)
	}
	return start{}, false
}

// leaveC goes on at the goroutine's call of C when the frames of C could not be followed to it.
func (w *threadWalk) leaveC(why string) (start, bool) {
	w.broken = why
	if w.m == nil || w.m.cur == 0 {
		return start{}, false
	}
	return w.toGoroutine(w.t.atSyscall)
}

// nativeTrust translates how the native unwinder found a frame.
var nativeTrust = map[native.Trust]evidence.Trust{native.Context: evidence.TrustRead, native.Signal: evidence.TrustRead,
	native.CFI: evidence.TrustUnwound, native.FramePointer: evidence.TrustMatched, native.Guess: evidence.TrustGuessed}

func (t *target) nativeFrame(f native.Frame) evidence.FrameID {
	name := f.Symbol.Name
	switch {
	case f.Trampoline:
		name = "<signal handler called>"
	case name == "":
		name = "?"
	}
	module := ""
	if f.Symbol.Module != "" {
		module = filepath.Base(f.Symbol.Module)
	}
	return t.b.Frame(evidence.Frame{Function: name, PC: f.PC, Language: evidence.LanguageC, Trust: nativeTrust[f.Trust], Module: module})
}

// canUnwindNative reports whether frames of C can be unwound.
func (w *threadWalk) canUnwindNative() bool { return w.t.native != nil }

// amd64Saved is the order of the registers in the ucontext of a signal frame, by their places in struct user_regs_struct,
// which is the order of elfcore.Regs: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip (include/uapi/asm/sigcontext.h).
var amd64Saved = []int{9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11, 19, 16}

// savedRegs reads the registers that a signal frame holds.
func (t *target) savedRegs(context uint64) elfcore.Regs {
	general := make([]uint64, len(elfcore.RegisterNames(t.core.Machine)))
	if t.arm64 {
		for i := range general {
			general[i], _ = t.core.Mem.Uint64(context + arm64ContextRegs + 8*uint64(i))
		}
	} else {
		for i, at := range amd64Saved {
			general[at], _ = t.core.Mem.Uint64(context + amd64ContextRegs + 8*uint64(i))
		}
	}
	return elfcore.NewRegs(t.core.Machine, general)
}
