package fold

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const (
	slowPerKind = 5  // activities of one name that are kept: the slowest
	slowInAll   = 20 // activities
	maxTasks    = 1 << 16
	maxRegions  = 1 << 16 // open at once
	maxLogs     = 8       // texts of a task
	roomLogs    = 1 << 22 // bytes of the texts of all open tasks
)

// kind is a row of Timeline.Kinds while it is filled.
type kind struct {
	region bool
	name   string
	stack  Stack
	count  uint64
	open   int
	total  uint64
	max    int64
	hist   evidence.Histogram
}

type kindKey struct {
	region bool
	name   string
}

// task is one that has not ended.
type task struct {
	kind      uint32
	goroutine int64
	start     int64
	logs      []string
}

// region is one that has not ended, in the list of its goroutine.
type region struct {
	kind  uint32
	outer uint32 // the region around it; in the list of free ones the next
	task  uint64
	start int64
}

// activity is a row of Timeline.Activities.
type activity struct {
	kind      uint32
	task      uint64
	goroutine int64
	start, ns int64
	open      bool
	logs      []string
	path      []leg
	cut       bool
}

// activityTable has the tasks and regions.
type activityTable struct {
	kinds   []kind
	index   map[kindKey]uint32
	tasks   map[uint64]*task
	regions []region // row 0 is nothing
	free    uint32
	rows    []activity // the slowest
	logged  int        // bytes of the texts of open tasks
}

func (t *activityTable) init() {
	t.index, t.tasks, t.regions = map[kindKey]uint32{}, map[uint64]*task{}, make([]region, 1)
}

func (f *Folder) kind(isRegion bool, name string, stack Stack) uint32 {
	t := &f.acts
	key := kindKey{isRegion, clip(name)}
	if n, ok := t.index[key]; ok {
		return n
	}
	if len(t.kinds) >= maxKinds-2 && name != other {
		f.refused.kinds++
		return f.kind(isRegion, other, 0)
	}
	n := uint32(len(t.kinds))
	t.kinds = append(t.kinds, kind{region: isRegion, name: key.name, stack: stack})
	t.index[key] = n
	return n
}

// begun counts a task or region.
func (f *Folder) begun(n uint32, g *G) {
	k := &f.acts.kinds[n]
	k.count++
	k.open++
	f.rings.full = true
	if g != nil && g.spawn != 0 {
		f.ring(g)
	}
}

// Task tells of a new task. The goroutine is nil when it is not known.
func (f *Folder) Task(t int64, g *G, id, parent uint64, name string, stack Stack) {
	t = f.at(t)
	if _, ok := f.acts.tasks[id]; ok || len(f.acts.tasks) >= maxTasks {
		f.refused.tasks++
		return
	}
	row := &task{kind: f.kind(false, name, stack), start: t}
	if g != nil {
		row.goroutine = g.ID
	}
	f.acts.tasks[id] = row
	f.begun(row.kind, g)
}

// TaskEnd tells that a task is over. One that began before the trace is not counted: how long it took is not known.
func (f *Folder) TaskEnd(t int64, g *G, id uint64) {
	t = f.at(t)
	row := f.acts.tasks[id]
	if row == nil {
		return
	}
	delete(f.acts.tasks, id)
	for _, text := range row.logs {
		f.acts.logged -= len(text)
	}
	f.over(row.kind, t-row.start)
	f.keepTask(t, g, id, row, false)
}

func (f *Folder) keepTask(t int64, g *G, id uint64, row *task, open bool) {
	f.keep(t, g, activity{kind: row.kind, task: id, goroutine: row.goroutine, start: row.start, ns: t - row.start, open: open, logs: row.logs})
}

// over counts the end of a task or region.
func (f *Folder) over(n uint32, d int64) {
	k := &f.acts.kinds[n]
	k.open--
	k.total += uint64(d)
	k.max = max(k.max, d)
	k.hist.Add(d)
}

// Region tells that a goroutine enters a region.
func (f *Folder) Region(t int64, g *G, task uint64, name string, stack Stack) {
	t = f.at(t)
	if g == nil || g.spawn == 0 {
		return
	}
	a := &f.acts
	n := a.free
	switch {
	case n != 0:
		a.free = a.regions[n].outer
	case len(a.regions) > maxRegions:
		f.refused.regions++
		return
	default:
		n = uint32(len(a.regions))
		a.regions = append(a.regions, region{})
	}
	row := f.kind(true, name, stack)
	a.regions[n] = region{kind: row, outer: g.region, task: task, start: t}
	g.region = n
	f.begun(row, g)
}

// RegionEnd tells that it leaves one. The regions inside of it, whose ends are missing, end with it.
func (f *Folder) RegionEnd(t int64, g *G, task uint64, name string) {
	t = f.at(t)
	if g == nil || g.region == 0 {
		return
	}
	name = clip(name)
	at := g.region
	for at != 0 && (f.acts.regions[at].task != task || f.acts.kinds[f.acts.regions[at].kind].name != name) {
		at = f.acts.regions[at].outer
	}
	if at == 0 { // it began before the trace, or was not kept, or is called other
		return
	}
	outer := f.acts.regions[at].outer
	for g.region != outer {
		f.endRegion(t, g)
	}
}

// endRegion ends the innermost region.
func (f *Folder) endRegion(t int64, g *G) {
	a := &f.acts
	n := g.region
	r := a.regions[n]
	g.region = r.outer
	a.regions[n] = region{outer: a.free}
	a.free = n
	f.over(r.kind, t-r.start)
	f.keep(t, g, activity{kind: r.kind, task: r.task, goroutine: g.ID, start: r.start, ns: t - r.start})
}

// endRegions ends all regions of a goroutine that has ended.
func (f *Folder) endRegions(t int64, g *G) {
	for g.region != 0 {
		f.endRegion(t, g)
	}
}

// Log keeps a text that was logged in a task.
func (f *Folder) Log(t int64, g *G, task uint64, category, message string) {
	f.at(t)
	row := f.acts.tasks[task]
	if row == nil || len(row.logs) == maxLogs || f.acts.logged > roomLogs {
		return
	}
	text := clip(message)
	if category != "" {
		text = clip(fmt.Sprintf("%s: %s", clip(category), text))
	}
	row.logs = append(row.logs, text)
	f.acts.logged += len(text)
}

// keep keeps an activity if it is among the slowest of its name, and of all. Its critical path is looked for only then.
func (f *Folder) keep(t int64, g *G, a activity) {
	rows := f.acts.rows
	same, leastSame, least := 0, -1, -1
	for i := range rows {
		if least < 0 || rows[i].ns < rows[least].ns {
			least = i
		}
		if rows[i].kind == a.kind {
			if same++; leastSame < 0 || rows[i].ns < rows[leastSame].ns {
				leastSame = i
			}
		}
	}
	at := -1
	switch {
	case same == slowPerKind:
		at = leastSame
	case len(rows) == slowInAll:
		at = least
	}
	if at >= 0 && a.ns <= rows[at].ns {
		return
	}
	a.path, a.cut = f.path(g, a.start, t)
	if g != nil {
		g.flags |= gNamed
	}
	if at < 0 {
		f.acts.rows = append(rows, a)
		return
	}
	rows[at] = a
}
