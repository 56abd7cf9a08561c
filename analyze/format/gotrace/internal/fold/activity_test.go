package fold

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// legsOf writes a path as "goroutine state ns" and the innermost function.
func legsOf(c *evidence.Case, a evidence.Activity) []string {
	var out []string
	for _, l := range a.Path {
		at := ""
		if st := c.Stack(l.Stack); st.Len() > 0 {
			at = " " + st.At(0).Function
		}
		if l.Reason != "" {
			at = " " + l.Reason + at
		}
		out = append(out, fmt.Sprintf("%d %v %d%s", l.Goroutine, l.State, l.NS, at))
	}
	return out
}

// contiguous checks that the legs of a path cover it from its beginning to its end.
func contiguous(t *testing.T, a evidence.Activity) {
	t.Helper()
	at := a.StartNS
	for _, l := range a.Path {
		if l.StartNS != at {
			t.Errorf("a leg begins at %d, want %d: %+v", l.StartNS, at, a.Path)
		}
		at = l.StartNS + l.NS
	}
	if at != a.StartNS+a.NS {
		t.Errorf("the path ends at %d, want %d", at, a.StartNS+a.NS)
	}
}

// TestTaskPath follows a task from its goroutine to the one that it waited for, which waited for the network.
func TestTaskPath(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	h.Task(1000, h.g(1), 7, 0, "request", stackMain)
	h.Log(1001, h.g(1), 7, "user", "bob")
	h.Log(1002, h.g(1), 7, "", "hello")
	h.Log(1003, h.g(1), 8, "", "of another task")
	h.Create(1200, h.g(2), h.g(1), stackWorker, stackGo, false)
	h.Block(1300, h.g(1), h.recv, stackRecv)
	h.Run(1400, h.g(2))
	h.Block(1500, h.g(2), h.net, stackNet)
	h.Unblock(5500, h.g(2), nil, 0)
	h.Run(5600, h.g(2))
	h.Syscall(5700, h.g(2), stackWrite)
	h.Sysexit(5900, h.g(2), false)
	h.Unblock(6000, h.g(1), h.g(2), stackSend)
	h.Exit(6100, h.g(2))
	h.Run(6200, h.g(1))
	h.TaskEnd(6500, h.g(1), 7)
	h.TaskEnd(6500, h.g(1), 99) // began before the trace
	line, c := h.end(7000)
	if len(line.Activities) != 1 || len(line.Kinds) != 1 {
		t.Fatalf("%+v %+v", line.Activities, line.Kinds)
	}
	a, k := line.Activities[0], line.Kinds[0]
	if a.Task != 7 || a.Goroutine != 1 || a.StartNS != 1000 || a.NS != 5500 || a.Open || a.Cut ||
		!slices.Equal(a.Logs, []string{"user: bob", "hello"}) {
		t.Errorf("%+v", a)
	}
	if k.Region || k.Name != "request" || k.Count != 1 || k.Open != 0 || k.TotalNS != 5500 || k.MaxNS != 5500 || k.Hist.Total() != 1 {
		t.Errorf("%+v", k)
	}
	contiguous(t, a)
	want := []string{"1 running 300 runtime.chanrecv1", "2 ready 100 main.start", "2 running 100 internal/poll.(*FD).Read",
		"2 blocked 4000 network internal/poll.(*FD).Read", "2 ready 100", "2 running 100 syscall.write", "2 syscall 200 syscall.write",
		"2 running 100", "1 ready 200 runtime.chansend1", "1 running 300"}
	if got := legsOf(c, a); !slices.Equal(got, want) {
		t.Errorf("path %q\nwant %q", got, want)
	}
	if _, ok := line.Actor(2); !ok {
		t.Error("who is on the path is no actor")
	}
}

// TestPathThroughParent comes to the beginning of a goroutine that was created while another waited for it: the path goes on with who
// created it.
func TestPathThroughParent(t *testing.T) {
	h := newHistory(t)
	h.running(1, 3)
	h.Region(900, h.g(3), 0, "elsewhere", 0) // the trace has regions: goroutine 3 is known well
	h.Region(1000, h.g(1), 0, "gather", stackMain)
	h.Block(1100, h.g(1), h.sync, stackWaitGroup)
	h.Create(2000, h.g(2), h.g(3), stackWorker, stackGo, false)
	h.Run(2000, h.g(2))
	h.Unblock(4000, h.g(1), h.g(2), stackSend)
	h.Run(4000, h.g(1))
	h.RegionEnd(4500, h.g(1), 0, "gather")
	line, c := h.end(5000)
	i := slices.IndexFunc(line.Activities, func(a evidence.Activity) bool { return a.Goroutine == 1 })
	a := line.Activities[i]
	contiguous(t, a)
	want := []string{"1 running 100 sync.runtime_SemacquireWaitGroup", "3 running 900", "2 running 2000", "1 running 500"}
	if got := legsOf(c, a); !slices.Equal(got, want) || a.Cut {
		t.Errorf("path %q\nwant %q", got, want)
	}
	if open := line.Activities[1-i]; !open.Open || open.NS != 4100 || line.Kinds[open.Kind].Open != 1 {
		t.Errorf("%+v", open)
	}
}

