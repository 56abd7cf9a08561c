// story: Goroutines wait for objects that nothing live can reach, and for objects that are kept in every way in which a program can keep
// story: something. The program prints which of them can wake before it says READY. With the argument "profile" it lets the runtime find
// story: the leaks first, which leaves its answer in the statuses of the goroutines.
// go: 1.21
// ends: ready
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

const each = 3 // goroutines of a kind

// verdict says that goroutines with a function on their stacks can never wake, or may.
func verdict(function, what string) {
	fmt.Fprintf(os.Stderr, "verdict main.%s %d %s\n", function, each, what)
}

type guarded struct {
	name string
	next *guarded
	mu   sync.Mutex
	rw   sync.RWMutex
	wg   sync.WaitGroup
	done chan int
}

//go:noinline
func lostSend(c chan int) { c <- 1 }

//go:noinline
func lostReceive(c chan int) { <-c }

//go:noinline
func lostSelect(a, b chan int) {
	select {
	case <-a:
	case b <- 1:
	}
}

//go:noinline
func lostLock(g *guarded) { g.mu.Lock() }

//go:noinline
func lostRLock(g *guarded) { g.rw.RLock() }

//go:noinline
func lostWriteLock(g *guarded) { g.rw.Lock() }

//go:noinline
func lostWait(g *guarded) { g.wg.Wait() }

//go:noinline
func lostCond(c *sync.Cond) {
	c.L.Lock()
	c.Wait()
}

//go:noinline
func lostOnNil(c chan int) { <-c }

//go:noinline
func lostSendOnNil(c chan int) { c <- 1 }

//go:noinline
func lostNowhere() { select {} }

//go:noinline
func lostNilSelect(a, b chan int) {
	select {
	case <-a:
	case b <- 1:
	}
}

// lostHead waits for a channel that only lostTail has, which is lost itself.
//
//go:noinline
func lostHead(c chan int) { <-c }

//go:noinline
func lostTail(c, own chan int) {
	<-own
	close(c)
}

// lostDefer would close the channel of lostDeferred when it returns.
//
//go:noinline
func lostDefer(c, own chan int) {
	defer close(c)
	<-own
}

//go:noinline
func lostDeferred(c chan int) { <-c }

// lost starts the goroutines that never wake.
//
//go:noinline
func lost() {
	go lostSend(make(chan int))
	go lostReceive(make(chan int))
	go lostSelect(make(chan int), make(chan int))
	g := &guarded{name: "x"}
	g.mu.Lock()
	go lostLock(g)
	w := &guarded{name: "y"}
	w.rw.Lock()
	go lostRLock(w)
	r := &guarded{name: "z"}
	r.rw.RLock()
	go lostWriteLock(r)
	g2 := &guarded{}
	g2.wg.Add(1)
	go lostWait(g2)
	go lostCond(sync.NewCond(&sync.Mutex{}))
	go lostOnNil(nil)
	go lostSendOnNil(nil)
	go lostNowhere()
	go lostNilSelect(nil, nil)
	c := make(chan int)
	go lostHead(c)
	go lostTail(c, make(chan int))
	d := make(chan int)
	go lostDeferred(d)
	go lostDefer(d, make(chan int))
}

var lostNames = []string{"lostSend", "lostReceive", "lostSelect", "lostLock", "lostRLock", "lostWriteLock", "lostWait", "lostCond",
	"lostOnNil", "lostSendOnNil", "lostNowhere", "lostNilSelect", "lostHead", "lostTail", "lostDeferred", "lostDefer"}

// What keeps the others.
var (
	globals  []chan int
	mutex    sync.Mutex
	byName   = map[string]*guarded{}
	closures []func()
	values   []any
	large    = make([]*guarded, 100_000)
	table    [64]struct {
		n, m, k int
		g       *guarded
	}
	tiny      []*int64
	contexts  []context.CancelFunc
	waitGroup sync.WaitGroup
	wide      []*[300]*guarded
	rows      [][]chan int
)

//go:noinline
func keptInGlobal(c chan int) { <-c }

//go:noinline
func keptGlobalLock() { mutex.Lock() }

//go:noinline
func keptGlobalWait() { waitGroup.Wait() }

//go:noinline
func keptByMap(g *guarded) { g.mu.Lock() }

//go:noinline
func keptByClosure(c chan int) { <-c }

//go:noinline
func keptByInterface(c chan int) { c <- 1 }

//go:noinline
func keptByLarge(g *guarded) { <-g.done }

//go:noinline
func keptByTable(g *guarded) { g.rw.RLock() }

//go:noinline
func keptByWide(g *guarded) { <-g.done }

//go:noinline
func keptByRows(c chan int) { <-c }

//go:noinline
func keptByTiny(m *sync.Mutex) { m.Lock() }

//go:noinline
func keptByTimer(c chan int) { <-c }

//go:noinline
func keptByTicker(c <-chan time.Time) { <-c }

//go:noinline
func keptByContext(c <-chan struct{}) { <-c }

