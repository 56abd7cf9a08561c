package ahead

import "slices"

// Event is something that the code does which its Visitor has recorded.
type Event struct {
	Kind   uint8    // of the Visitor
	Target Value    // what it is done to
	Extra  [3]Value // of the Visitor
	At     uint64
	Past   int32 // index of the event before it on the same way, -1 when it is the first
	Aside  bool  // it is done later, or by another goroutine: see Next.Aside
}

// Call is a call that the code comes to.
type Call struct {
	Fn    Value  // the function; a number for a direct call
	At    uint64 // the address behind the call in the function where the reading began
	Depth int    // 0 in that function, more in those that it calls
	run   *run
	state *state
}

// Arg is an integer argument by the register ABI (cmd/compile/abi-internal.md).
func (c *Call) Arg(n int) Value {
	if c.run.arm64 {
		return c.state.regs[n]
	}
	return c.state.regs[argsX86[n]]
}

// Closure is the register that holds the closure of an indirect call.
func (c *Call) Closure() Value { return c.state.regs[c.run.closureReg()] }

// Load is the word at an address at the time of the call.
func (c *Call) Load(at Value) Value { return c.run.read(c.state, at, 8) }

// Add gives the value n bytes further.
func (v Value) Add(n int64) Value { return v.add(n) }

// Record files an event.
func (c *Call) Record(kind uint8, target Value, extra ...Value) {
	c.run.record(c.state, kind, target, extra, c.At)
}

// Atomic is an atomic change of a word outside or inside the stack.
type Atomic struct {
	At      uint64 // as in Call
	Addr    Value
	Operand Value // what is added; of a compare-and-swap the new value
	Swap    bool  // a compare-and-swap
	run     *run
	state   *state
}

// Grown tells by how much an exclusive pair of load and store changes its word; false when it stores something else. The loads
// and stores of Arm that stand for one addition are such a pair.
func (a *Atomic) Grown() (by int64, ok bool) {
	v := a.Operand
	if v.base < firstTerm {
		return 0, false
	}
	n := &a.run.terms.nodes[v.base-firstTerm]
	return v.off, n.op == opLoad && n.a == a.Addr
}

// Record files an event.
func (a *Atomic) Record(kind uint8, target Value, extra ...Value) {
	a.run.record(a.state, kind, target, extra, a.At)
}

// Next says how the reading goes on at a call.
type Next struct {
	Ends  bool  // the call does not return
	Fresh bool  // its result is a pointer to new memory
	Enter *Func // it is followed into this function
	// Closure is the closure that Enter is called with; the zero Value when it is the one in its register.
	Closure Value
	// Aside: Enter is called later or by another goroutine: what it does is recorded, and the way goes on without it.
	Aside bool
}

// Visitor is asked about what the code comes to.
type Visitor interface {
	Call(*Call) Next
	Atomic(*Atomic)
}

// Limits of the reading from one pc.
const (
	maxSteps   = 1 << 13 // instructions
	maxVisits  = 3       // of one instruction, with different values
	maxCalls   = 3       // functions inside one another
	maxEvents  = 256
	maxWrites  = 1 << 10 // words that a way has written
	maxPending = 64      // branches that wait to be followed
)

// Reading is what stands ahead of a pc.
type Reading struct {
	Events []Event
	Steps  int  // instructions that were followed
	Cut    bool // a limit was reached: there is more
}

// Read follows a function from a pc. At a function's entry the arguments are in registers; elsewhere, when the pc is where a call
// returns, the registers hold nothing that is known.
func Read(terms *Terms, fn *Func, pc uint64, arm64, registersKnown bool, v Visitor) Reading {
	r := &run{terms: terms, arm64: arm64, visitor: v}
	r.follow(fn, pc, r.begin(registersKnown), nil)
	return Reading{r.events, r.steps, r.cut}
}

// begin is the state where the reading begins.
func (r *run) begin(registersKnown bool) *state {
	s := &state{past: -1, sp: spX86}
	if r.arm64 {
		s.sp = spARM
	}
	for i := range s.regs {
		s.regs[i] = Unknown
		if registersKnown {
			s.regs[i] = Start(i)
		}
	}
	s.regs[s.sp] = StackPointer()
	return s
}

type run struct {
	terms   *Terms
	arm64   bool
	visitor Visitor
	events  []Event
	steps   int
	cut     bool
	depth   int
	stop    func(*instruction, uint64, *state) // sees every instruction before it is carried out; nil when nobody wants to
	outer   uint64                             // the return address in the outermost function, while it calls others
}

// state is what is known at a point of one way.
type state struct {
	regs   [registers]Value
	memory *write
	past   int32
	sp     int
	aside  bool
}

// write is a word that was written on the way, and those before it.
type write struct {
	at, value Value
	before    *write
	count     int
}

func (r *run) closureReg() int {
	if r.arm64 {
		return 26 // R26 (cmd/compile/abi-internal.md)
	}
	return 2 // DX
}

