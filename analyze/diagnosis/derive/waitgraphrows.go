package derive

import (
	"maps"
	"slices"
)

// rowTable keeps a number for some rows. There may be a million rows and a handful of numbers: then it is a map.
type rowTable struct {
	dense  []int32
	sparse map[int32]int32
}

// newRowTable makes room for at most so many numbers among so many rows.
func newRowTable(numbers, rows int) rowTable {
	const each = 16 // rows for a number: a map takes about as much for it as a list for these
	if numbers < rows/each {
		return rowTable{sparse: make(map[int32]int32, numbers)}
	}
	return rowTable{dense: emptyList(rows)}
}

// of is the number of a row, -1 for none.
func (t *rowTable) of(row int32) int32 {
	if t.dense != nil {
		return t.dense[row]
	}
	if n, ok := t.sparse[row]; ok {
		return n
	}
	return -1
}

func (t *rowTable) set(row, n int32) {
	if t.dense != nil {
		t.dense[row] = n
		return
	}
	t.sparse[row] = n
}

// rows lists the rows that have a number, in order.
func (t *rowTable) rows() []int32 {
	if t.dense == nil {
		return slices.Sorted(maps.Keys(t.sparse))
	}
	var list []int32
	for row, n := range t.dense {
		if n >= 0 {
			list = append(list, int32(row))
		}
	}
	return list
}
