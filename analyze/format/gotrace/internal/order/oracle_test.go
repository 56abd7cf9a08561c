package order_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/order"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen"
)

// oracle reads the same trace with x/exp/trace, an event behind the other.
type oracle struct {
	t      *testing.T
	events *trace.Reader
	ahead  *told
	err    error
	texts  *texts
	count  map[trace.EventKind]uint64
	failed int
}

func newOracle(t *testing.T, data []byte) *oracle {
	t.Helper()
	events, err := trace.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return &oracle{t: t, events: events, texts: newTexts(), count: map[trace.EventKind]uint64{}}
}

// peek is the next event that order tells too; nil at the end.
func (o *oracle) peek() *told {
	for o.ahead == nil && o.err == nil {
		ev, err := o.events.ReadEvent()
		if err != nil {
			o.err = err
			break
		}
		o.count[ev.Kind()]++
		if ev.Kind() == trace.EventSync || ev.Kind() == trace.EventExperimental {
			continue
		}
		e := o.texts.event(ev)
		o.ahead = &e
	}
	return o.ahead
}

func (o *oracle) next() *told {
	e := o.peek()
	o.ahead = nil
	return e
}

// wantSame compares an event.
func (o *oracle) wantSame(got told) {
	want := o.next()
	if want != nil && *want == got || o.failed > 5 {
		return
	}
	o.failed++
	if want == nil {
		o.t.Errorf("event %+v, where x/exp/trace has none: %v", got, o.err)
		return
	}
	o.t.Errorf("event\n%+v, want\n%+v\nstacks %q\n%q", got, *want, o.texts.byText[got.stack], o.texts.byText[want.stack])
}

// compare reads a trace with both readers and holds that they tell the same events, in the same order, at the same times.
func compare(t *testing.T, data []byte, jobs int) (order.Stats, map[order.Kind]uint64) {
	t.Helper()
	o := newOracle(t, data)
	kinds := map[order.Kind]uint64{}
	var r *order.Reader
	watch := func(ev *order.Event) {
		kinds[ev.Kind]++
		if ev.Kind > order.EndOfGeneration {
			return // of an experiment
		}
		if ev.Kind == order.GoDestroySyscall {
			o.leaves(ev)
		}
		for _, e := range our(o.texts, r.Stacks(), ev) {
			if ev.Kind == order.ProcSteal || ev.Kind == order.ProcStatus {
				o.abandoned(&e)
			}
			o.wantSame(e)
		}
	}
	r, err := order.Open(bytes.NewReader(data), int64(len(data)), order.Options{Jobs: jobs, Watch: watch})
	if err != nil {
		t.Fatal(err)
	}
	stats, err := r.Read(context.Background(), fold.New(r.Stacks()))
	if err != nil {
		t.Fatal(err)
	}
	if left := o.next(); left != nil || !errors.Is(o.err, io.EOF) {
		t.Errorf("x/exp/trace goes on with %+v, %v", left, o.err)
	}
	sum, strange := uint64(0), uint64(0)
	for k, n := range kinds {
		if sum += n; k > order.EndOfGeneration {
			strange += n
		}
	}
	if stats.Events != sum || strange != o.count[trace.EventExperimental] {
		t.Errorf("%d events are counted, %d were told, %d of them of an experiment: want %d of those", stats.Events, sum, strange,
			o.count[trace.EventExperimental])
	}
	return stats, kinds
}

// leaves takes in the event that x/exp/trace makes up where a thread of C goes away with its P.
func (o *oracle) leaves(ev *order.Event) {
	if e := o.peek(); e != nil && e.of == trace.ResourceProc && e.time == ev.Time-1 && e.resource == e.p {
		o.next()
		if next := o.peek(); next != nil {
			next.p = ev.P // it stands at the P still
		}
	}
}

