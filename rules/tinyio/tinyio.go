// Package tinyio recognises reads and writes of a byte or a few.
//
// A parser asks for its input byte by byte, fmt.Fscanf is given a bare file, an exporter writes each field by itself: the buffer
// that everybody takes for granted is missing, or was taken out. Each byte costs a system call, half a microsecond and more of
// processor time in the kernel, and with a socket a packet.
//
// A core shows that a goroutine is in a read of one byte, and how long its buffer is; how often it does that is not in it. A
// goroutine that is parked in such a read is as likely an idle connection that waits for a type byte, so only goroutines that
// are caught in the call itself count, and the counters of system calls support it.
//
// An execution trace has it the other way round: how often a line reads or writes and how long a call takes, and not how much it moves. A
// byte and a page take about as long. What tells them apart is what lies between the program and the call: a buffer or a copying loop of the
// library, or functions that go byte by byte. Where neither is on the stack it stays a possibility, unless a core of the same process
// shows the length.
package tinyio

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is tiny-io.
var Rule = &diagnosis.Rule{
	Name:  "tiny-io",
	Class: "tiny-io",
	Doc: &diagnosis.Doc{
		Title: "One system call per byte or few bytes",
		Sees: "Goroutines that are inside a read or write (in the system call, or between two) whose buffer holds a few bytes, however many " +
			"wrappers lie between it and the program. The program's own call is blamed. The system call counters of the " +
			"processors make it likely. In an execution trace: lines at which one goroutine makes more than twenty thousand short reads or " +
			"writes a second without a buffer of the library in between; the size itself is not in a trace. Lines of the same goroutines are one finding.",
		Hurts:   "A system call costs as much as copying some kilobytes: throughput drops a hundredfold and a processor is spent in the kernel.",
		Confirm: "strace -c -f on the living process, or an execution trace: the number of reads or writes per second and their sizes.",
		Fix: "Put a bufio.Reader or bufio.Writer around the file or connection (and flush it), or read larger pieces and parse them in " +
			"memory. For fmt.Fscan and its kin pass a bufio.Reader.",
		Not: "A goroutine that is parked in a one-byte read waits for input and does not loop: idle connections, net/http's background " +
			"read, wake-up pipes, prompts. Reads by the standard library for itself (os/exec waiting for its child) are left out. In a trace " +
			"whatever goes through bufio, io.Copy, ReadAt or a library that decides for itself is left out, calls of more than ten " +
			"microseconds, and conversations that wait for each answer.",
		Before: "var b [1]byte\nfor {\n\tif _, err := conn.Read(b[:]); err != nil {\n\t\treturn err\n\t}\n\tparse(b[0])\n}",
		After:  "in := bufio.NewReader(conn)\nfor {\n\tb, err := in.ReadByte()\n\tif err != nil {\n\t\treturn err\n\t}\n\tparse(b)\n}",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindTransfers | evidence.KindScheduler,
		evidence.KindGoroutines | evidence.KindTransfers,
		evidence.KindTimeline,
		evidence.KindGoroutines | evidence.KindThreads}, // of a core without transfers one can say that there are none
	Limits: append([]diagnosis.Limit{
		{Name: "max-bytes", Doc: "length of the buffer up to which a transfer is tiny", Default: 8,
			Origin: "a machine word: numbers and runes that are read one by one; a buffered reader asks for 4096 bytes"},
		{Name: "calls-per-second", Doc: "system calls per second on the busiest processor that support a loop", Default: 20000,
			Origin: "the rate from which an execution trace calls it tiny I/O; measured: one-byte reads 1,900,000, HTTP server under load 190,000"},
		{Name: "min-callers", Doc: "goroutines caught in the call at one line that make it likely without counters", Default: 2,
			Origin: "a system call takes a microsecond: to catch two by chance they must be frequent"},
	}, traceLimits...),
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfRates, derive.OfTimeline},
	Run:  run,
}

// ownReads are functions of the standard library that read or write a few bytes for a reason, and rarely (Go 1.21 to 1.26).
var ownReads = []string{
	"net/http.(*connReader).backgroundRead", // one byte, to notice that a client hung up
	"syscall.forkExec",                      // the child's errno, 8 bytes
	"os/exec.(*Cmd).Start",
	"os.(*Process).pidfdWait",
	"os/signal.loop",
	"crypto/rand.Read",
}

