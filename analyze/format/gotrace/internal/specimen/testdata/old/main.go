// A program that does everything that an execution trace can tell, for toolchains from Go 1.11 on.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// scale multiplies what is repeated.
var scale = 1

func main() {
	if len(os.Args) > 2 {
		scale, _ = strconv.Atoi(os.Args[2])
	}
	out, err := os.Create(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	before := make(chan bool)
	go waiter(before)
	go func() { select {} }()
	time.Sleep(10 * time.Millisecond)
	runtime.GOMAXPROCS(2)
	if err := pprof.StartCPUProfile(nowhere{}); err != nil {
		log.Fatal(err)
	}
	if err := trace.Start(out); err != nil {
		log.Fatal(err)
	}
	channels()
	locks()
	network()
	system()
	tasks()
	garbage()
	spin()
	go forever()
	runtime.GOMAXPROCS(3)
	time.Sleep(time.Millisecond)
	close(before)
	time.Sleep(10 * time.Millisecond)
	trace.Stop()
	pprof.StopCPUProfile()
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
}

func waiter(c chan bool) { <-c }

func forever() { select {} }

// channels sends 100 values over an unbuffered channel, and selects.
func channels() {
	c, done := make(chan int), make(chan bool)
	go func() {
		for range c {
			runtime.Gosched()
		}
		close(done)
	}()
	for i := 0; i < 100*scale; i++ {
		c <- i
	}
	close(c)
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
}

// locks has ten goroutines contend for a mutex and a condition.
func locks() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	cond := sync.NewCond(&mu)
	ready := 0
	for i := 0; i < 10; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < 20*scale; j++ {
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

// network sends over a loopback connection.
func network() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
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
	buf := make([]byte, 1)
	for i := 0; i < 50*scale; i++ {
		c.Write(buf)
		io.ReadFull(c, buf)
	}
	c.Close()
	l.Close()
}

// system makes short system calls, and one that blocks for longer than sysmon waits.
func system() {
	var st syscall.Stat_t
	for i := 0; i < 100*scale; i++ {
		syscall.Stat("/", &st)
	}
	ts := syscall.Timespec{Nsec: 30e6}
	var wg sync.WaitGroup
	for i := 0; i < 3; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			syscall.Nanosleep(&ts, nil)
		}()
	}
	wg.Wait()
}

// tasks makes 5 tasks with 3 regions and a log each, and one that is never ended.
func tasks() {
	for i := 0; i < 5; i++ {
		ctx, task := trace.NewTask(context.Background(), "order")
		trace.Log(ctx, "number", fmt.Sprint(i))
		for _, step := range []string{"parse", "price", "store"} {
			trace.WithRegion(ctx, step, func() { time.Sleep(100 * time.Microsecond) })
		}
		_, child := trace.NewTask(ctx, "mail")
		child.End()
		task.End()
	}
	trace.NewTask(context.Background(), "open")
}

var sink [][]byte

// garbage makes the collector run, assists and sweeps included.
func garbage() {
	var wg sync.WaitGroup
	for i := 0; i < 4; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var keep [][]byte
			for j := 0; j < 3000*scale; j++ {
				keep = append(keep, make([]byte, 4096))
				if len(keep) > 500 {
					keep = nil
				}
			}
		}()
	}
	wg.Wait()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
}

// spin computes without a call for longer than a time slice.
func spin() {
	var wg sync.WaitGroup
	for i := 0; i < 4; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			x := 0
			for end := time.Now().Add(60 * time.Millisecond); time.Now().Before(end); {
				for j := 0; j < 1000; j++ {
					x += j
				}
			}
			sinkInt = x
		}()
	}
	wg.Wait()
}

var sinkInt int

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
