package gocore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
)

// A buffered channel may serve as a semaphore: who wants a slot sends, and who has one will receive; or it is a pool of tokens, from
// which who wants one receives, and to which who has one will send it back. Who holds a slot is seen by the same signs as who
// holds a lock: a deferred release is pending, or the code has passed the one and comes to the other.

// foundSlot is a slot that a frame holds, before it is in the evidence.
type foundSlot struct {
	hold  evidence.HoldGrade
	took  uint64 // the address behind the call that took the slot; 0 when it was not seen
	maker bool   // nothing says that this goroutine took the slot itself
	foundWaker
}

// maxSlots bounds the holders that are listed for one channel.
const maxSlots = 1 << 12

// slot files a holder of a slot of a channel that somebody waits for, when an act would give the slot back.
func (s *wakerSearch) slot(x goer, f *leadFrame, at foundWaker, d doing) {
	i, ok := s.number[d.target]
	if !ok || !s.list[i].slots || at.aside || len(s.held[i]) >= maxSlots {
		return
	}
	take, give := actReceive, actSend
	if s.list[i].full {
		take, give = actSend, actReceive
	}
	if d.act != give {
		return
	}
	at.object, at.act = i, d.act
	h := foundSlot{foundWaker: at, hold: evidence.HoldUnique}
	if at.grade == evidence.WakerPending {
		h.hold = evidence.HoldPendingUnlock
	} else if s.takesBefore(f, d, take) {
		return // it will give back what it will have taken
	}
	asks := s.first() && s.w.waitsFor(x, d.target) // it is taking a slot at this very place
	var passed, always bool
	h.took, passed, always = s.w.tookBefore(f, d.target, take, give)
	switch {
	case asks && (!passed || (!always || h.hold != evidence.HoldPendingUnlock) && s.w.comesBack(f)):
		return // it asks for the first one, or has taken it here in an earlier round, and it is not known who gives that back
	case passed:
	case !s.list[i].full, !d.drops:
		return // it is at the other end of a queue
	case h.hold != evidence.HoldPendingUnlock && s.w.comesBack(f):
		return // it receives again and again
	case h.hold != evidence.HoldPendingUnlock:
		h.hold, h.maker = evidence.HoldAmbiguous, true
	}
	s.held[i] = append(s.held[i], h)
}

// takesBefore reports whether the way to a release passes the taking of a slot.
func (s *wakerSearch) takesBefore(f *leadFrame, d doing, take act) bool {
	w := s.w
	place := &spot{w: w, sp: w.u.sps[f.index]}
	for i := d.event.Past; i >= 0; i = f.reading.Events[i].Past {
		e := &f.reading.Events[i]
		if act(e.Kind) != take {
			continue
		}
		if target, ok := w.ahead.terms.Eval(e.Target, place.sp, place); ok && target == d.target {
			return true
		}
	}
	return false
}

// tookBefore reports whether a frame has taken a slot of a channel and not given it back, and where; always says that it has done so on
// all ways to where it stands that were followed. What it has called may have taken slots and given them back.
func (w *worker) tookBefore(f *leadFrame, channel uint64, take, give act) (site uint64, ok, always bool) {
	place := &spot{w: w, sp: w.u.sps[f.index]}
	arrivals, took := w.arrivalsAt(f.leadCode), 0
	for i := range arrivals {
		at, last, balance := w.balance(&arrivals[i], place, channel, take, give)
		if balance > 0 {
			took++
		}
		if site == 0 && (balance > 0 || last == take) {
			site, ok = at, true
		}
	}
	return site, ok, took > 0 && took == len(arrivals)
}

// balance is what a way did to the slots of a channel: how many more it took than it gave back, what it did last, and the address behind
// the call that took the one that it still has. A slot that is given back and may be another channel's counts as this one's.
func (w *worker) balance(a *ahead.Arrival, place *spot, channel uint64, take, give act) (site uint64, last act, balance int) {
	bound := a.Bind(place.sp, place)
	for i := range a.Events { // the newest first
		e := &a.Events[i]
		k := act(e.Kind)
		if e.Aside || k != take && k != give {
			continue
		}
		target, known := bound.Eval(&w.ahead.terms, e.Target)
		switch {
		case known && target != channel, !known && k == take:
			continue
		case k == give:
			balance--
		case k == take:
			balance++
		}
		if known && last == actNone {
			last = k
		}
		if k == take && site == 0 && (balance > 0 || last == take) {
			site = e.At
		}
	}
	return site, last, balance
}

