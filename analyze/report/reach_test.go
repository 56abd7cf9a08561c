package report_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// leaked has goroutines that can never wake, two that wait for each other over channels, a pool, and a path.
func leaked() *diagnosis.Result { return leakedBy(nil) }

const (
	answers, orders, acks = 0xc000040000, 0xc000050000, 0xc000060000
	database              = 0xc000070000
)

func leakedBy(more func(*evidence.Builder)) *diagnosis.Result {
	b := newCase()
	send := b.Stack([]evidence.FrameID{frame(b, "runtime.chansend1", "/go/src/runtime/chan.go", 161), frame(b, "example.com/app/ask.first.func1", "/src/app/ask/ask.go", 14)}, evidence.StackNote{})
	start := frame(b, "example.com/app/ask.first", "/src/app/ask/ask.go", 12)
	var lost []evidence.Ref
	for i := range 30 {
		g := evidence.Goroutine{ID: int64(100 + i), State: evidence.StateWaiting, Reason: "chan send", Stack: send, Created: start, WaitsOn: answers + uint64(i)*0x60, Wake: evidence.WakeNever}
		b.Goroutine(g)
		b.Sync(evidence.Sync{Addr: g.WaitsOn, Kind: evidence.SyncChannel})
		lost = append(lost, g.Ref())
	}
	for _, s := range []struct {
		id       int64
		function string
		line     int
		on, from uint64
	}{{7, "example.com/app/shop.(*Desk).run", 30, orders, acks}, {8, "example.com/app/shop.(*Store).run", 52, acks, orders}} {
		at := frame(b, s.function, "/src/app/shop/shop.go", s.line)
		b.Goroutine(evidence.Goroutine{ID: s.id, State: evidence.StateWaiting, Reason: "chan send", WaitsOn: s.on, Wake: evidence.WakeNever,
			Stack: b.Stack([]evidence.FrameID{frame(b, "runtime.chansend1", "/go/src/runtime/chan.go", 161), at}, evidence.StackNote{})})
		b.Sync(evidence.Sync{Addr: s.on, Kind: evidence.SyncChannel, Len: 4, Cap: 4})
		b.Waker(evidence.Waker{Sync: s.from, Goroutine: s.id, Act: evidence.ActReceive, Grade: evidence.WakerAhead, Frame: at, Depth: 1, Why: "it receives from it in the same loop"})
	}
	parked(b, 40, 3, "select", "database/sql.(*DB).conn", "/go/src/database/sql/sql.go", 1369, 0)
	b.Pool(evidence.Pool{Addr: database, Kind: "database/sql.DB", Where: "global main.db", Used: 2, Limit: 2, Waiting: 3})
	b.PoolUse(evidence.PoolUse{Pool: database, Goroutine: 40, Role: evidence.PoolWaits, Slots: 1})
	b.PoolUse(evidence.PoolUse{Pool: database, Goroutine: 7, Role: evidence.PoolHolds, Slots: 1, Grade: evidence.HoldUnique, Why: "its Rows are not closed"})
	b.Proof(evidence.Proof{Done: true, Candidates: 41, Never: 32, Objects: 12_000, Bytes: 3 << 20, Precise: 900, Doubtful: 3})
	b.HeapUse(counted(send, start))
	b.Coverage(evidence.Coverage{GoroutinesSeen: 35, GoroutinesUnwound: 35, ThreadsSeen: 5, ThreadsUnwound: 5})
	if more != nil {
		more(b)
	}
	return result(b.Finish(), diagnosis.Finding{
		Rule: "goroutine-leak", Class: "goroutine-leak", Subject: lost[0], Victims: lost, Claim: "30 goroutines can never wake",
		Because: []diagnosis.Reason{because("the heap was walked", evidence.Ref{Kind: evidence.RefProof}, lost[0]), because("they keep memory", evidence.Ref{Kind: evidence.RefHeapUse}),
			because("goroutine 7 would receive", evidence.Ref{Kind: evidence.RefWaker}), because("the pool is empty", evidence.Ref{Kind: evidence.RefPool, ID: database},
				evidence.Ref{Kind: evidence.RefPoolUse}, evidence.Ref{Kind: evidence.RefPoolUse, ID: 1})},
		Locations:  []diagnosis.Location{loc(diagnosis.RoleWaiter, lost[0], "example.com/app/ask.first.func1", "/src/app/ask/ask.go", 14)},
		Confidence: diagnosis.Proved, Severity: diagnosis.Warning, Fix: "Make room for every answer."})
}

