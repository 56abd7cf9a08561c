package derive

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// LockKind is the sort of lock that a stack waits for or lets go.
type LockKind uint8

// The kinds of locks. Readers and writers of an RWMutex wait for one lock.
const (
	LockNone  LockKind = iota
	LockMutex          // sync.Mutex
	LockRead           // the read side of a sync.RWMutex
	LockWrite          // its write side
	LockOnce           // the lock of a sync.Once
	LockFile           // the lock of a file descriptor in package internal/poll
)

var lockKindNames = []string{"", "mutex", "RWMutex", "RWMutex", "lock of a sync.Once", "write lock of a file descriptor"}

// String is the noun for sentences: "mutex".
func (k LockKind) String() string { return lockKindNames[min(int(k), len(lockKindNames)-1)] }

// Shared reports whether several may hold a lock of the kind at once.
func (k LockKind) Shared() bool { return k == LockRead || k == LockWrite }

// family is the same for the kinds that can be the same lock.
func (k LockKind) family() LockKind {
	if k == LockWrite {
		return LockRead
	}
	return k
}

// Spot is what goroutines do at a stack of a Timeline, and the frames that tell. Indexes of frames are -1 where there is none.
type Spot struct {
	Stack     evidence.StackID
	Doing     Doing
	Lock      LockKind
	Syscall   string // of system calls: "write", "connect", "cgo"; empty when the stack does not name it
	Primitive int    // the outermost frame of what blocks or calls the system: sync.(*RWMutex).Lock, time.Sleep, syscall.write
	Caller    int    // the frame that calls it
	User      int    // the line of the user that leads there, else of a dependency
	Own       bool   // it belongs to the runtime, the tracer or package testing, and not to the program
}

// Timeline is the Timeline of a Case with what its places mean.
type Timeline struct {
	Line   *evidence.Timeline // nil when the Case has none: then everything is empty
	Places []Spot             // for each of Line.Sites
	Locks  []ContendedLock    // the longest waits in all first

	c     *evidence.Case
	f     *Frames
	wakes []Spot // for each of Line.Releases

	byStack map[evidence.StackID]*ContendedLock // where its waiters stand; built on first use
}

// OfTimeline is the derivation of Timeline.
var OfTimeline = &diagnosis.Derivation[*Timeline]{
	Name: "timeline",
	Uses: []diagnosis.Dependency{OfFrames},
	Run: func(p *diagnosis.Pass) (*Timeline, error) {
		frames, err := diagnosis.Of(p, OfFrames)
		if err != nil {
			return nil, err
		}
		return timelineOf(p.Case, frames), nil
	},
}

func timelineOf(c *evidence.Case, f *Frames) *Timeline {
	t := &Timeline{Line: c.Timeline, c: c, f: f}
	if t.Line == nil {
		return t
	}
	t.Places = make([]Spot, len(t.Line.Sites))
	for i := range t.Line.Sites {
		s := &t.Line.Sites[i]
		t.Places[i] = t.spot(s.Kind, s.Reason, s.Stack)
	}
	t.wakes = make([]Spot, len(t.Line.Releases))
	for i := range t.Line.Releases {
		t.wakes[i] = t.waker(t.Line.Releases[i].Stack)
	}
	t.Locks = t.contended()
	return t
}

// Decides reports whether it is the Timeline that tells about locks: when goroutines waited for one, or when nothing else knows of locks.
func (t *Timeline) Decides() bool {
	return t.Line != nil && (len(t.Locks) > 0 || !t.c.Kinds().Has(evidence.KindSyncs))
}

// CallsHidden reports whether the time of short system calls counts as running: traces of Go 1.21 and older tell that a call was made, and how
// long it took only when the scheduler had to take the processor away.
func (t *Timeline) CallsHidden() bool {
	var minor int
	n, err := fmt.Sscanf(t.Line.Form, "go 1.%d trace", &minor)
	return n == 1 && err == nil && minor < firstWithCalls
}

// firstWithCalls is the first version whose traces tell how long each system call took (src/runtime/traceruntime.go).
const firstWithCalls = 22

// Site is the Spot of a site, by its index.
func (t *Timeline) Site(i int) Spot {
	if t == nil || i < 0 || i >= len(t.Places) {
		return Spot{Primitive: -1, Caller: -1, User: -1}
	}
	return t.Places[i]
}

