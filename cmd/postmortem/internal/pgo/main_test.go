package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// made is a profile of one call from a to b, with everything that is to be left out.
func made() *profile.Profile {
	mapping := &profile.Mapping{ID: 1, Start: 0x1000, Limit: 0x2000, File: "/home/somebody/prog", BuildID: "abc"}
	a := &profile.Function{ID: 1, Name: "example.com/app.a", SystemName: "example.com/app.a", Filename: "/home/somebody/a.go", StartLine: 10}
	b := &profile.Function{ID: 2, Name: "example.com/app.b", SystemName: "example.com/app.b", Filename: "/home/somebody/b.go", StartLine: 20}
	calls := &profile.Location{ID: 1, Mapping: mapping, Address: 0x1010, Line: []profile.Line{{Function: a, Line: 12}}}
	leaf := &profile.Location{ID: 2, Mapping: mapping, Address: 0x1020, Line: []profile.Line{{Function: b, Line: 21}}}
	return &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1e7, TimeNanos: 5, DurationNanos: 6, Comments: []string{"on a machine"},
		Mapping: []*profile.Mapping{mapping}, Function: []*profile.Function{a, b}, Location: []*profile.Location{calls, leaf},
		Sample: []*profile.Sample{{Location: []*profile.Location{leaf, calls}, Value: []int64{3, 3e7}, Label: map[string][]string{"host": {"machine"}}}}}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for _, name := range []string{"one", "two"} {
		path := filepath.Join(dir, name)
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := made().Write(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
		paths = append(paths, path)
	}
	out := filepath.Join(dir, "default.pgo")
	if err := run(out, paths); err != nil {
		t.Fatal(err)
	}
	p, err := read(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Sample) != 1 || p.Sample[0].Value[0] != 6 || len(p.Sample[0].Location) != 2 {
		t.Fatalf("the samples are %v, want one of two frames, seen 6 times", p.Sample)
	}
	caller := p.Sample[0].Location[1].Line[0]
	if caller.Function.Name != "example.com/app.a" || caller.Line != 12 || caller.Function.StartLine != 10 {
		t.Errorf("the caller is %s, line %d of one that begins at %d", caller.Function.Name, caller.Line, caller.Function.StartLine)
	}
	if text := p.String(); strings.Contains(text, "somebody") || strings.Contains(text, "machine") || strings.Contains(text, "abc") {
		t.Errorf("it tells of the machine: %s", text)
	}
}

func TestErrors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("no profile"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, paths := range map[string][]string{"no profiles are named": nil, "bad": {bad}, "no such file": {bad + "2"}} {
		if err := run(filepath.Join(t.TempDir(), "out"), paths); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", paths, err, want)
		}
	}
}

// TestProfileOfCommand holds that the profile which is kept names functions that are still there, and no files.
func TestProfileOfCommand(t *testing.T) {
	p, err := read(filepath.Join("..", "..", "default.pgo"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range p.Function {
		names[f.Name] = true
		if f.Filename != "" {
			t.Errorf("%s has a file: %s", f.Name, f.Filename)
		}
	}
	const house = "github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/"
	for _, name := range []string{house + "order.decode", house + "order.(*machine).advance", house + "fold.(*Folder).Run",
		"github.com/gopostmortem/postmortem/analyze/format/gocore.(*unwinder).walk"} {
		if !names[name] {
			t.Errorf("%s is not in it: `make profile` makes it anew", name)
		}
	}
}
