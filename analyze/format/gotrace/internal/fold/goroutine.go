package fold

import "github.com/gopostmortem/postmortem/analyze/evidence"

// G is what a Folder knows of one goroutine. It lies by value in the struct of the caller, who zeroes it and sets ID before Appear,
// Create or CreateInSyscall. It holds no pointers. After Exit the Folder does not look at it any more, and it may be used for another. It has
// the size of two cache lines, of which every event touches both: what few goroutines have is in extra.
type G struct {
	ID int64

	since int64 // of the present stretch
	run   int64 // ns in each state, the present stretch left out
	ready int64
	sys   int64
	block int64
	most  int64 // longest stretch on a processor
	mark  int64 // run, when the last wait ended

	site     uint32 // of the present stretch: where it waits, which system call it is in, who made it ready
	waited   uint32 // site of the wait that ended last, until the next one
	yielded  uint32 // site that it gave the processor away at, until it runs again
	ring     uint32
	load     uint32 // slot of its load by slice
	extra    uint32
	stack    Stack // its own, as it was seen last
	runs     uint32
	syscalls uint32

	state State
	cat   category
	flags gFlags

	spawn  uint32
	region uint32 // the innermost open one
	born   int64  // or the beginning of the trace
	parent int64
}

type gFlags uint16

const (
	gUser    gFlags = 1 << iota // not the runtime's own, as far as is known
	gUnnamed                    // nobody has told its first function yet
	gWorker                     // a mark worker
	gCreated                    // in the trace, not before
	gNamed                      // a row names it: it stays an actor when it has ended
	gFromC                      // C called back into Go on it
)

// extra is what a Folder knows of goroutines that do certain things. It lies beside G, because most goroutines do none of them.
type extra struct {
	// Of who has waited for a lock: when it got it, and of what class it is; class 0 when it has let it go again.
	took      int64
	tookClass uint32
	heldClass uint32 // the same of the lock that it had got before, and still has
	held      int64

	// Of who has let a lock go: class, when, in which stretch of running, since when it had it, as which release.
	letClass, letRow       uint32
	letAt, letIn, letFrom  int64
	partner                int64 // who wakes it most, by majority vote (Boyer, Moore, 1981)
	votes, wakes, pairSite uint32
	firstWake, lastWake    int64

	assistSince, assistMark int64
	assistSite              uint32
	preempted               uint32 // how often it had to give its processor away
}

// extraTable has the extras in blocks, so that they stay where they are.
type extraTable struct {
	blocks [][]extra
	next   uint32
	free   []uint32
}

const extraBlock = 256

func (t *extraTable) init() { t.next = 1 }

// extra returns the extra of a goroutine, and makes one when it has none.
func (f *Folder) extra(g *G) *extra {
	t := &f.extras
	if g.extra == 0 {
		if n := len(t.free); n > 0 {
			g.extra, t.free = t.free[n-1], t.free[:n-1]
		} else {
			g.extra = t.next
			t.next++
		}
		if int(g.extra/extraBlock) >= len(t.blocks) {
			t.blocks = append(t.blocks, make([]extra, extraBlock))
		}
		t.blocks[g.extra/extraBlock][g.extra%extraBlock] = extra{}
	}
	return &t.blocks[g.extra/extraBlock][g.extra%extraBlock]
}

// leave ends the present stretch of g. The stack is where it ends, when that is known: of who ran.
func (f *Folder) leave(g *G, t int64, stack Stack) {
	switch g.state {
	case StateRunning:
		f.leaveRunning(g, t, stack)
	case StateReady:
		f.leaveReady(g, t)
	case StateSyscall:
		f.leaveSyscall(g, t)
	case StateBlocked:
		f.leaveBlocked(g, t)
	}
}

func (f *Folder) leaveRunning(g *G, t int64, stack Stack) {
	d := t - g.since
	g.run += d
	if d > g.most {
		g.most = d
	}
	if d >= longRun {
		f.ranLong(g, t, d, stack)
	}
	if g.run >= f.actors.from {
		f.ran(g, t)
	}
	if g.flags&gWorker != 0 {
		f.gc.work.WorkerNS += uint64(d)
	}
	f.clock.leave(g.cat, t)
	f.idles(t)
}