//go:noinline
func keptByFinalizer(c chan int) { <-c }

//go:noinline
func keptByFinalized(c chan int) { <-c }

//go:noinline
func keptByStack(c chan int) { <-c }

//go:noinline
func keptByDefer(c chan int) { <-c }

//go:noinline
func keptByObject(g *guarded) { g.mu.Lock() }

//go:noinline
func keptBySelect(a, b chan int) {
	select {
	case <-a:
	case b <- 1:
	}
}

// keptByOther waits for a channel that keptOther has, which can wake.
//
//go:noinline
func keptByOther(c chan int) { <-c }

//go:noinline
func keptOther(c, own chan int) {
	<-own
	close(c)
}

//go:noinline
func keptByCond(c *sync.Cond) {
	c.L.Lock()
	c.Wait()
}

//go:noinline
func keepInHeap() {
	c := make(chan int)
	globals = append(globals, c)
	go keptInGlobal(c)
	go keptGlobalLock()
	go keptGlobalWait()
	g := &guarded{}
	g.mu.Lock()
	byName[fmt.Sprint(len(byName))] = &guarded{next: &guarded{next: g}}
	go keptByMap(g)
	k := make(chan int)
	closures = append(closures, func() { close(k) })
	go keptByClosure(k)
	i := make(chan int)
	values = append(values, any(i))
	go keptByInterface(i)
	l := &guarded{done: make(chan int)}
	large[len(large)-len(globals)] = l
	go keptByLarge(l)
	t := &guarded{}
	t.rw.Lock()
	table[60+len(globals)].g = t
	go keptByTable(t)
	w := new([300]*guarded)
	w[299] = &guarded{done: make(chan int)}
	wide = append(wide, w)
	go keptByWide(w[299])
	row := make([]chan int, 1000)
	row[999] = make(chan int)
	rows = append(rows, row)
	go keptByRows(row[999])
	cond := sync.NewCond(&sync.Mutex{})
	values = append(values, cond)
	go keptByCond(cond)
	s := make(chan int)
	globals = append(globals[:len(globals)-1], c)
	values = append(values, s)
	go keptBySelect(make(chan int), s)
	o, own := make(chan int), make(chan int)
	values = append(values, own)
	go keptByOther(o)
	go keptOther(o, own)
}

// keepTiny makes a mutex between two numbers that are kept: it shares 16 bytes with one of them.
//
//go:noinline
func keepTiny() {
	a := new(int64)
	m := new(sync.Mutex)
	b := new(int64)
	tiny = append(tiny, a, b)
	m.Lock()
	go keptByTiny(m)
}

//go:noinline
func keepByRuntime() {
	c := make(chan int)
	time.AfterFunc(time.Hour, func() { close(c) })
	go keptByTimer(c)
	go keptByTicker(time.NewTicker(time.Hour).C)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	contexts = append(contexts, cancel)
	go keptByContext(ctx.Done())
	f := make(chan int)
	runtime.SetFinalizer(&guarded{}, func(*guarded) { close(f) })
	go keptByFinalizer(f)
	o := &guarded{done: make(chan int)}
	runtime.SetFinalizer(o, func(g *guarded) { close(g.done) })
	go keptByFinalized(o.done)
}

// keepOnStack stays, with what others wait for in its variables.
//
//go:noinline
func keepOnStack() {
	c, d := make(chan int), make(chan int)
	g := &guarded{}
	g.mu.Lock()
	go keptByStack(c)
	go keptByDefer(d)
	defer close(d)
	go keptByObject(g)
	var object struct {
		n int
		g *guarded
	}
	object.g = g
	rest(&object.g)
	close(c)
}

//go:noinline
func rest(g **guarded) {
	time.Sleep(time.Hour)
	(*g).mu.Unlock()
}

var keptNames = []string{"keptInGlobal", "keptGlobalLock", "keptGlobalWait", "keptByMap", "keptByClosure", "keptByInterface", "keptByLarge",
	"keptByTable", "keptByWide", "keptByRows", "keptByCond", "keptBySelect", "keptByOther", "keptOther", "keptByTiny", "keptByTimer",
	"keptByTicker", "keptByContext", "keptByFinalizer", "keptByFinalized", "keptByStack", "keptByDefer", "keptByObject"}

func main() {
	mutex.Lock()
	waitGroup.Add(1)
	for range make([]int, each) {
		lost()
		keepInHeap()
		keepTiny()
		keepByRuntime()
		go keepOnStack()
	}
	time.Sleep(200 * time.Millisecond)
	for _, name := range lostNames {
		verdict(name, "never")
	}
	for _, name := range keptNames {
		verdict(name, "possible")
	}
	if len(os.Args) > 1 && os.Args[1] == "profile" {
		if err := pprof.Lookup("goroutineleak").WriteTo(io.Discard, 0); err != nil {
			panic(err)
		}
	}
	fmt.Println("READY")
	time.Sleep(time.Hour)
	mutex.Unlock()
}
