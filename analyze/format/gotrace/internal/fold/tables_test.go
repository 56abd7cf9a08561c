package fold

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestTextForm writes a Timeline with rows of every kind as text and reads it again.
func TestTextForm(t *testing.T) {
	h := newHistory(t)
	_, at := random(h, 7, 3000, true)
	h.Create(at, h.g(900), nil, stackWorker, stackGo, false)
	h.Run(at, h.g(900))
	h.Create(at, h.g(901), h.g(900), stackWorker, stackGo, false)
	h.Run(at, h.g(901))
	for range 30 {
		at += 100
		h.Block(at, h.g(900), h.recv, stackRecv)
		h.Unblock(at+10, h.g(900), h.g(901), stackSend)
		h.Run(at+20, h.g(900))
		h.Block(at+30, h.g(901), h.sel, stackSelect)
		h.Unblock(at+40, h.g(901), h.g(900), stackSend)
		h.Run(at+50, h.g(901))
	}
	h.Task(at, h.g(900), 5, 0, "task \"one\"", stackMain)
	h.Log(at, h.g(900), 5, "c", "line\nbreak")
	h.Region(at+10, h.g(900), 5, "region", stackMain)
	h.Pause(at+20, h.g(901), "stop", stackMain)
	h.PauseEnd(at+30, h.g(901))
	h.GC(at+40, true)
	h.Sample(at+50, h.g(900), stackWorker)
	h.Assist(at+60, h.g(900), true, stackWorker)
	h.Heap(at+70, 5<<20)
	h.RegionEnd(at+80, h.g(900), 5, "region")
	h.TaskEnd(at+20*ms, h.g(900), 5)
	_, c := h.end(at + 30*ms)
	line := c.Timeline
	for what, n := range map[string]int{"sites": len(line.Sites), "releases": len(line.Releases), "spawns": len(line.Spawns),
		"actors": len(line.Actors), "pairs": len(line.Pairs), "episodes": len(line.Episodes), "activities": len(line.Activities),
		"kinds": len(line.Kinds), "slices": len(line.Slices)} {
		if n == 0 {
			t.Errorf("no %s", what)
		}
	}
	var text, again bytes.Buffer
	if err := c.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	to := evidence.NewBuilder()
	if err := evidence.ReadText(bytes.NewReader(text.Bytes()), to); err != nil {
		t.Fatal(err)
	}
	read := to.Finish()
	if err := read.WriteText(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text.Bytes(), again.Bytes()) {
		t.Error("the text changes when it is read and written")
	}
	if read.Timeline == nil || read.Timeline.SpanNS != line.SpanNS || len(read.Timeline.Sites) != len(line.Sites) {
		t.Error("the Timeline is not the same")
	}
}

// TestManyReleases has more places that wake goroutines than are told: the longest waits, the longest holds, and the most frequent ones.
func TestManyReleases(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	at := int64(0)
	wake := func(stack Stack, times int, wait int64) {
		for range times {
			h.Block(at, h.g(1), h.sync, stackLockA)
			at += wait
			h.Unblock(at, h.g(1), h.g(2), stack)
			h.Run(at, h.g(1))
		}
	}
	for i := range outReleases + 500 {
		wake(Stack(1000+i), 1, 100)
	}
	wake(stackSend, 50, 1) // frequent
	wake(stackUnlockA, 1, 1_000_000)
	line, c := h.end(at)
	if len(line.Releases) > outReleases {
		t.Errorf("%d releases", len(line.Releases))
	}
	r := line.Releases[0]
	if r.WaitNS != 1_000_000 || r.HoldNS != 1_000_000 {
		t.Errorf("%+v", r)
	}
	if !slices.ContainsFunc(line.Releases, func(r evidence.Release) bool { return r.Count == 50 }) {
		t.Error("the most frequent one is missing")
	}
	if !slices.ContainsFunc(c.Gaps, func(g evidence.Gap) bool { return g.What == "releases" }) {
		t.Errorf("gaps %v", c.Gaps)
	}
	for n, limit := range map[int]int{len(h.rel.rows): maxReleases, len(h.rel.index): maxReleases} {
		if n > limit {
			t.Errorf("%d rows", n)
		}
	}
}

