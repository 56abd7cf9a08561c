package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const (
	inConn  = "runtime.gopark:462 runtime.selectgo:360 database/sql.(*DB).conn:1372 database/sql.(*DB).Query:1800 main.ask:20 main.run:9"
	inSend  = "runtime.gopark:462 runtime.chansend:283 runtime.chansend1:161 main.enter:30 main.run:9"
	inRead  = parkPoll + "net.(*conn).Read:196 main.talk:40 main.run:9"
	inTask  = "runtime.gopark:462 runtime.chansend:283 runtime.chansend1:161 golang.org/x/sync/errgroup.(*Group).Go:71 main.walk:50 golang.org/x/sync/errgroup.(*Group).Go.func1:78"
	poolAt  = 0x1000
	otherAt = 0x2000
)

func (s *sketch) pool(addr uint64, used, limit int64) {
	s.b.Pool(evidence.Pool{Addr: addr, Kind: "database/sql.DB", Used: used, Limit: limit, Waiting: -1})
}

func (s *sketch) use(addr uint64, role evidence.PoolRole, grade evidence.HoldGrade, first int64, n int) {
	for id := first; id < first+int64(n); id++ {
		s.b.PoolUse(evidence.PoolUse{Pool: addr, Goroutine: id, Role: role, Slots: 1, Grade: grade, Depth: 4})
	}
}

func (s *sketch) slots() *Slots {
	c, f := s.finish()
	return newSlots(c, f)
}

// one is the only resource of a sketch.
func (s *Slots) one(t *testing.T) *Resource {
	t.Helper()
	if len(s.List) != 1 {
		t.Fatalf("%d resources: %+v", len(s.List), s.List)
	}
	return &s.List[0]
}

func TestSlotsOfPool(t *testing.T) {
	const sure, weak = evidence.HoldPendingUnlock, evidence.HoldAmbiguous
	for name, c := range map[string]struct {
		used, limit int64
		waiters     int
		holders     func(*sketch)
		want        Shortage
		lost, held  int64
	}{
		"lost":              {used: 2, limit: 2, waiters: 3, want: ShortageLost, lost: 2},
		"nobody waits":      {used: 2, limit: 2, want: ShortageLoad, lost: 2},
		"a free slot":       {used: 1, limit: 2, waiters: 3, want: ShortageLoad, lost: 1},
		"counts unknown":    {used: -1, limit: 2, waiters: 3, want: ShortageLoad},
		"holders wait too":  {used: 2, limit: 2, waiters: 3, holders: func(s *sketch) { s.use(poolAt, evidence.PoolHolds, sure, 1, 2) }, want: ShortageCircle, held: 2},
		"perhaps they hold": {used: 2, limit: 2, waiters: 3, holders: func(s *sketch) { s.use(poolAt, evidence.PoolHolds, weak, 1, 2) }, want: ShortageCircle},
		"one slot is lost":  {used: 3, limit: 3, waiters: 3, holders: func(s *sketch) { s.use(poolAt, evidence.PoolHolds, sure, 1, 2) }, want: ShortageLoad, lost: 1, held: 2},
		"most are lost":     {used: 5, limit: 5, waiters: 3, holders: func(s *sketch) { s.use(poolAt, evidence.PoolHolds, sure, 1, 2) }, want: ShortageLost, lost: 3, held: 2},
		"stuck":             {used: 2, limit: 2, waiters: 3, holders: stuckHolders, want: ShortageStuck, held: 2},
		"a deadline":        {used: 2, limit: 2, waiters: 3, holders: boundedHolders, want: ShortageLoad, held: 2},
		"one computes":      {used: 1, limit: 1, waiters: 3, holders: computing, want: ShortageLoad, held: 1},
	} {
		s := newSketch()
		first := s.add(c.waiters, evidence.StateWaiting, "select", inConn)
		s.pool(poolAt, c.used, c.limit)
		s.use(poolAt, evidence.PoolWaits, 0, first, c.waiters)
		if c.holders != nil {
			c.holders(s)
		}
		r := s.slots().one(t)
		if got := r.Shortage(); got != c.want || r.Lost() != c.lost || r.Held != c.held || r.Total != c.waiters {
			t.Errorf("%s: shortage %d, %d lost, %d held, %d wait; want %d, %d, %d, %d", name, got, r.Lost(), r.Held, r.Total, c.want, c.lost, c.held, c.waiters)
		}
		if c.waiters > 0 && (len(r.Asking) != 1 || r.Asking[0].Count != c.waiters || r.Asking[0].Line != 4) {
			t.Errorf("%s: the waiters ask %+v", name, r.Asking)
		}
	}
}

func stuckHolders(s *sketch) {
	s.use(poolAt, evidence.PoolHolds, evidence.HoldUnique, s.add(2, evidence.StateWaiting, "IO wait", inRead), 2)
}

