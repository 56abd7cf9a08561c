// Package goroutineleak recognises goroutines that can never wake, and for which nobody waits.
//
// A goroutine that is blocked on an object which nothing that can still run reaches stays blocked: readers of cores decide that by
// reachability (see evidence.Proof), and a finding made from it is proved. Whether it is a leak or a deadlock is another question:
// when main, a pending wait or the waiter of a lock depends on the goroutine, the process hangs, and the rules for deadlocks tell.
// A leak is what piles up while everything else goes on.
//
// Without a proof, a crowd that has waited for long, each goroutine on a channel of its own, is a possibility.
package goroutineleak

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is goroutine-leak.
var Rule = &diagnosis.Rule{
	Name:  "goroutine-leak",
	Class: "goroutine-leak",
	Doc: &diagnosis.Doc{
		Title: "Goroutines pile up that nothing will ever wake",
		Sees: "Goroutines blocked on a channel, a select, a lock, a wait group or a condition that nothing which can still run reaches: in a " +
			"core that is proved by walking the heap as the garbage collector does, and the runtime's own leak detector (Go 1.26) " +
			"confirms where it has run. They are grouped by the go statement and by the line on which they are blocked.\n\n" +
			"Where there is no proof (a goroutine dump, a core with holes) or something still refers to them, hundreds that have waited " +
			"for minutes on one line, each for a channel of its own, are reported as a possibility; so are several that wait each for a lock " +
			"of its own that nobody is seen to hold.\n\n" +
			"In an execution trace: goroutines of one go statement that become more and more, and wait at one line where none was ever woken, or " +
			"where others were served in a fraction of the time that these have waited; and senders whose starters have all gone. Receivers are more than a remark only when none has ended, whoever started them is gone, and no " +
			"connections of the program's own code became more with them. Goroutines that a library starts are told at the line that called it. It is never proved " +
			"from a trace alone.",
		Hurts: "Each keeps its stack and all it refers to until the process ends. With one per request or per event, memory grows without a " +
			"bound, collections take longer, and the process ends in an out-of-memory kill.",
		Confirm: "Compare the count in two dumps (/debug/pprof/goroutine?debug=1). With Go 1.26 and GOEXPERIMENT=goroutineleakprofile, " +
			"/debug/pprof/goroutineleak lists them in a living process. `postmortem why goroutine:N FILE` says what keeps one reachable.",
		Fix: "Give every goroutine a way to end before it is started: a buffered channel for a result that may not be read, a select with " +
			"ctx.Done() around each send and receive, a close of every channel that somebody ranges over, on all paths.",
		Not: "Idle connections, workers of one channel that somebody holds, subscribers, tickers, long polls: something that can still run " +
			"reaches what they wait for. The main goroutine in its own select{} is meant to stay there. Goroutines that main or the waiter " +
			"of a lock depends on are a deadlock. A few that leaked " +
			"once are a remark, and so is a pool of workers that nobody can give work to any more.",
		Before: "func first(ctx context.Context, hosts []string) (r Result, err error) {\n\tanswers := make(chan Result)\n\tfor _, h := range hosts {\n" +
			"\t\tgo func() { answers <- ask(h) }() // all but one send for ever\n\t}\n\treturn <-answers, nil\n}",
		After: "func first(ctx context.Context, hosts []string) (r Result, err error) {\n\tanswers := make(chan Result, len(hosts)) // a place for each\n" +
			"\tfor _, h := range hosts {\n\t\tgo func() { answers <- ask(h) }()\n\t}\n\treturn <-answers, nil\n}",
		Since: "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindProof, evidence.KindGoroutines},
	Limits: []diagnosis.Limit{
		{Name: "warning-goroutines", Doc: "goroutines of one go statement and line, proved to be lost, from which it is a warning", Default: 10,
			Origin: "fewer come from what runs once (set-up, a test, a reload) more often than from each request; they are a remark"},
		{Name: "warning-mib", Doc: "memory that they alone keep, in MiB, from which it is a warning", Default: 10,
			Origin: "about what a small service has in all"},
		{Name: "critical-goroutines", Doc: "goroutines of one go statement and line, proved to be lost, from which it is critical", Default: 1000,
			Origin: "as min-goroutines of goroutine-explosion: what somebody planned has fewer"},
		{Name: "critical-mib", Doc: "memory that they alone keep, in MiB, from which it is critical", Default: 256,
			Origin: "half of a common memory limit of a container (512 MiB)"},
		{Name: "suspect-goroutines", Doc: "goroutines of one go statement and line, without a proof, from which they are suspected", Default: 200,
			Origin: "sets of goroutines that somebody planned, each with a channel of its own, are smaller as a rule"},
		{Name: "suspect-seconds", Doc: "how long the oldest of them must have waited, in seconds", Default: 300,
			Origin: "longer than timeouts of requests (30 s to 120 s in common servers and proxies)"},
		{Name: "suspect-locks", Doc: "locks that are held and that nobody is seen to hold, each with a waiter from one go statement and line", Default: 3,
			Origin: "one holder may be overlooked; that of several nobody sees one is no chance"},
		{Name: "explosion-goroutines", Doc: "from so many on, a crowd that is most of a process in evidence without addresses is left to " +
			"goroutine-explosion", Default: 1000, Origin: "min-goroutines of goroutine-explosion, which names the leak as the other reading"},
		{Name: "min-rise", Doc: "of a trace: share of the living by which they must have become more in the second half of the time", Default: 0.2,
			Origin: "as min-rise of goroutine-explosion"},
		{Name: "min-wait-ms", Doc: "of a trace: how long the oldest of them must have waited, in milliseconds", Default: 500,
			Origin: "a starter that collects from all of them has begun by then"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfOrigins, derive.OfWaitGraph, derive.OfSlots, derive.OfTimeline, derive.OfGrowth},
	Run:  run,
}

// leak is one run of the rule.
type leak struct {
	p       *diagnosis.Pass
	both    *derive.Beside
	c       *evidence.Case
	f       *derive.Frames
	origins derive.Origins
	graph   *derive.WaitGraph
	dead    map[uint32]*derive.Resource // see derive.Slots.DeadPools
	pools   map[string]bool             // their packages; filled in on demand
	main    bool                        // the main goroutine can never wake
}

func run(p *diagnosis.Pass) error {
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	origins, err := diagnosis.Of(p, derive.OfOrigins)
	if err != nil {
		return err
	}
	graph, err := diagnosis.Of(p, derive.OfWaitGraph)
	if err != nil {
		return err
	}
	slots, err := diagnosis.Of(p, derive.OfSlots)
	if err != nil {
		return err
	}
	both := derive.NewBeside(p, diagnosis.RoleCreator, diagnosis.RoleWaiter)
	defer both.Flush()
	l := &leak{p: p, both: both, c: p.Case, f: frames, origins: origins, graph: graph, dead: slots.DeadPools()}
	l.silence()
	if p.Case.Timeline != nil { // it knows who was woken and what grew; a core beside it has more to tell
		if err := l.timeline(); err != nil {
			return err
		}
	}
	rows := l.never()
	if len(rows) > 0 {
		l.proved(rows)
	}
	if p.Case.Timeline != nil && p.Case.Scheduler == nil {
		return nil
	}
	l.suspects()
	l.keptLocks()
	return nil
}

func (l *leak) timeline() error {
	t, err := diagnosis.Of(l.p, derive.OfTimeline)
	if err != nil {
		return err
	}
	growths, err := diagnosis.Of(l.p, derive.OfGrowth)
	if err != nil {
		return err
	}
	l.overTime(t, growths)
	return nil
}

// silence says what was looked at when nothing is found; what the steps see later may say more.
func (l *leak) silence() {
	switch proof := l.c.Proof; {
	case proof == nil:
		l.p.Silent("nobody looked for goroutines that can never wake, and no crowd has waited for minutes, each for its own channel")
	case !proof.Done:
		l.p.Silent("whether goroutines can never wake is not proved (%s), and no crowd has waited for minutes, each for its own channel", proof.Refused)
	default:
		l.p.Silent("of %d goroutines that only the program itself can wake, none is lost", proof.Candidates)
	}
}

// mainID is the id of the goroutine that runs main.main (runtime/proc.go, newproc1 hands out ids from 1).
const mainID = 1

// never lists the rows of the goroutines that can never wake, by the proof or by the runtime's own detector.
func (l *leak) never() []int {
	some := false
	for _, g := range l.c.Groups() {
		some = some || g.Never > 0 || g.State == evidence.StateLeaked
	}
	if !some {
		return nil
	}
	var rows []int
	for i, g := range l.c.Goroutines().All() {
		if g.Flags.Has(evidence.FlagSystem) || g.Wake != evidence.WakeNever && g.State != evidence.StateLeaked {
			continue
		}
		l.main = l.main || g.ID == mainID
		rows = append(rows, i)
	}
	return rows
}

// maxFindings bounds the sites that are told one by one; the first says how many more there are.
const maxFindings = 20

func (l *leak) proved(rows []int) {
	sites, behind := l.sites(rows)
	if len(sites)+len(behind) == 0 {
		l.p.Silent("%d goroutines can never wake, and others wait for them or they for each other: a deadlock and not a leak", len(rows))
		return
	}
	all := slices.Concat(sites, behind)
	var more rest
	for _, s := range all[min(len(all), maxFindings):] {
		more.sites++
		more.goroutines += s.count
	}
	for i, s := range all[:min(len(all), maxFindings)] {
		if i > 0 {
			more = rest{}
		}
		l.both.Report(l.finding(s, more))
	}
}

// rest are the sites that have no finding of their own.
type rest struct{ sites, goroutines int }
