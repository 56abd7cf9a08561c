package order

// usualReasons are the reasons of blocks and yields by the ids that the runtime gives them: it registers them first in each generation
// (runtime/trace.go, traceRegisterLabelsAndReasons), so that they count up from one. They serve generations whose table of strings is
// missing. The first four are the labels of mark workers.
var usualReasons = []string{"", "Not worker", "GC (dedicated)", "GC (fractional)", "GC (idle)",
	"unspecified", "forever", "network", "select", "sync.(*Cond).Wait", "sync", "chan send", "chan receive",
	"GC mark assist wait for work", "GC background sweeper wait", "system goroutine wait", "preempted", "wait for debug call",
	"wait until GC ends", "sleep"}

// Behind the usual ones each version has a different number: Go 1.22 none, Go 1.23 "GC weak to strong wait", Go 1.24 and later also
// "synctest". What comes next is the one reason of yields that is not among those of blocks.
const (
	goschedReason = "runtime.Gosched"
	weakReason    = "GC weak to strong wait"
	bubbleReason  = "synctest"
)

// usual is the reason with an id in a generation without strings.
func usual(id uint64, kind Kind) string {
	n := uint64(len(usualReasons))
	switch {
	case id < n:
		return usualReasons[id]
	case id > n+2:
		return ""
	case kind == GoStop:
		return goschedReason
	case id == n:
		return weakReason
	case id == n+1:
		return bubbleReason
	}
	return ""
}
