package godump

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// block is a goroutine, or a system stack, as it stands in the text. It is valid until the next one is read.
type block struct {
	header
	system   bool      // "runtime stack:", or goroutine 0: the stack of a thread
	pre      *preamble // what was announced just before it; nil for most
	threads  bool      // it stands behind "-----"
	line     int
	offset   int64
	frames   []*entry
	args     [][]byte // of each frame, only when the reader keeps them
	created  *entry
	parent   int64
	elided   int // frames the runtime left out
	elidedAt int
	broken   string // why the stack is not complete
	away     bool   // "goroutine running on other thread; stack unavailable"
	roles    roleReader
	cut      bool // the text ended in the middle of it
	nameless bool // the number in its header could not be read
}

// fault is a place in the text that could not be read.
type fault struct {
	line int
	id   int64 // of the goroutine it stands in
	what string
}

// maxBlockFrames bounds one stack. The runtime prints at most 100 frames of a goroutine (tracebackInnerFrames and
// tracebackOuterFrames in runtime/traceback.go); a text may claim more.
const maxBlockFrames = 1 << 16

// reader assembles blocks.
type reader struct {
	walk     *walker
	headers  headerReader
	table    *table
	keepArgs bool
	faulty   func(fault)

	cur     block
	ancient bool // in "[originating from goroutine N]": frames of an ancestor

	pending []byte // "function\n" of the line before, or empty
	args    []byte // its arguments
	key     []byte
	creator bool   // the pending function is that of the go statement
	odd     int    // lines since the last frame that are no part of a stack
	oddLine int    // number of the last of them
	oddText []byte // its text: a location behind it makes it a frame of C
	next    block  // its first line was read already
	waiting bool   // next holds a block
}

func newReader(r io.Reader, faulty func(fault)) *reader {
	return &reader{walk: newWalker(r), table: newTable(), faulty: faulty}
}

// read gives the next block; nil at the end of the text.
func (r *reader) read() *block {
	if !r.waiting && !r.advance() {
		return nil
	}
	r.open()
	for {
		ev, line, ok := r.walk.next()
		switch {
		case !ok:
			r.end()
			return &r.cur
		case ev == evBody:
			r.body(line)
			continue
		}
		r.close()
		if ev != evEnd {
			r.begin(ev, line)
		}
		return &r.cur
	}
}

// advance looks for the first line of the next block.
func (r *reader) advance() bool {
	for {
		ev, line, ok := r.walk.next()
		if !ok {
			return false
		}
		if ev == evHeader || ev == evSystem {
			r.begin(ev, line)
			return true
		}
	}
}

// begin keeps the first line of the next block for the next call of read.
func (r *reader) begin(ev event, line []byte) {
	b := block{header: header{m: -1}, system: ev == evSystem, pre: r.walk.takePreamble(), threads: r.walk.threads,
		line: r.walk.lines.number, offset: r.walk.lines.start}
	if ev == evHeader {
		h, ok := r.headers.read(line)
		if !ok {
			r.faulty(fault{b.line, 0, "the number in the header of a goroutine is too large"})
		}
		b.header = h
		b.system = h.id == 0
		b.nameless = !ok
	}
	r.next, r.waiting = b, true
}

// open makes the block that was begun the current one; its slices are used again.
func (r *reader) open() {
	frames, args, roles := r.cur.frames[:0], r.cur.args[:0], r.cur.roles
	roles.reset()
	r.cur, r.waiting = r.next, false
	r.cur.frames, r.cur.args, r.cur.roles = frames, args, roles
	r.pending, r.odd, r.creator, r.ancient = r.pending[:0], 0, false, false
}

func (r *reader) fault(what string) {
	r.faulty(fault{r.walk.lines.number, r.cur.id, what})
}

// close ends the current block, or the part of it that a function without a location belongs to.
func (r *reader) close() {
	if len(r.pending) > 0 {
		r.fault("a frame has no location")
		r.finish(nil, nil)
	}
}

// end closes the last block of the text and finds out whether it is cut. A last line that is complete but for its line feed
// is not: texts are pasted that way. The last frame of a stack, and the go statement behind it, always have an offset.
func (r *reader) end() {
	b := &r.cur
	last := b.created
	if last == nil && len(b.frames) > 0 {
		last = b.frames[len(b.frames)-1]
	}
	short := last == nil && !b.away || last != nil && last.offset == 0 && last.frame.Language == evidence.LanguageGo
	b.cut = len(r.pending) > 0 || !r.walk.lines.whole && (short || r.odd > 0)
	if b.cut {
		b.broken = "the text ends here"
	}
	if len(r.pending) > 0 {
		r.finish(nil, nil)
	}
}

func (r *reader) body(line []byte) {
	switch {
	case line[0] == '\t':
		r.location(line)
	case line[0] == '.' && bytes.HasPrefix(line, []byte("...")):
		r.elision(line)
	case line[0] == '[' && bytes.HasPrefix(line, []byte(originPrefix)):
		r.close()
		r.ancient = true
	case line[0] == 'c' && bytes.HasPrefix(line, []byte(creatorPrefix)):
		r.createdBy(line[len(creatorPrefix):])
	case line[0] == 'n' && bytes.HasPrefix(line, []byte(nativePrefix)):
		r.close()
		r.setPending([]byte("non-Go function"), nil)
		r.finish(line[len("non-Go function at "):], nil)
	case isBreak(line):
		r.broken(line)
	default:
		r.function(line)
	}
}

