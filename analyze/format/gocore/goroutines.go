package gocore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// Statuses of a goroutine in the runtime (runtime/runtime2.go, Go 1.21 to 1.26), the scan bit left out.
var states = map[uint32]evidence.State{
	0: evidence.StateIdle, 1: evidence.StateRunnable, 2: evidence.StateRunning, 3: evidence.StateSyscall,
	4: evidence.StateWaiting, 6: evidence.StateDead, 8: evidence.StateCopystack, 9: evidence.StatePreempted,
	10: evidence.StateLeaked, 11: evidence.StateDead,
}

// statusScan is set while the stack is being scanned (_Gscan).
const statusScan = 0x1000

// Statuses that the reader asks about.
const (
	statusRunning = 2
	statusSyscall = 3
	statusWaiting = 4
)

// maxGoroutines bounds allgs: a process with a hundred million goroutines would need 200 GB for their stacks alone.
const maxGoroutines = 100 << 20

// chunk is how many goroutines a worker reads at a time: large enough that merging costs nothing, small enough that the
// memory of chunks in flight does not count.
const chunk = 1 << 13

// gRow is what a worker found out about one goroutine.
type gRow struct {
	id, parent int64
	stack      uint32 // number of the stack in the worker's table
	gopc       uint64
	waitsOn    uint64
	since      int64
	status     uint32
	reason     uint8
	flags      evidence.Flags
	g          uint64
	startpc    uint64
	labels     uint64 // address of the label set, 0 without labels
}

// stackRow is one distinct stack of a worker: its pcs by their numbers, and how its walk ended.
type stackRow struct {
	start, end uint32             // in the worker's arena
	same       uint32             // number plus one of the stack before it with the same hash
	note       evidence.StackNote // ElidedAt counts frames of the machine
	firstTrap  bool               // the innermost pc is exact
	id         evidence.StackID
	done       bool
	flags      evidence.Flags // that the stack gives to its goroutines; filled in with id
	shown      bool           // it has its representative
	looked     bool           // transfers is filled in
	transfers  []transferAt
	searched   bool // holds is filled in
	holds      []holdFrame
	cond       int // frame that called Cond.Wait, 0 when none did
	waiter     int // see waiterFrame; filled in with holds
	lead       leadStack
	slotKnown  bool
	slot       slotFrame // filled in with slotKnown
}

// worker reads goroutines. It has caches of its own, so that workers share nothing that is written.
type worker struct {
	t         *target
	number    uint16 // among the workers
	u         *unwinder
	arena     []pcRef
	stacks    []stackRow
	index     map[uint64]uint32 // by hash: number of the stack that was added last, plus one
	rows      []gRow
	chans     []evidence.Sync // channels that were seen, the ones seen lately not again
	recent    [1 << 10]uint64 // addresses of channels seen lately, by hash
	waits     []evidence.Wait // cases of selects
	queued    []uint64        // channels, once for each place in their queues
	locks     map[uint64]evidence.SyncKind
	transfers []transferRow
	alarms    []pendingAlarm // timers that may be about to wake goroutines
	newest    int64          // the newest time that a timer tells
	loops     []loopRow
	lists     map[uint64]map[uint64]bool // of conditions: the goroutines in each
	standing  int                        // in all of them
	conds     map[uint64]bool            // lists of conditions, and what was taken for one and is none
	lockCodes map[uint64]*lockCode       // by entry of function
	waiting   map[waitKey]int            // goroutines by what they wait for
	helpers   map[uint64]*lockHelper     // by entry of function; nil for a function that is none
	suspects  []suspect
	goers     []goer // goroutines that may wake somebody
	keepers   []goer // goroutines with live pointers; no more than maxReferrers need be known
	users     int    // goroutines with frames outside the runtime
	ahead     aheads
	shared    *sharedMarks       // with the other workers; nil when there is only one
	declared  map[[2]uint64]bool // by the entries of two functions: see declares

	slotWaiters []uint64 // goroutines that wait for a slot of a pool
	closures    []uint64 // see pendingDefers
	closure     uint64   // that closureInfo was asked for last: one that captures nothing is the same for all goroutines
	closureIs   *pcInfo
	searched    int   // defer records that were looked at
	lost        int   // goroutines for whose wait the core has no memory
	err         error // of the last part
}

