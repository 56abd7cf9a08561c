package crashstackoverflow

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Bounds of the search. A crash text shows the innermost 50 frames and the outermost 50 (tracebackInnerFrames and
// tracebackOuterFrames in runtime/traceback.go, Go 1.21 to 1.26), a core shows all of them.
const (
	maxFrames = 2048 // innermost frames that are searched for a cycle
	maxShown  = 6    // functions of a cycle that a sentence names
	maxOften  = 3    // functions that are named when there is no cycle
	minOften  = 3    // times that a function recurs at least
)

// loop is a sequence of functions that repeats: frames start to start+period are the innermost whole round.
type loop struct{ start, period int }

// findLoop looks for the shortest period of the innermost frames. A period counts when it holds for at least one more round
// and over at least half of the frames that are searched: near the end a few frames may belong to something else.
func findLoop(s evidence.Stack) (loop, bool) {
	names := head(s)
	for period := 1; 2*period <= len(names); period++ {
		start, run := longestRun(names, period)
		if run >= period && 2*(run+period) >= len(names) {
			return loop{start, period}, true
		}
	}
	return loop{}, false
}

// head are the innermost functions, up to where frames were left out, as numbers.
func head(s evidence.Stack) []int {
	n := min(s.Len(), maxFrames)
	if s.Elided > 0 {
		n = min(n, s.ElidedAt)
	}
	number := map[string]int{}
	names := make([]int, n)
	for i := range names {
		function := s.At(i).Function
		if _, ok := number[function]; !ok {
			number[function] = len(number)
		}
		names[i] = number[function]
	}
	return names
}

// longestRun is the longest stretch in which every frame equals the one a period further out.
func longestRun(names []int, period int) (start, run int) {
	from := 0
	for i := 0; i+period <= len(names); i++ {
		if i+period < len(names) && names[i] == names[i+period] {
			continue
		}
		if i-from > run {
			start, run = from, i-from
		}
		from = i + 1
	}
	return start, run
}

// path names the functions of the cycle in the order of the calls.
func (l loop) path(s evidence.Stack) string {
	var names []string
	for i := l.start + l.period - 1; i >= l.start; i-- {
		names = append(names, derive.Short(s.At(i).Function))
	}
	if len(names) > maxShown {
		names = append(names[:maxShown-1], "...")
	}
	return strings.Join(append(names, names[0]), " -> ")
}

// lines are the frames of the cycle that a developer should open, the innermost first: the user's, or a dependency's, or else
// the innermost at all. One round is taken that begins one frame further out than the cycle: the innermost frame of all stands
// at the entry of its function, and every other at the call of the next.
func (l loop) lines(s evidence.Stack, frames *derive.Frames) []int {
	byOwner := map[derive.Owner][]int{}
	for i := l.start + 1; i <= l.start+l.period && i < s.Len(); i++ {
		if !frames.Written(s, i) {
			continue // there is no line to open
		}
		owner := frames.Owner(s.FrameID(i))
		byOwner[owner] = append(byOwner[owner], i)
	}
	for _, owner := range []derive.Owner{derive.OwnerUser, derive.OwnerDependency, derive.OwnerStandard, derive.OwnerRuntime} {
		if len(byOwner[owner]) > 0 {
			return byOwner[owner]
		}
	}
	return []int{l.start}
}

// entry is the frame that called into the cycle: the one outside the outermost frame of the cycle. It is not known when the
// outer end of the stack was not read.
func (l loop) entry(s evidence.Stack) (int, bool) {
	members := map[string]bool{}
	for i := l.start; i < l.start+l.period; i++ {
		members[s.At(i).Function] = true
	}
	for i := s.Len() - 1; i >= 0 && s.Broken == ""; i-- {
		if members[s.At(i).Function] {
			return i + 1, i+1 < s.Len()
		}
	}
	return 0, false
}

// often is a function that recurs: how often, and its innermost frame that is inside a call.
type often struct{ at, count int }

// recurring lists the user's functions, or else all, that recur most.
func recurring(s evidence.Stack, frames *derive.Frames) []often {
	var users, all []often
	index := map[string]int{}
	for i := 1; i < min(s.Len(), maxFrames); i++ {
		function := s.At(i).Function
		k, seen := index[function]
		if !seen {
			k = len(all)
			index[function] = k
			all = append(all, often{at: i})
		}
		all[k].count++
	}
	all = slices.DeleteFunc(all, func(o often) bool { return o.count < minOften })
	slices.SortStableFunc(all, func(a, b often) int { return cmp.Compare(b.count, a.count) })
	for _, o := range all {
		if frames.Owner(s.FrameID(o.at)) == derive.OwnerUser && frames.Written(s, o.at) {
			users = append(users, o)
		}
	}
	if len(users) == 0 {
		users = all
	}
	return users[:min(len(users), maxOften)]
}
