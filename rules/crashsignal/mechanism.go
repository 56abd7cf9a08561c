package crashsignal

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Signal numbers and codes of Linux on amd64 and arm64 (asm-generic/signal.h, asm-generic/siginfo.h).
const (
	sigILL, sigTRAP, sigABRT, sigBUS, sigFPE, sigSEGV, sigSYS = 4, 5, 6, 7, 8, 11, 31

	codeNotMapped = 1   // SEGV_MAPERR
	codeForbidden = 2   // SEGV_ACCERR
	codeKernel    = 128 // SI_KERNEL: a general protection fault, for which the processor gives no address
)

// mechanism is how the process came to its fault, as far as the evidence tells.
type mechanism struct {
	seen      string // the fact: signal, code, address
	short     string // ends the claim; may be empty
	fix       string // begins the fix
	settle    string // what would tell more
	inferred  string // why it is an inference and no fact; empty when it is one
	inC       bool   // the goroutine was in a call to C
	inRuntime bool   // the runtime itself faulted
}

// bySignal is what each signal means.
var bySignal = map[int]struct{ short, fix string }{
	sigBUS: {": the memory is a file's, and the file ends before it",
		"The mapped file was cut by somebody else, or the disk or huge page behind it is gone: check the file's size before each use of the mapping, never cut a file that is mapped (write a new one and rename it), or read instead of mapping."},
	sigFPE:  {": a division by zero in C", "Check the divisor on the C side."},
	sigILL:  {": an instruction that the processor does not have", "The code was built for a newer processor, or the program jumped into data: check the build's -march or GOAMD64 against the machine, and function pointers."},
	sigTRAP: {": a trap instruction", "A compiler's or library's own assertion ended the process: read what it wrote to stderr."},
	sigSYS:  {": a system call that a seccomp filter forbids", "Allow the system call in the container's seccomp profile, or do without it."},
	sigABRT: {": it called abort", "C code found its own state broken (an assertion, a failed check of malloc, an uncaught exception): read what it wrote to stderr before it died."},
}

func mechanismOf(c *evidence.Case, crash *derive.Crash) mechanism {
	m := mechanism{seen: seen(c, crash)}
	_, m.inC = derive.Has(crash.Stack, "runtime.cgocall")
	m.inC = m.inC || crash.Native != nil || crash.Goroutine.Flags.Has(evidence.FlagCgo) ||
		strings.Contains(c.Death.Detail, "during cgo execution")
	m.inRuntime = strings.Contains(crash.Fatal(c), "during runtime execution")
	meaning, ok := bySignal[crash.Signal]
	m.short, m.fix = meaning.short, meaning.fix
	if !ok {
		m.short, m.fix = segmentation(c.Death)
	}
	switch {
	case m.inRuntime:
		m.settle = "the runtime trusts its own structures: who overwrote them is told by a run with -race, checkptr or a sanitizer of the C code"
	case m.inC && crash.Native == nil:
		m.settle = "a core shows the C function: set GOTRACEBACK=crash and a core limit"
	}
	if crash.Signal == sigABRT && crash.Native == nil {
		m.inferred = "the C frames are not in the evidence: that C code called abort is inferred from the signal's code and from the goroutine being in C"
	}
	if crash.Signal == sigSEGV && m.inC {
		m.fix = "Look at the C function: what it was handed (a short buffer, a freed pointer, a wrong length), and what it does with it."
	}
	return m
}

// seen is the fact that the finding rests on.
func seen(c *evidence.Case, crash *derive.Crash) string {
	d := c.Death
	text := "the fault was " + derive.SignalName(crash.Signal)
	if crash.Signal == d.Signal && d.Code != 0 {
		text += fmt.Sprintf(" with code %d", d.Code)
	}
	if d.HasFault {
		text += fmt.Sprintf(" at address 0x%x", d.FaultAddr)
		if d.FaultPC != 0 {
			text += fmt.Sprintf(", executing 0x%x", d.FaultPC)
		}
	}
	if fatal := crash.Fatal(c); fatal != "" {
		text += fmt.Sprintf("; the runtime ended the process with the fatal error %q", derive.Quote(fatal))
	}
	return text
}

// segmentation explains the address of a SIGSEGV.
func segmentation(d *evidence.Death) (short, fix string) {
	fix = "The address was computed wrongly or its memory was given back. " + doc.Fix
	at := "the address"
	if d.HasFault {
		at = fmt.Sprintf("address 0x%x", d.FaultAddr)
	}
	switch {
	case d.Code == codeKernel:
		return ": the address is none that the processor could ever map", "The pointer holds no address at all: data was taken for a pointer, or a pointer was overwritten. " + doc.Fix
	case d.Signal == sigSEGV && d.Code == codeForbidden:
		return fmt.Sprintf(": %s may not be used so", at), "The memory is mapped without the right that was wanted: a write to read-only data, or a jump into data."
	case d.Signal == sigSEGV && d.Code == codeNotMapped && d.HasFault:
		return fmt.Sprintf(": nothing is mapped at %s", at), fix
	case d.HasFault:
		return ": it touched " + at, fix
	}
	return "", fix
}
