package gocore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/godump"
	"github.com/gopostmortem/postmortem/fixtures"
)

// The runtime prints every goroutine before it dumps core (GOTRACEBACK=crash): ids, states, wait reasons, functions and
// lines. It is an independent oracle for all of them, so these tests hold every goroutine of every core against its text.

// readCore reads a core as the facade does.
func readCore(t *testing.T, path string, opt format.Options) (*evidence.Case, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, format.HeadSize)
	n, _ := f.ReadAt(head, 0)
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: path, Format: formatName, Size: info.Size()})
	err = Read(context.Background(), format.Input{Path: path, File: f, Size: info.Size(), Head: head[:n], Options: opt}, b)
	return b.Finish(), err
}

// build is one way to build and run a program.
type build struct {
	name string
	prog fixtures.Program
}

var builds = []build{
	{"go1.26", fixtures.Program{}},
	{"go1.26 stripped", fixtures.Program{Flags: []string{"-ldflags=-s -w"}}},
	{"go1.26 without DWARF", fixtures.Program{Flags: []string{"-ldflags=-w"}}},
	{"go1.26 PIE", fixtures.Program{Flags: []string{"-buildmode=pie"}}},
	{"go1.26 PIE stripped", fixtures.Program{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}},
	{"go1.26 unoptimised", fixtures.Program{Flags: []string{"-gcflags=all=-N -l"}}},
	{"go1.26 trimpath", fixtures.Program{Flags: []string{"-trimpath"}}},
	{"go1.25", fixtures.Program{Toolchain: "go1.25.7"}},
	{"go1.24", fixtures.Program{Toolchain: "go1.24.13"}},
	{"go1.23", fixtures.Program{Toolchain: "go1.23.12"}},
	{"go1.22", fixtures.Program{Toolchain: "go1.22.12"}},
	{"go1.21", fixtures.Program{Toolchain: "go1.21.13"}},
	{"go1.21 stripped", fixtures.Program{Toolchain: "go1.21.13", Flags: []string{"-ldflags=-s -w"}}},
	{"go1.23 PIE stripped", fixtures.Program{Toolchain: "go1.23.12", Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}},
	{"go1.26 arm64", fixtures.Program{Env: []string{"GOARCH=arm64"}}},
	{"go1.22 arm64", fixtures.Program{Toolchain: "go1.22.12", Env: []string{"GOARCH=arm64"}}},
}

// oracleScenarios are programs whose goroutines wait, run and die in many ways.
var oracleScenarios = []string{"lockhog-ledger", "crash-nil-router", "busy-dispatcher"}

func TestCoreEqualsCrashText(t *testing.T) {
	for _, b := range builds {
		for _, scenario := range oracleScenarios {
			t.Run(b.name+"/"+scenario, func(t *testing.T) {
				t.Parallel()
				p := b.prog
				p.Scenario = scenario
				capture, err := fixtures.Crash(context.Background(), p)
				if err != nil {
					fixtures.Require(t, err)
				}
				c, err := readCore(t, capture.Core, format.Options{Executable: capture.Exe})
				if err != nil {
					t.Fatal(err)
				}
				compareWithText(t, c, capture.Text)
			})
		}
	}
}

// noDWARF is in the Gap of a crash whose variables cannot be had, because the program was linked without debug information.
const noDWARF = "no debug information"

// compareWithText holds every goroutine of the text against the Case.
func compareWithText(t *testing.T, c *evidence.Case, text string) {
	t.Helper()
	f, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	compared := 0
	err = godump.Parse(bytes.NewReader(f), func(b *godump.Block) error {
		if b.ID == 0 || seen[b.ID] {
			return nil
		}
		seen[b.ID] = true
		compared++
		compareGoroutine(t, c, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if compared == 0 || compared != c.Goroutines().Len() {
		t.Errorf("the text has %d goroutines, the case %d", compared, c.Goroutines().Len())
	}
	for _, g := range c.Gaps {
		if !strings.Contains(g.Why, noDWARF) {
			t.Errorf("gap: %s: %s", g.What, g.Why)
		}
	}
}

func compareGoroutine(t *testing.T, c *evidence.Case, b *godump.Block) {
	t.Helper()
	g, ok := c.Goroutines().ByID(b.ID)
	if !ok {
		t.Errorf("goroutine %d of the text is not in the case", b.ID)
		return
	}
	if !b.Away { // who ran on another thread has gone on since the text was printed, and the text has no frames of it
		compareStack(t, c, g, b)
	}
	at, told := c.Frame(g.Created), godump.Frame{}
	if b.CreatedBy != nil {
		told = *b.CreatedBy
	}
	if at.Function != told.Function || at.Line != told.Line {
		t.Errorf("goroutine %d: created by %s:%d, the text has %s:%d", b.ID, at.Function, at.Line, told.Function, told.Line)
	}
}

func compareStack(t *testing.T, c *evidence.Case, g evidence.Goroutine, b *godump.Block) {
	t.Helper()
	if g.State != b.State || g.Reason != b.Reason {
		t.Errorf("goroutine %d: %v %q, the text has %v %q", b.ID, g.State, g.Reason, b.State, b.Reason)
	}
	if got, want := framesOfCase(c, g), framesOfText(b); !strings.HasSuffix(got, want) || len(b.Frames) == 0 && got != "" {
		t.Errorf("goroutine %d (%s): frames\n%s\nthe text has\n%s", b.ID, b.State, got, want)
	}
}

func framesOfCase(c *evidence.Case, g evidence.Goroutine) string {
	var s strings.Builder
	for _, f := range c.Stack(g.Stack).All() {
		fmt.Fprintf(&s, "%s %s:%d\n", f.Function, f.File, f.Line)
	}
	return s.String()
}

// framesOfText are the goroutine's own frames. A thread that was interrupted on its system stack prints that first.
func framesOfText(b *godump.Block) string {
	var s strings.Builder
	own := b.Frames
	for i, f := range b.Frames {
		if f.Function == "runtime.mcall" || f.Function == "runtime.systemstack" {
			own = b.Frames[i+1:]
		}
	}
	for _, f := range own {
		if f.Function == "panic" {
			f.Function = "runtime.gopanic"
		}
		fmt.Fprintf(&s, "%s %s:%d\n", f.Function, f.File, f.Line)
	}
	return s.String()
}
