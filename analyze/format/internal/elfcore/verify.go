package elfcore

import (
	"bytes"
	"debug/elf"
	"fmt"
)

// Method says what proved that a file is the one that was mapped, weakest first.
type Method uint8

const (
	// Unverified means that the core holds nothing that the file could be compared with. Its bytes must not be used.
	Unverified Method = iota
	// ByData means that nothing read-only was dumped, and that the initial values of the writable data are still
	// there: at least 95 % of their words. It tells builds with other addresses apart, not more. It is what a
	// core of qemu-user leaves of a program without a read-only segment of its own.
	ByData
	// ByHeaders means that the page with the ELF header and the program headers is equal, byte for byte. It
	// tells builds of different size or layout apart, but not two builds that differ in a constant.
	ByHeaders
	// ByPages means that every read-only page the core holds is equal, and that there was more than the first page.
	ByPages
	// ByGoBuildID means that Go's build id is equal.
	ByGoBuildID
	// ByGNUBuildID means that the GNU build-id is equal.
	ByGNUBuildID
)

// String names the method for a message.
func (m Method) String() string {
	switch m {
	case ByData:
		return "initial values of the data"
	case ByHeaders:
		return "ELF headers"
	case ByPages:
		return "read-only pages"
	case ByGoBuildID:
		return "Go build id"
	case ByGNUBuildID:
		return "GNU build-id"
	}
	return "unverified"
}

// Verification is the outcome of comparing a file with the core.
type Verification struct {
	Method Method
	Bias   uint64 // address in memory minus address in the file (mod 2^64)
	// PagesCompared counts the read-only pages that the core and the file both hold, PagesDiffer those of them
	// that are not equal. Up to one in a hundred may differ when an id is equal (breakpoints, probes).
	PagesCompared, PagesDiffer int

	image   *Image
	windows []window
}

// window is a stretch of memory that a read-only part of a file was mapped to.
type window struct {
	lo, hi uint64
	off    uint64
	flags  elf.ProgFlag
}

// MismatchError says that a file is not the one that was mapped.
type MismatchError struct {
	Path      string
	Want, Got string // what the core holds, what the file holds: ids, or the place where the contents differ
}

// Error names both.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s is not the file of this core: the core has %s, the file has %s", e.Path, e.Want, e.Got)
}

// VerifyAgainst compares the image with what the core holds of the module. The error is a *MismatchError; when
// there is nothing to compare, the result says Unverified and there is no error.
func (img *Image) VerifyAgainst(c *Core, m Module) (Verification, error) {
	mismatch := func(want, got string) (Verification, error) {
		return Verification{}, &MismatchError{Path: img.Path, Want: want, Got: got}
	}
	if img.header.machine != c.Machine {
		return mismatch(c.Machine.String(), img.header.machine.String())
	}
	bias, ok := img.bias(c, m)
	if !ok && len(m.Mappings) == 0 {
		return Verification{}, nil // the core has lost where the file was mapped: that speaks neither for nor against it
	}
	if !ok {
		return mismatch("mappings of "+m.Path, "program headers that fit none of them")
	}
	v := Verification{Bias: bias, image: img}
	if want, got := img.checkAuxv(c, m, bias); want != got {
		return mismatch(want, got)
	}
	want := img.coreIdentity(c, m, bias)
	if w, g := compareIDs(want, img.id); w != g {
		return mismatch(w, g)
	}
	if !img.debug {
		v.windows = img.windows(c, m, bias)
	}
	cmp := img.comparePages(c, v.windows)
	v.PagesCompared, v.PagesDiffer = cmp.pages, cmp.differ
	v.Method = cmp.method(want, img.id)
	if cmp.tooMany(v.Method) {
		return mismatch(fmt.Sprintf("other bytes at %#x (%d of %d read-only pages differ)", cmp.first, cmp.differ, cmp.pages), "the same headers and ids")
	}
	if v.Method == Unverified && !img.debug {
		return img.verifyData(c, v)
	}
	return v, nil
}

// method picks the strongest proof.
func (p pageResult) method(core, file Identity) Method {
	switch {
	case len(core.GNUBuildID) > 0 && len(file.GNUBuildID) > 0:
		return ByGNUBuildID
	case core.GoBuildID != "" && file.GoBuildID != "":
		return ByGoBuildID
	case p.pages > p.headerPages:
		return ByPages
	case p.pages > 0:
		return ByHeaders
	}
	return Unverified
}

