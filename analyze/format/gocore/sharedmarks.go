package gocore

import "sync/atomic"

// sharedMarks are marks of pcs that one worker tells the others, so that a program with many return addresses is not judged by each of
// them anew. It is a hash table without locks: an entry that finds no room is only judged again. The nil table is empty.
type sharedMarks struct{ slots []atomic.Uint64 } // each a pc and, in the lowest byte, its marks

const (
	sharedSlots  = 1 << 16 // half a megabyte
	sharedProbes = 4
	sharedBits   = 8 // of a mark
)

func newSharedMarks() *sharedMarks { return &sharedMarks{make([]atomic.Uint64, sharedSlots)} }

// get returns what is known of a pc.
func (s *sharedMarks) get(pc uint64) pcMark {
	if s == nil {
		return 0
	}
	for i := range uint64(sharedProbes) {
		switch v := s.slot(pc, i).Load(); {
		case v == 0:
			return 0
		case v>>sharedBits == pc:
			return pcMark(v)
		}
	}
	return 0
}

// put adds marks to a pc.
func (s *sharedMarks) put(pc uint64, mark pcMark) {
	if s == nil || pc == 0 || pc>>(64-sharedBits) != 0 {
		return
	}
	for i := range uint64(sharedProbes) {
		slot := s.slot(pc, i)
		if slot.CompareAndSwap(0, pc<<sharedBits|uint64(mark)) {
			return
		}
		if slot.Load()>>sharedBits == pc {
			slot.Or(uint64(mark))
			return
		}
	}
}

func (s *sharedMarks) slot(pc, probe uint64) *atomic.Uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	return &s.slots[(pc*golden>>32+probe)%sharedSlots]
}
