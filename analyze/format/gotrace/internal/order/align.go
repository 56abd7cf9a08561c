package order

import (
	"errors"
	"io"
	"math"
)

// An orphan is the rest of a batch whose header is lost, so that its time is not known. But its events carry sequence numbers of goroutines,
// and the numbers before and after them stand in the batches of other threads, whose times are known: between those it must lie.

// step is an event that has a sequence number.
type step struct {
	goroutine, seq uint64
}

// align finds the times of the orphans of a generation.
func (g *generation) align(file io.ReaderAt) error {
	for i := range g.batches {
		b := &g.batches[i]
		if !b.orphan {
			continue
		}
		steps := map[step]uint64{}
		err := b.each(file, 0, func(e *event, ticks uint64) {
			if e.sequenced() {
				steps[step{e.a0, e.a1}] = ticks
			}
		})
		if err != nil {
			return err
		}
		low, high, err := g.bounds(file, steps)
		if err != nil {
			return err
		}
		b.time = between(low, high, b.time)
		g.minTime = min(g.minTime, b.time)
	}
	return nil
}

// bounds is the earliest and the latest time at which an orphan with these steps can begin.
func (g *generation) bounds(file io.ReaderAt, steps map[step]uint64) (low, high uint64, err error) {
	high = math.MaxUint64
	for i := range g.batches {
		b := &g.batches[i]
		if b.orphan {
			continue
		}
		err := b.each(file, b.time, func(e *event, ticks uint64) {
			if !e.sequenced() {
				return
			}
			if after, ok := steps[step{e.a0, e.a1 + 1}]; ok && ticks > after {
				low = max(low, ticks-after)
			}
			if before, ok := steps[step{e.a0, e.a1 - 1}]; ok && ticks > before {
				high = min(high, ticks-before)
			}
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return low, high, nil
}

// between chooses a time between two bounds, of which either may be missing; where both are, there is nothing better than a guess.
func between(low, high, guess uint64) uint64 {
	switch {
	case low > 0 && high < math.MaxUint64:
		return low + (max(high, low)-low)/2
	case low > 0:
		return low
	case high < math.MaxUint64:
		return high
	}
	return guess
}

// sequenced reports whether an event has a sequence number of the goroutine that is its first number.
func (e *event) sequenced() bool {
	return e.kind == GoStart || e.kind == GoUnblock || e.kind == GoSwitch || e.kind == GoSwitchDestroy
}

// each decodes a batch with times in ticks, from a base.
func (b *batch) each(file io.ReaderAt, base uint64, yield func(e *event, ticks uint64)) error {
	data := make([]byte, b.size)
	n, err := file.ReadAt(data, b.off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	d := decoded{}
	from := *b
	from.time = base
	d.decode(&from, data[:n], 1)
	for i := range d.events {
		yield(&d.events[i], uint64(d.events[i].time))
	}
	return nil
}
