package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// Nearly every goroutine stands where nothing that it will do wakes anybody, and where no live word leads anywhere. That is found
// out once for each return address and once for each deferred function; only goroutines with more to tell are walked a second time.

// leadCode is what a frame at a pc has to do: the same for all goroutines that stand there.
type leadCode struct {
	fn      pcln.Func
	reading *ahead.Reading // nil when it has only deferred calls
	pc      uint64
	exact   bool // pc was not carried out yet
	defers  bool
	open    openDefers
	live    liveWords
}

// leadFrame is a frame outside the runtime.
type leadFrame struct {
	index int // in the walk
	*leadCode
}

// goer is a goroutine to be looked at when the objects are known.
type goer struct {
	g      uint64
	awaits uint64 // the one object it waits for; 0 when there are several
}

// leadStack is what the frames of a distinct stack have to do.
type leadStack struct {
	known  bool
	some   bool          // it has frames outside the runtime
	acts   bool          // the code ahead of a frame may wake somebody
	words  bool          // a frame has live pointers
	defers []deferringAt // its frames that may have deferred calls pending
}

// deferringAt is a frame that may have deferred calls pending.
type deferringAt struct {
	index int
	open  openDefers
}

// leadDepth is how many frames of a stack are looked at: what a goroutine does next stands at its end.
const leadDepth = 64

// noLead stands for a pc in the runtime, or in no function.
var noLead leadCode

// goes notes the goroutine of the last walk for the search of wakers.
func (w *worker) goes(row *gRow) {
	stack := &w.stacks[row.stack]
	s := &stack.lead
	if !s.known {
		*s = w.leadStackOf(stack.firstTrap)
	}
	if !s.some {
		return
	}
	w.users++
	if s.acts || w.defersWaking(row.g, s.defers) {
		w.goers = append(w.goers, goer{row.g, row.waitsOn})
	}
	if s.words && len(w.keepers) < maxReferrers {
		w.keepers = append(w.keepers, goer{row.g, row.waitsOn})
	}
}

// leadStackOf looks through the last walk.
func (w *worker) leadStackOf(firstTrap bool) leadStack {
	s := leadStack{known: true}
	cache := w.u.cache
	for i, ref := range w.u.refs[:min(len(w.u.refs), leadDepth)] {
		trap := w.trapped(i, firstTrap)
		if mark := cache.marks[ref]; !trap && mark&markNoLead != 0 {
			s.some = s.some || mark&markUser != 0
			continue
		}
		pc := cache.infos[ref].pc
		if mark := w.shared.get(pc) & (markNoLead | markUser); !trap && mark != 0 {
			cache.marks[ref] |= mark
			s.some = s.some || mark&markUser != 0
			continue
		}
		l := w.leadAt(ref, trap)
		if l == &noLead {
			cache.marks[ref] |= markNoLead
			continue
		}
		s.some = true
		acts, words := l.reading != nil && wakesSomebody(l.reading), l.live.some()
		s.acts, s.words = s.acts || acts, s.words || words
		if l.defers {
			s.defers = append(s.defers, deferringAt{i, l.open})
		}
		if !trap && !acts && !words && !l.defers {
			cache.marks[ref] |= markNoLead | markUser
			cache.infos[ref].lead = nil
			w.shared.put(pc, markNoLead|markUser)
		}
	}
	return s
}

// trapped reports whether the pc of a frame of the last walk was not carried out yet.
func (w *worker) trapped(i int, firstTrap bool) bool {
	if i == 0 {
		return firstTrap
	}
	return w.u.cache.marks[w.u.refs[i-1]]&markInjected != 0
}

// leadAt says what a frame has to do; trap says that its pc was not carried out yet. Of all others it is found out once.
func (w *worker) leadAt(ref pcRef, trap bool) *leadCode {
	e := w.u.cache.infos[ref]
	switch {
	case e.lead != nil && !trap:
		return e.lead
	case !e.ok || w.t.isRuntime(e.fn):
		return &noLead
	}
	l := &leadCode{fn: e.fn, pc: e.pc, exact: trap, defers: e.fn.DeferReturn() != 0}
	if trap {
		l.reading = w.readingAt(e.fn, e.pc)
	} else {
		l.reading = w.readingOf(e)
	}
	if l.defers {
		l.open = w.t.openDefersOf(w.u.mem, e.fn)
	}
	l.live = liveWordsAt(e.fn, e.pc, trap)
	if !trap {
		e.lead = l
	}
	return l
}

