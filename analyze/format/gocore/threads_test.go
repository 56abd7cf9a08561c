package gocore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/native"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

var flagsByName = map[string]evidence.Flags{"-": 0, "cgo": evidence.FlagCgo, "callback": evidence.FlagCallback, "locked": evidence.FlagLocked}

func TestThreads(t *testing.T) {
	for _, p := range []fixtures.Program{{}, {Toolchain: "go1.25.7"}, {Toolchain: "go1.23.12"}, {Toolchain: "go1.21.13"},
		{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}} {
		t.Run(fmt.Sprint("crash ", versionName(p.Toolchain), p.Flags), func(t *testing.T) {
			i := die(t, "threads", p)
			i.noGaps(t)
			i.checkThreads(t)
			for _, function := range []string{"main.computes", "main.asksForTime"} {
				for _, g := range i.with(function) {
					if g.State == evidence.StateRunning && !g.Flags.Has(evidence.FlagSignal) {
						t.Errorf("%s was interrupted by the signal that the runtime relays, and has flags %v", function, g.Flags)
					}
				}
			}
		})
	}
	for _, toolchain := range []string{"", "go1.21.13"} {
		t.Run("gcore "+versionName(toolchain), func(t *testing.T) {
			i := readCapture(t, "threads", fixtures.Program{Toolchain: toolchain}, fixtures.Snapshot)
			i.noGaps(t)
			i.checkThreads(t)
			if !i.Death.Live {
				t.Error("a core by gcore is of a living process")
			}
			i.checkIdle(t)
			for _, th := range i.Threads {
				for _, f := range i.Stack(th.Stack).All() {
					if strings.HasPrefix(f.Function, "runtime.sig") {
						t.Errorf("thread %d has %s on its stack, and there was no signal", th.TID, f.Function)
					}
				}
			}
		})
	}
	t.Run("dump by delve", func(t *testing.T) {
		i := dumpedByDelve(t)
		i.noGaps(t)
		i.checkThreads(t)
	})
}

// checkThreads holds states, flags and threads of goroutines against what the program says of them.
func (i *incident) checkThreads(t *testing.T) {
	t.Helper()
	for _, l := range i.lines(t, "thread") {
		found := i.with(l[0])
		if len(found) != 1 {
			t.Errorf("%s: %d goroutines", l[0], len(found))
			continue
		}
		g := found[0]
		if g.State == evidence.StateRunnable && l[1] == "running" && !i.Death.Live {
			continue // the runtime has preempted it to die in peace (runtime/proc.go, freezetheworld)
		}
		if g.State.String() != l[1] || !g.Flags.Has(flagsByName[l[2]]) {
			t.Errorf("%s: goroutine %d is %v with flags %v, want %s %s", l[0], g.ID, g.State, g.Flags, l[1], l[2])
		}
		if s := i.Stack(g.Stack); s.Broken != "" || s.At(s.Len()-1).Function != "runtime.goexit" {
			t.Errorf("%s: goroutine %d: stack is broken: %q, outermost %s", l[0], g.ID, s.Broken, s.At(s.Len()-1).Function)
		}
		if l[1] != "waiting" {
			if i.Process.Stripped && l[3] != "-" && !strings.Contains(l[3], ".") {
				l[3] = "?" // without symbols a function of C has no name
			}
			i.checkThread(t, g, l[0], l[3])
		}
	}
}

// checkIdle holds that there is a thread that looks for work or waits for some: it is in the scheduler, and executes nothing.
func (i *incident) checkIdle(t *testing.T) {
	t.Helper()
	for _, th := range i.Threads {
		if th.State == "idle" && th.Goroutine == 0 && slices.Contains(i.threadNames(th), "runtime.findRunnable") {
			return
		}
	}
	t.Error("no thread is idle in the scheduler")
}

