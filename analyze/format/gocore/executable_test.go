package gocore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
	"github.com/gopostmortem/postmortem/fixtures"
)

func buildExe(t testing.TB, p fixtures.Program) string {
	t.Helper()
	exe, err := fixtures.Build(context.Background(), p)
	fixtures.Require(t, err)
	return exe
}

// edited builds a scenario with one line of its source changed, to one of the same length.
func edited(t testing.TB, scenario, from, to string) string {
	t.Helper()
	s, err := fixtures.Describe(scenario)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(s.Dir, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(source, []byte(from)) == 0 || len(from) != len(to) {
		t.Fatalf("%s has no %q", scenario, from)
	}
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "go.mod"), []byte("module example.com/services\n"))
	writeFile(t, filepath.Join(root, scenario, "main.go"), bytes.Replace(source, []byte(from), []byte(to), 1))
	return buildExe(t, fixtures.Program{Dir: filepath.Join(root, scenario)})
}

func writeFile(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongExecutableIsRefused(t *testing.T) {
	s := newSpecimen(t, router)
	for name, exe := range map[string]string{
		"another program":          buildExe(t, ledger),
		"a one-line edit":          edited(t, "crash-nil-router", "X-Tenant", "X-Client"),
		"linked with -s -w":        buildExe(t, fixtures.Program{Scenario: "crash-nil-router", Flags: []string{"-ldflags=-s -w"}}),
		"another toolchain":        buildExe(t, fixtures.Program{Scenario: "crash-nil-router", Toolchain: "go1.25.7"}),
		"another architecture":     buildExe(t, fixtures.Program{Scenario: "crash-nil-router", Env: []string{"GOARCH=arm64"}}),
		"position-independent":     buildExe(t, fixtures.Program{Scenario: "crash-nil-router", Flags: []string{"-buildmode=pie"}}),
		"the core itself":          s.Core,
		"text":                     writeFile(t, filepath.Join(t.TempDir(), "a"), []byte("#!/bin/sh\nexit 1\n")),
		"an empty file":            writeFile(t, filepath.Join(t.TempDir(), "b"), nil),
		"a folder":                 t.TempDir(),
		"a file that is not there": filepath.Join(t.TempDir(), "none"),
		"the first page":           writeFile(t, filepath.Join(t.TempDir(), "c"), head(t, s.Exe, 4096)),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := readDamaged(t, s.Core, format.Options{Executable: exe})
			if err == nil {
				if name != "the first page" {
					t.Fatalf("accepted; %d goroutines, gaps:\n%s", c.Goroutines().Len(), gapsOf(c))
				}
				checkHonest(t, c, s.Text)
				return
			}
			checkError(t, s.Core, err)
			if !strings.Contains(err.Error(), exe) || !strings.Contains(err.Error(), "--exe") {
				t.Errorf("the error does not name the executable, or not what to do: %v", err)
			}
			if c.Goroutines().Len() > 0 {
				t.Errorf("%d goroutines were read with it", c.Goroutines().Len())
			}
		})
	}
}

func head(t testing.TB, path string, n int) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data[:n]
}

// strip keeps every byte that is mapped, so its output is the right executable without symbols.
func TestStrippedTwinIsAccepted(t *testing.T) {
	tool, err := exec.LookPath("strip")
	if err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "strip", For: "making a stripped twin (Debian: binutils)"})
	}
	s := newSpecimen(t, router)
	twin := filepath.Join(t.TempDir(), "twin")
	if out, err := exec.Command(tool, "-o", twin, s.Exe).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c, err := readDamaged(t, s.Core, format.Options{Executable: twin})
	if err != nil {
		t.Fatal(err)
	}
	if n := checkHonest(t, c, s.Text); n != s.whole.Goroutines().Len() || !c.Process.Stripped {
		t.Errorf("%d of %d goroutines, stripped %v\n%s", n, s.whole.Goroutines().Len(), c.Process.Stripped, gapsOf(c))
	}
}

