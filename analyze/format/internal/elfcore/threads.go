package elfcore

import (
	"debug/elf"
	"fmt"
)

// Thread is one thread of the process at the moment of the dump.
type Thread struct {
	TID     int
	Signal  int // pr_cursig: the signal that was being delivered, 0 for none
	Regs    Regs
	Siginfo *Siginfo // nil when the core has none for this thread
	// UserNS and SystemNS are the processor time of the thread; 0 where the producer does not fill them in (gcore).
	UserNS, SystemNS int64
}

// ProcessInfo is what NT_PRPSINFO says of the process; zero when the core has no such note.
type ProcessInfo struct {
	PID, PPID int
	UID, GID  uint32
	State     byte   // 'R', 'S', ... as in ps
	Name      string // at most 15 bytes
	Args      string // the first 79 bytes of the command line; may hold secrets, so do not print it whole
}

// Siginfo is the head of a siginfo_t (include/uapi/asm-generic/siginfo.h).
type Siginfo struct {
	Signo, Errno, Code int
	// Addr is the fault address of SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP sent by the kernel; 0 otherwise.
	Addr uint64
	// PID and UID name the sender of a signal that a process sent (SI_USER, SI_TKILL, SI_QUEUE); 0 otherwise.
	PID int
	UID uint32
	// OK is false when the core has no siginfo at all.
	OK bool
}

// Layout of struct elf_prstatus (include/linux/elfcore.h), equal on amd64 and arm64 up to the registers.
const (
	prstatusCursig = 12
	prstatusPID    = 32
	prstatusUTime  = 48 // struct timeval: seconds, microseconds
	prstatusSTime  = 64
	prstatusRegs   = 112
)

// Layout of struct elf_prpsinfo (include/linux/elfcore.h) with 64-bit long.
const (
	prpsinfoState = 1 // pr_sname
	prpsinfoUID   = 16
	prpsinfoGID   = 20
	prpsinfoPID   = 24
	prpsinfoPPID  = 28
	prpsinfoName  = 40
	prpsinfoArgs  = 56
	prpsinfoSize  = 136
)

// Layout of siginfo_t on 64-bit Linux: the union begins at 16.
const (
	siginfoErrno = 4
	siginfoCode  = 8
	siginfoUnion = 16
	siginfoSize  = 24 // as much as is read of its 128 bytes
)

// Signals whose siginfo carries an address (include/uapi/asm-generic/siginfo.h, _sigfault).
var faultSignals = map[int]bool{4: true, 5: true, 7: true, 8: true, 11: true}

// prstatusSize is the size of the part of elf_prstatus that is read.
func prstatusSize(m elf.Machine) int { return prstatusRegs + 8*len(RegisterNames(m)) }

// decodePrstatus reads a thread; the error names the size that was found.
func decodePrstatus(m elf.Machine, b []byte) (Thread, error) {
	if want := prstatusSize(m); len(b) < want {
		return Thread{}, fmt.Errorf("NT_PRSTATUS of %d bytes, at least %d are needed", len(b), want)
	}
	return Thread{
		TID:    int(int32(le.Uint32(b[prstatusPID:]))),
		Signal: int(int16(le.Uint16(b[prstatusCursig:]))),
		Regs:   decodeRegs(m, b[prstatusRegs:]),
		UserNS: timeval(b[prstatusUTime:]), SystemNS: timeval(b[prstatusSTime:]),
	}, nil
}

// timeval reads a struct timeval as nanoseconds; a value that makes no sense gives 0.
func timeval(b []byte) int64 {
	const most = 1 << 32 // seconds: more than a century
	s, us := int64(le.Uint64(b)), int64(le.Uint64(b[8:]))
	if s < 0 || s > most || us < 0 || us >= 1e6 {
		return 0
	}
	return s*1e9 + us*1e3
}

// decodePrpsinfo reads the description of the process.
func decodePrpsinfo(b []byte) (ProcessInfo, error) {
	if len(b) < prpsinfoSize {
		return ProcessInfo{}, fmt.Errorf("NT_PRPSINFO of %d bytes, at least %d are needed", len(b), prpsinfoSize)
	}
	return ProcessInfo{
		PID:   int(int32(le.Uint32(b[prpsinfoPID:]))),
		PPID:  int(int32(le.Uint32(b[prpsinfoPPID:]))),
		UID:   le.Uint32(b[prpsinfoUID:]),
		GID:   le.Uint32(b[prpsinfoGID:]),
		State: b[prpsinfoState],
		Name:  cstring(b[prpsinfoName:prpsinfoArgs]),
		Args:  cstring(b[prpsinfoArgs:prpsinfoSize]),
	}, nil
}

// decodeSiginfo reads the head of a siginfo_t.
func decodeSiginfo(b []byte) (Siginfo, error) {
	if len(b) < siginfoSize {
		return Siginfo{}, fmt.Errorf("NT_SIGINFO of %d bytes, at least %d are needed", len(b), siginfoSize)
	}
	s := Siginfo{
		Signo: int(int32(le.Uint32(b))),
		Errno: int(int32(le.Uint32(b[siginfoErrno:]))),
		Code:  int(int32(le.Uint32(b[siginfoCode:]))),
		OK:    true,
	}
	switch {
	case s.Code <= 0: // SI_USER and below: another process sent it
		s.PID = int(int32(le.Uint32(b[siginfoUnion:])))
		s.UID = le.Uint32(b[siginfoUnion+4:])
	case faultSignals[s.Signo] && s.Code != siKernel:
		s.Addr = le.Uint64(b[siginfoUnion:])
	}
	return s, nil
}

// siKernel is SI_KERNEL: the kernel sent the signal and gives no address (general protection fault).
const siKernel = 0x80
