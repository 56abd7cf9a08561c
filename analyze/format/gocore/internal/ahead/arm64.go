package ahead

import "encoding/binary"

// SP, or the zero register, of arm64.
const spARM = 31

// decodeARM decodes one instruction of A64 (Arm ARM, C4.1): what moves pointers, and what branches. Of any other that writes a
// register in its lowest five bits the register is forgotten.
func decodeARM(code []byte, pc uint64) (instruction, bool) {
	if len(code) < 4 {
		return instruction{}, false
	}
	w := binary.LittleEndian.Uint32(code)
	in := instruction{size: 4}
	if branchARM(&in, w, pc) {
		return in, true
	}
	d := &armDecoder{in: &in, w: w, pc: pc, rd: int8(w & 31), rn: int8(w >> 5 & 31)}
	for _, group := range []func() bool{d.immediates, d.sums, d.pairs, d.atomics, d.loads} {
		if group() {
			return in, true
		}
	}
	d.forget(d.rd)
	return in, true
}

// branchARM reads branches and calls (Arm ARM, C4.1.65).
func branchARM(in *instruction, w uint32, pc uint64) bool {
	relative := func(imm uint32, bits uint) uint64 { return pc + uint64(int64(int32(imm<<(32-bits))>>(32-bits))<<2) }
	switch {
	case w>>26 == 0x25: // BL
		in.call, in.target = true, relative(w&0x3ffffff, 26)
	case w&0xfffffc1f == 0xd63f0000: // BLR
		in.call, in.fn = true, regOperand(int8(w>>5&31))
	case w>>26 == 0x05: // B
		in.jumps, in.ends, in.target = true, true, relative(w&0x3ffffff, 26)
	case w>>24 == 0x54, w>>25&0x3f == 0x1a: // B.cond; CBZ, CBNZ
		in.jumps, in.target = true, relative(w>>5&0x7ffff, 19)
	case w>>25&0x3f == 0x1b: // TBZ, TBNZ
		in.jumps, in.target = true, relative(w>>5&0x3fff, 14)
	case w&0xfffffc1f == 0xd65f0000: // RET
		in.ends, in.returns = true, true
	case w&0xfffffc1f == 0xd61f0000, w&0xffe0001f == 0xd4200000, w == 0: // BR, BRK; padding
		in.ends = true
	case w&0xffc00000 == 0xd5000000, w&0x7f000000 == 0x71000000 && w&31 == 31, w&0x7f000000 == 0x6b000000 && w&31 == 31:
		// system instructions, CMP: nothing is written
	case w&0x3fe00000 == 0x3a400000, w>>25&7 == 7 && w&0x7f20fc00 != 0x1e200000:
		// CCMP; floating point and vectors, but for conversions to a general register
	default:
		return false
	}
	return true
}

type armDecoder struct {
	in     *instruction
	w      uint32
	pc     uint64
	rd, rn int8
}

func (d *armDecoder) add(m micro) { d.in.micros = append(d.in.micros, m) }

// zr turns the zero register into a zero: register 31 is SP in few places only.
func zr(n int8) operand {
	if n == 31 {
		return immOperand(0)
	}
	return regOperand(n)
}

func (d *armDecoder) forget(n int8) {
	if n != 31 {
		d.add(micro{kind: microForget, width: 8, dst: regOperand(n)})
	}
}

// set adds a micro-operation whose result goes to a register, unless that is the zero register.
func (d *armDecoder) set(n int8, m micro) {
	if n != 31 {
		m.dst = regOperand(n)
		d.add(m)
	}
}

func (d *armDecoder) width() int8 {
	if d.w>>31 == 0 {
		return 4
	}
	return 8
}

