// story: A service with a hundred keep-alive connections, its background loops, and as many parked workers as its argument says.
// go: 1.21
// ends: ready
// settle: 3s
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const connections = 100

func main() {
	total, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "usage: service GOROUTINES:", err)
		os.Exit(2)
	}
	s := newService()
	s.background()
	s.connect()
	for i := 0; runtime.NumGoroutine() < total; i++ {
		for k := 0; k < 64; k++ {
			s.worker(i)
			i++
		}
	}
	s.awaitParked(total)
	runtime.GC() // a collection that sees the goroutines parked sets the times since which they wait
	fmt.Println("READY")
	select {}
}

// awaitParked gives the workers time to run into what they wait for.
func (s *service) awaitParked(total int) {
	for s.started.Load() < s.made {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200*time.Millisecond + time.Duration(total/1000)*time.Millisecond)
}

// connect opens keep-alive connections over loopback: a serving goroutine and two of the client's for each.
func (s *service) connect() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	mux.HandleFunc("/slow", s.slow)
	go http.Serve(ln, mux)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxIdleConns: connections}}
	var all sync.WaitGroup
	for i := 0; i < connections; i++ {
		all.Add(1)
		go func() { defer all.Done(); s.call(client, "http://"+ln.Addr().String()+"/") }()
	}
	all.Wait()
	for i := 0; i < connections/4; i++ {
		go s.call(client, "http://"+ln.Addr().String()+"/slow")
	}
}

func (s *service) call(client *http.Client, url string) {
	resp, err := client.Get(url)
	if err != nil {
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// slow is a handler that waits for the store behind it.
func (s *service) slow(w http.ResponseWriter, r *http.Request) { s.query(r.Context(), 0) }

// background starts the loops that every service has.
func (s *service) background() {
	go func() {
		for range time.Tick(time.Second) {
			s.flushed.Add(1)
		}
	}()
	go func() {
		r, _, err := os.Pipe()
		if err == nil {
			io.Copy(io.Discard, r)
		}
	}()
	go func() {
		var fds [2]int
		if syscall.Pipe(fds[:]) == nil {
			syscall.Read(fds[0], make([]byte, 512)) // a system call that does not return
		}
	}()
	s.mu.Lock()
	s.rw.Lock()
	s.group.Add(1)
}

type service struct {
	mu      sync.Mutex
	rw      sync.RWMutex
	group   sync.WaitGroup
	cond    *sync.Cond
	jobs    chan int
	results chan int
	never   chan struct{}
	flushed atomic.Int64
	made    int64
	started atomic.Int64
}

func newService() *service {
	return &service{cond: sync.NewCond(new(sync.Mutex)), jobs: make(chan int), results: make(chan int), never: make(chan struct{})}
}

// shares says how often each kind of worker occurs in a hundred.
var shares = []struct {
	percent int
	run     func(s *service, i int)
}{
	{30, (*service).receive},
	{20, (*service).watch},
	{10, (*service).deliver},
	{10, (*service).nap},
	{8, (*service).own},
	{7, (*service).lock},
	{5, (*service).readLock},
	{4, (*service).waitGroup},
	{4, (*service).waitCond},
	{2, (*service).block},
}

// worker starts one worker of the kind that is i's turn.
func (s *service) worker(i int) {
	turn := i * 37 % 100 // 37 and 100 have no common factor: kinds are mixed, not in runs
	for _, k := range shares {
		if turn -= k.percent; turn < 0 {
			s.made++
			go s.handle(k.run, i)
			return
		}
	}
}

// The layers between a worker and what it waits for, as deep as those of a small service.

func (s *service) handle(run func(*service, int), i int) {
	s.started.Add(1)
	s.withRecover(func() { s.route(run, i) })
}

func (s *service) withRecover(f func()) {
	defer func() { _ = recover() }()
	f()
}

//go:noinline
func (s *service) route(run func(*service, int), i int) {
	if i%3 == 0 {
		s.authorised(run, i)
		return
	}
	s.business(run, i)
}

//go:noinline
func (s *service) authorised(run func(*service, int), i int) { s.business(run, i+1) }

//go:noinline
func (s *service) business(run func(*service, int), i int) { run(s, i) }

func (s *service) receive(int) { <-s.jobs }

func (s *service) deliver(i int) { s.results <- i }

func (s *service) nap(i int) { time.Sleep(time.Hour + time.Duration(i)*time.Microsecond) }

func (s *service) watch(int) { s.query(context.Background(), 1) }

func (s *service) query(ctx context.Context, kind int) {
	select {
	case <-ctx.Done():
	case <-s.never:
	case <-s.jobs:
	}
}

// own waits on a channel that nobody else has.
func (s *service) own(int) { <-make(chan int) }

func (s *service) lock(int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushed.Add(1)
}

func (s *service) readLock(int) {
	s.rw.RLock()
	defer s.rw.RUnlock()
	s.flushed.Add(1)
}

func (s *service) waitGroup(int) { s.group.Wait() }

func (s *service) waitCond(int) {
	s.cond.L.Lock()
	defer s.cond.L.Unlock()
	s.cond.Wait()
}

func (s *service) block(int) { select {} }
