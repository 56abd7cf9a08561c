// Package gcpressure recognises a collector that runs without pause because live memory is at its limit.
//
// GOMEMLIMIT (or a tiny GOGC) makes the runtime start the next collection as soon as the last one is over, when what is alive
// leaves no room below it. Goroutines that allocate must help first (mark assists), so requests slow down by factors while
// the program does nothing but count the same objects again. It looks like a hang with busy processors.
package gcpressure

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is gc-pressure.
var Rule = &diagnosis.Rule{
	Name:  "gc-pressure",
	Class: "gc-pressure",
	Doc: &diagnosis.Doc{
		Title: "The garbage collector runs without pause because live memory is at its limit",
		Sees: "Memory in use near GOMEMLIMIT, a goal hardly above what survived the last collection, many collections a second, a " +
			"collection in progress, goroutines that assist it, and the share of processor time it has taken. One sign alone is not " +
			"enough. The objects on the heap of a core are counted, so that the finding says what is kept alive.\n\n" +
			"In an execution trace: collections in progress most of the time, goroutines that help them for a good part of their running time (or " +
			"marking that takes a fifth of the processors), and goals hardly above what each collection leaves alive. The lines are those that " +
			"help, which are those that allocate. How many collections there are says nothing: a few long ones weigh as much. Or, whatever room there is: a " +
			"program that calls runtime.GC or debug.FreeOSMemory so often that the collector takes a tenth of the processors, with the line that calls it.",
		Hurts: "The collector takes up to half of the processors (the runtime caps it there), allocating goroutines work for it before " +
			"they work for themselves, and nothing is gained.",
		Confirm: "GODEBUG=gctrace=1 prints every collection with its goal and its share; `postmortem heap CORE` or a heap " +
			"profile (/debug/pprof/heap) shows what is kept alive.",
		Fix: "Find what is kept (a heap profile), bound it, or raise GOMEMLIMIT; set GOGC no lower than memory demands. Where requests " +
			"allocate much, reuse buffers (sync.Pool). The limit is a soft one: it should leave room above the live heap.",
		Not: "A program that allocates much and collects a few times a second, a collection that happens to run, a live heap near a goal " +
			"that is twice what survived: that is how the pacer works. A forced runtime.GC now and then. In a trace: the quick collections of a " +
			"start-up, a benchmark that does nothing but allocate (its goals are twice what is alive), tests and benchmarks that call runtime.GC.",
		Before: "debug.SetMemoryLimit(1 << 30) // while sessions keep 1 GiB alive",
		After:  "debug.SetMemoryLimit(2 << 30)\nsessions.Limit(100_000) // and evict",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindHeap, evidence.KindTimeline},
	Limits: []diagnosis.Limit{
		{Name: "near-limit", Doc: "share of GOMEMLIMIT that must be in use", Default: 0.9,
			Origin: "the pacer holds memory a few per cent below the limit when it is bound by it (runtime/mgcpacer.go, memoryLimitHeapGoal)"},
		{Name: "headroom", Doc: "goal divided by what survived the last collection, up to which there is no room", Default: 1.15,
			Origin: "GOGC=100 gives 2; under 1.15 a collection frees less than a seventh of the heap"},
		{Name: "cycles-per-second", Doc: "collections per second from which they follow one another", Default: 10,
			Origin: "services under load collect 0.1 to 5 times a second; a heap at its limit 20 and more"},
		{Name: "processor-share", Doc: "share of processor time taken by the collector: since the start, or in a trace", Default: 0.2,
			Origin: "background marking aims at a quarter while a collection runs (runtime/mgcpacer.go, gcBackgroundUtilization)"},
		{Name: "min-assists", Doc: "goroutines that help or wait for the collector", Default: 3,
			Origin: "one may be caught assisting in any program that allocates"},
		{Name: "min-span-ms", Doc: "of a trace: its least length, in milliseconds", Default: 100,
			Origin: "some cycles of a heap of any size"},
		{Name: "min-cycles", Doc: "of a trace: collections that it must show", Default: 8,
			Origin: "start-up has three to five while the heap grows from 4 MiB; on a busy host one may last a second"},
		{Name: "few-cycles", Doc: "of a trace: collections that must have ended, when the live heap did not grow much (see grown)", Default: 3,
			Origin: "room is an average over them, and one may have met a moment"},
		{Name: "grown", Doc: "of a trace: the largest live heap divided by the smallest, up to which it is no start-up", Default: 2,
			Origin: "a heap that starts at 4 MiB with GOGC=100 doubles from one collection to the next; measured: 1.1 to 1.3 at a limit"},
		{Name: "forced-cycles", Doc: "of a trace: collections that the program asks for, half of all at least, from which that is a habit", Default: 4,
			Origin: "what measures something calls runtime.GC before and after it, two or three times in all"},
		{Name: "forced-per-second", Doc: "of a trace: how many of these there must be in a second", Default: 1,
			Origin: "who empties caches once a minute, or before a measurement, makes far fewer; measured: 2 and 27 where it hurts"},
		{Name: "forced-share", Doc: "of a trace: share of the processor time that marking must take when most collections are asked for", Default: 0.1,
			Origin: "background marking takes a quarter while it runs (runtime/mgcpacer.go, gcBackgroundUtilization): two fifths of the time in it"},
		{Name: "room", Doc: "of a trace: the goals that collections set divided by what they left alive, on average over the bytes, up to which there is no room",
			Default: 1.4, Origin: "measured: heaps at a limit 1.05 to 1.11, and 1.25 when their start-up is in the trace; GOGC=100 gives 2, GOGC=50 1.5"},
		{Name: "likely-room", Doc: "of a trace: the same, up to which it is likely", Default: 1.25, Origin: "measured, see room; above, GOGC may be small on purpose"},
		{Name: "mark-share", Doc: "of a trace: share of the time in which a collection must be in progress", Default: 0.3,
			Origin: "measured: heaps at a limit 0.68 to 0.91, services 0.01 to 0.17. Benchmarks that do nothing but allocate reach 0.8, and have room"},
		{Name: "assist-share", Doc: "of a trace: share of their running time in which goroutines must help", Default: 0.15,
			Origin: "measured: heaps at a limit 0.43 to 0.78, services up to 0.10"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfTimeline},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	both := derive.NewBeside(p)
	defer both.Flush()
	if t.Line != nil {
		(&course{p: p, both: both, t: t, line: t.Line, gc: &t.Line.GC}).judge()
		if p.Case.Heap == nil {
			return nil
		}
	}
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	g := &pressure{p: p, c: p.Case, h: p.Case.Heap, f: frames}
	g.survey()
	g.weigh()
	if !g.tight || !g.busy {
		p.Silent("%s", g.silence())
		return nil
	}
	both.Report(g.finding())
	return nil
}

// pressure is one run of the rule.
type pressure struct {
	p *diagnosis.Pass
	c *evidence.Case
	h *evidence.Heap
	f *derive.Frames

	assisting []evidence.Group // goroutines that help the collector or wait for it
	assists   int
	allocs    []evidence.Group // goroutines caught allocating
	forces    []evidence.Group // goroutines in runtime.GC or debug.FreeOSMemory

	tight bool // no room between what is alive and the limit or goal
	busy  bool // the collector runs all the time
	firm  bool // as its own account of processor time says
	signs []diagnosis.Reason
}

// assistReasons are the wait reasons of goroutines that help (runtime/runtime2.go, Go 1.21 to 1.26).
var assistReasons = map[string]bool{"GC assist wait": true, "GC assist marking": true}

// What a frame says of its goroutine.
const (
	markAssist derive.Mark = 1 << iota // it helps the collector
	markForce                          // it asked for a collection
	markAlloc                          // it allocates
)

// markOf judges a frame (runtime/malloc.go, mgc.go and mgcmark.go, Go 1.21 to 1.26).
func markOf(frame evidence.Frame) derive.Mark {
	switch frame.Function {
	case "runtime.gcAssistAlloc", "runtime.gcAssistAlloc1", "runtime.gcParkAssist":
		return markAssist
	case "runtime.GC", "runtime/debug.FreeOSMemory":
		return markForce
	case "runtime.mallocgc", "runtime.growslice", "runtime.newobject", "runtime.makeslice":
		return markAlloc
	}
	return 0
}

func (g *pressure) survey() {
	marks := g.f.Marks(markOf)
	for _, group := range g.c.Groups() {
		if group.AnyFlag.Has(evidence.FlagSystem) {
			continue
		}
		s := g.c.Stack(group.Stack)
		if _, ok := g.f.UserFrame(s); !ok {
			continue
		}
		on := marks.On(s)
		switch {
		case on&markForce != 0:
			g.forces = append(g.forces, group)
		case on&markAssist != 0 || assistReasons[group.Reason]:
			g.assisting = append(g.assisting, group)
			g.assists += group.Count
		case on&markAlloc != 0:
			g.allocs = append(g.allocs, group)
		}
	}
}

var heapRef = []evidence.Ref{{Kind: evidence.RefHeap}}

func (g *pressure) sign(refs []evidence.Ref, format string, args ...any) {
	g.signs = append(g.signs, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
}
