package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSparseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &sparseFile{f: f}
	var want []byte
	put := func(p []byte) {
		t.Helper()
		if n, err := s.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", len(p), n, err)
		}
		want = append(want, p...)
	}
	put([]byte("head"))
	put(make([]byte, 3*sparseBlock))
	put([]byte("middle"))
	put(make([]byte, 1<<20))
	if _, err := s.Seek(1, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{0, 0}); err != nil { // zeroes over what is there must not become a hole
		t.Fatal(err)
	}
	want[1], want[2] = 0, 0
	if _, err := s.Seek(-1, io.SeekStart); err == nil {
		t.Error("seeking before the beginning: want an error")
	}
	if at, err := s.Seek(0, io.SeekEnd); at != int64(len(want)) || err != nil {
		t.Errorf("the end is at %d, %v: want %d", at, err, len(want))
	}
	put([]byte("tail"))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %d were written, or they differ", len(got), len(want))
	}
}

func TestSparseRuns(t *testing.T) {
	s := &sparseFile{at: 10, size: 10}
	block := make([]byte, 3*sparseBlock)
	block[2*sparseBlock] = 1
	if n, hole := s.run(block); !hole || n != 2*sparseBlock-10 {
		t.Errorf("run = %d, %v: want a hole up to the block boundary before the first byte that is not zero", n, hole)
	}
}

func TestIntoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "core")
	broken := errors.New("broken")
	if _, err := intoFile(path, func(*sparseFile) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v: want %v", err, broken)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("a failed capture left %v", left)
	}
	size, err := intoFile(path, func(s *sparseFile) error { _, err := s.Write([]byte("x")); return err })
	if err != nil || size != 1 {
		t.Fatalf("size %d, error %v", size, err)
	}
	if _, err := intoFile(path, func(*sparseFile) error { return nil }); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("error %v: an existing core must not be overwritten", err)
	}
}

func TestError(t *testing.T) {
	err := &Error{PID: 7, Doing: "attaching", Err: ErrUnsupported, Help: "do this"}
	if got := err.Error(); got != "process 7: attaching: "+ErrUnsupported.Error()+"; do this" {
		t.Errorf("Error() = %q", got)
	}
	if !errors.Is(err, ErrUnsupported) {
		t.Error("the cause is not wrapped")
	}
}
