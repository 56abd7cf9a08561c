package derive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// sketch builds a Case from stacks written as "function:line function:line ...", innermost first. Functions of package main
// are the program's, all others lie in the toolchain's folder.
type sketch struct {
	b    *evidence.Builder
	next int64
}

func newSketch() *sketch {
	s := &sketch{b: evidence.NewBuilder()}
	s.b.Process(func(p *evidence.Process) {
		p.Language, p.SourceRoot, p.MainModule = "go", "/go/src/", "example.com/app"
	})
	return s
}

func (s *sketch) stack(text string) evidence.StackID {
	var ids []evidence.FrameID
	for part := range strings.FieldsSeq(text) {
		at := strings.LastIndexByte(part, ':')
		f := evidence.Frame{Function: part[:at], File: "/go/src/x.go"}
		fmt.Sscan(part[at+1:], &f.Line)
		if Package(f.Function) == "main" {
			f.File = "/src/app/main.go"
		}
		ids = append(ids, s.b.Frame(f))
	}
	return s.b.Stack(ids, evidence.StackNote{})
}

// add adds n goroutines with one stack and returns the id of the first.
func (s *sketch) add(n int, state evidence.State, reason, stack string, change ...func(*evidence.Goroutine)) int64 {
	id := s.stack(stack)
	first := s.next + 1
	for range n {
		s.next++
		g := evidence.Goroutine{ID: s.next, State: state, Reason: reason, Stack: id}
		for _, c := range change {
			c(&g)
		}
		s.b.Goroutine(g)
	}
	return first
}

func waitsOn(addr uint64) func(*evidence.Goroutine) {
	return func(g *evidence.Goroutine) { g.WaitsOn = addr }
}

func flagged(f evidence.Flags) func(*evidence.Goroutine) {
	return func(g *evidence.Goroutine) { g.Flags |= f }
}

func createdAt(f evidence.FrameID, parent int64) func(*evidence.Goroutine) {
	return func(g *evidence.Goroutine) { g.Created, g.Parent = f, parent }
}

func (s *sketch) finish() (*evidence.Case, *Frames) {
	c := s.b.Finish()
	return c, &Frames{c: c}
}

// The innermost frames of real stacks (Go 1.26).
const (
	parkMutex = "runtime.gopark:462 runtime.goparkunlock:468 runtime.semacquire1:192 internal/sync.runtime_SemacquireMutex:95 " +
		"internal/sync.(*Mutex).lockSlow:149 internal/sync.(*Mutex).Lock:70 sync.(*Mutex).Lock:46 "
	parkRead = "runtime.gopark:462 runtime.goparkunlock:468 runtime.semacquire1:192 sync.runtime_SemacquireRWMutexR:100 " +
		"sync.(*RWMutex).RLock:74 "
	parkDescriptor = "runtime.gopark:462 runtime.goparkunlock:468 runtime.semacquire1:192 internal/poll.runtime_Semacquire:76 " +
		"internal/poll.(*fdMutex).rwlock:154 "
	parkPoll = "runtime.gopark:462 runtime.netpollblock:575 internal/poll.runtime_pollWait:351 internal/poll.(*pollDesc).wait:84 "
	preempt  = "runtime.asyncPreempt2:320 runtime.asyncPreempt:124 "
)

// locksOfCase is the derivation without a Pass.
func locksOfCase(t *testing.T, s *sketch) *Locks {
	t.Helper()
	c, f := s.finish()
	l := &Locks{c: c, f: f, holds: map[uint64][]int{}}
	for i, h := range c.Holds {
		l.holds[h.Sync] = append(l.holds[h.Sync], i)
	}
	l.addressed()
	l.unaddressed()
	return l
}
