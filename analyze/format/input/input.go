// Package input opens the files that readers read: it refuses what cannot be one, unpacks what is compressed, and reads the
// first bytes.
//
// It is a room of its own, and not part of the facade, because unpacking is internal to the readers' wing and the facade
// stands outside of it; see docs/adr/0001-input-room.md.
package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/unpack"
)

// File is an open input. Close it when its reader is done.
type File struct {
	format.Input
	PackedSize int64  // of the file as the user gave it, in bytes
	Packing    string // "gzip", "zstd", "lz4" or "xz"; empty when it was not compressed
	Missing    *Gap   // what could not be unpacked; nil when nothing is missing
	SHA256     string // of what came through a pipe, hex; empty for files, which can be read again
	Source     string // the path to name it by in a command: Path, or "-"

	unpacked *unpack.File
}

// Gap is the part of a packed file that could not be unpacked, and why.
type Gap struct{ What, Why string }

// Close closes the file and removes what was unpacked.
func (f *File) Close() error { return f.unpacked.Close() }

// Open opens the file at path. It is unpacked when its first bytes say that it is compressed: into a temporary file that has no
// name, of at most opt.MaxMemory bytes when that is set. What comes through a pipe goes to such a file as well, so that every format
// can be piped. The path "-" is opt.Stdin. Errors are of type *format.Error, but for a cancelled context.
func Open(ctx context.Context, path string, opt format.Options) (*File, error) {
	u, name, err := open(ctx, path, opt)
	if err != nil {
		return nil, openError(name, err)
	}
	f := &File{Input: format.Input{Path: name, File: u.File, Size: u.Size, Options: opt}, PackedSize: u.Packed,
		Packing: string(u.Kind), SHA256: u.SHA256, Source: path, unpacked: u}
	if name != path {
		f.Source = "-"
	}
	if u.Gap != nil {
		f.Missing = &Gap{u.Gap.What, u.Gap.Why}
	}
	if err := f.readHead(); err != nil {
		f.Close() //nolint:errcheck // the first error is the one to tell
		return nil, err
	}
	return f, nil
}

// open gives the content at path, and the name that it has in messages.
func open(ctx context.Context, path string, opt format.Options) (*unpack.File, string, error) {
	limits := unpack.Limits{MaxBytes: opt.MaxMemory, Progress: func(done, total int64) { opt.Report("unpacking", done, total) }}
	if opt.Stdin != nil && IsStdin(path) {
		u, err := openStdin(ctx, opt.Stdin, limits, opt)
		return u, stdinName, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, path, &format.Error{Path: path, Offset: -1, Doing: "opening it", Err: bare(err), Help: "check the path; `postmortem --help` lists the commands"}
	}
	if err := checkKind(path, info); err != nil {
		return nil, path, err
	}
	if info.Mode().IsRegular() {
		u, err := unpack.Open(ctx, path, limits)
		return u, path, err
	}
	pipe, err := openPipe(ctx, path)
	if err != nil {
		return nil, path, err
	}
	defer pipe.Close() //nolint:errcheck // read only
	limits.Progress = spooling(path, opt)
	u, err := unpack.Spool(ctx, path, pipe, limits)
	return u, path, err
}

// openError gives an error of unpack the form of all errors of readers. A cancelled context stays what it is.
func openError(path string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var told *format.Error
	if errors.As(err, &told) {
		return told
	}
	var u *unpack.Error
	if !errors.As(err, &u) {
		return &format.Error{Path: path, Offset: -1, Doing: "opening it", Err: err}
	}
	return &format.Error{Path: path, Offset: u.Offset, Doing: u.Doing, Err: bare(u.Err), Help: helpFor(u.Err)}
}

// helpFor says what to do about damage; limits and permissions say it themselves.
func helpFor(err error) string {
	var large *unpack.TooLargeError
	switch {
	case errors.As(err, &large), errors.Is(err, unpack.ErrWindow):
		return ""
	case errors.Is(err, unpack.ErrNothing):
		return "the command that was to write into it may have failed"
	case errors.Is(err, fs.ErrPermission):
		return "make it readable for you, or use sudo"
	}
	return "copy it again, and test it with the tool that packed it"
}

// bare drops the path from an error whose message names it already.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// checkKind refuses what has no content to look at.
func checkKind(path string, info os.FileInfo) error {
	refuse := func(err error, help string) error {
		return &format.Error{Path: path, Offset: -1, Doing: "opening it", Err: err, Help: help}
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return refuse(errors.New("it is a folder"), "name the core or log inside it")
	case mode&os.ModeNamedPipe != 0:
		return nil
	case !mode.IsRegular():
		return refuse(fmt.Errorf("neither a regular file nor a pipe (%v)", mode.Type()), "copy its content to a file first")
	case info.Size() == 0:
		return refuse(errors.New("the file is empty"), "an empty core means that the limit (ulimit -c) or the disk was full when it was written")
	}
	return nil
}

func (f *File) readHead() error {
	head := make([]byte, min(f.Size, format.HeadSize))
	n, err := f.File.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return &format.Error{Path: f.Path, Offset: -1, Doing: "reading its first bytes", Err: bare(err)}
	}
	if n == 0 {
		return &format.Error{Path: f.Path, Offset: -1, Doing: "reading its first bytes", Err: errors.New("nothing is packed in it")}
	}
	f.Head = head[:n]
	return nil
}
