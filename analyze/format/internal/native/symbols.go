package native

import (
	"bytes"
	"cmp"
	"debug/elf"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
	"github.com/gopostmortem/postmortem/analyze/format/internal/unpack"
)

// Symbol names an address.
type Symbol struct {
	Name   string // demangled; "" when the module has no symbol for the address
	Linker string // as in the symbol table, without a version
	Module string // path of the module; "" when the address is in none
	Offset uint64 // from the start of the symbol, or from the start of the module's addresses when Name is ""
}

// symbol is one function of a symbol table, with its address without bias.
type symbol struct {
	addr, size uint64
	name       string
	rank       uint8 // of several names for one address the lowest is shown
}

// Symbol names the function that holds an address. ok is false when the address is in no module; then everything is empty.
func (m *Modules) Symbol(pc uint64) (s Symbol, ok bool) {
	mod := m.Find(pc)
	if mod == nil {
		return Symbol{}, false
	}
	s = Symbol{Module: mod.Path, Offset: pc - mod.Bias}
	mod.symbolsOnce.Do(mod.loadSymbols)
	if sym := mod.lookup(pc - mod.Bias); sym != nil {
		s.Linker = sym.name
		s.Name = demangle.Filter(sym.name, demangle.NoClones, demangle.MaxLength(maxDemangled))
		s.Offset = pc - mod.Bias - sym.addr
	}
	return s, true
}

// maxDemangled bounds a demangled name to 2^n characters.
const maxDemangled = 14

// maxNested bounds how many symbols before an address are looked at for one that holds it.
const maxNested = 32

// lookup finds the symbol that holds an address without bias. One without a size (a label of assembly) counts when no
// symbol with a size holds the address; it reaches up to the next symbol.
func (m *Module) lookup(addr uint64) *symbol {
	last := sort.Search(len(m.symbols), func(i int) bool { return m.symbols[i].addr > addr }) - 1
	for i := last; i >= 0 && last-i < maxNested; i-- {
		if s := &m.symbols[i]; addr-s.addr < s.size {
			return s
		}
	}
	if last >= 0 && m.symbols[last].size == 0 {
		return &m.symbols[last]
	}
	return nil
}

