package elfcore

import (
	"bytes"
	"debug/elf"
)

// pageResult is the comparison of what core and file both hold.
type pageResult struct {
	pages, differ int
	headerPages   int    // pages of those that hold the ELF header
	first         uint64 // address of the first difference
}

const (
	comparePage = 4096

	// maxCompared bounds the pages compared for one image. Above it every n-th page is compared; 64 MiB take
	// about 10 ms.
	maxCompared = 16384

	// A debugger leaves its breakpoints in the dump. These many bytes may be breakpoint instructions.
	maxBreakpointBytes = 256
)

// tooMany reports whether the differences contradict the proof: one page in a hundred may differ when an id is
// equal, none without one.
func (p pageResult) tooMany(m Method) bool {
	if m == ByGNUBuildID || m == ByGoBuildID {
		return p.differ*100 > p.pages && p.differ > 1
	}
	return p.differ > 0
}

// comparePages compares every page of the windows that the core holds with the file.
func (img *Image) comparePages(c *Core, windows []window) pageResult {
	var total uint64
	for _, w := range windows {
		total += w.hi - w.lo
	}
	stride := max(1, total/comparePage/maxCompared)
	var r pageResult
	breakpoints := 0
	for _, w := range windows {
		for lo := w.lo; lo < w.hi; lo += comparePage * stride {
			file, _ := slice(img.data, w.off+(lo-w.lo), min(comparePage, w.hi-lo))
			core, ok := c.coreBytes(lo, uint64(len(file)))
			if !ok || len(file) == 0 {
				continue
			}
			r.pages++
			if w.off+(lo-w.lo) == 0 {
				r.headerPages++
			}
			if at, n := difference(img.header.machine, core, file); at >= 0 {
				if breakpoints += n; n == 0 || breakpoints > maxBreakpointBytes {
					r.add(lo + uint64(at))
				}
			}
		}
	}
	return r
}

// add counts a page that differs.
func (p *pageResult) add(addr uint64) {
	if p.differ == 0 {
		p.first = addr
	}
	p.differ++
}

// difference gives the place of the first difference, or -1. When all differences are breakpoint instructions in the
// core it also gives their bytes.
func difference(m elf.Machine, core, file []byte) (at, breakpoints int) {
	if bytes.Equal(core, file) {
		return -1, 0
	}
	at = -1
	for i := range core {
		if core[i] == file[i] {
			continue
		}
		if at < 0 {
			at = i
		}
		if !isBreakpoint(m, core, i) {
			return at, 0
		}
		breakpoints++
	}
	return at, breakpoints
}

// isBreakpoint reports whether byte i of code belongs to int3 (amd64) or brk #0 (arm64).
func isBreakpoint(m elf.Machine, code []byte, i int) bool {
	const int3, brk = 0xCC, 0xd4200000
	if m == elf.EM_X86_64 {
		return code[i] == int3
	}
	word := i &^ 3
	return word+4 <= len(code) && le.Uint32(code[word:]) == brk
}
