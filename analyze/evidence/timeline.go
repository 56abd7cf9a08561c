package evidence

import (
	"math"
	"math/bits"
)

// Timeline is what happened between two moments, folded while it was read: sums for each place in the code and a coarse course over
// time. No single event is kept, but for the longest of their kind. Moments are nanoseconds since the beginning of the Timeline,
// durations nanoseconds.
type Timeline struct {
	Form    string // what the source calls itself: "go 1.26 trace"
	WallNS  int64  // wall clock at the beginning, Unix time; 0 when the source has none (Go 1.24 and older)
	SpanNS  int64
	Events  uint64
	Lost    uint64 // events that are missing from their order or could not be read, at least; what they were is a Gap
	Procs   int    // GOMAXPROCS, the largest that was seen; 0 when unknown
	NoNames bool   // some places have no names, because the tables of the source are missing

	Created, Ended       uint64 // goroutines
	AtStart, AtEnd, Peak int    // goroutines alive; AtStart counts those that were there before

	// Sums over all goroutines but the runtime's own.
	RunNS, ReadyNS, SyscallNS, BlockedNS uint64
	SystemNS                             uint64    // the runtime's own goroutines (collector, finalizers, tracer) on a processor
	IdleNS                               uint64    // sum over the Ps, without work
	Latency                              Histogram // from ready to running, user goroutines
	GC                                   GCWork

	SliceNS    int64 // width of the slices; all rows have the same number of them, those at the end that are zero left out
	Slices     []Slice
	Sites      []Site
	Releases   []Release
	Spawns     []Spawn
	Actors     []Actor
	Pairs      []Pair
	Episodes   []Episode
	Activities []Activity
	Kinds      []ActivityKind
}

// MaxSlices is the most slices a Timeline has. Their width is a power of two of milliseconds.
const MaxSlices = 128

// GCWork is what the garbage collector did.
type GCWork struct {
	Cycles    int    // begun
	ActiveNS  uint64 // time in which a cycle was in progress (marking, with both of its pauses)
	PauseNS   uint64 // the world stood still, whoever stopped it
	MaxPause  uint64
	AssistNS  uint64 // goroutines were in a mark assist, waits included
	AssistRun uint64 // of this, on a processor
	WorkerNS  uint64 // mark workers on a processor
	SweepNS   uint64
	HeapMin   uint64 // bytes of the live heap as the pacer counts them: smallest and largest that was told
	HeapMax   uint64
	HeapLast  uint64
	GoalMin   uint64 // goal of the heap, bytes
	GoalMax   uint64

	// What room cycles left: of those that ended, sums of what was alive at their end (the last live heap told before) and of the goal
	// that was set then (the first told after, in the same stop of the world).
	Done   int
	Marked uint64
	Goals  uint64
}

// Slice is what happened in one slice of time. Sums over goroutines may exceed the width of the slice.
type Slice struct {
	RunNS, ReadyNS, SyscallNS      uint32 // in units of 1/1000 of the slice's width: 2500 is two and a half goroutines all the time
	SyncNS, NetNS, ChanNS, SleepNS uint32 // blocked, by what for; in the same unit
	GC, Pause, Assist              uint32 // in the same unit
	Created, Ended                 uint32 // goroutines
	Live                           uint32 // largest number alive
	HeapMB                         uint32 // largest live heap, MiB
	Events                         uint32
}

// SiteKind is what goroutines did at a site.
type SiteKind uint8

// The kinds of sites.
const (
	SiteBlock   SiteKind = iota // blocked; Reason says on what, the durations are the waits
	SiteSyscall                 // in a system call; the durations are the calls
	SiteYield                   // gave the processor away (runtime.Gosched); the durations are until it ran again
	SitePreempt                 // was taken from the processor while it computed; the durations are how long it had run
	SiteSample                  // a CPU sample; no durations
	SiteReady                   // became runnable: the stack of who made it so; the durations are until it ran
	SiteAssist                  // was in a mark assist
)

var siteNames = []string{"block", "syscall", "yield", "preempt", "sample", "ready", "assist"}

// String is the name used in reports and .case files.
func (k SiteKind) String() string { return nameOf(siteNames, int(k)) }

