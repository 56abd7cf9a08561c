package derive

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Resource is something with a bounded number of slots, all of which are given away, and for which goroutines wait: a pool, or a channel
// that serves as a semaphore.
type Resource struct {
	Addr    uint64 // zero when the evidence has no addresses
	Kind    string // the type of the pool; "channel"
	Name    string // how to call it: "the connections of the database/sql.DB in global main.db"
	Slot    string // what a slot is: "connection", "slot"
	Where   string
	Limit   int64        // 0 when unknown
	Used    int64        // slots given away; -1 unknown
	Total   int          // goroutines that wait for a slot and for nothing else
	Counted int          // how many wait, as the resource itself counts them; -1 unknown
	Oldest  uint32       // longest wait in seconds; 0 unknown
	Rows    []uint32     // rows of waiters, in the order of the source
	Asking  []SlotAsking // distinct stacks, most goroutines first
	Holders []SlotHolder // by goroutine
	Held    int64        // slots that the holders account for
	Never   int          // waiters that are proved never to wake
	Guessed bool         // seen by the stacks alone
	Self    bool         // a channel of which nobody holds a slot, and whose waiters alone are seen to give one back
	Others  int          // of such a channel: how many goroutines that do not wait for it refer to it
	Blank   bool         // a channel whose elements carry nothing: tokens
	Sends   bool         // a channel whose slots are taken by sending
	Circle  bool         // everybody who has a slot of it waits for a slot: of the same resource, or of others of which this is so
	Ref     evidence.Ref // of the pool or channel; zero without an address
}

// SlotAsking are the waiters of a resource that have the same stack.
type SlotAsking struct {
	Row   uint32 // one of them
	Count int
	Line  int // index of the user's frame, -1 when there is none
}

// SlotHolder is a goroutine that has slots of a resource.
type SlotHolder struct {
	G       evidence.Goroutine
	Slots   int64
	Depth   int // index of the frame that keeps the slot
	Grade   evidence.HoldGrade
	Why     string
	Ref     evidence.Ref // the PoolUse or Hold
	Doing   Doing
	Asks    int  // index in Slots.List of the resource that it waits for itself, -1 for none
	Again   bool // that is the same resource
	Bounded bool // a timer or a deadline will soon wake it
}

// Sure reports whether nobody else can have the slot.
func (h *SlotHolder) Sure() bool {
	return h.Grade == evidence.HoldPendingUnlock || h.Grade == evidence.HoldUnique
}

// Shortage is what is wrong with a resource whose slots are all given away.
type Shortage uint8

// The kinds of shortage.
const (
	ShortageLoad   Shortage = iota // its holders get on, or it cannot be told
	ShortageCircle                 // every holder waits for another slot of it
	ShortageLost                   // nobody that is still there has the slots
	ShortageStuck                  // every holder is blocked in something else
)

// Slots are the resources of a Case.
type Slots struct {
	List []Resource // most waiters first

	c     *evidence.Case
	f     *Frames
	alarm map[int64]bool
}

// OfSlots is the derivation of Slots.
var OfSlots = &diagnosis.Derivation[*Slots]{
	Name: "slots",
	Uses: []diagnosis.Dependency{OfFrames},
	Run: func(p *diagnosis.Pass) (*Slots, error) {
		frames, err := diagnosis.Of(p, OfFrames)
		if err != nil {
			return nil, err
		}
		return newSlots(p.Case, frames), nil
	},
}

func newSlots(c *evidence.Case, f *Frames) *Slots {
	s := &Slots{c: c, f: f, alarm: map[int64]bool{}}
	for _, a := range c.Alarms {
		s.alarm[a.Goroutine] = true
	}
	s.pools()
	s.channels()
	if len(c.Pools) == 0 {
		s.unaddressed()
	}
	slices.SortStableFunc(s.List, func(a, b Resource) int { return cmp.Compare(b.Total, a.Total) })
	s.circles()
	return s
}

