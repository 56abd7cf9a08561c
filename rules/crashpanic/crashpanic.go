// Package crashpanic recognises a process that died of an uncaught panic other than a nil dereference.
package crashpanic

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is crash-panic.
var Rule = &diagnosis.Rule{
	Name:  "crash-panic",
	Class: derive.CrashPanic,
	Doc:   doc,
	Needs: derive.CrashNeeds,
	Uses:  derive.CrashUses,
	Run:   run,
}

var doc = &diagnosis.Doc{
	Title: "The process died of an uncaught panic",
	Sees: "A panic that nobody recovered, in a core or in the text that the runtime printed: its value, the errors that the value " +
		"wraps, the line that panicked, who called it and which go statement started the goroutine. When several panics were in " +
		"flight (a deferred function panicked too, or recovered and panicked again), the oldest is the cause: its frames are still on " +
		"the stack below those of the later ones, and the line is its line; the later ones are shown behind it.",
	Hurts: "The whole process ends, with every request in flight, because one goroutine met something it did not expect.",
	Confirm: "Read the value and the line: most panics say what was wrong. In a core, `dlv core EXE CORE`, `goroutine N`, `frame N`, " +
		"`locals` shows the values that led there.",
	Fix: "Return an error instead of panicking where the cause is input, the network or a full disk; keep panic for what cannot " +
		"happen. Recover only at the edge of a request, and end the request there. A deferred function that can fail must not " +
		"panic: it hides the first cause.",
	Not: "A panic that was recovered, even when the process was killed later. A goroutine that was running deferred functions of a " +
		"panic when the process was killed from outside. A nil dereference (crash-nil) and the runtime's fatal errors (crash-fatal), " +
		"which no recover can catch.",
	Before: `func (l *Ledger) Append(e Entry) {
	if err := l.file.Write(e); err != nil {
		panic(err) // the disk is full: the whole service dies
	}
}`,
	After: `func (l *Ledger) Append(e Entry) error {
	if err := l.file.Write(e); err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	return nil
}`,
	Since: "0.1.0",
}

// known are the panics that the runtime and the standard library raise: the beginning of the value and what to do about it
// (runtime/error.go, runtime/panic.go, runtime/chan.go, runtime/map.go, sync/waitgroup.go, strings/builder.go,
// Go 1.21 to 1.26).
var known = []struct{ begins, fix string }{
	{"runtime error: index out of range", "Check the index against the length, or find out why the list is shorter than the code expects: an " +
		"off-by-one in a loop's bound, an empty result, a list that another goroutine cuts."},
	{"runtime error: slice bounds out of range", "Check both bounds against the length: a last chunk that is shorter than the others is the usual cause."},
	{"runtime error: integer divide by zero", "The divisor is a count that can be zero: decide what the result is then."},
	{"runtime error: makeslice", "The length handed to make is negative or enormous: it comes from input or from a subtraction that went below zero; bound it."},
	{"assignment to entry in nil map", "The map was declared or reset to nil and never made: make it in the constructor and clear it instead of assigning nil."},
	{"send on closed channel", "Only the sender may close a channel. Let the owner of the senders close it after all of them have ended, or tell " +
		"the senders through a context and never close."},
	{"close of closed channel", "Two places close the channel: give it one owner, or close through sync.Once."},
	{"close of nil channel", "The channel was never made: make it in the constructor."},
	{"interface conversion: ", "Use the form with two results, v, ok := x.(T), and decide what happens when the type is another."},
	{"sync: negative WaitGroup counter", "There are more calls of Done than Add counted: call Add before the go statement, and Done exactly once, deferred."},
	{"sync: WaitGroup is reused", "A new round of Add began before the last Wait returned: use a new WaitGroup for each round."},
	{"runtime error: hash of unhashable type", "A slice, map or function reached a map key or a comparison through an interface: restrict the key's type."},
	{"runtime error: comparing uncomparable", "Two interfaces that hold a slice, map or function were compared: restrict the type."},
	{"panic called with nil", "panic(nil) was called: the error handed to panic was nil."},
}

