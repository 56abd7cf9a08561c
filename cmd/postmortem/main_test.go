package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if os.Getenv(demoEnv) != "" { // the demo starts a copy of this program, under another name
		os.Exit(run(nil, os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){
		"postmortem": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs every documented command. UPDATE_SCRIPTS=1 rewrites what they are compared with.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GOCACHE", os.Getenv("GOCACHE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Condition: func(name string) (bool, error) {
			if name == "capture" {
				return canCapture(t), nil
			}
			return false, errors.New("unknown condition " + name)
		},
	})
}

// exits runs a command and checks its exit code: exits 3 postmortem no-such-file.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// canCapture reports whether ptrace works here, by trying. CI must be able to.
func canCapture(t *testing.T) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	dir := t.TempDir()
	code, _, stderr := call("demo", "healthy", "--dir", dir+"/demo")
	ok := code == exitClean && !strings.Contains(stderr, "no core")
	if !ok && os.Getenv("CI") == "true" {
		t.Fatalf("processes cannot be captured here: %s", stderr)
	}
	return ok
}

// call runs a command line in this process.
func call(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}
