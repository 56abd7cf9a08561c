package main

import (
	"sync"
)

// object is something to wait for. wait blocks for ever unless somebody calls wake.
type object interface {
	wait()
	wake()
}

// kinds make objects. Those that point to others are made of what is there already.
var kinds = []func(g *graph) object{makeChannel, makeChannel, makePointers, makeFull, makeBuffered, makeSelect, makeSelect, makeMutex,
	makeEmbedded, makeReader, makeWriter, makeGroup, makeCond, makeLarge, makeHuge, makeGiant, makeTiny, makeNil, makePair, makeStruct}

type channel struct{ c chan int }

func makeChannel(*graph) object { return &channel{make(chan int)} }
func (o *channel) wait()        { <-o.c }
func (o *channel) wake()        { close(o.c) }

// pointers is a channel of objects.
type pointers struct {
	c chan object
}

func makePointers(*graph) object { return &pointers{make(chan object)} }
func (o *pointers) wait()        { o.c <- o }
func (o *pointers) wake()        { <-o.c }

// full is a channel whose buffer is full of objects.
type full struct{ c chan object }

func makeFull(g *graph) object {
	o := &full{make(chan object, 2)}
	for range 2 {
		if len(g.objects) > 0 {
			o.c <- g.objects[g.rand.IntN(len(g.objects))]
		} else {
			o.c <- nil
		}
	}
	return o
}
func (o *full) wait() { o.c <- nil }
func (o *full) wake() { <-o.c }

// buffered is an empty channel with room for large values.
type buffered struct{ c chan [20]*int }

func makeBuffered(*graph) object { return &buffered{make(chan [20]*int, 100)} }
func (o *buffered) wait()        { <-o.c }
func (o *buffered) wake()        { close(o.c) }

// several is a select on several channels, one of which may be nil, and one of an object that others have.
type several struct {
	a, b, c chan int
	d       chan object
}

func makeSelect(g *graph) object {
	o := &several{a: make(chan int), b: make(chan int), d: make(chan object)}
	if g.rand.IntN(3) == 0 && len(g.objects) > 0 {
		if other, ok := g.objects[g.rand.IntN(len(g.objects))].(*channel); ok {
			o.b = other.c
		}
	}
	return o
}

func (o *several) wait() {
	select {
	case <-o.a:
	case <-o.b:
	case <-o.c:
	case o.d <- o:
	}
}
func (o *several) wake() { close(o.a) }

// alone is a mutex that the tiny allocator places.
type alone struct{ m *sync.Mutex }

func makeMutex(*graph) object {
	o := &alone{new(sync.Mutex)}
	o.m.Lock()
	return o
}
func (o *alone) wait() { o.m.Lock() }
func (o *alone) wake() { o.m.Unlock() }

// embedded is a mutex in the middle of an object with pointers.
type embedded struct {
	next object
	m    sync.Mutex
	last object
}

func makeEmbedded(g *graph) object {
	o := &embedded{}
	if len(g.objects) > 0 && g.rand.IntN(2) == 0 {
		o.last = g.objects[g.rand.IntN(len(g.objects))]
	}
	o.m.Lock()
	return o
}
func (o *embedded) wait() { o.m.Lock() }
func (o *embedded) wake() { o.m.Unlock() }

type reader struct {
	name string
	m    sync.RWMutex
}

func makeReader(*graph) object {
	o := &reader{name: "r"}
	o.m.Lock()
	return o
}
func (o *reader) wait() { o.m.RLock() }
func (o *reader) wake() { o.m.Unlock() }

type writer struct {
	m    sync.RWMutex
	next *writer
}

func makeWriter(*graph) object {
	o := &writer{}
	o.m.RLock()
	return o
}
func (o *writer) wait() { o.m.Lock() }
func (o *writer) wake() { o.m.RUnlock() }

type group struct{ w sync.WaitGroup }

func makeGroup(*graph) object {
	o := &group{}
	o.w.Add(1)
	return o
}
func (o *group) wait() { o.w.Wait() }
func (o *group) wake() { o.w.Done() }

type condition struct{ c *sync.Cond }

func makeCond(*graph) object { return &condition{sync.NewCond(&sync.Mutex{})} }
func (o *condition) wait() {
	o.c.L.Lock()
	o.c.Wait()
}
func (o *condition) wake() { o.c.Broadcast() }

// large has its type in a header.
type large struct {
	other [100]object
	m     sync.Mutex
}

func makeLarge(g *graph) object {
	o := &large{}
	if len(g.objects) > 0 && g.rand.IntN(2) == 0 {
		o.other[99] = g.objects[g.rand.IntN(len(g.objects))]
	}
	o.m.Lock()
	return o
}
func (o *large) wait() { o.m.Lock() }
func (o *large) wake() { o.m.Unlock() }

// huge has a span of its own.
type huge struct {
	m     sync.Mutex
	other [2100]object
}

func makeHuge(g *graph) object {
	if g.rand.IntN(16) != 0 {
		return makeLarge(g)
	}
	o := &huge{}
	if len(g.objects) > 0 && g.rand.IntN(2) == 0 {
		o.other[2099] = g.objects[g.rand.IntN(len(g.objects))]
	}
	o.m.Lock()
	return o
}
func (o *huge) wait() { o.m.Lock() }
func (o *huge) wake() { o.m.Unlock() }

// giant is of a type whose pointer mask the runtime makes when it first needs it.
type giant struct {
	numbers [3000]struct {
		n int
		o object
	}
	many [9000]struct {
		n, m uint64
		o    object
	}
	c chan int
}

func makeGiant(g *graph) object {
	if g.rand.IntN(128) != 0 {
		return makeChannel(g)
	}
	o := &giant{c: make(chan int)}
	if len(g.objects) > 0 {
		o.many[8999].o = g.objects[g.rand.IntN(len(g.objects))]
		o.many[8999].n = 1
	}
	return o
}
func (o *giant) wait() { <-o.c }
func (o *giant) wake() { close(o.c) }

// tinyNeighbours keeps every third of the numbers that share blocks with mutexes.
var tinyNeighbours []*int32

type small struct{ m *sync.Mutex }

func makeTiny(g *graph) object {
	n := new(int32)
	o := &small{new(sync.Mutex)}
	if g.rand.IntN(3) == 0 {
		tinyNeighbours = append(tinyNeighbours, n)
	}
	o.m.Lock()
	return o
}
func (o *small) wait() { o.m.Lock() }
func (o *small) wake() { o.m.Unlock() }

// nothing waits for what does not exist.
type nothing struct {
	c    chan int
	mode int
}

func makeNil(g *graph) object { return &nothing{mode: g.rand.IntN(4)} }
func (o *nothing) wait() {
	switch o.mode {
	case 0:
		<-o.c
	case 1:
		o.c <- 1
	case 2:
		select {
		case <-o.c:
		case o.c <- 2:
		}
	}
	select {}
}
func (o *nothing) wake() {}

// pair hides an object in a closure and a method value.
type pair struct {
	block func()
	free  func()
}

func makePair(g *graph) object {
	o := makeChannel(g)
	return &pair{block: func() { o.wait() }, free: o.wake}
}
func (o *pair) wait() { o.block() }
func (o *pair) wake() { o.free() }

// structure is a channel in a slice in a map.
type structure struct{ m map[string][]chan<- string }

func makeStruct(*graph) object {
	return &structure{map[string][]chan<- string{"x": nil, "y": {nil, nil, make(chan string)}}}
}
func (o *structure) wait() { o.m["y"][2] <- "x" }
func (o *structure) wake() {}
