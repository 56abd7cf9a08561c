package goroutineexplosion

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// explosion is one run of the rule.
type explosion struct {
	both    *derive.Beside
	p       *diagnosis.Pass
	c       *evidence.Case
	f       *derive.Frames
	origins derive.Origins
}

// crowd is what the goroutines of one go statement do.
type crowd struct {
	queued  int // wait to send, to enter, for a lock
	ready   int // wait for a processor
	tokens  int // receive from one channel, as from a channel of tokens
	idle    int // everything else, and what can never wake: that is a leak
	biggest evidence.Group
	doing   derive.Doing // of the biggest group that queues
	object  uint64       // what its first member waits for
}

func (x *explosion) judge(o derive.Origin) {
	share := float64(o.Count) / float64(max(x.origins.Users, 1))
	if share < x.p.Limit("min-share") {
		x.p.Silent("the go statement with the most living goroutines has %d, less than %.0f %% of all", o.Count, 100*x.p.Limit("min-share"))
		return
	}
	o.CountParents(x.c)
	if x.batch(&o) {
		x.p.Silent("%d goroutines of one go statement are alive, and the one that started them waits for them or what they send: a batch of known size", o.Count)
		return
	}
	w := x.crowdOf(&o)
	if w.tokens > 0 && 10*o.Parents >= o.Sampled() { // started from all over the place, not by whoever set up a pool
		w.queued += w.tokens
	}
	if float64(w.queued+w.ready) < x.p.Limit("min-queued")*float64(o.Count) {
		x.p.Silent("%d goroutines of one go statement are alive, but most of them are idle (connections, workers, timers)", o.Count)
		return
	}
	x.both.Report(x.finding(&o, w, share))
}

// batch reports whether the only parent waits in a WaitGroup, or receives from a channel in the function of the go statement, as
// one does that collects results: it has stopped starting more, and they are as many as it wanted. A parent that takes the events
// for which it starts goroutines from a channel stands before the go statement, one that collects stands behind it.
func (x *explosion) batch(o *derive.Origin) bool {
	parent, ok := x.c.Goroutines().ByID(o.Parent)
	return ok && o.Parent != 0 && x.collects(parent, x.c.Frame(o.Created))
}

// collects reports whether a parent waits for those that it started at a line, or behind that line for what they send.
func (x *explosion) collects(parent evidence.Goroutine, start evidence.Frame) bool {
	switch x.f.Doing(parent).Activity {
	case derive.ActivityGroup:
		return true
	case derive.ActivityReceive:
		for _, frame := range x.c.Stack(parent.Stack).All() {
			if frame.Function == start.Function {
				return frame.Line > start.Line
			}
		}
	}
	return false
}

// crowdOf sorts the groups of an origin.
func (x *explosion) crowdOf(o *derive.Origin) crowd {
	var w crowd
	for _, g := range o.Groups {
		first := x.c.Goroutines().At(g.First)
		d := x.f.Doing(first)
		kind := &w.idle
		switch {
		case 2*g.Never > g.Count, g.State == evidence.StateLeaked:
		case d.OnProcessor():
			kind = &w.ready
		case d.Activity == derive.ActivitySend && x.together(g, first), d.Activity == derive.ActivityLock,
			d.Activity == derive.ActivitySemaphore, d.Activity == derive.ActivitySelect && x.enters(g.Stack):
			kind = &w.queued
		case d.Activity == derive.ActivityReceive && x.together(g, first):
			kind = &w.tokens
		}
		*kind += g.Count
		if kind != &w.idle && g.Count > w.biggest.Count {
			w.biggest, w.doing, w.object = g, d, first.WaitsOn
		}
	}
	return w
}

// gates are calls that wait to enter something with a limited number of places (x/sync/semaphore v0.22, database/sql of Go
// 1.21 to 1.26).
var gates = []string{"golang.org/x/sync/semaphore.(*Weighted).Acquire", "golang.org/x/sync/errgroup.(*Group).Go",
	"database/sql.(*DB).conn", "net/http.(*Transport).getConn"}

func (x *explosion) enters(id evidence.StackID) bool {
	_, ok := derive.Has(x.c.Stack(id), gates...)
	return ok
}

// together reports whether most goroutines of a group wait for one and the same object, as far as the evidence has objects.
func (x *explosion) together(g evidence.Group, first evidence.Goroutine) bool {
	if !x.c.Kinds().Has(evidence.KindSyncs) {
		return true
	}
	return first.WaitsOn != 0 && 2*len(x.c.Waiters(first.WaitsOn)) >= g.Count
}

