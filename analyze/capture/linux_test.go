//go:build linux && (amd64 || arm64)

package capture

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test binary play a program that is captured.
const childEnv = "CAPTURE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "live":
		live()
	case "panic":
		time.Sleep(20 * time.Millisecond)
		panic("the disk is on fire")
	case "quiet":
		os.Exit(3)
	default:
		os.Exit(m.Run())
	}
}

// live answers each line of stdin until it ends: a process that still answers is alive.
func live() {
	in := bufio.NewScanner(os.Stdin)
	os.Stdout.WriteString("ready\n")
	for in.Scan() {
		os.Stdout.WriteString("still here\n")
	}
	os.Exit(0)
}

func child(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{childEnv + "=" + role, "GOTRACEBACK=system"}
	return cmd
}

// needPtrace skips where the machine forbids ptrace, which is not a fault of the code.
func needPtrace(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, syscall.EPERM) || err != nil && strings.Contains(err.Error(), syscall.EPERM.Error()) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("ptrace is not permitted here: %v", err)
		}
		t.Skipf("ptrace is not permitted here: %v", err)
	}
}

func TestProcess(t *testing.T) {
	cmd := child(t, "live")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Process.Kill(); cmd.Wait() }()
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	path := filepath.Join(t.TempDir(), "core")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Process(ctx, cmd.Process.Pid, path, func(done, total int64) {
		if done > total {
			t.Errorf("progress %d of %d", done, total)
		}
	})
	needPtrace(t, err)
	if err != nil {
		t.Fatal(err)
	}
	checkCore(t, c)
	io.WriteString(in, "?\n")
	if line, err := out.ReadString('\n'); line != "still here\n" {
		t.Errorf("after the capture the child says %q, %v: it must run on", line, err)
	}
	checkSparse(t, path)
}

// checkCore reads the core as an ELF file, and looks for the machine and for memory.
func checkCore(t *testing.T, c *Core) {
	t.Helper()
	f, err := elf.Open(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	loads, notes := 0, 0
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			loads++
		case elf.PT_NOTE:
			notes++
		}
	}
	if f.Type != elf.ET_CORE || loads == 0 || notes != 1 || c.Threads == 0 || c.Stopped <= 0 {
		t.Errorf("type %v, %d segments, %d notes, %+v: want a core with memory, notes and threads", f.Type, loads, notes, c)
	}
	if info, err := os.Stat(c.Path); err != nil || info.Size() != c.Size {
		t.Errorf("size %v, %v: want %d", info, err, c.Size)
	}
}

func checkSparse(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	used := info.Sys().(*syscall.Stat_t).Blocks * 512
	if used >= info.Size() {
		t.Errorf("%d bytes on disk for a file of %d: want holes for untouched memory", used, info.Size())
	}
}

func TestProcessErrors(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		pid  int
		want string
	}{{os.Getpid(), "postmortem itself"}, {0, "no such process"}, {1 << 30, "no such process"}} {
		_, err := Process(ctx, test.pid, filepath.Join(t.TempDir(), "core"), nil)
		var e *Error
		if !errors.As(err, &e) || e.PID != test.pid || e.Help == "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("process %d: error %v: want a *Error with help that says %q", test.pid, err, test.want)
		}
	}
}

func TestProcessCancelled(t *testing.T) {
	cmd := child(t, "live")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Process.Kill(); cmd.Wait() }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path := filepath.Join(t.TempDir(), "core")
	_, err = Process(ctx, cmd.Process.Pid, path, nil)
	needPtrace(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want the context's", err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("a cancelled capture left %v", left)
	}
}

func TestPermissionHelp(t *testing.T) {
	if got := permissionHelp(fs.ErrNotExist); got != "" {
		t.Errorf("help %q for a cause that is no permission", got)
	}
	if got := permissionHelp(syscall.EPERM); got == "" {
		t.Error("no help for a missing permission")
	}
	if err := attachError(7, errors.New("could not attach to pid 7: operation not permitted")); !strings.Contains(err.Error(), "sudo") {
		t.Errorf("error %v: want to be told what is in the way", err)
	}
	if err := attachError(7, errors.New("no debug info")); !strings.Contains(err.Error(), "gcore") {
		t.Errorf("error %v: want another way", err)
	}
}

func TestCrash(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := Crash(ctx, child(t, "panic"), filepath.Join(dir, "core"), filepath.Join(dir, "text"))
	needPtrace(t, err)
	if err != nil {
		t.Fatal(err)
	}
	checkCore(t, d.Core)
	text, err := os.ReadFile(d.Text)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"panic: the disk is on fire", "goroutine 1 ", "main.main"} {
		if !strings.Contains(string(text), want) && !strings.Contains(string(text), "capture.TestMain") {
			t.Errorf("the crash text lacks %q:\n%s", want, text)
		}
	}
	if strings.HasPrefix(string(text), "\n") {
		t.Error("the crash text begins with what filled the pipe")
	}
}

func TestCrashWithoutOne(t *testing.T) {
	dir := t.TempDir()
	_, err := Crash(context.Background(), child(t, "quiet"), filepath.Join(dir, "core"), filepath.Join(dir, "text"))
	if err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Errorf("error %v: want to be told that the program ended without a crash", err)
	}
}

func TestCrashCancelled(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "live")
	r, w, err := os.Pipe() // keeps the child's stdin open
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd.Stdin = r
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = Crash(ctx, cmd, filepath.Join(dir, "core"), filepath.Join(dir, "text"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v: want the deadline", err)
	}
	if cmd.ProcessState == nil {
		t.Error("the program was left running")
	}
	runtime.KeepAlive(r)
}

func TestCrashWantsStderr(t *testing.T) {
	cmd := child(t, "panic")
	cmd.Stderr = os.Stderr
	if _, err := Crash(context.Background(), cmd, "core", "text"); err == nil {
		t.Error("a command with a stderr of its own was accepted")
	}
}