// Site is all that happened at one stack, of one kind and reason.
type Site struct {
	Kind    SiteKind
	Reason  string // as the source says: "sync", "chan receive", "select", "sleep", "network", "preempted"
	Stack   StackID
	Count   uint64 // how often it began
	TotalNS uint64
	OpenNS  uint64 // of TotalNS: of those that had not ended, until the end
	Fresh   uint64 // of those that ended and took time: by goroutines that had not run since the beginning, or since they were created
	FreshNS uint64 // their part of TotalNS
	MaxNS   uint64
	Hist    Histogram // of those that ended
	BusyNS  uint64    // time in which at least one goroutine was there
	Peak    int       // most goroutines that were there at once
	Open    int       // goroutines that were there at the end
	Unwoken uint64    // of blocks that ended: by no goroutine, but by a timer, the network poller or the runtime
	RunNS   uint64    // time that goroutines ran between the end of their wait here and their next wait or exit
	FirstNS int64
	LastNS  int64
	Load    []uint32 // by slice, goroutines there, in units of 1/1000: 1000 is one all the time. Samples: their number
	// Goroutines that were there most often, at most MaxShares; none of a SiteReady. The counts of those that came late are lower bounds. After
	// the first 256 visits one in eight is counted, as eight.
	Top []Share
}

// MaxShares is the most goroutines that a row names.
const MaxShares = 4

// Share is what one goroutine has of a sum.
type Share struct {
	Goroutine int64
	Count     uint64
}

// Release is how the waits at one site were ended from one place: where the waker stood.
type Release struct {
	Site    int // index in Sites
	Stack   StackID
	Count   uint64
	WaitNS  uint64 // sum of the waits that were ended
	MaxWait uint64
	// Of locks: how long who let go had held it, at least. It is known from when it took the lock after a wait of its own, or from when
	// the queue that it ended began.
	HoldNS  uint64
	MaxHold uint64
	Holds   Histogram
	Top     []Share    // wakers
	Parts   []HoldPart // what the wakers did in the meantime, the longest first, at most MaxParts
}

// MaxParts is the most parts that a row has.
const MaxParts = 6

// ActState is what a goroutine was doing in a stretch of time.
type ActState uint8

// The states of stretches.
const (
	ActRunning ActState = iota
	ActReady            // waiting for a processor
	ActSyscall
	ActBlocked
)

var actStateNames = []string{"running", "ready", "syscall", "blocked"}

// String is the name used in reports and .case files.
func (s ActState) String() string { return nameOf(actStateNames, int(s)) }

// HoldPart is what holders of a lock did while they had it.
type HoldPart struct {
	State  ActState
	Reason string  // of a block
	Stack  StackID // where; 0 for running, of which the stack is not known
	NS     uint64
	Count  uint64
}

// Spawn is a place that starts goroutines.
type Spawn struct {
	Stack   StackID // of the go statement; 0 for goroutines that were there before
	Start   FrameID // the function that they execute
	Created uint64
	Ended   uint64
	Before  int // that were there at the beginning
	Live    int // at the end
	Peak    int
	System  bool // the runtime's own

	RunNS, ReadyNS, SyscallNS, BlockedNS uint64   // of all of them
	LifeNS                               uint64   // sum of the lives of those that were created and ended
	FirstNS, LastNS                      int64    // first and last creation
	Births                               []uint32 // by slice
	Alive                                []uint32 // by slice: alive at its end
}

// Actor is a goroutine that stands out: by the time that it ran, or because another row names it. Of an id that is used again, as those of
// calls from C are, it is one life.
type Actor struct {
	Goroutine int64
	Spawn     int // index in Spawns
	Ended     bool
	System    bool
	RunNS     uint64
	ReadyNS   uint64
	SyscallNS uint64
	BlockedNS uint64
	MaxRunNS  uint64 // longest stretch on a processor
	Runs      uint64 // how often it was put on a processor
	Preempted uint64
	Syscalls  uint64
	FirstNS   int64
	LastNS    int64
	Load      []uint32 // by slice, on a processor, in units of 1/1000
}

// Pair is two goroutines that wake each other by turns.
type Pair struct {
	A, B         int64  // A < B
	SiteA, SiteB int    // where A and B wait most: indexes in Sites
	Count        uint64 // wakes of one by the other, both ways
	RunNS        uint64 // that both ran in all
	FirstNS      int64
	LastNS       int64
}

// EpisodeKind is what an episode is.
type EpisodeKind uint8

// The kinds of episodes.
const (
	EpisodeGC    EpisodeKind = iota // a cycle of the collector
	EpisodePause                    // the world stood still
	EpisodeStall                    // nobody ran and nobody was in a system call, though goroutines were ready or blocked by each other
	EpisodeRun                      // one goroutine kept a processor without a break
)

var episodeNames = []string{"gc", "pause", "stall", "run"}

// String is the name used in reports and .case files.
func (k EpisodeKind) String() string { return nameOf(episodeNames, int(k)) }

// MaxEpisodes is the most episodes of one kind that are kept: the longest.
const MaxEpisodes = 16

