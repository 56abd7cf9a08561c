package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

const toolBudget = 30 * time.Second // a tool that has run for longer drops out of the rounds on this core

// result is a tool's medians on one core.
type result struct {
	core      coreSpec
	tool      tool
	runs      int
	skipped   string // why it was not run
	use       measure.Usage
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
	size, err := measure.Warm(core.Core)
	if err != nil {
		return nil, err
	}
	runs := make([][]measure.Usage, len(tools))
	for round := range rounds {
		for i, t := range tools {
			if t.skip[c.name] != "" || measure.Spent(runs[i]) > toolBudget {
				continue
			}
			use, err := t.measure(ctx, t.argv(t.exe, t.work, core), c.goroutines)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "  round %d, %s: %.3f s CPU, %.3f s\n", round+1, t.name, use.CPU.Seconds(), use.Wall.Seconds())
			runs[i] = append(runs[i], use)
		}
	}
	var results []result
	for i, t := range tools {
		r := result{core: c, tool: t.tool, runs: len(runs[i]), skipped: t.skip[c.name], use: measure.Median(runs[i]), coreBytes: size}
		if t.name == ours {
			if r.heap, err = measureHeap(ctx, core.Core); err != nil {
				return nil, err
			}
		}
		results = append(results, r)
	}
	return results, nil
}

// measure runs the tool once and makes sure that it did its work.
func (t builtTool) measure(ctx context.Context, argv []string, goroutines int) (measure.Usage, error) {
	use, err := measure.Run(ctx, argv)
	if err != nil {
		return use, err
	}
	if use.Lines == 0 || t.lines && use.Lines < goroutines {
		return use, fmt.Errorf("%s printed %d lines for %d goroutines: it did not do what is measured", t.name, use.Lines, goroutines)
	}
	return use, nil
}

var errNoPeaks = errors.New("the run that looks at its own heap printed no figures")

// measureHeap has this command diagnose the core in another process, which looks at its own heap.
func measureHeap(ctx context.Context, core string) (peaks, error) {
	self, err := os.Executable()
	if err != nil {
		return peaks{}, err
	}
	use, err := measure.Run(ctx, []string{self, "-" + inspectFlag, core})
	if err != nil {
		return peaks{}, err
	}
	var p peaks
	if _, err := fmt.Sscan(string(use.Output), &p.live, &p.inUse); err != nil {
		return peaks{}, errors.Join(errNoPeaks, err)
	}
	return p, nil
}
