package order

import "fmt"

// Kind is the type of an event as it stands in the file.
type Kind uint8

// The types of events (internal/trace/tracev2/events.go, Go 1.26). Go 1.22 ends at UserLog, Go 1.23 and 1.24 at ExperimentalBatch, Go 1.25
// at ClockSnapshot.
const (
	_ Kind = iota
	EventBatch
	Stacks
	StackEntry
	Strings
	StringEntry
	CPUSamples
	CPUSample
	Frequency
	ProcsChange
	ProcStart
	ProcStop
	ProcSteal
	ProcStatus
	GoCreate
	GoCreateSyscall
	GoStart
	GoDestroy
	GoDestroySyscall
	GoStop
	GoBlock
	GoUnblock
	GoSyscallBegin
	GoSyscallEnd
	GoSyscallEndBlocked
	GoStatus
	STWBegin
	STWEnd
	GCActive
	GCBegin
	GCEnd
	GCSweepActive
	GCSweepBegin
	GCSweepEnd
	GCMarkAssistActive
	GCMarkAssistBegin
	GCMarkAssistEnd
	HeapAlloc
	HeapGoal
	GoLabel
	UserTaskBegin
	UserTaskEnd
	UserRegionBegin
	UserRegionEnd
	UserLog
	GoSwitch
	GoSwitchDestroy
	GoCreateBlocked
	GoStatusStack
	ExperimentalBatch
	Sync
	ClockSnapshot
	EndOfGeneration
	numKinds
)

// noArgs marks a byte that begins no event of a batch.
const noArgs = -1

// spec is what is known of a type of event.
type spec struct {
	name string
	args int8 // unsigned varints after the time; noArgs where the type cannot stand in a batch of events
}

// specs is the table of events. Go 1.25 has the clock in a Sync batch with a snapshot of the wall clock, older versions in one of its own;
// Go 1.26 ends a generation with an EndOfGeneration, older ones end it with the first batch of the next. The time, of which each event of a batch has one, is not counted.
var specs = makeSpecs(map[Kind]spec{
	ProcsChange: {"ProcsChange", 2}, ProcStart: {"ProcStart", 2}, ProcStop: {"ProcStop", 0}, ProcSteal: {"ProcSteal", 3},
	ProcStatus: {"ProcStatus", 2}, GoCreate: {"GoCreate", 3}, GoCreateSyscall: {"GoCreateSyscall", 1}, GoStart: {"GoStart", 2},
	GoDestroy: {"GoDestroy", 0}, GoDestroySyscall: {"GoDestroySyscall", 0}, GoStop: {"GoStop", 2}, GoBlock: {"GoBlock", 2},
	GoUnblock: {"GoUnblock", 3}, GoSyscallBegin: {"GoSyscallBegin", 2}, GoSyscallEnd: {"GoSyscallEnd", 0},
	GoSyscallEndBlocked: {"GoSyscallEndBlocked", 0}, GoStatus: {"GoStatus", 3}, STWBegin: {"STWBegin", 2}, STWEnd: {"STWEnd", 0},
	GCActive: {"GCActive", 1}, GCBegin: {"GCBegin", 2}, GCEnd: {"GCEnd", 1}, GCSweepActive: {"GCSweepActive", 1},
	GCSweepBegin: {"GCSweepBegin", 1}, GCSweepEnd: {"GCSweepEnd", 2}, GCMarkAssistActive: {"GCMarkAssistActive", 1},
	GCMarkAssistBegin: {"GCMarkAssistBegin", 1}, GCMarkAssistEnd: {"GCMarkAssistEnd", 0}, HeapAlloc: {"HeapAlloc", 1},
	HeapGoal: {"HeapGoal", 1}, GoLabel: {"GoLabel", 1}, UserTaskBegin: {"UserTaskBegin", 4}, UserTaskEnd: {"UserTaskEnd", 2},
	UserRegionBegin: {"UserRegionBegin", 3}, UserRegionEnd: {"UserRegionEnd", 3}, UserLog: {"UserLog", 4}, GoSwitch: {"GoSwitch", 2},
	GoSwitchDestroy: {"GoSwitchDestroy", 2}, GoCreateBlocked: {"GoCreateBlocked", 3}, GoStatusStack: {"GoStatusStack", 4},
	// The experiment AllocFree (GODEBUG=traceallocfree=1): counted and not told.
	128: {"Span", 3}, 129: {"SpanAlloc", 3}, 130: {"SpanFree", 1}, 131: {"HeapObject", 2}, 132: {"HeapObjectAlloc", 2},
	133: {"HeapObjectFree", 1}, 134: {"GoroutineStack", 2}, 135: {"GoroutineStackAlloc", 2}, 136: {"GoroutineStackFree", 1},
	CPUSample: {"CPUSample", noArgs},
})

func makeSpecs(known map[Kind]spec) (table [256]spec) {
	for k := range table {
		table[k] = spec{fmt.Sprintf("type %d", k), noArgs}
	}
	for k, s := range known {
		table[k] = s
	}
	return table
}

// argsOf is how many numbers the events of a kind have, apart from the names: the decoder looks at nothing else.
var argsOf = func() (args [256]int8) {
	for k := range specs {
		args[k] = specs[k].args
	}
	return args
}()

// String is the name of the event.
func (k Kind) String() string { return specs[k].name }

// Bounds of the format (internal/trace/tracev2, Go 1.26).
const (
	maxBatch  = 64 << 10 // bytes of data in a batch
	maxString = 1 << 10
	maxDepth  = 128 // frames of a stack
)

// header is the beginning of every trace: "go 1.26 trace" and three zero bytes.
const (
	headerPrefix = "go 1."
	headerSuffix = " trace\x00\x00\x00"
	headerSize   = len(headerPrefix) + 2 + len(headerSuffix)
)

// The versions of the format that this package reads. Go 1.24 writes 23.
const (
	oldest = 22
	newest = 26
)

// Version reads the header of a trace: the minor version of Go that defined its format. ok is false where head does not begin with one.
func Version(head []byte) (minor int, ok bool) {
	if len(head) < headerSize || string(head[:len(headerPrefix)]) != headerPrefix ||
		string(head[headerSize-len(headerSuffix):headerSize]) != headerSuffix {
		return 0, false
	}
	a, b := head[len(headerPrefix)]-'0', head[len(headerPrefix)+1]-'0'
	if a > 9 || b > 9 {
		return 0, false
	}
	return int(a)*10 + int(b), true
}

// uvarint reads an unsigned varint; n is 0 where there is none.
func uvarint(b []byte) (v uint64, n int) {
	var shift uint
	for i, c := range b {
		if c < 0x80 {
			if i > 9 || i == 9 && c > 1 {
				return 0, 0
			}
			return v | uint64(c)<<shift, i + 1
		}
		v |= uint64(c&0x7f) << shift
		if shift += 7; shift > 63 {
			return 0, 0
		}
	}
	return 0, 0
}
