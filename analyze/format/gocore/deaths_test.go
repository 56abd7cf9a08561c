package gocore

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// death is what must be true of the death of a program.
type death struct {
	how      string
	signal   string // "" is SIGABRT, with which the runtime ends the process after its own words
	addr     uint64 // of the fault; said by the program when it is anyAddr
	in       string // the function that died, and in which FaultPC lies when there is a fault
	fatal    string // a part of Fatal
	panics   []string
	types    []string // of the panics
	causes   []string // of the first panic
	external bool     // another process sent the signal
}

const anyAddr = math.MaxUint64

var deathsToTell = []death{
	{how: "nil", signal: "SIGSEGV", addr: 0x20, in: "main.readUser",
		panics: []string{"runtime error: invalid memory address or nil pointer dereference"}, types: []string{"runtime.errorString"}},
	{how: "wrapped", in: "main.wrapped", panics: []string{"serve: load: open /etc/rates: no such file or directory"},
		types:  []string{"*fmt.wrapError"},
		causes: []string{"load: open /etc/rates: no such file or directory", "open /etc/rates", "syscall.Errno(2)"}},
	{how: "again", in: "main.again", panics: []string{"third", "second", "first"}, types: []string{"string", "*errors.errorString", "string"}},
	{how: "index", in: "main.index", panics: []string{"runtime error: index out of range [5] with length 3"}, types: []string{"runtime.boundsError"}},
	{how: "int", in: "main.die", panics: []string{"42"}, types: []string{"int"}},
	{how: "string", in: "main.die", panics: []string{"out of stock"}, types: []string{"string"}},
	{how: "error", in: "main.die", panics: []string{"code 7"}, types: []string{"main.code"}},
	{how: "float", in: "main.die", panics: []string{"2.500000e+00"}, types: []string{"float64"}},
	{how: "struct", in: "main.die", panics: []string{"(main.point) 0x"}, types: []string{"main.point"}},
	{how: "nilpanic", in: "main.die", panics: []string{"panic called with nil argument"}, types: []string{"*runtime.PanicNilError"}},
	{how: "recovered", external: true},
	{how: "goexit", fatal: "no goroutines (main called runtime.Goexit) - deadlock!"},
	{how: "deadlock", fatal: "all goroutines are asleep - deadlock!"},
	{how: "unlock", in: "main.die", fatal: "sync: unlock of unlocked mutex"},
	{how: "maps", in: "main.writeTogether", fatal: "concurrent map writes"},
	{how: "overflow", in: "main.deepen", fatal: "stack overflow"},
	{how: "memory", in: "main.die", fatal: "out of memory"},
	{how: "bus", signal: "SIGBUS", addr: anyAddr, in: "main.unmapped", fatal: "fault"},
	{how: "ABRT", external: true},
	{how: "QUIT", signal: "SIGQUIT", external: true},
	{how: "SEGV", signal: "SIGSEGV", external: true},
}

func TestDeaths(t *testing.T) {
	for v, toolchain := range versions {
		for n, d := range deathsToTell {
			if v != 0 && v != len(versions)-1 && n%3 != v%3 {
				continue // the newest and the oldest tell all; between them the structures of a panic have changed once
			}
			t.Run(versionName(toolchain)+"/"+d.how, func(t *testing.T) {
				t.Parallel()
				i := die(t, "deaths", fixtures.Program{Toolchain: toolchain, Args: []string{d.how}})
				i.noGaps(t)
				d.check(t, i)
			})
		}
	}
	for _, p := range []fixtures.Program{{Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}, {Env: []string{"GOARCH=arm64"}}} {
		for _, d := range deathsToTell[:4] {
			p.Args = []string{d.how}
			t.Run(fmt.Sprint(p.Flags, p.Env)+"/"+d.how, func(t *testing.T) { d.check(t, die(t, "deaths", p)) })
		}
	}
}

func (d death) check(t *testing.T, i *incident) {
	is := i.Death
	if is == nil || is.Live {
		t.Fatalf("the process died: %+v", is)
	}
	signal := d.signal
	if signal == "" {
		signal = "SIGABRT"
	}
	if is.SignalName != signal {
		t.Errorf("signal %s, want %s", is.SignalName, signal)
	}
	if d.fatal == "" && is.Fatal != "" || !strings.Contains(is.Fatal, d.fatal) {
		t.Errorf("fatal error %q, want %q", is.Fatal, d.fatal)
	}
	d.checkSender(t, i)
	d.checkFault(t, i)
	d.checkPanics(t, i)
	if d.in != "" {
		d.checkGoroutine(t, i)
	}
}

// checkSender: who has sent the signal is told when it was another process, and only then.
func (d death) checkSender(t *testing.T, i *incident) {
	t.Helper()
	sender := 0
	if d.external {
		sender = parseInt(t, i.word(t, "sender"))
	}
	if is := i.Death; is.Sender != sender && (d.external || is.Sender != i.Process.PID) {
		t.Errorf("sent by process %d, want %d", is.Sender, sender)
	}
	if d.external && (i.Death.Throwing || i.Death.Panicking) {
		t.Errorf("throwing %t, panicking %t, although the signal came from outside", i.Death.Throwing, i.Death.Panicking)
	}
}