func run(p *diagnosis.Pass) error {
	crash, frames, err := derive.CrashOf(p, derive.CrashPanic)
	if crash != nil {
		p.Report(finding(p.Case, crash, frames))
	}
	return err
}

func finding(c *evidence.Case, crash *derive.Crash, frames *derive.Frames) diagnosis.Finding {
	site, ok := crash.Root()
	f := diagnosis.Finding{
		Subject:    crash.Subject(),
		Claim:      claim(c, crash, site, ok),
		Because:    append(crash.Told(c, frames, site), causes(c, crash)...),
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Locations:  crash.WithLater(crash.Locations(c, frames, site)),
		Next:       next(c, crash),
	}
	text, _ := crash.RootText(c)
	f.Fix = fix(text, innermost(c, crash))
	if !ok {
		f.Settle = "a core, or a dump with the stack of the goroutine, shows the line"
	}
	if strings.Contains(text, derive.NilText) {
		f.Against = append(f.Against, diagnosis.Reason{
			Text: "the value quotes a nil dereference that was recovered before: its own stack is not in the evidence",
			Refs: crash.Refs(),
		})
		f.Settle = "the stack at the time of the recovery: log debug.Stack() where the panic is recovered"
	}
	return f
}

func claim(c *evidence.Case, crash *derive.Crash, site derive.CrashSite, placed bool) string {
	claim := crash.Name() + " panicked"
	if placed {
		claim += " " + crash.Place(site)
	}
	if text, ok := crash.RootText(c); ok {
		claim += ": " + derive.Quote(strings.TrimPrefix(text, "runtime error: "))
	}
	return claim
}

// causes lists the type of the value and the errors that it wraps.
func causes(c *evidence.Case, crash *derive.Crash) []diagnosis.Reason {
	if len(crash.Chain) == 0 {
		return nil
	}
	at := crash.Chain[len(crash.Chain)-1]
	refs := []evidence.Ref{{Kind: evidence.RefPanic, ID: uint64(at)}}
	root := c.Panics[at]
	var reasons []diagnosis.Reason
	if root.Type != "" && root.Type != "string" {
		reasons = append(reasons, diagnosis.Reason{Text: "the value is of type " + root.Type, Refs: refs})
	}
	for i, cause := range root.Causes {
		text := fmt.Sprintf("it wraps %q", derive.Quote(cause))
		if i > 0 {
			text = fmt.Sprintf("which wraps %q", derive.Quote(cause))
		}
		reasons = append(reasons, diagnosis.Reason{Text: text, Refs: refs})
	}
	return reasons
}

// innermost is the last error that the value wraps; empty when it wraps none.
func innermost(c *evidence.Case, crash *derive.Crash) string {
	if len(crash.Chain) == 0 {
		return ""
	}
	list := c.Panics[crash.Chain[len(crash.Chain)-1]].Causes
	if len(list) == 0 {
		return ""
	}
	for _, cause := range slices.Backward(list) {
		if !bare.MatchString(cause) {
			return cause
		}
	}
	return list[len(list)-1]
}

// bare is a cause of which the evidence has the type and a number and no message, such as "syscall.Errno(2)".
var bare = regexp.MustCompile(`^[\w./*]+\((0x)?[0-9a-f]*\)$`)

func fix(text, cause string) string {
	for _, k := range known {
		if strings.HasPrefix(text, k.begins) {
			return k.fix
		}
	}
	if cause != "" {
		return fmt.Sprintf("The first cause is %q: mend that, and handle it as an error. %s", derive.Quote(cause), doc.Fix)
	}
	return doc.Fix
}

func next(c *evidence.Case, crash *derive.Crash) []string {
	open := derive.Debugger(c, "dlv core")
	if !crash.Died || open == "" {
		return nil
	}
	return []string{fmt.Sprintf("%s, then: goroutine %d, stack, frame N, locals", open, crash.Goroutine.ID)}
}
