package godump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineBuffer is the size of the read buffer, and so the longest line that is kept whole. The runtime's longest lines are
// function names with type arguments, a few kilobytes.
const lineBuffer = 256 << 10

// lineReader cuts a text into lines without copying them.
type lineReader struct {
	r      io.Reader
	buf    []byte
	lo, hi int   // what is in buf and not yet given
	offset int64 // of buf[lo] in the text
	err    error // what ended the text; io.EOF when it was read to its end

	number int   // of the line given last, 1-based
	start  int64 // its offset
	whole  bool  // it ended with a line feed
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: r, buf: make([]byte, lineBuffer)}
}

// next gives the next line without its end. It is valid until the next call. Of a line that is longer than the buffer only
// the beginning is given.
func (l *lineReader) next() ([]byte, bool) {
	line, ok := l.take()
	if !ok {
		return nil, false
	}
	l.number++
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, true
}

func (l *lineReader) take() ([]byte, bool) {
	searched := 0
	for {
		if i := bytes.IndexByte(l.buf[l.lo+searched:l.hi], '\n'); i >= 0 {
			return l.give(searched+i, 1), true
		}
		searched = l.hi - l.lo
		if searched == len(l.buf) {
			line := l.give(searched, 0)
			l.skipRest()
			return line, true
		}
		if !l.fill() {
			if searched = l.hi - l.lo; searched == 0 {
				return nil, false
			}
			return l.give(searched, 0), true
		}
	}
}

// give hands out n bytes and the end that follows them.
func (l *lineReader) give(n, end int) []byte {
	line := l.buf[l.lo : l.lo+n]
	l.start, l.whole = l.offset, end > 0
	l.lo += n + end
	l.offset += int64(n + end)
	return line
}

// fill reads more behind what is left; false at the end of the text.
func (l *lineReader) fill() bool {
	if l.err != nil {
		return false
	}
	if l.lo > 0 {
		copy(l.buf, l.buf[l.lo:l.hi])
		l.lo, l.hi = 0, l.hi-l.lo
	}
	for range 100 { // a reader that gives nothing and no error is broken
		n, err := l.r.Read(l.buf[l.hi:])
		l.hi += n
		l.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	l.err = io.ErrNoProgress
	return false
}

// skipRest drops the rest of an overlong line. The line that was given lies in a part of the buffer that must survive, so
// the rest is read through a small buffer of its own.
func (l *lineReader) skipRest() {
	var small [4096]byte
	for l.err == nil {
		n, err := l.r.Read(small[:])
		l.err = err
		if i := bytes.IndexByte(small[:n], '\n'); i >= 0 {
			l.offset += int64(i + 1)
			l.whole = true
			l.keep(small[i+1 : n])
			return
		}
		l.offset += int64(n)
	}
}

// keep puts back what was read behind the end of an overlong line.
func (l *lineReader) keep(rest []byte) {
	grown := make([]byte, len(l.buf))
	l.lo, l.hi = 0, copy(grown, rest)
	l.buf = grown
}

// failure is what stopped the reader before the end of the text; nil at its end.
func (l *lineReader) failure() error {
	if l.err == nil || errors.Is(l.err, io.EOF) {
		return nil
	}
	return fmt.Errorf("reading line %d: %w", l.number+1, l.err)
}
