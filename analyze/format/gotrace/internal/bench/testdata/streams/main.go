// Command streams is traced while it does what tests of a network library and of a consensus library do, over and over: HTTP/2
// servers with many streams on few connections, and clusters of nodes that elect and replicate. Goroutines are short and many,
// and they meet at channels, select, Mutex and Cond. The trace ends when it has the size that was asked for.
//
//	streams BYTES FILE
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/trace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return errors.New("usage: streams BYTES FILE")
	}
	size, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		return err
	}
	file, err := os.Create(os.Args[2])
	if err != nil {
		return err
	}
	out := &counter{to: file}
	if err := trace.Start(out); err != nil {
		return err
	}
	for i := 0; err == nil && out.n.Load() < size; i++ {
		// Two at a time, as tests that say Parallel.
		second := make(chan error, 1)
		go func() { second <- replicate(5, 300) }()
		err = errors.Join(exchange(i), <-second)
	}
	trace.Stop()
	return errors.Join(err, file.Close())
}

type counter struct {
	to io.Writer
	n  atomic.Int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// exchange starts an HTTP/2 server, sends many streams over one connection, and shuts both down.
func exchange(seed int) error {
	server := httptest.NewUnstartedServer(http.HandlerFunc(handle))
	server.Config.Protocols = clearHTTP2()
	server.Start()
	defer server.Close()
	transport := &http.Transport{Protocols: clearHTTP2()}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for i := range 64 {
		all.Go(func() {
			for k := range 6 {
				if err := stream(client, server.URL, seed+i*k); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

func clearHTTP2() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

// handle sends back what comes, in pieces, as it comes.
func handle(w http.ResponseWriter, r *http.Request) {
	piece := make([]byte, 1024)
	flush := http.NewResponseController(w)
	for {
		n, err := r.Body.Read(piece)
		if _, fault := w.Write(piece[:n]); fault != nil || err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
	}
}

// stream sends a body by a pipe, and may give up before its end.
func stream(client *http.Client, url string, seed int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	body, feed := io.Pipe()
	go func() {
		for range 2 + seed%5 {
			if _, err := io.WriteString(feed, strings.Repeat("x", 200+seed%700)); err != nil {
				return
			}
		}
		_ = feed.Close()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if seed%11 == 0 {
		cancel() // resets the stream
		return nil
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// message is what nodes send each other.
type message struct {
	from, term, index int
	answer            chan<- int
}

// node keeps a log; whoever waits for an entry to be committed waits at its Cond.
type node struct {
	id        int
	inbox     chan message
	stop      chan struct{}
	mu        sync.Mutex
	applied   *sync.Cond
	log       []int
	term      int
	heartbeat time.Duration
}

// replicate runs a cluster until so many entries were committed, with proposals from many goroutines.
func replicate(nodes, entries int) error {
	cluster := make([]*node, nodes)
	var running sync.WaitGroup
	for i := range cluster {
		n := &node{id: i, inbox: make(chan message, 16), stop: make(chan struct{}), heartbeat: time.Millisecond}
		n.applied = sync.NewCond(&n.mu)
		cluster[i] = n
		running.Go(n.run)
	}
	leader := cluster[0]
	var proposers sync.WaitGroup
	for p := range 20 {
		proposers.Go(func() {
			for i := range entries / 20 {
				leader.propose(cluster, p*1000+i)
			}
		})
	}
	proposers.Wait()
	for _, n := range cluster {
		close(n.stop)
	}
	running.Wait()
	if len(leader.log) < entries/20*20 {
		return fmt.Errorf("%d of %d entries were committed", len(leader.log), entries)
	}
	return nil
}

// run answers messages until the node is stopped.
func (n *node) run() {
	beat := time.NewTicker(n.heartbeat)
	defer beat.Stop()
	for {
		select {
		case m := <-n.inbox:
			n.mu.Lock()
			n.term = max(n.term, m.term)
			if n.id != 0 {
				n.log = append(n.log, m.index)
			}
			n.mu.Unlock()
			m.answer <- n.id
		case <-beat.C:
			n.mu.Lock()
			n.applied.Broadcast() // who waits looks whether its time is over
			n.mu.Unlock()
		case <-n.stop:
			return
		}
	}
}

// propose asks the followers, a goroutine for each, and returns when the entry is applied by the leader.
func (n *node) propose(cluster []*node, index int) {
	answers := make(chan int, len(cluster))
	for _, other := range cluster[1:] {
		go func() {
			select {
			case other.inbox <- message{from: n.id, term: 1, index: index, answer: answers}:
			case <-other.stop:
			}
		}()
	}
	committed := false
	go func() {
		for range len(cluster) / 2 {
			<-answers
		}
		n.mu.Lock()
		n.log = append(n.log, index)
		committed = true
		n.mu.Unlock()
		n.applied.Broadcast()
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !committed {
		n.applied.Wait()
	}
}
