package derive

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Sideline is what goroutines that were started with the function of a loop did besides going round, all of them together: a row of a Timeline
// names a few goroutines only, and its sites count them all.
type Sideline struct {
	Calls  uint64 // of the system, but for Looks and Reads
	Looks  uint64 // calls that only ask: whether a file is there, what a folder holds, whether a lock is free
	Reads  uint64 // of files and descriptors
	LookNS uint64 // in Looks and Reads
	Wakes  uint64 // of goroutines
	Handed uint64 // of these, those through channels and conditions
	Woken  uint64 // waits for channels and conditions that another goroutine has ended
}

// handReasons are waits for what another goroutine hands over (traceBlockReasonStrings in runtime/traceruntime.go, Go 1.22 to 1.26).
var handReasons = map[string]bool{"chan send": true, "chan receive": true, "select": true, "sync.(*Cond).Wait": true}

// handCalls hand over.
var handCalls = []string{"runtime.chansend1", "runtime.chanrecv1", "runtime.chanrecv2", "runtime.selectgo", "runtime.selectnbsend", "runtime.selectnbrecv",
	"runtime.closechan", "sync.(*Cond).Signal", "sync.(*Cond).Broadcast"}

// lookCalls ask for a state and change nothing, list names, or take a lock that is free, in the words of package syscall (Go 1.21 to 1.26, Linux and the BSDs).
var lookCalls = setOf("stat", "lstat", "fstat", "stat64", "lstat64", "fstat64", "fstatat", "fstatat64", "newfstatat", "statfs", "fstatfs", "access",
	"faccessat", "faccessat2", "readlink", "readlinkat", "flock", "fcntl", "fcntlflock", "wait4", "kill", "getppid",
	"getrusage", "sysinfo", "select", "epollwait", "getsockopt", "seek", "lseek", "gettimeofday", "times",
	"openat", "open", "close", "getdents", "getdents64", "readdirent", "getdirentries")

// readCalls read bytes.
var readCalls = setOf("read", "readv", "pread", "preadv")

// Sideline sums up what happened at other places in goroutines that run the function at the bottom of the loop's stacks.
func (t *Timeline) Sideline(l *Turns) Sideline {
	roots, own := map[string]bool{}, map[int]bool{}
	for _, i := range l.Sites {
		roots[t.root(t.Line.Sites[i].Stack)] = true
		own[i] = true
	}
	delete(roots, "")
	var b Sideline
	for i := range t.Line.Sites {
		if site := &t.Line.Sites[i]; !own[i] && !t.Site(i).Own && roots[t.root(site.Stack)] {
			b.add(site, t.Site(i).Syscall)
			if _, ok := Has(t.c.Stack(site.Stack), handCalls...); ok && site.Kind == evidence.SiteReady {
				b.Handed += site.Count
			}
		}
	}
	return b
}

func (b *Sideline) add(site *evidence.Site, call string) {
	switch {
	case site.Kind == evidence.SiteReady:
		b.Wakes += site.Count
	case site.Kind == evidence.SiteBlock && handReasons[site.Reason]:
		ended := site.Hist.Total()
		b.Woken += ended - min(ended, site.Unwoken)
	case site.Kind != evidence.SiteSyscall:
	case lookCalls[call]:
		b.Looks, b.LookNS = b.Looks+site.Count, b.LookNS+site.TotalNS
	case readCalls[call]:
		b.Reads, b.LookNS = b.Reads+site.Count, b.LookNS+site.TotalNS
	default:
		b.Calls += site.Count
	}
}

// root is the outermost function of the program on a stack.
func (t *Timeline) root(stack evidence.StackID) string {
	s := t.c.Stack(stack)
	name := ""
	for i, ok := t.programFrame(s, 0); ok; i, ok = t.programFrame(s, i+1) {
		name = s.At(i).Function
	}
	return name
}