// site is what happens at one line of the program.
type site struct {
	frame  evidence.Frame
	helper evidence.Frame // a method of the program that only hands on what it was given; none: zero
	write  bool
	length int64 // the longest
	active int   // caught in the call
	parked int   // waiting for the descriptor
	first  evidence.Goroutine
	rows   []evidence.Ref
	refs   []evidence.Ref // transfers
	callee string
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
	if t.Line != nil { // a core of the same process adds the sizes
		if found := runTrace(p, frames, t); found || len(p.Case.Transfers) == 0 {
			return nil
		}
	}
	rates, err := diagnosis.Of(p, derive.OfRates)
	if err != nil {
		return err
	}
	sites, tiny := sitesOf(p, frames)
	switch {
	case tiny == 0 && t.Line != nil: // the trace has the word
	case tiny == 0:
		p.Silent("no read or write in progress asks for %g bytes or less", p.Limit("max-bytes"))
	default:
		p.Silent("%d goroutines wait in a tiny read or write, none was caught at it: that is how an idle connection looks", tiny)
	}
	for i := range sites {
		if sites[i].active > 0 {
			p.Report(finding(p, &sites[i], rates))
		}
	}
	return nil
}

// sitesOf groups the tiny transfers by the program's line, most goroutines first, and counts them.
func sitesOf(p *diagnosis.Pass, frames *derive.Frames) (sites []site, tiny int) {
	type key struct {
		function string
		line     int
		write    bool
	}
	index := map[key]int{}
	for i, t := range p.Case.Transfers {
		if t.Length < 1 || float64(t.Length) > p.Limit("max-bytes") {
			continue
		}
		g, ok := p.Case.Goroutines().ByID(t.Goroutine)
		if !ok {
			continue
		}
		s := p.Case.Stack(g.Stack)
		at, ok := frames.UserFrameFrom(s, min(max(t.Depth, 0), s.Len()))
		if _, own := derive.Has(s, ownReads...); !ok || own {
			continue
		}
		tiny++
		inner := at
		at = beyondForwarder(frames, s, at)
		f := s.At(at)
		k := key{f.Function, f.Line, t.Write}
		n, known := index[k]
		if !known {
			n = len(sites)
			index[k] = n
			sites = append(sites, site{frame: f, write: t.Write, first: g, callee: t.Function})
			if inner > 0 {
				sites[n].callee = s.At(inner - 1).Function
			}
			if inner != at {
				sites[n].helper = s.At(inner)
			}
		}
		sites[n].add(g, t, i)
	}
	slices.SortStableFunc(sites, func(a, b site) int { return cmp.Compare(b.active, a.active) })
	return sites, tiny
}

// forwards are the methods of readers and writers that wrap one another, as of package io.
var forwards = map[string]bool{"Read": true, "Write": true, "ReadByte": true, "WriteByte": true, "WriteString": true, "ReadFrom": true,
	"WriteTo": true, "ReadAt": true, "WriteAt": true, "Flush": true}

// beyondForwarder is the frame to blame: the caller of a method that hands its argument on to a method of the same kind. How
// much is read at once was decided there.
func beyondForwarder(frames *derive.Frames, s evidence.Stack, at int) int {
	for at > 0 && handsOn(derive.BaseName(s.At(at).Function), derive.BaseName(s.At(at-1).Function)) {
		next, ok := frames.UserFrameFrom(s, at+1)
		if !ok || frames.Owner(s.FrameID(next)) != derive.OwnerUser {
			return at
		}
		at = next
	}
	return at
}

// handsOn reports whether a method and what it calls are of one direction: WriteByte calls Write.
func handsOn(method, callee string) bool {
	return forwards[method] && forwards[callee] && method[:4] == callee[:4]
}

// maxRefs bounds how many goroutines and transfers a finding names.
const maxRefs = 20

