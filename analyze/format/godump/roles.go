package godump

import "github.com/gopostmortem/postmortem/analyze/evidence"

// roleKind says what a frame tells about its goroutine beyond being on the stack.
type roleKind uint8

const (
	roleNone     roleKind = iota
	roleObject            // argument 0 is the object that is waited for, plus delta
	roleSema              // argument 0 is a semaphore; the object follows from the function that called
	roleTransfer          // argument arg is the length of a buffer
	roleSyscall           // arguments of syscall.Syscall: what the call is follows from the function that called
	roleAsync             // stopped by an asynchronous preemption
	roleCgo               // a call to C
	roleCallback          // C called back
	roleSnapshot          // the program took this dump of itself and went on
)

// role is one row of roles.
type role struct {
	kind  roleKind
	sync  evidence.SyncKind
	delta uint64 // offset, in the object, of what argument 0 points to
	arg   int    // transfers: index of the length among the arguments, braces left out
	fd    int    // transfers: index of the file descriptor; -1 when it is no argument
	write bool
}

// Offsets of semaphores in the objects of package sync, the same in Go 1.21 to 1.26 (sync/mutex.go, internal/sync/mutex.go,
// sync/rwmutex.go, sync/waitgroup.go, sync/cond.go).
const (
	semaOfMutex     = 4
	writerOfRWMutex = 8
	readerOfRWMutex = 12
	semaOfWaitGroup = 8
	listOfCond      = 16
)

func object(k evidence.SyncKind, delta uint64) role {
	return role{kind: roleObject, sync: k, delta: delta}
}

func transfer(arg, fd int, write bool) role {
	return role{kind: roleTransfer, arg: arg, fd: fd, write: write}
}

// roles is the table of functions whose frames are looked at. In an optimised program the arguments of most of them are
// stale; the ones that stay readable differ by version, so all are listed and the innermost trusted one counts.
var roles = map[string]role{
	"sync.(*Mutex).lockSlow":                object(evidence.SyncMutex, 0), // up to Go 1.23
	"internal/sync.(*Mutex).lockSlow":       object(evidence.SyncMutex, 0), // from Go 1.24
	"sync.(*Mutex).Lock":                    object(evidence.SyncMutex, 0),
	"internal/sync.(*Mutex).Lock":           object(evidence.SyncMutex, 0),
	"sync.runtime_SemacquireMutex":          object(evidence.SyncMutex, semaOfMutex),
	"internal/sync.runtime_SemacquireMutex": object(evidence.SyncMutex, semaOfMutex),
	"sync.(*RWMutex).Lock":                  object(evidence.SyncRWMutex, 0),
	"sync.(*RWMutex).RLock":                 object(evidence.SyncRWMutex, 0),
	"sync.runtime_SemacquireRWMutexR":       object(evidence.SyncRWMutex, readerOfRWMutex),
	"sync.runtime_SemacquireRWMutex":        object(evidence.SyncRWMutex, writerOfRWMutex),
	"sync.(*WaitGroup).Wait":                object(evidence.SyncWaitGroup, 0),
	"sync.runtime_SemacquireWaitGroup":      object(evidence.SyncWaitGroup, semaOfWaitGroup), // from Go 1.23
	"sync.runtime_Semacquire":               object(evidence.SyncWaitGroup, semaOfWaitGroup), // before
	"sync.(*Cond).Wait":                     object(evidence.SyncCond, 0),
	"sync.runtime_notifyListWait":           object(evidence.SyncCond, listOfCond),
	"runtime.chanrecv":                      object(evidence.SyncChannel, 0),
	"runtime.chanrecv1":                     object(evidence.SyncChannel, 0),
	"runtime.chanrecv2":                     object(evidence.SyncChannel, 0),
	"runtime.chansend":                      object(evidence.SyncChannel, 0),
	"runtime.chansend1":                     object(evidence.SyncChannel, 0),
	"internal/poll.runtime_pollWait":        object(evidence.SyncNetpoll, 0),
	"runtime.semacquire1":                   {kind: roleSema},
	"syscall.Syscall":                       {kind: roleSyscall},
	"syscall.Syscall6":                      {kind: roleSyscall},
	"syscall.RawSyscall6":                   {kind: roleSyscall},
	"syscall.read":                          transfer(2, 0, false),
	"syscall.write":                         transfer(2, 0, true),
	"syscall.pread":                         transfer(2, 0, false),
	"syscall.pwrite":                        transfer(2, 0, true),
	"syscall.Read":                          transfer(2, 0, false),
	"syscall.Write":                         transfer(2, 0, true),
	"internal/poll.(*FD).Read":              transfer(2, -1, false),
	"internal/poll.(*FD).Write":             transfer(2, -1, true),
	"internal/poll.(*FD).Pread":             transfer(2, -1, false),
	"internal/poll.(*FD).Pwrite":            transfer(2, -1, true),
	"os.(*File).Read":                       transfer(2, -1, false),
	"os.(*File).Write":                      transfer(2, -1, true),
	"net.(*netFD).Read":                     transfer(2, -1, false),
	"net.(*netFD).Write":                    transfer(2, -1, true),
	"net.(*conn).Read":                      transfer(2, -1, false),
	"net.(*conn).Write":                     transfer(2, -1, true),
	"runtime.asyncPreempt":                  {kind: roleAsync},
	"runtime.cgocall":                       {kind: roleCgo},
	"runtime.cgocallback":                   {kind: roleCallback},
	"runtime.cgocallbackg":                  {kind: roleCallback},
	"runtime.cgocallbackg1":                 {kind: roleCallback},
	"runtime/debug.Stack":                   {kind: roleSnapshot},
	"runtime/debug.PrintStack":              {kind: roleSnapshot},
	"runtime/pprof.writeGoroutineStacks":    {kind: roleSnapshot},
	"net/http/pprof.handler.ServeHTTP":      {kind: roleSnapshot},
	"runtime/pprof.(*Profile).WriteTo":      {kind: roleSnapshot},
}

