package fold

import "github.com/gopostmortem/postmortem/analyze/evidence"

// The shortest episodes that are worth a row.
const (
	longRun   = 10_000_000 // ns; the scheduler takes a goroutine off after 10 ms (forcePreemptNS in runtime/proc.go)
	longStall = 10_000_000
)

// episode is a row of Timeline.Episodes.
type episode struct {
	what      string
	start, ns int64
	goroutine int64
	stack     Stack
}

// episodeTable has the longest of each kind.
type episodeTable struct {
	rows [evidence.EpisodeRun + 1][]episode
}

// add keeps an episode if it is one of the longest, and says whether.
func (t *episodeTable) add(kind evidence.EpisodeKind, e episode) bool {
	rows := &t.rows[kind]
	if len(*rows) < evidence.MaxEpisodes {
		*rows = append(*rows, e)
		return true
	}
	least := 0
	for i := range *rows {
		if (*rows)[i].ns < (*rows)[least].ns {
			least = i
		}
	}
	if e.ns <= (*rows)[least].ns {
		return false
	}
	(*rows)[least] = e
	return true
}

// ranLong notes that a goroutine has run for d until t without a break.
func (f *Folder) ranLong(g *G, t, d int64, stack Stack) {
	if g.flags&gUser != 0 && f.tops.add(evidence.EpisodeRun, episode{start: t - d, ns: d, goroutine: g.ID, stack: stack}) {
		g.flags |= gNamed
	}
}

// stallState looks for times in which nobody runs, and none of the user's goroutines is in a system call.
type stallState struct {
	idle   int64 // since when; never when somebody does
	ready  int64 // since when somebody waits for a processor; means nothing while nobody does
	paused bool  // the world stood still since idle
}

// stirs is called before a goroutine enters one of the first four categories.
func (f *Folder) stirs(t int64, cat category, wasReady bool) {
	if cat == catReady {
		if f.here[catReady] == 0 {
			f.stall.ready = t
		}
		return
	}
	if f.stall.idle == never {
		return
	}
	if t-f.stall.idle >= longStall && (wasReady || f.here[catReady] > 0) {
		f.stalled(t)
	}
	f.stall.idle = never
}

// stalled keeps the stall that ends at t, if it was one: somebody could have run, and the world did not stand still. Whether anybody was
// ready until now is seen from the moment at which the first became so: while nobody runs, the only way out of it is to run. That nobody
// ran because all waited for a timer or for the network is no stall.
func (f *Folder) stalled(t int64) {
	start := max(f.stall.idle, f.stall.ready)
	if f.stall.ready == never || f.stall.paused || t-start < longStall {
		return
	}
	f.tops.add(evidence.EpisodeStall, episode{what: "ready, but not run", start: start, ns: t - start})
}

// stalledAtEnd keeps the stall that the trace ends in: all goroutines wait for each other, on locks and channels, and none of them can be
// woken by a timer, the network, or a signal. A select is left out, since it may wait for a timer.
func (f *Folder) stalledAtEnd(t int64) {
	if f.stall.idle == never || t-f.stall.idle < longStall || f.stall.paused || f.here[catPause] > 0 {
		return
	}
	if f.here[catReady] > 0 {
		f.stalled(t)
		return
	}
	n := &f.here
	if n[catSync]+n[catChan] > 0 && n[catNet]+n[catSelect]+n[catSleep]+n[catSignal]+n[catOther] == 0 {
		f.tops.add(evidence.EpisodeStall, episode{what: "blocked by each other", start: f.stall.idle, ns: t - f.stall.idle})
	}
}
