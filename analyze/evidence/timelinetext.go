package evidence

import (
	"errors"
	"fmt"
)

// The records of a Timeline in the text form. A row that has rows of its own is followed by them: `share` after a site or release,
// `holdpart` after a release, `leg` after an activity.

func (t *Timeline) visit(f fields) {
	f.str("form", &t.Form)
	f.num("wall", &t.WallNS)
	f.num("span", &t.SpanNS)
	count(f, "events", &t.Events)
	count(f, "lost", &t.Lost)
	integer(f, "procs", &t.Procs)
	f.flag("nonames", &t.NoNames)
	count(f, "created", &t.Created)
	count(f, "ended", &t.Ended)
	integer(f, "atstart", &t.AtStart)
	integer(f, "atend", &t.AtEnd)
	integer(f, "peak", &t.Peak)
	count(f, "run", &t.RunNS)
	count(f, "ready", &t.ReadyNS)
	count(f, "syscall", &t.SyscallNS)
	count(f, "blocked", &t.BlockedNS)
	count(f, "system", &t.SystemNS)
	count(f, "idle", &t.IdleNS)
	t.Latency.visit(f, "latency")
	f.num("slice", &t.SliceNS)
}

// count visits a counter: decimal, and never negative.
func count(f fields, name string, v *uint64) {
	n := int64(*v)
	f.num(name, &n)
	if n < 0 {
		if r, reading := f.(*fieldReader); reading {
			r.fail(name, fmt.Errorf("%d is out of range", n))
		}
		n = 0
	}
	*v = uint64(n)
}

func (h *Histogram) visit(f fields, name string) {
	list := trimZeros(h[:])
	f.counts(name, &list)
	*h = Histogram{}
	if copy(h[:], list) < len(list) {
		if r, reading := f.(*fieldReader); reading {
			r.fail(name, fmt.Errorf("%d counts, at most %d", len(list), len(h)))
		}
	}
}

func trimZeros(list []uint32) []uint32 {
	n := len(list)
	for n > 0 && list[n-1] == 0 {
		n--
	}
	return list[:n:n]
}

// bySlice visits values by slice.
func bySlice(f fields, name string, v *[]uint32) {
	list := trimZeros(*v)
	f.counts(name, &list)
	if len(list) > MaxSlices {
		if r, reading := f.(*fieldReader); reading {
			r.fail(name, fmt.Errorf("%d slices, at most %d", len(list), MaxSlices))
		}
	}
	*v = list
}

func (g *GCWork) visit(f fields) {
	integer(f, "cycles", &g.Cycles)
	count(f, "active", &g.ActiveNS)
	count(f, "pause", &g.PauseNS)
	count(f, "maxpause", &g.MaxPause)
	count(f, "assist", &g.AssistNS)
	count(f, "assistrun", &g.AssistRun)
	count(f, "worker", &g.WorkerNS)
	count(f, "sweep", &g.SweepNS)
	f.hex("heapmin", &g.HeapMin)
	f.hex("heapmax", &g.HeapMax)
	f.hex("heaplast", &g.HeapLast)
	f.hex("goalmin", &g.GoalMin)
	f.hex("goalmax", &g.GoalMax)
	integer(f, "done", &g.Done)
	count(f, "marked", &g.Marked)
	count(f, "goals", &g.Goals)
}

func (s *Slice) visit(f fields) {
	integer(f, "run", &s.RunNS)
	integer(f, "ready", &s.ReadyNS)
	integer(f, "syscall", &s.SyscallNS)
	integer(f, "sync", &s.SyncNS)
	integer(f, "net", &s.NetNS)
	integer(f, "chan", &s.ChanNS)
	integer(f, "sleep", &s.SleepNS)
	integer(f, "gc", &s.GC)
	integer(f, "pause", &s.Pause)
	integer(f, "assist", &s.Assist)
	integer(f, "created", &s.Created)
	integer(f, "ended", &s.Ended)
	integer(f, "live", &s.Live)
	integer(f, "heap", &s.HeapMB)
	integer(f, "events", &s.Events)
}

