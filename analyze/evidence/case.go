package evidence

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"sync"
)

// Case is the evidence of one incident. It is immutable and safe for concurrent use; only a Builder makes one.
type Case struct {
	Sources   []Source
	Process   Process
	Death     *Death     // nil when the source does not tell
	Scheduler *Scheduler // nil when the source has none
	Heap      *Heap      // nil when the source has none
	Panics    []Panic
	Threads   []Thread
	Holds     []Hold
	Transfers []Transfer
	Variables []Variable
	Alarms    []Alarm // timers that are due within AlarmHorizon
	Loops     []Loop  // loops of goroutines that were on a processor
	Wakers    []Waker
	Pools     []Pool
	PoolUses  []PoolUse
	Paths     []Path    // asked for, one for each goroutine
	Proof     *Proof    // nil when nobody looked for goroutines that can never wake
	HeapUse   *HeapUse  // nil when the heap was not walked
	Timeline  *Timeline // nil when the evidence is of one moment
	Gaps      []Gap
	Coverage  Coverage

	kinds      Kinds
	frames     *frameTable
	stacks     *stackTable
	reasons    []string
	goroutines goroutineTable
	syncs      syncTable
	selects    []Wait // goroutines that wait for several objects, sorted by goroutine
	groups     func() []Group
	rows       func() *idIndex
	byObject   func() objectIndex
	wakers     func() map[uint64][]int
}

// Coverage says how much of what the source holds was read.
type Coverage struct {
	GoroutinesSeen, GoroutinesUnwound int
	ThreadsSeen, ThreadsUnwound       int
	GoroutinesDead                    int // finished goroutines whose structures the runtime keeps for reuse
}

// Kinds is the set of kinds of evidence that the case holds.
func (c *Case) Kinds() Kinds { return c.kinds }

// Goroutines is the table of goroutines.
func (c *Case) Goroutines() Goroutines { return Goroutines{c} }

// Frame returns a frame by id.
func (c *Case) Frame(id FrameID) Frame {
	if int(id) >= len(c.frames.frames) {
		return Frame{}
	}
	return c.frames.frames[id]
}

// Stacks is the number of distinct stacks; valid ids are 1..Stacks()-1.
func (c *Case) Stacks() int { return c.stacks.len() }

// Stack returns a stack by id; an unknown id gives an empty stack.
func (c *Case) Stack(id StackID) Stack {
	if int(id) >= c.stacks.len() {
		return Stack{table: c.frames}
	}
	note := c.stacks.notes[id]
	return Stack{ID: id, frames: c.stacks.frames(id), table: c.frames,
		Elided: note.Elided, ElidedAt: note.ElidedAt, Broken: note.Broken}
}

func (c *Case) rowOf(id int64) (int, bool) {
	return c.rows().row(&c.goroutines.id, id)
}

// Groups returns the goroutines by stack, state and wait reason: largest group first, then by stack.
func (c *Case) Groups() []Group { return c.groups() }

// Members yields the rows of a group in the order of the source.
func (c *Case) Members(g Group) iter.Seq[int] {
	return func(yield func(int) bool) {
		t := &c.goroutines
		for i := g.First; i < t.len(); i++ {
			if t.stack[i] == g.Stack && t.state[i] == g.State && c.reasons[t.reason[i]] == g.Reason && !yield(i) {
				return
			}
		}
	}
}

type groupKey struct {
	stack  StackID
	state  State
	reason uint16
}

func (c *Case) makeGroups() []Group {
	t := &c.goroutines
	index := map[groupKey]int{}
	var groups []Group
	last, lastKey := -1, groupKey{}
	for i := range t.stack {
		key := groupKey{t.stack[i], t.state[i], t.reason[i]}
		if last < 0 || key != lastKey { // neighbours are often equal: a map look-up for each would be half the cost
			at, ok := index[key]
			if !ok {
				at = len(groups)
				index[key] = at
				groups = append(groups, Group{Stack: key.stack, State: key.state, Reason: c.reasons[key.reason], First: i,
					Flags: t.flags[i]})
			}
			last, lastKey = at, key
		}
		g := &groups[last]
		g.Count++
		g.Flags &= t.flags[i]
		g.AnyFlag |= t.flags[i]
		g.Oldest = max(g.Oldest, t.seconds.at(i))
		if t.wake.at(i) == WakeNever {
			g.Never++
		}
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Stack, b.Stack), cmp.Compare(a.State, b.State),
			cmp.Compare(a.Reason, b.Reason))
	})
	return groups
}

// syncTable keeps bare channels as columns, because a process can have one per goroutine, and everything else as rows.
type syncTable struct {
	full     []Sync // sorted by address
	chanAddr []uint64
	chanLen  []uint32
	chanCap  []uint32
	chanBits []chanBits
}

// chanBits are the flags of a channel.
type chanBits uint8

const (
	chanClosed chanBits = 1 << iota
	chanBlank
)

