package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// sparseBlock is the granularity of holes: the block of common file systems.
const sparseBlock = 4096

var zeroes [sparseBlock]byte

// sparseFile is a file in which blocks of zeroes become holes. Memory that a Go program reserved and never touched makes most
// of a core, and would fill a disk otherwise.
type sparseFile struct {
	f      *os.File
	at     int64 // where the next write goes
	size   int64 // of the file so far
	closed bool
}

// Write writes p; whole blocks of zeroes behind the end of what was written so far are left out.
func (s *sparseFile) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, hole := s.run(p[done:])
		if !hole {
			if _, err := s.f.WriteAt(p[done:done+n], s.at); err != nil {
				return done, err
			}
		}
		s.at += int64(n)
		s.size = max(s.size, s.at)
		done += n
	}
	return len(p), nil
}

// run measures how many of the first bytes of p belong together: blocks that are all zero, or blocks that are not.
func (s *sparseFile) run(p []byte) (n int, hole bool) {
	for n < len(p) {
		step := min(len(p)-n, sparseBlock-int((s.at+int64(n))%sparseBlock))
		empty := s.at+int64(n) >= s.size && bytes.Equal(p[n:n+step], zeroes[:step])
		if n > 0 && empty != hole {
			return n, hole
		}
		hole = empty
		n += step
	}
	return n, hole
}

// Seek sets where the next write goes.
func (s *sparseFile) Seek(offset int64, whence int) (int64, error) {
	at := offset
	switch whence {
	case io.SeekCurrent:
		at += s.at
	case io.SeekEnd:
		at += s.size
	}
	if at < 0 {
		return 0, fmt.Errorf("seeking to %d", at)
	}
	s.at = at
	return at, nil
}

// Close gives the file its full size, a hole at its end included, and closes it. A second Close does nothing.
func (s *sparseFile) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.f.Truncate(s.size), s.f.Close())
}
