package slowdependency

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// asking is a line at which goroutines wait for answers.
type asking struct {
	at         evidence.Frame
	call       string // the library's function that the line calls
	client     bool   // it is a client's call; otherwise a read between writes
	sites      []int  // the longest waits in all first
	goroutines []int64
	count      uint64
	long       uint64 // waits of about the length that counts; a request wakes up in between, when it is written
	total      uint64
	max        uint64
	run        uint64
	busy       uint64
	peak       int
	hist       evidence.Histogram
	load       []uint32
}

// parallel is how many goroutines wait at once while any does.
func (a *asking) parallel() float64 {
	if a.busy == 0 {
		return 0
	}
	return float64(a.total) / float64(a.busy)
}

// typical is how long the long waits lasted on average. The short ones beside them weigh next to nothing.
func (a *asking) typical() int64 {
	if a.long == 0 {
		return 0
	}
	return min(int64(a.total/a.long), int64(a.max))
}

// clients are the calls in which a goroutine waits for an answer, by how their functions begin: of the standard library (Go 1.21 to 1.26),
// and of modules whose calls wait on a channel that their own reader serves. Drivers below database/sql need no line here.
var clients = []string{
	"net/http.(*Client).", "net/http.(*Transport).", "net/http.(*bodyEOFSignal).", "net/rpc.(*Client).", "database/sql.",
	"net.(*Resolver).", "net.(*Dialer).", "net.(*sysDialer).", "net.Lookup", "crypto/tls.(*Conn).clientHandshake", "net/smtp.",
	"golang.org/x/net/http2.(*Transport).", "golang.org/x/net/http2.(*ClientConn).", "google.golang.org/grpc.(*ClientConn).Invoke",
	"github.com/jackc/pgx/", "github.com/lib/pq.(*conn).", "github.com/redis/go-redis/", "github.com/go-redis/redis/",
	"github.com/gomodule/redigo/", "go.mongodb.org/mongo-driver/", "github.com/valyala/fasthttp.(*Client).",
	"github.com/valyala/fasthttp.(*HostClient).",
}

// waitsForNews are parts of the names of functions in which goroutines wait for what they did not ask for.
var waitsForNews = []string{".(*PubSub).", ".WaitForNotification", ".Subscribe"}

// freeConnection is where goroutines wait for another to give a connection back. That is resource-exhaustion's.
const freeConnection = "database/sql.(*DB).conn"

// survey finds who accepts connections and who writes to the network.
func (s *search) survey() {
	s.accepting, s.writers = map[string]bool{}, map[int64]uint64{}
	for i := range s.line.Sites {
		site := &s.line.Sites[i]
		stack := s.c.Stack(site.Stack)
		if _, ok := derive.Has(stack, "internal/poll.(*FD).Accept"); ok {
			for k := range stack.Len() {
				if name := stack.At(k).Function; derive.Package(name) != "internal/poll" && derive.Package(name) != "runtime" {
					s.accepting[name] = true
				}
			}
		}
		if waitsForNetwork(site, s.t.Places[i], stack) {
			s.network += site.TotalNS
		}
		if writesToNetwork(stack) {
			for _, share := range site.Top {
				s.writers[share.Goroutine] += share.Count
			}
		}
	}
}

// waitsForNetwork reports whether goroutines at a site wait for a connection other than one to accept, or resolve a name in C.
func waitsForNetwork(site *evidence.Site, p derive.Spot, stack evidence.Stack) bool {
	if p.Syscall == "cgo" || p.Syscall == "connect" {
		return true
	}
	if site.Kind != evidence.SiteBlock || site.Reason != "network" {
		return false
	}
	for i := range stack.Len() {
		name := stack.At(i).Function
		if strings.HasPrefix(name, "net.(*netFD).") || strings.HasPrefix(name, "net.(*rawConn).") {
			return name != "net.(*netFD).accept"
		}
	}
	return false
}

// writesToNetwork reports whether a stack is in a write to a connection.
func writesToNetwork(stack evidence.Stack) bool {
	wrote := false
	for i := range stack.Len() {
		name := stack.At(i).Function
		if strings.HasPrefix(name, "internal/poll.(*FD).Write") || strings.HasPrefix(name, "internal/poll.(*FD).Send") {
			wrote = true
		}
		if wrote && strings.HasPrefix(name, "net.(*netFD).") {
			return true
		}
	}
	return false
}

// serves reports whether the process accepted a connection, or stood ready to.
func (s *search) serves() bool { return len(s.accepting) > 0 }

// askings are the lines at which goroutines wait for answers, the longest waits in all first.
func (s *search) askings() []asking {
	type line struct {
		function string
		number   int
	}
	index := map[line]int{}
	var list []asking
	for i := range s.line.Sites {
		client, ok := s.asks(i)
		if !ok {
			continue
		}
		at, _ := s.t.Open(s.t.Places[i])
		key := line{at.Function, at.Line}
		k, known := index[key]
		if !known {
			k = len(list)
			index[key] = k
			list = append(list, asking{at: at, call: s.t.Places[i].Doing.Callee})
		}
		list[k].add(s.line, i, client)
	}
	for i := range list {
		list[i].conclude(s.line)
	}
	slices.SortStableFunc(list, func(a, b asking) int { return cmp.Compare(b.total, a.total) })
	return list
}

