package godump

import (
	"bytes"
	"io"
)

// event is what a line means.
type event uint8

const (
	evHeader event = iota // "goroutine 7 [running]:" begins a block
	evSystem              // "runtime stack:" begins a block
	evBody                // a line of a block
	evEnd                 // the block is over; the line is none of its own
)

// walker goes through a text and tells blocks from what stands around them.
type walker struct {
	lines   *lineReader
	pre     *preamble // lines that announce a death and wait for the block that follows them
	inBlock bool
	odd     int  // lines in a row, in a block, that are no part of a stack
	foreign int  // lines since the last block that belong to no dump
	before  int  // the same, before the block that began last
	threads bool // behind a line "-----": the other threads print what they ran (runtime/signal_unix.go, sighandler)
	last    lineMark
	partial bool      // the text ends in the middle of a header
	lone    *preamble // an announcement that says all there is, without a block behind it
}

// lineMark remembers a line that may turn out to begin something.
type lineMark struct {
	start  int64
	number int
	text   []byte
}

func newWalker(r io.Reader) *walker { return &walker{lines: newLineReader(r)} }

// next gives the next event; ok is false at the end of the text.
func (w *walker) next() (ev event, line []byte, ok bool) {
	for {
		line, ok := w.lines.next()
		if !ok {
			return 0, nil, false
		}
		if w.inBlock {
			return w.inside(line), line, true
		}
		if ev, found := w.outside(line); found {
			return ev, line, true
		}
		w.partial = !w.lines.whole && len(line) > 0 && partOfHeader(line)
	}
}

func (w *walker) begin(ev event) event {
	w.inBlock = true
	w.before, w.foreign, w.odd = w.foreign+w.odd, 0, 0
	return ev
}

// maxOdd is how many lines in a row may be no part of a stack before the stack counts as over: other goroutines go on
// writing their log while the runtime prints, and not every writer leaves an empty line behind a dump.
const maxOdd = 3

func (w *walker) inside(line []byte) event {
	switch {
	case len(line) == 0:
		w.leave()
		return evEnd
	case line[0] == '\t':
		w.odd = 0
		return evBody
	case isHeader(line):
		return w.begin(evHeader)
	case string(line) == systemLine:
		return w.begin(evSystem)
	case isBreak(line):
		return evBody
	case strongMarker(line), string(line) == threadLine, isRegister(line):
		w.leave()
		w.outside(line)
		return evEnd
	case isStackLine(line):
		w.odd = 0
		return evBody
	}
	w.odd++
	if w.odd == maxOdd {
		w.leave()
		return evEnd
	}
	return evBody
}

// leave ends a block. Odd lines at its end were somebody else's.
func (w *walker) leave() {
	w.inBlock = false
	w.foreign, w.odd = w.foreign+w.odd, 0
}

// isBreak recognises what the runtime prints into a stack that it cannot unwind (unwinder.next and tracebackHexdump in
// runtime/traceback.go).
func isBreak(line []byte) bool {
	switch line[0] {
	case 'r':
		return bytes.HasPrefix(line, []byte("runtime: ")) && bytes.Contains(line, []byte("unexpected return pc"))
	case 's':
		return bytes.HasPrefix(line, []byte("stack: frame={"))
	case '0':
		return bytes.HasPrefix(line, []byte("0x"))
	}
	return false
}

// isStackLine recognises the lines of a stack that do not begin with a tab.
func isStackLine(line []byte) bool {
	switch line[0] {
	case '.':
		return bytes.HasPrefix(line, []byte("..."))
	case '[':
		return bytes.HasPrefix(line, []byte(originPrefix))
	case 'c':
		if bytes.HasPrefix(line, []byte(creatorPrefix)) {
			return true
		}
	case 'n':
		if bytes.HasPrefix(line, []byte(nativePrefix)) {
			return true
		}
	}
	return line[len(line)-1] == ')'
}

// The beginnings of the lines of a stack that are no frames of Go (runtime/traceback.go).
const (
	originPrefix  = "[originating from goroutine "
	creatorPrefix = "created by "
	nativePrefix  = "non-Go function at pc="
)

