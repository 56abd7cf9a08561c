package order

import "slices"

// event is an event of a batch, decoded. What the numbers mean depends on the kind: they stand in the order of the format, but for
// ProcSteal, whose thread comes first.
type event struct {
	time   int64 // ns of the trace's clock
	a0, a1 uint64
	a2, a3 uint32
	kind   Kind
}

// maxEvent is the most bytes of one event: its kind, its time and four numbers.
const maxEvent = 1 + 5*10

// clock turns ticks into nanoseconds as internal/trace does (base.go, frequency.mul): by a factor, cut off.
type clock float64

func (c clock) ns(ticks uint64) int64 { return int64(float64(ticks) * float64(c)) }

// oneTick is the clock of Linux, macOS and Windows: nanotime divided by 64 (runtime/tracetime.go, traceTimeDiv).
const oneTick clock = 64

// decoded is the events of a batch, or of the part of it that could be read.
type decoded struct {
	events []event
	bad    int // bytes that are no events
}

// decode appends the events of a batch to d. A batch that was cut ends with its last whole event. Where the data are damaged it goes on at
// the next place from which they can be read to the end.
func (d *decoded) decode(b *batch, data []byte, c clock) {
	time := c.ns(b.time)
	for len(data) > 0 {
		if cap(d.events) == len(d.events) {
			d.events = slices.Grow(d.events, 16<<10)
		}
		n, used, now := decode(d.events[len(d.events):cap(d.events)], data, time, c)
		d.events = d.events[:len(d.events)+n]
		if used == 0 {
			used = b.rest(data)
			d.bad += used
		}
		data, time = data[used:], now
	}
}

// Bounds of finding events again behind damage.
const (
	maxSkip   = 4 * maxEvent // bytes to look through
	soundRest = 64           // bytes that must be whole events; fewer are so by chance
)

// rest is how many bytes to skip so that what follows can be read to its end, but for an event that is cut there; all of them when there
// is no such place.
func (b *batch) rest(data []byte) int {
	for skip := 1; skip < min(len(data), maxSkip); skip++ {
		if n := validPrefix(data[skip:]); n >= soundRest && len(data)-skip-n < maxEvent {
			return skip
		}
	}
	return len(data)
}

// validPrefix is how many bytes at the beginning of data are whole events.
func validPrefix(data []byte) int {
	at := 0
	for at < len(data) {
		n := firstEvent(data[at:])
		if n == 0 {
			break
		}
		at += n
	}
	return at
}

// decode decodes events until there is no room for more, or the data end or cannot be read. It returns how many there are, how many bytes
// it has read, and the time of the last event.
func decode(room []event, data []byte, time int64, c clock) (n, at int, last int64) {
	for n < len(room) && at < len(data) {
		k := data[at]
		args := int(argsOf[k])
		if args == noArgs {
			break
		}
		var v [5]uint64
		end := at + 1
		for i := range v[:args+1] {
			if end+1 < len(data) { // most numbers have one byte, nearly all at most two
				if b := data[end]; b < 0x80 {
					v[i] = uint64(b)
					end++
					continue
				} else if c := data[end+1]; c < 0x80 {
					v[i] = uint64(b&0x7f) | uint64(c)<<7
					end += 2
					continue
				}
			}
			x, used := uvarint(data[end:])
			if used == 0 {
				return n, at, time
			}
			v[i] = x
			end += used
		}
		at = end
		time += c.ns(v[0])
		e := &room[n]
		n++
		*e = event{time: time, kind: Kind(k), a0: v[1], a1: v[2], a2: uint32(v[3]), a3: uint32(v[4])}
		if e.kind == ProcSteal { // p, seq, m: a thread's number may need 64 bits
			e.a0, e.a2 = v[3], uint32(v[1])
		}
	}
	return n, at, time
}
