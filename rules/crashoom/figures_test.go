package crashoom

import (
	"math"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestAmount(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KB", 1536: "1.5 KB", 3 << 30: "3.0 GB", math.MaxUint64: "16.0 EB",
	} {
		if got := amount(n); got != want {
			t.Errorf("amount(%d) is %q, want %q", n, got, want)
		}
	}
}

func TestHeapFigures(t *testing.T) {
	for _, tt := range []struct {
		heap *evidence.Heap
		want string
	}{
		{nil, ""},
		{&evidence.Heap{}, ""},
		{&evidence.Heap{Live: 3 << 30, Stacks: 1 << 20, Limit: math.MaxInt64}, "3.0 GB live on the heap, 1.0 MB of stacks, no GOMEMLIMIT"},
		{&evidence.Heap{InUse: 2048, Sys: 4096, Goal: 8192, Limit: 1 << 30},
			"2.0 KB in spans in use, 4.0 KB obtained from the system, the next collection at 8.0 KB, GOMEMLIMIT 1.0 GB"},
	} {
		if got := heapFigures(tt.heap); got != tt.want {
			t.Errorf("the figures are %q, want %q", got, tt.want)
		}
	}
}
