// Package traceprofile writes what an execution trace says about waiting as profiles for go tool pprof.
//
// The profiles sync, net, syscall and sched hold the same values as those of `go tool trace -pprof=KIND` (cmd/trace/pprof.go and
// internal/trace/traceviewer/pprof.go of Go 1.22 to 1.26): one sample for each stack at which goroutines began to wait, with how often, and how long in
// all. Waits that had not ended, those of no length, and what a goroutine did before it ran for the first time are not counted there and not here. The profile mutex-holder turns the waits for
// locks around: it gives them to the stacks that let the locks go, as the mutex profile of runtime/pprof does.
package traceprofile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// ErrNoTimeline says that the evidence is of one moment.
var ErrNoTimeline = errors.New("the evidence does not say what happened over time: only an execution trace does, and a saved Case that was made from one")

// Kind is one profile.
type Kind struct {
	Name string
	Doc  string // in half a sentence
	from func(*evidence.Timeline, *evidence.Case) map[evidence.StackID]sum
}

// kinds are the profiles. The reasons are those that cmd/trace looks for.
var kinds = []Kind{
	{"sync", "waits for locks, channels and selects, by the stack that waited", blocks(func(reason string) bool {
		return strings.Contains(reason, "chan") || strings.Contains(reason, "sync") || strings.Contains(reason, "select")
	})},
	{"net", "waits for the network, by the stack that waited", blocks(func(reason string) bool { return reason == "network" })},
	{"syscall", "time in system calls, by the stack that made them", of(evidence.SiteSyscall)},
	{"sched", "time from ready to running, by the stack that made the goroutine ready", of(evidence.SiteReady)},
	{"mutex-holder", "waits for locks, by the stack that let the lock go", holders},
}

// Kinds lists the profiles.
func Kinds() []Kind { return slices.Clone(kinds) }

// sum is what one stack has.
type sum struct{ count, ns uint64 }

func (s *sum) add(count, ns uint64) {
	s.count += count
	s.ns += ns
}

// Write writes the profile of a name, compressed as pprof wants it. Its sample types are contentions (count) and delay (nanoseconds). A
// profile in which nothing waited has no samples and is no error.
func Write(w io.Writer, c *evidence.Case, name string) error {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return fmt.Errorf("profile %q: want one of %s", name, names())
	}
	if c.Timeline == nil {
		return ErrNoTimeline
	}
	b := newBuilder(c, kinds[i].Name)
	sums := kinds[i].from(c.Timeline, c)
	ids := make([]evidence.StackID, 0, len(sums))
	for id := range sums {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y evidence.StackID) int {
		return cmp.Or(cmp.Compare(sums[y].ns, sums[x].ns), cmp.Compare(x, y))
	})
	for _, id := range ids {
		b.sample(id, sums[id])
	}
	if err := b.p.CheckValid(); err != nil {
		return fmt.Errorf("making the profile: %w", err)
	}
	if err := b.p.Write(w); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	return nil
}

func names() string {
	var list []string
	for _, k := range kinds {
		list = append(list, k.Name)
	}
	return strings.Join(list, ", ")
}

// ended are the stays at a site that ended and took time. Bucket 0 of the histogram counts those of no length. What a goroutine did before it
// ran for the first time is left out, as in cmd/trace, whose filter by goroutine begins there even when it lets all of them pass
// (GoroutineSummary.StartTime).
func ended(s *evidence.Site) (count, ns uint64) {
	count, ns = s.Hist.Total()-uint64(s.Hist[0]), s.TotalNS-min(s.OpenNS, s.TotalNS)
	return count - min(s.Fresh, count), ns - min(s.FreshNS, ns)
}

// of sums the sites of one kind.
func of(kind evidence.SiteKind) func(*evidence.Timeline, *evidence.Case) map[evidence.StackID]sum {
	return collect(func(s *evidence.Site) bool { return s.Kind == kind })
}

// blocks sums the waits with certain reasons.
func blocks(wanted func(reason string) bool) func(*evidence.Timeline, *evidence.Case) map[evidence.StackID]sum {
	return collect(func(s *evidence.Site) bool { return s.Kind == evidence.SiteBlock && wanted(s.Reason) })
}

func collect(counts func(*evidence.Site) bool) func(*evidence.Timeline, *evidence.Case) map[evidence.StackID]sum {
	return func(t *evidence.Timeline, _ *evidence.Case) map[evidence.StackID]sum {
		sums := map[evidence.StackID]sum{}
		for i := range t.Sites {
			s := &t.Sites[i]
			if n, ns := ended(s); counts(s) && n > 0 {
				v := sums[s.Stack]
				v.add(n, ns)
				sums[s.Stack] = v
			}
		}
		return sums
	}
}

// holders sums the waits for locks by who ended them.
func holders(t *evidence.Timeline, c *evidence.Case) map[evidence.StackID]sum {
	sums := map[evidence.StackID]sum{}
	for i := range t.Releases {
		r := &t.Releases[i]
		if r.Site < 0 || r.Site >= len(t.Sites) || r.Count == 0 || !forLock(c, &t.Sites[r.Site]) {
			continue
		}
		v := sums[r.Stack]
		v.add(r.Count, r.WaitNS)
		sums[r.Stack] = v
	}
	return sums
}

// lockCalls are the functions that wait for a lock: of sync, and of internal/sync, where Mutex lives from Go 1.24 on.
var lockCalls = []string{"sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "sync.(*RWMutex).RLock", "internal/sync.(*Mutex).Lock", "internal/sync.(*Mutex).lockSlow"}

// forLock reports whether a site is a wait for a lock. The reason "sync" is also that of WaitGroup and of the runtime's own semaphores: the
// stack decides.
func forLock(c *evidence.Case, s *evidence.Site) bool {
	if s.Kind != evidence.SiteBlock || s.Reason != "sync" {
		return false
	}
	for _, f := range c.Stack(s.Stack).All() {
		if slices.Contains(lockCalls, f.Function) {
			return true
		}
		if !strings.HasPrefix(f.Function, "sync.") && !strings.HasPrefix(f.Function, "internal/sync.") && !strings.HasPrefix(f.Function, "runtime.") {
			return false
		}
	}
	return false
}
