package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gopostmortem/postmortem/analyze/capture"
	"github.com/gopostmortem/postmortem/fixtures/demo"
)

// demoEnv makes this program play a scenario instead of reading its command line.
const demoEnv = "POSTMORTEM_PLAY_SCENARIO"

// stageTimeout bounds the whole life of the child.
const stageTimeout = 2 * time.Minute

// playDemo plays a scenario when the environment asks for it; ok is false when it does not.
func playDemo(name string, in io.Reader, out io.Writer) (code int, ok bool) {
	if name == "" {
		return 0, false
	}
	if err := demo.Play(name, in, out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// stage plays a scenario in a child and returns what the child leaves in dir: a trace of one that is recorded, a core where the system can
// capture one, and else text.
func (a *app) stage(ctx context.Context, s demo.Scenario, dir string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	exe, err := copySelf(dir)
	if err != nil {
		return nil, fmt.Errorf("copying this program into %s: %w", dir, err)
	}
	child := func() *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Dir = dir
		// The whole environment of the child: nothing of the user's may end up in a core.
		cmd.Env = []string{demoEnv + "=" + s.Name, "GOTRACEBACK=system"}
		if root := a.getenv("SYSTEMROOT"); root != "" {
			cmd.Env = append(cmd.Env, "SYSTEMROOT="+root) // sockets of Windows want it
		}
		return cmd
	}
	fmt.Fprintf(a.stderr, "postmortem: starting a process: %s\n", s.Title)
	if s.Crashes {
		return a.stageCrash(ctx, child, dir)
	}
	return a.stageLive(ctx, child(), s, dir)
}

// copySelf puts this program beside the evidence, so that the core finds its executable when `go run` has removed its own.
func copySelf(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	name := "postmortem-demo"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	to := filepath.Join(dir, name)
	if os.Link(self, to) == nil {
		return to, nil
	}
	in, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer in.Close() //nolint:errcheck // read only
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return to, errors.Join(err, out.Close())
}

// stageCrash lets the child crash and captures it in the act; where that cannot be done, the text of its crash is the evidence.
func (a *app) stageCrash(ctx context.Context, child func() *exec.Cmd, dir string) ([]string, error) {
	core, text := filepath.Join(dir, "core"), filepath.Join(dir, "crash.txt")
	d, err := capture.Crash(ctx, child(), core, text)
	if err == nil {
		return []string{d.Core.Path, d.Text}, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	a.withoutCore(err)
	out, err := os.Create(text)
	if err != nil {
		return nil, err
	}
	cmd := child()
	cmd.Stderr = out
	err = cmd.Run()
	if closeErr := out.Close(); closeErr != nil {
		return nil, closeErr
	}
	var died *exec.ExitError
	if !errors.As(err, &died) {
		return nil, errors.Join(errors.New("the process did not crash"), err)
	}
	return []string{text}, nil
}

func (a *app) withoutCore(err error) {
	fmt.Fprintf(a.stderr, "postmortem: no core, the goroutine dump is diagnosed instead (%v)\n", err)
}

// stageLive waits until the child is ill, and captures it. It never waits for the child (Wait) before that: see capture.Process.
func (a *app) stageLive(ctx context.Context, cmd *exec.Cmd, s demo.Scenario, dir string) ([]string, error) {
	text := filepath.Join(dir, "goroutines.txt")
	stderr, err := os.Create(text)
	if err != nil {
		return nil, err
	}
	defer stderr.Close() //nolint:errcheck // the child writes to it, not we
	cmd.Stderr = stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // unblocks the reads below
	defer func() {
		stop()
		_ = cmd.Process.Kill() // it may be gone, which is what is wanted
		_ = cmd.Wait()
	}()
	lines := bufio.NewReader(out)
	if err := awaitReady(ctx, lines, text); err != nil {
		return nil, err
	}
	time.Sleep(s.Settle)
	if s.Records {
		path := filepath.Join(dir, "trace.out")
		fmt.Fprintln(a.stderr, "postmortem: recording it")
		if _, err := fmt.Fprintln(in, demo.Record+path); err != nil {
			return nil, err
		}
		return []string{path}, errors.Join(awaitReady(ctx, lines, text), os.Remove(text))
	}
	core := filepath.Join(dir, "core")
	c, err := capture.Process(ctx, cmd.Process.Pid, core, nil)
	if err == nil {
		return []string{c.Path}, os.Remove(text) // empty
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	a.withoutCore(err)
	if _, err := fmt.Fprintln(in, demo.Dump); err != nil {
		return nil, err
	}
	return []string{text}, awaitReady(ctx, lines, text)
}

// awaitReady reads the child's word. A child that says nothing has failed, and its stderr says why.
func awaitReady(ctx context.Context, lines *bufio.Reader, stderr string) error {
	line, err := lines.ReadString('\n')
	switch {
	case strings.TrimSpace(line) == demo.Ready:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	said, _ := os.ReadFile(stderr) // an explanation where there is one
	return errors.Join(fmt.Errorf("the process said %q instead of %s: %s", line, demo.Ready, said), err)
}
