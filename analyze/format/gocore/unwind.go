package gocore

import (
	"encoding/binary"
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
	frames   []evidence.FrameID // of a call that returns here, once they were asked for
	hold     *holdFrame         // what the function may hold here; nil until it was asked for
}

// pcCache maps pcs to pcInfo by open addressing: a map[uint64] costs twice as much, and this is the hottest look-up.
type pcCache struct {
	slots []*pcInfo
	used  int
}

func newPCCache() *pcCache { return &pcCache{slots: make([]*pcInfo, 1<<10)} }

func (c *pcCache) slot(pc uint64) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: spreads neighbouring pcs
	return int((pc * golden) >> 32 & uint64(len(c.slots)-1))
}

func (c *pcCache) get(pc uint64) *pcInfo {
	for i := c.slot(pc); ; i = (i + 1) & (len(c.slots) - 1) {
		if e := c.slots[i]; e == nil || e.pc == pc {
			return e
		}
	}
}

func (c *pcCache) put(e *pcInfo) {
	if 2*c.used >= len(c.slots) {
		old := c.slots
		c.slots = make([]*pcInfo, 2*len(old))
		for _, o := range old {
			if o != nil {
				c.place(o)
			}
		}
	}
	c.used++
	c.place(e)
}

func (c *pcCache) place(e *pcInfo) {
	i := c.slot(e.pc)
	for c.slots[i] != nil {
		i = (i + 1) & (len(c.slots) - 1)
	}
	c.slots[i] = e
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
	trap   []bool   // whether the pc is exact
	elided int      // frames left out after the first keepEnds
	left   int      // frames that may still be walked through
}

func newUnwinder(t *target) *unwinder {
	return &unwinder{mem: t.core.Mem.View(), tab: t.tab, byFunc: t.roles, cache: newPCCache(), usesLR: t.arm64, left: t.frameBudget()}
}

// info returns what is known of a pc.
func (u *unwinder) info(pc uint64) *pcInfo {
	if e := u.cache.get(pc); e != nil {
		return e
	}
	e := &pcInfo{pc: pc}
	u.resolve(e)
	u.cache.put(e)
	return e
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
func (u *unwinder) keep(pc, sp uint64, trap bool) {
	if len(u.pcs) < 2*keepEnds {
		u.pcs, u.sps, u.trap = append(u.pcs, pc), append(u.sps, sp), append(u.trap, trap)
		return
	}
	at := keepEnds + u.elided%keepEnds
	u.pcs[at], u.sps[at], u.trap[at] = pc, sp, trap
	u.elided++
}

// straighten puts the ring in order.
func (u *unwinder) straighten() {
	if turn := u.elided % keepEnds; turn != 0 {
		rotate(u.pcs[keepEnds:], turn)
		rotate(u.sps[keepEnds:], turn)
		rotate(u.trap[keepEnds:], turn)
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

// walk unwinds from s while SP stays within [lo, hi). The frames are left in u.pcs, u.sps and u.trap; of a very deep stack the
// ends, and u.elided says how many are missing after the first keepEnds.
func (u *unwinder) walk(s start, lo, hi uint64) end {
	u.pcs, u.sps, u.trap, u.elided = u.pcs[:0], u.sps[:0], u.trap[:0], 0
	e := u.follow(s, lo, hi)
	u.straighten()
	return e
}

// follow is the loop of walk.
func (u *unwinder) follow(s start, lo, hi uint64) end {
	stack, base := u.window(lo, hi, s.sp)
	pc, sp, lr, trap := s.pc, s.sp, s.lr, s.trap
	last := roleNone
	for depth := 0; depth < maxDepth && u.left > 0; depth++ {
		u.left--
		e := u.info(pc)
		if !e.ok {
			return end{broken: "return address outside the program's Go code", pc: pc, sp: sp, lr: lr, role: last}
		}
		u.keep(pc, sp, trap)
		last = e.role
		if e.stop && !(depth == 0 && s.syscall) {
			return end{pc: pc, sp: sp, lr: lr, role: e.role}
		}
		fp := sp + e.delta
		if fp < sp || fp > hi || sp < lo {
			return end{broken: "frame outside the goroutine's stack", pc: pc, sp: sp, role: e.role}
		}
		next := lr
		if !u.usesLR {
			next, _ = wordAt(stack, base, fp-8)
		} else if depth == 0 && sp < fp || lr == 0 {
			next, _ = wordAt(stack, base, sp)
		}
		if next == 0 || next == pc && fp == sp {
			return end{broken: "no return address", pc: pc, sp: sp, role: e.role}
		}
		lr, trap = 0, e.role == roleInjected
		pc, sp = next, fp
		if u.usesLR && trap {
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
