package main

import (
	"sync"
	"unsafe"
)

// stripe is one of several locks in a slice.
type stripe struct {
	sync.RWMutex
	n int
}

// striped are locks in a slice: writers queue for the mutex inside an RWMutex, which a reader that goes round all of them never has. And a
// lock that is given back by the method of an interface in a deferred call.
func striped() {
	list := make([]stripe, 4)
	begin(func() { writeStripe(&list[1]) })
	begin(func() { writeStripe(&list[2]) })
	held("stripes/read", unsafe.Pointer(&list[1].RWMutex), "unique-candidate", "writeStripe")
	held("stripes/written", unsafe.Pointer(&list[2].RWMutex), "unique-candidate", "writeStripe")
	go readStripes(list)
	waiters(&list[2])

	a, d := &vault{}, &vault{}
	begin(func() { lockedTwice([]*vault{a, {}, a}) })
	held("lockedTwice", unsafe.Pointer(&a.mu), "pending-unlock", "lockedTwice")
	begin(func() { lockAndExit(d) })
	begin(func() { deferredFirst([]*vault{d}) })
	held("deferredFirst", unsafe.Pointer(&d.mu), "none")

	v := &vault{}
	begin(func() { lockerDeferred(&v.mu) })
	held("lockerDeferred", unsafe.Pointer(&v.mu), "pending-unlock", "lockerDeferred")
	waiters(&v.mu)
}

//go:noinline
func writeStripe(s *stripe) {
	s.Lock()
	slow()
	s.n++
	s.Unlock()
}

//go:noinline
func readStripes(list []stripe) (sum int) {
	for i := range list {
		list[i].RLock()
		sum += list[i].n
		list[i].RUnlock()
	}
	return sum
}

//go:noinline
func lockerDeferred(l sync.Locker) {
	l.Lock()
	defer l.Unlock()
	slow()
}

// lockedTwice locks one of a list twice, with the Unlock of the first time pending.
//
//go:noinline
func lockedTwice(list []*vault) {
	enter()
	for _, v := range list {
		v.mu.Lock()
		defer v.mu.Unlock()
		use(v)
	}
}

// deferredFirst has the Unlock of a lock pending that it has not got.
//
//go:noinline
func deferredFirst(list []*vault) {
	enter()
	for _, v := range list {
		defer v.mu.Unlock()
		v.mu.Lock()
		use(v)
	}
}