// readGoroutines reads allgs, unwinds every goroutine that is not on a thread, and adds them all to the Builder in the
// order of allgs.
func (t *target) readGoroutines(ctx context.Context) error {
	list, err := t.allgs()
	if err != nil {
		return err
	}
	t.b.Grow(len(list) / 8)
	if t.seeks = t.reaches(); t.seeks {
		t.sleepers = make([]proofRow, 0, len(list)/8)
	}
	jobs := t.in.Options.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	if len(list)/8 < chunk {
		jobs = 1
	}
	workers := make([]*worker, jobs)
	var shared *sharedMarks
	if jobs > 1 {
		shared = newSharedMarks()
	}
	for i := range workers {
		workers[i] = &worker{t: t, number: uint16(i), shared: shared, u: newUnwinder(t), index: map[uint64]uint32{}, locks: map[uint64]evidence.SyncKind{},
			lockCodes: map[uint64]*lockCode{}, waiting: map[waitKey]int{}, conds: map[uint64]bool{}}
	}
	t.workers = workers
	for at := 0; at < len(list)/8; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading goroutines: %w", err)
		}
		var wait sync.WaitGroup
		for _, w := range workers {
			lo, hi := at, min(at+chunk, len(list)/8)
			at = hi
			wait.Go(func() { w.err = guarded(t.in, func() error { return w.read(ctx, list[8*lo:8*hi]) }) })
		}
		wait.Wait()
		for _, w := range workers {
			if w.err != nil {
				return w.err
			}
			t.merge(w)
		}
		t.in.Options.Report(format.ReadingGoroutines, int64(at), int64(len(list)/8))
	}
	return nil
}

// allgs returns the array of pointers to all goroutines as it lies in memory.
func (t *target) allgs() ([]byte, error) {
	addr, ok := t.vars.addr("runtime.allgs")
	if !ok {
		return nil, errors.New("the runtime's list of goroutines (allgs) was not found")
	}
	mem := t.core.Mem
	ptr, ok1 := mem.Uint64(addr)
	n, ok2 := mem.Uint64(addr + 8)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("the runtime's list of goroutines (allgs at %#x) is not in the core", addr)
	}
	if n > maxGoroutines {
		return nil, fmt.Errorf("allgs says %d goroutines: the core is damaged", n)
	}
	b, ok := mem.Bytes(ptr, 8*n)
	t.gCount, t.gListed = n, n
	if !ok {
		rest := mem.Contiguous(ptr)
		b = rest[:min(uint64(len(rest)), 8*n)&^7]
		if len(b) == 0 && n > 0 {
			return nil, fmt.Errorf("the array of %d goroutines at %#x is not in the core", n, ptr)
		}
		t.gListed = uint64(len(b) / 8)
		t.b.Gapf("goroutines", "only %d of %d entries of the runtime's list are in the core", len(b)/8, n)
	}
	return b, nil
}

// read fills w.rows with the goroutines of a part of allgs. Dead ones are left out of the rows.
func (w *worker) read(ctx context.Context, list []byte) error {
	const pause = 8 << 8 // bytes of the list between two looks at ctx
	w.rows = w.rows[:0]
	for ; len(list) >= 8; list = list[8:] {
		if len(list)%pause == 0 && ctx.Err() != nil {
			return fmt.Errorf("reading goroutines: %w", ctx.Err())
		}
		g := le.Uint64(list)
		if g != 0 {
			w.rows = append(w.rows, w.goroutine(g))
		}
	}
	return nil
}

