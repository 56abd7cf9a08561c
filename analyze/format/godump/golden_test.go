package godump

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

var update = flag.Bool("update", false, "write the golden .case files anew")

// readText reads a text as a file of this name; the Case is nil when Read gave an error.
func readText(tb testing.TB, name string, text []byte) (*evidence.Case, error) {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "input"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	return readFile(tb, f, name, text)
}

// readFile is readText by way of a file that is open already: fuzzing needs thousands a second.
func readFile(tb testing.TB, f *os.File, name string, text []byte) (*evidence.Case, error) {
	tb.Helper()
	if err := f.Truncate(0); err != nil {
		tb.Fatal(err)
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		tb.Fatal(err)
	}
	to := evidence.NewBuilder()
	to.Source(evidence.Source{Path: name, Format: Format.Name, Size: int64(len(text))})
	in := format.Input{Path: name, File: f, Size: int64(len(text)), Head: text[:min(len(text), format.HeadSize)]}
	if err := Read(context.Background(), in, to); err != nil {
		return nil, err
	}
	return to.Finish(), nil
}

func mustRead(tb testing.TB, text string) *evidence.Case {
	tb.Helper()
	c, err := readText(tb, "dump.txt", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func caseText(tb testing.TB, c *evidence.Case) string {
	tb.Helper()
	var b bytes.Buffer
	if err := c.WriteText(&b); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// TestGolden holds the whole Case of each text in testdata against the .case file beside it.
func TestGolden(t *testing.T) {
	texts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(texts) < 12 {
		t.Fatalf("%d texts: %v", len(texts), err)
	}
	for _, path := range texts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !Sniff(text) {
				t.Error("Sniff does not claim it")
			}
			c, err := readText(t, filepath.Base(path), text)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".txt") + ".case"
			got := caseText(t, c)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := lineDiff(string(want), got); diff != "" {
				t.Errorf("%s differs (go test -update writes it anew):\n%s", golden, diff)
			}
		})
	}
}

// lineDiff is the first line in which two texts differ.
func lineDiff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return "-" + a + "\n+" + b
		}
	}
	return ""
}