// callOf are the functions that tell what a frame of syscall.Syscall does: its arguments are the number of the call, then
// these (zsyscall_linux_amd64.go). The length is argument 3, the descriptor argument 1.
var callOf = map[string]bool{"syscall.read": true, "syscall.write": true, "syscall.pread": true, "syscall.pwrite": true}

// roleReader follows the frames of one goroutine and keeps what the arguments tell.
type roleReader struct {
	args     []argument
	sema     uint64 // address from runtime.semacquire1, waiting for the caller's name
	call     []argument
	waitsOn  uint64
	sync     evidence.SyncKind
	transfer evidence.Transfer // of Function "" when there is none
	flags    evidence.Flags
	snapshot bool
}

func (r *roleReader) reset() { *r = roleReader{args: r.args[:0], call: r.call[:0]} }

// maxArgs is how many numbers of an argument list are looked at; the runtime prints at most 10 (traceArgsMaxLen).
const maxArgs = 16

// frame looks at the next frame outwards; depth is its index.
func (r *roleReader) frame(e *entry, args []byte, depth int) {
	switch e.role.kind {
	case roleObject, roleSema, roleTransfer, roleSyscall:
		if cap(r.args) == 0 {
			r.args = make([]argument, 0, maxArgs)
		}
		r.args = arguments(args, r.args[:0])
		r.argument(e, depth)
	case roleAsync:
		if depth <= 2 {
			r.flags |= evidence.FlagAsync
		}
	case roleCgo:
		if !r.flags.Has(evidence.FlagCallback) {
			r.flags |= evidence.FlagCgo
		}
	case roleCallback:
		r.flags |= evidence.FlagCallback
	case roleSnapshot:
		r.snapshot = true
	}
}

func (r *roleReader) argument(e *entry, depth int) {
	switch e.role.kind {
	case roleSema:
		r.sema = r.trusted(0)
	case roleObject:
		r.object(e.role)
	case roleSyscall:
		r.call = append(r.call[:0], r.args...)
	case roleTransfer:
		if r.transfer.Function == "" {
			r.length(e, depth)
		}
	}
}

// trusted is an argument's value; 0 when it is missing or may be stale.
func (r *roleReader) trusted(i int) uint64 {
	if i >= len(r.args) || !r.args[i].ok {
		return 0
	}
	return r.args[i].value
}

func (r *roleReader) object(is role) {
	if r.waitsOn != 0 {
		return
	}
	addr := r.trusted(0)
	if addr == 0 && r.sema != 0 && is.delta != 0 {
		addr = r.sema
	}
	if addr > is.delta {
		r.waitsOn, r.sync = addr-is.delta, is.sync
	}
}

// length takes the buffer length of a read or write.
func (r *roleReader) length(e *entry, depth int) {
	arg, fd := e.role.arg, e.role.fd
	args := r.args
	if callOf[e.frame.Function] && len(r.call) > 3 && r.call[3].ok {
		args, arg, fd = r.call, 3, 1
	}
	if arg >= len(args) || !args[arg].ok || args[arg].value > 1<<62 {
		return
	}
	t := evidence.Transfer{Function: e.frame.Function, Write: e.role.write, Length: int64(args[arg].value), FD: -1,
		Depth: depth, Trust: evidence.TrustMatched}
	if fd >= 0 && args[fd].ok && args[fd].value < 1<<31 {
		t.FD = int(args[fd].value)
	}
	r.transfer = t
}
