package derive

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// timed builds a Timeline from stacks written as in sketch.
type timed struct {
	*sketch
	line evidence.Timeline
}

func newTimed() *timed {
	return &timed{newSketch(), evidence.Timeline{Form: "go 1.26 trace", SpanNS: 10e9, SliceNS: 1e9, Procs: 4}}
}

// site adds a site at which n goroutines waited for ns each, busy all the time that this makes.
func (b *timed) site(kind evidence.SiteKind, reason, stack string, n int, ns int64) int {
	s := evidence.Site{Kind: kind, Reason: reason, Stack: b.stack(stack), Count: uint64(n), TotalNS: uint64(n) * uint64(ns), MaxNS: uint64(ns),
		BusyNS: min(uint64(n)*uint64(ns), 9e9), LastNS: 10e9}
	for range n {
		s.Hist.Add(ns)
	}
	b.line.Sites = append(b.line.Sites, s)
	return len(b.line.Sites) - 1
}

// release adds n wakes of a site, each after a hold of ns.
func (b *timed) release(site int, stack string, n int, ns int64, parts ...evidence.HoldPart) int {
	r := evidence.Release{Site: site, Stack: b.stack(stack), Count: uint64(n), HoldNS: uint64(n) * uint64(ns), MaxHold: uint64(ns), Parts: parts}
	for range n {
		r.Holds.Add(ns)
	}
	b.line.Releases = append(b.line.Releases, r)
	return len(b.line.Releases) - 1
}

func (b *timed) done() *Timeline {
	b.b.Timeline(b.line)
	c, f := b.finish()
	return timelineOf(c, f)
}

const (
	takes    = "sync.(*Mutex).Lock:46 "
	letsGo   = "sync.(*Mutex).Unlock:65 "
	fileEnd  = "internal/poll.(*FD).Write:374 os.(*File).write:47 os.(*File).Write:215 "
	writeEnd = "syscall.write:964 syscall.Write:211 internal/poll.ignoringEINTRIO:738 " + fileEnd
)

