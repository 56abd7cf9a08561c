//go:build linux

package native

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// need skips a test that wants a tool this machine lacks; in CI that is a failure.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(t, "needs "+tool)
		}
	}
}

func lacking(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// run runs a tool and gives its output.
func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// compile builds a program of testdata.
func compile(t testing.TB, compiler, source string, flags ...string) string {
	t.Helper()
	need(t, compiler)
	out := filepath.Join(t.TempDir(), "app")
	argv := append([]string{compiler, "-x", "c", "-O1", "-fno-optimize-sibling-calls", "-pthread", "testdata/" + source, "-o", out}, flags...)
	run(t, argv...)
	return out
}

// crash runs a program until it dumps core.
func crash(t testing.TB, argv ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", append([]string{"-c", `ulimit -c unlimited; exec "$0" "$@"`}, argv...)...)
	cmd.Dir, cmd.Env = dir, []string{}
	_ = cmd.Run() // it ends by a signal
	found, _ := filepath.Glob(filepath.Join(dir, "*core*"))
	for _, f := range found {
		if strings.HasPrefix(filepath.Base(f), "qemu_") || len(found) == 1 {
			return f
		}
	}
	lacking(t, "needs a core_pattern that writes a core into the working folder")
	return ""
}

// openCore opens a core and its modules.
func openCore(t testing.TB, path string, opts elfcore.FindOptions) (*elfcore.Core, *Modules, []elfcore.Gap) {
	t.Helper()
	c, gaps, err := elfcore.Open(path, elfcore.Options{})
	if err != nil || len(gaps) != 0 {
		t.Fatalf("%v %v", err, gaps)
	}
	t.Cleanup(func() { _ = c.Close() })
	m, missing := NewModules(c, opts)
	return c, m, missing
}

// names gives the functions of a stack in gdb's words.
func names(s Stack) []string {
	var out []string
	for _, f := range s.Frames {
		switch {
		case f.Trampoline:
			out = append(out, "<signal handler called>")
		case f.Symbol.Name == "":
			out = append(out, "??")
		default:
			out = append(out, f.Symbol.Name)
		}
	}
	return out
}

var (
	gdbThread = regexp.MustCompile(`^Thread \d+ \((?:Thread 0x[0-9a-f]+ \()?LWP (\d+)\)`)
	gdbFrame  = regexp.MustCompile(`^#\d+\s+(?:0x([0-9a-f]+) in )?(<signal handler called>|[^ (]+)`)
)

// gdbLine is a frame as gdb prints it; pc is 0 for a signal trampoline.
type gdbLine struct {
	pc   uint64
	name string
}

// gdbStacks asks gdb for the frames of every thread. gdb gets no separate debug files: with them it would print inlined
// calls of the C library as frames of their own.
func gdbStacks(t testing.TB, exe, core string) map[int][]gdbLine {
	t.Helper()
	need(t, "gdb")
	out := run(t, "gdb", "-nx", "-batch", "-ex", "set debug-file-directory /nonexistent", "-ex", "set backtrace past-main on",
		"-ex", "set backtrace past-entry on", "-ex", "set print address on", "-ex", "file "+exe, "-ex", "core-file "+core,
		"-ex", "thread apply all backtrace")
	stacks := map[int][]gdbLine{}
	tid := 0
	for line := range strings.Lines(out) {
		if m := gdbThread.FindStringSubmatch(line); m != nil {
			tid, _ = strconv.Atoi(m[1])
		} else if m := gdbFrame.FindStringSubmatch(line); m != nil && tid != 0 {
			pc, _ := strconv.ParseUint(m[1], 16, 64)
			name, _, _ := strings.Cut(m[2], "@")
			stacks[tid] = append(stacks[tid], gdbLine{pc, name})
		}
	}
	if len(stacks) == 0 {
		t.Fatalf("gdb printed no stack:\n%s", out)
	}
	return stacks
}

// aliases maps the names of functions to their addresses, for the names that gdb and we choose of several.
func aliases(t testing.TB, files ...string) map[string]string {
	t.Helper()
	need(t, "nm")
	out := map[string]string{}
	for _, f := range files {
		for _, flag := range []string{"-a", "-D"} {
			text, _ := exec.Command("nm", flag, f).Output() // a stripped or a static file has one of the two
			for line := range strings.Lines(string(text)) {
				if f := strings.Fields(line); len(f) == 3 && strings.ContainsAny(f[1], "tTwWi") {
					name, _, _ := strings.Cut(f[2], "@")
					out[name] = f[0]
				}
			}
		}
	}
	return out
}

// compareWithGDB holds address and name of every frame of every thread against gdb, and gives the stacks.
func compareWithGDB(t *testing.T, exe, core string, opts elfcore.FindOptions) []Stack {
	t.Helper()
	dirs := elfcore.DefaultDebugDirs
	elfcore.DefaultDebugDirs = nil
	defer func() { elfcore.DefaultDebugDirs = dirs }()
	want := gdbStacks(t, exe, core)
	c, m, gaps := openCore(t, core, opts)
	if len(gaps) != 0 {
		t.Fatalf("gaps: %v", gaps)
	}
	files := []string{exe}
	for _, mod := range m.All() {
		files = append(files, mod.Path)
	}
	alias := aliases(t, files...)
	if len(c.Threads) != len(want) {
		t.Errorf("%d threads, gdb has %d", len(c.Threads), len(want))
	}
	var all []Stack
	for _, th := range c.Threads {
		s := m.Unwind(FromThread(th.Regs), c.Mem.View(), Options{})
		all = append(all, s)
		if s.Gap != nil {
			t.Errorf("thread %d: %v", th.TID, s.Gap)
		}
		sameFrames(t, th.TID, want[th.TID], s, alias)
	}
	return all
}

func sameFrames(t *testing.T, tid int, want []gdbLine, s Stack, alias map[string]string) {
	t.Helper()
	got := names(s)
	if len(want) != len(got) {
		t.Errorf("thread %d: %d frames, gdb has %d:\n%v\n%v", tid, len(got), len(want), got, want)
		return
	}
	for i, w := range want {
		if w.pc != 0 && w.pc != s.Frames[i].PC {
			t.Errorf("thread %d, frame %d: %#x, gdb has %#x", tid, i, s.Frames[i].PC, w.pc)
		}
		base, _, _ := strings.Cut(got[i], ".part.") // gdb cuts the number of such a piece
		if w.name != got[i] && strings.TrimSuffix(w.name, ".part") != base && (alias[w.name] == "" || alias[w.name] != alias[got[i]]) {
			t.Errorf("thread %d, frame %d: %s, gdb has %s", tid, i, got[i], w.name)
		}
	}
}

// inSomeStack reports whether some stack has these names one after the other.
func inSomeStack(stacks []Stack, want ...string) bool {
	for _, s := range stacks {
		if strings.Contains("\n"+strings.Join(names(s), "\n")+"\n", "\n"+strings.Join(want, "\n")+"\n") {
			return true
		}
	}
	return false
}

// TestLikeGDB compares all threads of a C program with gdb, however it was linked.
func TestLikeGDB(t *testing.T) {
	for name, flags := range map[string][]string{
		"pie":             nil,
		"no-pie":          {"-no-pie"},
		"static":          {"-static"},
		"frame pointers":  {"-fno-omit-frame-pointer"},
		"no eh_frame_hdr": {"-Wl,--no-eh-frame-hdr"},
	} {
		t.Run(name, func(t *testing.T) {
			exe := compile(t, "gcc", "threads.c.txt", flags...)
			stacks := compareWithGDB(t, exe, crash(t, exe), elfcore.FindOptions{Exe: exe})
			for _, want := range [][]string{
				{"last_words", "on_segv", "<signal handler called>", "bad", "work", "main"},
				{"in_poll", "run"}, {"in_read", "run"}, {"in_cond", "run"}, {"in_alloca", "run"},
				{"pause", "in_pause", "<signal handler called>"},
				{"deep", "deep", "deep", "deep", "run"},
				{"in_qsort", "run"},
			} {
				if !inSomeStack(stacks, want...) {
					t.Errorf("no stack has %v", want)
				}
			}
		})
	}
}

// TestDebugFrameOnly unwinds a program whose own code has .debug_frame and no .eh_frame.
func TestDebugFrameOnly(t *testing.T) {
	exe := compile(t, "gcc", "threads.c.txt", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g", "-gz")
	stacks := compareWithGDB(t, exe, crash(t, exe), elfcore.FindOptions{Exe: exe})
	if !inSomeStack(stacks, "deep", "deep", "run") {
		t.Error("the recursion is missing")
	}
}

// TestSeparateSymbols strips a program and finds its names again by each of the ways.
func TestSeparateSymbols(t *testing.T) {
	need(t, "objcopy", "strip", "xz", "nm")
	exe := compile(t, "gcc", "threads.c.txt")
	core := crash(t, exe)
	debug := filepath.Join(t.TempDir(), "app.debug")
	run(t, "objcopy", "--only-keep-debug", exe, debug)
	work := []string{"last_words", "on_segv", "<signal handler called>", "bad", "work", "main"}
	img, err := elfcore.OpenImage(exe)
	if err != nil {
		t.Fatal(err)
	}
	byID := elfcore.BuildIDPaths(img.Identify().GNUBuildID, elfcore.FindOptions{DebugDirs: []string{t.TempDir()}}, ".debug")[0]

	for _, tc := range []struct {
		name string
		make func(dir, stripped string) elfcore.FindOptions
		want bool
	}{
		{"stripped", func(dir, stripped string) elfcore.FindOptions { return elfcore.FindOptions{} }, false},
		{"debuglink", func(dir, stripped string) elfcore.FindOptions {
			copyFile(t, debug, filepath.Join(dir, ".debug", "app.debug"))
			run(t, "objcopy", "--add-gnu-debuglink="+debug, stripped)
			return elfcore.FindOptions{}
		}, true},
		{"debuglink to another build", func(dir, stripped string) elfcore.FindOptions {
			run(t, "objcopy", "--add-gnu-debuglink="+debug, stripped)
			other := compile(t, "gcc", "threads.c.txt", "-DOTHER", "-Wl,--build-id=none")
			copyFile(t, other, filepath.Join(dir, ".debug", "app.debug"))
			return elfcore.FindOptions{}
		}, false},
		{"gnu_debugdata", func(dir, stripped string) elfcore.FindOptions {
			mini := filepath.Join(dir, "mini")
			run(t, "objcopy", "-S", "--remove-section=.comment", "--keep-symbols="+symbolList(t, exe), exe, mini)
			run(t, "xz", mini)
			run(t, "objcopy", "--add-section=.gnu_debugdata="+mini+".xz", stripped)
			return elfcore.FindOptions{}
		}, true},
		{"build-id", func(dir, stripped string) elfcore.FindOptions {
			copyFile(t, debug, byID)
			return elfcore.FindOptions{DebugDirs: []string{filepath.Dir(filepath.Dir(filepath.Dir(byID)))}}
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			stripped := filepath.Join(dir, "app")
			run(t, "strip", "-o", stripped, exe)
			opts := tc.make(dir, stripped)
			opts.Exe = stripped
			c, m, gaps := openCore(t, core, opts)
			if len(gaps) != 0 {
				t.Fatal(gaps)
			}
			s := m.Unwind(FromThread(c.Threads[0].Regs), c.Mem.View(), Options{})
			if s.Gap != nil {
				t.Error(s.Gap)
			}
			if got := inSomeStack([]Stack{s}, work...); got != tc.want {
				t.Errorf("names found: %v, want %v: %v", got, tc.want, names(s))
			}
		})
	}
}

// symbolList writes the names of a program's functions to a file. objcopy -S with --keep-symbols keeps just these.
func symbolList(t testing.TB, exe string) string {
	t.Helper()
	var out bytes.Buffer
	for line := range strings.Lines(run(t, "nm", exe)) {
		if f := strings.Fields(line); len(f) == 3 && strings.ContainsAny(f[1], "tTwW") {
			out.WriteString(f[2] + "\n")
		}
	}
	path := filepath.Join(t.TempDir(), "symbols")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestNullCall finds the caller of a function pointer that was null.
func TestNullCall(t *testing.T) {
	exe := compile(t, "gcc", "null.c.txt")
	stacks := compareWithGDB(t, exe, crash(t, exe), elfcore.FindOptions{Exe: exe})
	f := stacks[0].Frames
	if len(f) < 3 || f[0].PC != 0 || f[1].Symbol.Name != "caller" || f[1].Trust != Guess || f[2].Trust != CFI {
		t.Errorf("frames: %+v", f)
	}
}

// TestMissingModule holds that a walk ends, with the module's name, where a file is not to be had or is a wrong one.
func TestMissingModule(t *testing.T) {
	exe := compile(t, "gcc", "threads.c.txt")
	core := crash(t, exe)
	moved := exe + ".moved"
	if err := os.Rename(exe, moved); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]elfcore.FindOptions{"not there": {}, "another program": {Exe: "/bin/sh"}} {
		c, m, gaps := openCore(t, core, opts)
		if len(gaps) != 1 || !strings.Contains(gaps[0].What, exe) {
			t.Errorf("%s: gaps %v", name, gaps)
		}
		s := m.Unwind(FromThread(c.Threads[0].Regs), c.Mem.View(), Options{})
		if s.Gap == nil || !strings.Contains(s.Gap.Why, exe) {
			t.Errorf("%s: gap %v", name, s.Gap)
		}
		last := s.Frames[len(s.Frames)-1]
		if last.Symbol.Module != exe || last.Symbol.Name != "" {
			t.Errorf("%s: the last frame is %+v", name, last)
		}
	}
}

// TestStop stops at an address the caller wants, and goes on from there.
func TestStop(t *testing.T) {
	exe := compile(t, "gcc", "threads.c.txt")
	c, m, _ := openCore(t, crash(t, exe), elfcore.FindOptions{Exe: exe})
	whole := m.Unwind(FromThread(c.Threads[0].Regs), c.Mem.View(), Options{})
	mid := len(whole.Frames) / 2
	first := m.Unwind(FromThread(c.Threads[0].Regs), c.Mem.View(), Options{Stop: func(pc uint64) bool { return pc == whole.Frames[mid].PC }})
	if !first.Stopped || len(first.Frames) != mid || first.Next.PC() != whole.Frames[mid].PC {
		t.Fatalf("stopped %v after %d of %d frames at %#x", first.Stopped, len(first.Frames), mid, first.Next.PC())
	}
	rest := m.Unwind(first.Next, c.Mem.View(), Options{Return: first.NextReturn})
	if got := append(names(first), names(rest)...); !cmp.Equal(got, names(whole)) {
		t.Errorf("in two parts: %v\nin one: %v", got, names(whole))
	}
	if short := m.Unwind(FromThread(c.Threads[0].Regs), c.Mem.View(), Options{Max: 2}); len(short.Frames) != 2 || short.Gap == nil {
		t.Errorf("%d frames of at most 2, gap %v", len(short.Frames), short.Gap)
	}
}

// TestArm64 unwinds a program of arm64 that ran under qemu: linked statically, as qemu tells of no libraries.
func TestArm64(t *testing.T) {
	need(t, "qemu-aarch64-static")
	exe := compile(t, "aarch64-linux-gnu-gcc", "threads.c.txt", "-static", "-Wl,-z,separate-code")
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatal(err)
	}
	c, m, gaps := openCore(t, crash(t, qemu, exe), elfcore.FindOptions{Exe: exe})
	if len(gaps) != 0 {
		t.Fatal(gaps)
	}
	var all []Stack
	for _, th := range c.Threads {
		s := m.Unwind(FromThread(th.Regs), c.Mem.View(), Options{})
		if s.Gap != nil {
			t.Errorf("thread %d: %v %v", th.TID, s.Gap, names(s))
		}
		all = append(all, s)
	}
	for _, want := range [][]string{
		{"last_words", "on_segv", "<signal handler called>", "bad", "work", "main"},
		{"in_poll", "run"}, {"in_read", "run"}, {"in_cond", "run"}, {"in_alloca", "run"},
		{"in_pause", "<signal handler called>"},
		{"deep", "deep", "deep", "run"}, {"in_qsort", "run"},
	} {
		if !inSomeStack(all, want...) {
			for _, s := range all {
				t.Log(names(s))
			}
			t.Fatalf("no stack has %v", want)
		}
	}
}

// TestVDSO names and unwinds the code that the kernel maps into every process.
func TestVDSO(t *testing.T) {
	exe := compile(t, "gcc", "null.c.txt")
	c, m, _ := openCore(t, crash(t, exe), elfcore.FindOptions{Exe: exe})
	img, bias, ok := c.VDSO()
	if !ok {
		t.Skip("this kernel has no vDSO")
	}
	f, err := img.ELF()
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, s := range syms {
		if s.Size == 0 || !strings.HasPrefix(s.Name, "__vdso") && !strings.HasPrefix(s.Name, "__kernel") {
			continue
		}
		tried++
		pc := s.Value + bias
		mod := m.Find(pc)
		got, _ := m.Symbol(pc)
		if mod == nil || mod.Path != "[vdso]" || got.Offset != 0 || got.Name == "" || mod.fdeFor(pc) == nil {
			t.Errorf("%s at %#x: module %v, symbol %+v", s.Name, pc, mod, got)
		}
	}
	if tried == 0 {
		t.Error("the vDSO has no functions")
	}
}
