package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestLasting(t *testing.T) {
	for ns, want := range map[int64]string{0: "0 ns", -5: "0", 12: "12 ns", 999: "999 ns", 1000: "1 µs", 1234: "1.2 µs", 85400: "85.4 µs",
		99_600: "100 µs", 999_600: "1 ms", 25_165_824: "25.2 ms", 350e6: "350 ms", 999_700_000: "1 s", 1_250_000_000: "1.2 s", 30e9: "30 s", 119e9: "119 s",
		125e9: "2 min 5 s"} {
		if got := Lasting(ns); got != want {
			t.Errorf("%d is %q, want %q", ns, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{0: "0 %", 0.001: "under 1 %", 0.5: "50 %", 0.997: "over 99 %", 1: "100 %"} {
		if got := Percent(share); got != want {
			t.Errorf("%g is %q, want %q", share, got, want)
		}
	}
}

func TestSpells(t *testing.T) {
	load := []uint32{0, 600, 100, 900, 0, 0, 500, 0}
	list := Spells(load, 500, 1e9, 75e8)
	if len(list) != 2 {
		t.Fatalf("spells are %+v", list)
	}
	if s := list[0]; s.StartNS != 1e9 || s.EndNS != 4e9 || s.Peak != 0.9 || s.PeakNS != 3e9 || s.String() != "from 1 s to 4 s" {
		t.Errorf("the first spell is %+v, %s", s, s)
	}
	if s := list[1]; s.StartNS != 6e9 || s.EndNS != 7e9 || s.Mean != 0.5 {
		t.Errorf("the second spell is %+v", s)
	}
	if best, ok := Longest(list); !ok || best != list[0] {
		t.Errorf("the longest is %+v", best)
	}
	if all := Spells([]uint32{1, 1}, 0, 1e9, 15e8); len(all) != 1 || all[0].String() != "from the start to 1.5 s" {
		t.Errorf("a load from end to end gives %+v", all)
	}
	if _, ok := Longest(Spells(nil, 1, 1, 1)); ok {
		t.Error("no load has a longest spell")
	}
}

// TestTypicalBelowTheLongest: half of what shares its power of two with the longest did not last as long as that.
func TestTypicalBelowTheLongest(t *testing.T) {
	var h evidence.Histogram
	for range 100 {
		h.Add(90e6)
	}
	for _, tt := range []struct {
		q       float64
		longest uint64
		want    string
	}{{0.5, 92e6, "79.6 ms"}, {1, 92e6, "92 ms"}, {0.5, 134217728, "101 ms"}, {0.5, 60e6, "60 ms"}} {
		if got := Typical(&h, tt.q, tt.longest); got != tt.want {
			t.Errorf("%g of waits up to %d last %s, want %s", tt.q, tt.longest, got, tt.want)
		}
	}
}

// TestMost: what is counted for one site is known, of several at least the largest.
func TestMost(t *testing.T) {
	one, two := ContendedLock{Sites: []int{1}, Peak: 3}, ContendedLock{Sites: []int{1, 2}, Peak: 3}
	if one.Most() != "at most 3 goroutines" || two.Most() != "at least 3 goroutines" {
		t.Errorf("%s of one site, %s of two", one.Most(), two.Most())
	}
}
