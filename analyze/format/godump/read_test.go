package godump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

func TestSniff(t *testing.T) {
	for name, test := range map[string]struct {
		head string
		want bool
	}{
		"dump":         {"goroutine 1 [running]:\n", true},
		"in a log":     {"INFO a\nINFO b\ngoroutine 1 [running]:\nmain", true},
		"no goroutine": {"fatal error: no goroutines (main called runtime.Goexit) - deadlock!\n", true},
		"a log":        {"INFO a\npanic: at the disco\nINFO goroutine 1 [running]:\n", false},
		"a compiler":   {"x.c:1:10: fatal error: y.h: No such file or directory\n", false},
		"saved case":   {"case 1\n# goroutine 1 [running]:\ngoroutine 1 [running]:\n", false},
		"binary":       {"\x7fELF\x02\x01\x01\x00\ngoroutine 1 [running]:\n", false},
		"cut header":   {"goroutine 1 [runn", false},
		"prefixed":     {"Mar 01 host app[7]: goroutine 1 [running]:\n", false},
		"debug=1":      {"goroutine profile: total 7\n1 @ 0x1 0x2\n", false},
		"empty":        {"", false},
	} {
		if got := Sniff([]byte(test.head)); got != test.want {
			t.Errorf("%s: Sniff = %v", name, got)
		}
	}
}

