package evidence

import (
	"fmt"
	"strconv"
	"strings"
)

// RefKind is the table a Ref points into.
type RefKind uint8

// The tables that can be cited.
const (
	RefNone RefKind = iota
	RefProcess
	RefGoroutine // ID is the goroutine id
	RefThread    // ID is the thread id of the operating system
	RefSync      // ID is the object's address
	RefStack     // ID is the StackID
	RefPanic     // ID is the index in Case.Panics
	RefProcessor // ID is the P's id
	RefHeap      // the heap figures; no ID
	RefScheduler // the scheduler; no ID
	RefTransfer  // ID is the index in Case.Transfers
	RefHold      // ID is the index in Case.Holds
	RefGap       // ID is the index in Case.Gaps
	RefDeath     // how the process ended; no ID
	RefProof     // the search for goroutines that can never wake; no ID
	RefHeapUse   // the heap, object by object; no ID
	RefWaker     // ID is the index in Case.Wakers
	RefPool      // ID is the pool's address
	RefPoolUse   // ID is the index in Case.PoolUses
	RefTimeline  // what happened over time; no ID
	RefSite      // ID is the index in Timeline.Sites
	RefRelease   // ID is the index in Timeline.Releases
	RefSpawn     // ID is the index in Timeline.Spawns
	RefPair      // ID is the index in Timeline.Pairs
	RefEpisode   // ID is the index in Timeline.Episodes
	RefActivity  // ID is the index in Timeline.Activities
)

var refNames = []string{"", "process", "goroutine", "thread", "sync", "stack", "panic", "p", "heap", "scheduler",
	"transfer", "hold", "gap", "death", "proof", "heapuse", "waker", "pool", "pooluse",
	"timeline", "site", "release", "spawn", "pair", "episode", "activity"}

// refPlain are the kinds that exist once and print without an ID.
var refPlain = map[RefKind]bool{RefProcess: true, RefHeap: true, RefScheduler: true, RefDeath: true,
	RefProof: true, RefHeapUse: true, RefTimeline: true}

// Ref names one row of a Case. Its text form is stable and part of the JSON contract.
type Ref struct {
	Kind RefKind
	ID   uint64
}

// GoroutineRef is the Ref of the goroutine with this id.
func GoroutineRef(id int64) Ref { return Ref{RefGoroutine, uint64(id)} }

// ThreadRef is the Ref of the thread with this operating system id.
func ThreadRef(tid int) Ref { return Ref{RefThread, uint64(tid)} }

// SyncRef is the Ref of the synchronisation object at this address.
func SyncRef(addr uint64) Ref { return Ref{RefSync, addr} }

// StackRef is the Ref of a stack.
func StackRef(id StackID) Ref { return Ref{RefStack, uint64(id)} }

// SiteRef is the Ref of a Site, by its index in the Timeline.
func SiteRef(i int) Ref { return Ref{RefSite, uint64(i)} }

// ReleaseRef is the Ref of a Release.
func ReleaseRef(i int) Ref { return Ref{RefRelease, uint64(i)} }

// SpawnRef is the Ref of a Spawn.
func SpawnRef(i int) Ref { return Ref{RefSpawn, uint64(i)} }

// EpisodeRef is the Ref of an Episode.
func EpisodeRef(i int) Ref { return Ref{RefEpisode, uint64(i)} }

// String is "goroutine:42", "sync:0xc000012345", "heap"; empty for the zero Ref.
func (r Ref) String() string {
	if int(r.Kind) >= len(refNames) || r.Kind == RefNone {
		return ""
	}
	name := refNames[r.Kind]
	switch {
	case refPlain[r.Kind]:
		return name
	case r.Kind == RefSync, r.Kind == RefPool:
		return fmt.Sprintf("%s:0x%x", name, r.ID)
	}
	return name + ":" + strconv.FormatUint(r.ID, 10)
}

// ParseRef is the inverse of String.
func ParseRef(s string) (Ref, error) {
	name, id, hasID := strings.Cut(s, ":")
	for k, n := range refNames {
		kind := RefKind(k)
		if kind == RefNone || n != name || hasID == refPlain[kind] {
			continue
		}
		if !hasID {
			return Ref{Kind: kind}, nil
		}
		v, err := strconv.ParseUint(id, 0, 64)
		if err != nil {
			return Ref{}, fmt.Errorf("reference %q: %w", s, err)
		}
		return Ref{kind, v}, nil
	}
	return Ref{}, fmt.Errorf("reference %q: want kind:number, such as goroutine:42", s)
}
