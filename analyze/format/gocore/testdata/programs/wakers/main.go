// story: Goroutines wait for channels, wait groups and conditions, and others could wake them: by deferred calls, by what their code
// story: comes to, or not at all, though it looks so. The program prints who could wake whom.
// go: 1.21
// ends: ready
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// woken prints "woken CASE ADDRESS GRADE/ACT/FUNCTION...": FUNCTION is a frame that could wake the waiters of the object. Without
// any nobody could, as far as the code tells.
func woken(name string, object unsafe.Pointer, wakers ...string) {
	fmt.Fprintf(os.Stderr, "woken %s %#x", name, uintptr(object))
	for _, w := range wakers {
		fmt.Fprint(os.Stderr, " ", w)
	}
	fmt.Fprintln(os.Stderr)
}

// slots prints "slots CASE ADDRESS GRADE/FUNCTION...": who holds slots of a channel that serves as a semaphore.
func slots(name string, object unsafe.Pointer, holders ...string) {
	fmt.Fprintf(os.Stderr, "slots %s %#x", name, uintptr(object))
	for _, h := range holders {
		fmt.Fprint(os.Stderr, " ", h)
	}
	fmt.Fprintln(os.Stderr)
}

func chanAt[T any](c chan T) unsafe.Pointer { return unsafe.Pointer(reflect.ValueOf(c).Pointer()) }

var gate = make(chan struct{})

// entered counts the goroutines that have come to where they stay.
var entered atomic.Int32

//go:noinline
func enter() { entered.Add(1) }

//go:noinline
func slow() {
	enter()
	<-gate
}

// begin starts a goroutine and waits until it has come to where it stays.
func begin(f func()) {
	before := entered.Load()
	go f()
	for i := 0; i < 5000 && entered.Load() == before; i++ {
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
}

//go:noinline
func receive(c chan int) { enter(); <-c }

//go:noinline
func send(c chan int) { enter(); c <- 1 }

//go:noinline
func waitGroup(wg *sync.WaitGroup) { enter(); wg.Wait() }

//go:noinline
func waitCond(c *sync.Cond) { c.L.Lock(); enter(); c.Wait() }

//go:noinline
func waitDone(ctx context.Context) { enter(); <-ctx.Done() }

func main() {
	deferred()
	channels()
	groups()
	decoys()
	referrers()
	semaphores()
	tokens()
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	var never atomic.Int32
	for never.Load() == 0 {
		time.Sleep(time.Hour)
	}
}
