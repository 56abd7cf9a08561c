//go:build unix

package input

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenNamedPipe(t *testing.T) {
	want := strings.Repeat("goroutine 1\n", 100_000)
	for _, content := range [][]byte{[]byte(want), pack(t, want)} {
		path := fifo(t)
		go func() { _ = os.WriteFile(path, content, 0) }() // blocks until it is opened
		f, err := Open(context.Background(), path, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f.Reader())
		if err != nil || string(got) != want || f.Path != path || f.Source != path || f.SHA256 == "" || f.PackedSize != int64(len(content)) {
			t.Errorf("%d bytes, %v: %s %q %d", len(got), err, f.Path, f.SHA256, f.PackedSize)
		}
		_ = f.Close()
	}
}

// TestOpenNamedPipeCancelled holds that nobody waits for ever for a writer.
func TestOpenNamedPipeCancelled(t *testing.T) {
	path := fifo(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, path, format.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0) // lets the goroutine go that still waits
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
}

func TestOpenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("no socket can be made here: %v", err)
	}
	defer l.Close()
	if _, err := Open(context.Background(), path, format.Options{}); err == nil || !strings.Contains(err.Error(), "neither a regular file nor a pipe (S") {
		t.Errorf("%v", err)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	go func() {
		_, _ = theirs.Write(bytes.Repeat([]byte("x"), 1<<20)) // the test sees what is missing
		_ = theirs.Close()
	}()
	f, err := Open(context.Background(), "-", format.Options{Stdin: ours})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Size != 1<<20 {
		t.Errorf("%d bytes from a socket as standard input", f.Size)
	}
}
