package elfcore

import (
	"debug/elf"
	"fmt"
	"os"
)

// Producer is the program that wrote a core; they differ in what they leave out.
type Producer uint8

const (
	// Unknown is a core with none of the marks below.
	Unknown Producer = iota
	// Kernel is a core written by Linux when a signal killed the process.
	Kernel
	// Gcore is a core written by gdb; its signals may be those of the debugger.
	Gcore
	// Delve is a core written by `dlv dump`.
	Delve
	// Qemu is a core written by qemu's user-mode emulation.
	Qemu
)

// String gives "kernel", "gcore", "delve", "qemu" or "unknown".
func (p Producer) String() string {
	if p > Qemu {
		p = Unknown
	}
	return [...]string{"unknown", "kernel", "gcore", "delve", "qemu"}[p]
}

// FileMapping is one entry of NT_FILE.
type FileMapping struct {
	Start, End uint64
	FileOffset uint64 // bytes
	Path       string // as the kernel wrote it; " (deleted)" is kept
}

// Segment is one PT_LOAD. Memory from FileSize to MemSize was mapped and not dumped: it is unknown, not zero.
type Segment struct {
	Addr, MemSize        uint64
	FileOffset, FileSize uint64
	Flags                elf.ProgFlag
}

// Core is an open core file.
type Core struct {
	Path    string
	Size    int64
	Machine elf.Machine
	// Threads is in file order. In cores of the kernel and of gcore the first thread is the one that took
	// the signal, or the one gdb had selected.
	Threads []Thread
	Process ProcessInfo
	// Signal is the siginfo of the first thread that has one; OK is false without any (delve, qemu).
	Signal Siginfo
	// Auxv is the auxiliary vector by type: AT_PHDR 3, AT_PAGESZ 6, AT_BASE 7, AT_ENTRY 9, AT_EXECFN 31.
	Auxv     map[uint64]uint64
	Files    []FileMapping
	Segments []Segment
	Producer Producer
	Delve    *DelveHeader // nil unless delve wrote the core
	Mem      *Memory

	data   []byte
	unmap  func() error
	loaded map[moduleKey]loadedFile
}

// Options are the bounds of Open; zero values mean the defaults.
type Options struct {
	MaxThreads int // default 1<<20
	MaxFiles   int // entries of NT_FILE, default 1<<20
}

const defaultMaxEntries = 1 << 20

// Open maps the core at path. What a damaged core lacks is told in gaps; the error is always an *Error, and says
// that the file is no core that could be read at all. Close the core after use: its memory aliases the file.
func Open(path string, opts Options) (*Core, []Gap, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, &Error{Path: path, Offset: -1, Doing: "opening the core", Err: err}
	}
	defer f.Close() //nolint:errcheck // opened for reading, and the mapping stays
	return OpenFile(f, path, opts)
}

// OpenFile is Open for a file that is already open, such as an unpacked one; path is used in messages only. The
// file may be closed afterwards.
func OpenFile(f *os.File, path string, opts Options) (*Core, []Gap, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, &Error{Path: path, Offset: -1, Doing: "opening the core", Err: err}
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &Error{Path: path, Offset: -1, Doing: "opening the core", Err: fmt.Errorf("not a regular file: %v", info.Mode().Type())}
	}
	if info.Size() == 0 {
		return nil, nil, &Error{Path: path, Offset: 0, Doing: "reading the ELF header", Err: ErrEmpty}
	}
	data, unmap, err := mapFile(f, info.Size())
	if err != nil {
		return nil, nil, &Error{Path: path, Offset: -1, Doing: "opening the core", Err: err}
	}
	c, gaps, err := parse(path, data, opts)
	if err != nil {
		_ = unmap() // the first error is the one to tell
		return nil, nil, err
	}
	c.unmap = unmap
	return c, gaps, nil
}

