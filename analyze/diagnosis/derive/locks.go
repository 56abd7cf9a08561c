package derive

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Lock is a lock for which goroutines wait.
type Lock struct {
	Addr     uint64        // zero when the evidence has no addresses: then the waiters are grouped by Where they wait
	Sync     evidence.Sync // the lock's own state
	Known    bool          // Sync was read
	Name     string        // how to call it: "the mutex at 0xc000012345 (field mu of main.Ledger)"
	Owner    string        // without addresses: the type or function whose calls take the lock
	Once     bool          // it is the lock of a sync.Once
	FD       bool          // it is the lock of a file descriptor in package internal/poll
	Total    int           // goroutines that wait
	Oldest   uint32        // longest wait in seconds; 0 unknown
	Rows     []uint32      // rows of waiters, at most maxLockRows of them, spread evenly
	Waiters  []LockWaiters // distinct stacks, most goroutines first
	Holders  []Holder      // inferred by the reader, the strongest first
	readLock bool          // the read side of a descriptor's lock: a queue there is idle
}

// LockWaiters are the waiters of one lock that have the same stack.
type LockWaiters struct {
	Stack  evidence.StackID
	Reason string
	Row    uint32 // one of them
	Count  int    // among Lock.Rows
	Frame  int    // index of the frame that called the lock; -1 when unknown
}

// Holder is a goroutine that may hold a lock.
type Holder struct {
	G      evidence.Goroutine
	Depth  int // index of the frame that holds the lock
	Site   evidence.FrameID
	Grade  evidence.HoldGrade
	Reader bool
	Why    string
	Ref    evidence.Ref // the Hold of the case; the goroutine when it was inferred from stacks alone
	Doing  Doing
}

// Locks are the locks for which at least two goroutines wait.
type Locks struct {
	List []Lock // most waiters first

	c      *evidence.Case
	f      *Frames
	holds  map[uint64][]int
	byName map[string][]int // function -> groups with it on their stack; built on first use
	judged map[*Lock]Queue  // two rules ask for the same judgements
}

// MaxLocks is how many locks, those with the longest queues, rules judge. A program with more such queues has one disease.
const MaxLocks = 50

// Longest returns the locks for which at least min goroutines wait, at most MaxLocks of them, and how many more there are.
func (l *Locks) Longest(min float64) (list []*Lock, more int) {
	for i := range l.List {
		if float64(l.List[i].Total) < min {
			break // the list is sorted
		}
		if len(list) == MaxLocks {
			more++
			continue
		}
		list = append(list, &l.List[i])
	}
	return list, more
}

// OfLocks is the derivation of Locks.
var OfLocks = &diagnosis.Derivation[*Locks]{
	Name: "locks",
	Uses: []diagnosis.Dependency{OfFrames},
	Run:  locksOf,
}

// maxLockRows bounds how many waiters of one lock are looked at one by one: enough to see every distinct stack that matters.
const maxLockRows = 2048

func locksOf(p *diagnosis.Pass) (*Locks, error) {
	frames, err := diagnosis.Of(p, OfFrames)
	if err != nil {
		return nil, err
	}
	l := &Locks{c: p.Case, f: frames, holds: map[uint64][]int{}}
	for i, h := range p.Case.Holds {
		l.holds[h.Sync] = append(l.holds[h.Sync], i)
	}
	l.addressed()
	l.unaddressed()
	slices.SortStableFunc(l.List, func(a, b Lock) int { return cmp.Compare(b.Total, a.Total) })
	return l, nil
}

