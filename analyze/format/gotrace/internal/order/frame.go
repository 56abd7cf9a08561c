package order

import "io"

// batch is a batch as it lies in the file.
type batch struct {
	gen   uint64
	m     uint64
	time  uint64 // ticks of the trace's clock
	off   int64  // of its data in the file
	size  int    // bytes of data that are there
	first Kind   // first byte of the data: what the batch holds
	exp   bool   // of an experiment
	cut   bool   // the file ends within it
	// orphan says that its header is lost: its thread is made up, and its time a guess; see align.
	orphan bool
}

// end is the offset of what follows the batch.
func (b *batch) end() int64 { return b.off + int64(b.size) }

// frames finds the batches of a file, one after the other. It reads headers only, and skips the data.
type frames struct {
	file io.ReaderAt
	size int64
	at   int64 // offset of the next header

	buf    []byte // window on the file
	bufOff int64

	damage []damage // what was jumped over
	gen    uint64   // generation of the last batch; 0 before the first
	time   uint64   // of the last batch, in ticks
	lost   bool     // the file begins in the middle of something
	whole  []byte   // data of a batch that is looked at to its end
	behind *batch   // what follows an orphan
	orphan uint64   // how many orphans there were
}

// damage is a stretch of the file that holds no batch.
type damage struct {
	off, len int64
}

// windowSize is how much of the file is read around a header. Batches are mostly full, so that one read finds one header.
const windowSize = 4 << 10

