package gocore

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// loud is a Visitor that counts what it is asked about.
type loud struct{ asked int }

func (l *loud) Call(*ahead.Call) ahead.Next { l.asked++; return ahead.Next{} }
func (l *loud) Atomic(*ahead.Atomic)        { l.asked++ }

// TestQuietPlaces: wherever in a real program the code is taken for quiet, a reading of the whole function finds nothing there.
func TestQuietPlaces(t *testing.T) {
	s := scale(t, "0", "2000", "0")
	w := s.workers[0]
	quiet, loudly := 0, 0
	s.tab.All(func(fn pcln.Func) bool {
		raw, ok := w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
		if !ok || len(raw) > maxHelper {
			return true
		}
		var code *ahead.Func
		eachCall(raw, fn.Entry, s.arm64, func(at, size, _ uint64) {
			if code == nil {
				code = ahead.NewFunc(fn.Entry, raw, s.arm64)
			}
			var terms ahead.Terms
			v := &loud{}
			r := ahead.Read(&terms, code, at+size, s.arm64, false, v)
			switch is := w.quietAt(fn, at+size); {
			case is && v.asked+len(r.Events) > 0:
				t.Errorf("%s at %#x is taken for quiet, and does %d things", fn.Name(), at+size, v.asked)
			case is:
				quiet++
			case v.asked > 0:
				loudly++
			}
		})
		return true
	})
	if quiet < 500 || loudly < 500 {
		t.Errorf("only %d places are quiet, and %d are not", quiet, loudly)
	}
}

// TestLeadStacks: what is known of a stack does not depend on what was remembered of its pcs before, by this worker or by another.
func TestLeadStacks(t *testing.T) {
	s := scale(t, "0", "2000", "0")
	s.prepareActs()
	first, second := newTestWorker(s, nil), newTestWorker(s, newSharedMarks())
	third := newTestWorker(s, second.shared)
	some, acts, words := 0, 0, 0
	for i := range s.sleepers {
		g := s.sleepers[i].g
		if s.gOwner[g] != nil {
			continue
		}
		var leads [4]leadStack
		for k, w := range []*worker{first, second, second, third} { // the second one knows its pcs the second time
			at := s.saved(g)
			stack := s.stackOf(g)
			w.u.left = 1 << 20
			w.u.walk(at, stack.lo, stack.hi)
			leads[k] = w.leadStackOf(false)
		}
		l := leads[0]
		for _, o := range leads[1:] {
			if o.some != l.some || o.acts != l.acts || o.words != l.words || len(o.defers) != len(l.defers) {
				t.Fatalf("goroutine %d: %+v, and then %+v", s.sleepers[i].id, l, o)
			}
		}
		if l.some {
			some++
		}
		if l.acts {
			acts++
		}
		if l.words {
			words++
		}
	}
	if some < 2000 || acts < 1999 || words < 1999 || acts == some {
		t.Errorf("%d goroutines have frames outside the runtime, %d may wake somebody, %d have live words: the links of the chain close a channel that they have, and the last one does not",
			some, acts, words)
	}
}

// newTestWorker is a worker that knows nothing yet.
func newTestWorker(t *target, shared *sharedMarks) *worker {
	return &worker{t: t, u: newUnwinder(t), shared: shared, lockCodes: map[uint64]*lockCode{}}
}
