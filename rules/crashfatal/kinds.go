package crashfatal

import "strings"

// kind is a family of fatal errors.
type kind struct {
	parts  []string // any of these in the text
	verb   string   // what the goroutine did, for the claim; empty: the text is quoted
	fix    string   // empty: the rule's
	settle string
	onMap  bool
	asleep bool
}

// kinds are the fatal errors that deserve words of their own, by their texts in Go 1.21 to 1.26: runtime/map.go and
// internal/runtime/maps (fatal), runtime/proc.go (checkdead), sync/mutex.go, sync/rwmutex.go, runtime/mbitmap.go,
// runtime/mgcmark.go, runtime/mgcsweep.go, runtime/checkptr.go, runtime/os_linux.go.
var kinds = []kind{
	{
		parts:  []string{"concurrent map "},
		verb:   "used a map while another goroutine was writing to it",
		fix:    "Guard every access to this map with one lock, the reads and iterations too, or give the map to one goroutine; sync.Map suits keys that are written once and read often.",
		settle: "the runtime sees one of the two sides: a run with -race names both",
		onMap:  true,
	},
	{
		parts:  []string{"goroutines are asleep", "no goroutines (main called runtime.Goexit)"},
		fix:    "Find what main waits for and who was to wake it: a worker that returned without sending, a channel that nobody closes, a lock that was never released, a WaitGroup with one Add too many.",
		asleep: true,
	},
	{
		parts: []string{"unlock of unlocked mutex", "RUnlock of unlocked RWMutex", "Unlock of unlocked RWMutex"},
		verb:  "unlocked a lock that was not locked",
		fix:   "Look for two unlocks on one path (by hand on an error path and again in a defer), for Unlock where RUnlock belongs, and for a lock that was copied with its struct (go vet finds that).",
	},
	{
		parts: []string{"go of nil func value"},
		verb:  "started a goroutine with a nil function",
		fix:   "The function value after go is nil: set it, or check it before the go statement.",
	},
	{
		parts:  []string{"bad pointer in Go heap", "invalid pointer found on heap", "free object", "bad sweepgen", "sweep", "s.allocCount", "markroot", "bad span", "memory corruption", "invalid runtime symbol table", "unknown caller pc", "corrupt"},
		verb:   "met memory that the runtime found corrupted",
		fix:    "The line that met the corruption is seldom the one that caused it. Look at unsafe.Pointer and uintptr arithmetic, at C code that writes to Go memory, and at data races; test with -race and -gcflags=all=-d=checkptr.",
		settle: "a run with -race and checkptr, or a sanitizer of the C code, shows who wrote there",
	},
	{
		parts: []string{"checkptr"},
		verb:  "made an invalid unsafe.Pointer",
		fix:   "Follow the rules of package unsafe: arithmetic and conversion in one expression, within one allocation, suitably aligned.",
	},
	{
		parts: []string{"newosproc", "thread exhaustion", "failed to create new OS thread"},
		verb:  "needed a new thread that the system refused",
		fix:   "Too many goroutines block in system calls or C at once, each on a thread of its own: bound them with a semaphore, and check the limits of processes (ulimit -u) and of the container (pids.max).",
	},
}

func kindOf(text string) kind {
	for _, k := range kinds {
		for _, part := range k.parts {
			if strings.Contains(text, part) {
				return k
			}
		}
	}
	return kind{}
}
