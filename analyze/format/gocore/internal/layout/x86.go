package layout

import (
	"encoding/binary"
	"strings"
)

// Kinds of memory operand that name an address.
const (
	operandOther = iota // none, or through registers
	operandRIP          // relative to the next instruction
	operandAbsolute
)

// instruction is what is needed of an amd64 instruction.
type instruction struct {
	length  int
	operand int
	disp    int32
	based   bool // the memory operand is a register other than SP, plus offset
	offset  int32
}

// opcodeForm says what follows an opcode.
type opcodeForm struct {
	valid, modrm bool
	imm          int // bytes of immediate; immWord and immFull depend on prefixes
}

const (
	immWord = -1 // 4 bytes, 2 with the prefix 66
	immFull = -2 // as immWord, 8 with REX.W
	immAddr = -3 // 8 bytes, 4 with the prefix 67
	immTest = -4 // one byte when the ModRM's reg is 0 or 1 (F6)
	immTesW = -5 // a word when the ModRM's reg is 0 or 1 (F7)
)

// oneByte and twoByte are the opcode maps of 64-bit mode (Intel SDM, volume 2, appendix A, tables ), a letter for
// each opcode: m has a ModRM; b, w, q a ModRM and 1 or 4 bytes of immediate (q: 1 byte for F6); n nothing; 1, 2, 3, 4, 8, a, t, T
// immediates without (or, t and T, with) ModRM; a dot is invalid or a prefix, which the decoder takes first.
var (
	oneByte = opcodeMap(
		"mmmm14..mmmm14..",    // 00
		"mmmm14..mmmm14..",    // 10
		"mmmm14..mmmm14..",    // 20
		"mmmm14..mmmm14..",    // 30
		"................",    // 40 REX
		"nnnnnnnnnnnnnnnn",    // 50
		"...m....4w1bnnnn",    // 60
		"1111111111111111",    // 70
		"bw.bmmmmmmmmmmmm",    // 80
		"nnnnnnnnnn.nnnnn",    // 90
		"aaaannnn14nnnnnn",    // A0
		"1111111188888888",    // B0
		"bb2n..bw3n2nn1nn",    // C0
		"mmmm...nmmmmmmmm",    // D0
		"111111115"+"5.1nnnn", // E0
		".n..nntTnnnnnnmm",    // F0
	)
	twoByte = opcodeMap(
		"mmmm.nnnnn.n.mn.", // 00
		"mmmmmmmmmmmmmmmm", // 10
		"mmmm....mmmmmmmm", // 20
		"nnnnnn.n........", // 30
		"mmmmmmmmmmmmmmmm", // 40
		"mmmmmmmmmmmmmmmm", // 50
		"mmmmmmmmmmmmmmmm", // 60
		"bbbbmmmnmm..mmmm", // 70
		"5555555555555555", // 80
		"mmmmmmmmmmmmmmmm", // 90
		"nnnmbm..nnnmbmmm", // A0
		"mmmmmmmmmmbmmmmm", // B0
		"mmbmbbbmnnnnnnnn", // C0
		"mmmmmmmmmmmmmmmm", // D0
		"mmmmmmmmmmmmmmmm", // E0
		"mmmmmmmmmmmmmmmm", // F0
	)
	opcodeForms = map[rune]opcodeForm{
		'm': {true, true, 0}, 'b': {true, true, 1}, 'w': {true, true, immWord}, 'n': {true, false, 0},
		'1': {true, false, 1}, '2': {true, false, 2}, '3': {true, false, 3}, '4': {true, false, immWord}, '5': {true, false, 4},
		'8': {true, false, immFull}, 'a': {true, false, immAddr}, 't': {true, true, immTest}, 'T': {true, true, immTesW},
	}
)

func opcodeMap(rows ...string) (forms [256]opcodeForm) {
	for i, letter := range strings.Join(rows, "") {
		forms[i] = opcodeForms[letter]
	}
	return forms
}

// x86Decoder is the state within one instruction.
type x86Decoder struct {
	code        []byte
	at          int
	size66, a67 bool
	segment     bool
	rexW        bool
	form        opcodeForm
	reg         byte
	out         instruction
	beyond      bool // the code ended inside the instruction
}

// maxInstruction is the longest instruction of amd64, in bytes.
const maxInstruction = 15

// decodeX86 measures the instruction at the start of code and finds its memory operand.
func decodeX86(code []byte) (instruction, bool) {
	d := &x86Decoder{code: code[:min(len(code), maxInstruction)]}
	d.prefixes()
	if !d.opcode() {
		return instruction{}, false
	}
	if d.form.modrm {
		d.modrm()
	}
	d.at += d.immediate()
	d.out.length = d.at
	return d.out, !d.beyond && d.at <= len(d.code)
}

func (d *x86Decoder) next() byte {
	if d.at >= len(d.code) {
		d.beyond = true
		return 0
	}
	d.at++
	return d.code[d.at-1]
}

func (d *x86Decoder) peek() byte {
	if d.at >= len(d.code) {
		return 0
	}
	return d.code[d.at]
}

