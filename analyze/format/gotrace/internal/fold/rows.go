package fold

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func (o *output) activities(line *evidence.Timeline) {
	a := &o.f.acts
	used := make([]bool, len(a.kinds))
	for i := range a.rows {
		used[a.rows[i].kind] = true
	}
	all := count(0, len(a.kinds))
	slices.SortStableFunc(all, func(x, y int) int { // those that an activity names cannot fall out
		if used[x] != used[y] {
			if used[x] {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.kinds[y].total, a.kinds[x].total), cmp.Compare(a.kinds[y].count, a.kinds[x].count))
	})
	if len(all) > outKinds {
		o.to.Gapf("names of tasks and regions", "of %d names %d are told: those with the slowest, and with the most time", len(all), outKinds)
		all = all[:outKinds]
	}
	o.kindAt = make([]int, len(a.kinds))
	for _, i := range all {
		k := &a.kinds[i]
		o.kindAt[i] = len(line.Kinds)
		line.Kinds = append(line.Kinds, evidence.ActivityKind{Region: k.region, Name: k.name, Stack: o.stack(k.stack), Count: k.count,
			Open: k.open, TotalNS: k.total, MaxNS: uint64(k.max), Hist: k.hist})
	}
	slices.SortStableFunc(a.rows, func(x, y activity) int {
		return cmp.Or(cmp.Compare(y.ns, x.ns), cmp.Compare(x.start, y.start))
	})
	for i := range a.rows {
		line.Activities = append(line.Activities, o.activity(&a.rows[i]))
	}
}

func (o *output) activity(a *activity) evidence.Activity {
	row := evidence.Activity{Kind: o.kindAt[a.kind], Task: a.task, Goroutine: a.goroutine, StartNS: a.start, NS: a.ns, Open: a.open,
		Logs: a.logs, Cut: a.cut}
	for _, l := range a.path {
		row.Path = append(row.Path, evidence.Leg{Goroutine: l.goroutine, State: l.state, Reason: o.reasonAt(l.state, l.site),
			Stack: o.stack(o.f.sites.rows[l.site].stack), StartNS: l.start, NS: l.ns})
	}
	return row
}