// TestReleaseIsFound looks a release up in every way: the last one, the one before, and by the table.
func TestReleaseIsFound(t *testing.T) {
	f := New(testStacks)
	site := f.site(evidence.SiteBlock, f.Reason("sync"), stackLockA)
	var first [5]uint32
	for i := range first {
		first[i] = f.release(site, Stack(10+i))
	}
	for _, i := range []int{4, 3, 4, 0, 0, 4, 2, 1, 2, 1, 3} {
		if got := f.release(site, Stack(10+i)); got != first[i] {
			t.Errorf("release %d is row %d, was %d", i, got, first[i])
		}
	}
	if other := f.release(f.site(evidence.SiteBlock, f.Reason("sync"), stackLockB), 10); other == first[0] {
		t.Error("of another site")
	}
	for i := range maxReleases {
		f.release(site, Stack(100+i))
	}
	if n := len(f.rel.rows); n > maxReleases+1 || f.refused.releases == 0 {
		t.Errorf("%d rows", n)
	}
	if rest := f.release(site, 1<<21); f.rel.rows[rest].stack != 0 {
		t.Error("the rest has no stack")
	}
}

// TestKeptSites keeps of each kind the longest and the most frequent ones, and those that a release names.
func TestKeptSites(t *testing.T) {
	f := New(testStacks)
	add := func(kind evidence.SiteKind, n int, total, visits uint64) {
		for i := range n {
			at := f.site(kind, 0, Stack(100_000*int(kind)+1000+i))
			f.sites.rows[at].total, f.sites.rows[at].count = total+uint64(i), visits
		}
	}
	add(evidence.SiteBlock, 12_000, 1_000_000, 1)
	add(evidence.SiteSyscall, 2000, 100, 5)
	add(evidence.SiteSample, 300, 0, 9)
	named := f.site(evidence.SiteBlock, 0, stackLockA)
	f.sites.rows[named].count = 1
	f.rel.rows = append(f.rel.rows, release{site: named, count: 1})
	to := evidence.NewBuilder()
	o := output{f: f, to: to}
	chosen := o.chooseSites([]int{1}, nil)
	counts := map[evidence.SiteKind]int{}
	for _, i := range chosen {
		counts[f.sites.rows[i].kind()]++
	}
	if len(chosen) != outSites || counts[evidence.SiteSyscall] < outLong || counts[evidence.SiteSample] != 300 || !slices.Contains(chosen, int(named)) {
		t.Errorf("%d sites: %v", len(chosen), counts)
	}
	if !slices.IsSortedFunc(chosen, func(a, b int) int { return int(f.sites.rows[b].total) - int(f.sites.rows[a].total) }) {
		t.Error("not the longest first")
	}
	if first := f.sites.rows[chosen[0]]; first.total != 1_000_000+11_999 {
		t.Errorf("the longest is %d", first.total)
	}
}

// TestActorOfNoRow leaves out a goroutine whose go statement is not told: a row that is not there cannot be named.
func TestActorOfNoRow(t *testing.T) {
	h := newHistory(t)
	h.Appear(0, h.g(1), StateRunning, stackMain)
	at := int64(0)
	for i := range int64(outSpawns + 10) {
		for range 2 {
			g := h.g(10 + at)
			h.Create(at, g, h.g(1), stackWorker, Stack(1000+i), false)
			h.Exit(at, g)
			at++
		}
	}
	h.Create(at, h.g(5), h.g(1), stackWorker, stackGo, false) // once only, and it runs longest
	h.Run(at, h.g(5))
	line, _ := h.end(at + 50*ms)
	if _, ok := line.Actor(5); ok {
		t.Error("it names a row of another")
	}
	for _, a := range line.Actors {
		if a.Spawn >= len(line.Spawns) {
			t.Errorf("%+v", a)
		}
	}
}

