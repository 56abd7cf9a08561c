package gocore

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// Go's locks do not record who holds them. What can be inferred: a goroutine has a frame that has passed a Lock and reached
// its present pc without an Unlock, and a word of that frame points to the lock or into the object that holds it. Stronger: a
// deferred Unlock of this very lock is pending on its stack.

// holdFrame is a frame of a distinct stack that may hold locks.
type holdFrame struct {
	index  int        // in the walk
	sites  []lockSite // locks taken and not released at its pc
	defers bool       // it has deferred calls
	open   openDefers // where it keeps those that are open-coded

	code     *lockCode
	released []lockSite // locks that it has released, and not taken again
	first    bool       // it releases a lock that it has not taken
	maybe    bool       // it can have come to its pc without passing one of the sites

	ahead        *ahead.Reading // what it will do; nil when it will release nothing
	alike        []int32        // of each event that is ahead: the first one that does the same; -1 when it does nothing to locks
	frees, calls bool           // it will unlock something, it will call values
}

// prepareHolds finds the methods of the locks in this program.
func (t *target) prepareHolds() {
	names := make([]string, 0, len(lockFuncs))
	for name := range lockFuncs {
		names = append(names, name)
	}
	t.lockEntries = map[uint64]lockFunc{}
	t.libraryEntry = map[uint64]bool{}
	for name, fn := range t.tab.Lookup(names...) {
		t.lockEntries[fn.Entry] = lockFuncs[name]
		t.libraryEntry[fn.Entry] = true // sync.(*RWMutex).Lock takes a Mutex of its own
	}
}

// contended is a lock that somebody waits for, with the addresses that stand for it on a stack.
type contended struct {
	addr   uint64
	kind   evidence.SyncKind
	lo, hi uint64 // the object that holds it; only the lock itself when it is not in the heap
	global bool
}

// candidate is a possible holder.
type candidate struct {
	hold     evidence.Hold
	deferred bool // its Unlock is pending
	aim      aim  // how its frame and its code lead to the lock
	maybe    bool // the Lock may not have been passed
	passed   bool // the code that was passed leads to this very lock
	frees    bool // the code ahead leads to it
	site     uint64
	op       lockOp
	fn       pcln.Func
	sites    []lockSite
}

// readHolds looks for the holders of all locks that somebody waits for.
func (t *target) readHolds(ctx context.Context) {
	var locks []contended
	for _, addr := range sortedKeys(t.locks) {
		if kind := t.locks[addr]; kind == evidence.SyncMutex || kind == evidence.SyncRWMutex {
			locks = append(locks, t.contended(addr, kind))
		}
	}
	if len(locks) == 0 {
		return
	}
	found := make([][]candidate, len(locks))
	for i, s := range t.suspects {
		if ctx.Err() != nil || t.searched > maxSearch || s.w.searched > maxSearch {
			t.b.Gapf("holders of locks", "only %d of %d goroutines that may hold one were searched", i, len(t.suspects))
			break
		}
		t.searchStack(s, locks, found)
	}
	for i := range found {
		for _, h := range grade(found[i]) {
			t.b.Hold(h)
		}
	}
}

// maxSearch bounds the words that are compared with locks, and the records of deferred calls that are looked at: about four
// seconds. It is reached by a core that lies about its locks, or by one with a hundred thousand of them.
const maxSearch = 1 << 30

func (t *target) contended(addr uint64, kind evidence.SyncKind) contended {
	c := contended{addr: addr, kind: kind, lo: addr, hi: addr + 1, global: t.inGlobals(addr)}
	if o, ok := t.heapObject(addr); ok {
		c.lo, c.hi = o.base, o.base+o.size
	}
	return c
}

func (t *target) inGlobals(addr uint64) bool {
	for _, m := range t.tab.Modules {
		if addr >= m.NoPtrData && addr < m.ENoPtrBSS || addr >= m.Data && addr < m.EBSS {
			return true
		}
	}
	return false
}

// searchStack walks a suspect again and looks for locks in its frames, from the innermost outwards: what an inner frame has
// released an outer one holds no more.
func (t *target) searchStack(s suspect, locks []contended, found [][]candidate) {
	raw, ok := s.w.u.mem.Bytes(s.g, t.off.G.Size)
	if !ok {
		return
	}
	row := gRow{g: s.g, id: int64(le.Uint64(raw[t.off.G.ID:])), status: le.Uint32(raw[t.off.G.Status:]) &^ statusScan}
	s.w.unwindRow(&row, raw)
	stack := &s.w.stacks[row.stack]
	var inner []*frameView
	for k := range stack.holds {
		v, ok := s.w.view(s, stack.holds[k].besides(&s, stack.cond))
		if !ok {
			continue
		}
		v.exact = v.index == 0 && stack.firstTrap || v.index > 0 && s.w.u.info(s.w.u.pcs[v.index-1]).role == roleInjected
		v.waits = v.index == stack.waiter
		for i, c := range t.holdsOf(s, v, inner, locks, v.index == stack.cond) {
			c.hold.Why = c.why()
			c.hold.Sync, c.hold.Goroutine = locks[i].addr, row.id
			c.hold.Depth = t.logicalDepth(s.w, row.stack, v.index)
			c.hold.Frame = t.frameAt(s.w, row.stack, v.index)
			if c.hold.Site = t.callSite(c.fn, c.site); c.hold.Site == 0 {
				c.hold.Site = t.siteFrame(c.fn, c.sites)
			}
			found[i] = append(found[i], c)
		}
		inner = append(inner, v)
	}
}

