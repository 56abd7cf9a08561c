package elfcore

import (
	"debug/elf"
	"strings"
)

// Types of the auxiliary vector (include/uapi/linux/auxvec.h).
const (
	atPhdr   = 3
	atPhnum  = 5
	atPagesz = 6
	atBase   = 7
	atEntry  = 9
	atExecfn = 31
	atVDSO   = 33 // AT_SYSINFO_EHDR
)

// maxMappings bounds the mappings kept of one file; an image has about five.
const maxMappings = 4096

// maxPath is PATH_MAX of Linux.
const maxPath = 4096

// Module is a file that was mapped into the process, most often an executable or a shared library.
type Module struct {
	Path string // without the " (deleted)" that the kernel adds
	Exe  bool   // the program itself
	// Start and End span all mappings of the file; both are 0 when the core does not say (no NT_FILE).
	Start, End uint64
	Mappings   []FileMapping
	// Bias is the difference between addresses in memory and in the file, where something other than the
	// mappings told it (the dynamic linker's list); HasBias says so.
	Bias    uint64
	HasBias bool
}

// Modules lists the mapped files in the order of their first mapping. Without NT_FILE there is only the program.
// Files that are not ELF are among them: only their contents can tell.
func (c *Core) Modules() []Module {
	var out []Module
	index := map[string]int{}
	for _, f := range c.Files {
		path := strings.TrimSuffix(f.Path, " (deleted)")
		at, seen := index[path]
		if !seen {
			at = len(out)
			index[path] = at
			out = append(out, Module{Path: path, Start: f.Start, End: f.End})
		}
		m := &out[at]
		m.Start, m.End = min(m.Start, f.Start), max(m.End, f.End)
		if len(m.Mappings) < maxMappings {
			m.Mappings = append(m.Mappings, f)
		}
		m.Exe = m.Exe || c.isProgram(f)
	}
	if len(c.Files) == 0 && (c.ExecPath() != "" || c.Auxv[atEntry] != 0) {
		out = append(out, Module{Path: c.ExecPath(), Exe: true})
	}
	return out
}

// isProgram reports whether the entry point of the process lies in f. Without an auxiliary vector nothing does.
func (c *Core) isProgram(f FileMapping) bool {
	entry, ok := c.Auxv[atEntry]
	return ok && entry >= f.Start && entry < f.End
}

// Executable gives the module of the program; false when the core does not tell which file that is.
func (c *Core) Executable() (Module, bool) {
	mods := c.Modules()
	for _, m := range mods {
		if m.Exe {
			return m, true
		}
	}
	// A core whose auxiliary vector is lost: the path of the program, if its stack still has it.
	for _, m := range mods {
		if m.Path == c.ExecPath() {
			return m, true
		}
	}
	return Module{}, false
}

// ExecPath gives the path the program was started with (AT_EXECFN); "" when the core has lost it. It may be relative.
func (c *Core) ExecPath() string {
	at, ok := c.Auxv[atExecfn]
	if !ok {
		return ""
	}
	path, _ := c.Mem.CString(at, maxPath)
	return path
}

// PageSize gives the page size of the process.
func (c *Core) PageSize() uint64 {
	const (
		usual   = 4096
		largest = 64 << 10 // arm64 with CONFIG_ARM64_64K_PAGES
	)
	if p := c.Auxv[atPagesz]; p >= usual && p <= largest && p&(p-1) == 0 {
		return p
	}
	return usual
}

// coreBytes is Mem.Bytes for bytes that the core itself holds.
func (c *Core) coreBytes(addr, n uint64) ([]byte, bool) {
	if src, ok := c.Mem.Source(addr); !ok || src.Kind != FromCore {
		return nil, false
	}
	return c.Mem.Bytes(addr, n)
}

// Identity reads the ids of a module from the core's memory: the kernel dumps the first page of every ELF image, and
// linkers put the notes there. It gives false when the ELF header was not dumped.
func (c *Core) Identity(m Module) (Identity, bool) {
	for _, f := range m.Mappings {
		if f.FileOffset != 0 {
			continue
		}
		if id, ok := c.identityAt(f.Start); ok {
			return id, true
		}
	}
	if m.HasBias {
		return c.identityAt(m.Bias) // shared libraries are linked to begin at 0
	}
	return Identity{}, false
}

// maxImagePhdrs bounds the program headers read from memory; real images have about 15.
const maxImagePhdrs = 256

// identityAt reads the ids of the ELF image whose header is at base.
func (c *Core) identityAt(base uint64) (Identity, bool) {
	head, ok := c.coreBytes(base, ehdrSize)
	if !ok {
		return Identity{}, false
	}
	h, err := parseHeader(head)
	if err != nil || h.phentsize != phdrSize || h.phnum > maxImagePhdrs {
		return Identity{}, false
	}
	table, ok := c.coreBytes(base+h.phoff, h.phnum*phdrSize)
	if !ok {
		return Identity{}, false
	}
	phdrs := make([]phdr, h.phnum)
	for i := range phdrs {
		phdrs[i] = decodePhdr(table[i*phdrSize:])
	}
	return c.identityFrom(h, phdrs, base), true
}

// identityFrom reads the notes of an image in memory.
func (c *Core) identityFrom(h header, phdrs []phdr, base uint64) Identity {
	const maxNoteBytes = 1 << 16 // real note segments have some hundred bytes
	id := Identity{Machine: h.machine}
	bias := base
	for _, p := range phdrs {
		if p.typ == elf.PT_LOAD && p.off == 0 {
			bias = base - p.vaddr
			break
		}
	}
	for _, p := range phdrs {
		if p.typ != elf.PT_NOTE || p.filesz > maxNoteBytes {
			continue
		}
		if b, ok := c.coreBytes(bias+p.vaddr, p.filesz); ok {
			id.addNotes(b)
		}
	}
	return id
}

// VDSO gives the image that the kernel maps into every process, from the core's memory, and its bias; false when it was
// not dumped (gdb leaves it out on some systems).
func (c *Core) VDSO() (*Image, uint64, bool) {
	const maxVDSO = 64 << 10 // amd64 and arm64 have 8 KB
	base, ok := c.Auxv[atVDSO]
	if !ok {
		return nil, 0, false
	}
	if src, ok := c.Mem.Source(base); !ok || src.Kind != FromCore {
		return nil, 0, false
	}
	data := c.Mem.Contiguous(base)
	img, err := ImageFromBytes("[vdso]", data[:min(len(data), maxVDSO)])
	if err != nil || img.header.machine != c.Machine {
		return nil, 0, false
	}
	return img, base - img.base(0), true
}
