package main

import (
	"sync"
	"unsafe"
)

// sent has sent what it had to send.
//
//go:noinline
func (s *service) sent() {
	s.out <- 1
	slow()
	s.count++
}

// sendsElsewhere sends to another channel of the same object.
//
//go:noinline
func (s *service) sendsElsewhere() {
	slow()
	s.out <- 1
}

// asks makes a channel of its own for each answer.
//
//go:noinline
func (s *service) asks() {
	for {
		slow()
		answer := make(chan int)
		go sendAnswer(answer)
		s.count += <-answer
	}
}

//go:noinline
func sendAnswer(c chan int) { c <- 1 }

// spawns adds to the group what it will take away again.
//
//go:noinline
func (s *service) spawns() {
	for {
		slow()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.count++
		}()
	}
}

// again waits for the channel itself before it would send to it.
//
//go:noinline
func again(c chan int) {
	enter()
	v := <-c
	c <- v
}

// ran has a deferred call that has run.
//
//go:noinline
func (s *service) ran() {
	func() {
		defer s.wg.Done()
		s.count++
	}()
	slow()
	s.count++
}

//go:noinline
func decoys() {
	a := newService()
	go a.sent()
	<-a.out
	begin(func() { receive(a.out) })
	woken("sent", chanAt(a.out))

	b := newService()
	begin(b.sendsElsewhere)
	begin(func() { receive(b.in) })
	woken("sendsElsewhere", chanAt(b.in))

	c, unrelated := newService(), make(chan int)
	begin(c.asks)
	begin(func() { receive(unrelated) })
	woken("asks", chanAt(unrelated))

	d := newService()
	d.wg.Add(1)
	begin(d.spawns)
	begin(func() { waitGroup(&d.wg) })
	woken("spawns", unsafe.Pointer(&d.wg))

	e := make(chan int)
	begin(func() { again(e) })
	begin(func() { again(e) })
	woken("again", chanAt(e))

	f := newService()
	f.wg.Add(2)
	begin(f.ran)
	begin(func() { waitGroup(&f.wg) })
	woken("ran", unsafe.Pointer(&f.wg))
}

var kept any

// keeps will do something with the channel, and nobody can say what.
//
//go:noinline
func keeps(c chan int, f func(any)) {
	slow()
	f(c)
}

// forgot has used the channel and has no more use for it, though its word is still in the frame.
//
//go:noinline
func forgot(c chan int) {
	use(c)
	slow()
}

//go:noinline
func use(c chan int) { kept = len(c) }

// captured has the channel in a closure.
//
//go:noinline
func captured(f func()) {
	slow()
	defer f()
}

//go:noinline
func referrers() {
	a := make(chan int)
	begin(func() { keeps(a, func(x any) { kept = x }) })
	begin(func() { forgot(a) })
	begin(func() { receive(a) })
	woken("refers/keeps", chanAt(a), "refers/unknown/main.keeps")

	b := make(chan int)
	begin(func() { captured(func() { kept = b }) })
	begin(func() { receive(b) })
	woken("refers/captured", chanAt(b), "refers/unknown/main.captured")

	c := newService()
	c.wg.Add(1)
	begin(func() { keeps(c.out, func(any) { kept = c }) })
	begin(func() { waitGroup(&c.wg) })
	woken("refers/group", unsafe.Pointer(&c.wg), "refers/unknown/main.keeps")
}

type limiter struct {
	name  string
	slots chan struct{}
	mu    sync.Mutex
	n     int
}

func newLimiter(n int) *limiter { return &limiter{slots: make(chan struct{}, n)} }

//go:noinline
func (l *limiter) acquire() { l.slots <- struct{}{} }

//go:noinline
func (l *limiter) release() { <-l.slots }

//go:noinline
func (l *limiter) plain() {
	l.slots <- struct{}{}
	slow()
	<-l.slots
}

//go:noinline
func (l *limiter) deferredRelease() {
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	slow()
	l.n++
}

//go:noinline
func (l *limiter) helpers() {
	l.acquire()
	slow()
	l.release()
}

//go:noinline
func (l *limiter) deferredHelper() {
	l.acquire()
	defer l.release()
	slow()
	l.n++
}

//go:noinline
func (l *limiter) selected(stop chan int) {
	select {
	case l.slots <- struct{}{}:
	case <-stop:
		return
	}
	slow()
	<-l.slots
}

// released has given its slot back.
//
//go:noinline
func (l *limiter) released() {
	l.slots <- struct{}{}
	l.n++
	<-l.slots
	slow()
	l.n++
}

