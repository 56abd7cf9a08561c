package objtype

import (
	"debug/dwarf"
	"debug/elf"
)

// Entries of location lists (DWARF 5, 7.7.3) and operations of locations (2.5, 2.6) as the Go compiler writes them.
const (
	listBaseAddrx   = 1
	listStartxLen   = 3
	listOffsetPair  = 4
	listBaseAddress = 6
	listStartEnd    = 7
	listStartLen    = 8

	opConsts     = 0x11
	opPlus       = 0x22
	opPlusUconst = 0x23
	opReg0       = 0x50
	opReg31      = 0x6f
	opRegx       = 0x90
	opFbreg      = 0x91
	opPiece      = 0x93
	opFrameCFA   = 0x9c
)

// Bounds on local variables.
const (
	maxLocations = 256 << 20 // bytes of a section of location lists
	maxLocals    = 1 << 10   // of one function
	maxLocalSize = 64 << 10
	maxEntries   = 1 << 15 // of a location list
)

// unit is what location lists need of a compile unit.
type unit struct {
	start dwarf.Offset
	base  uint64 // where offsets of its lists begin: its lowest address
	addrs uint64 // offset of its part of .debug_addr
}

// function is an entry of a function.
type function struct {
	die  dwarf.Offset
	unit int
}

// piece is a part of a variable in memory.
type piece struct {
	at   uint64 // in the variable
	size uint64 // 0 for all of it
	cfa  int64  // from the frame's CFA
}

// local is a variable of a frame that is in memory, at least in part.
type local struct {
	d      *typ
	pieces []piece
}

// locals finds variables of frames.
type locals struct {
	lists   []byte // .debug_loclists, or .debug_loc
	five    bool   // they are those of DWARF 5
	addrs   []byte
	units   []unit
	entries map[uint64]function // by address in the file
	known   map[uint64][]local  // by pc
}

func newLocals(f *elf.File, addrs []byte) *locals {
	l := &locals{addrs: addrs, entries: map[uint64]function{}, known: map[uint64][]local{}}
	for _, name := range []string{".debug_loclists", ".debug_loc"} {
		if s := f.Section(name); s != nil && s.Size <= maxLocations {
			raw, err := s.Data()
			if err != nil {
				continue // the variables in lists are not followed
			}
			l.lists, l.five = raw, name == ".debug_loclists"
			break
		}
	}
	return l
}

// Frame follows the local variables of a frame of the function that begins at entry. pc is where it is: of a frame that has called another
// the address before the return address. cfa is the address behind its frame.
func (t *Typer) Frame(entry, pc, cfa uint64) {
	if t.dwarf == nil || t.dwarf.locals == nil {
		return
	}
	l := t.dwarf.locals
	list, ok := l.known[pc]
	if !ok {
		if f, has := l.entries[entry-t.dwarf.bias]; has {
			list = t.dwarf.localsAt(t, f, pc-t.dwarf.bias)
		}
		l.known[pc] = list
	}
	for i := range list {
		t.local(&list[i], cfa)
	}
}

// local follows one variable.
func (t *Typer) local(v *local, cfa uint64) {
	if len(v.pieces) == 1 && v.pieces[0].size == 0 {
		t.value(cfa+uint64(v.pieces[0].cfa), v.d)
		return
	}
	mem := make([]byte, v.d.size)
	for _, p := range v.pieces {
		raw, ok := t.src.Mem.Bytes(cfa+uint64(p.cfa), p.size)
		if ok && p.at+p.size <= v.d.size {
			copy(mem[p.at:], raw)
		}
	}
	t.values(mem, v.d, 1, Followed)
	t.drain()
}

// localsAt lists the variables that a function has in memory at a pc, those of calls inlined into it among them.
func (d *dwarfTypes) localsAt(t *Typer, f function, pc uint64) []local {
	in := d.data.Reader()
	in.Seek(f.die)
	e, err := in.Next()
	if err != nil || e == nil || !e.Children {
		return nil
	}
	var list []local
	for depth := 1; depth > 0 && len(list) < maxLocals; {
		e, err := in.Next()
		if err != nil || e == nil {
			break
		}
		switch e.Tag {
		case 0:
			depth--
			continue
		case dwarf.TagVariable, dwarf.TagFormalParameter:
			if v, ok := d.variableAt(t, e, f, pc); ok {
				list = append(list, v)
			}
		case dwarf.TagLexDwarfBlock, dwarf.TagInlinedSubroutine:
			if !d.covers(e, pc) {
				in.SkipChildren()
				continue
			}
		}
		if e.Children {
			depth++
		}
	}
	return list
}

