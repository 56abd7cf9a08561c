package godump

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// writeLarge writes a dump of n goroutines as GOTRACEBACK=crash prints them: every address differs, the frames repeat.
func writeLarge(w io.Writer, n int) {
	fmt.Fprint(w, "SIGQUIT: quit\nPC=0x480ba1 m=0 sigcode=0\n\n")
	for i := 1; i <= n; i++ {
		a := 0x2a0000000000 + uint64(i)*0x140
		fmt.Fprintf(w, "goroutine %d gp=0x%x m=nil [chan receive, %d minutes]:\n", i, a, i%7)
		fmt.Fprintf(w, "runtime.gopark(0x%x?, 0x0?, 0x%x?, 0x0?, 0x0?)\n", a+8, a+16)
		fmt.Fprintf(w, "\t/usr/local/go/src/runtime/proc.go:462 +0xce fp=0x%x sp=0x%x pc=0x480a2e\n", a+32, a+24)
		fmt.Fprintf(w, "runtime.chanrecv(0x%x, 0x%x, 0x1)\n", a+64, a+72)
		fmt.Fprintf(w, "\t/usr/local/go/src/runtime/chan.go:667 +0x4ae fp=0x%x sp=0x%x pc=0x41748e\n", a+96, a+88)
		for d := range 4 {
			fmt.Fprintf(w, "example.com/shop/internal/queue.(*Worker[...]).step%d(0x%x, {0x%x, 0x%x, 0x20})\n", (i+d)%40, a, a+1, d)
			fmt.Fprintf(w, "\t/home/ci/work/shop/internal/queue/worker.go:%d +0x1d fp=0x%x sp=0x%x pc=0x%x\n", 100+(i+d)%40, a+128, a+120, 0x500000+(i+d)%40)
		}
		fmt.Fprintf(w, "created by example.com/shop/internal/queue.New in goroutine 1\n\t/home/ci/work/shop/internal/queue/new.go:31 +0x2fe\n\n")
	}
}

func largeFile(tb testing.TB, n int) (*os.File, int64) {
	var text bytes.Buffer
	writeLarge(&text, n)
	name := filepath.Join(tb.TempDir(), "dump.txt")
	if err := os.WriteFile(name, text.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f, int64(text.Len())
}

const benchGoroutines = 50_000

func BenchmarkRead(b *testing.B) {
	f, size := largeFile(b, benchGoroutines)
	b.SetBytes(size)
	for b.Loop() {
		to := evidence.NewBuilder()
		if err := Read(context.Background(), format.Input{Path: "dump.txt", File: f, Size: size}, to); err != nil {
			b.Fatal(err)
		}
		if n := to.Finish().Goroutines().Len(); n != benchGoroutines {
			b.Fatalf("%d goroutines", n)
		}
	}
}

// BenchmarkLines is the floor: the same text, cut into lines and nothing else.
func BenchmarkLines(b *testing.B) {
	f, size := largeFile(b, benchGoroutines)
	b.SetBytes(size)
	for b.Loop() {
		l := newLineReader(io.NewSectionReader(f, 0, size))
		for {
			if _, ok := l.next(); !ok {
				break
			}
		}
	}
}

// BenchmarkFind is a log without a dump.
func BenchmarkFind(b *testing.B) {
	text := bytes.Repeat([]byte("2026-11-20T10:00:00Z INFO request served path=/orders/17 status=200 duration=12ms\n"), 1<<17)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if found, err := Find(context.Background(), bytes.NewReader(text)); found || err != nil {
			b.Fatal(found, err)
		}
	}
}

// TestMemory holds the reader to memory that grows with goroutines and not with the text: half of it is what a goroutine
// may take, the other half is room for growing slices.
func TestMemory(t *testing.T) {
	const n = 20_000
	f, size := largeFile(t, n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	to := evidence.NewBuilder()
	if err := Read(context.Background(), format.Input{Path: "dump.txt", File: f, Size: size}, to); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	c := to.Finish()
	if got := c.Goroutines().Len(); got != n {
		t.Fatalf("%d goroutines, want %d", got, n)
	}
	fixed := uint64(4 << 20) // buffers, tables of frames and stacks
	if used := after.TotalAlloc - before.TotalAlloc; used > fixed+200*n {
		t.Errorf("allocated %d bytes for %d goroutines in %d bytes of text", used, n, size)
	}
}
