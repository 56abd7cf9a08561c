package ahead

// Arrival is a way by which a function comes from its entry to a pc: what it has done before, and which of the values that this
// was done to it still keeps in its frame.
type Arrival struct {
	Events []Event // the newest first
	Kept   []Kept
	Depth  int64 // how far SP is below what it was at the entry, in bytes
}

// Kept is a word of the frame that holds a value.
type Kept struct {
	Off   int64 // from SP at the entry
	Value Value
}

// maxArrivals bounds the ways that are told apart.
const maxArrivals = 4

// Trace follows a function from its entry and tells by which ways it comes to a pc: the address behind a call that is in progress,
// or, when exact, an instruction that was not carried out yet. cut says that a limit was reached: there may be more ways.
func Trace(terms *Terms, fn *Func, pc uint64, exact, arm64 bool, v Visitor) (arrivals []Arrival, steps int, cut bool) {
	r := &run{terms: terms, arm64: arm64, visitor: v}
	s := r.begin(true)
	r.stop = func(in *instruction, at uint64, s *state) {
		behind := at + uint64(in.size)
		if r.depth > 0 || len(arrivals) == maxArrivals || !(exact && at == pc || !exact && in.call && behind == pc) {
			return
		}
		arrivals = append(arrivals, r.arrival(s))
	}
	r.follow(fn, fn.Entry, s, nil)
	return arrivals, r.steps, r.cut || len(arrivals) == maxArrivals
}

func (r *run) arrival(s *state) Arrival {
	a := Arrival{Depth: -s.regs[s.sp].off}
	for i := s.past; i >= 0; i = r.events[i].Past {
		a.Events = append(a.Events, r.events[i])
	}
	seen := map[int64]bool{}
	for w := s.memory; w != nil; w = w.before {
		if w.at.base != baseSP || w.at.off < -a.Depth || seen[w.at.off] {
			continue // below SP stand the frames of those that were called since
		}
		seen[w.at.off] = true
		if w.value.base >= baseReg {
			a.Kept = append(a.Kept, Kept{w.at.off, w.value})
		}
	}
	return a
}

// Bind gives, for a frame that stands where an arrival came to, what its terms are: from the words in which it keeps them.
func (a *Arrival) Bind(sp uint64, p Place) Bound {
	b := Bound{place: p, known: map[int32]uint64{}}
	entry := sp + uint64(a.Depth)
	for _, k := range a.Kept {
		if _, twice := b.known[k.Value.base]; twice {
			continue
		}
		if v, ok := p.Memory(entry+uint64(k.Off), 8); ok {
			b.known[k.Value.base] = v - uint64(k.Value.off)
		}
	}
	b.known[baseSP] = entry
	return b
}

// Bound is a place at which some terms are known.
type Bound struct {
	place Place
	known map[int32]uint64
}

// Eval gives a value, as far as it can be made of what is known.
func (b Bound) Eval(t *Terms, v Value) (uint64, bool) { return b.eval(t, v, maxTermDepth) }

func (b Bound) eval(t *Terms, v Value, depth int) (uint64, bool) {
	if v.base == baseConst {
		return uint64(v.off), true
	}
	if n, ok := b.known[v.base]; ok {
		return n + uint64(v.off), true
	}
	if v.base < firstTerm || depth == 0 {
		return 0, false
	}
	n := &t.nodes[v.base-firstTerm]
	x, ok := b.eval(t, n.a, depth-1)
	if !ok {
		return 0, false
	}
	y, ok := uint64(0), true
	if n.op == opSum {
		y, ok = b.eval(t, n.b, depth-1)
	}
	if !ok {
		return 0, false
	}
	out, ok := n.apply(x, y, b.place)
	return out + uint64(v.off), ok
}
