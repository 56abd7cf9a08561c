// Package format says what a reader is: a Format recognises a file by its content and reads it into a Case.
package format

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// HeadSize is how many bytes of a file a Sniff sees, at most.
const HeadSize = 64 << 10

// Format reads one kind of file.
type Format struct {
	Name  string // "gocore"
	Doc   string // one line for the list of formats
	Gives evidence.Kinds
	// Sniff reports whether head, the first bytes of the unpacked file, looks like this format. It looks at content only,
	// never at a name.
	Sniff func(head []byte) bool
	// Read reads the file into the Builder. It returns an error only when nothing useful could be read; what is missing
	// from a partial result is recorded as Gaps. The error is an *Error.
	Read func(ctx context.Context, in Input, to *evidence.Builder) error
}

// Input is one file, unpacked.
type Input struct {
	Path string   // as the user gave it: for messages
	File *os.File // the unpacked content; a temporary file when the input was compressed
	Size int64    // of the unpacked content
	Head []byte   // its first bytes

	Options Options
}

// Reader returns the content from its beginning.
func (in Input) Reader() io.Reader { return io.NewSectionReader(in.File, 0, in.Size) }

// Options are the wishes of the user that concern readers.
type Options struct {
	Executable string   // --exe: the executable of a core
	Sysroot    string   // --sysroot: where the mapped files of the process lie on this machine
	DebugDirs  []string // --debug-dir: folders with separate debug information
	MaxMemory  int64    // --max-memory in bytes; 0 is the default of each reader
	Variables  Variables
	Reach      Reach
	Why        []int64  // goroutines of which evidence.Path is wanted
	Jobs       int      // --jobs: how many processors to use; 0 is all
	Stdin      *os.File // what the path "-" is read from; nil: it is a path like any other
	Progress   func(doing string, done, total int64)
}

// Variables says of which goroutines a reader is to give arguments and local variables. Loading them costs some tenths of a
// second, and as much memory as the debug information of the program.
type Variables uint8

// The choices.
const (
	VariablesOfCrash  Variables = iota // of the goroutine on which the process died, if one did
	VariablesOfGroups                  // of one goroutine of each distinct stack as well
	VariablesNone
)

// Reach says how far a reader walks the heap.
type Reach uint8

// The choices.
const (
	ReachCase  Reach = iota // as ReachProof, but not of a very large process; and the heap is counted (evidence.HeapUse) where memory is the question
	ReachProof              // as far as it takes to prove which goroutines can never wake
	ReachNone               // nor is it searched who could wake whom
	ReachHeap               // the heap is counted, and nothing is proved
)

// What readers tell Progress that they are doing.
const (
	ReadingGoroutines = "reading goroutines"
	IndexingHeap      = "indexing the heap"
	MarkingHeap       = "marking the heap"
	CountingHeap      = "counting the heap"
)

// Report calls Progress when there is one.
func (o Options) Report(doing string, done, total int64) {
	if o.Progress != nil {
		o.Progress(doing, done, total)
	}
}

// Error is a file that could not be read: where, what was being done, why, and what the user can do.
type Error struct {
	Path   string
	Format string // empty when no format recognised the file
	Offset int64  // in the unpacked file; -1 when it does not matter
	Line   int    // 1-based, for text; 0 when it does not matter
	Doing  string // "reading the note segment"
	Err    error
	Help   string // what to do next; may be empty
}

// Error is one line: path, place, what was being done, cause, what to do.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Path)
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, ":%d", e.Line)
	case e.Offset > 0:
		fmt.Fprintf(&b, " at offset 0x%x", e.Offset)
	}
	if e.Doing != "" {
		fmt.Fprintf(&b, ": %s", e.Doing)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Help != "" {
		fmt.Fprintf(&b, "; %s", e.Help)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
