package elfcore

import (
	"debug/elf"
	"fmt"
)

// noteReader collects the notes of a core.
type noteReader struct {
	core *Core
	opts Options
	gaps []Gap

	delveThreads []Thread
	bad          map[uint32]int // notes that could not be decoded, by type
	badWhy       map[uint32]error
	prstatusCore bool // NT_PRSTATUS under the name CORE, as the kernel, gdb and qemu write it
	gdb          bool // a note of gdb, or the page size of 1 it uses
}

// readNotes fills everything that comes from PT_NOTE segments.
func (c *Core) readNotes(phdrs []phdr, opts Options) []Gap {
	if opts.MaxThreads <= 0 {
		opts.MaxThreads = defaultMaxEntries
	}
	if opts.MaxFiles <= 0 {
		opts.MaxFiles = defaultMaxEntries
	}
	r := &noteReader{core: c, opts: opts, bad: map[uint32]int{}, badWhy: map[uint32]error{}}
	segments := 0
	for _, p := range phdrs {
		if p.typ != elf.PT_NOTE {
			continue
		}
		if segments++; segments > maxNoteSegments {
			r.gap("notes", "more than %d PT_NOTE segments", maxNoteSegments)
			break
		}
		r.segment(p)
	}
	if segments == 0 {
		r.gap("notes", "the core has no PT_NOTE segment: threads, registers and file mappings are unknown")
	}
	r.finish()
	return r.gaps
}

// maxNoteSegments bounds the PT_NOTE segments that are read; every producer writes one.
const maxNoteSegments = 16

// gap notes something that could not be read.
func (r *noteReader) gap(what, format string, args ...any) {
	r.gaps = append(r.gaps, Gap{What: what, Why: fmt.Sprintf(format, args...)})
}

// segment reads the notes of one PT_NOTE.
func (r *noteReader) segment(p phdr) {
	data, whole := slice(r.core.data, p.off, p.filesz)
	if !whole {
		r.gap("notes", "the segment at %#x has %d bytes, of which the file holds %d", p.off, p.filesz, len(data))
	}
	if err := eachNote(data, r.note); err != nil {
		r.gap("notes", "the segment at %#x: %v", p.off, err)
	}
}

// note reads one note; it never stops the walk.
func (r *noteReader) note(n note) bool {
	if err := r.decode(n); err != nil {
		r.bad[n.typ]++
		if r.badWhy[n.typ] == nil {
			r.badWhy[n.typ] = err
		}
	}
	return true
}

// decode sorts a note by type.
func (r *noteReader) decode(n note) (err error) {
	c := r.core
	r.gdb = r.gdb || n.name == "GDB"
	switch n.typ {
	case ntPrstatus:
		err = r.prstatus(n)
	case ntPrpsinfo:
		c.Process, err = decodePrpsinfo(n.desc)
	case ntSiginfo:
		err = r.siginfo(n)
	case ntAuxv:
		decodeAuxv(c.Auxv, n.desc)
	case ntFile:
		err = r.files(n.desc)
	case ntARMTLS, ntARMSyscall:
		r.armExtra(n)
	case ntDelveHeader:
		h := decodeDelveHeader(n.desc)
		c.Delve = &h
	case ntDelveThread:
		err = r.delveThread(n)
	}
	return err
}

// prstatus adds a thread.
func (r *noteReader) prstatus(n note) error {
	if len(r.core.Threads) >= r.opts.MaxThreads {
		return fmt.Errorf("more than %d threads", r.opts.MaxThreads)
	}
	t, err := decodePrstatus(r.core.Machine, n.desc)
	if err != nil {
		return err
	}
	r.prstatusCore = r.prstatusCore || n.name == "CORE"
	r.core.Threads = append(r.core.Threads, t)
	return nil
}

// siginfo gives a siginfo to the thread whose NT_PRSTATUS came before it. The kernel writes one, after its first
// thread; gdb writes one for every thread.
func (r *noteReader) siginfo(n note) error {
	s, err := decodeSiginfo(n.desc)
	if err != nil {
		return err
	}
	if !r.core.Signal.OK {
		r.core.Signal = s
	}
	if n := len(r.core.Threads); n > 0 {
		r.core.Threads[n-1].Siginfo = &s
	}
	return nil
}

