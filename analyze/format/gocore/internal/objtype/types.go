package objtype

import (
	"encoding/binary"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

var le = binary.LittleEndian

// Kinds of types (internal/abi/type.go and reflect.Kind, Go 1.21 to 1.26) that have something to follow.
const (
	kindArray         = 17
	kindChan          = 18
	kindFunc          = 19
	kindInterface     = 20
	kindMap           = 21
	kindPointer       = 22
	kindSlice         = 23
	kindString        = 24
	kindStruct        = 25
	kindUnsafePointer = 26
)

// Places in the runtime's descriptors on 64-bit machines (internal/abi/type.go, Go 1.22 to 1.26).
const (
	atSize       = 0
	atElem       = 48 // of pointers, slices, arrays and channels
	atMapKey     = 48
	atMapElem    = 56
	atMapGroup   = 64 // the group of slots since Go 1.24, the bucket before
	atFields     = 56 // of structs
	atFieldCount = 64
	fieldBytes   = 24
	atFieldType  = 8
	atFieldPlace = 16
	atArrayLen   = 64
	atMethods    = 64 // number of methods of an interface
	atItabType   = 8
)

// Bounds on one type.
const (
	maxWords  = 1 << 12 // places of a type that are followed one by one; of longer arrays the element is
	maxNested = 32
	maxFields = 1 << 14
	maxTypes  = 1 << 20
)

// ref names a type: a descriptor of the runtime, or an entry of the DWARF.
type ref struct {
	abi uint64
	die uint64 // offset plus one
}

// place is a part of a value that leads somewhere.
type place struct {
	at    uint64
	kind  uint8 // as of the type there; arrays that are too long to be unrolled are kindArray
	elem  ref   // what a pointer, slice, channel or array is of; of a map the map itself
	count uint64
	eface bool
}

// typ is what is known of a type.
type typ struct {
	name   string
	kind   uint8
	size   uint64
	mask   heap.Mask
	masked bool // mask is known
	places []place
	elem   ref // of the type itself, when it is a pointer, slice, channel, array
	key    ref // of a map; elem is what it maps to
	group  ref
	direct bool // an interface holds the value itself
}

// typeAt describes a type; nil when there is none.
func (t *Typer) typeAt(r ref) *typ {
	if r == (ref{}) {
		return nil
	}
	if known, ok := t.types[r]; ok {
		return known
	}
	if len(t.types) >= maxTypes {
		return nil
	}
	t.types[r] = nil // a type that contains itself is damage
	var d *typ
	if r.abi != 0 {
		d = t.descriptor(r.abi)
	} else if t.dwarf != nil {
		d = t.dwarf.describe(t, r)
	}
	if d != nil {
		t.types[r] = d
	}
	return d
}

// descriptor reads one of the runtime's descriptors.
func (t *Typer) descriptor(addr uint64) *typ {
	name, kind, ok := t.src.NameOf(addr)
	size, ok2 := t.word(addr + atSize)
	if !ok || !ok2 || size > 1<<40 {
		return nil
	}
	d := &typ{name: name, kind: kind, size: size}
	if size > 0 {
		d.mask, d.masked = t.heap.MaskOf(addr)
	}
	switch kind {
	case kindPointer, kindSlice, kindArray, kindChan:
		d.elem.abi, _ = t.word(addr + atElem)
	case kindMap:
		d.key.abi, _ = t.word(addr + atMapKey)
		d.elem.abi, _ = t.word(addr + atMapElem)
		d.group.abi, _ = t.word(addr + atMapGroup)
	}
	d.places, d.direct = t.placesOf(ref{abi: addr}, d)
	return d
}

// placesOf lists the places of a type that lead somewhere, and whether an interface holds the value of such a type itself.
func (t *Typer) placesOf(r ref, d *typ) (list []place, direct bool) {
	switch d.kind {
	case kindPointer, kindChan:
		return []place{{kind: d.kind, elem: d.elem}}, true
	case kindMap:
		return []place{{kind: d.kind, elem: r}}, true
	case kindFunc, kindUnsafePointer:
		return []place{{kind: d.kind}}, true
	case kindSlice:
		return []place{{kind: d.kind, elem: d.elem}}, false
	case kindString:
		return []place{{kind: d.kind}}, false
	case kindInterface:
		n, ok := t.word(r.abi + atMethods)
		return []place{{kind: d.kind, eface: ok && n == 0}}, false
	case kindArray:
		n, _ := t.word(r.abi + atArrayLen)
		return t.unroll(d.elem, n)
	case kindStruct:
		return t.fields(r.abi, d)
	}
	return nil, false
}

// unroll lists the places of the elements of an array.
func (t *Typer) unroll(elem ref, n uint64) (list []place, direct bool) {
	e := t.typeAt(elem)
	if e == nil || len(e.places) == 0 || n == 0 {
		return nil, false
	}
	if n > maxWords || n*uint64(len(e.places)) > maxWords {
		return []place{{kind: kindArray, elem: elem, count: n}}, false
	}
	for i := range n {
		for _, p := range e.places {
			p.at += i * e.size
			list = append(list, p)
		}
	}
	return list, n == 1 && e.direct
}

// fields lists the places of the fields of a struct.
func (t *Typer) fields(addr uint64, d *typ) (list []place, direct bool) {
	at, ok1 := t.word(addr + atFields)
	n, ok2 := t.word(addr + atFieldCount)
	if !ok1 || !ok2 || n > maxFields {
		return nil, false
	}
	raw, ok := t.src.Mem.Bytes(at, n*fieldBytes)
	if !ok {
		return nil, false
	}
	var inner []member
	for ; len(raw) >= fieldBytes; raw = raw[fieldBytes:] {
		inner = append(inner, member{ref{abi: le.Uint64(raw[atFieldType:])}, le.Uint64(raw[atFieldPlace:])})
	}
	return t.members(d, inner)
}

// member is a field.
type member struct {
	typ ref
	at  uint64
}

func (t *Typer) members(d *typ, inner []member) (list []place, direct bool) {
	if elem, ok := t.atomicPointer(d, inner); ok {
		return []place{{kind: kindPointer, elem: elem}}, true
	}
	for _, m := range inner {
		f := t.typeAt(m.typ)
		if f == nil || m.at > d.size || f.size > d.size-m.at {
			continue
		}
		if len(list)+len(f.places) > maxWords {
			return list, false
		}
		for _, p := range f.places {
			p.at += m.at
			list = append(list, p)
		}
		direct = len(inner) == 1 && f.direct
	}
	return list, direct
}

// atomicPointer recognises sync/atomic.Pointer, whose pointer is unsafe; its first field, of no size, says to what (sync/atomic/type.go:
// _ [0]*T).
func (t *Typer) atomicPointer(d *typ, inner []member) (elem ref, ok bool) {
	if len(inner) == 0 || d.size != 8 || !strings.HasPrefix(d.name, "atomic.Pointer[") && !strings.HasPrefix(d.name, "sync/atomic.Pointer[") {
		return ref{}, false
	}
	none := t.typeAt(inner[0].typ)
	if none == nil || none.kind != kindArray || none.size != 0 {
		return ref{}, false
	}
	pointer := t.typeAt(none.elem)
	if pointer == nil || pointer.kind != kindPointer {
		return ref{}, false
	}
	return pointer.elem, true
}

func (t *Typer) word(addr uint64) (uint64, bool) { return t.src.Mem.Uint64(addr) }
