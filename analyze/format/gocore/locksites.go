package gocore

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// lockOp is what a call does to a lock.
type lockOp uint8

const (
	opNone lockOp = iota
	opLock
	opRLock
	opUnlock
	opRUnlock
)

// lockFunc is a method of a lock.
type lockFunc struct {
	op   lockOp
	kind evidence.SyncKind
}

// lockFuncs are the methods of the locks of package sync, Go 1.21 to 1.26. From Go 1.24 sync.Mutex wraps
// internal/sync.Mutex.
var lockFuncs = map[string]lockFunc{
	"sync.(*Mutex).Lock":            {opLock, evidence.SyncMutex},
	"sync.(*Mutex).Unlock":          {opUnlock, evidence.SyncMutex},
	"internal/sync.(*Mutex).Lock":   {opLock, evidence.SyncMutex},
	"internal/sync.(*Mutex).Unlock": {opUnlock, evidence.SyncMutex},
	"sync.(*RWMutex).Lock":          {opLock, evidence.SyncRWMutex},
	"sync.(*RWMutex).Unlock":        {opUnlock, evidence.SyncRWMutex},
	"sync.(*RWMutex).RLock":         {opRLock, evidence.SyncRWMutex},
	"sync.(*RWMutex).RUnlock":       {opRUnlock, evidence.SyncRWMutex},
}

// fits reports whether a method can have taken a lock of a kind. The mutex inside an RWMutex is seen as a plain one when
// nobody but other writers waits for it.
func (f lockFunc) fits(kind evidence.SyncKind) bool {
	return f.kind == kind || f.kind == evidence.SyncRWMutex && f.op != opRLock && f.op != opRUnlock
}

// lockSite is a place in a function where a lock is taken or released: the address of the call instruction, or the extent of
// the inlined method.
type lockSite struct {
	lockFunc
	lo, hi uint64 // hi is the address after the call, or after the inlined code
	call   uint64 // the same for all parts of one inlined call

	offsets []int64     // what its code adds to a pointer to make the lock's address
	helper  *lockHelper // the function that takes or releases the lock in its stead; nil for the method itself
}

// lockCode is what a function does with locks.
type lockCode struct {
	fn    pcln.Func
	code  []byte
	sites []lockSite
	held  map[uint64][]lockSite // by return address: the sites that are still locked there; filled in on demand

	released map[uint64][]lockSite // likewise: the sites that have unlocked
}

// lockCodeOf analyses a function once; nil when it touches no lock.
func (w *worker) lockCodeOf(fn pcln.Func) *lockCode {
	if c, ok := w.lockCodes[fn.Entry]; ok {
		return c
	}
	var c *lockCode
	code, ok := w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if ok && fn.End-fn.Entry <= maxCode {
		sites := append(actingSites(inlinedSites(fn), code, fn.Entry, w.t.arm64), w.t.calledSites(fn, code)...)
		sites = append(sites, w.helperSites(fn, code)...)
		if len(sites) > 0 {
			c = &lockCode{fn: fn, code: code, sites: sites, held: map[uint64][]lockSite{}}
			c.fillOffsets(w.t.arm64)
		}
	}
	w.lockCodes[fn.Entry] = c
	return c
}

// maxCode bounds the functions that are analysed; the longest written by hand have some ten kilobytes.
const maxCode = 1 << 20

// inlinedSites finds the places where a method of a lock was inlined: runs of the inline tree table. Methods of locks inline
// one another (sync.(*Mutex).Lock that of internal/sync), and the outermost is the call: what waits in the inner one has not
// passed the outer one.
func inlinedSites(fn pcln.Func) []lockSite {
	var sites []lockSite
	fn.EachInlined(func(lo, hi uint64, calls []pcln.Inlined) {
		for _, c := range slices.Backward(calls) {
			f := lockFuncs[c.Function]
			if f.op == opNone {
				continue
			}
			if n := len(sites); n > 0 && sites[n-1].call == c.Call && sites[n-1].hi == lo {
				sites[n-1].hi = hi
			} else {
				sites = append(sites, lockSite{lockFunc: f, lo: lo, hi: hi, call: c.Call})
			}
			return
		}
	})
	return sites
}

