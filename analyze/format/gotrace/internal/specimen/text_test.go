package specimen

import (
	"bytes"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	got, err := Encode(`Trace Go1.25
# a comment
EventBatch gen=1 m=18446744073709551615 time=300 size=auto
Strings
String id=2
	data="a\nb"
EventBatch gen=1 m=1 time=0 size=2 # the rest is nobody's
ProcStop dt=1
EventBatch gen=1 m=1 time=0 size=auto
Stack id=1 nframes=1
	pc=1 func=2 file=3 line=200
EndOfGeneration
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("go 1.25 trace\x00\x00\x00" + "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xac\x02\x07" + "\x04\x05\x02\x03a\nb" + "\x01\x01\x01\x00\x02" +
		"\x0b\x01" + "\x01\x01\x01\x00\x08" + "\x03\x01\x01\x01\x02\x03\xc8\x01" + "\x34")
	if !bytes.Equal(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
	for text, want := range map[string]string{"goroutine 1": "line 1: no header", "Trace Go1.22\nNonsense dt=1": "line 2: unknown event Nonsense",
		"Trace Go1.22\nProcStop dt": `line 2: argument "dt" has no value`, "Trace Go1.22\nProcStop dt=x": "invalid syntax",
		"Trace Go1.22\nString id=1\n\tdata=x": "invalid syntax"} {
		if _, err := Encode(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestOfGo holds that the traces of Go's tests are read as what they are: some are to fail, and each has a header.
func TestOfGo(t *testing.T) {
	fails := 0
	for _, test := range OfGo(t) {
		if test.Fails {
			fails++
		}
		if !bytes.HasPrefix(test.Bytes, []byte("go 1.2")) || len(test.Bytes) < 30 {
			t.Errorf("%s: %q", test.Name, test.Bytes)
		}
	}
	if fails == 0 {
		t.Error("no test is to fail")
	}
}

func TestModes(t *testing.T) {
	for _, toolchain := range New {
		if got := HasMode(toolchain, "flight"); got != (toolchain >= "go1.25") {
			t.Errorf("%s has a flight recorder: %v", toolchain, got)
		}
		if got := HasMode(toolchain, "alloc"); got != (toolchain >= "go1.23") || !HasMode(toolchain, "mix") {
			t.Errorf("%s has events of allocations: %v", toolchain, got)
		}
	}
}
