package fold

import (
	"math"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// The bounds of a Folder. They stand against hostile traces: real ones have a few thousand stacks and thirty reasons.
const (
	maxReasons  = 1 << 8  // distinct reasons; a list by stack is searched by reason, so there must not be many
	maxStacks   = 1 << 22 // numbers of stacks
	maxSites    = 1 << 16
	maxReleases = 1 << 16
	maxSpawns   = 1 << 14
	maxKinds    = 1 << 12 // names of tasks and regions
	maxText     = 200     // bytes of a name or message
	maxTime     = 1 << 60 // ns since the beginning: 36 years
)

// other is the name of what comes after a table is full.
const other = "other"

// Folder folds a trace. It is not safe for concurrent use. Moments that it is told are nanoseconds of the clock of the trace and do not
// decrease; one that does is taken for the last one.
type Folder struct {
	clock
	stacks  Stacks
	reasons []reason
	named   map[string]Reason
	sites   siteTable
	info    stackTable
	locks   lockClasses
	rel     releaseTable
	rings   ringTable
	extras  extraTable
	spawns  spawnTable
	actors  actorTable
	pairs   pairTable
	tops    episodeTable
	acts    activityTable
	gc      gcState
	procs   procState
	stall   stallState

	known             int64 // since when those that appear were in their state
	created, ended    uint64
	live, peak, start int
	lost              uint64
	latency           evidence.Histogram
	refused           refusals
}

// refusals counts what did not fit into a table.
type refusals struct{ reasons, sites, releases, spawns, kinds, tasks, regions uint64 }

// reason is one word for why goroutines wait.
type reason struct {
	name string
	cat  category // of who is blocked for it
	pair bool     // goroutines wake each other from it
}

// category is what a goroutine is counted as in a slice of time.
type category uint8

const (
	catRun category = iota // the first four in this order: see Folder.leave and enter
	catSyscall
	catSystemRun // one of the runtime's own runs
	catReady
	catSync
	catNet
	catChan
	catSelect
	catSleep
	catForever
	catSignal // in a system call, but only waiting for signals
	catOther
	catSystem // the runtime's own, in any other state
	catGC     // not of goroutines: a cycle is in progress
	catPause  // the world stands still
	catAssist
	catCount
)

// blockCategories says what reasons of blocks mean (traceBlockReasonStrings in runtime/traceruntime.go, Go 1.22 to 1.26).
var blockCategories = map[string]category{
	"sync":              catSync,
	"sync.(*Cond).Wait": catSync,
	"network":           catNet,
	"chan send":         catChan,
	"chan receive":      catChan,
	"select":            catSelect,
	"sleep":             catSleep,
	"forever":           catForever,
}

// New returns a Folder of a trace whose stacks are in a table.
func New(stacks Stacks) *Folder {
	f := &Folder{stacks: stacks, named: map[string]Reason{}}
	f.clock.init()
	f.Reason("") // number 0: not known
	f.sites.init()
	f.info.init()
	f.locks.init()
	f.rel.init()
	f.rings.init()
	f.extras.init()
	f.spawns.init()
	f.actors.init()
	f.pairs.init()
	f.acts.init()
	f.stall.idle, f.stall.ready = never, never
	return f
}

// Reason interns the name of a reason: once for each generation and string. After 256 names, which only a hostile trace has, the rest
// are one.
func (f *Folder) Reason(name string) Reason {
	name = clip(name)
	if r, ok := f.named[name]; ok {
		return r
	}
	if len(f.reasons) >= maxReasons-1 && name != other {
		f.refused.reasons++
		return f.Reason(other)
	}
	cat, ok := blockCategories[name]
	if !ok {
		cat = catOther
	}
	r := Reason(len(f.reasons))
	f.reasons = append(f.reasons, reason{name, cat, cat == catChan || cat == catSelect || name == "sync.(*Cond).Wait"})
	f.named[name] = r
	return r
}

// valid is r, or 0 when it is no number of this Folder.
func (f *Folder) valid(r Reason) Reason {
	if int(r) < len(f.reasons) {
		return r
	}
	return 0
}

// Begin tells the first moment, and may tell the beginning of every generation: whoever appears until the next one was in its state since.
func (f *Folder) Begin(t int64) {
	f.known = f.at(t)
	f.marks-- // no event
}

// Lost counts events that are missing.
func (f *Folder) Lost(n uint64) {
	if f.lost += n; f.lost < n || f.lost > math.MaxInt64 {
		f.lost = math.MaxInt64
	}
}

// clip cuts a text of the trace to a length that may be kept many times.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > maxText-4 && s[cut]&0xC0 == 0x80 { // not within a character
		cut--
	}
	return s[:cut] + "..."
}