// Every citation of the new kinds has a row with words in it.
func TestRowsOfReachability(t *testing.T) {
	doc := report.Build(leaked(), meta())
	for ref, want := range map[string]string{
		"proof": "41 goroutines judged, 32 can never wake", "heapuse": "20,000 objects of 5.0 MiB on the heap, 12,000 objects of 3.0 MiB reachable",
		"waker:0":           "goroutine 7 could wake those who wait for sync:0xc000060000 (receive, ahead): it receives from it in the same loop",
		"pool:0xc000070000": "database/sql.DB, global main.db, 2 slots in use of 2, counts 3 waiters",
		"pooluse:0":         "goroutine 40 waits for 1 slot of pool:0xc000070000", "pooluse:1": "goroutine 7 holds 1 slot of pool:0xc000070000 (unique-candidate): its Rows are not closed",
		"goroutine:100": "can never wake",
	} {
		i := slices.IndexFunc(doc.Rows, func(r report.Row) bool { return r.Ref == ref })
		if i < 0 || !strings.Contains(doc.Rows[i].Text, want) {
			t.Errorf("row %s lacks %q: %+v", ref, want, doc.Rows)
		}
	}
	if doc.Proof == nil || doc.Proof.Never != 32 || !strings.Contains(doc.Coverage.Reachability, "32 can never wake") {
		t.Errorf("proof is %+v, coverage %+v", doc.Proof, doc.Coverage)
	}
	if doc.Stacks[0].Never != 30 {
		t.Errorf("the first group has %d lost goroutines, want 30", doc.Stacks[0].Never)
	}
}

func TestProofSentences(t *testing.T) {
	for want, p := range map[string]evidence.Proof{
		"no verdicts: the core lacks 12 spans of the heap": {Refused: "the core lacks 12 spans of the heap"},
		"no verdicts: the search was not finished":         {},
		"3 goroutines judged, 0 can never wake":            {Done: true, Candidates: 3},
		"no goroutine waits for the program alone":         {Done: true},
	} {
		b := idle()
		b.Proof(p)
		if got := report.Build(result(b.Finish()), meta()).Coverage.Reachability; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := report.Build(healthy(), meta()); got.Proof != nil || got.Coverage.Reachability != "" {
		t.Errorf("nobody looked, and the report says %q", got.Coverage.Reachability)
	}
}

// The circle over channels comes first, with the waker in words; a hold that does not bind makes none.
func TestCircleOfChannels(t *testing.T) {
	g := report.WaitGraph(leaked().Case, meta(), 40).Waits
	want := [][]string{{"goroutine:7", "sync:0xc000050000", "goroutine:8", "sync:0xc000060000"}}
	if fmt.Sprint(g.Circles) != fmt.Sprint(want) || g.Nodes[0].ID != "goroutine:7" || g.Nodes[0].Wake != "never" {
		t.Errorf("circles are %v, the first node %+v", g.Circles, g.Nodes[0])
	}
	golden(t, "answers/graph", report.WaitGraph(leaked().Case, meta(), 40))
	text := tree(g)
	for _, line := range []string{
		"circle of 2 goroutines:\n  goroutine 7, waiting: chan send, in (*Desk).run at shop.go:30; it can never wake\n    waits for sync:0xc000050000 (channel, 4 of 4 elements queued), which could be woken by goroutine:8\n",
		"sync:0xc000050000: channel, 4 of 4 elements queued\n  could be woken by goroutine 8, waiting: chan send, in (*Store).run at shop.go:52; it can never wake [inferred: receive, ahead]\n    which waits for sync:0xc000060000\n",
		"pool:0xc000070000: database/sql.DB, global main.db, 2 slots in use of 2, counts 3 waiters\n  held by goroutine 7,",
		"30 channels, one for each\n  waited for by 30 goroutines in ask.first.func1 at ask.go:14; they can never wake\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the tree lacks\n%s\nit is\n%s", line, text)
		}
	}
}