func TestSpots(t *testing.T) {
	tests := []struct {
		name, reason, stack string
		kind                evidence.SiteKind
		lock                LockKind
		activity            Activity
		syscall             string
		primitive, caller   string
		user                string
		own                 bool
	}{
		{name: "mutex", reason: "sync", stack: "internal/sync.(*Mutex).lockSlow:149 internal/sync.(*Mutex).Lock:70 " + takes + "main.f:3 main.main:1",
			lock: LockMutex, activity: ActivityLock, primitive: "sync.(*Mutex).Lock", caller: "main.f", user: "main.f"},
		{name: "at the end, with the frames of the runtime", reason: "sync", stack: parkMutex + "main.f:3", lock: LockMutex, activity: ActivityLock,
			primitive: "sync.(*Mutex).Lock", caller: "main.f", user: "main.f"},
		{name: "writers queue in a mutex", reason: "sync", stack: takes + "sync.(*RWMutex).Lock:155 main.f:3", lock: LockWrite, activity: ActivityLock,
			primitive: "sync.(*RWMutex).Lock", caller: "main.f", user: "main.f"},
		{name: "reader", reason: "sync", stack: "sync.(*RWMutex).RLock:74 main.f:3", lock: LockRead, activity: ActivityLock,
			primitive: "sync.(*RWMutex).RLock", caller: "main.f", user: "main.f"},
		{name: "once", reason: "sync", stack: takes + "sync.(*Once).doSlow:100 sync.(*Once).Do:90 main.f:3", lock: LockOnce, activity: ActivityLock,
			primitive: "sync.(*Once).Do", caller: "main.f", user: "main.f"},
		{name: "sync.Map", reason: "sync", stack: takes + "sync.(*Map).Store:160 main.f:3", lock: LockMutex, activity: ActivityLock,
			primitive: "sync.(*Map).Store", caller: "main.f", user: "main.f"},
		{name: "wait group", reason: "sync", stack: "sync.(*WaitGroup).Wait:206 main.f:3", activity: ActivityGroup,
			primitive: "sync.(*WaitGroup).Wait", caller: "main.f", user: "main.f"},
		{name: "pool", reason: "sync", stack: takes + "sync.(*Pool).pinSlow:240 sync.(*Pool).Get:131 main.f:3", activity: ActivitySemaphore,
			primitive: "sync.(*Pool).Get", caller: "main.f", user: "main.f"},
		{name: "condition", reason: "sync.(*Cond).Wait", stack: "sync.(*Cond).Wait:71 main.f:3", activity: ActivityCond,
			primitive: "sync.(*Cond).Wait", caller: "main.f", user: "main.f"},
		{name: "the mutex of a condition", reason: "sync", stack: takes + "sync.(*Cond).Wait:72 main.f:3", lock: LockMutex, activity: ActivityLock,
			primitive: "sync.(*Cond).Wait", caller: "main.f", user: "main.f"},
		{name: "the runtime's semaphore", reason: "sync", stack: "runtime.traceAdvance:786 runtime.(*traceAdvancerState).start.func1:1108",
			activity: ActivitySemaphore, primitive: "runtime.(*traceAdvancerState).start.func1", own: true},
		{name: "testing", reason: "sync", stack: takes + "testing.(*common).log:1000 main.TestX:3", lock: LockMutex, activity: ActivityLock,
			primitive: "sync.(*Mutex).Lock", caller: "testing.(*common).log", user: "main.TestX", own: true},
		{name: "descriptor to write", reason: "sync", stack: "internal/poll.(*fdMutex).rwlock:154 internal/poll.(*FD).writeLock:239 " + fileEnd + "main.f:3",
			lock: LockFile, activity: ActivityLock, primitive: "internal/poll.(*FD).Write", caller: "os.(*File).write", user: "main.f"},
		{name: "descriptor to read", reason: "sync", stack: "internal/poll.(*fdMutex).rwlock:154 internal/poll.(*FD).readLock:221 internal/poll.(*FD).Read:151 main.f:3",
			activity: ActivityLock, primitive: "internal/poll.(*FD).Read", caller: "main.f", user: "main.f"},
		{name: "sleep", reason: "sleep", stack: "time.Sleep:363 main.f:3", activity: ActivitySleep, primitive: "time.Sleep", caller: "main.f", user: "main.f"},
		{name: "receive", reason: "chan receive", stack: "runtime.chanrecv1:509 main.f:3", activity: ActivityReceive, primitive: "runtime.chanrecv1",
			caller: "main.f", user: "main.f"},
		{name: "pipe that is full", reason: "network", stack: fileEnd + "main.f:3", activity: ActivityFile, primitive: "internal/poll.(*FD).Write",
			caller: "os.(*File).write", user: "main.f"},
		{name: "connection", reason: "network", stack: "internal/poll.(*FD).Read:165 net.(*netFD).Read:68 net.(*conn).Read:196 main.f:3", activity: ActivityNetwork,
			primitive: "internal/poll.(*FD).Read", caller: "net.(*netFD).Read", user: "main.f"},
		{name: "request", reason: "select", stack: "runtime.selectgo:351 net/http.(*persistConn).roundTrip:2911 net/http.(*Client).do:733 main.f:3",
			activity: ActivityNetwork, primitive: "runtime.selectgo", caller: "net/http.(*persistConn).roundTrip", user: "main.f"},
		{name: "assist", reason: "GC mark assist wait for work", stack: "runtime.gcParkAssist:700 main.f:3", activity: ActivityCollector,
			primitive: "runtime.gcParkAssist", caller: "main.f", user: "main.f"},
		{name: "a lock, since before the trace", stack: parkMutex + "main.f:3", lock: LockMutex, activity: ActivityLock, primitive: "sync.(*Mutex).Lock",
			caller: "main.f", user: "main.f"},
		{name: "a channel, since before the trace", stack: "runtime.gopark:462 runtime.chanrecv:667 runtime.chanrecv1:509 main.f:3", activity: ActivityReceive,
			primitive: "runtime.chanrecv1", caller: "main.f", user: "main.f"},
		{name: "a connection, since before the trace", stack: parkPoll + "net.(*netFD).Read:68 net.(*conn).Read:196 main.f:3", activity: ActivityNetwork,
			primitive: "internal/poll.(*pollDesc).wait", caller: "net.(*netFD).Read", user: "main.f"},
		{name: "unknown, since before the trace", stack: "runtime.gopark:462 main.f:3", activity: ActivityUnknown, primitive: "runtime.gopark", caller: "main.f", user: "main.f"},
		{name: "the end of marking", reason: "sync", stack: "runtime.gcMarkDone:900 runtime.gcAssistAlloc:550 runtime.mallocgc:1000 main.f:3",
			activity: ActivityCollector, primitive: "runtime.mallocgc", caller: "main.f", user: "main.f"},
		{name: "stopping the world", reason: "sync", stack: "runtime.stopTheWorld:1400 runtime.ReadMemStats:400 main.f:3", activity: ActivityCollector,
			primitive: "runtime.ReadMemStats", caller: "main.f", user: "main.f"},
		{name: "forever", reason: "forever", stack: "runtime.block:100 main.f:3", activity: ActivityForever, primitive: "runtime.block", caller: "main.f", user: "main.f"},
		{name: "mark worker", reason: "system goroutine wait", stack: "", activity: ActivityUnknown, own: true},
		{name: "no names", reason: "sync", stack: "", activity: ActivitySemaphore},
		{name: "write", kind: evidence.SiteSyscall, stack: writeEnd + "main.f:3", activity: ActivityFile, syscall: "write",
			primitive: "internal/poll.(*FD).Write", caller: "os.(*File).write", user: "main.f"},
		{name: "raw system call", kind: evidence.SiteSyscall, stack: "internal/runtime/syscall/linux.Syscall6:36 syscall.RawSyscall6:38 syscall.Syscall6:70 main.f:3",
			activity: ActivitySyscall, primitive: "syscall.Syscall6", caller: "main.f", user: "main.f"},
		{name: "x/sys", kind: evidence.SiteSyscall, stack: "syscall.Syscall:70 golang.org/x/sys/unix.Fsync:700 main.f:3", activity: ActivitySyscall,
			syscall: "fsync", primitive: "golang.org/x/sys/unix.Fsync", caller: "main.f", user: "main.f"},
		{name: "C", kind: evidence.SiteSyscall, stack: "runtime.cgocall:157 main._Cfunc_f:40 main.f:3", activity: ActivityCgo, syscall: "cgo",
			primitive: "runtime.cgocall", caller: "main._Cfunc_f", user: "main._Cfunc_f"},
		{name: "yield", kind: evidence.SiteYield, stack: "main.f:3", activity: ActivityYield, caller: "main.f", user: "main.f"},
		{name: "sample", kind: evidence.SiteSample, stack: "sort.Slice:20 main.f:3", activity: ActivityCompute, caller: "sort.Slice", user: "main.f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTimed()
			b.site(tt.kind, tt.reason, tt.stack, 1, 1)
			tl := b.done()
			p := tl.Site(0)
			name := func(i int) string {
				f, _ := tl.Frame(p, i)
				return f.Function
			}
			if p.Lock != tt.lock || p.Doing.Activity != tt.activity || p.Syscall != tt.syscall || p.Own != tt.own {
				t.Errorf("lock %d, %s, system call %q, own %t; want %d, %s, %q, %t", p.Lock, p.Doing.Activity, p.Syscall, p.Own,
					tt.lock, tt.activity, tt.syscall, tt.own)
			}
			if name(p.Primitive) != tt.primitive || name(p.Caller) != tt.caller || name(p.User) != tt.user {
				t.Errorf("primitive %s, caller %s, user %s; want %s, %s, %s", name(p.Primitive), name(p.Caller), name(p.User), tt.primitive, tt.caller, tt.user)
			}
		})
	}
}

