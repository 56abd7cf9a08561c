package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
	"github.com/gopostmortem/postmortem/fixtures"
)

// Names of the tools, in -tools and in the rules of the goals.
const (
	ours         = "postmortem"
	withoutReach = "postmortem-without-reach"
	delveLibrary = "delve-library"
	dlvCommand   = "dlv"
	viewcore     = "viewcore"
)

// dlvVersion is that of the library in go.mod, so that both are of one age.
const dlvVersion = "v1.27.2"

// tool is a program to measure.
type tool struct {
	name, what string
	build      func(ctx context.Context, exe string) error
	argv       func(exe, work string, c *fixtures.Capture) []string
	lines      bool              // it prints a line for each goroutine, or did not do the work
	skip       map[string]string // core -> why it is not run there
}

// allTools are run in this order in each round.
var allTools = []tool{
	{name: ours, what: "postmortem: open to printed diagnosis", build: goBuild("./cmd/postmortem"),
		argv: func(exe, _ string, c *fixtures.Capture) []string { return []string{exe, c.Core} }},
	{name: withoutReach, what: "postmortem --reach none: not who could wake whom", build: goBuild("./cmd/postmortem"),
		argv: func(exe, _ string, c *fixtures.Capture) []string { return []string{exe, c.Core, "--reach", "none"} }},
	{name: delveLibrary, what: "delve's library: open, list, all stacks", build: goBuild("./analyze/format/gocore/internal/bench/delve"),
		argv: func(exe, _ string, c *fixtures.Capture) []string { return []string{exe, c.Exe, c.Core} },
		skip: map[string]string{"1m": "it would take about 14 GB and minutes; it grows linearly: ten times the row of 100,000"}},
	{name: dlvCommand, what: "dlv core, `goroutines -t`", build: installDlv, lines: true,
		argv: func(exe, work string, c *fixtures.Capture) []string {
			return []string{exe, "core", c.Exe, c.Core, "--allow-non-terminal-interactive=true", "--init", filepath.Join(work, dlvScript)}
		},
		skip: map[string]string{"1m": "about ten minutes and 14 GB", "deep": "nothing is asked of it there"}},
	{name: viewcore, what: "viewcore, `goroutines`", build: goBuild("golang.org/x/debug/cmd/viewcore"), lines: true,
		argv: func(exe, _ string, c *fixtures.Capture) []string {
			return []string{exe, c.Core, "--exe", c.Exe, "goroutines"}
		}},
}

// dlvScript holds the commands for dlv, in the work folder.
const dlvScript = "dlv-commands"

// goBuild builds a package of this module the way a release is built, without cgo.
func goBuild(pkg string) func(context.Context, string) error {
	return func(ctx context.Context, exe string) error {
		return goCommand(ctx, nil, "build", "-o", exe, pkg)
	}
}

// installDlv fetches and builds dlv, once.
func installDlv(ctx context.Context, exe string) error {
	script := filepath.Join(filepath.Dir(exe), dlvScript)
	if err := os.WriteFile(script, []byte("goroutines -t\nexit\n"), 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(exe); err == nil {
		return nil
	}
	return goCommand(ctx, []string{"GOBIN=" + filepath.Dir(exe)}, "install", "github.com/go-delve/delve/cmd/dlv@"+dlvVersion)
}

func goCommand(ctx context.Context, env []string, args ...string) error {
	dir, err := ownDir()
	if err != nil {
		return err
	}
	return measure.Go(ctx, filepath.Join(dir, "..", "..", "..", "..", ".."), env, args...) // the root of the module
}

// builtTool is a tool with its executable.
type builtTool struct {
	tool
	exe, work string
}

// buildAll builds the tools into the work folder.
func buildAll(ctx context.Context, tools []tool) ([]builtTool, error) {
	work, err := measure.WorkDir()
	if err != nil {
		return nil, err
	}
	var built []builtTool
	for _, t := range tools {
		exe := filepath.Join(work, t.name)
		if err := t.build(ctx, exe); err != nil {
			return nil, fmt.Errorf("building %s: %w", t.name, err)
		}
		built = append(built, builtTool{t, exe, work})
	}
	return built, nil
}
