package order_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/order"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen"
)

// told is one event in a form that both readers can be brought to.
type told struct {
	time     int64
	kind     trace.EventKind
	m, p, g  int64 // -1 for none
	resource int64 // goroutine or P of a transition, P or goroutine of a range
	from, to uint8 // states
	of       trace.ResourceKind
	name     string // of a range, metric, label, task or region; reason; category
	text     string // message of a log
	a, b     uint64 // value of a metric, number and parent of a task
	stack    int    // what the event's own stack says, numbered
	start    int    // of a transition: the stack of the goroutine it is about
}

// texts numbers stacks by what they say, for both readers.
type texts struct {
	numbers map[string]int
	byText  []string
	ours    map[fold.Stack]int
	theirs  map[trace.Stack]int
}

func newTexts() *texts {
	return &texts{numbers: map[string]int{"": 0}, byText: []string{""}, ours: map[fold.Stack]int{}, theirs: map[trace.Stack]int{}}
}

func (s *texts) number(text string) int {
	n, ok := s.numbers[text]
	if !ok {
		n = len(s.byText)
		s.numbers[text] = n
		s.byText = append(s.byText, text)
	}
	return n
}

func (s *texts) our(st fold.Stack, in fold.Stacks) int {
	n, ok := s.ours[st]
	if !ok {
		var b strings.Builder
		for _, f := range in.Frames(st) {
			fmt.Fprintf(&b, "%s %s:%d %#x\n", f.Func, f.File, f.Line, f.PC)
		}
		n = s.number(b.String())
		s.ours[st] = n
	}
	return n
}

func (s *texts) their(st trace.Stack) int {
	n, ok := s.theirs[st]
	if !ok {
		var b strings.Builder
		for f := range st.Frames() {
			if f.PC == 0 && f.Func == "" {
				continue // what Go 1.22 writes for a stack that it could not walk: order leaves such frames out
			}
			fmt.Fprintf(&b, "%s %s:%d %#x\n", f.Func, f.File, f.Line, f.PC)
		}
		n = s.number(b.String())
		s.theirs[st] = n
	}
	return n
}

// event brings an event of x/exp/trace to the common form. What order.Event does not hold is left out: the context of status events
// (which of two threads told it), names at the ends of ranges and tasks, and the numbers that a sweep gives.
func (s *texts) event(ev trace.Event) told {
	e := told{time: int64(ev.Time()), kind: ev.Kind(), m: int64(ev.Thread()), p: int64(ev.Proc()), g: int64(ev.Goroutine()),
		stack: s.their(ev.Stack())}
	switch ev.Kind() {
	case trace.EventStateTransition:
		s.transition(&e, ev.StateTransition())
	case trace.EventRangeBegin, trace.EventRangeActive, trace.EventRangeEnd:
		r := ev.Range()
		e.name, e.of = r.Name, r.Scope.Kind
		switch r.Scope.Kind {
		case trace.ResourceProc:
			e.resource = int64(r.Scope.Proc())
		case trace.ResourceGoroutine:
			e.resource = int64(r.Scope.Goroutine())
		}
		if strings.HasPrefix(e.name, "stop-the-world") && ev.Kind() == trace.EventRangeEnd {
			e.name = "stop-the-world"
		}
	case trace.EventMetric:
		e.name, e.a = ev.Metric().Name, ev.Metric().Value.Uint64()
	case trace.EventLabel:
		e.name = ev.Label().Label
	case trace.EventTaskBegin:
		e.a, e.b, e.name = uint64(ev.Task().ID), uint64(ev.Task().Parent), ev.Task().Type
		if ev.Task().Parent == trace.NoTask {
			e.b = 0
		}
	case trace.EventTaskEnd:
		e.a = uint64(ev.Task().ID)
	case trace.EventRegionBegin, trace.EventRegionEnd:
		e.a, e.name = uint64(ev.Region().Task), ev.Region().Type
	case trace.EventLog:
		e.a, e.name, e.text = uint64(ev.Log().Task), ev.Log().Category, ev.Log().Message
	}
	return e
}

