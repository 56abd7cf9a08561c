package fold

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// shadow keeps a history as lists of stays: what a Folder must say can be counted from them in the plainest way.
type shadow struct {
	state map[int64]State
	since map[int64]int64
	site  map[int64]string
	born  map[int64]int64
	sums  map[State]int64
	stays map[string][]stay
	ended int
}

type stay struct {
	from, to int64
	open     bool
}

func newShadow() *shadow {
	return &shadow{map[int64]State{}, map[int64]int64{}, map[int64]string{}, map[int64]int64{}, map[State]int64{}, map[string][]stay{}, 0}
}

// set moves a goroutine to a state at a site.
func (s *shadow) set(t, id int64, to State, site string) {
	s.leave(t, id, false)
	s.state[id], s.since[id], s.site[id] = to, t, site
}

func (s *shadow) leave(t, id int64, open bool) {
	if old := s.state[id]; old != StateUnknown {
		s.sums[old] += t - s.since[id]
		if site := s.site[id]; site != "" {
			s.stays[site] = append(s.stays[site], stay{s.since[id], t, open})
		}
	}
}

// union is the time in which somebody was there, and the largest number at once.
func union(stays []stay) (busy int64, peak int) {
	type edge struct {
		t  int64
		by int
	}
	var edges []edge
	for _, s := range stays {
		edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(b.by, a.by)) })
	n, since := 0, int64(0)
	for _, e := range edges {
		if n == 0 {
			since = e.t
		}
		if n += e.by; n == 0 {
			busy += e.t - since
		}
		peak = max(peak, n)
	}
	return busy, peak
}

// random plays a history of n steps, to a Folder and to a shadow. Goroutines that were there before are told of at the beginning, or, when
// late, before something happens to them.
func random(h *history, seed uint64, n int, late bool) (*shadow, int64) {
	r := rand.New(rand.NewPCG(seed, 1))
	s, at, next := newShadow(), int64(0), int64(10)
	var live []int64
	hidden := map[int64]func(){}
	show := func(g *G) *G {
		if g != nil && hidden[g.ID] != nil {
			hidden[g.ID]()
			delete(hidden, g.ID)
		}
		return g
	}
	for k := range 12 {
		state := []State{StateRunning, StateBlocked, StateSyscall, StateReady, StateRunning, StateBlocked}[k%6]
		stack := []Stack{stackWorker, stackRecv, stackRead, stackSend, stackWorker, stackLockA}[k%6]
		g := h.g(next)
		hidden[next] = func() { h.Appear(at, g, state, stack) }
		if !late {
			show(g)
		}
		s.set(0, next, state, map[State]string{StateBlocked: fmt.Sprint("block  ", stack), StateSyscall: "syscall", StateReady: fmt.Sprint("ready ", stack)}[state])
		live = append(live, next)
		next++
	}
	blocks := []struct {
		r    Reason
		s    Stack
		name string
	}{{h.recv, stackRecv, "chan receive"}, {h.sync, stackLockA, "sync"}, {h.net, stackNet, "network"}, {h.sleep, stackWorker, "sleep"}}
	for range n {
		at += int64(r.ExpFloat64() * 200_000)
		i := r.IntN(len(live))
		id := live[i]
		g := show(h.g(id))
		switch s.state[id] {
		case StateReady:
			h.Run(at, g)
			s.set(at, id, StateRunning, "")
		case StateBlocked:
			waker := show(h.g(live[r.IntN(len(live))]))
			if r.IntN(3) == 0 {
				waker = nil
			}
			stack := []Stack{stackSend, stackUnlockA, 0}[r.IntN(3)]
			h.Unblock(at, g, waker, stack)
			s.set(at, id, StateReady, fmt.Sprint("ready ", stack))
		case StateSyscall:
			blocked := r.IntN(2) == 0
			h.Sysexit(at, g, blocked)
			if s.set(at, id, StateRunning, ""); blocked {
				s.set(at, id, StateReady, "ready 0")
			}
		case StateRunning:
			switch k := r.IntN(10); {
			case k < 4:
				b := blocks[r.IntN(len(blocks))]
				h.Block(at, g, b.r, b.s)
				s.set(at, id, StateBlocked, fmt.Sprint("block ", b.name))
			case k < 7:
				h.Syscall(at, g, stackRead)
				s.set(at, id, StateSyscall, "syscall")
			case k == 7:
				h.Yield(at, g, h.gosched, stackGosched)
				s.set(at, id, StateReady, fmt.Sprint("ready ", stackGosched))
			case k == 8 && len(live) < 40:
				h.Create(at, h.g(next), g, stackWorker, stackGo, false)
				s.set(at, next, StateReady, fmt.Sprint("ready ", stackGo))
				live = append(live, next)
				next++
			case len(live) > 3:
				h.Exit(at, g)
				s.leave(at, id, false)
				s.state[id] = StateUnknown
				live = slices.Delete(live, i, i+1)
				s.ended++
			}
		}
	}
	at += 1000
	for _, id := range live {
		show(h.g(id))
		s.leave(at, id, true)
	}
	return s, at
}

