package heapprofile_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report/heapprofile"
)

// counted is a Case with a heap; h gets a stack to refer to.
func counted(h func(stack evidence.StackID) evidence.HeapUse) *evidence.Case {
	b := evidence.NewBuilder()
	stack := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "runtime.gopark", File: "/go/proc.go", Line: 462}),
		b.Frame(evidence.Frame{Function: "main.serve", File: "/src/serve.go", Line: 44})}, evidence.StackNote{})
	b.HeapUse(h(stack))
	return b.Finish()
}

// written writes a profile and reads it back.
func written(t *testing.T, c *evidence.Case) *profile.Profile {
	t.Helper()
	var b bytes.Buffer
	if err := heapprofile.Write(&b, c); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// samples are the stacks, from the leaf to the root, with objects and bytes.
func samples(p *profile.Profile) map[string][2]int64 {
	found := map[string][2]int64{}
	for _, s := range p.Sample {
		var names []string
		for _, l := range s.Location {
			names = append(names, l.Line[0].Function.Name)
		}
		found[strings.Join(names, " < ")] = [2]int64{s.Value[0], s.Value[1]}
	}
	return found
}

func tree(stack evidence.StackID) evidence.HeapUse {
	return evidence.HeapUse{Objects: 30, Bytes: 3000, LiveObjects: 20, LiveBytes: 2000, Holders: []evidence.Holder{
		{Kind: evidence.StepGlobal, Name: "main.store", Objects: 12, Bytes: 1200},
		{Depth: 1, Name: "main.Store", Objects: 12, Bytes: 1200, OwnObjects: 1, Own: 50},
		{Depth: 2, Name: "[]uint8", Objects: 10, Bytes: 1000, OwnObjects: 10, Own: 1000},
		{Depth: 2, Objects: 1, Bytes: 150, OwnObjects: 1, Own: 150},
		{Kind: evidence.StepStack, Stack: stack, Objects: 4, Bytes: 400},
		{Depth: 1, Name: "main.Job", Objects: 4, Bytes: 400, OwnObjects: 4, Own: 400},
		{Kind: evidence.StepRuntime, Objects: 2, Bytes: 200},
		{Depth: 1, Name: "runtime.g", Objects: 2, Bytes: 200, OwnObjects: 2, Own: 200}}}
}

func check(t *testing.T, got, want map[string][2]int64) {
	t.Helper()
	for way, values := range want {
		if got[way] != values {
			t.Errorf("%s: %v, want %v", way, got[way], values)
		}
	}
	if len(got) != len(want) {
		t.Errorf("samples %v, want %v", got, want)
	}
}

// The samples are the places of the tree, and add up to what is reachable.
func TestHolders(t *testing.T) {
	p := written(t, counted(tree))
	check(t, samples(p), map[string][2]int64{
		"main.Store < global main.store":                    {1, 50},
		"[]uint8 < main.Store < global main.store":          {10, 1000},
		"(type not known) < main.Store < global main.store": {1, 150},
		"main.Job < runtime.gopark < main.serve":            {4, 400},
		"runtime.g < (runtime)":                             {2, 200},
		"(in small places, left out)":                       {2, 200},
	})
	if p.SampleType[0].Type != "inuse_objects" || p.SampleType[1].Unit != "bytes" || p.DefaultSampleType != "inuse_space" || len(p.Comments) == 0 {
		t.Errorf("%+v, %q, %q", p.SampleType, p.DefaultSampleType, p.Comments)
	}
	for _, f := range p.Function {
		if f.Name == "main.serve" && f.Filename != "/src/serve.go" {
			t.Errorf("function %+v", f)
		}
	}
}

// Without the tree, what groups keep alone and the types of the rest are told.
func TestRetained(t *testing.T) {
	c := counted(func(stack evidence.StackID) evidence.HeapUse {
		h := tree(stack)
		h.Holders = nil
		h.Types = []evidence.HeapType{{Name: "[]uint8", Objects: 15, Bytes: 1500}, {Name: "main.Job", Objects: 4, Bytes: 400}, {Objects: 1, Bytes: 100}}
		h.Retained = []evidence.Retained{{Stack: stack, Goroutines: 2, Objects: 9, Bytes: 900, Types: []evidence.HeapType{{Name: "[]uint8", Objects: 5, Bytes: 500}, {Name: "main.Job", Objects: 4, Bytes: 400}}}}
		return h
	})
	const shared = " < (kept by global variables, or by several)"
	check(t, samples(written(t, c)), map[string][2]int64{
		"[]uint8 < runtime.gopark < main.serve": {5, 500}, "main.Job < runtime.gopark < main.serve": {4, 400},
		"[]uint8" + shared: {10, 1000}, "(type not known)" + shared: {1, 100},
	})
}

// Where reachability is not known there are the allocation classes.
func TestClasses(t *testing.T) {
	c := counted(func(evidence.StackID) evidence.HeapUse {
		return evidence.HeapUse{Objects: 3, Bytes: 70_000, Classes: []evidence.HeapClass{{NoScan: true, Objects: 1, Bytes: 69_904}, {Size: 48, Objects: 2, Bytes: 96}}}
	})
	const all = " < (allocated, reachable or not)"
	check(t, samples(written(t, c)), map[string][2]int64{"objects above 32 KiB without pointers" + all: {1, 69_904}, "objects of 48 bytes" + all: {2, 96}})
}

func TestNothing(t *testing.T) {
	if err := heapprofile.Write(&bytes.Buffer{}, evidence.NewBuilder().Finish()); !errors.Is(err, heapprofile.ErrNotCounted) {
		t.Errorf("error %v", err)
	}
}

// go tool pprof reads it: the flat figures are a type's own, the cumulative ones what is held through it.
func TestToolReads(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not here")
	}
	path := filepath.Join(t.TempDir(), "heap.pb.gz")
	var b bytes.Buffer
	if err := heapprofile.Write(&b, counted(tree)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-cum", "-unit=B", "-nodefraction=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []string{"50B 2.50% 2.50% 1200B 60.00% main.Store", "0 0% 0% 1200B 60.00% global main.store", "1000B 50.00% []uint8"} {
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), row) {
			t.Errorf("it lacks %q:\n%s", row, out)
		}
	}
}
