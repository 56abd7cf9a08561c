package gotrace

import (
	"context"
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/legacy"
)

// readLegacy reads a trace of Go 1.11 to 1.21.
func readLegacy(ctx context.Context, in format.Input, to *evidence.Builder) error {
	r, err := legacy.Open(ctx, in)
	if err != nil {
		return err
	}
	f := fold.New(r.Stacks())
	stats, err := r.Read(ctx, f)
	if err != nil {
		return err
	}
	line := f.Finish(stats.End, r.Live, to)
	line.Events, line.Form = stats.Events, form(stats.Version)
	to.Timeline(line)
	tellBuild(to)
	if stats.Rest != nil {
		to.Gap(fmt.Sprintf("the trace from its event %d on", stats.Events+1), stats.Rest.Error())
	}
	to.Gap("the durations of short system calls", "traces of Go 1.21 and older tell that a call was made, and how long it took only when the scheduler had to take the processor away")
	return nil
}
