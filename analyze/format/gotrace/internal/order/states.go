package order

import "github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"

// The statuses of goroutines and Ps as the format numbers them (internal/trace/tracev2, GoStatus and ProcStatus).
const (
	goBad = iota
	goRunnable
	goRunning
	goSyscall
	goWaiting
	numGoStatuses
)

const (
	procBad = iota
	procRunning
	procIdle
	procSyscall
	procAbandoned // in a system call of a thread that is not known
	numProcStatuses
)

// stateOf is the state of a goroutine by its status.
var stateOf = [numGoStatuses]fold.State{goRunnable: fold.StateReady, goRunning: fold.StateRunning, goSyscall: fold.StateSyscall,
	goWaiting: fold.StateBlocked}

// seq is a sequence number: it counts within a generation.
type seq struct {
	gen uint64
	n   uint64
}

// follows reports whether the number n of a generation is the next one.
func (s seq) follows(gen, n uint64) bool { return s.gen == gen && s.n+1 == n }

// goroutine is what is known of a live goroutine.
type goroutine struct {
	id     uint64
	seq    seq
	on     *thread // that it was on last
	fold   *fold.G // the teller's, whose thread may still look at that of a goroutine which has ended; it shares no cache line with this
	status uint8
}

// proc is what is known of a P.
type proc struct {
	id     uint64
	seq    seq
	on     *thread // that it was on last
	status uint8
	known  bool // some event has told its status
	number uint64
	fold   fold.P // the teller's
}

// thread is an M with what it runs.
type thread struct {
	id uint64
	g  *goroutine
	p  *proc
}

// goroutines finds goroutines by id: open addressing with linear probing. There is a look-up for every other event, and the table of Go's
// map costs three times as much.
type goroutines struct {
	slots []*goroutine // a power of two; nil is free
	shift uint
	n     int
	free  []*goroutine
	slab  []goroutine
	folds []fold.G
}

// slabSize is how many goroutines are allocated at once.
const slabSize = 256

func newGoroutines() *goroutines {
	const bits = 10
	return &goroutines{slots: make([]*goroutine, 1<<bits), shift: 64 - bits}
}

// home is where a goroutine stands when nothing is in its way. The multiplier is 2^64 divided by the golden ratio.
func (t *goroutines) home(id uint64) uint64 { return id * 0x9e3779b97f4a7c15 >> t.shift }

func (t *goroutines) get(id uint64) *goroutine {
	mask := uint64(len(t.slots) - 1)
	for i := t.home(id); ; i = (i + 1) & mask {
		g := t.slots[i]
		if g == nil || g.id == id {
			return g
		}
	}
}

// add makes a goroutine that is not there yet.
func (t *goroutines) add(id uint64) *goroutine {
	if t.n*2 >= len(t.slots) {
		t.grow()
	}
	g := t.make()
	g.id, g.seq, g.status, g.on = id, seq{}, 0, nil
	t.put(g)
	t.n++
	return g
}

func (t *goroutines) make() *goroutine {
	if n := len(t.free); n > 0 {
		g := t.free[n-1]
		t.free = t.free[:n-1]
		return g
	}
	if len(t.slab) == 0 {
		t.slab, t.folds = make([]goroutine, slabSize), make([]fold.G, slabSize)
	}
	g := &t.slab[0]
	g.fold = &t.folds[0]
	t.slab, t.folds = t.slab[1:], t.folds[1:]
	return g
}

func (t *goroutines) put(g *goroutine) {
	mask := uint64(len(t.slots) - 1)
	i := t.home(g.id)
	for t.slots[i] != nil {
		i = (i + 1) & mask
	}
	t.slots[i] = g
}

func (t *goroutines) grow() {
	old := t.slots
	t.slots = make([]*goroutine, 2*len(old))
	t.shift--
	for _, g := range old {
		if g != nil {
			t.put(g)
		}
	}
}

// remove forgets a goroutine. What stands behind it in a run of full slots moves up where its home allows it.
func (t *goroutines) remove(g *goroutine) {
	mask := uint64(len(t.slots) - 1)
	i := t.home(g.id)
	for t.slots[i] != g {
		if t.slots[i] == nil {
			return
		}
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; t.slots[j] != nil; j = (j + 1) & mask {
		if home := t.home(t.slots[j].id); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = nil
	t.n--
	t.free = append(t.free, g)
}

// all yields the goroutines; the order is that of the table.
func (t *goroutines) all(yield func(*goroutine) bool) {
	for _, g := range t.slots {
		if g != nil && !yield(g) {
			return
		}
	}
}
