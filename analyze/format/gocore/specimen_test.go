package gocore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/godump"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
	"github.com/gopostmortem/postmortem/fixtures"
)

// specimen is a whole core that tests damage in copies. The target is open, so that a test can say what to damage in the
// runtime's own terms.
type specimen struct {
	*fixtures.Capture
	t     *target
	whole *evidence.Case
}

func newSpecimen(t testing.TB, p fixtures.Program) *specimen {
	t.Helper()
	return specimenOf(t, p, fixtures.Crash)
}

// specimenOf is newSpecimen for a core that is taken in another way.
func specimenOf(t testing.TB, p fixtures.Program, take func(context.Context, fixtures.Program) (*fixtures.Capture, error)) *specimen {
	t.Helper()
	capture, err := take(context.Background(), p)
	fixtures.Require(t, err)
	f, err := os.Open(capture.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: capture.Core})
	opened, err := open(inputOf(t, f, capture.Core, format.Options{Executable: capture.Exe}), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.close)
	for _, step := range []func() error{opened.findProgram, opened.readVersion, opened.understand} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	opened.describeBuild()
	if err := opened.readRuntime(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &specimen{capture, opened, b.Finish()}
}

func inputOf(t testing.TB, f *os.File, path string, opt format.Options) format.Input {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, min(info.Size(), format.HeadSize))
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return format.Input{Path: path, File: f, Size: info.Size(), Head: head, Options: opt}
}

// edit is bytes to be written over a copy of the core.
type edit struct {
	at   int64
	data []byte
}

// word is an edit of 8 bytes of the process's memory.
func (s *specimen) word(t testing.TB, addr, value uint64) edit {
	t.Helper()
	src, ok := s.t.core.Mem.Source(addr)
	if !ok || src.Kind != elfcore.FromCore {
		t.Fatalf("%#x is not in the core", addr)
	}
	return edit{src.Offset, binary.LittleEndian.AppendUint64(nil, value)}
}

// read gives a word of the process's memory, which must be there.
func (s *specimen) read(t testing.TB, addr uint64) uint64 {
	t.Helper()
	v, ok := s.t.core.Mem.Uint64(addr)
	if !ok {
		t.Fatalf("%#x is not in the core", addr)
	}
	return v
}

// global is the address of a variable of the runtime.
func (s *specimen) global(t testing.TB, name string) uint64 {
	t.Helper()
	addr, ok := s.t.vars.addr(name)
	if !ok {
		t.Fatalf("%s was not found", name)
	}
	return addr
}

// waiting gives the addresses of the g structures of all goroutines that wait for a reason.
func (s *specimen) waiting(t testing.TB, reason string) []uint64 {
	t.Helper()
	list, err := s.t.allgs()
	if err != nil {
		t.Fatal(err)
	}
	var found []uint64
	for ; len(list) >= 8; list = list[8:] {
		g := le.Uint64(list)
		status, _ := s.t.core.Mem.Uint32(g + s.t.off.G.Status)
		number, _ := s.t.core.Mem.Uint8(g + s.t.off.G.WaitReason)
		if status == statusWaiting && s.t.reasons[number] == reason {
			found = append(found, g)
		}
	}
	if len(found) == 0 {
		t.Fatalf("nobody waits for %q", reason)
	}
	return found
}

// copy writes a copy of the first size bytes of the core with some edits. Holes stay holes.
func (s *specimen) copy(t testing.TB, size int64, edits ...edit) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "core")
	copySparse(t, s.Core, path, size)
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, e := range edits {
		if _, err := out.WriteAt(e.data, e.at); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func copySparse(t testing.TB, from, to string, size int64) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	block := make([]byte, 64<<10)
	for at := int64(0); at < size; {
		const seekData = 3 // SEEK_DATA, lseek(2)
		next, err := in.Seek(at, seekData)
		if err != nil {
			break // only a hole is left
		}
		n, err := in.ReadAt(block[:max(0, min(int64(len(block)), size-next))], next)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if _, err := out.WriteAt(block[:n], next); err != nil {
			t.Fatal(err)
		}
		at = next + max(int64(n), 1)
	}
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// Bounds for reading a damaged core, on a machine that is busy with other things. The memory is what is allocated in all, and most
// of it is freed again.
const (
	damageTime    = 30 * time.Second
	damageMemory  = 256 << 20
	damagePerByte = 12 // of the core
)

// readDamaged reads a core within these bounds.
func readDamaged(t testing.TB, path string, opt format.Options) (*evidence.Case, error) {
	t.Helper()
	opt.Variables = format.VariablesNone // delve has bounds of its own
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: path, Format: formatName})
	in := inputOf(t, f, path, opt)
	ctx, cancel := context.WithTimeout(context.Background(), damageTime)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	err = Read(ctx, in, b)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if took > damageTime || ctx.Err() != nil {
		t.Errorf("it took %v", took)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > damageMemory+damagePerByte*uint64(in.Size) {
		t.Errorf("it allocated %d MB", n>>20)
	}
	return b.Finish(), err
}

// checkError holds an error against what users are promised: one line with the path, what was being done, the cause and help.
func checkError(t testing.TB, path string, err error) {
	t.Helper()
	var fe *format.Error
	if !errors.As(err, &fe) {
		t.Fatalf("the error is a %T: %v", err, err)
	}
	if fe.Path != path || fe.Doing == "" || fe.Err == nil || fe.Format != formatName {
		t.Errorf("the error lacks something: %+v", fe)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the message has more than one line: %v", err)
	}
	var fault *faultError
	if errors.As(err, &fault) {
		t.Errorf("the reader panicked: %v\n%s", fault.cause, fault.stack)
	}
}

// checkHonest holds every stack that the case claims to be complete against the text that the runtime printed.
func checkHonest(t testing.TB, c *evidence.Case, text string) (complete int) {
	t.Helper()
	blocks := blocksOf(t, text)
	for _, g := range c.Goroutines().All() {
		if c.Stack(g.Stack).Broken != "" {
			continue
		}
		complete++
		want, ok := blocks[g.ID]
		if !ok {
			t.Errorf("goroutine %d is not in the text", g.ID)
			continue
		}
		if got := framesOfCase(c, g); !strings.HasSuffix(got, want) || want == "" && got != "" {
			t.Errorf("goroutine %d is said to be complete: frames\n%s\nthe text has\n%s", g.ID, got, want)
		}
	}
	if complete != c.Coverage.GoroutinesUnwound {
		t.Errorf("%d stacks are complete, the coverage says %d", complete, c.Coverage.GoroutinesUnwound)
	}
	return complete
}

// blocksOf reads the frames of the goroutines of a crash text.
func blocksOf(t testing.TB, path string) map[int64]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[int64]string{}
	err = godump.Parse(bytes.NewReader(text), func(b *godump.Block) error {
		if _, twice := blocks[b.ID]; !twice {
			blocks[b.ID] = framesOfText(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// gapsOf is what a case says is missing, one line each.
func gapsOf(c *evidence.Case) string {
	var s strings.Builder
	for _, g := range c.Gaps {
		s.WriteString(g.What + ": " + g.Why + "\n")
	}
	return s.String()
}
