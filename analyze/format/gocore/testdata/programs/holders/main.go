// story: Goroutines hold locks in every way that a goroutine can, beside others that look as if they did. The program prints who
// story: holds which lock, and how sure a reader can be.
// go: 1.21
// ends: ready
package main

import (
	"fmt"
	"os"
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
		fmt.Fprint(os.Stderr, " main.", f)
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

//go:noinline
func deferredHolder(v *vault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	slow()
	use(v)
}

//go:noinline
func deferredClosure(v *vault) {
	v.mu.Lock()
	defer func() {
		v.n--
		v.mu.Unlock()
	}()
	slow()
}

//go:noinline
func deferredInLoop(list []*vault) {
	for _, v := range list {
		v.mu.Lock()
		defer v.mu.Unlock()
	}
	slow()
}

//go:noinline
func plainHolder(v *vault) {
	v.mu.Lock()
	slow()
	v.mu.Unlock()
	use(v)
}

//go:noinline
func lockedAndUnlocked(v *vault) {
	v.mu.Lock()
	v.n++
	v.mu.Unlock()
	slow()
	use(v)
}

//go:noinline
func closureRan(v *vault) {
	func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.n++
	}()
	slow()
	use(v)
}

// deferRan blocks in the deferred call that runs after the Unlock.
//
//go:noinline
func deferRan(v *vault) {
	defer slow()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
}

// deferStillToRun blocks in the deferred call that runs before the Unlock.
//
//go:noinline
func deferStillToRun(v *vault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer slow()
	v.n++
}

//go:noinline
func branches(v *vault, k int) {
	v.mu.Lock()
	if k == 0 {
		v.mu.Unlock()
		slow()
		use(v)
		return
	}
	if k == 1 {
		slowInBranch()
		v.mu.Unlock()
		return
	}
	v.n++
	v.mu.Unlock()
	slow()
	use(v)
}

//go:noinline
func slowInBranch() {
	enter()
	<-gate
}

//go:noinline
func loopOutside(v *vault) {
	for {
		v.mu.Lock()
		v.n++
		v.mu.Unlock()
		slow()
	}
}

//go:noinline
func loopInside(v *vault) {
	for v.n < 1<<40 {
		v.mu.Lock()
		slow()
		v.mu.Unlock()
	}
}

//go:noinline
func readHolder(v *vault) {
	v.rw.RLock()
	slow()
	v.rw.RUnlock()
	use(v)
}

//go:noinline
func readDeferred(v *vault) {
	v.rw.RLock()
	defer v.rw.RUnlock()
	slow()
	use(v)
}

//go:noinline
func readDone(v *vault) {
	v.rw.RLock()
	v.n += 0
	v.rw.RUnlock()
	slow()
	use(v)
}

//go:noinline
func writeHolder(v *vault) {
	v.rw.Lock()
	slow()
	v.rw.Unlock()
	use(v)
}

//go:noinline
func writeWait(v *vault) {
	enter()
	v.rw.Lock()
}

//go:noinline
func readWait(v *vault) {
	enter()
	v.rw.RLock()
}

//go:noinline
func holdMu(v *vault) {
	v.mu.Lock()
	slow()
	v.mu.Unlock()
	use(v)
}

//go:noinline
func holdOther(v *vault) {
	v.other.Lock()
	slow()
	v.other.Unlock()
	use(v)
}

var (
	global      sync.Mutex
	globalOther sync.Mutex
	counter     int
)

//go:noinline
func holdGlobal() {
	global.Lock()
	slow()
	global.Unlock()
}

//go:noinline
func doneGlobal() {
	global.Lock()
	counter++
	global.Unlock()
	slow()
}

//go:noinline
func holdGlobalOther() {
	globalOther.Lock()
	slow()
	globalOther.Unlock()
}

//go:noinline
func (v *vault) lock() { v.mu.Lock() }

//go:noinline
func (v *vault) unlock() { v.mu.Unlock() }

//go:noinline
func helperHolder(v *vault) {
	v.lock()
	slow()
	v.unlock()
	use(v)
}

//go:noinline
func helperDeferred(v *vault) {
	v.lock()
	defer v.unlock()
	slow()
	use(v)
}

//go:noinline
func helperDone(v *vault) {
	v.lock()
	v.n++
	v.unlock()
	slow()
	use(v)
}