// immediates reads what computes with constants (Arm ARM, C4.1.92).
func (d *armDecoder) immediates() bool {
	w := d.w
	switch {
	case w&0x1f000000 == 0x11000000: // ADD, SUB (immediate): register 31 is SP
		imm := int64(w >> 10 & 0xfff)
		if w>>22&1 != 0 {
			imm <<= 12
		}
		if w>>30&1 != 0 {
			imm = -imm
		}
		m := micro{kind: microAdd, width: d.width(), a: regOperand(d.rn), b: immOperand(imm)}
		if w>>29&1 != 0 { // it sets flags: the destination 31 is the zero register
			d.set(d.rd, m)
			return true
		}
		m.dst = regOperand(d.rd)
		d.add(m)
	case w&0x1f000000 == 0x10000000: // ADR, ADRP
		imm := int64(int32((w>>5&0x7ffff<<2|w>>29&3)<<11) >> 11)
		base := d.pc
		if w>>31 != 0 {
			imm, base = imm<<12, d.pc&^0xfff
		}
		d.set(d.rd, micro{kind: microMove, width: 8, a: immOperand(int64(base) + imm)})
	case w&0x7f800000 == 0x52800000, w&0x7f800000 == 0x12800000: // MOVZ, MOVN
		imm := int64(w>>5&0xffff) << (w >> 21 & 3 * 16)
		if w>>30&1 == 0 {
			imm = ^imm
		}
		if d.width() == 4 {
			imm = int64(uint32(imm))
		}
		d.set(d.rd, micro{kind: microMove, width: 8, a: immOperand(imm)})
	case w&0x7f800000 == 0x72800000: // MOVK
		d.set(d.rd, micro{kind: microKeep, a: immOperand(int64(w >> 5 & 0xffff)), k: int64(w >> 21 & 3 * 16)})
	case w&0x7f800000 == 0x53000000: // UBFM: LSL when imms + 1 = immr modulo the width
		bits := uint32(d.width()) * 8
		immr, imms := w>>16&63, w>>10&63
		if imms+1 == immr && imms != bits-1 && bits-immr < 32 {
			d.set(d.rd, micro{kind: microScale, width: d.width(), a: zr(d.rn), k: 1 << (bits - immr)})
		} else {
			d.forget(d.rd)
		}
	case w&0x7f8003e0 == 0x320003e0: // ORR of the zero register with a bitmask: MOV of such a constant
		d.set(d.rd, micro{kind: microMove, width: 8, a: immOperand(bitmask(w))})
	default:
		return false
	}
	return true
}

// bitmask decodes the immediate of a logical instruction: a run of ones in an element of 2 to 64 bits, rotated and repeated (Arm
// ARM, DecodeBitMasks).
func bitmask(w uint32) int64 {
	n, immr, imms := w>>22&1, w>>16&63, w>>10&63
	size := uint32(64)
	if n == 0 {
		size = 32
		for size > 2 && imms&size != 0 {
			size /= 2
		}
	}
	ones, turn := imms&(size-1)+1, immr&(size-1)
	element := uint64(1)<<ones - 1
	if ones == 64 {
		element = ^uint64(0)
	}
	if turn > 0 {
		element = element>>turn | element<<(size-turn)
	}
	if size < 64 {
		element &= 1<<size - 1
	}
	for ; size < 64; size *= 2 {
		element |= element << size
	}
	if w>>31 == 0 {
		element &= 1<<32 - 1
	}
	return int64(element)
}

// sums reads what computes with registers (Arm ARM, C4.1.95).
func (d *armDecoder) sums() bool {
	w := d.w
	rm := int8(w >> 16 & 31)
	switch {
	case w&0x7fe0ffe0 == 0x2a0003e0: // MOV
		d.set(d.rd, micro{kind: microMove, width: d.width(), a: zr(rm)})
	case w&0x7fe00000 == 0x0b000000: // ADD (shifted register): LSL only
		if k := w >> 10 & 63; k == 0 {
			d.set(d.rd, micro{kind: microAdd, width: d.width(), a: zr(d.rn), b: zr(rm)})
		} else if k < 8 && d.rn != 31 && rm != 31 {
			d.set(d.rd, micro{kind: microAddress, a: operand{kind: operandMem, reg: d.rn, index: rm, scale: 1 << k}})
		} else {
			d.forget(d.rd)
		}
	case w&0x7fe0fc00 == 0x4b000000: // SUB
		d.set(d.rd, micro{kind: microSub, width: d.width(), a: zr(d.rn), b: zr(rm)})
	case w&0x7fe08000 == 0x1b000000: // MADD: the factor is a constant when it was just loaded; that is not followed
		d.forget(d.rd)
	case w&0x7fe00c00 == 0x1a800000: // CSEL
		d.forget(d.rd)
	default:
		return false
	}
	return true
}

