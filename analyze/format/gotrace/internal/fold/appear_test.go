package fold

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestAppearsAtTheEnd has goroutines that a trace tells of only at its end, because nothing has happened to them: they were there, and
// in the same state, all the time.
func TestAppearsAtTheEnd(t *testing.T) {
	h := newHistory(t)
	h.Appear(0, h.g(1), StateRunning, stackMain)
	h.Block(1*ms, h.g(1), h.sync, stackLockA)
	h.Appear(99*ms, h.g(2), StateBlocked, stackRecv)
	h.Appear(99*ms, h.g(3), StateBlocked, stackRecv)
	h.Appear(99*ms, h.g(4), StateSyscall, stackSignals)
	line, c := h.end(100 * ms)
	s := siteOf(t, &line, c, evidence.SiteBlock, "runtime.chanrecv1")
	if s.TotalNS != 200*ms || s.BusyNS != 100*ms || s.Peak != 2 || s.FirstNS != 0 || slicesWith(s.Load) != 100 || s.Load[50] != 2000 {
		t.Errorf("%+v", s)
	}
	if line.BlockedNS != 299*ms || line.SyscallNS != 100*ms || line.Peak != 4 || line.AtStart != 4 || line.Slices[3].Live != 4 {
		t.Errorf("%+v", line)
	}
	if g, _ := c.Goroutines().ByID(2); g.State != evidence.StateWaiting {
		t.Errorf("%+v", g)
	}
	if len(stallsOf(&line)) != 0 {
		t.Errorf("a stall, though one waits for a channel of which nobody knows who sends: %+v", line.Episodes)
	}
}

// TestAppearsRunning takes back a stall when it turns out that somebody ran, and did nothing else.
func TestAppearsRunning(t *testing.T) {
	for _, late := range []bool{false, true} {
		h := newHistory(t)
		h.Appear(0, h.g(1), StateRunning, stackMain)
		h.Yield(10*ms, h.g(1), h.gosched, stackGosched)
		h.Run(40*ms, h.g(1))
		if late {
			h.Appear(90*ms, h.g(2), StateRunning, stackWorker)
		}
		line, _ := h.end(100 * ms)
		if got := len(stallsOf(&line)); (got == 0) != late {
			t.Errorf("late %v: %d stalls", late, got)
		}
		if a, ok := line.Actor(2); late && (!ok || a.RunNS != 100*ms || a.MaxRunNS != 100*ms || slicesWith(a.Load) != 100) {
			t.Errorf("%+v", a)
		}
	}
}

// TestGenerations has a goroutine appear in a later generation, because what tells of it before is damaged: nothing is claimed of the
// time before that generation. Of one that an event proves to be there nothing is claimed at all.
func TestGenerations(t *testing.T) {
	h := newHistory(t)
	h.damaged = true
	h.Appear(0, h.g(1), StateRunning, stackMain)
	h.Begin(60 * ms)
	h.Appear(90*ms, h.g(2), StateBlocked, stackRecv)
	h.Restate(95*ms, h.g(3), StateReady)
	h.Restate(96*ms, h.g(3), StateUnknown)
	h.Restate(98*ms, h.g(3), StateRunning)
	line, c := h.end(100 * ms)
	s := siteOf(t, &line, c, evidence.SiteBlock, "runtime.chanrecv1")
	if s.TotalNS != 40*ms || s.FirstNS != 60*ms || s.Load[59] != 0 || s.Load[60] != 1000 || slicesWith(s.Load) != 40 {
		t.Errorf("%+v", s)
	}
	if line.ReadyNS != 1*ms || line.RunNS != 102*ms || line.Slices[30].Live != 1 || line.Slices[70].Live != 2 {
		t.Errorf("ready %d, run %d", line.ReadyNS, line.RunNS)
	}
}

// TestIdleProcs has a processor of which the trace tells at its end that it has no work.
func TestIdleProcs(t *testing.T) {
	h := newHistory(t)
	var p [2]P
	h.ProcRun(1000, &p[0])
	h.ProcStop(4000, &p[1])
	line, _ := h.end(5000)
	if line.IdleNS != 5000 {
		t.Errorf("idle %d", line.IdleNS)
	}
}

// TestHandOver hands a lock over to who has waited longest, and the processor with it: that is no preemption.
func TestHandOver(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2)
	h.Block(100, h.g(2), h.sync, stackLockA)
	h.Unblock(200, h.g(2), h.g(1), stackUnlockA)
	h.Yield(200, h.g(1), h.preempted, stackUnlockA)
	h.Run(500, h.g(1))
	line, _ := h.end(1000)
	for _, s := range line.Sites {
		if s.Kind == evidence.SitePreempt || s.Kind == evidence.SiteYield {
			t.Errorf("%+v", s)
		}
	}
	if a, _ := line.Actor(1); a.Preempted != 0 || a.ReadyNS != 300 {
		t.Errorf("%+v", a)
	}
}
