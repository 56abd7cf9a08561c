package evidence

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// queue is a Case with three goroutines at one lock, one at another, one in a select and one that runs.
func queue() *Case {
	b := NewBuilder()
	frame := func(name string) FrameID { return b.Frame(Frame{Function: name, File: "q.go", Line: 1}) }
	lock := b.Stack([]FrameID{frame("sync.(*Mutex).Lock"), frame("main.add")}, StackNote{})
	idle := b.Stack([]FrameID{frame("main.idle")}, StackNote{})
	for i := range 3 {
		b.Goroutine(Goroutine{ID: int64(10 + i), State: StateWaiting, Reason: "sync.Mutex.Lock", Stack: lock, WaitsOn: 0x100,
			Seconds: uint32(60 * i), Flags: FlagLocked | Flags(i)&FlagSystem})
	}
	b.Goroutine(Goroutine{ID: 20, State: StateWaiting, Reason: "sync.Mutex.Lock", Stack: lock, WaitsOn: 0x200})
	b.Goroutine(Goroutine{ID: 30, State: StateWaiting, Reason: "select", Stack: idle})
	b.Goroutine(Goroutine{ID: 1, State: StateRunning, Stack: idle})
	b.Wait(Wait{Goroutine: 30, Sync: 0x400, Mode: WaitSend})
	b.Wait(Wait{Goroutine: 5, Sync: 0x500})
	b.Wait(Wait{Goroutine: 30, Sync: 0x300, Mode: WaitReceive})
	b.Sync(Sync{Addr: 0x100, Kind: SyncMutex, Locked: true, Waiters: 3})
	b.Hold(Hold{Sync: 0x100, Goroutine: 30, Grade: HoldAmbiguous})
	b.Hold(Hold{Sync: 0x100, Goroutine: 20})
	b.Hold(Hold{Sync: 0x100, Goroutine: 1, Grade: HoldPendingUnlock})
	b.Hold(Hold{Sync: 0x200, Goroutine: 1, Grade: HoldUnique})
	return b.Finish()
}

func TestGroups(t *testing.T) {
	c := queue()
	want := []Group{
		{Stack: 1, State: StateWaiting, Reason: "sync.Mutex.Lock", Count: 4, First: 0, Oldest: 120, AnyFlag: FlagLocked | FlagSystem},
		{Stack: 2, State: StateRunning, Count: 1, First: 5},
		{Stack: 2, State: StateWaiting, Reason: "select", Count: 1, First: 4},
	}
	if got := c.Groups(); !reflect.DeepEqual(got, want) {
		t.Errorf("groups %+v\nwant %+v", got, want)
	}
	if got := slices.Collect(c.Members(want[0])); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("members %v", got)
	}
	for range c.Members(want[0]) {
		break // an early end must not panic
	}
}

func TestContended(t *testing.T) {
	c := queue()
	var got []string
	for o := range c.Contended(1) {
		got = append(got, fmt.Sprintf("%#x %v %v %d", o.Sync.Addr, o.Sync.Kind, o.Rows, o.Sync.Waiters))
	}
	want := []string{"0x100 mutex [0 1 2] 3", "0x200 unknown [3] -1"}
	if !slices.Equal(got, want) {
		t.Errorf("contended %v, want %v", got, want)
	}
	for o := range c.Contended(2) {
		if o.Sync.Addr != 0x100 {
			t.Errorf("%#x has fewer than 2 waiters", o.Sync.Addr)
		}
	}
	if rows := c.Waiters(0x200); !slices.Equal(rows, []uint32{3}) || c.Waiters(0x999) != nil {
		t.Errorf("waiters %v", rows)
	}
	if _, ok := c.Sync(0x999); ok {
		t.Error("an unknown object was found")
	}
}

func TestWaits(t *testing.T) {
	c := queue()
	if got := c.Waits(0); !reflect.DeepEqual(got, []Wait{{Goroutine: 10, Sync: 0x100}}) {
		t.Errorf("one object: %+v", got)
	}
	want := []Wait{{30, 0x400, WaitSend}, {30, 0x300, WaitReceive}}
	if got := c.Waits(4); !reflect.DeepEqual(got, want) {
		t.Errorf("a select: %+v, want %+v", got, want)
	}
	if got := c.Waits(5); len(got) != 0 {
		t.Errorf("a running goroutine waits for %+v", got)
	}
}

func TestHoldsOf(t *testing.T) {
	c := queue()
	var got []int64
	for _, i := range c.HoldsOf(0x100) {
		got = append(got, c.Holds[i].Goroutine)
	}
	if want := []int64{1, 30, 20}; !slices.Equal(got, want) {
		t.Errorf("holders %v, want %v: the strongest grade first, an unknown one last", got, want)
	}
}

