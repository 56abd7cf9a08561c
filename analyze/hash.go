package analyze

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/input"
)

// hashChunk is how much is read between two looks at the context.
const hashChunk = 4 << 20

// Hash fills in the SHA-256 of those Sources of a Case that are files among paths; Open has that of pipes. It is not part of Open, because hashing a core
// of 3 GB costs more than diagnosing it: only outputs that print the sum ask for it. Call it before the Case is shared.
// Errors are of type *format.Error, or the context's.
func Hash(ctx context.Context, c *evidence.Case, paths []string, progress func(doing string, done, total int64)) error {
	return startHash(ctx, paths, progress).Into(c, nil)
}

// Sums are the SHA-256 of files, while they are computed.
type Sums struct {
	done     chan struct{}
	sums     map[string]hashed
	progress atomic.Pointer[progressFunc]
}

type progressFunc func(doing string, done, total int64)

// hashed is the sum of a file, or why there is none.
type hashed struct {
	sum string
	err error
}

// StartHash begins to compute the SHA-256 of files on a thread of its own, so that it goes on while they are read.
func StartHash(ctx context.Context, paths []string) *Sums { return startHash(ctx, paths, nil) }

func startHash(ctx context.Context, paths []string, progress progressFunc) *Sums {
	s := &Sums{done: make(chan struct{}), sums: map[string]hashed{}}
	s.tell(progress)
	go func() {
		defer close(s.done)
		for _, path := range paths {
			if _, known := s.sums[path]; !known {
				sum, err := hashFile(ctx, path, s.report)
				s.sums[path] = hashed{sum, err}
			}
		}
	}()
	return s
}

func (s *Sums) tell(progress progressFunc) {
	if progress != nil {
		s.progress.Store(&progress)
	}
}

// report tells the progress to who waits for it.
func (s *Sums) report(doing string, done, total int64) {
	if tell := s.progress.Load(); tell != nil {
		(*tell)(doing, done, total)
	}
}

// Into waits for the sums and fills them in as Hash does. From then on the progress is told, by another goroutine; it may be nil.
func (s *Sums) Into(c *evidence.Case, progress func(doing string, done, total int64)) error {
	s.tell(progress)
	<-s.done
	for i := range c.Sources {
		source := &c.Sources[i]
		h, wanted := s.sums[source.Path]
		if !wanted || source.SHA256 != "" {
			continue // what came through a pipe has its sum
		}
		if h.err != nil {
			return h.err
		}
		source.SHA256 = h.sum
	}
	return nil
}

func hashFile(ctx context.Context, path string, progress func(doing string, done, total int64)) (string, error) {
	const doing = "computing its SHA-256"
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && input.IsStdin(path) {
		return "", nil // what came through it is gone
	}
	if err != nil {
		return "", &format.Error{Path: path, Offset: -1, Doing: doing, Err: err}
	}
	if !info.Mode().IsRegular() {
		return "", nil // what came through a pipe is gone, and opening it may block
	}
	f, err := os.Open(path)
	if err != nil {
		return "", &format.Error{Path: path, Offset: -1, Doing: doing, Err: err}
	}
	defer f.Close() //nolint:errcheck // read only
	sum := sha256.New()
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := io.CopyN(sum, f, hashChunk)
		done += n
		if progress != nil {
			progress("hashing", done, info.Size())
		}
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return "", &format.Error{Path: path, Offset: done, Doing: doing, Err: err}
		}
	}
}