// TestPicker chooses rows.
func TestPicker(t *testing.T) {
	p := picker{kept: make([]bool, 10)}
	p.keep(3)
	p.keep(3)
	p.best([]int{1, 2, 3, 4, 5}, 2, func(a, b int) int { return b - a })
	if got := p.rows(); !slices.Equal(got, []int{3, 4, 5}) || p.n != 3 {
		t.Errorf("%v, %d", got, p.n)
	}
	p.best(nil, 5, nil)
	if got := count(2, 5); !slices.Equal(got, []int{2, 3, 4}) {
		t.Errorf("%v", got)
	}
	if got := trim([]uint32{0, 1, 0, 0}); !slices.Equal(got, []uint32{0, 1}) {
		t.Errorf("%v", got)
	}
}

// TestHalve makes every two slices one.
func TestHalve(t *testing.T) {
	for _, test := range []struct{ row, want []uint32 }{
		{nil, nil}, {[]uint32{5}, []uint32{5}}, {[]uint32{1, 2}, []uint32{3}}, {[]uint32{1, 2, 4, 8, 16}, []uint32{3, 12, 16}},
	} {
		if got := halve(slices.Clone(test.row)); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.row, got, test.want)
		}
	}
	row := []float32{1, 2, 3, 4}
	short := halve(row)
	if again := append(short, 0); !slices.Equal(again, []float32{3, 7, 0}) || row[3] != 0 {
		t.Errorf("%v of %v", again, row)
	}
}

// TestSpans adds stretches of time to rows by slice.
func TestSpans(t *testing.T) {
	c := clock{width: 100}
	for _, test := range []struct {
		from, to int64
		want     []float32
	}{
		{0, 0, nil}, {5, 5, nil}, {9, 4, nil}, {0, 100, []float32{100}}, {0, 101, []float32{100, 1}}, {99, 100, []float32{1}},
		{150, 420, []float32{0, 50, 100, 100, 20}}, {200, 300, []float32{0, 0, 100}},
	} {
		if got := c.addSpan(nil, test.from, test.to); !slices.Equal(got, test.want) {
			t.Errorf("%d to %d: %v, want %v", test.from, test.to, got, test.want)
		}
	}
	row := c.addSpan(c.addSpan(nil, 0, 250), 50, 120)
	if want := []float32{150, 120, 50}; !slices.Equal(row, want) {
		t.Errorf("%v, want %v", row, want)
	}
	if got := c.load([]float32{150, 0.001, 0, 50, 0, -3}); !slices.Equal(got, []uint32{1500, 1, 0, 500}) {
		t.Errorf("%v", got)
	}
	if c.permille(1e30) != 1<<32-1 {
		t.Error("a sum that is too large")
	}
}

// TestLost counts events that are missing, without going round.
func TestLost(t *testing.T) {
	f := New(testStacks)
	f.Lost(5)
	f.Lost(7)
	if f.lost != 12 {
		t.Errorf("%d", f.lost)
	}
	f.Lost(1<<64 - 1)
	f.Lost(1<<64 - 1)
	if f.lost != 1<<63-1 {
		t.Errorf("%d", f.lost)
	}
	if grow(1<<32-5, 8) != 1<<32-5 || grow(3, 8) != 11 {
		t.Error("a share goes round")
	}
}

// TestWithoutNames folds a trace whose stacks have no names: sites are told apart, nothing is known of locks.
func TestWithoutNames(t *testing.T) {
	f := New(tableOfStacks{})
	h := &history{Folder: f, words: newWords(f), t: t, gs: map[int64]*G{}}
	f.Begin(0)
	h.running(1, 2)
	h.Block(100, h.g(1), h.sync, 7)
	h.Unblock(200, h.g(1), h.g(2), 8)
	h.Run(200, h.g(1))
	h.Block(300, h.g(1), h.sync, 9)
	line, c := h.end(1000)
	blocks := 0
	for _, s := range line.Sites {
		if s.Kind == evidence.SiteBlock {
			blocks++
		}
	}
	if blocks != 2 || line.Releases[0].HoldNS != 0 || len(line.Spawns) != 1 || line.Spawns[0].Start != 0 {
		t.Errorf("%d sites, %+v, %+v", blocks, line.Releases, line.Spawns)
	}
	if g, _ := c.Goroutines().ByID(1); g.Reason != "sync" || g.Stack != 0 || c.Coverage.GoroutinesUnwound != 0 {
		t.Errorf("%+v", g)
	}
}

