package evidence

// Wake says whether a goroutine can ever run again, as far as the memory of the process decides it. It is decided by reachability: a
// goroutine that is blocked on an object which nothing live can reach stays blocked.
type Wake uint8

// The verdicts.
const (
	WakeUnknown  Wake = iota // no verdict: see Case.Proof
	WakePossible             // it is not blocked by the program alone, or something live reaches what it waits for
	WakeNever                // proved: nothing live reaches what it waits for, or that never wakes (a nil channel)
	WakeByDesign             // the main goroutine in its own select{}: it never wakes and is not meant to
)

var wakeNames = []string{"unknown", "possible", "never", "by-design"}

// String is the name used in reports and .case files.
func (w Wake) String() string { return nameOf(wakeNames, int(w)) }

// Proof is how far the search for goroutines that can never wake came. A proof needs the whole of what the process could reach:
// when something of it is missing there are no verdicts at all.
type Proof struct {
	Done       bool
	Refused    string // why there are no verdicts: "the core lacks 12 spans of the heap"; empty when Done
	Candidates int    // goroutines blocked on something that only the program itself can change
	Never      int    // of these, the ones that can never wake
	Objects    uint64 // heap objects that are reachable
	Bytes      uint64 // their bytes
	Precise    uint64 // words of roots read by a pointer map
	Doubtful   uint64 // words of roots that were taken for pointers without one: they can only hide a leak
}

// Act is what a goroutine can do to an object to wake those who wait for it.
type Act uint8

// The acts.
const (
	ActUnknown Act = iota
	ActSend
	ActReceive
	ActClose
	ActDone // of a wait group
	ActSignal
	ActBroadcast
)

var actNames = []string{"unknown", "send", "receive", "close", "done", "signal", "broadcast"}

// String is the name used in reports and .case files.
func (a Act) String() string { return nameOf(actNames, int(a)) }

// WakerGrade says how it was inferred that a goroutine would wake those who wait for an object.
type WakerGrade uint8

// The grades, from strong to weak.
const (
	WakerUnknown WakerGrade = iota
	WakerPending            // a deferred call that does it is pending on its stack, checked against the defer records
	WakerAhead              // a live word of its frame leads to this object, and the code after its pc does it
	WakerRefers             // a live word of its frame leads to the object; what it would do with it is not known
)

var wakerNames = []string{"unknown", "pending", "ahead", "refers"}

// String is the name used in reports and .case files.
func (g WakerGrade) String() string { return nameOf(wakerNames, int(g)) }

// Waker is the inference that a goroutine could wake those who wait for an object other than a lock.
type Waker struct {
	Sync      uint64
	Goroutine int64
	Act       Act
	Grade     WakerGrade
	Frame     FrameID // the frame that would do it
	Depth     int     // index of that frame in the goroutine's stack, 0 innermost
	Site      FrameID // the call or statement in that frame; zero when not known
	Why       string  // what was seen, one sentence without the final stop
}

// Pool is something with a bounded number of slots that is made of the objects goroutines wait for: a database/sql.DB with
// MaxOpenConns, an http.Transport with MaxConnsPerHost, a semaphore.Weighted, an errgroup with a limit. A channel that serves as
// a semaphore is none of them: its slots are Holds on the channel.
type Pool struct {
	Addr    uint64
	Kind    string // the type: "database/sql.DB"
	Where   string // what it is part of, as in Sync.Where; may be empty
	Used    int64  // slots given away, as the pool itself counts them; -1 unknown
	Limit   int64  // slots there are; 0 when there is no limit
	Waiting int    // who waits for a slot, as the pool itself counts them; -1 unknown
	Trust   Trust
}

// PoolRole is what a goroutine has to do with a Pool.
type PoolRole uint8

// The roles.
const (
	PoolWaits PoolRole = iota // for a slot
	PoolHolds                 // at least one slot
)

var poolRoleNames = []string{"waits", "holds"}

// String is the name used in reports and .case files.
func (r PoolRole) String() string { return nameOf(poolRoleNames, int(r)) }

// PoolUse is what one goroutine has to do with a Pool.
type PoolUse struct {
	Pool      uint64 // Pool.Addr
	Goroutine int64
	Role      PoolRole
	Slots     int64     // how many it asks for or holds; at least 1
	Grade     HoldGrade // of a holder
	Depth     int       // index of the frame that asked or that keeps the slot, 0 innermost
	Frame     FrameID
	Why       string
}

// Path is how a root of the process reaches the object that a goroutine waits for: why the goroutine is not proved to be lost.
type Path struct {
	Goroutine int64
	Sync      uint64
	Steps     []PathStep // from the root to the object
}

// PathStep is one object on a Path.
type PathStep struct {
	Kind   StepKind
	Addr   uint64 // of the object, or of the word of the root
	Name   string // a global ("main.registry"), the function of a frame, a type; empty when not known
	Size   uint64 // of a heap object, in bytes
	Offset uint64 // of the pointer to the next step in this one
	// Goroutine and Depth name the frame of a step on a stack.
	Goroutine int64
	Depth     int
}

// StepKind is what a PathStep is.
type StepKind uint8

// The kinds of steps: the first one of a Path is a root.
const (
	StepObject    StepKind = iota // on the heap
	StepGlobal                    // a variable of a package
	StepStack                     // a frame of a goroutine that can run
	StepFinalizer                 // a finalizer, a cleanup, or another special record of the heap
	StepRuntime                   // the runtime's own data: the network poller, timers, a thread's stack
	StepGoroutine                 // a goroutine that this path would wake
)

var stepNames = []string{"object", "global", "stack", "finalizer", "runtime", "goroutine"}

// String is the name used in reports and .case files.
func (k StepKind) String() string { return nameOf(stepNames, int(k)) }
