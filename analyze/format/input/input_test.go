package input

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
)

func pack(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", format.HeadSize/8)
	for _, test := range []struct {
		name    string
		content []byte
		want    string
		packing string
	}{
		{"plain", []byte("goroutine 1"), "goroutine 1", ""},
		{"gzip", pack(t, "goroutine 1"), "goroutine 1", "gzip"},
		{"longer than a head", []byte(long), long, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.content)
			f, err := Open(context.Background(), path, format.Options{Jobs: 3})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := io.ReadAll(f.Reader())
			if err != nil || string(got) != test.want {
				t.Errorf("content of %d bytes, %v: want %d", len(got), err, len(test.want))
			}
			if f.Size != int64(len(test.want)) || f.PackedSize != int64(len(test.content)) || f.Packing != test.packing {
				t.Errorf("size %d, packed %d as %q", f.Size, f.PackedSize, f.Packing)
			}
			if string(f.Head) != test.want[:min(len(test.want), format.HeadSize)] || f.Path != path || f.Options.Jobs != 3 {
				t.Errorf("head of %d bytes, path %s, options %+v", len(f.Head), f.Path, f.Options)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	packed := pack(t, strings.Repeat("x", 10_000))
	for _, test := range []struct {
		name    string
		content []byte
		max     int64
		want    string
	}{
		{"empty", nil, 0, "the file is empty"},
		{"nothing packed", pack(t, ""), 0, "nothing is packed in it"},
		{"too large", packed, 100, "--max-memory"},
		{"only a magic number", packed[:10], 0, "copy it again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.content)
			_, err := Open(context.Background(), path, format.Options{MaxMemory: test.max})
			var e *format.Error
			if !errors.As(err, &e) || e.Path != path || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v: want a *format.Error of the file that says %q", err, test.want)
			}
			if strings.Count(err.Error(), path) != 1 {
				t.Errorf("error %q names the path more than once", err)
			}
		})
	}
}

func TestOpenCutOff(t *testing.T) {
	var random bytes.Buffer
	for i := range 200_000 {
		random.WriteByte(byte(i * i >> 3))
	}
	packed := pack(t, random.String())
	f, err := Open(context.Background(), write(t, packed[:len(packed)-100]), format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Missing == nil || f.Size == 0 {
		t.Errorf("gap %v after %d bytes: want what could be unpacked, and a gap for the rest", f.Missing, f.Size)
	}
}

func TestOpenNoFile(t *testing.T) {
	for path, want := range map[string]string{"no/such/file": "no such file", t.TempDir(): "it is a folder", "/dev/null": "neither a regular file nor a pipe"} {
		if _, err := Open(context.Background(), path, format.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v: want %q", path, err, want)
		}
	}
}

func TestOpenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, write(t, pack(t, "x")), format.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want the context's", err)
	}
}