func (f *Folder) leaveReady(g *G, t int64) {
	d := t - g.since
	g.ready += d
	f.fresh(g, d)
	f.quit(g.site, t, d)
	if g.flags&gUser != 0 {
		f.latency.Add(d)
	}
	if g.yielded != 0 {
		f.quit(g.yielded, t, d)
		g.yielded = 0
	}
	f.clock.leave(g.cat, t)
}

func (f *Folder) leaveSyscall(g *G, t int64) {
	d := t - g.since
	g.sys += d
	f.fresh(g, d)
	f.quit(g.site, t, d)
	f.clock.leave(g.cat, t)
	if g.cat == catSyscall {
		f.idles(t)
	}
}

func (f *Folder) leaveBlocked(g *G, t int64) {
	d := t - g.since
	g.block += d
	f.quit(g.site, t, d)
	g.waited, g.mark = g.site, g.run
	f.clock.leave(g.cat, t)
}

// idles is called when somebody runs no more, or has left a system call.
func (f *Folder) idles(t int64) {
	if f.here[catRun]+f.here[catSyscall]+f.here[catSystemRun] == 0 {
		f.stall.idle, f.stall.paused = t, f.here[catPause] > 0
	}
}

// enter begins a stretch.
func (f *Folder) enter(g *G, t int64, s State, site uint32, cat category) {
	if g.flags&gUser == 0 {
		if cat = catSystem; s == StateRunning {
			cat = catSystemRun
		}
	}
	if cat <= catReady {
		f.stirs(t, cat, g.state == StateReady)
	}
	g.since, g.state, g.site, g.cat = t, s, site, cat
	f.clock.enter(cat, t)
	if g.ring != 0 {
		f.rings.push(g.ring, actState(s), t, site)
	}
	if site != 0 {
		f.come(site, t, g.ID)
	}
}

// settled adds what g ran since its last wait to the site of that wait.
func (f *Folder) settled(g *G) {
	if g.waited != 0 {
		f.sites.rows[g.waited].run += g.run - g.mark
		g.waited = 0
	}
}

// own notes where g itself stands.
func (f *Folder) own(g *G, stack Stack) {
	if stack != 0 {
		g.stack = stack
		if g.flags&gUnnamed != 0 {
			f.name(g, stack)
		}
	}
}

// makeReady has g wait for a processor. The stack is that of who made it so.
func (f *Folder) makeReady(g *G, t int64, stack Stack) {
	f.enter(g, t, StateReady, f.site(evidence.SiteReady, 0, stack), catReady)
}

// makeBlocked has g wait.
func (f *Folder) makeBlocked(g *G, t int64, r Reason, stack Stack) {
	f.enter(g, t, StateBlocked, f.site(evidence.SiteBlock, r, stack), f.reasons[f.valid(r)].cat)
}

// makeSyscall has g enter a system call.
func (f *Folder) makeSyscall(g *G, t int64, stack Stack) {
	site := f.site(evidence.SiteSyscall, 0, stack)
	g.syscalls++
	f.enter(g, t, StateSyscall, site, f.sites.rows[site].cat)
}

// must makes sure that g is in a state, also when a damaged trace has jumped.
func (f *Folder) must(g *G, t int64, s State) {
	if g.state == s {
		return
	}
	f.restate(t, g, s)
}

// Run puts a goroutine on a processor.
func (f *Folder) Run(t int64, g *G) {
	t = f.at(t)
	f.must(g, t, StateReady)
	if g.extra != 0 {
		if x := f.extra(g); x.tookClass != 0 && x.took == g.since {
			x.took = t // it may have the lock from now on
		}
	}
	f.leaveReady(g, t)
	g.runs++
	f.enter(g, t, StateRunning, 0, catRun)
}

