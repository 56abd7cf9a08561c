package gocore

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// A pool gives away a bounded number of slots and is made of the objects that goroutines wait for. Nothing in it says which goroutine
// waits for it or has one of its slots: the waiters are those inside of the one function that waits, and they lead to the pool; who
// holds a slot refers to what stands for it.

// poolKind is a kind of pool that the reader knows.
type poolKind uint8

const (
	poolNone poolKind = iota
	poolSQL
	poolHTTP
	poolSemaphore
	poolGroup
	poolFlight
)

var poolNames = []string{"", "database/sql.DB", "net/http.Transport", "golang.org/x/sync/semaphore.Weighted",
	"golang.org/x/sync/errgroup.Group", "golang.org/x/sync/singleflight.call"}

// poolWaits are the functions in which goroutines wait for a slot: the frame directly above the runtime's and package sync's. The
// same in Go 1.21 to 1.26 and in golang.org/x/sync 0.1 to 0.24.
var poolWaits = map[string]poolKind{
	"database/sql.(*DB).conn":                         poolSQL,
	"net/http.(*Transport).getConn":                   poolHTTP,
	"golang.org/x/sync/semaphore.(*Weighted).Acquire": poolSemaphore,
	"golang.org/x/sync/errgroup.(*Group).Go":          poolGroup,
	"golang.org/x/sync/singleflight.(*Group).Do":      poolFlight,
	"internal/singleflight.(*Group).Do":               poolFlight,
}

// slotFrame says that a stack waits for a slot.
type slotFrame struct {
	kind  poolKind
	frame int // of the machine, in the walk
}

// preparePools finds the functions in this program. A program without them pays nothing.
func (t *target) preparePools() {
	t.poolEntries = map[uint64]poolKind{}
	for name, fn := range t.tab.Lookup(slices.Sorted(maps.Keys(poolWaits))...) {
		t.poolEntries[fn.Entry] = poolWaits[name]
	}
}

// waitsForSlot notes the goroutine of the last walk when it waits for a slot.
func (w *worker) waitsForSlot(row *gRow) {
	if len(w.t.poolEntries) == 0 || row.status != statusWaiting {
		return
	}
	s := &w.stacks[row.stack]
	if !s.slotKnown {
		s.slotKnown, s.slot = true, w.slotFrame()
	}
	if s.slot.kind != poolNone && len(w.slotWaiters) < maxSuspects {
		w.slotWaiters = append(w.slotWaiters, row.g)
	}
}

// slotFrame looks at the inner frames of the last walk.
func (w *worker) slotFrame() slotFrame {
	const inner = 8 // gopark, selectgo; or semacquire and what package sync has around it
	for i, pc := range w.u.pcs[:min(len(w.u.pcs), inner)] {
		e := w.u.info(pc)
		if !e.ok {
			break
		}
		if kind := w.t.poolEntries[e.fn.Entry]; kind != poolNone {
			return slotFrame{kind, i}
		}
		if name := e.fn.Name(); !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "sync.") && !strings.HasPrefix(name, "internal/sync.") {
			break
		}
	}
	return slotFrame{}
}

// foundPool is a pool with a waiter.
type foundPool struct {
	evidence.Pool
	kind   poolKind
	key    string // of an http.Transport: the host, as the transport tells them apart
	object uint64 // the transport, where Addr is not its own
	uses   []evidence.PoolUse
	asking int                // waiters in front of the lock of the pool itself: they may be in its queue, or not
	claims map[uint64][]claim // by slot: who refers to it
}

// claim is a goroutine that refers to a slot.
type claim struct {
	goroutine int64
	depth     int
	frame     evidence.FrameID
	level     int // how many objects lie between its frame and what stands for the slot
	pending   bool
	why       string
}

// poolSearch looks for pools and those who hold their slots.
type poolSearch struct {
	t       *target
	w       *worker
	library *layout.Library // of the standard library
	pools   map[uint64]*foundPool
	missed  int // waiters whose pool was not found
	g       uint64
	row     gRow
	kinds   map[poolKind]bool // of the pools that were found

	sql     sqlOffsets
	http    httpSearch
	sema    semaphoreSearch
	objects int // objects that were looked into
	full    bool
	known   map[uint64][]uint64 // by address: what objectWords gave
}

