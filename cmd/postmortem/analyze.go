package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze"
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/rules"
)

// analysis is one run of the pipeline: files to Case to Result to Document.
type analysis struct {
	read   readFlags
	rules  ruleFlags
	view   viewFlags
	out    outputFlags
	failOn string
	strict bool
}

func (a *app) analyzeCommand() *cobra.Command {
	run := &analysis{}
	cmd := &cobra.Command{
		Use:   "analyze FILE...",
		Short: "Diagnose the files of one incident (the default command)",
		Long: `Read the files of one incident, run the rules over them, and print a report.

Files are told apart by content and may be compressed (gzip, zstd, lz4, xz). Several files of one incident (a core, and the
log that the process wrote) are put together. The executable of a core is found by itself and proved to be the right one.

FILE may be - for standard input, and a pipe: it is copied into a temporary file first, of at most --max-memory bytes.

The report goes to stdout in the format of -f; each -o FORMAT=PATH writes one more. Formats: text, markdown, json, case.`,
		Example: `  postmortem analyze core.1234
  postmortem analyze core.1234.zst server.log
  postmortem analyze core.1234 -f markdown > incident.md
  kubectl logs shop-7d4f | postmortem analyze -
  postmortem analyze core.1234 -o markdown=incident.md -o json=incident.json
  postmortem analyze core.1234 --exe ./server --src-root . --fail-on critical
  postmortem analyze core.1234 --disable lock-hot --limit lock-hog.min-waiters=10`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !cmd.HasParent() {
				return cmd.Help()
			}
			return a.analyze(cmd, run, args)
		},
	}
	set := cmd.Flags()
	run.out.add(set, "text")
	run.read.add(set)
	run.read.addReach(set)
	run.view.add(set)
	run.rules.add(set)
	set.StringVar(&run.failOn, "fail-on", "none", "exit with 1 when a finding is at least: critical, warning, info or none")
	set.BoolVar(&run.strict, "strict", false, "exit with 4 when something could not be read")
	_ = cmd.RegisterFlagCompletionFunc("reach", cobra.FixedCompletions([]string{"auto", "proof", "none"}, cobra.ShellCompDirectiveNoFileComp))
	for _, flag := range []string{"enable", "disable"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, completeRules) // fails only for a flag that does not exist
	}
	return cmd
}

func (a *app) analyze(cmd *cobra.Command, run *analysis, files []string) error {
	failOn, err := diagnosis.ParseSeverity(run.failOn)
	if err != nil {
		return fmt.Errorf("--fail-on: %w", err)
	}
	outputs, err := run.out.parse(a)
	if err != nil {
		return err
	}
	result, err := a.diagnose(cmd.Context(), run, files, outputs)
	if err != nil {
		return err
	}
	doc := report.Build(result, a.meta(run, result.Case, commandLine(cmd, files)))
	if err := a.writeAll(outputs, made{doc, result.Case}); err != nil {
		return err
	}
	return verdictCode(result, failOn, run.strict)
}

// diagnose reads the files and runs the rules. The flags are checked before the first file is opened.
func (a *app) diagnose(ctx context.Context, run *analysis, files []string, outputs []output) (*diagnosis.Result, error) {
	chosen, err := run.rules.options()
	if err != nil {
		return nil, err
	}
	c, err := a.open(ctx, &run.read, files, outputs)
	if err != nil {
		return nil, err
	}
	return diagnosis.Run(ctx, c, rules.All(), chosen)
}

// open reads the files into a Case, with progress on stderr. Sums are computed only when an output prints them.
func (a *app) open(ctx context.Context, flags *readFlags, files []string, outputs []output) (*evidence.Case, error) {
	tuneCollector(files)
	opt, err := flags.options()
	if err != nil {
		return nil, err
	}
	opt.Stdin, _ = a.stdin.(*os.File)
	p := a.newProgress(flags.progress)
	defer p.stop()
	opt.Progress = p.report
	if !wantSums(outputs) {
		return analyze.Open(ctx, files, opt)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sums := analyze.StartHash(ctx, files)
	c, err := analyze.Open(ctx, files, opt)
	if err != nil {
		return nil, err
	}
	return c, sums.Into(c, p.report)
}

func (a *app) meta(run *analysis, c *evidence.Case, command string) report.Meta {
	return report.Meta{
		Tool: "postmortem", Version: version, Commands: []string{command}, ShowArgs: run.view.showArgs,
		Sources: newSources(run.view.srcRoots, &c.Process, a.getenv),
		RuleDocs: func(name string) *diagnosis.Doc {
			if r := ruleNamed(name); r != nil {
				return r.Doc
			}
			return nil
		},
	}
}

// verdictCode is the exit code of a finished analysis. A finding outranks a gap: it is the more certain news.
func verdictCode(result *diagnosis.Result, failOn diagnosis.Severity, strict bool) error {
	for _, f := range result.Findings {
		if failOn > 0 && f.Severity >= failOn {
			return &exitError{code: exitFindings}
		}
	}
	if n := len(result.Case.Gaps); strict && n > 0 {
		return &exitError{exitPartial, fmt.Errorf("--strict: %s could not be read; the report lists what", report.Plural(n, "thing"))}
	}
	return nil
}