// window returns up to n bytes at an offset; fewer at the end of the file.
func (f *frames) window(off int64, n int) ([]byte, error) {
	if off < f.bufOff || off+int64(n) > f.bufOff+int64(len(f.buf)) {
		size := int64(max(n, windowSize))
		if off+size > f.size {
			size = max(f.size-off, 0)
		}
		if int64(cap(f.buf)) < size {
			f.buf = make([]byte, size)
		}
		f.buf = f.buf[:size]
		k, err := f.file.ReadAt(f.buf, off)
		f.bufOff, f.buf = off, f.buf[:k]
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
	have := f.buf[off-f.bufOff:]
	return have[:min(len(have), n)], nil
}

// maxHeader is the longest header: type, experiment, four varints, and the first byte of the data.
const maxHeader = 1 + 1 + 4*10 + 1

// next returns the next batch. An end-of-generation mark is a batch with first EndOfGeneration and no data. After damage it looks for the
// place where batches begin again. The error is io.EOF at the end of the file, or one of reading it.
func (f *frames) next() (batch, error) {
	if b := f.behind; b != nil {
		f.behind = nil
		f.accept(b)
		return *b, nil
	}
	if f.at >= f.size {
		return batch{}, io.EOF
	}
	if f.gen == 0 && f.lost {
		if b, ok := f.chained(f.at); ok { // the header alone is lost
			f.accept(&b)
			return b, nil
		}
		return f.resync()
	}
	b, ok, err := f.header(f.at)
	if err != nil {
		return batch{}, err
	}
	if ok && f.plausible(&b, maxGenSkip) {
		f.accept(&b)
		return b, f.shorten(&b)
	}
	return f.resync()
}

// shorten ends a batch where the next one begins, when bytes of the file are missing inside of it or its size is wrong: then no batch
// stands where it should end, and one does before.
func (f *frames) shorten(b *batch) error {
	if b.cut || b.exp || b.first == EndOfGeneration || b.end() >= f.size {
		return nil
	}
	next, ok, err := f.header(b.end())
	if err != nil || ok && f.plausible(&next, maxGenSkip) {
		return err
	}
	data := make([]byte, b.size)
	n, err := f.file.ReadAt(data, b.off)
	if err != nil && n < len(data) {
		return err
	}
	for i, c := range data {
		if Kind(c) != EventBatch || i == 0 {
			continue
		}
		if _, ok := f.chained(b.off + int64(i)); ok {
			b.size = i
			f.at = b.end()
			f.damage = append(f.damage, damage{f.at, 0})
			return nil
		}
	}
	return nil
}

func (f *frames) accept(b *batch) {
	f.at = b.end()
	if b.first != EndOfGeneration {
		f.gen, f.time = b.gen, b.time
	}
}

// Bounds of what can follow a batch.
const (
	maxGenSkip = 1       // generations, where nothing is missing
	maxGenHole = 1 << 20 // generations, where something is
	maxLeap    = 1 << 40 // ticks between the times of two batches: 19 hours of the usual clock
)

// plausible reports whether a batch can follow the last one.
func (f *frames) plausible(b *batch, skip uint64) bool {
	if f.gen == 0 || b.first == EndOfGeneration {
		return true
	}
	leap := max(b.time, f.time) - min(b.time, f.time)
	return b.gen >= f.gen && b.gen <= f.gen+skip && leap <= maxLeap
}

// header reads the header at an offset. ok is false where there is none.
func (f *frames) header(off int64) (b batch, ok bool, err error) {
	head, err := f.window(off, maxHeader)
	if err != nil || len(head) == 0 {
		return b, false, err
	}
	at := 1
	switch Kind(head[0]) {
	case EndOfGeneration:
		return batch{gen: f.gen, off: off + 1, first: EndOfGeneration}, true, nil
	case EventBatch:
	case ExperimentalBatch:
		b.exp = true
		at++
	default:
		return b, false, nil
	}
	b, n, ok := f.fields(b, off, head, at)
	if !ok || n < len(head) && !b.exp && !begins(head[n]) {
		return b, false, nil
	}
	return b, true, nil
}

// fields reads the four numbers of a header that begin at head[at:], and returns where the data begin in head.
func (f *frames) fields(b batch, off int64, head []byte, at int) (batch, int, bool) {
	var size uint64
	for _, v := range []*uint64{&b.gen, &b.m, &b.time, &size} {
		if at > len(head) {
			return b, 0, false
		}
		n := 0
		if *v, n = uvarint(head[at:]); n == 0 {
			return b, 0, false
		}
		at += n
	}
	if b.gen == 0 || size > maxBatch {
		return b, 0, false
	}
	b.off, b.size = off+int64(at), int(size)
	if b.end() > f.size {
		b.size, b.cut = int(f.size-b.off), true
	}
	if at < len(head) && b.size > 0 {
		b.first = Kind(head[at])
	}
	return b, at, true
}

// begins reports whether a byte can begin the data of a batch.
func begins(first byte) bool {
	switch Kind(first) {
	case Stacks, Strings, CPUSamples, Frequency, Sync:
		return true
	}
	return specs[first].args != noArgs
}

// resync looks for the next place where batches begin, and records what lies before it as damage. When it is the header of one batch alone
// that is damaged, its data may still be had: see mended.
func (f *frames) resync() (batch, error) {
	from := f.at
	if b, ok := f.mended(from); ok {
		f.accept(&b)
		return b, nil
	}
	scan := make([]byte, windowSize) // of its own: looking at a candidate moves the window
	for off := from + 1; off < f.size; {
		n, err := f.file.ReadAt(scan[:min(int64(len(scan)), f.size-off)], off)
		if n == 0 {
			if err != nil && err != io.EOF {
				return batch{}, err
			}
			break
		}
		for i, c := range scan[:n] {
			if Kind(c) != EventBatch {
				continue
			}
			if b, ok := f.chained(off + int64(i)); ok {
				return f.resume(from, off+int64(i), b)
			}
		}
		off += int64(n)
	}
	f.damage = append(f.damage, damage{from, f.size - from})
	f.at = f.size
	return batch{}, io.EOF
}

// resume goes on with a batch behind a stretch of damage. A header whose size alone is wrong is mended by the place of the next one.
func (f *frames) resume(from, to int64, next batch) (batch, error) {
	if b, ok, err := f.header(from); err == nil && ok && b.off < to && to-b.off <= maxBatch && f.gen != 0 && f.plausible(&b, maxGenSkip) {
		b.size, b.cut = int(to-b.off), false
		f.damage = append(f.damage, damage{from, 0})
		f.accept(&b)
		return b, nil
	}
	if b, ok := f.tail(from, to, &next); ok {
		f.damage = append(f.damage, damage{from, b.off - from})
		f.gen, f.time, f.behind = b.gen, b.time, &next
		return b, nil
	}
	f.damage = append(f.damage, damage{from, to - from})
	f.accept(&next)
	return next, nil
}

// firstOrphan numbers the threads of orphans: no system has a thread with such a number.
const firstOrphan = 1 << 62

// tail finds the end of a batch whose header is lost: events that can be read up to the place where the next batch begins. Of which thread
// they are is not known, so that they get one of their own; nor is their time, so that they are taken to end where the next batch begins.
func (f *frames) tail(from, to int64, next *batch) (batch, bool) {
	from = max(from, to-maxBatch)
	data := make([]byte, to-from)
	if n, _ := f.file.ReadAt(data, from); n < len(data) {
		return batch{}, false
	}
	start := soundTail(data)
	if len(data)-start < sureBytes {
		return batch{}, false
	}
	b := batch{gen: next.gen, m: firstOrphan + f.orphan, off: from + int64(start), size: len(data) - start, first: Kind(data[start]), orphan: true}
	f.orphan++
	b.time = next.time - min(next.time, ticks(data[start:]))
	return b, true
}

// soundTail is the first place from which data are events to their end. Where they are read from a wrong place on they may look like events
// for long, when goroutines do the same all the time, so that every place is looked at, from the end on.
func soundTail(data []byte) int {
	first := len(data)
	ends := make([]bool, len(data)+1) // what is read from there on ends with the data
	ends[first] = true
	for at := len(data) - 1; at >= 0; at-- {
		if n := firstEvent(data[at:]); n > 0 && ends[at+n] {
			ends[at], first = true, at
		}
	}
	return first
}

// ticks is the time that events take.
func ticks(data []byte) uint64 {
	var sum uint64
	for at := 0; at < len(data); {
		dt, _ := uvarint(data[at+1:])
		sum += dt
		at += firstEvent(data[at:])
	}
	return sum
}

// sureBytes is how many bytes of events in a row are believed: by chance a dozen of them decode.
const sureBytes = 128

// chained reports whether a batch stands at an offset: its data are events, or a table, to their end, and another batch follows. The
// batches that follow are looked at until enough has been seen.
func (f *frames) chained(off int64) (batch, bool) {
	first, ok, err := f.header(off)
	if err != nil || !ok || first.size == 0 || !f.plausible(&first, maxGenHole) {
		return first, false
	}
	b, seen := first, 0
	for {
		var next batch
		last := b.cut || b.end() >= f.size
		if !last { // where a batch ends tells sooner that it is none than what is in it
			if next, ok, err = f.header(b.end()); err != nil || !ok || !b.before(&next) {
				return first, false
			}
			last = next.first == EndOfGeneration
		}
		n := f.sound(&b)
		if n < 0 {
			return first, false
		}
		if seen += n; last || seen >= sureBytes {
			return first, seen >= sureBytes
		}
		b = next
	}
}

// before reports whether a batch can be the next one.
func (b *batch) before(next *batch) bool {
	return next.first == EndOfGeneration ||
		(next.gen == b.gen || next.gen == b.gen+1) && max(next.time, b.time)-min(next.time, b.time) <= maxLeap
}

// sound is how many bytes of a batch hold what they should; -1 when something else is among them.
func (f *frames) sound(b *batch) int {
	if b.exp {
		return 0 // its data are not looked at: they prove nothing
	}
	if cap(f.whole) < b.size {
		f.whole = make([]byte, maxBatch)
	}
	data := f.whole[:b.size]
	n, err := f.file.ReadAt(data, b.off)
	if err != nil && n < len(data) || n == 0 {
		return -1
	}
	bad := 0
	switch t := (&tables{}); b.first {
	case Strings, Stacks, CPUSamples:
		bad = t.add(b, data)
	case Frequency, Sync:
	default:
		bad = len(data) - validPrefix(data)
	}
	if bad > 0 && !(b.cut && bad < maxEvent) {
		return -1
	}
	return len(data) - bad
}

// mended reads the header at an offset leniently, where its first byte or its generation are wrong but the batch after it stands where it
// should.
func (f *frames) mended(off int64) (batch, bool) {
	if f.gen == 0 {
		return batch{}, false
	}
	head, err := f.window(off, maxHeader)
	if err != nil || len(head) < 2 {
		return batch{}, false
	}
	b, n, ok := f.fields(batch{}, off, head, 1)
	if !ok || b.cut || n >= len(head) || !begins(head[n]) {
		return batch{}, false
	}
	next, ok, err := f.header(b.end())
	if err != nil || !ok || next.first != EndOfGeneration && next.gen != f.gen && next.gen != f.gen+1 {
		return batch{}, false
	}
	if b.gen = f.gen; !f.plausible(&b, 0) {
		b.time = f.time // an earlier time is better than none
	}
	f.damage = append(f.damage, damage{off, 0})
	return b, true
}
