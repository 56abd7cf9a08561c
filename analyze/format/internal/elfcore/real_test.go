//go:build linux

package elfcore

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// need skips a test that wants a tool this machine lacks; in CI that is a failure.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(t, "needs "+tool)
		}
	}
}

func lacking(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// buildGo compiles the program of testdata, after edit, with env and flags.
func buildGo(t testing.TB, edit func(string) string, env []string, flags ...string) string {
	t.Helper()
	need(t, "go")
	src, err := os.ReadFile("testdata/crash.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := string(src)
	if edit != nil {
		text = edit(text)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"main.go": text, "go.mod": "module app\n\ngo 1.22\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "app")
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, ".")...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), env...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, msg)
	}
	return out
}

// crash runs a program until it dumps core, and gives the core's path.
func crash(t testing.TB, argv ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", append([]string{"-c", `ulimit -c unlimited; exec "$0" "$@"`}, argv...)...)
	cmd.Dir, cmd.Env = dir, []string{}
	_ = cmd.Run() // it ends by a signal
	found, _ := filepath.Glob(filepath.Join(dir, "*core*"))
	for _, f := range found {
		if strings.HasPrefix(filepath.Base(f), "qemu_") || len(found) == 1 {
			return f
		}
	}
	lacking(t, "needs a core_pattern that writes a core into the working folder")
	return ""
}

// start runs a program that waits, and gives its process id once it is ready.
func start(t testing.TB, path string) int {
	t.Helper()
	cmd := exec.Command(path, "wait")
	cmd.Env = []string{}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // let the goroutines park
	return cmd.Process.Pid
}

// loaded opens a core and loads its program, which must be proved by one of the methods.
func loaded(t testing.TB, core, exe string, methods ...Method) *Core {
	t.Helper()
	c, gaps, err := Open(core, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if len(gaps) != 0 {
		t.Errorf("gaps: %v", gaps)
	}
	_, v, err := c.Load(program(t, c), FindOptions{Exe: exe})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range methods {
		if v.Method == m {
			checkMemory(t, c.Mem)
			return c
		}
	}
	t.Fatalf("verified by %v, want one of %v", v.Method, methods)
	return nil
}

// sameText compares all of the program's code in memory with the file: every byte must be there and be right.
func sameText(t testing.TB, c *Core, exe string) {
	t.Helper()
	img, err := OpenImage(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	f, err := img.ELF()
	if err != nil {
		t.Fatal(err)
	}
	v, err := img.VerifyAgainst(c, program(t, c))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".text", ".rodata"} {
		s := f.Section(name)
		want, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if err := c.Mem.ReadAt(got, s.Addr+v.Bias); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if at, n := difference(c.Machine, got, want); at >= 0 && n == 0 {
			t.Errorf("%s differs at %#x", name, at)
		}
	}
}

func TestKernelCores(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("runs on amd64 and arm64")
	}
	for name, flags := range map[string][]string{
		"static":   nil,
		"pie":      {"-buildmode=pie"},
		"stripped": {"-ldflags=-s -w"},
		"no id":    {"-ldflags=-buildid= -B none"},
	} {
		t.Run(name, func(t *testing.T) {
			exe := buildGo(t, nil, nil, flags...)
			c := loaded(t, crash(t, exe), exe, ByGoBuildID, ByGNUBuildID, ByHeaders)
			if c.Producer != Kernel || c.Signal.Signo != 6 || c.Signal.PID != c.Process.PID || c.Process.Name != "app" || len(c.Threads) < 2 {
				t.Errorf("%v, signal %+v, process %+v, %d threads", c.Producer, c.Signal, c.Process, len(c.Threads))
			}
			sameText(t, c, exe)
		})
	}
}

// TestTwins holds that a twin of the program is refused, except for one that strip(1) made: it has the same code.
func TestTwins(t *testing.T) {
	need(t, "strip")
	exe := buildGo(t, nil, nil)
	core := crash(t, exe)
	stripped := filepath.Join(t.TempDir(), "stripped")
	if msg, err := exec.Command("strip", "-o", stripped, exe).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v %s", err, msg)
	}
	loaded(t, core, stripped, ByGoBuildID, ByGNUBuildID)
	edit := func(s string) string { return strings.Replace(s, "100 * time.Milli", "101 * time.Milli", 1) }
	for name, twin := range map[string]string{
		"one line edited":   buildGo(t, edit, nil),
		"linked with -s -w": buildGo(t, nil, nil, "-ldflags=-s -w"),
		"a shell":           "/bin/sh",
	} {
		c, _, err := Open(core, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _, err = c.Load(program(t, c), FindOptions{Exe: twin})
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) {
			t.Errorf("%s: %v, want a mismatch", name, err)
		}
	}
}

func TestGcore(t *testing.T) {
	need(t, "gcore")
	exe := buildGo(t, nil, nil)
	out := filepath.Join(t.TempDir(), "core")
	pid := start(t, exe)
	msg, err := exec.Command("gcore", "-o", out, itoa(pid)).CombinedOutput()
	if err != nil {
		lacking(t, "needs the right to attach with gcore: "+string(msg))
	}
	c := loaded(t, out+"."+itoa(pid), exe, ByGoBuildID, ByGNUBuildID)
	if c.Producer != Gcore || c.Process.PID != pid || c.Threads[0].TID != pid {
		t.Errorf("%v, process %+v, first thread %d", c.Producer, c.Process, c.Threads[0].TID)
	}
	sameText(t, c, exe)
}

