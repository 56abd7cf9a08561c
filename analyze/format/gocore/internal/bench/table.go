package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// goal is a figure to reach.
type goal struct {
	core, text string
	met        func(byTool map[string]result) (got string, ok bool)
}

// goals are the figures that the command was built to.
var goals = []goal{
	{"100k", "with --reach none, at least 50 times less CPU than delve's library (aim: 100)", lessCPU(50, withoutReach, delveLibrary)},
	{"100k", "with everything, at least 50 times less CPU than delve's library", lessCPU(50, ours, delveLibrary)},
	{"1m", "under 2 s of CPU", func(by map[string]result) (string, bool) {
		cpu := by[ours].use.CPU
		return measure.Seconds(cpu), cpu > 0 && cpu < 2*time.Second
	}},
	{"1m", "under 64 MB of Go heap", func(by map[string]result) (string, bool) {
		heap := by[ours].heap.live
		return megabytes(heap), heap > 0 && heap < 64<<20
	}},
	{"deep", "with --reach none, at least 50 times less CPU than delve's library", lessCPU(50, withoutReach, delveLibrary)},
	{"deep", "with everything, at least 50 times less CPU than delve's library", lessCPU(50, ours, delveLibrary)},
	{"1k", "less wall time than viewcore", lessWall(viewcore)},
	{"1k", "less wall time than dlv", lessWall(dlvCommand)},
}

func lessCPU(times float64, own, peer string) func(map[string]result) (string, bool) {
	return func(by map[string]result) (string, bool) {
		r := ratio(by[peer].use.CPU, by[own].use.CPU)
		return fmt.Sprintf("%.0f times", r), r >= times
	}
}

func lessWall(peer string) func(map[string]result) (string, bool) {
	return func(by map[string]result) (string, bool) {
		a, b := by[ours].use.Wall, by[peer].use.Wall
		return measure.Seconds(a) + " against " + measure.Seconds(b), a > 0 && a < b
	}
}

// ratio is a/b, 0 when one of them was not measured.
func ratio(a, b time.Duration) float64 {
	if a == 0 || b == 0 {
		return 0
	}
	return a.Seconds() / b.Seconds()
}

// byTool are the results on one core.
func byTool(results []result, core string) map[string]result {
	by := map[string]result{}
	for _, r := range results {
		if r.core.name == core && r.runs > 0 {
			by[r.tool.name] = r
		}
	}
	return by
}

// misses are the goals of the measured cores that were not reached.
func misses(results []result) []string {
	var missed []string
	for _, g := range goals {
		if by := byTool(results, g.core); len(by) > 1 || len(by) == 1 && g.core == "1m" {
			if got, ok := g.met(by); !ok {
				missed = append(missed, fmt.Sprintf("%s: %s: %s", g.core, g.text, got))
			}
		}
	}
	return missed
}

func megabytes(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
}

// table is one Markdown table for each core.
func table(results []result) string {
	var b strings.Builder
	last := ""
	for _, r := range results {
		if r.core.name != last {
			last = r.core.name
			fmt.Fprintf(&b, "\n#### %s (core of %s)\n\n", r.core.what, megabytes(uint64(r.coreBytes)))
			b.WriteString("| tool | runs | CPU | wall | peak RSS | private | Go heap | CPU against ours |\n|---|---|---|---|---|---|---|---|\n")
		}
		row(&b, r, byTool(results, r.core.name)[ours])
	}
	return b.String()
}

func row(b *strings.Builder, r, own result) {
	if r.runs == 0 {
		fmt.Fprintf(b, "| %s | not run: %s | | | | | | |\n", r.tool.what, r.skipped)
		return
	}
	against := "-"
	if x := ratio(r.use.CPU, own.use.CPU); x > 0 {
		against = fmt.Sprintf("%.1fx", x)
	}
	heap := "-"
	if r.heap.live > 0 {
		heap = fmt.Sprintf("%s (spans %s)", megabytes(r.heap.live), megabytes(r.heap.inUse))
	}
	fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s | %s | %s |\n", r.tool.what, r.runs, measure.Seconds(r.use.CPU), measure.Seconds(r.use.Wall),
		megabytes(r.use.RSS), megabytes(r.use.Private), heap, against)
}

// section is what stands in docs/performance.md about cores.
func section(results []result, proved map[string]proofResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, sectionHead, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), dlvVersion)
	b.WriteString("| core | to reach | measured | |\n|---|---|---|---|\n")
	for _, g := range goals {
		by := byTool(results, g.core)
		if len(by) == 0 {
			continue
		}
		got, ok := g.met(by)
		verdict := "reached"
		if !ok {
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", g.core, g.text, got, verdict)
	}
	b.WriteString("\n### The figures of cores\n")
	b.WriteString(table(results))
	b.WriteString(proofTables(proved))
	b.WriteString(sectionTail)
	return b.String()
}

const sectionHead = `## Cores

The tool and its peers on the same cores, in one run, taking turns; each row is the median of its runs.

The run that wrote this section had %d processors (%s, %s) of a virtual machine that other work shared, and %s; delve is %s
and viewcore the version in go.mod. Shared processors make wall time unsteady, and CPU time a little. Compare rows, not machines.

### What was to be reached with cores

`

const sectionTail = `
### How to read the figures of cores

- **The cores** come from gcore (gdb), which stops a live process. The three of a service hold keep-alive HTTP connections and
  workers parked in every way that a service parks them: channels, select, Mutex, RWMutex, WaitGroup, Cond, sleep. The deep one
  walks through 12,288 call sites at random: no two of its 20,000 stacks are equal, which is the worst case for every cache.
  Their source is in analyze/format/gocore/internal/bench; the sizes are apparent sizes, holes included.
- **CPU** is user and system time of the process and **wall** its duration, from wait4(2). The core is in the page cache.
- **postmortem** does all that the command does: it opens the core, checks the executable, reads goroutines, threads, locks,
  scheduler and heap, runs every rule and prints the report. delve's library opens the core, lists the goroutines and reads all
  stacks. dlv and viewcore print one line or more for each goroutine; the benchmark checks that they did.
- **Peak RSS** counts the pages of mapped files: postmortem maps the core, so its RSS is about the part of the core that it
  looked at, which the kernel can drop at any time. **Private** is the memory that the process has for itself (RssAnon, sampled
  every 5 ms; short processes may end between two samples).
- **Go heap** is the peak of HeapAlloc, garbage that is not yet swept included, and in brackets of HeapInuse, sampled every 2 ms
  in a process of its own that does the same work.
- **The second table** is of single parts of postmortem: a process of its own tells the CPU that it has used, the garbage collector
  included, whenever it goes from one part to the next. The **proof** goes from the index of the heap to the verdicts, and the **mark**
  is the part of it that follows pointers. The heap and the chain are made by testdata/programs/reachscale. viewcore's ` + "`breakdown`" + ` marks
  the heap too; it is run once, and compared with the whole command.
- A tool that took longer than 30 s on a core is not asked a second time.
`
