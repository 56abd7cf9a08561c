package legacy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen"
)

// TestReal reads a program of which it is known what it does, as every version of the format tells it.
func TestReal(t *testing.T) {
	for _, toolchain := range specimen.Old {
		t.Run(toolchain, func(t *testing.T) {
			stats, c, err := readAll(opened(t, specimen.Legacy(t, toolchain, 1)))
			if err != nil || stats.Rest != nil {
				t.Fatal(err, stats.Rest)
			}
			line := c.Timeline
			if stats.Events < 5000 || line.SpanNS < 50e6 || line.SpanNS > 60e9 || line.Procs != 3 || fmt.Sprintf("go1.%d", stats.Version) > toolchain {
				t.Errorf("%+v, span %d, GOMAXPROCS %d", stats, line.SpanNS, line.Procs)
			}
			if line.Created < 25 || line.Created > 100 || line.Ended < 20 || line.GC.Cycles < 2 || line.GC.PauseNS == 0 || line.GC.HeapLast == 0 || line.GC.GoalMax == 0 {
				t.Errorf("%d goroutines created, %d ended, collections %+v", line.Created, line.Ended, line.GC)
			}
			wantSites(t, c, stats.Version)
			wantActivities(t, line)
			if n := c.Goroutines().Len(); n != line.AtEnd || n < 3 {
				t.Errorf("%d goroutines at the end, %d rows", line.AtEnd, n)
			}
		})
	}
}

// wantSites holds that each kind of wait of the program is there, at its line.
func wantSites(t *testing.T, c *evidence.Case, version int) {
	t.Helper()
	seen := map[string]uint64{}
	for _, s := range c.Timeline.Sites {
		key := s.Kind.String() + " " + s.Reason
		for _, f := range c.Stack(s.Stack).All() {
			if fn := f.Function; strings.HasPrefix(fn, "main.") {
				key += " " + strings.TrimPrefix(fn, "main.")
				break
			}
		}
		seen[key] += s.Count
	}
	for want, least := range map[string]uint64{"block chan send channels": 20, "block sync locks.func1": 5, "block sync.(*Cond).Wait locks.func1": 5,
		"block network network": 20, "block sleep tasks.func1": 10, "block forever forever": 1, "yield runtime.Gosched channels.func1": 10,
		"syscall  system": 50, "preempt preempted spin.func1": 1} {
		n := seen[want] + seen[want+".func1"] // of two that talk to each other, either may be the one that waits
		if n < least {
			t.Errorf("%q %d times, want %d: %v", want, n, least, seen)
		}
	}
	if version >= 19 && seen["sample  spin.func1"] == 0 {
		t.Errorf("no CPU samples of the loop: %v", seen)
	}
}

func wantActivities(t *testing.T, line *evidence.Timeline) {
	t.Helper()
	got := map[string]uint64{}
	logs := 0
	for _, k := range line.Kinds {
		got[k.Name] += k.Count
	}
	for _, a := range line.Activities {
		logs += len(a.Logs)
	}
	for name, want := range map[string]uint64{"order": 5, "mail": 5, "open": 1, "parse": 5, "price": 5, "store": 5} {
		if got[name] != want {
			t.Errorf("%d tasks or regions %s, want %d", got[name], name, want)
		}
	}
	if logs == 0 {
		t.Error("no log")
	}
}