// TestAgainstShadow plays random histories and counts everything again from the list of stays.
func TestAgainstShadow(t *testing.T) {
	for seed := range uint64(20) {
		h := newHistory(t)
		s, at := random(h, seed, 4000, seed%2 == 1)
		line, c := h.end(at)
		if line.RunNS != uint64(s.sums[StateRunning]) || line.ReadyNS != uint64(s.sums[StateReady]) ||
			line.SyscallNS != uint64(s.sums[StateSyscall]) || line.BlockedNS != uint64(s.sums[StateBlocked]) || line.Ended != uint64(s.ended) {
			t.Errorf("seed %d: run %d, ready %d, syscall %d, blocked %d; want %v", seed, line.RunNS, line.ReadyNS, line.SyscallNS,
				line.BlockedNS, s.sums)
		}
		found := 0
		for _, site := range line.Sites {
			var name string
			switch site.Kind {
			case evidence.SiteBlock:
				if name = "block " + site.Reason; site.Reason == "" {
					name = fmt.Sprint("block  ", numberOf(c, site.Stack))
				}
			case evidence.SiteSyscall:
				name = "syscall"
			case evidence.SiteReady:
				name = fmt.Sprint("ready ", numberOf(c, site.Stack))
			default:
				continue
			}
			found++
			compareSite(t, fmt.Sprintf("seed %d, %s", seed, name), &site, s.stays[name], line.SliceNS)
		}
		if found != len(s.stays) {
			t.Errorf("seed %d: %d sites, want %d", seed, found, len(s.stays))
		}
	}
}

// numberOf finds the number of a stack in the table of the tests.
func numberOf(c *evidence.Case, id evidence.StackID) Stack {
	st := c.Stack(id)
	return Stack(max(0, slices.IndexFunc(testStacks, func(fs []Frame) bool {
		if len(fs) != st.Len() || len(fs) == 0 {
			return false
		}
		for i := range fs {
			if fs[i].Func != st.At(i).Function {
				return false
			}
		}
		return true
	})))
}