// Episode is one of the longest of its kind.
type Episode struct {
	Kind      EpisodeKind
	What      string // of a pause: why ("GC mark termination", "start trace")
	StartNS   int64
	NS        int64
	Goroutine int64 // who caused it or ran; 0 when nobody
	Stack     StackID
}

// Activity is one of the slowest user tasks or regions (runtime/trace), with what its time went to.
type Activity struct {
	Kind      int    // index in Kinds
	Task      uint64 // of a region: the task it belongs to; 0 when none
	Goroutine int64  // that began it
	StartNS   int64
	NS        int64    // until its end, or the end of the Timeline
	Open      bool     // it had not ended
	Logs      []string // texts logged in it, the first few, as "category: message"
	Path      []Leg    // what it waited for, one after the other, from its beginning to its end
	Cut       bool     // the beginning of the path is not known
}

// ActivityKind is all tasks or regions of one name.
type ActivityKind struct {
	Region  bool // otherwise a task
	Name    string
	Stack   StackID // where one was begun
	Count   uint64
	Open    int
	TotalNS uint64
	MaxNS   uint64
	Hist    Histogram
}

// Leg is a stretch of a critical path: one goroutine, one state.
type Leg struct {
	Goroutine int64
	State     ActState
	Reason    string  // of a block
	Stack     StackID // where it blocked or entered the system call; of a running one where it next did, 0 when unknown
	StartNS   int64
	NS        int64
}

// Histogram counts durations by powers of two: bucket i counts those from 2^(i-1) up to 2^i nanoseconds, bucket 0 those of 0.
type Histogram [44]uint32

// Add counts a duration.
func (h *Histogram) Add(ns int64) {
	h[min(bits.Len64(uint64(max(ns, 0))), len(h)-1)]++
}

// Total is the number of durations.
func (h *Histogram) Total() uint64 {
	var n uint64
	for _, c := range h {
		n += uint64(c)
	}
	return n
}

// Quantile is a duration in nanoseconds that a share q of all do not exceed, interpolated within its power of two; 0 when nothing was
// counted.
func (h *Histogram) Quantile(q float64) int64 {
	total := h.Total()
	if total == 0 {
		return 0
	}
	rank := q * float64(total)
	seen := 0.0
	for i, c := range h {
		if c == 0 || seen+float64(c) < rank {
			seen += float64(c)
			continue
		}
		if i == 0 {
			return 0
		}
		low := float64(uint64(1) << (i - 1))
		return int64(low + low*(rank-seen)/float64(c))
	}
	return int64(uint64(1) << (len(h) - 1))
}

// QuantileUpTo is Quantile where the longest duration is known: those of its power of two are shorter than it. 0 for longest is not known.
func (h *Histogram) QuantileUpTo(q float64, longest uint64) int64 {
	v, top := h.Quantile(q), int64(min(longest, math.MaxInt64))
	if v <= 0 || top <= 0 {
		return v
	}
	if low := int64(1) << (bits.Len64(uint64(v)) - 1); top >= low && top < 2*low {
		if h.Total() == 1 {
			return top
		}
		v = low + int64(float64(v-low)/float64(low)*float64(top-low))
	}
	return min(v, top)
}

// Below is how many durations are certainly shorter than ns: those of the powers of two below it.
func (h *Histogram) Below(ns int64) uint64 {
	var n uint64
	for i := range min(bits.Len64(uint64(max(ns, 0))), len(h)) {
		n += uint64(h[i])
	}
	return n
}

// Rate is how often per second something happened that happened n times in the span.
func (t *Timeline) Rate(n uint64) float64 {
	if t.SpanNS <= 0 {
		return 0
	}
	return float64(n) / (float64(t.SpanNS) / 1e9)
}

// ShareOf is a duration as a share of the span.
func (t *Timeline) ShareOf(ns uint64) float64 {
	if t.SpanNS <= 0 {
		return 0
	}
	return float64(ns) / float64(t.SpanNS)
}

// Actor returns the row of a goroutine.
func (t *Timeline) Actor(goroutine int64) (Actor, bool) {
	for i := range t.Actors {
		if t.Actors[i].Goroutine == goroutine {
			return t.Actors[i], true
		}
	}
	return Actor{}, false
}

// rowsOf is the length of a table whose references are indexes.
func (t *Timeline) rowsOf(k RefKind) int {
	if t == nil {
		return 0
	}
	switch k {
	case RefSite:
		return len(t.Sites)
	case RefRelease:
		return len(t.Releases)
	case RefSpawn:
		return len(t.Spawns)
	case RefPair:
		return len(t.Pairs)
	case RefEpisode:
		return len(t.Episodes)
	case RefActivity:
		return len(t.Activities)
	}
	return 0
}
