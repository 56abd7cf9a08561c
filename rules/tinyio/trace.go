package tinyio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// traceLimits are the thresholds for execution traces.
var traceLimits = []diagnosis.Limit{
	{Name: "trace-span", Doc: "seconds that a trace, and the calls at a line, must last", Default: 0.1, Origin: "in less, the start of a program is all there is"},
	{Name: "trace-calls", Doc: "reads or writes a second at one line by one goroutine", Default: 20000,
		Origin: "separated ill textbook programs from healthy ones; measured: one-byte reads 1,000,000 a second"},
	{Name: "trace-plain-calls", Doc: "the same where nothing on the stack says that it goes byte by byte", Default: 50000,
		Origin: "of 4 KiB each they were 200 MB a second, which few keep up; measured: proxies 20,000 a second, small records without a buffer 140,000 and more"},
	{Name: "trace-call-ns", Doc: "nanoseconds that half of these calls may take at most", Default: 10000,
		Origin: "separated ill textbook programs from healthy ones"},
	{Name: "trace-plain-ns", Doc: "the same where nothing on the stack says that it goes byte by byte", Default: 2000,
		Origin: "measured: one byte 250 to 830 ns, 4 KiB 600 to 1,500 ns, 64 KiB 3 us and more (Go 1.22 to 1.26, page cache and loopback)"},
	{Name: "trace-waits", Doc: "waits of the goroutine for connections, for each of the calls, from which it is a conversation", Default: 0.1,
		Origin: "a message that is waited for takes two reads and a wait; a parser waits once in some hundred calls"},
	{Name: "trace-window", Doc: "share of the span in which the calls must go on", Default: 0.1, Origin: "less is an episode, the reading of a configuration for instance"},
}

// manner is what the frames between the program and the system call say about the size.
type manner uint8

const (
	plain    manner = iota // the program reads or writes as much as it likes
	bytewise               // a byte, a rune, a field
	buffered               // a buffer or a copying loop of the library lies between
)

// stream is the calls at one line of the program, in one direction.
type stream struct {
	frame  evidence.Frame
	helper evidence.Frame // a method of the program that only hands on what it was given; none: zero
	write  bool
	manner manner
	callee string
	sites  []int
	count  uint64
	total  uint64
	hist   evidence.Histogram
	top    map[int64]uint64
	first  int64
	last   int64
	bench  bool
	size   int64 // from a core of the same process: the longest, 0 when not known
	sized  int   // transfers that told it
}

// traced is one run of the rule over a Timeline.
type traced struct {
	p       *diagnosis.Pass
	c       *evidence.Case
	f       *derive.Frames
	t       *derive.Timeline
	streams []stream
	index   map[streamKey]int
	groups  [][]*stream      // what is told, a finding each
	waits   map[int64]uint64 // of goroutines, for connections
}

type streamKey struct {
	function string
	line     int
	write    bool
}

// runTrace looks at a Timeline, and reports whether it has found something.
func runTrace(p *diagnosis.Pass, f *derive.Frames, t *derive.Timeline) bool {
	y := &traced{p: p, c: p.Case, f: f, t: t, index: map[streamKey]int{}, waits: map[int64]uint64{}}
	if float64(t.Line.SpanNS) < p.Limit("trace-span")*1e9 {
		p.Silent("the trace spans %s, which is too short", derive.Lasting(t.Line.SpanNS))
		return false
	}
	p.Silent("no goroutine makes %g reads or writes a second at one line", p.Limit("trace-calls"))
	for i := range t.Line.Sites {
		y.site(i)
	}
	y.transfers()
	slices.SortStableFunc(y.streams, func(a, b stream) int { return cmp.Compare(b.count, a.count) })
	for i := range y.streams {
		if s := &y.streams[i]; y.judge(s) {
			y.join(s)
		}
	}
	for _, g := range y.groups {
		p.Report(y.finding(g))
	}
	return len(y.groups) > 0
}

