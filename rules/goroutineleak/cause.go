package goroutineleak

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// cause is what a blocked goroutine waits for and how that comes about, in general words.
type cause struct {
	waits string // behind "each": "waits to send to"
	thing string // "channel": what it waits for; empty for what is no object
	asks  string // what would have woken it: "receive from it"
	leads string // what leads to it as a rule
	fix   string // empty: the rule's
}

// causes are by what is waited for.
var causes = map[string]cause{
	"send": {"waits to send to", "channel", "receive from it",
		"the receiver has gone before the sender came: it returned early (an error, a timeout, the first of several answers), or it stopped its loop",
		"Give the channel a place for every value that may not be read (make(chan T, n)), or send in a select with ctx.Done() or another " +
			"channel that is closed when the receiver leaves."},
	"receive": {"waits to receive from", "channel", "send to it or close it",
		"the sender has gone without a send or a close: it returned early, or the path on which the channel is closed was not taken",
		"Close the channel where the last sender ends, with defer, so that every path does it; or receive in a select with ctx.Done()."},
	"range": {"waits for the next value of", "channel", "send to it or close it",
		"the loop over the channel has no end, because nobody closes it: its senders are gone, or forgot it",
		"Close the channel when there is nothing more to send (defer close(ch) in the only sender, or after wg.Wait() for several)."},
	"select": {"waits in a select", "", "make one of its cases possible",
		"all that it listens to is gone, and no case tells it to end: there is no ctx.Done(), or nobody cancels that context",
		"Add a case for the end (ctx.Done(), a channel that is closed by whoever owns the goroutine), and see to it that the context is cancelled."},
	"nilselect": {"waits in a select whose channels are all nil", "", "",
		"each channel was set to nil when it was closed, so that the select leaves it out, and the loop goes on when the last one is",
		"End the loop when the last channel has become nil: for a != nil || b != nil."},
	"nil": {"waits for a nil channel", "", "",
		"the channel was never made, or the variable was not yet set when the goroutine read it",
		"Make the channel before the goroutine is started; outside of a select a nil channel blocks for ever."},
	"forever": {"waits in a select without cases", "", "",
		"select{} ends never; outside of main it is a goroutine that nobody can stop",
		"Wait for something that can end, such as ctx.Done()."},
	"lock": {"waits for", "lock", "unlock it",
		"somebody locked it and ended without the Unlock: an early return, or a panic that was recovered",
		"Unlock with defer directly behind the Lock."},
	"group": {"waits for", "wait group", "call Done",
		"more was added than is done: a goroutine that ended without Done (an early return, a panic that was recovered), or an Add too many",
		"Call Done with defer as the first thing in the goroutine, or use WaitGroup.Go (Go 1.25)."},
	"cond": {"waits for", "condition variable", "signal it",
		"the signal came before the wait, or whoever was to signal has gone",
		"Check the condition in a loop with the lock held, change it with the lock held, and broadcast when the owner ends."},
	"other": {"waits for", "object", "touch it", "whoever was to wake them has gone", ""},
}

// causeOf tells the cause by the wait reason and the frames.
func (l *leak) causeOf(g evidence.Goroutine) cause { return causes[l.kindOf(g)] }

// reasonKinds maps wait reasons to causes (runtime/runtime2.go, waitReasonStrings, Go 1.21 to 1.26).
var reasonKinds = map[string]string{
	"chan send": "send", "chan receive": "receive", "select": "select", "select (no cases)": "forever",
	"chan receive (nil chan)": "nil", "chan send (nil chan)": "nil", "sync.Mutex.Lock": "lock", "sync.RWMutex.RLock": "lock",
	"sync.RWMutex.Lock": "lock", "sync.WaitGroup.Wait": "group", "sync.Cond.Wait": "cond",
}

func (l *leak) kindOf(g evidence.Goroutine) string {
	kind := reasonKinds[g.Reason]
	switch s := l.c.Stack(g.Stack); kind {
	case "receive": // a range over a channel is compiled to receives with ok
		if _, ok := derive.Has(s, "runtime.chanrecv2"); ok {
			return "range"
		}
	case "select":
		if row, ok := l.c.Goroutines().Row(g.ID); ok && l.c.Kinds().Has(evidence.KindSyncs) && g.Wake == evidence.WakeNever && len(l.c.Waits(row)) == 0 {
			return "nilselect"
		}
	case "": // semacquire: up to Go 1.24 that of wait groups too
		if _, ok := derive.Has(s, "sync.(*WaitGroup).Wait"); ok {
			return "group"
		}
		return "other"
	}
	return kind
}

// machinery reports whether a frame is the runtime's or of the packages that hold the primitives.
func (l *leak) machinery(id evidence.FrameID) bool {
	pkg := derive.Package(l.c.Frame(id).Function)
	return l.f.Owner(id) == derive.OwnerRuntime || pkg == "sync" || pkg == "internal/sync"
}

// thing names what the goroutines of a site wait for: "an unbuffered channel of its own".
func (l *leak) thing(s *site, k cause) string {
	if k.thing == "" {
		return ""
	}
	noun := k.thing
	if object, ok := l.c.Sync(s.first.WaitsOn); ok && k.thing == "channel" {
		switch {
		case object.Cap == 0:
			noun = "unbuffered channel"
		case object.Len == object.Cap:
			noun = fmt.Sprintf("full channel (%d of %d)", object.Len, object.Cap)
		}
	}
	article := "a "
	if noun[0] == 'u' || noun[0] == 'o' {
		article = "an "
	}
	switch n := len(s.objects); {
	case s.count == 1 || n == 0:
		return " " + article + noun
	case n == 1:
		return " the same " + noun
	case n == s.count || n == maxObjects:
		return " " + article + noun + " of its own"
	}
	return fmt.Sprintf(" one of %d %ss", len(s.objects), k.thing)
}