// actingSites leaves out the parts of inlined methods that neither take nor release anything: the compiler moves what it can
// out of a loop, such as the computation of the lock's address, and what stands there belongs to the method by its line only.
func actingSites(sites []lockSite, code []byte, entry uint64, arm64 bool) []lockSite {
	return slices.DeleteFunc(sites, func(s lockSite) bool {
		lo, hi := s.lo-entry, s.hi-entry
		return lo > hi || hi > uint64(len(code)) || !acts(code[lo:hi], arm64)
	})
}

// acts reports whether code may have an atomic instruction or a call. On amd64 the bytes are looked at without decoding, so
// that some code is taken for such that is not.
func acts(code []byte, arm64 bool) bool {
	if !arm64 {
		const lock, call = 0xf0, 0xe8 // the prefix LOCK, CALL rel32 (Intel SDM, volume 2)
		return bytes.IndexByte(code, lock) >= 0 || bytes.IndexByte(code, call) >= 0
	}
	for ; len(code) >= 4; code = code[4:] {
		w := binary.LittleEndian.Uint32(code)
		switch { // Arm ARM, C4.1.93 and C4.1.65
		case w&0x3f000000 == 0x08000000, // load and store exclusive, ordered; compare and swap
			w&0x3f200c00 == 0x38200000, // atomic memory operations
			w>>26 == 0x25:              // BL
			return true
		}
	}
	return false
}

// calledSites finds direct calls of the methods of locks.
func (t *target) calledSites(fn pcln.Func, code []byte) []lockSite {
	var sites []lockSite
	eachCall(code, fn.Entry, t.arm64, func(at, size, to uint64) {
		if f := t.lockEntries[to]; f.op != opNone {
			sites = append(sites, lockSite{lockFunc: f, lo: at, hi: at + size, call: at})
		}
	})
	return sites
}

// helperSites finds direct calls of functions that lock or unlock for their caller.
func (w *worker) helperSites(fn pcln.Func, code []byte) []lockSite {
	var sites []lockSite
	eachCall(code, fn.Entry, w.t.arm64, func(at, size, to uint64) {
		if h := w.helperAt(fn.Name(), to); h != nil {
			sites = append(sites, lockSite{lockFunc: h.lockFunc, lo: at, hi: at + size, call: at, offsets: h.offsets, helper: h})
		}
	})
	return sites
}

// eachCall visits what looks like a direct call. On amd64 the bytes are looked at without decoding, so some of them are not
// calls; that one of those would hit the entry of a wanted function is as likely as a random 32-bit number.
func eachCall(code []byte, base uint64, arm64 bool, visit func(at, size, to uint64)) {
	if arm64 {
		for i := 0; i+4 <= len(code); i += 4 {
			word := binary.LittleEndian.Uint32(code[i:])
			if word>>26 == 0x25 { // BL imm26 (Arm ARM, C6.2)
				at := base + uint64(i)
				visit(at, 4, at+uint64(int64(int32(word<<6)>>6)<<2))
			}
		}
		return
	}
	for i := 0; i+5 <= len(code); i++ {
		if code[i] == 0xe8 { // CALL rel32 (Intel SDM, volume 2)
			at := base + uint64(i)
			visit(at, 5, at+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:])))))
		}
	}
}

// heldAt returns the sites whose lock is still held when the function is at pc: pc can be reached from the end of the site
// without passing an unlock. pc is a return address, or exact.
func (c *lockCode) heldAt(pc uint64, arm64 bool) []lockSite {
	if held, ok := c.held[pc]; ok {
		return held
	}
	var held []lockSite
	for _, s := range c.sites {
		if (s.op == opLock || s.op == opRLock) && !c.inside(s, pc) && c.reaches(s, pc, arm64) {
			held = append(held, s)
		}
	}
	c.held[pc] = held
	return held
}

// inside reports whether pc lies in the call of a site, which then has not returned.
func (c *lockCode) inside(site lockSite, pc uint64) bool {
	for _, s := range c.sites {
		if s.call == site.call && pc > s.lo && pc <= s.hi {
			return true
		}
	}
	return false
}

