package elfcore

import (
	"debug/elf"
	"strings"
)

// Regs are the general registers of a thread, with the ones that every unwinder wants under neutral names.
type Regs struct {
	Machine elf.Machine
	PC      uint64
	SP      uint64
	FP      uint64 // rbp, x29
	LR      uint64 // x30; 0 on amd64
	G       uint64 // r14, x28: Go's current goroutine while Go code runs, any value otherwise
	TLS     uint64 // fs_base, tpidr_el0
	HasTLS  bool   // false when an arm64 core has no NT_ARM_TLS
	// DelveG is the goroutine that delve names in its platform-independent notes; 0 elsewhere.
	DelveG uint64
	// OrigSyscall is the number of the system call the thread is in, or -1. On arm64 it comes from
	// NT_ARM_SYSTEM_CALL, which not all producers write.
	OrigSyscall int64
	// General holds the registers in the kernel's order; RegisterNames gives their names.
	General []uint64
}

// amd64Names is struct user_regs_struct, arch/x86/include/asm/user_64.h.
var amd64Names = []string{
	"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
	"orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
}

// Places in amd64Names.
const (
	amd64R14     = 1
	amd64RBP     = 4
	amd64OrigRAX = 15
	amd64RIP     = 16
	amd64RSP     = 19
	amd64FSBase  = 21
)

// arm64Names is struct user_pt_regs, arch/arm64/include/uapi/asm/ptrace.h.
var arm64Names = []string{
	"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
	"x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
	"sp", "pc", "pstate",
}

// Places in arm64Names.
const (
	arm64X28 = 28
	arm64X29 = 29
	arm64X30 = 30
	arm64SP  = 31
	arm64PC  = 32
)

// RegisterNames gives the names of Regs.General in order; nil for another machine.
func RegisterNames(m elf.Machine) []string {
	switch m {
	case elf.EM_X86_64:
		return amd64Names
	case elf.EM_AARCH64:
		return arm64Names
	}
	return nil
}

// Get returns the general register of that name ("rax", "x19"); case does not matter.
func (r *Regs) Get(name string) (uint64, bool) {
	for i, n := range RegisterNames(r.Machine) {
		if i < len(r.General) && strings.EqualFold(n, name) {
			return r.General[i], true
		}
	}
	return 0, false
}

// NewRegs builds Regs from general registers in the kernel's order: 27 words on amd64, 34 on arm64. Fewer words are read as zeroes.
func NewRegs(m elf.Machine, general []uint64) Regs {
	words := make([]uint64, len(RegisterNames(m)))
	copy(words, general)
	r := Regs{Machine: m, General: words, OrigSyscall: -1}
	switch m {
	case elf.EM_X86_64:
		r.PC, r.SP, r.FP, r.G = words[amd64RIP], words[amd64RSP], words[amd64RBP], words[amd64R14]
		r.TLS, r.HasTLS = words[amd64FSBase], true
		r.OrigSyscall = int64(words[amd64OrigRAX])
	case elf.EM_AARCH64:
		r.PC, r.SP, r.FP, r.LR, r.G = words[arm64PC], words[arm64SP], words[arm64X29], words[arm64X30], words[arm64X28]
	}
	return r
}

// decodeRegs reads an elf_gregset_t.
func decodeRegs(m elf.Machine, b []byte) Regs {
	words := make([]uint64, min(len(RegisterNames(m)), len(b)/8))
	for i := range words {
		words[i] = le.Uint64(b[8*i:])
	}
	return NewRegs(m, words)
}
