package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/fixtures/demo"
)

// wantedLine finds the place that is marked `// want rule` in fixtures/demo; empty when there is none.
func wantedLine(t *testing.T, rule string) (file string, line int) {
	t.Helper()
	files, err := filepath.Glob("../../fixtures/demo/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	mark := regexp.MustCompile(`// the ` + rule + `$`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range strings.Split(string(text), "\n") {
			if mark.MatchString(l) {
				return filepath.Base(f), i + 1
			}
		}
	}
	return "", 0
}

// diagnosed plays a scenario and diagnoses what it leaves.
func diagnosed(t *testing.T, s demo.Scenario, stage func(*app, string) ([]string, error)) *diagnosis.Result {
	t.Helper()
	var stderr bytes.Buffer
	a := &app{stdout: &stderr, stderr: &stderr, getenv: os.Getenv}
	files, err := stage(a, t.TempDir())
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	run := &analysis{read: readFlags{progress: "none"}, rules: ruleFlags{minConfidence: "possible"}}
	result, err := a.diagnose(context.Background(), run, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// holds checks that the best explanation is the marked line, or that a healthy process has none.
func holds(t *testing.T, s demo.Scenario, result *diagnosis.Result) {
	t.Helper()
	file, line := wantedLine(t, s.Name)
	if file == "" {
		for _, f := range result.Findings {
			if f.Severity >= diagnosis.Warning {
				t.Errorf("a healthy process is accused: %s: %s", f.Rule, f.Claim)
			}
		}
		return
	}
	if len(result.Findings) == 0 {
		t.Fatalf("nothing found; ruled out: %v", result.RuledOut)
	}
	best := &result.Findings[0]
	at, _ := best.Location()
	if rule := cmp.Or(s.Rule, s.Name); best.Rule != rule || filepath.Base(at.File) != file || at.Line != line {
		t.Errorf("best finding %s at %s:%d: %s\nwant %s at %s:%d", best.Rule, at.File, at.Line, best.Claim, s.Name, file, line)
	}
}

// TestDemoCores plays every scenario and diagnoses its core.
func TestDemoCores(t *testing.T) {
	if !canCapture(t) {
		t.Skip("processes cannot be captured here (Linux and ptrace are needed)")
	}
	for _, s := range demo.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			result := diagnosed(t, s, func(a *app, dir string) ([]string, error) { return a.stage(context.Background(), s, dir) })
			want := "gocore"
			if s.Records {
				want = "gotrace"
			}
			if got := result.Case.Sources[0].Format; got != want {
				t.Fatalf("the evidence is of format %s, want %s", got, want)
			}
			holds(t, s, result)
		})
	}
}

// TestDemoText diagnoses the crashes from their text, as it is done where nothing can be captured.
func TestDemoText(t *testing.T) {
	for _, s := range demo.Scenarios() {
		if !s.Crashes {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			result := diagnosed(t, s, func(a *app, dir string) ([]string, error) {
				return a.stageCrash(context.Background(), noCore(t, s.Name), dir)
			})
			if len(result.Case.Sources) != 1 || result.Case.Sources[0].Format != "godump" {
				t.Fatalf("sources %v: want the text alone", result.Case.Sources)
			}
			holds(t, s, result)
		})
	}
}

// noCore makes commands whose first run cannot be captured: its stderr is taken already.
func noCore(t *testing.T, name string) func() *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	return func() *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Env = []string{demoEnv + "=" + name, "GOTRACEBACK=system", "SYSTEMROOT=" + os.Getenv("SYSTEMROOT")}
		if runs++; runs == 1 {
			cmd.Stderr = new(bytes.Buffer)
		}
		return cmd
	}
}

// TestCapture captures a live process through the command line, and reads the core.
func TestCapture(t *testing.T) {
	if !canCapture(t) {
		t.Skip("processes cannot be captured here (Linux and ptrace are needed)")
	}
	cmd := noCore(t, "healthy")()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Process.Kill(); cmd.Wait() }()
	time.Sleep(500 * time.Millisecond)
	core := filepath.Join(t.TempDir(), "core")
	code, stdout, stderr := call("capture", strconv.Itoa(cmd.Process.Pid), "-o", core)
	if code != exitClean || !strings.Contains(stdout, "read it with: postmortem "+core) {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = call("stacks", core); code != exitClean || !strings.Contains(stdout, "demo.(*pool).work") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr = call("capture", strconv.Itoa(cmd.Process.Pid), "-o", core); code != exitInput || !strings.Contains(stderr, "exists already") {
		t.Errorf("exit code %d, %q: an existing core must not be overwritten", code, stderr)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process did not survive: %v", err)
	}
}

// TestInterrupt sends Ctrl-C while a scenario plays.
func TestInterrupt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGINT to send")
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "postmortem") // testscript.Main runs the command of this name
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "demo", "lock-hog", "--dir", filepath.Join(dir, "evidence"))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 1000)
	n, _ := stderr.Read(said)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 1000)
	m, _ := stderr.Read(rest)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || !strings.Contains(string(rest[:m]), "interrupted") {
		t.Errorf("%v after %q and %q: want exit code %d", err, said[:n], rest[:m], exitInterrupted)
	}
}
