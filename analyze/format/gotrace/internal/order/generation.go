package order

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// generation is the batches of one generation and the tables that they refer to.
type generation struct {
	gen     uint64
	batches []batch // of events, in the order of the file
	tables  tables
	minTime uint64 // ticks
	end     int64  // offset of what follows
	cut     bool   // the file ends within one of its batches
	partial bool   // it has no end: the file was cut, or its end is damaged
	broken  bool   // something is missing before it
	overrun bool   // its tables were too large to keep
}

// Bounds of what is kept of a generation, which a file that lies could exceed.
const (
	maxBatches = 1 << 20 // 48 MiB; a full generation of 1 GiB has 16,384
	maxTables  = 1 << 28 // bytes of strings and stacks; the largest seen has 3 MiB
)

// generations reads one generation after the other.
type generations struct {
	frames  frames
	spill   *batch // the first batch of the next generation
	damaged int    // how many stretches of damage the generations so far have had
	spoilt  bool   // the last generation ended with damage
	clock   clock  // of the last generation that had one
	tabled  int64  // bytes of tables of this generation
	done    bool
}

// next returns the next generation, or io.EOF.
func (r *generations) next() (*generation, error) {
	if r.done {
		return nil, io.EOF
	}
	g := &generation{broken: r.spoilt}
	r.tabled = 0
	ended := false
	for !ended {
		b, err := r.batch()
		if errors.Is(err, io.EOF) {
			r.done = true
			break
		}
		if err != nil {
			return nil, err
		}
		switch {
		case b.first == EndOfGeneration:
			ended = g.gen != 0 || len(g.batches) > 0
		case g.gen != 0 && b.gen != g.gen:
			r.spill, ended = &b, true
		default:
			if err := r.add(g, &b); err != nil {
				return nil, err
			}
			ended = len(g.batches) >= maxBatches
		}
	}
	if g.gen == 0 {
		return nil, io.EOF
	}
	g.end = r.frames.at
	if r.spill != nil {
		g.end = r.spill.off
	}
	return g, r.finish(g)
}

// batch is the next batch, the one that was read too early first.
func (r *generations) batch() (batch, error) {
	if r.spill != nil {
		b := *r.spill
		r.spill = nil
		return b, nil
	}
	return r.frames.next()
}

// finish completes what the generation does not say itself.
func (r *generations) finish(g *generation) error {
	g.partial = len(g.batches) > 0 && (g.tables.texts == 0 || g.tables.clock == 0) // the last one of a trace may hold nothing but its clock
	if n := len(r.frames.damage); n > r.damaged {
		r.damaged, r.spoilt = n, true
		g.broken = true
	} else {
		r.spoilt = false
	}
	if g.tables.clock == 0 {
		g.tables.clock = r.clock
	}
	if g.tables.clock == 0 {
		g.tables.clock, g.tables.guessed = oneTick, true
	}
	r.clock = g.tables.clock
	g.tables.sortSamples()
	if !slices.ContainsFunc(g.batches, func(b batch) bool { return b.orphan }) {
		return nil
	}
	if err := g.align(r.frames.file); err != nil {
		return fmt.Errorf("finding the time of a batch without a header: %w", err)
	}
	return nil
}

// add takes in a batch: its place when it holds events, its content when it holds a table.
func (r *generations) add(g *generation, b *batch) error {
	g.gen = b.gen
	if !b.orphan && (g.minTime == 0 || b.time < g.minTime) {
		g.minTime = b.time
	}
	g.cut = g.cut || b.cut
	if b.exp || b.size == 0 {
		return nil
	}
	switch b.first {
	case Strings, Stacks, CPUSamples, Frequency, Sync:
	default:
		g.batches = append(g.batches, *b)
		return nil
	}
	if r.tabled += int64(b.size); r.tabled > maxTables {
		g.overrun = true
		return nil
	}
	data := make([]byte, b.size)
	n, err := r.frames.file.ReadAt(data, b.off)
	if err != nil && n < len(data) && !errors.Is(err, io.EOF) {
		return err
	}
	if n > 0 {
		g.tables.bad += g.tables.add(b, data[:n])
	}
	return nil
}
