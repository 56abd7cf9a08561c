package godump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// toolchains are the releases whose text is tested: the oldest, one in the middle, the newest.
var toolchains = []string{"go1.21.13", "go1.24.13", "go1.26.8"}

// missing skips a test that needs a tool, and fails it in CI, where the tools are installed.
func missing(t *testing.T, tool, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %s", tool, why)
	}
	t.Skipf("%s is missing: %s", tool, why)
}

// build compiles a program of testdata/programs with a toolchain.
func build(t *testing.T, program, toolchain string) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		missing(t, "linux", "the programs send themselves signals")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		missing(t, "go", err.Error())
	}
	source, err := os.ReadFile(filepath.Join("testdata", "programs", program, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"main.go": source, "go.mod": []byte("module example.test/" + program + "\n\ngo 1.21\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(goTool, "build", "-o", program, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("toolchain")) || bytes.Contains(out, []byte("download")) {
			missing(t, toolchain, string(out))
		}
		t.Fatalf("building %s with %s: %v\n%s", program, toolchain, err, out)
	}
	return filepath.Join(dir, program)
}

// run runs a program to its death and returns what it wrote to standard error.
func run(t *testing.T, level, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var text bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = t.TempDir() // where a core may fall
	cmd.Env = []string{"GOTRACEBACK=" + level}
	cmd.Stderr = &text
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %v did not die by itself: %v", program, args, err)
	}
	return text.Bytes()
}

var (
	oracleHeader   = regexp.MustCompile(`^goroutine (\d+)(?: gp=0x[0-9a-f]+ m=(?:nil|\d+)(?: mp=0x[0-9a-f]+)?)? \[([^]]*)\]:$`)
	oracleFunction = regexp.MustCompile(`^([^\t].*)\(([^()]*)\)$`)
	oracleLocation = regexp.MustCompile(`^\t(.+):(\d+)(?: \+0x([0-9a-f]+))?(?: fp=0x[0-9a-f]+ sp=0x[0-9a-f]+ pc=0x[0-9a-f]+)?$`)
	oracleCreator  = regexp.MustCompile(`^created by (.+?)(?: in goroutine (\d+))?$`)
)

// oracle reads a dump a second time, with regular expressions and one line at a time, into lines such as
// "7 [select]", "main.f(0x1) main.go:3".
func oracle(text string) []string {
	var out []string
	lines := strings.Split(text, "\n")
	inside := false
	for i, line := range lines {
		if line == "runtime stack:" {
			inside = true
			out = append(out, "0 []")
		} else if m := oracleHeader.FindStringSubmatch(line); m != nil {
			inside = true
			out = append(out, m[1]+" ["+m[2]+"]")
		} else if line == "" {
			inside = false
		}
		if !inside || i+1 == len(lines) {
			continue
		}
		at := oracleLocation.FindStringSubmatch(lines[i+1])
		if at == nil {
			continue
		}
		where := fmt.Sprintf("%s:%s+%s", at[1], at[2], at[3])
		if m := oracleCreator.FindStringSubmatch(line); m != nil {
			out = append(out, fmt.Sprintf("by %s %s %s", m[1], m[2], where))
		} else if m := oracleFunction.FindStringSubmatch(line); m != nil {
			out = append(out, fmt.Sprintf("%s(%s) %s", m[1], m[2], where))
		}
	}
	return out
}

