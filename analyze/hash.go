package analyze

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

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
	wanted := map[string]bool{}
	for _, p := range paths {
		wanted[p] = true
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		if !wanted[s.Path] || s.SHA256 != "" {
			continue
		}
		sum, err := hashFile(ctx, s.Path, progress)
		if err != nil {
			return err
		}
		s.SHA256 = sum
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
