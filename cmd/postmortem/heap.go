package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/heapprofile"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
	"github.com/gopostmortem/postmortem/analyze/report/markdown"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

// defaultHeapRows is how many rows of each list are shown without --all.
const defaultHeapRows = 12

// census is one run of the command heap.
type census struct {
	read  readFlags
	out   outputFlags
	top   int
	all   bool
	pprof string
}

// heapFormats are the forms in which a count of the heap is written.
var heapFormats = []string{"text", "markdown", "json"}

func (a *app) heapCommand() *cobra.Command {
	run := &census{}
	cmd := &cobra.Command{
		Use:   "heap FILE...",
		Short: "Say what holds the memory: types, allocation classes, and which goroutines keep it",
		Long: `Count the heap of a core object by object: what is reachable and what is garbage; which variables and stacks hold it, through which
types; by type, by allocation class; and what a group of goroutines (one stack, one go statement) keeps alive alone, so that it would be free
if they ended.

Types are read where the runtime keeps them and where typed pointers lead; without debug information fewer are known, and guesses are called
that. Memory outside of the Go heap is not counted. The core has to be complete for reachability; otherwise what is allocated is counted, and
the reason is said.

--pprof FILE writes a profile for go tool pprof: its leaves are types, above them stand the types through which they are held, and the variable
or the stack of goroutines at the root. The cumulative figures of a type are what is held through it. Where objects were allocated is not in a
core.`,
		Example: `  postmortem heap core.1234
  postmortem heap core.1234 --all
  postmortem heap core.1234 -f markdown > heap.md
  postmortem heap core.1234 -f json
  postmortem heap core.1234 --pprof heap.pb.gz && go tool pprof -top heap.pb.gz`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.heap(cmd, run, args) },
	}
	set := cmd.Flags()
	set.StringVarP(&run.out.format, "format", "f", "text", "format of what goes to stdout: "+strings.Join(heapFormats, ", "))
	set.IntVar(&run.top, "top", defaultHeapRows, "how many rows of each list to show")
	set.BoolVar(&run.all, "all", false, "show every row")
	set.StringVar(&run.pprof, "pprof", "", "write a profile for go tool pprof to `FILE`")
	run.out.addLooks(set)
	run.read.add(set)
	return cmd
}

func (a *app) heap(cmd *cobra.Command, run *census, files []string) error {
	if !slices.Contains(heapFormats, run.out.format) {
		return fmt.Errorf("format %q: the heap is written as one of %s", run.out.format, strings.Join(heapFormats, ", "))
	}
	if run.top < 1 {
		return fmt.Errorf("--top %d: want a number above zero; --all shows every row", run.top)
	}
	looks, err := run.out.looks(a)
	if err != nil {
		return err
	}
	rows := run.top
	if run.all {
		rows = -1
	}
	run.read.variables, run.read.reach = format.VariablesNone, format.ReachHeap
	c, err := a.open(cmd.Context(), &run.read, files, nil)
	if err != nil {
		return err
	}
	doc := report.Heap(c, report.Meta{Tool: "postmortem", Version: version, Commands: []string{commandLine(cmd, files)}}, rows)
	if doc == nil {
		return inputError(notCounted(c))
	}
	if run.pprof != "" {
		if err := writeProfile(run.pprof, c); err != nil {
			return fmt.Errorf("writing %s: %w", run.pprof, err)
		}
	}
	switch run.out.format {
	case "json":
		return jsonreport.Write(a.stdout, doc, jsonreport.Options{})
	case "markdown":
		return markdown.WriteHeap(a.stdout, doc, markdown.Options{})
	}
	return text.WriteHeap(a.stdout, doc, looks)
}

// notCounted says why there is no count.
func notCounted(c *evidence.Case) error {
	for _, g := range c.Gaps {
		if g.What == evidence.HeapUseGap {
			return fmt.Errorf("the heap could not be counted: %s", g.Why)
		}
	}
	return errors.New("the heap could not be counted: only a core has one, and a saved Case that was made from it by this command's reader")
}

func writeProfile(path string, c *evidence.Case) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // it tells of the inside of a process
	if err != nil {
		return err
	}
	return errors.Join(heapprofile.Write(f, c), f.Close())
}
