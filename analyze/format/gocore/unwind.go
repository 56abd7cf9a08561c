package gocore

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// role is what a function means to the unwinder (internal/abi/symtab.go names them FuncID; the numbers move with the
// version, so they are recognised by name).
type role uint8

const (
	roleNone     role = iota
	roleInjected      // the caller was interrupted: its pc is exact, not a return address
	roleSwitch        // systemstack, mcall: the stack goes on elsewhere
	roleMorestack
	roleCgoCallback
	roleCgo // asmcgocall: from the goroutine's stack to that of C
	roleSigtramp
	roleSigreturn
	rolePoll // netpoll: waits for the network
)

// roles are the functions that the unwinder treats in a special way, Go 1.21 to 1.26.
var roles = map[string]role{
	"runtime.sigpanic":             roleInjected,
	"runtime.asyncPreempt":         roleInjected,
	"runtime.debugCallV2":          roleInjected,
	"runtime.systemstack":          roleSwitch,
	"runtime.mcall":                roleSwitch,
	"runtime.morestack":            roleMorestack,
	"runtime.asmcgocall":           roleCgo,
	"runtime.cgocallback":          roleCgoCallback,
	"runtime.sigtramp":             roleSigtramp,
	"runtime.cgoSigtramp":          roleSigtramp,
	"runtime.sigreturn__sigaction": roleSigreturn,
	"runtime.netpoll":              rolePoll,
	"runtime.sigreturn":            roleSigreturn,
}

// pcInfo is what the unwinder needs to know of a pc; it is computed once per distinct pc.
type pcInfo struct {
	pc       uint64
	fn       pcln.Func
	delta    uint64 // from SP to the end of the frame, the return address included on amd64
	writesSP bool   // it stops because the function changes SP in a way that no table tells
	ok       bool   // the pc lies in a Go function
	stop     bool   // the outermost frame, or a function whose SP cannot be followed
	role     role
	nothing  bool               // nothing stands ahead of a call that returns here: see readingOf
	frames   []evidence.FrameID // of a call that returns here, once they were asked for
	hold     *holdFrame         // what the function may hold here; nil until it was asked for
	unlocks  unlockClass        // whether the deferred function that begins here unlocks something
	lead     *leadCode          // what a frame has to do here; nil until it was asked for, or when that is nothing
}

// plain reports whether a walk needs nothing of a pc but its delta, and that in 32 bits.
func (e *pcInfo) plain() bool {
	return e.ok && !e.stop && e.role == roleNone && e.delta <= math.MaxUint32
}

// pcRef is the number of a pc in its pcCache. Stacks are kept, compared and looked through by it: half the memory of a pc, and
// what is known of it is found without a hash.
type pcRef uint32

// pcMark says what has been found out about a pc; nearly always that it is nothing.
type pcMark uint8

// The marks.
const (
	markNoHold     pcMark = 1 << iota // the function holds and releases no lock there
	markNoTransfer                    // the function neither reads nor writes
	markInjected                      // its caller was interrupted
	markNoLead                        // a call that returns there leads to nothing: see goes
	markUser                          // of markNoLead: the function is none of the runtime
	markWaiter                        // the function calls what it waits in: see waiterFrame
	markNoWaiter                      // it does not
)

// pcSlot is an entry of the hash table of a pcCache: all that a walk needs of a plain pc, so that a frame costs one cache line.
type pcSlot struct {
	pc    uint64
	delta uint32
	ref   uint32 // 0 when it is empty, else twice the number plus one, and one more when the pc is not plain
}

func (s *pcSlot) number() pcRef { return pcRef(s.ref>>1 - 1) }
func (s *pcSlot) plain() bool   { return s.ref&1 == 0 }

// pcCache maps pcs to what is known of them by open addressing: a map[uint64] costs twice as much, and this is the hottest
// look-up. The columns are indexed by pcRef; those that are small are apart, so that passes over all stacks stay in the cache of
// the processor.
type pcCache struct {
	slots     []pcSlot
	infos     []*pcInfo
	marks     []pcMark
	single    []evidence.FrameID // the only frame of a call that returns here; 0 while not known, and when there are several
	callbacks bool               // a pc of cgocallback is among them
}

func newPCCache() *pcCache { return &pcCache{slots: make([]pcSlot, 1<<10)} }

func (c *pcCache) start(pc uint64) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: spreads neighbouring pcs
	return int((pc * golden) >> 32 & uint64(len(c.slots)-1))
}

// get returns the slot of a pc, an empty one when it is not known. It is valid until the next put.
func (c *pcCache) get(pc uint64) *pcSlot {
	for i := c.start(pc); ; i = (i + 1) & (len(c.slots) - 1) {
		if s := &c.slots[i]; s.pc == pc && s.ref != 0 || s.ref == 0 {
			return s
		}
	}
}

