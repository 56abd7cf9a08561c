package godump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

const name = "godump"

// Format reads goroutine dumps in text.
var Format = format.Format{
	Name: name,
	Doc:  "goroutine dump of a Go process: crash, panic, fatal error or SIGQUIT, alone or in a log",
	Gives: evidence.KindGoroutines | evidence.KindThreads | evidence.KindSyncs | evidence.KindTransfers |
		evidence.KindDeath,
	Sniff: Sniff,
	Read:  Read,
}

// Sniff reports whether head is text that holds the header of a goroutine, or a fatal error of the runtime that is printed
// without one.
func Sniff(head []byte) bool {
	if evidence.IsText(head) || bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	found, _ := find(context.Background(), bytes.NewReader(head))
	return found
}

// Find reports whether a text holds a goroutine dump anywhere, for logs whose dump begins later than the head that Sniff
// sees. It reads until it has found one: a log without a dump is read to its end, at the speed of a line scan.
func Find(ctx context.Context, r io.Reader) (bool, error) { return find(ctx, r) }

func find(ctx context.Context, r io.Reader) (bool, error) {
	w := newWalker(&stoppable{ctx, r})
	for {
		ev, _, ok := w.next()
		if !ok {
			w.drop()
			return w.lone != nil, w.lines.failure()
		}
		if ev == evHeader {
			return true, nil
		}
	}
}

// stoppable is a reader that fails when its context is cancelled.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

// Read reads on, or gives the error of the context.
func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", err)
	}
	return s.r.Read(p)
}

var errNoDump = errors.New("no goroutine dump in this text")

// Read reads the dump of a text into the Builder: of several, the last that was printed by a dying process, or else the
// largest. Errors are of type *format.Error.
func Read(ctx context.Context, in format.Input, to *evidence.Builder) error {
	found, err := indexText(&stoppable{ctx, in.Reader()}, in.Size, in.Options)
	if err == nil && found.count == 0 {
		return &format.Error{Path: in.Path, Format: name, Offset: -1, Doing: "looking for a goroutine dump", Err: errNoDump,
			Help: "a dump has lines such as \"goroutine 1 [running]:\" at the beginning of a line; " +
				"lines with a prefix, as CI and journald write them, are not read yet"}
	}
	if err != nil && (found.count == 0 || ctx.Err() != nil) {
		return &format.Error{Path: in.Path, Format: name, Offset: -1, Doing: "reading the text", Err: err}
	}
	f := newFiller(to, in, found)
	if err := f.fill(ctx); err != nil {
		return &format.Error{Path: in.Path, Format: name, Offset: found.best.start, Line: found.best.line,
			Doing: "reading the goroutine dump", Err: err}
	}
	return nil
}
