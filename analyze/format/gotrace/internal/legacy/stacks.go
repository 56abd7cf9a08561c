package legacy

import (
	"encoding/binary"

	"golang.org/x/exp/trace"

	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// stacks numbers stacks, the same frames always with the same number.
type stacks struct {
	numbers map[trace.Stack]fold.Stack
	byText  map[string]fold.Stack // by what the frames are, in bytes
	frames  [][]fold.Frame        // by number; of 0 none
	text    []byte
}

// Frames gives the frames of a stack, innermost first.
func (s *stacks) Frames(n fold.Stack) []fold.Frame {
	if int(n) >= len(s.frames) {
		return nil
	}
	return s.frames[n]
}

func (s *stacks) number(st trace.Stack) fold.Stack {
	if st == trace.NoStack {
		return 0
	}
	if n, ok := s.numbers[st]; ok {
		return n
	}
	var frames []fold.Frame
	s.text = s.text[:0]
	for f := range st.Frames() {
		frames = append(frames, fold.Frame{Func: f.Func, File: f.File, Line: int(f.Line), PC: f.PC})
		s.text = binary.AppendUvarint(s.text, f.PC) // a pc has one function, file and line in one process
	}
	n, ok := s.byText[string(s.text)]
	switch {
	case len(frames) == 0:
		n = 0
	case !ok:
		n = fold.Stack(len(s.frames))
		s.frames = append(s.frames, frames)
		s.byText[string(s.text)] = n
	}
	s.numbers[st] = n
	return n
}
