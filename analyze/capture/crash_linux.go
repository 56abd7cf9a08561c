//go:build linux && (amd64 || arm64)

package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// roomForCause is how much of the crash text fits before the program stands still: enough for the panic or fatal error,
	// which must be recorded before the capture, and less than the dump of the smallest program (2 KiB with GOTRACEBACK=system).
	roomForCause = 1024
	smallestPipe = 4096 // a page: F_SETPIPE_SZ rounds up to it, fcntl(2)
	pollCrash    = 5 * time.Millisecond
)

// Crash starts a program, waits until it crashes, writes a core of the dying process to core, and keeps the runtime's crash text
// in the file text. The core is taken while the runtime prints: stderr of the program is a pipe that is almost full, so the
// print stands still in write(2) with every goroutine as the crash found it; then the pipe is emptied and the crash goes on.
// The program must write nothing else to stderr, and should run with GOTRACEBACK=system. Errors are of type *Error; a program
// that ends without a crash is one.
//
// When ctx ends, the program is killed.
func Crash(ctx context.Context, cmd *exec.Cmd, core, text string) (*Dying, error) {
	if err := startable(cmd); err != nil {
		return nil, &Error{0, "starting it", err, ""}
	}
	r, w, filled, err := narrowPipe()
	if err != nil {
		return nil, &Error{0, "making the pipe for stderr", err, ""}
	}
	defer r.Close() //nolint:errcheck // read only
	cmd.Stderr = w
	err = cmd.Start()
	w.Close() //nolint:errcheck // the child has its own; nothing was left to write
	if err != nil {
		return nil, &Error{0, "starting it", err, ""}
	}
	p := &dying{cmd: cmd, stderr: r, filled: filled}
	return p.capture(ctx, core, text)
}

// narrowPipe returns a pipe with roomForCause bytes of room, and how many bytes it was filled with.
func narrowPipe() (r, w *os.File, filled int, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, 0, err
	}
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, smallestPipe)
	if err == nil {
		filled = size - roomForCause
		_, err = w.Write(bytes.Repeat([]byte{'\n'}, filled))
	}
	if err != nil {
		err = errors.Join(err, r.Close(), w.Close())
	}
	return r, w, filled, err
}

// dying is a program on its way to a crash. Nobody waits for it (wait4) before it has been captured: a wait in this process would
// take the stops that delve waits for, because the kernel reports them to whatever wait comes first.
type dying struct {
	cmd    *exec.Cmd
	stderr *os.File
	filled int
}

func (p *dying) capture(ctx context.Context, core, text string) (*Dying, error) {
	pid := p.cmd.Process.Pid
	defer p.end()
	if err := p.awaitCrash(ctx); err != nil {
		return nil, &Error{pid, "waiting for its crash", err, ""}
	}
	c, captureErr := Process(ctx, pid, core, nil)
	if err := p.keepText(ctx, text); err != nil {
		return nil, &Error{pid, "keeping its crash text", err, ""}
	}
	return &Dying{Core: c, Text: text, PID: pid}, captureErr
}

// awaitCrash returns when the program stands in a write to stderr, twice in a row: a write that just passes is no crash.
func (p *dying) awaitCrash(ctx context.Context) error {
	tick := time.NewTicker(pollCrash)
	defer tick.Stop()
	for seen := 0; seen < 2; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if gone, err := exited(p.cmd.Process.Pid); err != nil {
			return fmt.Errorf("looking whether it lives: %w", err)
		} else if gone {
			return errors.Join(errors.New("it ended before it could be stopped"), p.quote())
		}
		writing, err := writingToStderr(p.cmd.Process.Pid)
		if err != nil {
			return fmt.Errorf("looking at its system calls: %w", err)
		}
		if seen++; !writing {
			seen = 0
		}
	}
	return nil
}

// exited reports whether a child has ended, and leaves it to be waited for.
func exited(pid int) (bool, error) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return info.Signo != 0, err
}

// quote is the beginning of what an ended program wrote, as an error; nil when it wrote nothing.
func (p *dying) quote() error {
	out, err := io.ReadAll(io.LimitReader(p.stderr, int64(p.filled+roomForCause)))
	if len(out) <= p.filled || err != nil {
		return err
	}
	return fmt.Errorf("it wrote: %s", bytes.TrimSpace(out[p.filled:]))
}

// keepText empties the pipe into the file, until the program ends.
func (p *dying) keepText(ctx context.Context, text string) error {
	stop := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	defer stop()
	if _, err := io.CopyN(io.Discard, p.stderr, int64(p.filled)); err != nil {
		return err
	}
	f, err := os.OpenFile(text, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, p.stderr)
	return errors.Join(err, f.Close())
}

// end makes sure that nothing is left running. How the program ended is known: it crashed, or it was killed.
func (p *dying) end() {
	p.cmd.Process.Kill() // it may be gone, which is what is wanted
	p.cmd.Wait()         // its status says what we know
}