// appendLeadFrames lists the frames of the last walk outside the runtime.
func (w *worker) appendLeadFrames(frames []leadFrame, firstTrap bool) []leadFrame {
	cache := w.u.cache
	for i, ref := range w.u.refs[:min(len(w.u.refs), leadDepth)] {
		trap := w.trapped(i, firstTrap)
		if !trap && cache.marks[ref]&(markNoLead|markUser) == markNoLead {
			continue
		}
		if l := w.leadAt(ref, trap); l != &noLead {
			frames = append(frames, leadFrame{i, l})
		}
	}
	return frames
}

// wakesSomebody reports whether a reading has an act that may wake somebody.
func wakesSomebody(r *ahead.Reading) bool {
	for i := range r.Events {
		if k := act(r.Events[i].Kind); k == actDynamic || waking.has(k) {
			return true
		}
	}
	return false
}

// defersWaking reports whether a deferred call that is pending may wake somebody.
func (w *worker) defersWaking(g uint64, frames []deferringAt) bool {
	for i := range frames {
		lo, hi, ok := w.u.extent(frames[i].index)
		if !ok {
			continue
		}
		for _, closure := range w.pendingDefers(g, &holdFrame{open: frames[i].open}, lo, hi) {
			if fn, ok := w.closureFunc(closure); ok && w.callWakes(fn.Entry) {
				return true
			}
		}
	}
	return false
}

// callWakes reports whether a call of a function may wake somebody: whether called may find an act that does.
func (w *worker) callWakes(entry uint64) bool {
	yes, known := w.ahead.wakes[entry]
	if known {
		return yes
	}
	if f, ok := w.t.acts[entry]; ok {
		yes = waking.has(f.act)
	} else if l := w.leadOf(entry); l.fn.Valid() && l.class == actNone {
		r := w.readingAt(l.fn, entry)
		yes = r != nil && wakesSomebody(r)
	}
	if w.ahead.wakes == nil {
		w.ahead.wakes = map[uint64]bool{}
	}
	w.ahead.wakes[entry] = yes
	return yes
}

// readingOf says what stands ahead of a call that returns to a pc; nil when it is nothing, which is remembered with the pc.
func (w *worker) readingOf(e *pcInfo) *ahead.Reading {
	if e.nothing {
		return nil
	}
	if r, ok := w.ahead.readings[readingKey{e.pc, false}]; ok {
		return r
	}
	r := w.newReading(e.fn, e.pc, false)
	if e.nothing = r == nil; !e.nothing {
		w.keepReading(readingKey{e.pc, false}, r)
	}
	return r
}

// readingAt says what stands ahead of a pc where the registers are known: at the entry of a function, and where it was interrupted.
func (w *worker) readingAt(fn pcln.Func, pc uint64) *ahead.Reading {
	key := readingKey{pc, true}
	if r, ok := w.ahead.readings[key]; ok {
		return r
	}
	r := w.newReading(fn, pc, true)
	w.keepReading(key, r)
	return r
}

func (w *worker) keepReading(key readingKey, r *ahead.Reading) {
	if w.ahead.readings == nil {
		w.ahead.readings = map[readingKey]*ahead.Reading{}
	}
	w.ahead.readings[key] = r
}

func (w *worker) newReading(fn pcln.Func, pc uint64, known bool) *ahead.Reading {
	l := w.leadOf(fn.Entry)
	if !w.leads(l, maxLead) && !l.indirect {
		return nil
	}
	if w.ahead.steps > maxLeadSteps {
		w.ahead.cut++
		return nil
	}
	if l.code == nil && w.quietAt(fn, pc) {
		return nil
	}
	code := w.codeOf(l)
	if code == nil {
		return nil
	}
	r := ahead.Read(&w.ahead.terms, code, pc, w.t.arm64, known, &actVisitor{w})
	w.ahead.steps += r.Steps
	if len(r.Events) == 0 {
		return nil
	}
	return &r
}

// quietAt reports whether a function returns from where it stands without more ado: then it need not be decoded.
func (w *worker) quietAt(fn pcln.Func, pc uint64) bool {
	if pc < fn.Entry || pc >= fn.End {
		return false
	}
	code, ok := w.u.mem.Bytes(pc, fn.End-pc)
	if !ok {
		return false
	}
	steps, quiet := ahead.Quiet(code, pc, w.t.arm64)
	if quiet {
		w.ahead.steps += steps
	}
	return quiet
}
