// Package crashnil recognises a process that died of a nil dereference.
package crashnil

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is crash-nil.
var Rule = &diagnosis.Rule{
	Name:  "crash-nil",
	Class: derive.CrashNil,
	Doc:   doc,
	Needs: derive.CrashNeeds,
	Uses:  derive.CrashUses,
	Run:   run,
}

var doc = &diagnosis.Doc{
	Title: "The process died of a nil dereference",
	Sees: "An uncaught panic whose oldest cause is \"invalid memory address or nil pointer dereference\", in a core or in the " +
		"text that the runtime printed. The line is that of the frame that was executing when the fault came: the first one below " +
		"runtime.sigpanic. When that is in a library, the line of your code that called the library stands first. When a recovery " +
		"wrapper caught the panic and panicked again, the frames of the first panic are still on the stack below, and the line is " +
		"the one of the fault and not the wrapper's. A value method called through a nil pointer counts as well.",
	Hurts: "The whole process ends, with every request in flight, because one goroutine followed one pointer.",
	Confirm: "Open the line: which of the pointers, interfaces, functions or method receivers on it can be nil? The fault address " +
		"helps: 0x0 is the pointer itself or the first field of what it points to, 0x18 the field 24 bytes into the struct. In a core, " +
		"`dlv core EXE CORE`, `goroutine N`, `frame N`, `locals` shows which one it was.",
	Fix: "Find where the pointer should have been set and was not: a constructor that was skipped, an error that was ignored " +
		"together with a nil result, a map look-up without the second value, an object used after it was taken down. Mend that " +
		"place; check for nil at the faulting line only where nil is a legal value.",
	Not: "A nil dereference that was recovered in the past, even when the process was killed later: its panic is no longer in " +
		"flight. A SIGSEGV at another address, in C, or sent by kill: see crash-signal. A write to a nil map: see crash-panic.",
	Before: `u, _ := store.Find(id) // the error says "not found", u is nil
return u.Name`,
	After: `u, err := store.Find(id)
if err != nil {
	return "", fmt.Errorf("find user %d: %w", id, err)
}
return u.Name, nil`,
	Since: "0.1.0",
}

func run(p *diagnosis.Pass) error {
	crash, frames, err := derive.CrashOf(p, derive.CrashNil)
	if crash != nil {
		p.Report(finding(p.Case, crash, frames))
	}
	return err
}

func finding(c *evidence.Case, crash *derive.Crash, frames *derive.Frames) diagnosis.Finding {
	f := diagnosis.Finding{
		Subject:    crash.Subject(),
		Claim:      crash.Name() + " dereferenced a nil pointer",
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Next:       next(c, crash),
	}
	site, ok := crash.Root()
	f.Because = crash.Told(c, frames, site)
	if ok {
		f.Claim += " " + crash.Place(site)
		f.Fix = fix(crash, site)
		f.Because = append(f.Because, nils(c, crash, site)...)
		f.Locations = crash.WithLater(crash.Locations(c, frames, site))
	} else {
		f.Settle = "a core, or a dump with the stack of the goroutine, shows the line"
	}
	if text := address(c); text != "" {
		f.Because = append(f.Because, diagnosis.Reason{Text: text, Refs: []evidence.Ref{{Kind: evidence.RefDeath}}})
	}
	weigh(&f, c, crash)
	return f
}

// nils names the variables of the faulting frame that were nil, where the evidence has variables: one of them is likely to be
// the pointer that was followed, if it was a variable at all.
func nils(c *evidence.Case, crash *derive.Crash, site derive.CrashSite) []diagnosis.Reason {
	names := derive.NilVariables(c, crash.Goroutine.ID, site.Exact)
	if !crash.Died || len(names) == 0 {
		return nil
	}
	return []diagnosis.Reason{{
		Text: fmt.Sprintf("nil in the frame of %s: %s", derive.Short(crash.Stack.At(site.Exact).Function), strings.Join(names, ", ")),
		Refs: []evidence.Ref{crash.Goroutine.Ref()},
	}}
}

// weigh takes certainty from a finding whose panic was not raised by a fault on this stack: somebody kept the value of a
// recovered panic and panicked with it later, so that the line of the fault is gone.
func weigh(f *diagnosis.Finding, c *evidence.Case, crash *derive.Crash) {
	text, _ := crash.RootText(c)
	if crash.Faulted(c) || derive.IsNilReceiver(text) {
		return
	}
	f.Confidence = diagnosis.Likely
	f.Against = append(f.Against, diagnosis.Reason{
		Text: "no fault is on the stack: the value of an earlier panic was kept and thrown again here, and the line of the fault is gone",
		Refs: crash.Refs(),
	})
	f.Settle = "the stack at the time of the recovery: log debug.Stack() where the panic is recovered"
}

// address explains the address of the fault.
func address(c *evidence.Case) string {
	d := c.Death
	switch {
	case !d.HasFault:
		return ""
	case d.FaultPC == 0 && d.FaultAddr == 0:
		return "the fault was a jump to address 0: a nil function was called"
	case d.FaultAddr == 0:
		return "the fault address is 0x0: the nil pointer itself, or the first field of what it should point to"
	}
	return fmt.Sprintf("the fault address is 0x%x: a field or element %d bytes into what the nil pointer should point to",
		d.FaultAddr, d.FaultAddr)
}

func fix(crash *derive.Crash, site derive.CrashSite) string {
	line := derive.Where(crash.Line(site))
	if site.User >= 0 && site.User != site.Exact {
		called := derive.Short(crash.Stack.At(site.Exact).Function)
		return fmt.Sprintf("At %s, what is handed to %s, as receiver or argument, is nil or holds nil. %s", line, called, doc.Fix)
	}
	return fmt.Sprintf("Something that %s follows is nil. %s", line, doc.Fix)
}

func next(c *evidence.Case, crash *derive.Crash) []string {
	open := derive.Debugger(c, "dlv core")
	if !crash.Died || open == "" {
		return nil
	}
	return []string{fmt.Sprintf("%s, then: goroutine %d, stack, frame N, locals", open, crash.Goroutine.ID)}
}