func (s *texts) transition(e *told, st trace.StateTransition) {
	e.of, e.start, e.name = st.Resource.Kind, s.their(st.Stack), st.Reason
	switch st.Resource.Kind {
	case trace.ResourceGoroutine:
		from, to := st.Goroutine()
		e.resource, e.from, e.to = int64(st.Resource.Goroutine()), uint8(from), uint8(to)
		if from == trace.GoUndetermined || from == to {
			e.from, e.m, e.p, e.g = 0, 0, 0, 0
		}
	case trace.ResourceProc:
		from, to := st.Proc()
		e.resource, e.from, e.to = int64(st.Resource.Proc()), uint8(from), uint8(to)
		if from == trace.ProcUndetermined || from == trace.ProcNotExist || from == to {
			e.from, e.m, e.p, e.g = 0, 0, 0, 0
		}
	}
}

// The states that statuses of the format mean (internal/trace, order.go).
var (
	goStates   = []trace.GoState{trace.GoUndetermined, trace.GoRunnable, trace.GoRunning, trace.GoSyscall, trace.GoWaiting}
	procStates = []trace.ProcState{trace.ProcUndetermined, trace.ProcRunning, trace.ProcIdle, trace.ProcRunning, trace.ProcIdle}
)

// our brings an event of order to the common form: one, or three for a handover.
func our(s *texts, in fold.Stacks, ev *order.Event) []told {
	e := told{time: ev.Time, m: ev.M, p: ev.P, g: ev.G, stack: s.our(ev.Stack, in)}
	text := func(i int) string {
		if i < len(ev.Texts) {
			return ev.Texts[i]
		}
		return ""
	}
	goes := func(g int64, from, to trace.GoState) {
		e.kind, e.of, e.resource, e.from, e.to = trace.EventStateTransition, trace.ResourceGoroutine, g, uint8(from), uint8(to)
	}
	proc := func(p int64, from, to trace.ProcState) {
		e.kind, e.of, e.resource, e.from, e.to = trace.EventStateTransition, trace.ResourceProc, p, uint8(from), uint8(to)
	}
	span := func(kind trace.EventKind, name string, of trace.ResourceKind, id int64) {
		e.kind, e.name, e.of, e.resource = kind, name, of, id
	}
	const begin, active, end = trace.EventRangeBegin, trace.EventRangeActive, trace.EventRangeEnd
	const marking, sweeping, assisting = "GC concurrent mark phase", "GC incremental sweep", "GC mark assist"
	first := int64(ev.Args[0])
	switch ev.Kind {
	case order.CPUSample:
		e.kind = trace.EventStackSample
	case order.ProcsChange:
		e.kind, e.name, e.a = trace.EventMetric, "/sched/gomaxprocs:threads", ev.Args[0]
	case order.HeapAlloc:
		e.kind, e.name, e.a = trace.EventMetric, "/memory/classes/heap/objects:bytes", ev.Args[0]
	case order.HeapGoal:
		e.kind, e.name, e.a = trace.EventMetric, "/gc/heap/goal:bytes", ev.Args[0]
	case order.ProcStart:
		proc(first, trace.ProcIdle, trace.ProcRunning)
	case order.ProcStop:
		proc(ev.P, trace.ProcRunning, trace.ProcIdle)
	case order.ProcSteal:
		proc(first, trace.ProcRunning, trace.ProcIdle)
	case order.ProcStatus:
		proc(first, 0, procStates[ev.Args[1]])
		e.m, e.p, e.g, e.a = 0, 0, 0, ev.Args[1]
	case order.GoCreate:
		goes(first, trace.GoNotExist, trace.GoRunnable)
		e.start = s.our(ev.Start, in)
	case order.GoCreateBlocked:
		goes(first, trace.GoNotExist, trace.GoWaiting)
		e.start = s.our(ev.Start, in)
	case order.GoCreateSyscall:
		goes(first, trace.GoNotExist, trace.GoSyscall)
	case order.GoStart:
		goes(first, trace.GoRunnable, trace.GoRunning)
	case order.GoDestroy:
		goes(ev.G, trace.GoRunning, trace.GoNotExist)
	case order.GoDestroySyscall:
		goes(ev.G, trace.GoSyscall, trace.GoNotExist)
	case order.GoStop:
		goes(ev.G, trace.GoRunning, trace.GoRunnable)
		e.name, e.start = text(0), e.stack
	case order.GoBlock:
		goes(ev.G, trace.GoRunning, trace.GoWaiting)
		e.name, e.start = text(0), e.stack
	case order.GoUnblock:
		goes(first, trace.GoWaiting, trace.GoRunnable)
	case order.GoSyscallBegin:
		goes(ev.G, trace.GoRunning, trace.GoSyscall)
		e.start = e.stack
	case order.GoSyscallEnd:
		goes(ev.G, trace.GoSyscall, trace.GoRunning)
	case order.GoSyscallEndBlocked:
		goes(ev.G, trace.GoSyscall, trace.GoRunnable)
	case order.GoStatus, order.GoStatusStack:
		goes(first, 0, goStates[ev.Args[2]])
		e.m, e.p, e.g, e.start = 0, 0, 0, e.stack
	case order.GoSwitch, order.GoSwitchDestroy:
		return handover(e, ev)
	case order.STWBegin:
		span(begin, "stop-the-world ("+text(0)+")", trace.ResourceGoroutine, ev.G)
	case order.STWEnd:
		span(end, "stop-the-world", trace.ResourceGoroutine, ev.G)
	case order.GCActive:
		span(active, marking, trace.ResourceNone, 0)
	case order.GCBegin:
		span(begin, marking, trace.ResourceNone, 0)
	case order.GCEnd:
		span(end, marking, trace.ResourceNone, 0)
	case order.GCSweepActive:
		span(active, sweeping, trace.ResourceProc, first)
	case order.GCSweepBegin:
		span(begin, sweeping, trace.ResourceProc, ev.P)
	case order.GCSweepEnd:
		span(end, sweeping, trace.ResourceProc, ev.P)
	case order.GCMarkAssistActive:
		span(active, assisting, trace.ResourceGoroutine, first)
	case order.GCMarkAssistBegin:
		span(begin, assisting, trace.ResourceGoroutine, ev.G)
	case order.GCMarkAssistEnd:
		span(end, assisting, trace.ResourceGoroutine, ev.G)
	case order.GoLabel:
		e.kind, e.name = trace.EventLabel, text(0)
	case order.UserTaskBegin:
		e.kind, e.a, e.b, e.name = trace.EventTaskBegin, ev.Args[0], ev.Args[1], text(0)
	case order.UserTaskEnd:
		e.kind, e.a = trace.EventTaskEnd, ev.Args[0]
	case order.UserRegionBegin:
		e.kind, e.a, e.name = trace.EventRegionBegin, ev.Args[0], text(0)
	case order.UserRegionEnd:
		e.kind, e.a, e.name = trace.EventRegionEnd, ev.Args[0], text(0)
	case order.UserLog:
		e.kind, e.a, e.name, e.text = trace.EventLog, ev.Args[0], text(0), text(1)
	}
	return []told{e}
}

