package evidence

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// MaxFrames is how many frames of one stack are kept. A runaway recursion has millions; the first and the last tell the
// story, and the rest is counted.
const MaxFrames = 1 << 16

// Builder makes a Case. It is not safe for concurrent use.
//
// Several readers may fill one Builder, one after the other. A goroutine that was added before is completed, not doubled:
// columns that the first source left empty are taken from the second.
type Builder struct {
	c        *Case
	reasonID map[string]uint16
	source   string // path of the input that is being read: Gaps are filed under it
	merging  bool   // a second source is being read: goroutines are looked up by id
	gapSeen  map[Gap]bool
	syncSeen map[uint64]bool
	tidSeen  map[int]bool
	finished bool

	// What the sources before the one that is being read have said: the later ones add nothing to it.
	panicked, transferring map[int64]bool // goroutines
	covered                Coverage
	covering               Coverage // by the source that is being read
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	c := &Case{frames: newFrameTable(), stacks: newStackTable(), reasons: []string{""}}
	c.goroutines.thread = map[int]int{}
	c.goroutines.labels = map[int]string{}
	return &Builder{c: c, reasonID: map[string]uint16{"": 0}, gapSeen: map[Gap]bool{}}
}

// Source opens a new source: what follows was read from it.
func (b *Builder) Source(s Source) {
	b.c.Sources = append(b.c.Sources, s)
	b.source = s.Path
	b.merging = b.c.goroutines.len() > 0
	b.covered, b.covering = b.c.Coverage, Coverage{}
	b.panicked, b.transferring = map[int64]bool{}, map[int64]bool{}
	for _, p := range b.c.Panics {
		b.panicked[p.Goroutine] = true
	}
	for _, t := range b.c.Transfers {
		b.transferring[t.Goroutine] = true
	}
	if b.merging && b.c.goroutines.rowOf == nil {
		b.c.goroutines.rowOf = make(map[int64]int, b.c.goroutines.len())
		for i := range b.c.goroutines.len() {
			b.c.goroutines.rowOf[b.c.goroutines.id.at(i)] = i
		}
	}
}

// SourceDetails lets a reader complete the source that was opened last.
func (b *Builder) SourceDetails(set func(*Source)) {
	if n := len(b.c.Sources); n > 0 {
		set(&b.c.Sources[n-1])
	}
}

// Gap records something that could not be read.
func (b *Builder) Gap(what, why string) {
	g := Gap{Source: b.source, What: what, Why: why}
	if !b.gapSeen[g] { // a damaged core has a hundred thousand of them
		b.gapSeen[g] = true
		b.c.Gaps = append(b.c.Gaps, g)
	}
}

// Gapf is Gap with a formatted cause.
func (b *Builder) Gapf(what, why string, args ...any) { b.Gap(what, fmt.Sprintf(why, args...)) }

// Process lets a reader fill in what it knows of the process; earlier sources have the first word.
func (b *Builder) Process(set func(*Process)) { set(&b.c.Process) }

// Death lets a reader fill in how the process ended.
func (b *Builder) Death(set func(*Death)) {
	if b.c.Death == nil {
		b.c.Death = &Death{}
	}
	set(b.c.Death)
}

// Scheduler records the state of the scheduler.
func (b *Builder) Scheduler(s Scheduler) { b.c.Scheduler = &s }

// Heap records the figures of the heap.
func (b *Builder) Heap(h Heap) { b.c.Heap = &h }

// Coverage adds to the counts of what was seen and read of a source. Sources of one incident see the same goroutines: the Case
// keeps the larger counts, and not their sum.
func (b *Builder) Coverage(add Coverage) {
	sum := &b.covering
	sum.GoroutinesSeen += add.GoroutinesSeen
	sum.GoroutinesUnwound += add.GoroutinesUnwound
	sum.ThreadsSeen += add.ThreadsSeen
	sum.ThreadsUnwound += add.ThreadsUnwound
	sum.GoroutinesDead += add.GoroutinesDead
	b.c.Coverage = Coverage{
		GoroutinesSeen:    max(sum.GoroutinesSeen, b.covered.GoroutinesSeen),
		GoroutinesUnwound: max(sum.GoroutinesUnwound, b.covered.GoroutinesUnwound),
		ThreadsSeen:       max(sum.ThreadsSeen, b.covered.ThreadsSeen),
		ThreadsUnwound:    max(sum.ThreadsUnwound, b.covered.ThreadsUnwound),
		GoroutinesDead:    max(sum.GoroutinesDead, b.covered.GoroutinesDead),
	}
}