// prefixes passes over legacy prefixes and REX.
func (d *x86Decoder) prefixes() {
	for d.at < len(d.code) {
		switch c := d.peek(); {
		case c == 0x66:
			d.size66 = true
		case c == 0x67:
			d.a67 = true
		case c == 0x64 || c == 0x65:
			d.segment = true
		case c == 0x2e || c == 0x36 || c == 0x3e || c == 0x26 || c == 0xf0 || c == 0xf2 || c == 0xf3:
		case c&0xf0 == 0x40:
			d.rexW = c&8 != 0
			d.at++
			return
		default:
			return
		}
		d.at++
	}
}

// opcode reads the opcode and finds its form.
func (d *x86Decoder) opcode() bool {
	switch c := d.next(); c {
	case 0x0f:
		d.escape()
	case 0xc5:
		d.next()
		d.vector(1)
	case 0xc4:
		space := d.next() & 0x1f
		d.next()
		d.vector(space)
	case 0x62:
		space := d.next() & 7
		d.next()
		d.next()
		d.vector(space)
	default:
		d.form = oneByte[c]
	}
	return d.form.valid
}

// escape reads an opcode after 0F.
func (d *x86Decoder) escape() {
	switch c := d.next(); c {
	case 0x38:
		d.next()
		d.form = opcodeForms['m']
	case 0x3a:
		d.next()
		d.form = opcodeForms['b']
	default:
		d.form = twoByte[c]
	}
}

// vector reads the opcode of a VEX or EVEX instruction. All but VZEROUPPER have a ModRM; those of map 3, and those of map
// 1 that have one without VEX, have an immediate byte.
func (d *x86Decoder) vector(space byte) {
	c := d.next()
	switch {
	case space == 1 && c == 0x77:
		d.form = opcodeForms['n']
	case space == 3 || space == 1 && twoByte[c].imm == 1:
		d.form = opcodeForms['b']
	case space >= 1 && space <= 6:
		d.form = opcodeForms['m']
	}
}

// modrm reads ModRM, SIB and displacement (Intel SDM, volume 2, tables 2-2 and 2-3).
func (d *x86Decoder) modrm() {
	c := d.next()
	mod, rm := c>>6, c&7
	d.reg = c >> 3 & 7
	if mod == 3 {
		return
	}
	base, indexed := rm, false
	if rm == 4 {
		sib := d.next()
		base, indexed = sib&7, sib>>3&7 != 4
	}
	d.out.based = !indexed && base != 4 && (mod != 0 || base != 5)
	switch {
	case mod == 1:
		d.out.offset = int32(int8(d.next()))
	case mod == 2:
		d.out.offset = d.displacement()
	case base == 5:
		d.out.disp = d.displacement()
		if rm == 5 {
			d.out.operand = operandRIP
		} else if !d.segment {
			d.out.operand = operandAbsolute
		}
	}
}

func (d *x86Decoder) displacement() int32 {
	if d.at+4 > len(d.code) {
		d.beyond = true
		return 0
	}
	d.at += 4
	return int32(binary.LittleEndian.Uint32(d.code[d.at-4:]))
}

// immediate is the number of bytes of the immediate operand.
func (d *x86Decoder) immediate() int {
	word := 4
	if d.size66 && !d.rexW {
		word = 2
	}
	switch d.form.imm {
	case immWord:
		return word
	case immFull:
		if d.rexW {
			return 8
		}
		return word
	case immAddr:
		if d.a67 {
			return 4
		}
		return 8
	case immTest:
		return int(1 - min(d.reg>>1, 1))
	case immTesW:
		return word * int(1-min(d.reg>>1, 1))
	}
	return d.form.imm
}

// InstructionSize returns the length in bytes of the amd64 instruction at the start of code; ok is false when it is none.
func InstructionSize(code []byte) (size int, ok bool) {
	in, ok := decodeX86(code)
	return in.length, ok
}

// AddressOffset returns what the amd64 instruction at the start of code adds to a pointer to make an address: the displacement of
// LEA or of a locked access, or the immediate of ADD. Plain loads and stores do not count: what they add leads to a field and
// not to an object inside the same object. locked says that it was a locked access.
func AddressOffset(code []byte) (offset int64, locked, ok bool) {
	in, valid := decodeX86(code)
	if !valid || in.length > len(code) {
		return 0, false, false
	}
	i := 0
	for ; i < in.length && (code[i]&0xf0 == 0x40 || code[i] == 0xf0); i++ {
		locked = locked || code[i] == 0xf0
	}
	switch {
	case locked, code[i] == 0x8d:
		return int64(in.offset), locked, in.based
	case code[i] == 0x83 && i+2 < in.length && code[i+1]>>3 == 0x18: // ADD r, imm8
		return int64(int8(code[i+2])), false, true
	case code[i] == 0x81 && i+5 < in.length && code[i+1]>>3 == 0x18: // ADD r, imm32
		return int64(int32(binary.LittleEndian.Uint32(code[i+2:]))), false, true
	}
	return 0, false, false
}
