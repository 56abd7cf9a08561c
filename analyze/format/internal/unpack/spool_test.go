package unpack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestSpool(t *testing.T) {
	want := sample(1 << 20)
	for _, kind := range append([]Kind{Plain}, kinds...) {
		packed := pack(t, kind, want)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(packed), "in halves": iotest.HalfReader(bytes.NewReader(packed)),
			"end with data": iotest.DataErrReader(bytes.NewReader(packed)),
		} {
			dir := t.TempDir()
			f, err := Spool(context.Background(), "pipe", r, Limits{Dir: dir})
			if err != nil {
				t.Fatalf("%s %s: %v", kind, name, err)
			}
			got, err := io.ReadAll(f)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
			sum := sha256.Sum256(packed)
			if f.Kind != kind || f.Size != int64(len(want)) || f.Packed != int64(len(packed)) || f.SHA256 != hex.EncodeToString(sum[:]) || f.Gap != nil {
				t.Errorf("%s %s: kind %q, size %d, packed %d, sum %s, gap %v", kind, name, f.Kind, f.Size, f.Packed, f.SHA256, f.Gap)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("%s: the temporary file has a name: %v", kind, left)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSpoolRefused(t *testing.T) {
	broken := errors.New("the cable was pulled")
	for _, test := range []struct {
		name string
		in   io.Reader
		max  int64
		want string
	}{
		{"nothing", strings.NewReader(""), 0, ErrNothing.Error()},
		{"broken at once", iotest.ErrReader(broken), 0, broken.Error()},
		{"endless", zeroReader{}, 1 << 20, "more than 1048576 bytes came; raise the limit with --max-memory"},
		{"a bomb", bytes.NewReader(pack(t, Gzip, make([]byte, 8<<20))), 1 << 20, "it unpacks to more than 1048576 bytes"},
		{"only a magic number", bytes.NewReader([]byte{0x1f, 0x8b, 8}), 0, "unpacking gzip"},
	} {
		dir := t.TempDir()
		f, err := Spool(context.Background(), "pipe", test.in, Limits{MaxBytes: test.max, Dir: dir})
		if err == nil || !strings.Contains(err.Error(), test.want) || f != nil {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: left behind: %v", test.name, left)
		}
	}
}

// zeroReader never ends.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestSpoolCut holds that what came before the damage is kept, and that the writer is heard to its end.
func TestSpoolCut(t *testing.T) {
	want := sample(2 << 20)
	packed := pack(t, Gzip, want)
	broken := errors.New("the cable was pulled")
	for _, test := range []struct {
		name   string
		in     io.Reader
		hasSum bool
		why    string
	}{
		{"packed and cut", bytes.NewReader(packed[:len(packed)/2]), true, "unpacking gzip stopped at byte"},
		{"plain and broken", io.MultiReader(bytes.NewReader(want[:1<<20]), iotest.ErrReader(broken)), false, "reading stopped at byte 1048576, after 1048576 unpacked bytes: the cable was pulled"},
		{"damaged in the middle", bytes.NewReader(append(bytes.Clone(packed[:len(packed)/2]), make([]byte, 1<<20)...)), true, "unpacking gzip stopped"},
	} {
		f, err := Spool(context.Background(), "pipe", test.in, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if f.Gap == nil || !strings.Contains(f.Gap.Why, test.why) || strings.Contains(f.Gap.Why, " of 0") || (f.SHA256 != "") != test.hasSum {
			t.Errorf("%s: gap %+v, sum %q", test.name, f.Gap, f.SHA256)
		}
		got, _ := io.ReadAll(f)
		same := 0
		for same < min(len(got), len(want)) && got[same] == want[same] {
			same++
		}
		if same < 1<<18 {
			t.Errorf("%s: only the first %d of %d bytes are right", test.name, same, len(got))
		}
		_ = f.Close()
	}
}

// TestSpoolCancel holds that a writer who keeps silent holds nobody up.
func TestSpoolCancel(t *testing.T) {
	for _, before := range []int{0, 1 << 20} {
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = w.Write(sample(before)) // ends when the pipe is closed
			time.Sleep(10 * time.Millisecond)
			cancel()
		}()
		dir := t.TempDir()
		if _, err := Spool(ctx, "pipe", r, Limits{Dir: dir}); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d bytes: %v", before, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = r.Close()
	}
}

func TestSpoolProgress(t *testing.T) {
	last := int64(0)
	limits := Limits{Progress: func(done, total int64) {
		if done < last || total != 0 {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	}}
	f, err := Spool(context.Background(), "pipe", bytes.NewReader(sample(5<<20)), limits)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if last != 5<<20 {
		t.Errorf("%d bytes at last", last)
	}
}

// TestOpenFile holds that a file that the caller has opened stays open, packed or not.
func TestOpenFile(t *testing.T) {
	want := sample(1 << 20)
	for _, kind := range []Kind{Plain, Zstd} {
		in, err := os.Open(write(t, "core", pack(t, kind, want)))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		f, err := OpenFile(context.Background(), "core", in, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Stat(); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
	}
}
