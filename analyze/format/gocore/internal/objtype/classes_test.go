package objtype

import (
	"runtime"
	"testing"
)

// The table of allocation classes is the runtime's: MemStats lists the first sixty of them.
func TestClasses(t *testing.T) {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	compared := 0
	for i, class := range stats.BySize[1:] {
		if i < len(classes) && class.Size > 0 {
			compared++
			if uint64(class.Size) != classes[i] {
				t.Errorf("class %d has %d bytes, we have %d", i+1, class.Size, classes[i])
			}
		}
	}
	if compared < 50 {
		t.Errorf("only %d classes were compared", compared)
	}
}

// Sizes round up as append does: the capacity of a grown slice of bytes is that of its class.
func TestRoundUp(t *testing.T) {
	for _, n := range []uint64{1, 8, 9, 24, 25, 100, 511, 512, 513, 1024, 1025, 5000, 27_265, 32_768, 32_769, 40_960, 40_961, 100_000, 1 << 20, 1<<20 + 1} {
		if got, want := roundUp(n), uint64(cap(append([]byte(nil), make([]byte, n)...))); got != want {
			t.Errorf("%d bytes take %d, the runtime says %d", n, got, want)
		}
	}
}
