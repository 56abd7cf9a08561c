package godump

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// entry is one distinct frame of a text: function, file, line and offset. The arguments and the stack addresses, which differ
// from goroutine to goroutine, are not part of it.
type entry struct {
	frame  evidence.Frame
	offset uint64 // of the pc in the function
	role   role   // what the arguments of the frame can tell
	id     evidence.FrameID
	fault  string // why the location could not be read
	known  bool   // id was asked for
}

// Bounds of the table of frames. A large program has some ten thousand distinct frames of 100 bytes.
const (
	maxEntries    = 1 << 20
	maxEntryBytes = 256 << 20
)

// table interns frames by their text, so that a frame that occurs again costs one look-up and no parsing.
type table struct {
	byText map[string]*entry
	bytes  int
	full   *entry // stands for all frames beyond the bounds; nil until there are any
}

func newTable() *table { return &table{byText: map[string]*entry{}} }

// lookup gives the entry for "function\nlocation"; pc is that part of the text behind it that begins with "pc=".
func (t *table) lookup(key, pc []byte) *entry {
	if e, ok := t.byText[string(key)]; ok {
		return e
	}
	if len(t.byText) >= maxEntries || t.bytes+len(key) > maxEntryBytes {
		if t.full == nil {
			t.full = &entry{frame: evidence.Frame{Function: "?"}}
		}
		return t.full
	}
	text := string(key)
	e := newEntry(text, pc)
	t.byText[text] = e
	t.bytes += len(text)
	return e
}

func newEntry(text string, pc []byte) *entry {
	function, location, _ := strings.Cut(text, "\n")
	e := &entry{}
	function, e.frame.Inlined = strings.CutSuffix(function, inlinedMark)
	e.frame.Function = functionName(function)
	e.frame.PC = parseHex(pc)
	e.location(strings.TrimPrefix(location, "\t"))
	e.role = roles[e.frame.Function]
	if e.role.kind == roleNone && strings.Contains(e.frame.Function, "._Cfunc_") {
		e.role.kind = roleCgo
	}
	return e
}

// inlinedMark stands for the arguments of an inlined frame.
const inlinedMark = "(...)"

// functionName undoes the one abbreviation of the runtime (printFuncName in runtime/traceback.go).
func functionName(printed string) string {
	if printed == panicPrinted {
		return panicFunction
	}
	return cmp.Or(printed, "?")
}

const (
	panicPrinted  = "panic"
	panicFunction = "runtime.gopanic"
)

// location reads "/src/main.go:12 +0x1d", "/src/main.go:12" for an inlined frame, and for a frame of C
// "/src/x.c:7 pc=0x40" or "pc=0x40".
func (e *entry) location(text string) {
	if before, pc, ok := cutNative(text); ok {
		e.frame.Language = evidence.LanguageC
		e.frame.PC = parseHex([]byte(pc))
		if text = before; text == "" {
			return
		}
	}
	if i := strings.LastIndex(text, " +0x"); i >= 0 {
		e.offset = parseHex([]byte(text[i+len(" +"):]))
		text = text[:i]
	}
	colon := strings.LastIndexByte(text, ':')
	line, err := strconv.ParseInt(text[colon+1:], 10, 32)
	if colon < 0 || err != nil || line < 0 {
		e.fault = "the location of a frame is not file:line"
		e.frame.File = text
		return
	}
	e.frame.File, e.frame.Line = text[:colon], int(line)
}

// cutNative splits the location of a C frame (printOneCgoTraceback in runtime/traceback.go).
func cutNative(text string) (before, pc string, ok bool) {
	if pc, ok = strings.CutPrefix(text, "pc="); ok {
		return "", pc, true
	}
	if i := strings.LastIndex(text, " pc=0x"); i >= 0 {
		return text[:i], text[i+len(" pc="):], true
	}
	return text, "", false
}

// splitLocation cuts the stack addresses off a location line: "\tfile:1 +0x2 fp=0x3 sp=0x4 pc=0x5" gives the part before fp=
// and "0x5".
func splitLocation(line []byte) (location, pc []byte) {
	at := bytes.Index(line, []byte(" fp=0x"))
	if at < 0 {
		return line, nil
	}
	if i := bytes.Index(line[at:], []byte(" pc=")); i >= 0 {
		pc = line[at+i+len(" pc="):]
	}
	return line[:at], pc
}

// splitFunction cuts a function line into name and arguments, both without the parentheses around the arguments. ok is false
// for a line that is none: arguments are hex numbers, braces, "...", "_" and "?" (printArgs in runtime/traceback.go), and a
// name holds no space but inside a type literal.
func splitFunction(line []byte) (name, args []byte, ok bool) {
	n := len(line)
	if n < 3 || line[n-1] != ')' {
		return nil, nil, false
	}
	open := bytes.LastIndexByte(line, '(')
	if open <= 0 {
		return nil, nil, false
	}
	name, args = line[:open], line[open+1:n-1]
	if len(args) > 0 {
		switch args[0] {
		case '0', '{', '.', '_':
		default:
			return nil, nil, false
		}
	}
	if bytes.IndexByte(name, '.') < 0 && string(name) != panicPrinted {
		return nil, nil, false
	}
	if bytes.IndexByte(name, ' ') >= 0 && !bytes.Contains(name, []byte("struct {")) {
		return nil, nil, false
	}
	return name, args, true
}

// isSymbol reports whether a name is one that assembly may have.
func isSymbol(name []byte) bool {
	for _, c := range name {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(name) > 0
}

// startsFunction recognises a function line whose end is damaged.
func startsFunction(line []byte) bool {
	open := bytes.IndexByte(line, '(')
	return open > 0 && bytes.IndexByte(line[:open], '.') > 0 && bytes.IndexByte(line[:open], ' ') < 0
}

// arguments reads the numbers of an argument list in order, the braces of aggregates left out. A value that may be stale
// (marked "?"), was too far away ("_") or was cut off ("...") has no ok.
func arguments(args []byte, to []argument) []argument {
	for len(args) > 0 && len(to) < cap(to) {
		part := args
		if i := bytes.IndexByte(args, ','); i >= 0 {
			part, args = args[:i], args[i+1:]
		} else {
			args = nil
		}
		part = bytes.Trim(part, " {}")
		if len(part) == 0 {
			continue
		}
		value := parseHex(part)
		to = append(to, argument{value, value != 0 || string(part) == "0x0"})
	}
	return to
}

type argument struct {
	value uint64
	ok    bool
}
