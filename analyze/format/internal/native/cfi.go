package native

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// frames is one section of call frame information.
type frames struct {
	data []byte
	addr uint64 // address of data[0] without bias
	eh   bool   // .eh_frame rather than .debug_frame

	index []entry // sorted by lo; nil until built
}

// entry is the place of the FDE for lo to hi (addresses without bias).
type entry struct {
	lo, hi uint64
	off    uint64 // of the FDE in data
}

// cie is a Common Information Entry.
type cie struct {
	codeAlign uint64
	dataAlign int64
	raReg     uint64
	fdeEnc    uint8
	augmented bool // the FDE has augmentation data of its own
	signal    bool // augmentation 'S': the frame was made by a signal
	program   []byte
}

// fde is a Frame Description Entry.
type fde struct {
	cie     *cie
	lo, hi  uint64
	program []byte
	at      uint64 // address of program[0] without bias, for DW_CFA_set_loc
}

var (
	errCFI        = errors.New("malformed call frame information")
	errTerminator = errors.New("terminator")
)

// maxEntries bounds the index of one section; libxul of Firefox has about 400,000.
const maxEntries = 1 << 22

// block reads the length and the id of the CIE or FDE at off. body begins after the id; next is the offset of what
// follows. For a CIE isCIE is true; otherwise cieOff is the offset of its CIE.
func (f *frames) block(off uint64) (body reader, cieOff, next uint64, isCIE bool, err error) {
	if off >= uint64(len(f.data)) {
		return body, 0, 0, false, fmt.Errorf("%w: entry at %#x of %#x bytes", errCFI, off, len(f.data))
	}
	r := reader{b: f.data, pos: int(off)}
	length, wide := uint64(r.u32()), false
	if length == 0xffffffff {
		length, wide = r.u64(), true
	}
	if length == 0 && !r.bad {
		return body, 0, 0, false, errTerminator
	}
	idAt := uint64(r.pos)
	if r.bad || length > uint64(r.left()) {
		return body, 0, 0, false, fmt.Errorf("%w: entry at %#x has %#x bytes, %#x are left", errCFI, off, length, r.left())
	}
	next = idAt + length
	r.b = f.data[:next]
	id, none := uint64(r.u32()), uint64(0xffffffff)
	if wide && !f.eh {
		r.pos = int(idAt)
		id, none = r.u64(), 1<<64-1
	}
	if r.bad {
		return body, 0, 0, false, fmt.Errorf("%w: entry at %#x has no id", errCFI, off)
	}
	if f.eh {
		return r, idAt - id, next, id == 0, nil
	}
	return r, id, next, id == none, nil
}

// parseCIE reads the CIE at off.
func (f *frames) parseCIE(off uint64) (*cie, error) {
	r, _, _, isCIE, err := f.block(off)
	if err != nil {
		return nil, err
	}
	if !isCIE {
		return nil, fmt.Errorf("%w: no CIE at %#x", errCFI, off)
	}
	version := r.u8()
	aug := r.cstring()
	if version != 1 && version != 3 && version != 4 {
		return nil, fmt.Errorf("%w: CIE at %#x of version %d", errCFI, off, version)
	}
	if version == 4 {
		if addrSize, segSize := r.u8(), r.u8(); addrSize != 8 || segSize != 0 {
			return nil, fmt.Errorf("%w: CIE at %#x with addresses of %d and segments of %d bytes", errCFI, off, addrSize, segSize)
		}
	}
	c := &cie{codeAlign: r.uleb(), dataAlign: r.sleb()}
	if version == 1 {
		c.raReg = uint64(r.u8())
	} else {
		c.raReg = r.uleb()
	}
	if err := c.augment(&r, aug, f.addr); err != nil {
		return nil, fmt.Errorf("CIE at %#x: %w", off, err)
	}
	if r.bad {
		return nil, fmt.Errorf("%w: CIE at %#x is cut off", errCFI, off)
	}
	c.program = r.b[r.pos:]
	return c, nil
}

