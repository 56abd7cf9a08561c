package unpack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// sample is like a core: text, noise, and long runs of zeroes, one of them at the end.
func sample(size int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]byte, size)
	for at := 0; at+8192 < size; at += 65536 {
		for i := range 4096 {
			out[at+i] = byte(rng.Uint32())
		}
		copy(out[at+4096:], bytes.Repeat([]byte("goroutine "), 400))
	}
	return out
}

// pack packs with the library.
func pack(t testing.TB, kind Kind, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case Gzip:
		w = gzip.NewWriter(&b)
	case Zstd:
		w, err = zstd.NewWriter(&b)
	case LZ4:
		w = lz4.NewWriter(&b)
	case LZ4Legacy:
		z := lz4.NewWriter(&b)
		err, w = z.Apply(lz4.LegacyOption(true)), z
	case XZ:
		w, err = xz.NewWriter(&b)
	default:
		return data
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var kinds = []Kind{Gzip, Zstd, LZ4, LZ4Legacy, XZ}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpacked opens data and reads all of it.
func unpacked(t testing.TB, path string, limits Limits) (*File, []byte) {
	t.Helper()
	f, err := Open(context.Background(), path, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size))
	if err != nil || int64(len(got)) != f.Size {
		t.Fatalf("%d of %d bytes: %v", len(got), f.Size, err)
	}
	return f, got
}

func same(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes that differ from the %d expected", len(got), len(want))
	}
}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{1, 4096, 1 << 20, 3<<20 + 777} {
		want := sample(size)
		if size < 10000 {
			copy(want, "x")
		}
		for _, kind := range append([]Kind{Plain}, kinds...) {
			// The name lies on purpose: only the content counts.
			f, got := unpacked(t, write(t, "core.zip", pack(t, kind, want)), Limits{})
			same(t, got, want)
			if f.Kind != kind || f.Gap != nil {
				t.Errorf("%d bytes of %q: kind %q, gap %v", size, kind, f.Kind, f.Gap)
			}
		}
	}
}

// TestTools unpacks what the real tools write.
func TestTools(t *testing.T) {
	want := sample(5<<20 + 13)
	for _, tc := range []struct {
		argv []string
		kind Kind
	}{
		{[]string{"gzip", "-c"}, Gzip},
		{[]string{"zstd", "-q", "-c"}, Zstd},
		{[]string{"zstd", "-q", "-c", "-19", "--long=27"}, Zstd},
		{[]string{"lz4", "-q", "-c"}, LZ4},
		{[]string{"lz4", "-q", "-c", "-9", "-BD", "-B7"}, LZ4},
		{[]string{"lz4", "-q", "-c", "-l"}, LZ4Legacy},
		{[]string{"xz", "-c"}, XZ},
		{[]string{"xz", "-c", "-T2", "--block-size=1MiB"}, XZ},
	} {
		t.Run(strings.Join(tc.argv, " "), func(t *testing.T) {
			f, got := unpacked(t, write(t, "core", tool(t, want, tc.argv...)), Limits{})
			same(t, got, want)
			if f.Kind != tc.kind || f.Gap != nil {
				t.Errorf("kind %q, gap %v", f.Kind, f.Gap)
			}
		})
	}
}

// tool runs a packer over data; without the packer the test is skipped, in CI it fails.
func tool(t testing.TB, data []byte, argv ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs %s", argv[0])
		}
		t.Skipf("needs %s", argv[0])
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return out
}

// TestConcatenated unpacks several streams in one file, as `cat a.gz b.gz` makes them.
func TestConcatenated(t *testing.T) {
	a, b := sample(100_000), []byte("the second stream")
	for _, kind := range []Kind{Gzip, Zstd, LZ4, XZ} {
		_, got := unpacked(t, write(t, "core", append(pack(t, kind, a), pack(t, kind, b)...)), Limits{})
		if !bytes.Equal(got, append(bytes.Clone(a), b...)) {
			t.Errorf("%s: %d bytes, want %d", kind, len(got), len(a)+len(b))
		}
	}
}

