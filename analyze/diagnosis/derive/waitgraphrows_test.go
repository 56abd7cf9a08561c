package derive

import (
	"slices"
	"testing"
)

// TestRowTable: few numbers among many rows are kept in a map, and nothing else tells the two forms apart.
func TestRowTable(t *testing.T) {
	const rows = 1000
	few, many := newRowTable(3, rows), newRowTable(rows, rows)
	if few.dense != nil || many.dense == nil {
		t.Fatalf("3 of %d rows are in a list: %v, all of them: %v", rows, few.dense != nil, many.dense != nil)
	}
	for _, table := range []*rowTable{&few, &many} {
		for _, x := range [][2]int32{{7, 1}, {rows - 1, 2}, {7, 3}} {
			table.set(x[0], x[1])
		}
		for row, want := range map[int32]int32{0: -1, 7: 3, 8: -1, rows - 1: 2} {
			if got := table.of(row); got != want {
				t.Errorf("row %d has %d, want %d", row, got, want)
			}
		}
		if got := table.rows(); !slices.Equal(got, []int32{7, rows - 1}) {
			t.Errorf("rows with numbers: %d", got)
		}
	}
	if none := (&rowTable{}).of(5); none != -1 {
		t.Errorf("an empty table has %d", none)
	}
}
