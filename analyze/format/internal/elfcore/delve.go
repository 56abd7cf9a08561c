package elfcore

import (
	"debug/elf"
	"fmt"
	"strconv"
	"strings"
)

// Layout of delve's platform-independent thread note (pkg/proc/dump.go, dumpThreadNotes): eight bytes each of
// thread id, pc, sp, bp and tls, a flag byte, the address of g, and a count of named registers.
const (
	delvePC       = 8
	delveSP       = 16
	delveBP       = 24
	delveTLS      = 32
	delveHasG     = 40
	delveG        = 41
	delveCount    = 49
	delveRegs     = 53
	delveNameMax  = 20   // pkg/proc/core/delve_core.go, readBytes
	delveValueMax = 2048 // likewise
)

// delveAliases maps delve's register names that differ from the kernel's (pkg/proc/linutil).
var delveAliases = map[string]string{"rflags": "eflags"}

// decodeDelveThread reads one thread of delve's platform-independent form.
func decodeDelveThread(m elf.Machine, b []byte) (Thread, error) {
	if len(b) < delveRegs {
		return Thread{}, fmt.Errorf("delve thread note of %d bytes, at least %d are needed", len(b), delveRegs)
	}
	named, err := delveRegisters(m, b[delveRegs:], le.Uint32(b[delveCount:]))
	t := Thread{TID: int(le.Uint64(b)), Regs: NewRegs(m, named)}
	r := &t.Regs
	r.PC, r.SP = le.Uint64(b[delvePC:]), le.Uint64(b[delveSP:])
	r.FP = le.Uint64(b[delveBP:])
	if tls := le.Uint64(b[delveTLS:]); tls != 0 {
		r.TLS, r.HasTLS = tls, true
	}
	if b[delveHasG] != 0 {
		r.DelveG = le.Uint64(b[delveG:])
	}
	return t, err
}

// delveRegisters reads the named registers and puts them into the kernel's order.
func delveRegisters(m elf.Machine, b []byte, count uint32) ([]uint64, error) {
	names := RegisterNames(m)
	out := make([]uint64, len(names))
	for i := range count {
		name, rest, ok := lengthPrefixed(b, delveNameMax)
		if !ok {
			return out, fmt.Errorf("delve thread note: register %d of %d has no whole name", i, count)
		}
		value, rest, ok := lengthPrefixed(rest, delveValueMax)
		if !ok {
			return out, fmt.Errorf("delve thread note: register %d of %d has no whole value", i, count)
		}
		b = rest
		if at := registerIndex(names, string(name)); at >= 0 && len(value) >= 8 {
			out[at] = le.Uint64(value)
		}
	}
	return out, nil
}

// registerIndex finds a register by delve's name, or -1.
func registerIndex(names []string, name string) int {
	name = strings.ToLower(name)
	if alias, ok := delveAliases[name]; ok {
		name = alias
	}
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// lengthPrefixed cuts a 16-bit length and that many bytes.
func lengthPrefixed(b []byte, limit int) (value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(le.Uint16(b))
	if n > limit || n > len(b)-2 {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// DelveHeader is the note that delve puts into every dump.
type DelveHeader struct {
	GOOS, GOARCH string
	Version      string // the lines delve prints as its version
	PID          int
	Entry        uint64
}

// decodeDelveHeader reads the text of the note: platform, version, "Target Pid: n", "Entry Point: 0x...".
func decodeDelveHeader(b []byte) DelveHeader {
	var h DelveHeader
	for i, line := range strings.Split(string(b[:min(len(b), 4096)]), "\n") {
		pid, isPID := strings.CutPrefix(line, "Target Pid: ")
		entry, isEntry := strings.CutPrefix(line, "Entry Point: ")
		switch {
		case i == 0:
			h.GOOS, h.GOARCH, _ = strings.Cut(line, "/")
		case isPID:
			h.PID, _ = strconv.Atoi(pid)
		case isEntry:
			h.Entry, _ = strconv.ParseUint(entry, 0, 64)
		case line != "":
			h.Version = strings.TrimSpace(h.Version + "\n" + line)
		}
	}
	return h
}
