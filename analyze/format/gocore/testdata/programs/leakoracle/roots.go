package main

import (
	"context"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unique"
)

// Global variables that keep objects.
var (
	kept      []object
	keptMap   = map[string]object{}
	keptSync  sync.Map
	keptFuncs []func()
	keptArray [4000]struct {
		n int
		o object
	}
	keptAny  any
	keptChan = make(chan object, 1000)
	contexts []context.Context
	timers   []*time.Timer
	handles  []unique.Handle[string]
	pipe     *os.File
)

// roots keep objects in ways that the end of the program sees.
var roots = []func(g *graph, refs []object){
	func(_ *graph, refs []object) { kept = append(kept, refs...) },
	func(_ *graph, refs []object) { keptMap[string(rune(len(keptMap)+64))] = refs[0] },
	func(_ *graph, refs []object) { keptSync.Store(refs[0], refs) },
	func(_ *graph, refs []object) { keptFuncs = append(keptFuncs, refs[0].wake) },
	func(_ *graph, refs []object) { keptFuncs = append(keptFuncs, func() { touch(refs...) }) },
	func(g *graph, refs []object) { keptArray[g.rand.IntN(4000)].o = refs[0] },
	func(_ *graph, refs []object) { keptAny = []any{keptAny, refs[0], 1, "x"} },
	func(_ *graph, refs []object) { keptChan <- refs[0] },
	func(_ *graph, refs []object) {
		contexts = append(contexts, context.WithValue(context.Background(), key{}, refs[0]))
	},
	func(_ *graph, refs []object) { time.AfterFunc(time.Hour, refs[0].wake) },
	func(_ *graph, refs []object) { timers = append(timers, time.AfterFunc(time.Hour, refs[0].wake)) },
	func(_ *graph, refs []object) { go sleepWith(refs) },
	func(_ *graph, refs []object) { go sleepWithout(refs) },
	func(_ *graph, refs []object) { go holdLargeFrame(sleep{}, refs) },
	func(_ *graph, refs []object) { go readWith(refs) },
	func(g *graph, refs []object) { go holds[g.rand.IntN(len(holds))](sleep{}, refs) },
	func(g *graph, refs []object) { go holds[g.rand.IntN(len(holds))](sleep{}, refs) },
	func(_ *graph, refs []object) { waitForContext(refs) },
	func(g *graph, refs []object) { g.finalize(refs) },
	func(g *graph, refs []object) { g.cleanup(refs) },
	func(_ *graph, refs []object) { handles = append(handles, unique.Make(time.Now().String())) },
	func(_ *graph, refs []object) { pool.Put(refs[0]) },
	func(_ *graph, refs []object) { go holdTimer(refs) },
}

func (g *graph) root(refs []object) { roots[g.rand.IntN(len(roots))](g, refs) }

// sleep is an object that the clock wakes.
type sleep struct{}

func (sleep) wait() { time.Sleep(time.Hour) }
func (sleep) wake() {}

//go:noinline
func sleepWith(refs []object) {
	time.Sleep(time.Hour)
	touch(refs...)
}

//go:noinline
func sleepWithout(refs []object) {
	look(refs...)
	time.Sleep(time.Hour)
}

//go:noinline
func readWith(refs []object) {
	var b [1]byte
	pipe.Read(b[:])
	touch(refs...)
}

//go:noinline
func waitForContext(refs []object) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	context.AfterFunc(ctx, refs[0].wake)
	go func() {
		defer cancel()
		<-ctx.Done()
	}()
}

//go:noinline
func holdTimer(refs []object) {
	t := time.NewTicker(time.Hour)
	select {
	case <-t.C:
		refs[0].wake()
	case <-make(chan int):
	}
}

// finalize lets a finalizer keep objects: of an object that is kept, or of one that is not.
func (g *graph) finalize(refs []object) {
	o := &embedded{last: refs[0]}
	runtime.SetFinalizer(o, func(o *embedded) {
		if o.last != nil {
			o.last.wake()
		}
	})
	if g.rand.IntN(2) == 0 {
		kept = append(kept, o)
		return
	}
	go holdLive(o.locked(), nil)
}

func (o *embedded) locked() object {
	o.m.Lock()
	return o
}

func (g *graph) cleanup(refs []object) {
	o := &large{}
	runtime.AddCleanup(o, func(r object) { r.wake() }, refs[0])
	if g.rand.IntN(2) == 0 {
		kept = append(kept, o)
		return
	}
	o.m.Lock()
	go hold0(o)
}

// open makes the pipe that some read from.
func open() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	pipe, keptAny = r, w
}

// special starts what there is only a few of: threads in system calls, goroutines that run.
func (g *graph) special() {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		panic(err)
	}
	for range 4 {
		go systemCall(fds[0], g.some(2))
	}
	go spin(g.some(2))
}

//go:noinline
func systemCall(fd int, refs []object) {
	var b [1]byte
	syscall.Read(fd, b[:])
	touch(refs...)
}

var stop bool

// spin runs all the time, mostly in code without calls.
//
//go:noinline
func spin(refs []object) {
	n := 0
	for !stop {
		for i := range 1 << 20 {
			n += i * n
		}
		time.Sleep(time.Millisecond)
	}
	touch(refs...)
}