func (s *Sync) chanBits() chanBits {
	var bits chanBits
	if s.Closed {
		bits |= chanClosed
	}
	if s.Blank {
		bits |= chanBlank
	}
	return bits
}

// Syncs yields every object: first locks and the like by address, then plain channels by address.
func (c *Case) Syncs() iter.Seq[Sync] {
	return func(yield func(Sync) bool) {
		for _, s := range c.syncs.full {
			if !yield(s) {
				return
			}
		}
		for i := range c.syncs.chanAddr {
			if !yield(c.syncs.channel(i)) {
				return
			}
		}
	}
}

// Sync returns the object at an address.
func (c *Case) Sync(addr uint64) (Sync, bool) {
	t := &c.syncs
	if i, ok := slices.BinarySearchFunc(t.full, addr, func(s Sync, a uint64) int { return cmp.Compare(s.Addr, a) }); ok {
		return t.full[i], true
	}
	if i, ok := slices.BinarySearch(t.chanAddr, addr); ok {
		return t.channel(i), true
	}
	return Sync{}, false
}

func (t *syncTable) channel(i int) Sync {
	return Sync{Addr: t.chanAddr[i], Kind: SyncChannel, Len: int64(t.chanLen[i]), Cap: int64(t.chanCap[i]),
		Closed: t.chanBits[i]&chanClosed != 0, Blank: t.chanBits[i]&chanBlank != 0, Waiters: -1}
}

// Waits returns what the goroutine in row i waits for: one object, or the cases of a select.
func (c *Case) Waits(i int) []Wait {
	g := &c.goroutines
	id := g.id.at(i)
	if addr := g.waitsOn[i]; addr != 0 {
		return []Wait{{Goroutine: id, Sync: addr}}
	}
	at := sort.Search(len(c.selects), func(k int) bool { return c.selects[k].Goroutine >= id })
	end := at
	for end < len(c.selects) && c.selects[end].Goroutine == id {
		end++
	}
	return c.selects[at:end:end]
}

// objectIndex lists the waiters of each object: rows[start[k]:start[k+1]] wait for addrs[k].
type objectIndex struct {
	addrs []uint64
	start []uint32
	rows  []uint32
}

// Contended is an object with the goroutines that wait for it.
type Contended struct {
	Sync Sync     // zero but for Addr when the object itself could not be read
	Rows []uint32 // rows of Goroutines, in the order of the source
}

// Contended yields the objects for which at least min goroutines wait and for nothing else (selects are left out), by
// address.
func (c *Case) Contended(min int) iter.Seq[Contended] {
	return func(yield func(Contended) bool) {
		ix := c.byObject()
		for k, addr := range ix.addrs {
			rows := ix.rows[ix.start[k]:ix.start[k+1]]
			if len(rows) < min {
				continue
			}
			s, ok := c.Sync(addr)
			if !ok {
				s = Sync{Addr: addr, Waiters: -1}
			}
			if !yield(Contended{s, rows}) {
				return
			}
		}
	}
}

// Waiters returns the rows of the goroutines that wait for this object alone.
func (c *Case) Waiters(addr uint64) []uint32 {
	ix := c.byObject()
	k, ok := slices.BinarySearch(ix.addrs, addr)
	if !ok {
		return nil
	}
	return ix.rows[ix.start[k]:ix.start[k+1]]
}

func (c *Case) makeObjectIndex() objectIndex {
	var ix objectIndex
	waitsOn := c.goroutines.waitsOn
	n := 0
	for _, addr := range waitsOn {
		if addr != 0 {
			n++
		}
	}
	ix.rows = make([]uint32, 0, n) // exactly: there may be a million
	for i, addr := range waitsOn {
		if addr != 0 {
			ix.rows = append(ix.rows, uint32(i))
		}
	}
	ix.rows = sortRows(ix.rows, waitsOn)
	objects := 0
	for i, row := range ix.rows {
		if i == 0 || waitsOn[row] != waitsOn[ix.rows[i-1]] {
			objects++
		}
	}
	ix.addrs, ix.start = make([]uint64, 0, objects), make([]uint32, 0, objects+1)
	for i, row := range ix.rows {
		if i == 0 || waitsOn[row] != waitsOn[ix.rows[i-1]] {
			ix.addrs = append(ix.addrs, waitsOn[row])
			ix.start = append(ix.start, uint32(i))
		}
	}
	ix.start = append(ix.start, uint32(len(ix.rows)))
	return ix
}