// TestWrongCalls makes calls that do not fit the state of a goroutine: each is taken as it comes, and no time is lost or counted twice.
func TestWrongCalls(t *testing.T) {
	calls := map[string]func(h *history, at int64){
		"run":     func(h *history, at int64) { h.Run(at, h.g(1)) },
		"yield":   func(h *history, at int64) { h.Yield(at, h.g(1), h.gosched, stackGosched) },
		"block":   func(h *history, at int64) { h.Block(at, h.g(1), h.recv, stackRecv) },
		"unblock": func(h *history, at int64) { h.Unblock(at, h.g(1), h.g(1), stackSend) },
		"syscall": func(h *history, at int64) { h.Syscall(at, h.g(1), stackRead) },
		"sysexit": func(h *history, at int64) { h.Sysexit(at, h.g(1), true) },
		"appear":  func(h *history, at int64) { h.Appear(at, h.g(1), StateBlocked, stackWorker) },
		"create":  func(h *history, at int64) { h.Create(at, h.g(1), nil, stackWorker, stackGo, false) },
		"from C":  func(h *history, at int64) { h.CreateInSyscall(at, h.g(1)) },
		"restate": func(h *history, at int64) { h.Restate(at, h.g(1), StateRunning) },
	}
	var names []string
	for name := range calls {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, first := range names {
		for _, second := range names {
			h := newHistory(t)
			h.Appear(0, h.g(1), StateRunning, stackWorker)
			calls[first](h, 1000)
			calls[second](h, 3000)
			line, _ := h.end(6000)
			if sum := line.RunNS + line.ReadyNS + line.SyscallNS + line.BlockedNS; sum != 6000 || line.AtEnd != 1 || line.Created != 0 {
				t.Errorf("%s, %s: %d ns, %d alive, %d created", first, second, sum, line.AtEnd, line.Created)
			}
		}
	}
}

// TestUnknownGoroutine is told of events of goroutines that nobody has told of.
func TestUnknownGoroutine(t *testing.T) {
	h := newHistory(t)
	h.damaged = true
	h.Exit(10, h.g(1))
	h.Label(10, h.g(1), "GC (idle)")
	h.Assist(10, h.g(1), true, stackMain)
	h.Region(10, h.g(1), 0, "r", 0)
	h.RegionEnd(10, h.g(1), 0, "r")
	h.Log(10, nil, 4, "c", "m")
	h.Block(1000, h.g(2), h.recv, stackRecv)
	h.Unblock(2000, h.g(3), nil, 0)
	h.Sysexit(3000, h.g(4), false)
	line, _ := h.end(5000)
	if line.AtEnd != 3 || line.AtStart != 3 || line.BlockedNS != 4000 || line.ReadyNS != 3000 || line.RunNS != 2000 {
		t.Errorf("%+v", line)
	}
}

// TestReused uses the struct of a goroutine that has ended for another one, as callers may.
func TestReused(t *testing.T) {
	var lines [2]evidence.Timeline
	for i := range lines {
		f := New(testStacks)
		w := newWords(f)
		f.Begin(0)
		main, g := &G{ID: 1}, &G{}
		f.Appear(0, main, StateRunning, stackMain)
		for id := int64(2); id < 40; id++ {
			if i == 1 {
				g = &G{}
			}
			*g = G{ID: id}
			at := id * 1000
			f.Create(at, g, main, stackWorker, stackGo, false)
			f.Run(at+10, g)
			f.Block(at+20, g, w.sync, stackLockA)
			f.Unblock(at+300, g, main, stackUnlockA)
			f.Run(at+310, g)
			f.Exit(at+400, g)
			if *g != (G{ID: id}) {
				t.Fatalf("something is left: %+v", g)
			}
		}
		lines[i] = f.Finish(50_000, slices.Values([]*G{main}), evidence.NewBuilder())
	}
	if !reflect.DeepEqual(lines[0], lines[1]) || lines[0].Ended != 38 {
		t.Errorf("%+v", lines[0].Spawns)
	}
}
