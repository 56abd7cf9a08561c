package godump

import (
	"io"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Block is one goroutine as printed, or the stack of a thread's own code. It belongs to the caller.
type Block struct {
	Line    int    // of the header, 1-based
	ID      int64  // of the goroutine; 0 for the stack that a thread runs outside goroutines
	Status  string // the first part between the brackets, as printed: "chan receive (nil chan)"; empty for "runtime stack:"
	State   evidence.State
	Reason  string // the wait reason; empty when it does not wait
	Minutes int    // how long it has waited; 0 when not printed
	Flags   evidence.Flags
	Bubble  int64  // of testing/synctest; 0 when none
	Labels  string // as printed: {"k": "v"}
	GP, MP  uint64 // addresses of the runtime's g and m; 0 when not printed
	M       int64  // id of the M; -1 when none or not printed

	Frames    []Frame // innermost first
	CreatedBy *Frame  // the go statement; nil when not printed
	Parent    int64   // the goroutine that executed it; 0 when not printed

	Elided   int    // frames that the runtime left out
	ElidedAt int    // how many frames stand before them
	Broken   string // why the stack is incomplete; empty when it is not
	Away     bool   // it ran on another thread, and its stack was not printed
	Threads  bool   // printed by its own thread when that got the signal (GOTRACEBACK=crash): may repeat a goroutine
}

// Frame is one call as printed.
type Frame struct {
	Function string // as printed, without arguments; "panic" stands for runtime.gopanic
	Args     string // as printed, without the parentheses; "..." for an inlined call
	File     string
	Line     int
	PCOffset uint64 // of the pc in the function; 0 when not printed
	PC       uint64 // 0 when not printed
	Inlined  bool
	Native   bool // a frame of C
}

// Parse reads every goroutine of a text, of whatever dump, and calls visit for each in order, until visit returns an error:
// that error, or the one of the reader, is returned. What cannot be read is left out.
func Parse(r io.Reader, visit func(*Block) error) error {
	in := newReader(r, func(fault) {})
	in.keepArgs = true
	for b := in.read(); b != nil; b = in.read() {
		if b.nameless {
			continue
		}
		if err := visit(b.export()); err != nil {
			return err
		}
	}
	return in.walk.lines.failure()
}

func (b *block) export() *Block {
	out := &Block{
		Line: b.line, ID: b.id, Status: b.status.text, State: b.status.state, Reason: b.status.reason,
		Minutes: b.status.minutes, Flags: b.status.flags, Bubble: b.status.bubble, Labels: b.status.labels,
		GP: b.gp, MP: b.mp, M: b.m, Parent: b.parent, Elided: b.elided, ElidedAt: b.elidedAt, Broken: b.broken,
		Away: b.away, Threads: b.threads,
	}
	for i, e := range b.frames {
		out.Frames = append(out.Frames, e.export(string(b.args[i])))
	}
	if b.created != nil {
		created := b.created.export("")
		out.CreatedBy = &created
	}
	return out
}

func (e *entry) export(args string) Frame {
	f := Frame{Function: e.frame.Function, Args: args, File: e.frame.File, Line: e.frame.Line, PCOffset: e.offset,
		PC: e.frame.PC, Inlined: e.frame.Inlined, Native: e.frame.Language == evidence.LanguageC}
	if f.Function == panicFunction {
		f.Function = panicPrinted
	}
	return f
}
