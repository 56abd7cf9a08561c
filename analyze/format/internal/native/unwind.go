package native

import (
	"debug/elf"
	"fmt"
	"math"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// Trust says how a frame was found, best first.
type Trust uint8

const (
	// Context means that the frame's registers were saved as a whole: those of the thread.
	Context Trust = iota
	// Signal means that the kernel saved the frame's registers when it delivered a signal.
	Signal
	// CFI means that call frame information gave the frame.
	CFI
	// FramePointer means that the chain of frame pointers gave it, because there was no better information.
	FramePointer
	// Guess means that the word that a call would have left was taken for the return address: the program jumped to
	// an address where there is no code.
	Guess
)

// String names the way.
func (t Trust) String() string {
	if t > Guess {
		t = Guess
	}
	return [...]string{"context", "signal", "cfi", "frame pointer", "guess"}[t]
}

// Frame is one frame of a stack, innermost first.
type Frame struct {
	PC    uint64
	SP    uint64
	Trust Trust
	// Return is false when PC is the instruction that runs or that a signal interrupted, and true when it is a return
	// address: the call is the instruction before.
	Return bool
	// Trampoline is true for the frame that the kernel put on the stack for a signal handler to return to.
	Trampoline bool
	Symbol     Symbol // zero when nothing is known about the address
}

// Stack is what Unwind found.
type Stack struct {
	Frames []Frame
	// Next holds the registers at which the walk stopped because Options.Stop wanted so; Stopped says whether it did.
	Next       Regs
	NextReturn bool // Next's PC is a return address
	Stopped    bool
	// Gap says why the walk ended before the outermost frame; nil when it did not.
	Gap *elfcore.Gap
}

// Options of Unwind.
type Options struct {
	Max int // frames; 0 means 1024
	// Stop is asked for every address; where it says true the walk ends before that frame (Go code, for example).
	Stop func(pc uint64) bool
	// Return says that the first PC is a return address and not the instruction that runs.
	Return bool
}

const defaultMaxFrames = 1024

// state is a frame during the walk.
type state struct {
	regs  Regs
	trust Trust
	ret   bool // regs' PC is a return address
}

// lookup gives the address to look up: a call at the end of a function returns behind it.
func (s *state) lookup() uint64 {
	if s.ret {
		return s.regs.PC() - 1
	}
	return s.regs.PC()
}

// Unwind walks the frames from regs outwards.
func (m *Modules) Unwind(regs Regs, mem *elfcore.View, opts Options) Stack {
	if opts.Max <= 0 {
		opts.Max = defaultMaxFrames
	}
	s := state{regs: regs, trust: Context, ret: opts.Return}
	var out Stack
	for {
		if opts.Stop != nil && opts.Stop(s.regs.PC()) {
			out.Next, out.NextReturn, out.Stopped = s.regs, s.ret, true
			return out
		}
		if len(out.Frames) == opts.Max {
			out.Gap = &elfcore.Gap{What: "outer frames", Why: fmt.Sprintf("more than %d", opts.Max)}
			return out
		}
		f := Frame{PC: s.regs.PC(), SP: s.regs.SP(), Trust: s.trust, Return: s.ret}
		f.Symbol, _ = m.Symbol(s.lookup())
		next, kind, err := m.step(s, mem)
		f.Trampoline = kind == stepSignal
		out.Frames = append(out.Frames, f)
		if err != nil {
			out.Gap = &elfcore.Gap{What: fmt.Sprintf("frames outside of %#x", s.regs.PC()), Why: err.Error()}
			return out
		}
		if kind == stepEnd {
			return out
		}
		s = next
	}
}

// Step goes from one frame to its caller. ret says that the PC of regs is a return address. ok is false at the outermost
// frame and where information is missing; Unwind tells the two apart.
func (m *Modules) Step(regs Regs, ret bool, mem *elfcore.View) (caller Regs, trust Trust, callerRet, ok bool) {
	next, kind, err := m.step(state{regs: regs, ret: ret}, mem)
	if err != nil || kind == stepEnd {
		return Regs{}, 0, false, false
	}
	return next.regs, next.trust, next.ret, true
}

// stepKind is the outcome of a step.
type stepKind uint8

const (
	stepCall   stepKind = iota // to the caller
	stepSignal                 // out of a signal trampoline, to what was interrupted
	stepEnd                    // there is no caller
)

// step finds the caller of s.
func (m *Modules) step(s state, mem *elfcore.View) (state, stepKind, error) {
	mod := m.Find(s.lookup())
	if mod != nil {
		if d := mod.fdeFor(s.lookup()); d != nil {
			return m.byCFI(s, mod, d, mem)
		}
		// A trampoline is entered by returning to its first instruction, before which no function needs to be.
		if d := mod.fdeFor(s.regs.PC()); d != nil && d.cie.signal {
			return m.byCFI(s, mod, d, mem)
		}
	}
	if next, ok := trampoline(s, mem); ok {
		return next, stepSignal, nil
	}
	if mod != nil && mod.image == nil {
		return state{}, 0, fmt.Errorf("they need %s: %w", mod.Path, mod.Missing)
	}
	if !m.executable(s.regs.PC(), mem) {
		if next, ok := m.jumpedAstray(s, mem); ok {
			return next, stepCall, nil
		}
		return state{}, 0, fmt.Errorf("%#x is no address of code", s.regs.PC())
	}
	if next, ok := m.byFramePointer(s, mem); ok {
		return next, stepCall, nil
	}
	if mod == nil {
		return state{}, 0, fmt.Errorf("%#x is in memory that belongs to no file, and the frame pointer leads nowhere", s.regs.PC())
	}
	return state{}, 0, fmt.Errorf("%s has no call frame information for %#x, and the frame pointer leads nowhere", mod.Path, s.regs.PC())
}

// byCFI applies the row for the address.
func (m *Modules) byCFI(s state, mod *Module, d *fde, mem *elfcore.View) (state, stepKind, error) {
	at := s.lookup()
	if d.cie.signal {
		at = s.regs.PC()
	}
	r, err := d.rowAt(at - mod.Bias)
	if err != nil {
		return state{}, 0, fmt.Errorf("%s at %#x: %w", mod.Path, s.regs.PC(), err)
	}
	regs, end, err := r.apply(&s.regs, d.cie.raReg, mem, mod.Bias)
	if err != nil {
		return state{}, 0, fmt.Errorf("%s at %#x: %w", mod.Path, s.regs.PC(), err)
	}
	if end || regs.PC() == 0 {
		return state{}, stepEnd, nil
	}
	if d.cie.signal {
		return state{regs: regs, trust: Signal}, stepSignal, nil
	}
	if !progress(&s.regs, &regs) {
		return state{}, 0, fmt.Errorf("the stack does not go on at %#x: the caller would be %#x at the stack pointer %#x", s.regs.PC(), regs.PC(), regs.SP())
	}
	return state{regs: regs, trust: CFI, ret: true}, stepCall, nil
}

// progress holds that the caller's frame lies above. A function that has no frame of its own (arm64) keeps the stack pointer.
func progress(callee, caller *Regs) bool {
	return caller.SP() > callee.SP() || (caller.SP() == callee.SP() && caller.PC() != callee.PC())
}

// apply computes the caller's registers. end is true when the return address is undefined: the outermost frame.
func (r *row) apply(regs *Regs, raReg uint64, mem memory, bias uint64) (caller Regs, end bool, err error) {
	cfa, err := r.cfa(regs, mem, bias)
	if err != nil {
		return Regs{}, false, err
	}
	caller = *regs
	caller.Set(regs.spIndex(), cfa)
	for i := range r.regs {
		if err := r.restore(i, &caller, regs, cfa, mem, bias); err != nil {
			if uint64(i) == raReg {
				return Regs{}, false, fmt.Errorf("return address: %w", err)
			}
			caller.forget(i) // a register that cannot be found is harmless until somebody needs it
		}
	}
	if raReg >= numRegs || r.regs[raReg].kind == undefined {
		return Regs{}, true, nil
	}
	pc, ok := caller.Get(int(raReg))
	if !ok {
		return Regs{}, false, fmt.Errorf("return address: register %d is not known", raReg)
	}
	if r.signed {
		pc &= arm64UserMask
	}
	caller.Set(caller.pcIndex(), pc)
	return caller, false, nil
}

// arm64UserMask keeps the 48 bits of a user address, the others hold the signature (Documentation/arch/arm64/pointer-authentication.rst).
const arm64UserMask = 1<<48 - 1

// cfa computes the canonical frame address.
func (r *row) cfa(regs *Regs, mem memory, bias uint64) (uint64, error) {
	if r.cfaExpr != nil {
		return evaluate(r.cfaExpr, regs, mem, bias)
	}
	if r.cfaReg >= numRegs {
		return 0, fmt.Errorf("%w: CFA from register %d", errCFI, r.cfaReg)
	}
	v, ok := regs.Get(int(r.cfaReg))
	if !ok {
		return 0, fmt.Errorf("CFA: register %d is not known", r.cfaReg)
	}
	return v + uint64(r.cfaOff), nil
}

// restore finds register i of the caller.
func (r *row) restore(i int, caller, regs *Regs, cfa uint64, mem memory, bias uint64) error {
	load := func(addr uint64) error {
		b, ok := mem.Bytes(addr, 8)
		if !ok {
			return fmt.Errorf("address %#x: %w", addr, elfcore.ErrAbsent)
		}
		caller.Set(i, le.Uint64(b))
		return nil
	}
	switch c := r.regs[i]; c.kind {
	case undefined:
		caller.forget(i)
	case offset:
		return load(cfa + uint64(c.n))
	case valOffset:
		caller.Set(i, cfa+uint64(c.n))
	case register:
		v, ok := regs.Get(int(min(uint64(c.n), math.MaxInt32)))
		if !ok {
			return fmt.Errorf("register %d is not known", c.n)
		}
		caller.Set(i, v)
	case expr, valExpr:
		v, err := evaluate(c.expr, regs, mem, bias, cfa)
		if err != nil {
			return err
		}
		if c.kind == expr {
			return load(v)
		}
		caller.Set(i, v)
	}
	return nil
}

// byFramePointer follows the saved frame pointer: {caller's frame pointer, return address} at its address, on both machines.
func (m *Modules) byFramePointer(s state, mem *elfcore.View) (state, bool) {
	fp := s.regs.FP()
	if fp < s.regs.SP() || fp%8 != 0 {
		return state{}, false
	}
	b, ok := mem.Bytes(fp, 16)
	if !ok {
		return state{}, false
	}
	saved, ra := le.Uint64(b), le.Uint64(b[8:])
	if !m.executable(ra, mem) || (saved != 0 && saved <= fp) {
		return state{}, false
	}
	next := Regs{Machine: s.regs.Machine}
	next.Set(next.pcIndex(), ra)
	next.Set(next.spIndex(), fp+16)
	if next.Machine == elf.EM_AARCH64 {
		next.Set(arm64FP, saved)
	} else {
		next.Set(amd64RBP, saved)
	}
	return state{regs: next, trust: FramePointer, ret: true}, true
}

// jumpedAstray handles a call through a bad function pointer: nothing has been executed there, so the return address is
// where the call left it, on top of the stack (amd64) or in x30 (arm64). It is tried for the innermost frame only.
func (m *Modules) jumpedAstray(s state, mem *elfcore.View) (state, bool) {
	if s.ret {
		return state{}, false
	}
	next := s.regs
	var ra uint64
	if next.Machine == elf.EM_AARCH64 {
		ra, _ = next.Get(arm64LR)
	} else {
		word, ok := mem.Uint64(next.SP())
		if !ok {
			return state{}, false
		}
		ra = word
		next.Set(amd64RSP, next.SP()+8)
	}
	if !m.executable(ra, mem) {
		return state{}, false
	}
	next.Set(next.pcIndex(), ra)
	return state{regs: next, trust: Guess, ret: true}, true
}

// executable reports whether pc can be code: by the rights of the mapping.
func (m *Modules) executable(pc uint64, mem *elfcore.View) bool {
	flags, ok := mem.Memory().Mapped(pc)
	if ok && flags&elf.PF_X != 0 {
		return true
	}
	mod := m.Find(pc)
	if mod == nil || mod.image == nil {
		return false
	}
	for _, s := range mod.image.Segments() {
		if s.Flags&elf.PF_X != 0 && pc-mod.Bias-s.Addr < s.MemSize {
			return true
		}
	}
	return false
}
