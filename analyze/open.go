package analyze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/input"
)

// Open reads the files of one incident into one Case. Files are told apart by content, never by name, and may be compressed.
// They are read in the order of [Formats], cores first, whatever the order of the paths: the first source of a fact has the
// word, and a core knows more than a log.
//
// Errors are of type *format.Error, but for an empty list of paths and a cancelled context. What could be read only in part
// is no error: it is a Gap of the Case.
func Open(ctx context.Context, paths []string, opt format.Options) (*evidence.Case, error) {
	return opener{formats: Formats(), find: findInText}.open(ctx, paths, opt)
}

// opener is Open with its table, so that tests can bring their own readers.
type opener struct {
	formats []format.Format
	// find looks for a goroutine dump that begins after the part of a log that a Sniff sees. It returns nil when there is none.
	find func(ctx context.Context, in format.Input) (*format.Format, error)
}

// claimed is an open input with the format that will read it.
type claimed struct {
	in     *input.File
	format format.Format
	rank   int // place of the format in the table
}

var errNoPaths = errors.New("no file to read: name a core, a crash log, an execution trace or a .case file")

func (o opener) open(ctx context.Context, paths []string, opt format.Options) (*evidence.Case, error) {
	if len(paths) == 0 {
		return nil, errNoPaths
	}
	all, err := o.claimAll(ctx, paths, opt)
	defer closeAll(all)
	if err != nil {
		return nil, err
	}
	if err := checkTogether(all); err != nil {
		return nil, err
	}
	to := evidence.NewBuilder()
	for i, c := range all {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("stopped before reading %s: %w", c.in.Path, err)
		}
		to.Source(evidence.Source{Path: c.in.Source, Format: c.format.Name, Size: c.in.PackedSize, SHA256: c.in.SHA256})
		if gap := c.in.Missing; gap != nil {
			to.Gap(gap.What, gap.Why)
		}
		if i > 0 && all[i-1].format.Name == c.format.Name {
			to.Gap("changes between "+all[i-1].in.Path+" and "+c.in.Path,
				"both are of format "+c.format.Name+"; where they differ, the first one is shown")
		}
		if err := c.format.Read(ctx, c.in.Input, to); err != nil {
			return nil, readError(c, err)
		}
	}
	return to.Finish(), nil
}

// claimAll opens every file and finds its reader, and sorts them into reading order. The files opened so far are returned
// even with an error: the caller closes them.
func (o opener) claimAll(ctx context.Context, paths []string, opt format.Options) ([]claimed, error) {
	var all []claimed
	seen := map[string]bool{}
	for _, path := range paths {
		key := filepath.Clean(path)
		if opt.Stdin != nil && input.IsStdin(path) {
			key = "-"
		}
		if seen[key] {
			continue // naming a file twice must not count its goroutines twice
		}
		seen[key] = true
		in, err := input.Open(ctx, path, opt)
		if err != nil {
			return all, err
		}
		rank, f, err := o.claim(ctx, in.Input)
		all = append(all, claimed{in, f, rank})
		if err != nil {
			return all, withMissing(err, in.Missing)
		}
	}
	slices.SortStableFunc(all, func(a, b claimed) int { return cmp.Compare(a.rank, b.rank) })
	return all, nil
}

// withMissing says of an input that nobody recognises that its end is missing: there may have been more to recognise.
func withMissing(err error, missing *input.Gap) error {
	var told *format.Error
	if missing == nil || !errors.As(err, &told) {
		return err
	}
	also := *told
	also.Err = fmt.Errorf("%w, as far as it could be read: %s", told.Err, missing.Why)
	return &also
}

func closeAll(all []claimed) {
	for _, c := range all {
		c.in.Close() //nolint:errcheck // read only, and a temporary file that stays behind is not the user's concern
	}
}

// claim finds the one format that recognises the input.
func (o opener) claim(ctx context.Context, in format.Input) (int, format.Format, error) {
	var found []int
	for i, f := range o.formats {
		if f.Sniff(in.Head) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return found[0], o.formats[found[0]], nil
	case 0:
		return o.claimText(ctx, in)
	}
	return 0, format.Format{}, &format.Error{Path: in.Path, Offset: -1, Doing: "recognising the format",
		Err:  fmt.Errorf("both %s and %s claim it", o.formats[found[0]].Name, o.formats[found[1]].Name),
		Help: "this is a fault in postmortem: please report it with the first 64 KiB of the file"}
}

// claimText looks for a dump that begins late in a log, because a program may have logged for hours before it died.
func (o opener) claimText(ctx context.Context, in format.Input) (int, format.Format, error) {
	refused := refuse(in, o.formats)
	if o.find == nil || !looksLikeText(in.Head) {
		return 0, format.Format{}, refused
	}
	f, err := o.find(ctx, in)
	switch {
	case err != nil:
		return 0, format.Format{}, &format.Error{Path: in.Path, Offset: -1, Doing: "looking for a goroutine dump in the text", Err: err}
	case f == nil:
		return 0, format.Format{}, refused
	}
	return o.rankOf(f.Name), *f, nil
}

func (o opener) rankOf(name string) int {
	at := slices.IndexFunc(o.formats, func(f format.Format) bool { return f.Name == name })
	if at < 0 {
		return len(o.formats)
	}
	return at
}

// whole is what the evidence of a whole process gives, and a log does not.
const whole = evidence.KindThreads | evidence.KindScheduler

// checkTogether refuses two cores (or two saved Cases): they are of two processes or of two moments, and goroutine 7 of the one is
// not goroutine 7 of the other.
func checkTogether(all []claimed) error {
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.format.Name == b.format.Name && b.format.Gives.Has(whole) {
			return &format.Error{Path: b.in.Path, Format: b.format.Name, Offset: -1, Doing: "putting it together with " + a.in.Path,
				Err: errors.New("two of a kind do not make one incident"), Help: "diagnose them one at a time"}
		}
	}
	return nil
}

// readError makes sure that an error of a reader names the file.
func readError(c claimed, err error) error {
	var known *format.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	return &format.Error{Path: c.in.Path, Format: c.format.Name, Offset: -1, Doing: "reading it as " + c.format.Name, Err: err}
}