func TestSkippableFrames(t *testing.T) {
	skip := []byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}
	want := sample(50_000)
	for _, kind := range []Kind{Zstd, LZ4} {
		f, got := unpacked(t, write(t, "core", append(bytes.Clone(skip), pack(t, kind, want)...)), Limits{})
		same(t, got, want)
		if f.Kind != kind {
			t.Errorf("kind %q", f.Kind)
		}
	}
	if k := Detect(skip); k != Plain {
		t.Errorf("a lone skippable frame is %q", k)
	}
}

// TestCut holds that a cut file gives a true prefix and a gap, or an error when nothing could be unpacked.
func TestCut(t *testing.T) {
	for _, kind := range kinds {
		want := sample(6 << 20)
		if kind == LZ4Legacy {
			want = sample(20 << 20) // its blocks have 8 MiB, and a cut one is lost
		}
		whole := pack(t, kind, want)
		for _, percent := range []int{1, 10, 50, 90, 99} {
			path := write(t, "core", whole[:len(whole)*percent/100])
			f, err := Open(context.Background(), path, Limits{})
			if err != nil {
				var e *Error
				if !errors.As(err, &e) || e.Path != path || percent > 50 {
					t.Errorf("%s at %d %%: %v", kind, percent, err)
				}
				continue
			}
			got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size))
			if err != nil || !bytes.HasPrefix(want, got) {
				t.Errorf("%s at %d %%: %d bytes are no prefix: %v", kind, percent, len(got), err)
			}
			if f.Gap == nil || !strings.Contains(f.Gap.Why, "stopped at byte") {
				t.Errorf("%s at %d %%: gap %v", kind, percent, f.Gap)
			}
			_ = f.Close()
		}
	}
}

func TestDamagedInTheMiddle(t *testing.T) {
	want := sample(6 << 20)
	for _, kind := range []Kind{Gzip, Zstd, XZ} {
		data := pack(t, kind, want)
		copy(data[len(data)/2:], bytes.Repeat([]byte{0xff}, 64))
		f, err := Open(context.Background(), write(t, "core", data), Limits{})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if f.Gap == nil || f.Size == 0 || f.Size >= int64(len(want)) {
			t.Errorf("%s: %d bytes, gap %v", kind, f.Size, f.Gap)
		}
		_ = f.Close()
	}
}

// bomb is a stream of n equal bytes.
func bomb(t testing.TB, kind Kind, fill byte, n int64) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == Zstd {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	block := bytes.Repeat([]byte{fill}, 1<<20)
	for ; n > 0; n -= 1 << 20 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, "bomb", b.Bytes())
}