// Close unmaps the core and the images that Load added. Nothing that was read from Mem may be used afterwards.
func (c *Core) Close() error {
	var first error
	for _, l := range c.loaded {
		if err := l.image.Close(); err != nil && first == nil {
			first = err
		}
	}
	c.loaded = nil
	if c.unmap != nil {
		if err := c.unmap(); err != nil && first == nil {
			first = &Error{Path: c.Path, Offset: -1, Doing: "unmapping the core", Err: err}
		}
		c.unmap = nil
	}
	c.Mem, c.data = &Memory{}, nil
	return first
}

// parse reads the headers and the notes of a core.
func parse(path string, data []byte, opts Options) (*Core, []Gap, error) {
	h, err := parseHeader(data)
	if err != nil {
		return nil, nil, &Error{Path: path, Offset: 0, Doing: "reading the ELF header", Err: err}
	}
	if h.typ != elf.ET_CORE {
		return nil, nil, &Error{Path: path, Offset: ehdrType, Doing: "reading the ELF header", Err: fmt.Errorf("%w: it is %s; give the core file and name the program with --exe", ErrNotCore, typeName(h.typ))}
	}
	phdrs, gaps, err := programHeaders(data, h)
	if err != nil {
		return nil, nil, &Error{Path: path, Offset: int64(h.phoff & (1<<63 - 1)), Doing: "reading the program headers", Err: err}
	}
	c := &Core{Path: path, Size: int64(len(data)), Machine: h.machine, Auxv: map[uint64]uint64{}, data: data}
	gaps = append(gaps, c.readSegments(phdrs)...)
	gaps = append(gaps, c.readNotes(phdrs, opts)...)
	c.Mem.addFiles(c.Files)
	return c, gaps, nil
}

// typeName says what kind of ELF file a non-core is.
func typeName(t elf.Type) string {
	switch t {
	case elf.ET_EXEC:
		return "an executable"
	case elf.ET_DYN:
		return "an executable or a shared library"
	case elf.ET_REL:
		return "an object file"
	}
	return t.String()
}

// readSegments fills Segments and Mem.
func (c *Core) readSegments(phdrs []phdr) []Gap {
	var gaps []Gap
	var cut, lying int
	var missing uint64
	for _, p := range phdrs {
		if p.typ != elf.PT_LOAD || p.memsz == 0 {
			continue
		}
		s := Segment{Addr: p.vaddr, MemSize: p.memsz, FileOffset: p.off, FileSize: p.filesz, Flags: p.flags}
		if s.FileSize > s.MemSize || s.Addr+s.MemSize < s.Addr || s.FileOffset+s.FileSize < s.FileOffset {
			lying++
		}
		got, whole := slice(c.data, p.off, p.filesz)
		if s.Addr+s.MemSize < s.Addr { // else it would hide all segments behind it
			s.MemSize = uint64(len(got))
		}
		if !whole {
			cut++
			missing = addClip(missing, p.filesz-uint64(len(got)))
		}
		c.Segments = append(c.Segments, s)
	}
	if cut > 0 {
		gaps = append(gaps, Gap{What: fmt.Sprintf("memory of %d of %d segments", cut, len(c.Segments)), Why: fmt.Sprintf("the core is cut off at %#x: %d bytes of memory are missing", c.Size, missing)})
	}
	if lying > 0 {
		gaps = append(gaps, Gap{What: fmt.Sprintf("%d of %d segments", lying, len(c.Segments)), Why: "their headers claim impossible sizes, and were read as far as they make sense"})
	}
	var overlapped int
	if c.Mem, overlapped = newMemory(c.Path, c.data, c.Segments); overlapped > 0 {
		gaps = append(gaps, Gap{What: fmt.Sprintf("%d of %d segments", overlapped, len(c.Segments)), Why: "they overlap others, which were given precedence"})
	}
	if len(c.Segments) == 0 {
		gaps = append(gaps, Gap{What: "memory", Why: "the core has no PT_LOAD segments"})
	}
	return gaps
}
