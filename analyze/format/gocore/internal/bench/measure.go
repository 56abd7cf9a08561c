package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

// Numbers of the measurement.
const (
	toolBudget = 30 * time.Second     // a tool that has run for longer drops out of the rounds on this core
	pollEvery  = 5 * time.Millisecond // between two looks at a process's private memory
	tailSize   = 4 << 10              // bytes of output that are kept for an error message
)

// usage is what one run took.
type usage struct {
	cpu, wall    time.Duration // cpu is user and system time
	rss, private uint64        // peaks, in bytes
	lines        int           // of output
	output       []byte        // the end of stdout
}

// result is a tool's medians on one core.
type result struct {
	core      coreSpec
	tool      tool
	runs      int
	skipped   string // why it was not run
	use       usage
	heap      peaks // of postmortem only
	coreBytes int64
}

// measureAll runs every tool on every core.
func measureAll(ctx context.Context, cores []coreSpec, tools []builtTool, rounds int) ([]result, error) {
	var all []result
	for _, c := range cores {
		got, err := measureCore(ctx, c, tools, rounds)
		if err != nil {
			return nil, fmt.Errorf("core %s: %w", c.name, err)
		}
		all = append(all, got...)
	}
	return all, nil
}

// measureCore lets the tools take turns on one core.
func measureCore(ctx context.Context, c coreSpec, tools []builtTool, rounds int) ([]result, error) {
	fmt.Fprintf(os.Stderr, "core %s: %s\n", c.name, c.what)
	core, err := c.obtain(ctx)
	if err != nil {
		return nil, err
	}
	size, err := warm(core.Core)
	if err != nil {
		return nil, err
	}
	runs := make([][]usage, len(tools))
	for round := range rounds {
		for i, t := range tools {
			if t.skip[c.name] != "" || spent(runs[i]) > toolBudget {
				continue
			}
			use, err := t.measure(ctx, t.argv(t.exe, t.work, core), c.goroutines)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "  round %d, %s: %.3f s CPU, %.3f s\n", round+1, t.name, use.cpu.Seconds(), use.wall.Seconds())
			runs[i] = append(runs[i], use)
		}
	}
	var results []result
	for i, t := range tools {
		r := result{core: c, tool: t.tool, runs: len(runs[i]), skipped: t.skip[c.name], use: median(runs[i]), coreBytes: size}
		if t.name == ours {
			if r.heap, err = measureHeap(ctx, core.Core); err != nil {
				return nil, err
			}
		}
		results = append(results, r)
	}
	return results, nil
}

// warm reads the core once, so that no tool pays for the disk. It returns the size.
func warm(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(io.Discard, f)
}

func spent(runs []usage) time.Duration {
	var sum time.Duration
	for _, r := range runs {
		sum += r.wall
	}
	return sum
}

// median takes each column's median by itself.
func median(runs []usage) usage {
	if len(runs) == 0 {
		return usage{}
	}
	return usage{
		cpu:     middle(runs, func(u usage) time.Duration { return u.cpu }),
		wall:    middle(runs, func(u usage) time.Duration { return u.wall }),
		rss:     middle(runs, func(u usage) uint64 { return u.rss }),
		private: middle(runs, func(u usage) uint64 { return u.private }),
		lines:   runs[0].lines,
	}
}

// middle is the median; of an even number of values it is the larger of the middle two.
func middle[T time.Duration | uint64](runs []usage, of func(usage) T) T {
	values := make([]T, 0, len(runs))
	for _, r := range runs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measure runs the tool once and makes sure that it did its work.
func (t builtTool) measure(ctx context.Context, argv []string, goroutines int) (usage, error) {
	use, err := measure(ctx, argv)
	if err != nil {
		return use, err
	}
	if use.lines == 0 || t.lines && use.lines < goroutines {
		return use, fmt.Errorf("%s printed %d lines for %d goroutines: it did not do what is measured", t.name, use.lines, goroutines)
	}
	return use, nil
}

// measure runs a command and waits for it.
func measure(ctx context.Context, argv []string) (usage, error) {
	var out tailWriter
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	stop := make(chan struct{})
	private := watchPrivate(cmd.Process.Pid, stop)
	err := cmd.Wait()
	wall := time.Since(begin)
	close(stop)
	if err != nil {
		return usage{}, fmt.Errorf("%v: %w\n%s", argv, err, complaints.Bytes())
	}
	state := cmd.ProcessState
	return usage{cpu: state.UserTime() + state.SystemTime(), wall: wall, rss: maxRSS(state), private: <-private,
		lines: out.lines, output: out.tail}, nil
}

// watchPrivate samples the private memory of a process until stop is closed, and sends the peak.
func watchPrivate(pid int, stop <-chan struct{}) <-chan uint64 {
	result := make(chan uint64, 1)
	go func() {
		var top uint64
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				result <- top
				return
			case <-tick.C:
				top = max(top, anonymous(pid))
			}
		}
	}()
	return result
}

// tailWriter counts lines and keeps the end of what is written.
type tailWriter struct {
	lines int
	tail  []byte
}

func (w *tailWriter) Write(b []byte) (int, error) {
	w.lines += bytes.Count(b, []byte("\n"))
	w.tail = append(w.tail, b...)
	if over := len(w.tail) - tailSize; over > 0 {
		w.tail = append(w.tail[:0], w.tail[over:]...)
	}
	return len(b), nil
}

var errNoPeaks = errors.New("the run that looks at its own heap printed no figures")

// measureHeap has this command diagnose the core in another process, which looks at its own heap.
func measureHeap(ctx context.Context, core string) (peaks, error) {
	self, err := os.Executable()
	if err != nil {
		return peaks{}, err
	}
	use, err := measure(ctx, []string{self, "-" + inspectFlag, core})
	if err != nil {
		return peaks{}, err
	}
	var p peaks
	if _, err := fmt.Sscan(string(use.output), &p.live, &p.inUse); err != nil {
		return peaks{}, errors.Join(errNoPeaks, err)
	}
	return p, nil
}
