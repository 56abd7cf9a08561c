package evidence

// Source is one input file.
type Source struct {
	Path    string
	Format  string // name of the format that read it
	Size    int64
	SHA256  string // hex; empty when it was not computed
	BuildID string // of the executable the file belongs to; empty when unknown
}

// Gap is something that could not be read.
type Gap struct {
	Source string // path of the input
	What   string // what is missing: "stack of goroutine 17"
	Why    string // the cause: "page 0xc000123000 is not in the core"
}

// Process describes the process.
type Process struct {
	PID        int
	Language   string // "go", "python", ...
	Version    string // "go1.26.8"
	GOOS       string
	GOARCH     string
	Executable string
	MainModule string   // import path of the main module, "" when unknown
	MainPath   string   // import path of the main package
	Modules    []Module // dependencies, in the order of the build information
	Settings   []Setting
	Args       []string // may hold secrets: printed on request only
	Environ    []string // names only, never values
	Threads    int      // as counted by the source; 0 when unknown
	UptimeNS   int64    // at least this long had it run; 0 when unknown
	Experiment string   // GOEXPERIMENT of the toolchain, "" when none
	Stripped   bool     // no symbol table
	SourceRoot string   // GOROOT/src as the compiler recorded it, with a final slash; "" when unknown
}

// Module is a dependency of the build.
type Module struct{ Path, Version string }

// Setting is a build setting: -trimpath=true, vcs.revision=...
type Setting struct{ Key, Value string }

// Death says how the process ended, as far as the evidence tells. A process that was alive when the evidence was taken has
// a Death whose Signal is 0.
type Death struct {
	Signal     int    // number; 0 when none
	SignalName string // "SIGSEGV"
	Code       int64  // si_code: > 0 the kernel, 0 kill(2), -6 tgkill(2)
	Sender     int    // process that sent it, 0 when unknown or the kernel
	FaultAddr  uint64
	FaultPC    uint64
	HasFault   bool   // FaultAddr and FaultPC are meaningful
	Fatal      string // text of a runtime fatal error, without "fatal error: "
	Detail     string // what the runtime printed before it, a line each: "runtime: goroutine stack exceeds 1000000000-byte limit"
	Thread     int    // thread that died; 0 when unknown
	Goroutine  int64  // goroutine that died; 0 when none or unknown
	Throwing   bool   // the runtime was in throw or fatal
	Panicking  bool   // an uncaught panic was being printed
	Live       bool   // taken from a living process that went on
}

// Panic is one panic that was in flight, the newest first.
type Panic struct {
	Goroutine int64
	Type      string   // type of the value where it is known: "runtime.boundsError", "*fs.PathError"
	Text      string   // the value as the runtime prints it
	Causes    []string // texts of the wrapped errors, outermost first, where they could be told apart
	Recovered bool
	Goexit    bool
	Runtime   bool // raised by the runtime: nil dereference, index, division, type assertion
}

// Scheduler is the state of the Go scheduler.
type Scheduler struct {
	GOMAXPROCS  int
	CPUs        int // processors of the machine
	IdlePs      int
	SpinningMs  int
	GlobalQueue int    // goroutines in the global run queue
	GCWaiting   bool   // the scheduler was told to stop: for a collection, or because the process is dying
	GCPhase     string // "off", "mark", "mark termination"
	Processors  []Processor
}

// Processor is a P of the Go scheduler.
type Processor struct {
	ID          int
	Status      string // "idle", "running", "syscall", "gcstop", "dead"
	SchedTick   uint32 // incremented at every scheduling: a count since the start, not a rate
	SyscallTick uint32
	Queue       int   // goroutines in its run queue, the next one included
	M           int64 // id of the M that holds it; -1 when none
	Running     int64 // goroutine it executes; 0 when none
}

// Heap holds the figures of the heap and the garbage collector. Zero means unknown, unless stated otherwise.
type Heap struct {
	Live       uint64 // bytes in use as the pacer counts them: marked at the last collection plus allocated since
	Marked     uint64 // bytes marked by the last collection
	Goal       uint64 // heap size at which the next collection is to be finished
	InUse      uint64 // bytes in spans in use
	Sys        uint64 // bytes obtained from the system for the heap
	Stacks     uint64 // bytes of stacks in use
	Limit      uint64 // GOMEMLIMIT in bytes; math.MaxInt64 when there is none
	Percent    int64  // GOGC; -1 when off
	Cycles     uint32 // collections since the start
	Forced     uint32 // of these, asked for by the program
	CPU        float64
	PauseNS    uint64 // total stop-the-world time since the start
	LastGCNS   int64  // time between the last collection and the end of the evidence; -1 unknown
	TotalAlloc uint64
}
