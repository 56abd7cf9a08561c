package ahead

// operandKind is what an operand is.
type operandKind uint8

const (
	operandNone operandKind = iota
	operandReg
	operandImm
	operandMem
)

// noReg stands for a register that is not there.
const noReg = -1

// operand is one operand of a micro-operation. An immediate is in disp; a memory operand is reg + index*scale + disp.
type operand struct {
	kind       operandKind
	reg, index int8
	scale      uint8
	disp       int64
}

func regOperand(n int8) operand { return operand{kind: operandReg, reg: n, index: noReg} }
func immOperand(v int64) operand {
	return operand{kind: operandImm, reg: noReg, index: noReg, disp: v}
}
func memOperand(reg int8, disp int64) operand {
	return operand{kind: operandMem, reg: reg, index: noReg, disp: disp}
}

// microKind is what one part of an instruction does.
type microKind uint8

const (
	microMove      microKind = iota // dst = a
	microAddress                    // dst = the address of a
	microAdd                        // dst = a + b
	microSub                        // dst = a - b
	microScale                      // dst = a * k
	microForget                     // dst = anything
	microKeep                       // 16 bits of dst at bit k become a (MOVK)
	microAtomicAdd                  // the word at a grows by b; dst is what it was
	microSwap                       // the word at a becomes b if it is what is expected; dst is what it was
)

type micro struct {
	kind      microKind
	width     int8 // of the data, in bytes; negative when a load extends the sign
	dst, a, b operand
	k         int64
}

// instruction is what is needed of one.
type instruction struct {
	size    uint8
	micros  []micro
	call    bool
	fn      operand // of an indirect call
	target  uint64  // of a direct call, or of a jump
	jumps   bool
	ends    bool // it does not go on to the next instruction
	returns bool
	join    int32 // a jump leads here, so that ways may meet: number of the place, from 1; 0 where none does
}

// Func is a function's code.
type Func struct {
	Entry, End uint64
	list       []instruction
	joins      int32   // places to which jumps lead
	index      []int32 // by offset: number of the instruction that begins there, plus one
}

// bytesEach is less than instructions have as a rule.
const bytesEach = 4

// NewFunc decodes a function, up to the first instruction that cannot be.
func NewFunc(entry uint64, code []byte, arm64 bool) *Func {
	f := &Func{Entry: entry, End: entry + uint64(len(code)), index: make([]int32, len(code)), list: make([]instruction, 0, len(code)/bytesEach+1)}
	decode := decodeX86
	if arm64 {
		decode = decodeARM
	}
	for at := 0; at < len(code); {
		in, ok := decode(code[at:], entry+uint64(at))
		if !ok {
			break
		}
		f.list = append(f.list, in)
		f.index[at] = int32(len(f.list))
		at += int(in.size)
	}
	for i := range f.list {
		if to := f.at(f.list[i].target); f.list[i].jumps && to != nil && to.join == 0 {
			f.joins++
			to.join = f.joins
		}
	}
	return f
}

// at is the instruction at an address, nil when none begins there.
func (f *Func) at(pc uint64) *instruction {
	if pc < f.Entry || pc >= f.End || f.index[pc-f.Entry] == 0 {
		return nil
	}
	return &f.list[f.index[pc-f.Entry]-1]
}