// actors adds the goroutines that ran most, and those that other rows name, as long as there is room.
func (o *output) actors(line *evidence.Timeline, alive []*G) {
	gone := o.f.actors.index()
	seen := map[int64]bool{0: true}
	for _, id := range append(o.busiest(alive), namesOf(line)...) {
		if len(line.Actors) == maxActors {
			break
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if row, ok := gone[id]; ok {
			o.actor(line, row)
		} else if k, ok := slices.BinarySearchFunc(alive, id, func(g *G, id int64) int { return cmp.Compare(g.ID, id) }); ok {
			row := o.f.actor(alive[k], o.t)
			o.actor(line, &row)
		}
	}
	slices.SortStableFunc(line.Actors, func(a, b evidence.Actor) int {
		return cmp.Or(cmp.Compare(b.RunNS, a.RunNS), cmp.Compare(a.Goroutine, b.Goroutine))
	})
}

// busiest are the goroutines that ran most, the user's first.
func (o *output) busiest(alive []*G) []int64 {
	t := &o.f.actors
	rooms := [2]int{topActors, topSystem}
	var top [2][]actor
	add := func(id, run int64, system bool) {
		kind := 0
		if system {
			kind = 1
		}
		row := actor{id: id, run: run}
		keepTop(&top[kind], rooms[kind], &row)
	}
	for _, g := range alive {
		add(g.ID, g.run, g.flags&gUser == 0)
	}
	for _, list := range [][]actor{t.top[0], t.top[1], t.named, t.recent} {
		for i := range list {
			add(list[i].id, list[i].run, list[i].system)
		}
	}
	var ids []int64
	for _, list := range top {
		slices.SortStableFunc(list, func(a, b actor) int { return cmp.Or(cmp.Compare(b.run, a.run), cmp.Compare(a.id, b.id)) })
		for _, row := range list {
			if row.run > 0 {
				ids = append(ids, row.id)
			}
		}
	}
	return ids
}

func (o *output) actor(line *evidence.Timeline, a *actor) {
	if o.spawnAt[a.spawn] < 0 {
		return // its row was left out, and a row of nothing would say something wrong
	}
	line.Actors = append(line.Actors, evidence.Actor{Goroutine: a.id, Spawn: o.spawnAt[a.spawn], Ended: a.ended, System: a.system,
		RunNS: uint64(a.run), ReadyNS: uint64(a.ready), SyscallNS: uint64(a.sys), BlockedNS: uint64(a.block), MaxRunNS: uint64(a.most),
		Runs: uint64(a.runs), Preempted: uint64(a.preempted), Syscalls: uint64(a.syscalls), FirstNS: a.born, LastNS: a.last,
		Load: o.f.clock.load(a.load)})
}

// namesOf are the goroutines that rows name, those of the rarer tables first.
func namesOf(line *evidence.Timeline) []int64 {
	var out []int64
	for _, p := range line.Pairs {
		out = append(out, p.A, p.B)
	}
	for _, e := range line.Episodes {
		out = append(out, e.Goroutine)
	}
	for _, a := range line.Activities {
		out = append(out, a.Goroutine)
		for _, l := range a.Path {
			out = append(out, l.Goroutine)
		}
	}
	for i := range line.Releases {
		out = append(out, sharesOf(line.Releases[i].Top)...)
	}
	for i := range line.Sites {
		out = append(out, sharesOf(line.Sites[i].Top)...)
	}
	return out
}

func sharesOf(top []evidence.Share) []int64 {
	out := make([]int64, len(top))
	for i, s := range top {
		out[i] = s.Goroutine
	}
	return out
}

// states are the states of goroutines in a Case.
var states = [...]evidence.State{
	StateUnknown: evidence.StateUnknown,
	StateReady:   evidence.StateRunnable,
	StateRunning: evidence.StateRunning,
	StateSyscall: evidence.StateSyscall,
	StateBlocked: evidence.StateWaiting,
}

// rows makes the goroutines that are alive rows of the Builder.
func (o *output) rows(alive []*G) {
	o.to.Grow(len(alive))
	words := map[uint32]string{} // by site
	created := make([]evidence.FrameID, len(o.f.spawns.rows))
	for i := range created {
		created[i] = o.statement(o.f.spawns.rows[i].at)
	}
	coverage := evidence.Coverage{GoroutinesSeen: len(alive)}
	for _, g := range alive {
		row := evidence.Goroutine{ID: g.ID, State: states[g.state], Created: created[g.spawn], Parent: g.parent, Stack: o.stack(g.stack)}
		if g.state == StateBlocked {
			word, ok := words[g.site]
			if !ok {
				s := &o.f.sites.rows[g.site]
				word = dumpReason(o.f.reasons[s.reason()].name, o.f.stacks.Frames(s.stack))
				words[g.site] = word
			}
			row.Reason = word
			row.Seconds = uint32(min((o.t-g.since)/1e9, 1<<32-1))
		}
		if g.flags&gUser == 0 {
			row.Flags |= evidence.FlagSystem
		}
		if row.Stack != 0 {
			coverage.GoroutinesUnwound++
		}
		o.to.Goroutine(row)
	}
	o.to.Coverage(coverage)
}

// statement is the go statement: the innermost frame that is not the runtime's.
func (o *output) statement(at Stack) evidence.FrameID {
	if at == 0 {
		return 0
	}
	for _, fr := range o.f.stacks.Frames(at) {
		if !strings.HasPrefix(fr.Func, "runtime.") {
			return o.frame(fr)
		}
	}
	return 0
}

// dumpReasons are the words of goroutine dumps (waitReasonStrings in runtime/runtime2.go) for the words of traces
// (traceBlockReasonStrings in runtime/traceruntime.go), where the reason alone decides.
var dumpReasons = map[string]string{
	"network":                      "IO wait",
	"sync.(*Cond).Wait":            "sync.Cond.Wait",
	"GC mark assist wait for work": "GC assist wait",
	"GC background sweeper wait":   "GC sweep wait",
	"wait for debug call":          "debug call",
	"wait until GC ends":           "wait for GC cycle",
	"GC weak to strong wait":       "GC weak to strong wait",
}

// dumpWords say which word a function on the stack stands for. They are looked for from the outermost of the frames of package sync and
// of the runtime on: a Mutex within an RWMutex is the RWMutex.
var dumpWords = map[string]map[string]string{
	"sync": {
		"sync.(*Mutex).Lock":               "sync.Mutex.Lock",
		"sync.(*Mutex).lockSlow":           "sync.Mutex.Lock",
		"internal/sync.(*Mutex).Lock":      "sync.Mutex.Lock",
		"internal/sync.(*Mutex).lockSlow":  "sync.Mutex.Lock",
		"sync.(*RWMutex).RLock":            "sync.RWMutex.RLock",
		"sync.(*RWMutex).Lock":             "sync.RWMutex.Lock",
		"sync.(*WaitGroup).Wait":           "sync.WaitGroup.Wait",
		"sync.runtime_SemacquireWaitGroup": "sync.WaitGroup.Wait",
	},
	"forever": {
		"runtime.block":     "select (no cases)",
		"runtime.chanrecv":  "chan receive (nil chan)",
		"runtime.chanrecv1": "chan receive (nil chan)",
		"runtime.chanrecv2": "chan receive (nil chan)",
		"runtime.chansend":  "chan send (nil chan)",
		"runtime.chansend1": "chan send (nil chan)",
		"runtime.main":      "panicwait",
	},
	"system goroutine wait": {
		"runtime.gcBgMarkWorker":          "GC worker (idle)",
		"runtime.forcegchelper":           "force gc (idle)",
		"runtime.bgscavenge":              "GC scavenge wait",
		"runtime.runfinq":                 "finalizer wait",
		"runtime.runFinalizers":           "finalizer wait",
		"runtime.runCleanups":             "cleanup wait",
		"runtime.updateMaxProcsGoroutine": "GOMAXPROCS updater (idle)",
	},
}

// libraryFrames are the packages whose frames stand between a wait and the code that waits.
var libraryFrames = []string{"runtime.", "sync.", "internal/sync."}

// dumpReason is what a goroutine dump calls a wait.
func dumpReason(reason string, frames []Frame) string {
	if word, ok := dumpReasons[reason]; ok {
		return word
	}
	words := dumpWords[reason]
	if words == nil {
		return reason
	}
	found := ""
	for _, fr := range frames {
		if !slices.ContainsFunc(libraryFrames, func(p string) bool { return strings.HasPrefix(fr.Func, p) }) {
			break
		}
		if word := words[fr.Func]; word != "" {
			found = word
		}
	}
	switch {
	case found != "":
		return found
	case reason == "sync" && len(frames) > 0:
		return "semacquire" // the runtime's own, or a package that has one (internal/poll)
	}
	return reason
}
