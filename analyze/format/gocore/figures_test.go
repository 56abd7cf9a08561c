package gocore

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// figure is the last value that the program printed under a name.
func (i *incident) figure(t *testing.T, name string) float64 {
	t.Helper()
	value := ""
	for _, l := range i.lines(t, "figure") {
		if len(l) == 2 && l[0] == name {
			value = l[1]
		}
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatalf("figure %s: %v", name, err)
	}
	return v
}

func TestHeapFigures(t *testing.T) {
	for _, toolchain := range versions {
		for _, mode := range []string{"plain", "limit", "off", "percent"} {
			t.Run(versionName(toolchain)+"/"+mode, func(t *testing.T) {
				i := die(t, "figures", fixtures.Program{Toolchain: toolchain, Args: []string{mode}})
				i.noGaps(t)
				checkHeap(t, i, mode)
			})
		}
	}
}

// checkHeap compares the figures of the core with those that the program printed a moment before. Those that a collection
// sets are equal; those that grow with every allocation have grown a little.
func checkHeap(t *testing.T, i *incident, mode string) {
	h := i.Heap
	if h == nil {
		t.Fatal("no heap figures")
	}
	near := func(name string, got, slack float64) {
		t.Helper()
		if want := i.figure(t, name); math.Abs(got-want) > slack {
			t.Errorf("%s is %.0f, the program printed %.0f", name, got, want)
		}
	}
	near("limit", float64(h.Limit), 0)
	near("percent", float64(h.Percent), 0)
	near("cycles", float64(h.Cycles), 0)
	near("forced", float64(h.Forced), 0)
	near("pause", float64(h.PauseNS), 0)
	near("cpu", h.CPU, 1e-9)
	near("live", float64(h.Live), 512<<10)
	near("inuse", float64(h.InUse), 1<<20)
	near("sys", float64(h.Sys), 4<<20)
	near("stacks", float64(h.Stacks), 512<<10)
	near("totalalloc", float64(h.TotalAlloc), 1<<20)
	if mode == "off" {
		if h.Goal != 0 {
			t.Errorf("the goal is %d although the collector is off", h.Goal)
		}
		return
	}
	near("goal", float64(h.Goal), 0.03*i.figure(t, "goal"))
	if h.Marked < 40<<20 || h.Marked > h.Live {
		t.Errorf("%d bytes marked of %d live, and 40 MB are kept", h.Marked, h.Live)
	}
}

func TestScheduler(t *testing.T) {
	for _, toolchain := range versions {
		t.Run(versionName(toolchain), func(t *testing.T) {
			checkQuiet(t, die(t, "figures", fixtures.Program{Toolchain: toolchain, Args: []string{"plain"}}))
			checkBusy(t, die(t, "figures", fixtures.Program{Toolchain: toolchain, Args: []string{"busy"}}))
		})
	}
}

// checkQuiet: nobody runs but the goroutine that dies of the signal, for which the runtime has stopped the scheduler.
func checkQuiet(t *testing.T, i *incident) {
	s := i.Scheduler
	if s.GOMAXPROCS != int(i.figure(t, "gomaxprocs")) || s.CPUs != int(i.figure(t, "cpus")) || len(s.Processors) != s.GOMAXPROCS {
		t.Errorf("GOMAXPROCS %d, CPUs %d, %d processors; the program printed %v and %v", s.GOMAXPROCS, s.CPUs, len(s.Processors),
			i.figure(t, "gomaxprocs"), i.figure(t, "cpus"))
	}
	if s.GlobalQueue != 0 || !s.GCWaiting || s.GCPhase != "off" {
		t.Errorf("global queue %d, collector waiting %t, phase %s", s.GlobalQueue, s.GCWaiting, s.GCPhase)
	}
	for _, p := range s.Processors {
		if p.Queue != 0 || p.SchedTick > 1_000_000 || p.Status != "idle" && p.Status != "running" {
			t.Errorf("processor %d: %d in its queue, %d ticks, %s", p.ID, p.Queue, p.SchedTick, p.Status)
		}
	}
	if i.Process.UptimeNS <= 0 || i.Process.UptimeNS > 60e9 {
		t.Errorf("uptime %d ns", i.Process.UptimeNS)
	}
}