// addressed collects the locks whose address the waiters name.
func (l *Locks) addressed() {
	for x := range l.c.Contended(2) {
		if x.Sync.Kind == evidence.SyncChannel {
			continue
		}
		first := l.c.Goroutines().At(int(x.Rows[0]))
		if l.f.Doing(first).Activity != ActivityLock {
			continue
		}
		lock := Lock{Addr: x.Sync.Addr, Sync: x.Sync, Total: len(x.Rows)}
		known, ok := l.c.Sync(x.Sync.Addr)
		lock.Known = ok && (known.Kind == evidence.SyncMutex || known.Kind == evidence.SyncRWMutex)
		lock.Rows = spread(x.Rows, maxLockRows)
		l.describe(&lock)
		lock.Holders = l.holdersOf(lock.Addr)
		if !lock.readLock {
			l.List = append(l.List, lock)
		}
	}
}

// spread picks at most n of rows, evenly.
func spread(rows []uint32, n int) []uint32 {
	if len(rows) <= n {
		return rows
	}
	picked := make([]uint32, 0, n)
	for i := range n {
		picked = append(picked, rows[i*len(rows)/n])
	}
	return picked
}

// describe fills in what the waiters' stacks tell.
func (l *Locks) describe(lock *Lock) {
	rows, index := l.c.Goroutines(), map[evidence.StackID]int{}
	for _, row := range lock.Rows {
		stack := rows.StackOf(int(row))
		at, ok := index[stack]
		if !ok {
			at = len(lock.Waiters)
			index[stack] = at
			frame, _ := l.f.LockCall(l.c.Stack(stack))
			lock.Waiters = append(lock.Waiters, LockWaiters{Stack: stack, Reason: rows.At(int(row)).Reason, Row: row, Frame: frame})
		}
		lock.Waiters[at].Count++
		lock.Oldest = max(lock.Oldest, rows.Seconds(int(row)))
	}
	l.classify(lock)
}

// classify orders the waiters and tells what kind of lock it is by the stack of most of them.
func (l *Locks) classify(lock *Lock) {
	slices.SortStableFunc(lock.Waiters, func(a, b LockWaiters) int { return cmp.Compare(b.Count, a.Count) })
	s := l.c.Stack(lock.Waiters[0].Stack)
	lock.Once = locksOnce(s)
	if _, lock.FD = Has(s, descriptorLock); lock.FD {
		_, write := Has(s, "internal/poll.(*FD).writeLock", "internal/poll.(*FD).Write", "internal/poll.(*FD).Writev")
		lock.readLock = !write
	}
	lock.Name = lock.name()
}

// name is how the lock is called in sentences.
func (l *Lock) name() string {
	kind := "mutex"
	switch {
	case l.FD:
		kind = "write lock of a file descriptor"
	case l.Once:
		kind = "lock of a sync.Once"
	case l.Sync.Kind == evidence.SyncRWMutex || (len(l.Waiters) > 0 && strings.Contains(l.Waiters[0].Reason, "RWMutex")):
		kind = "RWMutex"
	}
	switch {
	case l.Addr == 0:
		return "the " + kind + " of " + l.Owner
	case l.Sync.Where != "":
		return "the " + kind + " in " + l.Sync.Where
	}
	return "the " + kind + " at " + hex(l.Addr)
}

func hex(v uint64) string {
	return strings.TrimPrefix(evidence.SyncRef(v).String(), "sync:")
}

// lockPackages hold the functions between the runtime and the code that takes a lock (internal/sync since Go 1.24).
var lockPackages = map[string]bool{"sync": true, "internal/sync": true, "internal/poll": true}

// LockCall returns the index of the frame that called the lock: the first one outside the runtime and the lock's own package.
func (f *Frames) LockCall(s evidence.Stack) (int, bool) {
	inside := false
	for i := range s.Len() {
		pkg := Package(s.At(i).Function)
		switch {
		case lockPackages[pkg]:
			inside = true
		case inside:
			return i, true
		case f.Owner(s.FrameID(i)) != OwnerRuntime:
			return i, true
		}
	}
	return -1, false
}

