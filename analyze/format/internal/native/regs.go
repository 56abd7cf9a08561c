package native

import (
	"debug/elf"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// numRegs is how many registers are followed: the general ones, stack pointer and program counter.
const numRegs = 33

// Regs are the registers of a frame by their DWARF numbers: on amd64 0 to 15 and 16 for the return address (System V ABI
// AMD64, figure 3.36), on arm64 0 to 30, 31 for sp and 32 for pc (DWARF for the Arm 64-bit Architecture, 4.1).
type Regs struct {
	Machine elf.Machine
	value   [numRegs]uint64
	known   uint64 // bit i: value[i] is known
}

// DWARF numbers that the walk itself needs.
const (
	amd64RBP = 6
	amd64RSP = 7
	amd64RA  = 16

	arm64FP = 29
	arm64LR = 30
	arm64SP = 31
	arm64PC = 32
)

// amd64Order gives the kernel's names by DWARF number.
var amd64Order = []string{
	"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
}

// FromThread takes the registers of a thread.
func FromThread(t elfcore.Regs) Regs {
	r := Regs{Machine: t.Machine}
	switch t.Machine {
	case elf.EM_X86_64:
		for i, name := range amd64Order {
			if v, ok := t.Get(name); ok {
				r.Set(i, v)
			}
		}
	case elf.EM_AARCH64:
		for i := range min(len(t.General), numRegs) { // the kernel's order is DWARF's: x0 to x30, sp, pc
			r.Set(i, t.General[i])
		}
	}
	// delve's own notes have these apart from the list.
	r.Set(r.pcIndex(), t.PC)
	r.Set(r.spIndex(), t.SP)
	return r
}

// Get returns the register with DWARF number i; false when it is not known in this frame.
func (r *Regs) Get(i int) (uint64, bool) {
	if i < 0 || i >= numRegs || r.known&(1<<i) == 0 {
		return 0, false
	}
	return r.value[i], true
}

// Set sets the register with DWARF number i. Others than those that are followed are ignored.
func (r *Regs) Set(i int, v uint64) {
	if i >= 0 && i < numRegs {
		r.value[i] = v
		r.known |= 1 << i
	}
}

// forget marks a register as not known.
func (r *Regs) forget(i int) {
	if i >= 0 && i < numRegs {
		r.known &^= 1 << i
	}
}

// PC gives the program counter: of the instruction that runs or, in a caller, that comes after the call.
func (r *Regs) PC() uint64 { return r.value[r.pcIndex()] }

// SP gives the stack pointer.
func (r *Regs) SP() uint64 { return r.value[r.spIndex()] }

// FP gives the frame pointer (rbp, x29), which need not hold one.
func (r *Regs) FP() uint64 {
	if r.Machine == elf.EM_AARCH64 {
		return r.value[arm64FP]
	}
	return r.value[amd64RBP]
}

func (r *Regs) pcIndex() int {
	if r.Machine == elf.EM_AARCH64 {
		return arm64PC
	}
	return amd64RA
}

func (r *Regs) spIndex() int {
	if r.Machine == elf.EM_AARCH64 {
		return arm64SP
	}
	return amd64RSP
}
