package fold

import (
	"cmp"
	"iter"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Finish closes what is open at t and returns the Timeline. The goroutines that are alive become rows of the Builder, in the order of
// their ids. Form, WallNS and NoNames are the caller's to set. The Folder must not be used afterwards.
func (f *Folder) Finish(t int64, live iter.Seq[*G], to *evidence.Builder) evidence.Timeline {
	t = f.at(t)
	f.marks-- // no event
	var alive []*G
	for g := range live {
		if g != nil && g.spawn != 0 {
			alive = append(alive, g)
		}
	}
	slices.SortStableFunc(alive, func(a, b *G) int { return cmp.Compare(a.ID, b.ID) })
	f.stalledAtEnd(t)
	owners := map[int64]*G{}
	for _, g := range alive {
		if len(f.acts.tasks) > 0 {
			owners[g.ID] = g
		}
		f.close(t, g)
	}
	f.closeTasks(t, owners)
	f.closeWorld(t)
	out := output{f: f, to: to, stacks: make([]evidence.StackID, len(f.sites.heads)), t: t}
	line := out.timeline(alive)
	out.rows(alive)
	f.tellRefused(to)
	return line
}

// close ends what a goroutine is doing at the end of the trace. Its state stays, for its row.
func (f *Folder) close(t int64, g *G) {
	d := t - g.since
	switch g.state {
	case StateRunning:
		if d >= longRun {
			f.ranLong(g, t, d, 0)
		}
		f.ran(g, t)
		g.run += d
		g.most = max(g.most, d)
		if g.flags&gWorker != 0 {
			f.gc.work.WorkerNS += uint64(d)
		}
	case StateReady:
		f.remain(g.site, t, d)
		g.ready += d
		if g.yielded != 0 {
			f.remain(g.yielded, t, d)
		}
	case StateSyscall:
		f.remain(g.site, t, d)
		g.sys += d
	case StateBlocked:
		f.remain(g.site, t, d)
		g.block += d
	}
	f.settled(g)
	for g.region != 0 {
		r := f.acts.regions[g.region]
		f.stillOpen(r.kind, t-r.start)
		f.keep(t, g, activity{kind: r.kind, task: r.task, goroutine: g.ID, start: r.start, ns: t - r.start, open: true})
		g.region = r.outer
	}
	f.closeAssist(t, g, d)
	f.unpair(g)
	f.spawns.rows[g.spawn].sum(g)
}

// closeAssist counts an assist that goes on at the end, of a goroutine whose stretch of d is counted already.
func (f *Folder) closeAssist(t int64, g *G, d int64) {
	if g.extra == 0 {
		return
	}
	x := f.extra(g)
	if x.assistSite == 0 {
		return
	}
	f.remain(x.assistSite, t, t-x.assistSince)
	f.gc.work.AssistNS += uint64(t - x.assistSince)
	f.gc.work.AssistRun += uint64(g.run - x.assistMark)
	x.assistSite = 0
}

// stillOpen counts a task or region that has not ended.
func (f *Folder) stillOpen(n uint32, d int64) {
	k := &f.acts.kinds[n]
	k.total += uint64(d)
	k.max = max(k.max, d)
}

// closeTasks counts the tasks that have not ended. Their critical path is that of the goroutine that began them, if it is still there.
func (f *Folder) closeTasks(t int64, owners map[int64]*G) {
	ids := make([]uint64, 0, len(f.acts.tasks))
	for id := range f.acts.tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		row := f.acts.tasks[id]
		f.stillOpen(row.kind, t-row.start)
		f.keepTask(t, owners[row.goroutine], id, row, true)
	}
}

// closeWorld ends the cycle, the pauses, and the idle time of processors, and the present slice.
func (f *Folder) closeWorld(t int64) {
	if f.gc.active {
		f.gc.active = false
		f.gc.work.ActiveNS += uint64(t - f.gc.since)
		f.tops.add(evidence.EpisodeGC, episode{start: f.gc.since, ns: t - f.gc.since})
	}
	for len(f.gc.pauses) > 0 {
		f.endPause(t, len(f.gc.pauses)-1, nil)
	}
	f.procs.advance(t)
	rest := f.end - t
	for k, n := range f.here {
		f.sum[k] -= n * rest
	}
	f.closeSlice()
	f.sites.settle(&f.clock)
	for i := range f.sites.rows {
		s := &f.sites.rows[i]
		if s.acc -= int64(s.here) * rest; s.acc > 0 {
			row := f.sites.loads[i]
			for int32(len(row)) <= f.slice {
				row = append(row, 0)
			}
			row[f.slice] += float32(s.acc)
			f.sites.loads[i] = row
		}
		if s.here > 0 {
			s.busy += uint64(t - s.since)
		}
	}
	for i := range f.spawns.rows {
		f.spawns.rows[i].catchUp(f.slice + 1)
	}
}

// tellRefused adds a Gap for each table that was full.
func (f *Folder) tellRefused(to *evidence.Builder) {
	for _, r := range []struct {
		n    uint64
		what string
	}{
		{f.refused.reasons, "reasons of waits"},
		{f.refused.sites, "sites"},
		{f.refused.releases, "releases"},
		{f.refused.spawns, "go statements"},
		{f.refused.kinds, "names of tasks and regions"},
		{f.refused.tasks, "tasks"},
		{f.refused.regions, "regions"},
	} {
		if r.n > 0 {
			to.Gapf(r.what, "the trace has more of them than are kept: %d times one was counted with others, or not at all", r.n)
		}
	}
}