func TestNoTimeline(t *testing.T) {
	c, f := newSketch().finish()
	tl := timelineOf(c, f)
	if tl.Line != nil || tl.Decides() || len(tl.Locks) != 0 || tl.Site(3).User != -1 {
		t.Errorf("a Case without a Timeline gives %+v", tl)
	}
}

func TestCallsHidden(t *testing.T) {
	for form, want := range map[string]bool{"go 1.21 trace": true, "go 1.11 trace": true, "go 1.22 trace": false, "go 1.26 trace": false,
		"go trace without its header": false} {
		b := newTimed()
		b.line.Form = form
		if got := b.done().CallsHidden(); got != want {
			t.Errorf("%q: calls are hidden is %t", form, got)
		}
	}
}

func TestStretch(t *testing.T) {
	b := newTimed()
	sleep, write, mark := b.stack("time.Sleep:363 main.f:3"), b.stack(writeEnd+"main.f:4"), b.stack("main.f:5")
	tl := b.done()
	for _, tt := range []struct {
		state  evidence.ActState
		reason string
		stack  evidence.StackID
		want   Activity
	}{{evidence.ActBlocked, "sleep", sleep, ActivitySleep}, {evidence.ActSyscall, "", write, ActivityFile}, {evidence.ActReady, "", mark, ActivityReady},
		{evidence.ActRunning, "", mark, ActivityCompute}, {evidence.ActRunning, "", 0, ActivityCompute}} {
		if got := tl.Stretch(tt.state, tt.reason, tt.stack).Doing.Activity; got != tt.want {
			t.Errorf("%s %q gives %s, want %s", tt.state, tt.reason, got, tt.want)
		}
	}
}

