package unpack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Limits are the bounds of unpacking; zero values mean the defaults.
type Limits struct {
	// MaxBytes is the largest unpacked size. The default is 64 GiB, together with a guard on the ratio; a size that
	// the user gave (--max-memory) is taken at its word, without that guard.
	MaxBytes int64
	// Dir is the folder of the temporary file; the default is that of the system.
	Dir string
	// Progress, when set, is called now and then with the packed bytes read and their total.
	// The total is 0 when it is not known.
	Progress func(done, total int64)
}

// The guard on the ratio, where the user set no limit. Measured: a core of gcore is mostly zeroes and packs 1:3,100 (zstd,
// 1.25 GB); its other pages pack 1:10. deflate cannot exceed 1:1,032, zstd and xz can.
const (
	defaultMaxBytes = 64 << 30
	dataGuardFrom   = 1 << 30 // bytes that are not holes
	dataGuardRatio  = 500
	sizeGuardFrom   = 8 << 30 // bytes, holes included
	sizeGuardRatio  = 5000
)

// Gap is what could not be unpacked, and why.
type Gap struct {
	What string
	Why  string
}

// Error is a failure to unpack: which file, at which offset of the packed bytes, what was being done, and why.
type Error struct {
	Path   string
	Offset int64 // -1 when no place is to blame
	Doing  string
	Err    error
}

// Error puts the parts into one line.
func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %s: %v", e.Path, e.Doing, e.Err)
	}
	return fmt.Sprintf("%s: offset %#x: %s: %v", e.Path, e.Offset, e.Doing, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// TooLargeError says that the unpacked size or the ratio exceeds the limit.
type TooLargeError struct {
	Unpacked, Packed int64 // bytes so far
	Limit            int64 // of the size in bytes; 0 when the ratio was the reason
}

// Error names the ratio and what to do.
func (e *TooLargeError) Error() string {
	ratio := e.Unpacked / max(e.Packed, 1)
	if e.Limit > 0 && e.Unpacked == e.Packed {
		return fmt.Sprintf("refused: more than %d bytes came; raise the limit with --max-memory", e.Limit)
	}
	if e.Limit > 0 {
		return fmt.Sprintf("refused: it unpacks to more than %d bytes (1:%d so far); raise the limit with --max-memory", e.Limit, ratio)
	}
	return fmt.Sprintf("refused: 1:%d, %d bytes from %d so far, as a decompression bomb would; raise with --max-memory", ratio, e.Unpacked, e.Packed)
}

// File is an unpacked file, or the file itself when it was not compressed.
type File struct {
	*os.File        // opened for reading, at its beginning
	Path     string // as given to Open
	Kind     Kind
	Size     int64  // of the unpacked content
	Packed   int64  // bytes of the file at Path, or that came through the pipe
	Gap      *Gap   // set when the end of the packed file was missing or damaged
	SHA256   string // of what came through a pipe, which can be read only once; empty for files, and when not all of it was read

	remove string // path to remove on Close, where an open file cannot be removed
	lent   bool   // Close leaves it open: it is the caller's
}

// Close closes the file and removes what was unpacked.
func (f *File) Close() error {
	if f.lent {
		return nil
	}
	err := f.File.Close()
	if f.remove != "" {
		if rmErr := os.Remove(f.remove); err == nil {
			err = rmErr
		}
	}
	if err != nil {
		return &Error{Path: f.Path, Offset: -1, Doing: "closing the unpacked file", Err: err}
	}
	return nil
}

// Open opens the file at path and unpacks it if it is compressed. When the packed bytes end early or are damaged
// after some of them were unpacked, the File holds what there is and a Gap. The error is an *Error; it wraps a
// *TooLargeError, a cause of ctx, or what the decoder says about input of which nothing could be unpacked.
func Open(ctx context.Context, path string, limits Limits) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &Error{Path: path, Offset: -1, Doing: "opening", Err: err}
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{Path: path, Offset: -1, Doing: "opening", Err: fmt.Errorf("not a regular file: %v", info.Mode().Type())}
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, &Error{Path: path, Offset: -1, Doing: "opening", Err: err}
	}
	f, err := OpenFile(ctx, path, in, limits)
	if err != nil || f.File != in {
		_ = in.Close() // opened for reading
	} else {
		f.lent = false
	}
	return f, err
}

