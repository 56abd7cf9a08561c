// Command bench measures the diagnosis of execution traces, beside the peers that read them, on the same files in one run, and keeps
// its section of docs/performance.md. It is part of the repository and not of the product; `make bench` runs it from the root.
//
//	go run ./analyze/format/gotrace/internal/bench [-write] [-traces small,server] [-tools postmortem,xpreader] [-rounds 5]
//
// The traces are made once, by the programs in testdata, and kept in the user's cache folder; -make tells where. Every measurement is
// a process of its own, and the tools take turns. The kernel's own account of a process (wait4) gives CPU, wall time and peak memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// options are the flags.
type options struct {
	traces, tools string
	rounds        int
	write         bool
	make          bool
	doc           string
}

func main() {
	opt := options{}
	flag.StringVar(&opt.traces, "traces", "", "only these traces, separated by commas (see traces.go)")
	flag.StringVar(&opt.tools, "tools", "", "only these tools, separated by commas (see tools.go)")
	flag.IntVar(&opt.rounds, "rounds", 5, "rounds of the tools that take turns; slow ones drop out earlier")
	flag.BoolVar(&opt.write, "write", false, "write the section of the page")
	flag.BoolVar(&opt.make, "make", false, "make the traces that are missing, print where they are, and measure nothing")
	flag.StringVar(&opt.doc, "doc", "docs/performance.md", "the page that -write writes into")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, opt); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, opt options) error {
	traces, err := measure.Pick(allTraces, opt.traces, func(s traceSpec) string { return s.name })
	if err != nil {
		return fmt.Errorf("-traces: %w", err)
	}
	tools, err := measure.Pick(allTools, opt.tools, func(t tool) string { return t.name })
	if err != nil {
		return fmt.Errorf("-tools: %w", err)
	}
	if opt.make {
		return makeTraces(ctx, traces)
	}
	if opt.write && (opt.traces != "" || opt.tools != "") {
		return errors.New("-write wants the whole section: leave out -traces and -tools")
	}
	built, err := buildAll(ctx, tools)
	if err != nil {
		return err
	}
	results, err := measureAll(ctx, traces, built, opt.rounds)
	if err != nil {
		return err
	}
	fmt.Print(goalTable(results), figures(results))
	for _, miss := range misses(results) {
		fmt.Println("MISSED:", miss)
	}
	if !opt.write {
		return nil
	}
	return measure.WriteSection(opt.doc, "traces", section(results))
}

// makeTraces prints the path of each trace.
func makeTraces(ctx context.Context, traces []traceSpec) error {
	for _, s := range traces {
		path, err := s.obtain(ctx)
		if err != nil {
			return err
		}
		fmt.Println(s.name, path)
	}
	return nil
}
