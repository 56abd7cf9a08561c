package evidence

import (
	"iter"
	"math"
)

// State is what a goroutine was doing when the evidence was taken.
type State uint8

// The states of a goroutine: the runtime's statuses (runtime/runtime2.go), the scan bit left out.
const (
	StateUnknown State = iota
	StateIdle
	StateRunnable
	StateRunning
	StateSyscall
	StateWaiting
	StateDead
	StateCopystack // the runtime is moving its stack
	StatePreempted // stopped by an asynchronous preemption for a stack scan or a debugger
	StateLeaked    // the runtime's own leak detector marked it (Go 1.26)
)

var stateNames = []string{"unknown", "idle", "runnable", "running", "syscall", "waiting", "dead", "copystack",
	"preempted", "leaked"}

// String is the name used in reports and .case files.
func (s State) String() string { return nameOf(stateNames, int(s)) }

// Flags are properties of a goroutine beside its state.
type Flags uint16

// The flags of a goroutine.
const (
	FlagSystem   Flags = 1 << iota // started by the runtime for itself; hidden from users by the runtime's own dumps
	FlagLocked                     // locked to its thread
	FlagCgo                        // inside a call to C
	FlagCallback                   // C called back into Go on it
	FlagAsync                      // stopped at an asynchronous preemption: it was computing
	FlagSignal                     // a signal interrupted it, in its own code or in a call of the vDSO
	FlagCrashed                    // the goroutine on which the process died
	FlagDying                      // it is printing the crash of the process
	FlagBubble                     // inside a testing/synctest bubble
)

var flagNames = []string{"system", "locked", "cgo", "callback", "async", "signal", "crashed", "dying", "bubble"}

// Has reports whether all flags in want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Goroutine is the view of one row.
type Goroutine struct {
	ID      int64
	State   State
	Reason  string  // the runtime's wait reason ("chan receive", "sync.Mutex.Lock"); empty when it does not wait
	Stack   StackID // the goroutine's own frames, innermost first
	Created FrameID // the go statement that started it; zero when unknown
	Parent  int64   // id of the goroutine that executed the go statement; 0 when unknown
	Seconds uint32  // how long it has waited, at least, in seconds; 0 when unknown
	WaitsOn uint64  // address of the one object it waits for; 0 when none or several: see Case.Waits
	Flags   Flags
	Thread  int // id of the thread it is on; 0 when none or unknown
	Wake    Wake
}

// Ref is the reference of the row.
func (g Goroutine) Ref() Ref { return GoroutineRef(g.ID) }

// goroutineTable holds the rows as columns: about 33 bytes a goroutine.
type goroutineTable struct {
	id, parent column
	stack      []StackID
	created    []FrameID
	waitsOn    []uint64
	state      []State
	flags      []Flags
	reason     []uint16
	seconds    seconds
	wake       wakes
	thread     map[int]int // sparse: few goroutines are on a thread
	labels     map[int]string
	rowOf      map[int64]int // built on first use
}

func (t *goroutineTable) len() int { return len(t.stack) }

func (t *goroutineTable) grow(n int) {
	t.id.grow(n)
	t.parent.grow(n)
	t.stack = growSlice(t.stack, n)
	t.created = growSlice(t.created, n)
	t.waitsOn = growSlice(t.waitsOn, n)
	t.state = growSlice(t.state, n)
	t.flags = growSlice(t.flags, n)
	t.reason = growSlice(t.reason, n)
}

func growSlice[T any](s []T, n int) []T {
	if cap(s)-len(s) >= n {
		return s
	}
	grown := make([]T, len(s), len(s)+n)
	copy(grown, s)
	return grown
}

// seconds are the times of waits by row, and end with the last one that is known. The runtime fills waitsince only when a
// collection has seen the goroutine parked, so most processes know either none or nearly all: a map would take ten times the
// memory of the latter.
type seconds []uint32

func (s seconds) at(row int) uint32 {
	if row < len(s) {
		return s[row]
	}
	return 0
}

// set sets the time of a row of a table that has room for so many rows.
func (s *seconds) set(row int, v uint32, room int) {
	if row >= len(*s) {
		*s = growSlice(*s, max(room, row+1)-len(*s))
		*s = (*s)[:row+1]
	}
	(*s)[row] = v
}

// wakes are verdicts by row, and end with the last one that is known.
type wakes []Wake

