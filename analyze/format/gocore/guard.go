package gocore

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/gopostmortem/postmortem/analyze/format"
)

// faultError is a panic of the reader that was caught. In Err it always means a fault in the reader or a file that changed
// under it, never a finding about the core.
type faultError struct {
	cause any
	stack []byte // of the goroutine that panicked
}

// Error gives the first line of the panic.
func (e *faultError) Error() string { return fmt.Sprintf("the reader failed: %v", e.cause) }

// errShrunk says that mapped bytes of a file are gone: the kernel answers an access to them with SIGBUS.
var errShrunk = errors.New("bytes of a file vanished while it was read: somebody cut or replaced it")

// guarded runs a part of the reader and turns a panic in it into an error of the facade's type. Cores and executables are
// mapped, so one that is cut while it is read faults at any load instruction. It must be called once per goroutine: neither
// recover nor SetPanicOnFault reaches into another.
func guarded(in format.Input, run func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		fe := &format.Error{Path: in.Path, Format: formatName, Offset: -1, Doing: "reading the core"}
		if _, fault := cause.(interface{ Addr() uintptr }); fault {
			fe.Err, fe.Help = errShrunk, "copy the core and the executable, and give the copies"
		} else {
			fe.Err, fe.Help = &faultError{cause, debug.Stack()}, "this is a fault in postmortem: please report it"
		}
		err = fe
	}()
	return run()
}

// frameBudget is how many frames one unwinder may walk through in all. Stacks do not overlap and a frame takes a word at least,
// so the walks of a whole core, which visit a goroutine four times at most, have no more frames than this; the stacks of a forged core
// may all lie on the same bytes.
func (t *target) frameBudget() int {
	const (
		visits  = 4
		word    = 8
		some    = 1 << 16
		perByte = 32 // bytes that a frame costs while it is walked and kept
	)
	budget := visits*t.core.Size/word + some
	if most := t.in.Options.MaxMemory; most > 0 {
		budget = min(budget, most/perByte+some)
	}
	return int(budget)
}
