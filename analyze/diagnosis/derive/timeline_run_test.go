package derive

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// spawn adds a go statement with the function that it starts; both may be empty.
func (b *timed) spawn(at, start string, s evidence.Spawn) int {
	if at != "" {
		s.Stack = b.stack(at)
	}
	if start != "" {
		f := evidence.Frame{Function: start, File: "/go/src/x.go", Line: 1}
		if Package(start) == "main" {
			f.File = "/src/app/main.go"
		}
		s.Start = b.b.Frame(f)
	}
	b.line.Spawns = append(b.line.Spawns, s)
	return len(b.line.Spawns) - 1
}

// actor adds a goroutine that ran for a part of the time.
func (b *timed) actor(id int64, spawn int, share float64, runs uint64) {
	b.line.Actors = append(b.line.Actors, evidence.Actor{Goroutine: id, Spawn: spawn, RunNS: uint64(share * 10e9), Runs: runs, MaxRunNS: 20e6})
}

// shared says how often goroutines were at a site.
func (b *timed) shared(site int, top ...evidence.Share) { b.line.Sites[site].Top = top }

func TestKins(t *testing.T) {
	b := newTimed()
	one := b.spawn("main.serve:10 main.main:3", "main.work", evidence.Spawn{Created: 3, Peak: 3, Live: 1, RunNS: 2e9, ReadyNS: 1e9})
	two := b.spawn("main.serve:10 main.other:7", "main.work", evidence.Spawn{Created: 2, Peak: 2, Live: 2, RunNS: 3e9, ReadyNS: 1e9})
	other := b.spawn("main.serve:11 main.main:3", "main.work", evidence.Spawn{Created: 1, Peak: 1, RunNS: 1e9})
	before := b.spawn("", "", evidence.Spawn{Before: 9, Peak: 9, Live: 9, RunNS: 8e9})
	own := b.spawn("", "runtime.gcBgMarkWorker", evidence.Spawn{System: true, Peak: 2, RunNS: 5e8})
	b.actor(20, one, .1, 5)
	b.actor(21, two, .2, 6)
	b.actor(22, two, .05, 7)
	b.actor(23, before, .6, 8)
	b.actor(24, other, .1, 9)
	b.actor(25, own, .04, 9)
	kins := b.done().Kins()
	if len(kins) != 4 {
		t.Fatalf("%d kins, want 4: %+v", len(kins), kins)
	}
	lone, same := kins[0], kins[1]
	if lone.Lone != 23 || lone.Top != 23 || lone.RunNS != 6e9 || lone.Peak != 1 || len(lone.Spawns) != 0 {
		t.Errorf("a goroutine of which nothing is known: %+v", lone)
	}
	want := Kin{Spawns: []int{two, one}, Created: 5, Peak: 5, Live: 3, RunNS: 5e9, ReadyNS: 2e9, Top: 21, TopRunNS: 2e9, TopRuns: 6, TopMaxRun: 20e6}
	if !slices.Equal(same.Spawns, want.Spawns) || same.Created != want.Created || same.Peak != want.Peak || same.Live != want.Live ||
		same.RunNS != want.RunNS || same.ReadyNS != want.ReadyNS || same.Top != want.Top || same.TopRunNS != want.TopRunNS ||
		same.TopRuns != want.TopRuns || same.TopMaxRun != want.TopMaxRun {
		t.Errorf("one go statement that is reached on two ways: %+v, want %+v", same, want)
	}
	if kins[2].Spawns[0] != other || kins[2].System || !kins[3].System {
		t.Errorf("the go statement beside it, and the runtime's own: %+v, %+v", kins[2], kins[3])
	}
}

// TestKinsWithoutNames keeps stacks apart of which the names are missing.
func TestKinsWithoutNames(t *testing.T) {
	b := newTimed()
	for i := range 3 {
		b.line.Spawns = append(b.line.Spawns, evidence.Spawn{Stack: evidence.StackID(100 + i), Created: uint64(i + 1), RunNS: uint64(i)})
	}
	line := b.done()
	if kins := line.Kins(); len(kins) != 3 {
		t.Errorf("%d kins of three stacks without names: %+v", len(kins), kins)
	}
	if at, ok := line.Started(0); ok {
		t.Errorf("a go statement without a name is at %+v", at)
	}
	for _, row := range []int{-1, 3} {
		if _, ok := line.Started(row); ok {
			t.Errorf("row %d of three is there", row)
		}
	}
}

