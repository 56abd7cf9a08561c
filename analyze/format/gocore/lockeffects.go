package gocore

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// lockHelper is a function that leaves a lock taken, or released, when it returns: a method like lock or unlock.
type lockHelper struct {
	lockFunc
	fn      pcln.Func
	offsets []int64 // what it adds to the pointer it was given
}

// helperAt finds out whether a direct call is one of a helper. Only functions of the caller's package count: others do not
// touch its locks, and need not be read.
func (w *worker) helperAt(caller string, entry uint64) *lockHelper {
	h, ok := w.helpers[entry]
	if !ok {
		if w.helpers == nil {
			w.helpers = map[uint64]*lockHelper{}
		}
		h = w.newHelper(entry)
		w.helpers[entry] = h
	}
	if h == nil || packageOf(h.fn.Name()) != packageOf(caller) {
		return nil
	}
	return h
}

// packageOf is the part of a function's name before the first dot behind the last slash of its path.
func packageOf(name string) string {
	path, _, _ := strings.Cut(name, "[")
	from := strings.LastIndexByte(path, '/') + 1
	end := strings.IndexByte(path[from:], '.')
	if end < 0 {
		return name
	}
	return path[:from+end]
}

// maxHelper bounds the code of a function that is taken for a helper.
const maxHelper = 4 << 10

func (w *worker) newHelper(entry uint64) *lockHelper {
	fn, ok := w.t.tab.Find(entry)
	if !ok || fn.Entry != entry || fn.End-fn.Entry > maxHelper || w.t.libraryEntry[entry] {
		return nil
	}
	code, ok := w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if !ok {
		return nil
	}
	c := &lockCode{fn: fn, code: code, sites: append(inlinedSites(fn), w.t.calledSites(fn, code)...)}
	if len(c.sites) == 0 {
		return nil
	}
	c.fillOffsets(w.t.arm64)
	taken, released := c.leavesLocked(w.t.arm64), c.unlocksFirst(w.t.arm64)
	site := taken
	if released != nil {
		site = released
	}
	if site == nil || taken != nil && released != nil {
		return nil // a function that unlocks for a while and locks again leaves things as they were
	}
	return &lockHelper{site.lockFunc, fn, site.offsets}
}

// follow visits the instructions that can be reached from start. visit says whether to go on behind one.
func (c *lockCode) follow(start uint64, arm64 bool, visit func(at uint64, step flow) bool) {
	seen := map[uint64]bool{}
	todo := []uint64{start}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for at >= c.fn.Entry && at < c.fn.End && !seen[at] {
			seen[at] = true
			step, ok := decodeFlow(c.code[at-c.fn.Entry:], at, arm64)
			if !ok || !visit(at, step) {
				break
			}
			if step.jumps {
				todo = append(todo, step.target)
			}
			if step.ends {
				break
			}
			at += step.size
		}
	}
}

// siteAt is the site that an instruction belongs to, nil when it belongs to none.
func (c *lockCode) siteAt(at uint64) *lockSite {
	for i := range c.sites {
		if s := &c.sites[i]; at >= s.lo && at < s.hi {
			return s
		}
	}
	return nil
}

// unlocksFirst finds an Unlock that the function comes to without having taken a lock itself.
func (c *lockCode) unlocksFirst(arm64 bool) *lockSite {
	var found *lockSite
	c.follow(c.fn.Entry, arm64, func(at uint64, _ flow) bool {
		s := c.siteAt(at)
		if s != nil && s.unlocks() {
			found = s
		}
		return s == nil
	})
	return found
}

// leavesLocked finds a Lock that the function returns with, if it cannot return without one: what may or may not have locked
// proves nothing.
func (c *lockCode) leavesLocked(arm64 bool) *lockSite {
	if c.fn.DeferReturn() != 0 {
		return nil
	}
	without := false
	c.follow(c.fn.Entry, arm64, func(at uint64, step flow) bool {
		without = without || step.returns
		return c.siteAt(at) == nil
	})
	if without {
		return nil
	}
	for i := range c.sites {
		s := &c.sites[i]
		returns := false
		c.follow(s.lo, arm64, func(at uint64, step flow) bool {
			here := c.siteAt(at)
			returns = returns || step.returns
			return here == nil || !here.unlocks()
		})
		if returns && !s.unlocks() {
			return s
		}
	}
	return nil
}

