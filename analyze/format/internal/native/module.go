package native

import (
	"debug/elf"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// Module is a mapped ELF file.
type Module struct {
	Path string // of the process's machine; "[vdso]" for the kernel's
	Bias uint64 // address in memory minus address in the file
	// Missing says why the file cannot be used; nil when it was found and proved.
	Missing error

	image *elfcore.Image
	find  elfcore.FindOptions

	framesOnce sync.Once
	eh         frames
	hdr        header
	hasTable   bool
	indexOnce  sync.Once
	debugOnce  sync.Once
	debug      frames

	symbolsOnce sync.Once
	symbols     []symbol
}

// Name gives the last element of the path.
func (m *Module) Name() string { return filepath.Base(m.Path) }

// Modules are the mapped files of a process. They may be used by several goroutines.
type Modules struct {
	machine elf.Machine
	modules []*Module
	ranges  []moduleRange // sorted
}

// moduleRange is an address range of one module.
type moduleRange struct {
	lo, hi uint64
	module *Module
}

// NewModules finds and proves the files that were mapped into the process. Files that are no ELF images are left out.
// A gap names each image that is not on this machine or is another one; frames that need it will end there. It calls
// Core.Load, and so must not run at the same time as anything else on this Core.
func NewModules(c *elfcore.Core, opts elfcore.FindOptions) (*Modules, []elfcore.Gap) {
	m := &Modules{machine: c.Machine}
	var gaps []elfcore.Gap
	var linked bool
	for _, mod := range c.Modules() {
		img, v, err := c.Load(mod, opts)
		if !isImage(c, mod, err) {
			continue
		}
		if err != nil {
			gaps = append(gaps, elfcore.Gap{What: "file of module " + mod.Path, Why: err.Error()})
		}
		m.add(mod, img, v.Bias, err, opts)
		if mod.Exe && err == nil && len(c.Files) == 0 && !linked {
			linked = true
			gaps = append(gaps, m.addLinked(c, img, v, opts)...)
		}
	}
	if img, bias, ok := c.VDSO(); ok {
		m.add(elfcore.Module{Path: "[vdso]"}, img, bias, nil, opts)
	}
	slices.SortFunc(m.ranges, func(a, b moduleRange) int {
		if a.lo < b.lo {
			return -1
		}
		return 1
	})
	return m, gaps
}

// addLinked adds the shared libraries that the dynamic linker knows, for cores without NT_FILE.
func (m *Modules) addLinked(c *elfcore.Core, exe *elfcore.Image, v elfcore.Verification, opts elfcore.FindOptions) []elfcore.Gap {
	var gaps []elfcore.Gap
	for _, mod := range c.LinkedModules(exe, v) {
		img, v, err := c.Load(mod, opts)
		if err != nil {
			gaps = append(gaps, elfcore.Gap{What: "file of module " + mod.Path, Why: err.Error()})
		}
		m.add(mod, img, v.Bias, err, opts)
	}
	return gaps
}

// isImage tells an ELF image from a data file that was mapped: by the file if it was found, else by the core's memory,
// else by whether some part of it was executable.
func isImage(c *elfcore.Core, mod elfcore.Module, err error) bool {
	if err == nil {
		return true
	}
	if errors.Is(err, elfcore.ErrNotELF) || errors.Is(err, elfcore.ErrNotImage) || errors.Is(err, elfcore.ErrEmpty) {
		return false
	}
	if strings.HasPrefix(mod.Path, "/dev/") || strings.HasPrefix(mod.Path, "/memfd:") {
		return false
	}
	for _, f := range mod.Mappings {
		if head, ok := c.Mem.Bytes(f.Start, uint64(len(elf.ELFMAG))); ok && f.FileOffset == 0 {
			return string(head) == elf.ELFMAG
		}
		if flags, ok := c.Mem.Mapped(f.Start); ok && flags&elf.PF_X != 0 {
			return true
		}
	}
	return mod.Exe
}

// add adds a module and its ranges.
func (m *Modules) add(mod elfcore.Module, img *elfcore.Image, bias uint64, missing error, opts elfcore.FindOptions) {
	out := &Module{Path: mod.Path, Bias: bias, Missing: missing, image: img, find: opts}
	m.modules = append(m.modules, out)
	for _, f := range mod.Mappings {
		m.ranges = append(m.ranges, moduleRange{lo: f.Start, hi: f.End, module: out})
	}
	if len(mod.Mappings) > 0 || img == nil {
		return
	}
	for _, s := range img.Segments() {
		if lo := s.Addr + bias; lo+s.MemSize > lo {
			m.ranges = append(m.ranges, moduleRange{lo: lo, hi: lo + s.MemSize, module: out})
		}
	}
}

// Find gives the module that holds an address, or nil.
func (m *Modules) Find(pc uint64) *Module {
	i := sort.Search(len(m.ranges), func(i int) bool { return m.ranges[i].lo > pc }) - 1
	if i < 0 || pc >= m.ranges[i].hi {
		return nil
	}
	return m.ranges[i].module
}

// All lists the modules in the order of the core.
func (m *Modules) All() []*Module { return m.modules }

// loadFrames finds the module's .eh_frame, by section or else by PT_GNU_EH_FRAME.
func (m *Module) loadFrames() {
	if m.image == nil {
		return
	}
	hdr, hdrAddr, ok := m.image.Program(elf.PT_GNU_EH_FRAME)
	if ok {
		m.hdr, m.hasTable = parseHeader(hdr, hdrAddr)
	}
	if data, addr, found := m.section(".eh_frame"); found {
		m.eh = frames{data: data, addr: addr, eh: true}
	} else if ok && m.hdr.eh != 0 {
		m.eh = frames{data: m.at(m.hdr.eh), addr: m.hdr.eh, eh: true}
	}
}

// at gives the bytes of the file from an address without bias to the end of its segment.
func (m *Module) at(addr uint64) []byte {
	for _, s := range m.image.Segments() {
		data := m.image.Data()
		if off := addr - s.Addr; off < s.FileSize && s.FileOffset < uint64(len(data)) && s.FileSize <= uint64(len(data))-s.FileOffset {
			return data[s.FileOffset+off : s.FileOffset+s.FileSize]
		}
	}
	return nil
}

// section gives the bytes of an uncompressed section.
func (m *Module) section(name string) (data []byte, addr uint64, ok bool) {
	f, err := m.image.ELF()
	if err != nil {
		return nil, 0, false
	}
	s := f.Section(name)
	if s == nil || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, 0, false
	}
	all := m.image.Data()
	if s.Offset > uint64(len(all)) || s.FileSize > uint64(len(all))-s.Offset {
		return nil, 0, false
	}
	return all[s.Offset : s.Offset+s.FileSize], s.Addr, true
}

