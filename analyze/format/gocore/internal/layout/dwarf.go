package layout

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNoDWARF says that an executable has no debugging information about the runtime's types: it was linked with -w
// or -s, or stripped.
var ErrNoDWARF = errors.New("the executable has no DWARF types of the Go runtime (linked with -w or -s, or stripped)")

// Bounds on what is read from an executable; real ones are far below (the types of a 200 MB program take some 10 MB).
const (
	maxAbbrev = 4 << 20
	maxUnit   = 256 << 20
	maxStr    = 64 << 20
	peekUnit  = 4 << 10 // enough for the header, the unit's own entry and the tag of its first child
)

// FromELF reads the layout from the DWARF of an executable. The version is that of its runtime, as for For; when it has
// a table, types that the linker left out of DWARF because the program does not use them come from the table, and
// so do wait reasons and constants. Without usable DWARF the error wraps ErrNoDWARF.
//
// The Go linker puts the types of the whole program into one of the compile units named "runtime"
// (cmd/link/internal/ld/dwarf.go). Only those are parsed, and what follows them is not even decompressed.
func FromELF(f *elf.File, version string) (*Layout, error) {
	arch, err := archOf(f)
	if err != nil {
		return nil, err
	}
	found, err := typesOfProgram(f, rootTypes)
	if err != nil {
		return nil, fmt.Errorf("types of the Go runtime: %w", err)
	}
	if found.structs["runtime.g"] == nil {
		return nil, fmt.Errorf("types of the Go runtime in .debug_info: runtime.g is no struct: %w", ErrNoDWARF)
	}
	l := &Layout{Arch: arch, Origin: OriginDWARF, types: found}
	if l.Version, err = ParseVersion(version); err != nil {
		return nil, &UnknownVersionError{Version: clip(version), Arch: arch, Known: Known(arch), Err: err}
	}
	if l.table, err = tableFor(l.Version, arch); err == nil {
		l.fallback = l.table.typesFor(l.Version)
	}
	return l, nil
}

// archOf names the architecture of a file as Go does.
func archOf(f *elf.File) (string, error) {
	switch {
	case f.Machine == elf.EM_X86_64 && f.Class == elf.ELFCLASS64:
		return "amd64", nil
	case f.Machine == elf.EM_AARCH64 && f.Class == elf.ELFCLASS64 && f.Data == elf.ELFDATA2LSB:
		return "arm64", nil
	}
	return "", fmt.Errorf("layout of the Go runtime: machine %v, %v: only 64-bit amd64 and arm64 are known", f.Machine, f.Class)
}

// unitReader goes through the compile units of an executable.
type unitReader struct {
	file    *elf.File
	in      *bufio.Reader // .debug_info
	start   uint64        // where in is, in .debug_info
	abbrevs []byte        // .debug_abbrev
	shared  *unit         // the last unit whose declarations were read: those of Go all use the same
	strings []byte        // .debug_str, when there is one
}

// typesOfProgram gives the wanted types of a program and every struct that is part of one. The first of them tells the
// unit of types from others of that name, so every program must have it.
func typesOfProgram(f *elf.File, want []string) (*types, error) {
	units, err := openUnits(f)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(want))
	for _, name := range want {
		wanted[name] = true
	}
	for {
		u, err := units.next("runtime")
		if err != nil {
			return nil, err
		}
		entries, err := u.index(wanted)
		if err != nil {
			return nil, fmt.Errorf("unit of .debug_info at %#x: %w", u.start, err)
		}
		if _, ok := entries[want[0]]; ok {
			return u.types(want, entries)
		}
	}
}

func openUnits(f *elf.File) (*unitReader, error) {
	abbrevs, err := section(f, "abbrev", maxAbbrev)
	if err != nil {
		return nil, err
	}
	info, err := openSection(f, "info")
	if err != nil {
		return nil, err
	}
	r := &unitReader{file: f, in: bufio.NewReaderSize(info, 64<<10), abbrevs: abbrevs}
	if f.Section(".debug_str") != nil || f.Section(".zdebug_str") != nil {
		r.strings, err = section(f, "str", maxStr)
	}
	return r, err
}

// next loads the next unit of a name, and passes over the others without keeping them. After the last one the error
// wraps ErrNoDWARF.
func (r *unitReader) next(name string) (*unit, error) {
	for {
		head, err := r.in.Peek(peekUnit)
		if len(head) < minUnitHeader {
			if err == nil || errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("no unit of types in .debug_info: %w", ErrNoDWARF)
			}
			return nil, fmt.Errorf("read .debug_info at %#x: %w", r.start, err)
		}
		u, err := parseUnitHeader(head, r.start, r.file.ByteOrder)
		if err != nil {
			return nil, fmt.Errorf("unit of .debug_info at %#x: %w", r.start, err)
		}
		u.strings = r.strings
		r.start += u.length
		// A unit whose head cannot be read is of another compiler, or damaged: not the one that is wanted.
		if err := r.declare(u); err == nil {
			if got, err := u.name(); err == nil && got == name {
				return u, u.load(r.in)
			}
		}
		if _, err := io.CopyN(io.Discard, r.in, int64(u.length)); err != nil {
			return nil, fmt.Errorf("read .debug_info at %#x: %w", u.start, err)
		}
	}
}

// declare gives a unit its declarations.
func (r *unitReader) declare(u *unit) (err error) {
	if r.shared != nil && r.shared.abbrev == u.abbrev {
		u.abbrevs = r.shared.abbrevs
		return nil
	}
	if u.abbrevs, err = parseAbbrevs(r.abbrevs, u.abbrev); err == nil {
		r.shared = u
	}
	return err
}

