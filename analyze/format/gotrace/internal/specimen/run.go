package specimen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/fixtures"
)

// sources are the programs that are traced: old for Go 1.11 and later, all for Go 1.22 and later.
//
//go:embed testdata/old/*.go testdata/all/*.go
var sources embed.FS

// The toolchains whose traces are compared: the last of each minor version that is fetched by GOTOOLCHAIN. Of the old ones one for each
// change of the format, and those at its ends.
var (
	New = []string{"go1.22.12", "go1.23.12", "go1.24.13", "go1.25.14", "go1.26.11"}
	Old = []string{"go1.11.13", "go1.17.13", "go1.18.10", "go1.20.14", "go1.21.13"}
)

// Modes are those of the program "all" that stop their traces; "killed" does not. The flight recorder is there from Go 1.25 on. Alloc is mix with the events of every allocation
// (GODEBUG=traceallocfree=1), which are there from Go 1.23 on.
var Modes = []string{"mix", "long", "flood", "hot", "flight", "alloc"}

// HasMode reports whether a toolchain can run a mode of the program "all".
func HasMode(toolchain, mode string) bool {
	switch mode {
	case "flight":
		return slices.Contains(New[3:], toolchain)
	case "alloc":
		return slices.Contains(New[1:], toolchain)
	}
	return true
}

// runLimit bounds a build and a run; the first build of a toolchain compiles its standard library, and fetches it before.
const runLimit = 5 * time.Minute

// All gives the trace of the program "all" in one of its modes.
func All(t testing.TB, toolchain, mode string) string {
	t.Helper()
	if mode == "alloc" {
		return obtain(t, toolchain, "all", []string{"mix", output}, "GODEBUG=traceallocfree=1")
	}
	return obtain(t, toolchain, "all", []string{mode, output})
}

// Legacy gives the trace of the program "old", whose loops are repeated scale times as often.
func Legacy(t testing.TB, toolchain string, scale int) string {
	t.Helper()
	return obtain(t, toolchain, "old", []string{output, fmt.Sprint(scale)})
}

// output stands for the path of the trace among the arguments of a program.
const output = "OUTPUT"

// obtain gives the trace of a run, from the cache of fixtures where it was made before. A toolchain that cannot be had skips the test, and
// fails it under CI=true.
func obtain(t testing.TB, toolchain, program string, args []string, env ...string) string {
	t.Helper()
	root, err := fixtures.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	files := read(t, program)
	key := sha256.New()
	fmt.Fprintln(key, toolchain, program, args, env)
	for _, f := range files {
		fmt.Fprintln(key, f.name, len(f.text))
		key.Write(f.text)
	}
	path := filepath.Join(root, "trace-specimen-"+hex.EncodeToString(key.Sum(nil)[:12]))
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return path
	}
	if testing.Short() {
		t.Skipf("-short: no trace of %s by %s is at hand", program, toolchain)
	}
	if err := trace(t.TempDir(), path, toolchain, files, args, env); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no trace by %s: %v", toolchain, err)
		}
		t.Skipf("no trace by %s can be made here: %v", toolchain, err)
	}
	return path
}

type source struct {
	name string
	text []byte
}

func read(t testing.TB, program string) []source {
	t.Helper()
	var files []source
	names, err := fs.Glob(sources, "testdata/"+program+"/*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("no program %s: %v", program, err)
	}
	for _, name := range names {
		text, err := sources.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, source{filepath.Base(name), text})
	}
	return files
}

// trace builds a program in dir, runs it, and puts its trace at path.
func trace(dir, path, toolchain string, files []source, args, env []string) error {
	language := "1.22"
	if slices.Contains(Old, toolchain) {
		language = "1.11"
	}
	files = append(files, source{"go.mod", []byte("module specimen\n\ngo " + language + "\n")})
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.text, 0o600); err != nil {
			return err
		}
	}
	if err := run(dir, toolchain, nil, "go", "build", "-o", "program", "."); err != nil {
		return err
	}
	temp := filepath.Join(dir, "trace")
	words := slices.Clone(args)
	words[slices.Index(words, output)] = temp
	if err := run(dir, toolchain, env, filepath.Join(dir, "program"), words...); err != nil {
		return err
	}
	data, err := os.ReadFile(temp)
	if err != nil {
		return err
	}
	staged := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(staged, data, 0o600); err != nil {
		return err
	}
	return os.Rename(staged, path)
}

func run(dir, toolchain string, env []string, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOFLAGS=", "GOENV=off", "GOWORK=off", "GO111MODULE=on", "GODEBUG=")
	cmd.Env = append(cmd.Env, env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
