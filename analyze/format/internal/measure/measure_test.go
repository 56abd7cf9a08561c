package measure

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// childEnv makes the test binary a process to measure.
const childEnv = "MEASURE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "work":
		fill(64<<20, 150*time.Millisecond)
		os.Stdout.WriteString("one\ntwo\n")
	case "fail":
		os.Stderr.WriteString("no such core\n")
		os.Exit(3)
	case "serve": // says in two pieces that it is ready, and stays
		os.Stderr.WriteString("getting ready\nnow list")
		time.Sleep(100 * time.Millisecond)
		os.Stderr.WriteString("ening on a port\n")
		time.Sleep(time.Minute)
	case "swell":
		fill(256<<20, time.Minute)
	}
}

// fill writes into so many bytes for so long.
func fill(size int, long time.Duration) {
	block := make([]byte, size)
	for end := time.Now().Add(long); time.Now().Before(end); {
		for i := range block {
			block[i]++
		}
	}
}

func child(what string) Command {
	return Command{Argv: []string{os.Args[0]}, Env: []string{childEnv + "=" + what}}
}

func TestRun(t *testing.T) {
	var all strings.Builder
	c := child("work")
	c.Stdout = &all
	use, err := c.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if use.Lines != 2 || use.Bytes != 8 || string(use.Output) != "one\ntwo\n" || all.String() != "one\ntwo\n" {
		t.Errorf("%d lines, %d bytes, output %q, passed on %q", use.Lines, use.Bytes, use.Output, all.String())
	}
	if use.Wall < 150*time.Millisecond || use.CPU < 20*time.Millisecond {
		t.Errorf("wall %v, CPU %v: it worked for 150 ms", use.Wall, use.CPU)
	}
	if runtime.GOOS == "linux" && (use.RSS < 64<<20 || use.Private < 60<<20) {
		t.Errorf("peaks of %d and %d bytes: it filled 64 MB", use.RSS, use.Private)
	}
}

func TestRunFailure(t *testing.T) {
	t.Setenv(childEnv, "fail")
	_, err := Run(context.Background(), []string{os.Args[0]})
	if err == nil || !strings.Contains(err.Error(), "no such core") {
		t.Errorf("error %v: want what the tool said", err)
	}
}

// TestRunUntil: the clock stops at the text, though the process would go on for a minute.
func TestRunUntil(t *testing.T) {
	c := child("serve")
	c.Until = "listening on"
	use, err := c.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if use.Wall < 100*time.Millisecond || use.Wall > 30*time.Second {
		t.Errorf("wall %v: it was ready after 100 ms", use.Wall)
	}
	if runtime.GOOS == "linux" && use.RSS == 0 {
		t.Error("no memory was told of a process that was killed")
	}
	c = child("work")
	c.Until = "listening on"
	if _, err := c.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "listening on") {
		t.Errorf("error %v of a process that was never ready", err)
	}
}

// TestRunTooLarge: a process that fills the memory is killed before it has.
func TestRunTooLarge(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("private memory is known on Linux only")
	}
	c := child("swell")
	c.MaxPrivate = 100 << 20
	begin := time.Now()
	if _, err := c.Run(context.Background()); !errors.Is(err, ErrMemory) {
		t.Errorf("error %v: it had 256 MB and may have 100", err)
	}
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("it was killed after %v", d)
	}
}

func TestMedianAndBest(t *testing.T) {
	runs := []Usage{{CPU: 3, Wall: 1, RSS: 5, Lines: 7}, {CPU: 1, Wall: 9, RSS: 5}, {CPU: 2, Wall: 4, RSS: 8}}
	if m := Median(runs); m.CPU != 2 || m.Wall != 4 || m.RSS != 5 || m.Lines != 7 {
		t.Errorf("median %+v", m)
	}
	if m := Best(runs); m.CPU != 1 || m.Wall != 1 || m.RSS != 5 || m.Lines != 7 {
		t.Errorf("best %+v", m)
	}
	if m := Median(nil); m.CPU != 0 {
		t.Errorf("median of nothing is %+v", m)
	}
	if d := Spent(runs); d != 14 {
		t.Errorf("spent %d", d)
	}
}

func TestTailWriter(t *testing.T) {
	var w tailWriter
	long := strings.Repeat("x", tailSize)
	for _, s := range []string{"first\n", long, "\nlast\n"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if w.lines != 3 || w.bytes != int64(12+tailSize) || len(w.tail) != tailSize || !strings.HasSuffix(string(w.tail), "x\nlast\n") {
		t.Errorf("%d lines, %d bytes, tail of %d bytes", w.lines, w.bytes, len(w.tail))
	}
}

func TestUntilWriter(t *testing.T) {
	for _, pieces := range [][]string{{"it is ready now"}, {"it is re", "ady"}, {"r", "e", "a", "d", "y", "ready"}} {
		var to tailWriter
		found := 0
		w := &untilWriter{to: &to, text: []byte("ready"), found: func() { found++ }}
		for _, p := range pieces {
			if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		if found != 1 || string(to.tail) != strings.Join(pieces, "") {
			t.Errorf("%q: found %d times, passed on %q", pieces, found, to.tail)
		}
	}
}

func TestWarm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 12345), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Warm(path); n != 12345 || err != nil {
		t.Error(n, err)
	}
	if _, err := Warm(path + "x"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestAvailable(t *testing.T) {
	if n := Available(); runtime.GOOS == "linux" && n < 1<<20 {
		t.Errorf("%d bytes are available", n)
	}
}

func TestWriteSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	steps := []struct{ name, text, want string }{
		{"a", "first\n", "<!-- begin a -->\nfirst\n<!-- end a -->\n"},
		{"b", "second", "<!-- begin a -->\nfirst\n<!-- end a -->\n\n<!-- begin b -->\nsecond\n<!-- end b -->\n"},
		{"a", "third\n", "<!-- begin a -->\nthird\n<!-- end a -->\n\n<!-- begin b -->\nsecond\n<!-- end b -->\n"},
		{"b", "", "<!-- begin a -->\nthird\n<!-- end a -->\n\n<!-- begin b -->\n<!-- end b -->\n"},
	}
	for _, s := range steps {
		if err := WriteSection(path, s.name, s.text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != s.want {
			t.Errorf("after %q: %q, %v; want %q", s.text, got, err, s.want)
		}
	}
}

// TestWriteSectionDamaged: a page in which a section lost its end is not cut to pieces.
func TestWriteSectionDamaged(t *testing.T) {
	for _, page := range []string{"# P\n<!-- begin a -->\nx\n", "# P\nx\n<!-- end a -->\n"} {
		path := filepath.Join(t.TempDir(), "page.md")
		if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := WriteSection(path, "a", "y"); err == nil {
			t.Errorf("%q was written", page)
		}
		if got, _ := os.ReadFile(path); string(got) != page {
			t.Errorf("%q became %q", page, got)
		}
	}
}