// armExtra reads the arm64 notes that follow a thread.
func (r *noteReader) armExtra(n note) {
	if len(r.core.Threads) == 0 || r.core.Machine != elf.EM_AARCH64 {
		return
	}
	regs := &r.core.Threads[len(r.core.Threads)-1].Regs
	switch {
	case n.typ == ntARMTLS && len(n.desc) >= 8:
		regs.TLS, regs.HasTLS = le.Uint64(n.desc), true
	case n.typ == ntARMSyscall && len(n.desc) >= 4:
		regs.OrigSyscall = int64(int32(le.Uint32(n.desc)))
	}
}

// delveThread keeps a thread of the platform-independent form; they count only when there is no NT_PRSTATUS.
func (r *noteReader) delveThread(n note) error {
	if len(r.delveThreads) >= r.opts.MaxThreads {
		return fmt.Errorf("more than %d threads", r.opts.MaxThreads)
	}
	t, err := decodeDelveThread(r.core.Machine, n.desc)
	if len(n.desc) >= delveRegs {
		r.delveThreads = append(r.delveThreads, t)
	}
	return err
}

// decodeAuxv reads pairs of type and value up to AT_NULL.
func decodeAuxv(into map[uint64]uint64, b []byte) {
	const maxEntries = 256 // the kernel writes about 20
	for i := 0; len(b) >= 16 && i < maxEntries; i++ {
		typ, val := le.Uint64(b), le.Uint64(b[8:])
		if typ == 0 {
			return
		}
		into[typ] = val
		b = b[16:]
	}
}

// files reads NT_FILE (fs/binfmt_elf.c, fill_files_note): count, page size, count triples of start, end and offset in
// pages, then count strings. gdb writes a page size of 1 and offsets in bytes.
func (r *noteReader) files(b []byte) error {
	const head, entry = 16, 24
	if len(b) < head {
		return fmt.Errorf("NT_FILE of %d bytes, at least %d are needed", len(b), head)
	}
	count, page := le.Uint64(b), le.Uint64(b[8:])
	r.gdb = r.gdb || page == 1
	room := uint64(len(b)-head) / entry
	if count > room || count > uint64(r.opts.MaxFiles) {
		return fmt.Errorf("NT_FILE claims %d mappings, its %d bytes hold at most %d and %d are allowed", count, len(b), room, r.opts.MaxFiles)
	}
	names := b[head+count*entry:]
	for i := range count {
		e := b[head+i*entry:]
		if len(names) == 0 {
			return fmt.Errorf("NT_FILE has names for %d of %d mappings", i, count)
		}
		name := cstring(names)
		names = names[min(len(name)+1, len(names)):]
		m := FileMapping{Start: le.Uint64(e), End: le.Uint64(e[8:]), FileOffset: le.Uint64(e[16:]) * page, Path: name}
		if m.Start < m.End {
			r.core.Files = append(r.core.Files, m)
		}
	}
	return nil
}

// finish settles the producer and turns what could not be decoded into gaps.
func (r *noteReader) finish() {
	c := r.core
	if len(c.Threads) == 0 && len(r.delveThreads) > 0 {
		c.Threads = r.delveThreads
	}
	if c.Delve != nil && c.Process.PID == 0 {
		c.Process.PID = c.Delve.PID
	}
	if c.Delve != nil && c.Auxv[atEntry] == 0 && c.Delve.Entry != 0 {
		c.Auxv[atEntry] = c.Delve.Entry
	}
	c.Producer = r.producer()
	for _, typ := range []uint32{ntPrstatus, ntPrpsinfo, ntSiginfo, ntFile, ntDelveThread} {
		if r.bad[typ] > 0 {
			r.gap(fmt.Sprintf("%d notes of type %#x", r.bad[typ], typ), "%v", r.badWhy[typ])
		}
	}
	if len(c.Threads) == 0 {
		r.gap("threads", "no note of the core describes a thread")
	}
}

// producer tells who wrote the core by the marks listed in the package comment.
func (r *noteReader) producer() Producer {
	c := r.core
	switch {
	case c.Delve != nil:
		return Delve
	case r.gdb:
		return Gcore
	case r.prstatusCore && c.Signal.OK && len(c.Files) > 0:
		return Kernel
	case r.prstatusCore && !c.Signal.OK && len(c.Files) == 0 && len(c.Auxv) > 0:
		return Qemu
	}
	return Unknown
}