// readPools finds the pools that goroutines wait for, and the holders of their slots.
func (t *target) readPools(ctx context.Context) {
	if len(t.slotWaiters) == 0 {
		return
	}
	s := t.newPoolSearch()
	for _, g := range t.slotWaiters {
		if ctx.Err() != nil {
			return
		}
		s.waiter(g)
	}
	s.finishWaiters()
	if s.missed > 0 {
		t.b.Gapf("pools", "%d goroutines wait for a slot of a pool that was not found in their frames, or whose counts make no sense", s.missed)
	}
	if len(s.pools) == 0 {
		return
	}
	s.checkCounts()
	s.holders(ctx)
	s.report()
}

func (t *target) newPoolSearch() *poolSearch {
	s := &poolSearch{t: t, pools: map[uint64]*foundPool{}, kinds: map[poolKind]bool{}, known: map[uint64][]uint64{}}
	s.w = &worker{t: t, u: newUnwinder(t), index: map[uint64]uint32{}, locks: map[uint64]evidence.SyncKind{},
		lockCodes: map[uint64]*lockCode{}, waiting: map[waitKey]int{}, conds: map[uint64]bool{}}
	var err error
	if s.library, err = layout.LibraryFor(t.info.GoVersion); err != nil {
		t.b.Gap("pools of the standard library", err.Error())
	}
	s.sql, s.http = s.sqlOffsets(), s.newHTTPSearch()
	s.sema = newSemaphoreSearch()
	return s
}

// walk makes a goroutine the one that is looked at; false for one that is dead or not in the core.
func (s *poolSearch) walk(g uint64) bool {
	raw, ok := s.w.u.mem.Bytes(g, s.t.off.G.Size)
	if !ok {
		return false
	}
	o := &s.t.off.G
	s.g = g
	s.row = gRow{g: g, id: int64(le.Uint64(raw[o.ID:])), status: le.Uint32(raw[o.Status:]) &^ statusScan}
	state := states[s.row.status]
	if state == evidence.StateDead || state == evidence.StateIdle {
		return false
	}
	s.w.unwindRow(&s.row, raw)
	return true
}

// waiter finds the pool that a goroutine waits for.
func (s *poolSearch) waiter(g uint64) {
	if !s.walk(g) {
		return
	}
	at := s.w.slotFrame()
	ok := false
	switch at.kind {
	case poolSQL:
		ok = s.sqlWaiter(at.frame)
	case poolHTTP:
		ok = s.httpWaiter(at.frame)
	case poolSemaphore:
		ok = s.semaphoreWaiter(at.frame)
	case poolGroup:
		ok = s.groupWaiter(at.frame)
	case poolFlight:
		ok = s.flightWaiter(at.frame)
	}
	if !ok {
		s.missed++
	}
}

// finishWaiters completes the pools when all waiters are known.
func (s *poolSearch) finishWaiters() {
	s.http.settle(s)
	for _, p := range s.pools {
		s.kinds[p.kind] = true
	}
}

// pool returns the pool at an address, and makes it when it is new.
func (s *poolSearch) pool(addr uint64, kind poolKind) (p *foundPool, made bool) {
	if p, ok := s.pools[addr]; ok {
		return p, false
	}
	p = &foundPool{Pool: evidence.Pool{Addr: addr, Kind: poolNames[kind], Used: -1, Waiting: -1, Trust: evidence.TrustRead},
		kind: kind, object: addr, claims: map[uint64][]claim{}}
	p.Where = s.t.whereIs(addr)
	s.pools[addr] = p
	return p, true
}

// waits notes the goroutine of the last walk as a waiter.
func (s *poolSearch) waits(p *foundPool, frame int, slots int64) {
	if len(s.channelsOf()) == 0 {
		p.asking++
	}
	p.uses = append(p.uses, evidence.PoolUse{Pool: p.Addr, Goroutine: s.row.id, Role: evidence.PoolWaits, Slots: slots,
		Depth: s.t.logicalDepth(s.w, s.row.stack, frame), Frame: s.t.frameAt(s.w, s.row.stack, frame)})
}

