package analyze

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// fake is a reader that claims files beginning with its name and adds one goroutine per file, with an id taken from the
// second word.
func fake(name string, id int64, gives evidence.Kinds) format.Format {
	return format.Format{Name: name, Doc: "a test's " + name, Gives: gives,
		Sniff: func(head []byte) bool { return bytes.HasPrefix(head, []byte(name+" ")) },
		Read: func(_ context.Context, in format.Input, to *evidence.Builder) error {
			if strings.Contains(string(in.Head), "broken") {
				return errors.New("a bare cause")
			}
			to.Goroutine(evidence.Goroutine{ID: id, State: evidence.StateWaiting, Reason: "read by " + name})
			return nil
		}}
}

func fakes() opener {
	return opener{formats: []format.Format{
		fake("core", 7, evidence.KindGoroutines|evidence.KindThreads|evidence.KindScheduler),
		fake("dump", 7, evidence.KindGoroutines),
	}}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenMergesCoresFirst(t *testing.T) {
	dump, core := write(t, "a.log", "dump 1"), write(t, "b", "core 1")
	c, err := fakes().open(context.Background(), []string{dump, core, core}, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Sources); n != 2 || c.Sources[0].Path != core || c.Sources[1].Path != dump {
		t.Fatalf("sources %v: want the core, once, before the dump", c.Sources)
	}
	if s := c.Sources[0]; s.Format != "core" || s.Size != 6 || s.SHA256 != "" {
		t.Errorf("source %+v: want the format, the size, and no sum unless asked for", s)
	}
	if g, ok := c.Goroutines().ByID(7); c.Goroutines().Len() != 1 || !ok || g.Reason != "read by core" {
		t.Errorf("goroutine 7 is %+v: want one row, in the words of the core", g)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"empty", "", "the file is empty"},
		{"program", "MZ\x90\x00", "this is a program (Windows PE)"},
		{"trace", "go 1.22 trace\x00\x00\x00", "execution trace"},
		{"zeroes", strings.Repeat("\x00", 8192), "file of zeroes"},
		{"binary", "\x01\x02\x00\x03", "unknown format; known formats: core (a test's core), dump (a test's dump)"},
		{"log", "all is well\n", "text without a goroutine dump"},
		{"bare error", "dump broken", "reading it as dump: a bare cause"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, "file", test.content)
			_, err := fakes().open(context.Background(), []string{path}, format.Options{})
			wantError(t, err, path, test.want)
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := fakes().open(context.Background(), []string{"no/such"}, format.Options{})
		wantError(t, err, "no/such", "no such file")
	})
	t.Run("folder", func(t *testing.T) {
		dir := t.TempDir()
		_, err := fakes().open(context.Background(), []string{dir}, format.Options{})
		wantError(t, err, dir, "it is a folder")
	})
	t.Run("two cores", func(t *testing.T) {
		_, err := fakes().open(context.Background(), []string{write(t, "a", "core a"), write(t, "b", "core b")}, format.Options{})
		wantError(t, err, "b", "two of a kind do not make one incident")
	})
}

// wantError checks that err is a *format.Error that names the path and says what is wanted.
func wantError(t *testing.T, err error, path, want string) {
	t.Helper()
	var e *format.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v: want a *format.Error", err)
	}
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %q: want it to name %s and say %q", err, path, want)
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := fakes().open(context.Background(), nil, format.Options{}); !errors.Is(err, errNoPaths) {
		t.Errorf("error %v: want %v", err, errNoPaths)
	}
}

func TestOpenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := fakes().open(ctx, []string{write(t, "a", "core a")}, format.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want the context's", err)
	}
}

func TestTwoClaims(t *testing.T) {
	o := fakes()
	o.formats = append(o.formats, o.formats[0])
	path := write(t, "a", "core a")
	_, err := o.open(context.Background(), []string{path}, format.Options{})
	wantError(t, err, path, "both core and core claim it")
}

func TestSecondDumpIsAGap(t *testing.T) {
	c, err := fakes().open(context.Background(), []string{write(t, "a", "dump a"), write(t, "b", "dump b")}, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Gaps) != 1 || !strings.Contains(c.Gaps[0].Why, "the first one is shown") {
		t.Errorf("gaps %v: want one that says that changes between the dumps are not seen", c.Gaps)
	}
}

