package elfcore

import (
	"bytes"
	"debug/elf"
	"fmt"
	"math"
	"sort"
)

// SourceKind says where a byte of the address space comes from.
type SourceKind uint8

const (
	// Absent means that no file holds the byte, or that the address was not mapped.
	Absent SourceKind = iota
	// FromCore means that the core holds the byte: it is what the process saw.
	FromCore
	// FromFile means that a verified file holds the byte, and that the mapping was not writable.
	FromFile
)

// String gives "absent", "core" or "file".
func (k SourceKind) String() string {
	switch k {
	case FromCore:
		return "core"
	case FromFile:
		return "file"
	}
	return "absent"
}

// Source is where a byte comes from: the file and the offset in it.
type Source struct {
	Kind   SourceKind
	Path   string
	Offset int64
}

// Range is a stretch of the address space with one source and one set of rights.
type Range struct {
	Addr, Size uint64
	Flags      elf.ProgFlag // PF_R, PF_W, PF_X as the core says, or as the file says where the core does not
	Source     Source       // of the first byte; Absent for memory that was mapped and not dumped
}

// End is the first address after the range.
func (r Range) End() uint64 { return r.Addr + r.Size }

// piece is a run of bytes that one file holds.
type piece struct {
	lo, hi uint64
	data   []byte // len(data) == hi-lo
	off    int64
	path   string
	kind   SourceKind
	flags  elf.ProgFlag
}

// span is mapped memory, whether or not its bytes are known.
type span struct {
	lo, hi uint64
	flags  elf.ProgFlag
}

// Memory is the address space of the dead process. Reading is safe from several goroutines; AddImage is not,
// and must be done before reading is shared.
type Memory struct {
	pieces []piece // sorted, without overlap
	mapped []span  // sorted, without overlap: what the core says was mapped
}

// maxStitch bounds the copy that Bytes makes when a range lies in several pieces.
const maxStitch = 16 << 20