func (s *Site) visit(f fields) {
	enumeration(f, "kind", siteNames, &s.Kind)
	f.str("reason", &s.Reason)
	integer(f, "stack", &s.Stack)
	count(f, "count", &s.Count)
	count(f, "total", &s.TotalNS)
	count(f, "opentime", &s.OpenNS)
	count(f, "fresh", &s.Fresh)
	count(f, "freshtime", &s.FreshNS)
	count(f, "max", &s.MaxNS)
	s.Hist.visit(f, "hist")
	count(f, "busy", &s.BusyNS)
	integer(f, "peak", &s.Peak)
	integer(f, "open", &s.Open)
	count(f, "unwoken", &s.Unwoken)
	count(f, "run", &s.RunNS)
	f.num("first", &s.FirstNS)
	f.num("last", &s.LastNS)
	bySlice(f, "load", &s.Load)
}

func (s *Share) visit(f fields) {
	f.num("goroutine", &s.Goroutine)
	count(f, "count", &s.Count)
}

func (r *Release) visit(f fields) {
	integer(f, "site", &r.Site)
	integer(f, "stack", &r.Stack)
	count(f, "count", &r.Count)
	count(f, "wait", &r.WaitNS)
	count(f, "maxwait", &r.MaxWait)
	count(f, "hold", &r.HoldNS)
	count(f, "maxhold", &r.MaxHold)
	r.Holds.visit(f, "holds")
}

func (p *HoldPart) visit(f fields) {
	enumeration(f, "state", actStateNames, &p.State)
	f.str("reason", &p.Reason)
	integer(f, "stack", &p.Stack)
	count(f, "ns", &p.NS)
	count(f, "count", &p.Count)
}

func (s *Spawn) visit(f fields) {
	integer(f, "stack", &s.Stack)
	integer(f, "start", &s.Start)
	count(f, "created", &s.Created)
	count(f, "ended", &s.Ended)
	integer(f, "before", &s.Before)
	integer(f, "live", &s.Live)
	integer(f, "peak", &s.Peak)
	f.flag("system", &s.System)
	count(f, "run", &s.RunNS)
	count(f, "ready", &s.ReadyNS)
	count(f, "syscall", &s.SyscallNS)
	count(f, "blocked", &s.BlockedNS)
	count(f, "life", &s.LifeNS)
	f.num("first", &s.FirstNS)
	f.num("last", &s.LastNS)
	bySlice(f, "births", &s.Births)
	bySlice(f, "alive", &s.Alive)
}

func (a *Actor) visit(f fields) {
	f.num("goroutine", &a.Goroutine)
	integer(f, "spawn", &a.Spawn)
	f.flag("ended", &a.Ended)
	f.flag("system", &a.System)
	count(f, "run", &a.RunNS)
	count(f, "ready", &a.ReadyNS)
	count(f, "syscall", &a.SyscallNS)
	count(f, "blocked", &a.BlockedNS)
	count(f, "maxrun", &a.MaxRunNS)
	count(f, "runs", &a.Runs)
	count(f, "preempted", &a.Preempted)
	count(f, "syscalls", &a.Syscalls)
	f.num("first", &a.FirstNS)
	f.num("last", &a.LastNS)
	bySlice(f, "load", &a.Load)
}

func (p *Pair) visit(f fields) {
	f.num("a", &p.A)
	f.num("b", &p.B)
	integer(f, "sitea", &p.SiteA)
	integer(f, "siteb", &p.SiteB)
	count(f, "count", &p.Count)
	count(f, "run", &p.RunNS)
	f.num("first", &p.FirstNS)
	f.num("last", &p.LastNS)
}

func (e *Episode) visit(f fields) {
	enumeration(f, "kind", episodeNames, &e.Kind)
	f.str("what", &e.What)
	f.num("start", &e.StartNS)
	f.num("ns", &e.NS)
	f.num("goroutine", &e.Goroutine)
	integer(f, "stack", &e.Stack)
}

