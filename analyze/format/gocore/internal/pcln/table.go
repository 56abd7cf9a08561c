// Package pcln reads the function tables that every Go program carries: the pclntab. It survives stripping, and it is what
// the runtime's own traceback uses, so stacks read with it are the stacks that the runtime would have printed.
//
// The format is the one of Go 1.20 and later (magic 0xfffffff1): runtime/symtab.go and cmd/link/internal/ld/pcln.go.
// Everything is read from the memory of the dead process, and nothing is trusted: an index outside its table gives "not
// found".
package pcln

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// Magic is the first word of a pcHeader since Go 1.20 (internal/abi/symtab.go, Go120PCLnTabMagic).
const Magic = 0xfffffff1

// maxModules bounds the list of modules; more than one exists only with plugins or shared build modes.
const maxModules = 64

// maxSections bounds the sections of text; the linker splits it where a jump would reach no further (128 MB on arm64).
const maxSections = 1 << 10

// maxName bounds a name; type arguments make some thousand characters.
const maxName = 1 << 16

// maxTable bounds one table; the largest real programs have some hundred megabytes of pclntab in all.
const maxTable = 1 << 30

// Memory is what the tables are read from.
type Memory interface {
	// Bytes returns n bytes at addr, or false when one of them is absent.
	Bytes(addr, n uint64) ([]byte, bool)
}

// Offsets gives the place of a field of a runtime type: "runtime.moduledata.text".
type Offsets interface {
	Offset(path string) (uint64, bool)
}

// Table holds the function tables of all modules of a process. It is safe for concurrent reading.
type Table struct {
	mem     Memory
	Modules []*Module
}

// Module is one moduledata: the main program, or a plugin.
type Module struct {
	Addr          uint64 // of the moduledata
	MinPC, MaxPC  uint64
	Text, EText   uint64
	Data, EData   uint64
	BSS, EBSS     uint64
	NoPtrData     uint64
	ENoPtrData    uint64
	NoPtrBSS      uint64
	ENoPtrBSS     uint64
	Types, ETypes uint64
	Rodata        uint64
	GoFunc        uint64 // base of FUNCDATA offsets

	mem      Memory
	names    []byte
	cutab    []byte
	files    []byte
	pctab    []byte
	funcs    []byte // the pclntable proper: ftab and _func records
	ftab     []byte // nftab records of {entryOff, funcOff uint32}
	nfunc    int
	sections []section
	quantum  uint64
}

// section is a runtime.textsect: text may consist of several parts.
type section struct{ vaddr, end, base uint64 }

// Load reads the list of modules that begins at firstmoduledata. The error says which field of which module failed.
func Load(mem Memory, offsets Offsets, firstmoduledata uint64) (*Table, error) {
	t := &Table{mem: mem}
	next, ok := offsets.Offset("runtime.moduledata.next")
	if !ok {
		return nil, errors.New("the layout has no runtime.moduledata.next")
	}
	seen := map[uint64]bool{}
	for addr := firstmoduledata; addr != 0 && len(t.Modules) < maxModules && !seen[addr]; {
		seen[addr] = true
		m, err := loadModule(mem, offsets, addr)
		if err != nil {
			if len(t.Modules) > 0 {
				return t, nil // the program itself is read; what follows is damaged
			}
			return nil, fmt.Errorf("module data at %#x: %w", addr, err)
		}
		t.Modules = append(t.Modules, m)
		addr, _ = word(mem, addr+next)
	}
	if len(t.Modules) == 0 {
		return nil, errors.New("no module data")
	}
	return t, nil
}

