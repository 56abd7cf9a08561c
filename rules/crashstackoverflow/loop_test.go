package crashstackoverflow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// stackOf makes a stack from one letter for each function, innermost first.
func stackOf(letters string, note evidence.StackNote) evidence.Stack {
	b := evidence.NewBuilder()
	var ids []evidence.FrameID
	for i, l := range letters {
		ids = append(ids, b.Frame(evidence.Frame{Function: "main." + string(l), PC: uint64(i + 1)}))
	}
	id := b.Stack(ids, note)
	return b.Finish().Stack(id)
}

func TestFindLoop(t *testing.T) {
	tests := []struct {
		name, letters string
		elided        int
		start, period int // period 0: no loop
		entry         int // -1: not known
	}{
		{"direct", "aaaaaaaaxy", 0, 0, 1, 8},
		{"mutual", "ababababxy", 0, 0, 2, 8},
		{"leaf on top", "qrabcabcabcabcx", 0, 2, 3, 14},
		{"repeats inside the round", "aabaabaabaabx", 0, 0, 3, 12},
		{"no end read", "abababab", 0, 0, 2, -1},
		{"no loop", "abcdefgh", 0, 0, 0, 0},
		{"small loop in a long stack", "aaabcdefghijklmn", 0, 0, 0, 0},
		{"irregular", "aabababbbabaabbaxy", 0, 0, 0, 0},
		{"one frame", "a", 0, 0, 0, 0},
		{"elided", "ababababababcdabab", 12, 0, 2, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stackOf(tt.letters, evidence.StackNote{Elided: tt.elided * 1000, ElidedAt: tt.elided})
			l, ok := findLoop(s)
			if ok != (tt.period > 0) || l != (loop{tt.start, tt.period}) {
				t.Fatalf("the loop is %+v, %v; want start %d, period %d", l, ok, tt.start, tt.period)
			}
			if at, known := l.entry(s); ok && (known != (tt.entry >= 0) || known && at != tt.entry) {
				t.Errorf("it was entered from %d, %v; want %d", at, known, tt.entry)
			}
		})
	}
}

func TestBrokenStackHasNoEntry(t *testing.T) {
	s := stackOf("ababababxy", evidence.StackNote{Broken: "page missing"})
	l, ok := findLoop(s)
	if _, known := l.entry(s); !ok || known {
		t.Error("the outer end was not read, yet the entry is said to be known")
	}
}

func TestPath(t *testing.T) {
	s := stackOf("abcabcabc", evidence.StackNote{})
	if got := (loop{0, 3}).path(s); got != "c -> b -> a -> c" {
		t.Errorf("the path is %q", got)
	}
	if got := (loop{0, 9}).path(stackOf("abcdefghiabcdefghi", evidence.StackNote{})); got != "i -> h -> g -> f -> e -> ... -> i" {
		t.Errorf("a long path is %q", got)
	}
}

// FuzzFindLoop: any stack ends, and a loop that is found lies within the stack and does repeat.
func FuzzFindLoop(f *testing.F) {
	f.Add("abababab", 0)
	f.Add("xxabcabcabc", 5)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, letters string, elidedAt int) {
		note := evidence.StackNote{}
		if elidedAt > 0 {
			note = evidence.StackNote{Elided: 7, ElidedAt: min(elidedAt, len(letters))}
		}
		s := stackOf(letters, note)
		l, ok := findLoop(s)
		if !ok {
			return
		}
		if l.period < 1 || l.start < 0 || l.start+2*l.period > s.Len() {
			t.Fatalf("the loop %+v lies outside a stack of %d frames", l, s.Len())
		}
		for i := l.start; i < l.start+l.period; i++ {
			if s.At(i).Function != s.At(i+l.period).Function {
				t.Fatalf("the loop %+v does not repeat at frame %d of %q", l, i, letters)
			}
		}
	})
}

func TestDeepStackIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%c", rune(0x4e00+i)) // 5,000 different functions
	}
	s := stackOf(b.String(), evidence.StackNote{})
	if got := head(s); len(got) != maxFrames || !slices.IsSorted(got) {
		t.Errorf("%d frames are searched, want %d", len(got), maxFrames)
	}
	if l, ok := findLoop(s); ok {
		t.Errorf("a loop %+v in a stack without one", l)
	}
}
