package gocore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

// wakerBuilds are the ways to build a program in which code and stacks differ.
var wakerBuilds = []fixtures.Program{
	{}, {Toolchain: "go1.22.12"}, {Toolchain: "go1.24.13"},
	{Toolchain: "go1.21.13"}, {Toolchain: "go1.23.12"}, {Toolchain: "go1.25.7"},
	{Flags: []string{"-gcflags=all=-N -l"}},
	{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{Env: []string{"GOARCH=arm64"}},
	{Toolchain: "go1.22.12", Env: []string{"GOARCH=arm64"}},
}

func TestWakers(t *testing.T) {
	for _, p := range wakerBuilds {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) {
			t.Parallel()
			i := die(t, "wakers", p)
			i.noGaps(t)
			for _, l := range i.lines(t, "woken") {
				i.checkWakers(t, l[0], parseHex(t, l[1]), l[2:])
			}
		})
	}
}

// checkWakers holds that those who could wake the waiters of an object are the ones that the program names. Who only refers to it
// counts where the program says so.
func (i *incident) checkWakers(t *testing.T, name string, object uint64, want []string) {
	t.Helper()
	var found, text []string
	for _, at := range i.WakersOf(object) {
		w := i.Wakers[at]
		text = append(text, fmt.Sprintf("\n\tgoroutine %d: %s", w.Goroutine, w.Why))
		i.checkWakerFrame(t, name, w)
		// A variable of main may keep, in some builds, what the functions that it called have left on the stack.
		function := i.Frame(w.Frame).Function
		if w.Grade != evidence.WakerRefers || strings.HasPrefix(name, "refers/") && function != "main.main" {
			found = append(found, fmt.Sprintf("%s/%s/%s", w.Grade, w.Act, function))
		}
	}
	slices.Sort(found)
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(slices.Compact(found), want) {
		t.Errorf("%s: the wakers of %#x are %v, want %v%s", name, object, found, want, strings.Join(text, ""))
	}
	if len(i.Waiters(object)) == 0 {
		t.Errorf("%s: nobody waits for %#x", name, object)
	}
}

// checkWakerFrame holds that a waker names a frame of its goroutine, and a line of that function that is still to come.
func (i *incident) checkWakerFrame(t *testing.T, name string, w evidence.Waker) {
	t.Helper()
	g, ok := i.Goroutines().ByID(w.Goroutine)
	s := i.Stack(g.Stack)
	frame := i.Frame(w.Frame)
	if !ok || w.Depth >= s.Len() || s.At(w.Depth).Function != frame.Function {
		t.Errorf("%s: frame %d of goroutine %d is not %s", name, w.Depth, w.Goroutine, frame.Function)
	}
	site := i.Frame(w.Site)
	if w.Grade == evidence.WakerAhead && (w.Site == 0 || !strings.HasPrefix(site.Function, "main.") || site.Line == 0) {
		t.Errorf("%s: the statement is said to be in %s:%d", name, site.Function, site.Line)
	}
	if w.Why == "" {
		t.Errorf("%s: no word on what was seen", name)
	}
}

func TestSlots(t *testing.T) {
	for _, p := range wakerBuilds {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) {
			t.Parallel()
			i := die(t, "wakers", p)
			for _, l := range i.lines(t, "slots") {
				i.checkSlots(t, l[0], parseHex(t, l[1]), l[2:])
			}
		})
	}
}

// checkSlots holds that the holders of a channel's slots are the ones that the program names.
func (i *incident) checkSlots(t *testing.T, name string, channel uint64, want []string) {
	t.Helper()
	var found, text []string
	for _, at := range i.HoldsOf(channel) {
		h := i.Holds[at]
		found = append(found, fmt.Sprintf("%s/%s", h.Grade, i.Frame(h.Frame).Function))
		text = append(text, fmt.Sprintf("\n\tgoroutine %d: %s", h.Goroutine, h.Why))
		i.checkHoldFrame(t, name, h)
	}
	slices.Sort(found)
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(found, want) {
		t.Errorf("%s: the holders of slots of %#x are %v, want %v%s", name, channel, found, want, strings.Join(text, ""))
	}
}
