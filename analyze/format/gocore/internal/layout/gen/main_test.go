package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// lacking skips a test because of a tool that is missing, which on CI is a failure.
func lacking(t *testing.T, tool string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %v", tool, err)
	}
	t.Skipf("needs %s: %v", tool, err)
}

// localRelease is the release of the toolchain that runs the test.
func localRelease(t *testing.T) string {
	t.Helper()
	v, err := layout.ParseVersion(runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	if toolchains[v.Release()] == "" {
		t.Skipf("there is no table for %s", runtime.Version())
	}
	return v.Release()
}

// TestTablesAreCurrent generates the tables of the local release again. What they say of other patch releases is generated
// when their toolchains are on the machine; what they say of experiments takes minutes and is not.
func TestTablesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a dozen programs")
	}
	release := localRelease(t)
	if _, err := exec.LookPath("go"); err != nil {
		lacking(t, "the go command", err)
	}
	extent, end := allPatches, "\nexperiment "
	for _, toolchain := range otherPatches(release) {
		if !present(toolchain) {
			t.Logf("%s is not on this machine: the comparison stops before other patch releases", toolchain)
			extent, end = ownPatch, "\ncompared "
		}
	}
	for _, arch := range layout.Arches() {
		file := filepath.Join("..", "tables", tableName(release, arch)+".txt")
		stored, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := generate(release, arch, extent)
		if err != nil {
			lacking(t, "the toolchain "+toolchains[release], err)
		}
		head, _, _ := bytes.Cut(stored, []byte(end))
		if fresh = bytes.TrimSuffix(fresh, []byte("\n")); !bytes.Equal(head, fresh) {
			t.Errorf("%s is stale: run go generate ./analyze/format/gocore/internal/layout\nfirst difference:\n%s", file, difference(head, fresh))
		}
	}
}

// present reports whether a toolchain can be used without fetching it.
func present(toolchain string) bool {
	cmd := exec.Command("go", "version")
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOPROXY=off", "GOFLAGS=")
	return cmd.Run() == nil
}

// difference shows the first line in which two texts differ.
func difference(a, b []byte) string {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "- " + x[i] + "\n+ " + y[i]
		}
	}
	return "one is the start of the other"
}

// TestToolchains checks that the command has a toolchain and experiments for each release with a table, and that the
// table says so.
func TestToolchains(t *testing.T) {
	for _, release := range layout.Known("") {
		if experiments[release] == "" {
			t.Errorf("no experiments for Go %s", release)
		}
		for _, arch := range layout.Arches() {
			text, err := os.ReadFile(filepath.Join("..", "tables", tableName(release, arch)+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte("\ntoolchain "+toolchains[release]+"\n")) {
				t.Errorf("the table of Go %s for %s was not made with %q", release, arch, toolchains[release])
			}
			for x := range strings.FieldsSeq(experiments[release]) {
				if !bytes.Contains(text, []byte("\nexperiment "+x+"\n")) {
					t.Errorf("the table of Go %s for %s lacks the experiment %s", release, arch, x)
				}
			}
		}
	}
}

func TestWaitReasons(t *testing.T) {
	tests := []struct {
		name, source string
		want         []string
		fails        string
	}{
		{"ordinary", "const (\n\twaitReasonZero waitReason = iota\n\twaitReasonA\n)\n\nvar waitReasonStrings = [...]string{waitReasonZero: \"\", waitReasonA: \"a b\"}\n",
			[]string{"", "a b"}, ""},
		{"no text", "const (\n\twaitReasonZero waitReason = iota\n\twaitReasonA\n)\n\nvar waitReasonStrings = [...]string{waitReasonZero: \"\"}\n",
			nil, "waitReasonA has no text"},
		{"no constant", "const waitReasonZero = 0\n\nvar waitReasonStrings = [...]string{waitReasonZero: \"\", waitReasonB: \"b\"}\n",
			nil, "1 wait reasons, but 2 texts"},
		{"moved", "const waitReasonZero = 0\n", nil, "no variable waitReasonStrings"},
		{"damaged", "const (", nil, "expected"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "runtime2.go")
			if err := os.WriteFile(file, []byte("package runtime\n\n"+test.source), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := waitReasons(file)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("%v, want an error with %q", err, test.fails)
				}
				return
			}
			if err != nil || strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestShared(t *testing.T) {
	ref := func(function string, nth, total int) layout.Reference {
		return layout.Reference{Variable: "v", Function: function, Nth: nth, Total: total}
	}
	program := func(refs ...layout.Reference) *witness {
		w := &witness{totals: map[string]int{}, refs: map[layout.Reference]bool{}}
		for _, r := range refs {
			w.totals[r.Function] = r.Total
			w.refs[r] = r.Nth >= 0
		}
		return w
	}
	a := program(ref("both", 0, 1), ref("moved", 0, 2), ref("longer", 0, 2), ref("first", 0, 1))
	b := program(ref("both", 0, 1), ref("moved", 1, 2), ref("longer", 1, 3))
	got := shared([]*witness{a, b})
	want := map[layout.Reference]bool{ref("both", 0, 1): true, ref("longer", 0, 2): true, ref("longer", 1, 3): true, ref("first", 0, 1): false}
	if len(got) != len(want) {
		t.Errorf("shared references %v, want %v", got, want)
	}
	for r, everywhere := range want {
		if is, ok := got[r]; !ok || is != everywhere {
			t.Errorf("%v: %v, %v; want %v", r, is, ok, everywhere)
		}
	}
}

func TestChoose(t *testing.T) {
	found := map[layout.Reference]bool{}
	for i := range 20 {
		name := string(rune('a' + i))
		found[layout.Reference{Variable: "v", Function: name, Total: 20 - i}] = true
		found[layout.Reference{Variable: "v", Function: name, Nth: 1, Total: 20 - i}] = true
	}
	found[layout.Reference{Variable: "v", Function: "seldom", Total: 1}] = false
	found[layout.Reference{Variable: "w", Function: "seldom", Total: 1}] = false
	found[layout.Reference{Variable: "v", Function: "t", Total: 30}] = true
	found[layout.Reference{Variable: "v", Function: "a", Total: 21, Add: 8}] = true
	chosen := choose(found)
	count := map[string]int{}
	for _, r := range chosen {
		count[r.Variable]++
		if r.Nth != 0 || r.Variable == "v" && r.Function == "seldom" {
			t.Errorf("chose %v", r)
		}
	}
	if count["v"] != perVariable+1 || count["w"] != 1 {
		t.Errorf("chose %v: want %d functions for v, one of them in two forms, and one for w", count, perVariable)
	}
}

func TestKernelProgram(t *testing.T) {
	release := localRelease(t)
	b := &builder{dir: t.TempDir(), toolchain: toolchains[release]}
	text, err := b.kernelProgram("arm64")
	if err != nil {
		lacking(t, "the toolchain "+b.toolchain, err)
	}
	for _, want := range []string{"type ucontext struct", "type sigcontext struct", "type stackt struct", "var xucontext"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "epoll") || !isSource(text) {
		t.Errorf("the program holds more than the types of the signal frame:\n%s", text)
	}
}
