//go:build linux && (amd64 || arm64)

package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/native"
)

// grace is how long a capture that was told to stop may take to detach before it is given up. A process that cannot be stopped
// (state D) makes ptrace wait for ever; when this process ends, the kernel detaches.
const grace = 10 * time.Second

// pollProgress is how often the progress of a dump is looked at.
const pollProgress = 200 * time.Millisecond

// Supported reports whether this system can capture processes.
func Supported() bool { return true }

// Process writes a core of the process pid to path, which must not exist. The process stands still meanwhile, and runs on
// afterwards whatever happens: it is not killed. A child of this process must not be waited for meanwhile (exec.Cmd.Wait): such a
// wait would take the stops that delve waits for. When ctx ends, the capture is given up and nothing is left at path. Errors are
// of type *Error.
func Process(ctx context.Context, pid int, path string, progress Progress) (*Core, error) {
	if err := alive(pid); err != nil {
		return nil, err
	}
	type outcome struct {
		core *Core
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		c, err := capture(ctx, pid, path, progress)
		done <- outcome{c, err}
	}()
	select {
	case o := <-done:
		return o.core, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done:
		return o.core, o.err
	case <-time.After(grace):
		return nil, &Error{pid, "stopping it", ctx.Err(), "it is probably inside the kernel (ps shows state D); try again later"}
	}
}

// alive explains the usual mistakes before delve sees the process.
func alive(pid int) error {
	if pid == os.Getpid() {
		return &Error{pid, "attaching", errors.New("this is postmortem itself"), "give the id of another process"}
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid <= 0 || errors.Is(err, fs.ErrNotExist) {
		return &Error{pid, "attaching", errors.New("no such process"), "pgrep -l NAME finds the id"}
	}
	if _, err := os.Readlink(exe); err != nil {
		return &Error{pid, "attaching", bare(err), permissionHelp(err)}
	}
	return nil
}

// bare drops the path from an error whose subject is named already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// yamaFile restricts ptrace (Linux, Documentation/admin-guide/LSM/Yama.rst): 0 same user, 1 descendants only, 2 root only, 3
// nobody.
const yamaFile = "/proc/sys/kernel/yama/ptrace_scope"

// permissionHelp says what is in the way of ptrace. It is empty for other causes.
func permissionHelp(err error) string {
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	scope, readErr := os.ReadFile(yamaFile)
	switch strings.TrimSpace(string(scope)) {
	case "1":
		return "ptrace is limited to children (" + yamaFile + " is 1): use sudo, or sysctl kernel.yama.ptrace_scope=0"
	case "2":
		return "ptrace is limited to root (" + yamaFile + " is 2): use sudo"
	case "3":
		return "ptrace is switched off until the next boot (" + yamaFile + " is 3): send SIGABRT instead and diagnose the core"
	}
	if readErr == nil || errors.Is(readErr, fs.ErrNotExist) {
		return "be the user that runs the process, or use sudo; in a container, add the capability SYS_PTRACE; a debugger may be attached already"
	}
	return "use sudo"
}

// capture attaches, dumps and detaches.
func capture(ctx context.Context, pid int, path string, progress Progress) (c *Core, err error) {
	began := time.Now()
	group, err := native.Attach(pid, nil, nil)
	if err != nil {
		return nil, attachError(pid, err)
	}
	defer func() {
		if detachErr := group.Detach(false); detachErr != nil && err == nil {
			err = &Error{pid, "letting it run on", detachErr, ""}
		}
		if c != nil {
			c.Stopped = time.Since(began)
		}
	}()
	target := group.Selected
	if err := removeBreakpoints(target); err != nil {
		return nil, &Error{pid, "removing delve's breakpoints", err, ""}
	}
	size, err := intoFile(path, func(out *sparseFile) error { return dump(ctx, target, out, progress) })
	if err != nil {
		return nil, &Error{pid, "writing its core", err, ""}
	}
	return &Core{Path: path, Size: size, Threads: len(target.ThreadList())}, nil
}

// attachError explains an attach that failed. delve wraps nothing, so a missing permission is told by its words.
func attachError(pid int, err error) error {
	help := permissionHelp(err)
	if help == "" && strings.Contains(err.Error(), syscall.EPERM.Error()) {
		help = permissionHelp(syscall.EPERM)
	}
	if help == "" {
		help = "gcore (of gdb) may manage where delve does not; or send SIGABRT with GOTRACEBACK=crash and diagnose the core"
	}
	return &Error{pid, "attaching", err, help}
}

// removeBreakpoints takes out what delve plants into every Go program (the ends of panics and throws): the code in the core must
// be the program's.
func removeBreakpoints(t *proc.Target) error {
	for addr := range t.Breakpoints().M {
		if err := t.ClearBreakpoint(addr); err != nil {
			return fmt.Errorf("at 0x%x: %w", addr, err)
		}
	}
	return nil
}

// dump writes the core until it is whole or ctx ends.
func dump(ctx context.Context, t *proc.Target, out *sparseFile, progress Progress) error {
	state := &proc.DumpState{Dumping: true, DoneChan: make(chan struct{})}
	go t.Dump(out, 0, state)
	tick := time.NewTicker(pollProgress)
	defer tick.Stop()
	for stop := ctx.Done(); ; {
		select {
		case <-state.DoneChan:
			return dumpResult(ctx, state)
		case <-stop:
			stop = nil
			state.Mutex.Lock()
			state.Canceled = true
			state.Mutex.Unlock()
		case <-tick.C:
			if progress != nil {
				state.Mutex.Lock()
				done, total := state.MemDone, state.MemTotal
				state.Mutex.Unlock()
				progress(int64(done), int64(total))
			}
		}
	}
}

func dumpResult(ctx context.Context, state *proc.DumpState) error {
	state.Mutex.Lock()
	defer state.Mutex.Unlock()
	switch {
	case state.Err != nil:
		return state.Err
	case state.Canceled:
		return fmt.Errorf("given up: %w", ctx.Err())
	case !state.AllDone:
		return errors.New("the dump ended early")
	}
	return nil
}

// writingToStderr reports whether a thread of the process stands in write(2, ...): /proc/pid/task/tid/syscall begins with the
// number of the system call and its first argument (Linux, proc_pid_syscall(5)).
func writingToStderr(pid int) (bool, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil || len(files) == 0 {
		return false, errors.New("no thread to look at")
	}
	want := fmt.Sprintf("%d 0x2 ", syscall.SYS_WRITE)
	var first error
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			first = bare(err)
			continue // a thread may end while we look
		}
		if strings.HasPrefix(string(text), want) {
			return true, nil
		}
	}
	if first != nil && errors.Is(first, fs.ErrPermission) {
		return false, first
	}
	return false, nil
}
