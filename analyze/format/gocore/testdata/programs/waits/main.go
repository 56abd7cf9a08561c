// story: Goroutines wait for everything that a goroutine can wait for. The program prints the address and the state of each
// story: object before it says READY, so that what a reader finds can be held against what is so.
// go: 1.21
// ends: ready
package main

import (
	"fmt"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// truth prints a line "truth FUNCTION COUNT KIND ADDRESS STATE...": COUNT goroutines have FUNCTION on their stacks and wait for
// the object at ADDRESS, which is of KIND and in STATE.
func truth(function string, count int, kind string, at unsafe.Pointer, state string) {
	fmt.Fprintf(os.Stderr, "truth main.%s %d %s %#x %s\n", function, count, kind, uintptr(at), state)
}

// none says that goroutines with a function on their stacks wait for no object.
func none(function string, count int) { fmt.Fprintf(os.Stderr, "none main.%s %d\n", function, count) }

func chanAt[T any](c chan T) unsafe.Pointer { return unsafe.Pointer(reflect.ValueOf(c).Pointer()) }

var global sync.Mutex

//go:noinline
func lockGlobal() { global.Lock() }

type ledger struct {
	name    string
	entries [5]int64
	mu      sync.Mutex
	rw      sync.RWMutex
}

//go:noinline
func (l *ledger) lockField() { l.mu.Lock() }

//go:noinline
func lockElement(list []ledger, i int) { list[i].mu.Lock() }

//go:noinline
func lockInterface(l sync.Locker) { l.Lock() }

// hide keeps the compiler from moving what p points to into the heap.
//
//go:nosplit
func hide(p *sync.Mutex) *sync.Mutex {
	x := uintptr(unsafe.Pointer(p))
	return (*sync.Mutex)(unsafe.Pointer(x))
}

//go:noinline
func grow(n int) int {
	var pad [1 << 10]byte
	pad[n&1023] = 1
	if n == 0 {
		return int(pad[3])
	}
	return grow(n-1) + int(pad[n&1023])
}

//go:noinline
func lockOnStack(ready *sync.WaitGroup) {
	grow(16) // so that the stack does not move any more
	var mu sync.Mutex
	m := hide(&mu)
	m.Lock()
	truth("lockOnStack", 1, "mutex", unsafe.Pointer(m), "locked=true waiters=1")
	ready.Done()
	m.Lock()
}

//go:noinline
func readBehindWriter(rw *sync.RWMutex) { rw.RLock() }

//go:noinline
func writeBehindReaders(rw *sync.RWMutex) { rw.Lock() }

//go:noinline
func readWhileWritten(rw *sync.RWMutex) { rw.RLock() }

//go:noinline
func writeWhileWritten(rw *sync.RWMutex) { rw.Lock() }

//go:noinline
func waitForGroup(wg *sync.WaitGroup) { wg.Wait() }

//go:noinline
func waitForCond(c *sync.Cond) {
	c.L.Lock()
	c.Wait()
}

//go:noinline
func waitForOnce(o *sync.Once) { o.Do(func() {}) }

//go:noinline
func receive(c chan int) { <-c }

//go:noinline
func rangeOver(c chan string) {
	for range c {
	}
}

//go:noinline
func send(c chan int) { c <- 1 }

//go:noinline
func sendToFull(c chan [3]int64) { c <- [3]int64{} }

//go:noinline
func receiveNil(c chan int) { <-c }

//go:noinline
func sendNil(c chan int) { c <- 1 }

//go:noinline
func selectNothing() { select {} }

//go:noinline
func selectThree(a, b chan int, c chan string, none chan int) {
	select {
	case <-a:
	case b <- 1:
	case <-c:
	case <-none:
	}
}

//go:noinline
func selectOnlyNil(a, b chan int) {
	select {
	case <-a:
	case b <- 1:
	}
}

//go:noinline
func receiveTimer(c <-chan time.Time) { <-c }

//go:noinline
func sleepLong() { time.Sleep(time.Hour) }

//go:noinline
func writeFirst(f *os.File) { f.Write(make([]byte, 1<<20)) }

//go:noinline
func writeSecond(f *os.File) { f.Write([]byte{1}) }

// start starts n goroutines.
func start(n int, f func()) {
	for range make([]struct{}, n) {
		go f()
	}
}

func locks() {
	global.Lock()
	truth("lockGlobal", 3, "mutex", unsafe.Pointer(&global), "locked=true waiters=3")
	start(3, lockGlobal)

	l := &ledger{name: "cash"}
	l.mu.Lock()
	truth("(*ledger).lockField", 2, "mutex", unsafe.Pointer(&l.mu), "locked=true waiters=2")
	start(2, l.lockField)

	list := make([]ledger, 7)
	list[4].mu.Lock()
	truth("lockElement", 2, "mutex", unsafe.Pointer(&list[4].mu), "locked=true waiters=2")
	start(2, func() { lockElement(list, 4) })

	var hidden sync.Locker = new(sync.Mutex)
	hidden.Lock()
	truth("lockInterface", 1, "mutex", unsafe.Pointer(hidden.(*sync.Mutex)), "locked=true waiters=1")
	start(1, func() { lockInterface(hidden) })

	once := &struct {
		n int64
		o sync.Once
	}{}
	inside := make(chan struct{})
	go once.o.Do(func() { close(inside); select {} })
	<-inside
	field, _ := reflect.TypeOf(&once.o).Elem().FieldByName("m")
	truth("waitForOnce", 2, "mutex", unsafe.Add(unsafe.Pointer(&once.o), field.Offset), "locked=true waiters=2")
	start(2, func() { waitForOnce(&once.o) })
}

func readersAndWriters() {
	read := &ledger{}
	read.rw.RLock()
	read.rw.RLock()
	truth("writeBehindReaders", 3, "rwmutex", unsafe.Pointer(&read.rw), "locked=false pending=true readers=2")
	truth("readBehindWriter", 4, "rwmutex", unsafe.Pointer(&read.rw), "locked=false pending=true readers=2")
	start(3, func() { writeBehindReaders(&read.rw) })
	time.Sleep(100 * time.Millisecond)
	start(4, func() { readBehindWriter(&read.rw) })

	written := &ledger{}
	written.rw.Lock()
	truth("readWhileWritten", 2, "rwmutex", unsafe.Pointer(&written.rw), "locked=true pending=false readers=0")
	truth("writeWhileWritten", 2, "rwmutex", unsafe.Pointer(&written.rw), "locked=true pending=false readers=0")
	start(2, func() { readWhileWritten(&written.rw) })
	start(2, func() { writeWhileWritten(&written.rw) })
}

// files has a writer that holds the lock of a descriptor and one that waits for it. The semaphore of writers lies behind a word
// of state and the semaphore of readers, at the beginning of what an os.File points to (internal/poll/fd_mutex.go).
func files() {
	_, w, err := os.Pipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	start(1, func() { writeFirst(w) })
	time.Sleep(50 * time.Millisecond)
	const writers = 12
	truth("writeSecond", 1, "semaphore", unsafe.Add(*(*unsafe.Pointer)(unsafe.Pointer(w)), writers), "")
	none("writeFirst", 1)
	start(1, func() { writeSecond(w) })
}

func groups() {
	wg := &struct {
		pad [3]int32
		wg  sync.WaitGroup
	}{}
	wg.wg.Add(5)
	wg.wg.Done()
	truth("waitForGroup", 2, "waitgroup", unsafe.Pointer(&wg.wg), "counter=4 waiters=2")
	start(2, func() { waitForGroup(&wg.wg) })

	cond := sync.NewCond(new(sync.Mutex))
	truth("waitForCond", 3, "cond", unsafe.Pointer(cond), "")
	start(3, func() { waitForCond(cond) })
}

// many are more than the goroutines that are not parked.
const many = 20

func channels() {
	recv := make(chan int, 4)
	truth("receive", many, "channel", chanAt(recv), "len=0 cap=4 closed=false")
	start(many, func() { receive(recv) })

	each := make(chan string)
	truth("rangeOver", 1, "channel", chanAt(each), "len=0 cap=0 closed=false")
	start(1, func() { rangeOver(each) })

	out := make(chan int)
	truth("send", 1, "channel", chanAt(out), "len=0 cap=0")
	start(1, func() { send(out) })

	full := make(chan [3]int64, 2)
	full <- [3]int64{1}
	full <- [3]int64{2}
	truth("sendToFull", many, "channel", chanAt(full), "len=2 cap=2 closed=false")
	start(many, func() { sendToFull(full) })

	a, b, c := make(chan int, 1), make(chan int), make(chan string, 3)
	truth("selectThree", 2, "channel/receive", chanAt(a), "cap=1")
	truth("selectThree", 2, "channel/send", chanAt(b), "cap=0")
	truth("selectThree", 2, "channel/receive", chanAt(c), "cap=3")
	start(2, func() { selectThree(a, b, c, nil) })

	tick := time.NewTimer(time.Hour)
	at := tick.C
	truth("receiveTimer", 1, "channel", *(*unsafe.Pointer)(unsafe.Pointer(&at)), "len=0")
	start(1, func() { receiveTimer(at) })

	none("receiveNil", 1)
	none("sendNil", 1)
	none("selectNothing", 1)
	none("selectOnlyNil", 1)
	none("sleepLong", 1)
	start(1, func() { receiveNil(nil) })
	start(1, func() { sendNil(nil) })
	start(1, selectNothing)
	start(1, func() { selectOnlyNil(nil, nil) })
	start(1, sleepLong)
}

func main() {
	var stack sync.WaitGroup
	stack.Add(1)
	go lockOnStack(&stack)
	stack.Wait()
	locks()
	readersAndWriters()
	groups()
	files()
	channels()
	time.Sleep(200 * time.Millisecond)
	fmt.Println("READY")
	var never atomic.Int32
	for never.Load() == 0 {
		time.Sleep(time.Hour)
	}
}
