package evidence

import (
	"fmt"
	"slices"
	"testing"
)

// TestMergeCompletes reads a goroutine from two sources: the first has the word, the second fills what it left open.
func TestMergeCompletes(t *testing.T) {
	b := NewBuilder()
	b.Source(Source{Path: "core"})
	f := b.Frame(Frame{Function: "main.f"})
	b.Goroutine(Goroutine{ID: 1, State: StateWaiting, Reason: "select", WaitsOn: 0x1})
	b.Goroutine(Goroutine{ID: 2, Stack: b.Stack([]FrameID{f}, StackNote{}), Created: f, Parent: 1, Seconds: 9, Thread: 7})
	b.Source(Source{Path: "log"})
	other := b.Frame(Frame{Function: "main.other"})
	stack := b.Stack([]FrameID{other}, StackNote{})
	first := b.Goroutine(Goroutine{ID: 1, State: StateRunning, Reason: "sleep", Stack: stack, Created: other, Parent: 5,
		Seconds: 60, WaitsOn: 0x2, Flags: FlagLocked, Thread: 8})
	b.Label(first, `{"k": "v"}`)
	second := b.Goroutine(Goroutine{ID: 2, State: StateRunning, Stack: stack, Created: other, Parent: 6, Seconds: 60, Thread: 8})
	third := b.Goroutine(Goroutine{ID: 3, Stack: stack})
	if first != 0 || second != 1 || third != 2 {
		t.Errorf("rows %d, %d, %d", first, second, third)
	}
	c := b.Finish()
	want := []Goroutine{
		{ID: 1, State: StateWaiting, Reason: "select", Stack: stack, Created: other, Parent: 5, Seconds: 60, WaitsOn: 0x1,
			Flags: FlagLocked, Thread: 8},
		{ID: 2, State: StateRunning, Stack: 1, Created: f, Parent: 1, Seconds: 9, Thread: 7},
		{ID: 3, Stack: stack},
	}
	for i, g := range c.Goroutines().All() {
		if g != want[i] {
			t.Errorf("row %d is %+v\nwant %+v", i, g, want[i])
		}
	}
	if c.Goroutines().Labels(0) != `{"k": "v"}` || c.Goroutines().Labels(1) != "" {
		t.Error("labels")
	}
}

func TestMergeSyncsThreads(t *testing.T) {
	b := NewBuilder()
	b.Source(Source{Path: "core"})
	b.Sync(Sync{Addr: 0x10, Kind: SyncMutex, Locked: true, Trust: TrustRead})
	b.Sync(Sync{Addr: 0x30, Kind: SyncChannel, Cap: 3})
	b.Sync(Sync{Addr: 0x20, Kind: SyncChannel, Cap: 2})
	b.Thread(Thread{TID: 7, Name: "first"})
	b.Source(Source{Path: "log"})
	b.Sync(Sync{Addr: 0x10, Kind: SyncRWMutex, Trust: TrustMatched})
	b.Sync(Sync{Addr: 0x20, Kind: SyncChannel, Cap: 9})
	b.Sync(Sync{Addr: 0x30, Kind: SyncChannel, Where: "global main.jobs", Cap: 3})
	b.Thread(Thread{TID: 7, Name: "second"})
	b.Thread(Thread{M: 1})
	b.Thread(Thread{M: 2})
	c := b.Finish()
	var got []string
	for s := range c.Syncs() {
		got = append(got, fmt.Sprintf("%#x %v %d", s.Addr, s.Kind, s.Cap))
	}
	if want := []string{"0x10 mutex 0", "0x30 channel 3", "0x20 channel 2"}; !slices.Equal(got, want) {
		t.Errorf("objects %v, want %v", got, want)
	}
	if s, _ := c.Sync(0x30); s.Where == "" {
		t.Error("the plain row of a channel hides the one that says what it is")
	}
	if len(c.Threads) != 3 || c.Threads[0].Name != "first" {
		t.Errorf("threads %+v: one by its id, two that have none", c.Threads)
	}
}

