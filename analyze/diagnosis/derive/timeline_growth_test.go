package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// slow is a Timeline of 40 slices, 20 s long.
func slow() *timed {
	b := newTimed()
	b.line.SpanNS, b.line.SliceNS = 20e9, 5e8
	return b
}

// ramp is a course over 40 slices: births of n goroutines in the slices from..to, and how many are alive after each.
func ramp(n, from, to int) (births, alive []uint32) {
	births, alive = make([]uint32, 40), make([]uint32, 40)
	sum := uint32(0)
	for i := range 40 {
		if i >= from && i < to {
			births[i] = uint32(n / (to - from))
		}
		sum += births[i]
		alive[i] = sum
	}
	return births, alive
}

func (b *timed) growing(at string, n, from, to int) int {
	births, alive := ramp(n, from, to)
	return b.spawn(at, "main.work", evidence.Spawn{Created: uint64(n), Live: n, Peak: n, Births: births, Alive: alive,
		FirstNS: int64(from) * 5e8, LastNS: int64(to)*5e8 - 1e8})
}

// born marks a goroutine as started at a frame by another.
func (b *timed) born(at string, parent int64) func(*evidence.Goroutine) {
	created := b.b.Frame(evidence.Frame{Function: at, File: "/src/app/main.go", Line: 10})
	return func(g *evidence.Goroutine) { g.Created, g.Parent = created, parent }
}

func TestRises(t *testing.T) {
	tests := []struct {
		name     string
		from, to int
		change   func(*evidence.Spawn)
		want     bool
	}{
		{name: "all along", to: 40, want: true},
		{name: "since the middle", from: 15, to: 40, want: true},
		{name: "a burst at the start", to: 2},
		{name: "a burst at the end", from: 38, to: 40},
		{name: "until the middle", to: 20},
		{name: "too short to tell from a burst", from: 25, to: 40},
		{name: "with a pause in between", to: 40, want: true, change: func(s *evidence.Spawn) {
			for i := 10; i < 16; i++ {
				s.Births[i] = 0
			}
		}},
		{name: "a burst, and a few all along", to: 40, change: func(s *evidence.Spawn) { s.Births[0] += 2000; s.Created += 2000 }},
		{name: "as many in the middle as at the end", to: 40, change: func(s *evidence.Spawn) { s.Alive[20] = 390 }},
		{name: "without a course", to: 40, change: func(s *evidence.Spawn) { s.Births, s.Alive = nil, nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := slow()
			row := b.growing("main.serve:10", 400, tt.from, tt.to)
			if tt.change != nil {
				tt.change(&b.line.Spawns[row])
			}
			line := b.done()
			list := line.growths()
			if len(list) != 1 {
				t.Fatalf("%d growths", len(list))
			}
			if got := line.Rises(&list[0], 0.2); got != tt.want {
				t.Errorf("Rises is %v, want %v", got, tt.want)
			}
		})
	}
}

func TestGrowths(t *testing.T) {
	b := slow()
	b.growing("main.serve:10 main.a:1", 100, 0, 40)
	b.growing("main.serve:10 main.b:1", 300, 4, 30)
	b.growing("main.few:10", 40, 0, 40)
	system := b.growing("main.own:10", 400, 0, 40)
	b.line.Spawns[system].System = true
	old := b.growing("main.pool:10", 60, 0, 40)
	b.line.Spawns[old].Before, b.line.Spawns[old].Live = 500, 560
	list := b.done().growths()
	if len(list) != 2 {
		t.Fatalf("%d growths, want 2: %+v", len(list), list)
	}
	if g := list[0]; g.Created != 400 || g.Live != 400 || len(g.Rows) != 2 || g.Rows[0] != 1 || g.At.Function != "main.serve" || g.FirstNS != 0 || g.LastNS != 20e9-1e8 {
		t.Errorf("one go statement on two ways: %+v", g)
	}
	if g := list[1]; g.Live != 60 || g.At.Function != "main.pool" {
		t.Errorf("those that were there before are no growth: %+v", g)
	}
}