func (w *walker) outside(line []byte) (event, bool) {
	switch {
	case len(line) == 0:
		if w.pre != nil {
			w.pre.add(line)
		}
	case isHeader(line):
		return w.begin(evHeader), true
	case string(line) == systemLine:
		return w.begin(evSystem), true
	case string(line) == threadLine:
		w.threads = true
	case isRegister(line):
	default:
		w.around(line)
	}
	return 0, false
}

// around looks for the announcement of a death in a line outside a block.
func (w *walker) around(line []byte) {
	strong := strongMarker(line)
	switch {
	case w.pre != nil && w.pre.takes(line, strong):
		w.pre.add(line)
	case strong && bytes.HasPrefix(line, []byte("PC=0x")) && w.last.number == w.lines.number-1:
		// The name of the signal stands on the line before, possibly behind somebody's unfinished line.
		w.pre = &preamble{start: w.last.start, line: w.last.number, strong: true, foreign: max(0, w.foreign-1)}
		w.pre.add(w.last.text)
		w.pre.add(line)
	case strong:
		w.drop()
		w.pre = w.newPreamble(true)
		w.pre.add(line)
	default:
		w.drop()
		if at := weakMarker(line); at > 0 {
			w.pre = w.newPreamble(false)
			w.pre.add(line[at:])
		}
		w.foreign++
		w.mark(line)
	}
}

func (w *walker) newPreamble(strong bool) *preamble {
	return &preamble{start: w.lines.start, line: w.lines.number, strong: strong, foreign: w.foreign}
}

// mark remembers a line that ends with the name of a signal.
func (w *walker) mark(line []byte) {
	if !bytes.Contains(line, []byte("SIG")) { // much faster than LastIndex
		return
	}
	at := bytes.LastIndex(line, []byte("SIG"))
	w.last = lineMark{w.lines.start, w.lines.number, bytes.Clone(line[at:])}
}

// drop gives up an announcement that no block followed.
func (w *walker) drop() {
	if w.pre != nil && w.pre.complete() {
		w.lone = w.pre
	}
	w.pre = nil
}

// takePreamble gives the announcement that the block that begins now belongs to; nil when there is none.
func (w *walker) takePreamble() *preamble {
	p := w.pre
	w.pre = nil
	if p != nil && !p.strong && !p.blank {
		return nil
	}
	return p
}

const (
	systemLine = "runtime stack:"
	threadLine = "-----"
)

// isHeader reports whether a line is the header of a goroutine. The form is that of goroutineheader in
// runtime/traceback.go; a log line such as "goroutine 5 finished" is none.
func isHeader(line []byte) bool {
	const shortest = len(headerPrefix + "1 []:")
	if len(line) < shortest || line[0] != 'g' || string(line[:len(headerPrefix)]) != headerPrefix {
		return false
	}
	i := len(headerPrefix)
	for i < len(line) && isDigit(line[i]) {
		i++
	}
	if i == len(headerPrefix) || i == len(line) || line[i] != ' ' || !bytes.HasSuffix(line, []byte("]:")) {
		return false
	}
	rest := line[i+1:]
	return rest[0] == '[' || bytes.HasPrefix(rest, []byte("gp=")) && bytes.Contains(rest, []byte(" ["))
}

// partOfHeader recognises a header that was cut off.
func partOfHeader(line []byte) bool {
	n := min(len(line), len(headerPrefix))
	return string(line[:n]) == headerPrefix[:n]
}

const headerPrefix = "goroutine "

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isRegister recognises a line of the register block: "rax    0x0" (dumpregs in runtime/signal_*.go).
func isRegister(line []byte) bool {
	if len(line) < 5 || len(line) > 40 {
		return false
	}
	i := 0
	for i < len(line) && (isDigit(line[i]) || 'a' <= line[i] && line[i] <= 'z') {
		i++
	}
	rest := line[i:]
	return i >= 2 && i <= 8 && len(rest) > 3 && rest[0] == ' ' && bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte("0x")) &&
		!bytes.ContainsAny(rest, "(:")
}
