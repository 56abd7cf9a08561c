package report

import (
	"cmp"
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// si_code of the kernel (include/uapi/asm-generic/siginfo.h): above zero the kernel itself, zero kill(2), -6 tgkill(2).
const (
	codeUser   = 0
	codeTgkill = -6
)

// death says how the process ended, or that it was alive.
func (m *maker) death() *Death {
	d := m.c.Death
	if d == nil {
		return nil
	}
	out := &Death{Sentence: deathSentence(d, m.c.Process.PID), Signal: signalName(d), Code: d.Code, Sender: d.Sender,
		Fatal: Clip(d.Fatal, maxText), Thread: d.Thread, Goroutine: d.Goroutine, Live: d.Live}
	if d.HasFault {
		out.FaultAddr, out.FaultPC = fmt.Sprintf("0x%x", d.FaultAddr), fmt.Sprintf("0x%x", d.FaultPC)
	}
	return out
}

func signalName(d *evidence.Death) string {
	if d.Signal == 0 && d.SignalName == "" {
		return ""
	}
	return cmp.Or(d.SignalName, fmt.Sprintf("signal %d", d.Signal))
}

func deathSentence(d *evidence.Death, pid int) string {
	switch {
	case d.Live:
		return "The process was alive when the evidence was taken, and went on."
	case d.Fatal != "":
		return stop("The runtime ended the process: fatal error: " + Clip(d.Fatal, maxSentence))
	case d.Panicking:
		return "The process was printing an uncaught panic when the evidence was taken."
	case d.Throwing:
		return "The runtime was ending the process after a fatal error whose text could not be read."
	case signalName(d) == "":
		return "No signal is recorded: the process was alive when the evidence was taken."
	}
	return signalSentence(d, pid)
}

func signalSentence(d *evidence.Death, pid int) string {
	name := signalName(d)
	switch {
	case d.Code > 0 && d.HasFault:
		return fmt.Sprintf("The kernel ended the process with %s at address 0x%x.", name, d.FaultAddr)
	case d.Code > 0:
		return fmt.Sprintf("The kernel ended the process with %s.", name)
	case d.Code == codeTgkill:
		return fmt.Sprintf("%s was sent to one of its threads by tgkill(2), which is how a process signals itself.", name)
	case d.Code == codeUser && d.Sender != 0 && d.Sender == pid:
		return fmt.Sprintf("The process sent %s to itself.", name)
	case d.Code == codeUser && d.Sender != 0:
		return fmt.Sprintf("The process was ended from outside: %s was sent by process %d.", name, d.Sender)
	case d.Code == codeUser:
		return fmt.Sprintf("The process was ended by %s, sent with kill(2); the sender is not recorded.", name)
	}
	return fmt.Sprintf("The process was ended by %s (code %d).", name, d.Code)
}
