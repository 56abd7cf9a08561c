package objtype

import (
	"context"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
)

// Attributes of the DWARF of Go (cmd/internal/dwarf/dwarf.go).
const (
	attrGoKind        dwarf.Attr = 0x2900
	attrGoKey         dwarf.Attr = 0x2901
	attrGoElem        dwarf.Attr = 0x2902
	attrGoRuntimeType dwarf.Attr = 0x2904
)

// Operations of locations (DWARF 5, 2.5.1.1).
const (
	opAddr  = 0x03
	opAddrx = 0xa1
)

// Bounds on the DWARF.
const (
	maxGlobals = 1 << 20
	maxAddrs   = 64 << 20 // bytes of .debug_addr
)

// global is a variable at a fixed address.
type global struct {
	addr uint64
	die  dwarf.Offset
}

// dwarfTypes describes types by the debug information of the program: mostly by naming the runtime's descriptor.
type dwarfTypes struct {
	data *dwarf.Data
	in   *dwarf.Reader
	bias uint64
	lo   uint64 // the descriptors of the program: from lo to hi
	hi   uint64
	// locals finds the variables of frames.
	locals *locals
}

// descriptor is the address of a type's descriptor, which the attribute gives as an address in the file, or since Go 1.26 as an offset among
// the descriptors.
func (d *dwarfTypes) descriptor(v uint64) uint64 {
	if v+d.bias >= d.lo && v+d.bias < d.hi {
		return v + d.bias
	}
	return v + d.lo
}

// Globals follows the global variables of a program, whose types its debug information tells. bias is the difference of addresses in memory
// and in the file.
func (t *Typer) Globals(ctx context.Context, f *elf.File, bias uint64) error {
	data, err := f.DWARF()
	if err != nil {
		return fmt.Errorf("reading the debug information: %w", err)
	}
	t.dwarf = &dwarfTypes{data: data, in: data.Reader(), bias: bias, lo: t.src.TypesLo, hi: t.src.TypesHi}
	t.dwarf.locals = newLocals(f, addresses(f))
	list, err := t.dwarf.globals(ctx)
	for i, g := range list {
		if i%1024 == 0 && ctx.Err() != nil {
			return wrap(ctx.Err())
		}
		t.value(g.addr+bias, t.typeAt(ref{die: uint64(g.die) + 1}))
	}
	return err
}

// addresses is the table that DWARF 5 keeps addresses in; nil when there is none.
func addresses(f *elf.File) []byte {
	s := f.Section(".debug_addr")
	if s == nil || s.Size > maxAddrs {
		return nil
	}
	raw, err := s.Data()
	if err != nil {
		return nil // variables behind it are not followed
	}
	return raw
}

// globals lists the variables of all units, in the order of their addresses, and notes the functions.
func (d *dwarfTypes) globals(ctx context.Context) ([]global, error) {
	var list []global
	in := d.data.Reader()
	var now unit
	for n := 0; len(list) < maxGlobals; n++ {
		e, err := in.Next()
		if err != nil {
			return list, fmt.Errorf("reading the debug information: %w", err)
		}
		if e == nil {
			break
		}
		if n%(1<<14) == 0 && ctx.Err() != nil {
			return nil, wrap(ctx.Err())
		}
		switch e.Tag {
		case dwarf.TagCompileUnit:
			at, _ := e.Val(dwarf.AttrAddrBase).(int64)
			low, _ := e.Val(dwarf.AttrLowpc).(uint64)
			now = unit{e.Offset, low, uint64(at)}
			d.locals.units = append(d.locals.units, now)
			continue
		case dwarf.TagVariable:
			if g, ok := variable(e, d.locals.addrs, now.addrs); ok {
				list = append(list, g)
			}
		case dwarf.TagSubprogram:
			if low, ok := e.Val(dwarf.AttrLowpc).(uint64); ok && len(d.locals.units) > 0 {
				d.locals.entries[low] = function{e.Offset, len(d.locals.units) - 1}
			}
		}
		in.SkipChildren()
	}
	slices.SortFunc(list, func(a, b global) int {
		if a.addr < b.addr || a.addr == b.addr && a.die < b.die {
			return -1
		}
		return 1
	})
	return list, nil
}

// variable reads an entry of a variable; ok is false for one without a fixed address.
func variable(e *dwarf.Entry, addrs []byte, base uint64) (g global, ok bool) {
	loc, _ := e.Val(dwarf.AttrLocation).([]byte)
	g.die, ok = e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok || len(loc) < 2 {
		return g, false
	}
	switch loc[0] {
	case opAddr:
		if len(loc) != 9 {
			return g, false
		}
		g.addr = le.Uint64(loc[1:])
	case opAddrx:
		n, at := uint64(0), base
		for i, b := range loc[1:] {
			n |= uint64(b&0x7f) << (7 * i)
			if b&0x80 == 0 || i == 8 {
				break
			}
		}
		if at += 8 * n; n > maxAddrs || at+8 > uint64(len(addrs)) {
			return g, false
		}
		g.addr = le.Uint64(addrs[at:])
	}
	return g, g.addr != 0
}

