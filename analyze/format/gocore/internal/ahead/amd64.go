package ahead

import (
	"golang.org/x/arch/x86/x86asm"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// Registers of amd64 by number.
const spX86 = 4

// argsX86 are the registers of integer arguments (cmd/compile/abi-internal.md): AX, BX, CX, DI, SI, R8, R9, R10, R11.
var argsX86 = [...]int{0, 3, 1, 7, 6, 8, 9, 10, 11}

// regX86 is the number of a general register, whatever its width; noReg for others.
func regX86(r x86asm.Reg) int8 {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return int8(r - x86asm.AL)
	case r >= x86asm.SPB && r <= x86asm.DIB:
		return int8(r-x86asm.SPB) + spX86
	case r >= x86asm.R8B && r <= x86asm.R15B:
		return int8(r-x86asm.R8B) + 8
	}
	for _, first := range []x86asm.Reg{x86asm.AX, x86asm.EAX, x86asm.RAX} {
		if r >= first && r < first+16 {
			return int8(r - first)
		}
	}
	return noReg
}

// widthX86 is the width of a register in bytes; 0 for one that is not general.
func widthX86(r x86asm.Reg) int8 {
	switch {
	case regX86(r) == noReg:
		return 0
	case r < x86asm.AX:
		return 1
	case r < x86asm.EAX:
		return 2
	case r < x86asm.RAX:
		return 4
	}
	return 8
}

// decodeX86 decodes one instruction; false when it is none.
func decodeX86(code []byte, pc uint64) (instruction, bool) {
	x, err := x86asm.Decode(code, 64)
	if err != nil || x.Len == 0 {
		size, ok := layout.InstructionSize(code) // vector instructions: they hold no pointers
		if !ok || size == 0 || size > len(code) {
			return instruction{}, false
		}
		return instruction{size: uint8(size)}, true
	}
	in := instruction{size: uint8(x.Len)}
	next := pc + uint64(x.Len)
	if rel, ok := x.Args[0].(x86asm.Rel); ok {
		in.target = next + uint64(int64(rel))
		in.call = x.Op == x86asm.CALL
		in.jumps, in.ends = !in.call, x.Op == x86asm.JMP
		return in, true
	}
	d := &x86Decoder{in: &in, x: &x, next: next}
	switch x.Op {
	case x86asm.CALL:
		in.call, in.fn = true, d.operand(0)
	case x86asm.RET:
		in.ends, in.returns = true, true
	case x86asm.JMP, x86asm.UD2, x86asm.INT, x86asm.HLT:
		in.ends = true
	default:
		d.effect()
	}
	return in, true
}

type x86Decoder struct {
	in   *instruction
	x    *x86asm.Inst
	next uint64
}

// operand turns an argument into an operand; one of kind operandNone is of no interest.
func (d *x86Decoder) operand(n int) operand {
	switch a := d.x.Args[n].(type) {
	case x86asm.Reg:
		if r := regX86(a); r != noReg {
			return regOperand(r)
		}
	case x86asm.Imm:
		return immOperand(int64(a))
	case x86asm.Mem:
		if a.Segment != 0 && a.Segment != x86asm.DS && a.Segment != x86asm.SS {
			return operand{}
		}
		if a.Base == x86asm.RIP {
			return memOperand(noReg, int64(d.next)+a.Disp)
		}
		m := memOperand(noReg, a.Disp)
		if a.Base != 0 {
			m.reg = regX86(a.Base)
		}
		if a.Index != 0 {
			m.index, m.scale = regX86(a.Index), a.Scale
		}
		return m
	}
	return operand{}
}

// width is how many bytes an instruction moves.
func (d *x86Decoder) width() int8 {
	for _, n := range []int{0, 1} {
		if r, ok := d.x.Args[n].(x86asm.Reg); ok && widthX86(r) != 0 {
			return widthX86(r)
		}
	}
	if d.x.MemBytes > 0 && d.x.MemBytes <= 8 {
		return int8(d.x.MemBytes)
	}
	return 8
}

func (d *x86Decoder) add(m micro) { d.in.micros = append(d.in.micros, m) }

