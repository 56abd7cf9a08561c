package derive

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Activity is what a goroutine is doing.
type Activity uint8

// The activities.
const (
	ActivityUnknown   Activity = iota
	ActivityCompute            // executes user code, or was taken off the processor while it did
	ActivityReady              // was woken and waits for a processor
	ActivityYield              // gave up the processor in runtime.Gosched
	ActivitySleep              // time.Sleep
	ActivityFile               // reads or writes a file
	ActivityNetwork            // reads, writes, accepts or dials a connection
	ActivityPipe               // reads or writes an in-memory pipe
	ActivityResolve            // resolves a host name
	ActivityProcess            // waits for another process
	ActivitySyscall            // another system call
	ActivityCgo                // executes C code
	ActivityReceive            // receives from a channel
	ActivitySend               // sends to a channel
	ActivitySelect             // waits in a select
	ActivityLock               // waits for a lock
	ActivityGroup              // waits for a wait group
	ActivityCond               // waits for a condition variable
	ActivitySemaphore          // waits for a semaphore that is none of the above
	ActivityForever            // waits for what never comes: select{} or a nil channel
	ActivityCollector          // helps the garbage collector or waits for it
)

var activityPhrases = []string{"does something unknown", "computes", "is ready to run", "yields in runtime.Gosched",
	"sleeps", "does file I/O", "does network I/O", "uses an in-memory pipe", "resolves a host name",
	"waits for another process", "is in a system call", "executes C code", "receives from a channel", "sends to a channel",
	"waits in a select", "waits for a lock", "waits for a wait group", "waits for a condition variable",
	"waits for a semaphore", "waits for what never comes", "waits for the garbage collector"}

// String is a phrase that fits behind "it": "sleeps".
func (a Activity) String() string { return activityPhrases[min(int(a), len(activityPhrases)-1)] }

// Doing is what a stack is doing, and the frames that tell.
type Doing struct {
	Activity Activity
	Call     int    // index of the library call that the user's code made; -1 when there is none
	Callee   string // its function: "os.(*File).Write"; empty when there is none
	Logger   string // the logger's function when it happens inside one: "log.(*Logger).Printf"; empty otherwise
}

// Blocked reports whether the goroutine gets no further by itself: it waits for a device, for time, for somebody else.
func (d Doing) Blocked() bool {
	switch d.Activity {
	case ActivityUnknown, ActivityCompute, ActivityReady, ActivityYield, ActivityLock, ActivityCollector:
		return false
	}
	return true
}

// OnProcessor reports whether the goroutine wants nothing but a processor.
func (d Doing) OnProcessor() bool {
	return d.Activity == ActivityCompute || d.Activity == ActivityReady || d.Activity == ActivityYield
}

// String is a phrase that fits behind "it": "does file I/O in os.(*File).Write, writing a log line".
func (d Doing) String() string {
	text := d.Activity.String()
	if d.Callee != "" && d.Activity != ActivityYield {
		text += " in " + d.Callee
	}
	if d.Logger != "" {
		text += ", writing a log line"
	}
	return text
}

// reasonActivities maps wait reasons to activities (runtime/runtime2.go, waitReasonStrings, Go 1.21 to 1.26).
var reasonActivities = map[string]Activity{
	"sleep": ActivitySleep, "IO wait": ActivityNetwork,
	"chan receive": ActivityReceive, "chan send": ActivitySend, "select": ActivitySelect,
	"chan receive (nil chan)": ActivityForever, "chan send (nil chan)": ActivityForever, "select (no cases)": ActivityForever,
	"sync.Mutex.Lock": ActivityLock, "sync.RWMutex.RLock": ActivityLock, "sync.RWMutex.Lock": ActivityLock,
	"sync.Cond.Wait": ActivityCond, "semacquire": ActivitySemaphore,
	"sync.WaitGroup.Wait": ActivityGroup, // Go 1.25; "semacquire" before
	"GC assist wait":      ActivityCollector, "GC assist marking": ActivityCollector, "wait for GC cycle": ActivityCollector,
}

// teller is a function of the runtime or the standard library that says more than the state does.
type teller struct {
	name     string // the function; a prefix of it when it ends in a dot
	activity Activity
	since    string // Go versions it was seen in, by crashing programs of Go 1.21 and 1.26
}

