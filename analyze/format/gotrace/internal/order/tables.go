package order

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// table maps the ids of one generation to values. The runtime counts ids up from one, so that a slice holds them; strange ids go to a map.
type table[T any] struct {
	dense  []T
	sparse map[uint64]T
}

// maxDense is the largest id that a slice is grown for, above which a file that lies could make it large.
const maxDense = 1 << 20

func (t *table[T]) set(id uint64, v T) {
	if id < maxDense {
		if id >= uint64(len(t.dense)) {
			t.dense = append(t.dense, make([]T, max(id+1, 2*uint64(len(t.dense)))-uint64(len(t.dense)))...)
		}
		t.dense[id] = v
		return
	}
	if t.sparse == nil {
		t.sparse = map[uint64]T{}
	}
	t.sparse[id] = v
}

func (t *table[T]) get(id uint64) T {
	if id < uint64(len(t.dense)) {
		return t.dense[id]
	}
	return t.sparse[id]
}

// sample is a CPU sample.
type sample struct {
	time   int64 // ticks, then ns
	m, p   uint64
	g      uint64
	stack  uint64
	source int // place in the file, to keep the order of equal times
}

// tables are what the events of a generation refer to.
type tables struct {
	strings table[string]
	texts   int
	stacks  table[[]byte] // frames as they stand in the file
	stacked int
	samples []sample
	bad     int // bytes of tables that could not be read

	clock    clock // ns a tick; 0 when the generation does not say
	guessed  bool  // the clock is the usual one, because no generation has said
	hasWall  bool
	snap     uint64 // ticks of the snapshot of the clocks
	wallSec  uint64
	wallNsec uint64

	numbers table[fold.Stack] // of stacks, once interned: number + 1
	reasons table[fold.Reason]
}

// add takes in a batch that is not one of events, and returns how many bytes of it could not be read.
func (t *tables) add(b *batch, data []byte) int {
	switch b.first {
	case Strings:
		return t.addStrings(data[1:])
	case Stacks:
		return t.addStacks(data[1:])
	case CPUSamples:
		return t.addSamples(data[1:])
	case Frequency:
		t.addClock(b.time, data)
	case Sync:
		t.addClock(b.time, data[1:])
	}
	return 0
}

// addStrings reads entries of id, length and bytes. It returns how many bytes could not be read: what the file has lost.
func (t *tables) addStrings(data []byte) int {
	for len(data) > 0 {
		if Kind(data[0]) != StringEntry {
			return len(data)
		}
		id, n := uvarint(data[1:])
		if n == 0 {
			return len(data)
		}
		size, k := uvarint(data[1+n:])
		if k == 0 || size > maxString || uint64(len(data)-1-n-k) < size {
			return len(data)
		}
		body := data[1+n+k:]
		t.strings.set(id, string(body[:size]))
		t.texts++
		data = body[size:]
	}
	return 0
}

// addStacks reads entries of id, number of frames and frames (pc, function, file, line).
func (t *tables) addStacks(data []byte) int {
	for len(data) > 0 {
		if Kind(data[0]) != StackEntry {
			return len(data)
		}
		id, n := uvarint(data[1:])
		depth, k := uvarint(data[1+n:])
		if n == 0 || k == 0 || depth > maxDepth {
			return len(data)
		}
		body := data[1+n+k:]
		size := 0
		for range 4 * depth {
			_, n := uvarint(body[size:])
			if n == 0 {
				return len(data)
			}
			size += n
		}
		t.stacks.set(id, body[:size:size])
		t.stacked++
		data = body[size:]
	}
	return 0
}

func (t *tables) addSamples(data []byte) int {
	for len(data) > 0 {
		if Kind(data[0]) != CPUSample {
			return len(data)
		}
		var v [5]uint64
		at := 1
		for i := range v {
			n := 0
			if v[i], n = uvarint(data[at:]); n == 0 {
				return len(data)
			}
			at += n
		}
		t.samples = append(t.samples, sample{int64(v[0]), v[1], v[2], v[3], v[4], len(t.samples)})
		data = data[at:]
	}
	return 0
}

// addClock reads the frequency of the clock and, from Go 1.25 on, a snapshot of it and of the wall clock.
func (t *tables) addClock(base uint64, data []byte) {
	for len(data) > 0 {
		k := Kind(data[0])
		data = data[1:]
		switch k {
		case Frequency:
			v, n := uvarint(data)
			if n == 0 || v == 0 {
				return
			}
			t.clock = clock(1.0 / (float64(v) / 1e9))
			data = data[n:]
		case ClockSnapshot:
			var v [4]uint64 // time since the batch, monotonic clock, seconds, nanoseconds
			for i := range v {
				n := 0
				if v[i], n = uvarint(data); n == 0 {
					return
				}
				data = data[n:]
			}
			t.hasWall, t.snap, t.wallSec, t.wallNsec = true, base+v[0], v[2], v[3]
		default:
			return
		}
	}
}

