package fold

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// mutexes plays goroutines that take locks the way sync.Mutex has it: who waits is woken in the order of arrival, and may find that
// another one was faster; then it waits again, in front.
type mutexes struct {
	h      *history
	r      *rand.Rand
	locks  []mutex
	actors []locker
	// What is claimed of holds, and what is true of them.
	claimed, actual int64
	wrong           int
}

type mutex struct {
	holder int // index of an actor, or -1
	since  int64
	queue  []int
	woken  bool // one that was woken is on its way: nobody else is woken until it has tried (mutexWoken)
}

type locker struct {
	at   int64 // of its next step; never when it waits
	lock int
	line int // 0, 1: where it locks and unlocks
	step func(m *mutexes, i int)
}

var lines = [2][2]Stack{{stackLockA, stackUnlockA}, {stackLockB, stackUnlockB}}

func play(t *testing.T, seed uint64, goroutines, locks int, steps int) *mutexes {
	m := &mutexes{h: newHistory(t), r: rand.New(rand.NewPCG(seed, 3)), locks: make([]mutex, locks), actors: make([]locker, goroutines)}
	for i := range m.locks {
		m.locks[i].holder = -1
	}
	for i := range m.actors {
		m.h.running(int64(i + 1))
		m.actors[i] = locker{at: int64(m.r.IntN(1000)), step: (*mutexes).arrive}
	}
	for range steps {
		next := -1
		for i := range m.actors {
			if m.actors[i].at != never && (next < 0 || m.actors[i].at < m.actors[next].at) {
				next = i
			}
		}
		m.actors[next].step(m, next)
	}
	return m
}

func (m *mutexes) g(i int) *G { return m.h.g(int64(i + 1)) }

func (m *mutexes) later(i, most int, step func(m *mutexes, i int)) {
	m.actors[i].at += int64(1 + m.r.IntN(most))
	m.actors[i].step = step
}

// arrive chooses a lock and takes it or waits.
func (m *mutexes) arrive(i int) {
	a := &m.actors[i]
	a.lock, a.line = m.r.IntN(len(m.locks)), m.r.IntN(2)
	m.try(i, false)
}

func (m *mutexes) try(i int, again bool) {
	a := &m.actors[i]
	l := &m.locks[a.lock]
	if l.holder < 0 {
		l.holder, l.since = i, a.at
		m.later(i, 2000, (*mutexes).unlock)
		return
	}
	m.h.Block(a.at, m.g(i), m.h.sync, lines[a.line][0])
	if again {
		l.queue = slices.Insert(l.queue, 0, i)
	} else {
		l.queue = append(l.queue, i)
	}
	a.at = never
}

// unlock lets the lock go and wakes the first.
func (m *mutexes) unlock(i int) {
	a := &m.actors[i]
	l := &m.locks[a.lock]
	held := a.at - l.since
	l.holder = -1
	if len(l.queue) > 0 && !l.woken {
		l.woken = true
		next := l.queue[0]
		l.queue = l.queue[1:]
		before := m.claims()
		m.h.Unblock(a.at, m.g(next), m.g(i), lines[a.line][1])
		claim := m.claims() - before
		m.claimed += claim
		m.actual += held
		if claim > held {
			m.wrong++
		}
		m.actors[next].at = a.at
		m.later(next, 300, (*mutexes).wake)
	}
	m.later(i, []int{10, 3000}[m.r.IntN(2)], (*mutexes).arrive)
}

func (m *mutexes) wake(i int) {
	m.h.Run(m.actors[i].at, m.g(i))
	m.locks[m.actors[i].lock].woken = false
	m.try(i, true)
}

// claims is the sum of all holds so far.
func (m *mutexes) claims() int64 {
	sum := int64(0)
	for i := range m.h.rel.holds {
		sum += int64(m.h.rel.holds[i].ns)
	}
	return sum
}

// TestHoldsAreLowerBounds holds what is said of holds against what was played. No hold is too long, and most are nearly as long as they
// were.
func TestHoldsAreLowerBounds(t *testing.T) {
	for _, test := range []struct {
		goroutines, locks int
		share             float64 // of the actual holds, at least
	}{
		{2, 1, 0.3}, {5, 1, 0.8}, {20, 1, 0.9}, {20, 4, 0.7}, {60, 8, 0.8},
	} {
		for seed := range uint64(4) {
			m := play(t, seed, test.goroutines, test.locks, 20_000)
			if m.wrong > 0 {
				t.Errorf("%d goroutines, %d locks: %d holds are too long", test.goroutines, test.locks, m.wrong)
			}
			if got := float64(m.claimed) / float64(m.actual); got < test.share {
				t.Errorf("%d goroutines, %d locks: %.2f of the holds is known, want %.2f", test.goroutines, test.locks, got, test.share)
			}
		}
	}
}

// TestWaitIsNoHold has a goroutine wait for a lock at a line of which nobody knows yet what it locks, and let the same lock go.
func TestWaitIsNoHold(t *testing.T) {
	h := newHistory(t)
	h.running(1, 2, 3)
	h.Block(100, h.g(3), h.sync, stackLockA)
	h.Block(110, h.g(2), h.sync, stackLockB)
	h.Unblock(5000, h.g(2), h.g(1), stackWriterNext)
	h.Run(5000, h.g(2))
	h.Unblock(5300, h.g(3), h.g(2), stackUnlockB)
	line, c := h.end(6000)
	wantHold(t, releasesOf(&line, c, "main.b")[0], 1, 300)
	if p := releasesOf(&line, c, "main.b")[0].Parts; len(p) != 1 || p[0].State != evidence.ActRunning {
		t.Errorf("parts %+v", p)
	}
}
