package gocore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/proc"
	delvecore "github.com/go-delve/delve/pkg/proc/core"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// Other readers of the same cores: delve's library, viewcore and gdb. They agree with ours, or the test says in what not.

// peerBuilds are builds that delve can read: it needs debug information.
var peerBuilds = []fixtures.Program{
	{Scenario: "lockhog-ledger"},
	{Scenario: "healthy-pubsub"},
	{Scenario: "lockhog-ledger", Flags: []string{"-buildmode=pie"}},
	{Scenario: "lockhog-ledger", Flags: []string{"-gcflags=all=-N -l"}},
	{Scenario: "crash-nil-router"},
	{Scenario: "lockhog-config", Toolchain: "go1.25.7"},
}

func readScenario(t *testing.T, p fixtures.Program) *incident {
	t.Helper()
	capture, err := fixtures.Crash(context.Background(), p)
	fixtures.Require(t, err)
	c, err := readCore(t, capture.Core, format.Options{Executable: capture.Exe})
	if err != nil {
		t.Fatal(err)
	}
	return &incident{c, capture, nil}
}

func TestDelveAgrees(t *testing.T) {
	for _, p := range peerBuilds {
		t.Run(fmt.Sprint(p.Scenario, " ", versionName(p.Toolchain), p.Flags), func(t *testing.T) {
			i := readScenario(t, p)
			group, err := delvecore.OpenCore(i.capture.Core, i.capture.Exe, nil)
			if err != nil {
				t.Fatal(err)
			}
			compareWithDelve(t, i, group.Selected)
		})
	}
}

// compareWithDelve compares the ids of all goroutines, and every frame of those that are parked. delve's stack of a goroutine
// on a thread stops at the signal frame, so those are left to the crash text.
func compareWithDelve(t *testing.T, i *incident, target *proc.Target) {
	t.Helper()
	gs, _, err := proc.GoroutinesInfo(target, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var theirs, ours []int64
	parked := 0
	for _, g := range gs {
		theirs = append(theirs, g.ID)
		own, ok := i.Goroutines().ByID(g.ID)
		if !ok || own.State != evidence.StateWaiting || g.Thread != nil {
			continue
		}
		parked++
		frames, err := proc.GoroutineStacktrace(target, g, 100, 0)
		if err != nil {
			t.Errorf("goroutine %d: %v", g.ID, err)
			continue
		}
		compareFrames(t, i, own, frames)
	}
	waiting := 0
	for _, g := range i.Goroutines().All() {
		ours = append(ours, g.ID)
		if g.State == evidence.StateWaiting && g.Thread == 0 {
			waiting++
		}
	}
	slices.Sort(theirs)
	slices.Sort(ours)
	if !slices.Equal(ours, theirs) {
		t.Errorf("goroutines %v, delve has %v", ours, theirs)
	}
	if parked < waiting || parked == 0 {
		t.Errorf("only %d of %d parked goroutines were compared", parked, waiting)
	}
}

// compareFrames: delve gives the line of frame 0 at its pc, we that of the call before it, as the runtime does.
func compareFrames(t *testing.T, i *incident, g evidence.Goroutine, frames []proc.Stackframe) {
	t.Helper()
	var theirs, ours []string
	for n, f := range frames {
		name, line := "?", f.Call.Line
		if f.Call.Fn != nil {
			name = f.Call.Fn.Name
		}
		if n == 0 {
			line = 0
		}
		theirs = append(theirs, fmt.Sprintf("%s:%d", ourName(name), line))
	}
	for n, f := range i.Stack(g.Stack).All() {
		if n == 0 {
			f.Line = 0
		}
		ours = append(ours, fmt.Sprintf("%s:%d", f.Function, f.Line))
	}
	if !slices.Equal(ours, theirs) {
		t.Errorf("goroutine %d:\n\t%s\ndelve has\n\t%s", g.ID, strings.Join(ours, "\n\t"), strings.Join(theirs, "\n\t"))
	}
}

// typeArguments are what delve prints and the runtime leaves out.
var typeArguments = regexp.MustCompile(`\[.*\]`)

func ourName(name string) string { return typeArguments.ReplaceAllString(name, "[...]") }

func TestViewcoreAgrees(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "go", For: "running viewcore"})
	}
	for _, p := range peerBuilds[:2] {
		i := readScenario(t, p)
		out, err := exec.Command("go", "tool", "viewcore", i.capture.Core, "--exe", i.capture.Exe, "goroutines").CombinedOutput()
		if err != nil {
			t.Fatalf("viewcore: %v\n%s", err, out)
		}
		count := strings.Count("\n"+string(out), "\nG stacksize=")
		if count != i.Goroutines().Len() {
			t.Errorf("%s: %d goroutines, viewcore has %d:\n%s", p.Scenario, i.Goroutines().Len(), count, out)
		}
	}
}

