package elfcore

import (
	"debug/elf"
	"strings"
)

// Layout of struct r_debug and struct link_map with 64-bit pointers (glibc elf/link.h; musl's is equal).
const (
	rDebugMap   = 8
	linkMapName = 8
	linkMapNext = 24

	// maxLinked bounds the list, which a damaged core may have made a loop.
	maxLinked = 4096
)

// LinkedModules lists the shared libraries of the process from the dynamic linker's own list, for cores that have no
// NT_FILE (delve, qemu). The program must have been loaded; a program that is linked statically has none.
func (c *Core) LinkedModules(exe *Image, v Verification) []Module {
	at, ok := c.debugMap(exe, v.Bias)
	if !ok {
		return nil
	}
	var out []Module
	seen := map[uint64]bool{}
	for n := 0; at != 0 && n < maxLinked && !seen[at]; n++ {
		seen[at] = true
		bias, ok1 := c.Mem.Uint64(at)
		namePtr, ok2 := c.Mem.Uint64(at + linkMapName)
		next, ok3 := c.Mem.Uint64(at + linkMapNext)
		if !ok1 || !ok2 || !ok3 {
			return out
		}
		// The program itself and the vDSO have no path.
		if name, ok := c.Mem.CString(namePtr, maxPath); ok && strings.HasPrefix(name, "/") {
			out = append(out, Module{Path: name, Bias: bias, HasBias: true})
		}
		at = next
	}
	return out
}

// debugMap finds the head of the list: DT_DEBUG of the program, which the dynamic linker fills in, points to r_debug.
func (c *Core) debugMap(exe *Image, bias uint64) (uint64, bool) {
	const maxEntries = 1024
	dynamic, vaddr, ok := exe.Program(elf.PT_DYNAMIC)
	if !ok {
		return 0, false
	}
	for i := uint64(0); i < min(uint64(len(dynamic))/16, maxEntries); i++ {
		tag, ok1 := c.Mem.Uint64(bias + vaddr + 16*i)
		val, ok2 := c.Mem.Uint64(bias + vaddr + 16*i + 8)
		if !ok1 || !ok2 || elf.DynTag(tag) == elf.DT_NULL {
			return 0, false
		}
		if elf.DynTag(tag) == elf.DT_DEBUG && val != 0 {
			return c.Mem.Uint64(val + rDebugMap)
		}
	}
	return 0, false
}
