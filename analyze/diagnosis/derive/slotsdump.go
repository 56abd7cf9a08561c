package derive

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// askers are the functions in which goroutines wait for a slot of a pool, and what else of the pool's package a goroutine executes that
// has one. They serve where the evidence has no addresses. Sources: database/sql/sql.go, net/http/transport.go, Go 1.21 to 1.26;
// golang.org/x/sync 0.1 to 0.24.
var askers = []struct {
	function string // in which it waits
	kind     string
	reason   string // of the wait
	task     string // the function that a holder began with, when that tells; a prefix
	using    string // a prefix of the functions that use a slot
}{
	{"database/sql.(*DB).conn", "database/sql.DB", "select", "", "database/sql."},
	{"golang.org/x/sync/semaphore.(*Weighted).Acquire", "golang.org/x/sync/semaphore.Weighted", "select", "", ""},
	{"golang.org/x/sync/errgroup.(*Group).Go", "golang.org/x/sync/errgroup.Group", "chan send", "golang.org/x/sync/errgroup.(*Group).Go.func", ""},
}

// unaddressed finds the pools of which the stacks alone tell that goroutines wait for a slot. Who else executes the pool's code, or began
// as one of its tasks, is taken for a holder; several pools of a kind look like one.
func (s *Slots) unaddressed() {
	for _, a := range askers {
		r := Resource{Kind: a.kind, Slot: slotNoun(a.kind), Name: "a " + a.kind, Used: -1, Counted: -1, Guessed: true}
		for _, g := range s.c.Groups() {
			if waitsIn(s.c.Stack(g.Stack), a.function) && g.State == evidence.StateWaiting && strings.HasPrefix(g.Reason, a.reason) {
				for row := range s.c.Members(g) {
					r.Rows = append(r.Rows, uint32(row))
				}
			}
		}
		if len(r.Rows) == 0 {
			continue
		}
		for _, g := range s.c.Groups() {
			s.guessHolders(&r, g, a.task, a.using, a.function)
		}
		s.finish(&r)
		s.List = append(s.List, r)
	}
}

// waitsIn reports whether a stack waits in a function: it is the first one outside of the runtime and package sync.
func waitsIn(stack evidence.Stack, function string) bool {
	for i := range stack.Len() {
		f := stack.At(i).Function
		if f == function {
			return true
		}
		if pkg := Package(f); pkg != "runtime" && pkg != "sync" && pkg != "internal/sync" {
			return false
		}
	}
	return false
}

// guessHolders adds the goroutines of a group that look like holders.
func (s *Slots) guessHolders(r *Resource, g evidence.Group, task, using, asking string) {
	stack := s.c.Stack(g.Stack)
	depth := -1
	for i := range stack.Len() {
		f := stack.At(i).Function
		if task != "" && strings.HasPrefix(f, task) || using != "" && strings.HasPrefix(f, using) && !waitsIn(stack, asking) && i+1 < stack.Len() {
			depth = i
		}
	}
	if depth < 0 || poolOwn(stack, using) {
		return
	}
	for row := range s.c.Members(g) {
		if len(r.Holders) >= maxGuessed {
			return
		}
		r.Holders = append(r.Holders, SlotHolder{G: s.c.Goroutines().At(row), Slots: 1, Depth: depth, Grade: evidence.HoldAmbiguous,
			Why: "its stack is in " + stack.At(depth).Function, Ref: s.c.Goroutines().At(row).Ref()})
	}
}

// maxGuessed bounds the holders that are guessed for one pool.
const maxGuessed = 256

// poolOwn reports whether a goroutine began in the pool's own package: it opens connections or waits for the end of a context.
func poolOwn(stack evidence.Stack, using string) bool {
	if using == "" {
		return false
	}
	for i := stack.Len() - 1; i >= 0; i-- {
		if f := stack.At(i).Function; f != "runtime.goexit" {
			return strings.HasPrefix(f, using)
		}
	}
	return false
}
