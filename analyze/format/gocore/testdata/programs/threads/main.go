// story: Each thread of a program does something else: it waits in the kernel, sleeps in C, runs Go that C has called back,
// story: computes in Go and in C, or asks for the time. The program says what each goroutine does.
// go: 1.21
// ends: ready
// needs: cgo
package main

/*
#include "work.h"
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// truth prints "thread FUNCTION STATE FLAG INNERMOST": a goroutine with FUNCTION on its stack is in STATE and has FLAG, and the
// stack of its thread has INNERMOST; a dash stands for none.
func truth(function, state, flag, innermost string) {
	fmt.Fprintln(os.Stderr, "thread", "main."+function, state, flag, innermost)
}

//go:noinline
func blockedRead(fd int) {
	var b [16]byte
	syscall.Read(fd, b[:])
}

//go:noinline
func sleepsInC() { C.sleep_long() }

//go:noinline
func computesInC() { C.spin_in_c() }

//go:noinline
func callsBack() { C.call_back() }

//export goBlocked
func goBlocked() { blockedInCallback(make(chan int)) }

//go:noinline
func blockedInCallback(c chan int) { <-c }

//go:noinline
func lockedToThread(c chan int) {
	runtime.LockOSThread()
	<-c
}

//go:noinline
func computes(n uint64) uint64 {
	for n != 0 {
		n = n*6364136223846793005 + 1442695040888963407 | 1
	}
	return n
}

//go:noinline
func asksForTime() (sum int64) {
	for sum >= 0 {
		sum += time.Now().UnixNano() & 1
	}
	return sum
}

func main() {
	runtime.GOMAXPROCS(8)
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	truth("blockedRead", "syscall", "-", "-")
	truth("sleepsInC", "syscall", "cgo", "sleep_long")
	truth("computesInC", "syscall", "cgo", "spin_in_c")
	truth("blockedInCallback", "waiting", "callback", "-")
	truth("lockedToThread", "waiting", "locked", "-")
	truth("computes", "running", "-", "main.computes")
	truth("asksForTime", "running", "-", "main.asksForTime")
	go blockedRead(pipe[0])
	go sleepsInC()
	go computesInC()
	go callsBack()
	go lockedToThread(make(chan int))
	go computes(1)
	go asksForTime()
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	time.Sleep(time.Hour)
}
