package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// Bounds on the tools.
const (
	toolBudget = 30 * time.Second // a tool that has run for longer drops out of the rounds on this trace
	toolLimit  = 10 * time.Minute // of one run
)

// result is what one tool took on one trace.
type result struct {
	trace      traceSpec
	tool       tool
	traceBytes int64
	runs       int
	skipped    string // why it was not run
	median     measure.Usage
	best       measure.Usage
	rssMax     uint64 // of all runs
	events     uint64 // that it says it read; 0 of tools that say nothing
}

// measureAll runs every tool on every trace.
func measureAll(ctx context.Context, traces []traceSpec, tools []builtTool, rounds int) ([]result, error) {
	var all []result
	for _, s := range traces {
		got, err := measureTrace(ctx, s, tools, rounds)
		if err != nil {
			return nil, fmt.Errorf("trace %s: %w", s.name, err)
		}
		all = append(all, got...)
	}
	return all, nil
}

// measureTrace lets the tools take turns on one trace.
func measureTrace(ctx context.Context, s traceSpec, tools []builtTool, rounds int) ([]result, error) {
	path, err := s.obtain(ctx)
	if err != nil {
		return nil, err
	}
	size, err := measure.Warm(path)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "trace %s: %s\n", s.name, s.what)
	runs := make([][]run, len(tools))
	skipped := make([]string, len(tools))
	for round := range rounds {
		for i, t := range tools {
			if skipped[i] == "" {
				skipped[i] = t.unfit(s, measure.Available())
			}
			if skipped[i] != "" || spent(runs[i]) > toolBudget {
				continue
			}
			one, err := t.measure(ctx, path)
			if errors.Is(err, measure.ErrMemory) || errors.Is(err, errSlow) {
				fmt.Fprintf(os.Stderr, "  round %d, %s: %v\n", round+1, t.name, err)
				skipped[i] = fmt.Sprintf("it was killed when it had taken %s or %v", megabytes(t.memory), toolLimit)
				continue
			}
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "  round %d, %s: %.3f s CPU, %.3f s, %s\n", round+1, t.name, one.use.CPU.Seconds(), one.use.Wall.Seconds(), megabytes(one.use.RSS))
			runs[i] = append(runs[i], one)
		}
	}
	var results []result
	for i, t := range tools {
		r := sum(s, t.tool, size, runs[i])
		r.skipped = skipped[i]
		results = append(results, r)
	}
	return results, nil
}

// sum makes a result of runs.
func sum(s traceSpec, t tool, size int64, runs []run) result {
	uses := make([]measure.Usage, 0, len(runs))
	r := result{trace: s, tool: t, traceBytes: size, runs: len(runs)}
	for _, one := range runs {
		uses = append(uses, one.use)
		r.rssMax = max(r.rssMax, one.use.RSS)
		r.events = one.events
	}
	r.median, r.best = measure.Median(uses), measure.Best(uses)
	return r
}

// unfit says why a tool is not run on a trace, or "". What the machine has no memory for is not begun.
func (t tool) unfit(s traceSpec, available uint64) string {
	if why := t.skip[s.name]; why != "" {
		return why
	}
	if s.name != smallTrace && available > 0 && available < t.memory {
		return fmt.Sprintf("it may want %s, and %s were free", megabytes(t.memory), megabytes(available))
	}
	return ""
}

var errSlow = errors.New("it took too long")

// run is what one run of a tool took, and how many events it says that it read.
type run struct {
	use    measure.Usage
	events uint64
}

func spent(runs []run) time.Duration {
	var sum time.Duration
	for _, r := range runs {
		sum += r.use.Wall
	}
	return sum
}

// measure runs the tool once and makes sure that it did its work.
func (t builtTool) measure(ctx context.Context, trace string) (run, error) {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	var said bytes.Buffer
	c := measure.Command{Argv: t.argv(t.exe, trace), Env: t.env, Until: t.until, MaxPrivate: t.memory}
	if t.events != nil {
		c.Stdout = &said
	}
	use, err := c.Run(ctx)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return run{}, errSlow
	case err != nil:
		return run{}, err
	case t.until == "" && use.Bytes == 0:
		return run{}, fmt.Errorf("%s printed nothing: it did not do what is measured", t.name)
	case t.events == nil:
		return run{use: use}, nil
	}
	events, err := t.events(said.Bytes())
	if err != nil || events == 0 {
		return run{}, fmt.Errorf("%s does not say how many events it read: it did not do what is measured: %w", t.name, errors.Join(err, errNoEvents))
	}
	return run{use, events}, nil
}

var errNoEvents = errors.New("no events")

// printedEvents reads the number that is all that a tool printed.
func printedEvents(printed []byte) (uint64, error) {
	return strconv.ParseUint(strings.TrimSpace(string(printed)), 10, 64)
}

// reportedEvents reads the number in a report of ours.
func reportedEvents(printed []byte) (uint64, error) {
	var doc struct {
		Course struct{ Events uint64 }
	}
	err := json.Unmarshal(printed, &doc)
	return doc.Course.Events, err
}