// arrivalsAt tells by which ways a function comes to where a frame stands.
func (w *worker) arrivalsAt(f *leadCode) []ahead.Arrival {
	key := readingKey{f.pc, f.exact}
	if a, ok := w.ahead.arrivals[key]; ok {
		return a
	}
	if w.ahead.arrivals == nil {
		w.ahead.arrivals, w.ahead.partial = map[readingKey][]ahead.Arrival{}, map[readingKey]bool{}
	}
	var arrivals []ahead.Arrival
	if l := w.leadOf(f.fn.Entry); w.ahead.steps <= maxLeadSteps {
		if code := w.codeOf(l); code != nil {
			var steps int
			var cut bool
			arrivals, steps, cut = ahead.Trace(&w.ahead.terms, code, f.pc, f.exact, w.t.arm64, &actVisitor{w})
			w.ahead.steps += steps
			if cut {
				w.ahead.partial[key] = true
			}
		}
	}
	w.ahead.arrivals[key] = arrivals
	return arrivals
}

// comesBack reports whether the code of a frame can come again to where it stands.
func (w *worker) comesBack(f *leadFrame) bool {
	c := &lockCode{fn: f.fn}
	code, ok := w.u.mem.Bytes(f.fn.Entry, f.fn.End-f.fn.Entry)
	if !ok {
		return true
	}
	c.code = code
	back := false
	c.follow(f.pc, w.t.arm64, func(at uint64, step flow) bool {
		back = back || at+step.size == f.pc && step.call
		return !back
	})
	return back
}

// addSlots puts the holders of slots into the evidence.
func (t *target) addSlots(list []watched, searches []*wakerSearch) {
	all := map[int32][]foundSlot{}
	for _, s := range searches {
		for i, held := range s.held {
			all[i] = append(all[i], held...)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(all)) {
		held := oncePerFrame(all[i])
		for _, h := range held[:min(len(held), maxSlots)] {
			t.addSlot(&list[i], h)
		}
	}
}

// oncePerFrame keeps the best sign of each frame: a recursive function holds a slot in each of its frames.
func oncePerFrame(held []foundSlot) []foundSlot {
	slices.SortStableFunc(held, func(a, b foundSlot) int {
		return cmp.Or(cmp.Compare(a.hold, b.hold), cmp.Compare(a.goroutine, b.goroutine), cmp.Compare(a.frame, b.frame), cmp.Compare(a.site, b.site))
	})
	type key struct {
		goroutine int64
		frame     int
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(held, func(h foundSlot) bool {
		k := key{h.goroutine, h.frame}
		twice := seen[k]
		seen[k] = true
		return twice
	})
}

func (t *target) addSlot(o *watched, h foundSlot) {
	fn := h.w.fnAt(h.stack, h.frame)
	give := phrases[h.act]
	why := fmt.Sprintf("a deferred call that %s this channel is pending in %s: it gives a slot back", give, fn.Name())
	switch {
	case h.maker:
		why = fmt.Sprintf("%s, when it goes on, %s this channel once and drops the value: it gives a slot back that was taken for it", fn.Name(), give)
	case h.hold != evidence.HoldPendingUnlock:
		why = fmt.Sprintf("%s has taken a slot of this channel and, when it goes on, %s it", fn.Name(), give)
	}
	t.b.Hold(evidence.Hold{
		Sync: o.addr, Goroutine: h.goroutine, Grade: h.hold, Frame: t.frameAt(h.w, h.stack, h.frame),
		Depth: t.logicalDepth(h.w, h.stack, h.frame), Site: t.callSite(fn, h.took), Why: why,
	})
}
