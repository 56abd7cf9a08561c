package syscallchurn

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// deed is what is set up.
type deed uint8

const (
	none    deed = iota
	dial         // connect
	accept       // accept, tries that found nobody included
	lookup       // stat, access, readlink
	open         // of a file to read
	process      // fork and exec
	list         // reading of a directory
	move         // of bytes through a connection
	shut         // closing of a connection
)

// deedOfCall says what a system call sets up, by its name in package syscall (Go 1.21 to 1.26, Linux and the BSDs).
var deedOfCall = map[string]deed{"connect": dial, "connectex": dial, "accept": accept, "accept4": accept, "acceptex": accept,
	"stat": lookup, "stat64": lookup, "lstat": lookup, "lstat64": lookup, "fstatat": lookup, "newfstatat": lookup, "access": lookup, "faccessat": lookup,
	"faccessat2": lookup, "readlink": lookup, "readlinkat": lookup, "open": open, "openat": open,
	"getdents": list, "getdents64": list, "readdirent": list, "getdirentries": list}

// makers are functions that open files to make them, to serve them, or for the library itself: to open is their business. They count between
// the program's line and the system call. A name that ends in a dot or star is a prefix (Go 1.21 to 1.26).
var makers = []string{"os.Create", "os.CreateTemp", "os.MkdirTemp", "os.WriteFile", "os.RemoveAll", "os.MkdirAll", "os.ReadDir", "os.CopyFS",
	"path/filepath.", "net/http.serveFile", "net/http.serveContent", "net/http.(*", "os/exec.", "os.StartProcess", "time.", "net.(*",
	"crypto/x509.", "plugin.", "go/build.", "os/user."}

// walkers call the program back for each file of a tree.
var walkers = []string{"path/filepath.walk", "path/filepath.walkDir", "path/filepath.Walk", "path/filepath.WalkDir", "io/fs.walkDir", "io/fs.WalkDir"}

// key is a function of the program and what it sets up.
type key struct {
	function string
	deed     deed
}

// place is all that a function of the program sets up of one sort.
type place struct {
	deed    deed
	frame   evidence.Frame
	sites   []int
	count   uint64
	tries   uint64 // of accepts: waits for the next connection, each of which a call has preceded that found none
	total   uint64
	first   int64
	last    int64
	load    []uint32
	top     []evidence.Share
	started bool // the line is where the goroutine was started that makes the calls
	request bool // inside the handler of a request
	testing bool
	most    uint64 // calls of the site that gave frame
}

func (l *place) windowNS() int64 { return max(l.last-l.first, 1) }

func (l *place) rate() float64 { return float64(l.count) / (float64(l.windowNS()) / 1e9) }

// churn is one run of the rule.
type churn struct {
	p      *diagnosis.Pass
	c      *evidence.Case
	f      *derive.Frames
	t      *derive.Timeline
	places []place
	index  map[key]int
	moves  uint64 // reads and writes of connections
	lists  uint64 // readings of directories
	shuts  uint64 // closings of connections
}

// site adds a site.
func (y *churn) site(i int) {
	site, spot := &y.t.Line.Sites[i], y.t.Site(i)
	if spot.Own {
		return
	}
	s := y.c.Stack(site.Stack)
	if site.Kind == evidence.SiteBlock && site.Reason == "network" {
		if _, ok := derive.Has(s, "internal/poll.(*FD).Accept"); ok {
			y.add(i, accept, s, spot, true)
		}
		return
	}
	if site.Kind != evidence.SiteSyscall {
		return
	}
	switch d := deedOf(s, spot); d {
	case move:
		y.moves += site.Count
	case list:
		y.lists += site.Count
	case shut:
		y.shuts += site.Count
	case none:
	default:
		y.add(i, d, s, spot, false)
	}
}