func (r *run) record(s *state, kind uint8, target Value, extra []Value, at uint64) {
	e := Event{Kind: kind, Target: target, At: at, Past: s.past, Aside: s.aside}
	copy(e.Extra[:], extra)
	i := slices.Index(r.events, e)
	if i < 0 {
		if len(r.events) >= maxEvents {
			r.cut = true
			return
		}
		i = len(r.events)
		r.events = append(r.events, e)
	}
	if !s.aside {
		s.past = int32(i)
	}
}

// read gives the word at an address as the way has left it.
func (r *run) read(s *state, at Value, width int8) Value {
	if at.base != baseUnknown {
		for w := s.memory; w != nil; w = w.before {
			if w.at == at {
				if width != 8 && width != -8 {
					if n, ok := w.value.Number(); ok {
						return truncate(n, width)
					}
				}
				return w.value
			}
		}
	}
	return r.terms.load(at, width)
}

func truncate(n uint64, width int8) Value {
	shift := 64 - 8*int(max(width, -width))
	if width < 0 {
		return Const(uint64(int64(n<<shift) >> shift))
	}
	return Const(n << shift >> shift)
}

func (r *run) write(s *state, at, value Value) {
	if at.base == baseUnknown || at.base == baseFresh {
		return
	}
	n := 1
	if s.memory != nil {
		n = s.memory.count + 1
	}
	if n > maxWrites {
		r.cut = true
		return
	}
	s.memory = &write{at, value, s.memory, n}
}

// way is a branch that is still to be followed. They stand in Terms, those of a function that is entered behind those of its caller.
type way struct {
	pc    uint64
	state state
}

// follow reads a function from pc on. ends gets the states in which it returns.
func (r *run) follow(fn *Func, pc uint64, from *state, ends func(*state)) {
	visits := make([]visited, fn.joins)
	t, begin, s := r.terms, len(r.terms.ways), new(state)
	defer func() { t.ways = t.ways[:begin] }()
	t.ways = append(t.ways, way{pc, *from})
	for len(t.ways) > begin {
		w := &t.ways[len(t.ways)-1]
		at := w.pc
		*s = w.state
		for t.ways = t.ways[:len(t.ways)-1]; ; {
			if r.steps++; r.steps > maxSteps {
				r.cut = true
				return
			}
			in := fn.at(at)
			if in == nil || in.join > 0 && !r.mayVisit(&visits[in.join-1], s) {
				break
			}
			if r.stop != nil {
				r.stop(in, at, s)
			}
			goesOn, leaves := r.step(fn, in, at, s)
			if leaves && ends != nil {
				ends(s)
			}
			if in.jumps && len(t.ways)-begin >= maxPending {
				r.cut = true
			} else if in.jumps {
				t.ways = append(t.ways, way{in.target, *s})
			}
			if !goesOn || in.ends {
				break
			}
			at += uint64(in.size)
		}
	}
}

// visited are the hashes of the states that came to an instruction.
type visited struct {
	n      int
	hashes [maxVisits]uint64
}

// mayVisit notes that a state comes to an instruction where ways meet, and reports whether it is to be followed from there.
func (r *run) mayVisit(seen *visited, s *state) bool {
	h := r.hash(s)
	switch {
	case slices.Contains(seen.hashes[:seen.n], h):
		return false
	case seen.n >= maxVisits:
		r.cut = true
		return false
	}
	seen.hashes[seen.n] = h
	seen.n++
	return true
}

// hash is of the registers, the events and the newest write: it tells most states apart.
func (r *run) hash(s *state) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset)
	mix := func(v Value) { h = (h ^ uint64(v.base)<<40 ^ uint64(v.off)) * prime }
	for i := range s.regs[:r.registers()] {
		mix(s.regs[i])
	}
	h = (h ^ uint64(s.past)) * prime
	n := 0
	for w := s.memory; w != nil && n < 8; w = w.before { // the newest: older ones differ only when these do, nearly always
		mix(w.at)
		mix(w.value)
		n++
	}
	return h
}

// registers is how many the machine has.
func (r *run) registers() int {
	if r.arm64 {
		return registers
	}
	return registers / 2
}

// step carries out one instruction. goesOn is false when the way ends with it, leaves is true when the function returns.
func (r *run) step(fn *Func, in *instruction, at uint64, s *state) (goesOn, leaves bool) {
	for i := range in.micros {
		r.micro(&in.micros[i], at, s)
	}
	if in.call {
		return r.call(in, at, s), false
	}
	if in.jumps && in.ends && (in.target < fn.Entry || in.target >= fn.End) {
		return false, r.call(in, at, s) // a tail call, or the jump of a wrapper
	}
	return true, in.returns
}