// body is started by one who has taken the slot for it.
//
//go:noinline
func (l *limiter) body() {
	defer l.release()
	slow()
	l.n++
}

//go:noinline
func (l *limiter) wants() {
	enter()
	l.slots <- struct{}{}
}

// nested asks for further slots, one after the other, with one in hand.
//
//go:noinline
func (l *limiter) nested() {
	l.acquire()
	defer l.release()
	for range l.name {
		l.layer()
	}
}

//go:noinline
func (l *limiter) layer() {
	enter()
	l.slots <- struct{}{}
	defer l.release()
	slow()
}

// starts takes slots for those that it starts. What is left at its end it throws away.
//
//go:noinline
func (l *limiter) starts() {
	defer l.drain()
	for range l.name {
		l.slots <- struct{}{}
		go l.body()
	}
}

//go:noinline
func (l *limiter) drain() {
	for len(l.slots) > 0 {
		<-l.slots
	}
}

// asks takes a slot and would give it back.
//
//go:noinline
func (l *limiter) asks() {
	enter()
	l.slots <- struct{}{}
	l.n++
	<-l.slots
}

//go:noinline
func semaphores() {
	a := newLimiter(3)
	begin(a.released)
	begin(a.plain)
	begin(a.deferredRelease)
	begin(a.helpers)
	begin(a.wants)
	slots("plain", chanAt(a.slots), "unique-candidate/main.(*limiter).plain", "pending-unlock/main.(*limiter).deferredRelease",
		"unique-candidate/main.(*limiter).helpers")

	b := newLimiter(3)
	begin(b.deferredHelper)
	b.slots <- struct{}{}
	begin(b.body)
	stop := make(chan int)
	begin(func() { b.selected(stop) })
	begin(b.wants)
	slots("helper", chanAt(b.slots), "pending-unlock/main.(*limiter).deferredHelper", "pending-unlock/main.(*limiter).body",
		"unique-candidate/main.(*limiter).selected")

	c := newLimiter(2)
	c.name = "some"
	begin(c.plain)
	begin(c.nested)
	begin(c.wants)
	slots("nested", chanAt(c.slots), "unique-candidate/main.(*limiter).plain", "pending-unlock/main.(*limiter).nested")

	d := newLimiter(2)
	d.name = "some"
	begin(d.starts)
	begin(d.wants)
	slots("starts", chanAt(d.slots), "pending-unlock/main.(*limiter).body", "pending-unlock/main.(*limiter).body")

	e := newLimiter(2)
	e.acquire()
	e.acquire()
	begin(e.asks)
	slots("lost", chanAt(e.slots))
	woken("lost", chanAt(e.slots), "ahead/receive/main.(*limiter).asks")

	q := make(chan int, 2)
	begin(func() { consumes(q) })
	begin(func() { fills(q) })
	slots("queue", chanAt(q))
	woken("queue", chanAt(q), "ahead/receive/main.consumes")
}

// consumes takes what fills puts into a queue: it holds no slot of it.
//
//go:noinline
func consumes(q chan int) {
	for {
		slow()
		<-q
	}
}

//go:noinline
func fills(q chan int) {
	q <- 1
	q <- 2
	enter()
	q <- 3
}

type token struct{ n int }

type pool struct{ free chan *token }

//go:noinline
func (p *pool) uses() {
	t := <-p.free
	slow()
	p.free <- t
}

//go:noinline
func (p *pool) usesDeferred() {
	t := <-p.free
	defer func() { p.free <- t }()
	slow()
	t.n++
}

//go:noinline
func (p *pool) gaveBack() {
	t := <-p.free
	t.n++
	p.free <- t
	slow()
	t.n++
}

//go:noinline
func (p *pool) wants() {
	enter()
	t := <-p.free
	t.n++
}

// delivers sends its result at its end and has received nothing: it holds no token.
//
//go:noinline
func delivers(results chan int) {
	defer func() { results <- 1 }()
	slow()
}

//go:noinline
func tokens() {
	p := &pool{make(chan *token, 2)}
	p.free <- &token{}
	p.free <- &token{}
	begin(p.gaveBack)
	begin(p.uses)
	begin(p.usesDeferred)
	begin(p.wants)
	slots("tokens", chanAt(p.free), "unique-candidate/main.(*pool).uses", "pending-unlock/main.(*pool).usesDeferred")

	results := make(chan int, 2)
	begin(func() { delivers(results) })
	begin(func() { receive(results) })
	slots("results", chanAt(results))
	woken("results", chanAt(results), "pending/send/main.delivers")
}
