package gocore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

func TestHolders(t *testing.T) {
	for _, p := range []fixtures.Program{
		{}, {Toolchain: "go1.21.13"}, {Toolchain: "go1.22.12"}, {Toolchain: "go1.23.12"}, {Toolchain: "go1.24.13"}, {Toolchain: "go1.25.7"},
		{Flags: []string{"-gcflags=all=-N -l"}},
		{Toolchain: "go1.23.12", Flags: []string{"-gcflags=all=-N -l"}},
		{Flags: []string{"-ldflags=-s -w"}},
		{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{Env: []string{"GOARCH=arm64"}},
		{Toolchain: "go1.22.12", Env: []string{"GOARCH=arm64"}},
	} {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) {
			t.Parallel()
			i := die(t, "holders", p)
			i.noGaps(t)
			for _, l := range i.lines(t, "held") {
				i.checkHolders(t, l[0], parseHex(t, l[1]), l[2], l[3:])
			}
		})
	}
}

// checkHolders holds that the holders of a lock are those that the program names. A wrong one is worse than none, so no grade
// excuses it, unless the right one stands beside it among several.
func (i *incident) checkHolders(t *testing.T, name string, lock uint64, grade string, functions []string) {
	t.Helper()
	grade, mode, _ := strings.Cut(grade, "/")
	var found, text []string
	for _, at := range i.HoldsOf(lock) {
		h := i.Holds[at]
		f := i.Frame(h.Frame).Function
		found = append(found, f)
		text = append(text, fmt.Sprintf("\n\tgoroutine %d, %s, depth %d: %s: %s", h.Goroutine, f, h.Depth, h.Grade, h.Why))
		// What is left over in a frame on arm64 may lead to another place in the object as well.
		weaker := i.Process.GOARCH == "arm64" && grade == "unique-candidate" && h.Grade == evidence.HoldAmbiguous
		if grade != "none" && grade != "any" && h.Grade.String() != grade && !weaker || h.Reader != (mode == "reader") {
			t.Errorf("%s: %s is %v, reader %t, want %s %s", name, f, h.Grade, h.Reader, grade, mode)
		}
		i.checkHoldFrame(t, name, h)
	}
	if len(i.Waiters(lock)) == 0 {
		t.Errorf("%s: nobody waits for %#x", name, lock)
	}
	want := functions[:min(len(functions), 1)]
	switch {
	case grade == "none":
		want = nil
	case mode == "reader", mode == "several":
		want = functions
	}
	slices.Sort(found)
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(found, want) {
		t.Errorf("%s: the holders of %#x are %v, want %v%s", name, lock, found, want, strings.Join(text, ""))
	}
	if name == "branches" && len(found) == 1 {
		g, _ := i.Goroutines().ByID(i.Holds[i.HoldsOf(lock)[0]].Goroutine)
		if depthOf(i.Case, g, functions[1]) < 0 {
			t.Errorf("%s: goroutine %d holds the lock, but it is not in %s", name, g.ID, functions[1])
		}
	}
}

// checkHoldFrame holds that a hold names a frame of its goroutine, and the line of a Lock in that function.
func (i *incident) checkHoldFrame(t *testing.T, name string, h evidence.Hold) {
	t.Helper()
	g, ok := i.Goroutines().ByID(h.Goroutine)
	s := i.Stack(g.Stack)
	frame := i.Frame(h.Frame)
	if !ok || h.Depth >= s.Len() || s.At(h.Depth).Function != frame.Function {
		t.Errorf("%s: frame %d of goroutine %d is not %s", name, h.Depth, h.Goroutine, frame.Function)
	}
	if site := i.Frame(h.Site); h.Site != 0 && (site.Function != frame.Function || site.Line == 0 || site.Line >= frame.Line) {
		t.Errorf("%s: the Lock is said to be in %s:%d, and the goroutine is at %s:%d", name, site.Function, site.Line, frame.Function, frame.Line)
	}
}
