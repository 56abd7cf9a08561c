package legacy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The types of events that matter to the scan (src/runtime/trace.go, Go 1.21).
const (
	evBatch      = 1
	evFrequency  = 2
	evStack      = 3
	evGomaxprocs = 4
	evGoCreate   = 13
	evGoSysBlock = 30
	evString     = 37
	evUserTask   = 45
	evUserLog    = 48
	evCount      = 50
)

// Memory that the reader takes, in bytes. Origins: the sizes of the types of internal/tracev1 and internal/trace on 64 bits, and what was
// measured on real traces (TestMemory), where the sum comes out too high by a tenth to a half.
const (
	bytesOfInput  = 6   // for each byte of the file: the buffer that grows, and its predecessors, which the collector may leave for long
	bytesOfEvent  = 64  // tracev1.Event; twice for the longest batch of each P, which is held while it is merged
	bytesOfPC     = 8   // of each frame of a stack
	bytesOfFrame  = 250 // of each distinct one: an entry in each of two maps
	bytesOfStack  = 150 // entries in a map and in a table
	bytesOfString = 150 // the same, without the text
	bytesOfG      = 250 // of each goroutine created: states in three maps
	bytesFixed    = 40 << 20
	usual         = 25 // all in all, for each byte of a trace
)

// Bounds of what is given to the reader.
const (
	// maxProcs bounds the Ps, of each of which the reader tries the next event again and again, and for which it looks ahead from each
	// system call: its work is at most the number of events by this. Machines have some hundreds of processors.
	maxProcs = 4096
	// maxRow bounds how many events may follow each other of which the reader tells nothing: goroutines that were there at the beginning,
	// and neither waited nor ran. It calls itself for each, some hundred bytes of stack deep, and no program survives a stack of 1 GB.
	maxRow  = 1 << 16
	maxArgs = 2048    // bytes of arguments, as in the reader
	maxPCs  = 1 << 20 // program counters that are told apart; large programs have some hundred thousand in a trace
)

// Why a trace is not read. They become a *format.Error.
var (
	errCut        = errors.New("it is cut off: traces of Go 1.21 and older end with the clock's frequency, which is missing")
	errManyProcs  = fmt.Errorf("it has events of more than %d processors", maxProcs)
	errManyReady  = fmt.Errorf("more than %d goroutines were ready at its beginning", maxRow)
	errNoEvents   = errors.New("there is no event in it")
	errBadEvent   = errors.New("an event of unknown type")
	errBadVarint  = errors.New("a number that does not end")
	errLongEvent  = fmt.Errorf("an event with more than %d bytes of arguments", maxArgs)
	errHeadOfFile = errors.New("events before the first batch")
)

// tooLargeError says how much memory a trace would take.
type tooLargeError struct{ need, limit int64 }

// Error gives both figures.
func (e *tooLargeError) Error() string {
	return fmt.Sprintf("traces of Go 1.21 and older are read into memory whole: this one would take about %d MiB, and %d MiB are allowed",
		mib(e.need), mib(e.limit))
}

// mib rounds up.
func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// survey is what a scan finds.
type survey struct {
	events  int64
	procs   int   // GOMAXPROCS at the beginning; 0 when not told
	need    int64 // bytes of memory
	starts  int64 // ticks of the first evGomaxprocs, which ends what was there at the beginning
	hasFreq bool
	row     int64 // most untold events that can follow each other, at most
	offset  int64 // of the first byte behind the last whole event
	batches int64
}

// proc is what is counted for each P: events of one P stay in their order, those of several are merged.
type proc struct {
	batch, longest int64 // events of the batch so far, and of the longest one
	row, most      int64 // untold events that have just followed each other, and the most
}

// scanner walks the raw events of a trace.
type scanner struct {
	in    *bufio.Reader
	at    int64 // bytes read
	size  int64
	s     survey
	p     *proc // of the batch
	procs map[uint64]*proc
	pcs   map[uint64]struct{}
	time  uint64 // ticks
	args  [8]uint64
	buf   [maxArgs]byte
	until uint64 // second pass: creations until this time are counted; MaxUint64 in the first
}

// scan looks at every event once, and a second time where so many goroutines are created in a row that it matters when.
func scan(ctx context.Context, open func() io.Reader, size, limit int64) (survey, error) {
	if size > limit/bytesOfInput { // there is no need to look
		return survey{}, &tooLargeError{need: size * usual, limit: limit}
	}
	z := &scanner{size: size, until: math.MaxUint64}
	if err := z.walk(ctx, open()); err != nil {
		return z.s, err
	}
	switch {
	case z.s.need > limit:
		return z.s, &tooLargeError{need: z.s.need, limit: limit}
	case z.s.events == 0:
		return z.s, errNoEvents
	case !z.s.hasFreq:
		return z.s, errCut
	case z.s.row > maxRow:
		again := &scanner{size: size, until: uint64(z.s.starts)}
		if z.s.starts == 0 {
			again.until = math.MaxUint64
		}
		if err := again.walk(ctx, open()); err != nil {
			return z.s, err
		}
		if again.s.row > maxRow {
			return z.s, errManyReady
		}
	}
	return z.s, nil
}

