package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
)

// What a goroutine will do to channels, wait groups, conditions and locks is read from the code that stands ahead of it. The
// code is followed once for each pc; what it acts on is a term over the words of the frame, and is worked out for each goroutine.

// act is something that code does to an object.
type act uint8

const (
	actNone act = iota
	actSend
	actReceive
	actClose
	actDone
	actSignal
	actBroadcast
	actCancel // of a context: the target is its cancelCtx
	actLock
	actRLock
	actUnlock
	actRUnlock
	actAdd     // to a wait group
	actTry     // TryLock and TryRLock, which may have failed; a compare-and-swap of a word
	actTake    // a compare-and-swap of 0 by 1, as in the inlined Lock
	actInc     // an atomic increment by one: the inlined RLock
	actDec     // an atomic decrement by one: the inlined Unlock and RUnlock
	actDynamic // a call of a function that is a value: a closure or a method of an interface
	actSelect  // below here only for functions
	actSelectReceive
	actGo
	actDefer
	actNew
	actEnds
)

// actFunc is a function that acts on its argument.
type actFunc struct {
	act  act
	arg  int    // which argument is the object
	back uint64 // how far before the argument the object begins
	uses bool   // it asks whether a value was received
}

// actFuncs are the functions through which Go code acts on what goroutines wait for, Go 1.21 to 1.26 (runtime/chan.go, select.go,
// proc.go; sync; context). The distances are those of waitKinds.
var actFuncs = map[string]actFunc{
	"runtime.chansend1":    {act: actSend},
	"runtime.chanrecv1":    {act: actReceive},
	"runtime.chanrecv2":    {act: actReceive, uses: true},
	"runtime.closechan":    {act: actClose},
	"runtime.selectnbsend": {act: actSend},
	"runtime.selectnbrecv": {act: actReceive, arg: 1},
	"runtime.selectgo":     {act: actSelect},
	"runtime.newproc":      {act: actGo},
	"runtime.deferproc":    {act: actDefer},
	"runtime.makechan":     {act: actNew},
	"runtime.makechan64":   {act: actNew},
	"runtime.newobject":    {act: actNew},
	"runtime.makeslice":    {act: actNew},

	"sync.(*WaitGroup).Done":           {act: actDone},
	"sync.(*WaitGroup).Add":            {act: actAdd},
	"sync.(*Cond).Signal":              {act: actSignal},
	"sync.(*Cond).Broadcast":           {act: actBroadcast},
	"sync.runtime_notifyListNotifyOne": {act: actSignal, back: 16},
	"sync.runtime_notifyListNotifyAll": {act: actBroadcast, back: 16},
	"context.(*cancelCtx).cancel":      {act: actCancel},

	"sync.(*Mutex).Lock":                {act: actLock},
	"sync.(*Mutex).TryLock":             {act: actTry},
	"sync.(*Mutex).lockSlow":            {act: actLock},
	"sync.(*Mutex).Unlock":              {act: actUnlock},
	"sync.(*Mutex).unlockSlow":          {act: actUnlock},
	"internal/sync.(*Mutex).Lock":       {act: actLock},
	"internal/sync.(*Mutex).TryLock":    {act: actTry},
	"internal/sync.(*Mutex).lockSlow":   {act: actLock},
	"internal/sync.(*Mutex).Unlock":     {act: actUnlock},
	"internal/sync.(*Mutex).unlockSlow": {act: actUnlock},
	"sync.(*RWMutex).Lock":              {act: actLock},
	"sync.(*RWMutex).TryLock":           {act: actTry},
	"sync.(*RWMutex).Unlock":            {act: actUnlock},
	"sync.(*RWMutex).RLock":             {act: actRLock},
	"sync.(*RWMutex).TryRLock":          {act: actTry},
	"sync.(*RWMutex).RUnlock":           {act: actRUnlock},
	"sync.(*RWMutex).rUnlockSlow":       {act: actRUnlock},
}

// neverReturn are the beginnings of the names of functions of the runtime that do not come back to their caller.
var neverReturn = []string{"runtime.gopanic", "runtime.panic", "runtime.goPanic", "runtime.throw", "runtime.fatal", "runtime.Goexit",
	"runtime.morestack", "runtime.sigpanic"}

// wakes is what an act is in the evidence.
var wakes = map[act]evidence.Act{actSend: evidence.ActSend, actReceive: evidence.ActReceive, actClose: evidence.ActClose,
	actDone: evidence.ActDone, actSignal: evidence.ActSignal, actBroadcast: evidence.ActBroadcast, actCancel: evidence.ActClose}

