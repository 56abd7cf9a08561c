package elfcore

import (
	"bytes"
	"fmt"
)

// Note types of Linux cores (linux/elf.h, "notes used in ET_CORE"), gdb and delve (pkg/elfwriter/delve_core_notes.go).
const (
	ntPrstatus   = 1
	ntPrpsinfo   = 3
	ntAuxv       = 6
	ntSiginfo    = 0x53494749
	ntFile       = 0x46494c45
	ntARMTLS     = 0x401
	ntARMSyscall = 0x404

	ntDelveHeader = 0x444C5645
	ntDelveThread = 0x444C5654
)

const (
	noteHeaderSize = 12 // namesz, descsz, type: three 32-bit words
	noteAlign      = 4  // of names and descriptors, in cores of all four producers and in .note sections

	// maxNotes bounds the notes read from one core: four notes for each of a million threads.
	maxNotes = 1 << 22
)

// note is one entry of a PT_NOTE segment. Desc aliases the file.
type note struct {
	typ  uint32
	name string
	desc []byte
	off  uint64 // of desc, within the bytes given to eachNote
}

// eachNote calls fn for every note in data, and says why it stopped early.
func eachNote(data []byte, fn func(note) bool) error {
	pos, size := uint64(0), uint64(len(data))
	for count := 0; size-pos >= noteHeaderSize; count++ {
		namesz, descsz := uint64(le.Uint32(data[pos:])), uint64(le.Uint32(data[pos+4:]))
		typ := le.Uint32(data[pos+8:])
		if namesz == 0 && descsz == 0 && typ == 0 {
			return nil // zero padding, as in a hole of a sparse file
		}
		if count == maxNotes {
			return fmt.Errorf("more than %d notes", maxNotes)
		}
		name := pos + noteHeaderSize
		desc := name + alignUp(namesz, noteAlign)
		end := desc + descsz // three 32-bit sizes added to a file offset do not overflow
		if name+namesz > size || end > size {
			return fmt.Errorf("the note at %#x claims a name of %d and a body of %d bytes, %d are left", pos, namesz, descsz, size-name)
		}
		n := note{typ: typ, name: noteName(data[name : name+namesz]), desc: data[desc:end:end], off: desc}
		if !fn(n) {
			return nil
		}
		pos = min(desc+alignUp(descsz, noteAlign), size)
	}
	return nil
}

// noteName cuts the terminating zero and what follows it.
func noteName(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	if len(b) > 64 {
		b = b[:64]
	}
	return string(b)
}

// alignUp rounds n up to a multiple of the power of two a.
func alignUp(n, a uint64) uint64 { return (n + a - 1) &^ (a - 1) }

// alignDown rounds n down to a multiple of the power of two a.
func alignDown(n, a uint64) uint64 { return n &^ (a - 1) }

// cstring gives the bytes of b up to the first zero.
func cstring(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