// join adds a stream to those of the same goroutines in the same direction: they lack the same buffer.
func (y *traced) join(s *stream) {
	for i, g := range y.groups {
		if g[0].write == s.write && slices.ContainsFunc(g, func(o *stream) bool { return o.together(s) }) {
			y.groups[i] = append(g, s)
			return
		}
	}
	y.groups = append(y.groups, []*stream{s})
}

// together reports whether a goroutine is named with both streams.
func (s *stream) together(o *stream) bool {
	for g := range s.top {
		if _, ok := o.top[g]; ok {
			return true
		}
	}
	return false
}

// site adds a site: a system call that moves bytes, or a wait for a connection.
func (y *traced) site(i int) {
	site, spot := &y.t.Line.Sites[i], y.t.Site(i)
	if site.Kind == evidence.SiteBlock && site.Reason == "network" {
		for _, share := range site.Top {
			y.waits[share.Goroutine] += share.Count
		}
		return
	}
	if site.Kind != evidence.SiteSyscall || !spot.Moves() || spot.Own || spot.User < 0 {
		return
	}
	s := y.c.Stack(site.Stack)
	if _, own := derive.Has(s, ownReads...); own {
		return
	}
	at := beyondForwarder(y.f, s, spot.User)
	key := streamKey{s.At(at).Function, s.At(at).Line, writes(spot)}
	n, ok := y.index[key]
	if !ok {
		n = len(y.streams)
		y.index[key] = n
		y.streams = append(y.streams, stream{frame: s.At(at), write: key.write, manner: y.mannerOf(s, spot.User),
			top: map[int64]uint64{}, first: site.FirstNS})
		if at != spot.User {
			y.streams[n].helper = s.At(spot.User)
		}
	}
	y.streams[n].add(site, i)
	y.streams[n].bench = y.streams[n].bench || benchmarked(s, at)
	if spot.User > 0 {
		y.streams[n].callee = s.At(spot.User - 1).Function
	}
}

// benchmarked reports whether the line stands in the body of a benchmark.
func benchmarked(s evidence.Stack, at int) bool {
	return at+1 < s.Len() && strings.HasPrefix(s.At(at+1).Function, "testing.(*B).")
}

// writes reports the direction of a call.
func writes(spot derive.Spot) bool {
	return strings.Contains(spot.Syscall, "write") || strings.Contains(spot.Syscall, "send")
}

func (s *stream) add(site *evidence.Site, i int) {
	s.sites = append(s.sites, i)
	s.count += site.Count
	s.total += site.TotalNS
	for k, n := range site.Hist {
		s.hist[k] += n
	}
	s.first, s.last = min(s.first, site.FirstNS), max(s.last, site.LastNS)
	for _, share := range site.Top {
		s.top[share.Goroutine] += share.Count
	}
}

// busiest is the goroutine that makes most of the calls.
func (s *stream) busiest() (id int64, count uint64) {
	for g, n := range s.top {
		if n > count || (n == count && g < id) {
			id, count = g, n
		}
	}
	return id, count
}

func (s *stream) seconds() float64 { return float64(max(s.last-s.first, 1)) / 1e9 }

// mannerOf looks at the frames between the system call and the program's line.
func (y *traced) mannerOf(s evidence.Stack, user int) manner {
	found := plain
	for i := range s.Len() {
		name := s.At(i).Function
		if bytewiseCalls[derive.BaseName(name)] || strings.HasPrefix(name, "fmt.(*readRune).") {
			found = bytewise
		}
		if i >= user {
			break
		}
		pkg := derive.Package(name)
		switch {
		case strings.HasPrefix(name, "fmt.Fprint"), strings.HasPrefix(name, "fmt.Fscan"):
			found = bytewise
		case !plainPackages[pkg] && y.f.Owner(s.FrameID(i)) == derive.OwnerStandard, bulkCalls[name]:
			return buffered
		}
	}
	return found
}

