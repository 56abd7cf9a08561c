// Command bench measures postmortem and its peers side by side, on the same cores in one run, and what it takes to prove which
// goroutines can never wake, and keeps its section of docs/performance.md. It is part of the repository and not of the product;
// `make bench` runs it from the root.
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
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// options are the flags.
type options struct {
	cores, tools string
	rounds       int
	write        bool
	profile      string
	inspect      string
	phases       string
	jobs         int
	doc          string
}

func main() {
	opt := options{}
	flag.StringVar(&opt.cores, "cores", "", "only these cores, separated by commas (see cores.go)")
	flag.StringVar(&opt.tools, "tools", "", "only these tools, separated by commas (see tools.go)")
	flag.IntVar(&opt.rounds, "rounds", 5, "rounds of the tools that take turns; slow ones drop out earlier")
	flag.BoolVar(&opt.write, "write", false, "write the section of the page")
	flag.StringVar(&opt.doc, "doc", "docs/performance.md", "the page that -write writes into")
	flag.StringVar(&opt.profile, "profile", "", "write CPU and heap profiles of postmortem into this folder, and measure nothing else")
	flag.StringVar(&opt.inspect, inspectFlag, "", "internal: diagnose this core and print the peaks of the Go heap")
	flag.StringVar(&opt.phases, phasesFlag, "", "internal: diagnose this core and print what its parts took")
	flag.IntVar(&opt.jobs, "jobs", 0, "internal: threads for -"+phasesFlag)
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
	if opt.phases != "" {
		return tellPhases(ctx, opt.phases, opt.jobs)
	}
	cores, proofs, err := pickCores(opt.cores)
	if err != nil {
		return fmt.Errorf("-cores: %w", err)
	}
	if opt.profile != "" {
		return profileAll(ctx, both(cores, proofs), opt.profile)
	}
	tools, err := measure.Pick(allTools, opt.tools, func(t tool) string { return t.name })
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
	proved, err := measureProofs(ctx, proofs, built, opt.rounds)
	if err != nil {
		return err
	}
	fmt.Print(table(results), proofTables(proved))
	for _, miss := range append(misses(results), proofMisses(proved)...) {
		fmt.Println("MISSED:", miss)
	}
	if !opt.write {
		return nil
	}
	if opt.cores != "" || opt.tools != "" {
		return errors.New("-write wants the whole section: leave out -cores and -tools")
	}
	return measure.WriteSection(opt.doc, "cores", section(results, proved))
}

// pickCores returns the cores of the two tables that a flag names: a core may be in both.
func pickCores(names string) (compared, proofs []coreSpec, err error) {
	if names == "" {
		return allCores, proofCores, nil
	}
	for _, name := range strings.Split(names, ",") {
		is := func(c coreSpec) bool { return c.name == name }
		i, k := slices.IndexFunc(allCores, is), slices.IndexFunc(proofCores, is)
		if i < 0 && k < 0 {
			return nil, nil, fmt.Errorf("there is no %q", name)
		}
		if i >= 0 {
			compared = append(compared, allCores[i])
		}
		if k >= 0 {
			proofs = append(proofs, proofCores[k])
		}
	}
	return compared, proofs, nil
}

// both joins two lists without naming a core twice.
func both(a, b []coreSpec) []coreSpec {
	all := slices.Clone(a)
	for _, c := range b {
		if !slices.ContainsFunc(all, func(o coreSpec) bool { return o.name == c.name }) {
			all = append(all, c)
		}
	}
	return all
}
