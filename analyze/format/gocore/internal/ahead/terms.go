// Package ahead follows machine code from a point on and tells what it will do with the values that it holds there: which calls
// it comes to, with which arguments, and which words it changes atomically.
//
// Values are terms over the words of the frame: what stands at SP+24, the word 8 bytes behind where that points, and so on. A
// function is followed once for a pc; the terms are then evaluated for each goroutine that stands there, against its own stack.
// Memory outside the stack is taken for what it will be: a field that somebody changes before the code comes to it gives the
// old value.
//
// Reading the code is bounded, and what is not understood gives a value that is not known: there may be more ahead than is told.
package ahead

// Value is what a register or a word holds: a term and a number that is added to it. The zero Value is the number 0.
type Value struct {
	base int32
	off  int64
}

// Terms that always exist. A base above firstTerm is the index of a node.
const (
	baseConst   int32 = iota // a number
	baseUnknown              // anything
	baseSP                   // SP where the reading began
	baseFresh                // what stands in memory that is allocated on the way: nothing that exists now
	baseReg                  // the registers where the reading began follow
	firstTerm   = baseReg + registers
)

// registers is how many there are: sixteen on amd64, 31 and SP on arm64.
const registers = 32

// Unknown is the value of which nothing is known.
var Unknown = Value{base: baseUnknown}

// Const is a number.
func Const(n uint64) Value { return Value{off: int64(n)} }

// Start is what a register held where the reading began. Registers have the numbers of the machine: on amd64 AX, CX, DX, BX, SP,
// BP, SI, DI, R8 to R15; on arm64 R0 to R30, and 31 is SP.
func Start(register int) Value { return Value{base: baseReg + int32(register)} }

// StackPointer is SP where the reading began.
func StackPointer() Value { return Value{base: baseSP} }

// Number is the value of a number.
func (v Value) Number() (uint64, bool) { return uint64(v.off), v.base == baseConst }

// Known reports whether something is known of a value.
func (v Value) Known() bool { return v.base != baseUnknown }

// Fresh reports whether a value points to memory that is allocated on the way, or stands in it.
func (t *Terms) Fresh(v Value) bool {
	return v.base == baseFresh || v.base >= firstTerm && t.nodes[v.base-firstTerm].op == opFresh
}

func (v Value) add(n int64) Value {
	if v.base == baseUnknown {
		return v
	}
	v.off += n
	return v
}

// operation is how a term is made.
type operation uint8

const (
	opLoad  operation = iota // what is at address a, width bytes, negative when the sign is extended
	opSum                    // a + b
	opScale                  // a times k
	opFresh                  // memory that the call before k allocates
)

type term struct {
	op    operation
	width int8
	a, b  Value
	k     int64
}

// Terms are the terms of one worker; equal ones are the same.
type Terms struct {
	nodes []term
	index map[term]int32
	ways  []way // of the readings under way, kept for the next
}

// maxTerms bounds the terms of one worker: a million pcs of a real program have fewer.
const maxTerms = 1 << 20

func (t *Terms) node(n term) Value {
	if i, ok := t.index[n]; ok {
		return Value{base: i}
	}
	if len(t.nodes) >= maxTerms {
		return Unknown
	}
	if t.index == nil {
		t.index = map[term]int32{}
	}
	i := firstTerm + int32(len(t.nodes))
	t.nodes = append(t.nodes, n)
	t.index[n] = i
	return Value{base: i}
}

// Load is the word that a value points to.
func (t *Terms) Load(at Value) Value { return t.load(at, 8) }

func (t *Terms) load(at Value, width int8) Value {
	switch {
	case at.base == baseUnknown:
		return Unknown
	case t.Fresh(at):
		return Value{base: baseFresh}
	case at.base == baseSP && at.off < 0:
		return Unknown // below the frame: what stands there now is not what will
	}
	return t.node(term{op: opLoad, width: width, a: at})
}

func (t *Terms) sum(a, b Value) Value {
	switch {
	case a.base == baseConst:
		return b.add(a.off)
	case b.base == baseConst:
		return a.add(b.off)
	case t.Fresh(a) || t.Fresh(b):
		return Value{base: baseFresh}
	case a.base == baseUnknown || b.base == baseUnknown:
		return Unknown
	}
	off := a.off + b.off
	a.off, b.off = 0, 0
	return t.node(term{op: opSum, a: a, b: b}).add(off)
}

func (t *Terms) scale(a Value, k int64) Value {
	switch a.base {
	case baseConst:
		return Value{off: a.off * k}
	case baseUnknown, baseFresh:
		return a
	}
	off := a.off * k
	a.off = 0
	return t.node(term{op: opScale, a: a, k: k}).add(off)
}

// Place is where a goroutine stands: what the terms are evaluated against.
type Place interface {
	// Register is what a register holds where the reading began.
	Register(n int) (uint64, bool)
	// Memory reads a word of 1, 2, 4 or 8 bytes.
	Memory(at uint64, width int) (uint64, bool)
}

// maxTermDepth bounds the pointers that a value is reached through.
const maxTermDepth = 32

// Eval gives a value for one place; sp is SP there.
func (t *Terms) Eval(v Value, sp uint64, p Place) (uint64, bool) {
	return t.eval(v, sp, p, maxTermDepth)
}

func (t *Terms) eval(v Value, sp uint64, p Place, depth int) (uint64, bool) {
	switch {
	case v.base == baseConst:
		return uint64(v.off), true
	case v.base == baseSP:
		return sp + uint64(v.off), true
	case v.base == baseUnknown, v.base == baseFresh, depth == 0:
		return 0, false
	case v.base < firstTerm:
		r, ok := p.Register(int(v.base - baseReg))
		return r + uint64(v.off), ok
	}
	n := &t.nodes[v.base-firstTerm]
	a, ok := t.eval(n.a, sp, p, depth-1)
	if !ok {
		return 0, false
	}
	b := uint64(0)
	if n.op == opSum {
		if b, ok = t.eval(n.b, sp, p, depth-1); !ok {
			return 0, false
		}
	}
	a, ok = n.apply(a, b, p)
	return a + uint64(v.off), ok
}

// apply makes a term of what it is made of.
func (n *term) apply(a, b uint64, p Place) (uint64, bool) {
	switch n.op {
	case opLoad:
		width := int(max(n.width, -n.width))
		v, ok := p.Memory(a, width)
		if n.width < 0 {
			shift := 64 - 8*width
			v = uint64(int64(v<<shift) >> shift)
		}
		return v, ok
	case opSum:
		return a + b, true
	case opScale:
		return a * uint64(n.k), true
	}
	return 0, false
}
