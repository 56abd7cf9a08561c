package gocore

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// Kinds of types (internal/abi/type.go, Kind, Go 1.21 to 1.26) that the runtime prints as values.
const (
	kindMask    = 31
	kindBool    = 1
	kindInt     = 2
	kindInt8    = 3
	kindInt16   = 4
	kindInt32   = 5
	kindInt64   = 6
	kindUint    = 7
	kindUint8   = 8
	kindUint16  = 9
	kindUint32  = 10
	kindUint64  = 11
	kindUintptr = 12
	kindFloat32 = 13
	kindFloat64 = 14
	kindString  = 24
)

// typeStar is set when the stored name has a star too many (internal/abi/type.go, TFlagExtraStar).
const typeStar = 1 << 1

// typeOf returns the name and kind of the type whose descriptor is at addr.
func (t *target) typeOf(addr uint64) (name string, kind uint8, ok bool) {
	flagAt, ok1 := t.layout.OffsetAny("internal/abi.Type.TFlag", "runtime._type.tflag")
	kindAt, ok2 := t.layout.OffsetAny("internal/abi.Type.Kind_", "runtime._type.kind")
	strAt, ok3 := t.layout.OffsetAny("internal/abi.Type.Str", "runtime._type.str")
	if !ok1 || !ok2 || !ok3 {
		return "", 0, false
	}
	flag, ok1 := t.core.Mem.Uint8(addr + flagAt)
	k, ok2 := t.core.Mem.Uint8(addr + kindAt)
	off, ok3 := t.core.Mem.Uint32(addr + strAt)
	if !ok1 || !ok2 || !ok3 {
		return "", 0, false
	}
	for _, m := range t.tab.Modules {
		if addr < m.Types || addr >= m.ETypes {
			continue
		}
		name, ok = t.typeName(m.Types + uint64(off))
		if ok && flag&typeStar != 0 && len(name) > 0 {
			name = name[1:]
		}
		return name, k & kindMask, ok
	}
	return "", 0, false
}

// typeName reads a name: a byte of flags, the length as a varint, the bytes (internal/abi/type.go, Name).
func (t *target) typeName(addr uint64) (string, bool) {
	const most = 1 << 10
	head, ok := t.core.Mem.Bytes(addr+1, binary.MaxVarintLen16)
	if !ok {
		return "", false
	}
	n, w := binary.Uvarint(head)
	if w <= 0 || n > most {
		return "", false
	}
	b, ok := t.core.Mem.Bytes(addr+1+uint64(w), n)
	return string(b), ok
}

// scalarText prints the value at addr when its kind is one that the runtime prints.
func (t *target) scalarText(kind uint8, addr uint64) (string, bool) {
	if kind == kindString {
		return t.goString(addr)
	}
	raw, ok := t.core.Mem.Bytes(addr, sizeOfKind(kind))
	if !ok || len(raw) == 0 {
		return "", false
	}
	var word [8]byte
	copy(word[:], raw)
	v := binary.LittleEndian.Uint64(word[:])
	switch kind {
	case kindBool:
		return strconv.FormatBool(v != 0), true
	case kindInt, kindInt64:
		return strconv.FormatInt(int64(v), 10), true
	case kindInt8:
		return strconv.Itoa(int(int8(v))), true
	case kindInt16:
		return strconv.Itoa(int(int16(v))), true
	case kindInt32:
		return strconv.Itoa(int(int32(v))), true
	case kindFloat32:
		return fmt.Sprintf("%e", math.Float32frombits(uint32(v))), true
	case kindFloat64:
		return fmt.Sprintf("%e", math.Float64frombits(v)), true
	}
	return strconv.FormatUint(v, 10), true
}

// sizeOfKind is the size of a scalar; 0 for what is none.
func sizeOfKind(kind uint8) uint64 {
	switch kind {
	case kindBool, kindInt8, kindUint8:
		return 1
	case kindInt16, kindUint16:
		return 2
	case kindInt32, kindUint32, kindFloat32:
		return 4
	case kindInt, kindInt64, kindUint, kindUint64, kindUintptr, kindFloat64:
		return 8
	}
	return 0
}

func quote(s string) string { return strconv.Quote(s) }