// bytewiseCalls are names of functions that move a byte, a rune or a field.
var bytewiseCalls = map[string]bool{"ReadByte": true, "WriteByte": true, "ReadRune": true, "WriteRune": true, "UnreadByte": true,
	"readByte": true, "writeByte": true, "readRune": true, "writeRune": true}

// plainPackages hand on what they are given, without a buffer of their own.
var plainPackages = map[string]bool{"os": true, "net": true, "io": true, "fmt": true, "syscall": true, "internal/poll": true,
	"internal/syscall/unix": true, "internal/runtime/syscall": true, "internal/runtime/syscall/linux": true, "encoding/binary": true}

// bulkCalls of these packages move as much as they can.
var bulkCalls = map[string]bool{"io.Copy": true, "io.CopyBuffer": true, "io.CopyN": true, "io.copyBuffer": true, "io.ReadAll": true,
	"os.ReadFile": true, "os.WriteFile": true, "os.readFileContents": true, "os.(*File).ReadFrom": true, "os.(*File).WriteTo": true,
	"os.genericReadFrom": true, "os.genericWriteTo": true, "net.genericReadFrom": true, "net.genericWriteTo": true,
	"net.(*TCPConn).ReadFrom": true, "net.(*TCPConn).WriteTo": true, "os.(*File).ReadAt": true, "os.(*File).WriteAt": true,
	"internal/poll.(*FD).Pread": true, "internal/poll.(*FD).Pwrite": true}

// transfers takes sizes from a core of the same process, where the evidence holds one.
func (y *traced) transfers() {
	for _, t := range y.c.Transfers {
		g, ok := y.c.Goroutines().ByID(t.Goroutine)
		if !ok || t.Length < 1 {
			continue
		}
		s := y.c.Stack(g.Stack)
		at, ok := y.f.UserFrameFrom(s, min(max(t.Depth, 0), s.Len()))
		if !ok {
			continue
		}
		at = beyondForwarder(y.f, s, at)
		if n, ok := y.index[streamKey{s.At(at).Function, s.At(at).Line, t.Write}]; ok {
			y.streams[n].size = max(y.streams[n].size, t.Length)
			y.streams[n].sized++
		}
	}
}

// judge reports whether a stream of calls is too fast for large ones.
func (y *traced) judge(s *stream) bool {
	id, count := s.busiest()
	rate := float64(count) / s.seconds()
	switch {
	case count == 0, s.count == 0, s.seconds() < y.p.Limit("trace-span"), rate < y.p.Limit("trace-calls"),
		float64(s.hist.Quantile(0.5)) > y.longest(s), y.t.Line.ShareOf(uint64(s.last-s.first)) < y.p.Limit("trace-window"):
	case s.size > int64(y.p.Limit("max-bytes")):
		y.p.Silent("%s makes %.0f calls a second of up to %d bytes each", derive.Short(s.frame.Function), rate, s.size)
	case s.manner == buffered && s.size == 0:
		y.p.Silent("%s makes %.0f calls a second through %s, which decides how much each moves", derive.Short(s.frame.Function), rate, s.callee)
	case float64(y.waits[id]) >= y.p.Limit("trace-waits")*float64(count):
		y.p.Silent("%s makes %.0f calls a second and waits for its peer %d times in %d: a conversation", derive.Short(s.frame.Function), rate, y.waits[id], count)
	case s.manner == plain && s.size == 0 && rate < y.p.Limit("trace-plain-calls"):
		y.p.Silent("%s makes %.0f calls a second, and nothing says that they move little: blocks are moved at that rate", derive.Short(s.frame.Function), rate)
	case s.bench:
		y.p.Silent("%s is the body of a benchmark, which goes round on purpose", derive.Short(s.frame.Function))
	default:
		return true
	}
	return false
}

// longest is how long half of the calls may take at most: a host that stands still makes some of them long.
func (y *traced) longest(s *stream) float64 {
	if s.manner == plain && s.size == 0 {
		return y.p.Limit("trace-plain-ns")
	}
	return y.p.Limit("trace-call-ns")
}

