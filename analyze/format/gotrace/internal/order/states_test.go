package order

import (
	"math/rand/v2"
	"testing"
)

// TestGoroutines plays the same additions and removals on the table and on a map.
func TestGoroutines(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table, want := newGoroutines(), map[uint64]*goroutine{}
	var ids []uint64
	for i := range 200_000 {
		switch {
		case len(ids) == 0 || rng.IntN(5) < 3:
			id := uint64(i + 1)
			if rng.IntN(10) == 0 {
				id = rng.Uint64() // a file that lies
			}
			if want[id] != nil {
				continue
			}
			want[id] = table.add(id)
			ids = append(ids, id)
		default:
			k := rng.IntN(len(ids))
			table.remove(want[ids[k]])
			delete(want, ids[k])
			ids[k] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
		}
		if probe := uint64(rng.IntN(i + 1)); table.get(probe) != want[probe] {
			t.Fatalf("after %d steps goroutine %d is %p, want %p", i, probe, table.get(probe), want[probe])
		}
	}
	n := 0
	table.all(func(g *goroutine) bool {
		if want[g.id] != g {
			t.Errorf("the table holds goroutine %d, which is gone", g.id)
		}
		n++
		return true
	})
	if n != len(want) || n != table.n {
		t.Errorf("%d goroutines, counted %d, want %d", n, table.n, len(want))
	}
}

// A goroutine that is made again where another one was must know nothing of it.
func TestGoroutineIsNew(t *testing.T) {
	table := newGoroutines()
	g := table.add(7)
	g.status, g.seq = goRunning, seq{3, 9}
	table.remove(g)
	table.remove(g) // twice does no harm
	if again := table.add(8); again.status != 0 || again.seq != (seq{}) || again.id != 8 {
		t.Errorf("a new goroutine is %+v", again)
	}
}

func BenchmarkGoroutines(b *testing.B) {
	table := newGoroutines()
	for id := range uint64(10_000) {
		table.add(id + 1)
	}
	b.ResetTimer()
	for i := range b.N {
		if table.get(uint64(i*7919%10_000)+1) == nil {
			b.Fatal("lost")
		}
	}
}