// deedOf says what a system call is for.
func deedOf(s evidence.Stack, spot derive.Spot) deed {
	if spot.Syscall == "readlen" {
		if _, ok := derive.Has(s, "syscall.forkExec"); ok {
			return process
		}
		return none
	}
	if spot.Moves() {
		if _, ok := derive.Has(s, "net.(*netFD).Read", "net.(*netFD).Write"); ok {
			return move
		}
		return none
	}
	if spot.Syscall == "close" && connected(s) {
		return shut
	}
	d := deedOfCall[spot.Syscall]
	if (d == lookup || d == open) && made(s, spot) {
		return none
	}
	return d
}

// connected reports whether a call is for a connection: what closes one is whoever uses it last, a read for instance.
func connected(s evidence.Stack) bool {
	for _, f := range s.All() {
		if strings.HasPrefix(f.Function, "net.(*netFD).") || strings.HasPrefix(f.Function, "net.(*conn).") {
			return true
		}
	}
	return false
}

// made reports whether a file is looked up or opened by one of the makers, or on a walk.
func made(s evidence.Stack, spot derive.Spot) bool {
	if _, ok := derive.Has(s, walkers...); ok {
		return true
	}
	for i := range max(spot.User, 0) {
		name := s.At(i).Function
		for _, m := range makers {
			prefix, open := strings.CutSuffix(m, "*")
			if name == m || (open || strings.HasSuffix(m, ".")) && strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return false
}

// add counts the calls of a site for the function of the program that makes them, or that has started the goroutine that does.
func (y *churn) add(i int, d deed, s evidence.Stack, spot derive.Spot, tries bool) {
	site := &y.t.Line.Sites[i]
	frame, ok := y.t.Frame(spot, spot.User)
	started := false
	if !ok {
		frame, ok = y.starter(site)
		started = true
	}
	if !ok {
		return
	}
	if d == open {
		d = lookup // a file that is opened was looked for
	}
	k := key{frame.Function, d}
	n, known := y.index[k]
	if !known {
		n = len(y.places)
		y.index[k] = n
		y.places = append(y.places, place{deed: d, first: site.FirstNS, last: site.LastNS, started: started})
	}
	l := &y.places[n]
	l.testing = l.testing || y.tests(s, site)
	l.first, l.last = min(l.first, site.FirstNS), max(l.last, site.LastNS)
	if tries {
		l.tries += site.Count
		return
	}
	if site.Count > l.most {
		l.most, l.frame = site.Count, frame
	}
	l.sites = append(l.sites, i)
	l.count += site.Count
	l.total += site.TotalNS
	l.load = addLoads(l.load, site.Load)
	l.request = l.request || serves(s)
	l.top = append(l.top, site.Top...)
}

func addLoads(a, b []uint32) []uint32 {
	for i, v := range b {
		if i >= len(a) {
			a = append(a, 0)
		}
		a[i] += v
	}
	return a
}

// starter is the line of the program that had the goroutine started that makes the calls of a site: net/http dials in a goroutine.
func (y *churn) starter(site *evidence.Site) (evidence.Frame, bool) {
	for _, share := range site.Top {
		a, ok := y.t.Line.Actor(share.Goroutine)
		if !ok || a.Spawn < 0 || a.Spawn >= len(y.t.Line.Spawns) {
			continue
		}
		s := y.c.Stack(y.t.Line.Spawns[a.Spawn].Stack)
		if at, ok := y.f.UserFrame(s); ok {
			return s.At(at), true
		}
	}
	return evidence.Frame{}, false
}

// requestRoots are functions that serve one request.
var requestRoots = []string{"net/http.(*conn).serve", "net/http.(*http2serverConn).runHandler", "net/rpc.(*service).call",
	"google.golang.org/grpc.(*Server).handleStream"}

// serves reports whether a stack is that of a request.
func serves(s evidence.Stack) bool {
	_, ok := derive.Has(s, requestRoots...)
	return ok
}

// tests reports whether package testing runs what is on a stack, or has had its goroutine started.
func (y *churn) tests(s evidence.Stack, site *evidence.Site) bool {
	stacks := []evidence.Stack{s}
	for _, share := range site.Top {
		if a, ok := y.t.Line.Actor(share.Goroutine); ok && a.Spawn >= 0 && a.Spawn < len(y.t.Line.Spawns) {
			stacks = append(stacks, y.c.Stack(y.t.Line.Spawns[a.Spawn].Stack))
		}
	}
	return slices.ContainsFunc(stacks, func(s evidence.Stack) bool {
		for _, f := range s.All() {
			if strings.HasPrefix(f.Function, "testing.") {
				return true
			}
		}
		return false
	})
}

// covered is the share of the slices in the window of a place in which its calls occurred.
func (y *churn) covered(l *place) float64 {
	if y.t.Line.SliceNS <= 0 {
		return 1
	}
	return derive.CoveredSlices(l.load, l.first, l.last, y.t.Line.SliceNS)
}

// judge reports the places that are over a threshold, those with the most calls first.
func (y *churn) judge() {
	slices.SortStableFunc(y.places, func(a, b place) int { return cmp.Compare(b.count, a.count) })
	var dials uint64
	for i := range y.places {
		l := &y.places[i]
		if l.deed == accept {
			l.count -= min(l.count, l.tries)
		}
		if l.deed == dial {
			dials += l.count
		}
	}
	for i := range y.places {
		if l := &y.places[i]; y.fires(l, dials) {
			y.report(l)
		}
	}
}

// fires says whether a place is over its threshold, and why not.
func (y *churn) fires(l *place, dials uint64) bool {
	if l.most == 0 || float64(l.windowNS()) < y.p.Limit("trace-span")*1e9 || l.rate() < y.fewest(l) {
		return false
	}
	what := derive.Short(l.frame.Function)
	switch {
	case y.t.Line.ShareOf(uint64(l.windowNS())) < y.p.Limit("window"), y.covered(l) < y.p.Limit("slices"):
		y.p.Silent("%s %s %s times a second, for %s only", what, verbs[l.deed], derive.Amount(l.rate()), derive.Lasting(l.windowNS()))
	case l.testing:
		y.p.Silent("%s runs in a test, which sets up and tears down by trade", what)
	case (l.deed == dial || l.deed == accept) && float64(y.moves) > y.p.Limit("exchanges")*float64(max(l.count, dials)*y.sides()):
		y.p.Silent("%s %s %s connections a second, with %.0f reads and writes for each: that may be more than one exchange", what, verbs[l.deed],
			derive.Amount(l.rate()), float64(y.moves)/float64(max(l.count, dials)*y.sides()))
	case (l.deed == dial || l.deed == accept) && float64(y.shuts) < y.p.Limit("closes")*float64(max(l.count, dials)*y.sides()):
		y.p.Silent("%s %s %s connections a second, and %d of all connections were closed: the others live on", what, verbs[l.deed],
			derive.Amount(l.rate()), y.shuts)
	case l.deed == accept && dials*2 > l.count:
		y.p.Silent("the connections that %s accepts are dialled by the same process: that is where to look", what)
	case l.deed == lookup && float64(y.lists) >= y.p.Limit("listing-share")*float64(l.count):
		y.p.Silent("%s looks up %s files a second, and the program reads directories: it walks a tree", what, derive.Amount(l.rate()))
	default:
		return true
	}
	return false
}

// sides is 2 when the process both dials and accepts: then it has both ends of its connections.
func (y *churn) sides() uint64 {
	var dials, accepts bool
	for i := range y.places {
		dials = dials || y.places[i].deed == dial && y.places[i].count > 0
		accepts = accepts || y.places[i].deed == accept && y.places[i].count > 0
	}
	if dials && accepts {
		return 2
	}
	return 1
}

func (y *churn) fewest(l *place) float64 {
	switch {
	case l.deed == dial:
		return y.p.Limit("dials")
	case l.deed == accept:
		return y.p.Limit("accepts")
	case l.deed == process:
		return y.p.Limit("processes")
	case l.request:
		return y.p.Limit("request-lookups")
	}
	return y.p.Limit("lookups")
}