func TestStarted(t *testing.T) {
	tests := []struct{ at, start, want string }{
		{"main.f:3 main.main:1", "main.g", "main.f"},
		{"golang.org/x/sync/errgroup.(*Group).Go:70 main.f:3", "golang.org/x/sync/errgroup.(*Group).Go.func1", "main.f"},
		{"net/http.(*Server).Serve:3400", "net/http.(*conn).serve", "net/http.(*Server).Serve"},
		{"time.goFunc:200", "main.expire", "main.expire"},
		{":0", "main.g", "main.g"},
		{"", "main.g", "main.g"},
		{"", "", ""},
	}
	for _, tt := range tests {
		b := newTimed()
		row := b.spawn(tt.at, tt.start, evidence.Spawn{Created: 1})
		if at, ok := b.done().Started(row); at.Function != tt.want || ok != (tt.want != "") {
			t.Errorf("go at %q of %q is told at %q, %v; want %q", tt.at, tt.start, at.Function, ok, tt.want)
		}
	}
}

func TestComputes(t *testing.T) {
	build := func() *timed {
		b := newTimed()
		b.spawn("main.main:3", "main.loop", evidence.Spawn{Created: 2})
		b.actor(5, 0, .9, 9)
		return b
	}
	caught := func(b *timed, kind evidence.SiteKind, stack string, n int, top ...evidence.Share) int {
		i := b.site(kind, "preempted", stack, n, 1e6)
		b.shared(i, top...)
		return i
	}
	check := func(name string, b *timed, function string, site int) {
		t.Helper()
		at, got, ok := b.done().Computes(5)
		if at.Function != function || got != site || ok != (function != "") {
			t.Errorf("%s: computes in %q at site %d, want %q at %d", name, at.Function, got, function, site)
		}
	}
	b := build()
	caught(b, evidence.SitePreempt, "main.a:1 main.loop:2", 3, evidence.Share{Goroutine: 5, Count: 3})
	most := caught(b, evidence.SitePreempt, "runtime.memmove:9 main.b:1 main.loop:2", 8, evidence.Share{Goroutine: 4, Count: 90}, evidence.Share{Goroutine: 5, Count: 7})
	check("most preemptions", b, "main.b", most)

	b = build()
	caught(b, evidence.SitePreempt, "main.a:1 main.loop:2", 3, evidence.Share{Goroutine: 5, Count: 3})
	sample := caught(b, evidence.SiteSample, "main.c:1 main.loop:2", 1, evidence.Share{Goroutine: 5, Count: 1})
	check("samples before preemptions", b, "main.c", sample)

	b = build()
	caught(b, evidence.SiteBlock, "main.wait:1 main.loop:2", 50, evidence.Share{Goroutine: 5, Count: 50})
	like := caught(b, evidence.SitePreempt, "main.d:1 main.loop:2", 3, evidence.Share{Goroutine: 6, Count: 3})
	caught(b, evidence.SitePreempt, "main.d:1 main.elsewhere:2", 30, evidence.Share{Goroutine: 6, Count: 3})
	check("another of the same function; waits do not count", b, "main.d", like)

	b = build()
	caught(b, evidence.SitePreempt, ":0", 3, evidence.Share{Goroutine: 5, Count: 3})
	check("a stack that was cut off has no name: the function that was started", b, "main.loop", -1)

	b = build()
	b.add(1, evidence.StateWaiting, "select", "main.x:1", func(g *evidence.Goroutine) { g.ID = 5 })
	check("where it stands at the end", b, "main.x", -1)

	b = newTimed()
	check("nobody knows it", b, "", -1)
}

func TestMean(t *testing.T) {
	b := newTimed()
	i := b.site(evidence.SiteBlock, "select", "main.f:1", 4, 1e9)
	b.line.Sites[i].Load, b.line.Sites[i].Peak = []uint32{2000, 0, 4000, 1000}, 4
	none := b.site(evidence.SiteBlock, "select", "main.g:1", 0, 0)
	line := b.done()
	if got := line.Mean(i); got < 0.69 || got > 0.71 {
		t.Errorf("seven goroutine seconds in ten seconds are %.2f at a time", got)
	}
	if got := line.Mean(none); got != 0 {
		t.Errorf("a site without load has %.2f", got)
	}
	line.Line.Sites[i].Peak = 0
	line.Line.Sites[i].Load = []uint32{1 << 30}
	if got := line.Mean(i); got != 1 {
		t.Errorf("more than were ever there: %.2f", got)
	}
	line.Line.SpanNS = 0
	if got := line.Mean(i); got != 0 {
		t.Errorf("in no time there are %.2f", got)
	}
}

