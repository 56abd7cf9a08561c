// A program whose traces hold every event that the runtime writes, for toolchains from Go 1.22 on.
//
// Usage: all MODE FILE
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// modes are the programs, by name.
var modes = map[string]func(){"mix": mix, "long": long, "flood": flood, "hot": hot, "killed": killed}

// later are steps of mix that not every toolchain can compile.
var later []func()

func main() {
	mode, path := os.Args[1], os.Args[2]
	out, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	runtime.GOMAXPROCS(4)
	before := make(chan bool)
	go func() { <-before }()
	go func() { select {} }()
	go func() { nap(300 * time.Millisecond) }()
	time.Sleep(10 * time.Millisecond)
	if flightMode != nil && mode == "flight" {
		flightMode(out)
	} else {
		_, open := trace.NewTask(context.Background(), "before")
		record(out, modes[mode])
		open.End()
	}
	close(before)
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
}

// flightMode is there from Go 1.25 on.
var flightMode func(io.Writer)

func record(out io.Writer, run func()) {
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		log.Fatal(err)
	}
	if err := trace.Start(out); err != nil {
		log.Fatal(err)
	}
	run()
	trace.Stop()
	pprof.StopCPUProfile()
}

func mix() {
	channels(100)
	locks(20)
	network(50)
	system(100)
	tasks()
	garbage(3000)
	spin(60 * time.Millisecond)
	stops()
	for _, step := range later {
		step()
	}
}

// long runs over several generations, with what spans their borders: a collection, a region, a task, blocked and computing goroutines.
func long() {
	ctx, task := trace.NewTask(context.Background(), "long")
	defer task.End()
	defer trace.StartRegion(ctx, "all").End()
	end := time.Now().Add(2500 * time.Millisecond)
	var wg sync.WaitGroup
	for _, work := range []func(){
		func() { channels(50) },
		func() { locks(5) },
		func() { network(10) },
		func() { system(5); nap(2 * time.Millisecond) },
		func() { garbage(500) },
		func() { spin(20 * time.Millisecond) },
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for time.Now().Before(end) {
				work()
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	wg.Wait()
}

// killed ends while it is traced.
func killed() {
	long()
	os.Exit(0)
}

// flood starts many goroutines, most of which block.
func flood() {
	var wg sync.WaitGroup
	gate := make(chan bool)
	for i := 0; i < 30000; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i%3 == 0 {
				<-gate
			}
		}()
	}
	close(gate)
	wg.Wait()
}

// hot wakes goroutines on other processors as fast as it can.
func hot() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var n atomic.Int64
	for i := 0; i < 8; i++ {
		ping, pong := make(chan int), make(chan int)
		wg.Add(2)
		go func() {
			defer wg.Done()
			for j := 0; j < 5000; j++ {
				ping <- j
				<-pong
			}
			close(ping)
		}()
		go func() {
			defer wg.Done()
			for j := range ping {
				if j%16 == 0 {
					mu.Lock()
					n.Add(1)
					runtime.Gosched()
					mu.Unlock()
				}
				pong <- j
			}
		}()
	}
	wg.Wait()
}

// channels sends values over an unbuffered channel, and selects.
func channels(count int) {
	c, done := make(chan int), make(chan bool)
	go func() {
		for range c {
			runtime.Gosched()
		}
		close(done)
	}()
	for i := 0; i < count; i++ {
		c <- i
	}
	close(c)
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
}

// locks has ten goroutines contend for a mutex and a condition.
func locks(count int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	cond := sync.NewCond(&mu)
	ready := 0
	for i := 0; i < 10; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < count; j++ {
				mu.Lock()
				if j%5 == 0 {
					time.Sleep(50 * time.Microsecond)
				}
				mu.Unlock()
			}
			mu.Lock()
			ready++
			for ready < 10 {
				cond.Wait()
			}
			mu.Unlock()
			cond.Broadcast()
		}()
	}
	wg.Wait()
}

// network sends over a loopback connection, with a deadline.
func network(count int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1)
	for i := 0; i < count; i++ {
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write(buf)
		io.ReadFull(c, buf)
	}
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	c.Read(buf)
}

// system makes short system calls, and some that last longer than sysmon waits before it takes their processors away.
func system(count int) {
	var st syscall.Stat_t
	for i := 0; i < count; i++ {
		syscall.Stat("/", &st)
	}
	var wg sync.WaitGroup
	for i := 0; i < 6; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i%2 == 0 {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for j := 0; j < 5; j++ {
				nap(time.Duration(i) * 100 * time.Microsecond)
			}
		}()
	}
	wg.Wait()
}

func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&ts, nil)
}

// tasks makes tasks with regions and logs, nested, and some that are never ended.
func tasks() {
	var wg sync.WaitGroup
	for i := 0; i < 5; i++ {
		ctx, task := trace.NewTask(context.Background(), "order")
		trace.Log(ctx, "number", fmt.Sprint(i))
		for _, step := range []string{"parse", "price", "store"} {
			trace.WithRegion(ctx, step, func() { time.Sleep(100 * time.Microsecond) })
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer trace.StartRegion(ctx, "mail").End()
			_, child := trace.NewTask(ctx, "mail")
			trace.Logf(ctx, "mail", "to %d", i)
			child.End()
		}()
		task.End()
	}
	wg.Wait()
	trace.StartRegion(context.Background(), "open")
	trace.NewTask(context.Background(), "open")
	trace.Log(context.Background(), "", "no category")
}

var sink [8][][]byte

// garbage makes the collector run, assists and sweeps included.
func garbage(count int) {
	var wg sync.WaitGroup
	for i := 0; i < 4; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < count; j++ {
				sink[i] = append(sink[i], make([]byte, 4096))
				if len(sink[i]) > 500 {
					sink[i] = nil
				}
			}
		}()
	}
	wg.Wait()
}

var total atomic.Int64

// spin computes without a call for longer than a time slice.
func spin(d time.Duration) {
	var wg sync.WaitGroup
	for i := 0; i < 6; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			x := 0
			for end := time.Now().Add(d); time.Now().Before(end); {
				for j := 0; j < 1000; j++ {
					x += j
				}
			}
			total.Add(int64(x))
		}()
	}
	wg.Wait()
}

// stops stops the world, for every reason that a program can give.
func stops() {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	buf := make([]byte, 1<<16)
	runtime.Stack(buf, true)
	pprof.Lookup("goroutine").WriteTo(io.Discard, 0)
	runtime.GOMAXPROCS(3)
	runtime.GOMAXPROCS(4)
	debug.SetGCPercent(50)
}