// unlockedByCallee takes the lock and leaves the unlocking to a callee, which then blocks.
//
//go:noinline
func unlockedByCallee(v *vault) {
	v.mu.Lock()
	v.n++
	unlockAndBlock(v)
	use(v)
}

//go:noinline
func unlockAndBlock(v *vault) {
	v.mu.Unlock()
	slow()
	use(v)
}

// unlockedByHelper takes the lock, lets a helper unlock, and blocks.
//
//go:noinline
func unlockedByHelper(v *vault) {
	v.mu.Lock()
	v.n++
	v.unlock()
	slow()
	use(v)
}

// calleeRelocks unlocks for the slow part and locks again, as a helper that expects the lock held does.
//
//go:noinline
func calleeRelocks(v *vault) {
	v.mu.Lock()
	relock(v)
	v.mu.Unlock()
}

//go:noinline
func relock(v *vault) {
	v.mu.Unlock()
	slow()
	v.mu.Lock()
	use(v)
}

//go:noinline
func tryHolder(v *vault) {
	if v.mu.TryLock() {
		slow()
		v.mu.Unlock()
	}
	use(v)
}

//go:noinline
func tryFailed(v *vault) {
	if !v.mu.TryLock() {
		slow()
		use(v)
		return
	}
	v.mu.Unlock()
}

//go:noinline
func lockAndExit(v *vault) {
	v.mu.Lock()
	enter()
}

//go:noinline
func computingHolder(v *vault) {
	v.mu.Lock()
	enter()
	for x := uint32(1); x != 0; x = x*1664525 + 1013904223 | 1 {
		v.n += int(x)
	}
	v.mu.Unlock()
}

var blocking [2]int

//go:noinline
func syscallHolder(v *vault) {
	v.mu.Lock()
	enter()
	var b [1]byte
	syscall.Read(blocking[0], b[:])
	v.mu.Unlock()
	use(v)
}

//go:noinline
func chainFirst(a, b *vault) {
	a.mu.Lock()
	enter()
	b.mu.Lock()
	use(a)
	b.mu.Unlock()
	a.mu.Unlock()
}

//go:noinline
func selfDeadlock(v *vault) {
	v.mu.Lock()
	selfAgain(v)
	v.mu.Unlock()
}

//go:noinline
func selfAgain(v *vault) {
	enter()
	v.mu.Lock()
	v.mu.Unlock()
}

type queue struct {
	name string
	mu   sync.Mutex
	cond *sync.Cond
	n    int
}

//go:noinline
func condWaiter(q *queue) {
	q.mu.Lock()
	enter()
	for q.n < 1<<40 {
		q.cond.Wait()
	}
	q.mu.Unlock()
}

//go:noinline
func condDeferred(q *queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	enter()
	for q.n < 1<<40 {
		q.cond.Wait()
	}
}

//go:noinline
func queueHolder(q *queue) {
	q.mu.Lock()
	slow()
	q.mu.Unlock()
	q.n++
}

//go:noinline
func sliceHolder(list []vault, i int) {
	list[i].mu.Lock()
	slow()
	list[i].mu.Unlock()
}

//go:noinline
func panickingHolder(v *vault) {
	defer func() {
		recover()
		slow()
		use(v)
	}()
	v.mu.Lock()
	defer v.mu.Unlock()
	panic("in the middle")
}

// reversed defers the Unlock before it locks, so that an Unlock is pending while it waits.
//
//go:noinline
func reversed(v *vault) {
	defer v.mu.Unlock()
	enter()
	v.mu.Lock()
	use(v)
}

//go:noinline
func conditional(v *vault, locks bool) {
	if locks {
		v.mu.Lock()
	}
	slow()
	if locks {
		v.mu.Unlock()
	}
	use(v)
}

// bothLocked holds two locks of one object and deferred its Unlocks.
//
//go:noinline
func bothLocked(v *vault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.other.Lock()
	defer v.other.Unlock()
	slow()
}

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
	held("sliceHolder", unsafe.Pointer(&elements[3].mu), "ambiguous", "sliceHolder") // it could be the first element's
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

// others are holders that a reader misses: it must not name somebody else in their place.
func others() {
	v := &vault{}
	begin(func() { tryHolder(v) })
	begin(func() { lockedAndUnlocked(&vault{}) })
	held("missed/tryHolder", unsafe.Pointer(&v.mu), "none", "tryHolder")
	waiters(&v.mu)
}