// known returns what is known of a pc, nil when it was not asked for.
func (c *pcCache) known(pc uint64) *pcInfo {
	s := c.get(pc)
	if s.ref == 0 {
		return nil
	}
	return c.infos[s.number()]
}

// put adds a pc that is not known yet.
func (c *pcCache) put(e *pcInfo) *pcSlot {
	if 2*len(c.infos) >= len(c.slots) {
		old := c.slots
		c.slots = make([]pcSlot, 2*len(old))
		for _, o := range old {
			if o.ref != 0 {
				*c.get(o.pc) = o
			}
		}
	}
	mark := pcMark(0)
	if e.role == roleInjected {
		mark = markInjected
	}
	c.infos, c.marks, c.single = append(c.infos, e), append(c.marks, mark), append(c.single, 0)
	c.callbacks = c.callbacks || e.role == roleCgoCallback
	s := c.get(e.pc)
	s.pc, s.delta, s.ref = e.pc, uint32(e.delta), uint32(len(c.infos))<<1
	if !e.plain() {
		s.ref |= 1
	}
	return s
}

// unwinder walks Go stacks by the pcsp tables, as the runtime's own traceback does (runtime/traceback.go, unwinder). It is
// for one goroutine of this program at a time.
type unwinder struct {
	mem    *elfcore.View
	tab    *pcln.Table
	byFunc map[uint64]role // by entry
	cache  *pcCache
	usesLR bool // arm64: the return address of the innermost frame is in a register

	pcs    []uint64 // of the last walk, innermost first
	sps    []uint64 // SP of each frame
	refs   []pcRef  // the pcs by their numbers
	elided int      // frames left out after the first keepEnds
	left   int      // frames that may still be walked through
}

func newUnwinder(t *target) *unwinder {
	return &unwinder{mem: t.core.Mem.View(), tab: t.tab, byFunc: t.roles, cache: newPCCache(), usesLR: t.arm64, left: t.frameBudget()}
}

// info returns what is known of a pc.
func (u *unwinder) info(pc uint64) *pcInfo { return u.cache.infos[u.slot(pc).number()] }

// slot finds the slot of a pc, or fills it.
func (u *unwinder) slot(pc uint64) *pcSlot {
	if s := u.cache.get(pc); s.ref != 0 {
		return s
	}
	e := &pcInfo{pc: pc}
	u.resolve(e)
	return u.cache.put(e)
}

// numbers appends the numbers of pcs.
func (u *unwinder) numbers(refs []pcRef, pcs []uint64) []pcRef {
	for _, pc := range pcs {
		refs = append(refs, u.slot(pc).number())
	}
	return refs
}

func (u *unwinder) resolve(e *pcInfo) {
	fn, ok := u.tab.Find(e.pc)
	if !ok {
		return
	}
	e.fn, e.ok, e.role = fn, true, u.byFunc[fn.Entry]
	delta, ok := fn.SPDelta(e.pc)
	flags := fn.Flag()
	e.stop = !ok || flags&pcln.FlagTopFrame != 0
	// cgocallback writes SP but keeps both stacks unwindable (runtime/traceback.go, resolveInternal).
	if flags&pcln.FlagSPWrite != 0 && e.role != roleCgoCallback {
		e.stop, e.writesSP = true, true
	}
	if e.role == roleSigreturn {
		e.stop = true // what lies above is the kernel's signal frame
	}
	e.delta = uint64(int64(delta))
	if !u.usesLR {
		e.delta += 8
	}
}

// start is where a walk begins.
type start struct {
	pc, sp, lr uint64
	trap       bool          // pc is exact: it was interrupted there
	syscall    bool          // the registers were saved at the entry of a system call
	fp         uint64        // the frame pointer, for code of C; 0 when not known
	regs       *elfcore.Regs // all registers, where something saved them
}

// end says how a walk ended.
type end struct {
	broken string // why it ended early; empty when it reached the outermost frame
	pc, sp uint64 // of the frame where it stopped
	lr     uint64
	role   role
}

// maxDepth bounds a walk. A Go stack is at most 1 GB (runtime/proc.go, maxstacksize), and the smallest frame has 16 bytes
// on arm64 and 8 on amd64.
const maxDepth = 1 << 27

// keepEnds is how many frames are kept at either end of a stack. A runaway recursion has millions; what failed and what began it
// stand at the ends.
const keepEnds = 1 << 14

