package native

import (
	"bytes"
	"debug/elf"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// Code of signal trampolines that have no call frame information (musl, Go's own sigreturn, qemu): they make the system
// call rt_sigreturn, number 15 on amd64 and 139 on arm64.
var (
	amd64Sigreturn = [][]byte{
		{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05}, // mov $15, %rax; syscall
		{0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05},             // mov $15, %eax; syscall
	}
	arm64Sigreturn = [][]byte{
		{0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4}, // mov x8, #139; svc #0
	}
)

// Where the kernel saves the registers, from the stack pointer at the trampoline. amd64: struct ucontext begins there, and
// its sigcontext at 40 (arch/x86/include/uapi/asm/sigcontext.h). arm64: 128 bytes of siginfo, then struct ucontext, whose
// sigcontext is at 176 and begins with the fault address (arch/arm64/include/uapi/asm/sigcontext.h and ucontext.h).
const (
	amd64Saved = 40
	arm64Saved = 128 + 176 + 8
)

// amd64SavedOrder gives DWARF numbers in the order of struct sigcontext_64: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
var amd64SavedOrder = []int{8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, amd64RSP, amd64RA}

// trampoline recognises the code at the PC, and gives what the signal interrupted.
func trampoline(s state, mem *elfcore.View) (state, bool) {
	codes, at, n := amd64Sigreturn, uint64(amd64Saved), len(amd64SavedOrder)
	if s.regs.Machine == elf.EM_AARCH64 {
		codes, at, n = arm64Sigreturn, arm64Saved, numRegs
	}
	if !hasCode(s.regs.PC(), codes, mem) {
		return state{}, false
	}
	b, ok := mem.Bytes(s.regs.SP()+at, uint64(n)*8)
	if !ok {
		return state{}, false
	}
	next := Regs{Machine: s.regs.Machine}
	for i := range n {
		reg := i // arm64: x0 to x30, sp, pc, as in DWARF
		if next.Machine != elf.EM_AARCH64 {
			reg = amd64SavedOrder[i]
		}
		next.Set(reg, le.Uint64(b[8*i:]))
	}
	return state{regs: next, trust: Signal}, true
}

// hasCode reports whether one of the codes stands at pc.
func hasCode(pc uint64, codes [][]byte, mem *elfcore.View) bool {
	for _, code := range codes {
		if b, ok := mem.Bytes(pc, uint64(len(code))); ok && bytes.Equal(b, code) {
			return true
		}
	}
	return false
}
