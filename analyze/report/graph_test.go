package report_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

func tree(g report.Graph) string {
	var b strings.Builder
	for _, l := range g.Tree() {
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", l.Depth), l.Text)
	}
	return b.String()
}

func TestTree(t *testing.T) {
	got := tree(report.Build(cycle(), meta()).Waits)
	want := `circle of 2 goroutines:
  goroutine 21, waiting: sync.Mutex.Lock, in (*Account).Pay at account.go:30
    waits for sync:0xc000020000 (mutex, locked, counts 1 waiter), held by goroutine:22
  goroutine 22, waiting: sync.Mutex.Lock, in (*Account).Refund at account.go:50
    waits for sync:0xc000010000 (mutex, locked, counts 1 waiter), held by goroutine:21
sync:0xc000020000: mutex, locked, counts 1 waiter
  held by goroutine 22, waiting: sync.Mutex.Lock, in (*Account).Refund at account.go:50 [inferred: unique-candidate]
    which waits for sync:0xc000010000
  waited for by goroutine 21, waiting: sync.Mutex.Lock, in (*Account).Pay at account.go:30
sync:0xc000010000: mutex, locked, counts 1 waiter
  held by goroutine 21, waiting: sync.Mutex.Lock, in (*Account).Pay at account.go:30 [inferred: unique-candidate]
    which waits for sync:0xc000020000
  waited for by goroutine 22, waiting: sync.Mutex.Lock, in (*Account).Refund at account.go:50
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A graph of 200 locks with many stacks and holders stays within 40 nodes, draws the most waited for, and counts the rest.
func TestGraphIsBounded(t *testing.T) {
	b := newCase()
	id := 1
	for lock := range 200 {
		addr := uint64(0xc000000000 + 64*lock)
		waiters := 2 + lock%20
		b.Sync(evidence.Sync{Addr: addr, Kind: evidence.SyncMutex, Locked: true, Waiters: waiters})
		for w := range waiters {
			stack := b.Stack([]evidence.FrameID{frame(b, "main.work", "/src/main.go", 10+w)}, evidence.StackNote{})
			b.Goroutine(evidence.Goroutine{ID: int64(id), State: evidence.StateWaiting, Stack: stack, WaitsOn: addr})
			if w%3 == 0 { // holds the next lock: a chain
				b.Hold(evidence.Hold{Sync: addr + 64, Goroutine: int64(id), Grade: evidence.HoldAmbiguous})
			}
			id++
		}
	}
	g := report.Build(result(b.Finish()), meta()).Waits
	if len(g.Nodes) > 40 || len(g.Nodes) < 20 {
		t.Errorf("%d nodes", len(g.Nodes))
	}
	if g.Omitted == 0 || g.Nodes[0].Count != 21 {
		t.Errorf("omitted %d, first object has %d waiters, want 21", g.Omitted, g.Nodes[0].Count)
	}
	known := map[string]bool{}
	for _, n := range g.Nodes {
		if known[n.ID] {
			t.Errorf("node %s stands twice", n.ID)
		}
		known[n.ID] = true
	}
	for _, e := range g.Edges {
		if !known[e.From] || !known[e.To] {
			t.Errorf("edge %v has no node", e)
		}
	}
	if !strings.Contains(tree(g), "more objects not drawn") {
		t.Error("the tree does not say what it left out")
	}
}

// Waiters are counted in full even when they are not all told apart.
func TestManyWaiters(t *testing.T) {
	const mu, n = 0xc000000040, 25_000
	b := newCase()
	parked(b, 1, n, "sync.Mutex.Lock", "main.work", "/src/main.go", 10, mu)
	b.Sync(evidence.Sync{Addr: mu, Kind: evidence.SyncMutex, Locked: true, Waiters: n})
	g := report.Build(result(b.Finish()), meta()).Waits
	sum := 0
	for _, node := range g.Nodes {
		if node.Kind == "waiters" {
			sum += node.Count
		}
	}
	if sum != n || g.Nodes[0].Count != n {
		t.Errorf("the nodes hold %d waiters, the object %d, want %d", sum, g.Nodes[0].Count, n)
	}
}
