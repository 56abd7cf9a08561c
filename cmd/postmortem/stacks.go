package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

// defaultStacks is how many groups are shown without --all: what a person reads.
const defaultStacks = 30

// listing is one run of the command stacks.
type listing struct {
	read readFlags
	out  outputFlags
	ref  string
	all  bool
	vars bool
}

func (a *app) stacksCommand() *cobra.Command {
	run := &listing{}
	cmd := &cobra.Command{
		Use:   "stacks FILE...",
		Short: "List the distinct stacks with counts and states",
		Long: `List the goroutines of a core or dump by stack, state and wait reason: the largest group first.

With --ref, show one row instead: what it is, and its stack. Reports cite rows this way: goroutine:42, thread:17, sync:0xc000012345,
stack:7, p:0, panic:0, heap, scheduler, death, process; of traces also site:3, release:0, spawn:1, pair:0, episode:2, activity:0, timeline. No rules
are run.`,
		Example: `  postmortem stacks core.1234
  postmortem stacks core.1234 --all
  postmortem stacks core.1234 --ref goroutine:42
  postmortem stacks core.1234 --locals
  postmortem stacks crash.log -f json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.stacks(cmd, run, args) },
	}
	set := cmd.Flags()
	set.StringVarP(&run.out.format, "format", "f", "text", "format of what goes to stdout: text or json")
	set.StringVar(&run.ref, "ref", "", "show this row only, such as goroutine:42")
	set.BoolVar(&run.all, "all", false, fmt.Sprintf("list every group, and not only the %d largest", defaultStacks))
	set.BoolVar(&run.vars, "locals", false, "show arguments and local variables of one goroutine of each stack, where there is debug information")
	run.out.addLooks(set)
	run.read.add(set)
	return cmd
}

func (a *app) stacks(cmd *cobra.Command, run *listing, files []string) error {
	if run.out.format != "text" && run.out.format != "json" {
		return fmt.Errorf("format %q: stacks are written as text or json", run.out.format)
	}
	looks, err := run.out.looks(a)
	if err != nil {
		return err
	}
	var refs []evidence.Ref
	if run.ref != "" {
		ref, err := evidence.ParseRef(run.ref)
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	run.read.variables, run.read.reach = format.VariablesNone, format.ReachNone
	if len(refs) > 0 {
		run.read.reach = format.ReachCase // a report may cite any row of a whole diagnosis
	}
	if run.vars {
		run.read.variables = format.VariablesOfGroups
	}
	c, err := a.open(cmd.Context(), &run.read, files, nil)
	if err != nil {
		return err
	}
	doc, err := stacksDocument(c, refs, run.all)
	if err != nil {
		return err
	}
	if run.out.format == "json" {
		return jsonreport.Write(a.stdout, doc, jsonreport.Options{})
	}
	return writeStacks(a.stdout, doc, looks)
}

// stacksDocument is a report with the stacks alone: of all goroutines, or of the row that was asked for.
func stacksDocument(c *evidence.Case, refs []evidence.Ref, all bool) (*report.Document, error) {
	if len(refs) > 0 {
		doc, err := report.Show(c, refs...)
		if err != nil {
			return nil, inputError(fmt.Errorf("%w; `postmortem stacks` lists what is there", err))
		}
		return doc, nil
	}
	meta := report.Meta{Tool: "postmortem", Version: version, Groups: defaultStacks}
	if all {
		meta.Groups = -1
	}
	full := report.Build(&diagnosis.Result{Case: c}, meta)
	return &report.Document{Schema: full.Schema, Tool: full.Tool, Inputs: full.Inputs, Coverage: full.Coverage, Gaps: full.Gaps,
		Process: full.Process, Stacks: full.Stacks, Omitted: full.Omitted}, nil
}

func writeStacks(w io.Writer, doc *report.Document, looks text.Options) error {
	for _, row := range doc.Rows {
		if _, err := fmt.Fprintf(w, "%s: %s\n", row.Ref, report.Visible(row.Text)); err != nil {
			return err
		}
	}
	if len(doc.Rows) > 0 && len(doc.Stacks) == 0 {
		return nil // a lock or the heap has no stack
	}
	if len(doc.Stacks) == 0 {
		return inputError(errors.New("no goroutine could be read; the gaps in `postmortem analyze` say why"))
	}
	return text.WriteStacks(w, doc, looks)
}
