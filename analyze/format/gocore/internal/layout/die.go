package layout

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Tags, attributes and forms of DWARF that the type unit uses (DWARF 5, section 7.5; Go's own attributes are in
// cmd/internal/dwarf/dwarf.go).
const (
	tagArray       = 0x01
	tagMember      = 0x0d
	tagPointer     = 0x0f
	tagUnit        = 0x11
	tagStruct      = 0x13
	tagSubroutine  = 0x15
	tagTypedef     = 0x16
	tagSubrange    = 0x21
	tagBase        = 0x24
	attrName       = 0x03
	attrByteSize   = 0x0b
	attrUpperBound = 0x2f
	attrCount      = 0x37
	attrMember     = 0x38 // data_member_location
	attrType       = 0x49
	attrGoEmbedded = 0x2903

	formAddr          = 0x01
	formBlock2        = 0x03
	formBlock4        = 0x04
	formData2         = 0x05
	formData4         = 0x06
	formData8         = 0x07
	formString        = 0x08
	formBlock         = 0x09
	formBlock1        = 0x0a
	formData1         = 0x0b
	formFlag          = 0x0c
	formSdata         = 0x0d
	formStrp          = 0x0e
	formUdata         = 0x0f
	formRefAddr       = 0x10
	formRef1          = 0x11
	formRef2          = 0x12
	formRef4          = 0x13
	formRef8          = 0x14
	formRefUdata      = 0x15
	formSecOffset     = 0x17
	formExprloc       = 0x18
	formFlagPresent   = 0x19
	formStrx          = 0x1a
	formAddrx         = 0x1b
	formLineStrp      = 0x1f
	formImplicitConst = 0x21
	formLoclistx      = 0x22
	formRnglistx      = 0x23
	formStrx1         = 0x25
	formStrx4         = 0x28
	formAddrx1        = 0x29
	formAddrx4        = 0x2c
)

// fixedForms are the forms whose values have a size that depends on nothing; -1 stands for the others.
var fixedForms = formSizes(map[int]int8{
	formAddr: 8, formData1: 1, formData2: 2, formData4: 4, formData8: 8, formFlag: 1, formFlagPresent: 0,
	formImplicitConst: 0, formStrp: 4, formLineStrp: 4, formSecOffset: 4, formRefAddr: 4, formRef1: 1, formRef2: 2,
	formRef4: 4, formRef8: 8, formStrx1: 1, formStrx1 + 1: 2, formStrx1 + 2: 3, formStrx4: 4, formAddrx1: 1,
	formAddrx1 + 1: 2, formAddrx1 + 2: 3, formAddrx4: 4,
})

// formSizes makes an array of a map: the sizes are looked up for every attribute that is passed over.
func formSizes(known map[int]int8) (sizes [formAddrx4 + 1]int8) {
	for form := range sizes {
		sizes[form] = -1
	}
	for form, size := range known {
		sizes[form] = size
	}
	return sizes
}

// A reader walks over bytes; the first error sticks.
type byteReader struct {
	data  []byte
	at    int
	order binary.ByteOrder
	err   error
}

func (r *byteReader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.data)-r.at) {
		r.fail()
		return nil
	}
	part := r.data[r.at : r.at+int(n)]
	r.at += int(n)
	return part
}

func (r *byteReader) fail() {
	if r.err == nil {
		r.err = io.ErrUnexpectedEOF
	}
	r.at = len(r.data)
}