// tellers are looked for in the frames below the user's code, outermost first, so that the call the user made decides:
// os/exec before the pipe it reads.
var tellers = []teller{
	{"os/exec.(*Cmd).", ActivityProcess, "1.21-1.26"},
	{"os.(*Process).", ActivityProcess, "1.21-1.26"},
	{"net.(*Resolver).", ActivityResolve, "1.21-1.26"},
	{"net.(*Dialer).", ActivityNetwork, "1.21-1.26"},
	{"net/http.(*Client).", ActivityNetwork, "1.21-1.26"},
	{"net/http.(*Transport).", ActivityNetwork, "1.21-1.26"},
	{"net/http.(*conn).", ActivityNetwork, "1.21-1.26"},
	{"database/sql.", ActivityNetwork, "1.21-1.26"},
	{"crypto/tls.(*Conn).", ActivityNetwork, "1.21-1.26"},
	{"io.(*pipe).", ActivityPipe, "1.21-1.26"},
	{"net.(*pipe).", ActivityPipe, "1.21-1.26"},
	{"os.(*File).", ActivityFile, "1.21-1.26"},
	{"net.(*netFD).", ActivityNetwork, "1.21-1.26"},
	{"syscall.read", ActivityFile, "1.21-1.26; also of sockets that are read by number"},
	{"syscall.write", ActivityFile, "1.21-1.26"},
	{"syscall.pread", ActivityFile, "1.21-1.26"},
	{"syscall.pwrite", ActivityFile, "1.21-1.26"},
	{"syscall.fsync", ActivityFile, "1.21-1.26"},
	{"syscall.Fsync", ActivityFile, "1.21-1.26"},
	{"syscall.Flock", ActivityFile, "1.21-1.26"},
	{"syscall.openat", ActivityFile, "1.21-1.26"},
	{"syscall.wait4", ActivityProcess, "1.21-1.26"},
	{"runtime.cgocall", ActivityCgo, "1.21-1.26"},
}

// loggers are the packages whose writes are writes of log lines.
var loggers = []string{"log", "log/slog", "log/syslog", "go.uber.org/zap", "github.com/rs/zerolog", "github.com/sirupsen/logrus",
	"k8s.io/klog", "github.com/golang/glog", "github.com/go-kit/log", "github.com/hashicorp/go-hclog", "github.com/apex/log",
	"github.com/charmbracelet/log", "charm.land/log"}

// Doing says what a goroutine is doing. Only the frames below the innermost user frame decide, and the state.
func (f *Frames) Doing(g evidence.Goroutine) Doing {
	s := f.c.Stack(g.Stack)
	end, ok := f.OutsideStandard(s, 0)
	if !ok {
		end = s.Len()
	}
	d := Doing{Activity: f.base(g, s, end), Call: -1}
	if refinable[d.Activity] {
		f.refine(&d, s, end)
	}
	if d.Call < 0 && end > 0 && d.Activity != ActivityCompute && f.Owner(s.FrameID(end-1)) == OwnerStandard {
		d.Call, d.Callee = end-1, s.At(end-1).Function
	}
	d.Logger = f.logger(s)
	if d.Activity == ActivityCgo {
		d.Callee = "" // always runtime.cgocall: the C function is on the thread's stack
	}
	return d
}

// refinable are the activities that a library frame can tell more about. What sleeps or yields, sleeps or yields.
var refinable = map[Activity]bool{ActivityNetwork: true, ActivitySyscall: true, ActivityReceive: true, ActivitySend: true,
	ActivitySelect: true, ActivitySemaphore: true, ActivityCond: true}

// refine looks for the outermost teller.
func (f *Frames) refine(d *Doing, s evidence.Stack, end int) {
	if f.tellers == nil {
		f.tellers = f.Marks(tellerOf)
	}
	for i := end - 1; i >= 0; i-- {
		if n := f.tellers.Of(s.FrameID(i)); n > 0 {
			d.Activity, d.Call, d.Callee = tellers[n-1].activity, end-1, s.At(end-1).Function
			return
		}
	}
}

// tellerOf is the number of the teller that a frame's function is, plus one.
func tellerOf(frame evidence.Frame) Mark {
	for i, t := range tellers {
		if frame.Function == t.name || (strings.HasSuffix(t.name, ".") && strings.HasPrefix(frame.Function, t.name)) {
			return Mark(i + 1)
		}
	}
	return 0
}