// OpenFile is Open for a regular file that is open already, whatever the place that it has been read to. It stays the caller's: Close
// of the File leaves it open.
func OpenFile(ctx context.Context, path string, in *os.File, limits Limits) (*File, error) {
	info, err := in.Stat()
	if err != nil {
		return nil, &Error{Path: path, Offset: -1, Doing: "opening", Err: err}
	}
	head := make([]byte, HeadSize)
	n, err := in.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &Error{Path: path, Offset: 0, Doing: "reading the first bytes", Err: err}
	}
	kind := Detect(head[:n])
	if kind == Plain {
		return &File{File: in, Path: path, Size: info.Size(), Packed: info.Size(), lent: true}, nil
	}
	u := &unpacker{path: path, kind: kind, total: info.Size(), limits: limits}
	return u.unpack(ctx, io.NewSectionReader(in, 0, info.Size()))
}

// unpacker unpacks one file.
type unpacker struct {
	path   string
	kind   Kind
	total  int64 // packed bytes; 0 when not known
	limits Limits
	in     counter
}

// counter counts the bytes that were read.
type counter struct {
	r io.Reader
	n int64
}

// Read reads and counts.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// fail makes an *Error at the place reached.
func (u *unpacker) fail(doing string, err error) error {
	return &Error{Path: u.path, Offset: u.in.n, Doing: doing, Err: err}
}

// unpack writes the content of in to a temporary file.
func (u *unpacker) unpack(ctx context.Context, in io.Reader) (*File, error) {
	u.in.r = in
	temp, err := os.CreateTemp(u.limits.Dir, "postmortem-*")
	if err != nil {
		return nil, u.fail("making a temporary file", err)
	}
	out := &File{File: temp, Path: u.path, Kind: u.kind, Packed: u.total}
	if err := os.Remove(temp.Name()); err != nil {
		out.remove = temp.Name() // Windows removes no open file
	}
	if err := u.fill(ctx, out); err != nil {
		_ = out.Close() // the first error is the one to tell
		return nil, err
	}
	return out, nil
}

// fill decodes into out.
func (u *unpacker) fill(ctx context.Context, out *File) error {
	doing := u.doing()
	decoder, done, err := open(u.kind, bufio.NewReaderSize(&u.in, 1<<17))
	if err != nil {
		return u.fail(doing, err)
	}
	defer done()
	sparse := &sparseFile{f: out.File}
	reason, err := u.copy(ctx, decoder, sparse)
	if err != nil {
		return u.fail(doing, err)
	}
	if err := sparse.finish(); err != nil {
		return u.fail(doing, err)
	}
	out.Size = sparse.size
	if reason != nil {
		if sparse.size == 0 {
			return u.fail(doing, reason)
		}
		out.Gap = &Gap{What: "the rest of " + u.path, Why: fmt.Sprintf("%s stopped at byte %s, after %d unpacked bytes: %v", doing, u.place(), sparse.size, reason)}
	}
	return nil
}

// doing says what is being done.
func (u *unpacker) doing() string {
	if u.kind == Plain {
		return "reading"
	}
	return "unpacking " + string(u.kind)
}

// place is how many packed bytes were read, and of how many when that is known.
func (u *unpacker) place() string {
	if u.total == 0 {
		return strconv.FormatInt(u.in.n, 10)
	}
	return fmt.Sprintf("%d of %d", u.in.n, u.total)
}