// What a goroutine could do for itself one day is no circle, and neither is a send that nobody waits for; a lock that it holds is one.
func TestCirclesOfOne(t *testing.T) {
	one := func(reason string, kind evidence.SyncKind, add func(*evidence.Builder)) [][]string {
		b := evidence.NewBuilder()
		b.Goroutine(evidence.Goroutine{ID: 5, State: evidence.StateWaiting, Reason: reason, WaitsOn: 0x40})
		b.Sync(evidence.Sync{Addr: 0x40, Kind: kind})
		add(b)
		return report.WaitGraph(b.Finish(), meta(), 40).Waits.Circles
	}
	waker := func(act evidence.Act) func(*evidence.Builder) {
		return func(b *evidence.Builder) {
			b.Waker(evidence.Waker{Sync: 0x40, Goroutine: 5, Act: act, Grade: evidence.WakerPending})
		}
	}
	for _, act := range []evidence.Act{evidence.ActClose, evidence.ActReceive, evidence.ActSend} {
		if c := one("chan send", evidence.SyncChannel, waker(act)); c != nil {
			t.Errorf("act %s gives the circle %v", act, c)
		}
	}
	hold := func(b *evidence.Builder) {
		b.Hold(evidence.Hold{Sync: 0x40, Goroutine: 5, Grade: evidence.HoldPendingUnlock})
	}
	if c := one("sync.Mutex.Lock", evidence.SyncMutex, hold); len(c) != 1 || len(c[0]) != 2 {
		t.Errorf("a lock taken twice gives %v", c)
	}
}

// A select binds only when no case of it can happen.
func TestCircleThroughSelect(t *testing.T) {
	for _, verdict := range []evidence.Wake{evidence.WakeNever, evidence.WakePossible} {
		b := evidence.NewBuilder()
		b.Goroutine(evidence.Goroutine{ID: 5, State: evidence.StateWaiting, Reason: "select", Wake: verdict})
		b.Wait(evidence.Wait{Goroutine: 5, Sync: 0x40, Mode: evidence.WaitReceive})
		b.Wait(evidence.Wait{Goroutine: 5, Sync: 0xa0, Mode: evidence.WaitReceive})
		b.Goroutine(evidence.Goroutine{ID: 6, State: evidence.StateWaiting, Reason: "sync.Mutex.Lock", WaitsOn: 0xf0})
		b.Hold(evidence.Hold{Sync: 0xf0, Goroutine: 5, Grade: evidence.HoldUnique})
		b.Waker(evidence.Waker{Sync: 0x40, Goroutine: 6, Act: evidence.ActSend, Grade: evidence.WakerAhead})
		for _, addr := range []uint64{0x40, 0xa0} {
			b.Sync(evidence.Sync{Addr: addr, Kind: evidence.SyncChannel})
		}
		b.Sync(evidence.Sync{Addr: 0xf0, Kind: evidence.SyncMutex, Locked: true})
		g := report.WaitGraph(b.Finish(), meta(), 40).Waits
		if (len(g.Circles) == 1) != (verdict == evidence.WakeNever) {
			t.Errorf("verdict %s gives %v", verdict, g.Circles)
		}
		if text := tree(g); !strings.Contains(text, "goroutine 5, waiting: select") {
			t.Errorf("the select is not drawn:\n%s", text)
		}
	}
}

