package gocore

import (
	"cmp"
	"slices"
	"sort"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// frameMap is what the scan of stacks needs of a return address; it is worked out once for each.
type frameMap struct {
	pc      uint64
	known   bool // it lies in a Go function whose frame has a known size
	stop    bool // the walk ends here
	top     bool // and nothing lies beyond: the outermost frame of a stack
	delta   uint64
	role    role
	locals  []int32 // offsets of live pointers from the end of the locals, negative
	lowest  int32   // offset of the first word that the map of the locals covers
	args    []int32 // offsets of live pointers from the beginning of the arguments
	untyped bool    // the locals have no map
	unknown bool    // the arguments have no map: they lie in the frame of the caller
	space   uint64  // bytes of the arguments, the places for those in registers included
	objects []pcln.StackObject
}

// stackObject is a variable on the stack whose address was taken.
type stackObject struct {
	addr uint64
	of   *pcln.StackObject
	done bool
}

// stackScan scans one stack after the other, for one worker. Words of frames go to the marker; those that point into the stack
// itself are followed to the variables there, as runtime/mgcstack.go does.
type stackScan struct {
	p       *prover
	view    *elfcore.View
	frames  frameTable
	plans   [][]*stackPlan // by worker and number of the stack; nil where none was asked for
	lo, hi  uint64         // the stack
	mem     []byte         // of it, from base on
	base    uint64
	objects []stackObject
	inner   []uint64 // pointers into the stack that were not followed yet
}

func newStackScan(p *prover) *stackScan { return &stackScan{p: p, view: p.t.core.Mem.View()} }

// frameOf works out what is known of a pc. exact says that it was interrupted there.
func (s *stackScan) frameOf(pc uint64) *frameMap {
	if f := s.frames.get(pc); f != nil {
		return f
	}
	f := s.newFrame(pc)
	s.frames.put(f)
	return f
}

// frameTable maps pcs to their frames by open addressing: it is asked for every frame of every stack, and a map takes twice as long.
type frameTable struct {
	slots []frameSlot
	used  int
}

type frameSlot struct {
	pc uint64
	f  *frameMap // nil when the slot is empty
}

func (t *frameTable) start(pc uint64) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	return int(pc * golden >> 32 & uint64(len(t.slots)-1))
}

// get returns the frame of a pc; nil when there is none.
func (t *frameTable) get(pc uint64) *frameMap {
	if len(t.slots) == 0 {
		return nil
	}
	return t.slots[t.place(pc)].f
}

// place is where a pc stands, or will.
func (t *frameTable) place(pc uint64) int {
	i := t.start(pc)
	for t.slots[i].f != nil && t.slots[i].pc != pc {
		i = (i + 1) & (len(t.slots) - 1)
	}
	return i
}

// put adds the frame of a pc that has none.
func (t *frameTable) put(f *frameMap) {
	const least = 1 << 8
	if 2*t.used >= len(t.slots) {
		old := t.slots
		t.slots = make([]frameSlot, max(2*len(old), least))
		for _, s := range old {
			if s.f != nil {
				t.slots[t.place(s.pc)] = s
			}
		}
	}
	t.slots[t.place(f.pc)] = frameSlot{f.pc, f}
	t.used++
}

// newFrame looks up what is known of a pc.
func (s *stackScan) newFrame(pc uint64) *frameMap {
	f := &frameMap{pc: pc}
	fn, ok := s.p.t.tab.Find(pc)
	if !ok {
		return f
	}
	delta, ok := fn.SPDelta(pc)
	f.role = s.p.t.roles[fn.Entry]
	flags := fn.Flag()
	f.top = flags&pcln.FlagTopFrame != 0
	f.stop = f.top || !ok || f.role == roleSigreturn || flags&pcln.FlagSPWrite != 0 && f.role != roleCgoCallback
	f.known = ok && delta >= 0
	f.delta = uint64(delta)
	if !s.p.t.arm64 {
		f.delta += 8
	}
	f.fill(fn, pc)
	return f
}

// fill takes the pointer maps of a function at a pc.
func (f *frameMap) fill(fn pcln.Func, pc uint64) {
	locals, args, ok, known := fn.PointerMaps(pc)
	f.untyped, f.unknown = !ok, !known
	f.lowest = int32(-8 * locals.Len())
	for i := range locals.Len() {
		if locals.Has(i) {
			f.locals = append(f.locals, int32(8*(i-locals.Len())))
		}
	}
	f.space = uint64(max(fn.ArgsSize(), 0))
	for i := range args.Len() {
		if args.Has(i) {
			f.args = append(f.args, int32(8*i))
		}
	}
	if f.objects, ok = fn.StackObjects(); !ok {
		f.untyped = true
	}
	if dynamic[fn.FullName()] {
		f.untyped, f.unknown = true, true
	}
}

// dynamic are the functions whose arguments, and a block of registers in whose frame, are described only at run time
// (runtime/stkframe.go, argMapInternal).
var dynamic = map[string]bool{"reflect.makeFuncStub": true, "reflect.methodValueCall": true}

// begin prepares for a stack.
func (s *stackScan) begin(lo, hi uint64) {
	s.lo, s.hi = lo, hi
	s.objects, s.inner = s.objects[:0], s.inner[:0]
	s.mem, s.base = nil, 0
}

// word reads a word of the stack.
func (s *stackScan) word(addr uint64) uint64 {
	v, _ := wordAt(s.mem, s.base, addr)
	return v
}

// root follows a word that is a pointer.
func (s *stackScan) root(w *heap.Worker, at, v uint64) {
	if v == 0 {
		return
	}
	if v >= s.lo && v < s.hi {
		s.inner = append(s.inner, v)
		return
	}
	w.Root(at, v)
}

// doubt takes the words from lo to hi for pointers.
func (s *stackScan) doubt(w *heap.Worker, lo, hi uint64) {
	for at := (lo + 7) &^ 7; at+8 <= hi; at += 8 {
		s.maybe(w, at, s.word(at))
	}
}

// maybe takes one word for a pointer.
func (s *stackScan) maybe(w *heap.Worker, at, v uint64) {
	if v < s.p.least {
		return
	}
	if v >= s.lo && v < s.hi {
		s.inner = append(s.inner, v)
		return
	}
	w.Doubt(at, v)
}

// drain follows the pointers into the stack: a variable there is live when something live points to it.
func (s *stackScan) drain(w *heap.Worker) {
	if len(s.inner) == 0 || len(s.objects) == 0 {
		return
	}
	byAddr := func(a, b stackObject) int { return cmp.Compare(a.addr, b.addr) }
	if !slices.IsSortedFunc(s.objects, byAddr) {
		slices.SortStableFunc(s.objects, byAddr)
	}
	for len(s.inner) > 0 {
		v := s.inner[len(s.inner)-1]
		s.inner = s.inner[:len(s.inner)-1]
		i := sort.Search(len(s.objects), func(i int) bool { return s.objects[i].addr > v }) - 1
		if i < 0 {
			continue
		}
		o := &s.objects[i]
		if o.done || v-o.addr >= max(o.of.Size, 1) {
			continue
		}
		o.done = true
		s.object(w, o)
	}
}

// object scans a variable on the stack.
func (s *stackScan) object(w *heap.Worker, o *stackObject) {
	m, ok := o.of.Pointers(s.p.t.core.Mem)
	if !ok {
		s.doubt(w, o.addr, o.addr+o.of.PtrBytes)
		return
	}
	for i := range m.Len() {
		if m.Has(i) {
			at := o.addr + 8*uint64(i)
			s.root(w, at, s.word(at))
		}
	}
}
