// Package capture makes a core file of a process that lives.
//
// [Process] stops a process, writes its memory and registers as an ELF core with delve's native backend and dump, and lets it
// run on. [Crash] starts a program, holds it in the middle of its own crash, captures that, and lets the crash finish. Neither
// depends on the machine's core_pattern or on ulimit -c. Both work on Linux on amd64 and arm64 only; elsewhere they return an
// error that says so.
package capture

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// ErrUnsupported says that this system cannot capture.
var ErrUnsupported = errors.New("capturing a process works on Linux (amd64, arm64) only")

// Core is a core file that was written.
type Core struct {
	Path    string
	Size    int64         // bytes, holes included: the file is sparse
	Threads int           // threads of the process
	Stopped time.Duration // how long the process stood still
}

// Progress is told how many bytes of memory have been written, of how many.
type Progress func(done, total int64)

// Error is a capture that failed: which process, what was being done, why, and what the user can do.
type Error struct {
	PID   int
	Doing string
	Err   error
	Help  string
}

// Error is one line: process, what was being done, cause, what to do.
func (e *Error) Error() string {
	s := fmt.Sprintf("process %d: %s: %v", e.PID, e.Doing, e.Err)
	if e.Help != "" {
		s += "; " + e.Help
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Dying is what Crash leaves.
type Dying struct {
	Core *Core
	Text string // path of what the program wrote to stderr: the runtime's crash text
	PID  int
}

// partial is the name under which a core grows: an interrupted capture must not look like a core.
const partial = ".partial"

// intoFile runs write on a sparse file beside path and gives it its name when all is well.
func intoFile(path string, write func(*sparseFile) error) (int64, error) {
	if _, err := os.Stat(path); err == nil {
		return 0, fmt.Errorf("%s exists already", path)
	}
	f, err := os.OpenFile(path+partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) // memory holds secrets
	if err != nil {
		return 0, err
	}
	out := &sparseFile{f: f}
	if err := cmp.Or(write(out), out.Close()); err != nil {
		out.Close()               //nolint:errcheck // the first error is the one to tell
		os.Remove(path + partial) //nolint:errcheck // likewise
		return 0, err
	}
	return out.size, os.Rename(path+partial, path)
}

// startable is the part of exec.Cmd that Crash takes over; a command that has one of them set already is a mistake.
func startable(cmd *exec.Cmd) error {
	if cmd.Stderr != nil || cmd.Process != nil {
		return errors.New("the command must not be started and must leave Stderr to Crash")
	}
	return nil
}
