package elfcore

import (
	"errors"
	"fmt"
)

// Reasons for which a file is refused as a core or as an image. They are wrapped in an *Error.
var (
	// ErrNotELF says that the file does not begin with the ELF magic.
	ErrNotELF = errors.New("not an ELF file")
	// ErrEmpty says that the file has no bytes.
	ErrEmpty = errors.New("the file is empty")
	// ErrNotCore says that the file is ELF, but an executable, a library or an object.
	ErrNotCore = errors.New("not a core")
	// ErrUnsupported says that the class, byte order or machine is not one that is read here.
	ErrUnsupported = errors.New("unsupported ELF flavour")
	// ErrTruncated says that the file ends before the headers that describe it.
	ErrTruncated = errors.New("the file is cut off")
	// ErrNotImage says that the file is ELF, but neither an executable nor a shared library.
	ErrNotImage = errors.New("not an executable or shared library")
	// ErrAbsent says that at least one byte of a range is in no file.
	ErrAbsent = errors.New("memory is not in the core")
)

// Error is a failure to read a file: which file, where in it, what was being done, and why.
type Error struct {
	Path   string
	Offset int64 // byte offset in the file, or -1 when no one place is to blame
	Doing  string
	Err    error
}

// Error puts the four parts into one line.
func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %s: %v", e.Path, e.Doing, e.Err)
	}
	return fmt.Sprintf("%s: offset %#x: %s: %v", e.Path, e.Offset, e.Doing, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Gap is something that could not be read, and the reason. Reports print gaps.
type Gap struct {
	What string // the thing that is missing, as a noun phrase: "notes", "memory of 3 segments"
	Why  string // the cause, with offsets and sizes
}

// String gives "what: why".
func (g Gap) String() string { return g.What + ": " + g.Why }
