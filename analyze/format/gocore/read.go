package gocore

import (
	"context"
	"errors"
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// Read reads a core into the Builder.
func Read(ctx context.Context, in format.Input, to *evidence.Builder) error {
	return guarded(in, func() error { return read(ctx, in, to) })
}

func read(ctx context.Context, in format.Input, to *evidence.Builder) error {
	t, err := open(in, to)
	if err != nil {
		return err
	}
	defer t.close()
	t.readSignal()
	if err := t.findProgram(); err != nil {
		return err
	}
	if err := t.readVersion(); err != nil {
		return err
	}
	t.describeBuild()
	if err := t.understand(); err != nil {
		t.b.Gap("goroutines and threads", err.Error())
		return nil
	}
	return t.readRuntime(ctx)
}

// understand finds out how the runtime of this version keeps its data, and where. After an error the process is described
// and nothing of it is walked: a wrong layout gives wrong stacks.
func (t *target) understand() error {
	if err := t.readLayout(); err != nil {
		return err
	}
	t.readSymbols()
	if err := t.readProgram(); err != nil {
		return errors.Join(errors.New("the function tables could not be read"), err)
	}
	t.recoverVariables()
	t.sites = map[uint64]evidence.FrameID{}
	t.system = map[uint64]bool{}
	t.locks = map[uint64]evidence.SyncKind{}
	t.waiting = map[waitKey]int{}
	return t.selfCheck()
}

// readRuntime reads everything that the runtime's data tells. Threads come before goroutines: the stack of a running
// goroutine is its thread's.
func (t *target) readRuntime(ctx context.Context) error {
	t.describeSources()
	t.readArguments()
	if err := t.readMachines(); err != nil {
		t.b.Gap("threads", err.Error())
	}
	t.readThreads(ctx)
	t.readDeath()
	t.readPanics()
	t.readScheduler()
	t.readTimes()
	t.readHeap()
	t.prepareWaits()
	t.prepareTransfers()
	t.prepareHolds()
	t.prepareActs()
	t.preparePools()
	if err := t.readGoroutines(ctx); err != nil {
		var failed *format.Error
		if ctx.Err() != nil || errors.As(err, &failed) {
			return err
		}
		t.b.Gap("goroutines", err.Error())
	}
	t.readLocks()
	t.readHolds(ctx)
	t.readWakers(ctx)
	t.readPools(ctx)
	rows := t.sleepers
	if err := t.prove(ctx); err != nil {
		return err
	}
	if err := t.readHeapUse(ctx, rows); err != nil {
		return err
	}
	t.readVariables(ctx)
	t.broken.report(t.b, "goroutine")
	t.brokenThreads.report(t.b, "thread")
	t.reportWaits()
	t.readTimes() // timers have told more
	t.reportAlarms()
	if t.truncated.Load() {
		t.b.Gapf("buffer lengths of reads and writes", "only the first %d of every %d goroutines were looked at", maxTransfers, chunk)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading the core: %w", err)
	}
	return nil
}

// selfCheck holds the layout against structures whose contents are known: a layout of the wrong version gives plausible
// nonsense, and this is where it is caught. The first goroutine that allgs lists was made by the runtime itself, so its
// stack bounds, its saved SP and its status must agree.
func (t *target) selfCheck() error {
	list, err := t.allgs()
	if err != nil {
		return err
	}
	checked, nonsense, first := 0, 0, uint64(0)
	for ; len(list) >= 8 && checked < 64; list = list[8:] {
		g := le.Uint64(list)
		status, ok := t.core.Mem.Uint32(g + t.off.G.Status)
		if !ok {
			continue
		}
		checked++
		s := t.stackOf(g)
		id, _ := t.core.Mem.Uint64(g + t.off.G.ID)
		_, known := states[status&^statusScan]
		dead := states[status&^statusScan] == evidence.StateDead
		if !known || !dead && (s.lo >= s.hi || s.hi-s.lo > 1<<31 || id > 1<<52) {
			if nonsense++; nonsense == 1 {
				first = g
			}
		}
	}
	// A few may be damaged; with a wrong layout nearly all of them are.
	const tolerated = 8 // one in so many
	if nonsense*tolerated > checked {
		return fmt.Errorf("the layout of the runtime's data does not fit this core: %d of %d goroutine structures make no sense, the first at %#x",
			nonsense, checked, first)
	}
	if checked == 0 {
		return errors.New("no goroutine structure is in the core")
	}
	return nil
}