// checkThread holds that a goroutine's thread names it, and has its frames below those of C.
func (i *incident) checkThread(t *testing.T, g evidence.Goroutine, function, innermost string) {
	t.Helper()
	at := slices.IndexFunc(i.Threads, func(th evidence.Thread) bool { return th.TID == g.Thread })
	if at < 0 {
		t.Errorf("%s: goroutine %d is on thread %d, which is not there", function, g.ID, g.Thread)
		return
	}
	th := i.Threads[at]
	names := i.threadNames(th)
	if th.Goroutine != g.ID || !slices.Contains(names, function) || innermost != "-" && !slices.Contains(names, innermost) {
		t.Errorf("%s: thread %d executes goroutine %d, and its stack is %v", function, th.TID, th.Goroutine, names)
	}
	if c, own := slices.Index(names, innermost), slices.Index(names, function); c > own {
		t.Errorf("%s: %s stands below the goroutine's own frame in %v", function, innermost, names)
	}
}

// threadNames are the functions of a thread, innermost first.
func (i *incident) threadNames(th evidence.Thread) []string {
	var names []string
	for _, f := range i.Stack(th.Stack).All() {
		names = append(names, f.Function)
	}
	return names
}

// dumpedByDelve reads a core that delve has written of the living program.
func dumpedByDelve(t *testing.T) *incident {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "threads"))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := fixtures.Build(context.Background(), fixtures.Program{Dir: dir})
	fixtures.Require(t, err)
	text := filepath.Join(t.TempDir(), "text")
	pid := runReady(t, exe, text)
	core := filepath.Join(t.TempDir(), "core")
	delveDump(t, pid, core)
	c, err := readCore(t, core, format.Options{Executable: exe})
	if err != nil {
		t.Fatal(err)
	}
	return &incident{c, &fixtures.Capture{Exe: exe, Core: core, Text: text}, wordsOf(t, text)}
}

// runReady runs a program until it says READY, and kills it when the test ends.
func runReady(t *testing.T, exe, text string) (pid int) {
	t.Helper()
	stderr, err := os.Create(text)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd := exec.Command(exe)
	cmd.Stderr, cmd.Env = stderr, []string{"GOTRACEBACK=none"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if in := bufio.NewScanner(out); !in.Scan() || in.Text() != "READY" {
		t.Fatalf("the program said %q", in.Text())
	}
	return cmd.Process.Pid
}

func delveDump(t *testing.T, pid int, path string) {
	t.Helper()
	group, err := native.Attach(pid, nil, nil)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("delve cannot attach here: %v", err)
	}
	defer group.Detach(false)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	state := proc.DumpState{}
	group.Selected.Dump(f, 0, &state)
	if state.Err != nil {
		t.Fatal(state.Err)
	}
}

// TestUnswitched stops a thread at each of the first instructions of time.now, before it changes to the system stack: the goroutine's stack
// is whole at all of them.
func TestUnswitched(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "threads"))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := fixtures.Build(context.Background(), fixtures.Program{Dir: dir})
	fixtures.Require(t, err)
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "gdb", For: "stopping a thread at an instruction"})
	}
	text := filepath.Join(t.TempDir(), "text")
	pid := runReady(t, exe, text)
	for steps := range 3 {
		core := filepath.Join(t.TempDir(), "core")
		commands := []string{"set pagination off", "break *'time.now'", "continue", "delete"}
		for range steps {
			commands = append(commands, "stepi")
		}
		args := []string{"-nx", "-batch", "-p", fmt.Sprint(pid)}
		for _, c := range append(commands, "gcore "+core, "detach") {
			args = append(args, "-ex", c)
		}
		out, err := exec.Command(gdb, args...).CombinedOutput()
		if _, missing := os.Stat(core); err != nil || missing != nil {
			t.Fatalf("gdb: %v\n%s", err, out)
		}
		c, err := readCore(t, core, format.Options{Executable: exe})
		if err != nil {
			t.Fatal(err)
		}
		i := &incident{c, &fixtures.Capture{Exe: exe, Core: core, Text: text}, wordsOf(t, text)}
		i.noGaps(t)
		found := i.with("main.asksForTime")
		if len(found) != 1 || i.Stack(found[0].Stack).At(0).Function != "time.now" {
			t.Errorf("after %d steps: %d goroutines ask for the time", steps, len(found))
		}
	}
}