func boundedHolders(s *sketch) {
	first := s.add(2, evidence.StateWaiting, "IO wait", inRead)
	s.use(poolAt, evidence.PoolHolds, evidence.HoldUnique, first, 2)
	s.b.Alarm(evidence.Alarm{Goroutine: first, Source: evidence.AlarmDeadline, DueNS: 1000, AskedNS: -1})
}

func computing(s *sketch) {
	s.use(poolAt, evidence.PoolHolds, evidence.HoldUnique, s.add(1, evidence.StateRunning, "", "main.work:12 main.run:9"), 1)
}

// TestSlotsInCircles: two semaphores are a circle when the holders of each wait for the other, and none when one holder goes on.
func TestSlotsInCircles(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		s := newSketch()
		s.channel(poolAt, 1, 1)
		s.channel(otherAt, 1, 1)
		a := s.send(otherAt, "main.a:3")
		b := s.send(poolAt, "main.b:5")
		if goesOn {
			b = s.add(1, evidence.StateRunning, "", "main.work:12 main.run:9")
		}
		s.hold(poolAt, a, evidence.HoldPendingUnlock)
		s.hold(otherAt, b, evidence.HoldUnique)
		list := s.slots().List
		for i := range list {
			if r := &list[i]; r.Circle == goesOn || (r.Shortage() == ShortageCircle) == goesOn {
				t.Errorf("goes on: %v; %s is a circle: %v, shortage %d", goesOn, r.Name, r.Circle, r.Shortage())
			}
			if r := &list[i]; !r.Sends || r.Self || r.Holders[0].Again {
				t.Errorf("%+v", r)
			}
		}
		if len(list) == 0 || !goesOn && len(list) != 2 {
			t.Errorf("goes on: %v; %d resources", goesOn, len(list))
		}
	}
}

// TestSlotsOfOwnQueue: a channel without holders counts when only its own waiters would give something back.
func TestSlotsOfOwnQueue(t *testing.T) {
	for name, c := range map[string]struct {
		n      int64
		other  func(*sketch, int64)
		found  bool
		others int
		want   Shortage
	}{
		"full":            {n: 2, found: true, want: ShortageCircle},
		"half full":       {n: 1},
		"referred to":     {n: 2, other: func(s *sketch, id int64) { s.waker(poolAt, id, evidence.ActUnknown, evidence.WakerRefers) }, found: true, others: 1, want: ShortageCircle},
		"consumer":        {n: 2, other: func(s *sketch, id int64) { s.waker(poolAt, id, evidence.ActReceive, evidence.WakerAhead) }},
		"closed by other": {n: 2, other: func(s *sketch, id int64) { s.waker(poolAt, id, evidence.ActClose, evidence.WakerPending) }},
	} {
		s := newSketch()
		s.channel(poolAt, c.n, 2)
		free := s.add(1, evidence.StateRunning, "", "main.work:12 main.run:9")
		for range 2 {
			s.waker(poolAt, s.send(poolAt, "main.fill:7"), evidence.ActReceive, evidence.WakerAhead)
		}
		if c.other != nil {
			c.other(s, free)
		}
		list := s.slots().List
		if (len(list) == 1) != c.found {
			t.Errorf("%s: %+v", name, list)
			continue
		}
		if c.found && (!list[0].Self || list[0].Others != c.others || list[0].Shortage() != c.want) {
			t.Errorf("%s: self %v, %d others, shortage %d", name, list[0].Self, list[0].Others, list[0].Shortage())
		}
	}
}

// TestSlotsOfTokens: a channel out of which everybody takes a token that he would put back; whether these are tokens is known by their size.
func TestSlotsOfTokens(t *testing.T) {
	for _, blank := range []bool{true, false} {
		s := newSketch()
		s.b.Sync(evidence.Sync{Addr: poolAt, Kind: evidence.SyncChannel, Cap: 2, Blank: blank, Waiters: -1})
		for range 3 {
			s.waker(poolAt, s.receive(poolAt, "main.work:7"), evidence.ActSend, evidence.WakerAhead)
		}
		list := s.slots().List
		if len(list) != 1 || !list[0].Self || list[0].Sends || list[0].Blank != blank || list[0].Shortage() != ShortageLost {
			t.Errorf("blank %v: %+v", blank, list)
		}
	}
}

