package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/rules"
)

// readFlags are the wishes that concern reading.
type readFlags struct {
	exe, sysroot string
	debugDirs    []string
	maxMemory    string
	jobs         int
	progress     string
	variables    format.Variables
	why          []int64 // goroutines to explain
	reach        format.Reach
}

func (f *readFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.exe, "exe", "", "the `FILE` that was executed, where it is not found by itself")
	set.StringVar(&f.sysroot, "sysroot", "", "`FOLDER` under which the files of the process lie on this machine")
	set.StringArrayVar(&f.debugDirs, "debug-dir", nil, "`FOLDER` with separate debug information (repeatable)")
	set.StringVar(&f.maxMemory, "max-memory", "", "most bytes to unpack or to keep, such as 8GiB (default: bounded by each reader)")
	set.IntVar(&f.jobs, "jobs", 0, "processors to use (default: all)")
	set.StringVar(&f.progress, "progress", "auto", "how to show progress: auto, plain or none")
}

// addReach adds --reach, of the commands that diagnose.
func (f *readFlags) addReach(set *pflag.FlagSet) {
	set.Var((*reachValue)(&f.reach), "reach", "how far to walk the heap: auto, proof (which goroutines can never wake, however many there are) or none")
}

// reachValue is the value of --reach.
type reachValue format.Reach

var reachNames = map[format.Reach]string{format.ReachCase: "auto", format.ReachProof: "proof", format.ReachNone: "none"}

func (v *reachValue) String() string { return reachNames[format.Reach(*v)] }

// Type is what the help calls the value.
func (v *reachValue) Type() string { return "string" }

// Set takes a name.
func (v *reachValue) Set(name string) error {
	for reach, known := range reachNames {
		if name == known {
			*v = reachValue(reach)
			return nil
		}
	}
	return errors.New("want auto, proof or none")
}

// options checks the flags and gives them the form that readers take.
func (f *readFlags) options() (format.Options, error) {
	if !slices.Contains([]string{"auto", "plain", "none"}, f.progress) {
		return format.Options{}, fmt.Errorf("--progress %q: want auto, plain or none", f.progress)
	}
	if f.jobs < 0 {
		return format.Options{}, fmt.Errorf("--jobs %d: want a number of processors, or 0 for all", f.jobs)
	}
	most, err := parseSize(f.maxMemory)
	if err != nil {
		return format.Options{}, fmt.Errorf("--max-memory: %w", err)
	}
	return format.Options{Executable: f.exe, Sysroot: f.sysroot, DebugDirs: f.debugDirs, MaxMemory: most, Jobs: f.jobs, Variables: f.variables, Why: f.why, Reach: f.reach}, nil
}

// sizeUnits are the suffixes of sizes, the longer before the shorter. One letter is binary, as in ulimit and dd.
var sizeUnits = []struct {
	suffix string
	factor float64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"B", 1}, {"", 1},
}

// parseSize reads a number of bytes: "512MiB", "2G", "1000". Empty is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	upper := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(upper, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || !(n > 0) || n*u.factor >= math.MaxInt64 {
			break
		}
		return int64(n * u.factor), nil
	}
	return 0, fmt.Errorf("%q: want a size above zero, such as 512MiB or 8GiB", s)
}

// ruleFlags choose and tune the rules.
type ruleFlags struct {
	enable, disable []string
	limits          []string
	minConfidence   string
}

func (f *ruleFlags) add(set *pflag.FlagSet) {
	set.StringSliceVar(&f.enable, "enable", nil, "run only these `RULES`")
	set.StringSliceVar(&f.disable, "disable", nil, "do not run these `RULES`")
	set.StringArrayVar(&f.limits, "limit", nil, "set a threshold, `RULE.NAME=VALUE` (repeatable; postmortem rules --limits lists them)")
	set.StringVar(&f.minConfidence, "min-confidence", "possible", "leave out findings below: possible, likely or proved")
}

// options checks the flags against the registry.
func (f *ruleFlags) options() (diagnosis.Options, error) {
	opt := diagnosis.Options{Limits: map[string]float64{}, Disabled: map[string]bool{}}
	least, err := diagnosis.ParseConfidence(f.minConfidence)
	if err != nil {
		return opt, fmt.Errorf("--min-confidence: %w", err)
	}
	opt.MinConfidence = least
	for _, name := range slices.Concat(f.enable, f.disable) {
		if ruleNamed(name) == nil {
			return opt, fmt.Errorf("unknown rule %q: `postmortem rules` lists them", name)
		}
	}
	for _, r := range rules.All() {
		if len(f.enable) > 0 && !slices.Contains(f.enable, r.Name) || slices.Contains(f.disable, r.Name) {
			opt.Disabled[r.Name] = true
		}
	}
	for _, setting := range f.limits {
		name, text, _ := strings.Cut(setting, "=")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(value) {
			return opt, fmt.Errorf("--limit %q: want RULE.NAME=VALUE with a number, such as lock-hog.min-waiters=5", setting)
		}
		opt.Limits[name] = value
	}
	return opt, nil
}

// ruleNamed returns a rule of the registry, or nil.
func ruleNamed(name string) *diagnosis.Rule {
	for _, r := range rules.All() {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// completeRules offers the names of rules to the shell.
func completeRules(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, r := range rules.All() {
		names = append(names, r.Name+"\t"+r.Doc.Title)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// viewFlags are the wishes that concern what is shown.
type viewFlags struct {
	srcRoots []string
	showArgs bool
}

func (f *viewFlags) add(set *pflag.FlagSet) {
	set.StringArrayVar(&f.srcRoots, "src-root", nil, "`FOLDER` with the source of the program, for excerpts (repeatable)")
	set.BoolVar(&f.showArgs, "show-args", false, "print the arguments of the process and the names in its environment")
}

// unrepeated are flags that do not change what a report says, and are left out of the command that reproduces it.
var unrepeated = map[string]bool{"format": true, "output": true, "color": true, "progress": true, "jobs": true, "verbose": true,
	"fail-on": true, "strict": true, "help": true}

// commandLine is the command that makes this report again.
func commandLine(cmd *cobra.Command, files []string) string {
	parts := []string{"postmortem"}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if unrepeated[f.Name] {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if f.Value.Type() == "bool" {
				parts = append(parts, "--"+f.Name)
				continue
			}
			parts = append(parts, "--"+f.Name, report.ShellQuote(v))
		}
	})
	for _, path := range files {
		parts = append(parts, report.ShellQuote(path))
	}
	return strings.Join(parts, " ")
}