// goroutine reads one g. A g that is not in the core gives a row with id 0.
func (w *worker) goroutine(g uint64) gRow {
	o := &w.t.off.G
	row := gRow{g: g}
	raw, ok := w.u.mem.Bytes(g, o.Size)
	if !ok {
		return row
	}
	row.id = int64(le.Uint64(raw[o.ID:]))
	row.status = le.Uint32(raw[o.Status:]) &^ statusScan
	if states[row.status] == evidence.StateDead || states[row.status] == evidence.StateIdle && row.id == 0 {
		return row
	}
	row.parent = int64(le.Uint64(raw[o.Parent:]))
	row.gopc, row.startpc = le.Uint64(raw[o.GoPC:]), le.Uint64(raw[o.StartPC:])
	row.labels = le.Uint64(raw[o.Labels:])
	row.flags = w.flags(raw)
	if row.status == statusWaiting || states[row.status] == evidence.StateLeaked {
		row.reason = raw[o.WaitReason]
		row.since = int64(le.Uint64(raw[o.WaitSince:]))
	}
	w.unwindRow(&row, raw)
	if row.status == statusWaiting || states[row.status] == evidence.StateLeaked {
		row.waitsOn = w.waitsOn(&row, le.Uint64(raw[o.Waiting:]))
	}
	w.transfer(&row, w.stacks[row.stack].firstTrap)
	if row.status == statusWaiting {
		w.alarm(&row, raw)
	}
	w.loop(&row)
	w.suspect(&row, raw)
	if w.t.seeks {
		w.goes(&row)
	}
	w.waitsForSlot(&row)
	return row
}

// unwindRow walks the goroutine's stack from where its status says that its registers are.
func (w *worker) unwindRow(row *gRow, raw []byte) {
	o := &w.t.off.G
	lo, hi := le.Uint64(raw[o.StackLo:]), le.Uint64(raw[o.StackHi:])
	switch {
	case row.status == statusRunning || w.t.gOwner[row.g] != nil:
		row.stack = w.threadStack(row, raw)
	case row.status == statusSyscall:
		row.stack = w.unwind(start{pc: le.Uint64(raw[o.SyscallPC:]), sp: le.Uint64(raw[o.SyscallSP:]), syscall: true}, lo, hi)
	default:
		s := start{pc: le.Uint64(raw[o.PC:]), sp: le.Uint64(raw[o.SP:])}
		if o.LR != absent {
			s.lr = le.Uint64(raw[o.LR:])
		}
		row.stack = w.unwind(s, lo, hi)
	}
}

func (w *worker) flags(raw []byte) evidence.Flags {
	o := &w.t.off.G
	var f evidence.Flags
	if raw[o.Async] != 0 {
		f |= evidence.FlagAsync
	}
	if le.Uint64(raw[o.LockedM:]) != 0 {
		f |= evidence.FlagLocked
	}
	if o.Bubble != absent && le.Uint64(raw[o.Bubble:]) != 0 {
		f |= evidence.FlagBubble
	}
	return f
}

// unwind walks a stack and interns it.
func (w *worker) unwind(s start, lo, hi uint64) uint32 {
	e := w.u.walk(s, lo, hi)
	return w.intern(w.u.refs, s.trap, w.u.note(e.broken))
}

// intern stores the pcs of a stack once, by their numbers.
func (w *worker) intern(pcs []pcRef, trap bool, note evidence.StackNote) uint32 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset) ^ uint64(note.Elided)
	for _, pc := range pcs {
		h = (h ^ uint64(pc)) * prime
	}
	for k := w.index[h]; k != 0; k = w.stacks[k-1].same {
		i := k - 1
		s := &w.stacks[i]
		if s.firstTrap == trap && s.note == note && slices.Equal(w.arena[s.start:s.end], pcs) {
			return i
		}
	}
	i := uint32(len(w.stacks))
	at := uint32(len(w.arena))
	if need := at + uint32(len(pcs)); need > uint32(cap(w.arena)) {
		w.arena = slices.Grow(w.arena, int(need)) // twice as much: append's quarters would copy a long list five times
	}
	w.arena = append(w.arena, pcs...)
	w.stacks = append(w.stacks, stackRow{start: at, end: at + uint32(len(pcs)), note: note, firstTrap: trap, same: w.index[h]})
	w.index[h] = i + 1
	return i
}
