package unpack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// TestXZGuardFollows holds that the guard keeps its place in whole files, however they arrive: it finds the large
// dictionary of a stream that stands behind others.
func TestXZGuardFollows(t *testing.T) {
	data := sample(1<<20 + 5)
	small := map[string][]byte{
		"one block":           tool(t, data, "xz", "-c"),
		"many blocks":         tool(t, data, "xz", "-c", "-T2", "--block-size=256KiB"),
		"sizes in the header": tool(t, data, "xz", "-c", "-T2"),
		"crc32":               tool(t, data, "xz", "-c", "-C", "crc32"),
		"sha256":              tool(t, data, "xz", "-c", "-C", "sha256"),
		"no check":            tool(t, data, "xz", "-c", "-C", "none"),
		"noise":               tool(t, data[:4096], "xz", "-c"),
		"nothing":             tool(t, nil, "xz", "-c"),
	}
	large := largeDict(t, data)
	for name, first := range small {
		padding := make([]byte, 8)
		file := append(append(bytes.Clone(first), padding...), large...)
		for _, r := range []io.Reader{bytes.NewReader(file), iotest.OneByteReader(bytes.NewReader(file)), iotest.HalfReader(bytes.NewReader(file))} {
			n, err := io.Copy(io.Discard, newXZGuard(r))
			if !errors.Is(err, ErrWindow) || n > int64(len(file)-len(large)+xzStreamHeader+1024) {
				t.Errorf("%s: %d of %d bytes passed, %v", name, n, len(file), err)
			}
		}
		if n, err := io.Copy(io.Discard, newXZGuard(bytes.NewReader(first))); err != nil || n != int64(len(first)) {
			t.Errorf("%s: %d of %d bytes passed, %v", name, n, len(first), err)
		}
	}
}

// TestXZSecondStream holds the same for Open: what came before the large dictionary is kept.
func TestXZSecondStream(t *testing.T) {
	want := sample(2 << 20)
	file := append(tool(t, want, "xz", "-c"), largeDict(t, want)...)
	f, err := Open(context.Background(), write(t, "core", file), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Gap == nil || f.Size != int64(len(want)) {
		t.Errorf("%d bytes, gap %v", f.Size, f.Gap)
	}
}

// FuzzXZGuard holds that the guard changes no byte and never panics.
func FuzzXZGuard(f *testing.F) {
	f.Add(pack(f, XZ, []byte("seed")))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := io.ReadAll(newXZGuard(iotest.HalfReader(bytes.NewReader(data))))
		if err == nil && !bytes.Equal(got, data) {
			t.Error("the guard changed the bytes")
		}
	})
}

// largeDict packs data and then claims a dictionary of 2 GiB in the block header: really packing with one takes 20 GB.
func largeDict(t testing.TB, data []byte) []byte {
	t.Helper()
	out := pack(t, XZ, data)
	at := bytes.Index(out[xzStreamHeader:], []byte{xzLZMA2, 1})
	if at < 0 {
		t.Fatal("no LZMA2 filter in the header")
	}
	out[xzStreamHeader+at+2] = 38
	return out
}