// maxDebugFrame bounds an unpacked .debug_frame.
const maxDebugFrame = 256 << 20

// loadDebugFrame reads .debug_frame of the file, which may be compressed.
func (m *Module) loadDebugFrame() {
	f, err := m.image.ELF()
	if err != nil {
		return
	}
	s := f.Section(".debug_frame")
	if s == nil || s.Type == elf.SHT_NOBITS || s.Size > maxDebugFrame {
		return
	}
	if data, err := s.Data(); err == nil {
		m.debug = frames{data: data}
		m.debug.build()
	}
}

// fdeFor finds the description of the function that holds an address in memory. The address of the result is without bias.
func (m *Module) fdeFor(pc uint64) *fde {
	m.framesOnce.Do(m.loadFrames)
	if m.image == nil {
		return nil
	}
	addr := pc - m.Bias
	if m.hasTable {
		if at, ok := m.hdr.find(addr); ok && at >= m.eh.addr {
			if d, _, err := m.eh.parseFDE(at - m.eh.addr); err == nil && d != nil && d.lo <= addr && addr < d.hi {
				return d
			}
		}
	}
	if !m.hasTable && len(m.eh.data) > 0 {
		m.indexOnce.Do(m.eh.build)
		if d := m.eh.find(addr); d != nil {
			return d
		}
	}
	m.debugOnce.Do(m.loadDebugFrame)
	return m.debug.find(addr)
}

// String names the module for a message.
func (m *Module) String() string {
	if m.Missing != nil {
		return fmt.Sprintf("%s (%v)", m.Path, m.Missing)
	}
	return m.Path
}