// prepareActs finds the functions in this program.
func (t *target) prepareActs() {
	names := make([]string, 0, len(actFuncs))
	for name := range actFuncs {
		names = append(names, name)
	}
	t.acts = map[uint64]actFunc{}
	for name, fn := range t.tab.Lookup(names...) {
		t.acts[fn.Entry] = actFuncs[name]
	}
}

// aheads is what a worker has found out about code.
type aheads struct {
	terms    ahead.Terms
	leads    map[uint64]*lead // by entry of function
	readings map[readingKey]*ahead.Reading
	arrivals map[readingKey][]ahead.Arrival
	partial  map[readingKey]bool // there may be more arrivals than are known
	wakes    map[uint64]bool     // by entry: whether a deferred function may wake somebody
	steps    int                 // instructions that were followed
	cut      int                 // pcs whose code was left out because of maxLeadSteps
}

type readingKey struct {
	pc    uint64
	known bool // the registers hold what is known
}

// actVisitor records what code does to objects.
type actVisitor struct{ w *worker }

// Call is for the interface ahead.Visitor.
func (v *actVisitor) Call(c *ahead.Call) ahead.Next {
	entry, direct := c.Fn.Number()
	if !direct {
		if c.Fn.Known() && !v.w.ahead.terms.Fresh(c.Fn) {
			c.Record(uint8(actDynamic), c.Fn, c.Closure(), c.Arg(0), c.Arg(1))
		}
		return ahead.Next{}
	}
	f, ok := v.w.t.acts[entry]
	if !ok {
		return v.other(entry)
	}
	switch f.act {
	case actSelect:
		v.cases(c)
	case actNew:
		return ahead.Next{Fresh: true}
	case actGo, actDefer:
		return v.later(c)
	default:
		if target := c.Arg(f.arg).Add(-int64(f.back)); !v.w.ahead.terms.Fresh(target) {
			uses := ahead.Const(0)
			if f.uses {
				uses = ahead.Const(1)
			}
			c.Record(uint8(f.act), target, uses, ahead.Value{}, c.Arg(1))
		}
	}
	return ahead.Next{}
}

// other is a call of a function that does not act itself.
func (v *actVisitor) other(entry uint64) ahead.Next {
	switch v.w.leadOf(entry).class {
	case actEnds:
		return ahead.Next{Ends: true}
	case actNew:
		return ahead.Next{Fresh: true}
	}
	return ahead.Next{Enter: v.w.follows(entry, maxLead-1)}
}

// later is a call of newproc or deferproc: the closure will be called.
func (v *actVisitor) later(c *ahead.Call) ahead.Next {
	closure := c.Arg(0)
	fn := c.Load(closure)
	if entry, ok := fn.Number(); ok {
		return ahead.Next{Enter: v.w.follows(entry, maxLead-1), Closure: closure, Aside: true}
	}
	return ahead.Next{}
}

// cases are those of a select: an array of scase{c, elem}, the sends first (runtime/select.go).
func (v *actVisitor) cases(c *ahead.Call) {
	const scase, most = 16, 64
	sends, ok1 := c.Arg(3).Number()
	receives, ok2 := c.Arg(4).Number()
	if !ok1 || !ok2 || sends > most || receives > most {
		return
	}
	for i := range sends + receives {
		kind := actSend
		if i >= sends {
			kind = actReceive
		}
		if target := c.Load(c.Arg(0).Add(int64(scase * i))); !v.w.ahead.terms.Fresh(target) {
			c.Record(uint8(kind), target, ahead.Const(1))
		}
	}
}

// Atomic is for the interface ahead.Visitor.
func (v *actVisitor) Atomic(a *ahead.Atomic) {
	if !a.Addr.Known() || v.w.ahead.terms.Fresh(a.Addr) {
		return
	}
	n, ok := a.Operand.Number()
	if a.Swap {
		if by, grown := a.Grown(); grown {
			n, ok = uint64(by), true
		} else if ok && n == 1 {
			a.Record(uint8(actTake), a.Addr)
			return
		} else {
			a.Record(uint8(actTry), a.Addr)
			return
		}
	}
	switch {
	case ok && int32(n) == 1:
		a.Record(uint8(actInc), a.Addr)
	case ok && int32(n) == -1:
		a.Record(uint8(actDec), a.Addr)
	}
}

// spot is where a goroutine, or a function that it is going to call, stands.
type spot struct {
	w    *worker
	sp   uint64
	regs func(int) (uint64, bool) // nil when none is known
}

// Register is for the interface ahead.Place.
func (s *spot) Register(n int) (uint64, bool) {
	if s.regs == nil {
		return 0, false
	}
	return s.regs(n)
}