// TestPathIsCut follows a goroutine that did more than it remembers, and more than a path has legs for.
func TestPathIsCut(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Region(0, h.g(1), 0, "r", 0)
	h.Block(100, h.g(1), h.recv, stackRecv)
	for i := range int64(200) { // more than goroutine 2 remembers
		h.Syscall(1000+i*10, h.g(2), stackRead)
		h.Sysexit(1005+i*10, h.g(2), false)
	}
	h.Unblock(3000, h.g(1), h.g(2), stackSend)
	h.Run(3000, h.g(1))
	h.RegionEnd(3000, h.g(1), 0, "r")
	line, c := h.end(4000)
	a := line.Activities[0]
	if !a.Cut || len(a.Path) != maxLegs {
		t.Errorf("%d legs, cut %v", len(a.Path), a.Cut)
	}
	if got := legsOf(c, a); got[len(got)-1] != "2 running 5" {
		t.Errorf("the end of the path: %q", got[len(got)-1])
	}
}

// TestRegions nests regions, loses an end, and ends goroutines within them.
func TestRegions(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Region(100, h.g(1), 5, "outer", stackMain)
	h.Region(200, h.g(1), 5, "inner", stackMain)
	h.Region(300, h.g(1), 5, "lost", stackMain)
	h.RegionEnd(400, h.g(1), 5, "inner")
	h.RegionEnd(450, h.g(1), 5, "nobody")
	h.RegionEnd(450, h.g(2), 5, "outer")
	h.Region(500, h.g(2), 0, "inner", 0)
	h.Exit(900, h.g(2))
	h.Region(1000, nil, 0, "of nobody", 0)
	line, _ := h.end(2000)
	got := map[string][3]uint64{}
	for _, k := range line.Kinds {
		got[k.Name] = [3]uint64{k.Count, uint64(k.Open), k.TotalNS}
	}
	want := map[string][3]uint64{"outer": {1, 1, 1900}, "inner": {2, 0, 200 + 400}, "lost": {1, 0, 100}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if line.Activities[0].NS != 1900 || !line.Activities[0].Open || line.Activities[0].Task != 5 || len(line.Activities) != 4 {
		t.Errorf("%+v", line.Activities)
	}
}

// TestSlowest keeps the slowest five of a name, and twenty in all.
func TestSlowest(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	at := int64(0)
	for i := range int64(300) {
		name := fmt.Sprint("task ", i%10)
		h.Task(at, h.g(1), uint64(i+1), 0, name, 0)
		at += 1000 + (i*7919)%300*10 + i%10*100_000
		h.TaskEnd(at, h.g(1), uint64(i+1))
	}
	h.Task(at, h.g(1), 1000, 0, "open", 0)
	line, _ := h.end(at + 10)
	names := map[string]int{}
	for i, a := range line.Activities {
		names[line.Kinds[a.Kind].Name]++
		if i > 0 && a.NS > line.Activities[i-1].NS {
			t.Error("not the slowest first")
		}
	}
	if want := map[string]int{"task 9": 5, "task 8": 5, "task 7": 5, "task 6": 5}; fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("%v", names)
	}
	if len(line.Kinds) != 11 {
		t.Errorf("%d kinds", len(line.Kinds))
	}
	for _, k := range line.Kinds {
		if k.Name == "open" && (k.Open != 1 || k.TotalNS != 10) || k.Name == "task 3" && k.Count != 30 {
			t.Errorf("%+v", k)
		}
	}
}

// TestManyKinds has more names, tasks, regions and texts than are kept.
func TestManyKinds(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	for i := range maxTasks + 100 {
		h.Task(int64(i), h.g(1), uint64(i+1), 0, fmt.Sprint("name ", i), 0)
		for range maxLogs + 2 {
			h.Log(int64(i), h.g(1), uint64(i+1), "c", "some text that is logged")
		}
		h.Region(int64(i), h.g(1), 0, "r", 0)
		h.Region(int64(i), h.g(1), 0, "q", 0)
	}
	if len(h.acts.kinds) > maxKinds || len(h.acts.tasks) > maxTasks || len(h.acts.regions) > maxRegions+1 || h.acts.logged > roomLogs+maxText {
		t.Errorf("%d kinds, %d tasks, %d regions, %d bytes", len(h.acts.kinds), len(h.acts.tasks), len(h.acts.regions), h.acts.logged)
	}
	line, c := h.end(1_000_000)
	if len(line.Kinds) > outKinds || len(line.Activities) > slowInAll {
		t.Errorf("%d kinds, %d activities", len(line.Kinds), len(line.Activities))
	}
	if len(c.Gaps) < 4 {
		t.Errorf("gaps %v", c.Gaps)
	}
}

// TestRings reuses the rings of goroutines that have ended, and finds nothing of the former owner in them.
func TestRings(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	for i := range int64(100) {
		g := h.g(2 + i)
		h.Create(i*100, g, h.g(1), stackWorker, stackGo, false)
		h.Run(i*100+10, g)
		h.Syscall(i*100+20, g, stackRead)
		h.Sysexit(i*100+30, g, false)
		h.Exit(i*100+40, g)
	}
	if n := h.rings.used; n > 3 {
		t.Errorf("%d rings for one goroutine at a time", n)
	}
	h.Region(10_000, h.g(1), 0, "r", 0)
	for i := range int64(3000) {
		g := h.g(1000 + i)
		h.Create(10_000+i*100, g, h.g(1), stackWorker, stackGo, false)
		h.Run(10_000+i*100, g)
		h.Exit(10_000+i*100+40, g)
	}
	if n := h.rings.used; n > ringLag+10 {
		t.Errorf("%d rings", n)
	}
	table := ringTable{blocks: []*[ringBlock]ring{new([ringBlock]ring)}}
	r := table.head(1)
	r.n = 1<<32 - 3
	for i := range int64(10) {
		table.push(1, evidence.ActReady, i, uint32(i))
	}
	if got := table.at(r, r.n-1); got.since() != 9 || got.site != 9 || r.n-r.oldest() != shortRing {
		t.Errorf("after the number of entries went round: %+v of %+v", got, r)
	}
}
