package crashoom

import (
	"math"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestHeapFigures(t *testing.T) {
	for _, tt := range []struct {
		heap *evidence.Heap
		want string
	}{
		{nil, ""},
		{&evidence.Heap{}, ""},
		{&evidence.Heap{Live: 3 << 30, Stacks: 1 << 20, Limit: math.MaxInt64}, "3.0 GiB live on the heap, 1.0 MiB of stacks, no GOMEMLIMIT"},
		{&evidence.Heap{InUse: 2048, Sys: 4096, Goal: 8192, Limit: 1 << 30},
			"2.0 KiB in spans in use, 4.0 KiB obtained from the system, the next collection at 8.0 KiB, GOMEMLIMIT 1.0 GiB"},
	} {
		if got := heapFigures(tt.heap); got != tt.want {
			t.Errorf("the figures are %q, want %q", got, tt.want)
		}
	}
}
