package report

import (
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// groupKey tells groups apart.
type groupKey struct {
	stack  evidence.StackID
	state  evidence.State
	reason string
}

// stacks keeps the largest groups and every stack that is cited, and counts the rest.
func (m *maker) stacks() {
	keep := m.meta.Groups
	if keep == 0 {
		keep = DefaultGroups
	}
	rows, threads := m.citedStacks()
	var omitted Omitted
	for i, g := range m.c.Groups() {
		ref, cited := rows[groupKey{g.Stack, g.State, g.Reason}]
		if _, whole := rows[groupKey{stack: g.Stack}]; whole && !cited {
			cited = true
		}
		delete(threads, g.Stack)
		if keep >= 0 && i >= keep && !cited {
			omitted.Groups++
			omitted.Goroutines += g.Count
			continue
		}
		if ref == (evidence.Ref{}) {
			ref = m.c.Goroutines().At(g.First).Ref()
		}
		m.doc.Stacks = append(m.doc.Stacks, m.group(g, ref, cited))
	}
	for _, id := range sortedIDs(threads) {
		m.doc.Stacks = append(m.doc.Stacks, m.withFrames(Group{State: m.citedAs(threads[id]), Count: 0, Sample: threads[id].String(), Cited: true}, id))
	}
	if omitted.Groups > 0 {
		m.doc.Omitted = &omitted
	}
}

// citedStacks returns the groups that hold a cited goroutine, with the first such goroutine, and the stacks that are cited
// themselves or as those of threads. A stack that is cited by its id is a key without state and reason.
func (m *maker) citedStacks() (map[groupKey]evidence.Ref, map[evidence.StackID]evidence.Ref) {
	rows, threads := map[groupKey]evidence.Ref{}, map[evidence.StackID]evidence.Ref{}
	for _, r := range m.cited {
		switch id := m.stackOf(r); {
		case r.Kind == evidence.RefGoroutine && m.hasRow(r):
			g, _ := m.c.Goroutines().ByID(int64(r.ID))
			key := groupKey{g.Stack, g.State, g.Reason}
			if _, have := rows[key]; !have {
				rows[key] = r
			}
		case id != 0:
			rows[groupKey{stack: id}] = r
			threads[id] = r
		}
	}
	return rows, threads
}

// hasRow reports whether a goroutine is among those of the last moment, and not only in the course of time.
func (m *maker) hasRow(r evidence.Ref) bool {
	_, ok := m.c.Goroutines().ByID(int64(r.ID))
	return ok
}

// citedAs says what a stack is that no goroutine of the last moment has.
func (m *maker) citedAs(r evidence.Ref) string {
	switch r.Kind {
	case evidence.RefThread, evidence.RefStack:
		return "thread"
	case evidence.RefSite:
		s := &m.c.Timeline.Sites[r.ID]
		return strings.TrimSuffix("place: "+s.Kind.String()+", "+Clip(s.Reason, maxSentence), ", ")
	case evidence.RefRelease:
		return "place that ended waits"
	case evidence.RefSpawn, evidence.RefGoroutine:
		return "go statement"
	case evidence.RefPair:
		return "place of a pair"
	case evidence.RefEpisode:
		return m.c.Timeline.Episodes[r.ID].Kind.String()
	}
	return "where it was begun"
}

func sortedIDs(set map[evidence.StackID]evidence.Ref) []evidence.StackID {
	ids := make([]evidence.StackID, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (m *maker) group(g evidence.Group, sample evidence.Ref, cited bool) Group {
	return m.withFrames(Group{Count: g.Count, State: g.State.String(), Reason: g.Reason, Sample: sample.String(),
		Oldest: g.Oldest, Never: g.Never, Cited: cited}, g.Stack)
}

// withFrames adds the frames of a stack. Of a deep one the ends are kept: what failed and who started it.
func (m *maker) withFrames(out Group, id evidence.StackID) Group {
	s := m.c.Stack(id)
	out.ID, out.Elided, out.ElidedAt, out.Broken = uint32(id), s.Elided, s.ElidedAt, Clip(s.Broken, maxText)
	if s.Len() <= maxHead+maxTail {
		for i := range s.Len() {
			out.Frames = append(out.Frames, m.frame(s, i, out.Sample))
		}
		return out
	}
	for i := range maxHead {
		out.Frames = append(out.Frames, m.frame(s, i, out.Sample))
	}
	for i := s.Len() - maxTail; i < s.Len(); i++ {
		out.Frames = append(out.Frames, m.frame(s, i, out.Sample))
	}
	out.Elided, out.ElidedAt = s.Depth()-maxHead-maxTail, maxHead
	return out
}

// frame is frame i of a stack, with the variables of the goroutine that the stack is shown by.
func (m *maker) frame(s evidence.Stack, i int, sample string) Frame {
	f := frameOf(s.At(i))
	for _, v := range m.c.Variables {
		if v.Depth == i && evidence.GoroutineRef(v.Goroutine).String() == sample {
			f.Variables = append(f.Variables, Variable{v.Name, Clip(v.Type, maxText), Clip(v.Value, maxText), v.Argument})
		}
	}
	return f
}

func frameOf(f evidence.Frame) Frame {
	return Frame{Function: f.Function, File: f.File, Line: f.Line, Inlined: f.Inlined, Trust: f.Trust.String(), Module: f.Module}
}