// finding tells of streams that belong together, the one with the most calls first.
func (y *traced) finding(group []*stream) diagnosis.Finding {
	s := group[0]
	end, role, fix := "reads", diagnosis.RoleReader, readFix
	if s.write {
		end, role, fix = "writes", diagnosis.RoleWriter, writeFix
	}
	id, _ := s.busiest()
	refs := siteRefs(s.sites)
	var victims []evidence.Ref
	subject := refs[0]
	if ref := evidence.GoroutineRef(id); y.c.Resolve(ref) {
		subject, victims = ref, []evidence.Ref{ref}
	}
	f := diagnosis.Finding{
		Subject: subject, Victims: victims,
		Claim:      fmt.Sprintf("goroutine %d makes %s %s a second, in %s", id, derive.Amount(rateOf(group, id)), end, derive.Short(s.frame.Function)),
		Confidence: diagnosis.Possible, Severity: diagnosis.Warning, Fix: fix,
		Settle: "the length of the buffer: a core of the living process shows it, and strace -f -e trace=read,write prints what each call moves",
		Next:   []string{"strace -f -c -e trace=read,write,recvfrom,sendto -p PID for some seconds, on the living process"},
	}
	if n := len(group) - 1; n == 1 {
		f.Claim += " and at another line"
	} else if n > 1 {
		f.Claim += fmt.Sprintf(" and at %d more lines", n)
	}
	unsized := false
	for _, s := range group {
		f.Locations = append(f.Locations, s.lines(role)...)
		if len(f.Because) < maxReasons {
			f.Because = append(f.Because, s.because()...)
		}
		if s.size > 0 || s.manner == bytewise {
			f.Confidence = diagnosis.Likely
		}
		unsized = unsized || s.size == 0
	}
	if unsized {
		f.Against = append(f.Against, diagnosis.Reason{Refs: refs, Text: "how many bytes a call moves is not in a trace: only how often it is made and how long it takes"})
	}
	return f
}

// maxReasons is from how many reasons on a finding gives no more for further lines.
const maxReasons = 6

// rateOf is how often a second a goroutine makes the calls of streams.
func rateOf(group []*stream, id int64) float64 {
	rate := 0.0
	for _, s := range group {
		rate += float64(s.top[id]) / s.seconds()
	}
	return rate
}

// because is what speaks for one line.
func (s *stream) because() []diagnosis.Reason {
	refs := siteRefs(s.sites)
	list := []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf("%d system calls through %s at line %d from %s to %s, of %s each on average: %s of a processor in the kernel",
		s.count, s.callee, s.frame.Line, derive.Lasting(s.first), derive.Lasting(s.last), derive.Lasting(int64(s.total/s.count)),
		derive.Percent(float64(s.total)/1e9/s.seconds()))}}
	switch {
	case s.size > 0:
		list = append(list, diagnosis.Reason{Refs: refs, Text: fmt.Sprintf("a core of the process shows the buffer: %s", amount(s.size))})
	case s.manner == bytewise:
		list = append(list, diagnosis.Reason{Refs: refs, Text: "what lies between the program and the call goes byte by byte or field by field"})
	}
	return list
}

// lines are the call of the program, and the method of the program that handed it on.
func (s *stream) lines(role diagnosis.Role) []diagnosis.Location {
	ref := evidence.SiteRef(s.sites[0])
	list := []diagnosis.Location{{Role: role, Frame: s.frame, Ref: ref}}
	if s.helper.Function != "" {
		list = append(list, diagnosis.Location{Role: role, Frame: s.helper, Ref: ref})
	}
	return list
}

func siteRefs(sites []int) []evidence.Ref {
	var list []evidence.Ref
	for _, i := range sites[:min(len(sites), maxSites)] {
		list = append(list, evidence.SiteRef(i))
	}
	return list
}

// maxSites is how many sites a reason cites.
const maxSites = 5