// Frame interns a frame.
func (b *Builder) Frame(f Frame) FrameID {
	if f == (Frame{}) {
		return 0
	}
	return b.c.frames.intern(f)
}

// StackNote says what is missing from a stack.
type StackNote struct {
	Elided, ElidedAt int    // frames that the source left out, and how many stand before them
	Broken           string // why unwinding ended early
}

// Stack interns a stack, innermost frame first. The slice is not kept.
func (b *Builder) Stack(frames []FrameID, note StackNote) StackID {
	if len(frames) > MaxFrames {
		head := MaxFrames / 2
		cut := len(frames) - MaxFrames
		kept := append(slices.Clone(frames[:head]), frames[head+cut:]...)
		return b.c.stacks.intern(kept, stackNote{note.Elided + cut, head, note.Broken})
	}
	return b.c.stacks.intern(frames, stackNote(note))
}

// Grow makes room for n more goroutines.
func (b *Builder) Grow(n int) { b.c.goroutines.grow(n) }

// Reason interns a wait reason, so that a reader can do it once and not for each goroutine. After 65,535 distinct reasons,
// which only a hostile input has, the rest share one.
func (b *Builder) reason(s string) uint16 {
	if id, ok := b.reasonID[s]; ok {
		return id
	}
	if len(b.c.reasons) >= math.MaxUint16 && s != otherReason {
		return b.reason(otherReason) // which takes the last number
	}
	id := uint16(len(b.c.reasons))
	b.c.reasons = append(b.c.reasons, s)
	b.reasonID[s] = id
	return id
}

// otherReason stands for the reasons beyond what the column can number.
const otherReason = "other"

// Goroutine adds a row and returns its number. A goroutine that an earlier source gave is completed instead.
func (b *Builder) Goroutine(g Goroutine) int {
	t := &b.c.goroutines
	if b.merging {
		if row, ok := t.rowOf[g.ID]; ok {
			b.complete(row, g)
			return row
		}
		t.rowOf[g.ID] = t.len()
	}
	row := t.len()
	t.id.append(g.ID)
	t.parent.append(g.Parent)
	t.stack = append(t.stack, g.Stack)
	t.created = append(t.created, g.Created)
	t.waitsOn = append(t.waitsOn, g.WaitsOn)
	t.state = append(t.state, g.State)
	t.flags = append(t.flags, g.Flags)
	t.reason = append(t.reason, b.reason(g.Reason))
	b.sparse(row, g)
	b.Wake(row, g.Wake)
	return row
}

func (b *Builder) sparse(row int, g Goroutine) {
	t := &b.c.goroutines
	if g.Seconds != 0 && t.seconds.at(row) == 0 {
		t.seconds.set(row, g.Seconds, cap(t.stack))
	}
	if g.Thread != 0 && t.thread[row] == 0 {
		t.thread[row] = g.Thread
	}
}

func (b *Builder) complete(row int, g Goroutine) {
	t := &b.c.goroutines
	if t.stack[row] == 0 {
		t.stack[row] = g.Stack
	}
	if t.created[row] == 0 {
		t.created[row] = g.Created
	}
	if t.waitsOn[row] == 0 {
		t.waitsOn[row] = g.WaitsOn
	}
	if t.state[row] == StateUnknown {
		t.state[row] = g.State
	}
	if t.reason[row] == 0 && t.state[row] == g.State {
		t.reason[row] = b.reason(g.Reason)
	}
	if t.parent.at(row) == 0 {
		t.parent.set(row, g.Parent)
	}
	t.flags[row] |= g.Flags
	if t.wake.at(row) == WakeUnknown {
		b.Wake(row, g.Wake)
	}
	b.sparse(row, g)
}

