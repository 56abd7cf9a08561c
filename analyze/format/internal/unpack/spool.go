package unpack

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// ErrNothing says that a pipe was closed before a byte had come.
var ErrNothing = errors.New("nothing came through the pipe")

// Spool is Open for what can be read only once, such as a pipe: it is copied into a temporary file without a name, and unpacked on the
// way when it is compressed. The name is for messages. Limits hold as for files. A read that blocks ends when ctx does; r is then still
// being read from, and must not be used again.
func Spool(ctx context.Context, name string, r io.Reader, limits Limits) (*File, error) {
	sum := sha256.New()
	patient := &patientReader{ctx: ctx, r: r, buf: make([]byte, patientChunk)}
	in := bufio.NewReaderSize(io.TeeReader(patient, sum), patientChunk)
	head, err := in.Peek(HeadSize)
	switch {
	case len(head) > 0: // what stopped it comes again
	case err == nil || errors.Is(err, io.EOF):
		return nil, &Error{Path: name, Offset: -1, Doing: "reading", Err: ErrNothing}
	default:
		return nil, &Error{Path: name, Offset: 0, Doing: "reading the first bytes", Err: err}
	}
	u := &unpacker{path: name, kind: Detect(head), limits: limits}
	out, err := u.unpack(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := u.drain(out); err != nil {
		_ = out.Close() // the first error is the one to tell
		return nil, err
	}
	out.Packed = u.in.n
	if errors.Is(patient.end, io.EOF) {
		out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	return out, nil
}

// maxDrained bounds what is read behind damage, so that whoever writes into the pipe can end in peace.
const maxDrained = 1 << 30

// drain reads what the decoder has left in the pipe, for the sum and for the writer.
func (u *unpacker) drain(out *File) error {
	if _, err := io.CopyN(io.Discard, &u.in, maxDrained); err != nil && out.Gap == nil && !errors.Is(err, io.EOF) {
		return u.fail(u.doing(), err)
	}
	return nil
}

// patientChunk is how much is read at once: as much as a pipe of Linux holds, twice.
const patientChunk = 128 << 10

// patientReader reads from what may block for ever, and gives up when its context ends. The goroutine that blocks cannot be ended; it
// keeps its own buffer.
type patientReader struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte
	have []byte
	end  error // what the reader said last
}

// Read gives what has come.
func (p *patientReader) Read(into []byte) (int, error) {
	if len(p.have) == 0 && p.end == nil {
		p.fetch()
	}
	n := copy(into, p.have)
	p.have = p.have[n:]
	if len(p.have) == 0 {
		return n, p.end
	}
	return n, nil
}

// fetch reads once, in a goroutine of its own: a read of a terminal or of an inherited pipe cannot be interrupted.
func (p *patientReader) fetch() {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	buf := p.buf
	go func() {
		n, err := p.r.Read(buf)
		done <- result{n, err}
	}()
	select {
	case got := <-done:
		p.have, p.end = buf[:got.n], got.err
	case <-p.ctx.Done():
		p.end = fmt.Errorf("stopped: %w", p.ctx.Err())
		p.buf = nil
	}
}
