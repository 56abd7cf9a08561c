package order

import "math"

// Headless reports whether head, the first bytes of a file, lies in the middle of a trace whose beginning is lost: events and batches of
// them, without a fault to the end of head.
func Headless(head []byte) bool {
	for at := 0; at < len(head); at++ {
		if at >= maxEvent && Kind(head[at]) != EventBatch {
			continue // events that begin later would have been found by those before them
		}
		w := walk{data: head}
		if w.run(at) {
			return true
		}
	}
	return false
}

// Who has lost its head is believed for so many events, of so many kinds; or for many events and the header of a batch among them, where
// goroutines do nothing but yield to each other and there are but two kinds.
const (
	headlessEvents = 200
	headlessKinds  = 6
	headlessMany   = 2000
)

// walk goes over events and batches.
type walk struct {
	data             []byte
	seen             [256]bool
	events, distinct int
	headers          int
}

// run goes on from a place, at an event or at a header, and reports whether all that follows is what a trace has, and enough of it.
func (w *walk) run(at int) bool {
	end := len(w.data) // of the batch, as far as it is known
	for at < len(w.data) {
		if next, last, ok := w.header(at); ok && (at >= end || end == len(w.data)) {
			at, end = next, last
			w.headers++
			continue
		}
		n := firstEvent(w.data[at:])
		if n == 0 || at+n > end {
			return len(w.data)-at < maxEvent && w.enough()
		}
		if k := w.data[at]; !w.seen[k] {
			w.seen[k] = true
			w.distinct++
		}
		w.events++
		at += n
	}
	return w.enough()
}

func (w *walk) enough() bool {
	return w.events >= headlessEvents && w.distinct >= headlessKinds || w.events >= headlessMany && w.distinct > 1 && w.headers > 0
}

// header reads a header: where the next thing to look at stands, and where the batch ends. Tables are passed over.
func (w *walk) header(at int) (next, end int, ok bool) {
	if Kind(w.data[at]) == EndOfGeneration {
		return at + 1, at + 1, true
	}
	if Kind(w.data[at]) != EventBatch {
		return 0, 0, false
	}
	f := frames{size: math.MaxInt64}
	b, n, ok := f.fields(batch{}, int64(at), w.data[at:min(len(w.data), at+maxHeader)], 1)
	if !ok || at+n < len(w.data) && !begins(w.data[at+n]) {
		return 0, 0, false
	}
	next, end = at+n, int(min(b.end(), int64(len(w.data))))
	if next < len(w.data) && specs[w.data[next]].args == noArgs {
		next = end
	}
	return next, end, true
}

// firstEvent is the length of the event that data begin with; 0 when they begin with none.
func firstEvent(data []byte) int {
	args := int(argsOf[data[0]])
	if args == noArgs {
		return 0
	}
	end := 1
	for range args + 1 {
		_, n := uvarint(data[end:])
		if n == 0 {
			return 0
		}
		end += n
	}
	return end
}
