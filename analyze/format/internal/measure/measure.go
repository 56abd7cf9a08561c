// Package measure is what the benchmarks of the readers share: a process is run and the kernel's own account of it is taken, and
// figures are written into the section of a page that is theirs. It is part of the repository and not of the product.
package measure

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"
)

// Numbers of the measurement.
const (
	pollEvery = 5 * time.Millisecond // between two looks at a process's private memory
	tailSize  = 4 << 10              // bytes of output that are kept
)

// Usage is what one run took.
type Usage struct {
	CPU, Wall    time.Duration // CPU is user and system time
	RSS, Private uint64        // peaks, in bytes
	Lines        int           // of standard output
	Bytes        int64         // of standard output
	Output       []byte        // the end of it, at most 4 KiB
}

// Command is a process to measure.
type Command struct {
	Argv   []string
	Env    []string  // added to the own environment
	Stdout io.Writer // gets the standard output too; may be nil
	// Until is a text on standard error with which the process has done what is measured: the clock stops, and it is killed. A
	// process that ends by itself before it failed. Empty: the process is measured until its end.
	Until string
	// MaxPrivate is how many bytes of private memory the process may have before it is killed, so that a machine survives the
	// peers of a benchmark. 0 is no bound. Where private memory is not known (not Linux), nothing is bounded.
	MaxPrivate uint64
}

// ErrMemory is a process that was killed at its MaxPrivate.
var ErrMemory = errors.New("it took more memory than it may have")

// Run runs a command to its end.
func Run(ctx context.Context, argv []string) (Usage, error) {
	return Command{Argv: argv}.Run(ctx)
}

// Run runs the command and waits for it. The error tells what it wrote to standard error last.
func (c Command) Run(ctx context.Context) (Usage, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var out, complaints tailWriter
	var reached atomic.Int64 // nanoseconds to Until
	begin := time.Now()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.WaitDelay = time.Second // what it started may keep the pipes open
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if c.Stdout != nil {
		cmd.Stdout = io.MultiWriter(&out, c.Stdout)
	}
	if c.Until != "" {
		cmd.Stderr = &untilWriter{to: &complaints, text: []byte(c.Until), found: func() {
			reached.Store(int64(time.Since(begin)))
			cancel(nil)
		}}
	}
	if err := cmd.Start(); err != nil {
		return Usage{}, err
	}
	stop := make(chan struct{})
	private := watchPrivate(cmd.Process.Pid, stop, c.MaxPrivate, func() { cancel(ErrMemory) })
	err := cmd.Wait()
	wall := time.Since(begin)
	close(stop)
	state := cmd.ProcessState
	use := Usage{RSS: maxRSS(state), Private: <-private, Wall: wall, Lines: out.lines, Bytes: out.bytes, Output: out.tail}
	use.CPU = state.UserTime() + state.SystemTime()
	switch at := reached.Load(); {
	case at > 0:
		use.Wall = time.Duration(at)
	case errors.Is(context.Cause(ctx), ErrMemory):
		return use, fmt.Errorf("%v: %w: %d bytes", c.Argv, ErrMemory, c.MaxPrivate)
	case err != nil:
		return use, fmt.Errorf("%v: %w\n%s", c.Argv, err, complaints.tail)
	case c.Until != "":
		return use, fmt.Errorf("%v: ended without %q\n%s", c.Argv, c.Until, complaints.tail)
	}
	return use, nil
}

// watchPrivate samples the private memory of a process until stop is closed, and sends the peak. Above most it calls over.
func watchPrivate(pid int, stop <-chan struct{}, most uint64, over func()) <-chan uint64 {
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
				if most > 0 && top > most {
					over()
				}
			}
		}
	}()
	return result
}

// tailWriter counts lines and bytes, and keeps the end of what is written.
type tailWriter struct {
	lines int
	bytes int64
	tail  []byte
}

func (w *tailWriter) Write(b []byte) (int, error) {
	w.lines += bytes.Count(b, []byte("\n"))
	w.bytes += int64(len(b))
	w.tail = append(w.tail, b...)
	if over := len(w.tail) - tailSize; over > 0 {
		w.tail = append(w.tail[:0], w.tail[over:]...)
	}
	return len(b), nil
}

// untilWriter calls found when a text has passed, once.
type untilWriter struct {
	to    io.Writer
	text  []byte
	last  []byte // the end of what was written, shorter than text
	found func()
	done  bool
}

func (w *untilWriter) Write(b []byte) (int, error) {
	seen := append(w.last, b...)
	if !w.done && bytes.Contains(seen, w.text) {
		w.done = true
		w.found()
	}
	w.last = append([]byte(nil), seen[max(0, len(seen)-len(w.text)+1):]...)
	return w.to.Write(b)
}

// Median takes each column's median by itself. What was printed is that of the first run.
func Median(runs []Usage) Usage { return column(runs, middle[time.Duration], middle[uint64]) }

// Best takes each column's smallest value by itself.
func Best(runs []Usage) Usage { return column(runs, slices.Min[[]time.Duration], slices.Min[[]uint64]) }

func column(runs []Usage, span func([]time.Duration) time.Duration, size func([]uint64) uint64) Usage {
	if len(runs) == 0 {
		return Usage{}
	}
	use := runs[0]
	use.CPU = span(values(runs, func(u Usage) time.Duration { return u.CPU }))
	use.Wall = span(values(runs, func(u Usage) time.Duration { return u.Wall }))
	use.RSS = size(values(runs, func(u Usage) uint64 { return u.RSS }))
	use.Private = size(values(runs, func(u Usage) uint64 { return u.Private }))
	return use
}

func values[T any](runs []Usage, of func(Usage) T) []T {
	all := make([]T, 0, len(runs))
	for _, r := range runs {
		all = append(all, of(r))
	}
	return all
}

// middle is the median; of an even number of values it is the larger of the middle two.
func middle[T cmp.Ordered](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// Spent is the wall time of all runs.
func Spent(runs []Usage) time.Duration {
	var sum time.Duration
	for _, r := range runs {
		sum += r.Wall
	}
	return sum
}

// Warm reads a file once, so that nobody who is measured pays for the disk. It returns the size.
func Warm(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	return io.Copy(io.Discard, f)
}