func TestWriter(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteBlock, "network", fileEnd+"log.(*Logger).output:244 log.Printf:400 main.f:3", 1, 1)
	b.site(evidence.SiteBlock, "network", fileEnd+"main.f:3", 1, 1)
	tl := b.done()
	if at, ok := tl.Writer(tl.Site(0)); !ok || at.Function != "os.(*File).Write" {
		t.Errorf("the logger writes with %q, %t", at.Function, ok)
	}
	if at, ok := tl.Writer(tl.Site(1)); ok {
		t.Errorf("a write outside of a logger gives %q", at.Function)
	}
}

// sitesOf are the sites of each lock, in order.
func sitesOf(tl *Timeline) [][]int {
	var list [][]int
	for _, l := range tl.Locks {
		sites := slices.Clone(l.Sites)
		slices.Sort(sites)
		list = append(list, sites)
	}
	return list
}

func TestContendedLocks(t *testing.T) {
	b := newTimed()
	put := b.site(evidence.SiteBlock, "sync", takes+"main.(*S).Put:10 main.a:1", 100, 2e6)
	get := b.site(evidence.SiteBlock, "sync", takes+"main.(*S).Get:20 main.b:1", 50, 1e6)
	late := b.site(evidence.SiteBlock, "sync", takes+"main.(*S).Get:20 main.c:1", 5, 1e6) // linked by its line alone
	other := b.site(evidence.SiteBlock, "sync", takes+"main.(*T).Do:30", 10, 1e6)
	reader := b.site(evidence.SiteBlock, "sync", "sync.(*RWMutex).RLock:74 main.(*S).Put:10", 3, 1e6) // of another kind, at the same line
	b.site(evidence.SiteBlock, "chan receive", "runtime.chanrecv1:509 main.f:3", 7, 1e6)
	b.release(put, letsGo+"main.(*S).Get:22 main.b:1", 100, 1e6)
	b.release(get, letsGo+"main.(*S).Get:22 main.b:1", 50, 1e6)
	b.release(other, letsGo+"main.(*T).Do:33", 10, 1e6)
	b.release(reader, letsGo+"main.(*T).Do:33", 3, 1e6) // cannot be: a mutex does not wake readers
	tl := b.done()
	want := [][]int{{put, get, late}, {other}, {reader}}
	if got := sitesOf(tl); !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("locks are of sites %v, want %v", got, want)
	}
	l := tl.Locks[0]
	if l.Waits != 155 || l.WaitNS != 255e6 || l.HoldNS != 150e6 || l.Released != 150 || l.Several != 1 || l.Name != "the mutex of main.(*S)" {
		t.Errorf("the lock is %+v", l)
	}
	if l.BusyNS != 200e6 { // the largest site's; the holds are fewer
		t.Errorf("busy for %d", l.BusyNS)
	}
	if tl.Locks[2].Releases != nil {
		t.Errorf("readers were woken by %v", tl.Locks[2].Releases)
	}
}

// TestStrangers: two locks behind the methods of one helper type stay two, as long as both have woken many and none of the other's.
func TestStrangers(t *testing.T) {
	const lock, unlock = takes + "main.(*Guard).Lock:8 ", letsGo + "main.(*Guard).Unlock:12 "
	for _, tt := range []struct {
		name  string
		wakes int
		cross bool
		want  int
	}{{"two locks", 20, false, 2}, {"too few wakes to tell", 10, false, 1}, {"one lock", 20, true, 1}} {
		b := newTimed()
		x := b.site(evidence.SiteBlock, "sync", lock+"main.a:1", 20, 2e6)
		y := b.site(evidence.SiteBlock, "sync", lock+"main.b:2", 20, 1e6)
		b.release(x, unlock+"main.a:3", tt.wakes, 1e6)
		b.release(y, unlock+"main.b:4", tt.wakes, 1e6)
		if tt.cross {
			b.release(y, unlock+"main.a:3", 1, 1e6)
		}
		if tl := b.done(); len(tl.Locks) != tt.want {
			t.Errorf("%s: %d locks, want %d", tt.name, len(tl.Locks), tt.want)
		}
	}
}

// TestQueueOfWriters: writers that queue in the mutex of an RWMutex, the first of them, who waits for readers, and readers wait for one lock,
// though none of the three ever wakes another.
func TestQueueOfWriters(t *testing.T) {
	const lock, unlock = "sync.(*RWMutex).Lock:155 main.(*T).set:30 ", "sync.(*RWMutex).Unlock:200 main.(*T).set:33 "
	b := newTimed()
	queued := b.site(evidence.SiteBlock, "sync", takes+lock, 30, 6e6)
	first := b.site(evidence.SiteBlock, "sync", lock, 30, 2e6)
	reader := b.site(evidence.SiteBlock, "sync", "sync.(*RWMutex).RLock:74 main.(*T).get:20", 30, 1e6)
	b.release(queued, letsGo+unlock, 30, 1e3)
	b.release(first, "sync.(*RWMutex).RUnlock:116 main.(*T).get:22", 30, 2e6)
	b.release(reader, unlock, 30, 1e3)
	tl := b.done()
	if got, want := sitesOf(tl), [][]int{{queued, first, reader}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("locks are of sites %v, want %v", got, want)
	}
	if l := tl.Locks[0]; l.Waits != 90 || l.Several != 1 {
		t.Errorf("the lock is %+v", l)
	}
}

