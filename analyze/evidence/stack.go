package evidence

import (
	"iter"
	"slices"
)

// Trust says how a frame or a value was obtained, from best to worst.
type Trust uint8

// The grades of trust.
const (
	TrustRead    Trust = iota // read from where the format keeps it (registers, a printed dump)
	TrustUnwound              // computed by the unwind tables of the program
	TrustMatched              // recognised by name or shape
	TrustGuessed              // found by scanning memory
)

var trustNames = []string{"read", "unwound", "matched", "guessed"}

// String is the name used in reports and .case files.
func (t Trust) String() string { return nameOf(trustNames, int(t)) }

// Language is the language a frame was compiled from.
type Language uint8

// The languages of frames.
const (
	LanguageGo Language = iota
	LanguageC           // C, C++, Rust, assembly outside Go: whatever the native unwinder walked
	LanguagePython
)

var languageNames = []string{"go", "c", "python"}

// String is the name used in reports and .case files.
func (l Language) String() string { return nameOf(languageNames, int(l)) }

// FrameID names a Frame of a Case. Zero is "no frame".
type FrameID uint32

// StackID names a Stack of a Case. Zero is "no stack".
type StackID uint32

// A Frame is one logical call: an inlined call has a frame of its own.
type Frame struct {
	Function string // qualified: "net/http.(*conn).serve"; as the runtime prints it, type arguments as [...]
	File     string // as recorded by the compiler; empty when unknown
	Line     int    // 1-based; 0 when unknown
	PC       uint64 // address of the instruction that is being executed or will be returned to; 0 when not known
	Inlined  bool   // inlined into the next frame of the stack
	Language Language
	Trust    Trust
	Module   string // base name of the shared object of a native frame; empty for Go frames
}

// A Stack is a list of frames, innermost first.
type Stack struct {
	ID       StackID
	frames   []FrameID
	table    *frameTable
	Elided   int    // frames left out, because the source left them out or because there were too many
	ElidedAt int    // how many frames stand before the gap
	Broken   string // why unwinding ended early; empty for a complete stack
}

// Len is the number of frames that are stored.
func (s Stack) Len() int { return len(s.frames) }

// Depth is the number of frames that the stack had, those left out included.
func (s Stack) Depth() int { return len(s.frames) + s.Elided }

// At returns frame i, 0 being the innermost.
func (s Stack) At(i int) Frame { return s.table.frames[s.frames[i]] }

// FrameID returns the id of frame i.
func (s Stack) FrameID(i int) FrameID { return s.frames[i] }

// All yields the frames, innermost first.
func (s Stack) All() iter.Seq2[int, Frame] {
	return func(yield func(int, Frame) bool) {
		for i := range s.frames {
			if !yield(i, s.At(i)) {
				return
			}
		}
	}
}

// frameTable interns frames.
type frameTable struct {
	frames []Frame // index 0 is the zero Frame
	index  map[Frame]FrameID
}

func newFrameTable() *frameTable {
	return &frameTable{frames: make([]Frame, 1), index: map[Frame]FrameID{}}
}

func (t *frameTable) intern(f Frame) FrameID {
	if id, ok := t.index[f]; ok {
		return id
	}
	id := FrameID(len(t.frames))
	t.frames = append(t.frames, f)
	t.index[f] = id
	return id
}

// stackTable interns stacks: the frames of all stacks stand in one arena.
type stackTable struct {
	arena  []FrameID
	start  []uint32 // stack i is arena[start[i]:start[i+1]]; stack 0 is empty
	notes  map[StackID]stackNote
	byHash map[uint64]StackID // the stack that was added last with this hash
	chain  []StackID          // by stack: the one before it with the same hash; a list for each hash would be garbage
}

type stackNote struct {
	Elided, ElidedAt int
	Broken           string
}

func newStackTable() *stackTable {
	return &stackTable{start: []uint32{0, 0}, notes: map[StackID]stackNote{}, byHash: map[uint64]StackID{}, chain: []StackID{0}}
}

func (t *stackTable) len() int { return len(t.start) - 1 }

func (t *stackTable) frames(id StackID) []FrameID { return t.arena[t.start[id]:t.start[id+1]] }

// intern stores a stack once. The hash is FNV-1a over the frame ids.
func (t *stackTable) intern(frames []FrameID, note stackNote) StackID {
	if len(frames) == 0 && note == (stackNote{}) {
		return 0
	}
	h := hashFrames(frames)
	for id := t.byHash[h]; id != 0; id = t.chain[id] {
		if t.notes[id] == note && equalFrames(t.frames(id), frames) {
			return id
		}
	}
	id := StackID(t.len())
	if need := len(t.arena) + len(frames); need > cap(t.arena) {
		t.arena = slices.Grow(t.arena, need) // twice as much: append's quarters would copy a long list five times
	}
	t.arena = append(t.arena, frames...)
	t.start = append(t.start, uint32(len(t.arena)))
	t.chain = append(t.chain, t.byHash[h])
	t.byHash[h] = id
	if note != (stackNote{}) {
		t.notes[id] = note
	}
	return id
}

func hashFrames(frames []FrameID) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset)
	for _, f := range frames {
		h = (h ^ uint64(f)) * prime
	}
	return h
}

func equalFrames(a, b []FrameID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// nameOf is names[i], or "unknown" outside the table.
func nameOf(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return "unknown"
	}
	return names[i]
}