// asks reports whether the waits of a site are waits for an answer, and whether a client's call says so.
func (s *search) asks(i int) (client, ok bool) {
	site, p := &s.line.Sites[i], s.t.Places[i]
	stack := s.c.Stack(site.Stack)
	if p.User < 0 || s.f.Owner(stack.FrameID(p.User)) != derive.OwnerUser || site.Count == 0 {
		return false, false
	}
	switch site.Kind {
	case evidence.SiteBlock:
		if p.Lock != derive.LockNone || p.Doing.Activity == derive.ActivitySleep || p.Doing.Activity == derive.ActivityCollector {
			return false, false
		}
	case evidence.SiteSyscall:
		if p.Syscall != "connect" && p.Syscall != "cgo" {
			return false, false
		}
	default:
		return false, false
	}
	call, news := s.callee(stack, p.User)
	if caller, _ := s.t.Frame(p, p.Caller); news || caller.Function == freeConnection {
		return false, false
	}
	return call, call || s.readsAnswers(site, stack)
}

// callee looks at the library frames below the user's: a client's call, or one that waits for news.
func (s *search) callee(stack evidence.Stack, user int) (client, news bool) {
	for i := range user {
		name := stack.At(i).Function
		news = news || slices.ContainsFunc(waitsForNews, func(n string) bool { return strings.Contains(name, n) })
		client = client || slices.ContainsFunc(clients, func(c string) bool { return strings.HasPrefix(name, c) })
	}
	return client, news
}

// readsAnswers reports whether a plain read of a connection is one of an answer: its goroutines write to the network between the reads,
// and they do not serve a connection, because a server writes between its reads as well.
func (s *search) readsAnswers(site *evidence.Site, stack evidence.Stack) bool {
	if site.Reason != "network" || len(site.Top) == 0 {
		return false
	}
	if _, reads := derive.Has(stack, "net.(*netFD).Read", "net.(*netFD).readFrom", "net.(*netFD).readMsg", "net.(*netFD).readFromInet4",
		"net.(*netFD).readFromInet6"); !reads {
		return false
	}
	for _, share := range site.Top {
		if 2*s.writers[share.Goroutine] < share.Count || s.mayServe(share.Goroutine) && !s.onPath(site.Stack) {
			return false
		}
	}
	return true
}

// mayServe reports whether a goroutine may serve a connection: when the process accepts some, all but the one that runs main, tests, and
// those that were started in the time of the trace by functions that do not accept.
func (s *search) mayServe(goroutine int64) bool {
	if !s.serves() {
		return false
	}
	a, ok := s.line.Actor(goroutine)
	if !ok || a.Spawn < 0 || a.Spawn >= len(s.line.Spawns) {
		return true
	}
	spawn := &s.line.Spawns[a.Spawn]
	switch s.c.Frame(spawn.Start).Function {
	case "runtime.main", "main.main", "testing.tRunner":
		return false
	}
	stack := s.c.Stack(spawn.Stack)
	for i := range stack.Len() {
		if s.accepting[stack.At(i).Function] {
			return true
		}
	}
	return stack.Len() == 0
}

// onPath reports whether a user task or region waited at a stack.
func (s *search) onPath(stack evidence.StackID) bool {
	for i := range s.line.Activities {
		if slices.ContainsFunc(s.line.Activities[i].Path, func(l evidence.Leg) bool { return l.Stack == stack }) {
			return true
		}
	}
	return false
}

// others is how often goroutines of the program woke up that did not wait here and that no goroutine woke: what works at a pace of its own.
func (s *search) others(a *asking) uint64 {
	var n uint64
	for i := range s.line.Sites {
		site := &s.line.Sites[i]
		if site.Kind == evidence.SiteBlock && !s.t.Places[i].Own && !slices.Contains(a.sites, i) {
			n += site.Unwoken
		}
	}
	return n
}

func (a *asking) add(line *evidence.Timeline, i int, client bool) {
	s := &line.Sites[i]
	a.client = a.client || client
	a.sites = append(a.sites, i)
	a.count += s.Count
	a.total += s.TotalNS
	a.run += s.RunNS
	a.max = max(a.max, s.MaxNS)
	a.peak = max(a.peak, s.Peak)
	for k, n := range s.Hist {
		a.hist[k] += n
	}
	for _, share := range s.Top {
		if !slices.Contains(a.goroutines, share.Goroutine) {
			a.goroutines = append(a.goroutines, share.Goroutine)
		}
	}
	if len(a.load) < len(s.Load) {
		a.load = append(a.load, make([]uint32, len(s.Load)-len(a.load))...)
	}
	for k, v := range s.Load {
		a.load[k] += v
	}
}

// conclude orders the sites and computes the time in which anybody waited: of several sites it is at least that of the largest, and at most
// what the slices leave room for. The waits of one goroutine follow each other, so few goroutines come close to the latter.
func (a *asking) conclude(line *evidence.Timeline) {
	slices.SortStableFunc(a.sites, func(x, y int) int { return cmp.Compare(line.Sites[y].TotalNS, line.Sites[x].TotalNS) })
	var sum, low uint64
	for _, i := range a.sites {
		low = max(low, line.Sites[i].BusyNS)
		sum += line.Sites[i].BusyNS
	}
	var room uint64
	for _, v := range a.load {
		room += uint64(min(v, 1000)) * uint64(max(line.SliceNS, 0)) / 1000
	}
	a.busy = low
	if len(a.sites) > 1 {
		a.busy = max(low, min(sum, room))
	}
}
