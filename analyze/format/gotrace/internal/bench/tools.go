package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// Names of the tools, in -tools and in the goals.
const (
	ours       = "postmortem"
	oursSingle = "postmortem-1"
	xpReader   = "xpreader"
	syncPprof  = "pprof-sync"
	viewer     = "viewer"
)

// tool is a program to measure.
type tool struct {
	name, what string
	pkg        string // what to build
	argv       func(exe, trace string) []string
	events     func(printed []byte) (uint64, error) // nil of tools that do not count them
	env        []string
	until      string            // see measure.Command
	memory     uint64            // bytes that must be free for it, and that it may have
	skip       map[string]string // trace -> why it is not run there
}

// Memory of the peers, as measured on traces of 105 MB, with room to spare.
const (
	syncMemory   = 14 << 30 // took 9.8 GB on the server's trace
	viewerMemory = 15 << 30 // took 9.2 GB on the streams, and more than this on the server
)

// Why tools are left out.
const (
	tooLong = "it would take ten times the memory of the 105 MB trace"
	tooMuch = "it wants more than 16 GB of memory"
)

// allTools are run in this order in each round.
var allTools = []tool{
	{name: ours, what: "postmortem, two processors", pkg: "./cmd/postmortem", env: []string{"GOMAXPROCS=2"}, argv: diagnosis("2"), events: reportedEvents},
	{name: oursSingle, what: "postmortem, one processor", pkg: "./cmd/postmortem", env: []string{"GOMAXPROCS=1"}, argv: diagnosis("1"), events: reportedEvents},
	{name: xpReader, what: "x/exp/trace, the reader alone", pkg: "./analyze/format/gotrace/internal/bench/xpreader",
		argv: func(exe, trace string) []string { return []string{exe, trace} }, events: printedEvents},
	{name: syncPprof, what: "`go tool trace -pprof=sync`", pkg: "cmd/trace", memory: syncMemory,
		argv: func(exe, trace string) []string { return []string{exe, "-pprof=sync", trace} },
		skip: map[string]string{longTrace: tooLong}},
	{name: viewer, what: "`go tool trace` until its viewer listens", pkg: "cmd/trace", memory: viewerMemory,
		argv:  func(exe, trace string) []string { return []string{exe, "-http=127.0.0.1:0", trace} },
		env:   []string{"BROWSER=true"}, // it would open one
		until: "Trace viewer is listening", skip: map[string]string{longTrace: tooLong, serverTrace: tooMuch}},
}

// diagnosis is all that the command does: every rule, and the report.
func diagnosis(jobs string) func(exe, trace string) []string {
	return func(exe, trace string) []string { return []string{exe, trace, "-f", "json", "--jobs", jobs} }
}

// builtTool is a tool with its executable.
type builtTool struct {
	tool
	exe string
}

// buildAll builds the tools into the work folder.
func buildAll(ctx context.Context, tools []tool) ([]builtTool, error) {
	work, err := measure.WorkDir()
	if err != nil {
		return nil, err
	}
	dir, err := ownDir()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(dir, "..", "..", "..", "..", "..")
	var built []builtTool
	for _, t := range tools {
		exe := filepath.Join(work, "trace-"+t.name)
		if err := measure.Go(ctx, root, nil, "build", "-trimpath", "-o", exe, t.pkg); err != nil {
			return nil, fmt.Errorf("building %s: %w", t.name, err)
		}
		built = append(built, builtTool{t, exe})
	}
	return built, nil
}
