// Package crashfatal recognises a process that the Go runtime ended with a fatal error.
package crashfatal

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is crash-fatal.
var Rule = &diagnosis.Rule{
	Name:   "crash-fatal",
	Class:  derive.CrashFatal,
	Doc:    doc,
	Needs:  derive.CrashNeeds,
	Limits: []diagnosis.Limit{shown},
	Uses:   derive.CrashUses,
	Run:    run,
}

var shown = diagnosis.Limit{
	Name: "shown", Default: 5,
	Doc:    "how many other goroutines (suspects of a map race, waiters of a deadlock) are named",
	Origin: "chosen: what fits beside a finding; `postmortem stacks` lists all",
}

var doc = &diagnosis.Doc{
	Title: "The Go runtime ended the process with a fatal error",
	Sees: "The runtime's fatal errors other than those of memory and stack: concurrent use of a map, \"all goroutines are asleep - " +
		"deadlock!\", an unlock of what is not locked, a bad pointer found by the collector, and any other throw; in a core or in the " +
		"text that the runtime printed. The line is that of your code that was executing. For a map it adds the goroutines that are " +
		"inside a map operation or in code of the same type right now, as suspects; for a deadlock it lists what main and the others " +
		"wait for.",
	Hurts: "No recover catches it: the process ends, with every request in flight. A map race that is not noticed corrupts the map.",
	Confirm: "Build and test with -race: it names both sides of a map race, where the runtime saw only one. For bad pointers, also " +
		"`-gcflags=all=-d=checkptr` and GODEBUG=cgocheck=1.",
	Fix: "Map: guard every access with one lock, the reads too, or give the map to one goroutine. Unlock: lock and unlock in one " +
		"function, with defer right behind the lock. Deadlock: find what main waits for and who was to wake it. Bad pointer: look at " +
		"unsafe and cgo code and at data races; a plain Go program without races does not cause it.",
	Not: "A panic, which recover could have caught: see crash-panic. Out of memory: see crash-oom. Stack overflow: see " +
		"crash-stack-overflow. A fault at a wild address, which the runtime reports as \"fatal error: fault\": see crash-signal. A " +
		"process that hangs without the runtime noticing: see lock-hog and the deadlock rules.",
	Before: `func (r *Registry) Get(k string) *Conn { return r.m[k] } // read without the lock
func (r *Registry) Put(k string, c *Conn) {
	r.mu.Lock()
	r.m[k] = c
	r.mu.Unlock()
}`,
	After: `func (r *Registry) Get(k string) *Conn {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.m[k]
}`,
	Since: "0.1.0",
}

func run(p *diagnosis.Pass) error {
	crash, frames, err := derive.CrashOf(p, derive.CrashFatal)
	if crash == nil {
		return err
	}
	d := &describer{c: p.Case, crash: crash, frames: frames, kind: kindOf(crash.Fatal(p.Case)), most: int(p.Limit("shown"))}
	p.Report(d.finding())
	return nil
}

// describer makes the finding of one fatal error.
type describer struct {
	c      *evidence.Case
	crash  *derive.Crash
	frames *derive.Frames
	kind   kind
	most   int
}

func (d *describer) finding() diagnosis.Finding {
	if d.kind.asleep {
		return d.asleep()
	}
	site, ok := d.crash.Root()
	f := diagnosis.Finding{
		Subject:    d.crash.Subject(),
		Claim:      fmt.Sprintf("%s %s", d.crash.Name(), d.verb()),
		Because:    []diagnosis.Reason{d.fact()},
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Fix:        d.kind.fix,
		Locations:  d.crash.Locations(d.c, d.frames, site),
		Settle:     d.kind.settle,
	}
	if ok {
		f.Claim += " in " + derive.Where(d.crash.Line(site))
	} else if f.Settle == "" {
		f.Settle = "a core, or a dump with the stack of the goroutine, shows the line"
	}
	if text := d.crash.CameFrom(d.c, d.frames, site); ok && text != "" {
		f.Because = append(f.Because, diagnosis.Reason{Text: text, Refs: d.crash.Refs()})
	}
	if d.kind.onMap && ok {
		d.suspects(&f, site)
	}
	return f
}

func (d *describer) verb() string {
	if d.kind.verb != "" {
		return d.kind.verb
	}
	return fmt.Sprintf("made the runtime give up with %q", derive.Quote(d.crash.Fatal(d.c)))
}

func (d *describer) fact() diagnosis.Reason {
	text := fmt.Sprintf("the runtime ended the process with the fatal error %q", derive.Quote(d.crash.Fatal(d.c)))
	return diagnosis.Reason{Text: text, Refs: d.crash.Refs()}
}
