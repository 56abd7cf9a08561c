package gocore_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// What users hand over, through the facade.

func crash(t *testing.T) *fixtures.Capture {
	t.Helper()
	c, err := fixtures.Crash(context.Background(), fixtures.Program{Scenario: "lockhog-ledger"})
	fixtures.Require(t, err)
	return c
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenRefusesWhatIsNoCore(t *testing.T) {
	c := crash(t)
	for _, f := range []struct{ name, path, want string }{
		{"empty", write(t, "core", nil), "the file is empty"},
		{"text", write(t, "core", []byte("Nov 20 12:00:00 host service[7]: started\n")), "text without a goroutine dump"},
		{"folder", t.TempDir(), "it is a folder"},
		{"nothing", filepath.Join(t.TempDir(), "none"), "no such file"},
		{"executable", c.Exe, "this is an executable"},
		{"zeroes", write(t, "core", make([]byte, 1<<20)), "a file of zeroes"},
		{"three bytes of ELF", write(t, "core", []byte("\x7fEL")), "text without a goroutine dump"},
		{"half an ELF header", write(t, "core", []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x3e\x00 and so on")), "cut off"},
	} {
		t.Run(f.name, func(t *testing.T) {
			_, err := analyze.Open(context.Background(), []string{f.path}, format.Options{})
			var fe *format.Error
			if !errors.As(err, &fe) || fe.Path != f.path || fe.Doing == "" || !strings.Contains(err.Error(), f.want) {
				t.Errorf("error %v, want %q", err, f.want)
			}
		})
	}
}

func TestOpenTruncatedZstd(t *testing.T) {
	tool, err := exec.LookPath("zstd")
	if err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "zstd", For: "packing a core"})
	}
	c := crash(t)
	packed := filepath.Join(t.TempDir(), "core.zst")
	if out, err := exec.Command(tool, "-q", "-o", packed, c.Core).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole, err := analyze.Open(context.Background(), []string{packed}, format.Options{Executable: c.Exe})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	for _, percent := range []int{1, 10, 50, 90, 99} {
		path := write(t, "core.zst", data[:len(data)*percent/100])
		got, err := analyze.Open(context.Background(), []string{path}, format.Options{Executable: c.Exe})
		if err != nil {
			var fe *format.Error
			if !errors.As(err, &fe) || fe.Path != path {
				t.Errorf("%d %%: error %v", percent, err)
			}
			continue
		}
		if len(got.Gaps) == 0 || got.Goroutines().Len() > whole.Goroutines().Len() {
			t.Errorf("%d %%: %d gaps, %d goroutines", percent, len(got.Gaps), got.Goroutines().Len())
		}
	}
}

// A bomb is a core by its first bytes, and zeroes without end behind them.
func TestOpenBomb(t *testing.T) {
	c := crash(t)
	core, err := os.Open(c.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(z, core, 1<<20); err != nil {
		t.Fatal(err)
	}
	zeroes := make([]byte, 1<<20)
	for range 512 {
		if _, err := z.Write(zeroes); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := write(t, "core.gz", packed.Bytes())

	began := time.Now()
	_, err = analyze.Open(context.Background(), []string{path}, format.Options{Executable: c.Exe, MaxMemory: 64 << 20})
	var fe *format.Error
	if !errors.As(err, &fe) || fe.Path != path {
		t.Errorf("error %v, want one about the limit", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
