package gocore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// whyOf reads the core of the program reach once more, and asks about one goroutine with each of the functions.
func whyOf(t *testing.T, p fixtures.Program, functions ...string) map[string]*evidence.Path {
	t.Helper()
	i := die(t, "reach", p)
	var ids []int64
	by := map[int64]string{}
	for _, f := range functions {
		list := i.with("main." + f)
		if len(list) == 0 {
			t.Fatalf("no goroutine in %s", f)
		}
		ids, by[list[0].ID] = append(ids, list[0].ID), f
	}
	c, err := readCore(t, i.capture.Core, format.Options{Executable: i.capture.Exe, Why: ids})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*evidence.Path{}
	for k := range c.Paths {
		found[by[c.Paths[k].Goroutine]] = &c.Paths[k]
	}
	return found
}

func TestPaths(t *testing.T) {
	roots := map[string]evidence.PathStep{
		"keptInGlobal":    {Kind: evidence.StepGlobal, Name: "main.globals"},
		"keptByMap":       {Kind: evidence.StepGlobal, Name: "main.byName"},
		"keptByLarge":     {Kind: evidence.StepGlobal, Name: "main.large"},
		"keptByTable":     {Kind: evidence.StepGlobal, Name: "main.table"},
		"keptByWide":      {Kind: evidence.StepGlobal, Name: "main.wide"},
		"keptByRows":      {Kind: evidence.StepGlobal, Name: "main.rows"},
		"keptBySelect":    {Kind: evidence.StepGlobal, Name: "main.values"},
		"keptByOther":     {Kind: evidence.StepGlobal, Name: "main.values"},
		"keptByFinalizer": {Kind: evidence.StepFinalizer},
		"keptByFinalized": {Kind: evidence.StepFinalizer},
		"keptByStack":     {Kind: evidence.StepStack, Name: "main.keepOnStack"},
		"keptByObject":    {Kind: evidence.StepStack, Name: "main.keepOnStack"},
		"lostSend":        {},
		"lostLock":        {},
	}
	var names []string
	for name := range roots {
		names = append(names, name)
	}
	paths := whyOf(t, fixtures.Program{}, names...)
	for name, want := range roots {
		path := paths[name]
		if want == (evidence.PathStep{}) {
			if path != nil {
				t.Errorf("%s is lost, and has a path %+v", name, path)
			}
			continue
		}
		if path == nil || len(path.Steps) < 2 {
			t.Errorf("%s: no path: %+v", name, path)
			continue
		}
		if got := path.Steps[0]; got.Kind != want.Kind || got.Name != want.Name {
			t.Errorf("%s: begins with %+v, want %+v", name, got, want)
		}
		last := path.Steps[len(path.Steps)-1]
		if last.Kind != evidence.StepObject || path.Sync < last.Addr || path.Sync >= last.Addr+last.Size {
			t.Errorf("%s: ends with %+v, which does not hold %#x", name, last, path.Sync)
		}
	}
	checkSteps(t, paths["keptByOther"])
	checkTypes(t, paths["keptByMap"], "map[string]*main.guarded", "main.guarded")
}

// checkTypes holds that a path leads through objects of these types, in this order.
func checkTypes(t *testing.T, p *evidence.Path, types ...string) {
	t.Helper()
	for _, s := range p.Steps {
		if len(types) > 0 && s.Name == types[0] {
			types = types[1:]
		}
	}
	if len(types) > 0 {
		t.Errorf("no object of type %s in %+v", types[0], p.Steps)
	}
}

// checkSteps holds that a path through a goroutine that has to wake first says so.
func checkSteps(t *testing.T, p *evidence.Path) {
	t.Helper()
	if p == nil {
		return
	}
	for i, s := range p.Steps {
		if s.Kind == evidence.StepGoroutine {
			if next := p.Steps[i+1]; next.Kind != evidence.StepStack || !strings.HasPrefix(next.Name, "main.kept") && !strings.HasPrefix(next.Name, "main.keepInHeap.gowrap") || next.Goroutine != s.Goroutine {
				t.Errorf("goroutine %d is followed by %+v", s.Goroutine, next)
			}
			return
		}
	}
	t.Errorf("no goroutine in %+v", p.Steps)
}

// Every step of a path through the heap must really point to the next one.
func TestPathsArePointers(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "reach"))
	if err != nil {
		t.Fatal(err)
	}
	capture, err := fixtures.Crash(context.Background(), fixtures.Program{Dir: dir})
	fixtures.Require(t, err)
	f, err := os.Open(capture.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	paths := whyOf(t, fixtures.Program{}, "keptByMap", "keptByLarge", "keptByClosure", "keptByTimer", "keptByContext", "keptByTicker")
	if len(paths) != 6 {
		t.Errorf("%d paths, want 6", len(paths))
	}
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: capture.Core})
	opened, err := open(inputOf(t, f, capture.Core, format.Options{Executable: capture.Exe}), b)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.close()
	pointers := 0
	for name, p := range paths {
		for i, s := range p.Steps[:len(p.Steps)-1] {
			next := p.Steps[i+1]
			if s.Kind != evidence.StepObject && s.Kind != evidence.StepGlobal || next.Kind != evidence.StepObject {
				continue
			}
			v, ok := opened.core.Mem.Uint64(s.Addr + s.Offset)
			if !ok || v < next.Addr || v >= next.Addr+next.Size {
				t.Errorf("%s: step %d %+v holds %#x, which is not in %+v", name, i, s, v, next)
			}
			pointers++
		}
	}
	if pointers < 10 {
		t.Errorf("only %d pointers were checked", pointers)
	}
}
