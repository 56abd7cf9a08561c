package format

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestErrorText(t *testing.T) {
	cause := errors.New("bad magic")
	for want, err := range map[string]*Error{
		"core: bad magic": {Path: "core", Offset: -1, Err: cause},
		"core at offset 0x40: reading the note segment: bad magic": {Path: "core", Offset: 64, Doing: "reading the note segment", Err: cause},
		"a.case:7: record: bad magic; correct the line":            {Path: "a.case", Offset: 64, Line: 7, Doing: "record", Err: cause, Help: "correct the line"},
		"core: bad magic; give the executable with --exe":          {Path: "core", Offset: -1, Err: cause, Help: "give the executable with --exe"},
		"log: looking for a dump: bad magic":                       {Path: "log", Offset: -1, Doing: "looking for a dump", Err: cause},
	} {
		if got := err.Error(); got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		if !errors.Is(err, cause) {
			t.Errorf("%q does not wrap its cause", want)
		}
	}
	var path *fs.PathError
	if !errors.As(&Error{Path: "x", Err: &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}}, &path) {
		t.Error("the type of the cause is lost")
	}
}

func TestReader(t *testing.T) {
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, []byte("abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := Input{File: f, Size: 4}
	for range 2 { // each Reader begins at the beginning
		if text, err := io.ReadAll(in.Reader()); string(text) != "abcd" || err != nil {
			t.Errorf("read %q, %v", text, err)
		}
	}
}

func TestReport(t *testing.T) {
	Options{}.Report("reading", 1, 2) // without Progress it does nothing
	var got int64
	Options{Progress: func(doing string, done, total int64) { got = done*100 + total }}.Report("reading", 1, 2)
	if got != 102 {
		t.Errorf("progress %d", got)
	}
}