// Memory is for the interface ahead.Place.
func (s *spot) Memory(at uint64, width int) (uint64, bool) {
	switch mem := s.w.u.mem; width {
	case 1:
		v, ok := mem.Uint8(at)
		return uint64(v), ok
	case 2:
		v, ok := mem.Uint16(at)
		return uint64(v), ok
	case 4:
		v, ok := mem.Uint32(at)
		return uint64(v), ok
	}
	return s.w.u.mem.Uint64(at)
}

// entrySpot is the entry of a function with what is known of its closure and its first arguments.
func (w *worker) entrySpot(closure, first, second uint64) *spot {
	closureReg, args := 2, [2]int{0, 3} // DX, AX, BX (cmd/compile/abi-internal.md)
	if w.t.arm64 {
		closureReg, args = 26, [2]int{0, 1}
	}
	return &spot{w: w, regs: func(n int) (uint64, bool) {
		switch n {
		case closureReg:
			return closure, closure != 0
		case args[0]:
			return first, first != 0
		case args[1]:
			return second, second != 0
		}
		return 0, false
	}}
}

// doing is an act with the object that it is done to.
type doing struct {
	act    act
	target uint64
	event  *ahead.Event // in the reading of the frame
	drops  bool         // a receive whose value is not wanted: <-c
}

// drops reports whether an event is a receive whose value goes nowhere.
func drops(e *ahead.Event) bool {
	uses, _ := e.Extra[0].Number()
	elem, known := e.Extra[2].Number()
	return act(e.Kind) == actReceive && uses == 0 && known && elem == 0
}

// eachAct works out what a reading does, for one place. Acts whose object is not known are left out.
func (w *worker) eachAct(r *ahead.Reading, s *spot, want func(act) bool, visit func(doing)) {
	for i := range r.Events {
		e := &r.Events[i]
		kind := act(e.Kind)
		if kind == actDynamic {
			w.dynamic(e, s, maxDynamic, want, func(d doing) {
				d.event = e
				visit(d)
			})
			continue
		}
		if !want(kind) {
			continue
		}
		if target, ok := w.ahead.terms.Eval(e.Target, s.sp, s); ok {
			if kind == actAdd {
				kind = w.added(e, s)
			}
			visit(doing{kind, target, e, drops(e)})
		}
	}
}

// added tells a Done that is written, or inlined, as Add(-1) from an Add.
func (w *worker) added(e *ahead.Event, s *spot) act {
	if n, ok := w.ahead.terms.Eval(e.Extra[2], s.sp, s); ok && int64(n) < 0 {
		return actDone
	}
	return actAdd
}

// dynamic works out a call of a closure or of a method of an interface.
func (w *worker) dynamic(e *ahead.Event, s *spot, depth int, want func(act) bool, visit func(doing)) {
	terms := &w.ahead.terms
	entry, ok := terms.Eval(e.Target, s.sp, s)
	if !ok {
		return
	}
	var args [3]uint64 // closure, first, second; 0 when not known
	for i := range args {
		args[i], _ = terms.Eval(e.Extra[i], s.sp, s)
	}
	w.called(entry, args, depth, want, visit)
}

// maxDynamic is how many calls of values are followed inside one another.
const maxDynamic = 2

// called is what a function does that is called with a closure and arguments.
func (w *worker) called(entry uint64, args [3]uint64, depth int, want func(act) bool, visit func(doing)) {
	if f, ok := w.t.acts[entry]; ok {
		kind := f.act
		if f.arg != 0 || args[1] <= f.back || kind > actDynamic {
			return
		}
		if kind == actAdd && int64(args[2]) < 0 {
			kind = actDone
		}
		if want(kind) {
			visit(doing{act: kind, target: args[1] - f.back})
		}
		return
	}
	l := w.leadOf(entry)
	if !l.fn.Valid() || l.class != actNone {
		return
	}
	r := w.readingAt(l.fn, entry)
	if r == nil {
		return
	}
	inner := w.entrySpot(args[0], args[1], args[2])
	for i := range r.Events {
		e := &r.Events[i]
		kind := act(e.Kind)
		if kind == actDynamic && depth > 1 {
			w.dynamic(e, inner, depth-1, want, visit)
		}
		if kind == actDynamic || !want(kind) {
			continue
		}
		if target, ok := w.ahead.terms.Eval(e.Target, 0, inner); ok {
			if kind == actAdd {
				kind = w.added(e, inner)
			}
			visit(doing{act: kind, target: target, drops: drops(e)})
		}
	}
}
