package order_test

import (
	"fmt"
	"strings"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/order"
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
		if strings.HasPrefix(e.name, pausing) && ev.Kind() == trace.EventRangeEnd {
			e.name = pausing
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
	if ev.Kind == order.GoSwitch || ev.Kind == order.GoSwitchDestroy {
		return handover(ev)
	}
	e := told{time: ev.Time, m: ev.M, p: ev.P, g: ev.G, stack: s.our(ev.Stack, in)}
	first := int64(ev.Args[0])
	switch k := ev.Kind; {
	case k == order.CPUSample:
		e.kind = trace.EventStackSample
	case k == order.ProcStatus:
		e.kind, e.of, e.resource, e.to = trace.EventStateTransition, trace.ResourceProc, first, uint8(procStates[ev.Args[1]])
		e.m, e.p, e.g, e.a = 0, 0, 0, ev.Args[1]
	case k == order.GoStatus || k == order.GoStatusStack:
		e.kind, e.of, e.resource, e.to = trace.EventStateTransition, trace.ResourceGoroutine, first, uint8(goStates[ev.Args[2]])
		e.m, e.p, e.g, e.start = 0, 0, 0, e.stack
	case procMoves[k] != [2]trace.ProcState{}:
		m := procMoves[k]
		e.kind, e.of, e.resource, e.from, e.to = trace.EventStateTransition, trace.ResourceProc, first, uint8(m[0]), uint8(m[1])
		if k == order.ProcStop {
			e.resource = ev.P
		}
	case goMoves[k].to != 0:
		m := goMoves[k]
		e.kind, e.of, e.resource, e.from, e.to = trace.EventStateTransition, trace.ResourceGoroutine, ev.G, uint8(m.from), uint8(m.to)
		if m.other {
			e.resource = first
		}
		if e.start = s.our(ev.Start, in); m.own {
			e.name, e.start = textOf(ev, 0), e.stack
		}
	case metrics[k] != "":
		e.kind, e.name, e.a = trace.EventMetric, metrics[k], ev.Args[0]
	case spans[k].name != "":
		ourSpan(&e, ev)
	default:
		ourNote(&e, ev)
	}
	return []told{e}
}

// textOf is a text of an event; empty where it has none.
func textOf(ev *order.Event, i int) string {
	if i < len(ev.Texts) {
		return ev.Texts[i]
	}
	return ""
}

// procMoves are the states of Ps before and after an event.
var procMoves = map[order.Kind][2]trace.ProcState{order.ProcStart: {trace.ProcIdle, trace.ProcRunning},
	order.ProcStop: {trace.ProcRunning, trace.ProcIdle}, order.ProcSteal: {trace.ProcRunning, trace.ProcIdle}}

// move is how an event changes a goroutine.
type move struct {
	from, to trace.GoState
	other    bool // it is about another goroutine than the one that runs
	own      bool // its stack is that of the goroutine it is about
}

var goMoves = map[order.Kind]move{
	order.GoCreate:            {trace.GoNotExist, trace.GoRunnable, true, false},
	order.GoCreateBlocked:     {trace.GoNotExist, trace.GoWaiting, true, false},
	order.GoCreateSyscall:     {trace.GoNotExist, trace.GoSyscall, true, false},
	order.GoStart:             {trace.GoRunnable, trace.GoRunning, true, false},
	order.GoDestroy:           {trace.GoRunning, trace.GoNotExist, false, false},
	order.GoDestroySyscall:    {trace.GoSyscall, trace.GoNotExist, false, false},
	order.GoStop:              {trace.GoRunning, trace.GoRunnable, false, true},
	order.GoBlock:             {trace.GoRunning, trace.GoWaiting, false, true},
	order.GoUnblock:           {trace.GoWaiting, trace.GoRunnable, true, false},
	order.GoSyscallBegin:      {trace.GoRunning, trace.GoSyscall, false, true},
	order.GoSyscallEnd:        {trace.GoSyscall, trace.GoRunning, false, false},
	order.GoSyscallEndBlocked: {trace.GoSyscall, trace.GoRunnable, false, false},
}

var metrics = map[order.Kind]string{order.ProcsChange: "/sched/gomaxprocs:threads", order.HeapAlloc: "/memory/classes/heap/objects:bytes",
	order.HeapGoal: "/gc/heap/goal:bytes"}

// span is an event at the beginning or end of a range.
type span struct {
	kind trace.EventKind
	name string
	of   trace.ResourceKind
}

var spans = map[order.Kind]span{
	order.STWBegin:           {trace.EventRangeBegin, pausing, trace.ResourceGoroutine},
	order.STWEnd:             {trace.EventRangeEnd, pausing, trace.ResourceGoroutine},
	order.GCActive:           {trace.EventRangeActive, "GC concurrent mark phase", trace.ResourceNone},
	order.GCBegin:            {trace.EventRangeBegin, "GC concurrent mark phase", trace.ResourceNone},
	order.GCEnd:              {trace.EventRangeEnd, "GC concurrent mark phase", trace.ResourceNone},
	order.GCSweepActive:      {trace.EventRangeActive, "GC incremental sweep", trace.ResourceProc},
	order.GCSweepBegin:       {trace.EventRangeBegin, "GC incremental sweep", trace.ResourceProc},
	order.GCSweepEnd:         {trace.EventRangeEnd, "GC incremental sweep", trace.ResourceProc},
	order.GCMarkAssistActive: {trace.EventRangeActive, "GC mark assist", trace.ResourceGoroutine},
	order.GCMarkAssistBegin:  {trace.EventRangeBegin, "GC mark assist", trace.ResourceGoroutine},
	order.GCMarkAssistEnd:    {trace.EventRangeEnd, "GC mark assist", trace.ResourceGoroutine},
}

// pausing is the beginning of the name of pauses; the reason follows.
const pausing = "stop-the-world"

func ourSpan(e *told, ev *order.Event) {
	s := spans[ev.Kind]
	e.kind, e.name, e.of = s.kind, s.name, s.of
	switch {
	case s.kind == trace.EventRangeActive && s.of != trace.ResourceNone:
		e.resource = int64(ev.Args[0])
	case s.of == trace.ResourceProc:
		e.resource = ev.P
	case s.of == trace.ResourceGoroutine:
		e.resource = ev.G
	}
	if ev.Kind == order.STWBegin {
		e.name += " (" + textOf(ev, 0) + ")"
	}
}

// ourNote is what the program told, and the labels of the collector's workers.
func ourNote(e *told, ev *order.Event) {
	kinds := map[order.Kind]trace.EventKind{order.GoLabel: trace.EventLabel, order.UserTaskBegin: trace.EventTaskBegin, order.UserTaskEnd: trace.EventTaskEnd,
		order.UserRegionBegin: trace.EventRegionBegin, order.UserRegionEnd: trace.EventRegionEnd, order.UserLog: trace.EventLog}
	e.kind, e.name, e.text = kinds[ev.Kind], textOf(ev, 0), textOf(ev, 1)
	if ev.Kind != order.GoLabel {
		e.a = ev.Args[0]
	}
	if ev.Kind == order.UserTaskBegin {
		e.b = ev.Args[1]
	}
}

// handover is three events of x/exp/trace: the other goroutine is unblocked, this one blocks or ends, and the other one runs. They have a
// nanosecond each.
func handover(ev *order.Event) []told {
	e := told{time: ev.Time, m: ev.M, p: ev.P, g: ev.G}
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
