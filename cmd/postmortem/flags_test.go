package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gopostmortem/postmortem/rules"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "1": 1, "1000": 1000, "1k": 1024, "2KiB": 2048, "2kb": 2000, "1.5G": 3 << 29,
		"8 GiB": 8 << 30, "1T": 1 << 40, "7B": 7} {
		if got, err := parseSize(in); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "-1", "0", "1X", "GiB", "1e30G", "NaN", "Inf"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d; want an error", in, got)
		}
	}
}

func TestRuleOptions(t *testing.T) {
	f := ruleFlags{enable: []string{"lock-hog", "tiny-io"}, disable: []string{"tiny-io"}, limits: []string{"lock-hog.min-waiters=3.5"},
		minConfidence: "likely"}
	opt, err := f.options()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.All() {
		if want := r.Name != "lock-hog"; opt.Disabled[r.Name] != want {
			t.Errorf("rule %s: disabled is %v, want %v", r.Name, opt.Disabled[r.Name], want)
		}
	}
	if opt.Limits["lock-hog.min-waiters"] != 3.5 || opt.MinConfidence.String() != "likely" {
		t.Errorf("options %+v", opt)
	}
	for _, bad := range []ruleFlags{
		{minConfidence: "sure"}, {minConfidence: "likely", enable: []string{"x"}}, {minConfidence: "likely", disable: []string{"x"}},
		{minConfidence: "likely", limits: []string{"a.b"}}, {minConfidence: "likely", limits: []string{"a.b=many"}},
		{minConfidence: "likely", limits: []string{"a.b=NaN"}},
	} {
		if _, err := bad.options(); err == nil {
			t.Errorf("%+v: want an error", bad)
		}
	}
}

func TestReadOptions(t *testing.T) {
	f := readFlags{exe: "server", sysroot: "/mnt", debugDirs: []string{"/dbg"}, maxMemory: "1MiB", jobs: 2, progress: "none"}
	opt, err := f.options()
	if err != nil || opt.Executable != "server" || opt.Sysroot != "/mnt" || len(opt.DebugDirs) != 1 || opt.MaxMemory != 1<<20 || opt.Jobs != 2 {
		t.Errorf("options %+v, %v", opt, err)
	}
}

func TestCommandLine(t *testing.T) {
	a := &app{getenv: os.Getenv}
	cmd := a.analyzeCommand()
	var line string
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		line = commandLine(cmd, args)
		return nil
	}
	cmd.SetArgs([]string{"--exe", "my server", "--src-root", "a", "--src-root", "b", "--show-args", "-f", "json", "--color=never",
		"--fail-on", "info", "--disable", "lock-hot,tiny-io", "core file"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	want := "postmortem --disable lock-hot --disable tiny-io --exe 'my server' --show-args --src-root a --src-root b 'core file'"
	if line != want {
		t.Errorf("command line\n%s\nwant\n%s", line, want)
	}
}

func TestParseOutputs(t *testing.T) {
	a := &app{stdout: &strings.Builder{}, getenv: func(string) string { return "" }}
	f := outputFlags{format: "text", outputs: []string{"json=a=b.json", "markdown=r.md"}, color: "always"}
	got, err := f.parse(a)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].path != "" || !got[0].looks.Color || got[1].path != "a=b.json" || got[1].looks.Color {
		t.Errorf("outputs %+v", got)
	}
	if !wantSums(got) || wantSums(got[:1]) {
		t.Error("sums are printed by JSON and Markdown, and not by text")
	}
	f = outputFlags{format: "text", color: "never", verbose: true}
	if got, err = f.parse(a); err != nil || !got[0].looks.Verbose || !wantSums(got) {
		t.Errorf("outputs %+v, %v: text prints sums when it is verbose", got, err)
	}
}

// TestColorAuto: a pipe gets no colours, whatever the environment says.
func TestColorAuto(t *testing.T) {
	a := &app{stdout: &strings.Builder{}, getenv: func(string) string { return "" }}
	for color, want := range map[string]bool{"auto": false, "always": true, "never": false} {
		f := outputFlags{color: color}
		if opt, err := f.looks(a); err != nil || opt.Color != want || opt.Width != 0 {
			t.Errorf("--color %s: %+v, %v", color, opt, err)
		}
	}
}

// TestHelp holds every command to the house rules of help: a page, examples that run the command, a text for each flag.
func TestHelp(t *testing.T) {
	a := &app{stdout: &strings.Builder{}, stderr: &strings.Builder{}, getenv: os.Getenv}
	root := a.root()
	seen := 0
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		seen++
		if cmd.Long == "" || cmd.Short == "" || !strings.Contains(cmd.Example, "postmortem") {
			t.Errorf("command %s lacks a page or examples", cmd.Name())
		}
		if cmd != root && !strings.Contains(cmd.Example, "postmortem "+cmd.Name()) {
			t.Errorf("command %s: no example shows it", cmd.Name())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("command %s: flag --%s has no text", cmd.Name(), f.Name)
			}
		})
	}
	if seen < 11 {
		t.Errorf("%d commands were looked at, want 11", seen)
	}
}

// TestScriptsCoverCommands fails when a command is added and no transcript runs it.
func TestScriptsCoverCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	a := &app{getenv: os.Getenv}
	var missing []string
	for _, cmd := range a.root().Commands() {
		if !strings.Contains(all.String(), "postmortem "+cmd.Name()+" ") && !strings.Contains(all.String(), "postmortem "+cmd.Name()+"\n") {
			missing = append(missing, cmd.Name())
		}
	}
	if missing = slices.DeleteFunc(missing, func(n string) bool { return n == "help" }); len(missing) > 0 {
		t.Errorf("no transcript runs %v", missing)
	}
}

func TestWrap(t *testing.T) {
	got := wrap("one two three\nfour\n\nnext", "> ", 9)
	if want := "> one two\n> three\n> four\n\n> next\n"; got != want {
		t.Errorf("wrap = %q, want %q", got, want)
	}
	if got := wrap("averyverylongword x", "", 5); got != "averyverylongword\nx\n" {
		t.Errorf("wrap = %q: a long word stays whole", got)
	}
}