func (z *scanner) walk(ctx context.Context, r io.Reader) error {
	z.in = bufio.NewReaderSize(r, 1<<16)
	z.procs, z.pcs = map[uint64]*proc{}, map[uint64]struct{}{}
	z.s.need = bytesFixed + bytesOfInput*z.size
	for n := 0; ; n++ {
		if n%(1<<16) == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		z.s.offset = z.at
		b, err := z.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		z.at++
		if err := z.event(b); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errCut
			}
			return err
		}
	}
}

// event reads one event behind its first byte, which holds its type and the number of its arguments but one.
func (z *scanner) event(b byte) error {
	kind, args := b&0x3f, int(b>>6)+1
	switch {
	case kind == 0 || kind >= evCount:
		return errBadEvent
	case kind == evString:
		return z.str()
	case z.s.batches == 0 && kind != evBatch:
		return errHeadOfFile
	}
	z.s.need += bytesOfEvent
	z.s.events++
	n := args
	if kind == evBatch {
		n = 2 // the count of arguments says so too, in another way
	}
	if n > 3 {
		return z.long(kind)
	}
	for i := range n {
		v, err := z.varint()
		if err != nil {
			return err
		}
		z.args[i] = v
	}
	return z.note(kind, n)
}

// long reads an event whose arguments begin with their length in bytes.
func (z *scanner) long(kind byte) error {
	size, err := z.varint()
	if err != nil {
		return err
	}
	if size > maxArgs {
		return errLongEvent
	}
	data := z.buf[:size]
	n, err := io.ReadFull(z.in, data)
	z.at += int64(n)
	if err != nil {
		return err
	}
	count, rest := 0, data
	for len(rest) > 0 && (count < len(z.args) || kind == evStack) {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return errBadVarint
		}
		if count < len(z.args) {
			z.args[count] = v
		}
		if kind == evStack && count >= 2 {
			z.frame(count-2, v)
		}
		rest = rest[n:]
		count++
	}
	if kind == evUserLog {
		if err := z.text(); err != nil {
			return err
		}
	}
	return z.note(kind, min(count, len(z.args)))
}

// frame counts a number of a stack: each frame is a pc, a function, a file and a line.
func (z *scanner) frame(i int, v uint64) {
	if i%4 != 0 {
		return
	}
	z.s.need += bytesOfPC
	if _, known := z.pcs[v]; !known {
		if len(z.pcs) < maxPCs {
			z.pcs[v] = struct{}{}
		}
		z.s.need += bytesOfFrame
	}
}

// note takes in what an event says, given its first n arguments.
func (z *scanner) note(kind byte, n int) error {
	switch kind {
	case evBatch:
		z.s.batches++
		z.time = z.args[1]
		if z.p = z.procs[z.args[0]]; z.p == nil {
			z.p = &proc{}
			z.procs[z.args[0]] = z.p
		}
		z.p.batch = 0
		if len(z.procs) > maxProcs {
			return errManyProcs
		}
		return nil
	case evFrequency:
		z.s.hasFreq = true
		return nil
	case evStack:
		z.s.need += bytesOfStack
		return nil
	}
	if n == 0 {
		return nil
	}
	z.time += z.args[0]
	if z.p.batch++; z.p.batch > z.p.longest {
		z.p.longest = z.p.batch
		z.s.need += bytesOfEvent
	}
	z.count(kind)
	switch kind {
	case evGomaxprocs:
		z.first(n)
	case evGoCreate, evUserTask:
		z.s.need += bytesOfG
	}
	return nil
}

// count notes how many events follow each other of which the reader may tell nothing.
func (z *scanner) count(kind byte) {
	untold := kind == evGoCreate && z.time <= z.until || kind == evGoSysBlock || kind == evGomaxprocs
	if !untold {
		z.p.row = 0
		return
	}
	if z.p.row++; z.p.row > z.p.most {
		z.p.most = z.p.row
		z.s.row++
	}
}

// first notes the earliest event that tells GOMAXPROCS.
func (z *scanner) first(n int) {
	at := int64(z.time & math.MaxInt64)
	if z.s.starts != 0 && at >= z.s.starts || n < 2 {
		return
	}
	z.s.starts = at
	z.s.procs = int(min(z.args[1], maxProcs))
}

// str reads an entry of the dictionary: its number and its text.
func (z *scanner) str() error {
	if _, err := z.varint(); err != nil {
		return err
	}
	return z.text()
}

// text skips a length and so many bytes.
func (z *scanner) text() error {
	size, err := z.varint()
	if err != nil {
		return err
	}
	z.s.need += bytesOfString
	if size > uint64(z.size) {
		return io.ErrUnexpectedEOF
	}
	n, err := z.in.Discard(int(size))
	z.at += int64(n)
	return err
}

func (z *scanner) varint() (uint64, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		b, err := z.in.ReadByte()
		if err != nil {
			return 0, err
		}
		z.at++
		if shift >= 63 && b > 1 || shift > 63 {
			return 0, errBadVarint
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
}
