package fold

import "strings"

// What a stack is, from its names: looked at once.
const (
	atSeen     = 1 << iota
	atLock     // waits here are for a lock
	atRelease  // here a lock is let go
	atReader   // a reader waits for an RWMutex: many are let go at once
	atSignal   // waits for signals (os/signal)
	atSystem   // its outermost function is the runtime's own
	atHandover // a lock is handed over to one that waits
)

// stackInfo is what is kept of the names of a stack.
type stackInfo struct {
	flags uint8
	class uint32 // of the lock, when it waits for one or lets one go
	start uint32 // number of its outermost function; 0 when it has no names
	spawn uint32 // the row of the goroutines that were started here last
}

// stackTable has what is known by stack.
type stackTable struct {
	rows  []stackInfo
	funcs map[string]uint32 // outermost functions by name
}

func (t *stackTable) init() {
	t.rows = make([]stackInfo, 1, 1024)
	t.rows[0].flags = atSeen
	t.funcs = map[string]uint32{}
}

// stackInfo looks at a stack.
func (f *Folder) stackInfo(stack Stack) stackInfo {
	t := &f.info
	if int(stack) < len(t.rows) && t.rows[stack].flags != 0 {
		return t.rows[stack]
	}
	if stack >= maxStacks {
		return stackInfo{flags: atSeen}
	}
	for int(stack) >= len(t.rows) {
		t.rows = append(t.rows, make([]stackInfo, max(64, int(stack)+1-len(t.rows)))...)
	}
	info := f.inspect(f.stacks.Frames(stack))
	t.rows[stack] = info
	return info
}

func (f *Folder) inspect(frames []Frame) stackInfo {
	info := stackInfo{flags: atSeen}
	if len(frames) == 0 {
		return info
	}
	outermost := frames[len(frames)-1].Func
	if isSystem(outermost) {
		info.flags |= atSystem
	}
	number, ok := f.info.funcs[outermost]
	if !ok {
		number = uint32(len(f.info.funcs) + 1)
		f.info.funcs[outermost] = number
	}
	info.start = number
	for i := 0; i < min(len(frames), 4); i++ {
		if frames[i].Func == "os/signal.signal_recv" || frames[i].Func == "os/signal.loop" {
			info.flags |= atSignal
		}
	}
	f.inspectLock(frames, &info)
	return info
}

// isSystem reports whether goroutines that start in a function are the runtime's own (isSystemGoroutine in runtime/traceback.go). The
// tracer's own reader is counted with them: it is there because somebody looks.
func isSystem(start string) bool {
	switch start {
	case "runtime.main", "runtime.corostart", "runtime.handleAsyncEvent", "runtime.goexit", "runtime.cgocallback":
		return false
	}
	return strings.HasPrefix(start, "runtime.") || strings.HasPrefix(start, "runtime/trace.") ||
		strings.HasPrefix(start, "runtime/pprof.profileWriter")
}

// The functions of package sync that wait for a lock, and those that let one go, as they end: those of sync and of internal/sync (Go
// 1.24 and later), their slow paths among them. WaitGroup and Cond wait for something else.
var (
	lockFuncs    = []string{"(*Mutex).Lock", "(*Mutex).lockSlow", "(*RWMutex).Lock", "(*RWMutex).RLock"}
	releaseFuncs = []string{"(*Mutex).Unlock", "(*Mutex).unlockSlow", "(*RWMutex).Unlock", "(*RWMutex).RUnlock", "(*RWMutex).rUnlockSlow"}
)

// inspectLock recognises stacks that wait for a lock or let one go: below the runtime's own frames stands one of the functions above,
// perhaps called by others of package sync (Once, Pool, Map, Cond).
func (f *Folder) inspectLock(frames []Frame, info *stackInfo) {
	i := 0
	for i < len(frames) && (strings.HasPrefix(frames[i].Func, "runtime.") || strings.Contains(frames[i].Func, "sync.runtime_")) {
		if strings.HasSuffix(frames[i].Func, "sync.runtime_Semrelease") {
			info.flags |= atHandover
		}
		i++
	}
	family := "mutex"
	for ; i < len(frames); i++ {
		name, ok := strings.CutPrefix(strings.TrimPrefix(frames[i].Func, "internal/"), "sync.")
		if !ok {
			break
		}
		if has(lockFuncs, name) {
			info.flags |= atLock
		} else if has(releaseFuncs, name) {
			info.flags |= atRelease
		}
		if name == "(*Mutex).unlockSlow" {
			info.flags |= atHandover
		}
		if strings.HasPrefix(name, "(*RWMutex)") {
			family = "rwmutex"
		}
		if name == "(*RWMutex).RLock" {
			info.flags |= atReader
		}
	}
	if info.flags&(atLock|atRelease) == 0 || i == len(frames) {
		return
	}
	info.class = f.locks.of(lockCaller{family, frames[i].Func, frames[i].Line})
}

func has(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
