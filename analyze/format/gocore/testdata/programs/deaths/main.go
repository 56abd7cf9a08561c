// story: A program dies in the way that its argument names, and says before what will be true of its death.
// go: 1.21
// ends: crash
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type session struct {
	pad  [3]int64
	user string
}

func say(words ...any) { fmt.Fprintln(os.Stderr, append([]any{"death"}, words...)...) }

//go:noinline
func readUser(s *session) int { return len(s.user) }

//go:noinline
func wrapped() {
	panic(fmt.Errorf("serve: %w", fmt.Errorf("load: %w", &fs.PathError{Op: "open", Path: "/etc/rates", Err: syscall.ENOENT})))
}

//go:noinline
func again() {
	defer func() { panic("third") }()
	defer func() { panic(errors.New("second")) }()
	panic("first")
}

type code int

func (c code) Error() string { return fmt.Sprint("code ", int(c)) }

type point struct{ x, y int }

// values are panics by the word that asks for them.
var values = map[string]any{"int": 42, "string": "out of stock", "error": code(7), "struct": point{1, 2}, "float": 2.5}

//go:noinline
func index(list []int, i int) int { return list[i] }

//go:noinline
func recovered() {
	defer func() { recover() }()
	say("recovered", readUser(nil))
}

//go:noinline
func deepen(n int) int {
	var pad [64]byte
	pad[n&63] = byte(n)
	return deepen(n+1) + int(pad[(n+1)&63])
}

//go:noinline
func unmapped() {
	f, err := os.CreateTemp("", "bus")
	check(err)
	check(os.Remove(f.Name()))
	check(f.Truncate(8192))
	b, err := syscall.Mmap(int(f.Fd()), 0, 8192, syscall.PROT_READ, syscall.MAP_SHARED)
	check(err)
	check(f.Truncate(0))
	say("addr", fmt.Sprintf("%#x", uintptr(unsafe.Pointer(&b[5000]))))
	say("read", b[5000])
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(0)
	}
}

//go:noinline
func writeTogether(m map[int]int) {
	for i := 0; ; i++ {
		m[i&1023] = i
	}
}

// killedBy lets another process send a signal.
//
//go:noinline
func killedBy(signal string) {
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("sleep 0.3; kill -%s %d; sleep 1", signal, os.Getpid()))
	check(cmd.Start())
	say("sender", cmd.Process.Pid)
	for {
		time.Sleep(time.Hour)
	}
}

func die(how string) {
	switch how {
	case "nil":
		say("read", readUser(nil))
	case "wrapped":
		wrapped()
	case "again":
		again()
	case "index":
		say("index", index(make([]int, 3), 5))
	case "recovered":
		recovered()
		killedBy("ABRT")
	case "goexit":
		runtime.Goexit()
	case "deadlock":
		select {}
	case "unlock":
		var mu sync.Mutex
		mu.Unlock()
	case "maps":
		m := map[int]int{}
		go writeTogether(m)
		writeTogether(m)
	case "overflow":
		debug.SetMaxStack(48 << 20)
		say("deep", deepen(0))
	case "memory":
		const space = 3 << 30
		check(syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: space, Max: space}))
		say("big", len(make([]byte, 2*space)))
	case "bus":
		unmapped()
	case "nilpanic":
		panic(nil)
	case "ABRT", "QUIT", "SEGV", "TERM":
		killedBy(how)
	default:
		panic(values[how])
	}
}

func main() {
	say("pid", os.Getpid())
	die(os.Args[1])
}
