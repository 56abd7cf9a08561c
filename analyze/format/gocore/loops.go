package gocore

import (
	"sort"
	"strings"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// maxLoopFrames is how many frames outside the runtime are looked at: the loop that polls stands close to where it is caught.
const maxLoopFrames = 4

// loop notes the loops that a goroutine was in, when it was on a processor or had been taken off it by a preemption: the innermost
// machine loop of its own code, and those from which its inner frames were called. A loop of few bytes that only reads is waiting
// for somebody's store; one that calls little else than a yield is waiting too.
func (w *worker) loop(row *gRow) {
	if row.status != statusRunning && !row.flags.Has(evidence.FlagAsync) {
		return
	}
	looked := 0
	for i, pc := range w.u.pcs {
		e := w.u.info(pc)
		if !e.ok || looked == maxLoopFrames {
			return
		}
		if w.t.isRuntime(e.fn) {
			continue
		}
		looked++
		called := i > 0 && w.u.info(w.u.pcs[i-1]).role != roleInjected
		at := pc
		if called && pc > e.fn.Entry {
			at--
		}
		if l, back, ok := w.loopAt(e.fn, at); ok {
			l.Goroutine, l.Depth, l.Called = row.id, i, called
			w.loops = append(w.loops, loopRow{row.stack, e.fn, back, l})
		}
	}
}

// maxCallees bounds the calls of a loop that are named.
const maxCallees = 8

// loopRow is a loop whose Depth still counts the frames of the machine.
type loopRow struct {
	stack uint32
	fn    pcln.Func
	back  uint64 // the jump back
	evidence.Loop
}

// step is what is needed of one instruction.
type step struct {
	at, next            uint64
	jump                uint64 // target of a jump within the function; 0 when it is none
	call                bool
	to                  uint64 // target of a direct call
	store, load, atomic bool   // of memory outside the stack
	work                bool   // computes in registers
	writes              uint64 // registers that it writes, a bit each
	reads               uint64 // registers that its memory operand is addressed by
	uses                uint64 // registers that what it writes is computed from
	moves               bool   // it changes the address register itself
}

// loopAt decodes a function and finds the smallest backward jump around pc; ok is false when there is none, or when an
// instruction could not be decoded.
func (w *worker) loopAt(fn pcln.Func, pc uint64) (l evidence.Loop, back uint64, ok bool) {
	code, ok := w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if !ok || len(code) > maxCode {
		return evidence.Loop{}, 0, false
	}
	steps := decodeAll(code, fn.Entry, w.t.arm64)
	var inner *step
	for i := range steps {
		s := &steps[i]
		if s.jump == 0 || s.jump > s.at || pc < s.jump || pc >= s.next {
			continue
		}
		if inner == nil || s.at-s.jump < inner.at-inner.jump {
			inner = s
		}
	}
	if inner == nil {
		return evidence.Loop{}, 0, false
	}
	body := steps[sort.Search(len(steps), func(i int) bool { return steps[i].at >= inner.jump }):]
	body = body[:sort.Search(len(body), func(i int) bool { return body[i].at > inner.at })]
	l = evidence.Loop{Bytes: int(inner.next - inner.jump), Trust: evidence.TrustMatched}
	changed := carried(body)
	for _, s := range body {
		w.count(&l, s, changed)
	}
	return l, inner.at, true
}

// carried finds the registers whose values go from one turn of a loop to the next and change: those that are computed from
// themselves, or from one that is. A register that is only set anew each turn from what does not change is none.
func carried(body []step) uint64 {
	var moving uint64
	for {
		before := moving
		for _, s := range body {
			if s.writes != 0 && (s.uses&s.writes != 0 && s.work || s.uses&moving != 0) {
				moving |= s.writes
			}
		}
		if moving == before {
			return moving
		}
	}
}

// count sorts one instruction of a loop, in which some registers change.
func (w *worker) count(l *evidence.Loop, s step, changed uint64) {
	if s.work {
		l.Work++
	}
	if s.load && (s.moves || s.reads&changed != 0) {
		l.Moving++
	}
	switch {
	case s.call && w.u.byFunc[s.to] != roleMorestack:
		l.Calls++
		if fn, ok := w.t.tab.Find(s.to); ok && fn.Entry == s.to && len(l.Callees) < maxCallees {
			l.Callees = append(l.Callees, fn.Name())
		}
	case s.atomic:
		l.Atomics++
	case s.store:
		l.Stores++
	case s.load:
		l.Loads++
	}
}

// decodeAll decodes the instructions of a function up to the first that cannot be.
func decodeAll(code []byte, base uint64, arm64 bool) []step {
	decode := decodeStepX86
	if arm64 {
		decode = decodeStepARM
	}
	var steps []step
	for at := 0; at < len(code); {
		s, size := decode(code[at:], base+uint64(at))
		if size == 0 {
			break
		}
		steps = append(steps, s)
		at += size
	}
	return steps
}

func decodeStepX86(code []byte, at uint64) (step, int) {
	in, err := x86asm.Decode(code, 64)
	if err != nil || in.Len == 0 {
		return step{}, 0
	}
	s := step{at: at, next: at + uint64(in.Len)}
	if rel, ok := in.Args[0].(x86asm.Rel); ok {
		target := s.next + uint64(int64(rel))
		if in.Op == x86asm.CALL {
			s.call, s.to = true, target
		} else {
			s.jump = target
		}
		return s, in.Len
	}
	s.call = in.Op == x86asm.CALL
	for i, arg := range in.Args {
		m, ok := arg.(x86asm.Mem)
		if !ok || in.Op == x86asm.LEA || in.Op == x86asm.NOP || m.Base == x86asm.RSP || m.Base == x86asm.RBP {
			continue
		}
		s.load = true
		s.reads = registerX86(m.Base) | registerX86(m.Index)
		s.store = s.store || i == 0 && !readsOnly[in.Op]
	}
	s.atomic = s.store && (in.Op == x86asm.XCHG || locked(in))
	if r, ok := in.Args[0].(x86asm.Reg); ok && !readsOnly[in.Op] {
		s.writes = registerX86(r)
		s.work = !movesX86[in.Op] && in.Args[0] != in.Args[1] // XOR of a register with itself is a zero
		s.uses = usesX86(in, s.work)
	}
	return s, in.Len
}

// usesX86 are the registers that the first operand is computed from: the others, what they are addressed by, and itself when
// the instruction computes.
func usesX86(in x86asm.Inst, work bool) uint64 {
	var uses uint64
	for i, arg := range in.Args {
		switch a := arg.(type) {
		case x86asm.Reg:
			if i > 0 || work {
				uses |= registerX86(a)
			}
		case x86asm.Mem:
			uses |= registerX86(a.Base) | registerX86(a.Index)
		}
	}
	return uses
}

// movesX86 are instructions that write a register and compute nothing.
var movesX86 = map[x86asm.Op]bool{x86asm.MOV: true, x86asm.MOVZX: true, x86asm.MOVSX: true, x86asm.MOVSXD: true, x86asm.LEA: true,
	x86asm.XCHG: true, x86asm.CMPXCHG: true, x86asm.SETE: true, x86asm.SETNE: true, x86asm.NOP: true, x86asm.PAUSE: true,
	x86asm.POP: true, x86asm.MOVUPS: true, x86asm.MOVAPS: true}

// registerX86 is the bit of a general register, whatever its width.
func registerX86(r x86asm.Reg) uint64 {
	const count = 16
	for _, first := range []x86asm.Reg{x86asm.AX, x86asm.EAX, x86asm.RAX} {
		if r >= first && r < first+count {
			return 1 << (r - first)
		}
	}
	return 0 // bytes are not addressed by
}

// readsOnly are instructions whose first operand is not written.
var readsOnly = map[x86asm.Op]bool{x86asm.CMP: true, x86asm.TEST: true, x86asm.CALL: true, x86asm.JMP: true, x86asm.PUSH: true,
	x86asm.UCOMISD: true, x86asm.UCOMISS: true, x86asm.BT: true, x86asm.PREFETCHT0: true, x86asm.PREFETCHNTA: true}

func locked(in x86asm.Inst) bool {
	for _, p := range in.Prefix {
		if p&0xff == x86asm.PrefixLOCK&0xff && p != 0 {
			return true
		}
	}
	return false
}

func decodeStepARM(code []byte, at uint64) (step, int) {
	const size = 4
	if len(code) < size {
		return step{}, 0
	}
	s := step{at: at, next: at + size}
	f, _ := decodeFlowARM(code, at)
	in, err := arm64asm.Decode(code)
	switch {
	case f.call:
		s.call = true
		if rel, ok := in.Args[0].(arm64asm.PCRel); err == nil && ok {
			s.to = at + uint64(int64(rel))
		}
	case f.jumps:
		s.jump = f.target
	case err != nil:
		// Data between functions, or an instruction newer than the decoder: it is taken for one that touches no memory.
	default:
		s.memoryARM(in)
	}
	return s, size
}

// memoryARM sorts loads, stores and atomics by the names of the instructions (Arm ARM, C3.2).
func (s *step) memoryARM(in arm64asm.Inst) {
	name := in.Op.String()
	if r, ok := in.Args[0].(arm64asm.Reg); ok && !strings.HasPrefix(name, "ST") {
		s.writes = registerARM(r)
		s.work = worksARM[name]
		s.uses = usesARM(in)
	}
	if onStackARM(in) {
		return
	}
	for _, a := range in.Args {
		switch m := a.(type) {
		case arm64asm.MemImmediate:
			s.reads = registerARM(arm64asm.Reg(m.Base))
			s.moves = m.Mode != arm64asm.AddrOffset
		case arm64asm.MemExtend:
			s.reads = registerARM(arm64asm.Reg(m.Base)) | registerARM(m.Index)
		}
	}
	begins := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if len(name) >= len(p) && name[:len(p)] == p {
				return true
			}
		}
		return false
	}
	switch {
	case begins("LDAXR", "LDXR", "STLXR", "STXR", "CAS", "SWP", "LDADD", "LDCLR", "LDSET", "LDEOR"):
		s.atomic = true
	case begins("LD"):
		s.load = true
	case begins("ST"):
		s.store = true
	}
}