// Waker is the Spot of a Release, by its index: where the goroutine stood that ended the wait.
func (t *Timeline) Waker(i int) Spot { return t.wakes[i] }

// Stretch is the Spot of a stretch of time: a HoldPart or a Leg. Of one on a processor the stack is where it next stopped.
func (t *Timeline) Stretch(state evidence.ActState, reason string, stack evidence.StackID) Spot {
	switch state {
	case evidence.ActSyscall:
		return t.spot(evidence.SiteSyscall, reason, stack)
	case evidence.ActBlocked:
		return t.spot(evidence.SiteBlock, reason, stack)
	case evidence.ActReady:
		return t.spot(evidence.SiteReady, reason, stack)
	}
	return t.spot(evidence.SitePreempt, reason, stack)
}

// Frame is a frame of a Spot, by an index of it; ok is false for -1.
func (t *Timeline) Frame(p Spot, i int) (evidence.Frame, bool) {
	s := t.c.Stack(p.Stack)
	if i < 0 || i >= s.Len() {
		return evidence.Frame{}, false
	}
	return s.At(i), true
}

// Open is the line of a Spot that a developer should open: the user's, else that of who called the primitive, else the innermost one
// with a name.
func (t *Timeline) Open(p Spot) (evidence.Frame, bool) {
	for _, i := range [...]int{p.User, p.Caller, p.Primitive, 0} {
		if at, ok := t.Frame(p, i); ok && at.Function != "" {
			return at, true
		}
	}
	return evidence.Frame{}, false
}

// Writer is the function that a logger calls to write, of a Spot inside one: "os.(*File).Write".
func (t *Timeline) Writer(p Spot) (evidence.Frame, bool) {
	s := t.c.Stack(p.Stack)
	if p.Doing.Logger == "" {
		return evidence.Frame{}, false
	}
	for i := 1; i < s.Len(); i++ {
		if isLogger(Package(s.At(i).Function)) {
			return s.At(i - 1), true
		}
	}
	return evidence.Frame{}, false
}

// traceReasons are the reasons of a trace in the words of goroutine dumps (runtime/traceruntime.go, traceBlockReasonStrings, Go 1.22 to
// 1.26), where they differ. "sync" is told apart by the frames.
var traceReasons = map[string]string{"network": "IO wait", "sync.(*Cond).Wait": "sync.Cond.Wait", "forever": "select (no cases)",
	"GC mark assist wait for work": "GC assist wait", "wait until GC ends": "wait for GC cycle"}

// ownReasons are the waits of the runtime's goroutines.
var ownReasons = setOf("system goroutine wait", "GC background sweeper wait", "GC worker (idle)", "wait for debug call",
	"GC weak to strong wait")

// ownPackages do their own waiting, whoever called them. Wakes inside them say nothing about the program.
var ownPackages = setOf("runtime", "runtime/trace", "runtime/pprof", "os/signal", "testing", "internal/trace")

// spot says what is done at a stack.
func (t *Timeline) spot(kind evidence.SiteKind, reason string, stack evidence.StackID) Spot {
	s := t.c.Stack(stack)
	p := Spot{Stack: stack, Primitive: -1, Caller: -1, User: -1}
	if i, ok := t.f.UserFrame(s); ok {
		p.User = i
	}
	state, words := evidence.StateRunning, ""
	switch kind {
	case evidence.SiteBlock:
		state, words = evidence.StateWaiting, reason
		if reason == "" {
			words = parkedFor(s)
		}
		if words == "sync" {
			p.Lock, words = lockWait(s)
		}
		if w, ok := traceReasons[words]; ok {
			words = w
		}
	case evidence.SiteSyscall:
		state, p.Syscall = evidence.StateSyscall, syscallOf(s)
	}
	p.Doing = t.f.Doing(evidence.Goroutine{State: state, Reason: words, Stack: stack})
	if a, ok := siteActivities[kind]; ok {
		p.Doing.Activity = a
	}
	if p.Syscall == "cgo" {
		p.Doing.Activity = ActivityCgo
	}
	if kind == evidence.SiteBlock && p.Doing.Activity == ActivitySemaphore && collects(s) {
		p.Doing.Activity = ActivityCollector
	}
	t.frames(&p, s)
	p.Own = ownReasons[reason] || t.own(s, p)
	return p
}