// waiterFrame is the frame of the last walk that called what it waits in: the first one outside the runtime and the locks.
func (w *worker) waiterFrame() int {
	for i, ref := range w.u.refs {
		mark := &w.u.cache.marks[ref]
		if *mark&(markWaiter|markNoWaiter) == 0 {
			*mark |= markNoWaiter
			if e := w.u.cache.infos[ref]; e.ok && mayAsk(e.fn.Name()) {
				*mark ^= markNoWaiter | markWaiter
			}
		}
		if *mark&markWaiter != 0 {
			return i
		}
	}
	return -1
}

// mayAsk reports whether a function is outside the runtime and the locks.
func mayAsk(name string) bool {
	return !runtimeName(name) && !lockMethod(name) && !strings.HasPrefix(name, "sync.runtime_")
}

// holdsOf finds the locks, by their index, that one frame holds. When it leads to more locks than it has taken, none of them is
// certain; and one that the goroutine waits for is not among those.
func (t *target) holdsOf(s suspect, v *frameView, inner []*frameView, locks []contended, cond bool) map[int]candidate {
	found := map[int]candidate{}
	loose := 0
	for i := range locks {
		l := &locks[i]
		if cond && l.addr == s.released {
			continue
		}
		c, ok := t.holdsIn(s, v, inner, l)
		if !ok {
			continue
		}
		found[i] = c
		if !c.deferred {
			loose++
		}
	}
	taken := map[uint64]bool{}
	for _, site := range v.sites {
		taken[site.call] = true
	}
	for i, c := range found {
		if loose > len(taken) && !c.certain() && locks[i].addr == s.awaits {
			delete(found, i)
			loose--
		}
	}
	for i, c := range found {
		if loose > len(taken) && !c.certain() {
			c.aim = aimObject
			found[i] = c
		}
	}
	return found
}

// holdsIn decides whether one frame holds one lock.
func (t *target) holdsIn(s suspect, v *frameView, inner []*frameView, l *contended) (candidate, bool) {
	t.searched += 1 + len(v.words)
	for _, f := range inner {
		if f.first && t.undone(s.w, f, l) || f.outlookOn(l, f.waits && s.awaits == l.addr).leaves {
			return candidate{}, false
		}
	}
	sites := fitting(v.sites, l.kind)
	if v.defers {
		if op, ok := t.pendingUnlock(s, v, l); ok {
			c := candidate{deferred: true, op: op, fn: v.fn, sites: sites}
			c.hold.Reader = op == opRUnlock
			return c, !t.undone(s.w, v, l) && (s.awaits != l.addr || len(sites) > 0 || v.code == nil || !v.waits || t.defersAgain(s, v, l))
		}
	}
	if s.w.unwinding(v) || t.ranUnlock(s.w, v, l) {
		return candidate{}, false
	}
	return t.passedIn(s, v, sites, l)
}

// passedIn decides whether one frame holds one lock by the code that it has passed and that is ahead of it.
func (t *target) passedIn(s suspect, v *frameView, sites []lockSite, l *contended) (candidate, bool) {
	c := candidate{op: opLock, fn: v.fn, sites: sites, maybe: v.maybe}
	old := false // only a word that the function does not use any more leads to the lock
	if len(sites) > 0 {
		c.aim, c.op = t.aimOf(s.w, v.code, sites, v.live, l), sites[0].op
		if c.aim == aimNowhere {
			c.aim = t.aimOf(s.w, v.code, sites, v.words, l)
			old = c.aim != aimNowhere
		}
	}
	o := v.outlookOn(l, v.waits && s.awaits == l.addr)
	if c.frees = o.frees != turnNone; c.frees && len(sites) == 0 {
		c.aim = aimLock
	}
	if c.aim == aimNowhere && !c.frees {
		return candidate{}, false
	}
	if o.frees == turnRUnlock {
		c.op = opRLock
	}
	held, mode, site := s.w.passedBy(&leadCode{fn: v.fn, pc: v.pc, exact: v.exact}, &spot{w: s.w, sp: v.lo}, l,
		v.waits && s.awaits == l.addr)
	switch {
	case held == traceFree && !c.frees:
		return candidate{}, false // it refers to the lock and has taken another one
	case held == traceUnknown && old && !c.frees:
		return candidate{}, false // what its frame once referred to says nothing of what it has taken
	case held == traceHeld:
		c.passed, c.site = true, site
	case held == traceSome:
		c.site = site
	}
	switch {
	case c.maybe:
		c.aim = aimObject
	case c.passed, c.frees:
		c.aim = aimLock
	case old:
		c.aim = aimObject
	}
	if mode == turnRLock {
		c.op = opRLock
	}
	c.hold.Reader = c.op == opRLock
	return c, true
}

