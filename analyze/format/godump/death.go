package godump

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// death is what an announcement says.
type death struct {
	evidence.Death
	panics []evidence.Panic // the newest first
	byUser bool             // the signal was sent by a process, to get a dump or an end: no goroutine is to blame
	trap   bool             // the goroutine behind it was interrupted by the signal
}

// signalNumbers are the numbers of Linux on amd64 and arm64, and the texts behind the names (runtime/sigtab_linux_generic.go).
var signalNumbers = []struct {
	name, text string
	number     int
}{
	{"SIGHUP", "terminal line hangup", 1}, {"SIGINT", "interrupt", 2}, {"SIGQUIT", "quit", 3},
	{"SIGILL", "illegal instruction", 4}, {"SIGTRAP", "trace trap", 5}, {"SIGABRT", "abort", 6},
	{"SIGBUS", "bus error", 7}, {"SIGFPE", "floating-point exception", 8}, {"SIGSEGV", "segmentation violation", 11},
	{"SIGTERM", "termination", 15}, {"SIGSTKFLT", "stack fault", 16}, {"SIGSYS", "bad system call", 31},
}

// signalOf reads a line such as "SIGQUIT: quit".
func signalOf(line string) (signal int, ok bool) {
	name, text, found := strings.Cut(line, ": ")
	if !found {
		return 0, false
	}
	for _, s := range signalNumbers {
		if s.name == name && s.text == text {
			return s.number, true
		}
	}
	return 0, false
}

func signalNumber(name string) int {
	for _, s := range signalNumbers {
		if s.name == name {
			return s.number
		}
	}
	return 0
}

// readDeath reads an announcement.
func readDeath(p *preamble) death {
	var d death
	var said []string
	for i := 0; i < len(p.text); i++ {
		line := p.text[i]
		switch {
		case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "\tpanic: "):
			i += d.readPanic(p.text[i:]) - 1
		case strings.HasPrefix(line, "fatal error: "):
			d.Fatal = strings.TrimPrefix(line, "fatal error: ")
			d.Throwing = true
		case strings.HasPrefix(line, "fatal: "):
			d.Fatal = strings.TrimPrefix(line, "fatal: ")
			d.Throwing = true
		case strings.HasPrefix(line, "[signal "):
			d.readSignalBlock(line)
		case strings.HasPrefix(line, "PC=0x"):
			d.readTrap(line)
		case strings.HasPrefix(line, "runtime: "), strings.HasPrefix(line, "unexpected fault address "),
			strings.HasPrefix(line, "signal arrived during "):
			said = append(said, line)
		default:
			if n, ok := signalOf(line); ok {
				d.Signal = n
				d.SignalName, _, _ = strings.Cut(line, ":")
			}
		}
	}
	d.Panicking = len(d.panics) > 0 && !d.Throwing
	d.Detail = strings.Join(said, "\n")
	return d
}

// readSignalBlock reads "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47e883]", and "[signal 0x2f code=..."
// of a signal without a name (dopanic_m in runtime/panic.go).
func (d *death) readSignalBlock(line string) {
	text := strings.TrimSuffix(strings.TrimPrefix(line, "[signal "), "]")
	name, _, _ := strings.Cut(text, ":")
	if number := signalNumber(name); number != 0 {
		d.Signal, d.SignalName = number, name
	} else if first, _, _ := strings.Cut(text, " "); strings.HasPrefix(first, "0x") {
		d.Signal = int(parseHex([]byte(first)) & 0x7f)
	}
	f := numbered(text)
	d.Code = int64(f["code"])
	d.FaultAddr, d.FaultPC = f["addr"], f["pc"]
	_, d.HasFault = f["addr"]
}

// readTrap reads "PC=0x4091ac m=0 sigcode=0 addr=0x0" (fatalsignal in runtime/signal_unix.go). The code is printed unsigned.
// Signals that a process sent have a code of 0 (kill) or -1 (sigqueue); -6 is tgkill, which is what abort(3) uses.
func (d *death) readTrap(line string) {
	f := numbered(line)
	d.FaultPC = f["PC"]
	d.Code = int64(int32(f["sigcode"]))
	if addr, ok := f["addr"]; ok {
		d.FaultAddr, d.HasFault = addr, true
	}
	const siUser, siQueue = 0, -1
	d.byUser = d.Code == siUser || d.Code == siQueue
	d.trap = true
}

// numbered reads the name=number pairs of a line.
func numbered(line string) map[string]uint64 {
	found := map[string]uint64{}
	for field := range strings.FieldsSeq(line) {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(value, 0, 64); err == nil {
			found[name] = n
		}
	}
	return found
}

