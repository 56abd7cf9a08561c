// Package gotrace reads execution traces: what runtime/trace, `go test -trace`, /debug/pprof/trace and flight recorders write.
//
// A trace is read once, in order, and folded into an evidence.Timeline as it is read; no event is kept. Memory grows with the goroutines
// that are alive and with the distinct stacks, not with the length of the trace.
package gotrace

import (
	"context"
	"errors"
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/legacy"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/order"
)

// Format reads execution traces of Go 1.11 to 1.26.
var Format = format.Format{
	Name:  name,
	Doc:   "Go execution traces (runtime/trace, go test -trace, flight recorder)",
	Gives: evidence.KindTimeline | evidence.KindGoroutines,
	Sniff: sniff,
	Read:  read,
}

func sniff(head []byte) bool {
	if _, ok := order.Version(head); ok {
		return true
	}
	if _, ok := legacy.Version(head); ok {
		return true
	}
	return order.Headless(head)
}

const (
	name         = "gotrace"
	readingTrace = "reading the trace"
)

func read(ctx context.Context, in format.Input, to *evidence.Builder) error {
	if _, ok := legacy.Version(in.Head); ok {
		return readLegacy(ctx, in, to)
	}
	r, err := order.Open(in.File, in.Size, order.Options{Jobs: in.Options.Jobs, Progress: func(done, total int64) {
		in.Options.Report(readingTrace, done, total)
	}})
	if err != nil {
		return &format.Error{Path: in.Path, Format: name, Offset: -1, Doing: readingTrace, Err: err}
	}
	f := fold.New(r.Stacks())
	stats, err := r.Read(ctx, f)
	if err != nil {
		return readError(in, err)
	}
	f.Lost(stats.Forced)
	line := f.Finish(stats.End, r.Live, to)
	line.Events, line.WallNS = stats.Events, stats.WallNS
	line.NoNames = stats.Partial > 0 || stats.Nameless > 0
	line.Form = form(stats.Version)
	to.Timeline(line)
	tellBuild(to)
	tellGaps(stats, to)
	return nil
}

// form is what the header of a trace says.
func form(version int) string {
	if version == 0 {
		return "go trace without its header"
	}
	return fmt.Sprintf("go 1.%d trace", version)
}

func readError(in format.Input, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	help := ""
	if errors.Is(err, order.ErrEmpty) {
		help = "the program was killed before its first second of tracing was written, or the file was cut; stop the trace before the program ends"
	}
	return &format.Error{Path: in.Path, Format: name, Offset: -1, Doing: readingTrace, Err: err, Help: help}
}