// compareIDs gives the two sides as texts, which are equal when no id contradicts.
func compareIDs(core, file Identity) (want, got string) {
	gnu := len(core.GNUBuildID) > 0 && !bytes.Equal(core.GNUBuildID, file.GNUBuildID)
	goid := core.GoBuildID != "" && core.GoBuildID != file.GoBuildID
	if gnu || goid {
		return core.String(), file.String()
	}
	return "", ""
}

// coreIdentity reads the ids from the core, at the image's header or where this file says that its notes are.
func (img *Image) coreIdentity(c *Core, m Module, bias uint64) Identity {
	if id, ok := c.Identity(m); ok && id.Known() {
		return id
	}
	return c.identityFrom(img.header, img.phdrs, img.base(bias))
}

// base gives the address at which the ELF header of the image was mapped.
func (img *Image) base(bias uint64) uint64 {
	for _, p := range img.phdrs {
		if p.typ == elf.PT_LOAD && p.off == 0 {
			return bias + p.vaddr
		}
	}
	return bias
}

// bias finds where the file was mapped; false when its program headers fit none of the module's mappings.
func (img *Image) bias(c *Core, m Module) (uint64, bool) {
	if m.HasBias {
		return m.Bias, true
	}
	page := c.PageSize()
	for _, f := range m.Mappings {
		for _, p := range img.phdrs {
			if p.typ != elf.PT_LOAD || f.FileOffset < alignDown(p.off, page) || f.FileOffset >= addClip(p.off, p.filesz) {
				continue
			}
			return f.Start - f.FileOffset - (alignDown(p.vaddr, page) - alignDown(p.off, page)), true
		}
	}
	if len(m.Mappings) > 0 {
		return 0, false
	}
	if img.header.typ == elf.ET_EXEC {
		return 0, true
	}
	entry, ok := c.Auxv[atEntry]
	return entry - img.header.entry, ok && m.Exe
}

// checkAuxv compares entry point and program headers of the program with what the kernel told it.
func (img *Image) checkAuxv(c *Core, m Module, bias uint64) (want, got string) {
	if !m.Exe {
		return "", ""
	}
	if entry, ok := c.Auxv[atEntry]; ok && entry != bias+img.header.entry {
		return fmt.Sprintf("entry point %#x", entry), fmt.Sprintf("entry point %#x", bias+img.header.entry)
	}
	if n, ok := c.Auxv[atPhnum]; ok && n != uint64(len(img.phdrs)) {
		return fmt.Sprintf("%d program headers", n), fmt.Sprintf("%d program headers", len(img.phdrs))
	}
	return "", ""
}

// windows lists where the read-only segments of the image were mapped: their pages, cut to what NT_FILE says when
// the core has it, and without the pages of writable segments.
func (img *Image) windows(c *Core, m Module, bias uint64) []window {
	page := c.PageSize()
	var out []window
	for _, p := range img.phdrs {
		if p.typ != elf.PT_LOAD || p.flags&elf.PF_W != 0 || p.filesz == 0 || p.off%page != p.vaddr%page {
			continue
		}
		w := window{lo: bias + alignDown(p.vaddr, page), off: alignDown(p.off, page), flags: p.flags}
		w.hi = w.lo + alignUp(p.vaddr%page+p.filesz, page)
		if w.hi < w.lo || p.filesz > uint64(img.Size) {
			continue
		}
		out = append(out, img.clip(w, m, bias, page)...)
	}
	return out
}

// clip cuts a window to the mappings of the module and takes writable pages out of it.
func (img *Image) clip(w window, m Module, bias, page uint64) []window {
	parts := []window{w}
	if len(m.Mappings) > 0 {
		parts = nil
		for _, f := range m.Mappings {
			if f.Start-f.FileOffset == w.lo-w.off {
				parts = append(parts, w.cut(f.Start, f.End)...)
			}
		}
	}
	for _, p := range img.phdrs {
		if p.typ != elf.PT_LOAD || p.flags&elf.PF_W == 0 {
			continue
		}
		lo := bias + alignDown(p.vaddr, page)
		hi := bias + alignUp(p.vaddr+p.memsz, page)
		var kept []window
		for _, q := range parts {
			kept = append(kept, q.cut(q.lo, min(q.hi, lo))...)
			kept = append(kept, q.cut(max(q.lo, hi), q.hi)...)
		}
		parts = kept
	}
	return parts
}

// cut gives the part of w within lo to hi, as a list of one or none.
func (w window) cut(lo, hi uint64) []window {
	lo, hi = max(lo, w.lo), min(hi, w.hi)
	if lo >= hi {
		return nil
	}
	return []window{{lo: lo, hi: hi, off: w.off + (lo - w.lo), flags: w.flags}}
}