// circles finds the resources of which nobody can give a slot back, because all who have one wait for a slot of such a resource: the
// largest set of that kind.
func (s *Slots) circles() {
	asks := map[int64]int{}
	for i := range s.List {
		for _, row := range s.List[i].Rows {
			asks[s.c.Goroutines().ID(int(row))] = i
		}
	}
	for i := range s.List {
		r := &s.List[i]
		r.Circle = r.Total > 0 && r.Exhausted() && (r.Self && r.Sends && !r.Blank || len(r.Holders) > 0 && r.Lost() == 0)
		for k := range r.Holders {
			h := &r.Holders[k]
			at, ok := asks[h.G.ID]
			if !ok {
				at = -1
			}
			h.Asks, h.Again = at, ok && at == i
		}
	}
	for changed := true; changed; {
		changed = false
		for i := range s.List {
			r := &s.List[i]
			open := slices.ContainsFunc(r.Holders, func(h SlotHolder) bool { return h.Asks < 0 || !s.List[h.Asks].Circle })
			if r.Circle && open {
				r.Circle, changed = false, true
			}
		}
	}
}

// slotNouns are what a slot of a pool is called.
var slotNouns = map[string]string{"database/sql.DB": "connection", "net/http.Transport": "connection",
	"golang.org/x/sync/errgroup.Group": "place for a task", "golang.org/x/sync/singleflight.call": "result"}

func slotNoun(kind string) string {
	if noun := slotNouns[kind]; noun != "" {
		return noun
	}
	return "slot"
}

// pools takes the pools that the reader found.
func (s *Slots) pools() {
	index := map[uint64]int{}
	for _, p := range s.c.Pools {
		index[p.Addr] = len(s.List)
		r := Resource{Addr: p.Addr, Kind: p.Kind, Slot: slotNoun(p.Kind), Where: p.Where, Limit: p.Limit, Used: p.Used, Counted: p.Waiting,
			Ref: evidence.Ref{Kind: evidence.RefPool, ID: p.Addr}}
		r.Name = "the " + p.Kind + place(p.Where, p.Addr)
		s.List = append(s.List, r)
	}
	rows := s.rowsByID()
	for i, u := range s.c.PoolUses {
		at, known := index[u.Pool]
		row, alive := rows[u.Goroutine]
		if !known || !alive {
			continue
		}
		r := &s.List[at]
		if u.Role == evidence.PoolWaits {
			r.Rows = append(r.Rows, row)
			continue
		}
		r.Holders = append(r.Holders, SlotHolder{G: s.c.Goroutines().At(int(row)), Slots: max(u.Slots, 1), Depth: u.Depth, Grade: u.Grade, Why: u.Why,
			Ref: evidence.Ref{Kind: evidence.RefPoolUse, ID: uint64(i)}})
	}
	for i := range s.List {
		s.finish(&s.List[i])
	}
}

func place(where string, addr uint64) string {
	if where != "" {
		return " in " + where
	}
	return " at " + hex(addr)
}

// rowsByID finds the rows of the goroutines that have to do with pools.
func (s *Slots) rowsByID() map[int64]uint32 {
	wanted := map[int64]bool{}
	for _, u := range s.c.PoolUses {
		wanted[u.Goroutine] = true
	}
	for _, h := range s.c.Holds {
		wanted[h.Goroutine] = true
	}
	rows := map[int64]uint32{}
	all := s.c.Goroutines()
	for i := range all.Len() {
		if id := all.ID(i); wanted[id] {
			rows[id] = uint32(i)
		}
	}
	return rows
}