func compareSite(t *testing.T, what string, got *evidence.Site, stays []stay, width int64) {
	t.Helper()
	var total, longest, openNS int64
	var hist evidence.Histogram
	load := make([]float64, evidence.MaxSlices)
	open := 0
	for _, s := range stays {
		total += s.to - s.from
		longest = max(longest, s.to-s.from)
		if s.open {
			open++
			openNS += s.to - s.from
		} else {
			hist.Add(s.to - s.from)
		}
		for k := s.from / width; k*width < s.to; k++ {
			load[k] += float64(min(s.to, (k+1)*width) - max(s.from, k*width))
		}
	}
	busy, peak := union(stays)
	if got.Count != uint64(len(stays)) || got.TotalNS != uint64(total) || got.MaxNS != uint64(longest) || got.Open != open ||
		got.OpenNS != uint64(openNS) || got.Hist != hist || got.BusyNS != uint64(busy) || got.Peak != peak {
		t.Errorf("%s: count %d, total %d, max %d, open %d (%d), busy %d, peak %d\nwant %d, %d, %d, %d (%d), %d, %d", what, got.Count, got.TotalNS,
			got.MaxNS, got.Open, got.OpenNS, got.BusyNS, got.Peak, len(stays), total, longest, open, openNS, busy, peak)
	}
	for k := range load {
		v := uint32(0)
		if k < len(got.Load) {
			v = got.Load[k]
		}
		if want := load[k] * 1000 / float64(width); float64(v) < want-1.5 || float64(v) > want+1.5 {
			t.Errorf("%s: slice %d has %d, want %.1f", what, k, v, want)
		}
	}
}

// TestRandomTwice gives the same for the same history, whatever the order in which the goroutines are handed over at the end.
func TestRandomTwice(t *testing.T) {
	var first evidence.Timeline
	for i := range 3 {
		h := newHistory(t)
		_, at := random(h, 42, 3000, false)
		line, _ := h.end(at)
		if i == 0 {
			first = line
		} else if !reflect.DeepEqual(first, line) {
			t.Fatal("another Timeline")
		}
	}
}

// TestLateAppearance tells of goroutines at the beginning, or as traces do: when something happens to them, or at the end. It is the same.
func TestLateAppearance(t *testing.T) {
	for seed := range uint64(10) {
		n := []int{0, 5, 30, 3000}[seed%4]
		var lines [2]evidence.Timeline
		for i, late := range []bool{false, true} {
			h := newHistory(t)
			_, at := random(h, seed, n, late)
			lines[i], _ = h.end(at)
			comparable(&lines[i])
		}
		if !reflect.DeepEqual(lines[0], lines[1]) {
			a, b := reflect.ValueOf(lines[0]), reflect.ValueOf(lines[1])
			for k := range a.NumField() {
				if x, y := a.Field(k).Interface(), b.Field(k).Interface(); !reflect.DeepEqual(x, y) {
					t.Errorf("seed %d, %d steps, %s:\nearly %+v\nlate  %+v", seed, n, a.Type().Field(k).Name, x, y)
				}
			}
		}
	}
}

// comparable leaves out what depends on the order in which goroutines were told of: numbers, and stalls that are taken back.
func comparable(line *evidence.Timeline) {
	for i := range line.Slices {
		line.Slices[i].Events = 0
	}
	for i := range line.Sites {
		line.Sites[i].Top, line.Sites[i].Stack = nil, 0
	}
	slices.SortStableFunc(line.Sites, func(a, b evidence.Site) int {
		return cmp.Or(cmp.Compare(b.TotalNS, a.TotalNS), cmp.Compare(a.FirstNS, b.FirstNS), cmp.Compare(a.LastNS, b.LastNS))
	})
	for i := range line.Spawns {
		line.Spawns[i].Start, line.Spawns[i].Stack = 0, 0
	}
	for i := range line.Releases {
		line.Releases[i].Site, line.Releases[i].Stack, line.Releases[i].Parts = 0, 0, nil
	}
	line.Pairs = nil
	line.Episodes = slices.DeleteFunc(line.Episodes, func(e evidence.Episode) bool { return e.Kind == evidence.EpisodeStall })
	for i := range line.Episodes {
		line.Episodes[i].Stack = 0
	}
}

