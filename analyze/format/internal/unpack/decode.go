package unpack

import (
	"bufio"
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
		z, err := xz.NewReader(newXZGuard(r))
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
