package main

import (
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// tree is what the collector has to mark.
type tree struct {
	left, right *tree
	pad         [6]*tree
}

func (t *tree) grow(n int) *tree {
	if n == 0 {
		return nil
	}
	return &tree{left: t.grow(n - 1), right: t.grow(n - 1)}
}

var forest []*tree

// ballast is a heap that takes a while to mark and to sweep.
func ballast(seed uint64) {
	for range 4 + seed%4 {
		forest = append(forest, (&tree{}).grow(15))
	}
}

// end lets the process die.
func end(how string, seed uint64) {
	switch how {
	case "panic":
		panic("it ends")
	case "nil":
		var t *tree
		t.left.right = t
	case "abort":
		abort()
	case "gc":
		go func() {
			for {
				runtime.GC()
			}
		}()
		go churn()
		time.Sleep(time.Duration(5+rand.New(rand.NewPCG(seed, 1)).IntN(40)) * time.Millisecond)
		abort()
	case "sweep":
		for i := range forest {
			if i%2 == 0 {
				forest[i] = nil // garbage in every span
			}
		}
		debug.SetGCPercent(100)
		last := &tree{}
		runtime.SetFinalizer(last, func(*tree) { abort() }) // it runs when its span is swept, and others are not
		last = nil
		go churn()
		time.Sleep(10 * time.Second)
	}
}

// churn makes garbage.
func churn() {
	var last *tree
	for {
		last = &tree{left: (&tree{}).grow(5), right: last}
		if last.right != nil {
			last.right.right = nil
		}
	}
}

func abort() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGABRT); err != nil {
		panic(err)
	}
	time.Sleep(time.Minute)
}
