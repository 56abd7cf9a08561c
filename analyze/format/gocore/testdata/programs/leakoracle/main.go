// story: A random graph of goroutines and of what they wait for. The program lets the runtime find the leaks just before it dies, so
// story: that the core holds the runtime's own answer: goroutines that can never wake have the status "leaked".
// go: 1.26
// ends: crash
package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"time"
)

// Arguments: seed, number of objects, how it ends.
func main() {
	seed, _ := strconv.ParseUint(os.Args[1], 10, 64)
	count, _ := strconv.Atoi(os.Args[2])
	debug.SetGCPercent(-1) // collections only where they are asked for: what they do to pools is then known
	open()
	grow(&graph{rand: rand.New(rand.NewPCG(seed, 26)), count: count})
	for range 3 {
		time.Sleep(50 * time.Millisecond)
		runtime.GC() // pools are emptied, finalizers are queued and run
	}
	time.Sleep(100 * time.Millisecond)
	if os.Args[3] == "sweep" || os.Args[3] == "gc" {
		ballast(seed)
	}
	if err := pprof.Lookup("goroutineleak").WriteTo(io.Discard, 0); err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stderr, "goroutines", runtime.NumGoroutine())
	end(os.Args[3], seed)
}

// graph is the graph in the making.
type graph struct {
	rand    *rand.Rand
	count   int
	objects []object
}

// grow makes the objects and the goroutines, and forgets them.
//
//go:noinline
func grow(g *graph) {
	for range g.count {
		g.objects = append(g.objects, kinds[g.rand.IntN(len(kinds))](g))
	}
	for i, o := range g.objects {
		for range 1 + g.rand.IntN(2) {
			g.start(o)
		}
		if i%24 == 0 {
			g.root(g.some(1 + g.rand.IntN(2)))
		}
	}
	g.special()
	for range 8 {
		go holdOnPools(makeChannel(g), g.some(1))
	}
	for i := range g.objects {
		g.objects[i] = nil
	}
	g.objects = nil
}

// some are random objects; few, so that chains are long and do not all meet.
func (g *graph) some(n int) []object {
	found := make([]object, n)
	for i := range found {
		found[i] = g.objects[g.rand.IntN(len(g.objects))]
	}
	return found
}

// start starts a goroutine that waits for an object and keeps some others, in one of many ways.
func (g *graph) start(o object) {
	refs := g.some(g.rand.IntN(3))
	if len(refs) == 0 {
		go hold0(o)
		return
	}
	go holds[g.rand.IntN(len(holds))](o, refs)
}