// load reads the bytes of the unit, at the head of in.
func (u *unit) load(in io.Reader) error {
	if u.length > maxUnit {
		return fmt.Errorf("unit of .debug_info at %#x has %d bytes, more than the %d that are read", u.start, u.length, maxUnit)
	}
	data, err := io.ReadAll(io.LimitReader(in, int64(u.length)))
	if err != nil || uint64(len(data)) < u.length {
		return fmt.Errorf("unit of .debug_info at %#x: got %d of %d bytes: %w", u.start, len(data), u.length, orEOF(err))
	}
	u.data = data
	return nil
}

// openSection opens ".debug_x", or the older compressed ".zdebug_x", for reading what it holds after decompression.
func openSection(f *elf.File, name string) (io.Reader, error) {
	if s := f.Section(".debug_" + name); s != nil && s.Type != elf.SHT_NOBITS {
		return s.Open(), nil
	}
	s := f.Section(".zdebug_" + name)
	if s == nil {
		return nil, fmt.Errorf("no section .debug_%s: %w", name, ErrNoDWARF)
	}
	return openZdebug(s)
}

// section reads a whole section of bounded size.
func section(f *elf.File, name string, most int64) ([]byte, error) {
	in, err := openSection(f, name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return nil, fmt.Errorf("read .debug_%s: %w", name, err)
	}
	return data, nil
}

func orEOF(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// typeBuilder turns entries of a unit into types.
type typeBuilder struct {
	unit  *unit
	types *types
	seen  map[uint64]shape // entry -> its shape
}

// types describes the wanted types, whose entries index has found.
func (u *unit) types(want []string, at map[string]uint64) (*types, error) {
	b := &typeBuilder{unit: u, types: newTypes(), seen: map[uint64]shape{}}
	for _, name := range want {
		entry, ok := at[name]
		if !ok {
			continue
		}
		s, err := b.shape(entry, name, maxDepth)
		if err != nil {
			return nil, fmt.Errorf("type %s: %w", name, err)
		}
		if string(s) != name {
			b.types.aliases[name] = s
		}
	}
	return b.types, nil
}

// shape describes the type of an entry; path names it when it has no name that a table can hold.
func (b *typeBuilder) shape(entry uint64, path string, depth int) (shape, error) {
	if s, ok := b.seen[entry]; ok {
		return s, nil
	}
	if depth == 0 {
		return "", fmt.Errorf("entry at %#x: types nested more than %d deep", entry, maxDepth)
	}
	d, err := b.unit.entryAt(entry)
	if err != nil {
		return "", err
	}
	s, err := b.describe(d, path, depth)
	if err == nil {
		b.seen[entry] = s
	}
	return s, err
}

func (b *typeBuilder) describe(d *entry, path string, depth int) (shape, error) {
	switch d.tag {
	case tagTypedef:
		return b.shape(d.ref, path, depth-1)
	case tagStruct:
		return b.structure(d, path, depth)
	case tagPointer:
		return b.pointer(d)
	case tagArray:
		elem, err := b.shape(d.ref, path+"[]", depth-1)
		return shape(fmt.Sprintf("[%d]%s", d.count, elem)), err
	case tagSubroutine:
		return shape(fmt.Sprint(wordSize)), nil
	}
	return shape(fmt.Sprint(d.size)), nil
}

// pointer names what is pointed to, without describing it.
func (b *typeBuilder) pointer(d *entry) (shape, error) {
	if d.ref == 0 {
		return "*", nil
	}
	to, err := b.unit.entryAt(d.ref)
	if err != nil {
		return "", err
	}
	if to.tag == tagBase || to.tag == tagSubroutine || strings.ContainsAny(to.name, " \t\n") || strings.HasPrefix(to.name, "noalg.") {
		return "*", nil
	}
	return shape("*" + to.name), nil
}

// structure describes a struct and, through its fields, the structs in it.
func (b *typeBuilder) structure(d *entry, path string, depth int) (shape, error) {
	if d.name == "string" {
		return "string", nil
	}
	if strings.HasPrefix(d.name, "[]") {
		return b.slice(d, path, depth)
	}
	name := d.name
	if strings.ContainsAny(name, " \t\n") {
		name = path
	}
	if d.size > maxSize {
		return "", fmt.Errorf("struct %s has %d bytes, more than any of the runtime", clip(name), d.size)
	}
	st := &structType{name: name, size: d.size}
	b.types.structs[name] = st
	b.seen[d.at] = shape(name)
	for _, m := range d.members {
		if m.offset > d.size {
			return "", fmt.Errorf("struct %s has %d bytes, but a field at %d", clip(name), d.size, m.offset)
		}
		s, err := b.shape(m.ref, path+"."+m.name, depth-1)
		if err != nil {
			return "", fmt.Errorf("field %s: %w", m.name, err)
		}
		st.fields = append(st.fields, field{name: m.name, offset: m.offset, shape: s, embedded: m.embedded})
	}
	return shape(name), nil
}

// slice describes a slice header by its element, which DWARF gives as the target of the first field.
func (b *typeBuilder) slice(d *entry, path string, depth int) (shape, error) {
	if len(d.members) == 0 {
		return "", fmt.Errorf("slice %s without fields", d.name)
	}
	ptr, err := b.unit.entryAt(d.members[0].ref)
	if err != nil || ptr.ref == 0 {
		return "[]0", err
	}
	elem, err := b.shape(ptr.ref, path+"[]", depth-1)
	return "[]" + elem, err
}