// TestConcurrent asks from many goroutines for what is computed at the first request; the race detector judges.
func TestConcurrent(t *testing.T) {
	c := queue()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if len(c.Groups()) != 3 || len(c.Waiters(0x100)) != 3 {
				t.Error("a lazy index is incomplete")
			}
			if _, ok := c.Goroutines().ByID(30); !ok {
				t.Error("goroutine 30 is missing")
			}
		})
	}
	group.Wait()
}

func TestRefRoundTrip(t *testing.T) {
	for text, want := range map[string]Ref{
		"process":         {Kind: RefProcess},
		"heap":            {Kind: RefHeap},
		"scheduler":       {Kind: RefScheduler},
		"death":           {Kind: RefDeath},
		"goroutine:42":    GoroutineRef(42),
		"thread:7":        ThreadRef(7),
		"sync:0xc000abcd": SyncRef(0xc000abcd),
		"stack:3":         StackRef(3),
		"panic:0":         {Kind: RefPanic},
		"p:1":             {RefProcessor, 1},
		"transfer:2":      {RefTransfer, 2},
		"hold:3":          {RefHold, 3},
		"gap:4":           {RefGap, 4},
	} {
		got, err := ParseRef(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseRef(%q) = %v, %v; printed %q", text, got, err, got)
		}
	}
	for _, bad := range []string{"", ":", "goroutine", "goroutine:", "goroutine:x", "goroutine:-1", "heap:1", "fish:1", "sync:0xg"} {
		if r, err := ParseRef(bad); err == nil {
			t.Errorf("ParseRef(%q) = %v", bad, r)
		}
	}
	if (Ref{}).String() != "" || (Ref{Kind: 200}).String() != "" {
		t.Error("a reference to nothing prints something")
	}
}

func TestResolve(t *testing.T) {
	b := NewBuilder()
	b.Goroutine(Goroutine{ID: 42, WaitsOn: 0x9, Stack: b.Stack([]FrameID{b.Frame(Frame{Function: "f"})}, StackNote{})})
	b.Thread(Thread{TID: 7})
	b.Sync(Sync{Addr: 0x8, Kind: SyncMutex})
	b.Sync(Sync{Addr: 0x7, Kind: SyncChannel})
	b.Panic(Panic{Text: "x"})
	b.Gap("a", "b")
	b.Scheduler(Scheduler{Processors: []Processor{{ID: 3}}})
	c := b.Finish()
	for ref, want := range map[string]bool{
		"process": true, "scheduler": true, "heap": false, "death": false, "goroutine:42": true, "goroutine:43": false,
		"thread:7": true, "thread:8": false, "sync:0x8": true, "sync:0x7": true, "sync:0x9": true, "sync:0xa": false,
		"stack:1": true, "stack:0": false, "stack:2": false, "panic:0": true, "panic:1": false, "gap:0": true, "gap:1": false,
		"p:3": true, "p:0": false, "hold:0": false, "transfer:0": false,
	} {
		r, err := ParseRef(ref)
		if err != nil || c.Resolve(r) != want {
			t.Errorf("Resolve(%s) = %v, %v", ref, !want, err)
		}
	}
	empty := NewBuilder().Finish()
	for k := RefGoroutine; k <= RefDeath; k++ {
		if empty.Resolve(Ref{k, 1}) {
			t.Errorf("an empty case resolves %v", Ref{k, 1})
		}
	}
}

func TestKinds(t *testing.T) {
	if got := queue().Kinds(); got != KindGoroutines|KindSyncs|KindHolds {
		t.Errorf("kinds %v", got)
	}
	for k, want := range map[Kinds]string{0: "nothing", KindHeap: "heap", KindGoroutines | KindPyThreads: "goroutines and python threads"} {
		if k.String() != want {
			t.Errorf("%d prints %q", k, k)
		}
	}
	if !(KindHeap | KindDeath).Has(KindHeap) || KindHeap.Has(KindHeap|KindDeath) {
		t.Error("Has")
	}
}

// TestOutOfRange asks for rows that do not exist: a report must not die of a bad reference.
func TestOutOfRange(t *testing.T) {
	c := queue()
	if c.Frame(99) != (Frame{}) || c.Stack(99).Len() != 0 || c.Stack(0).Depth() != 0 {
		t.Error("an unknown frame or stack is not empty")
	}
	if _, ok := c.Goroutines().ByID(99); ok {
		t.Error("goroutine 99 exists")
	}
	for _, name := range []string{State(99).String(), Trust(99).String(), SyncKind(99).String(), WaitMode(99).String(),
		HoldGrade(99).String(), Language(99).String()} {
		if name != "unknown" {
			t.Errorf("a value out of range prints %q", name)
		}
	}
}
