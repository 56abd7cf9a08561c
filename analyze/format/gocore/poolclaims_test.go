package gocore

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestPoolClaims(t *testing.T) {
	const unique, pending, ambiguous = evidence.HoldUnique, evidence.HoldPendingUnlock, evidence.HoldAmbiguous
	type held struct {
		goroutine, slots int64
		grade            evidence.HoldGrade
	}
	for name, c := range map[string]struct {
		used   int64
		claims map[uint64][]claim
		want   []held
	}{
		"one refers":              {1, map[uint64][]claim{1: {{goroutine: 7}}}, []held{{7, 1, unique}}},
		"a pending release":       {1, map[uint64][]claim{1: {{goroutine: 7, pending: true}, {goroutine: 8}}}, []held{{7, 1, pending}}},
		"the nearer one":          {1, map[uint64][]claim{1: {{goroutine: 7, level: 1}, {goroutine: 8}}}, []held{{8, 1, unique}}},
		"two of a kind":           {1, map[uint64][]claim{1: {{goroutine: 8}, {goroutine: 7}}}, []held{{7, 1, ambiguous}, {8, 1, ambiguous}}},
		"two slots":               {2, map[uint64][]claim{1: {{goroutine: 7}}, 2: {{goroutine: 7}}}, []held{{7, 2, unique}}},
		"more than are given":     {1, map[uint64][]claim{1: {{goroutine: 7}}, 2: {{goroutine: 8}}}, []held{{7, 1, ambiguous}, {8, 1, ambiguous}}},
		"as many, of one pending": {2, map[uint64][]claim{1: {{goroutine: 7, pending: true}}, 2: {{goroutine: 8}}}, []held{{7, 1, pending}, {8, 1, unique}}},
		"not counted":             {-1, map[uint64][]claim{1: {{goroutine: 7}}}, []held{{7, 1, unique}}},
		"nobody":                  {3, nil, nil},
	} {
		p := &foundPool{Pool: evidence.Pool{Addr: 0x10, Used: c.used}, claims: c.claims}
		var got []held
		for _, u := range p.held() {
			if u.Pool != 0x10 || u.Role != evidence.PoolHolds {
				t.Errorf("%s: %+v", name, u)
			}
			got = append(got, held{u.Goroutine, u.Slots, u.Grade})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