// loadSymbols collects the functions of every symbol table that belongs to the module.
func (m *Module) loadSymbols() {
	if m.image == nil {
		return
	}
	var all []symbol
	for _, img := range m.symbolImages() {
		all = append(all, symbolsOf(img)...)
		if img != m.image {
			_ = img.Close() // the names were copied, and the mapping was only read
		}
	}
	slices.SortFunc(all, func(a, b symbol) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(b2i(a.size == 0), b2i(b.size == 0)), cmp.Compare(a.rank, b.rank),
			cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	m.symbols = slices.CompactFunc(all, func(a, b symbol) bool { return a.addr == b.addr })
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// symbolImages gives the file itself, what its .gnu_debugdata holds, and its debug file.
func (m *Module) symbolImages() []*elfcore.Image {
	out := []*elfcore.Image{m.image}
	if packed, _, ok := m.section(".gnu_debugdata"); ok {
		if img := miniDebug(m.Path, packed); img != nil {
			out = append(out, img)
		}
	}
	if img := m.debugFile(); img != nil {
		out = append(out, img)
	}
	return out
}

// maxMiniDebug bounds an unpacked .gnu_debugdata; Fedora's largest have some megabytes.
const maxMiniDebug = 256 << 20

// miniDebug unpacks .gnu_debugdata: an ELF file with nothing but a symbol table, packed by xz.
func miniDebug(path string, packed []byte) *elfcore.Image {
	r, _, err := unpack.NewReader(bytes.NewReader(packed), unpack.Limits{MaxBytes: maxMiniDebug})
	if err != nil {
		return nil
	}
	defer r.Close() //nolint:errcheck // frees memory only
	data, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	img, err := elfcore.ImageFromBytes(path+" .gnu_debugdata", data)
	if err != nil {
		return nil
	}
	return img
}

// debugFile opens the separate debug file: by build-id, else by the name and checksum in .gnu_debuglink.
func (m *Module) debugFile() *elfcore.Image {
	id := m.image.Identify().GNUBuildID
	for _, path := range elfcore.BuildIDPaths(id, m.find, ".debug") {
		if img, err := elfcore.OpenImage(path); err == nil {
			if bytes.Equal(img.Identify().GNUBuildID, id) {
				return img
			}
			_ = img.Close() // another file under this id: not ours
		}
	}
	return m.linkedDebugFile()
}

// linkedDebugFile follows .gnu_debuglink: a name, padding to four bytes, and the CRC-32 of the whole file.
func (m *Module) linkedDebugFile() *elfcore.Image {
	link, _, ok := m.section(".gnu_debuglink")
	if !ok {
		return nil
	}
	end := bytes.IndexByte(link, 0)
	crcAt := (end + 4) &^ 3
	if end <= 0 || crcAt+4 > len(link) {
		return nil
	}
	name := string(link[:end])
	if name != filepath.Base(name) {
		return nil
	}
	for _, dir := range m.debugDirs() {
		path := filepath.Join(dir, name)
		if path == m.image.Path {
			continue
		}
		img, err := elfcore.OpenImage(path)
		if err != nil {
			continue
		}
		if crc32.ChecksumIEEE(img.Data()) == le.Uint32(link[crcAt:]) {
			return img
		}
		_ = img.Close() // another build
	}
	return nil
}

// debugDirs lists where a debug file may be (GDB manual, "Separate Debug Files").
func (m *Module) debugDirs() []string {
	dir := filepath.Dir(m.image.Path)
	out := []string{dir, filepath.Join(dir, ".debug")}
	for _, d := range append(append([]string{}, m.find.DebugDirs...), elfcore.DefaultDebugDirs...) {
		out = append(out, filepath.Join(d, dir), filepath.Join(d, filepath.Dir(m.Path)))
	}
	return out
}

// symSize is the size of an Elf64_Sym.
const symSize = 24

// symbolsOf reads the functions from .symtab and .dynsym.
func symbolsOf(img *elfcore.Image) []symbol {
	f, err := img.ELF()
	if err != nil {
		return nil
	}
	var out []symbol
	for _, s := range f.Sections {
		if (s.Type != elf.SHT_SYMTAB && s.Type != elf.SHT_DYNSYM) || int(s.Link) >= len(f.Sections) {
			continue
		}
		table, names := sectionBytes(img, s), sectionBytes(img, f.Sections[s.Link])
		for ; len(table) >= symSize; table = table[symSize:] {
			if sym, ok := decodeSymbol(table, names); ok {
				out = append(out, sym)
			}
		}
	}
	return out
}

// sectionBytes gives the bytes of a section as they are in the file; nil when they are not in it.
func sectionBytes(img *elfcore.Image, s *elf.Section) []byte {
	all := img.Data()
	if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 || s.Offset > uint64(len(all)) || s.FileSize > uint64(len(all))-s.Offset {
		return nil
	}
	return all[s.Offset : s.Offset+s.FileSize]
}

// maxSymbolName bounds a name; C++ templates reach some thousand characters.
const maxSymbolName = 1 << 16

// decodeSymbol reads an Elf64_Sym; ok is false for what is no defined function with a name.
func decodeSymbol(b, names []byte) (symbol, bool) {
	nameAt, info, shndx := le.Uint32(b), b[4], elf.SectionIndex(le.Uint16(b[6:]))
	typ, bind := elf.ST_TYPE(info), elf.ST_BIND(info)
	function := typ == elf.STT_FUNC || typ == elf.STT_GNU_IFUNC || typ == elf.STT_NOTYPE
	if !function || shndx == elf.SHN_UNDEF || shndx == elf.SHN_ABS || uint64(nameAt) >= uint64(len(names)) {
		return symbol{}, false
	}
	rest := names[nameAt:]
	end := bytes.IndexByte(rest[:min(len(rest), maxSymbolName)], 0)
	if end <= 0 || rest[0] == '$' { // arm64 marks code and data by $x and $d
		return symbol{}, false
	}
	name, _, _ := strings.Cut(string(rest[:end]), "@")
	s := symbol{addr: le.Uint64(b[8:]), size: le.Uint64(b[16:]), name: name}
	s.rank = rankOf(typ, bind, name)
	return s, name != ""
}

// rankOf orders several names for one address: functions before labels, plain names before reserved ones (pause before
// __libc_pause), global before weak before local.
func rankOf(typ elf.SymType, bind elf.SymBind, name string) uint8 {
	const label, reserved, internal, local, weak = 64, 32, 16, 8, 4
	rank := uint8(0)
	if typ == elf.STT_NOTYPE {
		rank += label
	}
	if strings.HasPrefix(name, "_") {
		rank += reserved
	}
	if strings.HasPrefix(name, "__GI_") { // glibc's names for calls within itself
		rank += internal
	}
	switch bind {
	case elf.STB_GLOBAL:
	case elf.STB_WEAK:
		rank += weak
	default:
		rank += local
	}
	return rank
}