// augment reads the augmentation. Unknown letters after 'z' are skipped with the data they announce.
func (c *cie) augment(r *reader, aug string, base uint64) error {
	if aug == "" {
		return nil
	}
	if aug[0] != 'z' {
		return fmt.Errorf("%w: unknown augmentation %q", errCFI, aug)
	}
	c.augmented = true
	size := r.uleb()
	start := r.pos
	data := reader{b: r.b, pos: r.pos}
	if r.take(size); r.bad {
		return fmt.Errorf("%w: augmentation of %d bytes", errCFI, size)
	}
	data.b = r.b[:start+int(size)]
	for _, letter := range aug[1:] {
		switch letter {
		case 'L':
			data.u8()
		case 'P':
			enc := data.u8()
			data.pointer(enc&^peIndirect, base, 0)
		case 'R':
			c.fdeEnc = data.u8()
		case 'S':
			c.signal = true
		case 'B', 'G': // arm64: return addresses are signed with the B key; memory tagging
		default:
			return nil
		}
	}
	return nil
}

// parseFDE reads the FDE at off.
func (f *frames) parseFDE(off uint64) (*fde, uint64, error) {
	r, cieOff, next, isCIE, err := f.block(off)
	if err != nil {
		return nil, 0, err
	}
	if isCIE {
		return nil, next, nil
	}
	c, err := f.parseCIE(cieOff)
	if err != nil {
		return nil, next, err
	}
	lo, okLo := r.pointer(c.fdeEnc, f.addr, 0)
	size, okSize := r.number(c.fdeEnc & peFormat)
	if !okLo || !okSize {
		return nil, next, fmt.Errorf("%w: FDE at %#x has addresses in encoding %#x", errCFI, off, c.fdeEnc)
	}
	if c.augmented {
		r.take(r.uleb())
	}
	if r.bad {
		return nil, next, fmt.Errorf("%w: FDE at %#x is cut off", errCFI, off)
	}
	return &fde{cie: c, lo: lo, hi: lo + size, program: r.b[r.pos:], at: f.addr + uint64(r.pos)}, next, nil
}

// build makes the index by reading every entry. Broken entries are left out.
func (f *frames) build() {
	f.index = []entry{}
	for off := uint64(0); off < uint64(len(f.data)) && len(f.index) < maxEntries; {
		d, next, err := f.parseFDE(off)
		if errors.Is(err, errTerminator) && !f.eh {
			off += 4
			continue
		}
		if next <= off {
			break
		}
		if err == nil && d != nil && d.lo < d.hi {
			f.index = append(f.index, entry{lo: d.lo, hi: d.hi, off: off})
		}
		off = next
	}
	slices.SortStableFunc(f.index, func(a, b entry) int { return cmp.Compare(a.lo, b.lo) })
}

// find gives the FDE for an address without bias, or nil.
func (f *frames) find(addr uint64) *fde {
	i := sort.Search(len(f.index), func(i int) bool { return f.index[i].lo > addr }) - 1
	if i < 0 || addr >= f.index[i].hi {
		return nil
	}
	d, _, err := f.parseFDE(f.index[i].off)
	if err != nil {
		return nil
	}
	return d
}

// header is a usable .eh_frame_hdr: a sorted table of 32-bit pairs, relative to the header's address.
type header struct {
	table []byte
	addr  uint64 // of the header, without bias
	eh    uint64 // address of .eh_frame, without bias
}

// The encodings that every linker writes (binutils bfd/elf-eh-frame.c): the table search needs them.
const (
	hdrVersion   = 1
	hdrCountEnc  = peU4
	hdrTableEnc  = peDataRel | peS4
	hdrEntrySize = 8
)

// parseHeader reads .eh_frame_hdr at addr; ok is false when there is no table that can be searched.
func parseHeader(data []byte, addr uint64) (h header, ok bool) {
	r := reader{b: data}
	version, ehEnc, countEnc, tableEnc := r.u8(), r.u8(), r.u8(), r.u8()
	eh, okEh := r.pointer(ehEnc, addr, addr)
	h = header{addr: addr, eh: eh}
	if version != hdrVersion || !okEh {
		return header{}, false
	}
	if countEnc != hdrCountEnc || tableEnc != hdrTableEnc {
		return h, false
	}
	h.table = r.take(uint64(r.u32()) * hdrEntrySize)
	return h, !r.bad
}

// find gives the address of the FDE for an address without bias.
func (h *header) find(addr uint64) (uint64, bool) {
	n := len(h.table) / hdrEntrySize
	at := func(i, word int) uint64 {
		return h.addr + uint64(int64(int32(le.Uint32(h.table[i*hdrEntrySize+word:]))))
	}
	i := sort.Search(n, func(i int) bool { return at(i, 0) > addr }) - 1
	if i < 0 {
		return 0, false
	}
	return at(i, 4), true
}