func (x *explosion) finding(o *derive.Origin, w crowd, share float64) diagnosis.Finding {
	alive := float64(x.origins.Users) / float64(max(x.origins.LastID, 1))
	at := x.creator(o)
	f := diagnosis.Finding{
		Subject:  evidence.StackRef(w.biggest.Stack),
		Affected: o.Count, Victims: x.sample(w.biggest),
		Claim: fmt.Sprintf("%d goroutines, %.0f %% of the program's, were started by one go statement in %s and have not ended; %s",
			o.Count, 100*min(share, 1), nameOf(at), crowdText(w)),
		Because:    x.because(o, w, alive),
		Locations:  x.locations(o, w, at),
		Confidence: diagnosis.Possible,
		Severity:   diagnosis.Warning,
		Settle:     "growth shows in the difference of two dumps or in a graph of the number of goroutines; one core has the number only",
		Next:       []string{"take the goroutine count twice, some seconds apart, or look at the graph of go_goroutines"},
	}
	if o.Parent != 0 && x.c.Resolve(evidence.GoroutineRef(o.Parent)) {
		f.Subject = evidence.GoroutineRef(o.Parent)
	}
	channel := w.doing.Activity == derive.ActivityReceive || w.doing.Activity == derive.ActivitySend
	known := !channel || x.c.Kinds().Has(evidence.KindSyncs)
	if alive >= x.p.Limit("min-alive") && w.doing.Activity != derive.ActivityLock && known {
		f.Confidence = diagnosis.Likely
	}
	if float64(o.Count) >= x.p.Limit("critical-goroutines") {
		f.Severity = diagnosis.Critical
	}
	if w.doing.Activity == derive.ActivityLock {
		f.Against = append(f.Against, diagnosis.Reason{Text: "they wait for a lock: who holds it is the cause, and this its consequence"})
	}
	if !known {
		f.Against = append(f.Against, diagnosis.Reason{Text: "whether they wait for one channel or each for its own is not in this evidence; the latter is a leak"})
	}
	if alive < x.p.Limit("min-alive") {
		f.Against = append(f.Against, diagnosis.Reason{Text: fmt.Sprintf(
			"of about %d goroutines started since the process began, most have ended: this may be a peak", x.origins.LastID)})
	}
	return f
}

// sampleVictims is how many goroutines a finding names; Affected says how many there are.
const sampleVictims = 20

func (x *explosion) sample(g evidence.Group) []evidence.Ref {
	var refs []evidence.Ref
	for row := range x.c.Members(g) {
		if len(refs) == sampleVictims {
			break
		}
		refs = append(refs, evidence.GoroutineRef(x.c.Goroutines().ID(row)))
	}
	return refs
}

func nameOf(f evidence.Frame) string {
	if f.Function == "" {
		return "an unknown function"
	}
	return derive.Short(f.Function)
}

func crowdText(w crowd) string {
	if w.ready > w.queued {
		return fmt.Sprintf("%d of them are ready to run and get no processor", w.ready)
	}
	doing := w.doing
	doing.Callee = ""
	return fmt.Sprintf("%d of them queue up: each %s", w.queued, doing)
}

func (x *explosion) because(o *derive.Origin, w crowd, alive float64) []diagnosis.Reason {
	first := x.c.Goroutines().ID(w.biggest.First)
	refs := []evidence.Ref{evidence.GoroutineRef(first), evidence.StackRef(w.biggest.Stack)}
	if x.c.Resolve(evidence.SyncRef(w.object)) && w.object != 0 {
		refs = append(refs, evidence.SyncRef(w.object))
	}
	list := []diagnosis.Reason{
		{Text: fmt.Sprintf("%d goroutines of it have one stack: %s", w.biggest.Count, w.doing), Refs: refs},
		{Text: fmt.Sprintf("the highest goroutine id is %d: of about so many that were ever started, %.0f %% are alive",
			x.origins.LastID, 100*min(alive, 1)), Refs: refs[:1]},
	}
	if s, ok := x.c.Sync(w.object); ok && s.Kind == evidence.SyncChannel {
		list = append(list, diagnosis.Reason{Refs: []evidence.Ref{s.Ref()},
			Text: fmt.Sprintf("%d wait for the same channel, which holds %d of %d elements", len(x.c.Waiters(w.object)), s.Len, s.Cap)})
	}
	if o.Parents > 1 {
		list = append(list, diagnosis.Reason{Refs: refs[:1],
			Text: fmt.Sprintf("the go statement was executed by %d different goroutines, of %d that were looked at", o.Parents, o.Sampled())})
	}
	return list
}

// creator is the line of the go statement; when that lies in a library, the line of the parent that called it.
func (x *explosion) creator(o *derive.Origin) evidence.Frame {
	owner := x.f.Owner(o.Created)
	if owner == derive.OwnerUser {
		return x.c.Frame(o.Created)
	}
	if parent, ok := x.c.Goroutines().ByID(o.Parent); ok && o.Parent != 0 {
		s := x.c.Stack(parent.Stack)
		if i, found := x.f.UserFrame(s); found {
			return s.At(i)
		}
	}
	return x.c.Frame(o.Created)
}

// locations are the go statement, and where most of its goroutines are.
func (x *explosion) locations(o *derive.Origin, w crowd, at evidence.Frame) []diagnosis.Location {
	list := []diagnosis.Location{{Role: diagnosis.RoleCreator, Frame: at}}
	if at.Function == "" {
		list = nil
	}
	s := x.c.Stack(w.biggest.Stack)
	if i, ok := x.f.UserFrame(s); ok {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: s.At(i)})
	}
	return list
}