func TestDelveDump(t *testing.T) {
	if testing.Short() {
		t.Skip("builds delve")
	}
	need(t, "go")
	bin := t.TempDir()
	get := exec.Command("go", "install", "github.com/go-delve/delve/cmd/dlv@v1.27.2")
	get.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	if msg, err := get.CombinedOutput(); err != nil {
		lacking(t, "needs delve from the module proxy: "+string(msg))
	}
	for _, flags := range [][]string{nil, {"-buildmode=pie"}} {
		exe := buildGo(t, nil, nil, flags...)
		out := filepath.Join(t.TempDir(), "core")
		script := write(t, "init", []byte("dump "+out+"\nexit\n"))
		dlv := exec.Command(filepath.Join(bin, "dlv"), "attach", itoa(start(t, exe)), "--init", script, "--allow-non-terminal-interactive=true")
		msg, _ := dlv.CombinedOutput() // it fails on its question whether to kill the process
		if _, err := os.Stat(out); err != nil {
			lacking(t, "needs the right to attach with dlv: "+string(msg))
		}
		c := loaded(t, out, exe, ByGoBuildID, ByGNUBuildID)
		if c.Producer != Delve || len(c.Threads) < 2 || c.Process.PID == 0 {
			t.Errorf("%v, %d threads, process %+v", c.Producer, len(c.Threads), c.Process)
		}
		sameText(t, c, exe)
	}
}

func TestQemuArm64(t *testing.T) {
	need(t, "qemu-aarch64-static")
	exe := buildGo(t, nil, []string{"GOARCH=arm64"})
	c := loaded(t, crash(t, mustPath(t, "qemu-aarch64-static"), exe), exe, ByPages, ByGoBuildID, ByGNUBuildID)
	if len(c.Threads) < 2 || c.Threads[0].Signal != 6 || c.Threads[0].Regs.G == 0 {
		t.Errorf("%d threads, first %+v", len(c.Threads), c.Threads[0])
	}
	sameText(t, c, exe)
}

// TestLinkedModules finds the libraries of a C program in a delve-like core, one without NT_FILE.
func TestLinkedModules(t *testing.T) {
	need(t, "gcc")
	src := write(t, "a.c", []byte("#include <stdlib.h>\nint main(void) { abort(); }\n"))
	for _, flag := range []string{"-no-pie", "-pie"} {
		exe := filepath.Join(t.TempDir(), "app")
		if msg, err := exec.Command("gcc", flag, "-o", exe, src).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v %s", err, msg)
		}
		c, _, err := Open(crash(t, exe), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		img, v, err := c.Load(program(t, c), FindOptions{Exe: exe})
		if err != nil {
			t.Fatal(err)
		}
		want := map[uint64]string{}
		for _, f := range c.Files {
			if f.FileOffset == 0 {
				want[f.Start] = filepath.Base(f.Path)
			}
		}
		c.Files = nil // now the list of the dynamic linker is all there is
		linked := c.LinkedModules(img, v)
		if len(linked) == 0 {
			t.Fatalf("%s: no modules", flag)
		}
		for _, m := range linked {
			if filepath.Base(m.Path) != want[m.Bias] {
				t.Errorf("%s: %s at %#x, NT_FILE has %q there", flag, m.Path, m.Bias, want[m.Bias])
			}
			if _, v, err := c.Load(m, FindOptions{}); err != nil || v.Method == Unverified {
				t.Errorf("%s: %v %v", m.Path, v.Method, err)
			}
		}
	}
}

// TestCutRealCores cuts a kernel core and a gcore-like one; nothing may be answered that the whole core does not answer.
func TestCutRealCores(t *testing.T) {
	exe := buildGo(t, nil, nil)
	path := crash(t, exe)
	whole, _, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, percent := range []int{1, 10, 50, 90} {
		c, gaps, err := Open(write(t, "core", data[:len(data)*percent/100]), Options{})
		if err != nil {
			t.Fatalf("%d %%: %v", percent, err)
		}
		if len(gaps) != 1 || !strings.Contains(gaps[0].Why, "cut off") || len(c.Threads) != len(whole.Threads) {
			t.Errorf("%d %%: %d threads, gaps %v", percent, len(c.Threads), gaps)
		}
		if _, _, err := c.Load(program(t, c), FindOptions{Exe: exe}); err != nil {
			t.Errorf("%d %%: %v", percent, err)
		}
		for _, r := range c.Mem.Ranges() {
			a, okA := c.Mem.Bytes(r.Addr, min(r.Size, 64))
			b, okB := whole.Mem.Bytes(r.Addr, min(r.Size, 64))
			if r.Source.Kind == FromCore && (!okA || !okB || string(a) != string(b)) {
				t.Errorf("%d %%: %#x differs from the whole core", percent, r.Addr)
			}
		}
		_ = c.Close()
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func mustPath(t testing.TB, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