// claims notes the goroutine of the last walk as one that refers to a slot. The innermost frame of the best level counts.
func (s *poolSearch) claims(p *foundPool, slot uint64, frame int, c claim) {
	c.goroutine = s.row.id
	list := p.claims[slot]
	for i, old := range list {
		if old.goroutine == c.goroutine {
			if c.level < old.level || c.pending && !old.pending {
				c.depth, c.frame = s.t.logicalDepth(s.w, s.row.stack, frame), s.t.frameAt(s.w, s.row.stack, frame)
				list[i] = c
			}
			return
		}
	}
	if len(list) < maxHolds {
		c.depth, c.frame = s.t.logicalDepth(s.w, s.row.stack, frame), s.t.frameAt(s.w, s.row.stack, frame)
		p.claims[slot] = append(list, c)
	}
}

// holders looks through all goroutines for those that refer to slots.
func (s *poolSearch) holders(ctx context.Context) {
	list, err := s.t.allgs()
	if err != nil {
		return
	}
	total := len(list) / 8
	for ; len(list) >= 8; list = list[8:] {
		if ctx.Err() != nil {
			return
		}
		if s.w.searched > maxSearch {
			s.t.b.Gapf("holders of pool slots", "only %d of %d goroutines were searched", total-len(list)/8, total)
			return
		}
		if g := le.Uint64(list); g != 0 && s.walk(g) {
			s.holder()
		}
	}
	if s.full {
		s.t.b.Gapf("holders of pool slots", "only the first %d objects that frames refer to were looked into", maxPoolObjects)
	}
}

// holder looks at the goroutine of the last walk.
func (s *poolSearch) holder() {
	const depth = 256 // the frames of a deep recursion repeat
	n := min(len(s.w.u.pcs), depth)
	if n == 0 {
		return
	}
	housekeeping := s.housekeeping()
	for i := range n {
		e := s.w.u.info(s.w.u.pcs[i])
		if !e.ok || strings.HasPrefix(e.fn.Name(), "runtime.") {
			continue
		}
		if s.kinds[poolSQL] {
			s.sqlOpening(i, e)
		}
		if !housekeeping && (s.kinds[poolSQL] || s.kinds[poolHTTP]) {
			s.references(i, packageOf(e.fn.Name()))
		}
		if s.kinds[poolSemaphore] {
			s.semaphoreHolder(i, e)
		}
		if s.kinds[poolGroup] || s.kinds[poolFlight] {
			s.taskHolder(i, e)
		}
	}
}

// housekeeping reports whether the goroutine of the last walk belongs to a pool itself: it opens connections, waits for the end of a
// context, or moves the bytes of a connection. It refers to slots and has none.
func (s *poolSearch) housekeeping() bool {
	for _, pc := range slices.Backward(s.w.u.pcs) {
		e := s.w.u.info(pc)
		if !e.ok || e.fn.Name() == "runtime.goexit" {
			continue
		}
		name := e.fn.Name()
		return strings.HasPrefix(name, "database/sql.") || strings.HasPrefix(name, "net/http.(*persistConn).") ||
			strings.HasPrefix(name, "net/http.(*Transport).")
	}
	return false
}

// references looks for what stands for a slot among the live words of a frame, and in the objects that they point to.
func (s *poolSearch) references(frame int, pkg string) {
	words := s.keptWords(frame)
	s.w.searched += len(words)
	for _, v := range words {
		if s.reference(frame, pkg, v, 0) {
			continue
		}
		for _, inner := range s.objectWords(v) {
			s.reference(frame, pkg, inner, 1)
		}
	}
}

// reference notes a claim when a word stands for a slot.
func (s *poolSearch) reference(frame int, pkg string, v uint64, level int) bool {
	if s.kinds[poolSQL] && s.sqlReference(frame, pkg, v, level) {
		return true
	}
	return s.kinds[poolHTTP] && s.httpReference(frame, pkg, v, level)
}

// report hands pools and their uses to the Builder, by address.
func (s *poolSearch) report() {
	for _, addr := range sortedKeys(s.pools) {
		p := s.pools[addr]
		s.t.b.Pool(p.Pool)
		slices.SortStableFunc(p.uses, func(a, b evidence.PoolUse) int { return int(a.Goroutine - b.Goroutine) })
		for _, u := range p.uses {
			s.t.b.PoolUse(u)
		}
		for _, u := range p.held() {
			s.t.b.PoolUse(u)
		}
	}
}