// gdbThread and gdbFrame are the lines of gdb's "thread apply all bt".
var (
	gdbThread = regexp.MustCompile(`^Thread \d+ \(.*LWP (\d+)`)
	gdbFrame  = regexp.MustCompile(`^#\d+ +(?:0x[0-9a-f]+ in )?([^ ]+)`)
)

func TestGDBAgrees(t *testing.T) {
	if _, err := exec.LookPath("gdb"); err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "gdb", For: "comparing the stacks of threads (Debian: gdb)"})
	}
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "threads"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []fixtures.Program{{Dir: dir}, {Scenario: "crash-signal-codec"}, {Scenario: "lockhog-ledger"}, {Scenario: "busy-dispatcher"}} {
		t.Run(filepath.Base(p.Dir)+p.Scenario, func(t *testing.T) {
			i := readScenario(t, p)
			stacks := gdbStacks(t, i)
			if len(stacks) != len(i.Threads) {
				t.Errorf("%d threads, gdb has %d", len(i.Threads), len(stacks))
			}
			compared := 0
			for _, th := range i.Threads {
				compared += compareWithGDB(t, th.TID, i.threadNames(th), stacks[th.TID])
			}
			if compared < 2*len(i.Threads) {
				t.Errorf("only %d frames of %d threads were compared", compared, len(i.Threads))
			}
		})
	}
}

// gdbStacks runs gdb and returns the functions of each thread, innermost first.
func gdbStacks(t *testing.T, i *incident) map[int][]string {
	t.Helper()
	cmd := exec.Command("gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "thread apply all bt 40", i.capture.Exe, i.capture.Core)
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=", "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gdb: %v", err)
	}
	stacks := map[int][]string{}
	tid := 0
	for line := range strings.Lines(string(out)) {
		if m := gdbThread.FindStringSubmatch(line); m != nil {
			tid, _ = strconv.Atoi(m[1])
			stacks[tid] = nil
		} else if m := gdbFrame.FindStringSubmatch(line); m != nil && tid != 0 {
			stacks[tid] = append(stacks[tid], strings.TrimSuffix(m[1], ".abi0"))
		}
	}
	return stacks
}

// compareWithGDB compares the innermost frames of a thread, up to the first change of stack, which gdb does not know how to
// cross, and the first frame that it cannot name. It returns how many there were.
func compareWithGDB(t *testing.T, tid int, ours, theirs []string) int {
	t.Helper()
	for n := range min(len(ours), len(theirs)) {
		a, b := ours[n], theirs[n]
		if a == "<signal handler called>" || b == "<signal" || a == "runtime.sigtramp" || strings.HasPrefix(b, "0x") || b == "??" {
			return n
		}
		if a != ourName(b) && strings.TrimLeft(a, "_") != strings.TrimLeft(b, "_") {
			t.Errorf("thread %d: frame %d is %s, gdb has %s\n\tours %v\n\tgdb  %v", tid, n, a, b, ours, theirs)
			return n
		}
		if a == "runtime.asmcgocall" || a == "runtime.systemstack" || a == "runtime.mcall" {
			return n
		}
	}
	return min(len(ours), len(theirs))
}
