// story: A program with a known number of processors, a loop of Gosched, a queue of runnable goroutines and a heap of a known
// story: size. It prints the runtime's own figures before it says READY. Its argument chooses what limits the heap.
// go: 1.21
// ends: ready
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"
)

var (
	kept  [][]byte
	spins uint64
)

//go:noinline
func yieldForever() {
	for {
		runtime.Gosched()
		spins++
	}
}

//go:noinline
func labelled() { time.Sleep(time.Hour) }

func say(name string, value any) { fmt.Fprintln(os.Stderr, "figure", name, value) }

func limits(mode string) {
	switch mode {
	case "limit":
		debug.SetMemoryLimit(96 << 20)
	case "off":
		debug.SetGCPercent(-1)
	case "percent":
		debug.SetGCPercent(250)
	}
	say("limit", debug.SetMemoryLimit(-1))
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	say("percent", percent)
}

func fill() {
	for range make([]struct{}, 40) {
		kept = append(kept, make([]byte, 1<<20))
	}
	runtime.GC()
	runtime.GC()
}

// figures prints what the runtime says of its heap.
func figures() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	say("live", m.HeapAlloc)
	say("goal", m.NextGC)
	say("cycles", m.NumGC)
	say("forced", m.NumForcedGC)
	say("inuse", m.HeapInuse)
	say("sys", m.HeapSys-m.HeapReleased)
	say("stacks", m.StackInuse)
	say("totalalloc", m.TotalAlloc)
	say("pause", m.PauseTotalNs)
	say("cpu", m.GCCPUFraction)
}

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	runtime.GOMAXPROCS(3)
	limits(mode)
	fill()
	say("gomaxprocs", runtime.GOMAXPROCS(0))
	say("cpus", runtime.NumCPU())
	go pprof.Do(context.Background(), pprof.Labels("tenant", "blue \"7\"", "job", "index"), func(context.Context) { labelled() })
	go pprof.Do(context.Background(), pprof.Labels("only", ""), func(context.Context) { labelled() })
	many := []string{"k00", "v"}
	for len(many) < 40 {
		many = append(many, fmt.Sprintf("k%02d", len(many)/2), fmt.Sprint(len(many)))
	}
	go pprof.Do(context.Background(), pprof.Labels(many...), func(context.Context) { labelled() })
	go func() {
		runtime.LockOSThread()
		labelled()
	}()
	if mode == "busy" {
		runtime.GOMAXPROCS(1)
		say("gomaxprocs", 1)
	}
	figures()
	fmt.Println("READY")
	if mode == "busy" {
		for range make([]struct{}, 20) {
			go yieldForever()
		}
		yieldForever()
	}
	time.Sleep(time.Hour)
}