// certain reports whether a candidate is for this very lock, and not for one of several that its frame leads to.
func (c *candidate) certain() bool { return c.deferred || !c.maybe && (c.passed || c.frees) }

// why says in words what speaks for a candidate.
func (c *candidate) why() string {
	if c.deferred {
		return fmt.Sprintf("a deferred %s of this lock is pending in %s", nameOfOp(c.op), c.fn.Name())
	}
	passed := fmt.Sprintf("%s has passed a %s and no %s", c.fn.Name(), nameOfOp(c.op), nameOfOp(c.op+2))
	switch {
	case c.frees && !c.maybe && !c.passed && len(c.sites) == 0:
		return fmt.Sprintf("%s, when it goes on, calls %s of this lock before any %s", c.fn.Name(), nameOfOp(c.op+2), nameOfOp(c.op))
	case c.frees && !c.maybe:
		return passed + ", and goes on to an unlocking of this very lock"
	case c.passed && !c.maybe:
		return fmt.Sprintf("%s has passed a %s of this very lock and no %s", c.fn.Name(), nameOfOp(c.op), nameOfOp(c.op+2))
	case c.maybe:
		return fmt.Sprintf("%s has perhaps passed a %s and no %s, and its frame refers to this lock", c.fn.Name(), nameOfOp(c.op), nameOfOp(c.op+2))
	case c.aim == aimLock:
		return passed + ", and its frame refers to this lock"
	}
	return passed + ", and its frame refers to this lock among others"
}

// fitting are the sites that can have taken a lock of a kind.
func fitting(sites []lockSite, kind evidence.SyncKind) []lockSite {
	var fit []lockSite
	for _, s := range sites {
		if s.fits(kind) {
			fit = append(fit, s)
		}
	}
	return fit
}

// callerSlots is how far into the caller's frame the spill slots of a callee's register arguments reach; nine integer
// registers are used on amd64 (cmd/compile/abi-internal.md), and arm64 has sixteen.
const callerSlots = 16 * 8

func nameOfOp(op lockOp) string {
	return map[lockOp]string{opLock: "Lock", opRLock: "RLock", opUnlock: "Unlock", opRUnlock: "RUnlock"}[op]
}

// codeNames reports whether a function's code holds the address of a global: relative to the next instruction on amd64, as a
// page and an offset on arm64.
func (t *target) codeNames(w *worker, fn pcln.Func, addr uint64) bool {
	code, ok := w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if !ok || len(code) > maxCode {
		return false
	}
	t.searched += len(code)
	return t.names(code, fn.Entry, addr)
}

// names reports whether a piece of code at base holds an address.
func (t *target) names(code []byte, base, addr uint64) bool {
	if t.arm64 {
		return namesPageARM(code, base, addr)
	}
	for i := 0; i+4 <= len(code); i++ {
		end := base + uint64(i) + 4
		if end+uint64(int64(int32(binary.LittleEndian.Uint32(code[i:])))) == addr {
			return true
		}
	}
	return false
}

// namesPageARM looks for ADRP of the page of addr, followed by an ADD of the rest (Arm ARM, C6.2).
func namesPageARM(code []byte, base, addr uint64) bool {
	const page = 4096
	for i := 0; i+8 <= len(code); i += 4 {
		w := binary.LittleEndian.Uint32(code[i:])
		if w&0x9f000000 != 0x90000000 {
			continue
		}
		imm := int64(int32((w>>5&0x7ffff<<2|w>>29&3)<<11)>>11) * page
		at := (base+uint64(i))&^(page-1) + uint64(imm)
		next := binary.LittleEndian.Uint32(code[i+4:])
		if at == addr&^(page-1) && next>>10&0xfff == uint32(addr%page) {
			return true
		}
	}
	return false
}

// siteFrame is the source position of the Lock that a frame has passed.
func (t *target) siteFrame(fn pcln.Func, sites []lockSite) evidence.FrameID {
	for _, s := range sites {
		for _, c := range fn.Calls(s.call) {
			if lockFuncs[c.Function].op == opNone && !strings.HasPrefix(c.Function, "sync.") && !strings.HasPrefix(c.Function, "internal/sync.") {
				return t.b.Frame(evidence.Frame{Function: c.Function, File: c.File, Line: c.Line, PC: s.lo,
					Inlined: c.Inlined, Trust: evidence.TrustMatched})
			}
		}
	}
	return 0
}

// frameAt is the frame of a machine frame's own function.
func (t *target) frameAt(w *worker, stack uint32, frame int) evidence.FrameID {
	s := &w.stacks[stack]
	pcs := w.arena[s.start:s.end]
	trap := frame == 0 && s.firstTrap || frame > 0 && w.u.cache.infos[pcs[frame-1]].role == roleInjected
	ids := t.symbols.at(w.u.cache.infos[pcs[frame]].pc, trap, evidence.TrustUnwound)
	return ids[len(ids)-1]
}