// effect translates an instruction that does not branch.
func (d *x86Decoder) effect() {
	x := d.x
	width := d.width()
	dst, src := d.operand(0), operand{}
	if x.Args[1] != nil {
		src = d.operand(1)
	}
	switch x.Op {
	case x86asm.MOV:
		d.add(micro{kind: microMove, width: width, dst: dst, a: src})
	case x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD:
		d.extend(dst, src)
	case x86asm.LEA:
		d.add(micro{kind: microAddress, dst: dst, a: src})
	case x86asm.ADD, x86asm.SUB:
		if src.kind == operandNone || dst.kind == operandMem {
			d.forget(dst, width)
			return
		}
		kind := microAdd
		if x.Op == x86asm.SUB {
			kind = microSub
		}
		d.add(micro{kind: kind, width: width, dst: dst, a: dst, b: src})
	case x86asm.INC, x86asm.DEC:
		n := int64(1)
		if x.Op == x86asm.DEC {
			n = -1
		}
		if dst.kind == operandReg {
			d.add(micro{kind: microAdd, width: width, dst: dst, a: dst, b: immOperand(n)})
		}
	case x86asm.SHL:
		if src.kind == operandImm && src.disp < 32 && dst.kind == operandReg {
			d.add(micro{kind: microScale, width: width, dst: dst, a: dst, k: 1 << uint(src.disp)})
		} else {
			d.forget(dst, width)
		}
	case x86asm.IMUL:
		d.multiply(dst, width)
	case x86asm.XOR:
		if x.Args[0] == x.Args[1] {
			d.add(micro{kind: microMove, width: 8, dst: dst, a: immOperand(0)})
		} else {
			d.forget(dst, width)
		}
	case x86asm.OR:
		// OR of a register with -1 makes -1.
		if src.kind == operandImm && src.disp == -1 && dst.kind == operandReg {
			d.add(micro{kind: microMove, width: width, dst: dst, a: immOperand(-1)})
		} else {
			d.forget(dst, width)
		}
	case x86asm.PUSH, x86asm.POP:
		d.stack(dst)
	case x86asm.XADD:
		if locked(x) {
			d.add(micro{kind: microAtomicAdd, width: width, a: dst, b: src, dst: src})
		} else {
			d.forget(dst, width)
			d.forget(src, width)
		}
	case x86asm.CMPXCHG:
		d.add(micro{kind: microSwap, width: width, a: dst, b: src, dst: regOperand(0)})
	case x86asm.XCHG:
		if dst.kind == operandReg && src.kind == operandReg && dst == src {
			return // NOP
		}
		d.forget(dst, width)
		d.forget(src, width)
	case x86asm.MOVUPS, x86asm.MOVUPD, x86asm.MOVDQU, x86asm.MOVAPS:
		d.vector(dst)
	default:
		d.others(dst, width)
	}
}

// stack translates a push or a pop.
func (d *x86Decoder) stack(dst operand) {
	sp, top := regOperand(spX86), memOperand(spX86, 0)
	if d.x.Op == x86asm.PUSH {
		d.add(micro{kind: microSub, width: 8, dst: sp, a: sp, b: immOperand(8)})
		d.add(micro{kind: microMove, width: 8, dst: top, a: dst})
		return
	}
	d.add(micro{kind: microMove, width: 8, dst: dst, a: top})
	d.add(micro{kind: microAdd, width: 8, dst: sp, a: sp, b: immOperand(8)})
}

// extend translates loads that are wider in the register than in memory.
func (d *x86Decoder) extend(dst, src operand) {
	width := int8(d.x.MemBytes)
	if r, ok := d.x.Args[1].(x86asm.Reg); ok {
		width = widthX86(r)
	}
	signed := d.x.Op != x86asm.MOVZX
	if src.kind == operandReg && (!signed || width != 4) {
		d.forget(dst, 8) // of a byte in a register nothing is kept
		return
	}
	if signed {
		width = -width
	}
	if src.kind == operandReg {
		width = 8 // an index that is made wider
	}
	d.add(micro{kind: microMove, width: width, dst: dst, a: src})
}

func (d *x86Decoder) multiply(dst operand, width int8) {
	if k, ok := d.x.Args[2].(x86asm.Imm); ok {
		d.add(micro{kind: microScale, width: width, dst: dst, a: d.operand(1), k: int64(k)})
		return
	}
	d.forget(dst, width)
	if d.x.Args[1] == nil { // RDX:RAX
		d.forget(regOperand(0), 8)
		d.forget(regOperand(2), 8)
	}
}

// vector translates stores of 16 bytes: of X15, which is zero (cmd/compile/abi-internal.md), or of what is not known.
func (d *x86Decoder) vector(dst operand) {
	if dst.kind != operandMem {
		return
	}
	m := micro{kind: microForget, width: 8, dst: dst}
	if d.x.Args[1] == x86asm.X15 {
		m = micro{kind: microMove, width: 8, dst: dst, a: immOperand(0)}
	}
	d.add(m)
	m.dst.disp += 8
	d.add(m)
}

func (d *x86Decoder) forget(o operand, width int8) {
	if o.kind == operandReg || o.kind == operandMem {
		d.add(micro{kind: microForget, width: width, dst: o})
	}
}

// readsX86 are instructions whose first operand is not written, as far as the compiler uses them.
var readsX86 = map[x86asm.Op]bool{x86asm.CMP: true, x86asm.TEST: true, x86asm.NOP: true, x86asm.UCOMISD: true, x86asm.UCOMISS: true,
	x86asm.BT: true, x86asm.PREFETCHT0: true, x86asm.PREFETCHNTA: true, x86asm.PAUSE: true, x86asm.COMISD: true, x86asm.COMISS: true}

// wideX86 are instructions that write AX and DX beside their operand.
var wideX86 = map[x86asm.Op]bool{x86asm.MUL: true, x86asm.DIV: true, x86asm.IDIV: true, x86asm.CDQ: true, x86asm.CQO: true,
	x86asm.CWD: true, x86asm.CPUID: true, x86asm.RDTSC: true, x86asm.CMPXCHG16B: true}

// others forgets what an instruction that is not followed writes.
func (d *x86Decoder) others(dst operand, width int8) {
	if readsX86[d.x.Op] {
		return
	}
	if wideX86[d.x.Op] {
		d.forget(regOperand(0), 8)
		d.forget(regOperand(2), 8)
		return
	}
	d.forget(dst, width)
}

func locked(x *x86asm.Inst) bool {
	for _, p := range x.Prefix {
		if p != 0 && p&0xff == x86asm.PrefixLOCK&0xff {
			return true
		}
	}
	return false
}
