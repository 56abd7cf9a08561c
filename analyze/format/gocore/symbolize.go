package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// symbolizer turns pcs into frames, each distinct pc once.
type symbolizer struct {
	tab   *pcln.Table
	b     *evidence.Builder
	calls map[uint64][]evidence.FrameID // by return address: it stands for the call before it (runtime/traceback.go, symPC)
	exact map[uint64][]evidence.FrameID // by the pc of an interrupted frame
	buf   []evidence.FrameID
}

// at returns the frames of a pc, inlined calls expanded, innermost first.
func (s *symbolizer) at(pc uint64, trap bool, trust evidence.Trust) []evidence.FrameID {
	if s.calls == nil {
		s.calls, s.exact = map[uint64][]evidence.FrameID{}, map[uint64][]evidence.FrameID{}
	}
	known := s.calls
	if trap {
		known = s.exact
	}
	if ids, ok := known[pc]; ok {
		return ids
	}
	var ids []evidence.FrameID
	fn, ok := s.tab.Find(pc)
	if !ok {
		ids = []evidence.FrameID{s.b.Frame(evidence.Frame{Function: "?", PC: pc, Trust: trust})}
	} else {
		at := pc
		if !trap && pc > fn.Entry {
			at--
		}
		for _, c := range fn.Calls(at) {
			ids = append(ids, s.b.Frame(evidence.Frame{Function: c.Function, File: c.File, Line: c.Line, PC: pc,
				Inlined: c.Inlined, Trust: trust}))
		}
	}
	known[pc] = ids
	return ids
}

// stack symbolises a list of pcs of an unwinder. A frame above an injected call was interrupted, so its pc is exact.
func (s *symbolizer) stack(refs []pcRef, firstTrap bool, u *unwinder, note evidence.StackNote) evidence.StackID {
	s.buf, note = s.appendStack(s.buf[:0], refs, firstTrap, u, note)
	return s.b.Stack(s.buf, note)
}

// appendStack is appendFrames for a stack that may lack frames in the middle: ElidedAt counts machine frames before and logical
// frames after.
func (s *symbolizer) appendStack(buf []evidence.FrameID, refs []pcRef, firstTrap bool, u *unwinder, note evidence.StackNote) ([]evidence.FrameID, evidence.StackNote) {
	if note.Elided == 0 {
		return s.appendFrames(buf, refs, firstTrap, u), note
	}
	buf = s.appendFrames(buf, refs[:note.ElidedAt], firstTrap, u)
	gap := len(buf)
	buf = s.appendFrames(buf, refs[note.ElidedAt:], false, u)
	note.ElidedAt = gap
	return buf, note
}

func (s *symbolizer) appendFrames(buf []evidence.FrameID, refs []pcRef, firstTrap bool, u *unwinder) []evidence.FrameID {
	trap := firstTrap
	for _, ref := range refs {
		if id := u.cache.single[ref]; id != 0 && !trap {
			buf = append(buf, id)
			continue
		}
		e := u.cache.infos[ref]
		switch {
		case trap:
			buf = append(buf, s.at(e.pc, trap, evidence.TrustUnwound)...)
		case e.frames == nil:
			e.frames = s.at(e.pc, trap, evidence.TrustUnwound)
			if len(e.frames) == 1 && e.role != roleInjected {
				u.cache.single[ref] = e.frames[0]
			}
			fallthrough
		default:
			buf = append(buf, e.frames...)
		}
		trap = e.role == roleInjected
	}
	return buf
}

// site returns the frame of a go statement: the innermost call at the pc before gopc.
func (s *symbolizer) site(gopc uint64) evidence.FrameID {
	if gopc == 0 {
		return 0
	}
	return s.at(gopc, false, evidence.TrustRead)[0]
}

// logicalDepth turns the number of a machine frame of a worker's stack into the index of its outermost logical frame, which
// is the function that the machine frame belongs to; the inlined calls stand before it.
func (t *target) logicalDepth(w *worker, stack uint32, frame int) int {
	s := &w.stacks[stack]
	depth, trap := -1, s.firstTrap
	for _, ref := range w.arena[s.start:s.end][:frame+1] {
		e := w.u.cache.infos[ref]
		depth += len(t.symbols.at(e.pc, trap, evidence.TrustUnwound))
		trap = e.role == roleInjected
	}
	return depth
}
