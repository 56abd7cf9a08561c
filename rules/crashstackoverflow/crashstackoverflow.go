// Package crashstackoverflow recognises a process that died because a goroutine's stack reached its limit.
package crashstackoverflow

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is crash-stack-overflow.
var Rule = &diagnosis.Rule{
	Name:  "crash-stack-overflow",
	Class: derive.CrashOverflow,
	Doc:   doc,
	Needs: derive.CrashNeeds,
	Uses:  derive.CrashUses,
	Run:   run,
}

var doc = &diagnosis.Doc{
	Title: "The process died because a recursion had no end",
	Sees: "The runtime's fatal error \"stack overflow\" (a goroutine's stack reached 1 GB, or what debug.SetMaxStack allows). The " +
		"sequence of functions that repeats on the stack is the cycle; the rule names it, the lines of your code in it, how deep it was " +
		"and what entered it. Frames that the runtime left out of its text do not matter: the cycle shows in the first hundred.",
	Hurts:   "No recover catches it: the process ends, with every request in flight.",
	Confirm: "Follow the named lines round once: what should have become smaller, or have been marked as visited, and was not?",
	Fix: "Give the recursion an end that every round comes nearer to: a depth that is checked, a set of what was visited, a work list " +
		"instead of calls. Where input decides the depth (nested JSON, includes, links), refuse input beyond a bound.",
	Not: "A deep recursion that ends, however deep. A fatal error on the runtime's own stacks (\"split stack overflow\"): see crash-fatal. " +
		"An overflow of C's stack is a SIGSEGV: see crash-signal.",
	Before: `func (e *QuotaError) Error() string {
	return fmt.Sprintf("over quota: %v", e) // %v calls Error again
}`,
	After: `func (e *QuotaError) Error() string {
	return fmt.Sprintf("over quota: %s wants %d of %d", e.Tenant, e.Want, e.Limit)
}`,
	Since: "0.1.0",
}

func run(p *diagnosis.Pass) error {
	crash, frames, err := derive.CrashOf(p, derive.CrashOverflow)
	if crash != nil {
		p.Report(finding(p.Case, crash, frames))
	}
	return err
}

func finding(c *evidence.Case, crash *derive.Crash, frames *derive.Frames) diagnosis.Finding {
	f := diagnosis.Finding{
		Subject:    crash.Subject(),
		Claim:      crash.Name() + " ran over the limit of its stack",
		Because:    []diagnosis.Reason{{Text: ended(c, crash), Refs: crash.Refs()}},
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
	}
	if crash.Stack.Len() == 0 {
		f.Settle = "the stack of the goroutine, from a core or the whole crash text, shows the recursion"
		return f
	}
	if loop, ok := findLoop(crash.Stack); ok {
		tellLoop(&f, crash, frames, loop)
	} else {
		tellCounts(&f, crash, frames)
	}
	if created, ok := crash.Creator(c); ok {
		f.Because = append(f.Because, diagnosis.Reason{Text: "the goroutine was started at " + derive.Where(created), Refs: []evidence.Ref{crash.Subject()}})
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleCreator, Frame: created, Ref: crash.Subject()})
	}
	return f
}

// ended is what the runtime said, with the limit where the evidence has it.
func ended(c *evidence.Case, crash *derive.Crash) string {
	text := fmt.Sprintf("the runtime ended the process with the fatal error %q", derive.Quote(crash.Fatal(c)))
	for line := range strings.Lines(c.Death.Detail) {
		if strings.Contains(line, "stack exceeds") { // newstack in runtime/stack.go
			text += fmt.Sprintf(" after %q", strings.TrimPrefix(strings.TrimSpace(line), "runtime: "))
		}
	}
	return text
}

// tellLoop fills in a recursion whose cycle is known.
func tellLoop(f *diagnosis.Finding, crash *derive.Crash, frames *derive.Frames, l loop) {
	s := crash.Stack
	refs := []evidence.Ref{crash.Subject()}
	f.Because = append(f.Because, diagnosis.Reason{
		Text: fmt.Sprintf("the stack was %d frames deep, about %d rounds of %s", s.Depth(), max(1, s.Depth()/l.period), l.path(s)),
		Refs: refs,
	})
	lines := l.lines(s, frames)
	for i, at := range lines {
		role := diagnosis.RoleLoop
		if i == 0 {
			role = diagnosis.RoleCrash
		}
		f.Locations = append(f.Locations, diagnosis.Location{Role: role, Frame: s.At(at), Ref: crash.Subject()})
	}
	first := derive.Where(s.At(lines[0]))
	f.Claim = fmt.Sprintf("%s recursed without end through %s and ran over the limit of its stack, %d frames deep", crash.Name(), first, s.Depth())
	f.Fix = fmt.Sprintf("The call at %s closes the cycle. %s", first, doc.Fix)
	if at, ok := l.entry(s); ok {
		f.Because = append(f.Because, diagnosis.Reason{Text: "the recursion was entered from " + derive.Where(s.At(at)), Refs: refs})
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleCaller, Frame: s.At(at), Ref: crash.Subject()})
	}
}

// tellCounts fills in a recursion that does not go round in one fixed sequence, as a walk over a tree or a graph: the functions
// that recur most.
func tellCounts(f *diagnosis.Finding, crash *derive.Crash, frames *derive.Frames) {
	s := crash.Stack
	often := recurring(s, frames)
	if len(often) == 0 {
		f.Settle = "no function recurs on the part of the stack that is shown: the whole stack, from a core, shows the recursion"
		return
	}
	var names []string
	for i, o := range often {
		names = append(names, fmt.Sprintf("%s %d times", derive.Short(s.At(o.at).Function), o.count))
		role := diagnosis.RoleLoop
		if i == 0 {
			role = diagnosis.RoleCrash
		}
		f.Locations = append(f.Locations, diagnosis.Location{Role: role, Frame: s.At(o.at), Ref: crash.Subject()})
	}
	first := derive.Where(s.At(often[0].at))
	f.Claim = fmt.Sprintf("%s recursed through %s and ran over the limit of its stack, %d frames deep", crash.Name(), first, s.Depth())
	f.Because = append(f.Because, diagnosis.Reason{
		Text: fmt.Sprintf("of %d frames read, these functions recur: %s", s.Len(), strings.Join(names, ", ")),
		Refs: []evidence.Ref{crash.Subject()},
	})
	f.Against = append(f.Against, diagnosis.Reason{Text: "the functions do not repeat in one fixed sequence: which call has no end is not told by the stack alone"})
}