func TestBombs(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []Kind{Gzip, Zstd} {
		for _, fill := range []byte{0, 'A'} {
			path := bomb(t, kind, fill, 256<<20)
			_, err := Open(context.Background(), path, Limits{MaxBytes: 100 << 20, Dir: dir})
			var large *TooLargeError
			if !errors.As(err, &large) || large.Unpacked > 102<<20 {
				t.Fatalf("%s: %v", kind, err)
			}
			for _, s := range []string{path, "refused", "(1:", "--max-memory"} {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

// TestRatioGuard holds the default guard, and that a limit which the user set replaces it.
func TestRatioGuard(t *testing.T) {
	for _, tc := range []struct {
		name             string
		limits           Limits
		size, data, read int64
		refused          string
	}{
		{"a core of gcore", Limits{}, 1_255_661_672, 4 << 20, 406_423, ""},
		{"small and dense", Limits{}, 1 << 20, 1 << 20, 100, ""},
		{"2 GB of the same byte", Limits{}, 2 << 30, 2 << 30, 2 << 20, "refused: 1:1024"},
		{"zeroes only", Limits{}, 9 << 30, 0, 1 << 10, "refused: 1:9437184"},
		{"beyond the default size", Limits{}, 65 << 30, 65 << 30, 60 << 30, "more than 68719476736 bytes"},
		{"the user's limit is kept", Limits{MaxBytes: 1000}, 1001, 1001, 900, "more than 1000 bytes"},
		{"the user's limit lifts the guard", Limits{MaxBytes: 100 << 30}, 2 << 30, 2 << 30, 2 << 20, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := &unpacker{limits: tc.limits, in: counter{n: tc.read}}
			err := u.check(&sparseFile{size: tc.size, written: tc.data})
			if (err != nil) != (tc.refused != "") || (err != nil && !strings.Contains(err.Error(), tc.refused)) {
				t.Errorf("%v, want %q", err, tc.refused)
			}
		})
	}
}

func TestWindows(t *testing.T) {
	// A zstd frame whose header asks for a window of 2 GiB: descriptor 0, window byte exponent 21.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0}
	if _, err := Open(context.Background(), write(t, "core", frame), Limits{}); err == nil {
		t.Error("a window of 2 GiB is allowed")
	}
	// The size byte of the dictionary of an .xz file: 40 is 4 GiB, 28 is 64 MiB, 22 is 8 MiB.
	for b, want := range map[byte]uint64{40: 1<<32 - 1, 28: 64 << 20, 29: 96 << 20, 22: 8 << 20, 0: 4096, 41: 0} {
		if got := xzDictSize(b); got != want {
			t.Errorf("dictionary byte %d: %d, want %d", b, got, want)
		}
	}
	if _, err := Open(context.Background(), write(t, "core", largeDict(t, []byte("x"))), Limits{}); !errors.Is(err, ErrWindow) {
		t.Errorf("a dictionary of 2 GiB: %v", err)
	}
}

func TestSparse(t *testing.T) {
	want := make([]byte, 64<<20)
	copy(want[32<<20:], "island")
	f, got := unpacked(t, write(t, "core", pack(t, Zstd, want)), Limits{})
	same(t, got, want)
	if blocks, ok := blocksOf(f.File); ok && blocks > 1<<20 {
		t.Errorf("%d bytes on disk for one island", blocks)
	}
	for _, n := range []int{0, 1, 4095, 4096, 4097, 12288} {
		if got := zeroPages(make([]byte, n)); got != n/4096*4096 {
			t.Errorf("%d zeroes: %d bytes of whole pages", n, got)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	limits := Limits{Progress: func(done, total int64) {
		if calls++; done > total || total <= 0 {
			t.Errorf("progress %d of %d", done, total)
		}
		cancel()
	}}
	if _, err := Open(ctx, write(t, "core", pack(t, Gzip, sample(8<<20))), limits); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestRefused(t *testing.T) {
	if _, err := Open(context.Background(), t.TempDir(), Limits{}); err == nil {
		t.Error("a folder is accepted")
	}
	if _, err := Open(context.Background(), "/no/such/file", Limits{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, head := range []string{"\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "\x04\x22\x4d\x18", "\xfd7zXZ\x00", "\x1f\x8b\x08 not gzip at all, only its magic"} {
		if _, err := Open(context.Background(), write(t, "core", []byte(head)), Limits{}); err == nil {
			t.Errorf("%q is accepted", head)
		}
	}
	f, got := unpacked(t, write(t, "core.gz", nil), Limits{})
	if f.Kind != Plain || len(got) != 0 {
		t.Error("an empty file is empty, whatever its name")
	}
}

func TestClosedFileIsGone(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(context.Background(), write(t, "core", pack(t, Gzip, sample(10_000))), Limits{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNewReader(t *testing.T) {
	want := sample(200_000)
	for _, kind := range append([]Kind{Plain}, kinds...) {
		r, got, err := NewReader(bytes.NewReader(pack(t, kind, want)), Limits{})
		if err != nil || got != kind {
			t.Fatalf("%s: %q %v", kind, got, err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(len(want), len(text)); diff != "" || !bytes.Equal(text, want) {
			t.Errorf("%s: other bytes %s", kind, diff)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	r, _, err := NewReader(bytes.NewReader(pack(t, Gzip, want)), Limits{MaxBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var large *TooLargeError
	if n, err := io.Copy(io.Discard, r); !errors.As(err, &large) || n > 100_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// FuzzOpen holds that no input makes a decoder panic, hang or unpack without bound.
func FuzzOpen(f *testing.F) {
	for _, kind := range append([]Kind{Plain}, kinds...) {
		data := pack(f, kind, []byte(strings.Repeat("seed ", 50)))
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "in")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := Open(context.Background(), path, Limits{MaxBytes: 4 << 20, Dir: dir})
		if err != nil {
			return
		}
		if out.Kind == Plain && out.Size != int64(len(data)) {
			t.Errorf("a plain file of %d bytes has %d", len(data), out.Size)
		}
		if out.Size > 5<<20 {
			t.Errorf("%d bytes are more than the limit", out.Size)
		}
		_ = out.Close()
	})
}