func TestTextFallback(t *testing.T) {
	o := fakes()
	asked := 0
	o.find = func(_ context.Context, in format.Input) (*format.Format, error) {
		asked++
		if !strings.Contains(string(in.Head), "hours of log") {
			return nil, nil
		}
		return &o.formats[1], nil
	}
	c, err := o.open(context.Background(), []string{write(t, "a", "hours of log\ndump 1")}, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Sources[0].Format != "dump" || c.Goroutines().Len() != 1 {
		t.Errorf("sources %v: want the log read as a dump", c.Sources)
	}
	if _, err := o.open(context.Background(), []string{write(t, "a", "\x00binary")}, format.Options{}); err == nil || asked != 1 {
		t.Errorf("error %v after %d searches: want a binary file refused without a search", err, asked)
	}
}

func TestLooksLikeText(t *testing.T) {
	for _, test := range []struct {
		head string
		want bool
	}{
		{"", false}, {"goroutine 1", true}, {"caf\xe9 au lait, and a long enough line", true}, {"a\x00b", false},
		{"\xff\xfe\xfd\xfc", false}, {strings.Repeat("é", 100) + "\xc3", true},
	} {
		if got := looksLikeText([]byte(test.head)); got != test.want {
			t.Errorf("looksLikeText(%q) = %v", test.head, got)
		}
	}
}

func TestHash(t *testing.T) {
	path, other := write(t, "a", "core 1"), write(t, "b", "dump 2")
	c, err := fakes().open(context.Background(), []string{path, other}, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var seen int64
	if err := Hash(context.Background(), c, []string{path}, func(_ string, done, _ int64) { seen = done }); err != nil {
		t.Fatal(err)
	}
	const want = "ae77cef40b6f63c6c2e312785965f9fe30527ffcb8a64bd2d8da81aacca3a6d6" // printf 'core 1' | sha256sum
	if c.Sources[0].SHA256 != want || seen != 6 {
		t.Errorf("sum %q after %d bytes: want %s after 6", c.Sources[0].SHA256, seen, want)
	}
	if c.Sources[1].SHA256 != "" {
		t.Errorf("the file that was not asked for has the sum %q", c.Sources[1].SHA256)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.Sources[0].SHA256 = ""
	wantError(t, Hash(context.Background(), c, []string{path}, nil), path, "SHA-256")
}

// TestFormatsTable holds the table to its contract: every reader is complete, and none claims nothing at all.
func TestFormatsTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Formats() {
		if f.Name == "" || f.Doc == "" || f.Gives == 0 || f.Sniff == nil || f.Read == nil {
			t.Errorf("format %q is incomplete", f.Name)
		}
		if seen[f.Name] {
			t.Errorf("format %q is listed twice", f.Name)
		}
		seen[f.Name] = true
		if f.Sniff != nil && f.Sniff(nil) {
			t.Errorf("format %q claims an empty file", f.Name)
		}
	}
}

// TestOpenPipe holds that standard input is one source under all of its names, has the sum of what came through it, and says when it was
// cut off before anything could be recognised.
func TestOpenPipe(t *testing.T) {
	pipe := func(content []byte) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = w.Write(content) // the reader may close early
			_ = w.Close()
		}()
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	paths := []string{"-", "/dev/stdin", "-"}
	c, err := fakes().open(context.Background(), paths, format.Options{Stdin: pipe([]byte("core 1"))})
	if err != nil {
		t.Fatal(err)
	}
	if err := Hash(context.Background(), c, paths, nil); err != nil {
		t.Fatal(err)
	}
	if len(c.Sources) != 1 || c.Sources[0].Path != "-" || c.Sources[0].Size != 6 || len(c.Sources[0].SHA256) != 64 {
		t.Errorf("sources %+v", c.Sources)
	}
	redirected, err := os.Open(write(t, "file", "core 1"))
	if err != nil {
		t.Fatal(err)
	}
	defer redirected.Close()
	file, err := fakes().open(context.Background(), paths, format.Options{Stdin: redirected})
	if err != nil {
		t.Fatal(err)
	}
	if err := Hash(context.Background(), file, paths, nil); err != nil || len(file.Sources) != 1 || file.Sources[0].Path != "-" {
		t.Errorf("a file as standard input: %v, sources %+v", err, file.Sources)
	}
	onDisk := evidence.NewBuilder()
	path := write(t, "same", "core 1")
	onDisk.Source(evidence.Source{Path: path})
	same := onDisk.Finish()
	if err := Hash(context.Background(), same, []string{path}, nil); err != nil || same.Sources[0].SHA256 != c.Sources[0].SHA256 {
		t.Errorf("sum of the pipe %s, of the file %s, %v", c.Sources[0].SHA256, same.Sources[0].SHA256, err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(strings.Repeat("nobody knows this\n", 1000)))
	_ = z.Close()
	_, err = fakes().open(context.Background(), paths, format.Options{Stdin: pipe(packed.Bytes()[:packed.Len()-10])})
	if err == nil || !strings.Contains(err.Error(), "as far as it could be read: unpacking gzip stopped at byte") {
		t.Errorf("cut off: %v", err)
	}
}
