package native

import (
	"errors"
	"fmt"
)

// Operations of DWARF expressions (DWARF 5, table 7.9) that occur in call frame information.
const (
	opAddr       = 0x03
	opDeref      = 0x06
	opConst1u    = 0x08
	opConst1s    = 0x09
	opConst2u    = 0x0a
	opConst2s    = 0x0b
	opConst4u    = 0x0c
	opConst4s    = 0x0d
	opConst8u    = 0x0e
	opConst8s    = 0x0f
	opConstu     = 0x10
	opConsts     = 0x11
	opDup        = 0x12
	opDrop       = 0x13
	opOver       = 0x14
	opPick       = 0x15
	opSwap       = 0x16
	opRot        = 0x17
	opAbs        = 0x19
	opAnd        = 0x1a
	opDiv        = 0x1b
	opMinus      = 0x1c
	opMod        = 0x1d
	opMul        = 0x1e
	opNeg        = 0x1f
	opNot        = 0x20
	opOr         = 0x21
	opPlus       = 0x22
	opPlusUconst = 0x23
	opShl        = 0x24
	opShr        = 0x25
	opShra       = 0x26
	opXor        = 0x27
	opBra        = 0x28
	opEq         = 0x29
	opGe         = 0x2a
	opGt         = 0x2b
	opLe         = 0x2c
	opLt         = 0x2d
	opNe         = 0x2e
	opSkip       = 0x2f
	opLit0       = 0x30
	opLit31      = 0x4f
	opBreg0      = 0x70
	opBreg31     = 0x8f
	opBregx      = 0x92
	opDerefSize  = 0x94
	opNop        = 0x96
)

// Bounds on an expression. glibc's longest, in its signal trampoline, has three operations.
const (
	maxExprStack = 64
	maxExprSteps = 4096
)

var errExpr = errors.New("malformed DWARF expression")

// memory is what an expression may read.
type memory interface {
	Bytes(addr, n uint64) ([]byte, bool)
}

// evaluator runs one expression.
type evaluator struct {
	r     reader
	regs  *Regs
	mem   memory
	bias  uint64
	stack []uint64
	err   error
}

// evaluate runs an expression that begins with the given stack and returns its top.
func evaluate(program []byte, regs *Regs, mem memory, bias uint64, initial ...uint64) (uint64, error) {
	e := &evaluator{r: reader{b: program}, regs: regs, mem: mem, bias: bias, stack: initial}
	for steps := 0; e.r.left() > 0; steps++ {
		if steps == maxExprSteps {
			return 0, fmt.Errorf("%w: more than %d operations", errExpr, maxExprSteps)
		}
		e.step(e.r.u8())
		if e.r.bad {
			return 0, fmt.Errorf("%w: cut off", errExpr)
		}
		if e.err != nil {
			return 0, e.err
		}
	}
	v := e.pop()
	return v, e.err
}

func (e *evaluator) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("%w: "+format, append([]any{errExpr}, args...)...)
	}
}

func (e *evaluator) push(v uint64) {
	if len(e.stack) >= maxExprStack {
		e.fail("stack of more than %d values", maxExprStack)
		return
	}
	e.stack = append(e.stack, v)
}

func (e *evaluator) pop() uint64 {
	if len(e.stack) == 0 {
		e.fail("empty stack")
		return 0
	}
	v := e.stack[len(e.stack)-1]
	e.stack = e.stack[:len(e.stack)-1]
	return v
}

// pick pushes the n-th value from the top.
func (e *evaluator) pick(n int) {
	if n >= len(e.stack) {
		e.fail("pick %d of %d values", n, len(e.stack))
		return
	}
	e.push(e.stack[len(e.stack)-1-n])
}

// step executes one operation.
func (e *evaluator) step(op uint8) {
	switch {
	case op >= opLit0 && op <= opLit31:
		e.push(uint64(op - opLit0))
	case op >= opBreg0 && op <= opBreg31:
		e.breg(uint64(op - opBreg0))
	case op == opBregx:
		e.breg(e.r.uleb())
	case op == opDeref:
		e.deref(8)
	case op == opDerefSize:
		e.deref(uint64(e.r.u8()))
	case op == opNop:
	case op >= opConst1u && op <= opConsts, op == opAddr:
		e.constant(op)
	case op >= opDup && op <= opRot:
		e.shuffle(op)
	case op == opAbs, op == opNeg, op == opNot, op == opPlusUconst:
		e.unary(op)
	case op == opBra, op == opSkip:
		e.jump(op)
	case op >= opAnd && op <= opNe:
		e.binary(op)
	default:
		e.fail("operation %#x", op)
	}
}

