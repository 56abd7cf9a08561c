package gocore

import (
	"sync"
	"testing"
)

// TestSharedMarks: what one worker has put the others get, whole, while all of them put; and what was not put is not there.
func TestSharedMarks(t *testing.T) {
	const pcs, first = 20_000, uint64(0x400000)
	s := newSharedMarks()
	var wait sync.WaitGroup
	for _, mark := range []pcMark{markNoHold, markNoLead | markUser} {
		wait.Go(func() {
			for pc := first; pc < first+pcs; pc++ {
				s.put(pc, mark)
			}
		})
	}
	wait.Wait()
	found := 0
	for pc := first; pc < first+pcs; pc++ {
		switch got := s.get(pc); got {
		case markNoHold | markNoLead | markUser:
			found++
		case 0: // no room
		default:
			t.Fatalf("%#x has the marks %b: one of the two was lost", pc, got)
		}
	}
	if found < pcs*3/4 {
		t.Errorf("%d of %d are there: it is of little use", found, pcs)
	}
	for _, pc := range []uint64{0, 1, first - 1, first + pcs, 1 << 63} {
		if got := s.get(pc); got != 0 {
			t.Errorf("%#x was never put and has the marks %b", pc, got)
		}
	}
}

// TestSharedMarksOdd: pcs that do not fit are left out, and no table is an empty one.
func TestSharedMarksOdd(t *testing.T) {
	s := newSharedMarks()
	for _, pc := range []uint64{0, 1 << 56, ^uint64(0)} {
		s.put(pc, markNoHold)
		if got := s.get(pc); got != 0 {
			t.Errorf("%#x has the marks %b", pc, got)
		}
	}
	var none *sharedMarks
	none.put(1, markNoHold)
	if got := none.get(1); got != 0 {
		t.Errorf("no table gives %b", got)
	}
}

// TestSharedMarksFull: a table that is full forgets, and never tells one pc's marks for another's.
func TestSharedMarksFull(t *testing.T) {
	s := newSharedMarks()
	for pc := uint64(1); pc < 4*sharedSlots; pc++ {
		s.put(pc, pcMark(pc%2+1))
	}
	for pc := uint64(1); pc < 4*sharedSlots; pc++ {
		if got := s.get(pc); got != 0 && got != pcMark(pc%2+1) {
			t.Fatalf("%#x has the marks %b", pc, got)
		}
	}
}
