package order

import (
	"errors"
	"io"
	"sync"
)

// aheadBatches is how many batches are decoded before they are needed, of 0.5 MB each.
const aheadBatches = 16

// The states of a batch that is to be decoded.
const (
	todo = iota
	taken
	ready
)

// work is one generation on its way from the file to the events.
type work struct {
	*generation
	streams []*stream
	state   []uint8   // by batch
	result  []decoded // by batch
}

// decoder decodes batches: a thread of its own runs ahead of the one that needs them, in the order of the file.
type decoder struct {
	file io.ReaderAt

	mu      sync.Mutex
	changed sync.Cond // a batch became ready, room was made, or it is over
	queue   []*work   // generations that are not yet decoded to their end
	next    int       // batch of the first of them to decode next
	ahead   int       // batches that are decoded and not yet needed
	closed  bool
	spare   [][]event
	raw     []byte // of the thread that needs the events
	err     error
}

func newDecoder(file io.ReaderAt) *decoder {
	d := &decoder{file: file}
	d.changed.L = &d.mu
	return d
}

// add hands over the next generation.
func (d *decoder) add(w *work) {
	d.mu.Lock()
	d.queue = append(d.queue, w)
	d.changed.Broadcast()
	d.mu.Unlock()
}

// close ends run.
func (d *decoder) close() {
	d.mu.Lock()
	d.closed = true
	d.changed.Broadcast()
	d.mu.Unlock()
}

// run decodes ahead until close. It is the body of that thread.
func (d *decoder) run() {
	var raw []byte
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed {
		w, i := d.pick()
		if w == nil {
			d.changed.Wait()
			continue
		}
		w.state[i] = taken
		d.ahead++
		result := decoded{events: d.buffer()}
		d.mu.Unlock()
		raw = d.decode(w, i, raw, &result)
		d.mu.Lock()
		w.result[i], w.state[i] = result, ready
		d.changed.Broadcast()
	}
}

// pick finds the next batch that nobody has decoded; nil when there is none, or no room. The caller holds the lock.
func (d *decoder) pick() (*work, int) {
	for len(d.queue) > 0 && d.ahead < aheadBatches {
		w := d.queue[0]
		for d.next < len(w.state) {
			i := d.next
			d.next++
			if w.state[i] == todo {
				return w, i
			}
		}
		d.queue, d.next = d.queue[1:], 0
	}
	return nil, 0
}

// buffer returns room for events. The caller holds the lock.
func (d *decoder) buffer() []event {
	if n := len(d.spare); n > 0 {
		b := d.spare[n-1]
		d.spare = d.spare[:n-1]
		return b[:0]
	}
	return make([]event, 0, 16<<10)
}

// decode reads a batch and decodes it. raw is a buffer to use again.
func (d *decoder) decode(w *work, i int, raw []byte, to *decoded) []byte {
	b := &w.batches[i]
	if cap(raw) < b.size {
		raw = make([]byte, maxBatch)
	}
	n, err := d.file.ReadAt(raw[:b.size], b.off)
	if err != nil && n < b.size {
		d.fail(err)
	}
	to.decode(b, raw[:n], w.tables.clock)
	return raw
}

func (d *decoder) fail(err error) {
	if errors.Is(err, io.EOF) {
		return // the file became shorter: what is missing is counted where the batch is used
	}
	d.mu.Lock()
	if d.err == nil {
		d.err = err
	}
	d.mu.Unlock()
}

// failure is the first error of reading the file.
func (d *decoder) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// get returns the events of batch i, decoding them when nobody has. Events that were handed out before are given back.
func (d *decoder) get(w *work, i int, done []event) decoded {
	d.mu.Lock()
	if cap(done) > 0 && len(d.spare) < aheadBatches {
		d.spare = append(d.spare, done)
	}
	if w.state[i] == todo {
		w.state[i] = taken
		result := decoded{events: d.buffer()}
		d.mu.Unlock()
		d.raw = d.decode(w, i, d.raw, &result)
		return result
	}
	for w.state[i] != ready {
		d.changed.Wait()
	}
	d.ahead--
	result := w.result[i]
	w.result[i] = decoded{}
	d.changed.Broadcast()
	d.mu.Unlock()
	return result
}
