package native

import (
	"encoding/binary"
)

var le = binary.LittleEndian

// reader takes numbers from the front of a byte slice. After a read beyond the end bad is set and zeroes come.
type reader struct {
	b   []byte
	pos int
	bad bool
}

// take gives n bytes.
func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)-r.pos) {
		r.bad = true
		return nil
	}
	out := r.b[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return out
}

// left counts the bytes that are left.
func (r *reader) left() int { return len(r.b) - r.pos }

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

// uleb reads an unsigned LEB128; bits beyond 64 are lost.
func (r *reader) uleb() uint64 {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		b := r.u8()
		if shift < 64 {
			v |= uint64(b&0x7f) << shift
		}
		if b&0x80 == 0 || r.bad {
			return v
		}
	}
}

// sleb reads a signed LEB128.
func (r *reader) sleb() int64 {
	var v int64
	for shift := uint(0); ; {
		b := r.u8()
		if shift < 64 {
			v |= int64(b&0x7f) << shift
		}
		shift += 7
		if b&0x80 == 0 || r.bad {
			if shift < 64 && b&0x40 != 0 {
				v |= -1 << shift
			}
			return v
		}
	}
}

// cstring reads up to a zero.
func (r *reader) cstring() string {
	start := r.pos
	for {
		if b := r.u8(); b == 0 {
			break
		}
	}
	if r.bad {
		return ""
	}
	return string(r.b[start : r.pos-1])
}

// Encodings of pointers in .eh_frame (Linux Standard Base Core 5.0, 10.5.1).
const (
	peOmit     = 0xff
	peFormat   = 0x0f
	peApply    = 0x70
	peIndirect = 0x80

	peAbsptr = 0x0
	peULEB   = 0x1
	peU2     = 0x2
	peU4     = 0x3
	peU8     = 0x4
	peSLEB   = 0x9
	peS2     = 0xa
	peS4     = 0xb
	peS8     = 0xc

	pePCRel   = 0x10
	peDataRel = 0x30
)

// pointer reads an encoded pointer. base is the address of r.b[0] without bias, data what datarel is relative to. ok is
// false for encodings that need the process (textrel, funcrel, aligned, indirect).
func (r *reader) pointer(enc uint8, base, data uint64) (v uint64, ok bool) {
	if enc == peOmit {
		return 0, false
	}
	at := base + uint64(r.pos)
	if v, ok = r.number(enc & peFormat); !ok || r.bad {
		return 0, false
	}
	switch enc & peApply {
	case 0:
	case pePCRel:
		v += at
	case peDataRel:
		v += data
	default:
		return 0, false
	}
	return v, enc&peIndirect == 0
}

// number reads the value of an encoded pointer.
func (r *reader) number(format uint8) (uint64, bool) {
	switch format {
	case peAbsptr, peU8, peS8:
		return r.u64(), true
	case peULEB:
		return r.uleb(), true
	case peSLEB:
		return uint64(r.sleb()), true
	case peU2:
		return uint64(r.u16()), true
	case peS2:
		return uint64(int64(int16(r.u16()))), true
	case peU4:
		return uint64(r.u32()), true
	case peS4:
		return uint64(int64(int32(r.u32()))), true
	}
	return 0, false
}
