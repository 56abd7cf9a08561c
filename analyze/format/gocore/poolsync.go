package gocore

import (
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// semaphoreSearch is what is known of semaphore.Weighted (golang.org/x/sync/semaphore/semaphore.go). Without debug information the
// shape of all its versions so far is assumed: {size, cur int64; mu sync.Mutex; waiters list.List}, and a waiter is {n int64; ready
// chan}. Whatever gave the offsets, the goroutine must be found in the list.
type semaphoreSearch struct {
	looked                   bool
	size, cur, waiters       uint64
	waiterN, waiterReady     uint64
	groupSem                 uint64                      // of an errgroup.Group
	globals                  map[uint64][]uint64         // by semaphore: the variables that point to it
	queues                   map[uint64]map[uint64]int64 // by semaphore: what its waiters ask for, by channel
	codes                    map[uint64]*lockCode        // by entry: what a function does with semaphores; nil for nothing
	ops                      map[uint64]lockOp           // by entry: a function that acquires or releases for its caller
	acquire, release, spawns map[uint64]bool             // entries
}

func newSemaphoreSearch() semaphoreSearch {
	const mutex, list, element = 8, 24, 8
	return semaphoreSearch{size: 0, cur: 8, waiters: list, waiterN: 0, waiterReady: 8, groupSem: element + 16,
		globals: map[uint64][]uint64{}, queues: map[uint64]map[uint64]int64{}, codes: map[uint64]*lockCode{}, ops: map[uint64]lockOp{},
		acquire: map[uint64]bool{}, release: map[uint64]bool{}, spawns: map[uint64]bool{}}
}

// look prepares the offsets and the entries of functions, when the first waiter is seen.
func (m *semaphoreSearch) look(s *poolSearch) {
	if m.looked {
		return
	}
	m.looked = true
	const pkg = "golang.org/x/sync/semaphore.(*Weighted)."
	for name, fn := range s.t.tab.Lookup(pkg+"Acquire", pkg+"TryAcquire", pkg+"Release", "runtime.newproc") {
		switch {
		case strings.HasSuffix(name, "Acquire"):
			m.acquire[fn.Entry] = true
		case strings.HasSuffix(name, "Release"):
			m.release[fn.Entry] = true
		default:
			m.spawns[fn.Entry] = true
		}
	}
	if s.t.exe == nil {
		return
	}
	lib, err := layout.LibraryFromELF(s.t.exe)
	if err != nil {
		return
	}
	for path, to := range map[string]*uint64{
		"golang.org/x/sync/semaphore.Weighted.size": &m.size, "golang.org/x/sync/semaphore.Weighted.cur": &m.cur,
		"golang.org/x/sync/semaphore.Weighted.waiters": &m.waiters, "golang.org/x/sync/semaphore.waiter.n": &m.waiterN,
		"golang.org/x/sync/semaphore.waiter.ready": &m.waiterReady, "golang.org/x/sync/errgroup.Group.sem": &m.groupSem,
	} {
		if off, ok := lib.Offset(path); ok {
			*to = off
		}
	}
}

// semaphoreWaiter finds the Weighted among the live words of Acquire: the one whose list holds the channel that the goroutine waits for.
func (s *poolSearch) semaphoreWaiter(frame int) bool {
	s.sema.look(s)
	chans := s.channelsOf()
	for _, v := range s.liveWords(frame) {
		n, count, ok := s.inQueue(v, chans)
		if !ok {
			continue
		}
		p, made := s.pool(v, poolSemaphore)
		if made {
			size, _ := s.w.u.mem.Uint64(v + s.sema.size)
			cur, _ := s.w.u.mem.Uint64(v + s.sema.cur)
			p.Limit, p.Used, p.Waiting = int64(size), int64(cur), count
			if len(s.sema.globals) < maxGlobalPools {
				s.sema.globals[v] = s.globalsTo(v)
			}
			if g := s.sema.globals[v]; p.Where == "" && len(g) > 0 {
				p.Where = s.t.whereIs(g[0])
			}
		}
		s.waits(p, frame, n)
		return true
	}
	return false
}

// inQueue looks for the waiter of one of these channels in the list of a semaphore, and returns for how much it asks, and how many
// waiters there are.
func (s *poolSearch) inQueue(v uint64, chans []uint64) (n int64, count int, ok bool) {
	queue, known := s.sema.queues[v]
	if !known {
		if queue = s.queueOf(v); len(queue) > 0 {
			s.sema.queues[v] = queue // what is taken for a semaphore and is none is not kept: there is any number of them
		}
	}
	for _, c := range chans {
		if n, ok := queue[c]; ok {
			return max(n, 1), len(queue), true
		}
	}
	return 0, 0, false
}

// queueOf reads the waiters of a semaphore, by their channels: for how much each asks. It is empty when there is no semaphore with
// waiters. The list is a ring through its root, and its length must be right (container/list, Go 1.21 to 1.26).
func (s *poolSearch) queueOf(v uint64) map[uint64]int64 {
	const list, value = 40, 32 // of the root: behind it stands the length; of an element: the data word of its Value
	mem, m := s.w.u.mem, &s.sema
	size, ok1 := mem.Uint64(v + m.size)
	cur, ok2 := mem.Uint64(v + m.cur)
	length, ok3 := mem.Uint64(v + m.waiters + list)
	if !ok1 || !ok2 || !ok3 || int64(size) < 0 || cur > size || length == 0 || length > maxGoroutines {
		return nil
	}
	queue := map[uint64]int64{}
	at, _ := mem.Uint64(v + m.waiters)
	for at != 0 && at != v+m.waiters && uint64(len(queue)) < length && s.w.searched <= maxSearch {
		s.w.searched++
		data, ok := mem.Uint64(at + value)
		ready, ok2 := mem.Uint64(data + m.waiterReady)
		if _, twice := queue[ready]; !ok || !ok2 || twice {
			return nil
		}
		asked, _ := mem.Uint64(data + m.waiterN)
		queue[ready] = int64(asked)
		at, _ = mem.Uint64(at)
	}
	if uint64(len(queue)) != length {
		return nil
	}
	return queue
}

// maxGlobalPools bounds the semaphores to which a global is looked for: each costs a pass over the data of the program.
const maxGlobalPools = 64

// globalsTo lists the variables of packages that point to an object.
func (s *poolSearch) globalsTo(object uint64) []uint64 {
	const most = 16
	var found []uint64
	for _, m := range s.t.tab.Modules {
		for _, r := range [][2]uint64{{m.Data, m.EData}, {m.BSS, m.EBSS}} {
			raw, ok := s.w.u.mem.Bytes(r[0], r[1]-r[0])
			if !ok || len(raw) > maxData {
				continue
			}
			for i := 0; i+8 <= len(raw) && len(found) < most; i += 8 {
				if le.Uint64(raw[i:]) == object {
					found = append(found, r[0]+uint64(i))
				}
			}
		}
	}
	return found
}

// semaphoreOp says what calling a function does to a semaphore: Acquire and Release themselves, or a small function of the caller's
// package that leaves one acquired, or released.
func (s *poolSearch) semaphoreOp(caller string, entry uint64) lockOp {
	m := &s.sema
	switch {
	case m.acquire[entry]:
		return opLock
	case m.release[entry], m.spawns[entry]:
		return opUnlock // who starts a goroutine may hand over what it has acquired
	}
	op, ok := m.ops[entry]
	if !ok {
		op = s.helperOp(entry)
		m.ops[entry] = op
	}
	if op == opNone {
		return op
	}
	if fn, ok := s.t.tab.Find(entry); !ok || packageOf(fn.Name()) != packageOf(caller) {
		return opNone
	}
	return op
}

// helperOp is opLock for a small function that acquires and does not release, and opUnlock for the reverse.
func (s *poolSearch) helperOp(entry uint64) lockOp {
	fn, ok := s.t.tab.Find(entry)
	if !ok || fn.Entry != entry || fn.End-fn.Entry > maxHelper || strings.HasPrefix(fn.Name(), "golang.org/x/sync/") {
		return opNone
	}
	acquires, releases := s.calls(fn)
	switch {
	case acquires && !releases:
		return opLock
	case releases && !acquires:
		return opUnlock
	}
	return opNone
}

// calls reports whether a function calls Acquire or TryAcquire, and Release.
func (s *poolSearch) calls(fn pcln.Func) (acquires, releases bool) {
	code, ok := s.w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if !ok || len(code) > maxCode {
		return false, false
	}
	eachCall(code, fn.Entry, s.t.arm64, func(_, _, to uint64) {
		acquires = acquires || s.sema.acquire[to]
		releases = releases || s.sema.release[to]
	})
	return acquires, releases
}

// semaphoreCode analyses a function once; nil when it acquires and releases nothing.
func (s *poolSearch) semaphoreCode(fn pcln.Func) *lockCode {
	if c, ok := s.sema.codes[fn.Entry]; ok {
		return c
	}
	var c *lockCode
	code, ok := s.w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if ok && len(code) <= maxCode && !strings.HasPrefix(fn.Name(), "golang.org/x/sync/") {
		var sites []lockSite
		touches := false
		eachCall(code, fn.Entry, s.t.arm64, func(at, size, to uint64) {
			if op := s.semaphoreOp(fn.Name(), to); op != opNone {
				touches = touches || !s.sema.spawns[to]
				sites = append(sites, lockSite{lockFunc: lockFunc{op, evidence.SyncSemaphore}, lo: at, hi: at + size, call: at})
			}
		})
		if touches {
			c = &lockCode{fn: fn, code: code, sites: sites, held: map[uint64][]lockSite{}}
		}
	}
	s.sema.codes[fn.Entry] = c
	return c
}

// semaphoreHolder notes a claim when a frame has a deferred Release pending, has passed an Acquire and no Release, or has only a Release
// ahead of it, as a goroutine has that was started with a slot.
func (s *poolSearch) semaphoreHolder(frame int, e *pcInfo) {
	name := e.fn.Name()
	for _, closure := range s.pendingOf(frame) {
		fn, ok := s.w.closureFunc(closure)
		if !ok || !s.releases(fn) {
			continue
		}
		if p := s.leadsTo(s.w.captured(closure), fn); p != nil {
			s.semaphoreClaim(p, frame, claim{pending: true, why: "a deferred Release of this semaphore is pending in " + name})
			return
		}
	}
	c := s.semaphoreCode(e.fn)
	if c == nil {
		return
	}
	why := ""
	switch {
	case len(c.heldAt(e.pc, s.t.arm64)) > 0 && slices.ContainsFunc(c.sites, s.realRelease(c)):
		why = name + " has passed an Acquire and no Release"
	case s.releaseAhead(c, e.pc):
		why = name + " has a Release ahead of it"
	default:
		return
	}
	if p := s.leadsTo(s.liveWords(frame), e.fn); p != nil {
		s.semaphoreClaim(p, frame, claim{why: why + ", and its frame refers to this semaphore"})
	}
}

// realRelease tells Release from the start of a goroutine.
func (s *poolSearch) realRelease(c *lockCode) func(lockSite) bool {
	return func(x lockSite) bool {
		if x.op != opUnlock {
			return false
		}
		spawn := false
		eachCall(c.code[x.lo-c.fn.Entry:x.hi-c.fn.Entry], x.lo, s.t.arm64, func(_, _, to uint64) { spawn = spawn || s.sema.spawns[to] })
		return !spawn
	}
}

// releaseAhead reports whether a function that acquires nothing comes to a Release from pc.
func (s *poolSearch) releaseAhead(c *lockCode, pc uint64) bool {
	if slices.ContainsFunc(c.sites, func(x lockSite) bool { return x.op == opLock }) {
		return false
	}
	real := s.realRelease(c)
	found := false
	c.follow(pc, s.t.arm64, func(at uint64, _ flow) bool {
		found = found || slices.ContainsFunc(c.sites, func(x lockSite) bool { return x.lo == at && real(x) })
		return !found
	})
	return found
}

// releases reports whether a deferred function releases a semaphore.
func (s *poolSearch) releases(fn pcln.Func) bool {
	if s.sema.release[fn.Entry] {
		return true
	}
	if fn.End-fn.Entry > maxHelper {
		return false
	}
	c := s.semaphoreCode(fn)
	return c != nil && slices.ContainsFunc(c.sites, s.realRelease(c))
}

// leadsTo is the semaphore to which words lead: directly, through one object, or by a global that the code names. nil when they lead to
// none, or to several.
func (s *poolSearch) leadsTo(words []uint64, fn pcln.Func) *foundPool {
	var found *foundPool
	several := false
	note := func(p *foundPool) {
		several = several || found != nil && found != p
		found = p
	}
	for _, v := range words {
		if p := s.pools[v]; p != nil && p.kind == poolSemaphore {
			note(p)
			continue
		}
		for _, inner := range s.objectWords(v) {
			if p := s.pools[inner]; p != nil && p.kind == poolSemaphore {
				note(p)
			}
		}
	}
	for _, addr := range sortedKeys(s.sema.globals) {
		for _, global := range s.sema.globals[addr] {
			if found == nil && (s.t.codeNames(s.w, fn, global) || s.loadsGlobal(fn, global)) {
				note(s.pools[addr])
			}
		}
	}
	if several {
		return nil
	}
	return found
}

// loadsGlobal reports whether a function of arm64 loads the word at a global's address: ADRP of its page, and then LDR with the rest
// of the address in units of 8 bytes (Arm ARM, C6.2).
func (s *poolSearch) loadsGlobal(fn pcln.Func, addr uint64) bool {
	const page = 4096
	code, ok := s.w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if !ok || !s.t.arm64 || len(code) > maxCode {
		return false
	}
	for i := 0; i+8 <= len(code); i += 4 {
		w, next := le.Uint32(code[i:]), le.Uint32(code[i+4:])
		if w&0x9f000000 != 0x90000000 || next&0xffc00000 != 0xf9400000 {
			continue
		}
		imm := int64(int32((w>>5&0x7ffff<<2|w>>29&3)<<11)>>11) * page
		at := (fn.Entry+uint64(i))&^(page-1) + uint64(imm) + uint64(next>>10&0xfff)*8
		if at == addr {
			return true
		}
	}
	return false
}

// semaphoreClaim notes a claim. A semaphore has no slot of its own for each holder, so the goroutine stands for it.
func (s *poolSearch) semaphoreClaim(p *foundPool, frame int, c claim) { s.claims(p, s.g, frame, c) }

// groupWaiter finds the group of a goroutine that waits in errgroup.(*Group).Go: the one whose channel it sends to.
func (s *poolSearch) groupWaiter(frame int) bool {
	s.sema.look(s)
	chans := s.channelsOf()
	if len(chans) != 1 {
		return false
	}
	mem, o := s.w.u.mem, &s.t.off.Chan
	for _, v := range s.liveWords(frame) {
		if c, ok := mem.Uint64(v + s.sema.groupSem); !ok || c != chans[0] {
			continue
		}
		p, made := s.pool(v, poolGroup)
		if made {
			used, _ := mem.Uint64(chans[0] + o.Count)
			limit, _ := mem.Uint64(chans[0] + o.Size)
			p.Used, p.Limit, p.Waiting = int64(used), int64(limit), 0
		}
		p.Waiting++
		s.waits(p, frame, 1)
		return true
	}
	return false
}

// flightWaiter finds the call of a goroutine that waits for somebody else's result: its first field is the wait group.
func (s *poolSearch) flightWaiter(frame int) bool {
	for _, v := range s.liveWords(frame) {
		state, ok := s.w.u.mem.Uint64(v + waitGroupState)
		if waiters := uint32(state) &^ (1 << 31); !ok || state>>32 != 1 || waiters == 0 || s.row.id == 0 || !s.waitsForGroup(v) {
			continue
		}
		p, _ := s.pool(v, poolFlight)
		p.Used, p.Limit, p.Waiting = 1, 1, int(uint32(state)&^(1<<31))
		s.waits(p, frame, 1)
		return true
	}
	return false
}

// waitsForGroup reports whether the goroutine of the last walk waits for the wait group at an address.
func (s *poolSearch) waitsForGroup(addr uint64) bool {
	back := waitKinds["sync.WaitGroup.Wait"].back
	elem := s.t.sema[s.g].elem
	if sudog, _ := s.w.u.mem.Uint64(s.g + s.t.off.G.Waiting); sudog != 0 {
		elem, _ = s.w.u.mem.Uint64(sudog + s.t.off.Sudog.Elem)
	}
	return elem == addr+back
}

// taskHolder notes a claim when a frame is that of a task of a group, or that makes the call of a flight.
func (s *poolSearch) taskHolder(frame int, e *pcInfo) {
	name := e.fn.Name()
	var why string
	var kind poolKind
	switch {
	case strings.HasPrefix(name, "golang.org/x/sync/errgroup.(*Group)."):
		kind, why = poolGroup, "it runs a task of this group"
	case strings.HasSuffix(name, "singleflight.(*Group).doCall"):
		kind, why = poolFlight, "it makes the call for which the others wait"
	default:
		return
	}
	if kind == poolGroup && !strings.Contains(name, ".func") {
		return // Go or Wait: a task runs in the function that Go starts
	}
	for _, v := range s.keptWords(frame) {
		words := append([]uint64{v}, s.objectWords(v)...)
		for _, inner := range words {
			if p := s.pools[inner]; p != nil && p.kind == kind {
				s.claims(p, s.g, frame, claim{pending: true, why: why})
				return
			}
		}
	}
}