// parsed brings what Parse gives into the form of oracle.
func parsed(t *testing.T, text []byte) []string {
	t.Helper()
	var out []string
	where := func(f Frame) string {
		offset := ""
		if f.PCOffset != 0 {
			offset = strconv.FormatUint(f.PCOffset, 16)
		}
		return fmt.Sprintf("%s:%d+%s", f.File, f.Line, offset)
	}
	err := Parse(bytes.NewReader(text), func(b *Block) error {
		out = append(out, fmt.Sprintf("%d [%s]", b.ID, brackets(b)))
		for _, f := range b.Frames {
			out = append(out, fmt.Sprintf("%s(%s) %s", f.Function, f.Args, where(f)))
		}
		if b.CreatedBy != nil {
			parent := ""
			if b.Parent != 0 {
				parent = strconv.FormatInt(b.Parent, 10)
			}
			out = append(out, fmt.Sprintf("by %s %s %s", b.CreatedBy.Function, parent, where(*b.CreatedBy)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func brackets(b *Block) string {
	s := b.Status
	if b.Minutes > 0 {
		s += fmt.Sprintf(", %d minutes", b.Minutes)
	}
	if b.Flags.Has(evidence.FlagLocked) {
		s += ", locked to thread"
	}
	return s
}

func checkOracle(t *testing.T, text []byte) {
	t.Helper()
	want, got := oracle(string(text)), parsed(t, text)
	if len(want) == 0 {
		t.Fatalf("the oracle found nothing in:\n%s", text)
	}
	if diff := lineDiff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("Parse and the oracle differ:\n%s", diff)
	}
}

// checkGaps allows only the gap about GOTRACEBACK=single.
func checkGaps(t *testing.T, c *evidence.Case) {
	t.Helper()
	for _, g := range c.Gaps {
		if !strings.Contains(g.Why, "GOTRACEBACK=single") {
			t.Errorf("gap in a whole dump: %s: %s", g.What, g.Why)
		}
	}
}

// TestZoo reads the dumps of a program with a goroutine in each way to wait, and compares with what the program printed of
// itself.
func TestZoo(t *testing.T) {
	for _, toolchain := range toolchains {
		t.Run(toolchain, func(t *testing.T) {
			program := build(t, "zoo", toolchain)
			for _, way := range []struct{ how, level string }{{"panic", "all"}, {"quit", "crash"}, {"fatal", "system"}} {
				t.Run(way.how, func(t *testing.T) {
					text := run(t, way.level, program, way.how)
					checkOracle(t, text)
					c, err := readText(t, "dump.txt", text)
					if err != nil {
						t.Fatalf("%v\n%s", err, text)
					}
					checkGaps(t, c)
					checkZoo(t, c, truthOf(t, text), way.level != "all")
					checkZooDeath(t, c, way.how)
				})
			}
		})
	}
}

// truthOf reads the line that the program wrote about itself.
func truthOf(t *testing.T, text []byte) map[string]uint64 {
	t.Helper()
	_, line, ok := strings.Cut(string(text), "truth ")
	line, _, _ = strings.Cut(line, "\n")
	if !ok {
		t.Fatalf("the program said nothing of itself:\n%s", text)
	}
	return numbered(line)
}

// zooReasons are the ways to wait of the program, with the number of goroutines; those whose reason differs between releases
// are left out.
var zooReasons = map[string]int{
	"chan receive": 3, "chan send": 1, "chan receive (nil chan)": 1, "chan send (nil chan)": 1, "select": 1,
	"select (no cases)": 1, "sync.Mutex.Lock": 3, "sync.RWMutex.RLock": 2, "sync.RWMutex.Lock": 1, "sync.Cond.Wait": 1,
	"IO wait": 1,
}

func checkZoo(t *testing.T, c *evidence.Case, truth map[string]uint64, detailed bool) {
	t.Helper()
	reasons := map[string]int{}
	waiters := map[uint64]int{}
	for _, g := range c.Goroutines().All() {
		if !g.Flags.Has(evidence.FlagSystem) {
			reasons[g.Reason]++
		}
		waiters[g.WaitsOn]++
	}
	for reason, want := range zooReasons {
		if reasons[reason] != want {
			t.Errorf("%d goroutines in %q, want %d", reasons[reason], reason, want)
		}
	}
	objects := []struct {
		name  string
		count int
	}{{"mutex", 3}, {"cond", 1}}
	if detailed { // the runtime's own frames show the rest
		objects = append(objects, []struct {
			name  string
			count int
		}{{"rwmutex", 3}, {"group", 2}, {"numbers", 1}}...)
	}
	for _, o := range objects {
		if got := waiters[truth[o.name]]; got != o.count {
			t.Errorf("%d goroutines wait for %s at %#x, want %d", got, o.name, truth[o.name], o.count)
		}
	}
	if s, ok := c.Sync(truth["mutex"]); !ok || s.Kind != evidence.SyncMutex || s.Trust != evidence.TrustMatched {
		t.Errorf("the mutex is %+v, %v", s, ok)
	}
	if s, ok := c.Sync(truth["rwmutex"]); detailed && (!ok || s.Kind != evidence.SyncRWMutex || !s.Pending || s.Locked) {
		t.Errorf("the rwmutex is %+v, %v: a writer waits for a reader", s, ok)
	}
	checkZooTransfers(t, c, truth)
}

func checkZooTransfers(t *testing.T, c *evidence.Case, truth map[string]uint64) {
	t.Helper()
	lengths := map[int64]int{}
	for _, x := range c.Transfers {
		lengths[x.Length]++
		g, _ := c.Goroutines().ByID(x.Goroutine)
		if at := c.Stack(g.Stack).At(x.Depth).Function; at != x.Function || x.Write {
			t.Errorf("transfer %+v is at a frame of %s", x, at)
		}
		if x.FD >= 0 && uint64(x.FD) != truth["pipe"] {
			t.Errorf("transfer %+v, but the pipe is %d", x, truth["pipe"])
		}
	}
	if lengths[2] != 1 {
		t.Errorf("%d reads of 2 bytes, want the one from the connection: %+v", lengths[2], c.Transfers)
	}
	if len(c.Transfers) > 2 || len(c.Transfers) == 2 && lengths[1] != 1 {
		t.Errorf("transfers %+v, want at most the read of 2 bytes and the one of 1", c.Transfers)
	}
}

func checkZooDeath(t *testing.T, c *evidence.Case, how string) {
	t.Helper()
	d := c.Death
	switch {
	case d == nil:
		t.Fatal("no death")
	case how == "panic":
		if !d.Panicking || d.Goroutine != 1 || len(c.Panics) != 1 || c.Panics[0].Text != "the zoo\nis closed" {
			t.Errorf("death %+v, panics %+v", d, c.Panics)
		}
	case how == "quit":
		if d.Signal != 3 || d.SignalName != "SIGQUIT" || d.Goroutine != 0 || d.Panicking || d.Throwing {
			t.Errorf("death %+v", d)
		}
		if len(c.Threads) == 0 {
			t.Error("no thread: GOTRACEBACK=crash prints what each runs")
		}
	default:
		if d.Fatal != "sync: unlock of unlocked mutex" || !d.Throwing || d.Goroutine != 1 {
			t.Errorf("death %+v", d)
		}
	}
}

// crashes are the ways to die of the program and what must be read of them.
var crashes = []struct {
	how    string
	texts  []string // of the panics, the newest first
	kind   string   // type of the newest
	fatal  string
	signal int
	nobody bool // no goroutine is to blame
	top    string
}{
	{how: "nil", texts: []string{nilText}, kind: "runtime.errorString", signal: 11, top: "main.(*pair).sum"},
	{how: "other", texts: []string{nilText}, kind: "runtime.errorString", signal: 11, top: "main.(*pair).sum"},
	{how: "index", texts: []string{"runtime error: index out of range [5] with length 2"}, kind: "runtime.boundsError"},
	{how: "slice", texts: []string{"runtime error: slice bounds out of range [5:2]"}, kind: "runtime.boundsError"},
	{how: "divide", texts: []string{"runtime error: integer divide by zero"}, kind: "runtime.errorString"},
	{how: "assert", texts: []string{"interface conversion: interface {} is int, not string"}, kind: "*runtime.TypeAssertionError"},
	{how: "nilmap", texts: []string{"assignment to entry in nil map"}, kind: "runtime.plainError"},
	{how: "closed", texts: []string{"close of closed channel"}, kind: "runtime.plainError"},
	{how: "struct", texts: []string{"(main.pair) "}, kind: "main.pair"},
	{how: "name", texts: []string{`main.name("no (such) thing")`}, kind: "main.name"},
	{how: "code", texts: []string{"main.code(-4)"}, kind: "main.code"},
	{how: "error", texts: []string{"outer: failed: inner"}},
	{how: "lines", texts: []string{"one\ntwo\n\nthree"}},
	{how: "again", texts: []string{"after first", "first"}},
	{how: "during", texts: []string{"second", "first"}},
	{how: "goexit", texts: []string{"too late"}},
	{how: "asleep", fatal: "all goroutines are asleep - deadlock!", nobody: true},
	{how: "exit", fatal: "no goroutines (main called runtime.Goexit) - deadlock!", nobody: true},
	{how: "overflow", fatal: "stack overflow", top: "main.deeper"},
	{how: "memory", fatal: "runtime: out of memory"},
	{how: "unlock", fatal: "sync: unlock of unlocked mutex"},
	{how: "open", texts: []string{"stopped"}},
}

const nilText = "runtime error: invalid memory address or nil pointer dereference"

// TestCrash reads what the runtime prints of each way to die.
func TestCrash(t *testing.T) {
	for _, toolchain := range toolchains {
		t.Run(toolchain, func(t *testing.T) {
			program := build(t, "crash", toolchain)
			for i, want := range crashes {
				t.Run(want.how, func(t *testing.T) {
					text := run(t, "single", program, want.how)
					if !Sniff(text) {
						t.Errorf("Sniff does not claim:\n%s", text)
					}
					if want.how != "exit" {
						checkOracle(t, text)
					}
					c, err := readText(t, "dump.txt", text)
					if err != nil {
						t.Fatalf("%v\n%s", err, text)
					}
					if want.how != "exit" {
						checkGaps(t, c)
					}
					checkCrash(t, c, i)
				})
			}
		})
	}
}

func checkCrash(t *testing.T, c *evidence.Case, i int) {
	t.Helper()
	want, d := crashes[i], c.Death
	if d == nil {
		t.Fatal("no death")
	}
	if d.Fatal != want.fatal || d.Throwing != (want.fatal != "") || d.Panicking != (len(want.texts) > 0) || d.Signal != want.signal {
		t.Errorf("death %+v", d)
	}
	if len(c.Panics) != len(want.texts) {
		t.Fatalf("panics %+v, want %q", c.Panics, want.texts)
	}
	for n, p := range c.Panics {
		if !strings.HasPrefix(p.Text, want.texts[n]) || p.Goroutine != d.Goroutine {
			t.Errorf("panic %d is %+v, want %q in goroutine %d", n, p, want.texts[n], d.Goroutine)
		}
	}
	if len(c.Panics) > 0 && (c.Panics[0].Type != want.kind || c.Panics[0].Runtime != strings.Contains(want.kind, "runtime.")) {
		t.Errorf("the panic is %+v, want type %q", c.Panics[0], want.kind)
	}
	if want.nobody {
		if d.Goroutine != 0 {
			t.Errorf("goroutine %d is blamed", d.Goroutine)
		}
		return
	}
	g, ok := c.Goroutines().ByID(d.Goroutine)
	if !ok || !g.Flags.Has(evidence.FlagCrashed) {
		t.Fatalf("goroutine %d is not the one that crashed: %+v", d.Goroutine, g)
	}
	if s := c.Stack(g.Stack); want.top != "" && s.At(0).Function != want.top {
		t.Errorf("it died in %s, want %s", s.At(0).Function, want.top)
	}
}

// TestSame is apart because Go 1.26 prints a value that was recovered and raised again once, and earlier releases twice.
func TestSame(t *testing.T) {
	for _, toolchain := range toolchains {
		t.Run(toolchain, func(t *testing.T) {
			c := mustRead(t, string(run(t, "single", build(t, "crash", toolchain), "same")))
			if n := len(c.Panics); n < 1 || n > 2 || c.Panics[n-1].Text != "first" || !c.Panics[n-1].Recovered {
				t.Errorf("panics %+v", c.Panics)
			}
		})
	}
}
