package fold

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// gcState is what the collector does.
type gcState struct {
	work   evidence.GCWork
	active bool
	since  int64
	heap   uint64 // bytes, as told last
	told   bool   // of the heap
	aimed  bool   // a goal was told
	ended  bool   // a cycle has ended, and the goal that it sets was not told yet
	marked uint64 // what was alive at its end
	pauses []pause
}

// pause is a time in which the world stands still, or is about to.
type pause struct {
	goroutine int64
	since     int64
	why       string
	stack     Stack
}

const maxPauses = 64 // open ones; there is one at a time in a sound trace

// GC tells that a cycle of the collector has begun, or has ended.
func (f *Folder) GC(t int64, active bool) {
	t = f.at(t)
	if active == f.gc.active {
		return
	}
	f.gc.active = active
	f.gc.ended = false
	if active {
		f.gc.work.Cycles++
		f.gc.since = t
		f.clock.enter(catGC, t)
		return
	}
	f.clock.leave(catGC, t)
	f.gc.work.ActiveNS += uint64(t - f.gc.since)
	f.gc.ended, f.gc.marked = f.gc.told, f.gc.heap // the live heap was told anew just before (runtime/mgcpacer.go, resetLive)
	f.tops.add(evidence.EpisodeGC, episode{start: f.gc.since, ns: t - f.gc.since})
}

// Pause tells that a goroutine stops the world.
func (f *Folder) Pause(t int64, g *G, why string, stack Stack) {
	t = f.at(t)
	if len(f.gc.pauses) == maxPauses {
		return
	}
	p := pause{since: t, why: clip(why), stack: stack}
	if g != nil {
		p.goroutine = g.ID
	}
	if len(f.gc.pauses) == 0 {
		f.clock.enter(catPause, t)
		f.stall.paused = true
	}
	f.gc.pauses = append(f.gc.pauses, p)
}

// PauseEnd tells that it lets the world go on.
func (f *Folder) PauseEnd(t int64, g *G) {
	t = f.at(t)
	id := int64(0)
	if g != nil {
		id = g.ID
	}
	for i := len(f.gc.pauses) - 1; i >= 0; i-- {
		if f.gc.pauses[i].goroutine == id {
			f.endPause(t, i, g)
			return
		}
	}
}

func (f *Folder) endPause(t int64, i int, g *G) {
	p := f.gc.pauses[i]
	f.gc.pauses = append(f.gc.pauses[:i], f.gc.pauses[i+1:]...)
	if len(f.gc.pauses) == 0 {
		f.clock.leave(catPause, t)
		f.gc.ended = false
	}
	d := t - p.since
	f.gc.work.PauseNS += uint64(d)
	f.gc.work.MaxPause = max(f.gc.work.MaxPause, uint64(d))
	if f.tops.add(evidence.EpisodePause, episode{p.why, p.since, d, p.goroutine, p.stack}) && g != nil {
		g.flags |= gNamed
	}
}

// Assist tells that a goroutine begins to help the collector, because it has allocated so much, or ends it.
func (f *Folder) Assist(t int64, g *G, begin bool, stack Stack) {
	t = f.at(t)
	f.endAssist(t, g)
	if !begin || g.spawn == 0 {
		return
	}
	x := f.extra(g)
	x.assistSite = f.site(evidence.SiteAssist, 0, stack)
	x.assistSince, x.assistMark = t, g.ranUntil(t)
	f.come(x.assistSite, t, g.ID)
	f.clock.enter(catAssist, t)
}

// endAssist ends the assist of a goroutine, if it is in one.
func (f *Folder) endAssist(t int64, g *G) {
	if g.extra == 0 {
		return
	}
	x := f.extra(g)
	if x.assistSite == 0 {
		return
	}
	f.quit(x.assistSite, t, t-x.assistSince)
	f.assisted(t, g, x)
}

// assisted adds an assist to the sums.
func (f *Folder) assisted(t int64, g *G, x *extra) {
	f.gc.work.AssistNS += uint64(t - x.assistSince)
	f.gc.work.AssistRun += uint64(g.ranUntil(t) - x.assistMark)
	f.clock.leave(catAssist, t)
	x.assistSite = 0
}

