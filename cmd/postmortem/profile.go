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
	"github.com/gopostmortem/postmortem/analyze/report/traceprofile"
)

// profiling is one run of the command profile.
type profiling struct {
	read   readFlags
	output string
}

func (a *app) profileCommand() *cobra.Command {
	run := &profiling{}
	cmd := &cobra.Command{
		Use:   "profile KIND FILE...",
		Short: "Write a profile of an execution trace for go tool pprof",
		Long: `Write what an execution trace says about waiting as a profile for go tool pprof. KIND is one of

` + profileKinds() + `
The first four hold the values that go tool trace -pprof gives, and take a small part of its time. In
mutex-holder the waits for locks stand where somebody let go of the lock for which others waited: there the time was lost.`,
		Example: `  postmortem profile sync -o sync.pb.gz trace.out && go tool pprof -top sync.pb.gz
  postmortem profile mutex-holder -o holders.pb.gz trace.out
  postmortem profile sched trace.out.zst > sched.pb.gz
  go tool pprof -http=: <(postmortem profile net trace.out)`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("want a kind of profile (%s) and a trace", strings.Join(kindNames(), ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.profile(cmd, run, args[0], args[1:]) },
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			var kinds []string
			for _, k := range traceprofile.Kinds() {
				kinds = append(kinds, k.Name+"\t"+k.Doc)
			}
			return kinds, cobra.ShellCompDirectiveNoFileComp
		},
	}
	set := cmd.Flags()
	set.StringVarP(&run.output, "output", "o", "", "write to this `FILE` instead of stdout")
	run.read.add(set)
	return cmd
}

// profileGaps is how many gaps of the evidence are told beside a profile, which has no place for them.
const profileGaps = 5

func kindNames() []string {
	var names []string
	for _, k := range traceprofile.Kinds() {
		names = append(names, k.Name)
	}
	return names
}

// profileKinds is the table of kinds in the help.
func profileKinds() string {
	var b strings.Builder
	for _, k := range traceprofile.Kinds() {
		fmt.Fprintf(&b, "  %-12s  %s\n", k.Name, k.Doc)
	}
	return b.String()
}

func (a *app) profile(cmd *cobra.Command, run *profiling, kind string, files []string) error {
	if !slices.Contains(kindNames(), kind) {
		return fmt.Errorf("profile %q: want one of %s", kind, strings.Join(kindNames(), ", "))
	}
	if tty, _ := terminal(a.stdout); tty && run.output == "" {
		return errors.New("a profile is not text, and stdout is a terminal: name a file with -o FILE")
	}
	run.read.variables, run.read.reach = format.VariablesNone, format.ReachNone
	c, err := a.open(cmd.Context(), &run.read, files, nil)
	if err != nil {
		return err
	}
	if c.Timeline == nil {
		return inputError(traceprofile.ErrNoTimeline)
	}
	for _, g := range c.Gaps[:min(len(c.Gaps), profileGaps)] {
		fmt.Fprintf(a.stderr, "postmortem: the profile may lack something: %s: %s\n", report.Visible(g.What), report.Visible(g.Why))
	}
	if run.output == "" {
		return traceprofile.Write(a.stdout, c, kind)
	}
	if err := writeTraceProfile(run.output, c, kind); err != nil {
		return fmt.Errorf("writing %s: %w", run.output, err)
	}
	return nil
}

func writeTraceProfile(path string, c *evidence.Case, kind string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // it tells of the inside of a process
	if err != nil {
		return err
	}
	return errors.Join(traceprofile.Write(f, c, kind), f.Close())
}