// breg pushes a register plus an offset.
func (e *evaluator) breg(reg uint64) {
	off := e.r.sleb()
	if reg >= numRegs {
		e.fail("register %d", reg)
		return
	}
	v, ok := e.regs.Get(int(reg))
	if !ok {
		e.fail("register %d is not known", reg)
	}
	e.push(v + uint64(off))
}

// deref replaces an address by the n bytes there.
func (e *evaluator) deref(n uint64) {
	addr := e.pop()
	if n == 0 || n > 8 {
		e.fail("load of %d bytes", n)
		return
	}
	b, ok := e.mem.Bytes(addr, n)
	if !ok {
		e.fail("address %#x is not in the core", addr)
		return
	}
	var word [8]byte
	copy(word[:], b)
	e.push(le.Uint64(word[:]))
}

// constant pushes a number from the program.
func (e *evaluator) constant(op uint8) {
	switch op {
	case opAddr:
		e.push(e.r.u64() + e.bias)
	case opConst1u:
		e.push(uint64(e.r.u8()))
	case opConst1s:
		e.push(uint64(int64(int8(e.r.u8()))))
	case opConst2u:
		e.push(uint64(e.r.u16()))
	case opConst2s:
		e.push(uint64(int64(int16(e.r.u16()))))
	case opConst4u:
		e.push(uint64(e.r.u32()))
	case opConst4s:
		e.push(uint64(int64(int32(e.r.u32()))))
	case opConst8u, opConst8s:
		e.push(e.r.u64())
	case opConstu:
		e.push(e.r.uleb())
	case opConsts:
		e.push(uint64(e.r.sleb()))
	}
}

// shuffle moves values on the stack.
func (e *evaluator) shuffle(op uint8) {
	switch op {
	case opDup:
		e.pick(0)
	case opDrop:
		e.pop()
	case opOver:
		e.pick(1)
	case opPick:
		e.pick(int(e.r.u8()))
	case opSwap:
		a, b := e.pop(), e.pop()
		e.push(a)
		e.push(b)
	case opRot:
		a, b, c := e.pop(), e.pop(), e.pop()
		e.push(a)
		e.push(c)
		e.push(b)
	}
}

// unary replaces the top.
func (e *evaluator) unary(op uint8) {
	v := e.pop()
	switch op {
	case opAbs:
		if int64(v) < 0 {
			v = -v
		}
	case opNeg:
		v = -v
	case opNot:
		v = ^v
	case opPlusUconst:
		v += e.r.uleb()
	}
	e.push(v)
}

// jump moves within the program.
func (e *evaluator) jump(op uint8) {
	delta := int(int16(e.r.u16()))
	if op == opBra && e.pop() == 0 {
		return
	}
	to := e.r.pos + delta
	if to < 0 || to > len(e.r.b) {
		e.fail("jump to %d of %d", to, len(e.r.b))
		return
	}
	e.r.pos = to
}

// binary combines the two values on top.
func (e *evaluator) binary(op uint8) {
	b, a := e.pop(), e.pop()
	if e.err != nil {
		return
	}
	if v, ok := arithmetic(op, a, b); ok {
		e.push(v)
		return
	}
	if v, ok := compare(op, int64(a), int64(b)); ok {
		e.push(v)
		return
	}
	e.fail("operation %#x of %d and %d", op, a, b)
}

// arithmetic computes a op b; false for other operations and for a division by zero.
func arithmetic(op uint8, a, b uint64) (uint64, bool) {
	switch op {
	case opAnd:
		return a & b, true
	case opDiv:
		if b == 0 {
			return 0, false
		}
		if int64(b) == -1 {
			return -a, true // the smallest number divided by -1 does not fit
		}
		return uint64(int64(a) / int64(b)), true
	case opMinus:
		return a - b, true
	case opMod:
		if b == 0 {
			return 0, false
		}
		return a % b, true
	case opMul:
		return a * b, true
	case opOr:
		return a | b, true
	case opPlus:
		return a + b, true
	case opShl:
		return a << b, true
	case opShr:
		return a >> b, true
	case opShra:
		return uint64(int64(a) >> b), true
	case opXor:
		return a ^ b, true
	}
	return 0, false
}

// compare gives 1 or 0.
func compare(op uint8, a, b int64) (uint64, bool) {
	var yes bool
	switch op {
	case opEq:
		yes = a == b
	case opGe:
		yes = a >= b
	case opGt:
		yes = a > b
	case opLe:
		yes = a <= b
	case opLt:
		yes = a < b
	case opNe:
		yes = a != b
	default:
		return 0, false
	}
	if yes {
		return 1, true
	}
	return 0, true
}