// ranUntil is how long a goroutine has run in all.
func (g *G) ranUntil(t int64) int64 {
	if g.state == StateRunning {
		return g.run + t - g.since
	}
	return g.run
}

// Heap tells the live heap.
func (f *Folder) Heap(t int64, bytes uint64) {
	f.at(t)
	w := &f.gc.work
	if !f.gc.told || bytes < w.HeapMin {
		w.HeapMin = bytes
	}
	f.gc.told, f.gc.heap = true, bytes
	w.HeapMax, w.HeapLast = max(w.HeapMax, bytes), bytes
	f.past[f.slice].heap = max(f.past[f.slice].heap, bytes)
}

// Goal tells the size at which the next cycle is to end. When a cycle has ended, the runtime tells its live heap, the end, and the new
// goal, in this order and before the world goes on (gcMarkTermination in runtime/mgc.go).
func (f *Folder) Goal(t int64, bytes uint64) {
	f.at(t)
	w := &f.gc.work
	if !f.gc.aimed || bytes < w.GoalMin {
		w.GoalMin = bytes
	}
	f.gc.aimed = true
	if f.gc.ended {
		f.gc.ended = false
		w.Done++
		w.Marked += f.gc.marked
		w.Goals += bytes
	}
	w.GoalMax = max(w.GoalMax, bytes)
}

// Label tells what a goroutine works as: mark workers say so when they begin (gcMarkWorkerModeStrings in runtime/mgc.go).
func (f *Folder) Label(t int64, g *G, label string) {
	f.at(t)
	if g.spawn == 0 || !strings.HasPrefix(label, "GC (") || g.flags&gWorker != 0 {
		return
	}
	g.flags |= gWorker
	if g.flags&gUser != 0 {
		g.flags &^= gUser
		f.move(g, f.spawn(0, 0, g.flags))
	}
}

// Sample tells a CPU sample. The goroutine is nil when the processor was in none that is known.
func (f *Folder) Sample(t int64, g *G, stack Stack) {
	t = f.at(t)
	id := int64(0)
	if g != nil {
		id = g.ID
	}
	f.tick(f.site(evidence.SiteSample, 0, stack), t, id)
}

// P is what a Folder knows of one processor. It lies by value in the struct of the caller, who zeroes it.
type P struct {
	known, idle, sweeping bool
	since                 int64 // of the sweep
}

// procState has the processors without work.
type procState struct {
	most, n int // GOMAXPROCS: the largest, the present; 0 when unknown
	idle    int // Ps
	busy    int // Ps with work
	since   int64
	idleNS  uint64
}

// advance adds what has passed. Ps that are there no more because GOMAXPROCS was lowered are stopped and never run again: not more are
// idle than there are beside those with work.
func (p *procState) advance(t int64) {
	n := p.idle
	if p.n > 0 {
		n = min(n, max(p.n-p.busy, 0))
	}
	p.idleNS += uint64(n) * uint64(t-p.since)
	p.since = t
}

// Procs tells GOMAXPROCS.
func (f *Folder) Procs(t int64, n int) {
	f.procs.advance(f.at(t))
	if n > 0 {
		f.procs.n = n
		f.procs.most = max(f.procs.most, n)
	}
}

// ProcRun tells that a P has work.
func (f *Folder) ProcRun(t int64, p *P) {
	f.procs.advance(f.at(t))
	if p.idle {
		f.procs.idle--
	}
	if p.idle || !p.known {
		f.procs.busy++
	}
	p.known, p.idle = true, false
}

// ProcStop tells that a P has none.
func (f *Folder) ProcStop(t int64, p *P) {
	f.procs.advance(f.at(t))
	if !p.idle {
		f.procs.idle++
	}
	if !p.known {
		f.procs.idleNS += uint64(f.now - f.known) // as of goroutines that appear
	}
	if p.known && !p.idle {
		f.procs.busy--
	}
	p.known, p.idle = true, true
}

// Sweep tells that a P begins or ends to sweep.
func (f *Folder) Sweep(t int64, p *P, begin bool) {
	t = f.at(t)
	if p.sweeping {
		f.gc.work.SweepNS += uint64(t - p.since)
	}
	p.sweeping, p.since = begin, t
}