// Yield takes a goroutine from its processor, though it could go on: it gave it away ("runtime.Gosched") or had to ("preempted").
func (f *Folder) Yield(t int64, g *G, r Reason, stack Stack) {
	t = f.at(t)
	f.must(g, t, StateRunning)
	f.own(g, stack)
	d := t - g.since
	f.leaveRunning(g, t, stack)
	f.makeReady(g, t, stack)
	if f.reasons[f.valid(r)].name == "preempted" {
		if f.stackInfo(stack).flags&atHandover != 0 {
			return // it handed a lock over, together with its processor (goyield in semrelease1, runtime/sema.go)
		}
		f.extra(g).preempted++
		f.happened(f.site(evidence.SitePreempt, r, stack), t, d, g.ID)
		return
	}
	g.yielded = f.site(evidence.SiteYield, r, stack)
	f.come(g.yielded, t, g.ID)
}

// Block has a running goroutine wait.
func (f *Folder) Block(t int64, g *G, r Reason, stack Stack) {
	t = f.at(t)
	f.must(g, t, StateRunning)
	f.own(g, stack)
	f.leaveRunning(g, t, stack)
	f.settled(g)
	f.makeBlocked(g, t, r, stack)
}

// Unblock ends the wait of a goroutine. Who did it is nil when it was no goroutine: a timer, the network poller or the runtime. The stack
// is the waker's.
func (f *Folder) Unblock(t int64, g *G, by *G, stack Stack) {
	t = f.at(t)
	f.must(g, t, StateBlocked)
	waker := uint32(0)
	if by == nil || by == g {
		f.sites.rows[g.site].unwoken++
	} else {
		f.wake(t, g, by, stack)
		if waker = by.ring; f.rings.full && waker == 0 && by.flags&gUser != 0 {
			waker = f.ring(by)
		}
	}
	if g.flags&gUser != 0 {
		if g.ring == 0 {
			f.ring(g)
		}
		if waker != 0 {
			f.rings.wokenBy(g.ring, waker)
		}
	}
	f.leaveBlocked(g, t)
	f.makeReady(g, t, stack)
}

// Syscall has a running goroutine enter a system call.
func (f *Folder) Syscall(t int64, g *G, stack Stack) {
	t = f.at(t)
	f.must(g, t, StateRunning)
	f.own(g, stack)
	f.leaveRunning(g, t, stack)
	f.makeSyscall(g, t, stack)
}

// Sysexit ends a system call. Blocked says that the goroutine had lost its processor and must wait for one.
func (f *Folder) Sysexit(t int64, g *G, blocked bool) {
	t = f.at(t)
	f.must(g, t, StateSyscall)
	if g.ring == 0 && g.flags&gUser != 0 {
		f.ring(g)
	}
	f.leaveSyscall(g, t)
	if blocked {
		f.makeReady(g, t, 0)
		return
	}
	f.enter(g, t, StateRunning, 0, catRun)
}

// Restate has a goroutine be in a state without an event that led there: the trace is damaged. What it did until now is taken for its
// former state. While its state is unknown its time counts nowhere. One that was not told of before appears, and nothing is said of what
// it did before.
func (f *Folder) Restate(t int64, g *G, s State) {
	f.restate(f.at(t), g, s)
}

func (f *Folder) restate(t int64, g *G, s State) {
	if s > StateBlocked || g.state == s {
		return
	}
	if g.spawn == 0 { // nobody has told of it yet
		f.appear(t, g, s, 0, t)
		return
	}
	f.leave(g, t, 0)
	if s == StateUnknown {
		g.state, g.since = s, t
	}
	f.begin(g, t, s, 0)
}

// begin begins a stretch of which only the state is known.
func (f *Folder) begin(g *G, t int64, s State, stack Stack) {
	switch s {
	case StateReady:
		f.makeReady(g, t, stack)
	case StateRunning:
		f.enter(g, t, StateRunning, 0, catRun)
	case StateSyscall:
		f.makeSyscall(g, t, stack)
	case StateBlocked:
		f.settled(g)
		f.makeBlocked(g, t, 0, stack)
	}
}

// stateSites are the kinds of sites at which goroutines are in a state.
var stateSites = map[State]evidence.SiteKind{
	StateReady: evidence.SiteReady, StateSyscall: evidence.SiteSyscall, StateBlocked: evidence.SiteBlock,
}
