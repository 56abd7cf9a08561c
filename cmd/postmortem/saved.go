package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
)

func (a *app) saveCommand() *cobra.Command {
	run := &analysis{failOn: "none"}
	cmd := &cobra.Command{
		Use:   "save FILE...",
		Short: "Write the evidence (.case) or the result (JSON) to keep or to attach to an issue",
		Long: `Read the files of one incident and write what was read, in a form that postmortem reads again.

The format case holds the evidence: stacks, states, locks, figures. It holds no memory, no values of the environment and no
strings of the heap, and is a thousandth of a core's size; panic values and function names are in it. The format json holds the
diagnosis, for postmortem render.`,
		Example: `  postmortem save core.1234 > incident.case
  postmortem save core.1234 -o case=incident.case -f json > incident.json
  postmortem analyze incident.case`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.analyze(cmd, run, args) },
	}
	set := cmd.Flags()
	run.out.add(set, "case")
	run.read.add(set)
	run.read.addReach(set)
	run.view.add(set)
	run.rules.add(set)
	return cmd
}

func (a *app) renderCommand() *cobra.Command {
	var out outputFlags
	cmd := &cobra.Command{
		Use:   "render FILE",
		Short: "Write a saved JSON result in another style",
		Long:  "Read a result that was saved as JSON and write it in another style, without the evidence. FILE may be - for stdin.",
		Example: `  postmortem render incident.json
  postmortem render incident.json -f markdown > incident.md
  postmortem analyze core.1234 -f json | postmortem render - -o markdown=incident.md`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.render(&out, args[0]) },
	}
	out.add(cmd.Flags(), "text")
	return cmd
}

func (a *app) render(flags *outputFlags, path string) error {
	outputs, err := flags.parse(a)
	if err != nil {
		return err
	}
	doc, err := a.readSaved(path)
	if err != nil {
		return inputError(fmt.Errorf("%s: %w", path, err))
	}
	return a.writeAll(outputs, made{doc: doc})
}

// maxSaved bounds a saved report; the largest that this program writes stay below 30 MB.
const maxSaved = 256 << 20

var errSavedSize = errors.New("more than 256 MiB: this is not a saved report")

func (a *app) readSaved(path string) (*report.Document, error) {
	in := io.LimitedReader{R: a.stdin, N: maxSaved}
	if path != "-" {
		f, err := os.Open(path)
		var bad *os.PathError
		if errors.As(err, &bad) {
			return nil, bad.Err
		}
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // read only
		in.R = f
	}
	doc, err := jsonreport.Read(&in)
	if err != nil && in.N <= 0 {
		return nil, errSavedSize
	}
	return doc, err
}