// TestMemory holds the estimate of the scan against what reading takes, and the bound on it.
func TestMemory(t *testing.T) {
	in := opened(t, specimen.Legacy(t, "go1.21.13", 60))
	before := heap()
	r, err := Open(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	took := heap() - before
	if r.survey.need < took || r.survey.need-bytesFixed > 2*took {
		t.Errorf("%d bytes are estimated of a trace of %d, %d are taken", r.survey.need, in.Size, took)
	}
	runtime.KeepAlive(r)
	in.Options.MaxMemory = r.survey.need / 2
	_, err = Open(context.Background(), in)
	var told *format.Error
	if !errors.As(err, &told) || !strings.Contains(err.Error(), "--max-memory") || !strings.Contains(err.Error(), "Go 1.22 or later") {
		t.Fatalf("%v", err)
	}
	var need int64
	if _, err := fmt.Sscanf(told.Help, "raise it with --max-memory %dMiB", &need); err != nil {
		t.Fatal(err, told.Help)
	}
	if most := r.survey.need + r.survey.need/8; need<<20 > most {
		t.Errorf("%d MiB are asked for, where %d bytes are needed", need, r.survey.need)
	}
	in.Options.MaxMemory = need << 20
	if _, err := Open(context.Background(), in); err != nil {
		t.Errorf("with what the error asked for: %v", err)
	}
}

// TestVeryLarge holds that a file of many gigabytes is refused without a look at it.
func TestVeryLarge(t *testing.T) {
	in := input(t, make121().begin().end())
	if err := os.Truncate(in.Path, 1<<40); err != nil {
		t.Skipf("no sparse file can be made here: %v", err)
	}
	in.Size = 1 << 40
	if _, err := Open(context.Background(), in); err == nil || !strings.Contains(err.Error(), "this one would take about 26214400 MiB, and 1536 MiB are allowed") {
		t.Errorf("%v", err)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestMade(t *testing.T) {
	stats, c, err := readAll(input(t, make121().begin().str(1, "work").event(evUserRegion, 10, 0, 0, 1, 0).event(evGoSched, 5, 0).end()))
	if err != nil || stats.Rest != nil {
		t.Fatal(err, stats.Rest)
	}
	line := c.Timeline
	if line.Procs != 4 || line.AtStart != 2 || len(line.Kinds) != 1 || line.Kinds[0].Name != "work" || line.Kinds[0].Open != 1 {
		t.Errorf("%+v", line)
	}
}

func TestRefused(t *testing.T) {
	whole := make121().begin().end()
	procs := make121().begin()
	for p := range uint64(maxProcs + 1) {
		procs.event(evBatch, p+1, 2000)
	}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"cut before the frequency", whole[:len(whole)-6], "call trace.Stop before it ends"},
		{"cut within an event", whole[:len(whole)-1], "it is cut off"},
		{"only a header", whole[:headerSize], "no event in it"},
		{"too old", []byte("go 1.8 trace\x00\x00\x00\x00 and more"), "older than those of Go 1.11"},
		{"unknown", []byte("go 1.12 trace\x00\x00\x00 and more"), "format 1.12 is not known"},
		{"another file", []byte("goroutine 1 [running]:\n"), "no header"},
		{"garbage", append(bytes.Clone(whole), 0xff, 0xff, 0), "unknown type"},
		{"events before a batch", make121().event(evGoSched, 1, 0).end(), "before the first batch"},
		{"contradiction", make121().begin().event(evGoStart, 1, 99, 3).end(), "no consistent ordering"},
		{"a long number", append(make121().begin().b.Bytes(), append([]byte{evGoSched | 1<<6}, bytes.Repeat([]byte{0xff}, 20)...)...), "a number that does not end"},
		{"a long event", append(make121().begin().b.Bytes(), evGoCreate|3<<6, 0xff, 0xff, 3), "more than 2048 bytes"},
		{"a long string", append(make121().begin().b.Bytes(), evString, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 1), "it is cut off"},
		{"many Ps", procs.end(), "more than 4096 processors"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := input(t, test.data)
			_, err := Open(context.Background(), in)
			var told *format.Error
			if !errors.As(err, &told) || told.Path != in.Path || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want a *format.Error with %q", err, test.want)
			}
		})
	}
}