func word(mem Memory, addr uint64) (uint64, bool) {
	b, ok := mem.Bytes(addr, 8)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// moduleReader reads the fields of one moduledata and keeps the first error.
type moduleReader struct {
	mem     Memory
	offsets Offsets
	addr    uint64
	err     error
}

func (r *moduleReader) word(field string) uint64 {
	off, ok := r.offsets.Offset("runtime.moduledata." + field)
	if !ok {
		r.fail(fmt.Errorf("the layout has no field %s", field))
		return 0
	}
	v, ok := word(r.mem, r.addr+off)
	if !ok {
		r.fail(fmt.Errorf("field %s is not in the core", field))
	}
	return v
}

func (r *moduleReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// slice reads a slice header and returns the array, whose elements have the given size.
func (r *moduleReader) slice(field string, elem uint64) []byte {
	off, ok := r.offsets.Offset("runtime.moduledata." + field)
	if !ok {
		r.fail(fmt.Errorf("the layout has no field %s", field))
		return nil
	}
	ptr, ok1 := word(r.mem, r.addr+off)
	n, ok2 := word(r.mem, r.addr+off+8)
	if !ok1 || !ok2 || n > maxTable/elem {
		r.fail(fmt.Errorf("field %s: bad slice header", field))
		return nil
	}
	b, ok := r.mem.Bytes(ptr, n*elem)
	if !ok {
		r.fail(fmt.Errorf("field %s: %d bytes at %#x are neither in the core nor in a verified file", field, n*elem, ptr))
	}
	return b
}

func loadModule(mem Memory, offsets Offsets, addr uint64) (*Module, error) {
	r := &moduleReader{mem: mem, offsets: offsets, addr: addr}
	m := &Module{Addr: addr, mem: mem}
	header := r.word("pcHeader")
	m.MinPC, m.MaxPC = r.word("minpc"), r.word("maxpc")
	m.Text, m.EText = r.word("text"), r.word("etext")
	m.Data, m.EData = r.word("data"), r.word("edata")
	m.BSS, m.EBSS = r.word("bss"), r.word("ebss")
	m.NoPtrData, m.ENoPtrData = r.word("noptrdata"), r.word("enoptrdata")
	m.NoPtrBSS, m.ENoPtrBSS = r.word("noptrbss"), r.word("enoptrbss")
	m.Types, m.ETypes = r.word("types"), r.word("etypes")
	m.Rodata, m.GoFunc = r.word("rodata"), r.word("gofunc")
	m.names = r.slice("funcnametab", 1)
	m.cutab = r.slice("cutab", 4)
	m.files = r.slice("filetab", 1)
	m.pctab = r.slice("pctab", 1)
	m.funcs = r.slice("pclntable", 1)
	m.ftab = r.slice("ftab", 8)
	m.readSections(r)
	if r.err != nil {
		return nil, r.err
	}
	return m, m.check(header)
}

// readSections reads the text section map; one section needs none.
func (m *Module) readSections(r *moduleReader) {
	const textsect = 24 // vaddr, end, baseaddr: runtime/symtab.go, type textsect
	raw := r.slice("textsectmap", textsect)
	if len(raw) > maxSections*textsect {
		r.fail(fmt.Errorf("field textsectmap: %d sections of text, at most %d are read", len(raw)/textsect, maxSections))
		return
	}
	for ; len(raw) >= textsect; raw = raw[textsect:] {
		m.sections = append(m.sections, section{
			vaddr: binary.LittleEndian.Uint64(raw), end: binary.LittleEndian.Uint64(raw[8:]),
			base: binary.LittleEndian.Uint64(raw[16:]),
		})
	}
}

// check holds the module against its own header: the runtime does the same in moduledataverify1.
func (m *Module) check(header uint64) error {
	h, ok := m.mem.Bytes(header, 24)
	if !ok {
		return fmt.Errorf("pcHeader at %#x is not in memory", header)
	}
	if magic := binary.LittleEndian.Uint32(h); magic != Magic {
		return fmt.Errorf("pcHeader at %#x has magic %#x, want %#x (Go 1.20 to 1.26)", header, magic, uint32(Magic))
	}
	if h[7] != 8 {
		return fmt.Errorf("pointer size %d, want 8", h[7])
	}
	m.quantum = uint64(h[6])
	m.nfunc = len(m.ftab)/8 - 1 // the last entry marks the end
	if n := binary.LittleEndian.Uint64(h[8:]); m.nfunc < 1 || n != uint64(m.nfunc) {
		return fmt.Errorf("pcHeader counts %d functions, the module %d", n, m.nfunc)
	}
	if m.Text >= m.EText || m.MinPC < m.Text || m.quantum == 0 {
		return fmt.Errorf("text %#x-%#x does not hold the first function %#x", m.Text, m.EText, m.MinPC)
	}
	return nil
}

// address turns an offset into text into an address (runtime/symtab.go, textAddr).
func (m *Module) address(off uint32) uint64 {
	if len(m.sections) > 1 {
		for i, s := range m.sections {
			last := i == len(m.sections)-1
			if uint64(off) >= s.vaddr && (uint64(off) < s.end || last && uint64(off) == s.end) {
				return s.base + uint64(off) - s.vaddr
			}
		}
	}
	return m.Text + uint64(off)
}

// offset is the inverse of address.
func (m *Module) offset(pc uint64) (uint32, bool) {
	if len(m.sections) > 1 {
		for _, s := range m.sections {
			if size := s.end - s.vaddr; pc >= s.base && pc-s.base < size {
				return uint32(pc - s.base + s.vaddr), true
			}
		}
		return 0, false
	}
	return uint32(pc - m.Text), pc >= m.Text && pc-m.Text < 1<<32
}

// Find returns the function that contains pc.
func (t *Table) Find(pc uint64) (Func, bool) {
	for _, m := range t.Modules {
		if pc >= m.MinPC && pc < m.MaxPC {
			return m.find(pc)
		}
	}
	return Func{}, false
}

func (m *Module) find(pc uint64) (Func, bool) {
	off, ok := m.offset(pc)
	if !ok {
		return Func{}, false
	}
	i := sort.Search(m.nfunc, func(i int) bool { return binary.LittleEndian.Uint32(m.ftab[8*i:]) > off }) - 1
	if i < 0 {
		return Func{}, false
	}
	return m.at(i)
}

// at returns function i of the module.
func (m *Module) at(i int) (Func, bool) {
	entry := binary.LittleEndian.Uint32(m.ftab[8*i:])
	end := binary.LittleEndian.Uint32(m.ftab[8*i+8:])
	raw := uint64(binary.LittleEndian.Uint32(m.ftab[8*i+4:]))
	if raw+funcSize > uint64(len(m.funcs)) || end < entry {
		return Func{}, false
	}
	return Func{m: m, raw: m.funcs[raw:], Entry: m.address(entry), End: m.address(end)}, true
}

// All calls visit for every function of every module until it returns false.
func (t *Table) All(visit func(Func) bool) {
	for _, m := range t.Modules {
		for i := range m.nfunc {
			if f, ok := m.at(i); ok && !visit(f) {
				return
			}
		}
	}
}

// Lookup finds functions by their exact names in one pass over the table. Names that do not occur are left out.
func (t *Table) Lookup(names ...string) map[string]Func {
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	found := map[string]Func{}
	t.All(func(f Func) bool {
		if name := f.rawName(); want[string(name)] {
			if _, twice := found[string(name)]; !twice {
				found[string(name)] = f
			}
		}
		return len(found) < len(want)
	})
	return found
}
