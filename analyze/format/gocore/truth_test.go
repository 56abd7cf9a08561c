package gocore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// The programs under testdata/programs print what is true of them before they die: addresses, states, figures. These tests
// hold what the reader finds against that.

// versions are a toolchain of each release that the reader knows.
var versions = []string{"", "go1.25.7", "go1.24.13", "go1.23.12", "go1.22.12", "go1.21.13"}

// versionName names a toolchain in the name of a test.
func versionName(toolchain string) string {
	if toolchain == "" {
		return "local"
	}
	return toolchain
}

// incident is a program that died, with what it said of itself.
type incident struct {
	*evidence.Case
	capture *fixtures.Capture
	said    [][]string // the lines it printed, in words
}

// die builds and runs a program of testdata/programs until it dies, and reads its core.
func die(t *testing.T, name string, p fixtures.Program) *incident {
	t.Helper()
	return readCapture(t, name, p, fixtures.Crash)
}

// readCapture runs a program of testdata/programs, takes its core and reads it.
func readCapture(t *testing.T, name string, p fixtures.Program, take func(context.Context, fixtures.Program) (*fixtures.Capture, error)) *incident {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", name))
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	capture, err := take(context.Background(), p)
	fixtures.Require(t, err)
	c, err := readCore(t, capture.Core, format.Options{Executable: capture.Exe})
	if err != nil {
		t.Fatal(err)
	}
	return &incident{c, capture, wordsOf(t, capture.Text)}
}

func wordsOf(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines [][]string
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		lines = append(lines, strings.Fields(in.Text()))
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// lines are the lines that begin with a word, without it; a program that says nothing makes a test that checks nothing.
func (i *incident) lines(t *testing.T, word string) [][]string {
	t.Helper()
	var found [][]string
	for _, l := range i.said {
		if len(l) > 1 && l[0] == word {
			found = append(found, l[1:])
		}
	}
	if len(found) == 0 {
		t.Fatalf("the program printed no %q", word)
	}
	return found
}

// with are the goroutines that have a function on their stacks.
func (i *incident) with(function string) []evidence.Goroutine {
	var found []evidence.Goroutine
	for _, g := range i.Goroutines().All() {
		if depthOf(i.Case, g, function) >= 0 {
			found = append(found, g)
		}
	}
	return found
}

// depthOf is the index of the innermost frame of a function on a goroutine's stack; -1 when there is none.
func depthOf(c *evidence.Case, g evidence.Goroutine, function string) int {
	for d, f := range c.Stack(g.Stack).All() {
		if f.Function == function {
			return d
		}
	}
	return -1
}

// noGaps holds that the whole core was read.
func (i *incident) noGaps(t *testing.T) {
	t.Helper()
	for _, g := range i.Gaps {
		if !strings.Contains(g.Why, noDWARF) && !strings.Contains(g.Why, "Go 1.21 keeps its pointer maps") {
			t.Errorf("gap: %s: %s", g.What, g.Why)
		}
	}
}

func parseHex(t *testing.T, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parseInt(t *testing.T, s string) int {
	t.Helper()
	v, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWaits(t *testing.T) {
	for _, toolchain := range versions {
		t.Run(versionName(toolchain), func(t *testing.T) { checkWaits(t, fixtures.Program{Toolchain: toolchain}) })
	}
	for _, p := range []fixtures.Program{
		{Flags: []string{"-gcflags=all=-N -l"}},
		{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{Toolchain: "go1.21.13", Flags: []string{"-ldflags=-s -w"}},
		{Toolchain: "go1.23.12", Flags: []string{"-gcflags=all=-N -l"}},
		{Env: []string{"GOARCH=arm64"}},
		{Toolchain: "go1.22.12", Env: []string{"GOARCH=arm64"}},
	} {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) { checkWaits(t, p) })
	}
}

func checkWaits(t *testing.T, p fixtures.Program) {
	t.Parallel()
	i := die(t, "waits", p)
	i.noGaps(t)
	for _, l := range i.lines(t, "truth") {
		i.checkWait(t, l[0], parseInt(t, l[1]), l[2], parseHex(t, l[3]), l[4:])
	}
	i.checkPlace(t)
	for _, l := range i.lines(t, "none") {
		found := i.with(l[0])
		if len(found) != parseInt(t, l[1]) {
			t.Errorf("%s: %d goroutines, want %s", l[0], len(found), l[1])
		}
		for _, g := range found {
			if w := i.waitsOf(t, g); len(w) != 0 {
				t.Errorf("%s: goroutine %d waits for %+v, want nothing", l[0], g.ID, w)
			}
		}
	}
}

// checkPlace holds that a global is called by its name, where the program has a symbol table.
func (i *incident) checkPlace(t *testing.T) {
	t.Helper()
	for _, l := range i.lines(t, "truth") {
		s, _ := i.Sync(parseHex(t, l[3]))
		want := ""
		if l[0] == "main.lockGlobal" {
			want = "global main.global"
			if i.Process.Stripped {
				want = "a global variable"
			}
		}
		if s.Where != want {
			t.Errorf("%s: the object is said to be %q, want %q", l[0], s.Where, want)
		}
	}
}

// checkWait holds that goroutines wait for an object, and that the object is what the program says.
func (i *incident) checkWait(t *testing.T, function string, count int, kind string, addr uint64, state []string) {
	t.Helper()
	kind, mode, several := strings.Cut(kind, "/")
	found := i.with(function)
	if len(found) != count {
		t.Errorf("%s: %d goroutines, want %d", function, len(found), count)
	}
	for _, g := range found {
		waits := i.waitsOf(t, g)
		at := slices.IndexFunc(waits, func(w evidence.Wait) bool { return w.Sync == addr })
		switch {
		case at < 0:
			t.Errorf("%s: goroutine %d (%s) waits for %s, want %#x", function, g.ID, g.Reason, waitText(waits), addr)
		case !several && len(waits) != 1:
			t.Errorf("%s: goroutine %d waits for %s, want only %#x", function, g.ID, waitText(waits), addr)
		case several && waits[at].Mode.String() != mode:
			t.Errorf("%s: goroutine %d waits for %#x to %s, want %s", function, g.ID, addr, waits[at].Mode, mode)
		}
	}
	s, ok := i.Sync(addr)
	if !ok || s.Kind.String() != kind {
		t.Errorf("%s: the object at %#x is %v (%v), want %s", function, addr, s.Kind, ok, kind)
		return
	}
	is := stateText(s)
	for _, want := range state {
		if !slices.Contains(is, want) {
			t.Errorf("%s: %s at %#x is %v, want %s", function, kind, addr, is, want)
		}
	}
}

func (i *incident) waitsOf(t *testing.T, g evidence.Goroutine) []evidence.Wait {
	t.Helper()
	for row, other := range i.Goroutines().All() {
		if other.ID == g.ID {
			return i.Waits(row)
		}
	}
	t.Fatalf("goroutine %d has no row", g.ID)
	return nil
}

func waitText(waits []evidence.Wait) string {
	var s []string
	for _, w := range waits {
		s = append(s, fmt.Sprintf("%#x", w.Sync))
	}
	return "[" + strings.Join(s, " ") + "]"
}

// stateText lists the state of an object as the programs print it.
func stateText(s evidence.Sync) []string {
	return strings.Fields(fmt.Sprintf("len=%d cap=%d closed=%t locked=%t waiters=%d readers=%d pending=%t counter=%d",
		s.Len, s.Cap, s.Closed, s.Locked, s.Waiters, s.Readers, s.Pending, s.Counter))
}