// abandoned allows for a P in a system call whose thread is not known. x/exp/trace tells it as idle, before and after it is stolen, and as
// running where it knows the thread; order.Event has the status as it stands in the file.
func (o *oracle) abandoned(e *told) {
	status := e.a
	e.a = 0
	want := o.peek()
	if want == nil || want.of != trace.ResourceProc || want.resource != e.resource || want.from != 0 {
		return
	}
	switch {
	case e.from != 0 && want.to == uint8(trace.ProcIdle): // stolen
		e.from, e.m, e.p, e.g = 0, 0, 0, 0
	case e.from == 0 && want.to == uint8(trace.ProcRunning) && status == abandonedStatus:
		e.to = want.to
	}
}

// abandonedStatus is that of such a P (internal/trace/tracev2, ProcStatus).
const abandonedStatus = 4

// wantSound holds that nothing was amiss with a whole trace. Those of Go's tests have no strings, which counts as Partial.
func wantSound(t *testing.T, s order.Stats) {
	t.Helper()
	if s.Forced != 0 || s.BadBytes != 0 || len(s.Damage) != 0 || s.Broken != 0 || s.Cut || s.Overrun || s.Guessed || s.Events == 0 {
		t.Errorf("a whole trace: %+v", s)
	}
}

func TestOracle(t *testing.T) {
	seen := map[order.Kind]uint64{}
	for _, toolchain := range specimen.New {
		for _, mode := range specimen.Modes {
			if !specimen.HasMode(toolchain, mode) {
				continue
			}
			t.Run(toolchain+"/"+mode, func(t *testing.T) {
				data, err := os.ReadFile(specimen.All(t, toolchain, mode))
				if err != nil {
					t.Fatal(err)
				}
				stats, kinds := compare(t, data, 1)
				wantSound(t, stats)
				if stats.Partial != 0 || stats.End <= stats.Start || fmt.Sprintf("go1.%d", stats.Version) > toolchain {
					t.Errorf("%+v", stats)
				}
				for k, n := range kinds {
					seen[k] += n
				}
			})
		}
	}
	if !t.Skipped() && len(seen) > 0 && !t.Failed() {
		wantKinds(t, seen)
	}
}

// wantKinds holds that the programs make what they are for: an oracle that never sees an event proves nothing of it. It is chance whether
// something of the collector is in progress when a generation begins.
func wantKinds(t *testing.T, seen map[order.Kind]uint64) {
	t.Helper()
	chance := map[order.Kind]bool{order.GCActive: true, order.GCSweepActive: true, order.GCMarkAssistActive: true}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Log("without gcc no C calls into Go")
		chance[order.GoCreateSyscall], chance[order.GoDestroySyscall] = true, true
	}
	for k := order.ProcsChange; k <= order.GoStatusStack; k++ {
		if seen[k] == 0 && !chance[k] {
			t.Errorf("no trace has an event %v", k)
		}
	}
	if seen[order.CPUSample] == 0 {
		t.Error("no trace has a CPU sample")
	}
}

// TestOracleThreads holds that a thread of its own for the Folder, and one more that decodes ahead, change nothing.
func TestOracleThreads(t *testing.T) {
	for _, mode := range []string{"mix", "long"} {
		data, err := os.ReadFile(specimen.All(t, specimen.New[len(specimen.New)-1], mode))
		if err != nil {
			t.Fatal(err)
		}
		for _, jobs := range []int{2, 3} {
			stats, _ := compare(t, data, jobs)
			wantSound(t, stats)
		}
	}
}

// TestOracleOfGo reads the traces of Go's own tests. One on which internal/trace fails must not pass for sound here.
func TestOracleOfGo(t *testing.T) {
	for _, test := range specimen.OfGo(t) {
		t.Run(test.Name, func(t *testing.T) {
			if !test.Fails {
				stats, _ := compare(t, test.Bytes, 1)
				wantSound(t, stats)
				return
			}
			r, err := order.Open(bytes.NewReader(test.Bytes), int64(len(test.Bytes)), order.Options{Jobs: 1})
			if err != nil {
				return
			}
			stats, err := r.Read(context.Background(), fold.New(r.Stacks()))
			if err == nil && stats.Forced == 0 && stats.BadBytes == 0 && len(stats.Damage) == 0 && stats.Broken == 0 {
				t.Errorf("it is read as sound: %+v", stats)
			}
		})
	}
}