// keep stores a frame. Beyond 2*keepEnds frames the outer end is a ring, and what falls out of it is counted.
func (u *unwinder) keep(pc, sp uint64, ref pcRef) {
	if len(u.pcs) < 2*keepEnds {
		u.pcs = append(u.pcs, pc) // one at a time: appending in place writes no pointer
		u.sps = append(u.sps, sp)
		u.refs = append(u.refs, ref)
		return
	}
	at := keepEnds + u.elided%keepEnds
	u.pcs[at], u.sps[at], u.refs[at] = pc, sp, ref
	u.elided++
}

// straighten puts the ring in order.
func (u *unwinder) straighten() {
	if turn := u.elided % keepEnds; turn != 0 {
		rotate(u.pcs[keepEnds:], turn)
		rotate(u.sps[keepEnds:], turn)
		rotate(u.refs[keepEnds:], turn)
	}
}

// note describes the last walk.
func (u *unwinder) note(broken string) evidence.StackNote {
	n := evidence.StackNote{Broken: broken, Elided: u.elided}
	if u.elided > 0 {
		n.ElidedAt = keepEnds
	}
	return n
}

// rotate moves the first n elements to the end.
func rotate[T any](s []T, n int) {
	slices.Reverse(s[:n])
	slices.Reverse(s[n:])
	slices.Reverse(s)
}

// walk unwinds from s while SP stays within [lo, hi). The frames are left in u.pcs, u.sps and u.refs; of a very deep stack the
// ends, and u.elided says how many are missing after the first keepEnds.
func (u *unwinder) walk(s start, lo, hi uint64) end {
	u.pcs, u.sps, u.refs, u.elided = u.pcs[:0], u.sps[:0], u.refs[:0], 0
	e := u.follow(s, lo, hi)
	u.straighten()
	return e
}

// follow is the loop of walk.
func (u *unwinder) follow(s start, lo, hi uint64) end {
	stack, base := u.window(lo, hi, s.sp)
	pc, sp, lr := s.pc, s.sp, s.lr
	last := roleNone
	for depth := 0; depth < maxDepth && u.left > 0; depth++ {
		u.left--
		slot := u.slot(pc)
		ref, delta, kind, stop := slot.number(), uint64(slot.delta), roleNone, false
		if !slot.plain() {
			e := u.cache.infos[ref]
			if !e.ok {
				return end{broken: "return address outside the program's Go code", pc: pc, sp: sp, lr: lr, role: last}
			}
			delta, kind, stop = e.delta, e.role, e.stop
		}
		u.keep(pc, sp, ref)
		last = kind
		if stop && !(depth == 0 && s.syscall) {
			return end{pc: pc, sp: sp, lr: lr, role: kind}
		}
		fp := sp + delta
		if fp < sp || fp > hi || sp < lo {
			return end{broken: "frame outside the goroutine's stack", pc: pc, sp: sp, role: kind}
		}
		next := lr
		if !u.usesLR {
			next, _ = wordAt(stack, base, fp-8)
		} else if depth == 0 && sp < fp || lr == 0 {
			next, _ = wordAt(stack, base, sp)
		}
		if next == 0 || next == pc && fp == sp {
			return end{broken: "no return address", pc: pc, sp: sp, role: kind}
		}
		lr = 0
		pc, sp = next, fp
		if u.usesLR && kind == roleInjected {
			pc, sp, lr = u.afterInjected(pc, sp, stack, base)
		}
	}
	return end{broken: "more frames than a stack, or all stacks of the core together, can hold", pc: pc, sp: sp}
}

// afterInjected undoes the faked call of a signal handler on arm64: it saved LR on the stack (runtime/traceback.go, next).
func (u *unwinder) afterInjected(pc, sp uint64, stack []byte, base uint64) (newPC, newSP, lr uint64) {
	const saved = 16 // alignUp(MinFrameSize, StackAlign)
	x, _ := wordAt(stack, base, sp)
	sp += saved
	e := u.info(pc)
	switch {
	case !e.ok:
		return x, sp, 0
	case e.delta == 0:
		return pc, sp, x
	}
	return pc, sp, 0
}

// window returns the bytes from sp to the end of the stack, so that the walk indexes a slice and does not look up an
// address for each word.
func (u *unwinder) window(lo, hi, sp uint64) (stack []byte, base uint64) {
	if sp < lo || sp >= hi {
		return nil, 0
	}
	if b, ok := u.mem.Bytes(sp, hi-sp); ok {
		return b, sp
	}
	rest := u.mem.Memory().Contiguous(sp)
	return rest[:min(uint64(len(rest)), hi-sp)], sp
}

func wordAt(stack []byte, base, addr uint64) (uint64, bool) {
	off := addr - base
	if off > uint64(len(stack)) || uint64(len(stack))-off < 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(stack[off:]), true
}
