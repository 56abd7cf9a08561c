package evidence

import "strings"

// Kinds is a set of kinds of evidence that a case holds, a format gives or a rule needs.
type Kinds uint32

// The kinds of evidence. A kind is present in a Case when at least one row of it was read.
const (
	KindGoroutines Kinds = 1 << iota // goroutines with their stacks
	KindThreads                      // operating system threads with their stacks
	KindSyncs                        // the objects that goroutines wait for
	KindHolds                        // inferences about who holds a lock
	KindTransfers                    // buffer lengths of read and write calls in progress
	KindScheduler                    // processors, run queues, ticks
	KindHeap                         // heap and garbage collector figures
	KindDeath                        // how the process ended: signal, fatal error, panics
	KindSyscalls                     // a log of system calls
	KindTimeline                     // events over time
	KindProfile                      // samples
	KindPyThreads                    // Python threads
	KindProof                        // verdicts on which goroutines can never wake
	KindWakers                       // inferences about who could wake a waiter
	KindPools                        // pools with a bounded number of slots
	KindHeapUse                      // the heap, object by object
)

// kindNames is in the order of the constants.
var kindNames = []string{"goroutines", "threads", "syncs", "holds", "transfers", "scheduler", "heap", "death",
	"syscalls", "timeline", "profile", "python threads", "proof of reachability", "wakers", "pools",
	"heap objects"}

// Has reports whether k contains every kind in want.
func (k Kinds) Has(want Kinds) bool { return k&want == want }

// String lists the kinds in a fixed order: "goroutines and syncs".
func (k Kinds) String() string {
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " and ")
}