// The whole graph of a large case is bounded, and what is left out is counted.
func TestWaitGraphIsBounded(t *testing.T) {
	b := evidence.NewBuilder()
	for i := range 5000 {
		stack := b.Stack([]evidence.FrameID{frame(b, fmt.Sprintf("main.f%d", i/10), "/src/main.go", 1)}, evidence.StackNote{})
		addr := uint64(0x1000 + 0x60*i)
		b.Goroutine(evidence.Goroutine{ID: int64(i + 1), State: evidence.StateWaiting, Reason: "chan receive", Stack: stack, WaitsOn: addr})
		b.Sync(evidence.Sync{Addr: addr, Kind: evidence.SyncChannel})
		if i%3 == 0 {
			b.Waker(evidence.Waker{Sync: addr, Goroutine: int64((i+1)%5000 + 1), Act: evidence.ActSend, Grade: evidence.WakerAhead})
		}
	}
	b.Goroutine(evidence.Goroutine{ID: 9000, State: evidence.StateWaiting, Reason: "chan send (nil chan)", Wake: evidence.WakeNever})
	c := b.Finish()
	for _, nodes := range []int{2, 40, 200, 100_000} {
		g := report.WaitGraph(c, meta(), nodes).Waits
		if len(g.Nodes) > nodes || (g.Omitted == 0) != (nodes == 100_000) {
			t.Errorf("%d nodes for %d, %d omitted", len(g.Nodes), nodes, g.Omitted)
		}
		if !slices.ContainsFunc(g.Nodes, func(n report.Node) bool { return n.ID == "nothing" }) && nodes == 100_000 {
			t.Error("the nil channel is not drawn")
		}
	}
}

func TestWhy(t *testing.T) {
	const registry = 0xc000080000
	res := leakedBy(func(b *evidence.Builder) {
		stack := b.Stack([]evidence.FrameID{frame(b, "example.com/app/hub.(*Hub).pump", "/src/app/hub/hub.go", 77)}, evidence.StackNote{})
		for i, g := range []evidence.Goroutine{
			{State: evidence.StateWaiting, Reason: "chan receive", WaitsOn: registry, Wake: evidence.WakePossible}, {State: evidence.StateWaiting, Reason: "IO wait", Wake: evidence.WakePossible},
			{State: evidence.StateRunning}, {State: evidence.StateWaiting, Reason: "select (no cases)", Wake: evidence.WakeByDesign},
			{State: evidence.StateLeaked, Reason: "chan send", WaitsOn: registry}, {State: evidence.StateWaiting, Reason: "chan receive", WaitsOn: registry, Wake: evidence.WakePossible},
		} {
			g.ID, g.Stack = int64(50+i), stack
			b.Goroutine(g)
		}
		b.Sync(evidence.Sync{Addr: registry, Kind: evidence.SyncChannel, Cap: 8})
		b.Path(evidence.Path{Goroutine: 50, Sync: registry, Steps: []evidence.PathStep{
			{Kind: evidence.StepGlobal, Name: "main.hubs", Addr: 0x5a1000}, {Kind: evidence.StepObject, Name: "main.Hub", Addr: 0xc000090000, Size: 96, Offset: 24},
			{Kind: evidence.StepStack, Name: "main.run", Goroutine: 7, Depth: 2}, {Kind: evidence.StepFinalizer}, {Kind: evidence.StepRuntime, Name: "timers"}, {Kind: evidence.StepGoroutine, Goroutine: 8}}})
	})
	doc, err := report.Why(res.Case, meta(), 50, 51, 52, 53, 54, 55, 100, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"Goroutine 50, in (*Hub).pump at hub.go:77, may still be woken: the global variable main.hubs leads to what it waits for, in 6 steps.",
		"may still be woken: what it waits for (IO wait) does not depend on the program alone.", "is not blocked: it is running.",
		"waits in its own select{}: it never wakes, and is not meant to.", "can never wake: the runtime's own leak detector marked it.",
		"may still be woken, and the path to what it waits for is not in this evidence",
		"can never wake: nothing that can still run reaches what it waits for", "can never wake",
	} {
		if !strings.Contains(doc.Paths[i].Answer, want) {
			t.Errorf("answer %d is %q, want %q", i, doc.Paths[i].Answer, want)
		}
	}
	var steps []string
	for _, s := range doc.Paths[0].Steps {
		steps = append(steps, s.Text)
	}
	want := []string{"global main.hubs at 0x5a1000", "object of type main.Hub at 0xc000090000, 96 B, the pointer at offset 24", "stack of goroutine 7, frame 2 (main.run)",
		"finalizer or cleanup", "the runtime: timers", "goroutine 8, which can wake"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps are %q", steps)
	}
	if h := doc.Paths[7].Helpers; len(h) != 1 || h[0].Text != "goroutine 8 could wake it (inferred: receive, ahead)" || h[0].Refs[0] != "waker:1" {
		t.Errorf("helpers are %+v", h)
	}
	golden(t, "answers/why", doc)
	if _, err := report.Why(res.Case, meta(), 4711); err == nil || !strings.Contains(err.Error(), "goroutine:4711 is not in the evidence") {
		t.Errorf("an unknown goroutine gives %v", err)
	}
}