// siteActivities are the activities of sites that need no look at the frames.
var siteActivities = map[evidence.SiteKind]Activity{evidence.SiteYield: ActivityYield, evidence.SitePreempt: ActivityCompute,
	evidence.SiteSample: ActivityCompute, evidence.SiteReady: ActivityReady, evidence.SiteAssist: ActivityCollector}

// frames finds the primitive and who calls it.
func (t *Timeline) frames(p *Spot, s evidence.Stack) {
	for i := range s.Len() {
		if t.f.Owner(s.FrameID(i)) != OwnerRuntime && !primitivePackages[Package(s.At(i).Function)] || isSleep(s.At(i).Function) {
			p.Caller = i
			break
		}
		p.Primitive = i
	}
	if at := p.Caller; at >= 0 && isSleep(s.At(at).Function) {
		p.Primitive, p.Caller = at, min(at+1, s.Len()-1)
	}
}

// primitivePackages lie between the runtime and who blocks or calls the system.
var primitivePackages = setOf("sync", "internal/sync", "internal/poll", "syscall", "internal/syscall/unix", "golang.org/x/sys/unix",
	"internal/runtime/syscall", "runtime/internal/syscall")

// isSleep reports whether a function is time.Sleep: of package time, but a primitive.
func isSleep(function string) bool { return function == "time.Sleep" }

// own reports whether a stack holds nothing of the program: the runtime's goroutines, the tracer, package testing at its own locks. A
// stack without names is not known to be.
func (t *Timeline) own(s evidence.Stack, p Spot) bool {
	if p.Lock != LockNone {
		at, ok := t.Frame(p, p.Caller)
		return ok && ownPackages[Package(at.Function)]
	}
	for i := range s.Len() {
		if t.f.Owner(s.FrameID(i)) != OwnerRuntime && !ownPackages[Package(s.At(i).Function)] {
			return false
		}
	}
	return s.Len() > 0
}

// waker is the Spot of who ended a wait.
func (t *Timeline) waker(stack evidence.StackID) Spot {
	s := t.c.Stack(stack)
	p := Spot{Stack: stack, Primitive: -1, Caller: -1, User: -1, Lock: unlockKind(s), Doing: Doing{Call: -1, Logger: t.f.logger(s)}}
	if i, ok := t.f.UserFrame(s); ok {
		p.User = i
	}
	t.frames(&p, s)
	p.Own = t.own(s, p)
	return p
}

// primitives are the functions at which goroutines wait with the reason "sync", with the words of a goroutine dump (Go 1.11 to 1.26). Of
// several on a stack the outermost decides: a writer of an RWMutex stands in the mutex of the writers.
var primitives = map[string]struct {
	kind LockKind
	wait string
}{
	"sync.(*Mutex).Lock":                      {LockMutex, "sync.Mutex.Lock"},
	"sync.(*Mutex).lockSlow":                  {LockMutex, "sync.Mutex.Lock"},
	"internal/sync.(*Mutex).Lock":             {LockMutex, "sync.Mutex.Lock"},
	"internal/sync.(*Mutex).lockSlow":         {LockMutex, "sync.Mutex.Lock"},
	"sync.(*RWMutex).RLock":                   {LockRead, "sync.RWMutex.RLock"},
	"sync.(*RWMutex).Lock":                    {LockWrite, "sync.RWMutex.Lock"},
	"sync.(*Once).Do":                         {LockOnce, "sync.Mutex.Lock"},
	"sync.(*Once).doSlow":                     {LockOnce, "sync.Mutex.Lock"},
	"sync.(*WaitGroup).Wait":                  {LockNone, "sync.WaitGroup.Wait"},
	"sync.(*Pool).pinSlow":                    {LockNone, "semacquire"},
	"internal/poll.(*fdMutex).rwlock":         {LockFile, "semacquire"},
	"internal/poll.(*fdMutex).increfAndClose": {LockNone, "semacquire"},
}