func (r *reader) function(line []byte) {
	name, args, ok := splitFunction(line)
	if !ok {
		if startsFunction(line) {
			r.close()
		}
		r.odd++
		r.oddLine = r.walk.lines.number
		r.oddText = append(r.oddText[:0], line...)
		return
	}
	r.close()
	r.setPending(name, args)
}

// setPending keeps a function until its location comes. "(...)" marks an inlined frame and stays part of the key.
func (r *reader) setPending(name, args []byte) {
	r.pending = append(r.pending[:0], name...)
	if string(args) == "..." {
		r.pending = append(r.pending, inlinedMark...)
	}
	r.pending = append(r.pending, '\n')
	r.args = append(r.args[:0], args...)
	r.creator = false
}

func (r *reader) createdBy(rest []byte) {
	r.close()
	name := rest
	var parent int64
	if i := bytes.LastIndex(rest, []byte(" in goroutine ")); i >= 0 {
		name = rest[:i]
		n, err := strconv.ParseInt(string(rest[i+len(" in goroutine "):]), 10, 64)
		if err != nil {
			r.fault("the number of the creating goroutine could not be read")
		}
		parent = n
	}
	r.setPending(name, nil)
	r.creator = true
	if !r.ancient {
		r.cur.parent = parent
	}
}

// location reads the line behind a function.
func (r *reader) location(line []byte) {
	if len(r.pending) == 0 {
		r.stray(line)
		return
	}
	location, pc := splitLocation(line)
	r.finish(location, pc)
}

// stray reads a location that no function stands before. The line before it may be the name of a C function, which has no
// parentheses.
func (r *reader) stray(line []byte) {
	text := line[1:]
	adjacent := r.odd > 0 && r.oddLine == r.walk.lines.number-1
	switch {
	case bytes.HasPrefix(text, []byte(awayPrefix)):
		r.cur.away = true
		r.cur.broken = string(text[:min(len(text), maxBroken)])
	case adjacent:
		name := r.oddText
		location, pc := splitLocation(line)
		if _, _, native := cutNative(string(location[1:])); !native {
			before, args, _ := bytes.Cut(name, []byte("("))
			if !isSymbol(before) || string(args) != ")" { // the runtime's static assembly has no package: "gogo()"
				r.fault("the function of a frame could not be read")
			}
			name = before
		}
		r.odd--
		r.setPending(name, nil)
		r.finish(location, pc)
	default:
		r.fault("a location has no function")
	}
}

const awayPrefix = "goroutine running on other thread"

// finish turns the pending function and its location into a frame.
func (r *reader) finish(location, pc []byte) {
	r.key = append(append(r.key[:0], r.pending...), location...)
	r.pending = r.pending[:0]
	e := r.table.lookup(r.key, pc)
	if e.fault != "" && len(location) > 0 {
		r.fault(e.fault)
	}
	switch {
	case r.ancient:
	case r.creator:
		r.cur.created = e
	case len(r.cur.frames) >= maxBlockFrames:
		r.cur.elided++
		r.cur.elidedAt = len(r.cur.frames)
	default:
		r.frame(e)
	}
	r.creator = false
}

func (r *reader) frame(e *entry) {
	if r.odd > 0 {
		r.faulty(fault{r.oddLine, r.cur.id, "a line in a stack is no frame"})
		r.odd = 0
	}
	if e.role.kind != roleNone {
		r.cur.roles.frame(e, r.args, len(r.cur.frames))
	}
	r.cur.frames = append(r.cur.frames, e)
	if r.keepArgs {
		r.cur.args = append(r.cur.args, bytes.Clone(r.args))
	}
}

// elision reads "...31 frames elided..." and, up to Go 1.20, "...additional frames elided...".
func (r *reader) elision(line []byte) {
	r.close()
	if r.ancient {
		return
	}
	count, ok := bytes.CutSuffix(line[len("..."):], []byte(" frames elided..."))
	n, err := strconv.ParseInt(string(count), 10, 32)
	switch {
	case string(line) == "...additional frames elided...":
		r.cur.broken = "additional frames elided by the runtime, which did not say how many"
	case !ok || err != nil || n <= 0:
		r.fault("the number of elided frames could not be read")
	default:
		r.cur.elided, r.cur.elidedAt = int(n), len(r.cur.frames)
	}
}

// broken keeps what the runtime said when it could not go on: "runtime: unexpected return pc for main.f called from 0x1"
// (unwindPrintErrors in runtime/traceback.go).
func (r *reader) broken(line []byte) {
	r.close()
	if r.cur.broken == "" {
		r.cur.broken = strings.TrimPrefix(string(line[:min(len(line), maxBroken)]), "runtime: ")
	}
}

// maxBroken bounds the reason that is kept of a broken stack.
const maxBroken = 200
