package legacy

import (
	"strings"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// take tells one event.
func (r *Reader) take(ev trace.Event) {
	t := int64(ev.Time())
	if ev.Kind() == trace.EventSync {
		r.sync(t)
		return
	}
	r.stats.Events++
	r.stats.End = t
	switch ev.Kind() {
	case trace.EventStateTransition:
		r.transition(t, ev)
	case trace.EventRangeBegin, trace.EventRangeActive:
		r.ranges(t, ev, true)
	case trace.EventRangeEnd:
		r.ranges(t, ev, false)
	case trace.EventMetric:
		r.metric(t, ev.Metric())
	case trace.EventLabel:
		if g := r.on(ev); g != nil {
			r.f.Label(t, g, ev.Label().Label)
		}
	case trace.EventStackSample:
		r.f.Sample(t, r.on(ev), r.stacks.number(ev.Stack()))
	default:
		r.annotation(t, ev)
	}
}

// sync is told at the beginning and at the end. Of GOMAXPROCS the reader tells changes only: what it is at first the scan has found.
func (r *Reader) sync(t int64) {
	if r.stats.Events > 0 {
		return
	}
	r.stats.Start, r.stats.End = t, t
	r.f.Begin(t)
	if r.survey.procs > 0 {
		r.f.Procs(t, r.survey.procs)
	}
}

// on is the goroutine on which an event happened; nil when there is none, or nobody has told of it.
func (r *Reader) on(ev trace.Event) *fold.G {
	if g := r.gs[ev.Goroutine()]; g != nil && ev.Goroutine() != trace.NoGoroutine {
		return &g.fold
	}
	return nil
}

func (r *Reader) transition(t int64, ev trace.Event) {
	st := ev.StateTransition()
	switch st.Resource.Kind {
	case trace.ResourceGoroutine:
		from, to := st.Goroutine()
		if from != to {
			r.goroutine(t, ev, st, from, to)
		}
	case trace.ResourceProc:
		if _, to := st.Proc(); to.Executing() {
			r.f.ProcRun(t, r.proc(st.Resource.Proc()))
		} else {
			r.f.ProcStop(t, r.proc(st.Resource.Proc()))
		}
	}
}

func (r *Reader) proc(id trace.ProcID) *fold.P {
	p := r.ps[id]
	if p == nil {
		p = &fold.P{}
		r.ps[id] = p
	}
	return p
}

var stateOf = map[trace.GoState]fold.State{trace.GoRunnable: fold.StateReady, trace.GoRunning: fold.StateRunning,
	trace.GoSyscall: fold.StateSyscall, trace.GoWaiting: fold.StateBlocked}

// goroutine tells how the state of a goroutine changes.
func (r *Reader) goroutine(t int64, ev trace.Event, st trace.StateTransition, from, to trace.GoState) {
	id := st.Resource.Goroutine()
	stack := r.stacks.number(st.Stack)
	g := r.gs[id]
	if from == trace.GoNotExist || g == nil {
		if g = r.add(t, ev, id, from, to, stack); g == nil {
			return
		}
	}
	g.state = to
	switch [2]trace.GoState{from, to} {
	case [2]trace.GoState{trace.GoRunnable, trace.GoRunning}:
		r.f.Run(t, &g.fold)
	case [2]trace.GoState{trace.GoRunning, trace.GoRunnable}:
		r.f.Yield(t, &g.fold, r.reason(st.Reason), stack)
	case [2]trace.GoState{trace.GoRunning, trace.GoWaiting}:
		r.f.Block(t, &g.fold, r.reason(st.Reason), stack)
	case [2]trace.GoState{trace.GoRunning, trace.GoSyscall}:
		r.f.Syscall(t, &g.fold, stack)
	case [2]trace.GoState{trace.GoWaiting, trace.GoRunnable}:
		r.f.Unblock(t, &g.fold, r.on(ev), r.stacks.number(ev.Stack()))
	case [2]trace.GoState{trace.GoSyscall, trace.GoRunning}, [2]trace.GoState{trace.GoSyscall, trace.GoRunnable}:
		r.f.Sysexit(t, &g.fold, to == trace.GoRunnable)
	default:
		if to == trace.GoNotExist {
			delete(r.gs, id)
			r.f.Exit(t, &g.fold)
		}
	}
}

// add makes a goroutine that is told of for the first time. It is nil when there is nothing more to tell.
func (r *Reader) add(t int64, ev trace.Event, id trace.GoID, from, to trace.GoState, stack fold.Stack) *goroutine {
	if id == trace.NoGoroutine || id == 0 {
		return nil
	}
	if old := r.gs[id]; old != nil { // an id that comes again: its end is missing
		r.f.Exit(t, &old.fold)
	}
	g := &goroutine{state: to, fold: fold.G{ID: int64(id)}}
	r.gs[id] = g
	switch {
	case from == trace.GoNotExist && to == trace.GoSyscall:
		r.f.CreateInSyscall(t, &g.fold)
	case from == trace.GoNotExist:
		r.f.Create(t, &g.fold, r.on(ev), stack, r.stacks.number(ev.Stack()), to == trace.GoWaiting)
	case from == trace.GoUndetermined:
		r.f.Appear(t, &g.fold, stateOf[to], stack)
	default: // it was never told of, which only a damaged trace does
		r.f.Restate(t, &g.fold, stateOf[from])
		return g
	}
	return nil
}

// unspecified is the reason that Go 1.22 and later give where older ones have none: mostly the runtime's own goroutines.
const unspecified = "unspecified"

func (r *Reader) reason(name string) fold.Reason {
	if name == "" {
		name = unspecified
	}
	n, ok := r.reasons[name]
	if !ok {
		n = r.f.Reason(name)
		r.reasons[name] = n
	}
	return n
}

// The names that x/exp/trace gives ranges and metrics.
const (
	rangeGC     = "GC concurrent mark phase"
	rangeSweep  = "GC incremental sweep"
	rangeAssist = "GC mark assist"
	rangePause  = "stop-the-world ("
	metricProcs = "/sched/gomaxprocs:threads"
	metricHeap  = "/memory/classes/heap/objects:bytes"
	metricGoal  = "/gc/heap/goal:bytes"
)

func (r *Reader) ranges(t int64, ev trace.Event, begin bool) {
	span := ev.Range()
	switch span.Name {
	case rangeGC:
		r.f.GC(t, begin)
	case rangeSweep:
		r.f.Sweep(t, r.proc(span.Scope.Proc()), begin)
	case rangeAssist:
		if g := r.gs[span.Scope.Goroutine()]; g != nil {
			r.f.Assist(t, &g.fold, begin, r.stacks.number(ev.Stack()))
		}
	default:
		why, ok := strings.CutPrefix(span.Name, rangePause)
		switch {
		case ok && begin:
			r.f.Pause(t, r.on(ev), strings.TrimSuffix(why, ")"), r.stacks.number(ev.Stack()))
		case ok:
			r.f.PauseEnd(t, r.on(ev))
		}
	}
}

func (r *Reader) metric(t int64, m trace.Metric) {
	if m.Value.Kind() != trace.ValueUint64 {
		return
	}
	switch v := m.Value.Uint64(); m.Name {
	case metricProcs:
		r.f.Procs(t, int(min(v, maxProcs)))
	case metricHeap:
		r.f.Heap(t, v)
	case metricGoal:
		r.f.Goal(t, v)
	}
}

// annotation is what the program itself told: tasks, regions and logs.
func (r *Reader) annotation(t int64, ev trace.Event) {
	g := r.on(ev)
	if g == nil {
		return
	}
	stack := r.stacks.number(ev.Stack())
	switch ev.Kind() {
	case trace.EventTaskBegin:
		task := ev.Task()
		parent := task.Parent
		if parent == trace.NoTask {
			parent = trace.BackgroundTask
		}
		r.f.Task(t, g, uint64(task.ID), uint64(parent), task.Type, stack)
	case trace.EventTaskEnd:
		r.f.TaskEnd(t, g, uint64(ev.Task().ID))
	case trace.EventRegionBegin:
		r.f.Region(t, g, uint64(ev.Region().Task), ev.Region().Type, stack)
	case trace.EventRegionEnd:
		r.f.RegionEnd(t, g, uint64(ev.Region().Task), ev.Region().Type)
	case trace.EventLog:
		l := ev.Log()
		r.f.Log(t, g, uint64(l.Task), l.Category, l.Message)
	}
}
