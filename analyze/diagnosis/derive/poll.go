package derive

import (
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// PollShape is how a loop polls.
type PollShape uint8

// The shapes of polling loops.
const (
	PollNone     PollShape = iota
	PollYield              // runtime.Gosched
	PollSelect             // select with a default
	PollSpin               // reads or swaps an atomic and does nothing else
	PollTryLock            // TryLock
	PollSleep              // tiny sleeps
	PollTimer              // re-arms a timer again and again
	PollDeadline           // tiny deadlines
	PollLength             // asks for the length of a channel
	PollClock              // asks for the time
	PollContext            // asks whether a context is done
)

var pollPhrases = []string{"does not poll", "yields with runtime.Gosched", "polls in a select with a default",
	"spins on an atomic variable", "spins on TryLock", "polls with tiny sleeps", "re-arms a timer that fires at once",
	"polls with tiny deadlines", "polls the length of a channel", "asks for the time again and again",
	"asks again and again whether a context is done"}

// String is a phrase that fits behind "it".
func (p PollShape) String() string { return pollPhrases[min(int(p), len(pollPhrases)-1)] }

// pollCall is a library function that a polling loop is caught in. A trailing dot or parenthesis makes the name a prefix.
type pollCall struct {
	name  string
	shape PollShape
	since string // Go versions it was seen in
}

var pollCalls = []pollCall{
	{"runtime.Gosched", PollYield, "1.21-1.26; twice on the stack since 1.25"},
	{"runtime.selectnbrecv", PollSelect, "1.21-1.26"},
	{"runtime.selectnbsend", PollSelect, "1.21-1.26"},
	{"runtime.selectgo", PollSelect, "1.21-1.26; with several cases; beneath runtime.gopark it waits instead"},
	{"runtime.chanlen", PollLength, "1.24-1.26; before, len of a channel is compiled to a load"},
	{"sync/atomic.", PollSpin, "1.21-1.26; methods only, functions are compiled to instructions"},
	{"internal/runtime/atomic.", PollSpin, "1.24-1.26"},
	{"runtime/internal/atomic.", PollSpin, "1.21-1.23"},
	{"sync.(*Mutex).TryLock", PollTryLock, "1.21-1.26"},
	{"internal/sync.(*Mutex).TryLock", PollTryLock, "1.24-1.26"},
	{"sync.(*RWMutex).TryLock", PollTryLock, "1.21-1.26"},
	{"sync.(*RWMutex).TryRLock", PollTryLock, "1.21-1.26"},
	{"time.Sleep", PollSleep, "1.21-1.26"},
	{"time.(*Timer).Reset", PollTimer, "1.21-1.26"},
	{"time.(*Ticker).Reset", PollTimer, "1.21-1.26"},
	{"time.NewTimer", PollTimer, "1.21-1.26"},
	{"time.After", PollTimer, "1.21-1.26"},
	{"net.(*conn).SetReadDeadline", PollDeadline, "1.21-1.26"},
	{"net.(*conn).SetWriteDeadline", PollDeadline, "1.21-1.26"},
	{"net.(*conn).SetDeadline", PollDeadline, "1.21-1.26"},
	{"os.(*File).SetReadDeadline", PollDeadline, "1.21-1.26"},
}

// Poll is a polling loop that was caught in the act.
type Poll struct {
	Shape  PollShape
	Frame  int    // index of the user frame whose loop it is
	Weak   bool   // the loop looks at an atomic and makes a call: it may do more than ask
	Outer  bool   // it was caught in what the loop calls, not in the polling call itself
	Woken  bool   // it was just woken from the sleep and waits for a processor
	Callee string // the library function it was caught in; empty when the loop's own code tells
	Loop   *evidence.Loop
	Alarm  *evidence.Alarm
}

// Polls finds polling loops.
type Polls struct {
	f      *Frames
	loops  map[int64][]*evidence.Loop // innermost first
	alarms map[int64]*evidence.Alarm
}

// OfPolls is the derivation of Polls.
var OfPolls = &diagnosis.Derivation[*Polls]{
	Name: "polls",
	Uses: []diagnosis.Dependency{OfFrames},
	Run: func(p *diagnosis.Pass) (*Polls, error) {
		frames, err := diagnosis.Of(p, OfFrames)
		if err != nil {
			return nil, err
		}
		return newPolls(frames, p.Case), nil
	},
}

func newPolls(f *Frames, c *evidence.Case) *Polls {
	polls := &Polls{f: f, loops: map[int64][]*evidence.Loop{}, alarms: map[int64]*evidence.Alarm{}}
	for i := range c.Loops {
		if l := &c.Loops[i]; !retries(l) {
			polls.loops[l.Goroutine] = append(polls.loops[l.Goroutine], l)
		}
	}
	for i := range c.Alarms {
		a := &c.Alarms[i]
		if known := polls.alarms[a.Goroutine]; known == nil || a.DueNS < known.DueNS {
			polls.alarms[a.Goroutine] = a
		}
	}
	return polls
}

// Alarm returns the earliest alarm of a goroutine, nil when none is due soon.
func (p *Polls) Alarm(goroutine int64) *evidence.Alarm { return p.alarms[goroutine] }

// Active says how a goroutine that is on a processor or wants one polls; PollNone when it does not seem to.
func (p *Polls) Active(g evidence.Goroutine) Poll {
	s := p.f.c.Stack(g.Stack)
	end, ok := p.outside(s, 0)
	if !ok || g.Flags.Has(evidence.FlagSystem) {
		return Poll{}
	}
	switch p.f.Doing(g).Activity {
	case ActivityUnknown: // it panics
		return Poll{}
	case ActivityReady:
		if end > 0 && s.At(end-1).Function == "time.Sleep" {
			return Poll{Shape: PollSleep, Frame: end, Callee: "time.Sleep", Woken: true}
		}
		return Poll{}
	}
	if end > 0 { // only what the program itself calls: the library uses atomics and timers all the time
		if shape := shapeOf(s.At(end - 1).Function); shape != PollNone {
			return Poll{Shape: shape, Frame: end, Callee: s.At(end - 1).Function, Loop: p.around(g.ID, end)}
		}
	}
	for _, l := range p.loops[g.ID] {
		switch {
		case l.Depth < end && l.Depth < s.Len() && glue.MatchString(s.At(l.Depth).Function): // the entry of a wrapper, nobody's loop
		case l.Called:
			if poll := p.outer(s, l); poll.Shape != PollNone {
				return poll
			}
		case waits(l) || asks(l):
			return Poll{Shape: PollSpin, Frame: end, Loop: l, Weak: !waits(l)}
		}
	}
	return Poll{}
}

// outside is the innermost frame that somebody of the program or of a dependency wrote.
func (p *Polls) outside(s evidence.Stack, from int) (int, bool) {
	first, ok := p.f.OutsideStandard(s, from)
	for i := first; ok; i, ok = p.f.OutsideStandard(s, i+1) {
		if !p.f.made(s, i) {
			return i, true
		}
	}
	return first, first >= 0
}

// ownerOf is the user frame whose code a loop is.
func (p *Polls) ownerOf(s evidence.Stack, l *evidence.Loop) int {
	at, ok := p.outside(s, l.Depth)
	if !ok {
		return l.Depth
	}
	return at
}

// around is the loop of a goroutine at or outside a frame, nil when there is none.
func (p *Polls) around(goroutine int64, frame int) *evidence.Loop {
	for _, l := range p.loops[goroutine] {
		if l.Depth >= frame {
			return l
		}
	}
	return nil
}

// retries recognises the jump back of a function's entry: behind the call that grows the stack the function begins anew
// (runtime.morestack, Go 1.21 to 1.26). That is no loop of the program.
func retries(l *evidence.Loop) bool {
	return slices.ContainsFunc(l.Callees, func(name string) bool { return strings.HasPrefix(name, "runtime.morestack") })
}

// Bounds of an outer loop that is taken for one that asks.
const (
	askingLoop  = 2 * tightLoop // bytes of its own code
	askingCalls = 4             // calls that it makes each turn: what it asks, how it pauses, a look at the context
)

// outer judges a loop out of which the goroutine has called something: it polls when it makes one of the calls of polling, stores
// nothing itself, and what it was caught in is a short question (its own callee, a lock, an atomic) and no work.
func (p *Polls) outer(s evidence.Stack, l *evidence.Loop) Poll {
	if l.Bytes > askingLoop || l.Calls > askingCalls || l.Stores > 0 || l.Depth >= s.Len() || !p.question(s, l.Depth) {
		return Poll{}
	}
	for _, callee := range l.Callees {
		if shape := shapeOf(callee); shape != PollNone {
			return Poll{Shape: shape, Frame: p.ownerOf(s, l), Callee: callee, Loop: l, Outer: true}
		}
	}
	return Poll{}
}

// question reports whether the frames that a loop called are no more than one function of the program and operations of locks.
func (p *Polls) question(s evidence.Stack, depth int) bool {
	written := 0
	for i := range depth {
		function := s.At(i).Function
		switch p.f.Owner(s.FrameID(i)) {
		case OwnerUser, OwnerDependency:
			if !p.f.made(s, i) {
				written++
			}
		case OwnerStandard:
			if !lockWork(function) && shapeOf(function) == PollNone {
				return false
			}
		case OwnerRuntime:
			if !strings.HasPrefix(function, "runtime.asyncPreempt") && !strings.HasPrefix(function, "runtime.mapaccess") &&
				function != "runtime.deferreturn" && shapeOf(function) == PollNone {
				return false
			}
		}
	}
	return written <= 1
}

func shapeOf(function string) PollShape {
	for _, c := range pollCalls {
		if function == c.name || (strings.HasSuffix(c.name, ".") && strings.HasPrefix(function, c.name)) {
			return c.shape
		}
	}
	return PollNone
}

// tightLoop is the longest loop that is taken for one that only looks. A flag test compiles to 9 to 30 bytes and a
// compare-and-swap to 20 to 40 on amd64 and arm64; a loop that computes from what it reads is rarely shorter than 64.
const tightLoop = 64

// waits reports whether a loop can only wait for another goroutine's store: it reads one place again and again, computes and
// changes nothing, calls nothing.
func waits(l *evidence.Loop) bool {
	return l.Bytes > 0 && l.Bytes <= tightLoop && l.Calls == 0 && l.Stores == 0 && l.Moving == 0 && l.Work == 0 &&
		(l.Atomics > 0 || l.Loads == 1)
}

// asks reports whether a loop may be one that asks: it works on an atomic, stores nothing itself and makes a call or two (a
// yield, a sleep of nothing, a count).
func asks(l *evidence.Loop) bool {
	return l.Bytes > 0 && l.Bytes <= 2*tightLoop && l.Calls <= 2 && l.Stores == 0 && l.Atomics > 0
}

// Parked says how a waiting goroutine polls, by the alarm that will wake it within limit ns.
func (p *Polls) Parked(g evidence.Goroutine, limit int64) Poll {
	a := p.alarms[g.ID]
	if a == nil || !short(a, limit) {
		return Poll{}
	}
	s := p.f.c.Stack(g.Stack)
	end, ok := p.outside(s, 0)
	if !ok {
		return Poll{}
	}
	shape := map[evidence.AlarmSource]PollShape{evidence.AlarmSleep: PollSleep, evidence.AlarmTimer: PollTimer,
		evidence.AlarmDeadline: PollDeadline}[a.Source]
	return Poll{Shape: shape, Frame: end, Alarm: a}
}

// short reports whether an alarm is that of a poll: what was asked for decides where it is known, the rest of it else.
func short(a *evidence.Alarm, limit int64) bool {
	if a.AskedNS > 0 {
		return a.AskedNS <= limit
	}
	return a.DueNS <= limit
}
