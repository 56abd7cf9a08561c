package evidence

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSeconds: times are known for some rows only, and a row after the last known one has none.
func TestSeconds(t *testing.T) {
	for _, grow := range []int{0, 6} {
		b := NewBuilder()
		b.Source(Source{Path: "core"})
		b.Grow(grow)
		want := []uint32{0, 0, 7, 0, 9, 0}
		for i, s := range want {
			b.Goroutine(Goroutine{ID: int64(i + 1), Seconds: s})
		}
		b.Source(Source{Path: "log"}) // it completes what the first source left open, and changes nothing else
		b.Goroutine(Goroutine{ID: 1, Seconds: 3})
		b.Goroutine(Goroutine{ID: 3, Seconds: 8})
		b.Goroutine(Goroutine{ID: 6, Seconds: 5})
		want[0], want[5] = 3, 5
		rows := b.Finish().Goroutines()
		for i, s := range want {
			if rows.Seconds(i) != s || rows.At(i).Seconds != s {
				t.Errorf("room for %d: row %d waits %d s, At says %d s; want %d", grow, i, rows.Seconds(i), rows.At(i).Seconds, s)
			}
		}
	}
}

// TestWake: verdicts are known for some rows only, and may be set late.
func TestWake(t *testing.T) {
	for _, grow := range []int{0, 6} {
		b := NewBuilder()
		b.Grow(grow)
		want := []Wake{WakeUnknown, WakeNever, WakeUnknown, WakePossible, WakeByDesign, WakeUnknown}
		for i, w := range want {
			b.Goroutine(Goroutine{ID: int64(i + 1), Wake: w})
		}
		b.Wake(2, WakeNever)
		b.Wake(9, WakeNever) // there is no such row
		want[2] = WakeNever
		rows := b.Finish().Goroutines()
		for i, w := range want {
			if rows.Wake(i) != w || rows.At(i).Wake != w {
				t.Errorf("room for %d: row %d has the verdict %s, At says %s; want %s", grow, i, rows.Wake(i), rows.At(i).Wake, w)
			}
		}
	}
}

// TestSortRows holds the radix sort against a sort by comparison: the order of rows with equal values counts.
func TestSortRows(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, value := range map[string]func() uint64{
		"heap":   func() uint64 { return 0xc000000000 + random.Uint64N(1<<20)*8 },
		"few":    func() uint64 { return 0xc000000000 + random.Uint64N(3)*8 },
		"one":    func() uint64 { return 42 },
		"wide":   random.Uint64,
		"sparse": func() uint64 { return random.Uint64() & 0xff000000ff0000ff },
	} {
		values := make([]uint64, 5000)
		var rows []uint32
		for i := range values {
			values[i] = value()
			if i%3 != 0 {
				rows = append(rows, uint32(i))
			}
		}
		want := slices.SortedFunc(slices.Values(rows), func(a, b uint32) int {
			return cmp.Or(cmp.Compare(values[a], values[b]), cmp.Compare(a, b))
		})
		if got := sortRows(rows, values); !slices.Equal(got, want) {
			t.Errorf("%s: the order differs from that of a sort by comparison", name)
		}
	}
	if got := sortRows(nil, nil); len(got) != 0 {
		t.Errorf("nothing, sorted, is %d", got)
	}
}

// TestManyWaits: room for the cases of selects is made by what the rows so far needed, and must hold when the rest differs.
func TestManyWaits(t *testing.T) {
	const rows = 10_000
	b := NewBuilder()
	b.Source(Source{Path: "core"})
	b.Grow(rows)
	n := 0
	for i := range rows {
		b.Goroutine(Goroutine{ID: int64(i + 1)})
		for range i % 7 * (i / 5000) { // none in the first half
			b.Wait(Wait{Goroutine: int64(i + 1), Sync: uint64(n)})
			n++
		}
	}
	c := b.Finish()
	seen := uint64(0)
	for i := range rows {
		for _, w := range c.Waits(i) {
			if w.Goroutine != int64(i+1) || w.Sync != seen {
				t.Fatalf("row %d has the wait %+v, want number %d", i, w, seen)
			}
			seen++
		}
	}
	if int(seen) != n {
		t.Errorf("%d waits, want %d", seen, n)
	}
	if room := cap(c.selects); room > 3*n {
		t.Errorf("room for %d waits was made, and there are %d", room, n)
	}
}

// TestIDIndex finds every id of dense, sparse and repeated ids, the first row of a repeated one, and no other id.
func TestIDIndex(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 1000} {
		for _, step := range []int64{1, 7, 1 << 20, 1 << 33} {
			var ids column
			for i := range n {
				ids.append(int64(i+1) * step)
			}
			ids.append(step) // a second goroutine with the first id, or the only one
			x := newIDIndex(&ids, n+1)
			for i := range max(n, 1) {
				if row, ok := x.row(&ids, int64(i+1)*step); !ok || row != i {
					t.Errorf("%d ids of step %d: id %d is in row %d, %v", n, step, int64(i+1)*step, row, ok)
				}
			}
			if row, ok := x.row(&ids, int64(n+2)*step); ok {
				t.Errorf("%d ids of step %d: an id that is not there is in row %d", n, step, row)
			}
		}
	}
	var none column
	if _, ok := newIDIndex(&none, 0).row(&none, 5); ok {
		t.Error("an empty table has an id")
	}
}
