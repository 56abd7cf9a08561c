package fold

import "github.com/gopostmortem/postmortem/analyze/evidence"

// lockCaller is a line that calls a function of package sync: Lock, or Unlock.
type lockCaller struct {
	family string // "mutex", "rwmutex"
	fn     string
	line   int
}

// lockClasses says which lines lock and unlock the same locks, or locks of the same kind. A trace has no addresses of locks. But who waits
// at one line and is woken from another shows that the two lines are about one lock, so they become one class.
type lockClasses struct {
	number map[lockCaller]uint32
	parent []uint32    // the classes are trees
	rows   []lockClass // by root
}

// lockClass is what is known of the locks of a class.
type lockClass struct {
	let int64 // when one was let go last, with somebody waiting for it
	by  int64 // the goroutine that did it

	// How often somebody held a lock while another goroutine let one go, and how often not: whether there is one lock or many.
	many, one uint32
	wakes     uint32
}

// settled says how many wakes show which lines are about the same lock: before, two classes may still turn out to be one.
const settled = 16

// isMany reports whether there is more than one lock of the class, as far as was seen.
func (c *lockClass) isMany() bool { return c.many > c.one }

func (l *lockClasses) init() {
	l.number = map[lockCaller]uint32{}
	l.parent, l.rows = make([]uint32, 1), []lockClass{{let: never}}
}

func (l *lockClasses) of(c lockCaller) uint32 {
	if n, ok := l.number[c]; ok {
		return n
	}
	n := uint32(len(l.parent))
	l.parent, l.rows = append(l.parent, n), append(l.rows, lockClass{let: never})
	l.number[c] = n
	return n
}

// root names the class. Ways are halved as they are walked.
func (l *lockClasses) root(n uint32) uint32 {
	for l.parent[n] != n {
		l.parent[n] = l.parent[l.parent[n]]
		n = l.parent[n]
	}
	return n
}

func (l *lockClasses) join(a, b uint32) uint32 {
	a, b = l.root(a), l.root(b)
	if a == b || a == 0 || b == 0 { // 0: a line that is not known
		return max(a, b)
	}
	a, b = min(a, b), max(a, b)
	l.parent[b] = a
	to, from := &l.rows[a], l.rows[b]
	if from.let > to.let {
		to.let, to.by = from.let, from.by
	}
	to.many, to.one, to.wakes = to.many+from.many, to.one+from.one, to.wakes+from.wakes
	return a
}

// release is a row of Timeline.Releases while it is filled. Row 0 is nothing.
type release struct {
	site    uint32
	stack   Stack
	hold    uint32 // row of the holds; 0 when it is not of a lock
	count   uint64
	wait    uint64
	maxWait int64
	top     shares
}

// holds are the figures of a release that only locks have.
type holds struct {
	ns    uint64
	max   int64
	hist  evidence.Histogram
	parts [2 * evidence.MaxParts]part // the longest are told; twice as many are kept, so that late ones have a chance
}

// part is one thing that holders did. A running or ready one has the number of its state instead of a site.
type part struct {
	state evidence.ActState
	site  uint32
	ns    uint64
	count uint64
}

// releaseTable finds a release by its site and stack. The site knows its last two; the others are looked up.
type releaseTable struct {
	rows  []release
	holds []holds
	index map[uint64]uint32
}

func (t *releaseTable) init() {
	t.rows, t.holds, t.index = make([]release, 1, 256), make([]holds, 1, 64), map[uint64]uint32{}
}

func (f *Folder) release(site uint32, stack Stack) uint32 {
	t, s := &f.rel, &f.sites.rows[site]
	if last := s.relLast; last != 0 && t.rows[last].stack == stack {
		return last
	}
	if next := s.relNext; next != 0 && t.rows[next].stack == stack {
		s.relLast, s.relNext = next, s.relLast
		return next
	}
	key := uint64(site)<<32 | uint64(stack)
	n, ok := t.index[key]
	if !ok {
		if len(t.rows) >= maxReleases && stack != 0 {
			f.refused.releases++
			return f.release(site, 0) // one for each site: there are not more than maxSites of them
		}
		n = uint32(len(t.rows))
		t.rows = append(t.rows, release{site: site, stack: stack})
		t.index[key] = n
	}
	s.relLast, s.relNext = n, s.relLast
	return n
}

// wake accounts that a goroutine ended the wait of g, which began at g.since.
func (f *Folder) wake(t int64, g, by *G, stack Stack) {
	n := f.release(g.site, stack)
	r, d := &f.rel.rows[n], t-g.since
	r.count++
	r.wait += uint64(d)
	r.maxWait = max(r.maxWait, d)
	if sampled(r.count) {
		r.top.add(by.ID)
	}
	s := &f.sites.rows[g.site]
	if s.lock || s.key == 0 && s.stack == 0 { // of who waits since before the trace nothing may be known: the wake tells that it was for a lock
		if info := f.stackInfo(stack); info.flags&atRelease != 0 {
			f.letGo(t, g, by, n, info)
		}
	}
	if f.reasons[s.reason()].pair && g.flags&by.flags&gUser != 0 {
		f.woken(t, g, by)
	}
}

