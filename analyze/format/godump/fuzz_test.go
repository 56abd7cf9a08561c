package godump

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// FuzzRead holds the reader to what must be true of any text: no panic, memory in proportion to the input, the same Case
// from the same bytes, and a Case whose text form can be read again.
func FuzzRead(f *testing.F) {
	texts, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range texts {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("panic: "))
	f.Add([]byte("goroutine 0 []:\n\n\t"))
	f.Add([]byte("PC=0x1\ngoroutine 1 gp=0x1 [x labels:{]:\n(\n)\n...0 frames elided...\ncreated by "))
	file, err := os.Create(filepath.Join(f.TempDir(), "input"))
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	f.Fuzz(func(t *testing.T, text []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := readFile(t, file, "fuzz", text)
		runtime.ReadMemStats(&after)
		const fixed = 4 << 20 // two line buffers and tables
		if used := after.TotalAlloc - before.TotalAlloc; used > fixed+2000*uint64(len(text)) {
			t.Errorf("%d bytes allocated for %d bytes of text", used, len(text))
		}
		if err != nil {
			if Sniff(text) {
				t.Errorf("Sniff claims it, Read gives %v", err)
			}
			return
		}
		checkCase(t, c)
		again, err := readFile(t, file, "fuzz", text)
		if err != nil || caseText(t, again) != caseText(t, c) {
			t.Error("read twice, it is not the same")
		}
		if err := Parse(bytes.NewReader(text), func(b *Block) error {
			if len(b.Frames) > maxBlockFrames || b.ElidedAt > len(b.Frames) {
				t.Errorf("block at line %d: %d frames, elided at %d", b.Line, len(b.Frames), b.ElidedAt)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

func checkCase(t *testing.T, c *evidence.Case) {
	t.Helper()
	text := caseText(t, c)
	to := evidence.NewBuilder()
	if err := evidence.ReadText(strings.NewReader(text), to); err != nil {
		t.Fatalf("the text form cannot be read: %v\n%s", err, text)
	}
	seen := map[int64]bool{}
	for i, g := range c.Goroutines().All() {
		if seen[g.ID] || g.ID <= 0 {
			t.Errorf("row %d is goroutine %d again, or none", i, g.ID)
		}
		seen[g.ID] = true
		if int(g.Stack) >= c.Stacks() {
			t.Errorf("goroutine %d has stack %d of %d", g.ID, g.Stack, c.Stacks())
		}
	}
	for _, x := range c.Transfers {
		if g, ok := c.Goroutines().ByID(x.Goroutine); !ok || x.Depth >= c.Stack(g.Stack).Len() || x.Length < 0 {
			t.Errorf("transfer %+v", x)
		}
	}
	if c.Death != nil && c.Death.Goroutine != 0 && !seen[c.Death.Goroutine] {
		t.Errorf("goroutine %d died but has no row", c.Death.Goroutine)
	}
}