// channels takes the channels of which somebody holds a slot, and those whose waiters alone could give one back.
func (s *Slots) channels() {
	held := map[uint64][]int{}
	for i, h := range s.c.Holds {
		held[h.Sync] = append(held[h.Sync], i)
	}
	giving, others := s.givers()
	var rows map[int64]uint32
	for x := range s.c.Contended(1) {
		sync := x.Sync
		full, empty := sync.Len == sync.Cap, sync.Len == 0
		if sync.Kind != evidence.SyncChannel || sync.Cap == 0 || !full && !empty || len(held[sync.Addr]) == 0 && !giving[sync.Addr] {
			continue
		}
		if rows == nil {
			rows = s.rowsByID()
		}
		r := Resource{Addr: sync.Addr, Kind: "channel", Slot: "slot", Where: sync.Where, Limit: sync.Cap, Used: sync.Cap, Counted: -1,
			Rows: slices.Clone(x.Rows), Ref: sync.Ref(), Sends: full, Blank: sync.Blank}
		r.Name = "the channel" + place(sync.Where, sync.Addr) + ", which serves as a semaphore"
		for _, i := range held[sync.Addr] {
			h := s.c.Holds[i]
			if row, ok := rows[h.Goroutine]; ok {
				r.Holders = append(r.Holders, SlotHolder{G: s.c.Goroutines().At(int(row)), Slots: 1, Depth: h.Depth, Grade: h.Grade, Why: h.Why,
					Ref: evidence.Ref{Kind: evidence.RefHold, ID: uint64(i)}})
			}
		}
		if r.Self = len(r.Holders) == 0; r.Self {
			r.Name, r.Others = "the channel"+place(sync.Where, sync.Addr), others[sync.Addr]
		}
		s.finish(&r)
		s.List = append(s.List, r)
	}
}

// givers are the channels for which everybody who would give something back stands in the queue himself: those who receive would send
// later, or those who send would receive. Of each it is counted who else refers to it, and might.
func (s *Slots) givers() (giving map[uint64]bool, others map[uint64]int) {
	giving, others = map[uint64]bool{}, map[uint64]int{}
	for _, w := range s.c.Wakers {
		g, ok := s.c.Goroutines().ByID(w.Goroutine)
		waits := ok && g.WaitsOn == w.Sync
		_, seen := giving[w.Sync]
		switch {
		case w.Grade != evidence.WakerPending && w.Grade != evidence.WakerAhead:
			if !waits {
				others[w.Sync]++
			}
		case !waits:
			giving[w.Sync] = false
		case !seen:
			giving[w.Sync] = w.Act == evidence.ActSend || w.Act == evidence.ActReceive
		}
	}
	return giving, others
}

// finish computes what follows from waiters and holders. Several rows of one goroutine become one.
func (s *Slots) finish(r *Resource) {
	rows := s.c.Goroutines()
	stacks := map[evidence.StackID]int{}
	for _, row := range r.Rows {
		r.Oldest = max(r.Oldest, rows.Seconds(int(row)))
		stack := rows.StackOf(int(row))
		at, ok := stacks[stack]
		if !ok {
			at = len(r.Asking)
			stacks[stack] = at
			line, found := s.f.UserFrame(s.c.Stack(stack))
			if !found {
				line = -1
			}
			r.Asking = append(r.Asking, SlotAsking{Row: row, Line: line})
		}
		r.Asking[at].Count++
		if rows.At(int(row)).Wake == evidence.WakeNever {
			r.Never++
		}
	}
	r.Total = len(r.Rows)
	slices.SortStableFunc(r.Asking, func(a, b SlotAsking) int { return cmp.Compare(b.Count, a.Count) })
	r.Holders = oncePerHolder(r.Holders)
	for i := range r.Holders {
		h := &r.Holders[i]
		h.Doing, h.Bounded = s.f.Doing(h.G), s.alarm[h.G.ID]
		if h.Sure() {
			r.Held += h.Slots
		}
	}
	if r.Used >= 0 {
		r.Held = min(r.Held, r.Used)
	}
}

