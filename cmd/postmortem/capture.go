package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/capture"
	"github.com/gopostmortem/postmortem/analyze/report"
)

func (a *app) captureCommand() *cobra.Command {
	var path, progress string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "capture PID",
		Short: "Write a core of a live process without killing it (Linux)",
		Long: `Stop a process, write its memory and registers as a core file, let it run on, and say how to read the core.

The process stands still while its memory is written. It is neither killed nor changed,
also when the capture fails or is interrupted. You must be the user who runs the process, or root.

The core holds the whole memory of the process, secrets included: keep it where only you can read it.`,
		Example: `  postmortem capture 1234
  postmortem capture 1234 -o /var/tmp/core.server --timeout 2m
  sudo postmortem capture $(pidof server) && postmortem core.1234`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pid, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("%q is not a process id: pgrep -l NAME finds it", args[0])
			}
			if path == "" {
				path = "core." + strconv.Itoa(pid)
			}
			return a.capture(cmd.Context(), pid, path, timeout, progress)
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "`PATH` of the core (default core.PID)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "give up after this time and let the process run on")
	cmd.Flags().StringVar(&progress, "progress", "auto", "how to show progress: auto, plain or none")
	return cmd
}

func (a *app) capture(ctx context.Context, pid int, path string, timeout time.Duration, mode string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := a.newProgress(mode)
	c, err := capture.Process(ctx, pid, path, func(done, total int64) { p.report("writing memory", done, total) })
	p.stop()
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(c.Path)
	if err != nil {
		abs = c.Path
	}
	_, err = fmt.Fprintf(a.stdout, "wrote %s: %s of memory, %s; process %d stood still for %v and runs on\nread it with: postmortem %s\n",
		abs, report.Size(uint64(c.Size)), report.Plural(c.Threads, "thread"), pid, c.Stopped.Round(time.Millisecond), report.ShellQuote(abs))
	return err
}
