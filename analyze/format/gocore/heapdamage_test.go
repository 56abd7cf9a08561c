package gocore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// countDamaged counts the heap of a core with some of its bytes changed, or cut. It has to come back soon, without a panic, and what it gives
// has to add up.
func countDamaged(t *testing.T, capture *fixtures.Capture, spoil func(core []byte) []byte) *evidence.Case {
	t.Helper()
	core, err := os.ReadFile(capture.Core)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "core")
	if err := os.WriteFile(path, spoil(core), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c, err := readCore(t, path, format.Options{Executable: capture.Exe, Reach: format.ReachHeap, Variables: format.VariablesNone})
	if err != nil {
		return nil // refused with a reason
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	u := c.HeapUse
	if u == nil {
		return c
	}
	if u.Refused == "" {
		checkHeapSums(t, u)
	}
	if u.LiveBytes > u.Bytes || u.LiveObjects > u.Objects {
		t.Errorf("more is reachable than there is: %d of %d bytes", u.LiveBytes, u.Bytes)
	}
	depth := 0
	for _, h := range u.Holders {
		if h.Depth > depth || h.Own > h.Bytes || h.Bytes > u.LiveBytes {
			t.Errorf("%+v below depth %d", h, depth)
		}
		depth = h.Depth + 1
	}
	return c
}

// TestHeapDamaged changes words of the heap, of the runtime's records and of the types: pointers to anywhere, lengths without a bound.
func TestHeapDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a core many times: left out with -short")
	}
	capture := heapTruth(t, fixtures.Program{})
	counted := 0
	for seed := range uint64(24) {
		random := rand.New(rand.NewPCG(seed, 1))
		c := countDamaged(t, capture, func(core []byte) []byte {
			for range 1 << (seed % 12) {
				at := (0x4000 + random.Uint64N(uint64(len(core))-0x4008)) &^ 7
				word := random.Uint64()
				switch random.IntN(4) {
				case 0:
					word = le.Uint64(core[(0x4000+random.Uint64N(uint64(len(core))-0x4008))&^7:]) // of elsewhere: often a pointer
				case 1:
					word = 1<<63 - 1
				case 2:
					word = le.Uint64(core[at:]) ^ 1<<random.UintN(64)
				}
				le.PutUint64(core[at:], word)
			}
			return core
		})
		if c != nil && c.HeapUse != nil {
			counted++
		}
	}
	if counted == 0 {
		t.Error("no damaged heap was counted: the test looks at nothing")
	}
}

// A core that is cut has holes: nothing is said about reachability then, and what is allocated only when the records are there.
func TestHeapCut(t *testing.T) {
	capture := heapTruth(t, fixtures.Program{})
	for _, percent := range []int{1, 30, 60, 90, 99} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			c := countDamaged(t, capture, func(core []byte) []byte { return core[:len(core)*percent/100] })
			if c == nil || c.HeapUse == nil {
				return
			}
			if u := c.HeapUse; u.Refused == "" || u.LiveObjects != 0 || len(u.Types)+len(u.Retained)+len(u.Holders) > 0 {
				t.Errorf("reachability of a heap with holes: %d live, refused %q, %d types", u.LiveObjects, u.Refused, len(u.Types))
			}
		})
	}
}