// oncePerHolder joins the rows of a goroutine: the slots of its strongest grade, and the innermost frame of that.
func oncePerHolder(list []SlotHolder) []SlotHolder {
	slices.SortStableFunc(list, func(a, b SlotHolder) int {
		return cmp.Or(cmp.Compare(a.G.ID, b.G.ID), cmp.Compare(uint8(a.Grade)-1, uint8(b.Grade)-1), cmp.Compare(a.Depth, b.Depth))
	})
	var joined []SlotHolder
	for _, h := range list {
		if n := len(joined); n > 0 && joined[n-1].G.ID == h.G.ID {
			if joined[n-1].Grade == h.Grade {
				joined[n-1].Slots += h.Slots
			}
			continue
		}
		joined = append(joined, h)
	}
	return joined
}

// Exhausted reports whether no slot is free, as far as the resource itself tells.
func (r *Resource) Exhausted() bool {
	return r.Used < 0 || r.Limit == 0 || r.Used >= r.Limit || r.Weighted()
}

// Weighted reports whether a slot may be asked for in portions: then somebody may wait although a few are free.
func (r *Resource) Weighted() bool { return strings.HasSuffix(r.Kind, "semaphore.Weighted") }

// Lost is how many slots are given away and nobody is seen to have; 0 when it is not known. Of a weighted semaphore the portions are not
// known, so that one holder accounts for all of it.
func (r *Resource) Lost() int64 {
	if r.Used <= 0 || r.Weighted() && len(r.Holders) > 0 {
		return 0
	}
	ambiguous := int64(0)
	for i := range r.Holders {
		if !r.Holders[i].Sure() {
			ambiguous += r.Holders[i].Slots
		}
	}
	return max(0, r.Used-r.Held-ambiguous)
}

// Dead reports whether neither those who wait nor those who have the slots can ever wake.
func (r *Resource) Dead() bool {
	if r.Never == 0 || r.Never < r.Total {
		return false
	}
	return !slices.ContainsFunc(r.Holders, func(h SlotHolder) bool { return h.G.Wake != evidence.WakeNever })
}

// Shared reports whether a resource is the one result that several callers wait for.
func (r *Resource) Shared() bool { return strings.HasSuffix(r.Kind, "singleflight.call") }

// Group reports whether a resource is an errgroup with a limit.
func (r *Resource) Group() bool { return strings.HasSuffix(r.Kind, "errgroup.Group") }

// DeadPool reports whether nothing will ever come again from a pool. What is a channel, or the like of one, explains itself.
func (r *Resource) DeadPool() bool {
	return r.Ref.Kind == evidence.RefPool && !r.Shared() && !r.Group() && r.Dead() && r.Shortage() != ShortageLoad
}

// DeadPools are the goroutines that wait for a slot of a pool from which nothing will ever come again, by row. Only what is wrong with the
// pool explains them.
func (s *Slots) DeadPools() map[uint32]*Resource {
	var rows map[uint32]*Resource
	for i := range s.List {
		r := &s.List[i]
		if !r.DeadPool() {
			continue
		}
		if rows == nil {
			rows = map[uint32]*Resource{}
		}
		for _, row := range r.Rows {
			rows[row] = r
		}
	}
	return rows
}

// Shortage judges a resource.
func (r *Resource) Shortage() Shortage {
	moving := 0
	for i := range r.Holders {
		h := &r.Holders[i]
		if h.Bounded || h.Asks < 0 && !h.Doing.Blocked() && h.G.Wake != evidence.WakeNever {
			moving++
		}
	}
	switch {
	case r.Total == 0 || !r.Exhausted():
		return ShortageLoad
	case r.Circle:
		return ShortageCircle
	case moving > 0:
		return ShortageLoad
	case r.Used > 0 && (2*r.Lost() > r.Used || len(r.Holders) == 0):
		return ShortageLost
	case r.Lost() > 0, len(r.Holders) == 0:
		return ShortageLoad // who has the others may get on
	}
	return ShortageStuck
}
