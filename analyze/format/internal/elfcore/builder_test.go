package elfcore

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// coreBuilder writes an ELF core piece by piece, so that a test can break one of the pieces.
type coreBuilder struct {
	machine elf.Machine
	typ     elf.Type
	notes   []byte
	loads   []load
	noNotes bool
	xnum    bool // write the number of program headers into section header 0
}

// load is one PT_LOAD; memsz 0 means len(data).
type load struct {
	addr  uint64
	memsz uint64
	flags elf.ProgFlag
	data  []byte
}

func newBuilder() *coreBuilder { return &coreBuilder{machine: elf.EM_X86_64, typ: elf.ET_CORE} }

func (b *coreBuilder) note(name string, typ uint32, desc []byte) *coreBuilder {
	b.notes = le.AppendUint32(b.notes, uint32(len(name)+1))
	b.notes = le.AppendUint32(b.notes, uint32(len(desc)))
	b.notes = le.AppendUint32(b.notes, typ)
	b.notes = pad4(append(append(b.notes, name...), 0))
	b.notes = pad4(append(b.notes, desc...))
	return b
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (b *coreBuilder) load(addr uint64, flags elf.ProgFlag, memsz uint64, data []byte) *coreBuilder {
	if memsz == 0 {
		memsz = uint64(len(data))
	}
	b.loads = append(b.loads, load{addr: addr, memsz: memsz, flags: flags, data: data})
	return b
}

// bytes lays out header, section header 0 if wanted, program headers, notes, memory.
func (b *coreBuilder) bytes() []byte {
	num := len(b.loads) + 1
	if b.noNotes {
		num--
	}
	phoff := uint64(ehdrSize)
	if b.xnum {
		phoff += shdrSize
	}
	at := phoff + uint64(num)*phdrSize
	var table, body []byte
	if !b.noNotes {
		table = appendPhdr(table, phdr{typ: elf.PT_NOTE, off: at, filesz: uint64(len(b.notes))})
		body = append(body, b.notes...)
	}
	for _, l := range b.loads {
		table = appendPhdr(table, phdr{typ: elf.PT_LOAD, flags: l.flags, off: at + uint64(len(body)), vaddr: l.addr, filesz: uint64(len(l.data)), memsz: l.memsz})
		body = append(body, l.data...)
	}
	out := b.header(phoff, num)
	return append(append(out, table...), body...)
}

func (b *coreBuilder) header(phoff uint64, num int) []byte {
	h := make([]byte, ehdrSize)
	copy(h, elf.ELFMAG)
	h[elf.EI_CLASS], h[elf.EI_DATA], h[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	le.PutUint16(h[ehdrType:], uint16(b.typ))
	le.PutUint16(h[ehdrMachine:], uint16(b.machine))
	le.PutUint64(h[ehdrPhoff:], phoff)
	le.PutUint16(h[ehdrPhentsize:], phdrSize)
	le.PutUint16(h[ehdrPhnum:], uint16(min(num, pnXNum)))
	if b.xnum {
		le.PutUint16(h[ehdrPhnum:], pnXNum)
		le.PutUint64(h[ehdrShoff:], ehdrSize)
		sh := make([]byte, shdrSize)
		le.PutUint32(sh[shdrInfo:], uint32(num))
		h = append(h, sh...)
	}
	return h
}

func appendPhdr(b []byte, p phdr) []byte {
	b = le.AppendUint32(b, uint32(p.typ))
	b = le.AppendUint32(b, uint32(p.flags))
	for _, v := range []uint64{p.off, p.vaddr, 0, p.filesz, p.memsz, p.align} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// prstatus builds an NT_PRSTATUS body whose registers are first, first+1, ...
func prstatus(m elf.Machine, tid uint32, sig uint16, first uint64) []byte {
	b := make([]byte, prstatusSize(m)+8)
	le.PutUint16(b[prstatusCursig:], sig)
	le.PutUint32(b[prstatusPID:], tid)
	for i := range RegisterNames(m) {
		le.PutUint64(b[prstatusRegs+8*i:], first+uint64(i))
	}
	return b
}

func prpsinfo(pid uint32, name, args string) []byte {
	b := make([]byte, prpsinfoSize)
	b[prpsinfoState] = 'R'
	le.PutUint32(b[prpsinfoPID:], pid)
	copy(b[prpsinfoName:prpsinfoArgs-1], name)
	copy(b[prpsinfoArgs:], args)
	return b
}

func siginfo(signo, code int32, union uint64) []byte {
	b := make([]byte, 128)
	le.PutUint32(b, uint32(signo))
	le.PutUint32(b[siginfoCode:], uint32(code))
	le.PutUint64(b[siginfoUnion:], union)
	return b
}

func auxv(pairs ...uint64) []byte {
	var b []byte
	for _, v := range append(pairs, 0, 0) {
		b = le.AppendUint64(b, v)
	}
	return b
}

// ntFileNote builds NT_FILE with offsets counted in pages of size page.
func ntFileNote(page uint64, files ...FileMapping) []byte {
	b := le.AppendUint64(le.AppendUint64(nil, uint64(len(files))), page)
	for _, f := range files {
		b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, f.Start), f.End), f.FileOffset/page)
	}
	for _, f := range files {
		b = append(append(b, f.Path...), 0)
	}
	return b
}

// typical is a small, whole core with two threads and two mappings.
func typical() *coreBuilder {
	page := bytes.Repeat([]byte("0123456789abcdef"), 256)
	stack := make([]byte, 4096)
	copy(stack[0x100:], "/bin/app\x00")
	return newBuilder().
		note("CORE", ntPrstatus, prstatus(elf.EM_X86_64, 101, 11, 1000)).
		note("CORE", ntPrpsinfo, prpsinfo(101, "app", "app --flag")).
		note("CORE", ntSiginfo, siginfo(11, 1, 0xdead)).
		note("CORE", ntAuxv, auxv(atPagesz, 4096, atEntry, 0x401000, atExecfn, 0x7000_0000_0100)).
		note("CORE", ntFile, ntFileNote(4096,
			FileMapping{Start: 0x400000, End: 0x404000, FileOffset: 0, Path: "/bin/app"},
			FileMapping{Start: 0x500000, End: 0x501000, FileOffset: 0x4000, Path: "/bin/app"})).
		note("CORE", ntPrstatus, prstatus(elf.EM_X86_64, 102, 0, 2000)).
		load(0x400000, elf.PF_R|elf.PF_X, 0x4000, page).
		load(0x500000, elf.PF_R|elf.PF_W, 0, page).
		load(0x7000_0000_0000, elf.PF_R|elf.PF_W, 0, stack)
}

// write puts data into a file of the test's folder.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens data as a core that must be readable.
func open(t testing.TB, data []byte) (*Core, []Gap) {
	t.Helper()
	c, gaps, err := Open(write(t, "core", data), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, gaps
}

// writeTo writes data to path.
func writeTo(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
