package derive

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Origin is a go statement with the goroutines it started that are still alive.
type Origin struct {
	Created evidence.FrameID
	Count   int
	First   int              // a row: the first in the order of the source
	Parents int              // distinct goroutines that executed the go statement; counted up to maxParents
	Parent  int64            // the only parent; 0 when there are several or none is known
	Groups  []evidence.Group // by stack, most goroutines first; a group is counted where its first member was created
}

// Origins are the go statements of a case, the most goroutines first.
type Origins struct {
	List   []Origin
	Users  int   // goroutines that are not the runtime's own
	LastID int64 // the highest goroutine id: about how many were started since the process began
}

// OfOrigins is the derivation of Origins. It reads one column of every row; everything else is by group.
var OfOrigins = &diagnosis.Derivation[Origins]{
	Name: "origins",
	Run:  func(p *diagnosis.Pass) (Origins, error) { return originsOf(p.Case), nil },
}

// maxParents bounds the parents that are told apart.
const maxParents = 4096

func originsOf(c *evidence.Case) Origins {
	rows := c.Goroutines()
	index := map[evidence.FrameID]int{}
	var origins Origins
	for i := range rows.Len() {
		origins.LastID = max(origins.LastID, rows.ID(i))
		created := rows.Created(i)
		at, ok := index[created]
		if !ok {
			at = len(origins.List)
			index[created] = at
			origins.List = append(origins.List, Origin{Created: created, First: i})
		}
		origins.List[at].Count++
	}
	for _, g := range c.Groups() {
		at := index[rows.Created(g.First)]
		origins.List[at].Groups = append(origins.List[at].Groups, g)
		if !g.AnyFlag.Has(evidence.FlagSystem) {
			origins.Users += g.Count
		}
	}
	origins.List = slices.DeleteFunc(origins.List, func(s Origin) bool { return s.Created == 0 })
	slices.SortStableFunc(origins.List, func(a, b Origin) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Created, b.Created))
	})
	return origins
}

// CountParents fills in who executed the go statement of an origin. It looks at all rows, up to maxParents of the site.
func (s *Origin) CountParents(c *evidence.Case) {
	parents := map[int64]bool{}
	rows, seen := c.Goroutines(), 0
	for i := s.First; i < rows.Len() && seen < maxParents; i++ {
		if rows.Created(i) == s.Created {
			seen++
			if parent := rows.At(i).Parent; parent != 0 {
				parents[parent] = true
				s.Parent = parent
			}
		}
	}
	if s.Parents = len(parents); s.Parents != 1 {
		s.Parent = 0
	}
}

// Sampled is how many of an origin's goroutines CountParents looked at.
func (s *Origin) Sampled() int { return min(s.Count, maxParents) }