// letGo measures how long by had held the lock that it lets go, so that g, which has waited for it since g.since, wakes up.
//
// The lock was held all the time that g waited: had it been free, its last holder would have woken g, who is the first of the queue (a
// mutex wakes in the order of arrival; who was woken and came too late is put in front, with a wait of its own). So a hold begins at
// g.since at the earliest; nothing before that is claimed, because by might have let the lock go and taken it again without anybody
// waiting, which leaves no event. It begins later, when by itself had to wait for the lock and then came to run (nobody else had it in
// between), or, when by has not waited, when the lock was let go last: by anybody in the class, if there is one lock in it, and by
// itself if there are many. While it is not clear yet whether the lock that by has waited for is this one, it is taken for it.
//
// Not seen is only who took the lock in passing, while a goroutine that was woken for it was on its way or another one spun for it, and
// let it go to by: holds of very short ones are as long as the wait that they ended, at most.
func (f *Folder) letGo(t int64, g, by *G, n uint32, info stackInfo) {
	class := f.locks.join(f.sites.rows[g.site].class, info.class)
	c, x := &f.locks.rows[class], f.extra(by)
	mine := f.locks.same(x.letClass, class)
	from, again := max(g.since, by.born), false
	switch {
	case mine && x.letIn == by.since && g.since <= x.letAt:
		// The same call wakes several: a writer lets all readers in, and the next writer.
		from = max(from, x.letFrom)
		again = x.letRow == n
	case f.locks.same(x.tookClass, class):
		from = max(from, x.took)
		if c.let > x.took && c.by != by.ID {
			c.many++
		} else {
			c.one++
		}
	case f.locks.same(x.heldClass, class):
		from = max(from, x.held)
	default:
		if x.tookClass != 0 && min(c.wakes, f.locks.rows[f.locks.root(x.tookClass)].wakes) < settled {
			from = max(from, x.took)
		}
		if !c.isMany() {
			from = max(from, c.let)
		} else if mine {
			from = max(from, x.letAt)
		}
	}
	x.letClass, x.letAt, x.letIn, x.letFrom, x.letRow = class, t, by.since, from, n
	x.lose(&f.locks, class)
	c.let, c.by = t, by.ID
	c.wakes++
	f.extra(g).get(&f.locks, class, t)
	if !again {
		f.held(n, by, from, t)
	}
}

// same reports whether a class that may be none is the one with a root.
func (l *lockClasses) same(class, root uint32) bool { return class != 0 && l.root(class) == root }

// get notes that a goroutine has got a lock after a wait. The one that it got before it may still have.
func (x *extra) get(l *lockClasses, class uint32, t int64) {
	if x.tookClass != 0 && !l.same(x.tookClass, class) {
		x.held, x.heldClass = x.took, x.tookClass
	}
	x.took, x.tookClass = t, class
}

// lose notes that it has let one go.
func (x *extra) lose(l *lockClasses, class uint32) {
	if l.same(x.tookClass, class) {
		x.took, x.tookClass = x.held, x.heldClass
		x.heldClass = 0
	} else if l.same(x.heldClass, class) {
		x.heldClass = 0
	}
}

// held adds one hold to a release, and what the holder did in it.
func (f *Folder) held(n uint32, by *G, from, to int64) {
	r := &f.rel.rows[n]
	if r.hold == 0 {
		r.hold = uint32(len(f.rel.holds))
		f.rel.holds = append(f.rel.holds, holds{})
	}
	h := &f.rel.holds[r.hold]
	h.ns += uint64(to - from)
	h.max = max(h.max, to-from)
	h.hist.Add(to - from)
	f.rings.each(by, from, to, func(state evidence.ActState, site uint32, ns int64) { h.add(state, site, ns) })
}

// add adds a part. When all places are taken the smallest is given up: it is not among the longest, unless it grows faster than all
// others from then on.
func (h *holds) add(state evidence.ActState, site uint32, ns int64) {
	if state == evidence.ActRunning || state == evidence.ActReady {
		site = 0
	}
	least := 0
	for k := range h.parts {
		p := &h.parts[k]
		if p.count == 0 || p.state == state && p.site == site {
			p.state, p.site = state, site
			p.ns += uint64(ns)
			p.count++
			return
		}
		if p.ns < h.parts[least].ns {
			least = k
		}
	}
	if uint64(ns) > h.parts[least].ns {
		h.parts[least] = part{state, site, uint64(ns), 1}
	}
}
