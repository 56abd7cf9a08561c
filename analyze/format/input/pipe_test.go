package input

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format"
)

// piped is a pipe into which content is written.
func piped(t *testing.T, content []byte) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = w.Write(content) // the reader may close early
		_ = w.Close()
	}()
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestOpenStdin(t *testing.T) {
	long := []byte(strings.Repeat("0123456789abcdef", format.HeadSize))
	for _, path := range []string{"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"} {
		for _, test := range []struct {
			name    string
			content []byte
			piped   bool
		}{
			{"pipe", long, true}, {"packed pipe", pack(t, string(long)), true}, {"file", long, false}, {"packed file", pack(t, string(long)), false},
		} {
			in := opened(t, write(t, test.content))
			if test.piped {
				in = piped(t, test.content)
			}
			f, err := Open(context.Background(), path, format.Options{Stdin: in})
			if err != nil {
				t.Fatalf("%s, %s: %v", path, test.name, err)
			}
			got, err := io.ReadAll(f.Reader())
			if err != nil || !bytes.Equal(got, long) {
				t.Errorf("%s, %s: %d bytes, %v", path, test.name, len(got), err)
			}
			if f.Path != "standard input" || f.Source != "-" || f.PackedSize != int64(len(test.content)) || (f.SHA256 != "") != test.piped {
				t.Errorf("%s, %s: called %q, of %d bytes, sum %q", path, test.name, f.Path, f.PackedSize, f.SHA256)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if _, err := in.Stat(); err != nil {
				t.Errorf("%s, %s: it was closed: %v", path, test.name, err)
			}
		}
	}
}

// TestOpenStdinRead holds that what somebody has read of a redirected file before is not read again.
func TestOpenStdinRead(t *testing.T) {
	in := opened(t, write(t, []byte("banner\ngoroutine 1")))
	if _, err := io.ReadFull(in, make([]byte, len("banner\n"))); err != nil {
		t.Fatal(err)
	}
	f, err := Open(context.Background(), "-", format.Options{Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if string(f.Head) != "goroutine 1" {
		t.Errorf("%q", f.Head)
	}
}

func TestOpenStdinErrors(t *testing.T) {
	folder := opened(t, t.TempDir())
	for _, test := range []struct {
		name string
		in   *os.File
		want string
	}{
		{"empty pipe", piped(t, nil), "standard input: reading: nothing came through the pipe; the command"},
		{"empty file", opened(t, write(t, nil)), "standard input: opening it: the file is empty"},
		{"device", opened(t, os.DevNull), "standard input: opening it: it is a terminal or another device, and no pipe; pipe a file into it"},
		{"folder", folder, "standard input: opening it: it is a folder"},
		{"too much", piped(t, bytes.Repeat([]byte("x"), 2<<20)), "--max-memory"},
		{"nothing packed", piped(t, pack(t, "")), "nothing is packed in it"},
	} {
		_, err := Open(context.Background(), "-", format.Options{Stdin: test.in, MaxMemory: 1 << 20})
		var e *format.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), "standard input") != 1 {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := Open(context.Background(), "-", format.Options{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without Stdin, - is a path: %v", err)
	}
}

func TestOpenStdinCut(t *testing.T) {
	var random bytes.Buffer
	for i := range 400_000 {
		random.WriteByte(byte(i * i >> 3))
	}
	packed := pack(t, random.String())
	f, err := Open(context.Background(), "-", format.Options{Stdin: piped(t, packed[:len(packed)-100])})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Missing == nil || f.Missing.What != "the rest of standard input" || f.Size == 0 {
		t.Errorf("gap %+v after %d bytes", f.Missing, f.Size)
	}
}

func TestOpenStdinCancelled(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, "-", format.Options{Stdin: r}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent pipe: %v", err)
	}
}

func TestOpenProgress(t *testing.T) {
	var doings []string
	opt := format.Options{Stdin: piped(t, bytes.Repeat([]byte("x"), 3<<20)), Progress: func(doing string, done, total int64) {
		if doings = append(doings, doing); total != 0 || done <= 0 {
			t.Errorf("%d of %d", done, total)
		}
	}}
	f, err := Open(context.Background(), "-", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(doings) == 0 || doings[0] != "reading standard input" {
		t.Errorf("%q", doings)
	}
}
