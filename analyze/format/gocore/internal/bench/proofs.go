package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
	"github.com/gopostmortem/postmortem/fixtures"
)

// proofCores are the cores of the second table: what it takes to prove which goroutines can never wake.
var proofCores = []coreSpec{
	{"heap", 0, "a heap of 20 million objects", reachProgram("2000", "0", "8000")},
	{"leaked", 100_000, "100,000 goroutines, 50,000 of them leaked", reachProgram("100000", "0", "0")},
	{"chain", 20_000, "a chain of 20,000 goroutines", reachProgram("0", "20000", "0")},
	{"10k", 10_000, "10,000 goroutines of a service", serviceProgram(10_000)},
	{"100k", 100_000, "100,000 goroutines of a service", serviceProgram(100_000)},
	{"1m", 1_000_000, "1,000,000 goroutines of a service", serviceProgram(1_000_000)},
}

// reachProgram is the reader's test program reachscale: goroutines, links of a chain, thousands of records.
func reachProgram(args ...string) func() (fixtures.Program, error) {
	return func() (fixtures.Program, error) {
		dir, err := ownDir()
		return fixtures.Program{Dir: filepath.Join(dir, "..", "..", "testdata", "programs", "reachscale"), Args: args}, err
	}
}

// proofResult is what the proof took on one core.
type proofResult struct {
	core     coreSpec
	one, two phases        // with one thread, and with two
	use      measure.Usage // of a whole process with one thread
	ours     measure.Usage // postmortem itself, with one thread
	peer     measure.Usage // viewcore breakdown; runs once
}

// measureProofs measures the proof on the cores that are picked.
func measureProofs(ctx context.Context, cores []coreSpec, tools []builtTool, rounds int) (map[string]proofResult, error) {
	all := map[string]proofResult{}
	for _, c := range cores {
		r, err := measureProof(ctx, c, tools, rounds)
		if err != nil {
			return nil, fmt.Errorf("core %s: %w", c.name, err)
		}
		all[c.name] = r
	}
	return all, nil
}