// number reads an unsigned number of 1 to 8 bytes; the order of the tables' architectures is little-endian.
func (r *byteReader) number(n int) uint64 {
	var v uint64
	for i, b := range r.take(uint64(n)) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (r *byteReader) uleb() uint64 {
	var v uint64
	for shift := 0; shift < 70; shift += 7 {
		if r.at >= len(r.data) {
			r.fail()
			return 0
		}
		b := r.data[r.at]
		r.at++
		v |= uint64(b&0x7f) << min(shift, 63)
		if b < 0x80 {
			return v
		}
	}
	r.fail()
	return 0
}

func (r *byteReader) cstring() []byte {
	end := bytes.IndexByte(r.data[r.at:], 0)
	if end < 0 {
		r.fail()
		return nil
	}
	s := r.data[r.at : r.at+end]
	r.at += end + 1
	return s
}

// attrSpec and abbrev are a declaration of .debug_abbrev.
type attrSpec struct {
	attr, form uint64
	implicit   uint64
}

type abbrev struct {
	tag      uint64
	children bool
	attrs    []attrSpec
}

// abbrevTable is the declarations of one unit by their code. Go numbers them densely from 1.
type abbrevTable []abbrev

func (t abbrevTable) get(code uint64) *abbrev {
	if code >= uint64(len(t)) || t[code].tag == 0 {
		return nil
	}
	return &t[code]
}

const maxAbbrevCode = 1 << 12 // Go's linker has some 40 declarations

// parseAbbrevs reads the declarations at an offset.
func parseAbbrevs(section []byte, offset uint64) (abbrevTable, error) {
	if offset > uint64(len(section)) {
		return nil, fmt.Errorf(".debug_abbrev has no offset %#x", offset)
	}
	r := &byteReader{data: section, at: int(offset)}
	var t abbrevTable
	for {
		code := r.uleb()
		if code == 0 || r.err != nil {
			return t, r.err
		}
		if code > maxAbbrevCode {
			return nil, fmt.Errorf(".debug_abbrev at %#x: code %d is out of range", r.at, code)
		}
		for uint64(len(t)) <= code {
			t = append(t, abbrev{})
		}
		t[code] = r.abbrev()
	}
}

func (r *byteReader) abbrev() abbrev {
	a := abbrev{tag: r.uleb(), children: r.number(1) != 0}
	for r.err == nil {
		s := attrSpec{attr: r.uleb(), form: r.uleb()}
		if s.attr == 0 && s.form == 0 {
			break
		}
		if s.form == formImplicitConst {
			s.implicit = r.uleb()
		}
		a.attrs = append(a.attrs, s)
	}
	return a
}

// unit is a compile unit of .debug_info.
type unit struct {
	start   uint64 // offset in .debug_info
	length  uint64 // bytes with the header
	first   int    // offset of the first entry from start
	abbrev  uint64 // offset in .debug_abbrev
	order   binary.ByteOrder
	abbrevs abbrevTable
	data    []byte // the unit; only its head until load
	strings []byte // .debug_str, when names are there
}

const minUnitHeader = 12

// parseUnitHeader reads the header at the start of head (DWARF 5, section 7.5.1; DWARF 4, 7.5.1.1).
func parseUnitHeader(head []byte, start uint64, order binary.ByteOrder) (*unit, error) {
	r := &byteReader{data: head, order: order}
	length := r.number(4)
	if length < 8 || length >= 0xfffffff0 {
		return nil, fmt.Errorf("length %#x: 64-bit DWARF and damaged units are not read", length)
	}
	u := &unit{start: start, length: length + 4, order: order, data: head[:min(uint64(len(head)), length+4)]}
	switch version := r.number(2); version {
	case 2, 3, 4:
		u.abbrev = r.number(4)
		r.number(1)
	case 5:
		r.number(2) // the kind of unit and the size of an address
		u.abbrev = r.number(4)
	default:
		return nil, fmt.Errorf("DWARF version %d is not known", version)
	}
	u.first = r.at
	return u, r.err
}

// name reads the name of the unit, which its first entry holds.
func (u *unit) name() (string, error) {
	d, err := u.entryAt(u.start + uint64(u.first))
	if err != nil || d.tag != tagUnit {
		return "", err
	}
	return d.name, nil
}

// entry is what is wanted of a debugging information entry.
type entry struct {
	at, ref  uint64 // offsets in .debug_info; ref is the type it refers to
	tag      uint64
	name     string
	size     uint64
	offset   uint64 // of a member
	count    uint64 // of an array
	embedded bool
	members  []entry
	end      int // where the next entry starts, in the unit
	children bool
}

// entryAt reads the entry at an offset of .debug_info, with its fields when it is a struct and its count when an array.
func (u *unit) entryAt(at uint64) (*entry, error) {
	if at < u.start+uint64(u.first) || at >= u.start+uint64(len(u.data)) {
		return nil, fmt.Errorf("entry at %#x is not in the unit of types", at)
	}
	r := &byteReader{data: u.data, at: int(at - u.start), order: u.order}
	d := u.readEntry(r)
	if d.children && (d.tag == tagStruct || d.tag == tagArray) {
		u.readChildren(r, &d)
	}
	if r.err != nil {
		return nil, fmt.Errorf("entry at %#x: %w", at, r.err)
	}
	return &d, nil
}

const maxMembers = 1 << 14

func (u *unit) readChildren(r *byteReader, d *entry) {
	for r.err == nil && len(d.members) < maxMembers {
		child := u.readEntry(r)
		switch child.tag {
		case 0:
			return
		case tagMember:
			d.members = append(d.members, child)
		case tagSubrange:
			d.count = child.count
		}
	}
}

// readEntry reads one entry without its children. Its tag is 0 at the end of a list.
func (u *unit) readEntry(r *byteReader) entry {
	d := entry{at: u.start + uint64(r.at)}
	code := r.uleb()
	if code == 0 || r.err != nil {
		return d
	}
	a := u.abbrevs.get(code)
	if a == nil {
		r.err = fmt.Errorf("no declaration %d in .debug_abbrev", code)
		return d
	}
	d.tag, d.children = a.tag, a.children
	for i := range a.attrs {
		u.readAttr(r, &a.attrs[i], &d)
	}
	d.end = r.at
	return d
}

// readAttr reads or skips one attribute.
func (u *unit) readAttr(r *byteReader, s *attrSpec, d *entry) {
	switch s.attr {
	case attrName:
		d.name = string(u.text(r, s.form))
	case attrByteSize:
		d.size = u.value(r, s)
	case attrType:
		d.ref = u.reference(r, s)
	case attrMember:
		d.offset = u.value(r, s)
	case attrCount:
		d.count = u.value(r, s)
	case attrUpperBound:
		d.count = u.value(r, s) + 1
	case attrGoEmbedded:
		d.embedded = u.value(r, s) != 0
	default:
		u.skip(r, s.form)
	}
}

// text reads a name, in place or from .debug_str; a form of other sections gives nothing.
func (u *unit) text(r *byteReader, form uint64) []byte {
	switch form {
	case formString:
		return r.cstring()
	case formStrp:
		at := r.number(4)
		if at >= uint64(len(u.strings)) {
			return nil
		}
		s := &byteReader{data: u.strings, at: int(at)}
		return s.cstring()
	}
	u.skip(r, form)
	return nil
}

// value reads a number of any form of the class constant or flag.
func (u *unit) value(r *byteReader, s *attrSpec) uint64 {
	switch s.form {
	case formUdata, formSdata: // sizes and offsets are not negative, so that both read alike up to the sign bit
		return r.uleb()
	case formImplicitConst:
		return s.implicit
	case formFlagPresent:
		return 1
	case formData1, formData2, formData4, formData8, formFlag:
		return r.number(int(fixedForms[s.form]))
	}
	u.skip(r, s.form)
	return 0
}

// reference reads an offset in .debug_info.
func (u *unit) reference(r *byteReader, s *attrSpec) uint64 {
	switch s.form {
	case formRefAddr:
		return r.number(4)
	case formRef1, formRef2, formRef4, formRef8:
		return u.start + r.number(int(fixedForms[s.form]))
	case formRefUdata:
		return u.start + r.uleb()
	}
	u.skip(r, s.form)
	return 0
}

// skip passes over a value.
func (u *unit) skip(r *byteReader, form uint64) {
	if form < uint64(len(fixedForms)) && fixedForms[form] >= 0 {
		r.take(uint64(fixedForms[form]))
		return
	}
	switch form {
	case formString:
		r.cstring()
	case formUdata, formSdata, formRefUdata, formStrx, formAddrx, formLoclistx, formRnglistx:
		r.uleb()
	case formBlock1:
		r.take(r.number(1))
	case formBlock2:
		r.take(r.number(2))
	case formBlock4:
		r.take(r.number(4))
	case formBlock, formExprloc:
		r.take(r.uleb())
	default:
		r.err = fmt.Errorf("form %#x of DWARF is not known", form)
	}
}

// openZdebug decompresses a section in the older GNU form: "ZLIB", the size in eight bytes, then a zlib stream. Sections
// that compression would not make smaller have the name only.
func openZdebug(s *elf.Section) (io.Reader, error) {
	const magic, header = "ZLIB", 12
	raw := bufio.NewReader(s.Open())
	head, err := raw.Peek(header)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", s.Name, err)
	}
	if !bytes.HasPrefix(head, []byte(magic)) || len(head) < header {
		return raw, nil
	}
	if _, err := raw.Discard(header); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Name, err)
	}
	z, err := zlib.NewReader(raw)
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", s.Name, err)
	}
	return z, nil
}

// index finds the wanted types among the entries of the unit.
func (u *unit) index(want map[string]bool) (map[string]uint64, error) {
	found := make(map[string]uint64, len(want))
	r := &byteReader{data: u.data, at: u.first, order: u.order}
	for r.at < len(r.data) && r.err == nil {
		at := u.start + uint64(r.at)
		if name, isType := u.passEntry(r); isType && want[string(name)] {
			if _, again := found[string(name)]; !again {
				found[string(name)] = at
			}
		}
	}
	return found, r.err
}

// passEntry moves over an entry, and gives its name when it is a type. It allocates nothing.
func (u *unit) passEntry(r *byteReader) (name []byte, isType bool) {
	code := r.uleb()
	if code == 0 {
		return nil, false
	}
	a := u.abbrevs.get(code)
	if a == nil {
		r.err = fmt.Errorf("no declaration %d in .debug_abbrev (entry at %#x)", code, u.start+uint64(r.at))
		return nil, false
	}
	for i := range a.attrs {
		if a.attrs[i].attr == attrName {
			name = u.text(r, a.attrs[i].form)
		} else {
			u.skip(r, a.attrs[i].form)
		}
	}
	return name, a.tag == tagStruct || a.tag == tagTypedef || a.tag == tagArray
}
