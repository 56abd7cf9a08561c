package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/capture"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// The exit codes, the same for every command and format.
const (
	exitClean       = 0   // analysed; no finding at or above --fail-on
	exitFindings    = 1   // findings at or above --fail-on
	exitUsage       = 2   // usage or configuration
	exitInput       = 3   // the input could not be read, or is not supported
	exitPartial     = 4   // something was left unread, and --strict was given
	exitInterrupted = 130 // SIGINT, as shells count it: 128 + 2
)

// exitError carries an exit code. Err is nil when the code says all there is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// inputError marks an error as one of the input.
func inputError(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitInput, err}
}

// app is one run of the program: where it reads and writes.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// run executes the command line and returns the exit code. Only reports go to stdout; progress and errors go to stderr.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if code, ok := playDemo(os.Getenv(demoEnv), stdin, stdout); ok {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.exitCode(ctx, cmd, err)
}

// exitCode prints the error and says which code it means.
func (a *app) exitCode(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitClean
	}
	if ctx.Err() != nil {
		a.complain(errors.New("interrupted"))
		return exitInterrupted
	}
	var exit *exitError
	var read *format.Error
	var captured *capture.Error
	switch {
	case errors.As(err, &exit):
		if exit.err != nil {
			a.complain(exit.err)
		}
		return exit.code
	case errors.As(err, &read), errors.As(err, &captured):
		a.complain(err)
		return exitInput
	}
	a.complain(fmt.Errorf("%w\nTry: %s --help", err, cmd.CommandPath()))
	return exitUsage
}

func (a *app) complain(err error) {
	fmt.Fprintf(a.stderr, "postmortem: %v\n", err)
}
