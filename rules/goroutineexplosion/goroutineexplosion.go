// Package goroutineexplosion recognises a go statement that starts goroutines faster than they can end.
//
// A goroutine per event, per retry, per message: cheap, until what they all need has fewer places than there are goroutines.
// Then every new one queues behind the others, memory grows with the backlog, and nothing tells the producer to slow down.
//
// One core cannot tell growth from size. What it can tell: one go statement has most of the goroutines of the program; they
// are not idle, but wait to send, to enter, for a lock or for a processor; and goroutine ids are handed out in order, so the
// highest one says how many have ended.
package goroutineexplosion

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is goroutine-explosion.
var Rule = &diagnosis.Rule{
	Name:  "goroutine-explosion",
	Class: "goroutine-explosion",
	Doc: &diagnosis.Doc{
		Title: "Goroutines are started faster than they can end",
		Sees: "One go statement whose living goroutines are a thousand or more and most of the program's, and which wait in one place for " +
			"something scarce (a send, a semaphore, a lock, one token channel) or for a processor. The ids tell how many were " +
			"started in all.\n\n" +
			"In an execution trace: a go statement whose goroutines become more and more until the end, of which few have ended, and where they " +
			"stand; the finding has both rates and the line that lets them go on.",
		Hurts: "Every waiting goroutine keeps its stack and all it refers to. Memory grows with the backlog, latency with its length, and " +
			"the process ends in an out-of-memory kill.",
		Confirm: "Compare the count in two dumps (/debug/pprof/goroutine?debug=1), or plot go_goroutines.",
		Fix: "Bound the number before the go statement, not inside the goroutine: a fixed set of workers on a channel, " +
			"errgroup.SetLimit, or a semaphore that the producer takes. Let the producer wait, or drop what is too much.",
		Not: "Ten thousand connections in IO wait, a pool of workers that waits for work, sleepers and tickers: they are idle, not " +
			"queued. A batch whose starter waits for it in a WaitGroup has a known size. Goroutines that wait for ever, each for its own thing, are a leak and not an explosion. In a trace: pools, subscribers and connections " +
			"that are started over time but idle, tests that start thousands and join them, a fan-out that is in flight when the trace ends; sleepers that the end of a context has just woken are no " +
			"more than a remark.",
		Before: "for ev := range events {\n\tgo deliver(ev) // whatever the receiver can take\n}",
		After:  "var g errgroup.Group\ng.SetLimit(64)\nfor ev := range events {\n\tg.Go(func() error { return deliver(ev) })\n}",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindSyncs, evidence.KindGoroutines, evidence.KindTimeline},
	Limits: []diagnosis.Limit{
		{Name: "min-goroutines", Doc: "living goroutines of one go statement", Default: 1000,
			Origin: "pools and fan-outs that somebody planned have fewer, or are idle"},
		{Name: "min-share", Doc: "share of the program's goroutines that this go statement must have started", Default: 0.5,
			Origin: "under half, it is one of several crowds and not the one that explodes"},
		{Name: "min-queued", Doc: "share of its goroutines that must queue for something", Default: 0.5,
			Origin: "under half, most of them work or idle"},
		{Name: "min-alive", Doc: "share of all goroutines ever started that must be alive, to call the growth likely", Default: 0.5,
			Origin: "in steady operation most have ended long since; an execution trace asks for 0.9 of those it saw start"},
		{Name: "critical-goroutines", Doc: "goroutines of one go statement from which it is critical", Default: 100000,
			Origin: "at 2 to 8 KB of stack and as much of heap, about a gigabyte"},
		{Name: "min-live", Doc: "of a trace: goroutines of one go statement that it saw start and that are alive at its end", Default: 300,
			Origin: "textbook programs; a pool or a test's fan-out that is smaller is common"},
		{Name: "max-ended", Doc: "of a trace: share of those started that may have ended", Default: 0.5,
			Origin: "above, more end than stay, and what is alive is the length of their lives"},
		{Name: "few-ended", Doc: "of a trace: the same, to call it likely", Default: 0.1, Origin: "textbook programs"},
		{Name: "min-rise", Doc: "of a trace: share of the living by which they must have become more in the second half of the time", Default: 0.2,
			Origin: "steady growth gives 0.5; a number that has settled gives 0"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfOrigins, derive.OfTimeline, derive.OfGrowth},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	both := derive.NewBeside(p, diagnosis.RoleCreator)
	defer both.Flush()
	if p.Case.Timeline != nil { // it knows growth from size; a core beside it has more to tell
		if err := overTime(p, both); err != nil || p.Case.Scheduler == nil {
			return err
		}
	}
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	origins, err := diagnosis.Of(p, derive.OfOrigins)
	if err != nil {
		return err
	}
	x := &explosion{p: p, both: both, c: p.Case, f: frames, origins: origins}
	p.Silent("no go statement has %g living goroutines", p.Limit("min-goroutines"))
	for i := range origins.List {
		o := &origins.List[i]
		if float64(o.Count) < p.Limit("min-goroutines") {
			break // the list is sorted
		}
		x.judge(*o)
	}
	return nil
}

func overTime(p *diagnosis.Pass, both *derive.Beside) error {
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	growths, err := diagnosis.Of(p, derive.OfGrowth)
	if err != nil {
		return err
	}
	(&course{p: p, both: both, c: p.Case, t: t, line: t.Line}).judge(growths)
	return nil
}
