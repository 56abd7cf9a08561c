package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
	"github.com/gopostmortem/postmortem/fixtures"
)

// coreSpec is a core to measure with.
type coreSpec struct {
	name       string
	goroutines int
	what       string // for the table
	program    func() (fixtures.Program, error)
}

// allCores are the cores of the goals: see "Speed" in docs/performance.md.
var allCores = []coreSpec{
	{"1k", 1_000, "1,000 goroutines of a service", serviceProgram(1_000)},
	{"100k", 100_000, "100,000 goroutines of a service", serviceProgram(100_000)},
	{"1m", 1_000_000, "1,000,000 goroutines of a service", serviceProgram(1_000_000)},
	{"deep", deepGoroutines, "20,000 goroutines x 48 frames", deepProgram},
}

// serviceProgram is testdata/service with that many goroutines.
func serviceProgram(goroutines int) func() (fixtures.Program, error) {
	return func() (fixtures.Program, error) {
		dir, err := ownDir()
		return fixtures.Program{Dir: filepath.Join(dir, "testdata", "service"), Args: []string{strconv.Itoa(goroutines)}}, err
	}
}

// ownDir is the folder of this command's source.
func ownDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("the folder of the benchmark's source is unknown: build it without -trimpath")
	}
	return filepath.Dir(file), nil
}

// deepProgram writes the generated program into the cache folder.
func deepProgram() (fixtures.Program, error) {
	work, err := measure.WorkDir()
	if err != nil {
		return fixtures.Program{}, err
	}
	dir := filepath.Join(work, "deep")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fixtures.Program{}, fmt.Errorf("writing the deep program: %w", err)
	}
	files := map[string]string{filepath.Join(work, "go.mod"): "module example.com/services\n\ngo 1.21\n",
		filepath.Join(dir, "main.go"): deepSource()}
	for path, text := range files {
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fixtures.Program{}, fmt.Errorf("writing the deep program: %w", err)
		}
	}
	return fixtures.Program{Dir: dir}, nil
}

// obtain finds the core in the cache or makes it, which takes minutes for the largest.
func (c coreSpec) obtain(ctx context.Context) (*fixtures.Capture, error) {
	p, err := c.program()
	if err != nil {
		return nil, err
	}
	got, err := fixtures.Snapshot(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("core %s: %w", c.name, err)
	}
	return got, nil
}
