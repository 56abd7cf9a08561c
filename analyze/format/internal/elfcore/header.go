package elfcore

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math"
)

// Sizes and field offsets of ELF64 structures (System V ABI, chapters 4 and 5: Elf64_Ehdr, Elf64_Phdr, Elf64_Shdr).
const (
	ehdrSize = 64
	phdrSize = 56
	shdrSize = 64

	ehdrType      = 16
	ehdrMachine   = 18
	ehdrEntry     = 24
	ehdrPhoff     = 32
	ehdrShoff     = 40
	ehdrPhentsize = 54
	ehdrPhnum     = 56

	shdrInfo = 44 // sh_info of section 0 holds the number of program headers when e_phnum is PN_XNUM

	pnXNum = 0xffff // PN_XNUM, linux/elf.h

	// maxSegments bounds the program headers that are read: 32 times the kernel's default of
	// vm.max_map_count (65530), above which hosts are seldom set.
	maxSegments = 1 << 21
)

// le is the byte order of every file that is read here.
var le = binary.LittleEndian

// header is the part of an ELF header that is used.
type header struct {
	typ       elf.Type
	machine   elf.Machine
	entry     uint64
	phoff     uint64
	shoff     uint64
	phnum     uint64
	phentsize uint64
}

// phdr is one program header.
type phdr struct {
	typ    elf.ProgType
	flags  elf.ProgFlag
	off    uint64
	vaddr  uint64
	filesz uint64
	memsz  uint64
	align  uint64
}

// parseHeader reads the ELF header at the start of data and refuses what is not little-endian ELF64 of a known machine.
func parseHeader(data []byte) (header, error) {
	var h header
	if len(data) == 0 {
		return h, ErrEmpty
	}
	if len(data) < len(elf.ELFMAG) || string(data[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return h, ErrNotELF
	}
	if len(data) < ehdrSize {
		return h, fmt.Errorf("%w: %d bytes of a %d byte ELF header", ErrTruncated, len(data), ehdrSize)
	}
	if err := checkFlavour(data); err != nil {
		return h, err
	}
	return header{
		typ:       elf.Type(le.Uint16(data[ehdrType:])),
		machine:   elf.Machine(le.Uint16(data[ehdrMachine:])),
		entry:     le.Uint64(data[ehdrEntry:]),
		phoff:     le.Uint64(data[ehdrPhoff:]),
		shoff:     le.Uint64(data[ehdrShoff:]),
		phnum:     uint64(le.Uint16(data[ehdrPhnum:])),
		phentsize: uint64(le.Uint16(data[ehdrPhentsize:])),
	}, nil
}

// checkFlavour refuses 32-bit, big-endian and foreign machines by name.
func checkFlavour(data []byte) error {
	if c := elf.Class(data[elf.EI_CLASS]); c != elf.ELFCLASS64 {
		return fmt.Errorf("%w: %v, only 64-bit files are read", ErrUnsupported, c)
	}
	if d := elf.Data(data[elf.EI_DATA]); d != elf.ELFDATA2LSB {
		return fmt.Errorf("%w: %v, only little-endian files are read", ErrUnsupported, d)
	}
	switch m := elf.Machine(le.Uint16(data[ehdrMachine:])); m {
	case elf.EM_X86_64, elf.EM_AARCH64:
		return nil
	default:
		return fmt.Errorf("%w: machine %v, only amd64 (EM_X86_64) and arm64 (EM_AARCH64) are read", ErrUnsupported, m)
	}
}

// programHeaders reads the program headers of data. What a cut file still holds is returned together with gaps.
func programHeaders(data []byte, h header) ([]phdr, []Gap, error) {
	num, gaps := h.phnum, []Gap(nil)
	if num == pnXNum {
		num, gaps = extendedCount(data, h)
	}
	if num == 0 {
		return nil, gaps, nil
	}
	if h.phentsize != phdrSize {
		return nil, gaps, fmt.Errorf("program header entries of %d bytes, want %d", h.phentsize, phdrSize)
	}
	size := uint64(len(data))
	if h.phoff >= size {
		return nil, gaps, fmt.Errorf("%w: program headers are at offset %#x, the file ends at %#x", ErrTruncated, h.phoff, size)
	}
	if room := (size - h.phoff) / phdrSize; num > room {
		gaps = append(gaps, Gap{What: "program headers", Why: fmt.Sprintf("%d of %d lie beyond the end of the file at %#x", num-room, num, size)})
		num = room
	}
	if num > maxSegments {
		gaps = append(gaps, Gap{What: "program headers", Why: fmt.Sprintf("%d, of which the first %d are read", num, maxSegments)})
		num = maxSegments
	}
	out := make([]phdr, num)
	for i := range out {
		out[i] = decodePhdr(data[h.phoff+uint64(i)*phdrSize:])
	}
	return out, gaps, nil
}

// extendedCount reads the number of program headers from section header 0 (PN_XNUM).
func extendedCount(data []byte, h header) (uint64, []Gap) {
	size := uint64(len(data))
	if h.shoff == 0 || h.shoff > size || size-h.shoff < shdrSize {
		// Without the real count the headers are read as far as the 16-bit field goes.
		return pnXNum, []Gap{{What: "number of segments", Why: fmt.Sprintf("it is in section header 0 at %#x, beyond the end of the file at %#x", h.shoff, size)}}
	}
	return uint64(le.Uint32(data[h.shoff+shdrInfo:])), nil
}

// decodePhdr reads an Elf64_Phdr from the first 56 bytes of b.
func decodePhdr(b []byte) phdr {
	_ = b[phdrSize-1]
	return phdr{
		typ:    elf.ProgType(le.Uint32(b)),
		flags:  elf.ProgFlag(le.Uint32(b[4:])),
		off:    le.Uint64(b[8:]),
		vaddr:  le.Uint64(b[16:]),
		filesz: le.Uint64(b[32:]),
		memsz:  le.Uint64(b[40:]),
		align:  le.Uint64(b[48:]),
	}
}

// slice gives data[off:off+n] as far as the file goes; the flag says whether it went all the way.
func slice(data []byte, off, n uint64) ([]byte, bool) {
	size := uint64(len(data))
	if off >= size {
		return nil, n == 0
	}
	if n > size-off {
		return data[off:], false
	}
	return data[off : off+n], true
}

// addClip adds and stops at the top of the address space.
func addClip(a, b uint64) uint64 {
	if b > math.MaxUint64-a {
		return math.MaxUint64
	}
	return a + b
}
