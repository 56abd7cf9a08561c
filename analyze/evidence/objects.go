package evidence

// SyncKind is the kind of a synchronisation object.
type SyncKind uint8

// The kinds of objects that goroutines wait for.
const (
	SyncUnknown SyncKind = iota
	SyncMutex
	SyncRWMutex
	SyncWaitGroup
	SyncCond
	SyncChannel
	SyncSemaphore // a semaphore of the runtime whose owner type is not known
	SyncNetpoll   // a file descriptor in the network poller
)

var syncNames = []string{"unknown", "mutex", "rwmutex", "waitgroup", "cond", "channel", "semaphore", "netpoll"}

// String is the name used in reports and .case files.
func (k SyncKind) String() string { return nameOf(syncNames, int(k)) }

// Sync is a synchronisation object. Which fields have a meaning depends on Kind.
type Sync struct {
	Addr uint64
	Kind SyncKind
	// Where says what the object is part of, when that is known: "global main.cache", "heap object of type main.Ledger,
	// field mu", "stack of goroutine 7". Empty when not known.
	Where string

	Len, Cap int64 // channel: elements queued, capacity
	Closed   bool  // channel
	Blank    bool  // channel: its elements have no size (struct{}), so that it carries signals or tokens, and not work
	Locked   bool  // mutex: the locked bit; rwmutex: a writer holds it
	Starving bool  // mutex: in starvation mode
	Waiters  int   // how many the object itself counts; -1 when it does not count them
	Readers  int   // rwmutex: readers inside
	Pending  bool  // rwmutex: a writer waits for the readers to leave
	Counter  int64 // wait group: what is left to be done
	FD       int   // netpoll: the file descriptor
	Trust    Trust
}

// Ref is the reference of the object.
func (s Sync) Ref() Ref { return SyncRef(s.Addr) }

// WaitMode is what a waiter wants of its object.
type WaitMode uint8

// The ways to wait.
const (
	WaitAny WaitMode = iota // given by the goroutine's wait reason
	WaitReceive
	WaitSend
	WaitLock
	WaitRLock
	WaitZero   // a wait group
	WaitSignal // a condition
	WaitRead   // a file descriptor
	WaitWrite
)

var waitNames = []string{"any", "receive", "send", "lock", "rlock", "zero", "signal", "read", "write"}

// String is the name used in reports and .case files.
func (m WaitMode) String() string { return nameOf(waitNames, int(m)) }

// Wait is an edge from a goroutine to an object that can wake it.
type Wait struct {
	Goroutine int64
	Sync      uint64 // address of the object
	Mode      WaitMode
}

// HoldGrade says how it was inferred that a goroutine holds a lock: Go's locks do not record their owner.
type HoldGrade uint8

// The grades of a hold, from strong to weak.
const (
	HoldUnknown       HoldGrade = iota
	HoldPendingUnlock           // a deferred Unlock of this lock is pending on its stack, checked against the defer records
	HoldUnique                  // the only goroutine with a live reference that has passed a Lock and no Unlock
	HoldAmbiguous               // one of several candidates
)

var holdNames = []string{"unknown", "pending-unlock", "unique-candidate", "ambiguous"}

// String is the name used in reports and .case files.
func (g HoldGrade) String() string { return nameOf(holdNames, int(g)) }

// weakness orders grades from strong to weak; one that is not known is the weakest.
func (g HoldGrade) weakness() uint8 { return uint8(g) - 1 }

// Hold is the inference that a goroutine holds a lock.
type Hold struct {
	Sync      uint64
	Goroutine int64
	Grade     HoldGrade
	Reader    bool    // holds it for reading
	Frame     FrameID // the frame that holds it: the function that locked and has not yet unlocked
	Depth     int     // index of that frame in the goroutine's stack, 0 innermost
	Site      FrameID // the Lock call in that frame; zero when not known
	Why       string  // what was seen, one sentence without the final stop
}