func (a *Activity) visit(f fields) {
	integer(f, "kind", &a.Kind)
	f.hex("task", &a.Task)
	f.num("goroutine", &a.Goroutine)
	f.num("start", &a.StartNS)
	f.num("ns", &a.NS)
	f.flag("open", &a.Open)
	f.texts("logs", &a.Logs)
	f.flag("cut", &a.Cut)
}

func (k *ActivityKind) visit(f fields) {
	f.flag("region", &k.Region)
	f.str("name", &k.Name)
	integer(f, "stack", &k.Stack)
	count(f, "count", &k.Count)
	integer(f, "open", &k.Open)
	count(f, "total", &k.TotalNS)
	count(f, "max", &k.MaxNS)
	k.Hist.visit(f, "hist")
}

func (l *Leg) visit(f fields) {
	f.num("goroutine", &l.Goroutine)
	enumeration(f, "state", actStateNames, &l.State)
	f.str("reason", &l.Reason)
	integer(f, "stack", &l.Stack)
	f.num("start", &l.StartNS)
	f.num("ns", &l.NS)
}

// writeTimeline writes the Timeline and its rows.
func (c *Case) writeTimeline(t *textWriter) {
	tl := c.Timeline
	if tl == nil {
		return
	}
	line := *tl // a copy: visiting must not touch the Case
	t.record("timeline", line.visit)
	gc := tl.GC
	t.record("gcwork", gc.visit)
	writeAll(t, "slice", tl.Slices, (*Slice).visit)
	for i := range tl.Sites {
		writeAll(t, "site", tl.Sites[i:i+1], (*Site).visit)
		writeAll(t, "share", tl.Sites[i].Top, (*Share).visit)
	}
	for i := range tl.Releases {
		writeAll(t, "release", tl.Releases[i:i+1], (*Release).visit)
		writeAll(t, "share", tl.Releases[i].Top, (*Share).visit)
		writeAll(t, "holdpart", tl.Releases[i].Parts, (*HoldPart).visit)
	}
	writeAll(t, "spawn", tl.Spawns, (*Spawn).visit)
	writeAll(t, "actor", tl.Actors, (*Actor).visit)
	writeAll(t, "pair", tl.Pairs, (*Pair).visit)
	writeAll(t, "episode", tl.Episodes, (*Episode).visit)
	writeAll(t, "activitykind", tl.Kinds, (*ActivityKind).visit)
	for i := range tl.Activities {
		writeAll(t, "activity", tl.Activities[i:i+1], (*Activity).visit)
		writeAll(t, "leg", tl.Activities[i].Path, (*Leg).visit)
	}
}

// timelineReader collects the records of a Timeline.
type timelineReader struct {
	t      *textReader
	line   *Timeline
	shares *[]Share // of the row above; nil when it has none
}

var (
	errNoTimeline = errors.New("the timeline record must stand above it")
	errNoOwner    = errors.New("the record that it belongs to must stand above it")
)

// readers is the table of records.
func (r *timelineReader) readers() map[string]func(*fieldReader) {
	return map[string]func(*fieldReader){
		"timeline": func(f *fieldReader) { r.line = &Timeline{}; r.line.visit(f) },
		"gcwork":   rowOfTimeline(r, (*GCWork).visit, func(f *fieldReader, v GCWork) { r.line.GC = v }),
		"slice":    rowOfTimeline(r, (*Slice).visit, r.slice),
		"site":     rowOfTimeline(r, (*Site).visit, r.site),
		"release":  rowOfTimeline(r, (*Release).visit, r.release),
		"share":    rowOfTimeline(r, (*Share).visit, r.share),
		"holdpart": rowOfTimeline(r, (*HoldPart).visit, r.holdPart),
		"spawn":    rowOfTimeline(r, (*Spawn).visit, r.spawn),
		"actor":    rowOfTimeline(r, (*Actor).visit, r.actor),
		"pair":     rowOfTimeline(r, (*Pair).visit, r.pair),
		"episode": rowOfTimeline(r, (*Episode).visit, func(f *fieldReader, v Episode) {
			own(f, "stack", r.t.stacks, &v.Stack)
			r.line.Episodes = append(r.line.Episodes, v)
		}),
		"activitykind": rowOfTimeline(r, (*ActivityKind).visit, func(f *fieldReader, v ActivityKind) {
			own(f, "stack", r.t.stacks, &v.Stack)
			r.line.Kinds = append(r.line.Kinds, v)
		}),
		"activity": rowOfTimeline(r, (*Activity).visit, r.activity),
		"leg":      rowOfTimeline(r, (*Leg).visit, r.leg),
	}
}

