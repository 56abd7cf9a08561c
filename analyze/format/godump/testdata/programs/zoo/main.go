// Zoo starts a goroutine for each way to wait, prints what it knows of them, and dies as its argument says.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type ledger struct {
	entries int64
	mu      sync.Mutex
	rw      sync.RWMutex
}

//go:noinline
func (l *ledger) add(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries += n
}

//go:noinline
func (l *ledger) sum() int64 {
	l.rw.RLock()
	defer l.rw.RUnlock()
	return l.entries
}

//go:noinline
func (l *ledger) clear() {
	l.rw.Lock()
	defer l.rw.Unlock()
	l.entries = 0
}

type box[T any] struct{ items chan T }

//go:noinline
func (b *box[T]) take() T { return <-b.items }

//go:noinline
func readOne(fd int) {
	one := make([]byte, 1)
	syscall.Read(fd, one)
}

//go:noinline
func readConn(c net.Conn) {
	two := make([]byte, 2)
	c.Read(two)
}

var turns atomic.Int64

func main() {
	l := &ledger{}
	l.mu.Lock()
	l.rw.RLock()
	group := &sync.WaitGroup{}
	group.Add(1)
	guard := &sync.Mutex{}
	cond := sync.NewCond(guard)
	numbers := make(chan int)
	var never chan string
	for range make([]int, 3) {
		go l.add(1)
	}
	go l.clear()
	time.Sleep(20 * time.Millisecond) // the writer must be in the queue before the readers come
	go l.sum()
	go l.sum()
	go group.Wait()
	go func() { group.Wait() }()
	go func() { guard.Lock(); cond.Wait() }()
	go func() { <-numbers }()
	go func() { numbers2 := make(chan int); numbers2 <- 1 }()
	go func() { <-never }()
	go func() { never <- "" }()
	go func() { select {} }()
	go func() {
		select {
		case <-numbers:
		case <-never:
		case <-time.After(time.Hour):
		}
	}()
	go (&box[string]{make(chan string)}).take()
	go func() { runtime.LockOSThread(); <-make(chan int) }()
	go time.Sleep(time.Hour)
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	go readOne(pipe[0])
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	out, err := net.Dial("tcp", in.Addr().String())
	if err != nil {
		panic(err)
	}
	go readConn(out)
	go func() {
		for {
			turns.Add(1)
		}
	}()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
	time.Sleep(100 * time.Millisecond)
	fmt.Fprintf(os.Stderr, "truth mutex=%p rwmutex=%p group=%p cond=%p numbers=%p pipe=%d\n", &l.mu, &l.rw, group, cond, numbers, pipe[0])
	die(os.Args[1])
}

func die(how string) {
	switch how {
	case "panic":
		panic("the zoo\nis closed")
	case "quit":
		syscall.Kill(os.Getpid(), syscall.SIGQUIT)
	case "fatal":
		var mu sync.Mutex
		mu.Unlock()
	}
	time.Sleep(time.Minute)
}
