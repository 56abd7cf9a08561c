// Package gocore reads core dumps of Go programs, Go 1.21 to 1.26 on linux/amd64 and linux/arm64.
//
// The fast path is ours: every goroutine's stack is unwound with the function tables that the program carries (package
// pcln), from structs whose layout is known for each version of the runtime (package layout), over the memory of the dead
// process in which every byte knows its source (package elfcore). It needs no symbols and no debug information. A goroutine
// costs a few hundred nanoseconds, a distinct stack is symbolised once, and both processors work.
//
// The executable is proved to be the right one before one byte of it is used. What cannot be read becomes a Gap.
package gocore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// formatName names the format in messages.
const formatName = "gocore"

// Format reads core dumps of Go programs.
var Format = format.Format{
	Name:  formatName,
	Doc:   "core dump of a Go program (Linux, amd64 and arm64): kernel, gcore, GOTRACEBACK=crash, dlv dump",
	Gives: evidence.KindGoroutines | evidence.KindThreads | evidence.KindSyncs | evidence.KindHolds | evidence.KindTransfers | evidence.KindScheduler | evidence.KindHeap | evidence.KindDeath,
	Sniff: Sniff,
	Read:  Read,
}

// Sniff recognises an ELF file, core or not: an executable that is given by mistake deserves a better answer than "unknown
// format", and Read gives it.
func Sniff(head []byte) bool {
	return len(head) >= elfTypeEnd && bytes.HasPrefix(head, []byte(elf.ELFMAG)) && head[elfPadEnd-1] == 0
}

// elfPadEnd is where e_ident ends in an ELF header, after bytes that are always zero (elf(5), EI_PAD). They tell a file from a text
// that begins with the magic number.
const elfPadEnd = 16

// elfTypeEnd is where e_type ends in an ELF header.
const elfTypeEnd = 18

// isExecutable reports whether head is an ELF executable or shared object.
func isExecutable(head []byte) bool {
	t := elf.Type(binary.LittleEndian.Uint16(head[elfTypeEnd-2:]))
	return t == elf.ET_EXEC || t == elf.ET_DYN
}