// rowOfTimeline reads a record that belongs to the Timeline.
func rowOfTimeline[T any](r *timelineReader, visit func(*T, fields), add func(*fieldReader, T)) func(*fieldReader) {
	return func(f *fieldReader) {
		var v T
		visit(&v, f)
		if r.line == nil {
			f.fail("record", errNoTimeline)
			return
		}
		add(f, v)
	}
}

// inTable fails unless i is the index of a row that stands above.
func inTable(f *fieldReader, name string, i, n int) {
	if i < 0 || i >= n {
		f.fail(name, fmt.Errorf("%d has no record above", i))
	}
}

func (r *timelineReader) slice(f *fieldReader, v Slice) {
	if len(r.line.Slices) == MaxSlices {
		f.fail("slice", fmt.Errorf("more than %d slices", MaxSlices))
		return
	}
	r.line.Slices = append(r.line.Slices, v)
}

func (r *timelineReader) site(f *fieldReader, v Site) {
	own(f, "stack", r.t.stacks, &v.Stack)
	r.line.Sites = append(r.line.Sites, v)
	r.shares = &r.line.Sites[len(r.line.Sites)-1].Top
}

func (r *timelineReader) release(f *fieldReader, v Release) {
	own(f, "stack", r.t.stacks, &v.Stack)
	inTable(f, "site", v.Site, len(r.line.Sites))
	r.line.Releases = append(r.line.Releases, v)
	r.shares = &r.line.Releases[len(r.line.Releases)-1].Top
}

func (r *timelineReader) share(f *fieldReader, v Share) {
	if r.shares == nil {
		f.fail("share", errNoOwner)
		return
	}
	*r.shares = append(*r.shares, v)
}

func (r *timelineReader) holdPart(f *fieldReader, v HoldPart) {
	own(f, "stack", r.t.stacks, &v.Stack)
	if len(r.line.Releases) == 0 {
		f.fail("holdpart", errNoOwner)
		return
	}
	last := &r.line.Releases[len(r.line.Releases)-1]
	last.Parts = append(last.Parts, v)
}

func (r *timelineReader) spawn(f *fieldReader, v Spawn) {
	own(f, "stack", r.t.stacks, &v.Stack)
	own(f, "start", r.t.frames, &v.Start)
	r.line.Spawns = append(r.line.Spawns, v)
}

func (r *timelineReader) actor(f *fieldReader, v Actor) {
	inTable(f, "spawn", v.Spawn, len(r.line.Spawns))
	r.line.Actors = append(r.line.Actors, v)
}

func (r *timelineReader) pair(f *fieldReader, v Pair) {
	inTable(f, "sitea", v.SiteA, len(r.line.Sites))
	inTable(f, "siteb", v.SiteB, len(r.line.Sites))
	r.line.Pairs = append(r.line.Pairs, v)
}

func (r *timelineReader) activity(f *fieldReader, v Activity) {
	inTable(f, "kind", v.Kind, len(r.line.Kinds))
	r.line.Activities = append(r.line.Activities, v)
}

func (r *timelineReader) leg(f *fieldReader, v Leg) {
	own(f, "stack", r.t.stacks, &v.Stack)
	if len(r.line.Activities) == 0 {
		f.fail("leg", errNoOwner)
		return
	}
	last := &r.line.Activities[len(r.line.Activities)-1]
	last.Path = append(last.Path, v)
}