// releasedAt returns the sites that have unlocked without a Lock of the same kind behind them when the function is at pc.
func (c *lockCode) releasedAt(pc uint64, arm64 bool) []lockSite {
	if released, ok := c.released[pc]; ok {
		return released
	}
	var released []lockSite
	for i := range c.sites {
		s := c.sites[i]
		if !s.unlocks() || c.inside(s, pc) {
			continue
		}
		reached := false
		c.follow(s.lo, arm64, func(at uint64, step flow) bool {
			here := c.siteAt(at)
			if here != nil && here.op == s.op-2 && here.kind == s.kind {
				return false
			}
			reached = reached || !c.within(s, at) && (at == pc || at+step.size == pc && step.call)
			return !reached
		})
		if reached {
			released = append(released, s)
		}
	}
	if c.released == nil {
		c.released = map[uint64][]lockSite{}
	}
	c.released[pc] = released
	return released
}

// avoids reports whether the function can come to pc without any of some sites. Of an inlined call the instruction that marks
// its place counts as well: until Go 1.23 the atomic operation belongs to the caller by its line.
func (c *lockCode) avoids(sites []lockSite, pc uint64, arm64 bool) bool {
	avoided := false
	c.follow(c.fn.Entry, arm64, func(at uint64, step flow) bool {
		for _, s := range sites {
			if at == s.call || c.within(s, at) {
				return false
			}
		}
		avoided = avoided || at == pc || at+step.size == pc && step.call
		return !avoided
	})
	return avoided
}

// unlocks reports whether a method releases a lock.
func (f lockFunc) unlocks() bool { return f.op == opUnlock || f.op == opRUnlock }

// undone reports whether this frame has released a lock that it, or an outer frame, had taken.
func (t *target) undone(w *worker, v *frameView, l *contended) bool {
	for i := range v.released {
		if v.released[i].fits(l.kind) && t.aimOf(w, v.code, v.released[i:i+1], v.words, l) != aimNowhere {
			return true
		}
	}
	return false
}

// ranUnlock reports whether an open-coded deferred Unlock of a lock has run: its bit is clear, and its slot, which is zero before
// the defer statement, still holds the closure.
func (t *target) ranUnlock(w *worker, v *frameView, l *contended) bool {
	w.closures = w.openClosures(w.closures[:0], &v.open, v.lo, v.hi, false)
	for _, closure := range w.closures {
		fn, ok := w.closureFunc(closure)
		if ok && w.declares(v.fn, fn) && t.unlocksWhat(w, closure, l) != opNone {
			return true
		}
	}
	return false
}

// declares reports whether a function is a closure of another, by its name.
func (w *worker) declares(outer, inner pcln.Func) bool {
	key := [2]uint64{outer.Entry, inner.Entry}
	yes, known := w.declared[key]
	if !known {
		if w.declared == nil {
			w.declared = map[[2]uint64]bool{}
		}
		yes = strings.HasPrefix(inner.Name(), outer.Name()+".")
		w.declared[key] = yes
	}
	return yes
}

// unwinding reports whether a frame is running its deferred calls one after the other, by runtime.deferreturn or a panic, and
// keeps no note of those that have run.
func (w *worker) unwinding(f *frameView) bool {
	if !f.defers || len(f.open.slots) > 0 {
		return false
	}
	for i, pc := range w.u.pcs[:f.index] {
		switch w.u.info(pc).fn.Name() {
		case "runtime.gopanic", "runtime.Goexit":
			return true
		case "runtime.deferreturn":
			return i == f.index-1
		}
	}
	return false
}
