package gocore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// Who could wake those who wait for a channel, a wait group or a condition: a goroutine that has a deferred call pending which
// does it, one whose code comes to it, one that at least refers to the object.

// watched is an object other than a lock that somebody waits for.
type watched struct {
	addr  uint64
	kind  evidence.SyncKind
	wants actSet // what wakes those who wait
	slots bool   // a channel that may serve as a semaphore: see slots.go
	full  bool   // of such a channel: it is full, and who wants a slot sends
	blank bool   // of such a channel: its elements have no size, so that they are tokens and not work
}

// actSet is a set of acts, a bit each.
type actSet uint32

func setOf(acts ...act) actSet {
	var s actSet
	for _, a := range acts {
		s |= 1 << a
	}
	return s
}

func (s actSet) has(a act) bool { return s&(1<<a) != 0 }

// waking are the acts that can wake somebody. An Add may be a Done.
var waking = setOf(actSend, actReceive, actClose, actDone, actSignal, actBroadcast, actCancel, actAdd)

// foundWaker is a waker, or a holder of a slot, before it is in the evidence.
type foundWaker struct {
	object    int32 // number of the watched object
	act       act
	grade     evidence.WakerGrade
	aside     bool // it will start a goroutine that does it
	goroutine int64
	stack     uint32
	frame     int
	site      uint64 // the address behind the call; 0 for a deferred one
	w         *worker
}

// watch lists the objects that somebody waits for and that are not locks.
func (t *target) watch() []watched {
	var list []watched
	for _, addr := range sortedKeys(t.locks) {
		switch t.locks[addr] {
		case evidence.SyncWaitGroup:
			list = append(list, watched{addr: addr, kind: evidence.SyncWaitGroup, wants: setOf(actDone)})
		case evidence.SyncCond:
			list = append(list, watched{addr: addr, kind: evidence.SyncCond, wants: setOf(actSignal, actBroadcast)})
		}
	}
	slices.Sort(t.channels)
	o := &t.off.Chan
	mem := t.core.Mem.View()
	for _, c := range slices.Compact(t.channels) {
		x := watched{addr: c, kind: evidence.SyncChannel}
		receivers, _ := mem.Uint64(c + o.RecvQ)
		senders, _ := mem.Uint64(c + o.SendQ)
		count, _ := mem.Uint64(c + o.Count)
		size, _ := mem.Uint64(c + o.Size)
		elem, ok := mem.Bytes(c+o.ElemSize, 2)
		x.blank = ok && le.Uint16(elem) == 0
		if receivers != 0 {
			x.wants |= setOf(actSend, actClose)
			x.slots = size > 0 && count == 0
		}
		if senders != 0 {
			x.wants |= setOf(actReceive)
			x.slots, x.full = size > 0 && count == size, true
		}
		if x.wants != 0 {
			list = append(list, x)
		}
	}
	return list
}

// readWakers looks for those who could wake the waiters of every object that is not a lock.
func (t *target) readWakers(ctx context.Context) {
	if !t.seeks {
		return
	}
	list := t.watch()
	if len(list) == 0 {
		return
	}
	goers, users := 0, 0
	for _, w := range t.workers {
		goers, users = goers+len(w.goers), users+w.users
	}
	var searches []*wakerSearch
	if goers > 0 || users <= maxReferrers {
		searches = t.newSearches(list)
		t.searchAll(searches, func(s *wakerSearch) { s.run(ctx, s.w.goers) })
	}
	t.searchReferrers(ctx, list, searches, users)
	t.addWakers(list, searches)
	t.addSlots(list, searches)
}

// newSearches prepares a search for each worker.
func (t *target) newSearches(list []watched) []*wakerSearch {
	number := make(map[uint64]int32, len(list))
	for i := range list {
		number[list[i].addr] = int32(i)
	}
	searches := make([]*wakerSearch, len(t.workers))
	for i, w := range t.workers {
		searches[i] = &wakerSearch{w: w, list: list, number: number, found: make([][]foundWaker, len(list)), held: map[int32][]foundSlot{}}
	}
	return searches
}

// searchAll lets all workers search at the same time.
func (t *target) searchAll(searches []*wakerSearch, search func(*wakerSearch)) {
	var wait sync.WaitGroup
	for _, s := range searches {
		wait.Go(func() {
			if err := guarded(t.in, func() error { search(s); return nil }); err != nil {
				s.err = err
			}
		})
	}
	wait.Wait()
}