// call asks the Visitor about a call.
func (r *run) call(in *instruction, at uint64, s *state) bool {
	c := &Call{Fn: Unknown, At: at + uint64(in.size), Depth: r.depth, run: r, state: s}
	if r.depth > 0 {
		c.At = r.outer
	}
	switch {
	case in.target != 0:
		c.Fn = Const(in.target)
	case in.fn.kind != operandNone:
		c.Fn = r.get(s, &in.fn, 8)
	}
	next := r.visitor.Call(c)
	if next.Ends {
		return false
	}
	if next.Enter != nil && r.depth < maxCalls {
		r.enter(next, c, s)
	}
	for i := range s.regs[:r.registers()] {
		if i != s.sp {
			s.regs[i] = Unknown
		}
	}
	if next.Fresh {
		s.regs[0] = r.terms.node(term{op: opFresh, k: int64(at)}) // AX, R0
	}
	return true
}

// enter follows a call. Of the states in which it returns the first one stands for all: what the callee has written to its
// caller's memory matters little, and what it has done is recorded.
func (r *run) enter(next Next, c *Call, s *state) {
	inner := *s
	if next.Closure != (Value{}) {
		inner.regs[r.closureReg()] = next.Closure
	}
	if !r.arm64 {
		inner.regs[s.sp] = inner.regs[s.sp].add(-8)
	}
	inner.aside = s.aside || next.Aside
	if r.depth == 0 {
		r.outer = c.At
	}
	past := s.past
	r.depth++
	r.follow(next.Enter, next.Enter.Entry, &inner, func(end *state) {
		if end.past != past && past == s.past {
			s.past = end.past
		}
	})
	r.depth--
}

// micro carries out one part of an instruction.
func (r *run) micro(m *micro, at uint64, s *state) {
	switch m.kind {
	case microMove:
		r.set(s, &m.dst, r.get(s, &m.a, m.width), m.width)
	case microAddress:
		r.set(s, &m.dst, r.address(s, &m.a), 8)
	case microAdd:
		r.set(s, &m.dst, narrow(r.terms.sum(r.get(s, &m.a, m.width), r.get(s, &m.b, m.width)), m.width), m.width)
	case microSub:
		b := r.get(s, &m.b, m.width)
		if n, ok := b.Number(); ok {
			r.set(s, &m.dst, narrow(r.get(s, &m.a, m.width).add(-int64(n)), m.width), m.width)
		} else {
			r.set(s, &m.dst, Unknown, m.width)
		}
	case microScale:
		r.set(s, &m.dst, narrow(r.terms.scale(r.get(s, &m.a, m.width), m.k), m.width), m.width)
	case microForget:
		r.set(s, &m.dst, Unknown, m.width)
	case microKeep:
		v := r.get(s, &m.dst, 8)
		n, ok := v.Number()
		if ok {
			n = n&^(0xffff<<uint(m.k)) | uint64(m.a.disp)<<uint(m.k)
			r.set(s, &m.dst, Const(n), 8)
		} else {
			r.set(s, &m.dst, Unknown, 8)
		}
	case microAtomicAdd, microSwap:
		a := &Atomic{At: at, Addr: r.address(s, &m.a), Operand: r.get(s, &m.b, 8), Swap: m.kind == microSwap, run: r, state: s}
		if r.depth > 0 {
			a.At = r.outer
		}
		r.visitor.Atomic(a)
		if m.dst.kind == operandReg {
			r.set(s, &m.dst, Unknown, 8)
		}
	}
}

// narrow is what is left of a value in a register of 32 bits. Terms are kept: an index or a length is small.
func narrow(v Value, width int8) Value {
	if n, ok := v.Number(); ok && width == 4 {
		return Const(n & 0xffffffff)
	}
	return v
}

func (r *run) address(s *state, o *operand) Value {
	v := Const(uint64(o.disp))
	if o.reg != noReg {
		v = r.terms.sum(v, s.regs[o.reg])
	}
	if o.index != noReg {
		v = r.terms.sum(v, r.terms.scale(s.regs[o.index], int64(o.scale)))
	}
	return v
}

func (r *run) get(s *state, o *operand, width int8) Value {
	switch o.kind {
	case operandReg:
		return narrow(s.regs[o.reg], width)
	case operandImm:
		return Const(uint64(o.disp))
	case operandMem:
		return r.read(s, r.address(s, o), width)
	}
	return Unknown
}

func (r *run) set(s *state, o *operand, v Value, width int8) {
	switch o.kind {
	case operandReg:
		if width == 1 || width == 2 {
			v = narrowByte(v)
		}
		s.regs[o.reg] = v
	case operandMem:
		if _, number := v.Number(); width < 8 && !number {
			v = Unknown // a part of it
		}
		r.write(s, r.address(s, o), v)
	}
}

// narrowByte keeps what a write of one or two bytes makes known: the rest of the register stays as it was, and that is forgotten.
func narrowByte(v Value) Value {
	if _, ok := v.Number(); ok {
		return v
	}
	return Unknown
}
