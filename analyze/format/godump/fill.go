package godump

import (
	"context"
	"io"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// filler reads the chosen dump into a Builder.
type filler struct {
	to    *evidence.Builder
	in    format.Input
	found contents
	read  *reader

	printed idSet            // goroutines that have a row
	away    []*block         // goroutines whose stack was not printed yet, in the order of the text
	awayAt  map[int64]*block // the same by id
	ids     []evidence.FrameID
	locks   map[uint64]lockCount
	moves   int // transfers recorded

	death    *death // the announcement of the dump; nil when there was none
	expect   *death // one whose goroutine has not come yet
	onThread bool   // the stack of thread trapM came before it
	trapM    int64
	culprit  int64 // the goroutine the first announcement is about; 0 when none
	panics   []evidence.Panic
	stack    *evidence.Thread // "runtime stack:" that waits for the goroutine of its thread
	live     bool
	process  process

	seen, unwound, threads int
	cut                    *block
	faults                 []fault
	faultCount             int
}

func newFiller(to *evidence.Builder, in format.Input, found contents) *filler {
	f := &filler{to: to, in: in, found: found, awayAt: map[int64]*block{}, locks: map[uint64]lockCount{}}
	return f
}

// Bounds of what only a hostile or a very large text has.
const (
	maxAway      = 1 << 16 // goroutines that run on other threads: at most one for each thread
	maxLocks     = 1 << 18 // distinct objects that are waited for
	maxTransfers = 1 << 17 // goroutines in a read or write
	maxThreads   = 1 << 16 // system stacks
	maxFaults    = 10      // places that are named one by one
	maxPanics    = 1 << 10 // panics in flight
	growAtOnce   = 1 << 21 // rows made room for ahead, whatever the first pass counted
)

// fill is the second pass.
func (f *filler) fill(ctx context.Context) error {
	d := f.found.best
	f.read = newReader(&stoppable{ctx, io.NewSectionReader(f.in.File, d.start, d.end-d.start)}, f.fault)
	lines := f.read.walk.lines
	lines.number, lines.offset = d.line-1, d.start
	f.to.Grow(min(d.goroutines, growAtOnce))
	for n := 1; ; n++ {
		b := f.read.read()
		if b == nil {
			break
		}
		f.block(b)
		if n%1024 == 0 {
			f.in.Options.Report("reading goroutines", lines.offset, f.in.Size)
		}
	}
	if lone := f.lone(); lone != nil {
		f.announce(lone)
	}
	f.finish()
	if err := lines.failure(); err != nil {
		if ctx.Err() != nil || f.seen == 0 {
			return err
		}
		f.to.Gap("the rest of the dump", err.Error())
	}
	return nil
}

// lone is an announcement that no goroutine follows.
func (f *filler) lone() *preamble {
	if f.seen > 0 || f.threads > 0 || f.death != nil {
		return nil
	}
	f.read.walk.drop()
	return f.read.walk.lone
}

func (f *filler) fault(at fault) {
	f.faultCount++
	if len(f.faults) < maxFaults {
		f.faults = append(f.faults, at)
	}
}

func (f *filler) block(b *block) {
	if b.pre != nil && !b.threads {
		f.announce(b.pre)
	}
	if b.cut {
		f.cut = &block{header: b.header, line: b.line}
	}
	switch {
	case b.nameless:
	case b.system:
		f.system(b)
	case b.away && len(f.away) < maxAway && !f.printed.has(b.id):
		f.keepAway(b)
	default:
		f.goroutine(b)
	}
}

// announce takes up what was printed before a block. The first announcement says how the process died; more come from other
// goroutines that panicked at the same time.
func (f *filler) announce(p *preamble) {
	d := readDeath(p)
	if f.death == nil {
		f.death = &d
	}
	f.expect, f.onThread = &d, false
}

// blame says which goroutine an announcement is about: the first that is printed behind it, unless the signal was sent from
// outside, or the goroutine is none that was running: of a deadlock, the runtime prints the waiting ones. When the signal
// hit a thread outside goroutines, that stack comes first, and then the goroutine of the same thread if it has one.
func (f *filler) blame(b *block) (flags evidence.Flags) {
	d := f.expect
	f.expect = nil
	if f.onThread && (b.m < 0 || b.m != f.trapM) {
		f.keepPanics(d, 0)
		return 0
	}
	if d.trap && !f.onThread {
		flags |= evidence.FlagSignal
	}
	running := b.status.state == evidence.StateRunning || b.status.state == evidence.StateSyscall && b.detailed
	if d.byUser || d.Signal == signalQuit || !running {
		f.keepPanics(d, 0)
		return flags
	}
	f.keepPanics(d, b.id)
	if f.culprit == 0 {
		f.culprit = b.id
	}
	if f.stack != nil {
		f.stack.M, f.stack.Goroutine, f.stack.State = b.m, b.id, "crashed"
	}
	return flags | evidence.FlagCrashed
}

const signalQuit = 3

func (f *filler) keepPanics(d *death, goroutine int64) {
	for _, p := range d.panics {
		p.Goroutine = goroutine
		if len(f.panics) < maxPanics {
			f.panics = append(f.panics, p)
		}
	}
}

// system records the stack that a thread runs outside goroutines. The text has no thread ids of the operating system.
func (f *filler) system(b *block) {
	f.flushStack()
	if f.threads++; f.threads > maxThreads {
		return
	}
	t := evidence.Thread{M: b.m, Processor: -1, Syscall: -1, Stack: f.stackOf(b), State: b.status.text}
	if b.id == 0 && b.status.text == "" {
		f.stack = &t // the goroutine of the same thread follows
		return
	}
	if f.expect != nil {
		f.onThread, f.trapM = true, b.m
	}
	f.to.Thread(t)
}

func (f *filler) flushStack() {
	if f.stack != nil {
		f.to.Thread(*f.stack)
		f.stack = nil
	}
}

// keepAway waits for the stack of a goroutine that ran on another thread: under GOTRACEBACK=crash that thread prints it.
func (f *filler) keepAway(b *block) {
	kept := *b
	kept.frames, kept.args, kept.roles = nil, nil, roleReader{}
	if f.awayAt[b.id] == nil {
		f.away = append(f.away, &kept)
		f.awayAt[b.id] = &kept
	}
}

func (f *filler) goroutine(b *block) {
	if !f.printed.add(b.id) {
		return // printed again by its own thread
	}
	delete(f.awayAt, b.id)
	g := evidence.Goroutine{ID: b.id, State: b.status.state, Reason: b.status.reason, Seconds: b.status.seconds(),
		Parent: b.parent, Flags: b.status.flags | b.roles.flags}
	if f.expect != nil {
		g.Flags |= f.blame(b)
	} else if b.threads {
		g.Flags |= evidence.FlagSignal
	}
	f.flushStack()
	g.Stack = f.stackOf(b)
	if b.created != nil {
		g.Created = f.frame(b.created)
	}
	if isSystem(b) {
		g.Flags |= evidence.FlagSystem
	}
	f.objects(b, &g)
	f.live = f.live || b.roles.snapshot && f.death == nil
	f.to.Label(f.to.Goroutine(g), b.status.labels)
	f.seen++
	if len(b.frames) > 0 && b.broken == "" {
		f.unwound++
	}
}

func (f *filler) stackOf(b *block) evidence.StackID {
	f.ids = f.ids[:0]
	for _, e := range b.frames {
		f.ids = append(f.ids, f.frame(e))
	}
	return f.to.Stack(f.ids, evidence.StackNote{Elided: b.elided, ElidedAt: b.elidedAt, Broken: b.broken})
}

func (f *filler) frame(e *entry) evidence.FrameID {
	if !e.known {
		e.known = true
		e.id = f.to.Frame(e.frame)
		f.process.learn(e.frame)
	}
	return e.id
}

// isSystem recognises goroutines that the runtime started for itself: it made them, and nothing but the runtime is on their
// stack. (The finalizer goroutine is the user's while it runs a finalizer; isSystemGoroutine in runtime/traceback.go.)
func isSystem(b *block) bool {
	if b.created == nil || !ofRuntime(b.created) {
		return false
	}
	for _, e := range b.frames {
		if !ofRuntime(e) || e.frame.Function == "runtime.main" {
			return false
		}
	}
	return len(b.frames) > 0
}

// ofRuntime reports whether a function is the runtime's own. In Go 1.23 and 1.24 one of its goroutines carries the name that
// package unique knows it by (runtime/mgc.go, unique_runtime_registerUniqueMapCleanup).
func ofRuntime(e *entry) bool {
	return strings.HasPrefix(e.frame.Function, "runtime.") || strings.HasPrefix(e.frame.Function, "unique.runtime_")
}

// lockCount is how many goroutines show the same lock.
type lockCount struct {
	kind   evidence.SyncKind
	count  int
	writer bool // one of them waits as the writer of an RWMutex, until the readers have left
}

// objects records what the arguments of the frames tell: the object that a waiting goroutine waits for, the length of a read
// or write in progress.
func (f *filler) objects(b *block, g *evidence.Goroutine) {
	waits := g.State == evidence.StateWaiting || g.State == evidence.StateLeaked
	if addr := b.roles.waitsOn; addr != 0 && waits {
		g.WaitsOn = addr
		f.countLock(addr, b.roles.sync, g.Reason)
	}
	if t := b.roles.transfer; t.Function != "" && (!waits || g.Reason == "IO wait") {
		if f.moves++; f.moves <= maxTransfers {
			t.Goroutine = g.ID
			f.to.Transfer(t)
		}
	}
}

// countLock counts the goroutines at a lock. A writer that waits for the mutex inside an RWMutex shows the address of both:
// the RWMutex is the better name.
func (f *filler) countLock(addr uint64, kind evidence.SyncKind, reason string) {
	if kind != evidence.SyncMutex && kind != evidence.SyncRWMutex {
		return
	}
	lock, ok := f.locks[addr]
	if !ok && len(f.locks) >= maxLocks {
		return
	}
	lock.count++
	lock.kind = max(lock.kind, kind)
	lock.writer = lock.writer || reason == "sync.RWMutex.Lock"
	f.locks[addr] = lock
}