// Transfer is a read or write call in progress, with the length of its buffer.
type Transfer struct {
	Goroutine int64
	Function  string // the frame whose argument it is: "syscall.read"
	Write     bool
	Length    int64 // bytes asked for: the buffer's length, not what will be transferred
	FD        int   // -1 when not known
	Depth     int   // index of the frame in the goroutine's stack
	Trust     Trust
}

// AlarmHorizon bounds what readers record as an Alarm, in ns: what is due later tells nothing about polling, and a process
// may have a timer for each of a million goroutines.
const AlarmHorizon = 100_000_000

// Alarm is a timer that will soon wake a waiting goroutine: that of its time.Sleep, one behind a channel it waits for, or the
// deadline of the descriptor it reads or writes (runtime: g.timer, hchan.timer, pollDesc.rd and wd; Go 1.21 to 1.26).
type Alarm struct {
	Goroutine int64
	Source    AlarmSource
	DueNS     int64 // from the moment of the evidence until it is due; negative when overdue; at most AlarmHorizon
	AskedNS   int64 // the duration that was asked for (argument of time.Sleep); -1 when not known
	Trust     Trust
}

// AlarmSource says what set an Alarm.
type AlarmSource uint8

// The sources of alarms.
const (
	AlarmSleep    AlarmSource = iota // time.Sleep
	AlarmTimer                       // a timer or ticker whose channel it waits for
	AlarmDeadline                    // SetDeadline and its kin
)

var alarmNames = []string{"sleep", "timer", "deadline"}

// String is the name used in reports and .case files.
func (s AlarmSource) String() string { return nameOf(alarmNames, int(s)) }

// Loop is the innermost machine loop around the pc of a goroutine that was on a processor, as decoded from the code: what
// lies between the target of the backward jump that encloses the pc and that jump. A loop of few bytes that reads memory,
// changes nothing but atomics, and calls nothing waits for somebody else's store.
type Loop struct {
	Goroutine int64
	Depth     int      // index in the goroutine's stack of the frame whose code it is
	Bytes     int      // length of its code
	Calls     int      // call instructions in it, those to the runtime's stack check left out
	Stores    int      // instructions that write memory other than the frame's own stack, atomic ones left out
	Atomics   int      // instructions with a lock prefix (or exclusive loads and stores)
	Loads     int      // instructions that read memory other than the frame's own stack
	Moving    int      // of these, the ones whose address changes from turn to turn: they walk over something
	Called    bool     // the goroutine was in a call that this loop made, not in the loop's own code
	Callees   []string // functions that it calls, as far as the calls name them
	Work      int      // instructions that compute in registers; comparing, testing and moving left out
	Back      FrameID  // where the jump back stands, which is the line of the loop statement; 0 when not known
	Trust     Trust
}

// Thread is an operating system thread.
type Thread struct {
	TID       int
	Name      string
	M         int64   // id of the runtime's M; -1 when the thread is none
	Goroutine int64   // id of the goroutine it executes; 0 when none
	Processor int     // id of the P it holds; -1 when none
	Stack     StackID // everything it executes, joined: signal handler, C or system stack, then the goroutine's frames
	Signal    int     // signal number that was being delivered; 0 when none
	Syscall   int64   // number of the system call it is in; -1 when none or not known
	UserNS    int64   // processor time in user mode, ns; 0 when the source has none
	SystemNS  int64   // processor time in the kernel, ns
	On        string  // the stack it executes on: "goroutine", "system stack", "signal stack", "C"; "" when unknown
	State     string  // "running", "idle", "spinning", "in C", "crashed", "locked": what the runtime's M says
}

// Ref is the reference of the row.
func (t Thread) Ref() Ref { return ThreadRef(t.TID) }

// Variable is an argument or a local variable of a frame. Values are scalars, pointers and lengths; the contents of strings,
// slices and maps are never kept, because they may be secrets.
type Variable struct {
	Goroutine int64
	Depth     int // index of the frame in the goroutine's stack
	Name      string
	Type      string // as in the source: "*main.Session"
	Value     string // "nil", "42", "0xc000012345", "string of 17 bytes", "len 3, cap 8"
	Argument  bool
	Trust     Trust
}
