package gocore

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

func TestGuardCatchesPanics(t *testing.T) {
	err := guarded(format.Input{Path: "core"}, func() error {
		var none []int
		_ = none[len(none)]
		return nil
	})
	var fe *format.Error
	var fault *faultError
	if !errors.As(err, &fe) || !errors.As(err, &fault) || fe.Path != "core" || !strings.Contains(string(fault.stack), "TestGuardCatchesPanics") {
		t.Errorf("error %v", err)
	}
	want := errors.New("as it is")
	if err := guarded(format.Input{}, func() error { return want }); err != want {
		t.Errorf("error %v, want %v", err, want)
	}
}

// A file that is cut while it is mapped makes the reader fault: it must say so, and live.
func TestCoreCutWhileRead(t *testing.T) {
	s := newSpecimen(t, ledger)
	path := s.copy(t, s.t.core.Size)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := inputOf(t, f, path, format.Options{Executable: s.Exe})
	err = guarded(in, func() error {
		opened, err := open(in, evidence.NewBuilder())
		if err != nil {
			return err
		}
		defer opened.close()
		if err := os.Truncate(path, 4096); err != nil {
			t.Fatal(err)
		}
		return opened.findProgram()
	})
	checkError(t, path, err)
	if !errors.Is(err, errShrunk) || !strings.Contains(err.Error(), "copies") {
		t.Errorf("error %v, want %v", err, errShrunk)
	}
}

// The workers that read goroutines run beside the one that called Read, and fault on their own.
func TestCoreCutWhileGoroutinesAreRead(t *testing.T) {
	s := newSpecimen(t, ledger)
	path := s.copy(t, s.t.core.Size)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := inputOf(t, f, path, format.Options{Executable: s.Exe})
	opened, err := open(in, evidence.NewBuilder())
	if err != nil {
		t.Fatal(err)
	}
	defer opened.close()
	for _, step := range []func() error{opened.findProgram, opened.readVersion, opened.understand, opened.readMachines} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	opened.prepareWaits()
	opened.prepareTransfers()
	opened.prepareHolds()
	list, err := opened.allgs()
	if err != nil {
		t.Fatal(err)
	}
	src, _ := opened.core.Mem.Source(le.Uint64(list[8:]))
	if err := os.Truncate(path, src.Offset&^4095); err != nil {
		t.Fatal(err)
	}
	err = guarded(in, func() error { return opened.readGoroutines(context.Background()) })
	checkError(t, path, err)
	if !errors.Is(err, errShrunk) {
		t.Errorf("error %v, want %v", err, errShrunk)
	}
}

func TestCancelledReadStops(t *testing.T) {
	s := newSpecimen(t, ledger)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := os.Open(s.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = Read(ctx, inputOf(t, f, s.Core, format.Options{Executable: s.Exe}), evidence.NewBuilder())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// All stacks of a forged core may lie on the same bytes: the walks end when they have taken more frames than the core has room for.
func TestFrameBudget(t *testing.T) {
	s := newSpecimen(t, ledger)
	g := s.waiting(t, "sync.Mutex.Lock")[0]
	stack := s.t.stackOf(g)
	u := newUnwinder(s.t)
	if end := u.walk(s.t.saved(g), stack.lo, stack.hi); end.broken != "" || len(u.pcs) < 3 {
		t.Fatalf("%d frames, broken %q", len(u.pcs), end.broken)
	}
	u.left = 2
	if end := u.walk(s.t.saved(g), stack.lo, stack.hi); !strings.Contains(end.broken, "more frames than") || len(u.pcs) != 2 {
		t.Errorf("%d frames, broken %q", len(u.pcs), end.broken)
	}
	if end := u.walk(s.t.saved(g), stack.lo, stack.hi); end.broken == "" || len(u.pcs) != 0 {
		t.Errorf("%d frames with no budget, broken %q", len(u.pcs), end.broken)
	}
	whole := s.t.frameBudget()
	if least := int(s.t.core.Size / 8); whole < least {
		t.Errorf("a budget of %d frames, a core of %d bytes may have %d", whole, s.t.core.Size, least)
	}
	s.t.in.Options.MaxMemory = 1 << 20
	if limited := s.t.frameBudget(); limited >= whole || limited > 1<<20 {
		t.Errorf("a budget of %d frames with 1 MB of memory, %d without a limit", limited, whole)
	}
}

// Debug information of a forged executable may say anything.
func TestOffsetsThatMakeNoSense(t *testing.T) {
	s := newSpecimen(t, ledger)
	for name, damage := range map[string]func(o *offsets){
		"a g of 1 GB":            func(o *offsets) { o.G.Size = 1 << 30 },
		"a field beyond the g":   func(o *offsets) { o.G.Waiting = o.G.Size - 4 },
		"a field at the far end": func(o *offsets) { o.G.StartPC = math.MaxUint64 - 1 },
		"a panic of 1 TB":        func(o *offsets) { o.Panic.Goexit = 1 << 40 },
		"a g of 0 bytes":         func(o *offsets) { o.G.Size = 0 },
	} {
		o := *s.t.off
		damage(&o)
		if err := o.check(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := s.t.off.check(); err != nil {
		t.Error(err)
	}
}

// Labels that every goroutine has of its own are kept up to a bound, and a set that many share is read once.
func TestLabelsAreBounded(t *testing.T) {
	s := newSpecimen(t, ledger)
	s.t.b = evidence.NewBuilder()
	s.t.labelTexts = map[uint64]string{0x1000: "known"}
	s.t.labelBytes = maxLabelBytes + 1
	if got := s.t.labels(0x1000); got != "known" {
		t.Errorf("labels %q", got)
	}
	if got := s.t.labels(0x2000); got != "" || len(s.t.labelTexts) != 1 {
		t.Errorf("labels %q were read beyond the bound", got)
	}
}
