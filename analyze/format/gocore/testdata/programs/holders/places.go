package main

import (
	"runtime/debug"
	"unsafe"
)

// Locks that are reached in other ways, and frames that keep what they do not use any more.

// staleOnly has used a first object, and has taken a lock that somebody gave it: nothing in its frame leads there.
//
//go:noinline
func staleOnly(first *vault, other func() *vault) {
	use(first)
	other().mu.Lock()
	slow()
}

// forgotten takes the lock and never gives it back, nor uses the object again.
//
//go:noinline
func forgotten(v *vault) {
	v.mu.Lock()
	slow()
}

// mapHolder has a lock in a struct that a map leads to.
//
//go:noinline
func mapHolder(m map[string]*vault, key string) {
	v := m[key]
	v.mu.Lock()
	slow()
	v.mu.Unlock()
}

// mapTwice looks it up for each.
//
//go:noinline
func mapTwice(m map[string]*vault, key string) {
	m[key].mu.Lock()
	slow()
	m[key].mu.Unlock()
}

// mapDeferred defers the Unlock.
//
//go:noinline
func mapDeferred(m map[string]*vault, key string) {
	m[key].mu.Lock()
	defer m[key].mu.Unlock()
	slow()
}

// arrayHolder has a lock in an array in a struct.
//
//go:noinline
func arrayHolder(s *shards, i int) {
	s.list[i&7].mu.Lock()
	slow()
	s.list[i&7].mu.Unlock()
}

type shards struct {
	name string
	list [8]vault
}

// optimised reports whether the compiler keeps variables only as long as they are used.
func optimised() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-gcflags" {
			return false
		}
	}
	return true
}

// grades are what a reader can find in optimised code, and in other.
func grades(optimal, other string) string {
	if optimised() {
		return optimal
	}
	return other
}

// places are locks that are reached in other ways.
func places() {
	decoy, real := &vault{}, &vault{}
	begin(func() { staleOnly(decoy, func() *vault { return real }) })
	begin(func() { lockAndExit(decoy) })
	held("staleOnly/decoy", unsafe.Pointer(&decoy.mu), "none")
	waiters(&decoy.mu)

	f := &vault{}
	begin(func() { forgotten(f) })
	held("forgotten", unsafe.Pointer(&f.mu), grades("none", "unique-candidate"), "forgotten")
	waiters(&f.mu)

	for _, c := range []struct {
		name, grade string
		hold        func(map[string]*vault, string)
	}{{"mapHolder", "unique-candidate", mapHolder}, {"mapTwice", "none", mapTwice}, {"mapDeferred", "pending-unlock", mapDeferred}} {
		m := map[string]*vault{}
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
			m[key] = &vault{name: key}
		}
		begin(func() { c.hold(m, "f") })
		held(c.name, unsafe.Pointer(&m["f"].mu), c.grade, c.name)
		waiters(&m["f"].mu)
	}

	s := &shards{}
	begin(func() { arrayHolder(s, 5) })
	held("arrayHolder", unsafe.Pointer(&s.list[5].mu), grades("unique-candidate", "none"), "arrayHolder")
	waiters(&s.list[5].mu)

	p := &vault{}
	begin(func() { conditional(p, true) })
	begin(func() { conditional(p, false) })
	held("two", unsafe.Pointer(&p.mu), "ambiguous/several", "conditional", "conditional")
	waiters(&p.mu)
}

//go:noinline
func tryReader(v *vault) {
	if v.rw.TryRLock() {
		slow()
		v.rw.RUnlock()
	}
	use(v)
}

// readLocker holds it through the interface for readers.
//
//go:noinline
func readLocker(v *vault) {
	l := v.rw.RLocker()
	l.Lock()
	slow()
	l.Unlock()
	use(v)
}

// moreReaders are readers that a writer waits for.
func moreReaders() {
	v := &vault{}
	begin(func() { tryReader(v) })
	held("tryReader", unsafe.Pointer(&v.rw), "any/reader", "tryReader")
	begin(func() { writeWait(v) })

	w := &vault{}
	begin(func() { readLocker(w) })
	held("readLocker", unsafe.Pointer(&w.rw), "any/reader", "readLocker")
	begin(func() { writeWait(w) })
}
