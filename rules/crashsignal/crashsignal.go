// Package crashsignal recognises a process that died of a signal which is no plain nil dereference of Go: a wild address, a
// file cut under its mapping, a crash in C.
package crashsignal

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is crash-signal.
var Rule = &diagnosis.Rule{
	Name:  "crash-signal",
	Class: derive.CrashSignal,
	Doc:   doc,
	Needs: derive.CrashNeeds,
	Uses:  derive.CrashUses,
	Run:   run,
}

var doc = &diagnosis.Doc{
	Title: "The process died of a fault outside plain Go code",
	Sees: "A SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP or SIGSYS that the kernel raised and that is no nil dereference of Go: an address " +
		"that nothing is mapped at, a page of a file that was cut after it was mapped, a fault or an abort in C. In a core the C function " +
		"is named from the thread's stack, below the signal handler; the Go line is the one that called into C, or that touched the " +
		"address.",
	Hurts: "The process ends at once; no deferred function runs. A wild address means that memory was written or read through a wrong " +
		"pointer, so earlier results may be wrong too.",
	Confirm: "In a core, gdb shows the C side (`gdb EXE CORE`, `bt`, `info registers`). For wild addresses in Go, build with " +
		"`-gcflags=all=-d=checkptr` or run the tests with -race, which turns checkptr on; for C, build it with -fsanitize=address.",
	Fix: "Find who made the address: unsafe.Pointer arithmetic, a pointer kept past the life of what it points to, an offset or a length " +
		"that came from outside and was not checked, C code that writes past its buffer.",
	Not: "A signal sent from outside: SIGABRT or SIGQUIT to get a dump, SIGTERM, kill -SEGV. The SIGABRT by which the runtime ends every " +
		"crash under GOTRACEBACK=crash. A nil dereference in Go code: see crash-nil. An integer division by zero in Go: see crash-panic.",
	Before: `p := unsafe.Add(base, hdr.offset) // the offset comes from the file
return *(*uint64)(p)`,
	After: `if hdr.offset > len(data)-8 {
	return 0, fmt.Errorf("offset %d outside the segment of %d bytes", hdr.offset, len(data))
}
return binary.LittleEndian.Uint64(data[hdr.offset:]), nil`,
	Since: "0.1.0",
}

func run(p *diagnosis.Pass) error {
	crash, frames, err := derive.CrashOf(p, derive.CrashSignal)
	if crash != nil {
		p.Report(finding(p.Case, crash, frames))
	}
	return err
}

func finding(c *evidence.Case, crash *derive.Crash, frames *derive.Frames) diagnosis.Finding {
	site, ok := crash.Root()
	m := mechanismOf(c, crash)
	f := diagnosis.Finding{
		Subject:    subject(crash),
		Claim:      claim(crash, site, ok, m),
		Because:    []diagnosis.Reason{{Text: m.seen, Refs: []evidence.Ref{{Kind: evidence.RefDeath}}}},
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Locations:  locations(c, crash, frames, site),
		Fix:        m.fix,
		Next:       next(c),
		Settle:     m.settle,
	}
	f.Because = append(f.Because, native(crash)...)
	if text := crash.CameFrom(c, frames, site); ok && text != "" {
		f.Because = append(f.Because, diagnosis.Reason{Text: text, Refs: crash.Refs()})
	}
	if m.inferred != "" {
		f.Confidence = diagnosis.Likely
		f.Against = append(f.Against, diagnosis.Reason{Text: m.inferred, Refs: crash.Refs()})
	}
	return f
}

func subject(crash *derive.Crash) evidence.Ref {
	if !crash.Died && crash.Thread != nil {
		return crash.Thread.Ref()
	}
	return crash.Subject()
}

func claim(crash *derive.Crash, site derive.CrashSite, placed bool, m mechanism) string {
	claim := fmt.Sprintf("%s died of %s", crash.Name(), derive.SignalName(crash.Signal))
	switch {
	case crash.Native != nil:
		claim += " in the C function " + derive.Where(crash.Native.Frame)
		if placed {
			claim += ", called by " + derive.Where(crash.Line(site))
		}
	case m.inC && placed:
		claim += " in " + cCode(crash, site) + " called by " + derive.Where(crash.Line(site))
	case m.inRuntime && placed:
		claim += " inside the Go runtime, below " + derive.Where(crash.Line(site))
	case placed:
		claim += " " + crash.Place(site)
	}
	return claim + m.short
}

// cCode names the C function that Go had called, from the stub that cgo made for it.
func cCode(crash *derive.Crash, site derive.CrashSite) string {
	if name, ok := derive.CFunction(crash.Stack.At(site.Exact).Function); ok {
		return fmt.Sprintf("the C function %s, or below it,", name)
	}
	return "C code"
}

// native tells of the C function, where a core shows it.
func native(crash *derive.Crash) []diagnosis.Reason {
	if crash.Native == nil {
		return nil
	}
	text := fmt.Sprintf("thread %d was executing %s", crash.Thread.TID, derive.Where(crash.Native.Frame))
	if m := crash.Native.Frame.Module; m != "" {
		text += " of " + m
	}
	return []diagnosis.Reason{{Text: text, Refs: []evidence.Ref{crash.Thread.Ref()}}}
}

// locations puts the C line first when it is known; a bare C function stands behind the Go line that called into C.
func locations(c *evidence.Case, crash *derive.Crash, frames *derive.Frames, site derive.CrashSite) []diagnosis.Location {
	list := crash.Locations(c, frames, site)
	if crash.Native == nil {
		return list
	}
	for i := range list { // what looked like the place of the fault is the Go line that called C
		if list[i].Role == diagnosis.RoleCrash {
			list[i].Role = diagnosis.RoleCaller
		}
	}
	in := diagnosis.Location{Role: diagnosis.RoleCrash, Frame: crash.Native.Frame, Ref: crash.Thread.Ref()}
	if crash.Native.Frame.Line > 0 || len(list) == 0 {
		return append([]diagnosis.Location{in}, list...)
	}
	return append(list[:1:1], append([]diagnosis.Location{in}, list[1:]...)...)
}

func next(c *evidence.Case) []string {
	open := derive.Debugger(c, "gdb")
	if open == "" {
		return nil
	}
	return []string{open + ", then: bt, info registers, x/i $pc"}
}