// describe describes the type of an entry: by the runtime's descriptor where the program has one.
func (d *dwarfTypes) describe(t *Typer, r ref) *typ {
	e, err := d.entry(r)
	if err != nil {
		return nil
	}
	if addr, ok := e.Val(attrGoRuntimeType).(uint64); ok && addr != 0 {
		if known := t.typeAt(ref{abi: d.descriptor(addr)}); known != nil {
			return known
		}
	}
	kind, ok := e.Val(attrGoKind).(int64)
	if !ok {
		return d.alias(t, e)
	}
	out := &typ{kind: uint8(kind) & 31}
	out.name, _ = e.Val(dwarf.AttrName).(string)
	size, _ := e.Val(dwarf.AttrByteSize).(int64)
	out.size = uint64(size)
	switch out.kind {
	case kindPointer, kindChan, kindMap, kindFunc, kindUnsafePointer:
		out.size = 8
	case kindInterface:
		return d.boxes(t, e, out)
	}
	elem := attrGoElem
	if out.kind == kindPointer || out.kind == kindArray {
		elem = dwarf.AttrType
	}
	if at, ok := e.Val(elem).(dwarf.Offset); ok {
		out.elem = ref{die: uint64(at) + 1}
	}
	switch out.kind {
	case kindStruct:
		out.places, out.direct = t.members(out, d.members(e))
	case kindArray:
		n := d.length(e)
		if each := t.typeAt(out.elem); each != nil {
			out.size = n * each.size
		}
		out.places, out.direct = t.unroll(out.elem, n)
	case kindMap: // its groups are described by the runtime's descriptor alone
	default:
		out.places, out.direct = t.placesOf(r, out)
	}
	return out
}

// alias describes what an entry without a kind is another name of.
func (d *dwarfTypes) alias(t *Typer, e *dwarf.Entry) *typ {
	at, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok || e.Tag != dwarf.TagTypedef {
		return nil
	}
	return t.typeAt(ref{die: uint64(at) + 1})
}

// boxes describes an interface: an entry that is another name of runtime.eface, or of runtime.iface.
func (d *dwarfTypes) boxes(_ *Typer, e *dwarf.Entry, out *typ) *typ {
	out.size = 16
	name := ""
	for range maxNested {
		at, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok {
			break
		}
		next, err := d.entry(ref{die: uint64(at) + 1})
		if err != nil {
			return nil
		}
		e = next
		name, _ = e.Val(dwarf.AttrName).(string)
	}
	if name != "runtime.eface" && name != "runtime.iface" {
		return nil
	}
	out.places = []place{{kind: kindInterface, eface: name == "runtime.eface"}}
	return out
}

var errNoEntry = errors.New("no such entry")

func (d *dwarfTypes) entry(r ref) (*dwarf.Entry, error) {
	if r.die == 0 {
		return nil, errNoEntry
	}
	d.in.Seek(dwarf.Offset(r.die - 1))
	e, err := d.in.Next()
	if err == nil && e == nil {
		err = errNoEntry
	}
	return e, err
}

// members lists the fields of a struct, whose entry was read last or before.
func (d *dwarfTypes) members(e *dwarf.Entry) []member {
	var list []member
	d.in.Seek(e.Offset)
	if _, err := d.in.Next(); err != nil || !e.Children {
		return nil
	}
	for len(list) < maxFields {
		m, err := d.in.Next()
		if err != nil || m == nil || m.Tag == 0 {
			break
		}
		at, ok1 := m.Val(dwarf.AttrDataMemberLoc).(int64)
		typ, ok2 := m.Val(dwarf.AttrType).(dwarf.Offset)
		if m.Tag == dwarf.TagMember && ok1 && ok2 {
			list = append(list, member{ref{die: uint64(typ) + 1}, uint64(at)})
		}
		if m.Children {
			d.in.SkipChildren()
		}
	}
	return list
}

// length is the number of elements of an array.
func (d *dwarfTypes) length(e *dwarf.Entry) uint64 {
	d.in.Seek(e.Offset)
	if _, err := d.in.Next(); err != nil || !e.Children {
		return 0
	}
	m, err := d.in.Next()
	if err != nil || m == nil {
		return 0
	}
	n, ok := m.Val(dwarf.AttrCount).(int64)
	if !ok {
		if last, has := m.Val(dwarf.AttrUpperBound).(int64); has {
			n = last + 1
		}
	}
	return uint64(max(n, 0))
}