// InTraffic reports whether a goroutine that runs or could is inside a lock operation: about to queue, just woken from the
// queue, or waking the next one. A hot lock has many of these beside its waiters.
func (f *Frames) InTraffic(s evidence.Stack) bool {
	for i := range s.Len() {
		switch pkg := Package(s.At(i).Function); {
		case pkg == "sync" || pkg == "internal/sync":
			if strings.Contains(s.At(i).Function, "Mutex)") {
				return true
			}
		case f.Owner(s.FrameID(i)) != OwnerRuntime:
			return false
		}
	}
	return false
}

// unaddressed groups the waiters whose lock has no address by the type or function that takes it.
func (l *Locks) unaddressed() {
	index := map[string]int{}
	for _, g := range l.c.Groups() {
		row := l.c.Goroutines().At(g.First)
		if g.State != evidence.StateWaiting || row.WaitsOn != 0 || l.f.Doing(row).Activity != ActivityLock {
			continue
		}
		s := l.c.Stack(g.Stack)
		frame, ok := l.f.LockCall(s)
		if !ok {
			continue
		}
		owner := Receiver(s.At(frame).Function)
		key := owner + "|" + lockFamily(g.Reason)
		at, ok := index[key]
		if !ok {
			at = len(l.List)
			index[key] = at
			l.List = append(l.List, Lock{Owner: owner})
		}
		l.List[at].add(g, frame)
	}
	for i := range l.List {
		if l.List[i].Addr == 0 {
			l.classify(&l.List[i])
		}
	}
	l.List = slices.DeleteFunc(l.List, func(x Lock) bool { return x.Addr == 0 && (x.Total < 2 || x.readLock) })
}

// lockFamily keeps waiters of a mutex and of an RWMutex apart: they cannot wait for the same lock.
func lockFamily(reason string) string {
	if strings.Contains(reason, "RWMutex") {
		return "rwmutex"
	}
	return reason
}

func (l *Lock) add(g evidence.Group, frame int) {
	l.Total += g.Count
	l.Oldest = max(l.Oldest, g.Oldest)
	l.Rows = append(l.Rows, uint32(g.First))
	l.Waiters = append(l.Waiters, LockWaiters{Stack: g.Stack, Reason: g.Reason, Row: uint32(g.First), Count: g.Count, Frame: frame})
}

// Receiver is the type a method belongs to, "main.(*Ledger)", or the function itself.
func Receiver(function string) string {
	if at := strings.LastIndex(function, ")."); at >= 0 {
		return function[:at+1]
	}
	if at := strings.Index(function, ".func"); at >= 0 {
		return function[:at]
	}
	return function
}

// holdersOf returns the holders that the reader inferred. Of several candidates those are left out that wait for this lock
// themselves: they stand at the Lock and not behind it.
func (l *Locks) holdersOf(addr uint64) []Holder {
	var list []Holder
	waiting := 0
	for _, i := range l.holds[addr] {
		h := l.c.Holds[i]
		g, ok := l.c.Goroutines().ByID(h.Goroutine)
		if !ok {
			continue
		}
		if h.Grade == evidence.HoldAmbiguous && g.WaitsOn == addr {
			waiting++
			continue
		}
		list = append(list, Holder{G: g, Depth: h.Depth, Site: h.Site, Grade: h.Grade, Reader: h.Reader, Why: h.Why,
			Ref: evidence.Ref{Kind: evidence.RefHold, ID: uint64(i)}, Doing: l.f.Doing(g)})
	}
	if len(list) == 1 && waiting > 0 {
		list[0].Grade = evidence.HoldUnique
		list[0].Why = strings.TrimPrefix(list[0].Why+"; all other candidates wait for it themselves", "; ")
	}
	slices.SortStableFunc(list, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(a.Grade, b.Grade), cmp.Compare(rank(a.Doing), rank(b.Doing)))
	})
	return list
}

// rank puts what explains a queue best first: blocked, waiting for another lock, computing.
func rank(d Doing) int {
	switch {
	case d.Blocked():
		return 0
	case d.Activity == ActivityLock:
		return 1
	}
	return 2
}