// searchReferrers looks for those who refer to the objects that nobody is seen to wake, when it is not too many goroutines that may.
func (t *target) searchReferrers(ctx context.Context, list []watched, searches []*wakerSearch, users int) {
	some := false
	wanted, inside := make([]bool, len(list)), map[uint64]int32{}
	for i := range list {
		wanted[i] = true
		for _, s := range searches {
			wanted[i] = wanted[i] && len(s.found[i]) == 0
		}
		some = some || wanted[i]
		if users > maxReferrers || !wanted[i] || list[i].kind == evidence.SyncChannel {
			continue
		}
		if o, ok := t.heapObject(list[i].addr); ok {
			inside[o.base] = int32(i)
		}
	}
	switch {
	case !some:
	case users > maxReferrers:
		t.b.Gapf("who could wake goroutines", "who refers to what they wait for was not looked for: that is done for %d goroutines at most", maxReferrers)
	default:
		t.searchAll(searches, func(s *wakerSearch) {
			s.refers = newReferences(s, wanted, inside)
			s.run(ctx, s.w.keepers)
		})
	}
}

// addWakers joins what the workers have found.
func (t *target) addWakers(list []watched, searches []*wakerSearch) {
	left, cut := 0, 0
	for _, s := range searches {
		if s.err != nil {
			t.b.Gapf("who could wake goroutines", "the search broke off: %v", s.err)
		}
		left, cut = left+s.left, cut+s.w.ahead.cut
	}
	says := map[sayKey]string{}
	for i := range list {
		var all []foundWaker
		for _, s := range searches {
			all = append(all, s.found[i]...)
		}
		for _, f := range strongestWakers(all) {
			t.addWaker(&list[i], f, says)
		}
	}
	if left > 0 {
		t.b.Gapf("who could wake goroutines", "%d goroutines were not searched", left)
	}
	if cut > 0 {
		t.b.Gapf("who could wake goroutines", "the code of %d places was not followed: there are more than %d instructions to read", cut, maxLeadSteps)
	}
}

// maxWakers bounds the wakers that are listed for one object.
const maxWakers = 64

// strongestWakers keeps of each goroutine and act the strongest sign, and of all wakers the strongest.
func strongestWakers(found []foundWaker) []foundWaker {
	if len(found) < 2 {
		return found
	}
	slices.SortStableFunc(found, func(a, b foundWaker) int {
		return cmp.Or(cmp.Compare(a.grade, b.grade), cmp.Compare(a.goroutine, b.goroutine), cmp.Compare(a.frame, b.frame),
			cmp.Compare(a.act, b.act), cmp.Compare(a.site, b.site))
	})
	type key struct {
		goroutine int64
		act       act
	}
	seen := map[key]bool{}
	known := map[int64]bool{}
	found = slices.DeleteFunc(found, func(f foundWaker) bool {
		k := key{f.goroutine, f.act}
		weak := seen[k] || f.grade == evidence.WakerRefers && known[f.goroutine]
		seen[k], known[f.goroutine] = true, true
		return weak
	})
	return found[:min(len(found), maxWakers)]
}

func (t *target) addWaker(o *watched, f foundWaker, says map[sayKey]string) {
	fn := f.w.fnAt(f.stack, f.frame)
	key := sayKey{o.kind, f.act, f.grade, f.aside, fn.Entry}
	why, ok := says[key]
	if !ok {
		why = key.why(fn.Name())
		says[key] = why
	}
	t.b.Waker(evidence.Waker{
		Sync: o.addr, Goroutine: f.goroutine, Act: wakes[f.act], Grade: f.grade, Frame: t.frameAt(f.w, f.stack, f.frame),
		Depth: t.logicalDepth(f.w, f.stack, f.frame), Site: t.callSite(fn, f.site), Why: why,
	})
}

// fnAt is the function of a frame of a stack.
func (w *worker) fnAt(stack uint32, frame int) pcln.Func {
	s := &w.stacks[stack]
	return w.u.cache.infos[w.arena[s.start:s.end][frame]].fn
}

// callSite is the source position of a call, by the address behind it, in the user's code.
func (t *target) callSite(fn pcln.Func, after uint64) evidence.FrameID {
	if after <= fn.Entry {
		return 0
	}
	for _, c := range fn.Calls(after - 1) {
		if !libraryCode(c.Function) {
			return t.b.Frame(evidence.Frame{Function: c.Function, File: c.File, Line: c.Line, PC: after - 1, Inlined: c.Inlined,
				Trust: evidence.TrustMatched})
		}
	}
	return 0
}

