package order

import "github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"

// call is one call of a Folder, to be made by another thread.
type call struct {
	time  int64
	g, by *fold.G
	x     uint64
	a, b  uint32 // stacks and reasons
	text  uint32 // index of the first text in the calls it belongs to
	what  what
	flag  bool
}

// what is the method to call.
type what uint8

const (
	callBegin what = iota
	callReason
	callAppear
	callRestate
	callCreate
	callCreateInSyscall
	callRun
	callYield
	callBlock
	callUnblock
	callSyscall
	callSysexit
	callExit
	callAssist
	callPause
	callPauseEnd
	callGC
	callSweep
	callHeap
	callGoal
	callProcs
	callProcRun
	callProcStop
	callLabel
	callParent // of the task that comes next
	callTask
	callTaskEnd
	callRegion
	callRegionEnd
	callLog
	callSample
)

// calls is a row of calls with what they name.
type calls struct {
	list  []call
	n     int // of list that are meant
	texts []string
	procs []*fold.P // that are new
}

// Numbers of rows and of calls in one. A row is short, so that it stays in the nearest cache of who fills it. There are many of them, because
// the two threads do not keep in step: whoever has to wait sleeps, and waking him takes as long as hundreds of calls. With 4 rows instead of
// 64 reading takes twice as long on two processors, as long as on one.
const (
	callsInRow = 512
	rows       = 64
)

// teller makes the calls of a Folder, a row of them at a time, on the thread that reads or on one of its own. A goroutine's part of the Folder (fold.G) is
// touched by that thread alone.
type teller struct {
	f       *fold.Folder
	reasons []fold.Reason          // by number
	numbers map[string]fold.Reason // of the thread that reads
	procs   []*fold.P
	known   uint64 // Ps that were numbered

	row  *calls
	n    int         // calls in the row
	full chan *calls // nil: by the thread that reads
	free chan *calls
	done chan struct{}

	parent uint64 // of the next task
}

func newTeller(f *fold.Folder) *teller {
	return &teller{f: f, row: newRow(), numbers: map[string]fold.Reason{}}
}

// start has the calls made by a thread of their own from now on.
func (t *teller) start() {
	t.full, t.free, t.done = make(chan *calls, rows), make(chan *calls, rows), make(chan struct{})
	for range rows {
		t.free <- newRow()
	}
	go t.run()
}

func newRow() *calls { return &calls{list: make([]call, callsInRow)} }

func (t *teller) run() {
	defer close(t.done)
	for row := range t.full {
		t.makeAll(row)
		t.free <- row
	}
}

// makeAll makes the calls of a row, and empties it.
func (t *teller) makeAll(row *calls) {
	t.procs = append(t.procs, row.procs...)
	for i := range row.list[:row.n] {
		t.make(&row.list[i], row.texts)
	}
	clear(row.texts)
	row.texts, row.procs = row.texts[:0], row.procs[:0]
}

// close makes the calls that are left. After it the Folder may be used.
func (t *teller) close() {
	t.flush()
	if t.full != nil {
		close(t.full)
		<-t.done
	}
}

// flush makes the calls so far, or hands them over.
func (t *teller) flush() {
	t.row.n, t.n = t.n, 0
	if t.full == nil {
		t.makeAll(t.row)
		return
	}
	t.full <- t.row
	t.row = <-t.free
}

// next is the place of the next call. It may hold what an earlier one has left: each call looks only at the fields that it has.
func (t *teller) next(w what, time int64, g *fold.G) *call {
	if t.n == callsInRow {
		t.flush()
	}
	c := &t.row.list[t.n]
	t.n++
	c.what, c.time, c.g = w, time, g
	return c
}

// put makes a call.
func (t *teller) put(c call) { *t.next(c.what, c.time, c.g) = c }

// putText makes a call with texts.
func (t *teller) putText(c call, texts ...string) {
	place := t.next(c.what, c.time, c.g)
	c.text = uint32(len(t.row.texts))
	t.row.texts = append(t.row.texts, texts...)
	*place = c
}

