// story: Semaphores, task groups and shared calls of golang.org/x/sync, all of whose slots are gone. The program prints the
// story: truth before it says READY.
// go: 1.22
// ends: ready
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
)

func truth(kind string, at any, used, limit, waiting int) {
	fmt.Fprintf(os.Stderr, "pool golang.org/x/sync/%s %p %d %d %d\n", kind, at, used, limit, waiting)
}

func holds(at any, function, grade string, slots int) {
	fmt.Fprintf(os.Stderr, "holder %p main.%s %s %d\n", at, function, grade, slots)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var (
	forever    = make(chan int)
	background = context.Background()
	global     = semaphore.NewWeighted(1)
)

//go:noinline
func deferred(s *semaphore.Weighted) {
	check(s.Acquire(background, 2))
	defer s.Release(2)
	<-forever
}

//go:noinline
func later(s *semaphore.Weighted) {
	check(s.Acquire(background, 1))
	<-forever
	s.Release(1)
}

// released has given back what it took, and waits for something else.
//
//go:noinline
func released(s *semaphore.Weighted) {
	check(s.Acquire(background, 1))
	s.Release(1)
	<-forever
	fmt.Println(s)
}

//go:noinline
func handed(s *semaphore.Weighted) {
	<-forever
	s.Release(1)
}

// dispatch takes a slot for each goroutine that it starts, and holds none itself.
//
//go:noinline
func dispatch(s *semaphore.Weighted, n int) {
	for i := 0; i < n; i++ {
		if err := s.Acquire(background, 1); err != nil {
			s.Release(1)
			return
		}
		go handed(s)
	}
}

//go:noinline
func acquire(s *semaphore.Weighted, n int64) { check(s.Acquire(background, n)) }

//go:noinline
func ofGlobal() {
	check(global.Acquire(background, 1))
	<-forever
	global.Release(1)
}

type limiter struct {
	name string
	sem  *semaphore.Weighted
}

func (l *limiter) enter() { check(l.sem.Acquire(background, 1)) }
func (l *limiter) leave() { l.sem.Release(1) }

//go:noinline
func (l *limiter) work() {
	l.enter()
	defer l.leave()
	<-forever
}

//go:noinline
func twice(s *semaphore.Weighted, first chan<- bool, second <-chan bool) {
	check(s.Acquire(background, 1))
	defer s.Release(1)
	first <- true
	<-second
	check(s.Acquire(background, 1))
	s.Release(1)
}

func semaphores() {
	s := semaphore.NewWeighted(3)
	check(s.Acquire(background, 1))
	s.Release(1)
	go released(s)
	time.Sleep(20 * time.Millisecond)
	go deferred(s)
	go later(s)
	time.Sleep(50 * time.Millisecond)
	for i := 0; i < 3; i++ {
		go acquire(s, 2)
	}
	truth("semaphore.Weighted", s, 3, 3, 3)
	holds(s, "deferred", "pending-unlock", 1)
	holds(s, "later", "unique-candidate", 1)

	d := semaphore.NewWeighted(2)
	go dispatch(d, 5)
	truth("semaphore.Weighted", d, 2, 2, 1)
	holds(d, "handed", "unique-candidate", 1)

	go ofGlobal()
	time.Sleep(20 * time.Millisecond)
	go acquire(global, 1)
	truth("semaphore.Weighted", global, 1, 1, 1)
	holds(global, "ofGlobal", "unique-candidate", 1)

	l := &limiter{"l", semaphore.NewWeighted(1)}
	go l.work()
	time.Sleep(20 * time.Millisecond)
	go acquire(l.sem, 1)
	truth("semaphore.Weighted", l.sem, 1, 1, 1)
	holds(l.sem, "(*limiter).work", "pending-unlock", 1)

	n := semaphore.NewWeighted(2)
	first, second := make(chan bool), make(chan bool)
	go twice(n, first, second)
	go twice(n, first, second)
	<-first
	<-first
	close(second)
	truth("semaphore.Weighted", n, 2, 2, 2)
	holds(n, "twice", "pending-unlock", 1)
}

//go:noinline
func task() error {
	<-forever
	return nil
}

//go:noinline
func start(g *errgroup.Group) {
	for {
		g.Go(task)
	}
}

func groups() {
	g := new(errgroup.Group)
	g.SetLimit(2)
	go start(g)
	truth("errgroup.Group", g, 2, 2, 1)
	holds(g, "task", "pending-unlock", 1)
}

//go:noinline
func load() (any, error) {
	<-forever
	return nil, nil
}

//go:noinline
func share(g *singleflight.Group) {
	_, err, _ := g.Do("key", load)
	check(err)
}

func flights() {
	g := new(singleflight.Group)
	for i := 0; i < 3; i++ {
		go share(g)
	}
	fmt.Fprintln(os.Stderr, "flight golang.org/x/sync/singleflight.call 1 1 2 main.load")
}

func main() {
	semaphores()
	groups()
	flights()
	go func() {
		for range time.Tick(time.Second) { // a program in which nothing moves would be ended by the runtime
		}
	}()
	time.Sleep(200 * time.Millisecond)
	fmt.Println("READY")
	<-forever
}