// find gives the index of the piece that holds addr, or -1.
func (m *Memory) find(addr uint64) int {
	lo, hi := 0, len(m.pieces)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if m.pieces[mid].hi > addr {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo < len(m.pieces) && m.pieces[lo].lo <= addr {
		return lo
	}
	return -1
}

// Bytes gives n bytes at addr. They alias the file when one piece holds them all, and must not be written to;
// a range that lies in several pieces is copied, up to 16 MiB. It gives false when any byte is absent.
func (m *Memory) Bytes(addr, n uint64) ([]byte, bool) {
	at := m.find(addr)
	if at < 0 {
		return nil, n == 0
	}
	p := &m.pieces[at]
	if off := addr - p.lo; n <= uint64(len(p.data))-off {
		return p.data[off : off+n : off+n], true
	}
	return m.stitch(at, addr, n)
}

// stitch copies n bytes at addr from piece at and its neighbours.
func (m *Memory) stitch(at int, addr, n uint64) ([]byte, bool) {
	if n > maxStitch || n > math.MaxUint64-addr || !m.present(at, addr, n) {
		return nil, false
	}
	out := make([]byte, 0, n)
	for ; uint64(len(out)) < n; at++ {
		p := &m.pieces[at]
		rest := p.data[addr+uint64(len(out))-p.lo:]
		out = append(out, rest[:min(uint64(len(rest)), n-uint64(len(out)))]...)
	}
	return out, true
}

// present reports whether the pieces from at on cover addr to addr+n without a hole.
func (m *Memory) present(at int, addr, n uint64) bool {
	for end := addr + n; ; at++ {
		if m.pieces[at].hi >= end {
			return true
		}
		if at+1 == len(m.pieces) || m.pieces[at+1].lo != m.pieces[at].hi {
			return false
		}
	}
}

// Contiguous gives the bytes from addr to the end of the piece that holds it, without copying; nil when addr is absent.
func (m *Memory) Contiguous(addr uint64) []byte {
	at := m.find(addr)
	if at < 0 {
		return nil
	}
	return m.pieces[at].data[addr-m.pieces[at].lo:]
}

// ReadAt fills p from addr, over several pieces where necessary. When a byte is absent the error names its address
// and wraps ErrAbsent; p then holds what lies before it.
func (m *Memory) ReadAt(p []byte, addr uint64) error {
	for done := 0; done < len(p); {
		if uint64(done) > math.MaxUint64-addr {
			return fmt.Errorf("address %#x plus %d: %w", addr, done, ErrAbsent)
		}
		rest := m.Contiguous(addr + uint64(done))
		if len(rest) == 0 {
			return fmt.Errorf("address %#x: %w", addr+uint64(done), ErrAbsent)
		}
		done += copy(p[done:], rest)
	}
	return nil
}

// Uint64 reads a little-endian word of 8 bytes.
func (m *Memory) Uint64(addr uint64) (uint64, bool) {
	b, ok := m.Bytes(addr, 8)
	if !ok {
		return 0, false
	}
	return le.Uint64(b), true
}

// Uint32 reads a little-endian word of 4 bytes.
func (m *Memory) Uint32(addr uint64) (uint32, bool) {
	b, ok := m.Bytes(addr, 4)
	if !ok {
		return 0, false
	}
	return le.Uint32(b), true
}

// Uint16 reads a little-endian word of 2 bytes.
func (m *Memory) Uint16(addr uint64) (uint16, bool) {
	b, ok := m.Bytes(addr, 2)
	if !ok {
		return 0, false
	}
	return le.Uint16(b), true
}

// Uint8 reads one byte.
func (m *Memory) Uint8(addr uint64) (uint8, bool) {
	b, ok := m.Bytes(addr, 1)
	if !ok {
		return 0, false
	}
	return b[0], true
}

// CString reads a string that a zero ends. It gives false when a byte is absent or when there is no zero within limit bytes.
func (m *Memory) CString(addr, limit uint64) (string, bool) {
	var out []byte
	for uint64(len(out)) < limit {
		if uint64(len(out)) > math.MaxUint64-addr {
			return "", false
		}
		rest := m.Contiguous(addr + uint64(len(out)))
		if len(rest) == 0 {
			return "", false
		}
		rest = rest[:min(uint64(len(rest)), limit-uint64(len(out)))]
		if i := bytes.IndexByte(rest, 0); i >= 0 {
			return string(append(out, rest[:i]...)), true
		}
		out = append(out, rest...)
	}
	return "", false
}

// Source says where the byte at addr comes from; false when it is absent.
func (m *Memory) Source(addr uint64) (Source, bool) {
	at := m.find(addr)
	if at < 0 {
		return Source{}, false
	}
	p := &m.pieces[at]
	return Source{Kind: p.kind, Path: p.path, Offset: p.off + int64(addr-p.lo)}, true
}

// Mapped reports whether the core says that addr was mapped, dumped or not, and with which rights.
func (m *Memory) Mapped(addr uint64) (elf.ProgFlag, bool) {
	i := sort.Search(len(m.mapped), func(i int) bool { return m.mapped[i].hi > addr })
	if i < len(m.mapped) && m.mapped[i].lo <= addr {
		return m.mapped[i].flags, true
	}
	return 0, false
}

// View returns a reader with its own cache of the pieces it hit last. It is for one goroutine; views are cheap.
func (m *Memory) View() *View { return &View{mem: m} }

// View reads Memory, remembering the two pieces that it used last. Two, because walking a heap that points into
// stacks or read-only data alternates between them.
type View struct {
	mem         *Memory
	base, size  uint64
	data        []byte
	base2, siz2 uint64
	data2       []byte
}

// Memory gives the address space that v reads.
func (v *View) Memory() *Memory { return v.mem }

// Bytes is Memory.Bytes.
func (v *View) Bytes(addr, n uint64) ([]byte, bool) {
	if off := addr - v.base; off < v.size && n <= v.size-off {
		return v.data[off : off+n : off+n], true
	}
	return v.slow(addr, n)
}

// slow brings the piece of addr to the front of the cache.
func (v *View) slow(addr, n uint64) ([]byte, bool) {
	if off := addr - v.base2; off < v.siz2 {
		v.base, v.size, v.data, v.base2, v.siz2, v.data2 = v.base2, v.siz2, v.data2, v.base, v.size, v.data
	} else if at := v.mem.find(addr); at >= 0 {
		p := &v.mem.pieces[at]
		v.base2, v.siz2, v.data2 = v.base, v.size, v.data
		v.base, v.size, v.data = p.lo, p.hi-p.lo, p.data
	} else {
		return nil, n == 0
	}
	if off := addr - v.base; n <= v.size-off {
		return v.data[off : off+n : off+n], true
	}
	return v.mem.Bytes(addr, n)
}

// Uint64 is Memory.Uint64.
func (v *View) Uint64(addr uint64) (uint64, bool) {
	if off := addr - v.base; off < v.size && v.size-off >= 8 {
		return le.Uint64(v.data[off:]), true
	}
	b, ok := v.slow(addr, 8)
	if !ok {
		return 0, false
	}
	return le.Uint64(b), true
}

// Uint32 is Memory.Uint32.
func (v *View) Uint32(addr uint64) (uint32, bool) {
	b, ok := v.Bytes(addr, 4)
	if !ok {
		return 0, false
	}
	return le.Uint32(b), true
}

// Uint16 is Memory.Uint16.
func (v *View) Uint16(addr uint64) (uint16, bool) {
	b, ok := v.Bytes(addr, 2)
	if !ok {
		return 0, false
	}
	return le.Uint16(b), true
}

// Uint8 is Memory.Uint8.
func (v *View) Uint8(addr uint64) (uint8, bool) {
	b, ok := v.Bytes(addr, 1)
	if !ok {
		return 0, false
	}
	return b[0], true
}

// CString is Memory.CString.
func (v *View) CString(addr, limit uint64) (string, bool) { return v.mem.CString(addr, limit) }

// ReadAt is Memory.ReadAt.
func (v *View) ReadAt(p []byte, addr uint64) error { return v.mem.ReadAt(p, addr) }
