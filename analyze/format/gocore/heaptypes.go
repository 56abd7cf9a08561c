package gocore

import (
	"context"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/objtype"
)

// heapTyper finds the types of the live objects.
type heapTyper struct {
	t     *target
	typer *objtype.Typer
	known map[uint64]bool // words that were asked whether they are descriptors or itabs
	sums  []heapSum       // by label
}

type heapSum struct{ objects, bytes uint64 }

// newHeapTyper returns one that finds the types of the objects for which live is true.
func newHeapTyper(t *target, h *heap.Heap, live func(heap.Object) bool) *heapTyper {
	types := &heapTyper{t: t, known: map[uint64]bool{}}
	buf, _ := t.layout.Offset("runtime.hchan.buf")
	types.typer = objtype.New(objtype.Source{
		Mem: t.core.Mem, Heap: h, Live: live,
		NameOf: t.typeOf, IsType: types.isType, IsItab: types.isItab, FuncAt: types.funcAt,
		TypesLo: t.tab.Modules[0].Types, TypesHi: t.tab.Modules[0].ETypes,
		Swiss: swissMaps(t), ChanAt: buf, LenAt: t.off.Chan.Size,
	})
	return types
}

// swissMaps reports whether maps are those of internal/runtime/maps.
func swissMaps(t *target) bool {
	for _, e := range t.layout.Version.Experiments {
		if e == "noswissmap" {
			return false
		}
	}
	return t.layout.Version.AtLeast(1, 24)
}

// maxKnown bounds the memory for words that were asked about.
const maxKnown = 1 << 20

func (h *heapTyper) remember(addr uint64, find func() bool) bool {
	yes, ok := h.known[addr]
	if !ok {
		yes = find()
		if len(h.known) < maxKnown {
			h.known[addr] = yes
		}
	}
	return yes
}

// isType reports whether a type's descriptor is at an address.
func (h *heapTyper) isType(addr uint64) bool {
	return addr&7 == 0 && h.inTypes(addr) && !h.isItab(addr) && h.remember(addr, func() bool {
		name, kind, ok := h.t.typeOf(addr)
		return ok && kind > 0 && kind <= kindLast && name != ""
	})
}

// kindLast is the largest kind of a type (internal/abi/type.go, UnsafePointer).
const kindLast = 26

func (h *heapTyper) inTypes(addr uint64) bool {
	for _, m := range h.t.tab.Modules {
		if addr >= m.Types && addr < m.ETypes {
			return true
		}
	}
	return false
}

// isItab reports whether the pair of an interface and a type is at an address (internal/abi/iface.go, ITab: two types, and the hash of the
// second).
func (h *heapTyper) isItab(addr uint64) bool {
	const kindInterface, atType, atHash, atTypeHash = 20, 8, 16, 16
	if addr&7 != 0 || addr < 1<<12 {
		return false
	}
	mem := h.t.core.Mem
	inter, ok1 := mem.Uint64(addr)
	typ, ok2 := mem.Uint64(addr + atType)
	if !ok1 || !ok2 || !h.inTypes(inter) || !h.inTypes(typ) {
		return false
	}
	_, kind, ok := h.t.typeOf(inter)
	own, ok1 := mem.Uint32(addr + atHash)
	hash, ok2 := mem.Uint32(typ + atTypeHash)
	return ok && ok1 && ok2 && kind == kindInterface && own == hash
}

func (h *heapTyper) funcAt(pc uint64) (string, bool) {
	fn, ok := h.t.tab.Find(pc)
	if !ok || fn.Entry != pc {
		return "", false
	}
	return fn.FullName(), true
}

// run finds the types: first what is certain, then what follows from it, then guesses.
func (h *heapTyper) run(ctx context.Context, p *prover) error {
	if err := h.typer.Headers(ctx); err != nil {
		return err
	}
	h.globals(ctx)
	if err := h.frames(ctx, p); err != nil {
		return err
	}
	h.sends(p)
	for _, part := range p.parts {
		if mem, ok := h.t.core.Mem.Bytes(part.addr, part.bytes); ok && part.kind == rootData {
			h.typer.Words(mem)
		}
	}
	for i := range p.rows {
		r := &p.rows[i]
		stack, at := h.t.stackOf(r.g), h.t.saved(r.g)
		if !stack.holds(at.sp) || stack.hi-at.sp > maxGuessedStack {
			continue
		}
		if mem, ok := h.t.core.Mem.Bytes(at.sp&^7, stack.hi-at.sp&^7); ok {
			h.typer.Words(mem)
		}
	}
	if err := h.typer.Guess(ctx); err != nil {
		return err
	}
	h.sums = make([]heapSum, len(h.typer.Labels()))
	return nil
}

