package fold

import (
	"math"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// never is a moment that has not come.
const never = math.MinInt64

// firstWidth is the width of the slices at first. It doubles whenever the trace turns out to be longer than all slices.
const firstWidth = 1_000_000 // ns

// clock is the present moment, and the sums by slice of time.
//
// Whoever enters a category at t adds the rest of the slice to its sum, and takes it back when he leaves: nothing has to be done for the
// slices that he stays in, but once for each slice, for all together.
type clock struct {
	now    int64 // ns since origin
	end    int64 // of the present slice
	origin int64
	began  bool

	width int64
	slice int32
	marks uint64          // events in the present slice
	here  [catCount]int64 // who is in a category
	sum   [catCount]int64 // of the present slice, ns
	past  [evidence.MaxSlices]sliceSums
}

// sliceSums are the sums of one slice.
type sliceSums struct {
	ns             [catCount]float64
	created, ended uint32
	live           int
	heap           uint64
	events         uint64
}

func (c *clock) init() { c.now, c.end, c.width = never, never, firstWidth }

// at moves the clock to t and returns the nanoseconds since the beginning.
func (f *Folder) at(t int64) int64 {
	t -= f.origin // may overflow in a hostile trace: it is a wrong moment either way
	if t < f.now || t >= f.end {
		t = f.roll(t)
	}
	f.now = t
	f.marks++
	return t
}

// roll is at, for a moment that is not in the present slice.
func (f *Folder) roll(t int64) int64 {
	if !f.began {
		f.began, f.origin, f.now, f.end = true, t, 0, f.width
		return 0
	}
	t = min(max(t, f.now), maxTime)
	for t >= f.width*evidence.MaxSlices {
		f.widen()
	}
	for t >= f.end {
		f.closeSlice()
		f.slice++
		f.end += f.width
		for k, n := range f.here {
			f.sum[k] = n * f.width
		}
		f.past[f.slice].live, f.past[f.slice].heap = f.live, f.gc.heap
	}
	return t
}

// closeSlice adds the sums of the present slice to its row.
func (c *clock) closeSlice() {
	row := &c.past[c.slice]
	for k, ns := range c.sum {
		row.ns[k] += float64(ns)
		c.sum[k] = 0
	}
	row.events += c.marks
	c.marks = 0
}

// widen makes every two slices one. What is sure until the end of the present slice is now sure until the end of its successor.
func (f *Folder) widen() {
	f.sites.settle(&f.clock)
	for i := range f.past {
		if 2*i >= len(f.past) {
			f.past[i] = sliceSums{}
			continue
		}
		f.past[i] = f.past[2*i].plus(&f.past[2*i+1])
	}
	old := f.slice
	f.slice /= 2
	f.width *= 2
	longer := int64(f.slice+1)*f.width - f.end
	f.end += longer
	for k, n := range f.here {
		f.sum[k] += n * longer
	}
	f.sites.widen(f.slice, longer)
	f.spawns.widen(old, f.slice)
	f.actors.widen()
}

func (s sliceSums) plus(b *sliceSums) sliceSums {
	for k := range s.ns {
		s.ns[k] += b.ns[k]
	}
	s.created += b.created
	s.ended += b.ended
	s.live = max(s.live, b.live)
	s.heap = max(s.heap, b.heap)
	s.events += b.events
	return s
}

// enter counts somebody in a category from t on.
func (c *clock) enter(k category, t int64) {
	c.sum[k] += c.end - t
	c.here[k]++
}

// leave counts him no more.
func (c *clock) leave(k category, t int64) {
	c.sum[k] -= c.end - t
	c.here[k]--
}

// halve makes every two values of a row by slice one, their sum.
func halve[T float32 | uint32](row []T) []T {
	n := (len(row) + 1) / 2
	for i := range n {
		v := row[2*i]
		if 2*i+1 < len(row) {
			v += row[2*i+1]
		}
		row[i] = v
	}
	clear(row[n:])
	return row[:n]
}

// addSpan adds the stretch of time to a row by slice, ns.
func (c *clock) addSpan(row []float32, from, to int64) []float32 {
	if to <= from {
		return row
	}
	first, last := from/c.width, (to-1)/c.width
	for int64(len(row)) <= last {
		row = append(row, 0)
	}
	for i := first; i <= last; i++ {
		row[i] += float32(min(to, (i+1)*c.width) - max(from, i*c.width))
	}
	return row
}

// permille turns nanoseconds of a slice into thousandths of its width, rounded; what is not zero stays so.
func (c *clock) permille(ns float64) uint32 {
	if ns <= 0 {
		return 0
	}
	return uint32(min(max(math.Round(ns*1000/float64(c.width)), 1), math.MaxUint32))
}

// load turns a row by slice into thousandths, without the zeros at its end.
func (c *clock) load(row []float32) []uint32 {
	out := make([]uint32, len(row))
	n := 0
	for i, v := range row {
		if out[i] = c.permille(float64(v)); out[i] > 0 {
			n = i + 1
		}
	}
	return out[:n:n]
}