// TestSlotsJoined: rows of one goroutine are one holder, with the strongest grade.
func TestSlotsJoined(t *testing.T) {
	s := newSketch()
	waiter := s.add(1, evidence.StateWaiting, "select", inConn)
	holder := s.add(1, evidence.StateWaiting, "IO wait", inRead)
	s.pool(poolAt, 3, 3)
	s.use(poolAt, evidence.PoolWaits, 0, waiter, 1)
	s.use(poolAt, evidence.PoolHolds, evidence.HoldAmbiguous, holder, 1)
	s.use(poolAt, evidence.PoolHolds, evidence.HoldPendingUnlock, holder, 1)
	s.use(poolAt, evidence.PoolHolds, evidence.HoldPendingUnlock, holder, 1)
	s.use(poolAt, evidence.PoolHolds, evidence.HoldUnique, 99, 1) // a goroutine that is not there
	r := s.slots().one(t)
	if len(r.Holders) != 1 || r.Holders[0].Slots != 2 || r.Holders[0].Grade != evidence.HoldPendingUnlock || r.Held != 2 || r.Lost() != 1 {
		t.Errorf("holders %+v, %d held, %d lost", r.Holders, r.Held, r.Lost())
	}
}

func TestSlotsByStacks(t *testing.T) {
	s := newSketch()
	s.add(3, evidence.StateWaiting, "select", inConn)
	s.add(1, evidence.StateWaiting, "IO wait", parkPoll+"net.(*conn).Read:196 database/sql.(*DB).queryDC:1770 main.list:4")
	s.add(1, evidence.StateWaiting, "select", "runtime.gopark:462 runtime.selectgo:360 database/sql.(*DB).connectionOpener:1200")
	s.add(2, evidence.StateWaiting, "chan send", inTask)
	list := s.slots().List
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	db, group := &list[0], &list[1]
	if !db.Guessed || db.Total != 3 || len(db.Holders) != 1 || db.Holders[0].Sure() || db.Shortage() != ShortageStuck {
		t.Errorf("database: %+v, shortage %d", db, db.Shortage())
	}
	if !group.Guessed || group.Total != 2 || len(group.Holders) != 2 || group.Shortage() != ShortageCircle {
		t.Errorf("group: %+v, shortage %d", group, group.Shortage())
	}
	s = newSketch()
	s.add(2, evidence.StateWaiting, "chan receive", "runtime.gopark:462 runtime.chanrecv:667 runtime.chanrecv1:509 main.worker:3")
	if list := s.slots().List; len(list) != 0 {
		t.Errorf("idle workers: %+v", list)
	}
}

// TestSlotsDeadPools: a pool explains its waiters when neither they nor those who have its slots can ever wake.
func TestSlotsDeadPools(t *testing.T) {
	for name, c := range map[string]struct {
		waiter, holder evidence.Wake
		kind           string
		want           bool
	}{
		"all are lost":       {evidence.WakeNever, evidence.WakeNever, "database/sql.DB", true},
		"a holder may wake":  {evidence.WakeNever, evidence.WakePossible, "database/sql.DB", false},
		"the waiter may":     {evidence.WakePossible, evidence.WakeNever, "database/sql.DB", false},
		"one shared result":  {evidence.WakeNever, evidence.WakeNever, "golang.org/x/sync/singleflight.call", false},
		"tasks of one group": {evidence.WakeNever, evidence.WakeNever, "golang.org/x/sync/errgroup.Group", false},
	} {
		s := newSketch()
		asks := s.add(1, evidence.StateWaiting, "select", inConn, wakes(c.waiter))
		has := s.add(1, evidence.StateWaiting, "chan receive", parkReceive+"main.a:1"+exit, wakes(c.holder))
		s.b.Pool(evidence.Pool{Addr: poolAt, Kind: c.kind, Used: 1, Limit: 1, Waiting: -1})
		s.use(poolAt, evidence.PoolWaits, 0, asks, 1)
		s.use(poolAt, evidence.PoolHolds, evidence.HoldUnique, has, 1)
		rows := s.slots().DeadPools()
		if r := rows[0]; (r != nil) != c.want || len(rows) > 1 || r != nil && r.Addr != poolAt {
			t.Errorf("%s: %v", name, rows)
		}
	}
}

// TestSlotsGivenBackByNobody: those who wait for a slot of a full semaphore and would give it back are no circle: who had the slots has lost them.
func TestSlotsGivenBackByNobody(t *testing.T) {
	s := newSketch()
	s.b.Sync(evidence.Sync{Addr: poolAt, Kind: evidence.SyncChannel, Len: 2, Cap: 2, Blank: true, Waiters: -1})
	for range 3 {
		s.waker(poolAt, s.send(poolAt, "main.work:7"), evidence.ActReceive, evidence.WakerAhead)
	}
	c, f := s.finish()
	if r := newSlots(c, f).one(t); !r.Self || !r.Sends || r.Circle || r.Shortage() != ShortageLost {
		t.Errorf("%+v", r)
	}
	if g := newWaitGraph(c, f); len(g.Knots) != 0 {
		t.Errorf("they wait for each other: %+v", g.Knots)
	}
}
