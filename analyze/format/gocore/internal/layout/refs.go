package layout

import (
	"encoding/binary"
	"fmt"
)

// DataRefs lists the addresses outside of the code that a function refers to, in the order of its instructions. base is
// the address of the first byte of code. An address counts as often as it occurs.
//
// On amd64 these are memory operands relative to RIP, and absolute ones of four bytes. On arm64 they are the pairs of
// ADRP with ADD, a load or a store, which Go's assembler always emits side by side. Code that cannot be decoded is an
// error, since an instruction that is not understood could hide a reference, and what follows would be miscounted.
func DataRefs(arch string, code []byte, base uint64) ([]uint64, error) {
	switch arch {
	case "amd64":
		return refsX86(code, base)
	case "arm64":
		return refsARM(code, base), nil
	}
	return nil, fmt.Errorf("data references of machine code: architecture %q is not known", arch)
}

// refsX86 walks over the instructions of amd64.
func refsX86(code []byte, base uint64) ([]uint64, error) {
	var refs []uint64
	for at := 0; at < len(code); {
		in, ok := decodeX86(code[at:])
		if !ok {
			return nil, fmt.Errorf("instruction at %#x cannot be decoded", base+uint64(at))
		}
		at += in.length
		switch in.operand {
		case operandRIP:
			refs = append(refs, base+uint64(at)+uint64(int64(in.disp)))
		case operandAbsolute:
			refs = append(refs, uint64(uint32(in.disp)))
		}
	}
	return refs, nil
}

// Masks of arm64 instructions (Arm ARM, C4.1: data processing - immediate; loads and stores - unsigned immediate).
const (
	maskADR    = 0x9f000000
	opADR      = 0x10000000
	opADRP     = 0x90000000
	maskAddImm = 0xff800000
	opAddImm   = 0x91000000
	maskLoad   = 0x3b000000
	opLoad     = 0x39000000
)

// refsARM finds the pairs of arm64.
func refsARM(code []byte, base uint64) []uint64 {
	var refs []uint64
	for at := 0; at+8 <= len(code); at += 4 {
		word := binary.LittleEndian.Uint32(code[at:])
		pc := base + uint64(at)
		switch word & maskADR {
		case opADR:
			refs = append(refs, pc+uint64(immADR(word)))
		case opADRP:
			page := pc&^0xfff + uint64(immADR(word)<<12)
			if low, ok := lowPart(binary.LittleEndian.Uint32(code[at+4:]), word&31); ok {
				refs = append(refs, page+low)
			}
		}
	}
	return refs
}

// immADR is the signed number of 21 bits in ADR and ADRP.
func immADR(word uint32) int64 {
	imm := word>>5&0x7ffff<<2 | word>>29&3
	return int64(int32(imm<<11) >> 11)
}

// lowPart is the offset that the second instruction adds to a register.
func lowPart(word, register uint32) (uint64, bool) {
	if word>>5&31 != register {
		return 0, false
	}
	imm := uint64(word >> 10 & 0xfff)
	switch {
	case word&maskAddImm == opAddImm && word&(1<<22) == 0:
		return imm, true
	case word&maskLoad == opLoad:
		scale := word >> 30
		if word&(1<<26) != 0 && word&(1<<23) != 0 { // a vector register of 16 bytes
			scale = 4
		}
		return imm << scale, true
	}
	return 0, false
}
