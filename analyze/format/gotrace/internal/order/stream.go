package order

// Bounds of decoding as the events are needed.
const (
	wholeStreams = 48 // threads up to which batches are read whole; beyond, in pieces, because each thread has one in memory
	smallPiece   = 512
	pieceBudget  = 4 << 20 // bytes of the file in pieces, over all threads
	chunk        = 128     // events that are decoded at once: those of all threads stay in the processor's nearest cache
)

// stream is the events of one thread in one generation.
type stream struct {
	thread  *thread
	batches []int // of the generation
	next    int   // in batches
	events  []event
	pos     int
	time    int64 // of events[pos]

	// Where nobody decodes ahead: a piece of the present batch, as far as it is not decoded.
	piece  []byte
	room   []byte // that the piece lies in
	offset int    // of the piece in the data of the batch
	clock  int64  // time of the last event before it
}

// fill makes the next events available; false at the end of the stream.
func (s *stream) fill(r *Reader, w *work) bool {
	for s.next < len(s.batches) {
		if w.state != nil {
			result := r.decoder.get(w, s.batches[s.next], s.events)
			s.next++
			s.events, s.pos = result.events, 0
			r.stats.BadBytes += uint64(result.bad)
		} else {
			s.decode(r, w)
		}
		if len(s.events) > 0 {
			s.time = s.events[0].time
			return true
		}
	}
	return false
}

// decode decodes the next events of a batch.
func (s *stream) decode(r *Reader, w *work) {
	b := &w.batches[s.batches[s.next]]
	if s.offset == 0 && len(s.piece) == 0 {
		s.clock = w.tables.clock.ns(b.time)
	}
	if left := b.size - s.offset; len(s.piece) < min(maxEvent, left) {
		size := left
		if len(w.streams) > wholeStreams {
			size = min(left, max(pieceBudget/len(w.streams), smallPiece))
		}
		s.read(r, b, size)
	}
	if s.events == nil {
		s.events = make([]event, chunk)
	}
	n, used, clock := decode(s.events[:chunk], s.piece, s.clock, w.tables.clock)
	if used == 0 && len(s.piece) > 0 { // damage, or the end of a file: the whole rest of the batch is looked at
		s.read(r, b, b.size-s.offset)
		used = b.rest(s.piece)
		r.stats.BadBytes += uint64(used)
	}
	s.events, s.pos, s.clock = s.events[:n], 0, clock
	s.piece, s.offset = s.piece[used:], s.offset+used
	if s.offset >= b.size || used == 0 {
		s.piece, s.offset = nil, 0
		s.next++
	}
}

// read reads a piece at the present offset.
func (s *stream) read(r *Reader, b *batch, size int) {
	if cap(s.room) < size {
		s.room = make([]byte, size)
	}
	n, err := r.decoder.file.ReadAt(s.room[:size], b.off+int64(s.offset))
	if err != nil && n < size {
		r.decoder.fail(err)
	}
	s.piece = s.room[:n]
}
