package gocore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// variables knows where the runtime's global variables are.
type variables struct {
	globals *layout.Globals
	own     map[string]uint64 // found by structure
}

func (v *variables) addr(name string) (uint64, bool) {
	if a, ok := v.own[name]; ok {
		return a, true
	}
	if v.globals == nil {
		return 0, false
	}
	return v.globals.Addr(name)
}

func (v *variables) set(name string, addr uint64) {
	if v.own == nil {
		v.own = map[string]uint64{}
	}
	v.own[name] = addr
}

// readSymbols takes the addresses of the runtime's variables from the symbol table, when there is one.
func (t *target) readSymbols() {
	if t.exe == nil {
		return
	}
	globals, err := layout.FromSymbols(t.exe, t.bias)
	if err == nil {
		t.vars.globals = globals
		return
	}
	t.b.Process(func(p *evidence.Process) { p.Stripped = true })
}

// recoverVariables finds the runtime's variables in a stripped executable through the code that refers to them. It needs
// the function tables, which survive stripping.
func (t *target) recoverVariables() {
	if t.vars.globals != nil || t.tab == nil {
		return
	}
	globals, err := layout.Recover(t.info.GoVersion, t.layout.Arch, t.program())
	if err != nil {
		t.b.Gapf("addresses of the runtime's variables", "the executable is stripped, and they could not be recovered from its code: %v", err)
		return
	}
	t.vars.globals = globals
}

// program gives the recovery access to the runtime's functions by name.
func (t *target) program() layout.Program {
	const prefix = "runtime."
	funcs := map[string]pcln.Func{}
	t.tab.All(func(f pcln.Func) bool {
		full := f.FullName()
		if known := funcs[full]; strings.HasPrefix(full, prefix) && f.End-f.Entry > known.End-known.Entry {
			funcs[full] = f // of two with one name the shorter is the wrapper between calling conventions
		}
		return true
	})
	m := t.tab.Modules[0]
	return layout.Program{
		Func: func(name string) (start, end uint64, ok bool) {
			f, ok := funcs[name]
			return f.Entry, f.End, ok
		},
		Read: t.core.Mem.ReadAt,
		InData: func(a uint64) bool {
			return a >= m.NoPtrData && a < m.EData || a >= m.BSS && a < m.ENoPtrBSS || a >= m.NoPtrData && a < m.ENoPtrBSS
		},
	}
}

// scanModuledata finds runtime.firstmoduledata in writable memory: its first field points to a pcHeader, which begins with
// a magic number, and the fields that follow must agree with that header.
func (t *target) scanModuledata() (uint64, error) {
	const headerFields = 8 // nfunc stands 8 bytes into the pcHeader
	mem := t.core.Mem
	nextFuncs, ok := t.layout.Offset("runtime.moduledata.ftab")
	if !ok {
		return 0, errors.New("the layout has no runtime.moduledata.ftab")
	}
	var magic [8]byte
	binary.LittleEndian.PutUint32(magic[:], pcln.Magic)
	for r, data := range t.dataRanges() {
		if r.Flags&elf.PF_W == 0 {
			continue
		}
		for off := 0; off+8 <= len(data); off += 8 {
			header := binary.LittleEndian.Uint64(data[off:])
			if header < 1<<16 || header&7 != 0 {
				continue
			}
			h, ok := mem.Bytes(header, 16)
			if !ok || !bytes.Equal(h[:6], magic[:6]) {
				continue
			}
			n, _ := mem.Uint64(r.Addr + uint64(off) + nextFuncs + 8)
			if n == binary.LittleEndian.Uint64(h[headerFields:])+1 {
				return r.Addr + uint64(off), nil
			}
		}
	}
	return 0, errors.New("no module data in writable memory: the function tables cannot be found")
}

// maxData bounds the data segments that are scanned; heap arenas are larger and hold no module data.
const maxData = 64<<20 - 1

// dataRanges gives the parts of memory that may hold the data of the program. Segments may claim the same bytes of the file
// many times over, so it stops when as many bytes have been given as the files have.
func (t *target) dataRanges() iter.Seq2[elfcore.Range, []byte] {
	left := t.core.Size
	if t.image != nil {
		left += t.image.Size
	}
	return func(yield func(elfcore.Range, []byte) bool) {
		for _, r := range t.core.Mem.Ranges() {
			data := t.core.Mem.Contiguous(r.Addr)
			if len(data) == 0 || r.Size > maxData {
				continue
			}
			data = data[:min(uint64(len(data)), r.Size)]
			if left -= int64(len(data)); left < 0 || !yield(r, data) {
				return
			}
		}
	}
}

// word reads a variable of 8 bytes.
func (t *target) word(name string) (uint64, bool) {
	addr, ok := t.vars.addr(name)
	if !ok {
		return 0, false
	}
	return t.core.Mem.Uint64(addr)
}

// int32 reads a variable of 4 bytes.
func (t *target) int32(name string) (int32, bool) {
	addr, ok := t.vars.addr(name)
	if !ok {
		return 0, false
	}
	v, ok := t.core.Mem.Uint32(addr)
	return int32(v), ok
}

// field reads a word at a field of a struct variable: field("runtime.memstats", "runtime.mstats.numgc").
func (t *target) field(variable, path string) (uint64, bool) {
	addr, ok := t.vars.addr(variable)
	off, known := t.layout.Offset(path)
	if !ok || !known {
		return 0, false
	}
	if size, ok := t.layout.Size(path); ok && size == 4 {
		v, ok := t.core.Mem.Uint32(addr + off)
		return uint64(v), ok
	}
	return t.core.Mem.Uint64(addr + off)
}

// buildInfoFromMemory finds the build information in the core itself: a magic of 14 bytes, then flags, then version and
// module text as length-prefixed strings (debug/buildinfo, Go 1.18 and later).
func (t *target) buildInfoFromMemory() (*debug.BuildInfo, error) {
	magic := []byte("\xff Go buildinf:")
	for _, data := range t.dataRanges() {
		for at := 0; ; {
			i := bytes.Index(data[at:], magic)
			if i < 0 {
				break
			}
			at += i
			if info, ok := parseBuildInfo(data[at:]); ok {
				return info, nil
			}
			at += len(magic)
		}
	}
	return nil, fmt.Errorf("no Go build information in the executable or the core")
}

// parseBuildInfo reads the inline form, which every linker since Go 1.18 writes.
func parseBuildInfo(b []byte) (*debug.BuildInfo, bool) {
	const (
		headerSize = 32
		flagsAt    = 15
		inline     = 2 // flagsVersionInl
		sentinel   = 16
	)
	if len(b) < headerSize || b[flagsAt]&inline == 0 {
		return nil, false
	}
	version, rest, ok := prefixed(b[headerSize:])
	if !ok || len(version) < 4 || version[:2] != "go" && version[:5] != "devel" {
		return nil, false
	}
	mod, _, ok := prefixed(rest)
	info := &debug.BuildInfo{}
	if ok && len(mod) >= 2*sentinel+1 {
		if parsed, err := debug.ParseBuildInfo(mod[sentinel : len(mod)-sentinel]); err == nil {
			info = parsed
		}
	}
	info.GoVersion = version
	return info, true
}

// prefixed reads a string with a varint length.
func prefixed(b []byte) (s string, rest []byte, ok bool) {
	const most = 1 << 20 // module lists have some ten kilobytes
	n, w := binary.Uvarint(b)
	if w <= 0 || n > most || uint64(len(b)-w) < n {
		return "", nil, false
	}
	return string(b[w : w+int(n)]), b[w+int(n):], true
}
