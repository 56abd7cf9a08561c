package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/trace"
	"strings"
	"testing"
)

// record is a trace of a few goroutines that meet at a channel.
func record(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := trace.Start(&out); err != nil {
		t.Skipf("this test is traced itself: %v", err)
	}
	meet := make(chan int)
	for i := range 10 {
		go func() { meet <- i }()
	}
	for range 10 {
		<-meet
	}
	trace.Stop()
	return out.Bytes()
}

func TestRun(t *testing.T) {
	whole := record(t)
	dir := t.TempDir()
	for _, test := range []struct {
		name  string
		bytes []byte
		fault string
	}{
		{"whole", whole, ""},
		{"text", []byte("this is no trace, but a text that is long enough to have a header"), "not a Go execution trace"},
		{"cut", whole[:40], "events"},
	} {
		path := filepath.Join(dir, test.name)
		if err := os.WriteFile(path, test.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		err := run([]string{path})
		if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.fault)
		}
	}
	if err := run([]string{filepath.Join(dir, "missing")}); !os.IsNotExist(err) {
		t.Errorf("error %v of a file that is not there", err)
	}
	if err := run(nil); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("error %v without a file", err)
	}
}
