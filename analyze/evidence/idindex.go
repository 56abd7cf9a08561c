package evidence

import "math/bits"

// idIndex finds a goroutine's row by its id: open addressing over row numbers. A map from id to row would take four times the
// memory, and a million goroutines are to fit into 64 MB with everything else.
type idIndex struct {
	slots []uint32 // row number plus one; 0 is free, and some are
}

func newIDIndex(ids *column, n int) *idIndex {
	x := &idIndex{slots: make([]uint32, n+n/4+1)}
	for row := range n {
		i := x.home(ids.at(row))
		for x.slots[i] != 0 {
			i = x.after(i)
		}
		x.slots[i] = uint32(row) + 1
	}
	return x
}

// home is where the search for an id begins: its hash as a fraction of the table's length, which so need not be a power of two.
func (x *idIndex) home(id int64) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: spreads ids, which are dense
	at, _ := bits.Mul64(uint64(id)*golden, uint64(len(x.slots)))
	return int(at)
}

func (x *idIndex) after(i int) int {
	if i++; i < len(x.slots) {
		return i
	}
	return 0
}

func (x *idIndex) row(ids *column, id int64) (int, bool) {
	for i := x.home(id); x.slots[i] != 0; i = x.after(i) {
		if row := int(x.slots[i] - 1); ids.at(row) == id {
			return row, true
		}
	}
	return 0, false
}
