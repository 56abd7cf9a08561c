package main

import (
	"context"
	"iter"
	"reflect"
	"runtime"
	"sync"
)

// holds are ways to keep objects while one waits: in variables that are used afterwards, in some that are not, in closures, in defers.
var holds = []func(o object, refs []object){holdLive, holdDead, holdHalf, holdArray, holdClosure, holdDefer, holdDeferLoop, holdDeferMethod,
	holdMethod, holdMap, holdDeep, holdArguments, holdResult, holdGeneric, holdReflect, holdMakeFunc, holdIterator, holdRange, holdPanic,
	holdRecovered, holdInStruct, holdLocked, holdContext, holdLargeFrame, holdLoop, holdOnce, holdInterface, holdPull, holdSwitch}

//go:noinline
func hold0(o object) { o.wait() }

//go:noinline
func touch(refs ...object) {
	for _, o := range refs {
		if o != nil {
			o.wake()
		}
	}
}

//go:noinline
func look(refs ...object) int { return len(refs) }

//go:noinline
func holdLive(o object, refs []object) {
	o.wait()
	touch(refs...)
}

//go:noinline
func holdDead(o object, refs []object) {
	look(refs...)
	o.wait()
	runtime.KeepAlive(o)
}

//go:noinline
func holdHalf(o object, refs []object) {
	first, last := refs[0], refs[len(refs)-1]
	look(first, last)
	o.wait()
	first.wake()
}

//go:noinline
func holdArray(o object, refs []object) {
	var a [6]object
	copy(a[2:], refs)
	refs = nil
	p := &a
	o.wait()
	touch(p[2:]...)
}

//go:noinline
func holdClosure(o object, refs []object) {
	first := refs[0]
	f := func() { first.wake() }
	o.wait()
	f()
}

//go:noinline
func holdDefer(o object, refs []object) {
	defer touch(refs...)
	o.wait()
}

//go:noinline
func holdDeferLoop(o object, refs []object) {
	for _, r := range refs {
		defer r.wake()
	}
	refs = nil
	o.wait()
}

//go:noinline
func holdDeferMethod(o object, refs []object) {
	if len(refs) > 1 {
		defer refs[1].wake()
	}
	o.wait()
}

//go:noinline
func holdMethod(o object, refs []object) {
	f := refs[0].wake
	refs = nil
	o.wait()
	f()
}

//go:noinline
func holdMap(o object, refs []object) {
	m := map[int]object{}
	for i, r := range refs {
		m[i] = r
	}
	o.wait()
	touch(m[0])
}

//go:noinline
func holdDeep(o object, refs []object) { deep(o, refs, 40) }

//go:noinline
func deep(o object, refs []object, n int) int {
	if n == 0 {
		o.wait()
		return 1
	}
	r := refs[n%len(refs)]
	k := deep(o, refs[:1], n-1)
	if k == n {
		r.wake()
	}
	return k + 1
}

//go:noinline
func holdArguments(o object, refs []object) {
	many(1, 2, 3, 4, 5, 6, 7, 8, refs[0], 9, 10, o, refs[len(refs)-1])
}

//go:noinline
func many(a, b, c, d, e, f, g, h int, r object, i, j int, o, s object) int {
	o.wait()
	s.wake()
	return a + b + c + d + e + f + g + h + i + j
}

//go:noinline
func holdResult(o object, refs []object) { results(o, refs) }

//go:noinline
func results(o object, refs []object) (a, b, c, d, e object) {
	e = refs[0]
	o.wait()
	return
}

//go:noinline
func holdGeneric(o object, refs []object) { generic(o, refs[0]); generic(refs[0], "x") }

//go:noinline
func generic[T any, S any](v T, s S) []S {
	if o, ok := any(v).(object); ok {
		o.wait()
	}
	return []S{s}
}

//go:noinline
func holdReflect(o object, refs []object) {
	reflect.ValueOf(holdHalf).Call([]reflect.Value{reflect.ValueOf(o), reflect.ValueOf(refs)})
}

//go:noinline
func holdMakeFunc(o object, refs []object) {
	f := reflect.MakeFunc(reflect.TypeFor[func(object, int, object)](), func(args []reflect.Value) []reflect.Value {
		args[0].Interface().(object).wait()
		return nil
	}).Interface().(func(object, int, object))
	f(o, 3, refs[0])
}

//go:noinline
func holdIterator(o object, refs []object) {
	var seq iter.Seq[object] = func(yield func(object) bool) {
		for _, r := range refs {
			if !yield(r) {
				return
			}
		}
	}
	for r := range seq {
		o.wait()
		r.wake()
	}
}

// holdPull waits inside of an iterator that was pulled: another goroutine waits, and this one for the iterator.
//
//go:noinline
func holdPull(o object, refs []object) {
	next, stop := iter.Pull(func(yield func(object) bool) {
		yield(refs[0])
		o.wait()
	})
	defer stop()
	next()
	next()
}

//go:noinline
func holdRange(o object, refs []object) {
	for _, r := range refs {
		o.wait()
		r.wake()
	}
}

//go:noinline
func holdPanic(o object, refs []object) {
	defer func() {
		r := recover()
		o.wait()
		if r, ok := r.(object); ok {
			r.wake()
		}
	}()
	panic(refs[0])
}

// holdRecovered waits in a deferred call while its panic goes on.
//
//go:noinline
func holdRecovered(o object, refs []object) {
	defer func() { recover() }()
	defer func() { o.wait() }()
	panic(refs[0])
}

//go:noinline
func holdInStruct(o object, refs []object) {
	var s struct {
		n    [3]int
		r    object
		next *object
		text string
	}
	s.r, s.next = refs[0], &refs[len(refs)-1]
	waitWith(o, &s.r)
	look(*s.next)
}

//go:noinline
func waitWith(o object, r *object) {
	o.wait()
	(*r).wake()
}

//go:noinline
func holdLocked(o object, refs []object) {
	if runtime.NumGoroutine()%16 == 0 {
		runtime.LockOSThread()
	}
	o.wait()
	touch(refs...)
}

//go:noinline
func holdContext(o object, refs []object) {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, refs[0]))
	context.AfterFunc(ctx, refs[len(refs)-1].wake)
	defer cancel()
	o.wait()
}

type key struct{}

//go:noinline
func holdLargeFrame(o object, refs []object) {
	var a [3000]object
	a[2500] = refs[0]
	p := &a
	o.wait()
	p[look(refs...)].wake()
}

//go:noinline
func holdLoop(o object, refs []object) {
	for i := 0; ; i++ {
		if i == 3 {
			o.wait()
		}
		if i == 5 {
			refs[0].wake()
		}
	}
}

//go:noinline
func holdOnce(o object, refs []object) {
	var once sync.Once
	once.Do(func() {
		o.wait()
		refs[0].wake()
	})
}

//go:noinline
func holdInterface(o object, refs []object) {
	var a any = refs
	o.wait()
	switch v := a.(type) {
	case []object:
		touch(v...)
	case object:
		v.wake()
	}
}

//go:noinline
func holdSwitch(o object, refs []object) {
	var p, q object
	if look(refs...) == 2 {
		p = refs[1]
	} else {
		q = refs[0]
	}
	o.wait()
	if p != nil {
		p.wake()
	}
	runtime.KeepAlive(q)
}

// holdOnPools hands objects to a pool that the collector will empty.
//
//go:noinline
func holdOnPools(o object, refs []object) {
	pool.Put(&refs[0])
	refs = nil
	o.wait()
}

var pool sync.Pool