// pairs reads LDP and STP of general registers (Arm ARM, C4.1.94).
func (d *armDecoder) pairs() bool {
	w := d.w
	if w&0x3a000000 != 0x28000000 {
		return false
	}
	vector := w>>26&1 != 0
	size, load, mode := int64(8), w>>22&1 != 0, w>>23&3
	if w>>30 == 0 && !vector {
		size = 4
	}
	if vector {
		size = 4 << (w >> 30)
	}
	imm := int64(int32(w<<10)>>25) * size
	rt2 := int8(w >> 10 & 31)
	at := imm
	if mode == 1 { // post-index
		at = 0
	}
	if mode == 3 {
		d.add(micro{kind: microAdd, width: 8, dst: regOperand(d.rn), a: regOperand(d.rn), b: immOperand(imm)})
		at = 0
	}
	first, second := memOperand(d.rn, at), memOperand(d.rn, at+size)
	switch {
	case vector && !load:
		for off := int64(0); off < 2*size; off += 8 {
			d.add(micro{kind: microForget, width: 8, dst: memOperand(d.rn, at+off)})
		}
	case vector:
	case load && d.rd == d.rn:
		d.set(rt2, micro{kind: microMove, width: int8(size), a: second})
		d.set(d.rd, micro{kind: microMove, width: int8(size), a: first})
	case load:
		d.set(d.rd, micro{kind: microMove, width: int8(size), a: first})
		d.set(rt2, micro{kind: microMove, width: int8(size), a: second})
	default:
		d.add(micro{kind: microMove, width: int8(size), dst: first, a: zr(d.rd)})
		d.add(micro{kind: microMove, width: int8(size), dst: second, a: zr(rt2)})
	}
	if mode == 1 {
		d.add(micro{kind: microAdd, width: 8, dst: regOperand(d.rn), a: regOperand(d.rn), b: immOperand(imm)})
	}
	return true
}

// atomics reads the atomic operations of LSE, and exclusive loads and stores (Arm ARM, C4.1.94). An exclusive pair is taken for a
// swap at its store.
func (d *armDecoder) atomics() bool {
	w := d.w
	rs := int8(w >> 16 & 31)
	switch {
	case w&0x3f20fc00 == 0x38200000: // LDADD
		d.add(micro{kind: microAtomicAdd, width: 8, a: memOperand(d.rn, 0), b: zr(rs)})
		d.forget(d.rd)
	case w&0x3fa07c00 == 0x08a07c00: // CAS
		d.add(micro{kind: microSwap, width: 8, a: memOperand(d.rn, 0), b: zr(d.rd)})
		d.forget(rs)
	case w&0x3fe08000 == 0x08000000: // STXR, STLXR
		d.add(micro{kind: microSwap, width: 8, a: memOperand(d.rn, 0), b: zr(d.rd)})
		d.forget(rs)
	case w&0x3f200c00 == 0x38200000: // other atomic operations
		d.forget(d.rd)
	default:
		return false
	}
	return true
}

// loads reads loads and stores of one register (Arm ARM, C4.1.94).
func (d *armDecoder) loads() bool {
	w := d.w
	if w&0x3a000000 != 0x38000000 {
		return w&0x3f000000 == 0x08000000 && d.ordered()
	}
	size := int8(1) << (w >> 30)
	opc := w >> 22 & 3
	if w>>26&1 != 0 { // of a vector register
		if opc&1 == 0 {
			d.add(micro{kind: microForget, width: 8, dst: memOperand(d.rn, d.offset(size))})
		}
		return true
	}
	m := memOperand(d.rn, d.offset(size))
	mode := w >> 10 & 3
	switch {
	case w>>24&1 != 0: // unsigned offset
	case w>>21&1 != 0 && mode == 2: // register offset
		m = operand{kind: operandMem, reg: d.rn, index: int8(w >> 16 & 31), scale: 1}
		if w>>12&1 != 0 {
			m.scale = uint8(size)
		}
		if m.index == 31 {
			m.index = noReg
		}
	case mode == 3: // pre-index
		d.add(micro{kind: microAdd, width: 8, dst: regOperand(d.rn), a: regOperand(d.rn), b: immOperand(m.disp)})
		m.disp = 0
	}
	after := m.disp
	if w>>24&1 == 0 && w>>21&1 == 0 && mode == 1 { // post-index
		m.disp = 0
	}
	switch {
	case opc == 0:
		d.add(micro{kind: microMove, width: size, dst: m, a: zr(d.rd)})
	case opc == 1:
		d.set(d.rd, micro{kind: microMove, width: size, a: m})
	default:
		d.set(d.rd, micro{kind: microMove, width: -size, a: m})
	}
	if w>>24&1 == 0 && w>>21&1 == 0 && mode == 1 {
		d.add(micro{kind: microAdd, width: 8, dst: regOperand(d.rn), a: regOperand(d.rn), b: immOperand(after)})
	}
	return true
}

// offset is the immediate of a load or store.
func (d *armDecoder) offset(size int8) int64 {
	if d.w>>24&1 != 0 {
		return int64(d.w>>10&0xfff) * int64(size)
	}
	return int64(int32(d.w<<11) >> 23)
}

// ordered reads LDAR, LDAXR and STLR.
func (d *armDecoder) ordered() bool {
	size := int8(1) << (d.w >> 30)
	if d.w>>22&1 != 0 {
		d.set(d.rd, micro{kind: microMove, width: size, a: memOperand(d.rn, 0)})
	} else {
		d.add(micro{kind: microMove, width: size, dst: memOperand(d.rn, 0), a: zr(d.rd)})
	}
	return true
}
