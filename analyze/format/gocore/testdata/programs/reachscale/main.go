// story: Many goroutines, half of them leaked; a chain in which each waits for a channel that the next one has; and a heap of linked
// story: records. The arguments are the number of goroutines, the length of the chain, and the number of records in thousands.
// go: 1.21
// ends: ready
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

type record struct {
	next  *record
	name  *string
	data  []byte
	child *record
}

var (
	kept  []chan int
	heap  []*record
	first = make(chan int)
)

//go:noinline
func leaked(c chan int) { <-c }

//go:noinline
func waiting(c chan int) { <-c }

//go:noinline
func link(own, next chan int) {
	<-own
	close(next)
}

//go:noinline
func lastLink(c chan int) { <-c }

func fill(thousands int) {
	for range make([]int, thousands) {
		var list *record
		for range make([]int, 500) {
			name := strconv.Itoa(len(heap))
			list = &record{next: list, name: &name, data: make([]byte, 100), child: &record{}}
		}
		heap = append(heap, list)
	}
}

func number(i int) int {
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		panic(err)
	}
	return n
}

func main() {
	fill(number(3))
	for range make([]int, number(1)/2) {
		go leaked(make(chan int))
		c := make(chan int)
		kept = append(kept, c)
		go waiting(c)
	}
	own := first
	for range make([]int, number(2)) {
		next := make(chan int)
		go link(own, next)
		own = next
	}
	go lastLink(own)
	for runtime.NumGoroutine() < number(1)/2*2+number(2)+2 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	time.Sleep(time.Hour)
}