// TestPanics holds that a panic of x/exp/trace ends the reading and nothing more: it has no answer to texts that are not there.
func TestPanics(t *testing.T) {
	stats, c, err := readAll(input(t, make121().begin().event(evGoSched, 5, 0).event(evGoStartLabel, 1, 8, 2, 77).event(evGoSched, 5, 0).end()))
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(stats.Rest, errPanicked) || c.Timeline.Events == 0 {
		t.Errorf("rest %v after %d events", stats.Rest, stats.Events)
	}
	if err := guard(func() error { panic("oops") }); !errors.Is(err, errPanicked) || !strings.Contains(err.Error(), "oops") {
		t.Error(err)
	}
}

// TestManyAtStart: x/exp/trace calls itself for each goroutine that neither waits nor runs at the beginning. As many as are allowed are read,
// more are refused before its stack would overflow, which nobody survives.
func TestManyAtStart(t *testing.T) {
	many := func(ps, n uint64, waiting bool) []byte {
		m := make121()
		for p := range ps {
			m.event(evBatch, p, 1000)
			for g := range n / ps {
				if m.event(evGoCreate, 1, g*ps+p+10, 1, 0); waiting {
					m.event(evGoWaiting, 0, g*ps+p+10)
				}
			}
		}
		return m.event(evBatch, 0, 1000000).event(evGomaxprocs, 1, 4, 0).event(evProcStart, 1, 0).end()
	}
	for _, test := range []struct {
		ps, n   uint64
		waiting bool
	}{{1, maxRow - 1, false}, {2, maxRow - 2, false}, {1, 3 * maxRow, true}} {
		_, c, err := readAll(input(t, many(test.ps, test.n, test.waiting)))
		if err != nil || uint64(c.Timeline.AtStart) != test.n {
			t.Errorf("%+v: %v", test, err)
		}
	}
	for _, ps := range []uint64{1, 4} {
		if _, err := Open(context.Background(), input(t, many(ps, maxRow+8, false))); err == nil || !strings.Contains(err.Error(), "ready at its beginning") {
			t.Errorf("%v", err)
		}
	}
	later := make121().event(evBatch, 0, 1000).event(evGomaxprocs, 1, 4, 0).event(evProcStart, 1, 0)
	for g := range uint64(maxRow + 10) {
		later.event(evGoCreate, 1, g+10, 1, 0)
	}
	if _, err := Open(context.Background(), input(t, later.end())); err != nil {
		t.Errorf("goroutines that are created while it is traced are not bounded: %v", err)
	}
}

func TestVersion(t *testing.T) {
	for head, want := range map[string]int{"go 1.11 trace\x00\x00\x00": 11, "go 1.21 trace\x00\x00\x00\x01": 21, "go 1.5 trace\x00\x00\x00\x00": 5,
		"go 1.22 trace\x00\x00\x00": 0, "go 1.11 tracer\x00\x00": 0, "go 1.21 trace": 0, "": 0, "go 1.-1 trace\x00\x00\x00": 0, "go 1.011 trace\x00\x00": 0} {
		if got, ok := Version([]byte(head)); ok != (want != 0) || ok && got != want {
			t.Errorf("%q: %d %v, want %d", head, got, ok, want)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	in := input(t, make121().begin().end())
	r, err := Open(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(ctx, fold.New(r.Stacks())); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := Open(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// FuzzRead holds that no input makes a panic, a hang or a large heap.
func FuzzRead(f *testing.F) {
	whole := make121().begin().str(1, "work").event(evUserRegion, 10, 0, 0, 1, 0).event(evGoSched, 5, 0).end()
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(make121().begin().event(evGoStartLabel, 1, 8, 2, 77).end())
	f.Add(bytes.Replace(whole, []byte("1.21"), []byte("1.11"), 1))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 || len(data) == 0 {
			return
		}
		path := dir + "/trace"
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		in := opened(t, path)
		in.Options.MaxMemory = 64 << 20
		stats, c, err := readAll(in)
		var told *format.Error
		switch {
		case err != nil && !errors.As(err, &told):
			t.Errorf("%v is no *format.Error", err)
		case err == nil && stats.Events > 0 && c.Timeline == nil:
			t.Error("no Timeline")
		}
	})
}
