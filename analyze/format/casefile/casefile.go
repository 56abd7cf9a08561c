// Package casefile reads the text form of a Case, as `postmortem save` writes it.
package casefile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

const name = "case"

// Format reads .case files. The form is described in package evidence, file text.go.
var Format = format.Format{
	Name: name,
	Doc:  "saved evidence, as `postmortem save` writes it (.case)",
	Gives: evidence.KindGoroutines | evidence.KindThreads | evidence.KindSyncs | evidence.KindHolds | evidence.KindTransfers |
		evidence.KindScheduler | evidence.KindHeap | evidence.KindDeath,
	Sniff: evidence.IsText,
	Read:  Read,
}

// Read reads a .case file into the Builder. Errors are of type *format.Error and name the line.
func Read(ctx context.Context, in format.Input, to *evidence.Builder) error {
	err := evidence.ReadText(&progress{ctx: ctx, in: in, r: in.Reader()}, to)
	if err == nil {
		return nil
	}
	fault := &format.Error{Path: in.Path, Format: name, Offset: -1, Doing: "reading saved evidence", Err: err}
	var text *evidence.TextError
	if errors.As(err, &text) {
		fault.Line, fault.Err = text.Line, fmt.Errorf("%s: %w", text.Doing, text.Err)
	}
	if !errors.Is(err, context.Canceled) {
		fault.Help = "write the file again with `postmortem save`, or correct the line"
	}
	return fault
}

// progress reports how far the file was read, and stops when the context is cancelled.
type progress struct {
	ctx  context.Context
	in   format.Input
	r    io.Reader
	done int64
}

// Read reads the next piece of the file.
func (p *progress) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", err)
	}
	n, err := p.r.Read(b)
	p.done += int64(n)
	p.in.Options.Report("reading saved evidence", p.done, p.in.Size)
	return n, err
}