func TestUnnamedLocks(t *testing.T) {
	b := newTimed()
	x := b.site(evidence.SiteBlock, "sync", takes+"main.a:1", 20, 2e6)
	y := b.site(evidence.SiteBlock, "sync", takes+"main.b:1", 20, 1e6)
	b.release(x, "", 20, 1e6)
	b.release(y, "", 20, 1e6)
	tl := b.done()
	if len(tl.Locks) != 2 || len(tl.Locks[0].Releases) != 1 {
		t.Errorf("wakes without names make %d locks, the first with %d releases", len(tl.Locks), len(tl.Locks[0].Releases))
	}
}

// TestWaitersFromBefore: who has waited since before the trace has no stack until it is woken, and then the waker's stack tells for what.
func TestWaitersFromBefore(t *testing.T) {
	b := newTimed()
	x := b.site(evidence.SiteBlock, "sync", takes+"main.a:1", 20, 2e6)
	unknown := b.site(evidence.SiteBlock, "", "", 30, 5e9)
	b.release(x, letsGo+"main.a:2", 20, 1e6)
	r := b.release(unknown, letsGo+"main.a:2", 25, 1e6)
	b.line.Releases[r].WaitNS, b.line.Releases[r].MaxWait = 25e9, 2e9
	b.release(unknown, "runtime.chansend1:161 main.b:1", 5, 0)
	tl := b.done()
	if len(tl.Locks) != 1 || len(tl.Locks[0].Sites) != 1 {
		t.Fatalf("locks are %+v", tl.Locks)
	}
	if l := tl.Locks[0]; l.Waits != 45 || l.WaitNS != 25e9+40e6 || l.MaxWait != 2e9 || l.Released != 45 {
		t.Errorf("the lock is %+v", l)
	}
}

func TestSeveralLocks(t *testing.T) {
	b := newTimed()
	x := b.site(evidence.SiteBlock, "sync", takes+"main.(*Conn).Send:1", 20, 2e9)
	b.release(x, letsGo+"main.(*Conn).Send:2", 20, 1e9) // 20 s within 10 s
	y := b.site(evidence.SiteBlock, "sync", "sync.(*RWMutex).Lock:155 main.(*R).Set:1", 20, 1e9)
	b.release(y, "sync.(*RWMutex).RUnlock:130 main.(*R).Get:2", 20, 1e9) // readers hold together
	tl := b.done()
	if l := tl.Locks[0]; l.Several != 2 || l.Name != "the mutex of main.(*Conn) (at least 2 of them)" {
		t.Errorf("%q: several is %v", l.Name, l.Several)
	}
	if l := tl.Locks[1]; l.Several != 1 {
		t.Errorf("%q: several is %v", l.Name, l.Several)
	}
}

// TestBusyOfSeveralSites: the time in which anybody waited lies between that of the largest site and what the slices leave; between them
// the holds decide.
func TestBusyOfSeveralSites(t *testing.T) {
	for _, tt := range []struct {
		name string
		hold int64 // of each of a thousand
		want uint64
	}{{"holds below the largest", 1e6, 4e9}, {"holds between", 5e6, 5e9}, {"holds above what the slices leave", 9e6, 6e9}} {
		b := newTimed()
		x := b.site(evidence.SiteBlock, "sync", takes+"main.f:1 main.a:1", 1000, 4e6)
		y := b.site(evidence.SiteBlock, "sync", takes+"main.f:1 main.b:1", 1000, 3e6)
		b.line.Sites[x].Load = []uint32{1500, 1500, 500, 500}
		b.line.Sites[y].Load = []uint32{0, 1000, 500, 0, 0, 2000, 500, 1000}
		b.release(x, letsGo+"main.f:2 main.a:1", 1000, tt.hold)
		b.release(y, letsGo+"main.f:2 main.a:1", 1, 0)
		if l := b.done().Locks[0]; l.BusyNS != tt.want {
			t.Errorf("%s: busy for %d, want %d", tt.name, l.BusyNS, tt.want)
		}
	}
}
