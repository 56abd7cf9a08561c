package traceprofile_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report/traceprofile"
)

// stacks adds frames by name, innermost first.
func stack(b *evidence.Builder, functions ...string) evidence.StackID {
	var ids []evidence.FrameID
	for i, f := range functions {
		ids = append(ids, b.Frame(evidence.Frame{Function: f, File: "/src/" + f + ".go", Line: i + 10, PC: uint64(0x1000 + 16*len(f) + i)}))
	}
	return b.Stack(ids, evidence.StackNote{})
}

func hist(durations ...int64) (h evidence.Histogram, total uint64) {
	for _, ns := range durations {
		h.Add(ns)
		total += uint64(ns)
	}
	return h, total
}

// traced is a Case with a site of every kind and reason that matters here.
func traced() *evidence.Case {
	b := evidence.NewBuilder()
	t := evidence.Timeline{WallNS: 1_700_000_000_000_000_000, SpanNS: 1_000_000_000}
	lock := stack(b, "internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock", "sync.(*Mutex).Lock", "main.work")
	group := stack(b, "runtime.gopark", "sync.runtime_SemacquireWaitGroup", "sync.(*WaitGroup).Wait", "main.main")
	unlock, done := stack(b, "sync.(*Mutex).Unlock", "main.work"), stack(b, "sync.(*WaitGroup).Done", "main.work")
	serve := stack(b, "internal/poll.(*FD).Read", "main.serve")
	for _, s := range []struct {
		kind   evidence.SiteKind
		reason string
		stack  evidence.StackID
		waits  []int64
	}{
		{evidence.SiteBlock, "sync", lock, []int64{100, 50, 0}}, // 0: one of no length, which is not counted
		{evidence.SiteBlock, "chan receive", serve, []int64{7}},
		{evidence.SiteBlock, "select", serve, []int64{8, 9}}, // the same stack: one sample
		{evidence.SiteBlock, "sync.(*Cond).Wait", group, []int64{11}},
		{evidence.SiteBlock, "sync", group, []int64{1000}},
		{evidence.SiteBlock, "network", serve, []int64{2000, 1}},
		{evidence.SiteBlock, "sleep", serve, []int64{5}},
		{evidence.SiteBlock, "sync", unlock, nil}, // nothing ended
		{evidence.SiteSyscall, "", serve, []int64{30}},
		{evidence.SiteReady, "", unlock, []int64{3, 4}},
		{evidence.SiteReady, "", 0, []int64{6}}, // made ready by nobody: a sample without a stack
		{evidence.SitePreempt, "preempted", serve, []int64{77}},
	} {
		h, total := hist(s.waits...)
		t.Sites = append(t.Sites, evidence.Site{Kind: s.kind, Reason: s.reason, Stack: s.stack, Count: uint64(len(s.waits)), TotalNS: total, Hist: h})
	}
	t.Releases = []evidence.Release{{Site: 0, Stack: unlock, Count: 2, WaitNS: 150}, {Site: 4, Stack: done, Count: 1, WaitNS: 1000}, {Site: 1, Stack: unlock, Count: 9, WaitNS: 9},
		{Site: 99, Stack: unlock, Count: 5, WaitNS: 5}, {Site: -1, Stack: unlock, Count: 5, WaitNS: 5}}
	b.Timeline(t)
	return b.Finish()
}

