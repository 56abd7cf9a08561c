package unpack

import (
	"bytes"
	"fmt"
	"os"
)

// hole is the shortest run of zeroes that is not written: the block of usual file systems.
const hole = 4096

// zeroes is compared with pages.
var zeroes [hole]byte

// sparseFile is written from front to back; pages of zeroes are left out.
type sparseFile struct {
	f       *os.File
	size    int64 // bytes so far, holes included
	written int64 // bytes without holes
}

// write appends p. Holes are found in pages that begin at a multiple of their size within p, so p should be aligned.
func (s *sparseFile) write(p []byte) error {
	for len(p) > 0 {
		skip := zeroPages(p)
		s.size += int64(skip)
		p = p[skip:]
		n := dataPages(p)
		if n == 0 {
			continue
		}
		if _, err := s.f.WriteAt(p[:n], s.size); err != nil {
			return fmt.Errorf("writing %d unpacked bytes: %w", n, err)
		}
		s.size += int64(n)
		s.written += int64(n)
		p = p[n:]
	}
	return nil
}

// zeroPages counts the bytes of the whole zero pages at the front of p.
func zeroPages(p []byte) int {
	n := 0
	for len(p)-n >= hole && bytes.Equal(p[n:n+hole], zeroes[:]) {
		n += hole
	}
	return n
}

// dataPages counts the bytes at the front of p up to the next whole zero page.
func dataPages(p []byte) int {
	n := 0
	for n < len(p) {
		if len(p)-n >= hole && bytes.Equal(p[n:n+hole], zeroes[:]) {
			return n
		}
		n += min(hole, len(p)-n)
	}
	return n
}

// finish gives the file its length, which a hole at the end has not.
func (s *sparseFile) finish() error {
	if err := s.f.Truncate(s.size); err != nil {
		return fmt.Errorf("setting the size of the unpacked file: %w", err)
	}
	return nil
}