func TestSince(t *testing.T) {
	b := newTimed()
	line := b.done()
	for ns, want := range map[int64]string{0: "since the start", 9e8: "since the start", 35e8: "since 3.5 s"} {
		if got := line.Since(ns); got != want {
			t.Errorf("Since(%d) is %q, want %q", ns, got, want)
		}
	}
}

// TestRoot follows go statements of a library to the user's line.
func TestRoot(t *testing.T) {
	const (
		library = "net/http.(*Transport).dialConn:1900 net/http.(*Transport).dialFor:1600"
		dial    = "net/http.(*Transport).queue:1500 main.fetch:10 main.main:3"
	)
	tests := []struct {
		name   string
		change func(*timed)
		want   string
		steps  int
	}{
		{"one goroutine in between", func(b *timed) {
			b.spawn(dial, "net/http.(*Transport).dialFor", evidence.Spawn{Created: 90})
		}, "main.fetch", 1},
		{"two in between", func(b *timed) {
			b.spawn("net/http.(*Transport).queue:1 net/http.(*Transport).start:1", "net/http.(*Transport).dialFor", evidence.Spawn{Created: 90})
			b.spawn(dial, "net/http.(*Transport).start", evidence.Spawn{Created: 90})
		}, "main.fetch", 2},
		{"nobody is known to have started it", func(*timed) {}, "", 0},
		{"several lines lead there", func(b *timed) {
			b.spawn(dial, "net/http.(*Transport).dialFor", evidence.Spawn{Created: 50})
			b.spawn("main.other:5", "net/http.(*Transport).dialFor", evidence.Spawn{Created: 40})
		}, "", 0},
		{"most of them were there before", func(b *timed) {
			b.spawn(dial, "net/http.(*Transport).dialFor", evidence.Spawn{Created: 5})
			b.spawn("", "net/http.(*Transport).dialFor", evidence.Spawn{Before: 50})
		}, "", 0},
		{"round in a circle", func(b *timed) {
			b.spawn(library, "net/http.(*Transport).dialFor", evidence.Spawn{Created: 90})
		}, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTimed()
			row := b.spawn(library, "net/http.(*persistConn).readLoop", evidence.Spawn{Created: 90})
			tt.change(b)
			at, steps, ok := b.done().Root(row)
			if at.Function != tt.want || steps != tt.steps || ok != (tt.want != "") {
				t.Errorf("%s after %d, %v; want %s after %d", at.Function, steps, ok, tt.want, tt.steps)
			}
		})
	}
	if _, _, ok := newTimed().done().Root(7); ok {
		t.Error("a row that is not there has a root")
	}
}

// TestPlace names the user's line and the library's go statement of what grows.
func TestPlace(t *testing.T) {
	b := slow()
	b.growing("net/http.(*Transport).dialConn:1900 net/http.(*Transport).dialFor:1600", 400, 0, 40)
	b.spawn("main.fetch:10", "net/http.(*Transport).dialFor", evidence.Spawn{Created: 400, Ended: 400})
	b.growing("main.serve:10", 300, 0, 40)
	b.growing("net/http.(*Server).Serve:3000 net/http.(*Server).Run:9", 200, 0, 40)
	list := b.done().growths()
	if len(list) != 3 {
		t.Fatalf("%d growths", len(list))
	}
	for i, want := range []Growth{{At: evidence.Frame{Function: "main.fetch"}, Mine: true, Through: evidence.Frame{Function: "net/http.(*Transport).dialConn"}},
		{At: evidence.Frame{Function: "main.serve"}, Mine: true}, {At: evidence.Frame{Function: "main.work"}, Mine: true}} {
		if g := list[i]; g.At.Function != want.At.Function || g.Mine != want.Mine || g.Through.Function != want.Through.Function {
			t.Errorf("%s, %v, through %s; want %+v", g.At.Function, g.Mine, g.Through.Function, want)
		}
	}
}
