package elfcore

import (
	"debug/elf"
	"fmt"
)

// What the initial values of writable data must show, measured on Go programs of amd64 and arm64: the right file has
// 99.0 to 99.5 % of its non-zero words in the core, the same program with one more function argument 81 %, other
// programs and other builds 2 % or less.
const (
	dataMinWords   = 256
	dataMinPercent = 95
	dataMaxOther   = 50
)

// verifyData is the last resort: it compares the writable data, as far as the process has not changed it. That works
// only where the file holds the addresses as they are in memory, so for programs that are not position-independent.
func (img *Image) verifyData(c *Core, v Verification) (Verification, error) {
	if img.header.typ != elf.ET_EXEC {
		return v, nil
	}
	equal, words := img.compareData(c, v.Bias)
	switch {
	case words < dataMinWords:
		return v, nil
	case equal*100 >= words*dataMinPercent:
		v.Method = ByData
		return v, nil
	case equal*100 <= words*dataMaxOther:
		return v, &MismatchError{
			Path: img.Path,
			Want: fmt.Sprintf("other data (%d of %d words differ)", words-equal, words),
			Got:  "a different initial state",
		}
	}
	return v, nil
}

// compareData counts the non-zero words of the file's writable segments that the core holds too, and those that are equal.
func (img *Image) compareData(c *Core, bias uint64) (equal, words int) {
	const maxWords = 1 << 20 // 8 MiB tell enough
	view := c.Mem.View()
	for _, p := range img.phdrs {
		if p.typ != elf.PT_LOAD || p.flags&elf.PF_W == 0 {
			continue
		}
		data, _ := slice(img.data, p.off, p.filesz)
		for i := 0; i+8 <= len(data) && words < maxWords; i += 8 {
			want := le.Uint64(data[i:])
			if want == 0 {
				continue
			}
			if got, ok := view.Uint64(bias + p.vaddr + uint64(i)); ok {
				words++
				if got == want {
					equal++
				}
			}
		}
	}
	return equal, words
}
