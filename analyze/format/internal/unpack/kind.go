package unpack

import (
	"bytes"
	"encoding/binary"
)

// Kind is a form of compression.
type Kind string

// The forms that are recognised. Plain is anything else.
const (
	Plain     Kind = ""
	Gzip      Kind = "gzip"
	Zstd      Kind = "zstd"
	LZ4       Kind = "lz4"
	LZ4Legacy Kind = "lz4 (legacy)"
	XZ        Kind = "xz"
)

// HeadSize is how many bytes Detect wants to see: room for a skippable frame before the real one.
const HeadSize = 4096

// magics are the first bytes of each form: RFC 1952 (with deflate as method), RFC 8878, the LZ4 frame format
// description 1.6.4, the .xz file format 1.2.1.
var magics = []struct {
	kind  Kind
	magic []byte
}{
	{Gzip, []byte{0x1f, 0x8b, 8}},
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{LZ4, []byte{0x04, 0x22, 0x4d, 0x18}},
	{LZ4Legacy, []byte{0x02, 0x21, 0x4c, 0x18}},
	{XZ, []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
}

// Skippable frames of zstd and lz4 have the magics 0x184D2A50 to 0x184D2A5F (RFC 8878, 3.1.2). pzstd begins with one.
const (
	skippable     = 0x184D2A50
	skippableMask = 0xfffffff0
	skippableHead = 8 // magic and size
)

// Detect tells how a file that begins with head is compressed.
func Detect(head []byte) Kind {
	for {
		for _, m := range magics {
			if bytes.HasPrefix(head, m.magic) {
				return m.kind
			}
		}
		if len(head) < skippableHead || !isSkippable(head) {
			return Plain
		}
		next := uint64(binary.LittleEndian.Uint32(head[4:])) + skippableHead
		if next >= uint64(len(head)) {
			return Plain
		}
		head = head[next:]
	}
}

// isSkippable reports whether head begins with a frame that decoders skip.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && binary.LittleEndian.Uint32(head)&skippableMask == skippable
}