// reaches walks the function's instructions from a site and reports whether it comes to pc, outside the site, without an unlock
// of the same mode in between. It begins at the start of the site, because inlined code may be left by a jump.
func (c *lockCode) reaches(from lockSite, pc uint64, arm64 bool) bool {
	want := lockFunc{opUnlock, from.kind}
	if from.op == opRLock {
		want.op = opRUnlock
	}
	found := false
	c.follow(from.lo, arm64, func(at uint64, step flow) bool {
		if c.unlocks(at, want) {
			return false
		}
		found = found || !c.within(from, at) && (at == pc || at+step.size == pc && step.call)
		return !found
	})
	return found
}

// within reports whether the instruction at an address belongs to a site.
func (c *lockCode) within(site lockSite, at uint64) bool {
	for _, s := range c.sites {
		if s.call == site.call && at >= s.lo && at < s.hi {
			return true
		}
	}
	return false
}

func (c *lockCode) unlocks(at uint64, want lockFunc) bool {
	for _, s := range c.sites {
		if s.lockFunc == want && at >= s.lo && at < s.hi {
			return true
		}
	}
	return false
}

// flow is how control goes on after an instruction.
type flow struct {
	size    uint64
	call    bool
	jumps   bool   // it may go to target
	target  uint64 // of the jump
	ends    bool   // it does not go on to the next instruction
	returns bool   // it leaves the function
}

// decodeFlow reads one instruction's effect on control.
func decodeFlow(code []byte, at uint64, arm64 bool) (flow, bool) {
	if arm64 {
		return decodeFlowARM(code, at)
	}
	size, ok := layout.InstructionSize(code)
	if !ok || size > len(code) {
		return flow{}, false
	}
	f := flow{size: uint64(size)}
	i := 0
	for i < size-1 && (code[i] == 0x66 || code[i] == 0xf2 || code[i] == 0xf3 || code[i]&0xf0 == 0x40) {
		i++ // prefixes that Go's compiler writes before branches and calls
	}
	next := at + f.size
	rel8 := func() uint64 { return next + uint64(int64(int8(code[size-1]))) }
	rel32 := func() uint64 { return next + uint64(int64(int32(binary.LittleEndian.Uint32(code[size-4:])))) }
	switch op := code[i]; {
	case op == 0xe8, op == 0xff && size > i+1 && code[i+1]>>3&7 == 2: // CALL
		f.call = true
	case op == 0xe9 && size >= 5: // JMP rel32
		f.jumps, f.ends, f.target = true, true, rel32()
	case op == 0xeb: // JMP rel8
		f.jumps, f.ends, f.target = true, true, rel8()
	case op&0xf0 == 0x70: // Jcc rel8
		f.jumps, f.target = true, rel8()
	case op == 0x0f && size >= 6 && code[i+1]&0xf0 == 0x80: // Jcc rel32
		f.jumps, f.target = true, rel32()
	case op == 0xc3:
		f.ends, f.returns = true, true
	case op == 0xcc, op == 0xff && size > i+1 && code[i+1]>>3&7 == 4, op == 0x0f && size > i+1 && code[i+1] == 0x0b:
		f.ends = true // INT3, JMP indirect, UD2
	}
	return f, true
}

// decodeFlowARM reads the branches of A64 (Arm ARM, C4.1.65).
func decodeFlowARM(code []byte, at uint64) (flow, bool) {
	if len(code) < 4 {
		return flow{}, false
	}
	w := binary.LittleEndian.Uint32(code)
	f := flow{size: 4}
	relative := func(imm uint32, bits uint) uint64 {
		return at + uint64(int64(int32(imm<<(32-bits))>>(32-bits))<<2)
	}
	switch {
	case w>>26 == 0x25, w&0xfffffc1f == 0xd63f0000: // BL, BLR
		f.call = true
	case w>>26 == 0x05: // B
		f.jumps, f.ends, f.target = true, true, relative(w&0x3ffffff, 26)
	case w>>24 == 0x54, w>>25&0x3f == 0x1a: // B.cond; CBZ, CBNZ
		f.jumps, f.target = true, relative(w>>5&0x7ffff, 19)
	case w>>25&0x3f == 0x1b: // TBZ, TBNZ
		f.jumps, f.target = true, relative(w>>5&0x3fff, 14)
	case w&0xfffffc1f == 0xd65f0000: // RET
		f.ends, f.returns = true, true
	case w&0xfffffc1f == 0xd61f0000, w&0xffe0001f == 0xd4200000: // BR, BRK
		f.ends = true
	}
	return f, true
}
