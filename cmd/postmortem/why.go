package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

// question is one run of the command why.
type question struct {
	read readFlags
	out  outputFlags
}

func (a *app) whyCommand() *cobra.Command {
	run := &question{}
	cmd := &cobra.Command{
		Use:   "why goroutine:N... FILE...",
		Short: "Say what keeps a blocked goroutine reachable, or that it can never wake",
		Long: `Say of a blocked goroutine why it is not taken for lost: print a path from a root of the process (a global variable, the stack of a
goroutine that can run, a finalizer, the runtime) to the object it waits for. Where there is no such path, it is proved that the goroutine can
never wake. Where the evidence does not decide (a dump, a core with holes), the answer says why.

Who wonders why a leak is not reported finds here what still refers to the channel.`,
		Example: `  postmortem why goroutine:42 core.1234
  postmortem why goroutine:42 goroutine:43 core.1234
  postmortem why goroutine:42 core.1234 -f json`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.why(cmd, run, args) },
	}
	set := cmd.Flags()
	set.StringVarP(&run.out.format, "format", "f", "text", "format of what goes to stdout: text or json")
	run.out.addLooks(set)
	run.read.add(set)
	return cmd
}

// asked takes the goroutines off the front of the arguments.
func asked(args []string) (goroutines []int64, files []string, err error) {
	for i, arg := range args {
		if i > 0 && !strings.HasPrefix(arg, "goroutine:") {
			return goroutines, args[i:], nil
		}
		ref, err := evidence.ParseRef(arg)
		if err != nil {
			return nil, nil, err
		}
		if ref.Kind != evidence.RefGoroutine {
			return nil, nil, fmt.Errorf("%s: want a goroutine, such as goroutine:42; `postmortem stacks` lists them", arg)
		}
		goroutines = append(goroutines, int64(ref.ID))
	}
	return nil, nil, errors.New("no file is named: want goroutine:N and then a file")
}

func (a *app) why(cmd *cobra.Command, run *question, args []string) error {
	if run.out.format != "text" && run.out.format != "json" {
		return fmt.Errorf("format %q: the answer is written as text or json", run.out.format)
	}
	looks, err := run.out.looks(a)
	if err != nil {
		return err
	}
	goroutines, files, err := asked(args)
	if err != nil {
		return err
	}
	run.read.variables, run.read.reach, run.read.why = format.VariablesNone, format.ReachProof, goroutines
	c, err := a.open(cmd.Context(), &run.read, files, nil)
	if err != nil {
		return err
	}
	doc, err := report.Why(c, report.Meta{Tool: "postmortem", Version: version}, goroutines...)
	if err != nil {
		return inputError(fmt.Errorf("%w; `postmortem stacks` lists what is there", err))
	}
	if run.out.format == "json" {
		return jsonreport.Write(a.stdout, doc, jsonreport.Options{})
	}
	return text.WriteWhy(a.stdout, doc, looks)
}
