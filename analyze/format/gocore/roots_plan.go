package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// Goroutines that stand at the same places have frames of the same sizes, and live pointers at the same distances from SP. Where those are is
// worked out once for a distinct stack, and the scan of all others reads these words and follows no return addresses.

// stackPlan is where the pointers of a distinct stack are, in the order in which walk comes to them.
type stackPlan struct {
	words   []planWord
	objects []planObject
	pc      uint64 // where the goroutine goes on
	size    uint64 // bytes from SP to the end of the outermost frame
	unfit   bool   // it has more than a plan holds
}

// planWord is a word of a stack: its distance from SP in bytes, and whether it is a pointer only perhaps.
type planWord struct {
	off   int32
	doubt bool
}

// planObject is a variable whose address was taken.
type planObject struct {
	off int32
	of  *pcln.StackObject
}

// maxPlan bounds the bytes of a stack that is planned, and with them the words of its plan.
const maxPlan = 16 << 10

// noPlan is that of a stack that is walked each time; seenOnce that of one that may never come again.
var noPlan, seenOnce stackPlan

// planOf is the plan of a goroutine's stack, nil when it has none. It is made when the stack comes for the second time.
func (s *stackScan) planOf(r *proofRow) *stackPlan {
	workers := s.p.t.workers
	if s.p.t.arm64 || int(r.worker) >= len(workers) || r.status == statusRunning || r.status == statusSyscall || r.status == statusCopystack {
		return nil
	}
	w := workers[r.worker]
	if int(r.stack) >= len(w.stacks) {
		return nil
	}
	if s.plans == nil {
		s.plans = make([][]*stackPlan, len(workers))
	}
	if s.plans[r.worker] == nil {
		s.plans[r.worker] = make([]*stackPlan, len(w.stacks))
	}
	plan := &s.plans[r.worker][r.stack]
	switch *plan {
	case nil:
		*plan = &seenOnce
		return nil
	case &seenOnce:
		*plan = s.newPlan(w, &w.stacks[r.stack])
	}
	if *plan == &noPlan {
		return nil
	}
	return *plan
}

// newPlan does what walk does, from SP 0 on, for the return addresses that the reader has found.
func (s *stackScan) newPlan(w *worker, stack *stackRow) *stackPlan {
	plan, doubtful, sp := &stackPlan{}, false, uint64(0)
	if stack.note.Broken != "" || stack.note.Elided > 0 || stack.firstTrap {
		return &noPlan
	}
	for _, ref := range w.arena[stack.start:stack.end] {
		f := s.frameOf(w.u.cache.infos[ref].pc)
		fp := sp + f.delta
		if !f.known || f.stop && !f.top || f.role == roleInjected || f.delta%8 != 0 || fp < sp || fp > maxPlan || f.space > maxPlan {
			break
		}
		if sp == 0 {
			plan.pc = f.pc
		}
		plan.frame(f, sp, fp, doubtful)
		if plan.unfit || len(plan.words) > maxPlan {
			break
		}
		if f.top {
			plan.size = fp
			return plan
		}
		doubtful, sp = f.unknown, fp
	}
	return &noPlan
}

// frame is stackScan.frame for a plan.
func (p *stackPlan) frame(f *frameMap, sp, fp uint64, doubtful bool) {
	varp, argp := pcln.FrameBounds(sp, fp, false)
	switch {
	case doubtful:
		p.doubt(sp, fp)
		p.doubt(argp, argp+f.space)
	case f.untyped || varp > sp && uint64(-int64(f.lowest)) > varp-sp:
		p.doubt(sp, fp)
	case varp > sp:
		for _, off := range f.locals {
			p.words = append(p.words, planWord{off: int32(varp) + off})
		}
	}
	if !doubtful {
		for _, off := range f.args {
			p.words = append(p.words, planWord{off: int32(argp) + off})
		}
	}
	for i := range f.objects {
		o := &f.objects[i]
		at := int64(varp) + int64(o.Off)
		if o.Off >= 0 {
			at = int64(argp) + int64(o.Off)
		}
		if at >= int64(sp) {
			p.objects = append(p.objects, planObject{int32(at), o})
		}
		p.unfit = p.unfit || at > 2*maxPlan
	}
}

func (p *stackPlan) doubt(lo, hi uint64) {
	for at := lo; at+8 <= hi; at += 8 {
		p.words = append(p.words, planWord{off: int32(at), doubt: true})
	}
}

// follow scans the stack of a goroutine that goes on at pc and sp by a plan; false when it does not fit.
func (s *stackScan) follow(w *heap.Worker, p *stackPlan, pc, sp uint64) bool {
	if pc != p.pc || sp%8 != 0 || sp < s.lo || sp > s.hi || p.size > s.hi-sp {
		return false
	}
	mem, ok := s.view.Bytes(sp, s.hi-sp)
	if !ok {
		return false
	}
	s.mem, s.base = mem, sp
	for _, x := range p.words {
		off := uint64(x.off)
		if off+8 > uint64(len(mem)) {
			continue
		}
		switch v := le.Uint64(mem[off:]); {
		case v-s.lo < s.hi-s.lo:
			s.inner = append(s.inner, v)
		case x.doubt && v >= s.p.least:
			w.Doubt(sp+off, v)
		case !x.doubt && v != 0:
			w.Root(sp+off, v)
		}
	}
	for _, o := range p.objects {
		if at := sp + uint64(o.off); at < s.hi {
			s.objects = append(s.objects, stackObject{addr: at, of: o.of})
		}
	}
	return true
}
