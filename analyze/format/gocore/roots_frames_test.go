package gocore

import "testing"

// TestFrameTable holds the table against a map: through its growth, for pcs that share a place, and for the pc 0.
func TestFrameTable(t *testing.T) {
	var table frameTable
	want := map[uint64]*frameMap{}
	for i := range uint64(5000) {
		pc := i * i << 20 // most of the hash's bits are lost: long runs
		if got := table.get(pc); got != want[pc] {
			t.Fatalf("%#x: %p before it was put", pc, got)
		}
		if want[pc] == nil {
			want[pc] = &frameMap{pc: pc, delta: i}
			table.put(want[pc])
		}
	}
	for pc, f := range want {
		if got := table.get(pc); got != f {
			t.Fatalf("%#x: %p, want %p", pc, got, f)
		}
	}
	if table.used != len(want) || 2*table.used > len(table.slots) {
		t.Errorf("%d used of %d slots for %d pcs", table.used, len(table.slots), len(want))
	}
}
