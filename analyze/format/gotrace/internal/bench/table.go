package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
)

// megabytes are millions of bytes, as the speeds count them.
func megabytes(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

// goalTable says of each goal whether it was reached.
func goalTable(results []result) string {
	by := index(results)
	var b strings.Builder
	b.WriteString("| trace | to reach | measured | |\n|---|---|---|---|\n")
	for i := range goals {
		g := &goals[i]
		got, ok, known := g.verdict(by)
		verdict := "reached"
		switch {
		case !known:
			got, verdict = "not measured", ""
		case !ok:
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", g.trace, g.text, got, verdict)
	}
	return b.String()
}

// figures are a table for each trace, and one of the memory.
func figures(results []result) string {
	by := index(results)
	var b strings.Builder
	last := ""
	for _, r := range results {
		if r.trace.name != last {
			last = r.trace.name
			fmt.Fprintf(&b, "\n#### %s: %s\n\n", r.trace.name, r.trace.what)
			if n := by[[2]string{last, xpReader}].events; n > 0 {
				fmt.Fprintf(&b, "%d events in %s, %.1f bytes an event as x/exp/trace counts them; we count %d (it adds one for each generation).\n\n", n, megabytes(uint64(r.traceBytes)),
					float64(r.traceBytes)/float64(n), by[[2]string{last, ours}].events)
			}
			b.WriteString("| tool | runs | CPU | wall | best wall | MB/s | peak RSS | private | CPU against ours | wall against ours |\n" +
				"|---|---|---|---|---|---|---|---|---|---|\n")
		}
		row(&b, r, by[[2]string{last, ours}])
	}
	b.WriteString(memoryTable(by))
	return b.String()
}

func row(b *strings.Builder, r, own result) {
	if r.runs == 0 {
		fmt.Fprintf(b, "| %s | not run: %s | | | | | | | | |\n", r.tool.what, r.skipped)
		return
	}
	fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %.1f | %s | %s | %s | %s |\n", r.tool.what, r.runs, measure.Seconds(r.median.CPU), measure.Seconds(r.median.Wall),
		measure.Seconds(r.best.Wall), perSecond(r.traceBytes, r.median), megabytes(r.median.RSS), megabytes(r.median.Private),
		against(r.median.CPU, own.median.CPU), against(r.median.Wall, own.median.Wall))
}

func against(a, own time.Duration) string {
	if x := ratio(a, own); x > 0 {
		return fmt.Sprintf("%.1fx", x)
	}
	return "-"
}

// memoryTable sets the memory against the length of the trace, for the traces of one program.
func memoryTable(by on) string {
	tools := []string{ours, oursSingle, xpReader, syncPprof}
	var rows []string
	for _, s := range allTraces {
		if s.program != "server" {
			continue
		}
		cells := []string{s.name}
		for _, tool := range tools {
			cells = append(cells, megabytes(by[[2]string{s.name, tool}].median.RSS))
		}
		if strings.Trim(strings.Join(cells[1:], ""), "-") != "" {
			rows = append(rows, "| "+strings.Join(cells, " | ")+" |\n")
		}
	}
	if len(rows) == 0 {
		return ""
	}
	head := []string{"trace"}
	for _, tool := range tools {
		head = append(head, whatOf(tool))
	}
	return "\n#### Memory against length (peak RSS)\n\n| " + strings.Join(head, " | ") + " |\n" + strings.Repeat("|---", len(head)) + "|\n" + strings.Join(rows, "")
}

// section is what stands in docs/performance.md about traces.
func section(results []result) string {
	return fmt.Sprintf(sectionHead, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()) + goalTable(results) +
		"\n### The figures of traces\n" + figures(results) + sectionTail
}

const sectionHead = `## Execution traces

The run that wrote this section had %d processors (%s, %s) of a virtual machine that other work shared, and %s; x/exp/trace is the
version in go.mod, and go tool trace that of the release. The tools took turns on the same files. Compare rows, not machines.

### What was to be reached with traces

`

const sectionTail = `
### How to read the figures of traces

- **The traces** are written by the two programs in analyze/format/gotrace/internal/bench/testdata, with Go 1.26. The server is a gateway
  that asks a back end for every request, under the load of 48 clients in another process. The streams are many HTTP/2 streams on few
  connections, and clusters of nodes that replicate a log: short goroutines that meet at channels, select, Mutex and Cond.
- **MB** is a million bytes. **MB/s** is the size of the trace by the median of the wall time. **CPU** is user and system time and **wall**
  the duration of the process, from wait4(2), medians of the runs; **best wall** is the shortest. The trace is in the page cache.
- **postmortem** does all that the command does: it reads and orders the trace, folds it, runs every rule and writes the report as JSON.
  One and two processors are GOMAXPROCS and --jobs.
- **The reader alone** calls ReadEvent to the end and counts. It diagnoses nothing. It counts a Sync event
  at each boundary of generations too, which is none of the file.
- **go tool trace** is built from the same release. Its viewer is killed as soon as it says that it listens.
- **Peak RSS** is what wait4(2) tells, **private** the most memory that the process had for itself (RssAnon, sampled every 5 ms).
- A tool that took longer than 30 s on a trace is not asked a second time. One for which the machine has not the memory is not run.
`