// libraryCode reports whether a function is part of what acts, and not of who does it.
func libraryCode(name string) bool {
	for _, prefix := range []string{"sync.", "sync/", "internal/sync.", "internal/runtime/", "runtime."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// sayKey is what the words about a waker depend on: there may be a hundred thousand that say the same.
type sayKey struct {
	kind  evidence.SyncKind
	act   act
	grade evidence.WakerGrade
	aside bool
	fn    uint64
}

// phrases say what an act does to "this channel", "this wait group" or "this condition".
var phrases = map[act]string{actSend: "sends to", actReceive: "receives from", actClose: "closes", actDone: "calls Done of",
	actSignal: "signals", actBroadcast: "broadcasts on", actCancel: "cancels the context of"}

var objectNames = map[evidence.SyncKind]string{evidence.SyncChannel: "this channel", evidence.SyncWaitGroup: "this wait group",
	evidence.SyncCond: "this condition"}

func (k sayKey) why(function string) string {
	object := objectNames[k.kind]
	switch {
	case k.grade == evidence.WakerPending:
		return fmt.Sprintf("a deferred call that %s %s is pending in %s", phrases[k.act], object, function)
	case k.grade == evidence.WakerRefers:
		return fmt.Sprintf("a live word of %s leads to %s", function, object)
	case k.aside:
		return fmt.Sprintf("%s, when it goes on, starts or defers a function that %s %s", function, phrases[k.act], object)
	}
	return fmt.Sprintf("%s, when it goes on, %s %s", function, phrases[k.act], object)
}

// wakerSearch is the search of one worker.
type wakerSearch struct {
	w      *worker
	list   []watched
	number map[uint64]int32
	found  [][]foundWaker // by number of the object
	held   map[int32][]foundSlot
	frames []leadFrame // of the goroutine that is looked at
	at     int         // the one of them that is looked at
	refers *references
	left   int // goroutines that were not searched
	err    error
}

func (s *wakerSearch) run(ctx context.Context, goers []goer) {
	const pause = 1 << 10 // goroutines between two looks at ctx
	for i, x := range goers {
		if i%pause == 0 && ctx.Err() != nil {
			s.left = len(goers) - i
			return
		}
		s.goroutine(x)
	}
}

// goroutine walks a goroutine again and looks at what its frames will do.
func (s *wakerSearch) goroutine(x goer) {
	w := s.w
	raw, ok := w.u.mem.Bytes(x.g, w.t.off.G.Size)
	if !ok {
		return
	}
	row := gRow{g: x.g, id: int64(le.Uint64(raw[w.t.off.G.ID:])), status: le.Uint32(raw[w.t.off.G.Status:]) &^ statusScan}
	w.unwindRow(&row, raw)
	s.frames = w.appendLeadFrames(s.frames[:0], w.stacks[row.stack].firstTrap)
	for k := range s.frames {
		f := &s.frames[k]
		lo, hi, ok := w.u.extent(f.index)
		if !ok {
			continue
		}
		s.at = k
		at := foundWaker{goroutine: row.id, stack: row.stack, frame: f.index, w: w}
		if s.refers != nil {
			s.refers.frame(x, s.frames, f, at, w.t.stackOf(x.g))
			continue
		}
		if f.defers {
			s.pending(x, f, at, lo, hi)
		}
		if f.reading != nil {
			s.ahead(x, f, at)
		}
	}
}

// first reports whether the frame that is looked at is the one that waits, or a helper of it waits.
func (s *wakerSearch) first() bool {
	return s.at == 0 || s.at == 1 && packageOf(s.frames[1].fn.Name()) == packageOf(s.frames[0].fn.Name())
}

// pending looks at the deferred calls that a frame has registered.
func (s *wakerSearch) pending(x goer, f *leadFrame, at foundWaker, lo, hi uint64) {
	at.grade = evidence.WakerPending
	for _, closure := range s.w.pendingDefers(x.g, &holdFrame{open: f.open}, lo, hi) {
		fn, ok := s.w.closureFunc(closure)
		if !ok {
			continue
		}
		s.w.called(fn.Entry, [3]uint64{closure}, maxDynamic, waking.has, func(d doing) {
			s.see(x, at, d)
			s.slot(x, f, at, d)
		})
	}
}

// ahead looks at what the code of a frame comes to.
func (s *wakerSearch) ahead(x goer, f *leadFrame, at foundWaker) {
	w := s.w
	place := &spot{w: w, sp: w.u.sps[f.index], regs: w.registersAt(x.g, f.index)}
	at.grade = evidence.WakerAhead
	w.eachAct(f.reading, place, waking.has, func(d doing) {
		if d.act == actDone && w.addedBefore(f.reading, d, place) {
			return // it only takes back what it will have added itself
		}
		at.aside, at.site = d.event.Aside, d.event.At
		s.see(x, at, d)
		s.slot(x, f, at, d)
	})
}

// addedBefore reports whether the way to a Done passes an Add to the same wait group.
func (w *worker) addedBefore(r *ahead.Reading, d doing, place *spot) bool {
	for i := d.event.Past; i >= 0; i = r.Events[i].Past {
		e := &r.Events[i]
		if act(e.Kind) != actAdd || w.added(e, place) == actDone {
			continue
		}
		if target, ok := w.ahead.terms.Eval(e.Target, place.sp, place); ok && target == d.target {
			return true
		}
	}
	return false
}

// see files a waker when the act is one that somebody waits for.
func (s *wakerSearch) see(x goer, at foundWaker, d doing) {
	target, wanted := d.target, d.act
	if d.act == actCancel {
		done, ok := s.w.u.mem.Uint64(target + contextDone)
		if !ok {
			return
		}
		target, wanted = done, actClose
	}
	i, ok := s.number[target]
	if !ok || !s.list[i].wants.has(wanted) || s.w.waitsFor(x, target) && !owes(&s.list[i], d) {
		return
	}
	at.object, at.act = i, d.act
	s.file(at)
}

// owes reports whether one that waits for an object itself is still the one that should wake the others: it waits for a group that
// counts it, or it waits for room in a queue that it should empty, or for a token or a slot that it would put back, and nobody has it. Who
// waits for a value and would then send one wakes nobody.
func owes(o *watched, d doing) bool {
	switch {
	case o.kind == evidence.SyncWaitGroup:
		return true
	case o.kind != evidence.SyncChannel:
		return false
	}
	tokens := o.slots && o.blank
	return d.act == actReceive && (!d.drops || tokens && o.full) || d.act == actSend && tokens && !o.full
}

// waitsFor reports whether a goroutine waits for an object, be it one of several.
func (w *worker) waitsFor(x goer, addr uint64) bool {
	if x.awaits != 0 {
		return x.awaits == addr
	}
	const most = 64
	o := w.t.off
	sudog, _ := w.u.mem.Uint64(x.g + o.G.Waiting)
	for n := 0; sudog != 0 && n < most; n++ {
		if c, _ := w.u.mem.Uint64(sudog + o.Sudog.C); c == addr {
			return true
		}
		sudog, _ = w.u.mem.Uint64(sudog + o.Sudog.WaitLink)
	}
	return false
}

// file keeps a waker. Of an object that has plenty only stronger ones are kept.
func (s *wakerSearch) file(f foundWaker) {
	list := s.found[f.object]
	if len(list) >= 2*maxWakers {
		list = strongestWakers(list)
		if len(list) >= maxWakers && f.grade >= list[len(list)-1].grade {
			s.found[f.object] = list
			return
		}
	}
	s.found[f.object] = append(list, f)
}

// contextDone is where a context.cancelCtx keeps the channel of Done: the second word of its atomic.Value (context/context.go,
// cancelCtx{Context, mu, done, ...}; Go 1.21 to 1.26).
const contextDone = 32

// registersAt gives the registers of a frame that was interrupted, where they are known.
func (w *worker) registersAt(g uint64, frame int) func(int) (uint64, bool) {
	m := w.t.gOwner[g]
	if frame > 0 || m == nil {
		return nil
	}
	for _, p := range m.parts {
		if p.place == placeGoroutine && p.regs != nil && len(p.pcs) > 0 && p.pcs[0] == w.u.pcs[0] {
			return func(n int) (uint64, bool) { return p.regs.Get(registerName(n, w.t.arm64)) }
		}
	}
	return nil
}

// registerName is the name of a register by the number that the machine gives it.
func registerName(n int, arm64 bool) string {
	names := []string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"}
	switch {
	case arm64 && n == 31:
		return "sp"
	case arm64:
		return fmt.Sprintf("x%d", n)
	case n < len(names):
		return names[n]
	}
	return fmt.Sprintf("r%d", n)
}