func TestInterning(t *testing.T) {
	b := NewBuilder()
	f, g := b.Frame(Frame{Function: "f"}), b.Frame(Frame{Function: "g"})
	if b.Frame(Frame{Function: "f"}) != f || f == g || b.Frame(Frame{}) != 0 {
		t.Error("frames")
	}
	frames := []FrameID{f, g}
	one := b.Stack(frames, StackNote{})
	frames[0] = g // the slice is the caller's
	if b.Stack([]FrameID{f, g}, StackNote{}) != one || b.Stack([]FrameID{g, f}, StackNote{}) == one ||
		b.Stack([]FrameID{f, g}, StackNote{Broken: "x"}) == one || b.Stack(nil, StackNote{}) != 0 {
		t.Error("stacks")
	}
	if s := b.Finish().Stack(one); s.Len() != 2 || s.At(0).Function != "f" || s.FrameID(1) != g {
		t.Error("a stack changed with the caller's slice")
	}
}

// TestDeepStack keeps the two ends of a runaway recursion.
func TestDeepStack(t *testing.T) {
	b := NewBuilder()
	first, middle, last := b.Frame(Frame{Function: "first"}), b.Frame(Frame{Function: "middle"}), b.Frame(Frame{Function: "last"})
	frames := slices.Repeat([]FrameID{middle}, MaxFrames+100)
	frames[0], frames[len(frames)-1] = first, last
	s := b.Stack(frames, StackNote{})
	c := b.Finish()
	got := c.Stack(s)
	if got.Len() != MaxFrames || got.Elided != 100 || got.ElidedAt != MaxFrames/2 || got.Depth() != len(frames) ||
		got.At(0).Function != "first" || got.At(got.Len()-1).Function != "last" {
		t.Errorf("%d frames, %d elided at %d", got.Len(), got.Elided, got.ElidedAt)
	}
	for range got.All() {
		break // an early end must not panic
	}
}

func TestGapsOnce(t *testing.T) {
	b := NewBuilder()
	b.Source(Source{Path: "a"})
	b.Gapf("stack", "page %d", 1)
	b.Gap("stack", "page 1")
	b.Source(Source{Path: "b"})
	b.Gap("stack", "page 1")
	want := []Gap{{"a", "stack", "page 1"}, {"b", "stack", "page 1"}}
	if got := b.Finish().Gaps; !slices.Equal(got, want) {
		t.Errorf("gaps %v, want %v", got, want)
	}
}

func TestManyReasons(t *testing.T) {
	b := NewBuilder()
	const n = 1<<16 + 10
	for i := range n {
		b.Goroutine(Goroutine{ID: int64(i + 1), Reason: fmt.Sprint("reason ", i)})
	}
	c := b.Finish()
	if got := c.Goroutines().At(5).Reason; got != "reason 5" {
		t.Errorf("reason %q", got)
	}
	if got := c.Goroutines().At(n - 1).Reason; got != "other" {
		t.Errorf("reason %q beyond the bound", got)
	}
}

// TestColumn has values that need more than 32 bits come at any time.
func TestColumn(t *testing.T) {
	want := []int64{1, 1<<32 - 1, 1 << 32, -1, 7}
	for first := range want {
		var c column
		order := append(slices.Clone(want[first:]), want[:first]...)
		c.grow(2)
		for _, v := range order {
			c.append(v)
		}
		for i, v := range order {
			if c.at(i) != v {
				t.Errorf("column %v: %d at %d", order, c.at(i), i)
			}
		}
		c.set(0, 1<<40)
		if c.at(0) != 1<<40 || c.at(1) != order[1] {
			t.Error("set")
		}
	}
	var narrow column
	narrow.append(3)
	narrow.set(0, 4)
	if narrow.at(0) != 4 || narrow.wide != nil {
		t.Error("a small value made the column wide")
	}
	narrow.set(0, -4)
	if narrow.at(0) != -4 {
		t.Error("a negative value")
	}
}

func TestFinishTwice(t *testing.T) {
	b := NewBuilder()
	b.SourceDetails(func(*Source) { t.Error("there is no source") })
	b.Source(Source{Path: "a"})
	b.SourceDetails(func(s *Source) { s.SHA256 = "ab" })
	b.Grow(4)
	b.GrowChannels(4)
	c := b.Finish()
	if c != b.Finish() || c.Sources[0].SHA256 != "ab" {
		t.Error("Finish")
	}
	if b.FrameOf(0) != (Frame{}) {
		t.Error("frame 0")
	}
}