// FuzzCalls calls the methods in any order with any arguments: nothing panics, what is kept is bounded, and the sums agree.
func FuzzCalls(f *testing.F) {
	f.Add([]byte("some bytes that are an order of calls, each of a method and its arguments"))
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 2))
		data := make([]byte, 4000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := newHistory(t)
		h.damaged = true
		c := &caller{h: h, data: data}
		for len(c.data) > 0 {
			c.call()
		}
		line, _ := h.end(c.t)
		if len(line.Slices) > evidence.MaxSlices || len(line.Sites) > outSites || len(line.Actors) > maxActors || len(line.Activities) > slowInAll {
			t.Errorf("%d slices, %d sites, %d actors", len(line.Slices), len(line.Sites), len(line.Actors))
		}
		for i, a := range line.Activities {
			if a.Kind < 0 || a.Kind >= len(line.Kinds) || len(a.Path) > maxLegs {
				t.Errorf("activity %d: %+v", i, a)
			}
			for k := 1; k < len(a.Path); k++ {
				if p := a.Path[k-1]; p.StartNS+p.NS != a.Path[k].StartNS {
					t.Errorf("activity %d: legs do not join: %+v", i, a.Path)
				}
			}
		}
		for k, n := range h.here {
			if n < 0 {
				t.Errorf("%d in category %d", n, k)
			}
		}
	})
}

// caller turns bytes into calls.
type caller struct {
	h    *history
	data []byte
	t    int64
	p    [4]P
}

func (c *caller) byte() byte {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return b
}

func (c *caller) g() *G {
	if n := int64(c.byte() % 12); n > 0 {
		return c.h.g(n)
	}
	return nil
}

func (c *caller) some() *G { return c.h.g(int64(1 + c.byte()%12)) }

func (c *caller) call() {
	h, op := c.h, c.byte()
	switch b := c.byte(); {
	case b < 200:
		c.t += int64(b) * 1000
	case b < 240:
		c.t += int64(b) * 1_000_000
	case b == 255:
		c.t -= 5000
	}
	stack, r, name := Stack(c.byte()%30), Reason(c.byte()%14), string(rune('a'+c.byte()%4))
	task := uint64(c.byte() % 4)
	switch t, g := c.t, c.some(); op % 29 {
	case 0:
		h.Appear(t, g, State(r%6), stack)
	case 1:
		h.Restate(t, g, State(r%6))
	case 2:
		h.Create(t, g, c.g(), stack, Stack(r), task == 0)
	case 3:
		h.CreateInSyscall(t, g)
	case 4, 5:
		h.Run(t, g)
	case 6:
		h.Yield(t, g, r, stack)
	case 7, 8:
		h.Block(t, g, r, stack)
	case 9, 10:
		h.Unblock(t, g, c.g(), stack)
	case 11:
		h.Syscall(t, g, stack)
	case 12:
		h.Sysexit(t, g, r%2 == 0)
	case 13:
		h.Exit(t, g)
		delete(h.gs, g.ID)
	case 14:
		h.Assist(t, g, r%2 == 0, stack)
	case 15:
		h.Pause(t, c.g(), name, stack)
	case 16:
		h.PauseEnd(t, c.g())
	case 17:
		h.GC(t, r%2 == 0)
	case 18:
		h.Sweep(t, &c.p[task], r%2 == 0)
	case 19:
		h.ProcRun(t, &c.p[task])
	case 20:
		h.ProcStop(t, &c.p[task])
	case 21:
		h.Label(t, g, []string{"GC (idle)", "other"}[r%2])
	case 22:
		h.Task(t, c.g(), task, 0, name, stack)
	case 23:
		h.TaskEnd(t, c.g(), task)
	case 24:
		h.Region(t, c.g(), task, name, stack)
	case 25:
		h.RegionEnd(t, c.g(), task, name)
	case 26:
		h.Log(t, c.g(), task, name, name)
	case 27:
		h.Sample(t, c.g(), stack)
	case 28:
		h.Heap(t, uint64(stack)<<20)
		h.Goal(t, uint64(r)<<20)
		h.Procs(t, int(task))
		h.Lost(uint64(r))
	}
}
