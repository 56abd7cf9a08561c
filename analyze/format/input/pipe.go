package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/unpack"
)

// stdinName is what standard input is called in messages and reports.
const stdinName = "standard input"

// stdinPaths are the paths that mean standard input (proc(5), and fd(4) of the BSDs).
var stdinPaths = []string{"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}

// IsStdin reports whether a path means standard input. Whether that can be read depends on format.Options.Stdin.
func IsStdin(path string) bool { return slices.Contains(stdinPaths, filepath.ToSlash(path)) }

// openStdin gives the content of standard input: in place when a file was redirected to it, and else as of a pipe.
func openStdin(ctx context.Context, in *os.File, limits unpack.Limits, opt format.Options) (*unpack.File, error) {
	refuse := func(err error) error {
		return &format.Error{Path: stdinName, Offset: -1, Doing: "opening it", Err: err,
			Help: "pipe a file into it: zcat core.gz | postmortem -"}
	}
	info, err := in.Stat()
	if err != nil {
		return nil, refuse(bare(err))
	}
	switch mode := info.Mode(); {
	case mode.IsRegular() && atBeginning(in):
		if err := checkKind(stdinName, info); err != nil {
			return nil, err
		}
		return unpack.OpenFile(ctx, stdinName, in, limits)
	case mode.IsRegular(), mode&(os.ModeNamedPipe|os.ModeSocket) != 0:
	case mode.IsDir():
		return nil, refuse(errors.New("it is a folder"))
	case mode&os.ModeCharDevice != 0:
		return nil, refuse(errors.New("it is a terminal or another device, and no pipe"))
	default:
		return nil, refuse(fmt.Errorf("neither a file nor a pipe (%v)", mode.Type()))
	}
	limits.Progress = spooling(stdinName, opt)
	return unpack.Spool(ctx, stdinName, in, limits)
}

// atBeginning reports whether nothing has been read of a file yet. What somebody has read before us is not ours.
func atBeginning(f *os.File) bool {
	at, err := f.Seek(0, io.SeekCurrent)
	return err == nil && at == 0
}

// spooling tells how much has come through a pipe.
func spooling(name string, opt format.Options) func(done, total int64) {
	return func(done, total int64) { opt.Report("reading "+name, done, total) }
}

// openPipe opens a named pipe. That blocks until somebody opens its other end for writing, and cannot be interrupted: when ctx ends, the
// goroutine that waits stays behind.
func openPipe(ctx context.Context, path string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result)
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		f, err := os.Open(path)
		select {
		case opened <- result{f, err}:
		case <-gone:
			if err == nil {
				f.Close() //nolint:errcheck // read only
			}
		}
	}()
	select {
	case got := <-opened:
		if got.err != nil {
			return nil, &format.Error{Path: path, Offset: -1, Doing: "opening it", Err: bare(got.err), Help: helpFor(got.err)}
		}
		return got.f, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a writer of %s: %w", path, ctx.Err())
	}
}