// sortRows sorts rows by their values and leaves rows of equal values in order: a radix sort from the last digit to the first, which
// for a million rows takes a fifth of the time of a sort by comparison. Digits in which no two values differ are passed over, and
// of an address that is most of them.
func sortRows(rows []uint32, values []uint64) []uint32 {
	const digits, base = 8, 256
	if len(rows) == 0 {
		return rows
	}
	varying, first := uint64(0), values[rows[0]]
	for _, r := range rows {
		varying |= values[r] ^ first
	}
	sorted := make([]uint32, len(rows))
	for shift := 0; shift < 8*digits; shift += 8 {
		if varying>>shift%base == 0 {
			continue
		}
		var next [base]int
		for _, r := range rows {
			next[values[r]>>shift%base]++
		}
		at := 0
		for d, n := range next {
			next[d], at = at, at+n
		}
		for _, r := range rows {
			d := values[r] >> shift % base
			sorted[next[d]] = r
			next[d]++
		}
		rows, sorted = sorted, rows
	}
	return rows
}

// HoldsOf returns the inferred holders of a lock, the strongest first, with their indexes in Holds.
func (c *Case) HoldsOf(addr uint64) []int {
	var found []int
	for i, h := range c.Holds {
		if h.Sync == addr {
			found = append(found, i)
		}
	}
	sort.SliceStable(found, func(a, b int) bool { return c.Holds[found[a]].Grade.weakness() < c.Holds[found[b]].Grade.weakness() })
	return found
}

// WakersOf returns the indexes in Wakers of those who could wake the waiters of an object, the strongest first.
func (c *Case) WakersOf(addr uint64) []int { return c.wakers()[addr] }

func (c *Case) makeWakerIndex() map[uint64][]int {
	index := map[uint64][]int{}
	for i, w := range c.Wakers {
		index[w.Sync] = append(index[w.Sync], i)
	}
	for _, list := range index {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(c.Wakers[a].Grade, c.Wakers[b].Grade) })
	}
	return index
}

// Resolve reports whether a reference names a row that exists.
func (c *Case) Resolve(r Ref) bool {
	switch r.Kind {
	case RefProcess:
		return true
	case RefGoroutine:
		_, ok := c.rowOf(int64(r.ID))
		if !ok && c.Timeline != nil {
			_, ok = c.Timeline.Actor(int64(r.ID))
		}
		return ok
	case RefThread:
		return slices.ContainsFunc(c.Threads, func(t Thread) bool { return t.TID == int(r.ID) })
	case RefSync:
		_, ok := c.Sync(r.ID)
		return ok || len(c.Waiters(r.ID)) > 0
	case RefStack:
		return r.ID > 0 && r.ID < uint64(c.Stacks())
	case RefProcessor:
		return c.Scheduler != nil && slices.ContainsFunc(c.Scheduler.Processors, func(p Processor) bool { return p.ID == int(r.ID) })
	case RefHeap:
		return c.Heap != nil
	case RefScheduler:
		return c.Scheduler != nil
	case RefDeath:
		return c.Death != nil
	case RefProof:
		return c.Proof != nil
	case RefHeapUse:
		return c.HeapUse != nil
	case RefTimeline:
		return c.Timeline != nil
	case RefPool:
		return slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Addr == r.ID })
	}
	return r.ID < uint64(c.rowsOf(r.Kind))
}

// rowsOf is the length of a table whose references are indexes.
func (c *Case) rowsOf(k RefKind) int {
	switch k {
	case RefPanic:
		return len(c.Panics)
	case RefTransfer:
		return len(c.Transfers)
	case RefHold:
		return len(c.Holds)
	case RefGap:
		return len(c.Gaps)
	case RefWaker:
		return len(c.Wakers)
	case RefPoolUse:
		return len(c.PoolUses)
	}
	return c.Timeline.rowsOf(k)
}

// freeze computes what is derived and sets the lazy indexes.
func (c *Case) freeze() {
	c.groups = sync.OnceValue(c.makeGroups)
	c.byObject = sync.OnceValue(c.makeObjectIndex)
	c.rows = sync.OnceValue(func() *idIndex { return newIDIndex(&c.goroutines.id, c.goroutines.len()) })
	c.wakers = sync.OnceValue(c.makeWakerIndex)
	c.kinds = c.presentKinds()
}

func (c *Case) presentKinds() Kinds {
	var k Kinds
	for _, present := range []struct {
		kind Kinds
		yes  bool
	}{
		{KindGoroutines, c.goroutines.len() > 0}, {KindThreads, len(c.Threads) > 0},
		{KindSyncs, len(c.syncs.full)+len(c.syncs.chanAddr) > 0}, {KindHolds, len(c.Holds) > 0},
		{KindTransfers, len(c.Transfers) > 0}, {KindScheduler, c.Scheduler != nil},
		{KindHeap, c.Heap != nil}, {KindDeath, c.Death != nil},
		{KindProof, c.Proof != nil && c.Proof.Done}, {KindWakers, len(c.Wakers) > 0},
		{KindPools, len(c.Pools) > 0}, {KindHeapUse, c.HeapUse != nil}, {KindTimeline, c.Timeline != nil},
	} {
		if present.yes {
			k |= present.kind
		}
	}
	return k
}