func measureProof(ctx context.Context, c coreSpec, tools []builtTool, rounds int) (proofResult, error) {
	r := proofResult{core: c}
	fmt.Fprintf(os.Stderr, "proof on %s: %s\n", c.name, c.what)
	core, err := c.obtain(ctx)
	if err != nil {
		return r, err
	}
	if _, err := measure.Warm(core.Core); err != nil {
		return r, err
	}
	one, uses, err := measurePhases(ctx, core.Core, 1, rounds)
	if err != nil {
		return r, err
	}
	r.one, r.use = medianPhases(one), measure.Median(uses)
	fmt.Fprintf(os.Stderr, "  proof %.3f s, of it mark %.3f s, waits and rules %.3f s\n", r.one.Proof.Seconds(), r.one.Mark.Seconds(), r.one.Waits.Seconds())
	if c.name != "heap" {
		return r, nil
	}
	two, _, err := measurePhases(ctx, core.Core, 2, rounds)
	if err != nil {
		return r, err
	}
	r.two = medianPhases(two)
	for _, t := range tools {
		switch t.name {
		case ours:
			r.ours, err = measure.Run(ctx, []string{t.exe, "--jobs", "1", core.Core})
		case viewcore:
			r.peer, err = measure.Run(ctx, []string{t.exe, core.Core, "--exe", core.Exe, "breakdown"})
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// medianPhases takes each column's median by itself; of the time by the clock the best.
func medianPhases(all []phases) phases {
	if len(all) == 0 {
		return phases{}
	}
	p := all[0] // the counts are the same in all
	p.Proof = medianOf(all, func(p phases) time.Duration { return p.Proof })
	p.Mark = medianOf(all, func(p phases) time.Duration { return p.Mark })
	p.MarkWall = bestOf(all, func(p phases) time.Duration { return p.MarkWall }) // the clock runs for others too
	p.Waits = medianOf(all, func(p phases) time.Duration { return p.Waits })
	return p
}

func medianOf[S any, T cmp.Ordered](all []S, of func(S) T) T {
	values := make([]T, 0, len(all))
	for _, s := range all {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func bestOf[S any, T cmp.Ordered](all []S, of func(S) T) T {
	best := of(all[0])
	for _, s := range all[1:] {
		best = min(best, of(s))
	}
	return best
}

// proofGoal is a figure of the proof to reach.
type proofGoal struct {
	cores []string // that it needs
	text  string
	met   func(by map[string]proofResult) (got string, ok bool)
}

// proofGoals are the figures that the proof was built to.
var proofGoals = []proofGoal{
	{[]string{"heap"}, "mark at 0.5 GB/s or more on one thread", func(by map[string]proofResult) (string, bool) {
		r := perSecond(float64(by["heap"].one.Bytes), by["heap"].one.Mark) / 1e9
		return fmt.Sprintf("%.2f GB/s", r), r >= 0.5
	}},
	{[]string{"heap"}, "mark 10 million objects a second or more on one thread", func(by map[string]proofResult) (string, bool) {
		r := perSecond(float64(by["heap"].one.Objects), by["heap"].one.Mark) / 1e6
		return fmt.Sprintf("%.1f million", r), r >= 10
	}},
	{[]string{"heap"}, "mark 1.7 times as fast on two threads, by the clock in the best of the runs", func(by map[string]proofResult) (string, bool) {
		r := ratio(by["heap"].one.MarkWall, by["heap"].two.MarkWall)
		return fmt.Sprintf("%.2f times", r), r >= 1.7
	}},
	{[]string{"heap"}, "the whole command, on one thread, with a third of the CPU of viewcore's `breakdown` or less", func(by map[string]proofResult) (string, bool) {
		r := ratio(by["heap"].peer.CPU, by["heap"].ours.CPU)
		return fmt.Sprintf("%s against %s: %.1f times less", measure.Seconds(by["heap"].ours.CPU), measure.Seconds(by["heap"].peer.CPU), r), r >= 3
	}},
	{[]string{"heap"}, "less than 10 bytes of anonymous memory an object", func(by map[string]proofResult) (string, bool) {
		n := perOne(by["heap"].use.Private, by["heap"].one.Objects)
		return fmt.Sprintf("%.1f bytes", n), n > 0 && n < 10
	}},
	{[]string{"1m"}, "less than 400 bytes of anonymous memory a goroutine", func(by map[string]proofResult) (string, bool) {
		n := perOne(by["1m"].use.Private, uint64(by["1m"].one.Goroutines))
		return fmt.Sprintf("%.0f bytes", n), n > 0 && n < 400
	}},
	{[]string{"leaked"}, "100,000 goroutines, 50,000 of them leaked, proved in 0.5 s of CPU", proved("leaked", 50_000, 500*time.Millisecond)},
	{[]string{"chain"}, "a chain of 20,000 goroutines proved in 0.2 s of CPU", proved("chain", 0, 200*time.Millisecond)},
	{[]string{"100k"}, "locks, holders, wakers, the graph of who waits and all rules in 1 s of CPU", func(by map[string]proofResult) (string, bool) {
		d := by["100k"].one.Waits
		return measure.Seconds(d), d > 0 && d < time.Second
	}},
	{[]string{"10k", "1m"}, "linear: a goroutine of a million costs no more than twice what one of 10,000 costs", func(by map[string]proofResult) (string, bool) {
		few, many := perGoroutine(by["10k"]), perGoroutine(by["1m"])
		return fmt.Sprintf("%.2f µs against %.2f µs", many, few), many > 0 && many <= 2*few
	}},
}

// proved is the goal that a proof takes less than so long, and finds what it should.
func proved(core string, never int, most time.Duration) func(map[string]proofResult) (string, bool) {
	return func(by map[string]proofResult) (string, bool) {
		p := by[core].one
		return fmt.Sprintf("%s, %d never wake", measure.Seconds(p.Proof), p.Never), p.Proof > 0 && p.Proof < most && p.Never == never
	}
}

func perSecond(n float64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return n / d.Seconds()
}

func perOne(bytes, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(bytes) / float64(n)
}

// perGoroutine is the CPU of the proof, of locks, wakers and rules for one goroutine, in microseconds.
func perGoroutine(r proofResult) float64 {
	if r.one.Goroutines == 0 {
		return 0
	}
	return float64((r.one.Proof + r.one.Waits).Microseconds()) / float64(r.one.Goroutines)
}

// verdict of a goal; known is false when its cores were not measured.
func (g *proofGoal) verdict(by map[string]proofResult) (got string, ok, known bool) {
	for _, name := range g.cores {
		r, measured := by[name]
		if !measured || strings.Contains(g.text, viewcore) && (r.peer.CPU == 0 || r.ours.CPU == 0) {
			return "", false, false
		}
	}
	got, ok = g.met(by)
	return got, ok, true
}

// proofMisses are the goals of the measured cores that were not reached.
func proofMisses(by map[string]proofResult) []string {
	var missed []string
	for i := range proofGoals {
		g := &proofGoals[i]
		if got, ok, known := g.verdict(by); known && !ok {
			missed = append(missed, fmt.Sprintf("%s: %s: %s", strings.Join(g.cores, ", "), g.text, got))
		}
	}
	return missed
}

// proofTables are the goals of the proof, and what it took on each core.
func proofTables(by map[string]proofResult) string {
	if len(by) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n### Who waits for whom, and who can never wake\n\n| core | to reach | measured | |\n|---|---|---|---|\n")
	for i := range proofGoals {
		g := &proofGoals[i]
		got, ok, known := g.verdict(by)
		if !known {
			continue
		}
		verdict := "reached"
		if !ok {
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Join(g.cores, ", "), g.text, got, verdict)
	}
	b.WriteString("\nOn one thread:\n\n| core | goroutines | never wake | objects | marked | mark | proof | locks, holders, wakers, rules | private | µs a goroutine |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range proofCores {
		r, ok := by[c.name]
		if !ok {
			continue
		}
		p, each := &r.one, "-"
		if c.goroutines > 0 {
			each = fmt.Sprintf("%.2f", perGoroutine(r))
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %s | %s | %s | %s | %s | %s |\n", c.what, p.Goroutines, p.Never, p.Objects, megabytes(p.Bytes),
			measure.Seconds(p.Mark), measure.Seconds(p.Proof), measure.Seconds(p.Waits), megabytes(r.use.Private), each)
	}
	return b.String()
}
