package casefile

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

func open(t *testing.T, text string) format.Input {
	t.Helper()
	name := filepath.Join(t.TempDir(), "incident.case")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return format.Input{Path: "incident.case", File: f, Size: int64(len(text)), Head: []byte(text)}
}

const saved = "case 1\nprocess pid=7 language=go\nframe id=1 function=main.main file=main.go line=3\nstack id=1 frames=1\n" +
	"goroutine id=1 state=running stack=1\ncoverage goroutines=1 unwound=1\n"

func TestRead(t *testing.T) {
	in := open(t, saved)
	if !Format.Sniff(in.Head) {
		t.Error("Sniff does not claim it")
	}
	var done int64
	in.Options.Progress = func(_ string, n, total int64) {
		if done = n; total != in.Size {
			t.Errorf("total %d", total)
		}
	}
	to := evidence.NewBuilder()
	if err := Format.Read(context.Background(), in, to); err != nil {
		t.Fatal(err)
	}
	c := to.Finish()
	var again bytes.Buffer
	if err := c.WriteText(&again); err != nil || again.String() != saved {
		t.Errorf("read and written again: %v\n%s", err, &again)
	}
	if !Format.Gives.Has(c.Kinds()) {
		t.Errorf("the format says it gives %v, and gave %v", Format.Gives, c.Kinds())
	}
	if done != in.Size {
		t.Errorf("progress ended at %d of %d", done, in.Size)
	}
}

func TestReadError(t *testing.T) {
	err := Format.Read(context.Background(), open(t, saved+"fish x=1\n"), evidence.NewBuilder())
	var fault *format.Error
	var text *evidence.TextError
	if !errors.As(err, &fault) || fault.Line != 7 || fault.Help == "" {
		t.Fatalf("error %v", err)
	}
	if got := err.Error(); !strings.HasPrefix(got, "incident.case:7: reading saved evidence: ") || strings.Count(got, "line 7") != 0 {
		t.Errorf("error %q names the line once, at the front", got)
	}
	if errors.As(err, &text) {
		t.Errorf("error %v names the line twice", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := Format.Read(ctx, open(t, saved), evidence.NewBuilder())
	var fault *format.Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &fault) || fault.Help != "" {
		t.Errorf("error %v", err)
	}
}