func (w wakes) at(row int) Wake {
	if row < len(w) {
		return w[row]
	}
	return WakeUnknown
}

// set sets the verdict on a row of a table that has room for so many rows.
func (w *wakes) set(row int, v Wake, room int) {
	if row >= len(*w) {
		*w = growSlice(*w, max(room, row+1)-len(*w))[:row+1]
	}
	(*w)[row] = v
}

// column is a list of non-negative integers that takes four bytes each until a value needs eight.
type column struct {
	narrow []uint32
	wide   []int64
}

func (c *column) grow(n int) {
	if c.wide == nil {
		c.narrow = growSlice(c.narrow, n)
	}
}

func (c *column) append(v int64) {
	if c.wide == nil && v >= 0 && v <= math.MaxUint32 {
		c.narrow = append(c.narrow, uint32(v))
		return
	}
	c.widen()
	c.wide = append(c.wide, v)
}

func (c *column) widen() {
	if c.wide != nil {
		return
	}
	c.wide = make([]int64, len(c.narrow), 2*len(c.narrow)+1)
	for i, v := range c.narrow {
		c.wide[i] = int64(v)
	}
	c.narrow = nil
}

func (c *column) at(i int) int64 {
	if c.wide != nil {
		return c.wide[i]
	}
	return int64(c.narrow[i])
}

func (c *column) set(i int, v int64) {
	if c.wide == nil && v >= 0 && v <= math.MaxUint32 {
		c.narrow[i] = uint32(v)
		return
	}
	c.widen()
	c.wide[i] = v
}

// Goroutines is the table of goroutines.
type Goroutines struct{ c *Case }

// Len is the number of rows.
func (t Goroutines) Len() int { return t.c.goroutines.len() }

// At returns row i, in the order of the source.
func (t Goroutines) At(i int) Goroutine {
	g := &t.c.goroutines
	return Goroutine{
		ID: g.id.at(i), State: g.state[i], Reason: t.c.reasons[g.reason[i]], Stack: g.stack[i], Created: g.created[i],
		Parent: g.parent.at(i), Seconds: g.seconds.at(i), WaitsOn: g.waitsOn[i], Flags: g.flags[i], Thread: g.thread[i],
		Wake: g.wake.at(i),
	}
}

// ID returns the id of row i. It costs less than At, for rules that look at every row.
func (t Goroutines) ID(i int) int64 { return t.c.goroutines.id.at(i) }

// Created returns the go statement of row i. It costs less than At.
func (t Goroutines) Created(i int) FrameID { return t.c.goroutines.created[i] }

// StackOf returns the stack of row i. It costs less than At.
func (t Goroutines) StackOf(i int) StackID { return t.c.goroutines.stack[i] }

// Seconds returns how long row i has waited, at least; 0 when unknown. It costs less than At.
func (t Goroutines) Seconds(i int) uint32 { return t.c.goroutines.seconds.at(i) }

// Wake returns the verdict on row i. It costs less than At.
func (t Goroutines) Wake(i int) Wake { return t.c.goroutines.wake.at(i) }

// Row returns the row of the goroutine with this id.
func (t Goroutines) Row(id int64) (row int, ok bool) { return t.c.rowOf(id) }

// ByID returns the goroutine with this id.
func (t Goroutines) ByID(id int64) (Goroutine, bool) {
	row, ok := t.c.rowOf(id)
	if !ok {
		return Goroutine{}, false
	}
	return t.At(row), true
}

// All yields the rows in the order of the source.
func (t Goroutines) All() iter.Seq2[int, Goroutine] {
	return func(yield func(int, Goroutine) bool) {
		for i := range t.Len() {
			if !yield(i, t.At(i)) {
				return
			}
		}
	}
}

// Labels returns the pprof labels of row i as the runtime prints them ({"k": "v"}), or "".
func (t Goroutines) Labels(i int) string { return t.c.goroutines.labels[i] }

// Group is a set of goroutines with the same stack, state and wait reason.
type Group struct {
	Stack   StackID
	State   State
	Reason  string
	Count   int
	First   int    // a row of the group: the first in the order of the source
	Oldest  uint32 // longest wait in the group, in seconds; 0 when unknown
	Flags   Flags  // flags that every member has
	AnyFlag Flags  // flags that some member has
	Never   int    // members that can never wake
}