// handover is three events of x/exp/trace: the other goroutine is unblocked, this one blocks or ends, and the other one runs. They have a
// nanosecond each.
func handover(e told, ev *order.Event) []told {
	next := int64(ev.Args[0])
	unblock, leave, start := e, e, e
	for i, t := range []*told{&unblock, &leave, &start} {
		t.kind, t.of, t.time = trace.EventStateTransition, trace.ResourceGoroutine, e.time+int64(i)
		t.resource = next
	}
	unblock.from, unblock.to = uint8(trace.GoWaiting), uint8(trace.GoRunnable)
	leave.resource, leave.from, leave.to = ev.G, uint8(trace.GoRunning), uint8(trace.GoWaiting)
	if ev.Kind == order.GoSwitchDestroy {
		leave.to = uint8(trace.GoNotExist)
	}
	start.from, start.to, start.g = uint8(trace.GoRunnable), uint8(trace.GoRunning), -1
	return []told{unblock, leave, start}
}

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
	for k := order.ProcsChange; k <= order.GoStatusStack; k++ {
		if seen[k] == 0 && !chance[k] {
			t.Errorf("no trace has an event %v", k)
		}
	}
	if seen[order.CPUSample] == 0 {
		t.Error("no trace has a CPU sample")
	}
}

// TestOracleTwoThreads holds that decoding ahead changes nothing.
func TestOracleTwoThreads(t *testing.T) {
	for _, mode := range []string{"mix", "long"} {
		data, err := os.ReadFile(specimen.All(t, specimen.New[len(specimen.New)-1], mode))
		if err != nil {
			t.Fatal(err)
		}
		stats, _ := compare(t, data, 2)
		wantSound(t, stats)
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