// open calls newDecoder and turns a panic on the first bytes into an error.
func open(kind Kind, r *bufio.Reader) (out io.Reader, done func(), err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the decoder failed on this input: %v", p)
		}
	}()
	decoder, done, err := newDecoder(kind, r)
	if err != nil {
		return nil, nil, err
	}
	return guarded{decoder}, done, nil
}

// copy moves the decoded bytes. The reason is why the decoder stopped early; the error is one that leaves nothing.
func (u *unpacker) copy(ctx context.Context, from io.Reader, to *sparseFile) (reason, err error) {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, readErr := fillBuffer(from, buf)
		if err := to.write(buf[:n]); err != nil {
			return nil, err
		}
		if err := u.check(to); err != nil {
			return nil, err
		}
		if u.limits.Progress != nil {
			u.progress()
		}
		if errors.Is(readErr, io.EOF) {
			return nil, nil
		}
		if readErr != nil {
			return readErr, ctx.Err() // a read that was stopped is no damage
		}
	}
}

// progress tells how many packed bytes were read.
func (u *unpacker) progress() {
	done := u.in.n
	if u.total > 0 {
		done = min(done, u.total)
	}
	u.limits.Progress(done, u.total)
}

// fillBuffer reads until buf is full, and gives the reader's own error: io.ReadFull's would not tell a stream that is
// cut off from one whose last block is short.
func fillBuffer(r io.Reader, buf []byte) (int, error) {
	n := 0
	for empty := 0; n < len(buf); {
		k, err := r.Read(buf[n:])
		n += k
		if err != nil {
			return n, err
		}
		if empty++; k > 0 {
			empty = 0
		} else if empty == maxEmptyReads {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// maxEmptyReads is how often a decoder may give nothing without an error, as in bufio.
const maxEmptyReads = 100

// check holds the limits.
func (u *unpacker) check(to *sparseFile) error {
	limit := u.limits.MaxBytes
	if limit > 0 {
		if to.size > limit {
			return &TooLargeError{Unpacked: to.size, Packed: u.in.n, Limit: limit}
		}
		return nil
	}
	switch {
	case to.size > defaultMaxBytes:
		return &TooLargeError{Unpacked: to.size, Packed: u.in.n, Limit: defaultMaxBytes}
	case to.written > dataGuardFrom && to.written > dataGuardRatio*u.in.n,
		to.size > sizeGuardFrom && to.size > sizeGuardRatio*u.in.n:
		return &TooLargeError{Unpacked: to.size, Packed: u.in.n}
	}
	return nil
}

// NewReader gives the unpacked bytes of r, for input that is read once from front to back, such as text. Reading
// fails with a *TooLargeError beyond limits.MaxBytes (default 64 GiB). Close frees the decoder, and not r.
func NewReader(r io.Reader, limits Limits) (io.ReadCloser, Kind, error) {
	if limits.MaxBytes <= 0 {
		limits.MaxBytes = defaultMaxBytes
	}
	in := &counter{r: r}
	buffered := bufio.NewReaderSize(in, 1<<16)
	head, err := buffered.Peek(HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, Plain, fmt.Errorf("reading the first bytes: %w", err)
	}
	kind := Detect(head)
	decoder, done, err := open(kind, buffered)
	if err != nil {
		return nil, kind, fmt.Errorf("unpacking %s: %w", kind, err)
	}
	return &stream{r: decoder, done: done, in: in, limit: limits.MaxBytes}, kind, nil
}

// stream counts and limits what comes out of a decoder.
type stream struct {
	r     io.Reader
	done  func()
	in    *counter
	out   int64
	limit int64
}

// Read reads decoded bytes.
func (s *stream) Read(p []byte) (int, error) {
	if s.out > s.limit {
		return 0, &TooLargeError{Unpacked: s.out, Packed: s.in.n, Limit: s.limit}
	}
	n, err := s.r.Read(p)
	s.out += int64(n)
	return n, err
}

// Close frees the decoder.
func (s *stream) Close() error {
	s.done()
	return nil
}
