package main

import (
	"context"
	"sync"
	"unsafe"
)

type service struct {
	name     string
	in, out  chan int
	done     chan int
	wg       sync.WaitGroup
	cond     *sync.Cond
	children []chan int
	count    int
}

func newService() *service {
	return &service{in: make(chan int), out: make(chan int), done: make(chan int), cond: sync.NewCond(&sync.Mutex{})}
}

//go:noinline
func (s *service) deferredClose() {
	defer close(s.done)
	slow()
	s.count++
}

//go:noinline
func (s *service) deferredDone() {
	defer s.wg.Done()
	slow()
	s.count++
}

//go:noinline
func (s *service) deferredBroadcast() {
	defer s.cond.Broadcast()
	slow()
	s.count++
}

//go:noinline
func deferredCancel(cancel context.CancelFunc) {
	defer cancel()
	slow()
}

//go:noinline
func (s *service) deferredInClosure(c chan int) {
	defer func() {
		s.count++
		c <- s.count
	}()
	slow()
}

//go:noinline
func deferred() {
	a := newService()
	begin(a.deferredClose)
	begin(func() { receive(a.done) })
	woken("deferredClose", chanAt(a.done), "pending/close/main.(*service).deferredClose")

	b := newService()
	b.wg.Add(1)
	begin(b.deferredDone)
	begin(func() { waitGroup(&b.wg) })
	woken("deferredDone", unsafe.Pointer(&b.wg), "pending/done/main.(*service).deferredDone")

	c := newService()
	begin(c.deferredBroadcast)
	begin(func() { waitCond(c.cond) })
	woken("deferredBroadcast", unsafe.Pointer(c.cond), "pending/broadcast/main.(*service).deferredBroadcast")

	ctx, cancel := context.WithCancel(context.Background())
	begin(func() { deferredCancel(cancel) })
	begin(func() { waitDone(ctx) })
	done := ctx.Done()
	woken("deferredCancel", *(*unsafe.Pointer)(unsafe.Pointer(&done)), "pending/close/main.deferredCancel")

	d, reply := newService(), make(chan int)
	begin(func() { d.deferredInClosure(reply) })
	begin(func() { receive(reply) })
	woken("deferredInClosure", chanAt(reply), "pending/send/main.(*service).deferredInClosure")
}

//go:noinline
func (s *service) sendsField() {
	slow()
	s.out <- s.count
}

//go:noinline
func sendsArgument(other, c chan int) {
	slow()
	c <- 1
	close(other)
}

//go:noinline
func (s *service) selects(other chan int) {
	slow()
	select {
	case s.out <- 1:
	case <-other:
	case v := <-s.in:
		s.count = v
	}
}

// pumps receives from in and sends to out.
//
//go:noinline
func (s *service) pumps() {
	for v := range s.in {
		enter()
		slow()
		s.out <- v
	}
}

//go:noinline
func (s *service) helperCloses() {
	slow()
	s.finish()
}

//go:noinline
func (s *service) finish() {
	s.count++
	s.shut()
}

//go:noinline
func (s *service) shut() { close(s.done) }

type closer interface{ finish() }

//go:noinline
func interfaceCloses(c closer) {
	slow()
	c.finish()
}

//go:noinline
func (s *service) sendsToElement(i int) {
	slow()
	s.children[i] <- 1
}

//go:noinline
func (s *service) receivesField() {
	slow()
	s.count = <-s.in
}

// crossed waits for the one and sends to the other.
//
//go:noinline
func crossed(from, to chan int) {
	enter()
	v := <-from
	to <- v
}

//go:noinline
func channels() {
	a := newService()
	begin(a.sendsField)
	begin(func() { receive(a.out) })
	woken("sendsField", chanAt(a.out), "ahead/send/main.(*service).sendsField")

	c, other := make(chan int), make(chan int)
	begin(func() { sendsArgument(other, c) })
	begin(func() { receive(c) })
	begin(func() { receive(other) })
	woken("sendsArgument", chanAt(c), "ahead/send/main.sendsArgument")
	woken("closesArgument", chanAt(other), "ahead/close/main.sendsArgument")

	b, third := newService(), make(chan int)
	begin(func() { b.selects(third) })
	begin(func() { receive(b.out) })
	begin(func() { send(b.in) })
	begin(func() { send(third) })
	woken("selects/out", chanAt(b.out), "ahead/send/main.(*service).selects")
	woken("selects/in", chanAt(b.in), "ahead/receive/main.(*service).selects")
	woken("selects/third", chanAt(third), "ahead/receive/main.(*service).selects")

	p := newService()
	go p.pumps()
	p.in <- 1
	begin(func() { receive(p.out) })
	begin(func() { send(p.in) })
	woken("pumps/out", chanAt(p.out), "ahead/send/main.(*service).pumps")
	woken("pumps/in", chanAt(p.in), "ahead/receive/main.(*service).pumps")

	h := newService()
	begin(h.helperCloses)
	begin(func() { receive(h.done) })
	woken("helperCloses", chanAt(h.done), "ahead/close/main.(*service).helperCloses")

	i := newService()
	begin(func() { interfaceCloses(i) })
	begin(func() { receive(i.done) })
	woken("interfaceCloses", chanAt(i.done), "ahead/close/main.interfaceCloses")

	e := newService()
	e.children = []chan int{make(chan int), make(chan int), make(chan int)}
	begin(func() { e.sendsToElement(1) })
	begin(func() { receive(e.children[0]) })
	begin(func() { receive(e.children[1]) })
	woken("sendsToElement/0", chanAt(e.children[0]))
	woken("sendsToElement/1", chanAt(e.children[1]), "ahead/send/main.(*service).sendsToElement")

	r := newService()
	begin(r.receivesField)
	begin(func() { send(r.in) })
	woken("receivesField", chanAt(r.in), "ahead/receive/main.(*service).receivesField")

	x, y := make(chan int), make(chan int)
	begin(func() { crossed(x, y) })
	begin(func() { crossed(y, x) })
	woken("crossed/x", chanAt(x), "ahead/send/main.crossed")
	woken("crossed/y", chanAt(y), "ahead/send/main.crossed")
}

//go:noinline
func (s *service) doneAhead() {
	slow()
	s.wg.Done()
}

//go:noinline
func (s *service) signals() {
	slow()
	s.cond.L.Lock()
	s.count++
	s.cond.L.Unlock()
	s.cond.Signal()
}

//go:noinline
func groups() {
	a := newService()
	a.wg.Add(2)
	begin(a.doneAhead)
	begin(func() { waitGroup(&a.wg) })
	woken("doneAhead", unsafe.Pointer(&a.wg), "ahead/done/main.(*service).doneAhead")

	c := newService()
	begin(c.signals)
	begin(func() { waitCond(c.cond) })
	woken("signals", unsafe.Pointer(c.cond), "ahead/signal/main.(*service).signals")
}
