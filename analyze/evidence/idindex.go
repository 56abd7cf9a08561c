package evidence

import "math/bits"

// idIndex finds a goroutine's row by its id: open addressing over row numbers. A map from id to row would take four times the
// memory, and a million goroutines are to fit into 64 MB with everything else.
type idIndex struct {
	slots []uint32 // row number plus one; 0 is free
	shift int
}

func newIDIndex(ids *column, n int) *idIndex {
	size := max(bits.Len(uint(2*n)), 4)
	x := &idIndex{slots: make([]uint32, 1<<size), shift: 64 - size}
	for row := range n {
		i := x.home(ids.at(row))
		for x.slots[i] != 0 {
			i = (i + 1) & (len(x.slots) - 1)
		}
		x.slots[i] = uint32(row) + 1
	}
	return x
}

// home is where the search for an id begins.
func (x *idIndex) home(id int64) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: spreads ids, which are dense
	return int(uint64(id) * golden >> x.shift)
}

func (x *idIndex) row(ids *column, id int64) (int, bool) {
	for i := x.home(id); x.slots[i] != 0; i = (i + 1) & (len(x.slots) - 1) {
		if row := int(x.slots[i] - 1); ids.at(row) == id {
			return row, true
		}
	}
	return 0, false
}
