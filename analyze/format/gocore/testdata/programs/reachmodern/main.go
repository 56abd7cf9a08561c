//go:build go1.24

// story: What goroutines wait for is kept in ways in which only the runtime, or a stack at an unusual point, knows of it: weak pointers,
// story: cleanups, pinned memory, coroutines, calls by reflection, panics, system calls, loops that were interrupted anywhere.
// go: 1.24
// ends: ready
package main

import (
	"fmt"
	"iter"
	"os"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
	"weak"
)

const each = 3

func verdict(function, what string) {
	fmt.Fprintf(os.Stderr, "verdict main.%s %d %s\n", function, each, what)
}

type guarded struct {
	name string
	mu   sync.Mutex
	done chan int
	next *guarded
}

var (
	weakOnes  []weak.Pointer[guarded]
	addresses []uintptr
	pulls     []func() (int, bool)
	stop      atomic.Bool
	pipes     []*os.File
)

//go:noinline
func lostPlain(c chan int) { <-c }

//go:noinline
func keptByWeak(g *guarded) { g.mu.Lock() }

//go:noinline
func keptByPin(g *guarded) {
	var p runtime.Pinner
	p.Pin(g)
	addresses = append(addresses, uintptr(unsafe.Pointer(g)))
	g.mu.Lock()
	p.Unpin()
}

//go:noinline
func keptByCleanup(c chan int) { <-c }

//go:noinline
func keptByPull(c chan int) { <-c }

//go:noinline
func keptByReflection(c chan int) { <-c }

//go:noinline
func keptByMethodValue(c chan int) { <-c }

//go:noinline
func keptByPanic(c chan int) { <-c }

//go:noinline
func keptBySyscall(c chan int) { <-c }

//go:noinline
func keptByLoop(c chan int) { <-c }

//go:noinline
func keptByRange(c chan int) { <-c }

// spin keeps its channel in a register for as long as it computes.
//
//go:noinline
func spin(c chan int) int {
	n := 1
	for !stop.Load() {
		for i := range 1 << 20 {
			n = n*31 + i
		}
	}
	close(c)
	return n
}

type method struct{ n int }

func (m *method) Rest(c chan int, why string) {
	time.Sleep(time.Hour)
	close(c)
}

//go:noinline
func panics(c chan int) {
	defer func() {
		time.Sleep(time.Hour)
		recover()
		close(c)
	}()
	var m map[string]int
	m["x"] = 1
}

//go:noinline
func reads(c chan int, f *os.File) {
	var b [1]byte
	f.Read(b[:])
	close(c)
}

//go:noinline
func start() {
	go lostPlain(make(chan int))
	g := &guarded{name: "weak"}
	g.mu.Lock()
	weakOnes = append(weakOnes, weak.Make(g))
	go keptByWeak(g)
	p := &guarded{name: "pinned"}
	p.mu.Lock()
	go keptByPin(p)
	c := make(chan int)
	runtime.AddCleanup(&guarded{name: "cleaned", next: &guarded{}}, func(c chan int) { close(c) }, c)
	go keptByCleanup(c)
	pulled := make(chan int)
	next, _ := iter.Pull(iter.Seq[int](func(yield func(int) bool) {
		yield(1)
		close(pulled)
	}))
	next()
	pulls = append(pulls, next)
	go keptByPull(pulled)
	made := make(chan int)
	f := reflect.MakeFunc(reflect.TypeFor[func(chan int, string)](), func(args []reflect.Value) []reflect.Value {
		time.Sleep(time.Hour)
		args[0].Close()
		return nil
	}).Interface().(func(chan int, string))
	go f(made, "x")
	go keptByReflection(made)
	value := make(chan int)
	rest := reflect.ValueOf(&method{}).MethodByName("Rest").Interface().(func(chan int, string))
	go rest(value, "y")
	go keptByMethodValue(value)
	inPanic := make(chan int)
	go panics(inPanic)
	go keptByPanic(inPanic)
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	pipes = append(pipes, w)
	called := make(chan int)
	go reads(called, os.NewFile(r.Fd(), "pipe")) // blocking: a system call and no netpoll
	pipes = append(pipes, r)
	go keptBySyscall(called)
	ranged := make(chan int)
	go func() {
		for range walk {
			close(ranged)
		}
	}()
	go keptByRange(ranged)
	busy := make(chan int)
	go spin(busy)
	go keptByLoop(busy)
}

// walk is an iterator whose body, in the frame of its caller, is called back.
func walk(yield func(int) bool) {
	time.Sleep(time.Hour)
	yield(1)
}

func main() {
	runtime.GOMAXPROCS(2)
	for range each {
		start()
	}
	time.Sleep(300 * time.Millisecond)
	for _, name := range []string{"keptByWeak", "keptByPin", "keptByCleanup", "keptByPull", "keptByReflection", "keptByMethodValue",
		"keptByPanic", "keptBySyscall", "keptByRange", "keptByLoop"} {
		verdict(name, "possible")
	}
	verdict("lostPlain", "never")
	fmt.Println("READY")
	time.Sleep(time.Hour)
	stop.Store(true)
}