// usesARM are the registers that the first operand is computed from.
func usesARM(in arm64asm.Inst) uint64 {
	var uses uint64
	for _, arg := range in.Args[1:] {
		switch a := arg.(type) {
		case arm64asm.Reg:
			uses |= registerARM(a)
		case arm64asm.RegExtshiftAmount:
			uses = ^uint64(0) // its fields are not exported: it may be any
		case arm64asm.MemImmediate:
			uses |= registerARM(arm64asm.Reg(a.Base))
		case arm64asm.MemExtend:
			uses |= registerARM(arm64asm.Reg(a.Base)) | registerARM(a.Index)
		}
	}
	return uses
}

// worksARM are instructions that compute in registers.
var worksARM = map[string]bool{"ADD": true, "ADDS": true, "SUB": true, "MUL": true, "MADD": true, "MSUB": true, "EOR": true,
	"AND": true, "ORR": true, "LSL": true, "LSR": true, "ASR": true, "ROR": true, "SDIV": true, "UDIV": true, "FADD": true,
	"FMUL": true, "FSUB": true, "FDIV": true, "UMULH": true, "NEG": true, "MVN": true, "UBFM": true, "EXTR": true}

// registerARM is the bit of a general register, whatever its width.
func registerARM(r arm64asm.Reg) uint64 {
	switch {
	case r <= arm64asm.W30:
		return 1 << r
	case r >= arm64asm.X0 && r <= arm64asm.X30:
		return 1 << (r - arm64asm.X0)
	}
	return 0
}

func onStackARM(in arm64asm.Inst) bool {
	for _, a := range in.Args {
		if m, ok := a.(arm64asm.MemImmediate); ok && (m.Base == arm64asm.RegSP(arm64asm.SP) || arm64asm.Reg(m.Base) == arm64asm.X29) {
			return true
		}
	}
	return false
}
