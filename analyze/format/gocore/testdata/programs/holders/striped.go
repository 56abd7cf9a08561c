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
