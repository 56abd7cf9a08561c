package main

import (
	"fmt"
	"strings"
)

// Numbers of the deep program. 2,048 functions with 6 calls each give 12,288 return addresses, and walks through them meet
// practically all; a walk of 42 calls with the frames above and below it makes 48.
const (
	deepGoroutines = 20_000
	deepFunctions  = 2_048
	deepCalls      = 6
	deepSteps      = 43
)

// deepSource is a program in which every goroutine stands at the end of a walk of its own through a great number of
// functions: no two stacks are equal, which is the worst case for every cache.
func deepSource() string {
	var b strings.Builder
	fmt.Fprintf(&b, deepHead, deepGoroutines, deepSteps, deepFunctions)
	for i := range deepFunctions {
		fmt.Fprintf(&b, "\n//go:noinline\nfunc step%d(n int, path uint64) int {\n\tif n == 0 {\n\t\treturn wait()\n\t}\n\tswitch path %% %d {\n", i, deepCalls)
		for k := range deepCalls - 1 {
			fmt.Fprintf(&b, "\tcase %d:\n\t\treturn step%d(n-1, next(path)) + %d\n", k, deepTarget(i, k), k)
		}
		fmt.Fprintf(&b, "\t}\n\treturn step%d(n-1, next(path)) - 1\n}\n", deepTarget(i, deepCalls-1))
	}
	return b.String()
}

// deepTarget says which function call k of function i calls. An odd factor makes each k a permutation of the functions, so
// that walks spread evenly.
func deepTarget(i, k int) int { return (i*(2*k+5) + 97*k + 1) % deepFunctions }

const deepHead = `// story: A rules engine with very many functions; every goroutine waits at the end of a deep evaluation of its own.
// go: 1.21
// ends: ready
// settle: 2s
package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

var (
	never   = make(chan struct{})
	started sync.WaitGroup
)

func main() {
	const goroutines, steps, functions = %d, %d, %d
	started.Add(goroutines)
	for i := 0; i < goroutines; i++ {
		go evaluate(uint64(i), steps)
	}
	started.Wait()
	time.Sleep(time.Second)
	runtime.GC()
	fmt.Println("READY")
	for {
		time.Sleep(time.Hour) // who receives as well would let the runtime find a deadlock
	}
}

func evaluate(i uint64, steps int) {
	path := next(i + 1)
	step0(steps, path)
}

// next is a step of splitmix64: the paths of neighbouring goroutines have nothing in common.
func next(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

//go:noinline
func wait() int {
	started.Done()
	<-never
	return 0
}
`
