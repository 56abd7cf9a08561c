package fold

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// The stacks of the tests, by number.
const (
	stackMain Stack = iota + 1
	stackWorker
	stackGo
	stackRecv
	stackSend
	stackLockA
	stackUnlockA
	stackLockB
	stackUnlockB
	stackNet
	stackRead
	stackWrite
	stackGosched
	stackSystem
	stackWaitGroup
	stackReader
	stackWriter
	stackWriterUnlock
	stackWriterNext
	stackSignals
	stackSelect
	stackFromC
)

type tableOfStacks [][]Frame

func (t tableOfStacks) Frames(s Stack) []Frame {
	if int(s) >= len(t) {
		return nil
	}
	return t[s]
}

func frames(names ...string) []Frame {
	var out []Frame
	for i, n := range names {
		out = append(out, Frame{Func: n, File: "f.go", Line: 10 + i, PC: uint64(100 + i)})
	}
	return out
}

var testStacks = tableOfStacks{
	stackMain:         frames("main.main"),
	stackWorker:       frames("main.worker"),
	stackGo:           frames("main.start", "main.main"),
	stackRecv:         frames("runtime.chanrecv1", "main.worker"),
	stackSend:         frames("runtime.chansend1", "main.feed", "main.main"),
	stackLockA:        frames("internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock", "sync.(*Mutex).Lock", "main.a", "main.worker"),
	stackUnlockA:      frames("internal/sync.(*Mutex).unlockSlow", "internal/sync.(*Mutex).Unlock", "sync.(*Mutex).Unlock", "main.a", "main.worker"),
	stackLockB:        frames("sync.(*Mutex).Lock", "main.b", "main.worker"),
	stackUnlockB:      frames("sync.(*Mutex).Unlock", "main.b", "main.worker"),
	stackNet:          frames("internal/poll.(*FD).Read", "net.(*conn).Read", "main.worker"),
	stackRead:         frames("syscall.read", "os.(*File).Read", "main.worker"),
	stackWrite:        frames("syscall.write", "os.(*File).Write", "main.worker"),
	stackGosched:      frames("runtime.Gosched", "main.spin", "main.worker"),
	stackSystem:       frames("runtime.gcBgMarkWorker"),
	stackWaitGroup:    frames("sync.runtime_SemacquireWaitGroup", "sync.(*WaitGroup).Wait", "main.main"),
	stackReader:       frames("sync.runtime_SemacquireRWMutexR", "sync.(*RWMutex).RLock", "main.get", "main.worker"),
	stackWriter:       frames("sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "main.set", "main.worker"),
	stackWriterUnlock: frames("sync.(*RWMutex).Unlock", "main.set", "main.worker"),
	stackWriterNext:   frames("sync.(*Mutex).Unlock", "sync.(*RWMutex).Unlock", "main.set", "main.worker"),
	stackSignals:      frames("os/signal.signal_recv", "os/signal.loop"),
	stackSelect:       frames("runtime.selectgo", "main.worker"),
	stackFromC:        frames("main.fromC", "runtime.cgocallback"),
}

// words are the reasons that tests use.
type words struct{ recv, send, sel, sync, net, sleep, gosched, preempted Reason }

func newWords(f *Folder) words {
	return words{f.Reason("chan receive"), f.Reason("chan send"), f.Reason("select"), f.Reason("sync"), f.Reason("network"),
		f.Reason("sleep"), f.Reason("runtime.Gosched"), f.Reason("preempted")}
}

// history is a Folder with the goroutines that it was told of.
type history struct {
	*Folder
	words
	t       *testing.T
	gs      map[int64]*G
	damaged bool // goroutines may be in no known state
}

func newHistory(t *testing.T) *history {
	f := New(testStacks)
	h := &history{Folder: f, words: newWords(f), t: t, gs: map[int64]*G{}}
	f.Begin(0)
	return h
}

func (h *history) g(id int64) *G {
	if h.gs[id] == nil {
		h.gs[id] = &G{ID: id}
	}
	return h.gs[id]
}

// end finishes at a moment.
func (h *history) end(at int64) (evidence.Timeline, *evidence.Case) {
	to := evidence.NewBuilder()
	to.Source(evidence.Source{Path: "test"})
	var live []*G
	for _, g := range h.gs {
		live = append(live, g)
	}
	line := h.Finish(at, slices.Values(live), to)
	h.agree(&line)
	to.Timeline(line)
	return line, to.Finish()
}

// agree checks what holds of every Timeline.
func (h *history) agree(line *evidence.Timeline) {
	for i, s := range line.Sites {
		if s.Hist.Total()+uint64(s.Open) != s.Count && s.Kind != evidence.SiteSample {
			h.t.Errorf("site %d: %d ended and %d open of %d", i, s.Hist.Total(), s.Open, s.Count)
		}
		if s.BusyNS > s.TotalNS || s.TotalNS > s.BusyNS*uint64(s.Peak) && s.Kind != evidence.SitePreempt {
			h.t.Errorf("site %d (%v): union %d, total %d, peak %d", i, s.Kind, s.BusyNS, s.TotalNS, s.Peak)
		}
		if s.OpenNS > s.TotalNS || s.MaxNS > s.TotalNS || s.FirstNS > s.LastNS || s.LastNS > line.SpanNS {
			h.t.Errorf("site %d: %+v", i, s)
		}
		if len(s.Load) > len(line.Slices) {
			h.t.Errorf("site %d: load of %d slices of %d", i, len(s.Load), len(line.Slices))
		}
	}
	for i, r := range line.Releases {
		if r.Site < 0 || r.Site >= len(line.Sites) || line.Sites[r.Site].Kind != evidence.SiteBlock || r.HoldNS > 0 && r.Holds.Total() == 0 {
			h.t.Errorf("release %d: %+v", i, r)
		}
	}
	for i, a := range line.Actors {
		sum, life := a.RunNS+a.ReadyNS+a.SyscallNS+a.BlockedNS, uint64(a.LastNS-a.FirstNS)
		if a.Spawn < 0 || a.Spawn >= len(line.Spawns) || a.LastNS < a.FirstNS || sum > life || sum < life && !h.damaged {
			h.t.Errorf("actor %d: %+v", i, a)
		}
	}
	if len(line.Slices) > evidence.MaxSlices || int64(len(line.Slices))*line.SliceNS < line.SpanNS {
		h.t.Errorf("%d slices of %d for %d", len(line.Slices), line.SliceNS, line.SpanNS)
	}
}

// TestBlock plays one wait for a channel that another goroutine ends.
func TestBlock(t *testing.T) {
	h := newHistory(t)
	h.Appear(0, h.g(1), StateRunning, stackMain)
	h.Create(100, h.g(2), h.g(1), stackWorker, stackGo, false)
	h.Run(150, h.g(2))
	h.Block(200, h.g(2), h.recv, stackRecv)
	h.Unblock(700, h.g(2), h.g(1), stackSend)
	h.Run(800, h.g(2))
	h.Exit(1000, h.g(2))
	line, c := h.end(2000)
	i := slices.IndexFunc(line.Sites, func(s evidence.Site) bool { return s.Kind == evidence.SiteBlock })
	s := line.Sites[i]
	if s.Reason != "chan receive" || s.Count != 1 || s.TotalNS != 500 || s.MaxNS != 500 || s.BusyNS != 500 || s.Peak != 1 || s.RunNS != 200 ||
		s.FirstNS != 200 || s.LastNS != 700 || s.Unwoken != 0 || c.Stack(s.Stack).At(1).Function != "main.worker" {
		t.Errorf("site %+v", s)
	}
	if want := []evidence.Share{{Goroutine: 2, Count: 1}}; !slices.Equal(s.Top, want) {
		t.Errorf("top %v", s.Top)
	}
	r := line.Releases[0]
	if r.Site != i || r.Count != 1 || r.WaitNS != 500 || r.MaxWait != 500 || r.HoldNS != 0 || c.Stack(r.Stack).At(1).Function != "main.feed" {
		t.Errorf("release %+v", r)
	}
	if line.RunNS != 2000+50+200 || line.ReadyNS != 50+100 || line.BlockedNS != 500 || line.Created != 1 || line.Ended != 1 ||
		line.AtStart != 1 || line.AtEnd != 1 || line.Peak != 2 || line.SpanNS != 2000 || line.Events != 7 {
		t.Errorf("timeline %+v", line)
	}
	if line.Latency.Total() != 2 || len(line.Actors) != 2 || line.Actors[0].Goroutine != 1 || !line.Actors[1].Ended {
		t.Errorf("actors %+v", line.Actors)
	}
}
