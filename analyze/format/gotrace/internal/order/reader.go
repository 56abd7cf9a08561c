package order

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// Options are the wishes of who reads a trace.
type Options struct {
	Jobs     int                     // threads: 1, the Folder has its own from 2 on, and batches are decoded ahead from 3 on; 0: as many as processors
	Watch    func(*Event)            // called for each event, in order; nil when nobody looks. The Event is used again
	Progress func(done, total int64) // bytes of the file; nil when nobody looks
}

// Stats is what was read of a trace, and what was not.
type Stats struct {
	Version     int // 22 to 26; 0 when the header is lost
	Events      uint64
	Generations int
	Start, End  int64 // ns of the trace's clock: of the first and of the last event
	WallNS      int64 // Unix time at Start; 0 when the trace has no wall clock

	Forced   uint64   // events that came before what must come first, because that is missing
	BadBytes uint64   // of batches and tables, which are no events
	Damage   []Damage // stretches of the file without batches
	Partial  int      // generations without names or clock
	Broken   int      // generations with something missing inside or before them
	Nameless uint64   // frames whose functions are in no table
	Cut      bool     // the file ends within a batch
	Overrun  bool     // tables were too large to keep
	Refused  uint64   // events of goroutines beyond those that are kept, and stacks beyond those
	Guessed  bool     // no generation told the clock's frequency: the usual one was taken
}

// Damage is a stretch of the file that could not be read; a length of 0 means a header that was mended.
type Damage struct{ Offset, Len int64 }

// Reader reads one trace.
type Reader struct {
	file    io.ReaderAt
	size    int64
	opt     Options
	gens    generations
	decoder *decoder
	stacks  *interner
	m       machine
	stats   Stats
	threads map[uint64]*thread

	work     *work
	frontier []*stream // a heap by the time of the next event
	samples  []sample
	tries    uint64
	last     int64 // time of the last event: times are made to rise strictly, as internal/trace does
}

// ErrEmpty says that nothing in the file could be read as part of a trace.
var ErrEmpty = errors.New("no batch of events in it")

// Open prepares reading a file of size bytes. The Folder is told of everything by Read; stacks that it is given have their frames in
// Stacks.
func Open(file io.ReaderAt, size int64, opt Options) (*Reader, error) {
	if opt.Jobs == 0 {
		opt.Jobs = runtime.GOMAXPROCS(0)
	}
	r := &Reader{file: file, size: size, opt: opt, stacks: newInterner(), decoder: newDecoder(file), threads: map[uint64]*thread{}}
	head := make([]byte, headerSize)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	r.gens.frames = frames{file: file, size: size}
	if v, ok := Version(head[:n]); ok {
		if v < oldest || v > newest {
			return nil, fmt.Errorf("its format is that of Go 1.%d: 1.%d to 1.%d are known", v, oldest, newest)
		}
		r.stats.Version, r.gens.frames.at = v, int64(headerSize)
	}
	r.gens.frames.lost = r.stats.Version == 0
	return r, nil
}

// ahead reports whether a thread of its own decodes batches before they are needed. On two processors it would only take turns with the one
// that needs them, and what it decodes would go through memory: 512 KB for a batch.
func (r *Reader) ahead() bool { return r.opt.Jobs > 2 }

// Stacks has the frames of the stacks that the Folder is given.
func (r *Reader) Stacks() fold.Stacks { return r.stacks }

// Read reads the trace to its end and tells f. The error is that of ctx, of the file, or ErrEmpty.
func (r *Reader) Read(ctx context.Context, f *fold.Folder) (Stats, error) {
	r.m = newMachine(r, f)
	err := r.all(ctx)
	r.m.close()
	r.finish()
	switch {
	case !errors.Is(err, io.EOF):
		return r.stats, err
	case r.decoder.failure() != nil:
		return r.stats, r.decoder.failure()
	case r.stats.Events == 0:
		return r.stats, ErrEmpty
	}
	return r.stats, nil
}

// all reads all generations; the error at the end is io.EOF.
func (r *Reader) all(ctx context.Context) error {
	source := indexer{r: r}
	if r.opt.Jobs > 1 {
		source.start()
		defer source.close()
	}
	if r.ahead() {
		done := make(chan struct{})
		go func() { defer close(done); r.decoder.run() }()
		defer func() { r.decoder.close(); <-done }()
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, err := source.next()
		if err != nil {
			return err
		}
		if err := r.generation(w); err != nil {
			return err
		}
	}
}

// Live yields the goroutines that are alive when Read has returned.
func (r *Reader) Live(yield func(*fold.G) bool) {
	r.m.gs.all(func(g *goroutine) bool { return yield(g.fold) })
}

func (r *Reader) finish() {
	for _, d := range r.gens.frames.damage {
		r.stats.Damage = append(r.stats.Damage, Damage{d.off, d.len})
	}
	r.stats.End = r.last
	r.stats.Refused += r.stacks.refused
	r.stats.Nameless = r.stacks.nameless
}

// generation tells all of a generation.
func (r *Reader) generation(w *work) error {
	g := w.generation
	r.count(g)
	r.install(w)
	r.m.beginGeneration(g)
	r.tick(g.tables.clock.ns(g.minTime)) // internal/trace has an event of its own here, which takes a moment
	for len(r.frontier) > 0 {
		r.step()
	}
	for len(r.samples) > 0 {
		r.sample()
	}
	r.m.endGeneration(g)
	r.forgetThreads()
	if r.opt.Progress != nil {
		r.opt.Progress(g.end, r.size)
	}
	return r.decoder.failure()
}

// maxThreads is how many threads are remembered from one generation to the next before those that run nothing are forgotten.
const maxThreads = 1 << 14

