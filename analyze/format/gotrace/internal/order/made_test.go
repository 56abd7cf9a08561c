package order

import (
	"bytes"
	"encoding/binary"
	"io"
	"iter"
	"os"
	"runtime"
	"runtime/trace"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// writer makes traces by hand.
type writer struct{ bytes.Buffer }

func newWriter(version string) *writer {
	w := &writer{}
	w.WriteString("go 1." + version + " trace\x00\x00\x00")
	return w
}

func (w *writer) numbers(list ...uint64) {
	for _, v := range list {
		w.Write(binary.AppendUvarint(nil, v))
	}
}

// batch writes a batch of events, or of anything else.
func (w *writer) batch(gen, m, time uint64, data []byte) {
	w.WriteByte(byte(EventBatch))
	w.numbers(gen, m, time, uint64(len(data)))
	w.Write(data)
}

// ev is the bytes of an event: its kind, its time and its numbers.
func ev(k Kind, numbers ...uint64) []byte {
	data := []byte{byte(k)}
	for _, v := range numbers {
		data = binary.AppendUvarint(data, v)
	}
	return data
}

// clockOf is the data of a batch that says the frequency: ticks of one nanosecond.
func clockOf() []byte { return ev(Frequency, 1e9) }

// text is the data of a table of strings, numbered from one.
func text(list ...string) []byte {
	data := []byte{byte(Strings)}
	for i, s := range list {
		data = append(data, ev(StringEntry, uint64(i+1), uint64(len(s)))...)
		data = append(data, s...)
	}
	return data
}

// seen is what a Reader tells of a trace.
type seen struct {
	events []Event
	stats  Stats
	kinds  [256]uint64
	live   []int64
	stacks fold.Stacks
	err    error
}

func readAll(t testing.TB, data []byte, jobs int) seen {
	t.Helper()
	var s seen
	r, err := Open(bytes.NewReader(data), int64(len(data)), Options{Jobs: jobs, Watch: func(e *Event) {
		s.events = append(s.events, *e)
		s.kinds[e.Kind]++
	}})
	if err != nil {
		s.err = err
		return s
	}
	s.stats, s.err = r.Read(t.Context(), fold.New(r.Stacks()))
	s.stacks = r.Stacks()
	if s.stats.Events != uint64(len(s.events)) {
		t.Errorf("%d events are counted, %d were told", s.stats.Events, len(s.events))
	}
	r.Live(func(g *fold.G) bool { s.live = append(s.live, g.ID); return true })
	slices.Sort(s.live)
	return s
}

// recorded is a real trace of the runtime that this test runs under, made once.
var recorded = sync.OnceValues(func() ([]byte, error) {
	var out bytes.Buffer
	if err := trace.Start(&out); err != nil {
		return nil, err
	}
	labour()
	trace.Stop()
	return out.Bytes(), nil
})

// labour does a little of everything for more than two generations.
func labour() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	ch := make(chan int)
	for i := range 8 {
		wg.Go(func() {
			for v := range ch {
				mu.Lock()
				runtime.Gosched()
				mu.Unlock()
				_ = make([]byte, 100*v%5000)
			}
			_ = i
		})
	}
	end := time.Now().Add(2200 * time.Millisecond)
	for i := 0; time.Now().Before(end); i++ {
		ch <- i
		if i%20 == 0 {
			time.Sleep(4 * time.Millisecond)
			f, err := os.Open(os.DevNull)
			if err == nil {
				io.CopyN(io.Discard, f, 1)
				f.Close()
			}
		}
		if i%500 == 0 {
			next, stop := iter.Pull(func(yield func(int) bool) { yield(i) })
			next()
			stop()
			runtime.GC()
		}
	}
	close(ch)
	wg.Wait()
}

func realTrace(t testing.TB) []byte {
	t.Helper()
	data, err := recorded()
	if err != nil {
		t.Skipf("needs to trace itself: %v", err)
	}
	return data
}