// reason numbers a reason. The numbers are the teller's own.
func (t *teller) reason(name string) fold.Reason {
	if n, ok := t.numbers[name]; ok {
		return n
	}
	n := fold.Reason(min(len(t.numbers), maxReason))
	t.numbers[name] = n
	t.putText(call{what: callReason, x: uint64(n)}, name)
	return n
}

// maxReason is the largest number of a reason; a file with more has been made to have them.
const maxReason = 1<<15 - 1

// newProc numbers a P.
func (t *teller) newProc(p *fold.P) uint64 {
	t.known++
	t.row.procs = append(t.row.procs, p)
	return t.known - 1
}

// make makes a call of the Folder.
func (t *teller) make(c *call, texts []string) {
	f, stack := t.f, fold.Stack(c.a)
	switch c.what {
	case callRun:
		f.Run(c.time, c.g)
	case callUnblock:
		f.Unblock(c.time, c.g, c.by, stack)
	case callBlock:
		f.Block(c.time, c.g, t.reasons[c.b], stack)
	case callSyscall:
		f.Syscall(c.time, c.g, stack)
	case callSysexit:
		f.Sysexit(c.time, c.g, c.flag)
	case callYield:
		f.Yield(c.time, c.g, t.reasons[c.b], stack)
	case callCreate:
		*c.g = fold.G{ID: int64(c.x)}
		f.Create(c.time, c.g, c.by, stack, fold.Stack(c.b), c.flag)
	case callExit:
		f.Exit(c.time, c.g)
	case callHeap:
		f.Heap(c.time, c.x)
	case callProcRun:
		f.ProcRun(c.time, t.procs[c.x])
	case callProcStop:
		f.ProcStop(c.time, t.procs[c.x])
	case callSample:
		f.Sample(c.time, c.g, stack)
	default:
		t.makeRare(c, texts)
	}
}

func (t *teller) makeRare(c *call, texts []string) {
	f, stack := t.f, fold.Stack(c.a)
	switch c.what {
	case callBegin:
		f.Begin(c.time)
	case callReason:
		for uint64(len(t.reasons)) <= c.x {
			t.reasons = append(t.reasons, 0)
		}
		t.reasons[c.x] = f.Reason(texts[c.text])
	case callAppear:
		*c.g = fold.G{ID: int64(c.x)}
		if c.flag { // an event proves that it is there, and nothing what it did before
			f.Restate(c.time, c.g, fold.State(c.b))
			return
		}
		f.Appear(c.time, c.g, fold.State(c.b), stack)
	case callRestate:
		f.Restate(c.time, c.g, fold.State(c.b))
	case callCreateInSyscall:
		*c.g = fold.G{ID: int64(c.x)}
		f.CreateInSyscall(c.time, c.g)
	case callAssist:
		f.Assist(c.time, c.g, c.flag, stack)
	case callGC:
		f.GC(c.time, c.flag)
	case callSweep:
		f.Sweep(c.time, t.procs[c.x], c.flag)
	case callGoal:
		f.Goal(c.time, c.x)
	case callProcs:
		f.Procs(c.time, int(c.x))
	default:
		t.makeOwn(c, texts)
	}
}

// makeOwn tells what a goroutine says of itself.
func (t *teller) makeOwn(c *call, texts []string) {
	f, stack := t.f, fold.Stack(c.a)
	switch c.what {
	case callPause:
		f.Pause(c.time, c.g, texts[c.text], stack)
	case callPauseEnd:
		f.PauseEnd(c.time, c.g)
	case callLabel:
		f.Label(c.time, c.g, texts[c.text])
	case callTask:
		f.Task(c.time, c.g, c.x, t.parent, texts[c.text], stack)
	case callParent:
		t.parent = c.x
	case callTaskEnd:
		f.TaskEnd(c.time, c.g, c.x)
	case callRegion:
		f.Region(c.time, c.g, c.x, texts[c.text], stack)
	case callRegionEnd:
		f.RegionEnd(c.time, c.g, c.x, texts[c.text])
	case callLog:
		f.Log(c.time, c.g, c.x, texts[c.text], texts[c.text+1])
	}
}
