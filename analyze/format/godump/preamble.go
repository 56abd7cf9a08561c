package godump

import (
	"bytes"
	"slices"
	"strings"
)

// maxPreamble bounds the lines before the first block: Go 1.21 prints panic values of several lines without indenting them.
const (
	maxPreambleLines = 200
	maxPreambleBytes = 64 << 10
)

// preamble is what the runtime prints before the first goroutine: the panic values, the fatal error, the signal.
type preamble struct {
	start   int64 // offset of its first line
	line    int   // number of its first line
	strong  bool  // it begins at the beginning of a line
	blank   bool  // its last line is empty
	foreign int   // lines of no dump between the last block and it
	text    []string
	size    int
}

func (p *preamble) add(line []byte) {
	p.blank = len(line) == 0
	if p.size < maxPreambleBytes {
		line = line[:min(len(line), maxPreambleBytes-p.size)]
		p.text = append(p.text, string(line))
		p.size += len(line) + 1
	}
}

// complete reports whether the announcement needs no goroutine to be believed: when main has called Goexit and nothing else
// is left, the runtime prints none (checkdead in runtime/proc.go).
func (p *preamble) complete() bool {
	return slices.ContainsFunc(p.text, func(line string) bool {
		return strings.HasPrefix(line, "fatal error: ") && strings.HasSuffix(line, " - deadlock!")
	})
}

// takes reports whether a line can belong to the announcement. One that began in the middle of a line may be somebody's log
// message, so it must look exactly as the runtime prints it.
func (p *preamble) takes(line []byte, strong bool) bool {
	if len(p.text) >= maxPreambleLines {
		return false
	}
	return p.strong || strong || line[0] == '\t' || line[0] == '['
}

// strongMarkers begin the lines that announce a death, by their first letter (runtime/panic.go printpanics, fatalthrow;
// stack.go newstack; signal_unix.go fatalsignal, sigpanic; mem*.go, malloc.go).
var strongMarkers = map[byte][]string{
	'p': {"panic: "},
	'f': {"fatal error: ", "fatal: "},
	'P': {"PC=0x"},
	'[': {"[signal "},
	'r': {"runtime: "},
	'u': {"unexpected fault address "},
	's': {"signal arrived during "},
}

func strongMarker(line []byte) bool {
	c := line[0]
	switch c { // the cheap test: this runs for every line of a log
	case 'p', 'f', 'P', '[', 'r', 'u', 's':
		for _, m := range strongMarkers[c] {
			if len(line) >= len(m) && string(line[:len(m)]) == m {
				return true
			}
		}
	case 'S':
		_, ok := signalOf(string(line))
		return ok
	}
	return false
}

// weakMarkers may stand behind what the program wrote without a line feed.
var weakMarkers = [][]byte{[]byte("panic: "), []byte("fatal error: "), []byte("runtime: goroutine stack exceeds ")}

// weakMarker returns where in a line an announcement begins; 0 when nowhere.
func weakMarker(line []byte) int {
	for _, m := range weakMarkers {
		if at := bytes.Index(line, m); at > 0 {
			return at
		}
	}
	return 0
}
