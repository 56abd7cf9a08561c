package unpack

import (
	"encoding/binary"
	"io"
)

// xzGuard watches the bytes of an .xz file on their way to the library, and stops before a block whose dictionary is
// larger than allowed: the library allocates what the block header says, up to 4 GiB. It follows the container only (.xz
// file format 1.2.1) and leaves all other faults to the library.
type xzGuard struct {
	r     io.Reader
	step  xzStep
	want  int    // bytes that step needs
	have  []byte // of them so far
	skip  uint64 // bytes that nobody needs
	block uint64 // packed bytes of this block so far
	check uint64 // bytes of the check after a block
	index uint64 // bytes of the index so far
	left  uint64 // varints of the index that are still to come
	quiet bool   // the bytes are not those of an .xz file
}

// xzStep handles the bytes it asked for.
type xzStep func(g *xzGuard, b []byte) error

// Sizes of the container (sections 2.1.1, 2.1.2, 3.1, 4) and of LZMA2 chunks (liblzma, lzma2_decoder.c).
const (
	xzStreamHeader = 12
	xzFooter       = 12
	xzIndexCRC     = 4
	xzAlign        = 4
	xzLZMA2        = 0x21
	xzPackedSize   = 0x40 // block flags: the sizes are in the header
	xzFullSize     = 0x80
	xzFilters      = 0x03

	lzma2End       = 0x00
	lzma2Plain     = 0x02 // 1 and 2: a chunk that is not packed
	lzma2Packed    = 0x80
	lzma2WithProps = 0xc0
)

// xzChecks gives the bytes of the check by its id (section 2.1.1.2).
var xzChecks = [16]uint64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func newXZGuard(r io.Reader) *xzGuard {
	g := &xzGuard{r: r}
	g.next(xzStreamHeader, stepStream)
	return g
}

// next asks for n bytes.
func (g *xzGuard) next(n int, step xzStep) {
	g.want, g.step, g.have = n, step, g.have[:0]
}

// Read hands on bytes that have been looked at.
func (g *xzGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if bad := g.watch(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// watch follows the container through p.
func (g *xzGuard) watch(p []byte) error {
	for len(p) > 0 && !g.quiet {
		if g.skip > 0 {
			n := min(g.skip, uint64(len(p)))
			p, g.skip = p[n:], g.skip-n
			continue
		}
		n := min(g.want-len(g.have), len(p))
		g.have = append(g.have, p[:n]...)
		p = p[n:]
		if len(g.have) < g.want {
			return nil
		}
		if err := g.step(g, g.have); err != nil {
			return err
		}
	}
	return nil
}

// stepStream reads a stream header; four zeroes before it are padding between streams.
func stepStream(g *xzGuard, b []byte) error {
	if binary.LittleEndian.Uint32(b) == 0 {
		g.have = append(g.have[:0], b[xzAlign:]...) // step again when four more have come
		return nil
	}
	g.check = xzChecks[b[7]&0x0f]
	g.next(1, stepBlock)
	return nil
}

// stepBlock reads the size of a block header; 0 begins the index.
func stepBlock(g *xzGuard, b []byte) error {
	if b[0] == 0 {
		g.index, g.left = 1, 0
		g.next(1, stepIndexCount)
		return nil
	}
	g.next((int(b[0])+1)*xzAlign-1, stepHeader)
	return nil
}

// stepHeader reads a block header from its flags on.
func stepHeader(g *xzGuard, b []byte) error {
	flags, rest := b[0], b[1:]
	for _, bit := range []byte{xzPackedSize, xzFullSize} {
		if flags&bit != 0 {
			_, rest = varint(rest)
		}
	}
	for range int(flags&xzFilters) + 1 {
		var id, size uint64
		id, rest = varint(rest)
		size, rest = varint(rest)
		if size > uint64(len(rest)) {
			break // malformed: the library says so
		}
		if id == xzLZMA2 && size == 1 && xzDictSize(rest[0]) > maxWindow {
			return ErrWindow
		}
		rest = rest[size:]
	}
	g.block = 0
	g.next(1, stepChunk)
	return nil
}

// varint reads a number of 7 bits a byte (section 1.2), and gives what follows it.
func varint(b []byte) (uint64, []byte) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil
	}
	return v, b[n:]
}

// stepChunk reads the control byte of an LZMA2 chunk.
func stepChunk(g *xzGuard, b []byte) error {
	g.block++
	switch c := b[0]; {
	case c == lzma2End:
		g.skip = -g.block&(xzAlign-1) + g.check
		g.next(1, stepBlock)
	case c <= lzma2Plain:
		g.next(2, stepPlain)
	case c >= lzma2WithProps:
		g.next(5, stepPacked)
	case c >= lzma2Packed:
		g.next(4, stepPacked)
	default:
		g.quiet = true // malformed: the library says so
	}
	return nil
}

// stepPlain reads the size of a chunk that is not packed.
func stepPlain(g *xzGuard, b []byte) error {
	g.chunk(2, uint64(binary.BigEndian.Uint16(b))+1)
	return nil
}

// stepPacked reads the sizes of a packed chunk: the unpacked one, then the packed one, then the properties if any.
func stepPacked(g *xzGuard, b []byte) error {
	g.chunk(uint64(len(b)), uint64(binary.BigEndian.Uint16(b[2:]))+1)
	return nil
}

// chunk skips the data of a chunk.
func (g *xzGuard) chunk(head, size uint64) {
	g.block += head + size
	g.skip = size
	g.next(1, stepChunk)
}

// stepIndexCount reads a byte of the number of records; each record is two numbers.
func stepIndexCount(g *xzGuard, b []byte) error {
	last := b[len(b)-1]
	g.index++
	if last&0x80 != 0 && len(b) < binary.MaxVarintLen64 {
		g.want++ // the number goes on
		return nil
	}
	n, _ := varint(b)
	g.left = 2 * n
	g.indexEnd()
	return nil
}

// stepIndex reads a byte of the records.
func stepIndex(g *xzGuard, b []byte) error {
	g.index++
	if b[0]&0x80 == 0 {
		g.left--
	}
	g.indexEnd()
	return nil
}

// indexEnd goes on with the index, or with the next stream when it is through.
func (g *xzGuard) indexEnd() {
	if g.left > 0 {
		g.next(1, stepIndex)
		return
	}
	g.skip = -g.index&(xzAlign-1) + xzIndexCRC + xzFooter
	g.next(xzStreamHeader, stepStream)
}

// xzDictSize decodes the size byte of the LZMA2 filter (section 5.3.1): 40 is 4 GiB - 1, others are 2 or 3 times a power
// of two.
func xzDictSize(b byte) uint64 {
	const largest = 40
	bits := b & 0x3f
	if bits > largest {
		return 0 // invalid: the library says so
	}
	if bits == largest {
		return 1<<32 - 1
	}
	return (2 | uint64(bits&1)) << (bits/2 + 11)
}
