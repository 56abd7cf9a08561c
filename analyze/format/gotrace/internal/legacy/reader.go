package legacy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// headerSize is that of the header "go 1.21 trace\x00\x00\x00".
const headerSize = 16

// defaultMemory is what reading may take when the user set no --max-memory.
const defaultMemory = 1536 << 20

// The formats that are read, by the version of Go that has brought them; between them nothing changed. 1.5 to 1.10 wrote others.
var known = []int{11, 19, 21}

// formatName is the reader's, of which this package is a part.
const formatName = "gotrace"

// newest is the last version of this family.
const newest = 21

// Version reports whether a file begins as an execution trace of this family, also one too old to be read, and of which Go 1.x.
func Version(head []byte) (int, bool) {
	var minor int
	if len(head) < headerSize {
		return 0, false
	}
	n, err := fmt.Sscanf(string(head[:headerSize]), "go 1.%d trace", &minor)
	rest := strings.TrimLeft(strings.TrimPrefix(string(head[:headerSize]), fmt.Sprintf("go 1.%d trace", minor)), "\x00")
	return minor, err == nil && n == 1 && rest == "" && minor > 0 && minor <= newest
}

// Stats is what was read.
type Stats struct {
	Version    int // 11, 19 or 21
	Events     uint64
	Start, End int64 // ns of the trace's clock: of the first and of the last event
	Rest       error // why the rest could not be read; nil when all was
}

// Reader reads one trace.
type Reader struct {
	in      format.Input
	version int
	survey  survey
	events  *trace.Reader
	stacks  stacks
	f       *fold.Folder
	gs      map[trace.GoID]*goroutine
	ps      map[trace.ProcID]*fold.P
	reasons map[string]fold.Reason
	stats   Stats
}

// goroutine is what is known of a live goroutine.
type goroutine struct {
	state trace.GoState
	fold  fold.G
}

// Open takes a trace into memory, of at most in.Options.MaxMemory bytes in all, or 1.5 GiB. Errors are of type *format.Error, or the
// context's.
func Open(ctx context.Context, in format.Input) (*Reader, error) {
	r := &Reader{in: in, gs: map[trace.GoID]*goroutine{}, ps: map[trace.ProcID]*fold.P{}, reasons: map[string]fold.Reason{},
		stacks: stacks{numbers: map[trace.Stack]fold.Stack{}, byText: map[string]fold.Stack{}, frames: [][]fold.Frame{nil}}}
	var err error
	if r.version, err = r.header(); err != nil {
		return nil, r.fail("reading its header", err)
	}
	r.stats.Version = r.version
	limit := in.Options.MaxMemory
	if limit <= 0 {
		limit = defaultMemory
	}
	r.survey, err = scan(ctx, r.body, in.Size-headerSize, limit)
	if err != nil {
		return nil, r.fail("looking through its events", err)
	}
	if r.events, err = r.load(ctx); err != nil {
		return nil, r.fail("putting its events in order", err)
	}
	return r, nil
}

var errOld = errors.New("traces older than those of Go 1.11 are not read")

func (r *Reader) header() (int, error) {
	v, ok := Version(r.in.Head)
	switch {
	case !ok:
		return 0, errors.New("no header of an execution trace of Go 1.21 or older")
	case v < known[0]:
		return 0, errOld
	case !slices.Contains(known, v):
		return 0, fmt.Errorf("format 1.%d is not known", v)
	}
	return v, nil
}

// body gives what follows the header.
func (r *Reader) body() io.Reader {
	return io.NewSectionReader(r.in.File, headerSize, max(r.in.Size-headerSize, 0))
}

// load puts the events in order. That cannot be interrupted: when ctx ends, it goes on in its goroutine, for nobody.
func (r *Reader) load(ctx context.Context) (*trace.Reader, error) {
	type result struct {
		events *trace.Reader
		err    error
	}
	done := make(chan result, 1)
	go func() {
		var got result
		got.err = guard(func() (err error) {
			got.events, err = trace.NewReader(r.in.Reader())
			return err
		})
		done <- got
	}()
	select {
	case got := <-done:
		return got.events, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errPanicked is what x/exp/trace does on some damaged traces.
var errPanicked = errors.New("the trace contradicts itself")

// guard calls into golang.org/x/exp/trace, whose panics on damaged input become errors.
func guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	return call()
}

// fail makes a *format.Error; a cancelled context stays what it is.
func (r *Reader) fail(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	offset := int64(-1)
	if r.survey.offset > 0 && r.events == nil && doing == "looking through its events" {
		offset = headerSize + r.survey.offset
	}
	e := &format.Error{Path: r.in.Path, Format: formatName, Offset: offset, Doing: doing, Err: err, Help: helpFor(err)}
	var large *tooLargeError
	if errors.As(err, &large) {
		e.Offset = -1
	}
	return e
}

// helpFor says what to do.
func helpFor(err error) string {
	var large *tooLargeError
	switch {
	case errors.As(err, &large):
		return fmt.Sprintf("raise it with --max-memory %dMiB, record a shorter trace, or record it with Go 1.22 or later, whose traces of any size are read",
			mib(large.need)+mib(large.need)/10)
	case errors.Is(err, errCut):
		return "record it again, and let the program call trace.Stop before it ends"
	case errors.Is(err, errOld):
		return "record it with Go 1.11 or later"
	case strings.Contains(err.Error(), "time stamps out of order"):
		return "the clocks of this machine's processors differ, which traces of Go 1.21 and older do not bear: record it again, with Go 1.22 or later"
	}
	return "copy it again, and see whether `go tool trace` reads it"
}

// Stacks has the frames of the stacks that the Folder is given.
func (r *Reader) Stacks() fold.Stacks { return &r.stacks }

// Read tells the trace to f. The error is the context's: where the events cannot be read on, Stats.Rest says why.
func (r *Reader) Read(ctx context.Context, f *fold.Folder) (Stats, error) {
	r.f = f
	const look = 1 << 14 // events between two looks at the context
	for n := uint64(0); ; n++ {
		if n%look == 0 {
			if err := ctx.Err(); err != nil {
				return r.stats, err
			}
			r.progress(n)
		}
		var ev trace.Event
		err := guard(func() (err error) { ev, err = r.events.ReadEvent(); return err })
		if errors.Is(err, io.EOF) {
			return r.stats, nil
		}
		if err == nil {
			err = guard(func() error { r.take(ev); return nil })
		}
		if err != nil {
			r.stats.Rest = err
			return r.stats, nil
		}
	}
}

// progress tells how many bytes of the file the events stand for that were told.
func (r *Reader) progress(told uint64) {
	done := float64(told) / float64(max(r.survey.events, 1))
	r.in.Options.Report("reading the trace", min(int64(done*float64(r.in.Size)), r.in.Size), r.in.Size)
}

// Live yields the goroutines that are alive when Read has returned, by their ids.
func (r *Reader) Live(yield func(*fold.G) bool) {
	for _, id := range slices.Sorted(maps.Keys(r.gs)) {
		if !yield(&r.gs[id].fold) {
			return
		}
	}
}