func (r *Reader) forgetThreads() {
	if len(r.threads) <= maxThreads {
		return
	}
	for id, t := range r.threads {
		if t.g == nil && t.p == nil {
			delete(r.threads, id)
		}
	}
}

// count notes what the generation says of the whole trace.
func (r *Reader) count(g *generation) {
	r.stats.Generations++
	t := &g.tables
	r.stats.BadBytes += uint64(t.bad)
	if g.partial {
		r.stats.Partial++
	}
	if g.broken {
		r.stats.Broken++
	}
	r.stats.Overrun = r.stats.Overrun || g.overrun
	r.stats.Guessed = r.stats.Guessed || g.tables.guessed
	r.stats.Cut = r.stats.Cut || g.cut
	if r.stats.Generations == 1 {
		r.stats.Start = t.clock.ns(g.minTime)
		if t.hasWall {
			r.stats.WallNS = int64(t.wallSec)*1e9 + int64(t.wallNsec) - (t.clock.ns(t.snap) - r.stats.Start)
		}
	}
	r.m.put(call{what: callBegin, time: t.clock.ns(g.minTime)}) // who appears in it was in its state since
}

// install makes the streams of the generation's threads, in the order in which they first appear in the file.
func (r *Reader) install(w *work) {
	g := w.generation
	byThread := map[uint64]*stream{}
	for i := range g.batches {
		m := g.batches[i].m
		s := byThread[m]
		if s == nil {
			s = &stream{thread: r.thread(m)}
			byThread[m] = s
			w.streams = append(w.streams, s)
		}
		s.batches = append(s.batches, i)
	}
	r.work, r.samples = w, g.tables.samples
	r.frontier = r.frontier[:0]
	for _, s := range w.streams {
		if s.fill(r, w) {
			r.frontier = append(r.frontier, s)
			r.up(len(r.frontier) - 1)
		}
	}
}

func (r *Reader) thread(id uint64) *thread {
	t := r.threads[id]
	if t == nil {
		t = &thread{id: id}
		r.threads[id] = t
	}
	return t
}

// tick makes a time later than that of the event before.
func (r *Reader) tick(t int64) int64 {
	if t <= r.last {
		t = r.last + 1
	}
	r.last = t
	return t
}

// step tells events of the thread whose next one is the earliest, until another thread's is earlier. Where that event must wait for
// another one, it lets the next threads try.
func (r *Reader) step() {
	s := r.frontier[0]
	until := r.second()
	for {
		if len(r.samples) > 0 && r.samples[0].time < s.time {
			r.sample()
			return
		}
		if !r.m.advance(s.thread, &s.events[s.pos], false) {
			r.others()
			return
		}
		if !r.shift(0) {
			return
		}
		if s.time > until {
			r.down(0)
			return
		}
	}
}

// second is the time of the earliest event but that of the first thread.
func (r *Reader) second() int64 {
	t := int64(math.MaxInt64)
	for i := 1; i <= 2 && i < len(r.frontier); i++ {
		t = min(t, r.frontier[i].time)
	}
	return t
}

// shift goes on to the next event of stream i; false when that was its last, and it is gone.
func (r *Reader) shift(i int) bool {
	s := r.frontier[i]
	if s.pos++; s.pos < len(s.events) {
		s.time = s.events[s.pos].time
		return true
	}
	if s.fill(r, r.work) {
		return true
	}
	r.remove(i)
	return false
}

// others lets the threads after the first try, by time. When none can go on, something is missing: then the earliest is taken by force.
func (r *Reader) others() {
	if r.tries += uint64(len(r.frontier)); r.tries > freeTries+triesAnEvent*r.stats.Events {
		r.force() // hardly any of them fits: looking for the right one would take for ever
		return
	}
	slices.SortFunc(r.frontier, func(a, b *stream) int { return cmp.Compare(a.time, b.time) })
	for i := 1; i < len(r.frontier); i++ {
		s := r.frontier[i]
		if r.m.advance(s.thread, &s.events[s.pos], false) {
			r.moved(i)
			return
		}
	}
	r.force()
}

// Who waits for another thread is rare in a trace that is whole: not one event in a hundred.
const (
	freeTries    = 1 << 24
	triesAnEvent = 32
)

// force takes the earliest event, though it does not fit.
func (r *Reader) force() {
	s := r.frontier[0]
	r.stats.Forced++
	r.m.advance(s.thread, &s.events[s.pos], true)
	r.moved(0)
}

// moved goes on to the next event of stream i and puts it at its place in the heap.
func (r *Reader) moved(i int) {
	if r.shift(i) && r.up(i) == i {
		r.down(i)
	}
}

// up and down restore the heap after the time of an entry has changed, and remove takes one out. They move entries as internal/trace does
// (batchcursor.go), so that of two events with the same time the same one comes first.
func (r *Reader) up(i int) int {
	h := r.frontier
	for i > 0 && h[(i-1)/2].time > h[i].time {
		h[(i-1)/2], h[i] = h[i], h[(i-1)/2]
		i = (i - 1) / 2
	}
	return i
}

func (r *Reader) down(i int) {
	h := r.frontier
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].time < h[least].time {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (r *Reader) remove(i int) {
	h := r.frontier
	for ; i > 0; i = (i - 1) / 2 {
		h[(i-1)/2], h[i] = h[i], h[(i-1)/2]
	}
	last := len(h) - 1
	h[0], h[last] = h[last], nil
	r.frontier = h[:last]
	r.down(0)
}

// sample tells the next CPU sample.
func (r *Reader) sample() {
	s := r.samples[0]
	r.samples = r.samples[1:]
	r.m.sample(&s, &r.work.tables)
}
