// Package syscallchurn recognises the same set-up and tear-down calls over and over: connections that are dialled or accepted for one
// exchange, files that are looked up and opened for each request, a process for each item.
//
// One of them costs ten microseconds to a millisecond, which nobody notices once. Per request it is more than the request: a handshake and a
// port in TIME_WAIT for each question to a cache, three failed look-ups and a read for each page.
//
// A trace has the calls with their stacks, and neither names nor results: whether it is the same file or peer each time is not in it, nor
// whether a look-up failed. So the rule looks at rates, at what else the goroutines do, and leaves out those who are at it by trade: who
// walks directories, makes temporary files, or tests.
package syscallchurn

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is syscall-churn.
var Rule = &diagnosis.Rule{
	Name:  "syscall-churn",
	Class: "syscall-churn",
	Doc: &diagnosis.Doc{
		Title: "The same set-up and tear-down calls over and over",
		Sees: "Places in an execution trace that, sustained and at a high rate, dial or accept connections of a few exchanges each, look up and open files, " +
			"or start processes. The program's line is named; of a dial by a library's goroutine the line that had it started.",
		Hurts: "A handshake, a look-up or a fork for each request costs more than the request, ports stay in TIME_WAIT, and the kernel's locks are shared " +
			"with everybody else on the machine.",
		Confirm: "strace -f -c for some seconds on the living process, or ss -s for connections in TIME_WAIT; strace -f -e trace=file prints which files, and which " +
			"look-ups fail.",
		Fix: "Do it once and keep it: a connection pool or one http.Client for all requests, a file that is read at the start and again when it changes, a " +
			"worker process that is fed through a pipe.",
		Not: "Who walks directories, reads many files once, makes temporary files or runs tests and benchmarks does this by trade. Connections that carry many " +
			"exchanges are reused, however many there are, and those that stay open are clients that arrive. Processes that are started outside of a request " +
			"are a remark: a build or a supervisor does so by trade.",
		Before: "func (c *cache) get(key string) ([]byte, error) {\n\tconn, err := net.Dial(\"tcp\", c.addr)\n\tif err != nil {\n\t\treturn nil, err\n\t}\n\t" +
			"defer conn.Close()\n\treturn ask(conn, key)\n}",
		After: "func (c *cache) get(key string) ([]byte, error) {\n\tconn := <-c.idle // dialled once\n\tdefer func() { c.idle <- conn }()\n\t" +
			"return ask(conn, key)\n}",
		Since: "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindTimeline},
	Limits: []diagnosis.Limit{
		{Name: "trace-span", Doc: "seconds that a trace must span", Default: 0.1, Origin: "in less, the start of a program is all there is"},
		{Name: "window", Doc: "share of the span in which the calls must go on", Default: 0.5, Origin: "a program that starts opens and dials as well"},
		{Name: "slices", Doc: "share of the slices of their time in which the calls must occur", Default: 0.5, Origin: "separated ill textbook programs from healthy ones"},
		{Name: "dials", Doc: "connections that are dialled a second by one function", Default: 200,
			Origin: "with 28,000 ports and a minute in TIME_WAIT, 470 a second to one peer are the most that last; a client that keeps its connections dials under one a second"},
		{Name: "accepts", Doc: "connections that are accepted a second at one place", Default: 500,
			Origin: "measured: 5,000 to 8,000 a second when each carries one exchange (two processors)"},
		{Name: "exchanges", Doc: "reads and writes for each connection up to which it was for one exchange", Default: 8,
			Origin: "measured: 3 to 5 on the side of a client and as many on the side of a server, tries that found nothing included"},
		{Name: "closes", Doc: "share of the connections that must be closed meanwhile; those that live on are no churn", Default: 0.5,
			Origin: "measured: each of them where connections are for one exchange, none where clients arrive and stay"},
		{Name: "lookups", Doc: "files that are looked up or opened a second by one function", Default: 10000,
			Origin: "measured: 64,000 a second to read one small file over and over, 5,000 to read the files of a tree"},
		{Name: "request-lookups", Doc: "the same inside the handler of a request", Default: 1000,
			Origin: "each request of a loaded server looks for a file; a file server is left out"},
		{Name: "listing-share", Doc: "readings of directories for each look-up from which the program walks trees", Default: 0.002,
			Origin: "one directory of 500 files; measured: 0.02 to 0.3 for walks of a source tree"},
		{Name: "processes", Doc: "processes that are started a second by one function", Default: 50,
			Origin: "a build on two processors starts 5 to 30 a second; measured: 500 to 1,000 a second in a loop"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfTimeline},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	if float64(t.Line.SpanNS) < p.Limit("trace-span")*1e9 {
		p.Silent("the trace spans %s, which is too short", derive.Lasting(t.Line.SpanNS))
		return nil
	}
	p.Silent("no function dials, accepts, looks up files or starts processes at a high rate")
	y := &churn{p: p, c: p.Case, f: frames, t: t, index: map[key]int{}}
	for i := range t.Line.Sites {
		y.site(i)
	}
	y.judge()
	return nil
}
