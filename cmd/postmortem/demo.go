package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/fixtures/demo"
)

func (a *app) demoCommand() *cobra.Command {
	run := &analysis{failOn: "none"}
	var dir string
	var list bool
	cmd := &cobra.Command{
		Use:   "demo [SCENARIO]",
		Short: "Make a real incident, diagnose it, and keep the evidence",
		Long: `Start a real program that falls ill, capture a core of it (or, where the disease is one of time, an execution trace), diagnose
that, and print the report.

It needs nothing installed, and neither ulimit -c nor the machine's core_pattern matters. The evidence, a Markdown report and a JSON
result stay in a folder. Where processes cannot be captured (macOS, Windows, ptrace forbidden), the text of the crash or a
goroutine dump is diagnosed instead.`,
		Example: `  postmortem demo
  postmortem demo crash-nil
  postmortem demo execution-trace
  postmortem demo --list
  postmortem demo busy-yield --dir /tmp/busy`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, s := range demo.Scenarios() {
				names = append(names, s.Name+"\t"+s.Title)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return listScenarios(a.stdout)
			}
			name := demo.Scenarios()[0].Name
			if len(args) > 0 {
				name = args[0]
			}
			return a.demo(cmd.Context(), run, name, dir)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list the scenarios")
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` for the evidence (default: a new one for temporary files)")
	run.out.add(cmd.Flags(), "text")
	cmd.Flags().StringVar(&run.read.progress, "progress", "auto", "how to show progress: auto, plain or none")
	run.rules.minConfidence = "possible"
	return cmd
}

func listScenarios(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "SCENARIO\tWHAT HAPPENS")
	for _, s := range demo.Scenarios() {
		fmt.Fprintf(out, "%s\t%s\n", s.Name, s.Title)
	}
	return out.Flush()
}

// demo plays a scenario, and diagnoses what it leaves as any other evidence.
func (a *app) demo(ctx context.Context, run *analysis, name, dir string) error {
	scenario, err := demo.Find(name)
	if err != nil {
		return fmt.Errorf("%w; `postmortem demo --list` says what they are", err)
	}
	outputs, err := run.out.parse(a)
	if err != nil {
		return err
	}
	dir, err = evidenceFolder(dir, name)
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	files, err := a.stage(ctx, scenario, dir)
	if err != nil {
		return inputError(fmt.Errorf("demo %s: %w", name, err))
	}
	kept := []output{{format: "markdown", path: filepath.Join(dir, "report.md")}, {format: "json", path: filepath.Join(dir, "result.json")}}
	result, err := a.diagnose(ctx, run, files, append(kept, outputs...))
	if err != nil {
		return err
	}
	command := "postmortem"
	for _, f := range files {
		command += " " + report.ShellQuote(f)
	}
	doc := report.Build(result, a.meta(run, result.Case, command))
	if err := a.writeAll(append(kept, outputs...), made{doc, result.Case}); err != nil {
		return err
	}
	if run.out.format != "text" {
		return nil // what follows would spoil JSON
	}
	_, err = fmt.Fprintf(a.stdout, "\nThis was a real process. Its remains: %s\nMarkdown report: %s\nOnce more:       %s\n",
		dir, kept[0].path, command)
	return err
}

// evidenceFolder makes the folder. One that the user names must not hold the evidence of another run.
func evidenceFolder(dir, name string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "postmortem-demo-"+name+"-")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if held, err := os.ReadDir(dir); err != nil || len(held) > 0 {
		return "", errors.Join(err, fmt.Errorf("%s is not empty: name a new folder", dir))
	}
	return filepath.Abs(dir)
}
