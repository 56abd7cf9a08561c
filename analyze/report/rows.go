package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// rows describes every row that is cited, so that a reference resolves in the report too. It comes last: describing a row
// cites nothing new.
func (m *maker) rows() {
	slices.SortFunc(m.cited, func(a, b evidence.Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	for _, r := range m.cited {
		m.doc.Rows = append(m.doc.Rows, Row{Ref: r.String(), Text: Clip(m.describe(r), maxText), Stack: uint32(m.stackOf(r))})
	}
}

// stackOf is the stack of a goroutine, a thread, or the stack itself; zero for everything else.
func (m *maker) stackOf(r evidence.Ref) evidence.StackID {
	switch r.Kind {
	case evidence.RefGoroutine:
		if g, ok := m.c.Goroutines().ByID(int64(r.ID)); ok {
			return g.Stack
		}
		return m.actorStack(int64(r.ID))
	case evidence.RefThread:
		return m.thread(r).Stack
	case evidence.RefStack:
		return evidence.StackID(r.ID)
	case evidence.RefSite, evidence.RefRelease, evidence.RefSpawn, evidence.RefPair, evidence.RefEpisode, evidence.RefActivity:
		return m.courseStack(r)
	}
	return 0
}

func (m *maker) thread(r evidence.Ref) evidence.Thread {
	i := slices.IndexFunc(m.c.Threads, func(t evidence.Thread) bool { return t.TID == int(r.ID) })
	if i < 0 {
		return evidence.Thread{}
	}
	return m.c.Threads[i]
}

// describe is one line about a row. The reference resolves.
func (m *maker) describe(r evidence.Ref) string {
	switch r.Kind {
	case evidence.RefGoroutine:
		g, ok := m.c.Goroutines().ByID(int64(r.ID))
		if !ok {
			return m.describeEnded(int64(r.ID))
		}
		return m.describeGoroutine(g)
	case evidence.RefThread:
		return describeThread(m.thread(r))
	case evidence.RefSync:
		return m.describeSync(r.ID)
	case evidence.RefStack:
		return Plural(m.c.Stack(evidence.StackID(r.ID)).Depth(), "frame")
	case evidence.RefPanic:
		p := m.c.Panics[r.ID]
		return strings.TrimSpace(fmt.Sprintf("panic on goroutine %d: %s %s", p.Goroutine, p.Type, p.Text))
	case evidence.RefTransfer:
		return describeTransfer(m.c.Transfers[r.ID])
	case evidence.RefHold:
		h := m.c.Holds[r.ID]
		return fmt.Sprintf("goroutine %d holds sync:0x%x (%s): %s", h.Goroutine, h.Sync, h.Grade, h.Why)
	case evidence.RefGap:
		return m.c.Gaps[r.ID].What + ": " + m.c.Gaps[r.ID].Why
	case evidence.RefWaker:
		w := m.c.Wakers[r.ID]
		return fmt.Sprintf("goroutine %d could wake those who wait for sync:0x%x (%s): %s", w.Goroutine, w.Sync, wakerText(w), w.Why)
	case evidence.RefPool:
		return m.describePoolAt(r.ID)
	case evidence.RefPoolUse:
		return describePoolUse(m.c.PoolUses[r.ID])
	case evidence.RefTimeline, evidence.RefSite, evidence.RefRelease, evidence.RefSpawn, evidence.RefPair, evidence.RefEpisode, evidence.RefActivity:
		return m.describeCourse(r)
	}
	return m.describeWhole(r)
}

// describeWhole describes what a Case has once.
func (m *maker) describeWhole(r evidence.Ref) string {
	switch r.Kind {
	case evidence.RefProcess:
		p := m.c.Process
		return strings.TrimSpace(fmt.Sprintf("process %d: %s %s/%s", p.PID, p.Version, p.GOOS, p.GOARCH))
	case evidence.RefDeath:
		return deathSentence(m.c.Death, m.c.Process.PID)
	case evidence.RefHeap:
		return describeHeap(m.c.Heap)
	case evidence.RefProof:
		return proofSentence(m.c.Proof)
	case evidence.RefHeapUse:
		return describeHeapUse(m.c.HeapUse)
	case evidence.RefScheduler:
		s := m.c.Scheduler
		return fmt.Sprintf("GOMAXPROCS %d, %d processors idle, %d threads spinning, %d goroutines in the global queue, GC %s",
			s.GOMAXPROCS, s.IdlePs, s.SpinningMs, s.GlobalQueue, cmp.Or(s.GCPhase, "phase unknown"))
	case evidence.RefProcessor:
		for _, p := range m.c.Scheduler.Processors {
			if p.ID == int(r.ID) {
				return fmt.Sprintf("%s, schedtick %d, %d goroutines queued, runs goroutine %d", p.Status, p.SchedTick, p.Queue, p.Running)
			}
		}
	}
	return ""
}

func (m *maker) describeGoroutine(g evidence.Goroutine) string {
	s := g.State.String()
	if g.Reason != "" {
		s += ", " + g.Reason
	}
	if g.Seconds > 0 {
		s += ", for at least " + Seconds(g.Seconds)
	}
	if g.WaitsOn != 0 {
		s += fmt.Sprintf(", waits for sync:0x%x", g.WaitsOn)
	}
	switch g.Wake {
	case evidence.WakeNever:
		s += ", can never wake"
	case evidence.WakeByDesign:
		s += ", is meant to wait for ever"
	}
	if g.Thread != 0 {
		s += fmt.Sprintf(", on thread %d", g.Thread)
	}
	if g.Created != 0 {
		f := m.c.Frame(g.Created)
		s += ", created by " + f.Function
		if f.File != "" {
			s += " at " + FullPlace(f.File, f.Line)
		}
	}
	if m.c.Timeline != nil {
		if a, ok := m.c.Timeline.Actor(g.ID); ok {
			s += "; " + m.describeActor(&a)
		}
	}
	return s
}

func describeThread(t evidence.Thread) string {
	parts := []string{cmp.Or(t.State, "state unknown")}
	if t.Name != "" {
		parts = append(parts, "named "+t.Name)
	}
	if t.Goroutine != 0 {
		parts = append(parts, fmt.Sprintf("executes goroutine %d", t.Goroutine))
	}
	if t.Signal != 0 {
		parts = append(parts, fmt.Sprintf("in the delivery of signal %d", t.Signal))
	}
	return strings.Join(parts, ", ")
}

func (m *maker) describeSync(addr uint64) string {
	s, ok := m.c.Sync(addr)
	if !ok {
		return "not read; " + Plural(len(m.c.Waiters(addr)), "goroutine") + " wait for it"
	}
	return describeObject(s)
}

func describeObject(s evidence.Sync) string {
	parts := []string{s.Kind.String()}
	add := func(yes bool, format string, args ...any) {
		if yes {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(s.Where != "", "%s", s.Where)
	add(s.Locked, "locked")
	add(s.Starving, "starving")
	add(s.Readers > 0, "%s inside", Plural(s.Readers, "reader"))
	add(s.Pending, "a writer waits")
	add(s.Kind == evidence.SyncChannel, "%d of %d elements queued", s.Len, s.Cap)
	add(s.Closed, "closed")
	add(s.Kind == evidence.SyncWaitGroup, "counter %d", s.Counter)
	add(s.Kind == evidence.SyncNetpoll, "file descriptor %d", s.FD)
	add(s.Waiters > 0, "counts %s", Plural(s.Waiters, "waiter"))
	return strings.Join(parts, ", ")
}

func describeTransfer(t evidence.Transfer) string {
	verb := "read"
	if t.Write {
		verb = "write"
	}
	s := fmt.Sprintf("goroutine %d: %s with a buffer of %s in %s", t.Goroutine, verb, Plural(int(t.Length), "byte"), t.Function)
	if t.FD >= 0 {
		s += fmt.Sprintf(", file descriptor %d", t.FD)
	}
	return s
}

// describeHeap prints figures only, never contents.
func describeHeap(h *evidence.Heap) string {
	var parts []string
	add := func(name string, n uint64) {
		if n > 0 {
			parts = append(parts, name+" "+Size(n))
		}
	}
	add("live", h.Live)
	add("goal", h.Goal)
	add("in use", h.InUse)
	add("stacks", h.Stacks)
	if h.Limit != math.MaxInt64 {
		add("GOMEMLIMIT", h.Limit)
	}
	if h.Percent != 0 {
		parts = append(parts, fmt.Sprintf("GOGC %d", h.Percent))
	}
	if h.Cycles > 0 {
		parts = append(parts, Plural(int(h.Cycles), "collection"))
	}
	return strings.Join(parts, ", ")
}