// covers reports whether a block holds a pc.
func (d *dwarfTypes) covers(e *dwarf.Entry, pc uint64) bool {
	ranges, err := d.data.Ranges(e)
	if err != nil {
		return false
	}
	for _, r := range ranges {
		if pc >= r[0] && pc < r[1] {
			return true
		}
	}
	return false
}

// variableAt reads a variable that is in memory at a pc.
func (d *dwarfTypes) variableAt(t *Typer, e *dwarf.Entry, f function, pc uint64) (v local, ok bool) {
	at, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if origin, has := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); !ok && has {
		from, err := d.entry(ref{die: uint64(origin) + 1})
		if err != nil {
			return v, false
		}
		at, ok = from.Val(dwarf.AttrType).(dwarf.Offset)
	}
	if !ok {
		return v, false
	}
	field := e.AttrField(dwarf.AttrLocation)
	if field == nil {
		return v, false
	}
	expr, _ := field.Val.([]byte)
	if offset, list := field.Val.(int64); list {
		expr = d.locals.find(uint64(offset), d.locals.units[f.unit], pc)
	}
	if v.pieces, ok = pieces(expr); !ok {
		return v, false
	}
	v.d = t.typeAt(ref{die: uint64(at) + 1})
	return v, v.d != nil && v.d.size > 0 && v.d.size <= maxLocalSize && len(v.d.places) > 0
}

// find returns the location that a list has for a pc.
func (l *locals) find(at uint64, u unit, pc uint64) []byte {
	if at >= uint64(len(l.lists)) {
		return nil
	}
	c := &cursor{b: l.lists[at:]}
	if l.five {
		return l.findFive(c, u, pc)
	}
	base := u.base
	for range maxEntries {
		from, to := c.uint64(), c.uint64()
		switch {
		case c.bad || from == 0 && to == 0:
			return nil
		case from == ^uint64(0):
			base = to
			continue
		}
		expr := c.take(uint64(c.uint16()))
		if pc >= base+from && pc < base+to {
			return expr
		}
	}
	return nil
}

func (l *locals) findFive(c *cursor, u unit, pc uint64) []byte {
	base := u.base
	addr := func(n uint64) uint64 {
		at := u.addrs + 8*n
		if n > maxAddrs || at+8 > uint64(len(l.addrs)) {
			c.bad = true
			return 0
		}
		return le.Uint64(l.addrs[at:])
	}
	for range maxEntries {
		var from, to uint64
		switch kind := c.byte(); kind {
		case listBaseAddrx:
			base = addr(c.uleb())
			continue
		case listBaseAddress:
			base = c.uint64()
			continue
		case listOffsetPair:
			from, to = base+c.uleb(), base+c.uleb()
		case listStartxLen:
			from = addr(c.uleb())
			to = from + c.uleb()
		case listStartEnd:
			from, to = c.uint64(), c.uint64()
		case listStartLen:
			from = c.uint64()
			to = from + c.uleb()
		default: // the end, or what the Go compiler does not write
			return nil
		}
		expr := c.take(c.uleb())
		if c.bad {
			return nil
		}
		if pc >= from && pc < to {
			return expr
		}
	}
	return nil
}

// pieces reads a location: the parts of a variable that are in memory. ok is false when none is.
func pieces(expr []byte) (list []piece, ok bool) {
	c := &cursor{b: expr}
	var done, offset int64
	inMemory := false
	for len(c.b) > 0 && !c.bad {
		switch op := c.byte(); {
		case op == opFrameCFA:
			offset, inMemory = 0, true
		case op == opFbreg:
			offset, inMemory = c.sleb(), true
		case op == opConsts:
			offset += c.sleb()
		case op == opPlusUconst:
			offset += int64(c.uleb())
		case op == opPlus:
		case op >= opReg0 && op <= opReg31:
			inMemory = false
		case op == opRegx:
			c.uleb()
			inMemory = false
		case op == opPiece:
			n := c.uleb()
			if n > maxLocalSize {
				return nil, false
			}
			if inMemory {
				list = append(list, piece{uint64(done), n, offset})
			}
			done += int64(n)
			inMemory = false
		default:
			return nil, false
		}
	}
	if inMemory && done == 0 {
		list = append(list, piece{cfa: offset})
	}
	return list, !c.bad && len(list) > 0
}

// cursor reads from bytes. After what is not there bad is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (c *cursor) uleb() (v uint64) {
	for shift := 0; shift < 64 && !c.bad; shift += 7 {
		b := c.byte()
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v
		}
	}
	return v
}

func (c *cursor) sleb() (v int64) {
	for shift := 0; shift < 64 && !c.bad; {
		b := c.byte()
		v |= int64(b&0x7f) << shift
		shift += 7
		if b&0x80 == 0 {
			if b&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v
		}
	}
	return v
}
