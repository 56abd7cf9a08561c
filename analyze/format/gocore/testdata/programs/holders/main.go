// story: Goroutines hold locks in every way that a goroutine can, beside others that look as if they did. The program prints who
// story: holds which lock, and how sure a reader can be.
// go: 1.21
// ends: ready
package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type vault struct {
	name  string
	n     int
	mu    sync.Mutex
	other sync.Mutex
	rw    sync.RWMutex
}

// held prints "held CASE ADDRESS GRADE FUNCTION...": FUNCTION, or each of them, is the frame of a holder of the lock.
func held(name string, lock unsafe.Pointer, grade string, functions ...string) {
	fmt.Fprintf(os.Stderr, "held %s %#x %s", name, uintptr(lock), grade)
	for _, f := range functions {
		if !strings.Contains(f, ".") {
			f = "main." + f
		}
		fmt.Fprint(os.Stderr, " ", f)
	}
	fmt.Fprintln(os.Stderr)
}

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

//go:noinline
func use(v *vault) { v.n++ }

// begin starts a goroutine and waits until it has come to where it stays.
func begin(f func()) {
	before := entered.Load()
	go f()
	for i := 0; i < 5000 && entered.Load() == before; i++ {
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
}

// waiters let two goroutines wait for a mutex.
func waiters(l sync.Locker) {
	for range make([]struct{}, 2) {
		go waitFor(l)
	}
}

//go:noinline
func waitFor(l sync.Locker) { l.Lock() }

func main() {
	if err := syscall.Pipe(blocking[:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	mutexes()
	afterwards()
	readers()
	pairs()
	helpers()
	others()
	striped()
	places()
	moreReaders()
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	var never atomic.Int32
	for never.Load() == 0 {
		time.Sleep(time.Hour)
	}
}

// mutexes are holders that a reader should find.
func mutexes() {
	for _, c := range []struct {
		name, grade string
		f           func(*vault)
	}{
		{"deferredHolder", "pending-unlock", deferredHolder},
		{"deferredClosure", "pending-unlock", deferredClosure},
		{"deferStillToRun", "pending-unlock", deferStillToRun},
		{"plainHolder", "unique-candidate", plainHolder},
		{"loopInside", "unique-candidate", loopInside},
		{"computingHolder", "unique-candidate", computingHolder},
		{"syscallHolder", "unique-candidate", syscallHolder},
		{"selfDeadlock", "unique-candidate", selfDeadlock},
	} {
		v := &vault{}
		begin(func() { c.f(v) })
		held(c.name, unsafe.Pointer(&v.mu), c.grade, c.name)
		waiters(&v.mu)
	}
	r := &vault{}
	begin(func() { plainHolder(r) })
	begin(func() { reversed(r) })
	held("reversed", unsafe.Pointer(&r.mu), "unique-candidate", "plainHolder")

	p := &vault{}
	begin(func() { conditional(p, true) })
	held("conditional", unsafe.Pointer(&p.mu), "ambiguous", "conditional")
	waiters(&p.mu)

	two := &vault{}
	begin(func() { bothLocked(two) })
	held("bothLocked/mu", unsafe.Pointer(&two.mu), "pending-unlock", "bothLocked")
	held("bothLocked/other", unsafe.Pointer(&two.other), "pending-unlock", "bothLocked")
	waiters(&two.mu)
	waiters(&two.other)

	list := []*vault{{}, {}, {}}
	begin(func() { deferredInLoop(list) })
	held("deferredInLoop", unsafe.Pointer(&list[1].mu), "pending-unlock", "deferredInLoop")
	waiters(&list[1].mu)

	v := &vault{}
	begin(func() { branches(v, 0) })
	begin(func() { branches(v, 2) })
	begin(func() { branches(v, 1) })
	held("branches", unsafe.Pointer(&v.mu), "unique-candidate", "branches", "slowInBranch")
	waiters(&v.mu)

	elements := make([]vault, 5)
	begin(func() { sliceHolder(elements, 3) })
	held("sliceHolder", unsafe.Pointer(&elements[3].mu), "unique-candidate", "sliceHolder")
	waiters(&elements[3].mu)

	a, b := &vault{}, &vault{}
	begin(func() { plainHolder(b) })
	begin(func() { chainFirst(a, b) })
	held("chainFirst", unsafe.Pointer(&a.mu), "unique-candidate", "chainFirst")
	held("chainEnd", unsafe.Pointer(&b.mu), "unique-candidate", "plainHolder")
	waiters(&a.mu)
}

// afterwards are goroutines that had the lock and have it no more, while one that left no trace has it.
func afterwards() {
	for _, c := range []struct {
		name string
		f    func(*vault)
	}{
		{"lockedAndUnlocked", lockedAndUnlocked}, {"closureRan", closureRan}, {"deferRan", deferRan}, {"loopOutside", loopOutside},
		{"unlockedByCallee", unlockedByCallee}, {"unlockedByHelper", unlockedByHelper}, {"calleeRelocks", calleeRelocks},
		{"helperDone", helperDone}, {"panickingHolder", panickingHolder},
	} {
		v := &vault{}
		begin(func() { c.f(v) })
		begin(func() { lockAndExit(v) })
		held("decoy/"+c.name, unsafe.Pointer(&v.mu), "none")
		begin(func() { tryFailed(v) })
		waiters(&v.mu)
	}
	for _, c := range []struct {
		name string
		f    func(*queue)
	}{{"condWaiter", condWaiter}, {"condDeferred", condDeferred}} {
		q := &queue{}
		q.cond = sync.NewCond(&q.mu)
		begin(func() { c.f(q) })
		begin(func() { queueHolder(q) })
		held(c.name, unsafe.Pointer(&q.mu), "unique-candidate", "queueHolder")
		waiters(&q.mu)
	}
}

func readers() {
	v := &vault{}
	begin(func() { readHolder(v) })
	begin(func() { readDeferred(v) })
	begin(func() { readDone(v) })
	held("readers", unsafe.Pointer(&v.rw), "any/reader", "readHolder", "readDeferred")
	begin(func() { writeWait(v) })
	begin(func() { readWait(v) })

	w := &vault{}
	begin(func() { readDone(w) })
	begin(func() { writeHolder(w) })
	held("writer", unsafe.Pointer(&w.rw), "unique-candidate", "writeHolder")
	begin(func() { readWait(w) })
	begin(func() { writeWait(w) })
}

// pairs are two locks in one object: a holder of the one must not be taken for the holder of the other.
func pairs() {
	v := &vault{}
	begin(func() { holdMu(v) })
	begin(func() { holdOther(v) })
	held("pair/mu", unsafe.Pointer(&v.mu), "unique-candidate", "holdMu")
	held("pair/other", unsafe.Pointer(&v.other), "unique-candidate", "holdOther")
	waiters(&v.mu)
	waiters(&v.other)

	w := &vault{}
	begin(func() { lockAndExit(w) })
	begin(func() { holdOther(w) })
	held("pair/exited", unsafe.Pointer(&w.mu), "none")
	waiters(&w.mu)

	begin(doneGlobal)
	begin(holdGlobal)
	begin(holdGlobalOther)
	held("global", unsafe.Pointer(&global), "unique-candidate", "holdGlobal")
	waiters(&global)
}

func helpers() {
	v := &vault{}
	begin(func() { helperHolder(v) })
	held("helperHolder", unsafe.Pointer(&v.mu), "unique-candidate", "helperHolder")
	waiters(&v.mu)

	d := &vault{}
	begin(func() { helperDeferred(d) })
	held("helperDeferred", unsafe.Pointer(&d.mu), "pending-unlock", "helperDeferred")
	waiters(&d.mu)
}

// others are holders that are found by what they will unlock: the code that they have passed does not tell.
func others() {
	v := &vault{}
	begin(func() { tryHolder(v) })
	begin(func() { lockedAndUnlocked(&vault{}) })
	held("tryHolder", unsafe.Pointer(&v.mu), "unique-candidate", "tryHolder")
	waiters(&v.mu)

	l := &vault{}
	begin(func() { lockerHolder(&l.mu) })
	held("lockerHolder", unsafe.Pointer(&l.mu), "unique-candidate", "lockerHolder")
	waiters(&l.mu)

	s := &shelf{inner: &vault{}, shared: &sync.Mutex{}}
	begin(func() { secondPointer(s) })
	begin(func() { sharedPointer(s) })
	held("secondPointer", unsafe.Pointer(&s.inner.mu), "unique-candidate", "secondPointer")
	held("sharedPointer", unsafe.Pointer(s.shared), "unique-candidate", "sharedPointer")
	waiters(&s.inner.mu)
	waiters(s.shared)

	e := &shelf{inner: &vault{}, shared: &sync.Mutex{}}
	begin(func() { embeddedHolder(e) })
	held("embeddedHolder", unsafe.Pointer(&e.Mutex), "unique-candidate", "embeddedHolder")
	waiters(e)

	decoy, real := &vault{}, &vault{}
	begin(func() { staleWord(decoy, real) })
	begin(func() { lockAndExit(decoy) })
	held("staleWord/decoy", unsafe.Pointer(&decoy.mu), "none")
	held("staleWord/real", unsafe.Pointer(&real.mu), "unique-candidate", "staleWord")
	waiters(&decoy.mu)
	waiters(&real.mu)

	var once sync.Once
	begin(func() { inOnce(&once) })
	begin(func() { entered.Add(1); once.Do(enter) })
	held("inOnce", mutexOfOnce(&once), "pending-unlock", "sync.(*Once).doSlow")
}

// mutexOfOnce is where a sync.Once has its lock: behind done (sync/once.go, Go 1.21 to 1.26; done is one word in some of them).
func mutexOfOnce(o *sync.Once) unsafe.Pointer {
	f, _ := reflect.TypeOf(sync.Once{}).FieldByName("m")
	return unsafe.Add(unsafe.Pointer(o), f.Offset)
}
