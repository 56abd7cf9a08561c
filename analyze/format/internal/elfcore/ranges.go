package elfcore

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"sort"
)

// newMemory lays out the segments of the core. Where segments overlap the one with the lower address wins, and of two
// with the same address the first in the file; overlapped counts the others.
func newMemory(path string, data []byte, segments []Segment) (m *Memory, overlapped int) {
	order := slices.Clone(segments)
	slices.SortStableFunc(order, func(a, b Segment) int { return cmp.Compare(a.Addr, b.Addr) })
	m = &Memory{}
	var top uint64 // end of the last piece
	for _, s := range order {
		bytes, _ := slice(data, s.FileOffset, min(s.FileSize, s.MemSize))
		p := piece{lo: s.Addr, hi: addClip(s.Addr, uint64(len(bytes))), data: bytes, off: int64(s.FileOffset), path: path, kind: FromCore, flags: s.Flags}
		p.data = p.data[:p.hi-p.lo]
		if len(m.pieces) > 0 && p.lo < top && len(p.data) > 0 {
			overlapped++
			p = p.from(top)
		}
		if len(p.data) > 0 {
			m.pieces = append(m.pieces, p)
			top = p.hi
		}
		m.addMapped(span{lo: s.Addr, hi: addClip(s.Addr, s.MemSize), flags: s.Flags})
	}
	return m, overlapped
}

// from cuts the part of p that lies below addr.
func (p piece) from(addr uint64) piece {
	if addr <= p.lo {
		return p
	}
	if addr >= p.hi {
		return piece{}
	}
	cut := addr - p.lo
	p.data = p.data[cut:]
	p.off += int64(cut)
	p.lo = addr
	return p
}

// until cuts the part of p that lies at or above addr.
func (p piece) until(addr uint64) piece {
	if addr >= p.hi {
		return p
	}
	if addr <= p.lo {
		return piece{}
	}
	p.data = p.data[:addr-p.lo]
	p.hi = addr
	return p
}

// addMapped appends a span, whose lo is not below that of the last one, without overlap.
func (m *Memory) addMapped(s span) {
	if n := len(m.mapped); n > 0 {
		s.lo = max(s.lo, m.mapped[n-1].hi)
	}
	if s.lo < s.hi {
		m.mapped = append(m.mapped, s)
	}
}

// addFiles adds what NT_FILE says was mapped where no segment says so, as gcore leaves read-only file mappings out.
func (m *Memory) addFiles(files []FileMapping) {
	order := slices.Clone(files)
	slices.SortFunc(order, func(a, b FileMapping) int { return cmp.Compare(a.Start, b.Start) })
	all := slices.Clone(m.mapped)
	var at int     // first span that ends above lo
	var top uint64 // everything below has been looked at
	for _, f := range order {
		for lo := max(f.Start, top); lo < f.End; {
			for at < len(m.mapped) && m.mapped[at].hi <= lo {
				at++
			}
			end := f.End
			if at < len(m.mapped) && m.mapped[at].lo <= lo {
				lo = m.mapped[at].hi
				continue
			} else if at < len(m.mapped) {
				end = min(end, m.mapped[at].lo)
			}
			all = append(all, span{lo: lo, hi: end, flags: elf.PF_R})
			lo = end
		}
		top = max(top, f.End)
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	m.mapped = all
}

// absentParts cuts from p what some piece holds already.
func (m *Memory) absentParts(p piece) []piece {
	var out []piece
	i := sort.Search(len(m.pieces), func(i int) bool { return m.pieces[i].hi > p.lo })
	for ; len(p.data) > 0 && i < len(m.pieces) && m.pieces[i].lo < p.hi; i++ {
		if before := p.until(m.pieces[i].lo); len(before.data) > 0 {
			out = append(out, before)
		}
		p = p.from(m.pieces[i].hi)
	}
	if len(p.data) > 0 {
		out = append(out, p)
	}
	return out
}

// Ranges lists the address space, sorted and without overlap: what is held by the core, what is held by verified
// files, and what was mapped and is absent.
func (m *Memory) Ranges() []Range {
	out := make([]Range, 0, len(m.pieces)+len(m.mapped))
	for _, p := range m.pieces {
		out = append(out, Range{Addr: p.lo, Size: p.hi - p.lo, Flags: p.flags, Source: Source{Kind: p.kind, Path: p.path, Offset: p.off}})
	}
	at := 0
	for _, s := range m.mapped {
		for lo := s.lo; lo < s.hi; {
			for at < len(m.pieces) && m.pieces[at].hi <= lo {
				at++
			}
			end := s.hi
			if at < len(m.pieces) && m.pieces[at].lo <= lo {
				lo = m.pieces[at].hi
				continue
			} else if at < len(m.pieces) {
				end = min(end, m.pieces[at].lo)
			}
			out = append(out, Range{Addr: lo, Size: end - lo, Flags: s.flags})
			lo = end
		}
	}
	slices.SortFunc(out, func(a, b Range) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}

// AddImage lays the read-only segments of a file under the core and returns how many bytes became known. The
// verification must be of this image and must not be Unverified: it names the addresses at which the file was
// mapped. Bytes of the core win. Writable segments are never taken from a file: the process may have changed them.
func (m *Memory) AddImage(img *Image, v Verification) (uint64, error) {
	if v.Method == Unverified || v.image != img {
		return 0, fmt.Errorf("%s: nothing proves that it is the file that was mapped", img.Path)
	}
	windows := slices.Clone(v.windows)
	slices.SortFunc(windows, func(a, b window) int { return cmp.Compare(a.lo, b.lo) })
	var extra []piece
	var top uint64 // windows of one file may overlap when the core names a mapping twice
	for _, w := range windows {
		data, _ := slice(img.data, w.off, w.hi-w.lo)
		p := piece{lo: w.lo, hi: w.lo + uint64(len(data)), data: data, off: int64(w.off), path: img.Path, kind: FromFile, flags: w.flags}
		if p = p.from(top); len(p.data) == 0 {
			continue
		}
		top = p.hi
		for _, part := range m.readOnly(p) {
			extra = append(extra, m.absentParts(part)...)
		}
	}
	var added uint64
	for _, e := range extra {
		added += e.hi - e.lo
	}
	m.pieces = append(m.pieces, extra...)
	slices.SortFunc(m.pieces, func(a, b piece) int { return cmp.Compare(a.lo, b.lo) })
	return added, nil
}

// readOnly cuts from p what the core says was writable.
func (m *Memory) readOnly(p piece) []piece {
	var out []piece
	i := sort.Search(len(m.mapped), func(i int) bool { return m.mapped[i].hi > p.lo })
	for ; len(p.data) > 0 && i < len(m.mapped) && m.mapped[i].lo < p.hi; i++ {
		if m.mapped[i].flags&elf.PF_W == 0 {
			continue
		}
		if before := p.until(m.mapped[i].lo); len(before.data) > 0 {
			out = append(out, before)
		}
		p = p.from(m.mapped[i].hi)
	}
	if len(p.data) > 0 {
		out = append(out, p)
	}
	return out
}