// base is the activity by state, wait reason and the innermost frames.
func (f *Frames) base(g evidence.Goroutine, s evidence.Stack, end int) Activity {
	switch g.State {
	case evidence.StateWaiting, evidence.StateLeaked:
		return waiting(g, s, end)
	case evidence.StateSyscall:
		if g.Flags.Has(evidence.FlagCgo) {
			return ActivityCgo
		}
		return ActivitySyscall
	case evidence.StateRunning, evidence.StateRunnable, evidence.StatePreempted, evidence.StateCopystack:
		return f.active(g, s, end)
	}
	return ActivityUnknown
}

func waiting(g evidence.Goroutine, s evidence.Stack, end int) Activity {
	a := reasonActivities[g.Reason]
	if a != ActivitySemaphore {
		return a
	}
	for i := range end {
		switch s.At(i).Function {
		case "sync.(*WaitGroup).Wait": // up to Go 1.24 its reason is semacquire
			return ActivityGroup
		case descriptorLock:
			return ActivityLock
		}
	}
	return a
}

// descriptorLock serialises the reads, or the writes, of one file descriptor (internal/poll/fd_mutex.go, Go 1.21 to 1.26).
const descriptorLock = "internal/poll.(*fdMutex).rwlock"

// active tells apart what a goroutine that wants a processor was doing. Under GOTRACEBACK=crash the runtime freezes the world
// before it aborts (runtime.freezetheworld): what ran a moment before is found runnable, under runtime.asyncPreempt.
func (f *Frames) active(g evidence.Goroutine, s evidence.Stack, end int) Activity {
	if g.Flags.Has(evidence.FlagCgo) {
		return ActivityCgo
	}
	for i := range end {
		name := s.At(i).Function
		switch {
		case raises[name]:
			return ActivityUnknown
		case name == "runtime.Gosched" || name == "runtime.goschedIfBusy":
			return ActivityYield
		case parks[name] && g.State != evidence.StateRunning:
			return ActivityReady
		case strings.HasPrefix(name, "runtime.gcAssist"):
			return ActivityCollector
		case rawSyscalls[name]:
			return ActivitySyscall
		}
	}
	return ActivityCompute
}

// parks are the frames under which a goroutine waits; a runnable one beneath them was just woken (Go 1.21 to 1.26).
var parks = map[string]bool{"runtime.gopark": true, "runtime.goparkunlock": true}

// raises are the frames of a goroutine that panics or ends the process: it runs, but its program does not (Go 1.21 to 1.26).
var raises = map[string]bool{"runtime.gopanic": true, "panic": true, "runtime.throw": true, "runtime.fatal": true,
	"runtime.fatalthrow": true, "runtime.fatalpanic": true, "runtime.sigpanic": true, "runtime.dieFromSignal": true}

// rawSyscalls are the innermost frames of a system call (Go 1.21 to 1.26: the package of Syscall6 moved in 1.24).
var rawSyscalls = map[string]bool{"syscall.Syscall": true, "syscall.Syscall6": true, "syscall.RawSyscall": true,
	"syscall.RawSyscall6": true, "runtime/internal/syscall.Syscall6": true, "internal/runtime/syscall.Syscall6": true,
	"internal/runtime/syscall/linux.Syscall6": true}

// logger returns the outermost function of a logger that stands on the stack before the first user frame.
func (f *Frames) logger(s evidence.Stack) string {
	if f.loggers == nil {
		f.loggers = f.Marks(loggerOf)
	}
	found := ""
	for i := range s.Len() {
		id := s.FrameID(i)
		if f.Owner(id) == OwnerUser {
			break
		}
		if f.loggers.Of(id) != 0 {
			found = s.At(i).Function
		}
	}
	return found
}

// loggerOf marks the functions of loggers.
func loggerOf(frame evidence.Frame) Mark {
	if isLogger(Package(frame.Function)) {
		return 1
	}
	return 0
}

func isLogger(pkg string) bool {
	for _, l := range loggers {
		if pkg == l || (l != "log" && strings.HasPrefix(pkg, l+"/")) {
			return true
		}
	}
	return false
}
