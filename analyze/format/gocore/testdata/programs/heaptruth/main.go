// story: A program that knows what is on its heap: so many objects of each type, kept by a global variable, by one goroutine, by a group of
// story: goroutines, by two groups together, and by nobody. Tests count them again in its core.
// go: 1.21
// ends: ready
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
)

// What is planted.
const (
	accounts   = 1000
	sessions   = 200
	jobs       = 40
	jobBuffer  = 4096
	lost       = 500
	handlers   = 30
	queued     = 25
	pages      = 60
	indexWords = 1 << 17
	pointers   = 50_000
	parcels    = 15
)

type Account struct {
	ID      uint64
	Name    string
	Owner   *Owner
	History []Entry
	Notes   [4]*Note
}

type Owner struct {
	Name  string
	Email string
	Score [8]int64
}

type Entry struct {
	Amount int64
	From   *Account
	Text   string
}

type Note struct {
	Words [7]uint64
}

type Session struct {
	Token [5]uint64
	Next  *Session
	User  *Owner
	State [3]uint64
}

type Job struct {
	Number int
	Buffer []byte
	Result [20]*Note
}

type Lost struct {
	Left, Right *Lost
	Weight      [9]float64
}

// Page has more than 512 bytes, so that the runtime keeps its type.
type Page struct {
	Rows  [70]uint64
	Owner *Owner
}

type Disk struct {
	Path  string
	Pages []*Page
}

type Storage interface{ Size() int }

func (d *Disk) Size() int { return len(d.Pages) }

type Ticket struct {
	ID   [15]uint64
	Note *Note
}

type Common struct {
	Weights [33]uint64
	Owner   *Owner
}

type Parcel struct {
	Load [20]uint64
	Note *Note
}

var (
	book     = map[string]*Account{}
	store    Storage
	callback []func() int
	queue    chan *Ticket
	index    []uint64
	all      []*Account
	anything any
)

func fill() {
	for i := range make([]struct{}, accounts) {
		a := &Account{ID: uint64(i), Name: "account number " + strconv.Itoa(100_000+i), Owner: &Owner{Name: "n"}}
		a.History = make([]Entry, 5)
		a.Notes[0] = &Note{}
		book[a.Name] = a
		a.History[0].From = a
	}
	d := &Disk{Path: "/var/lib/" + strconv.Itoa(1_000_000_000_000)}
	for range make([]struct{}, pages) {
		d.Pages = append(d.Pages, &Page{Owner: &Owner{}})
	}
	store = d
	for i := range make([]struct{}, handlers) {
		i := i
		callback = append(callback, func() int { return i })
	}
	queue = make(chan *Ticket, queued)
	for range make([]struct{}, queued) {
		queue <- &Ticket{Note: &Note{}}
	}
	index = make([]uint64, indexWords)
	all = make([]*Account, pointers)
	anything = &Common{Owner: &Owner{}}
}

//go:noinline
func newSession(next *Session) *Session { return &Session{Next: next} }

// alone keeps a list that nobody else knows.
func alone(ready *sync.WaitGroup, stop chan struct{}) {
	var head *Session
	for i := 0; i < sessions; i++ {
		head = newSession(head)
	}
	ready.Done()
	<-stop
	runtime.KeepAlive(head)
}

//go:noinline
func newJob(i int) *Job { return &Job{Number: i, Buffer: make([]byte, jobBuffer)} }

// work is one of a group; each keeps a job of its own.
func work(i int, ready *sync.WaitGroup, stop chan struct{}) {
	j := newJob(i)
	for k := range j.Result {
		j.Result[k] = &Note{}
	}
	ready.Done()
	<-stop
	runtime.KeepAlive(j)
}

// left and right keep the same object.
func left(c *Common, ready *sync.WaitGroup, stop chan struct{}) {
	ready.Done()
	<-stop
	runtime.KeepAlive(c)
}

func right(c *Common, ready *sync.WaitGroup, stop chan struct{}) {
	ready.Done()
	<-stop
	runtime.KeepAlive(c)
}

//go:noinline
func newParcel() *Parcel { return &Parcel{Note: &Note{}} }

// send waits for ever to send what it has no variable for any more.
func send(out chan *Parcel, ready *sync.WaitGroup) {
	p := newParcel()
	ready.Done()
	out <- p
}

//go:noinline
func newLost(l *Lost) *Lost { return &Lost{Left: l} }

//go:noinline
func waste() {
	var l *Lost
	for i := 0; i < lost; i++ {
		l = newLost(l)
	}
	runtime.KeepAlive(l)
}

func main() {
	fill()
	stop := make(chan struct{})
	var ready sync.WaitGroup
	ready.Add(1 + jobs + 2 + parcels)
	go alone(&ready, stop)
	for i := 0; i < jobs; i++ {
		go work(i, &ready, stop)
	}
	both := &Common{Owner: &Owner{}}
	go left(both, &ready, stop)
	go right(both, &ready, stop)
	out := make(chan *Parcel)
	for i := 0; i < parcels; i++ {
		go send(out, &ready)
	}
	ready.Wait()
	runtime.GC()
	runtime.GC()
	debug.SetGCPercent(-1)
	waste()
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("READY")
	<-c
	close(stop)
}
