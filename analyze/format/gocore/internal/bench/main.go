// Command bench measures postmortem and its peers side by side, on the same cores in one run, and keeps the table of
// docs/performance.md. It is part of the repository and not of the product; `make bench` runs it from the root.
//
//	go run ./analyze/format/gocore/internal/bench [-write] [-cores 1k,100k] [-tools postmortem,delve] [-rounds 5] [-profile DIR]
//
// The cores are made once and kept in the cache of package fixtures. Every measurement is a process of its own, and the
// tools take turns, so that a busy moment of the machine does not fall on one of them. The kernel's own account of a process
// (wait4) gives CPU, wall time and peak memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

// options are the flags.
type options struct {
	cores, tools string
	rounds       int
	write        bool
	profile      string
	inspect      string
	doc          string
}

func main() {
	opt := options{}
	flag.StringVar(&opt.cores, "cores", "", "only these cores, separated by commas (see cores.go)")
	flag.StringVar(&opt.tools, "tools", "", "only these tools, separated by commas (see tools.go)")
	flag.IntVar(&opt.rounds, "rounds", 5, "rounds of the tools that take turns; slow ones drop out earlier")
	flag.BoolVar(&opt.write, "write", false, "write the page with the table")
	flag.StringVar(&opt.doc, "doc", "docs/performance.md", "the page that -write writes")
	flag.StringVar(&opt.profile, "profile", "", "write CPU and heap profiles of postmortem into this folder, and measure nothing else")
	flag.StringVar(&opt.inspect, inspectFlag, "", "internal: diagnose this core and print the peaks of the Go heap")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, opt); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) error {
	if opt.inspect != "" {
		return inspect(ctx, opt.inspect, opt.profile)
	}
	cores, err := pick(allCores, opt.cores, func(c coreSpec) string { return c.name })
	if err != nil {
		return fmt.Errorf("-cores: %w", err)
	}
	if opt.profile != "" {
		return profileAll(ctx, cores, opt.profile)
	}
	tools, err := pick(allTools, opt.tools, func(t tool) string { return t.name })
	if err != nil {
		return fmt.Errorf("-tools: %w", err)
	}
	built, err := buildAll(ctx, tools)
	if err != nil {
		return err
	}
	results, err := measureAll(ctx, cores, built, opt.rounds)
	if err != nil {
		return err
	}
	fmt.Print(table(results))
	for _, miss := range misses(results) {
		fmt.Println("MISSED:", miss)
	}
	if !opt.write {
		return nil
	}
	if opt.cores != "" || opt.tools != "" {
		return errors.New("-write wants the whole table: leave out -cores and -tools")
	}
	return os.WriteFile(opt.doc, []byte(page(results)), 0o644)
}

// pick returns the elements that a flag names, all when it is empty.
func pick[T any](all []T, names string, nameOf func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var picked []T
	for _, name := range strings.Split(names, ",") {
		n := len(picked)
		for _, one := range all {
			if nameOf(one) == name {
				picked = append(picked, one)
			}
		}
		if len(picked) == n {
			return nil, fmt.Errorf("there is no %q", name)
		}
	}
	return picked, nil
}