// lockWait says for what lock a goroutine waits whose reason is "sync", and what a dump would call it. The runtime's own semaphores have
// no such frame.
func lockWait(s evidence.Stack) (LockKind, string) {
	kind, words := LockNone, "semacquire"
	for i := range s.Len() {
		name := s.At(i).Function
		if p, ok := primitives[name]; ok {
			kind, words = p.kind, p.wait
			continue
		}
		if pkg := Package(name); !lockPackages[pkg] && !isRuntime(pkg) {
			break
		}
	}
	if kind == LockFile && !writes(s) {
		return LockNone, words
	}
	return kind, words
}

// parkings are what the runtime calls to park a goroutine, with the reason of a trace (runtime/{sema,chan,select,netpoll,time}.go, Go 1.22 to
// 1.26).
var parkings = map[string]string{"runtime.semacquire1": "sync", "runtime.notifyListWait": "sync.(*Cond).Wait", "sync.runtime_notifyListWait": "sync.(*Cond).Wait",
	"runtime.chanrecv": "chan receive", "runtime.chansend": "chan send", "runtime.selectgo": "select", "runtime.netpollblock": "network",
	"time.Sleep": "sleep", "runtime.timeSleep": "sleep", "runtime.block": "forever"}

// parkedFor is the reason of a wait that began before the trace, which tells only the stack: with the runtime's own frames.
func parkedFor(s evidence.Stack) string {
	for i := range min(s.Len(), parkingDepth) {
		if reason, ok := parkings[s.At(i).Function]; ok {
			return reason
		}
	}
	return ""
}

// parkingDepth is how far from the innermost frame the function stands that parks.
const parkingDepth = 4

// collects reports whether the runtime waits for a semaphore of its own in order to collect or to stop the world, in the name of whoever
// allocated: runtime.gcMarkDone, runtime.gcStart, runtime.stopTheWorld (runtime/{mgc,proc}.go, Go 1.11 to 1.26).
func collects(s evidence.Stack) bool {
	for i := range s.Len() {
		name := s.At(i).Function
		if !isRuntime(Package(name)) {
			return false
		}
		if strings.HasPrefix(name, "runtime.gc") || strings.HasPrefix(name, "runtime.stopTheWorld") || name == "runtime.GC" {
			return true
		}
	}
	return false
}

// writes reports whether the lock of a descriptor is asked for in order to write: who queues to read or to accept stands idle.
func writes(s evidence.Stack) bool {
	for i := range s.Len() {
		if name := s.At(i).Function; strings.HasPrefix(name, "internal/poll.(*FD).") {
			return strings.Contains(strings.ToLower(name), "write")
		}
	}
	return false
}

// unlockKind says what sort of lock the innermost frames let go.
func unlockKind(s evidence.Stack) LockKind {
	kind := LockNone
	for i := range s.Len() {
		name := s.At(i).Function
		pkg := Package(name)
		switch {
		case strings.HasPrefix(name, "sync.(*RWMutex).RUnlock"), strings.HasPrefix(name, "sync.(*RWMutex).rUnlock"):
			kind = LockRead
		case name == "sync.(*RWMutex).Unlock":
			kind = LockWrite
		case strings.HasPrefix(name, "sync.(*Once)."):
			kind = LockOnce
		case strings.HasPrefix(name, "internal/poll.(*fdMutex)."):
			kind = LockFile
		case strings.HasSuffix(name, "sync.(*Mutex).Unlock"), strings.HasSuffix(name, "sync.(*Mutex).unlockSlow"):
			kind = LockMutex
		}
		if !lockPackages[pkg] && !isRuntime(pkg) {
			break
		}
	}
	return kind
}

// syscallOf is the name of the system call: of the innermost function of package syscall or x/sys/unix that is not the general entry.
func syscallOf(s evidence.Stack) string {
	for i := range s.Len() {
		name := s.At(i).Function
		if strings.HasPrefix(name, "runtime.cgocall") {
			return "cgo"
		}
		pkg := Package(name)
		if pkg != "syscall" && pkg != "golang.org/x/sys/unix" && pkg != "internal/syscall/unix" {
			if isRuntime(pkg) || strings.HasSuffix(pkg, "/syscall") {
				continue
			}
			return ""
		}
		if base := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:]); !strings.Contains(base, "syscall") {
			return base
		}
	}
	return ""
}
