package analyze

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gopostmortem/postmortem/analyze/format"
)

// stranger is a kind of file that people hand over by mistake, or that is not read yet. ELF files that are no cores are not among
// them: gocore claims every ELF file and says what is wrong with it.
type stranger struct {
	what   string
	is     func(head []byte) bool
	advice string
}

// strangers are told by their magic numbers. Origins: Go's debug/macho and debug/pe; the header of Go's
// internal/trace; the HPROF and minidump formats; the dump header of Windows.
var strangers = []stranger{
	{"a program (Mach-O)", anyPrefix("\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe", "\xca\xfe\xba\xbe"),
		"cores of macOS are not read; a goroutine dump (kill -QUIT, GOTRACEBACK=all) is"},
	{"a program (Windows PE)", anyPrefix("MZ"), "cores of Windows are not read; a goroutine dump (GOTRACEBACK=all) is"},
	{"a Windows minidump", anyPrefix("MDMP"), "dumps of Windows are not read; a goroutine dump (GOTRACEBACK=all) is"},
	{"an execution trace of an old version of Go", func(h []byte) bool {
		return anyPrefix("go 1.")(h) && bytes.Contains(h[:min(len(h), 32)], []byte(" trace\x00"))
	},
		"traces of Go 1.11 and later are read"},
	{"a Java heap dump", anyPrefix("JAVA PROFILE"), "only Go processes are diagnosed"},
	{"a tar archive", func(h []byte) bool { return len(h) > 262 && string(h[257:262]) == "ustar" }, "unpack it and give the core in it"},
	{"a zip archive", anyPrefix("PK\x03\x04"), "unpack it and give the core in it"},
	{"a file of zeroes", func(h []byte) bool { return len(h) >= 4096 && len(bytes.Trim(h, "\x00")) == 0 },
		"the file was probably never written: look at the free space where the core was copied from"},
}

func anyPrefix(magic ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, m := range magic {
			if bytes.HasPrefix(head, []byte(m)) {
				return true
			}
		}
		return false
	}
}

// refuse is the error for an input that no format recognises: what it is, as far as that can be told, and what can be read.
func refuse(in format.Input, formats []format.Format) error {
	for _, s := range strangers {
		if s.is(in.Head) {
			return &format.Error{Path: in.Path, Offset: -1, Doing: "recognising the format", Err: fmt.Errorf("this is %s", s.what), Help: s.advice}
		}
	}
	err := errors.New("unknown format")
	if looksLikeText(in.Head) {
		err = errors.New("text without a goroutine dump in it")
	}
	return &format.Error{Path: in.Path, Offset: -1, Doing: "recognising the format", Err: err, Help: "known formats: " + known(formats)}
}

// known lists the formats: "gocore (core of a Go process), ...".
func known(formats []format.Format) string {
	var names []string
	for _, f := range formats {
		names = append(names, fmt.Sprintf("%s (%s)", f.Name, f.Doc))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// looksLikeText reports whether head could be a log: no zero bytes, and hardly anything that is not UTF-8. Logs hold stray
// bytes, and the cut at the end of head may fall into a character.
func looksLikeText(head []byte) bool {
	if len(head) == 0 || bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	bad := 0
	for rest := head; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			bad++
		}
		rest = rest[size:]
	}
	const tolerated = 20 // one byte in so many
	return bad*tolerated <= len(head)
}
