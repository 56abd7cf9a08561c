// Package crashoom recognises a process that died because the system gave it no more memory.
package crashoom

import (
	"fmt"
	"math"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is crash-oom.
var Rule = &diagnosis.Rule{
	Name:   "crash-oom",
	Class:  derive.CrashMemory,
	Doc:    doc,
	Needs:  derive.CrashNeeds,
	Limits: []diagnosis.Limit{groups},
	Uses:   derive.CrashUses,
	Run:    run,
}

var groups = diagnosis.Limit{
	Name: "groups", Default: 3,
	Doc:    "how many of the largest groups of goroutines are shown beside the crash",
	Origin: "chosen: more than three do not fit beside a finding; `postmortem stacks` lists all",
}

var doc = &diagnosis.Doc{
	Title: "The process died because it could get no more memory",
	Sees: "The runtime's fatal errors about memory (\"runtime: out of memory\", \"cannot allocate memory\" and their kin), in a core or " +
		"in the text that the runtime printed: who asked for the memory that could not be had, the figures of the heap where the " +
		"evidence has them, and the largest groups of goroutines. The objects on the heap of a core are counted: which types, variables and goroutines " +
		"hold the memory.",
	Hurts: "No recover catches it: the process ends, and after the restart the same load brings it there again.",
	Confirm: "The goroutine that asked last is not necessarily the one that holds the memory. `postmortem heap CORE` shows what " +
		"fills the heap, and with --pprof writes it for go tool pprof; so does a heap profile taken before the end (net/http/pprof, `go tool " +
		"pprof -sample_index=inuse_space`).",
	Fix: "Bound what grows: the cache without an eviction, the queue without a limit, the body read without io.LimitReader, the " +
		"goroutine per item. Set GOMEMLIMIT below the limit of the container, so that the collector works harder before the end, and " +
		"check ulimit -v and the memory limit of the container against what the load needs.",
	Not: "A process that the kernel killed for memory (the OOM killer sends SIGKILL and leaves no core). A panic of makeslice, whose length " +
		"was never possible: see crash-panic. A heap that is full of garbage collection but still alive: see gc-pressure.",
	Before: `func (c *Cache) Get(k Key) *Thumb {
	t := render(k)
	c.m[k] = t // nothing is ever removed
	return t
}`,
	After: `func (c *Cache) Get(k Key) *Thumb {
	t := render(k)
	c.lru.Add(k, t) // holds at most 500
	return t
}`,
	Since: "0.1.0",
}

func run(p *diagnosis.Pass) error {
	crash, frames, err := derive.CrashOf(p, derive.CrashMemory)
	if crash != nil {
		p.Report(finding(p.Case, crash, frames, int(p.Limit("groups"))))
	}
	return err
}

func finding(c *evidence.Case, crash *derive.Crash, frames *derive.Frames, top int) diagnosis.Finding {
	site, ok := crash.Root()
	f := diagnosis.Finding{
		Subject:    crash.Subject(),
		Claim:      "the process could get no more memory",
		Because:    []diagnosis.Reason{{Text: fmt.Sprintf("the runtime ended the process with the fatal error %q", derive.Quote(crash.Fatal(c))), Refs: crash.Refs()}},
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Locations:  crash.Locations(c, frames, site),
		Settle:     "a heap profile from before the end, or the types on the heap of a core, shows what holds the memory",
	}
	m := derive.MemoryOf(c, frames)
	if m.Brief != "" {
		f.Claim += " (" + m.Brief + ")"
	}
	if ok {
		f.Claim += fmt.Sprintf(" when %s asked for it %s", crash.Name(), crash.Place(site))
	}
	if text := heapFigures(c.Heap); text != "" {
		f.Because = append(f.Because, diagnosis.Reason{Text: text, Refs: []evidence.Ref{{Kind: evidence.RefHeap}}})
	}
	if text := crash.CameFrom(c, frames, site); ok && text != "" {
		f.Because = append(f.Because, diagnosis.Reason{Text: text, Refs: crash.Refs()})
	}
	f.Because = append(f.Because, largest(c, frames, top)...)
	memory(c, crash, m, &f)
	return f
}

// memory says what holds the memory, as far as somebody counted.
func memory(c *evidence.Case, crash *derive.Crash, m derive.Memory, f *diagnosis.Finding) {
	f.Because = append(f.Because, m.Reasons...)
	if !m.Types {
		f.Against = []diagnosis.Reason{{Text: "who asked last need not be who holds the memory: this evidence does not show what fills the heap", Refs: crash.Refs()}}
		return
	}
	f.Settle = "two heap profiles some time apart (net/http/pprof) show what grows; a core shows what is there"
	if h := c.Heap; h != nil && h.Sys > 0 && float64(c.HeapUse.LiveBytes) < outside*float64(h.Sys) {
		f.Against = []diagnosis.Reason{{Refs: []evidence.Ref{{Kind: evidence.RefHeap}, {Kind: evidence.RefHeapUse}},
			Text: fmt.Sprintf("only %s of the %s obtained from the system are reachable objects: stacks, fragments, garbage or memory outside of the Go heap take the rest",
				derive.Bytes(c.HeapUse.LiveBytes), derive.Bytes(h.Sys))}}
	}
}

// outside is the share of the memory obtained from the system below which the reachable objects do not explain where it went.
const outside = 0.5

// heapFigures says what the heap held, as far as it is known.
func heapFigures(h *evidence.Heap) string {
	if h == nil {
		return ""
	}
	var parts []string
	for _, figure := range []struct {
		bytes uint64
		text  string
	}{{h.Live, "%s live on the heap"}, {h.InUse, "%s in spans in use"}, {h.Stacks, "%s of stacks"},
		{h.Sys, "%s obtained from the system"}, {h.Goal, "the next collection at %s"}} {
		if figure.bytes > 0 {
			parts = append(parts, fmt.Sprintf(figure.text, derive.Bytes(figure.bytes)))
		}
	}
	switch {
	case h.Limit > 0 && h.Limit < math.MaxInt64:
		parts = append(parts, "GOMEMLIMIT "+derive.Bytes(h.Limit))
	case h.Limit == math.MaxInt64:
		parts = append(parts, "no GOMEMLIMIT")
	}
	return strings.Join(parts, ", ")
}

// largest lists the largest groups of goroutines: thousands with one stack are often what holds the memory.
func largest(c *evidence.Case, frames *derive.Frames, top int) []diagnosis.Reason {
	var reasons []diagnosis.Reason
	for _, g := range c.Groups() {
		if len(reasons) == top || g.Count < 2 {
			break
		}
		stack := c.Stack(g.Stack)
		i, ok := frames.UserFrame(stack)
		if g.Flags.Has(evidence.FlagSystem) || !ok {
			continue
		}
		reasons = append(reasons, diagnosis.Reason{
			Text: fmt.Sprintf("%d goroutines are in %s", g.Count, derive.Where(stack.At(i))),
			Refs: []evidence.Ref{evidence.StackRef(g.Stack)},
		})
	}
	return reasons
}