func TestFind(t *testing.T) {
	log := strings.Repeat("INFO nothing to see\n", 20_000)
	if found, err := Find(context.Background(), strings.NewReader(log)); found || err != nil {
		t.Errorf("Find in a log without a dump: %v, %v", found, err)
	}
	late := log + "panic: late\n\ngoroutine 1 [running]:\nmain.main()\n\tx.go:1 +0x1\n"
	if Sniff([]byte(late[:format.HeadSize])) {
		t.Error("Sniff claims a head without a dump")
	}
	if found, err := Find(context.Background(), iotest.OneByteReader(strings.NewReader(late))); !found || err != nil {
		t.Errorf("Find of a late dump: %v, %v", found, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Find(ctx, strings.NewReader(log)); !errors.Is(err, context.Canceled) {
		t.Errorf("Find with a cancelled context: %v", err)
	}
}

func TestNoDump(t *testing.T) {
	_, err := readText(t, "app.log", []byte("INFO nothing\n"))
	var fault *format.Error
	if !errors.As(err, &fault) || !errors.Is(err, errNoDump) || fault.Path != "app.log" || fault.Help == "" {
		t.Errorf("error %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, size := largeFile(t, 100)
	err := Read(ctx, format.Input{Path: "x", File: f, Size: size}, evidence.NewBuilder())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestProgress(t *testing.T) {
	f, size := largeFile(t, 20_000)
	calls := map[string]int64{}
	in := format.Input{Path: "x", File: f, Size: size}
	in.Options.Progress = func(doing string, done, total int64) {
		if done < calls[doing] || done > total || total != size {
			t.Errorf("%s: %d of %d after %d", doing, done, total, calls[doing])
		}
		calls[doing] = done
	}
	if err := Read(context.Background(), in, evidence.NewBuilder()); err != nil {
		t.Fatal(err)
	}
	if len(calls) != 2 {
		t.Errorf("progress of %v, want both passes", calls)
	}
}

// TestBrokenReader has the file fail in the middle: what was read stays, and the rest is a Gap or an error.
func TestBrokenReader(t *testing.T) {
	text := "goroutine 1 [running]:\nmain.main()\n\tx.go:1 +0x1\n\n"
	r := io.MultiReader(strings.NewReader(text), iotest.ErrReader(errors.New("disk gone")))
	n := 0
	err := Parse(r, func(*Block) error { n++; return nil })
	if n != 1 || err == nil || !strings.Contains(err.Error(), "disk gone") {
		t.Errorf("%d goroutines, error %v", n, err)
	}
	if err := Parse(stuck{}, func(*Block) error { return nil }); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestVisitError(t *testing.T) {
	stop := errors.New("enough")
	err := Parse(strings.NewReader("goroutine 1 [running]:\n\ngoroutine 2 [running]:\n"), func(*Block) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

// TestCutAnywhere cuts a real form of text at every byte. Goroutines before the cut must be whole, and a cut within one must
// be told.
func TestCutAnywhere(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "nil-in-log.txt"))
	if err != nil {
		t.Fatal(err)
	}
	begin := bytes.Index(whole, []byte("goroutine 91"))
	second := bytes.Index(whole, []byte("goroutine 1 ["))
	end := bytes.Index(whole, []byte("exit status"))
	full := mustRead(t, string(whole))
	for n := begin + len("goroutine 91 [running]:"); n < end; n++ {
		c, err := readText(t, "cut.txt", whole[:n])
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if n >= second+len("goroutine 1 [IO wait, 14 minutes]:") && c.Goroutines().Len() != 2 {
			t.Fatalf("cut at %d: %d goroutines", n, c.Goroutines().Len())
		}
		if n >= second && c.Stack(c.Goroutines().At(0).Stack).Len() != full.Stack(full.Goroutines().At(0).Stack).Len() {
			t.Fatalf("cut at %d: the first stack is not whole", n)
		}
		complete := n == second || n == second-1 || n == second-2 || n >= end-1 || endsWithOffset(whole[:n])
		if !complete && !hasGap(c, "truncated") {
			t.Errorf("cut at %d, after %q: no gap says so", n, whole[max(0, n-20):n])
		}
	}
}

// endsWithOffset reports whether a text ends with what may be a whole frame: "+0x1" of "+0x1d4" cannot be told from one; and
// the end of a line of a stack is not told from the end of the stack.
func endsWithOffset(text []byte) bool {
	i := bytes.LastIndexByte(text, '\n')
	if i == len(text)-1 {
		return true
	}
	_, offset, ok := bytes.Cut(text[i+1:], []byte(" +0x"))
	return ok && len(offset) > 0
}

func hasGap(c *evidence.Case, part string) bool {
	for _, g := range c.Gaps {
		if strings.Contains(g.Why, part) {
			return true
		}
	}
	return false
}

// TestPprofLimit has a file of exactly the size at which net/http/pprof stops.
func TestPprofLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 64 MiB")
	}
	var text bytes.Buffer
	text.Grow(pprofLimit + 1<<16)
	for i := 1; text.Len() < pprofLimit; i++ {
		fmt.Fprintf(&text, "goroutine %d [chan receive]:\nmain.worker(0x%x)\n\t/src/app/worker.go:12 +0x1d\ncreated by main.main in goroutine 1\n\t/src/app/main.go:9 +0x2e\n\n", i, i)
	}
	c, err := readText(t, "goroutines.txt", text.Bytes()[:pprofLimit])
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("truncated, %d goroutines seen", c.Goroutines().Len())
	if !hasGap(c, want) || !hasGap(c, "64 MiB") {
		t.Errorf("gaps %+v, want %q", c.Gaps, want)
	}
}

// TestWhichDump has several dumps in one file.
func TestWhichDump(t *testing.T) {
	one := func(id int, f string) string {
		return fmt.Sprintf("goroutine %d [select]:\nmain.%s()\n\tx.go:1 +0x1\n\n", id, f)
	}
	death := func(text string) string { return "panic: " + text + "\n\n" }
	for name, test := range map[string]struct {
		text       string
		goroutines int
		function   string // of the first goroutine
	}{
		"largest of living":   {one(1, "a") + one(2, "a") + "LOG\n" + one(1, "b"), 2, "main.a"},
		"last of equals":      {one(1, "a") + "LOG\n" + one(1, "b"), 1, "main.b"},
		"same ids, no log":    {one(1, "a") + one(2, "a") + one(1, "b") + one(2, "b"), 2, "main.b"},
		"a death is stronger": {death("x") + one(1, "a") + "LOG\n" + one(1, "b") + one(2, "b"), 1, "main.a"},
		"last death":          {death("x") + one(1, "a") + one(2, "a") + "LOG\n" + death("y") + one(3, "b"), 1, "main.b"},
		"log between, dying":  {death("x") + one(1, "a") + "LOG\nLOG\n" + one(2, "a"), 2, "main.a"},
		"restart, then more":  {death("x") + one(1, "a") + strings.Repeat("LOG\n", 30) + one(7, "b"), 1, "main.a"},
		"two die together":    {death("x") + one(1, "a") + death("y") + one(2, "b"), 2, "main.a"},
	} {
		c := mustRead(t, test.text)
		got := c.Stack(c.Goroutines().At(0).Stack).At(0).Function
		if c.Goroutines().Len() != test.goroutines || got != test.function {
			t.Errorf("%s: %d goroutines, the first in %s", name, c.Goroutines().Len(), got)
		}
		if left := !strings.Contains(name, "dying") && name != "two die together"; hasGap(c, "left out") != left {
			t.Errorf("%s: gaps %+v", name, c.Gaps)
		}
	}
}

// TestMerge reads a log after another source, as Open does with a core: the first source has the word.
func TestMerge(t *testing.T) {
	to := evidence.NewBuilder()
	to.Source(evidence.Source{Path: "core"})
	to.Goroutine(evidence.Goroutine{ID: 1, State: evidence.StateRunning})
	to.Death(func(d *evidence.Death) { d.Signal, d.Thread = 6, 42 })
	path := filepath.Join(t.TempDir(), "log")
	text := "runtime: goroutine stack exceeds 1000-byte limit\nfatal error: stack overflow\n\ngoroutine 1 [running]:\nmain.f()\n\tx.go:1 +0x1\n\n" +
		"goroutine 2 [select]:\nmain.g()\n\tx.go:2 +0x1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to.Source(evidence.Source{Path: "log"})
	if err := Read(context.Background(), format.Input{Path: "log", File: f, Size: int64(len(text))}, to); err != nil {
		t.Fatal(err)
	}
	c := to.Finish()
	if c.Goroutines().Len() != 2 || c.Death.Thread != 42 || c.Death.Fatal != "" {
		t.Errorf("%d goroutines, death %+v", c.Goroutines().Len(), c.Death)
	}
	if !strings.Contains(c.Death.Detail, "exceeds 1000-byte") {
		t.Errorf("detail %q: the core has none, so the log's counts", c.Death.Detail)
	}
	if g, _ := c.Goroutines().ByID(1); c.Stack(g.Stack).Len() != 1 {
		t.Error("the stack that the core could not give was not taken from the log")
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 3*lineBuffer)
	text := long + "\npanic: " + long + "\n\ngoroutine 1 [running]:\nmain." + long + "()\n\tx.go:1 +0x1\nmain.g()\n\tx.go:2 +0x1\n" + long
	c := mustRead(t, text)
	s := c.Stack(c.Goroutines().At(0).Stack)
	if s.At(s.Len()-1).Function != "main.g" || len(c.Panics) != 1 || len(c.Panics[0].Text) > maxPreambleBytes {
		t.Errorf("%d frames, %d panics", s.Len(), len(c.Panics))
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("y", 2*lineBuffer+100)
	text := "a\r\n\nb\n" + long + "\nc"
	l := newLineReader(iotest.HalfReader(strings.NewReader(text)))
	var got []string
	for {
		line, ok := l.next()
		if !ok {
			break
		}
		if int64(strings.Index(text, string(line))) > l.start {
			t.Errorf("line %d at %d", l.number, l.start)
		}
		got = append(got, string(line))
	}
	want := []string{"a", "", "b", long[:lineBuffer], "c"}
	if strings.Join(got, "|") != strings.Join(want, "|") || l.offset != int64(len(text)) || l.failure() != nil || l.whole {
		t.Errorf("%d lines, offset %d of %d, error %v", len(got), l.offset, len(text), l.failure())
	}
}

func TestIDSet(t *testing.T) {
	var s idSet
	for _, id := range []int64{1, 64, 63, 1 << 40} {
		if s.has(id) || !s.add(id) || s.add(id) || !s.has(id) {
			t.Errorf("id %d", id)
		}
	}
	s.remove(64)
	if s.has(64) || !s.has(63) || len(s.words) != 3 {
		t.Errorf("after remove: %v", s.words)
	}
}