// moved copies the core as if its executable had never been where it was; both paths have the same length.
func moved(t testing.TB, s *specimen) string {
	t.Helper()
	data, err := os.ReadFile(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join("/nowhere/", strings.Repeat("x", len(s.Exe)-len("/nowhere/")-1-len(filepath.Base(s.Exe))), filepath.Base(s.Exe))
	if len(gone) != len(s.Exe) {
		t.Fatalf("%q and %q", gone, s.Exe)
	}
	path := filepath.Join(t.TempDir(), "core")
	if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(s.Exe), []byte(gone)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMissingExecutable(t *testing.T) {
	for _, p := range damagePrograms {
		t.Run(p.name, func(t *testing.T) {
			s := newSpecimen(t, p.p)
			path := moved(t, s)
			c, err := readDamaged(t, path, format.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if c.Process.PID != s.PID || c.Process.Version != s.whole.Process.Version || c.Death == nil || c.Death.Signal == 0 {
				t.Errorf("process %+v, death %+v: the core itself tells them", c.Process, c.Death)
			}
			if gaps := gapsOf(c); !strings.Contains(gaps, "executable: ") || !strings.Contains(gaps, "--exe") || !strings.Contains(gaps, "goroutines") {
				t.Errorf("gaps:\n%s", gaps)
			}
			checkHonest(t, c, s.Text)

			// The same with the right one beside it, and named.
			copySparse(t, s.Exe, filepath.Join(filepath.Dir(path), filepath.Base(s.Exe)), size(t, s.Exe))
			for _, opt := range []format.Options{{}, {Executable: s.Exe}} {
				c, err := readDamaged(t, path, opt)
				if err != nil {
					t.Fatal(err)
				}
				if n := checkHonest(t, c, s.Text); n != s.whole.Goroutines().Len() {
					t.Errorf("%d of %d goroutines:\n%s", n, s.whole.Goroutines().Len(), gapsOf(c))
				}
			}
		})
	}
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A rebuilt executable in the place of the old one is the usual case.
func TestRebuiltExecutableInPlace(t *testing.T) {
	s := newSpecimen(t, router)
	path := moved(t, s)
	other := edited(t, "crash-nil-router", "X-Tenant", "X-Client")
	copySparse(t, other, filepath.Join(filepath.Dir(path), filepath.Base(s.Exe)), size(t, other))
	sysroot := t.TempDir()
	opened, _, err := elfcore.Open(path, elfcore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	writeFile(t, filepath.Join(sysroot, opened.ExecPath()), head(t, buildExe(t, ledger), int(size(t, buildExe(t, ledger)))))
	c, err := readDamaged(t, path, format.Options{Sysroot: sysroot})
	checkError(t, path, err)
	var mismatch *elfcore.MismatchError
	if !errors.As(err, &mismatch) || c.Goroutines().Len() > 0 {
		t.Errorf("error %v, %d goroutines", err, c.Goroutines().Len())
	}
}

// A runtime that nobody has seen yet is not read by the layout of another.
func TestUnknownVersion(t *testing.T) {
	for name, p := range map[string]fixtures.Program{
		"with DWARF": router, "stripped": {Scenario: "crash-nil-router", Flags: []string{"-ldflags=-s -w"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpecimen(t, p)
			old := s.whole.Process.Version
			future := "go1.99" + strings.Repeat("9", len(old)-len("go1.99"))
			replace := func(from, to string) string {
				data, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				return writeFile(t, filepath.Join(t.TempDir(), to), bytes.ReplaceAll(data, []byte(old), []byte(future)))
			}
			core := replace(s.Core, "core")
			c, err := readDamaged(t, core, format.Options{Executable: replace(s.Exe, "exe")})
			if err != nil {
				t.Fatal(err)
			}
			if c.Process.Version != future || c.Process.PID != s.PID || c.Death == nil || c.Death.Signal == 0 {
				t.Errorf("process %+v, death %+v", c.Process, c.Death)
			}
			if gaps := gapsOf(c); c.Goroutines().Len() > 0 || !strings.Contains(gaps, future) || !strings.Contains(gaps, "known versions are") {
				t.Errorf("%d goroutines, gaps:\n%s", c.Goroutines().Len(), gaps)
			}
		})
	}
}

// A core of a C program is told for what it is.
func TestCoreOfC(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "gcc", For: "a core of a C program"})
	}
	dir := t.TempDir()
	source := writeFile(t, filepath.Join(dir, "crash.c"), []byte("int main(void) { *(volatile int *)8 = 1; return 0; }\n"))
	exe := filepath.Join(dir, "crash")
	if out, err := exec.Command(gcc, "-o", exe, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("sh", "-c", "ulimit -c unlimited && ./crash")
	cmd.Dir = dir
	_ = cmd.Run() // it dies
	cores, err := filepath.Glob(filepath.Join(dir, "core*"))
	if err != nil || len(cores) == 0 {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "a core_pattern that writes files", For: "a core of a C program"})
	}
	for _, opt := range []format.Options{{}, {Executable: exe}} {
		c, err := readDamaged(t, cores[0], opt)
		checkError(t, cores[0], err)
		if !strings.Contains(err.Error(), "not a core of a Go program") || c.Goroutines().Len() > 0 {
			t.Errorf("error %v", err)
		}
	}
}

func TestNoCore(t *testing.T) {
	exe := buildExe(t, router)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"an executable":        {head(t, exe, int(size(t, exe))), "this is an executable"},
		"the ELF magic":        {append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 20)...), "cut off"},
		"an ELF header":        {append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x3e\x00"), make([]byte, 44)...), "no Go build information"},
		"a relocatable object": {append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x3e\x00"), make([]byte, 44)...), "not a core"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, filepath.Join(t.TempDir(), "core"), c.data)
			got, err := readDamaged(t, path, format.Options{})
			checkError(t, path, err)
			if !strings.Contains(err.Error(), c.want) || got.Kinds()&evidence.KindGoroutines != 0 {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
