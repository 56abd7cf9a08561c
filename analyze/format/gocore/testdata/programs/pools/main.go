// story: Databases and HTTP transports with limits, all of whose slots are gone: to goroutines that keep rows, transactions,
// story: connections and bodies open, or to nobody at all. The program prints the truth before it says READY.
// go: 1.21
// ends: ready
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// truth prints a line "pool KIND ADDRESS USED LIMIT WAITING".
func truth(kind string, at any, used, limit, waiting int) {
	fmt.Fprintf(os.Stderr, "pool %s %p %d %d %d\n", kind, at, used, limit, waiting)
}

// holds prints a line "holder ADDRESS FUNCTION GRADE SLOTS": a goroutine with FUNCTION on its stack has SLOTS slots.
func holds(at any, function, grade string, slots int) {
	fmt.Fprintf(os.Stderr, "holder %p main.%s %s %d\n", at, function, grade, slots)
}

// alone prints a line "idle ADDRESS": nobody waits for this pool.
func alone(at any) { fmt.Fprintf(os.Stderr, "idle %p\n", at) }

// connector opens connections; one that is down lets everybody wait for them.
type connector struct{ down bool }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	if c.down {
		<-forever
	}
	return &conn{}, nil
}

func (connector) Driver() driver.Driver { return nil }

type conn struct{ queries int }

