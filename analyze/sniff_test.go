package analyze

import (
	"bytes"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
)

// elfHead is the beginning of a core: class 64, little endian, ET_CORE (elf(5)).
var elfHead = append([]byte("\x7fELF\x02\x01\x01"), append(make([]byte, 9), 4, 0, 62, 0)...)

// claims names the formats that recognise head.
func claims(head []byte) []string {
	var names []string
	for _, f := range Formats() {
		if f.Sniff(head) {
			names = append(names, f.Name)
		}
	}
	return names
}

func TestSniff(t *testing.T) {
	for _, test := range []struct {
		head string
		want string
	}{
		{string(elfHead), "gocore"},
		{"case 1\n", "case"},
		{"panic: oops\n\ngoroutine 1 [running]:\nmain.main()\n\t/build/main.go:3 +0x18\n", "godump"},
		{"2026/01/05 08:00:01 listening\nfatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\n", "godump"},
		{"go 1.26 trace\x00\x00\x00\x01", "gotrace"},
		{"go 1.11 trace\x00\x00\x00\x01", "gotrace"},
		{"go 1.5 trace\x00\x00\x00\x00 too old, which its reader says", "gotrace"},
		{"go 1.26 trace is a text\n", ""},
		{"all is well\n", ""},
		{"", ""},
		{"\x7fELF without the rest\n", ""},
	} {
		got := claims([]byte(test.head))
		if test.want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0] != test.want {
			t.Errorf("%q is claimed by %v, want %q", test.head, got, test.want)
		}
	}
}

// FuzzSniff: no input is claimed by two formats, whatever it is.
func FuzzSniff(f *testing.F) {
	const dump = "goroutine 1 [running]:\nmain.main()\n\t/build/main.go:3 +0x18\n"
	f.Add(elfHead)
	f.Add([]byte("case 1\n" + dump))
	f.Add([]byte(dump))
	f.Add([]byte("\x7fELF\x02\x01\x01 no padding here\n" + dump))
	f.Add(append(bytes.Clone(elfHead), dump...))
	f.Add([]byte("go 1.26 trace\x00\x00\x00\n" + dump))
	f.Add(bytes.Repeat([]byte{16, 2, 3, 100, 19, 2, 22, 99}, 1000)) // the middle of a trace, without a header
	f.Fuzz(func(t *testing.T, head []byte) {
		if len(head) > format.HeadSize {
			head = head[:format.HeadSize]
		}
		if got := claims(head); len(got) > 1 {
			t.Errorf("claimed by %v", got)
		}
	})
}