func TestStands(t *testing.T) {
	b := slow()
	b.growing("main.serve:10 main.main:1", 100, 0, 40)
	gone := b.born("main.serve", 999)
	b.add(60, evidence.StateWaiting, "chan send", "runtime.chansend1:1 main.work:5", gone)
	b.add(30, evidence.StateRunnable, "", "main.work:7", gone)
	starter := b.add(1, evidence.StateRunning, "", "main.serve:12 main.main:1")
	b.add(10, evidence.StateWaiting, "chan send", "runtime.chansend1:1 main.work:5", b.born("main.serve", starter))
	b.add(200, evidence.StateWaiting, "select", "main.other:5", b.born("main.elsewhere", 1))
	i := b.site(evidence.SiteBlock, "chan send", "runtime.chansend1:1 main.work:5", 1000, 1e6)
	b.line.Sites[i].Count, b.line.Sites[i].Open = 1070, 70
	b.line.Sites[i].TotalNS += 70 * 8e9
	b.line.Sites[i].OpenNS = 70 * 8e9
	b.line.Sites[i].MaxNS = 15e9
	b.site(evidence.SitePreempt, "preempted", "runtime.chansend1:1 main.work:5", 9, 1e6)
	g := b.done().growths()[0]
	if len(g.Stands) != 2 || g.Stands[0].Count != 70 || g.Stands[1].Count != 30 {
		t.Fatalf("stands are %+v", g.Stands)
	}
	s := g.Stands[0]
	if s.Site != i || s.Began != 1070 || s.Open != 70 || s.Woken() != 1000 || s.Doing.Activity != ActivitySend || s.First != 1 {
		t.Errorf("the senders: %+v", s)
	}
	if s.UsedNS < 5e5 || s.UsedNS > 2e6 || s.AgeNS != 8e9 || !s.Forgotten() {
		t.Errorf("a thousand were served in a millisecond, and these wait for 8 s: %+v", s)
	}
	if r := g.Stands[1]; r.Site != -1 || r.Forgotten() {
		t.Errorf("those that are ready: %+v", r)
	}
	if p := g.Parents; p.Looked != 100 || p.Gone != 90 || p.Many != 2 || p.Only != 0 {
		t.Errorf("parents are %+v", p)
	}
}

// TestForgotten tells a place that nobody serves from one that is served slowly.
func TestForgotten(t *testing.T) {
	tests := []struct {
		name string
		s    Stand
		want bool
	}{
		{"no wait ended", Stand{Began: 9, Open: 9}, true},
		{"a queue that is served", Stand{Began: 100, Open: 50, AgeNS: 4e9, UsedNS: 5e9}, false},
		{"others took a moment", Stand{Began: 100, Open: 50, AgeNS: 4e9, UsedNS: 1e6}, true},
		{"young ones", Stand{Began: 100, Open: 50, AgeNS: 3e6, UsedNS: 1e6}, false},
		{"nobody waits at a site there", Stand{Site: -1}, false},
	}
	for _, tt := range tests {
		if got := tt.s.Forgotten(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if n := (&Stand{Began: 3, Open: 9}).Woken(); n != 0 {
		t.Errorf("more wait than began, which only a damaged trace says, and %d were woken", n)
	}
}

// TestSharedGoStatement tells goroutines of one go statement by the function that they execute.
func TestSharedGoStatement(t *testing.T) {
	b := slow()
	births, alive := ramp(80, 0, 40)
	for _, start := range []string{"main.x", "main.y"} {
		b.spawn("main.run:10", start, evidence.Spawn{Created: 80, Live: 80, Births: births, Alive: alive})
	}
	b.add(80, evidence.StateWaiting, "select", "main.deep:1 main.x:2", b.born("main.run", 0))
	b.add(80, evidence.StateWaiting, "select", "main.deep:1 main.y:2", b.born("main.run", 0))
	for _, g := range b.done().growths() {
		if len(g.Stands) != 1 || g.Stands[0].Count != 80 {
			t.Errorf("stands are %+v", g.Stands)
		}
		if g.Parents.Looked != 0 {
			t.Errorf("nobody is known to have started them: %+v", g.Parents)
		}
	}
}

// TestTimers finds the goroutines of timers, which have no go statement, by the function that they execute.
func TestTimers(t *testing.T) {
	b := slow()
	births, alive := ramp(80, 0, 40)
	b.spawn("", "main.expire", evidence.Spawn{Created: 80, Live: 80, Births: births, Alive: alive})
	b.add(80, evidence.StateWaiting, "chan send", "runtime.chansend1:1 main.expire:2")
	b.add(30, evidence.StateWaiting, "select", "main.main:2")
	list := b.done().growths()
	if len(list) != 1 || len(list[0].Stands) != 1 || list[0].Stands[0].Count != 80 || list[0].At.Function != "main.expire" {
		t.Errorf("growths are %+v", list)
	}
}
