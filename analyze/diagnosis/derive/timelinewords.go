package derive

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Lasting is a duration in words, to two or three digits: "1.25 s", "350 ms", "85 µs", "2 min 5 s".
func Lasting(ns int64) string {
	v := float64(ns)
	switch {
	case ns < 0:
		return "0"
	case ns < 1000:
		return fmt.Sprintf("%d ns", ns)
	case v < 999.5e3:
		return digits(v/1e3) + " µs"
	case v < 999.5e6:
		return digits(v/1e6) + " ms"
	case v < 119.5e9:
		return digits(v/1e9) + " s"
	}
	s := (ns + 5e8) / 1e9
	return fmt.Sprintf("%d min %d s", s/60, s%60)
}

// digits is a number below a thousand with at most three digits and no zeros behind the point.
func digits(v float64) string {
	switch {
	case v >= 99.5:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.95:
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// Percent is a share in words: "85 %".
func Percent(share float64) string {
	switch {
	case share > 0 && share < 0.01:
		return "under 1 %"
	case share >= 0.995 && share < 1:
		return "over 99 %"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// Typical is a quantile of durations, of which the longest is known, in words.
func Typical(h *evidence.Histogram, q float64, longest uint64) string {
	return Lasting(h.QuantileUpTo(q, longest))
}

// Spell is a stretch of slices in which a load stood at or above a floor.
type Spell struct {
	StartNS, EndNS int64
	Mean           float64 // of what is counted: 1000 units are one
	Peak           float64 // of the fullest slice
	PeakNS         int64   // beginning of the fullest slice
}

// Spells are the stretches in which a load by slice is at least floor, in their order. Single slices below the floor do not end one.
func Spells(load []uint32, floor uint32, sliceNS, spanNS int64) []Spell {
	var list []Spell
	for i := 0; i < len(load); i++ {
		if load[i] < max(floor, 1) {
			continue
		}
		end, gap := i+1, 0
		for k := end; k < len(load) && gap < 2; k++ {
			if load[k] >= max(floor, 1) {
				end, gap = k+1, 0
			} else {
				gap++
			}
		}
		list = append(list, spell(load, i, end, sliceNS, spanNS))
		i = end
	}
	return list
}

func spell(load []uint32, from, to int, sliceNS, spanNS int64) Spell {
	s := Spell{StartNS: int64(from) * sliceNS, EndNS: int64(to) * sliceNS}
	if spanNS > 0 {
		s.EndNS = min(s.EndNS, spanNS)
	}
	var sum float64
	for i := from; i < to; i++ {
		v := float64(load[i]) / 1000
		sum += v
		if v > s.Peak {
			s.Peak, s.PeakNS = v, int64(i)*sliceNS
		}
	}
	s.Mean = sum / float64(to-from)
	return s
}

// String is "from 1.2 s to 3.4 s".
func (s Spell) String() string {
	if s.StartNS <= 0 {
		return "from the start to " + Lasting(s.EndNS)
	}
	return "from " + Lasting(s.StartNS) + " to " + Lasting(s.EndNS)
}

// Longest is the spell that lasted longest, the first of equals; ok is false when there is none.
func Longest(list []Spell) (Spell, bool) {
	best := Spell{}
	for _, s := range list {
		if s.EndNS-s.StartNS > best.EndNS-best.StartNS {
			best = s
		}
	}
	return best, len(list) > 0
}