func (s *site) add(g evidence.Goroutine, t evidence.Transfer, index int) {
	s.length = max(s.length, t.Length)
	if g.State == evidence.StateWaiting {
		s.parked++
	} else if s.active++; s.active == 1 {
		s.first = g
	}
	if len(s.rows) < maxRefs {
		s.rows = append(s.rows, g.Ref())
		s.refs = append(s.refs, evidence.Ref{Kind: evidence.RefTransfer, ID: uint64(index)})
	}
}

func finding(p *diagnosis.Pass, s *site, r derive.Rates) diagnosis.Finding {
	verb, end := "reads", "read"
	if s.write {
		verb, end = "writes", "write"
	}
	who := fmt.Sprintf("goroutine %d", s.first.ID)
	if n := s.active + s.parked; n > 1 {
		who, verb = fmt.Sprintf("%d goroutines", n), end
	}
	f := diagnosis.Finding{
		Subject: s.first.Ref(), Victims: s.rows, Affected: s.active + s.parked,
		Claim:      fmt.Sprintf("%s %s %s with one system call, in %s", who, verb, amount(s.length), derive.Short(s.frame.Function)),
		Because:    because(s, end),
		Locations:  s.locations(),
		Fix:        readFix,
		Confidence: diagnosis.Possible,
		Severity:   diagnosis.Warning,
		Settle:     "a core shows a call and not a rate: strace -c or an execution trace counts the calls per second",
		Next:       []string{"strace -f -c -e trace=read,write,recvfrom,sendto -p PID for some seconds, on the living process"},
	}
	if s.write {
		f.Fix = writeFix
	}
	fast := r.Known && r.Syscalls >= p.Limit("calls-per-second")
	if r.Known {
		reason := diagnosis.Reason{Refs: r.Refs, Text: fmt.Sprintf(
			"the busiest processor has made %d system calls in %.1f s, about %.0f a second", r.Calls, r.Seconds, r.Syscalls)}
		if fast {
			f.Because = append(f.Because, reason)
		} else {
			f.Against = append(f.Against, reason)
		}
	}
	switch {
	case fast, !r.Known && s.active >= int(p.Limit("min-callers")):
		f.Confidence = diagnosis.Likely
	case s.active < int(p.Limit("min-callers")):
		f.Severity = diagnosis.Info // one call at one moment
	}
	if f.Confidence == diagnosis.Possible {
		f.Against = append(f.Against, diagnosis.Reason{Text: "how often the call is made is not in this evidence; it may wait for input that rarely comes"})
	}
	return f
}

// The fixes, by direction.
const (
	readFix = "Put a bufio.Reader around the file or connection, once, where it is opened, or read larger pieces and parse them in memory. For " +
		"fmt.Fscan and its kin pass a bufio.Reader: fmt reads rune by rune."
	writeFix = "Put a bufio.Writer around the file or connection, once, where it is opened, and flush it at the end of a record or a batch and " +
		"before Close; or build the whole record in memory and write it with one call."
)

// locations are the call of the program, and the method of the program that handed it on.
func (s *site) locations() []diagnosis.Location {
	role := diagnosis.RoleReader
	if s.write {
		role = diagnosis.RoleWriter
	}
	list := []diagnosis.Location{{Role: role, Frame: s.frame, Ref: s.first.Ref()}}
	if s.helper.Function != "" {
		list = append(list, diagnosis.Location{Role: role, Frame: s.helper, Ref: s.first.Ref()})
	}
	return list
}

func because(s *site, end string) []diagnosis.Reason {
	text := fmt.Sprintf("%d goroutines are in a %s of %s through %s", s.active, end, amount(s.length), s.callee)
	if s.active == 1 {
		text = fmt.Sprintf("a goroutine is in a %s of %s through %s", end, amount(s.length), s.callee)
	}
	if s.parked > 0 {
		text += fmt.Sprintf("; %d more wait for the descriptor at the same line", s.parked)
	}
	return []diagnosis.Reason{{Text: text, Refs: append(s.refs[:min(len(s.refs), 5):min(len(s.refs), 5)], s.rows[0])}}
}

func amount(n int64) string {
	if n == 1 {
		return "one byte"
	}
	return fmt.Sprintf("at most %d bytes", n)
}