// checkBusy: one processor and 21 goroutines that yield; all that are runnable stand in a queue, but for one that is on
// its way.
func checkBusy(t *testing.T, i *incident) {
	s := i.Scheduler
	if s.GOMAXPROCS != 1 || len(s.Processors) == 0 {
		t.Fatalf("GOMAXPROCS %d, %d processors", s.GOMAXPROCS, len(s.Processors))
	}
	runnable, running := 0, 0
	for _, g := range i.Goroutines().All() {
		switch g.State {
		case evidence.StateRunnable:
			runnable++
		case evidence.StateRunning:
			running++
		}
	}
	queued := s.GlobalQueue
	for _, p := range s.Processors {
		queued += p.Queue
	}
	// A goroutine that yields is runnable shortly before it stands in a queue; with one processor that is one at a time. A batch that goes
	// from the global to the local queue is counted in neither (globrunqget takes it off the size before it moves it, runtime/proc.go).
	least := runnable - 1
	if moving(i) {
		least = 1
	}
	if queued > runnable || queued < least || runnable < 19 || running > 1 {
		t.Errorf("%d goroutines runnable and %d running, %d in the queues", runnable, running, queued)
	}
	if ticks := s.Processors[0].SchedTick; ticks < 10_000 {
		t.Errorf("schedtick %d under a loop of Gosched", ticks)
	}
}

// moving reports whether a thread is just moving goroutines between queues.
func moving(i *incident) bool {
	return slices.ContainsFunc(i.Threads, func(th evidence.Thread) bool {
		s := i.Stack(th.Stack)
		for at := range s.Len() {
			if strings.HasPrefix(s.At(at).Function, "runtime.globrunqget") {
				return true
			}
		}
		return false
	})
}

func TestLabelsAndThreadLock(t *testing.T) {
	for _, toolchain := range versions {
		t.Run(versionName(toolchain), func(t *testing.T) {
			i := die(t, "figures", fixtures.Program{Toolchain: toolchain, Args: []string{"plain"}})
			var labels []string
			locked := 0
			for row, g := range i.Goroutines().All() {
				if depthOf(i.Case, g, "main.labelled") < 0 {
					continue
				}
				if l := i.Goroutines().Labels(row); l != "" {
					labels = append(labels, l)
				}
				if g.Flags.Has(evidence.FlagLocked) {
					locked++
				}
			}
			slices.Sort(labels)
			want := `"job": "index", "tenant": "blue \"7\""` + "\n" + `"k00": "v"`
			for n := 1; n < 20; n++ {
				want += fmt.Sprintf(`, "k%02d": "%d"`, n, 2*n)
			}
			want += "\n" + `"only": ""`
			if got := strings.Join(labels, "\n"); got != want {
				t.Errorf("labels\n%s\nwant\n%s", got, want)
			}
			if locked != 1 {
				t.Errorf("%d goroutines are locked to their threads, want 1", locked)
			}
		})
	}
}

// The process of the program figures, as it was started.
func TestProcessFacts(t *testing.T) {
	i := die(t, "figures", fixtures.Program{Args: []string{"plain", "with blanks"}, RunEnv: []string{"TOKEN=very-secret", "EMPTY="},
		Flags: []string{"-trimpath"}})
	p := i.Process
	if p.PID != i.capture.PID || p.Language != "go" || p.Version != i.capture.Go || p.GOOS != "linux" || p.GOARCH == "" || p.Stripped {
		t.Errorf("process %+v", p)
	}
	if len(p.Args) != 3 || filepath.Base(p.Args[0]) != "figures" || p.Args[1] != "plain" || p.Args[2] != "with blanks" {
		t.Errorf("arguments %q", p.Args)
	}
	if got := strings.Join(p.Environ, " "); got != "EMPTY GOTRACEBACK TOKEN" {
		t.Errorf("environment %q, want the names only", got)
	}
	if p.MainPath != "example.com/services/figures" || p.MainModule != "example.com/services" {
		t.Errorf("main package %q of module %q", p.MainPath, p.MainModule)
	}
	for _, want := range []evidence.Setting{{Key: "-trimpath", Value: "true"}, {Key: "CGO_ENABLED", Value: "0"}, {Key: "GOOS", Value: "linux"}} {
		if !slices.Contains(p.Settings, want) {
			t.Errorf("settings %v have no %v", p.Settings, want)
		}
	}
	if p.Threads != len(i.Threads) || p.Threads < 3 {
		t.Errorf("%d threads, %d were read", p.Threads, len(i.Threads))
	}
	var text strings.Builder
	if err := i.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "very-secret") {
		t.Error("the value of an environment variable is in the case")
	}
}