// readPanic reads one panic of a chain and returns how many lines it took. The runtime prints the oldest first and indents
// the others with a tab, except behind a Goexit (printpanics in runtime/panic.go). Lines behind the first of a value are
// indented with a tab from Go 1.22 on (printindented in runtime/error.go), and stand bare before.
func (d *death) readPanic(lines []string) int {
	first, nested := strings.CutPrefix(lines[0], "\t")
	if !nested && len(d.panics) > 0 && !d.panics[0].Recovered {
		d.panics = nil // an earlier announcement that no goroutine followed
	}
	value := []string{strings.TrimPrefix(first, "panic: ")}
	n := 1
	for n < len(lines) && !endsPanic(lines[n:]) {
		value = append(value, strings.TrimPrefix(lines[n], "\t"))
		n++
	}
	p := readValue(strings.TrimRight(strings.Join(value, "\n"), "\n"))
	d.panics = append([]evidence.Panic{p}, d.panics...)
	return n
}

// endsPanic reports whether a value is over. Empty lines end it only when nothing but empty lines follows.
func endsPanic(rest []string) bool {
	line := rest[0]
	switch {
	case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "\tpanic: "), strings.HasPrefix(line, "fatal error: "):
		return true
	case line == "":
		return strings.Join(rest, "") == ""
	}
	return strings.HasPrefix(line, "[signal ") || strings.HasPrefix(line, "PC=0x") || strings.HasPrefix(line, "runtime: ")
}

// readValue reads a panic value with what the runtime adds to it.
func readValue(text string) evidence.Panic {
	var p evidence.Panic
	switch {
	case strings.HasSuffix(text, repanicked):
		text, p.Recovered = strings.TrimSuffix(text, repanicked), true
	case strings.HasSuffix(text, recovered):
		text, p.Recovered = strings.TrimSuffix(text, recovered), true
	}
	p.Text = text
	if kind, ok := runtimePanic(text); ok {
		p.Type, p.Runtime = kind, true
		return p
	}
	p.Type = typeOfValue(text)
	return p
}

const (
	recovered  = " [recovered]"
	repanicked = " [recovered, repanicked]"
)

// runtimePanics are the panics that the runtime raises, by the beginning of their text, with the type of the value
// (runtime/panic.go, error.go, chan.go, map; Go 1.21 to 1.26). The first that fits counts.
var runtimePanics = []struct{ prefix, kind string }{
	{"runtime error: index out of range", "runtime.boundsError"},
	{"runtime error: slice bounds out of range", "runtime.boundsError"},
	{"runtime error: cannot convert slice with length", "runtime.boundsError"},
	{"runtime error: invalid memory address or nil pointer dereference", "runtime.errorString"},
	{"runtime error: hash of unhashable type", "runtime.errorString"},
	{"runtime error: ", "runtime.errorString"},
	{"interface conversion: ", "*runtime.TypeAssertionError"},
	{"assignment to entry in nil map", "runtime.plainError"},
	{"close of closed channel", "runtime.plainError"},
	{"close of nil channel", "runtime.plainError"},
	{"send on closed channel", "runtime.plainError"},
	{"panic called with nil argument", "*runtime.PanicNilError"},
	{"value method ", "runtime.plainError"},
	{"deadlock: ", "runtime.synctestDeadlockError"},
}

func runtimePanic(text string) (kind string, ok bool) {
	for _, r := range runtimePanics {
		if !strings.HasPrefix(text, r.prefix) {
			continue
		}
		if r.prefix == "value method " && !strings.HasSuffix(text, " pointer") {
			continue
		}
		if r.prefix == "interface conversion: " && !strings.Contains(text, " is ") {
			continue
		}
		return r.kind, true
	}
	return "", false
}

// typeOfValue finds the type in a printed value: "(*main.E) 0xc000", "main.Code(4)", "main.Name(\"x\")", and the forms of
// fmt's %#v: "main.E{A:1}", "&errors.errorString{...}". Empty when the text says nothing about it.
func typeOfValue(text string) string {
	if rest, ok := strings.CutPrefix(text, "("); ok {
		kind, value, ok := strings.Cut(rest, ") ")
		if ok && isTypeName(kind) && strings.HasPrefix(value, "0x") {
			return kind
		}
		return ""
	}
	if kind, value, ok := strings.Cut(text, "("); ok && isTypeName(kind) && isScalar(strings.TrimSuffix(value, ")")) {
		return kind
	}
	star := ""
	if rest, ok := strings.CutPrefix(text, "&"); ok {
		text, star = rest, "*"
	}
	if kind, _, ok := strings.Cut(text, "{"); ok && isTypeName(kind) && strings.HasSuffix(text, "}") {
		return star + kind
	}
	return ""
}

// isTypeName reports whether s is package.Type, pointers and type arguments included.
func isTypeName(s string) bool {
	return strings.Contains(s, ".") && !strings.ContainsAny(s, " \"'\n:;,=(){}") && !strings.HasSuffix(s, ".")
}

// isScalar reports whether s is what print gives for a number, a bool or a quoted string.
func isScalar(s string) bool {
	if s == "true" || s == "false" || strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) {
		return true
	}
	return s != "" && bytes.IndexFunc([]byte(s), func(c rune) bool { return !strings.ContainsRune("0123456789+-.eiInfNa", c) }) < 0
}
