package order

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// TestReal reads a trace of this runtime with one thread and with two: nothing is forced, nothing is left out, and both see the same.
func TestReal(t *testing.T) {
	data := realTrace(t)
	one, two := readAll(t, data, 1), readAll(t, data, 2)
	if one.err != nil || two.err != nil {
		t.Fatalf("errors %v and %v", one.err, two.err)
	}
	if s := one.stats; s.Forced != 0 || s.BadBytes != 0 || len(s.Damage) != 0 || s.Partial != 0 || s.Broken != 0 || s.Cut || s.Generations < 3 {
		t.Errorf("a whole trace reads as %+v", s)
	}
	if one.kinds != two.kinds || len(one.events) != len(two.events) {
		t.Errorf("one thread sees %d events, two see %d", len(one.events), len(two.events))
	}
	for i := range min(len(one.events), len(two.events)) {
		if a, b := one.events[i], two.events[i]; a.Time != b.Time || a.Kind != b.Kind || a.G != b.G || a.Stack != b.Stack {
			t.Fatalf("event %d is %+v and %+v", i, a, b)
		}
	}
	for _, k := range []Kind{GoCreate, GoDestroy, GoBlock, GoUnblock, GoStop, GoSyscallBegin, GoSwitch, GCBegin, GCEnd, STWBegin, GoStatusStack} {
		if one.kinds[k] == 0 {
			t.Errorf("no %v in a trace that has some", k)
		}
	}
	if !slices.Contains(one.live, 1) {
		t.Errorf("the main goroutine is not alive at the end: %v", one.live)
	}
	if one.stats.WallNS == 0 {
		t.Error("no wall clock")
	}
}

// Times rise strictly, and every block has a reason and a stack with names.
func TestRealEvents(t *testing.T) {
	s := readAll(t, realTrace(t), 1)
	last, nameless := int64(0), 0
	for _, e := range s.events {
		if e.Time <= last {
			t.Fatalf("%v at %d after %d", e.Kind, e.Time, last)
		}
		last = e.Time
		if e.Kind == GoBlock && (len(e.Texts) != 1 || e.Texts[0] == "") {
			t.Fatalf("a block without a reason: %+v", e)
		}
		if e.Stack != 0 && len(s.stacks.Frames(e.Stack)) == 0 {
			nameless++ // the runtime writes a few such itself, from its own stacks
		}
	}
	if nameless > len(s.events)/100 {
		t.Errorf("%d stacks without names in %d events", nameless, len(s.events))
	}
}

// usualReasons must be those of this runtime.
func TestUsualReasons(t *testing.T) {
	s := readAll(t, realTrace(t), 1)
	checked := 0
	for _, e := range s.events {
		if e.Kind == GoBlock || e.Kind == GoStop {
			checked++
			if got := usual(e.Args[0], e.Kind); got != e.Texts[0] {
				t.Fatalf("reason %d of %v is %q, usually %q", e.Args[0], e.Kind, e.Texts[0], got)
			}
		}
	}
	if checked == 0 {
		t.Error("nothing blocked")
	}
}

// handOver is a trace of two threads: thread 1 runs goroutine 1, which creates goroutine 2; thread 2 runs that one. By its time the start
// of goroutine 2 comes before its creation.
func handOver() []byte {
	w := newWriter("26")
	w.batch(1, 0, 1000, append([]byte{byte(Sync)}, append(clockOf(), ev(ClockSnapshot, 0, 1000, 50, 5)...)...))
	w.batch(1, 10, 1000, slices.Concat(
		ev(ProcStatus, 0, 0, procRunning), ev(GoStatus, 1, 1, 10, goRunning),
		ev(GoCreate, 500, 2, 0, 0), ev(GoBlock, 10, 6, 0)))
	w.batch(1, 20, 1100, slices.Concat(
		ev(ProcStatus, 0, 1, procIdle), ev(ProcStart, 1, 1, 1), ev(GoStart, 1, 2, 1), ev(GoUnblock, 600, 1, 1, 0), ev(GoDestroy, 1)))
	w.batch(1, 0, 1000, text("a", "b", "c", "d", "e", "chan receive"))
	w.WriteByte(byte(EndOfGeneration))
	return w.Bytes()
}

func TestOrderBySequence(t *testing.T) {
	s := readAll(t, handOver(), 1)
	if s.err != nil || s.stats.Forced != 0 {
		t.Fatalf("%v, %+v", s.err, s.stats)
	}
	var kinds []Kind
	for _, e := range s.events {
		kinds = append(kinds, e.Kind)
	}
	want := []Kind{ProcStatus, GoStatus, ProcStatus, ProcStart, GoCreate, GoStart, GoBlock, GoUnblock, GoDestroy}
	if !slices.Equal(kinds, want) {
		t.Errorf("the order is %v, want %v", kinds, want)
	}
	if s.stats.WallNS != 50e9+5 {
		t.Errorf("the wall clock at the beginning is %d", s.stats.WallNS)
	}
	if !slices.Equal(s.live, []int64{1}) {
		t.Errorf("alive at the end: %v", s.live)
	}
}

// What must come first and is missing is counted, and what follows is read all the same.
func TestForced(t *testing.T) {
	w := newWriter("26")
	w.batch(1, 20, 1100, slices.Concat(
		ev(ProcStatus, 0, 1, procIdle), ev(ProcStart, 1, 1, 1), ev(GoStart, 1, 2, 7), ev(GoUnblock, 600, 1, 9, 0), ev(GoDestroy, 1)))
	s := readAll(t, w.Bytes(), 1)
	if s.err != nil || s.stats.Events != 5 || s.stats.Forced != 2 || s.stats.Partial != 1 || !s.stats.Guessed {
		t.Errorf("%v, %+v", s.err, s.stats)
	}
	if !slices.Equal(s.live, []int64{1}) {
		t.Errorf("alive at the end: %v", s.live)
	}
}

func TestOpen(t *testing.T) {
	for name, data := range map[string][]byte{"future": newWriter("27").Bytes(), "past": newWriter("21").Bytes()} {
		if _, err := Open(bytes.NewReader(data), int64(len(data)), Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, data := range map[string][]byte{"header only": newWriter("26").Bytes(), "nothing": nil, "rubbish": bytes.Repeat([]byte{1, 2, 3, 0xff}, 5000)} {
		if s := readAll(t, data, 1); !errors.Is(s.err, ErrEmpty) {
			t.Errorf("%s: %v, %d events", name, s.err, s.stats.Events)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := handOver()
	r, err := Open(bytes.NewReader(data), int64(len(data)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(ctx, fold.New(r.Stacks())); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// Many threads are read in pieces, and give the same events.
func TestPieces(t *testing.T) {
	w := newWriter("26")
	const threads, events = 300, 900
	for m := range uint64(threads) {
		data := ev(ProcStatus, 0, m, procRunning)
		for range events {
			data = append(data, ev(HeapAlloc, 1, 1<<40+m)...)
		}
		w.batch(1, m+1, 1000, data)
	}
	s := readAll(t, w.Bytes(), 2)
	if s.err != nil || s.kinds[HeapAlloc] != threads*events || s.kinds[ProcStatus] != threads || s.stats.BadBytes != 0 {
		t.Errorf("%v: %d and %d events, %+v", s.err, s.kinds[HeapAlloc], s.kinds[ProcStatus], s.stats)
	}
}
