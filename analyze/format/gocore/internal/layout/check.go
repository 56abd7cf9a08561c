package layout

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Bounds of what a goroutine can look like. The largest stack is debug.SetMaxStack's default of 1 GB on 64-bit machines
// (runtime/proc.go, main); it is doubled here, since programs set it higher and the check is against nonsense.
const (
	maxStack = 2 << 30
	maxGoid  = 1 << 48
	maxGSize = 4 << 10
)

// gFields are the fields of a runtime.g that CheckG reads.
var gFields = []string{
	"runtime.g.stack.lo", "runtime.g.stack.hi", "runtime.g.sched.sp", "runtime.g.m", "runtime.g.atomicstatus",
	"runtime.g.goid", "runtime.g.sched.g",
}

// CheckG reports what is impossible about the runtime.g at an address, if it is read with this layout: bounds of the
// stack, a saved stack pointer out of them, a status that this version does not have, a number or pointer out of range.
// mem gives the process's memory, by address. A nil error means plausible, not certain; when many goroutines fail, the
// layout is not that of the process.
func (l *Layout) CheckG(mem io.ReaderAt, addr uint64) error {
	size, ok := l.Size("runtime.g")
	at, err := l.Fields(gFields...)
	if err != nil || !ok || size > maxGSize {
		return fmt.Errorf("check runtime.g at %#x: size %d: %w", addr, size, err)
	}
	g := make([]byte, size)
	if _, err := mem.ReadAt(g, int64(addr)); err != nil {
		return fmt.Errorf("read runtime.g at %#x: %w", addr, err)
	}
	var v [7]uint64
	for i, offset := range at {
		if offset+wordSize > size {
			return fmt.Errorf("check runtime.g at %#x: field %s at %d is beyond its %d bytes", addr, gFields[i], offset, size)
		}
		v[i] = binary.LittleEndian.Uint64(g[offset:])
	}
	state := gState{lo: v[0], hi: v[1], sp: v[2], m: v[3], status: uint32(v[4]), goid: v[5], self: v[6], at: addr}
	if err := l.checkState(state); err != nil {
		return fmt.Errorf("runtime.g at %#x (layout of Go %s, %s): %w", addr, l.Version.Release(), l.Origin, err)
	}
	return nil
}

// gState is what CheckG has read.
type gState struct {
	lo, hi, sp, m, goid, self, at uint64
	status                        uint32
}

func (l *Layout) checkState(g gState) error {
	known := l.table == nil || l.StatusName(g.status) != ""
	switch {
	case !known:
		return fmt.Errorf("status %#x is not one of this version", g.status)
	case g.lo > g.hi || g.hi-g.lo > maxStack:
		return fmt.Errorf("stack from %#x to %#x", g.lo, g.hi)
	case g.hi != 0 && (g.lo == 0 || g.hi%wordSize != 0):
		return fmt.Errorf("stack from %#x to %#x", g.lo, g.hi)
	case g.goid >= maxGoid:
		return fmt.Errorf("goroutine number %d", g.goid)
	case g.m%wordSize != 0:
		return fmt.Errorf("pointer to its thread %#x is not aligned", g.m)
	case g.self != 0 && g.self != g.at:
		return fmt.Errorf("its saved registers belong to the goroutine at %#x", g.self)
	case l.StatusName(g.status) == "waiting" && (g.sp < g.lo || g.sp > g.hi):
		return fmt.Errorf("saved stack pointer %#x is not in its stack, %#x to %#x", g.sp, g.lo, g.hi)
	}
	return nil
}
