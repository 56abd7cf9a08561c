// Command server is traced while it serves: a gateway that asks a back end over HTTP for every request, both in this process,
// under the load of clients in another. The trace ends when it has the size that was asked for.
//
//	server BYTES FILE
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/trace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	clients    = 48 // connections that ask without a pause
	accounts   = 4096
	traceEvery = 64 // of so many requests one is a user task with its regions
	fanOut     = 8  // of so many requests one asks the back end in parallel
)

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == "load" {
		err = load(os.Args[2])
	} else {
		err = serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func serve() error {
	if len(os.Args) != 3 {
		return errors.New("usage: server BYTES FILE")
	}
	size, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		return err
	}
	file, err := os.Create(os.Args[2])
	if err != nil {
		return err
	}
	out := &limit{to: file, left: size, full: make(chan struct{})}
	address, err := start()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	clients := exec.Command(self, "load", "http://"+address)
	clients.Stderr = os.Stderr
	if err := clients.Start(); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // connections and caches come first
	if err := trace.Start(out); err != nil {
		return err
	}
	<-out.full
	trace.Stop()
	_ = clients.Process.Kill()
	_ = clients.Wait()
	return errors.Join(out.fault, file.Close())
}

// limit tells when enough was written. It never cuts: what the runtime still has to write is let through.
type limit struct {
	to    io.Writer
	left  int64
	full  chan struct{}
	once  sync.Once
	fault error
}

func (l *limit) Write(b []byte) (int, error) {
	n, err := l.to.Write(b)
	l.fault = errors.Join(l.fault, err)
	if l.left -= int64(n); l.left <= 0 || err != nil {
		l.once.Do(func() { close(l.full) })
	}
	return n, err
}

// start brings up the back end and the gateway. It returns the gateway's address.
func start() (string, error) {
	store := &accountStore{balance: map[int]int{}}
	back := http.NewServeMux()
	back.HandleFunc("/account/{id}", store.show)
	address, err := listen(back)
	if err != nil {
		return "", err
	}
	g := &gateway{back: "http://" + address, audit: make(chan entry, 256), client: &http.Client{
		Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}, Timeout: 10 * time.Second}}
	go g.keepAudit()
	front := http.NewServeMux()
	front.HandleFunc("/pay/{from}/{to}", g.pay)
	return listen(front)
}

func listen(h http.Handler) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(ln, h) }()
	return ln.Addr().String(), nil
}

// accountStore is the back end.
type accountStore struct {
	mu      sync.RWMutex
	balance map[int]int
}

func (s *accountStore) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.RLock()
	balance, known := s.balance[id]
	s.mu.RUnlock()
	if !known {
		s.mu.Lock()
		s.balance[id] = id * 7
		s.mu.Unlock()
	}
	_ = json.NewEncoder(w).Encode(map[string]int{"id": id, "balance": balance})
}

// gateway answers the clients.
type gateway struct {
	back   string
	client *http.Client
	audit  chan entry
	count  atomic.Int64
	mu     sync.Mutex
	recent [128]entry
}

type entry struct {
	from, to int
	at       time.Time
}

func (g *gateway) pay(w http.ResponseWriter, r *http.Request) {
	n := g.count.Add(1)
	ctx := r.Context()
	if n%traceEvery == 0 {
		var task *trace.Task
		ctx, task = trace.NewTask(ctx, "payment")
		defer task.End()
		trace.Logf(ctx, "payment", "number %d", n)
	}
	from, _ := strconv.Atoi(r.PathValue("from"))
	to, _ := strconv.Atoi(r.PathValue("to"))
	var err error
	if n%fanOut == 0 {
		err = g.both(ctx, from, to)
	} else {
		err = errors.Join(g.look(ctx, from), g.look(ctx, to))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	g.audit <- entry{from, to, time.Now()}
	_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "number": n})
}

// both asks for two accounts in parallel.
func (g *gateway) both(ctx context.Context, from, to int) error {
	results := make(chan error, 2)
	for _, id := range []int{from, to} {
		go func() { results <- g.look(ctx, id) }()
	}
	return errors.Join(<-results, <-results)
}

// look asks the back end for an account.
func (g *gateway) look(ctx context.Context, id int) error {
	if trace.IsEnabled() && g.count.Load()%traceEvery == 0 {
		defer trace.StartRegion(ctx, "look").End()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.back+"/account/"+strconv.Itoa(id), nil)
	if err != nil {
		return err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var account map[string]int
	return json.NewDecoder(resp.Body).Decode(&account)
}

// keepAudit remembers the last payments.
func (g *gateway) keepAudit() {
	at := 0
	for e := range g.audit {
		g.mu.Lock()
		g.recent[at%len(g.recent)] = e
		at++
		g.mu.Unlock()
	}
}

// load asks the gateway for payments until it is killed or the gateway is gone.
func load(url string) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	gone := make(chan error, clients)
	for i := range clients {
		go func() {
			for n := i; ; n += clients + 1 {
				if err := ask(client, fmt.Sprintf("%s/pay/%d/%d", url, n%accounts, n*31%accounts)); err != nil {
					gone <- err
					return
				}
			}
		}()
	}
	return <-gone
}

func ask(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Contains(body, []byte("true")) {
		err = fmt.Errorf("unexpected answer %q", body)
	}
	return err
}
