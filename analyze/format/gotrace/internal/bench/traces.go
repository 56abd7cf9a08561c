package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// traceSpec is a trace to measure with.
type traceSpec struct {
	name    string
	what    string // for the table
	program string // its folder in testdata
	bytes   int64  // about how large; the runtime writes whole batches
}

// Names of the traces, in -traces and in the goals.
const (
	smallTrace   = "small"
	serverTrace  = "server"
	streamsTrace = "streams"
	longTrace    = "long"
)

// allTraces are the traces of the goals. Together they take 1.3 GB of disk; the long one takes five minutes to make.
var allTraces = []traceSpec{
	{smallTrace, "an HTTP server under load, 5 MB", "server", 5_000_000},
	{serverTrace, "an HTTP server under load, 105 MB", "server", 105_000_000},
	{streamsTrace, "HTTP/2 streams and clusters of nodes, 105 MB", "streams", 105_000_000},
	{longTrace, "the server ten times as long, 1,050 MB", "server", 1_050_000_000},
}

// ownDir is the folder of this command's source.
func ownDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("the folder of the benchmark's source is unknown: build it without -trimpath")
	}
	return filepath.Dir(file), nil
}

// obtain finds the trace in the work folder or makes it.
func (s traceSpec) obtain(ctx context.Context) (string, error) {
	path, err := s.place()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := s.dropOld(filepath.Dir(path)); err != nil {
		return "", err
	}
	if err := s.make(ctx, path); err != nil {
		return "", fmt.Errorf("making the trace %s: %w", s.name, err)
	}
	return path, nil
}

// place is where the trace is kept. The name tells the program, the size and the release of Go, so that none is taken for another.
func (s traceSpec) place() (string, error) {
	work, err := measure.WorkDir()
	if err != nil {
		return "", err
	}
	dir, err := s.source()
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(source, "%d %s", s.bytes, version.Lang(runtime.Version())))
	return filepath.Join(work, "traces", s.name+"-"+hex.EncodeToString(key[:6])+".trace"), nil
}

func (s traceSpec) source() (string, error) {
	dir, err := ownDir()
	return filepath.Join(dir, "testdata", s.program), err
}

// dropOld removes the traces of older programs: a long one is a gigabyte.
func (s traceSpec) dropOld(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, s.name+"-*"))
	for _, path := range old {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// make runs the program until its trace is large enough. A run that was stopped leaves nothing that is taken for a trace.
func (s traceSpec) make(ctx context.Context, path string) error {
	fmt.Fprintf(os.Stderr, "making the trace %s: %s\n", s.name, s.what)
	dir, err := s.source()
	if err != nil {
		return err
	}
	exe := filepath.Join(filepath.Dir(path), s.name+"-program")
	defer os.Remove(exe)
	if err := measure.Go(ctx, dir, nil, "build", "-o", exe, "."); err != nil {
		return err
	}
	part := path + ".part"
	defer os.Remove(part)
	if _, err := measure.Run(ctx, []string{exe, strconv.FormatInt(s.bytes, 10), part}); err != nil {
		return err
	}
	info, err := os.Stat(part)
	if err != nil {
		return err
	}
	if info.Size() < s.bytes {
		return fmt.Errorf("the program wrote %d bytes and not %d", info.Size(), s.bytes)
	}
	return os.Rename(part, path)
}
