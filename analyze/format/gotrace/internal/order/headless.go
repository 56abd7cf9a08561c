package order

import "math"

// Headless reports whether head, the first bytes of a file, lies in the middle of a trace whose beginning is lost: events without a fault,
// either behind the header of a batch or, where a batch is longer than head, to its end.
func Headless(head []byte) bool {
	for at := 0; at+maxHeader < len(head); at++ {
		if Kind(head[at]) != EventBatch {
			continue
		}
		f := frames{size: math.MaxInt64}
		b, n, ok := f.fields(batch{}, int64(at), head[at:at+maxHeader], 1)
		if ok && begins(head[at+n]) && believed(head[at+n:], b.size) {
			return true
		}
	}
	for at := 0; at < min(len(head), maxEvent); at++ {
		if believed(head[at:], maxBatch) {
			return true
		}
	}
	return false
}

// Who has lost its head is believed for so many events in a row, of so many kinds.
const (
	headlessEvents = 200
	headlessKinds  = 6
)

// believed reports whether data are the events of a batch of a size: all that is there of it, and many.
func believed(data []byte, size int) bool {
	data = data[:min(size, len(data))]
	var kinds [256]bool
	events, distinct, at := 0, 0, 0
	for at < len(data) {
		n := firstEvent(data[at:])
		if n == 0 {
			break
		}
		if k := data[at]; !kinds[k] {
			kinds[k] = true
			distinct++
		}
		at += n
		events++
	}
	ends := len(data)-at < maxEvent || Kind(data[at]) == EventBatch
	return ends && events >= headlessEvents && distinct >= headlessKinds
}

// firstEvent is the length of the event that data begin with; 0 when they begin with none.
func firstEvent(data []byte) int {
	args := int(specs[data[0]].args)
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
