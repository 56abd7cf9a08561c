package main

import (
	"sync"
	"syscall"
)

// The goroutines: those that hold a lock, and those that only look as if they did.

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

//go:noinline
func lockerHolder(l sync.Locker) {
	l.Lock()
	slow()
	l.Unlock()
}

// shelf has locks behind pointers.
type shelf struct {
	name string
	sync.Mutex
	inner  *vault
	shared *sync.Mutex
}

//go:noinline
func secondPointer(s *shelf) {
	s.inner.mu.Lock()
	slow()
	s.inner.mu.Unlock()
}

//go:noinline
func sharedPointer(s *shelf) {
	s.shared.Lock()
	slow()
	s.shared.Unlock()
}

//go:noinline
func embeddedHolder(s *shelf) {
	s.Lock()
	slow()
	s.Unlock()
}

// staleWord has used a first object, and holds the lock of a second one.
//
//go:noinline
func staleWord(first, second *vault) {
	use(first)
	second.mu.Lock()
	slow()
	second.mu.Unlock()
	use(second)
}

//go:noinline
func inOnce(o *sync.Once) { o.Do(slow) }