// word is what the program said after "death WORD".
func (i *incident) word(t *testing.T, word string) string {
	t.Helper()
	for _, l := range i.lines(t, "death") {
		if len(l) == 2 && l[0] == word {
			return l[1]
		}
	}
	t.Fatalf("the program did not say %q", word)
	return ""
}

func (d death) checkFault(t *testing.T, i *incident) {
	t.Helper()
	is := i.Death
	if (d.addr != 0) != is.HasFault {
		t.Errorf("fault %t at %#x", is.HasFault, is.FaultAddr)
	}
	if d.addr == 0 {
		return
	}
	want := d.addr
	if want == anyAddr {
		want = parseHex(t, i.word(t, "addr"))
	}
	if is.FaultAddr != want {
		t.Errorf("fault at %#x, want %#x", is.FaultAddr, want)
	}
	g, _ := i.Goroutines().ByID(is.Goroutine)
	depth := depthOf(i.Case, g, d.in)
	if depth < 0 || i.Stack(g.Stack).At(depth).PC != is.FaultPC {
		t.Errorf("the fault's pc is %#x, which is not where %s is in goroutine %d", is.FaultPC, d.in, is.Goroutine)
	}
}

func (d death) checkPanics(t *testing.T, i *incident) {
	t.Helper()
	var texts, types []string
	for _, p := range i.Panics {
		if !p.Recovered && !p.Goexit {
			texts, types = append(texts, p.Text), append(types, p.Type)
		}
	}
	if !slices.EqualFunc(texts, d.panics, strings.HasPrefix) || !slices.Equal(types, d.types) {
		t.Errorf("panics %q of types %q, want %q of %q", texts, types, d.panics, d.types)
	}
	if (len(d.panics) > 0) != i.Death.Panicking || i.Death.Throwing != (d.fatal != "") {
		t.Errorf("panicking %t, throwing %t", i.Death.Panicking, i.Death.Throwing)
	}
	if d.causes != nil && (len(i.Panics) == 0 || !slices.Equal(i.Panics[0].Causes, d.causes)) {
		t.Errorf("panics %+v, want the causes %q", i.Panics, d.causes)
	}
}

func (d death) checkGoroutine(t *testing.T, i *incident) {
	t.Helper()
	g, ok := i.Goroutines().ByID(i.Death.Goroutine)
	if !ok || depthOf(i.Case, g, d.in) < 0 || !g.Flags.Has(evidence.FlagCrashed) {
		t.Errorf("died on goroutine %d, flags %v, and %s is not on its stack", i.Death.Goroutine, g.Flags, d.in)
	}
	if g.Thread != i.Death.Thread || g.Thread == 0 {
		t.Errorf("goroutine %d is on thread %d, and thread %d died", g.ID, g.Thread, i.Death.Thread)
	}
}

// The number of frames that are kept of a stack is bounded, and the depth of the whole is known: the program counts its calls.
func TestDeepStackIsElided(t *testing.T) {
	i := die(t, "deaths", fixtures.Program{Args: []string{"overflow"}})
	g, _ := i.Goroutines().ByID(i.Death.Goroutine)
	s := i.Stack(g.Stack)
	if s.Len() > evidence.MaxFrames || s.Elided == 0 || s.ElidedAt == 0 || s.ElidedAt >= s.Len() {
		t.Fatalf("%d frames kept and %d left out after the first %d", s.Len(), s.Elided, s.ElidedAt)
	}
	if last := s.At(s.Len() - 1).Function; last != "runtime.goexit" {
		t.Errorf("the outermost frame is %s", last)
	}
	inner := depthOf(i.Case, g, "main.deepen")
	outer := s.Depth() - s.Len() + depthOf(i.Case, g, "main.die")
	for _, v := range i.Variables {
		if v.Goroutine == g.ID && v.Depth == inner && v.Name == "n" && v.Value != strconv.Itoa(outer-inner-1) {
			t.Errorf("%d frames of main.deepen, and the innermost has n = %s", outer-inner, v.Value)
		}
	}
}

// A thread that had not noted its number when it was told to print its stack says that it is dying and shows no signal.
func TestDeathBesideUnknownThreads(t *testing.T) {
	const moments = 5 // in some only one thread was dying
	for try := range moments {
		p := ledger
		p.RunEnv = []string{fmt.Sprintf("MOMENT=%d", try)}
		s := newSpecimen(t, p)
		var edits []edit
		for _, m := range s.t.machines {
			if m != s.t.dead && (m.dying != 0 || m.throwing != 0) {
				edits = append(edits, s.word(t, m.addr+s.t.off.M.ProcID, 0))
			}
		}
		if len(edits) == 0 {
			continue
		}
		read, err := readDamaged(t, s.copy(t, s.t.core.Size, edits...), format.Options{Executable: s.Exe})
		if err != nil {
			t.Fatal(err)
		}
		got, want := read.Death, s.whole.Death
		if got == nil || got.Goroutine != want.Goroutine || got.Thread != want.Thread || got.Signal != want.Signal || got.FaultAddr != want.FaultAddr {
			t.Errorf("death %+v, want %+v", got, want)
		}
		return
	}
	t.Errorf("in none of %d cores a second thread was dying", moments)
}