// sortSamples turns the times of samples into ns and puts them in order.
func (t *tables) sortSamples() {
	for i := range t.samples {
		t.samples[i].time = t.clock.ns(uint64(t.samples[i].time))
	}
	slices.SortFunc(t.samples, func(a, b sample) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.source, b.source)) })
}

// interner numbers stacks so that the same frames have the same number in all generations. It is the fold.Stacks of a trace: one thread
// interns, and another one may ask for frames.
type interner struct {
	mu      sync.RWMutex // of stacks
	frames  []fold.Frame
	frameOf map[fold.Frame]uint32
	stacks  [][]fold.Frame
	chain   []uint32 // by stack: the one before it with the same hash
	byHash  map[uint64]uint32
	keys    [][]uint32 // by stack: its frames
	seed    maphash.Seed
	scratch []uint32
	refused uint64 // stacks beyond maxStacks

	nameless uint64 // frames whose functions are in no table
}

// Bounds of the distinct stacks of a trace and of their frames. The most stacks seen in a real one are some ten thousand.
const (
	maxStacks = 1 << 20
	maxFrames = 1 << 20 // distinct ones
)

func newInterner() *interner {
	return &interner{frameOf: map[fold.Frame]uint32{}, byHash: map[uint64]uint32{}, seed: maphash.MakeSeed(),
		stacks: make([][]fold.Frame, 1), chain: make([]uint32, 1), keys: make([][]uint32, 1)}
}

// Frames returns the frames of a stack, innermost first.
func (in *interner) Frames(s fold.Stack) []fold.Frame {
	in.mu.RLock()
	defer in.mu.RUnlock()
	if int(s) >= len(in.stacks) {
		return nil
	}
	return in.stacks[s]
}

// stack numbers a stack of a generation.
func (in *interner) stack(t *tables, id uint64) fold.Stack {
	if id == 0 {
		return 0
	}
	if n := t.numbers.get(id); n != 0 {
		return n - 1
	}
	raw := t.stacks.get(id)
	if raw == nil && t.stacked > 0 {
		return 0 // the runtime gives ids of stacks that it then does not write when it is out of memory
	}
	n := fold.Stack(0)
	if frames := in.frameNumbers(t, raw, id); len(frames) > 0 {
		n = in.intern(frames)
	}
	t.numbers.set(id, n+1)
	return n
}

// frameNumbers reads the frames of a stack. A stack whose table is missing is told from others by its id.
func (in *interner) frameNumbers(t *tables, raw []byte, id uint64) []uint32 {
	in.scratch = in.scratch[:0]
	if raw == nil {
		return append(in.scratch, in.frame(fold.Frame{PC: id})) // no program counter: the lowest page is never mapped
	}
	for len(raw) > 0 {
		var v [4]uint64
		for i := range v {
			n := 0
			v[i], n = uvarint(raw)
			raw = raw[max(n, 1):]
		}
		f := fold.Frame{PC: v[0], Func: t.strings.get(v[1]), File: t.strings.get(v[2]), Line: int(v[3])}
		if f.Func == "" && v[1] != 0 {
			in.nameless++
		}
		in.scratch = append(in.scratch, in.frame(f))
	}
	return in.scratch
}

func (in *interner) frame(f fold.Frame) uint32 {
	if n, ok := in.frameOf[f]; ok {
		return n
	}
	if len(in.frames) >= maxFrames {
		return 0
	}
	n := uint32(len(in.frames))
	in.frames = append(in.frames, f)
	in.frameOf[f] = n
	return n
}

func (in *interner) intern(frames []uint32) fold.Stack {
	var h maphash.Hash
	h.SetSeed(in.seed)
	var word [4]byte
	for _, f := range frames {
		binary.LittleEndian.PutUint32(word[:], f)
		h.Write(word[:])
	}
	sum := h.Sum64()
	for n := in.byHash[sum]; n != 0; n = in.chain[n] {
		if slices.Equal(in.keys[n], frames) {
			return fold.Stack(n)
		}
	}
	if len(in.stacks) >= maxStacks {
		in.refused++
		return 0
	}
	n := uint32(len(in.stacks))
	in.keys = append(in.keys, slices.Clone(frames))
	in.chain = append(in.chain, in.byHash[sum])
	in.byHash[sum] = n
	list := make([]fold.Frame, len(frames))
	for i, f := range frames {
		list[i] = in.frames[f]
	}
	if len(list) == 1 && list[0].Func == "" && list[0].File == "" {
		list = nil // no names
	}
	in.mu.Lock()
	in.stacks = append(in.stacks, list)
	in.mu.Unlock()
	return fold.Stack(n)
}