// written writes a profile and reads it back.
func written(t *testing.T, c *evidence.Case, kind string) *profile.Profile {
	t.Helper()
	var b bytes.Buffer
	if err := traceprofile.Write(&b, c, kind); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// samples are the stacks, from the leaf to the root, with count and nanoseconds.
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

func TestKinds(t *testing.T) {
	const (
		lock  = "internal/sync.(*Mutex).lockSlow < internal/sync.(*Mutex).Lock < sync.(*Mutex).Lock < main.work"
		group = "runtime.gopark < sync.runtime_SemacquireWaitGroup < sync.(*WaitGroup).Wait < main.main"
		serve = "internal/poll.(*FD).Read < main.serve"
		let   = "sync.(*Mutex).Unlock < main.work"
	)
	for kind, want := range map[string]map[string][2]int64{
		"sync":         {lock: {2, 150}, serve: {3, 24}, group: {2, 1011}},
		"net":          {serve: {2, 2001}},
		"syscall":      {serve: {1, 30}},
		"sched":        {let: {2, 7}, "": {1, 6}},
		"mutex-holder": {let: {2, 150}},
	} {
		p := written(t, traced(), kind)
		got := samples(p)
		for way, values := range want {
			if got[way] != values {
				t.Errorf("%s: %s: %v, want %v", kind, way, got[way], values)
			}
		}
		if len(got) != len(want) || len(p.Sample) != len(want) {
			t.Errorf("%s: samples %v, want %v", kind, got, want)
		}
		if p.SampleType[0].Type != "contentions" || p.SampleType[1].Type != "delay" || p.SampleType[1].Unit != "nanoseconds" || p.PeriodType.Type != "trace" {
			t.Errorf("%s: sample types %v, period %v", kind, p.SampleType, p.PeriodType)
		}
		if p.TimeNanos != 1_700_000_000_000_000_000 || p.DurationNanos != 1_000_000_000 {
			t.Errorf("%s: time %d, duration %d", kind, p.TimeNanos, p.DurationNanos)
		}
	}
	for _, k := range traceprofile.Kinds() {
		if k.Doc == "" {
			t.Errorf("%s is not described", k.Name)
		}
	}
}

// The same Case gives the same bytes, though sums are made in a map.
func TestSameBytes(t *testing.T) {
	var first bytes.Buffer
	if err := traceprofile.Write(&first, traced(), "sync"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var again bytes.Buffer
		if err := traceprofile.Write(&again, traced(), "sync"); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), again.Bytes()) {
			t.Fatal("two profiles differ")
		}
	}
}

func TestRefusals(t *testing.T) {
	var b bytes.Buffer
	if err := traceprofile.Write(&b, evidence.NewBuilder().Finish(), "sync"); !errors.Is(err, traceprofile.ErrNoTimeline) {
		t.Errorf("without a Timeline: %v", err)
	}
	if err := traceprofile.Write(&b, traced(), "heap"); err == nil || !strings.Contains(err.Error(), "sync, net, syscall, sched, mutex-holder") {
		t.Errorf("unknown kind: %v", err)
	}
	if err := traceprofile.Write(full{}, traced(), "sync"); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a full disk: %v", err)
	}
	if b.Len() > 0 {
		t.Error("something was written")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// A trace in which nobody waited gives a profile that can be read.
func TestEmpty(t *testing.T) {
	b := evidence.NewBuilder()
	b.Timeline(evidence.Timeline{})
	c := b.Finish()
	for _, k := range traceprofile.Kinds() {
		if p := written(t, c, k.Name); len(p.Sample) != 0 {
			t.Errorf("%s has samples", k.Name)
		}
	}
}

// Hostile figures and stacks: sums stay in range, stacks are cut.
func TestHostile(t *testing.T) {
	b := evidence.NewBuilder()
	var ids []evidence.FrameID
	for i := range 1000 {
		ids = append(ids, b.Frame(evidence.Frame{Function: "f\x1b", File: "\xff", Line: i - 5, PC: math.MaxUint64}))
	}
	deep := b.Stack(ids, evidence.StackNote{})
	h, _ := hist(1)
	b.Timeline(evidence.Timeline{Sites: []evidence.Site{{Reason: "sync", Stack: deep, TotalNS: math.MaxUint64, Hist: h}}, Releases: []evidence.Release{{Stack: deep, Count: math.MaxUint64, WaitNS: math.MaxUint64}}})
	p := written(t, b.Finish(), "sync")
	if len(p.Sample[0].Location) != 128 || p.Sample[0].Value[1] != math.MaxInt64 {
		t.Errorf("%d frames, values %v", len(p.Sample[0].Location), p.Sample[0].Value)
	}
}

// go tool pprof reads it.
func TestToolReads(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not here")
	}
	path := filepath.Join(t.TempDir(), "sync.pb.gz")
	var b bytes.Buffer
	if err := traceprofile.Write(&b, traced(), "sync"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-unit=ns", "-nodefraction=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text := strings.Join(strings.Fields(string(out)), " "); !strings.Contains(text, "1011ns 85.32% 85.32% 1011ns 85.32% runtime.gopark") {
		t.Errorf("the figures are missing:\n%s", out)
	}
}
