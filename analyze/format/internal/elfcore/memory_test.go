package elfcore

import (
	"bytes"
	"debug/elf"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// checkMemory holds what must be true of every address space: sorted, no overlap, sizes that agree.
func checkMemory(t testing.TB, m *Memory) {
	t.Helper()
	var top uint64
	for i, p := range m.pieces {
		if p.lo >= p.hi || p.hi-p.lo != uint64(len(p.data)) || (i > 0 && p.lo < top) {
			t.Fatalf("piece %d: %#x-%#x of %d bytes after %#x", i, p.lo, p.hi, len(p.data), top)
		}
		top = p.hi
	}
	top = 0
	for i, r := range m.Ranges() {
		if r.Size == 0 || (i > 0 && r.Addr < top) {
			t.Fatalf("range %d: %+v after %#x", i, r, top)
		}
		top = r.End()
		src, ok := m.Source(r.Addr)
		if ok != (r.Source.Kind != Absent) || src != r.Source {
			t.Fatalf("range %d: %+v, but the source of its first byte is %+v %v", i, r, src, ok)
		}
	}
}

func TestNotDumpedIsAbsent(t *testing.T) {
	c, _ := open(t, typical().bytes())
	if b, ok := c.Mem.Bytes(0x400000, 4096); !ok || string(b[:4]) != "0123" {
		t.Errorf("dumped page: %q %v", b[:4], ok)
	}
	for _, addr := range []uint64{0x401000, 0x403fff, 0x404000, 0} {
		if _, ok := c.Mem.Uint8(addr); ok {
			t.Errorf("%#x was not dumped, and is answered", addr)
		}
	}
	if _, ok := c.Mem.Bytes(0x400ffc, 8); ok {
		t.Error("eight bytes, of which four were dumped, are answered")
	}
	if flags, ok := c.Mem.Mapped(0x403000); !ok || flags != elf.PF_R|elf.PF_X {
		t.Errorf("0x403000 was mapped: %v %v", flags, ok)
	}
	checkMemory(t, c.Mem)
}

func TestReadErrors(t *testing.T) {
	c, _ := open(t, typical().bytes())
	buf := make([]byte, 8192)
	err := c.Mem.ReadAt(buf, 0x400000)
	if !errors.Is(err, ErrAbsent) || err.Error() != "address 0x401000: memory is not in the core" {
		t.Errorf("error: %v", err)
	}
	if err := c.Mem.ReadAt(buf[:16], ^uint64(0)-4); !errors.Is(err, ErrAbsent) {
		t.Errorf("at the top: %v", err)
	}
	if _, ok := c.Mem.CString(0x400000, 100); ok {
		t.Error("a string without an end is answered")
	}
	if _, ok := c.Mem.CString(0x400f00, 1<<40); ok {
		t.Error("a string that runs into absent memory is answered")
	}
	if s, ok := c.Mem.CString(0x7000_0000_0100, 4096); !ok || s != "/bin/app" {
		t.Errorf("string: %q %v", s, ok)
	}
}

// TestMemoryModel compares every way of reading with a map of bytes, over random layouts.
func TestMemoryModel(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b, model := randomLayout(rng)
		c, _ := open(t, b.bytes())
		checkMemory(t, c.Mem)
		view := c.Mem.View()
		for range 2000 {
			addr, n := 0x1000+rng.Uint64N(0x900), rng.Uint64N(0x40)
			want, whole := modelBytes(model, addr, n)
			for name, read := range map[string]func(uint64, uint64) ([]byte, bool){"memory": c.Mem.Bytes, "view": view.Bytes} {
				got, ok := read(addr, n)
				if n > 0 && (ok != whole || (ok && !bytes.Equal(got, want))) {
					t.Fatalf("seed %d: %s %#x+%d: %x %v, want %x %v", seed, name, addr, n, got, ok, want, whole)
				}
			}
			word, ok := view.Uint64(addr)
			want, whole = modelBytes(model, addr, 8)
			if ok != whole || (ok && word != le.Uint64(want)) {
				t.Fatalf("seed %d: word at %#x: %x %v, want %x %v", seed, addr, word, ok, want, whole)
			}
			buf := make([]byte, 8)
			if err := c.Mem.ReadAt(buf, addr); (err == nil) != whole || (whole && !bytes.Equal(buf, want)) {
				t.Fatalf("seed %d: ReadAt %#x: %x %v, want %x %v", seed, addr, buf, err, want, whole)
			}
		}
	}
}

// randomLayout makes segments that touch, overlap and leave holes between 0x1000 and 0x1900.
func randomLayout(rng *rand.Rand) (*coreBuilder, map[uint64]byte) {
	b := newBuilder()
	for range 1 + rng.IntN(12) {
		data := make([]byte, rng.IntN(0x100))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		b.load(0x1000+rng.Uint64N(0x80)*0x10, elf.ProgFlag(rng.IntN(8)), uint64(len(data)+rng.IntN(0x80)), data)
	}
	order := slices.Clone(b.loads)
	slices.SortStableFunc(order, func(a, b load) int { return int(a.addr) - int(b.addr) })
	model := map[uint64]byte{}
	for _, l := range order {
		for i, v := range l.data {
			if _, taken := model[l.addr+uint64(i)]; !taken {
				model[l.addr+uint64(i)] = v
			}
		}
	}
	return b, model
}

func modelBytes(model map[uint64]byte, addr, n uint64) ([]byte, bool) {
	out := make([]byte, n)
	for i := range out {
		v, ok := model[addr+uint64(i)]
		if !ok {
			return nil, false
		}
		out[i] = v
	}
	return out, true
}

func TestBytesIsZeroCopyAndCapped(t *testing.T) {
	c, _ := open(t, typical().bytes())
	b, _ := c.Mem.Bytes(0x500010, 16)
	if cap(b) != 16 {
		t.Errorf("capacity %d: an append would write to the mapping", cap(b))
	}
	if n := testing.AllocsPerRun(100, func() { c.Mem.Bytes(0x500010, 16) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestViewsAreIndependent(t *testing.T) {
	c, _ := open(t, typical().bytes())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			v := c.Mem.View()
			for i := range uint64(5000) {
				for _, base := range []uint64{0x400000, 0x500000, 0x7000_0000_0000} {
					if _, ok := v.Uint64(base + i%4000); !ok {
						t.Errorf("%#x is absent", base+i%4000)
						return
					}
				}
				if _, ok := v.Uint64(0x401000); ok {
					t.Error("absent memory is answered")
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkViewUint64(b *testing.B) {
	c, _ := open(b, typical().bytes())
	v := c.Mem.View()
	var sum uint64
	for i := range uint64(b.N) {
		w, _ := v.Uint64(0x500000 + i%4000)
		sum += w
	}
	_ = sum
}

func BenchmarkMemoryBytes(b *testing.B) {
	c, _ := open(b, typical().bytes())
	for i := range uint64(b.N) {
		c.Mem.Bytes(0x500000+i%4000, 8)
	}
}