// sends follows the values that goroutines wait to send: the channel keeps their type (runtime/chan.go, hchan.elemtype), and the sender's sudog
// leads to the value. A variable that is used no more is not among the locals.
func (h *heapTyper) sends(p *prover) {
	t, mem := h.t, h.t.core.Mem
	elem, ok := t.layout.Offset("runtime.hchan.elemtype")
	if !ok {
		return
	}
	for i := range p.rows {
		r := &p.rows[i]
		if uint32(r.status) != statusWaiting || t.reasons[r.reason] != "chan send" {
			continue
		}
		sudog, ok1 := mem.Uint64(r.g + t.off.G.Waiting)
		channel, ok2 := mem.Uint64(sudog + p.off.sudogC)
		value, ok3 := mem.Uint64(sudog + p.off.sudogElem)
		typ, ok4 := mem.Uint64(channel + elem)
		if ok1 && ok2 && ok3 && ok4 && h.isType(typ) {
			h.typer.Value(value, typ)
		}
	}
}

// maxGuessedStack bounds the stacks that are searched for interfaces.
const maxGuessedStack = 1 << 20

// frames follows the local variables of the goroutines that wait.
func (h *heapTyper) frames(ctx context.Context, p *prover) error {
	s := newStackScan(p)
	for i := range p.rows {
		r := &p.rows[i]
		at := h.t.saved(r.g)
		if r.status == statusSyscall {
			at = h.t.atSyscall(r.g)
		}
		stack := h.t.stackOf(r.g)
		if r.status == statusRunning || !stack.holds(at.sp) {
			continue // the types of what it uses are guessed
		}
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		s.begin(stack.lo, stack.hi)
		if s.load(r.id, at.sp) == nil {
			h.walk(s, at.pc, at.sp)
		}
	}
	return nil
}

// walk follows the local variables of the frames from pc and sp on.
func (h *heapTyper) walk(s *stackScan, pc, sp uint64) {
	for n := 0; sp < s.hi && n < maxTypedFrames; n++ {
		f := s.frameOf(pc)
		fp := sp + f.delta
		fn, ok := h.t.tab.Find(pc)
		if !ok || !f.known || f.stop && !f.top || fp < sp || fp > s.hi {
			return
		}
		h.typer.Frame(fn.Entry, pc-1, fp)
		if f.top {
			return
		}
		next := s.word(fp - 8)
		if h.t.arm64 {
			next = s.word(sp)
		}
		if next == 0 || fp == sp && next == pc {
			return
		}
		pc, sp = next, fp
	}
}

// maxTypedFrames bounds the frames of one goroutine whose variables are followed.
const maxTypedFrames = 1 << 14

// globals follows the global variables, where the executable says what they are.
func (h *heapTyper) globals(ctx context.Context) {
	t := h.t
	if t.exe == nil || t.noVariables() != "" && !strings.Contains(t.noVariables(), "goroutines") {
		return
	}
	if err := h.typer.Globals(ctx, t.exe, t.bias); err != nil && ctx.Err() == nil {
		t.b.Gap("types of global variables", err.Error())
	}
}

// nameOf is the type of an object where something typed leads to it; empty when it is not known or only guessed.
func (h *heapTyper) nameOf(o heap.Object) string {
	l := h.typer.Labels()[h.typer.Of(o)]
	if l.Rank < objtype.Followed {
		return ""
	}
	return l.Name
}

// count adds an object to the sum of its type.
func (h *heapTyper) count(o heap.Object, bytes uint64) {
	s := &h.sums[h.typer.Of(o)]
	s.objects++
	s.bytes += bytes
}

// trustOf says how far a type can be trusted.
func trustOf(r objtype.Rank) evidence.Trust {
	if r >= objtype.Followed {
		return evidence.TrustRead
	}
	return evidence.TrustGuessed
}