// Label sets the pprof labels of a row, as the runtime prints them.
func (b *Builder) Label(row int, labels string) {
	if labels != "" {
		b.c.goroutines.labels[row] = labels
	}
}

// Wait adds an edge to one of several objects that a goroutine waits for (a select).
func (b *Builder) Wait(w Wait) {
	if s := b.c.selects; len(s) == cap(s) {
		b.c.selects = growSlice(s, b.moreLike(len(s)))
	}
	b.c.selects = append(b.c.selects, w)
}

// moreLike is how much room to make in a list of n entries that grows with the goroutines: when room was made for all of
// them (see Grow), as much as the rest will need if it is like those so far. Doubling would copy a long list again and again
// and end with twice the memory.
func (b *Builder) moreLike(n int) int {
	const least, most = 64, 16 // entries; times the present length
	rows, room := b.c.goroutines.len(), cap(b.c.goroutines.stack)
	if rows == 0 || room <= rows {
		return max(n/2, least)
	}
	expected := int(float64(n) / float64(rows) * float64(room) * 1.05)
	return max(min(expected-n, most*n), n/8, least)
}

// Sync adds an object. The first source that gives an address has the word.
func (b *Builder) Sync(s Sync) {
	t := &b.c.syncs
	if s.Kind == SyncChannel && s.Where == "" && s.Trust == TrustRead && fitsColumn(s.Len) && fitsColumn(s.Cap) {
		t.chanAddr = append(t.chanAddr, s.Addr)
		t.chanLen = append(t.chanLen, uint32(s.Len))
		t.chanCap = append(t.chanCap, uint32(s.Cap))
		t.chanBits = append(t.chanBits, s.chanBits())
		return
	}
	if b.syncSeen == nil {
		b.syncSeen = map[uint64]bool{}
	}
	if !b.syncSeen[s.Addr] {
		b.syncSeen[s.Addr] = true
		t.full = append(t.full, s)
	}
}

func fitsColumn(n int64) bool { return n >= 0 && n <= math.MaxUint32 }

// GrowChannels makes room for n plain channels.
func (b *Builder) GrowChannels(n int) {
	t := &b.c.syncs
	t.chanAddr, t.chanLen, t.chanCap, t.chanBits =
		growSlice(t.chanAddr, n), growSlice(t.chanLen, n), growSlice(t.chanCap, n), growSlice(t.chanBits, n)
}

// Hold adds an inference about a lock's holder.
func (b *Builder) Hold(h Hold) { b.c.Holds = append(b.c.Holds, h) }

// Transfer adds a read or write in progress. One of a goroutine that an earlier source has told about is left out.
func (b *Builder) Transfer(t Transfer) {
	if !b.transferring[t.Goroutine] {
		b.c.Transfers = append(b.c.Transfers, t)
	}
}

// Alarm adds a timer that is about to wake a goroutine; one that is due after AlarmHorizon is left out.
func (b *Builder) Alarm(a Alarm) {
	if a.DueNS <= AlarmHorizon {
		b.c.Alarms = append(b.c.Alarms, a)
	}
}

// Loop adds the loop in which a goroutine was found.
func (b *Builder) Loop(l Loop) { b.c.Loops = append(b.c.Loops, l) }

// Waker adds an inference about who could wake the waiters of an object.
func (b *Builder) Waker(w Waker) { b.c.Wakers = append(b.c.Wakers, w) }

// Pool adds a pool; one that an earlier source gave is left as it is.
func (b *Builder) Pool(p Pool) {
	if !slices.ContainsFunc(b.c.Pools, func(q Pool) bool { return q.Addr == p.Addr }) {
		b.c.Pools = append(b.c.Pools, p)
	}
}

// PoolUse adds what a goroutine has to do with a pool.
func (b *Builder) PoolUse(u PoolUse) { b.c.PoolUses = append(b.c.PoolUses, u) }