func (c *conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no statements") }
func (c *conn) Close() error                        { return nil }
func (c *conn) Begin() (driver.Tx, error)           { return c, nil }
func (c *conn) Commit() error                       { return nil }
func (c *conn) Rollback() error                     { return nil }
func (c *conn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	c.queries++
	return &rows{}, nil
}

type rows struct{ read int }

func (r *rows) Columns() []string { return []string{"n"} }
func (r *rows) Close() error      { return nil }
func (r *rows) Next(to []driver.Value) error {
	if r.read++; r.read > 3 {
		return io.EOF
	}
	to[0] = int64(r.read)
	return nil
}

func open(limit int) *sql.DB {
	db := sql.OpenDB(connector{})
	db.SetMaxOpenConns(limit)
	return db
}

var forever = make(chan int)

//go:noinline
func rowsWithDefer(db *sql.DB) {
	r, err := db.Query("q")
	check(err)
	defer r.Close()
	r.Next()
	<-forever
}

//go:noinline
func transaction(db *sql.DB) {
	tx, err := db.Begin()
	check(err)
	<-forever
	check(tx.Commit())
}

type session struct {
	name string
	conn *sql.Conn
}

//go:noinline
func connection(db *sql.DB) {
	c, err := db.Conn(context.Background())
	check(err)
	s := &session{"s", c}
	keep(s)
}

//go:noinline
func keep(s *session) {
	<-forever
	fmt.Println(s.name, s.conn)
}

//go:noinline
func query(db *sql.DB) {
	r, err := db.QueryContext(context.Background(), "q")
	check(err)
	defer r.Close()
}

//go:noinline
func first(db *sql.DB) {
	check(db.Ping())
}

//go:noinline
func leak(db *sql.DB) {
	r, err := db.Query("q")
	check(err)
	r.Next() // and nobody closes it
}

// stale has closed its rows, and waits with what they left on its stack.
//
//go:noinline
func stale(db *sql.DB, done chan<- bool) {
	r, err := db.Query("q")
	check(err)
	r.Next()
	check(r.Close())
	done <- true
	<-forever
}

//go:noinline
func nested(db *sql.DB, outer chan<- bool, inner <-chan bool) {
	r, err := db.Query("q")
	check(err)
	defer r.Close()
	outer <- true
	<-inner
	for r.Next() {
		var n int
		check(db.QueryRow("q").Scan(&n))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func databases() {
	held := open(3)
	go rowsWithDefer(held)
	go transaction(held)
	go connection(held)
	until(func() bool { return held.Stats().InUse == 3 })
	for i := 0; i < 4; i++ {
		go query(held)
	}
	wait(held, 4)
	truth("database/sql.DB", held, 3, 3, 4)
	holds(held, "rowsWithDefer", "pending-unlock", 1)
	holds(held, "transaction", "unique-candidate", 1)
	holds(held, "keep", "unique-candidate", 1)

	lost := open(2)
	done := make(chan bool)
	go stale(lost, done)
	<-done
	leak(lost)
	leak(lost)
	for i := 0; i < 3; i++ {
		go query(lost)
	}
	wait(lost, 3)
	truth("database/sql.DB", lost, 2, 2, 3)

	circle := open(2)
	outer, inner := make(chan bool), make(chan bool)
	go nested(circle, outer, inner)
	go nested(circle, outer, inner)
	<-outer
	<-outer
	close(inner)
	wait(circle, 2)
	truth("database/sql.DB", circle, 2, 2, 2)
	holds(circle, "nested", "pending-unlock", 1)

	opening := sql.OpenDB(connector{down: true})
	opening.SetMaxOpenConns(1)
	go first(opening)
	until(func() bool { return opening.Stats().OpenConnections == 1 })
	go query(opening)
	wait(opening, 1)
	truth("database/sql.DB", opening, 1, 1, 1)
	holds(opening, "first", "pending-unlock", 1)

	idle := open(2)
	go stale(idle, done)
	<-done
	alone(idle)
}

func wait(db *sql.DB, n int64) { until(func() bool { return db.Stats().WaitCount >= n }) }

func until(yes func() bool) {
	for !yes() {
		time.Sleep(time.Millisecond)
	}
}

func answer(c net.Conn) {
	buf := make([]byte, 1<<12)
	n, _ := c.Read(buf)
	if string(buf[:9]) == "GET /body" && n > 0 {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegins")
	}
	<-forever
}

func listen() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		for {
			c, err := l.Accept()
			check(err)
			go answer(c)
		}
	}()
	return "http://" + l.Addr().String()
}

//go:noinline
func readSlowly(c *http.Client, url string, begun chan<- bool) {
	resp, err := c.Get(url + "/body")
	check(err)
	defer resp.Body.Close()
	begun <- true
	_, _ = io.Copy(io.Discard, resp.Body)
}

//go:noinline
func noAnswer(c *http.Client, url string) {
	resp, err := c.Get(url + "/silence")
	check(err)
	resp.Body.Close()
}

//go:noinline
func silence(c *http.Client, url string) {
	resp, err := c.Get(url + "/silence")
	check(err)
	resp.Body.Close()
}

type key int

const dialed key = 1

// firstRequest has a connection, and waits for the answer.
//
//go:noinline
func firstRequest(c *http.Client, url string) {
	req, err := http.NewRequestWithContext(context.WithValue(context.Background(), dialed, true), http.MethodGet, url+"/silence", nil)
	check(err)
	resp, err := c.Do(req)
	check(err)
	resp.Body.Close()
}

//go:noinline
func fetch(c *http.Client, url string) {
	resp, err := c.Get(url + "/next")
	check(err)
	resp.Body.Close()
}

//go:noinline
func forget(c *http.Client, url string) {
	resp, err := c.Get(url + "/body")
	check(err)
	if resp.StatusCode != 200 {
		panic(resp.Status)
	}
}

func transports() {
	url := listen()
	held := &http.Transport{MaxConnsPerHost: 2}
	client := &http.Client{Transport: held}
	begun := make(chan bool)
	go readSlowly(client, url, begun)
	<-begun
	go noAnswer(client, url)
	time.Sleep(100 * time.Millisecond)
	for i := 0; i < 3; i++ {
		go fetch(client, url)
	}
	truth("net/http.Transport", held, 2, 2, 3)
	holds(held, "readSlowly", "pending-unlock", 1)
	holds(held, "noAnswer", "unique-candidate", 1)

	lost := &http.Transport{MaxConnsPerHost: 2}
	client = &http.Client{Transport: lost}
	forget(client, url)
	forget(client, url)
	for i := 0; i < 2; i++ {
		go fetch(client, url)
	}
	truth("net/http.Transport", lost, 2, 2, 2)

	dials := &http.Transport{MaxConnsPerHost: 2, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if ctx.Value(dialed) == nil {
			<-forever
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	client = &http.Client{Transport: dials}
	go firstRequest(client, url)
	time.Sleep(50 * time.Millisecond)
	go silence(client, url) // waits for the dial that it has asked for
	time.Sleep(50 * time.Millisecond)
	go fetch(client, url)
	truth("net/http.Transport", dials, 2, 2, 1)
	holds(dials, "firstRequest", "unique-candidate", 1)
	fmt.Fprintf(os.Stderr, "dials %p 1\n", dials)

	unlimited := &http.Transport{}
	go silence(&http.Client{Transport: unlimited}, url)
	alone(unlimited)
}

func main() {
	databases()
	transports()
	time.Sleep(200 * time.Millisecond)
	fmt.Println("READY")
	<-forever
}
