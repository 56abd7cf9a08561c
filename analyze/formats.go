package analyze

import (
	"context"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/casefile"
	"github.com/gopostmortem/postmortem/analyze/format/gocore"
	"github.com/gopostmortem/postmortem/analyze/format/godump"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace"
)

// Formats is the table of readers, in the order in which they read: what knows most comes first. The slice is the caller's
// own.
func Formats() []format.Format {
	return []format.Format{
		gocore.Format,
		casefile.Format,
		godump.Format,
		gotrace.Format,
	}
}

// findInText finds a goroutine dump that begins late in a log.
func findInText(ctx context.Context, in format.Input) (*format.Format, error) {
	found, err := godump.Find(ctx, in.Reader())
	if err != nil || !found {
		return nil, err
	}
	f := godump.Format
	return &f, nil
}
