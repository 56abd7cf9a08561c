package unpack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds the memory that a stream may ask of its decoder. 128 MiB is what the zstd tool allows without
// --long=31, and twice the dictionary of xz -9.
const maxWindow = 128 << 20

// ErrWindow says that a stream wants a larger window than is allowed.
var ErrWindow = errors.New("the stream asks for a window of more than 128 MiB; unpack it with its own tool")

// newDecoder gives a reader of the unpacked bytes of r. The close function frees the decoder's memory.
func newDecoder(kind Kind, r *bufio.Reader) (io.Reader, func(), error) {
	nothing := func() {}
	switch kind {
	case Gzip:
		z, err := gzip.NewReader(r)
		return z, nothing, err
	case Zstd:
		// One goroutine: a panic of the decoder can then be caught where it is called.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nothing, err
		}
		return z, z.Close, nil
	case LZ4, LZ4Legacy:
		return &lz4Frames{in: r, z: lz4.NewReader(r)}, nothing, nil
	case XZ:
		if err := checkXZ(r); err != nil {
			return nil, nothing, err
		}
		z, err := xz.NewReader(r)
		return z, nothing, err
	}
	return r, nothing, nil
}

// errTrailing says that something other than a frame follows the last one.
var errTrailing = errors.New("bytes after the last lz4 frame that are no frame")

// lz4Frames reads frame after frame, as `lz4 -c a b > c` writes them; the library stops after the first.
type lz4Frames struct {
	in *bufio.Reader
	z  *lz4.Reader
}

// Read gives the bytes of this frame, and goes on with the next one at its end.
func (f *lz4Frames) Read(p []byte) (int, error) {
	for {
		n, err := f.z.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			if n > 0 && errors.Is(err, io.EOF) {
				err = nil // it comes again
			}
			return n, err
		}
		head, peekErr := f.in.Peek(4)
		if len(head) == 0 && errors.Is(peekErr, io.EOF) {
			return 0, io.EOF
		}
		if k := Detect(head); k != LZ4 && k != LZ4Legacy && !isSkippable(head) {
			return 0, errTrailing
		}
		f.z.Reset(f.in)
	}
}

// Layout of an .xz block header (.xz file format 1.2.1, sections 2.1.1 and 3.1): the first block follows the 12 bytes of
// the stream header; flags in its second byte say which sizes precede the filters; LZMA2 has the id 0x21.
const (
	xzStreamHeader = 12
	xzLZMA2        = 0x21
	xzMaxHeader    = 1024
)

// checkXZ refuses a first block whose dictionary is larger than allowed: the library allocates what the header says.
func checkXZ(r *bufio.Reader) error {
	head, _ := r.Peek(xzStreamHeader + xzMaxHeader) // a short file gives what it has
	if len(head) < xzStreamHeader+2 || head[xzStreamHeader] == 0 {
		return nil // no block, or cut off: the decoder says so
	}
	block := head[xzStreamHeader:]
	block = block[:min(len(block), 4*(int(block[0])+1))]
	at := bytes.Index(block[2:], []byte{xzLZMA2, 1})
	if at < 0 || at+4 >= len(block) {
		return nil
	}
	if xzDictSize(block[at+4]) > maxWindow {
		return ErrWindow
	}
	return nil
}

// xzDictSize decodes the size byte of the LZMA2 filter (section 5.3.1): 40 is 4 GiB - 1, others are 2 or 3 times a power of two.
func xzDictSize(b byte) uint64 {
	bits := b & 0x3f
	if bits > 40 {
		return 0 // invalid: the decoder says so
	}
	if bits == 40 {
		return 1<<32 - 1
	}
	return (2 | uint64(bits&1)) << (bits/2 + 11)
}

// guarded turns a panic of a decoder into an error.
type guarded struct{ r io.Reader }

// Read calls the decoder.
func (g guarded) Read(p []byte) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, err = 0, fmt.Errorf("the decoder failed on this input: %v", r)
		}
	}()
	return g.r.Read(p)
}