// Without a proof the answer says why; a path is kept by its ends.
func TestWhyNot(t *testing.T) {
	b := idle()
	b.Goroutine(evidence.Goroutine{ID: 900, State: evidence.StateWaiting, Reason: "chan receive", WaitsOn: 0x40})
	long := evidence.Path{Goroutine: 1, Sync: 0x40}
	for i := range 5000 {
		long.Steps = append(long.Steps, evidence.PathStep{Kind: evidence.StepObject, Addr: uint64(i + 1)})
	}
	b.Path(long)
	doc, err := report.Why(b.Finish(), meta(), 900, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(doc.Paths[0].Answer, "was not looked at: this evidence holds no memory") {
		t.Errorf("the answer is %q", doc.Paths[0].Answer)
	}
	if n := len(doc.Paths[1].Steps); n != 201 || doc.Paths[1].Steps[100].Text != "4,800 steps left out" {
		t.Errorf("%d steps", n)
	}
	b = idle()
	b.Proof(evidence.Proof{Refused: "this is Go 1.21"})
	if doc, err = report.Why(b.Finish(), meta(), 1); err != nil || !strings.Contains(doc.Paths[0].Answer, "has no verdict: this is Go 1.21.") {
		t.Errorf("the answer is %+v, %v", doc, err)
	}
}

// A rule does not know the names of the files; the report puts them into its commands, and only there.
func TestFilesOfCommands(t *testing.T) {
	res := leaked()
	res.Findings[0].Next = []string{"postmortem why goroutine:100 FILE", "write a core to FILE", "postmortem rules"}
	doc := report.Build(res, meta())
	want := []string{"postmortem why goroutine:100 core.1234", "write a core to FILE", "postmortem rules"}
	if !slices.Equal(doc.Findings[0].Next, want) {
		t.Errorf("next steps are %q", doc.Findings[0].Next)
	}
}

// One goroutine waits, many wait.
func TestVerdictOnOneWaiter(t *testing.T) {
	res := leaked()
	if s := report.Build(res, meta()).Verdict.Sentence; !strings.Contains(s, "; they wait in ") {
		t.Errorf("the sentence is %q", s)
	}
	res.Findings[0].Victims = res.Findings[0].Victims[:1]
	if s := report.Build(res, meta()).Verdict.Sentence; !strings.Contains(s, "; it waits in ") {
		t.Errorf("the sentence is %q", s)
	}
}