// Path adds the way from a root to what a goroutine waits for.
func (b *Builder) Path(p Path) { b.c.Paths = append(b.c.Paths, p) }

// Wake sets the verdict on the goroutine in a row (see Goroutine).
func (b *Builder) Wake(row int, v Wake) {
	t := &b.c.goroutines
	if v != WakeUnknown && row < t.len() {
		t.wake.set(row, v, cap(t.stack))
	}
}

// Proof records how far the search for goroutines that can never wake came. The first source that tells has the word.
func (b *Builder) Proof(p Proof) {
	if b.c.Proof == nil {
		b.c.Proof = &p
	}
}

// SiteOf is the stack of the goroutine in a row (see Goroutine), and the go statement that made it.
func (b *Builder) SiteOf(row int) (StackID, FrameID) {
	t := &b.c.goroutines
	return t.stack[row], t.created[row]
}

// HeapUse records what the heap holds.
func (b *Builder) HeapUse(h HeapUse) {
	if b.c.HeapUse == nil {
		b.c.HeapUse = &h
	}
}

// Timeline records what happened over time. The first source that tells has the word.
func (b *Builder) Timeline(t Timeline) {
	if b.c.Timeline == nil {
		b.c.Timeline = &t
	}
}

// Variable adds a variable of a frame.
func (b *Builder) Variable(v Variable) { b.c.Variables = append(b.c.Variables, v) }

// Panic adds a panic in flight; call it for the newest first. Panics of a goroutine that an earlier source has told about are left
// out.
func (b *Builder) Panic(p Panic) {
	if !b.panicked[p.Goroutine] {
		b.c.Panics = append(b.c.Panics, p)
	}
}

// Thread adds a thread; one that an earlier source gave is left as it is.
func (b *Builder) Thread(t Thread) {
	if b.tidSeen == nil {
		b.tidSeen = map[int]bool{}
	}
	if t.TID != 0 && b.tidSeen[t.TID] {
		return
	}
	b.tidSeen[t.TID] = true
	b.c.Threads = append(b.c.Threads, t)
}

// Finish returns the Case. The Builder must not be used afterwards.
func (b *Builder) Finish() *Case {
	if b.finished {
		return b.c
	}
	b.finished = true
	c := b.c
	slices.SortStableFunc(c.selects, func(x, y Wait) int { return cmp.Compare(x.Goroutine, y.Goroutine) })
	slices.SortFunc(c.syncs.full, func(x, y Sync) int { return cmp.Compare(x.Addr, y.Addr) })
	c.syncs.sortChannels(b.syncSeen)
	c.frames.index, c.stacks.byHash, c.stacks.chain = nil, nil, nil // only a Builder interns
	c.freeze()
	return c
}

// sortChannels sorts the channel columns by address and drops repetitions and what is a full row already.
func (t *syncTable) sortChannels(full map[uint64]bool) {
	n := len(t.chanAddr)
	if slices.IsSorted(t.chanAddr) && len(full) == 0 && !hasRepeats(t.chanAddr) {
		return
	}
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(t.chanAddr[a], t.chanAddr[b]) })
	sorted := syncTable{full: t.full}
	sorted.chanAddr, sorted.chanLen = make([]uint64, 0, n), make([]uint32, 0, n)
	sorted.chanCap, sorted.chanBits = make([]uint32, 0, n), make([]chanBits, 0, n)
	for _, i := range order {
		addr := t.chanAddr[i]
		if k := len(sorted.chanAddr); (k > 0 && sorted.chanAddr[k-1] == addr) || full[addr] {
			continue
		}
		sorted.chanAddr = append(sorted.chanAddr, addr)
		sorted.chanLen = append(sorted.chanLen, t.chanLen[i])
		sorted.chanCap = append(sorted.chanCap, t.chanCap[i])
		sorted.chanBits = append(sorted.chanBits, t.chanBits[i])
	}
	*t = sorted
}

func hasRepeats(sorted []uint64) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return true
		}
	}
	return false
}

// FrameOf returns an interned frame.
func (b *Builder) FrameOf(id FrameID) Frame { return b.c.Frame(id) }
