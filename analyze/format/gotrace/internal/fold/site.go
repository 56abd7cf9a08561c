package fold

import (
	"math"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// site is a row of Timeline.Sites while it is filled. Row 0 is nothing. It holds no pointers, so that the collector does not look at it.
type site struct {
	key     uint32 // kind and reason
	stack   Stack
	next    uint32 // the next row with this stack
	slice   int32  // that acc belongs to
	here    int32
	peak    int32
	cat     category // of who is blocked here
	lock    bool     // waits here are for a lock
	class   uint32   // of the lock
	relLast uint32   // release that ended a wait here last, and another one before it
	relNext uint32
	acc     int64 // goroutines times ns in the present slice; see clock
	since   int64 // when here became 1
	first   int64
	last    int64
	max     int64
	count   uint64
	total   uint64
	busy    uint64
	openNS  uint64
	fresh   uint64 // of those that ended and took time: by goroutines that had not run yet
	freshNS uint64
	open    uint32
	unwoken uint64
	run     int64
	top     shares
	hist    evidence.Histogram
}

func (s *site) kind() evidence.SiteKind { return evidence.SiteKind(s.key >> 16) }
func (s *site) reason() Reason          { return Reason(s.key) }

// siteTable has a list of sites for each stack: most stacks have one or two.
type siteTable struct {
	rows  []site
	loads [][]float32 // by row: ns by slice; of samples their number
	heads []uint32    // by stack: its first row
}

func (t *siteTable) init() {
	t.rows, t.loads = make([]site, 1, 1024), make([][]float32, 1, 1024)
	t.heads = make([]uint32, 1, 1024)
}

// site is the row of a kind, reason and stack.
func (f *Folder) site(kind evidence.SiteKind, r Reason, stack Stack) uint32 {
	key := uint32(kind)<<16 | uint32(r)
	if int(stack) < len(f.sites.heads) {
		for i := f.sites.heads[stack]; i != 0; i = f.sites.rows[i].next {
			if f.sites.rows[i].key == key {
				return i
			}
		}
	}
	return f.newSite(kind, r, stack)
}

func (f *Folder) newSite(kind evidence.SiteKind, r Reason, stack Stack) uint32 {
	if r != f.valid(r) {
		return f.site(kind, 0, stack)
	}
	// The last rows are kept for the sites without a stack that take the rest: one for each kind and reason.
	const kinds = int(evidence.SiteAssist) + 1
	if stack >= maxStacks || stack != 0 && len(f.sites.rows) >= maxSites-kinds*maxReasons {
		f.refused.sites++
		return f.site(kind, r, 0)
	}
	t := &f.sites
	for int(stack) >= len(t.heads) {
		t.heads = append(t.heads, make([]uint32, max(64, int(stack)+1-len(t.heads)))...)
	}
	i := uint32(len(t.rows))
	row := site{key: uint32(kind)<<16 | uint32(r), stack: stack, next: t.heads[stack], slice: f.slice, cat: f.reasons[r].cat, first: f.now}
	if info := f.stackInfo(stack); kind == evidence.SiteBlock && info.flags&atLock != 0 && (row.cat == catSync || r == 0) {
		row.cat, row.lock, row.class = catSync, true, info.class // who waited when the trace began has a stack and no reason
	} else if kind == evidence.SiteSyscall {
		row.cat = catSyscall
		if info.flags&atSignal != 0 {
			row.cat = catSignal
		}
	}
	t.rows, t.loads = append(t.rows, row), append(t.loads, nil)
	t.heads[stack] = i
	return i
}

// come counts a goroutine at a site from t on.
func (f *Folder) come(i uint32, t int64, id int64) {
	s := &f.sites.rows[i]
	if s.slice != f.slice {
		f.sites.catchUp(i, &f.clock)
	}
	s.acc += f.end - t
	if s.here == 0 {
		s.since = t
	}
	if s.here++; s.here > s.peak {
		s.peak = s.here
	}
	s.count++
	s.last = t
	s.counted(id)
}

// quit ends the stay of a goroutine that came d before t.
func (f *Folder) quit(i uint32, t, d int64) {
	s := &f.sites.rows[i]
	if s.slice != f.slice {
		f.sites.catchUp(i, &f.clock)
	}
	s.acc -= f.end - t
	if s.here--; s.here == 0 {
		s.busy += uint64(t - s.since)
	}
	s.total += uint64(d)
	s.max = max(s.max, d)
	s.last = t
	s.hist.Add(d)
}

// fresh counts a stay that ends now and took d, when its goroutine has not run yet.
func (f *Folder) fresh(g *G, d int64) {
	if g.runs == 0 && g.run == 0 && d > 0 {
		s := &f.sites.rows[g.site]
		s.fresh++
		s.freshNS += uint64(d)
	}
}

// remain ends, at the end of the trace, the stay of a goroutine that has not ended.
func (f *Folder) remain(i uint32, t, d int64) {
	s := &f.sites.rows[i]
	if s.slice != f.slice {
		f.sites.catchUp(i, &f.clock)
	}
	s.open++
	s.total += uint64(d)
	s.openNS += uint64(d)
	s.max = max(s.max, d)
	s.last = t
}

// happened counts something that lasted d and ends at t, without anybody being there: a stretch of running that was cut off. The union
// of such stretches is a lower bound: of one that reaches back behind an earlier one only the rest is counted.
func (f *Folder) happened(i uint32, t, d, id int64) {
	s := &f.sites.rows[i]
	if s.count == 0 {
		s.since = never
	}
	s.busy += uint64(t - max(t-d, s.since))
	s.since = t
	s.peak = 1
	s.count++
	s.total += uint64(d)
	s.max = max(s.max, d)
	s.last = t
	s.hist.Add(d)
	s.counted(id)
	f.sites.loads[i] = f.addSpan(f.sites.loads[i], t-d, t)
	s.slice = f.slice
}

// tick counts a sample.
func (f *Folder) tick(i uint32, t, id int64) {
	s := &f.sites.rows[i]
	if s.slice != f.slice {
		f.sites.catchUp(i, &f.clock)
	}
	s.acc++
	s.count++
	s.last = t
	s.counted(id)
}

// catchUp writes the sums of a site up to the slice before the present one.
func (t *siteTable) catchUp(i uint32, c *clock) {
	s, row := &t.rows[i], t.loads[i]
	if s.acc == 0 && s.here == 0 {
		s.slice = c.slice
		return
	}
	for int32(len(row)) <= c.slice {
		row = append(row, 0)
	}
	row[s.slice] += float32(s.acc)
	each := int64(s.here) * c.width
	for k := s.slice + 1; k < c.slice; k++ {
		row[k] += float32(each)
	}
	if s.slice == c.slice {
		s.acc = 0
	} else {
		s.acc = each
	}
	t.loads[i], s.slice = row, c.slice
}

// settle has all sites catch up.
func (t *siteTable) settle(c *clock) {
	for i := range t.rows {
		if t.rows[i].slice != c.slice {
			t.catchUp(uint32(i), c)
		}
	}
}

// widen follows clock.widen: the present slice, its new number, ends so much later.
func (t *siteTable) widen(slice int32, longer int64) {
	for i := range t.rows {
		s := &t.rows[i]
		s.slice = slice
		s.acc += int64(s.here) * longer
		t.loads[i] = halve(t.loads[i])
	}
}

// counted has the goroutine of the visit that was counted last in the shares. Who is made ready is not: it is the one that waited.
func (s *site) counted(id int64) {
	if s.key>>16 != uint32(evidence.SiteReady) && sampled(s.count) {
		s.top.add(id)
	}
}

// Visits up to exactly are all counted in shares, later ones one in inEight.
const (
	exactly = 256
	inEight = 8
)

// sampled says whether the n-th visit is looked at. Those that are lie evenly (multiples of the golden ratio, modulo 1), whatever the
// period in which goroutines take turns.
func sampled(n uint64) bool {
	return n <= exactly || uint32(n)*0x9E3779B9 < 1<<32/inEight
}

// shares are the goroutines that occur most often, found with as many counters as are kept (space saving: Metwally, Agrawal, Abbadi,
// 2005). Who comes late takes the place of the least, and how often that one was counted is the error of the newcomer's count.
type shares struct {
	id    [evidence.MaxShares]int64
	n     [evidence.MaxShares]uint32
	wrong [evidence.MaxShares]uint32
	seen  uint64 // visits that were counted
}

func (s *shares) add(id int64) {
	if id == 0 {
		return
	}
	weight := uint32(1)
	if s.seen++; s.seen > exactly {
		weight = inEight
	}
	least := 0
	for k := range s.id {
		if s.id[k] == id {
			s.n[k] = grow(s.n[k], weight)
			return
		}
		if s.n[k] < s.n[least] {
			least = k
		}
	}
	s.id[least], s.wrong[least] = id, s.n[least]
	s.n[least] = grow(s.n[least], weight)
}

// grow adds without going round.
func grow(n, by uint32) uint32 {
	if n > math.MaxUint32-by {
		return n
	}
	return n + by
}
