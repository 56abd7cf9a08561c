// story: Everything is in motion, and nothing is lost: rings pass tokens over channels that only their members know, workers share locks,
// story: conditions and wait groups that only they have, goroutines come and go, timers fire, the collector runs. At no moment is there a
// story: goroutine that can never wake.
// go: 1.22
// ends: ready
package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

type token struct {
	hops int
	data []byte
	next *token
}

//go:noinline
func pass(in <-chan *token, out chan<- *token) {
	for t := range in {
		t = &token{hops: t.hops + 1, data: make([]byte, t.hops&1023), next: t.next}
		if t.hops%64 == 0 {
			runtime.Gosched()
		}
		out <- t
	}
}

//go:noinline
func ring(n int) {
	first := make(chan *token)
	in := first
	for range n - 1 {
		out := make(chan *token)
		go pass(in, out)
		in = out
	}
	go pass(in, first)
	first <- &token{}
}

type account struct {
	mu      sync.Mutex
	rw      sync.RWMutex
	balance int
	history []*int
}

//go:noinline
func transfer(a, b *account) {
	for {
		a.mu.Lock()
		a.rw.RLock()
		v := a.balance
		a.rw.RUnlock()
		a.mu.Unlock()
		b.rw.Lock()
		b.balance += v + 1
		b.history = append(b.history[:len(b.history)&15], &v)
		b.rw.Unlock()
	}
}

//go:noinline
func meet(n int) {
	c := sync.NewCond(&sync.Mutex{})
	ready := 0
	for range n {
		go func() {
			for {
				c.L.Lock()
				ready++
				if ready >= n {
					ready = 0
					c.Broadcast()
				} else {
					c.Wait()
				}
				c.L.Unlock()
			}
		}()
	}
}

//go:noinline
func crowds() {
	for {
		var wg sync.WaitGroup
		done := make(chan struct{})
		results := make(chan int)
		for i := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				select {
				case results <- i:
				case <-done:
				}
			}()
		}
		for range 5 {
			<-results
		}
		close(done)
		wg.Wait()
	}
}

//go:noinline
func deadlines() {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Microsecond)
		c := make(chan int)
		go func() {
			select {
			case <-ctx.Done():
			case c <- 1:
			}
		}()
		select {
		case <-time.After(20 * time.Microsecond):
		case <-ctx.Done():
		case <-c:
		}
		cancel()
	}
}

//go:noinline
func handOver() {
	work := make(chan chan *token)
	go func() {
		for c := range work {
			go func() { c <- &token{data: make([]byte, 100)} }()
		}
	}()
	for {
		c := make(chan *token)
		work <- c
		t := <-c
		t.next = t
	}
}

//go:noinline
func finalized() {
	for {
		c := make(chan int, 1)
		func() {
			o := &account{}
			runtime.SetFinalizer(o, func(*account) { c <- 1 })
		}()
		select {
		case <-c:
		case <-time.After(time.Millisecond):
		}
	}
}

func main() {
	for i := range 20 {
		ring(3 + i)
		meet(2 + i&3)
	}
	for range 10 {
		a, b := &account{}, &account{}
		for range 3 {
			go transfer(a, b)
			go transfer(b, a)
		}
		go crowds()
		go deadlines()
		go handOver()
		go finalized()
	}
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	time.Sleep(time.Hour)
}
