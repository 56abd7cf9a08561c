package derive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Spin is a loop of the program that asks without ever giving its processor away. Nothing of it is an event but that it is taken from
// the processor now and then: what it was caught at, by preemption and CPU samples, is a sample of what it does.
type Spin struct {
	Shape      PollShape
	Frame      evidence.Frame // the line that asks most
	Callee     string         // what it calls there most
	Caller     evidence.Frame // who called the function of the loop
	Goroutines []int64
	Samples    uint64 // of the function of the loop
	Asks       uint64 // of these, in what asks
	Work       uint64 // of these, in something that may be work
	RunNS      uint64 // of the goroutines
	LifeNS     uint64 // of the goroutines, within the Timeline
	Sites      []int
	Bench      bool // the loop is the body of a benchmark
	Blind      bool // something that cannot be interrupted may run in between: what it was caught at is no sample
}

// SpinBounds are the thresholds of Spins.
type SpinBounds struct {
	LifeNS  uint64  // that a goroutine must be seen
	Active  float64 // share of this that it must run or want to
	Events  float64 // waits and system calls a second at most
	Samples uint64  // at least
	Work    float64 // share of samples at most that may be work
	Asks    float64 // share of samples at least in what asks
	Sleeps  float64 // the same of time.Sleep, which a goroutine that never sleeps calls for nothing
	Spread  float64 // share of preemptions at least that must be elsewhere than at one call
	Stretch int64   // nanoseconds between preemptions from which they say little
}

// loopShare is the share of a goroutine's samples that a function must be on the stack of to be the one whose loop it is.
const loopShare = 0.8

// Spins are the loops that ask and never wait, those with the most samples first.
func (t *Timeline) Spins(b SpinBounds) []Spin {
	if t.Line == nil {
		return nil
	}
	byGoroutine := t.caught()
	var list []Spin
	for i := range t.Line.Actors {
		a := &t.Line.Actors[i]
		if !t.restless(a, b) {
			continue
		}
		one, ok := t.spin(byGoroutine[a.Goroutine], b)
		if !ok {
			continue
		}
		one.Goroutines, one.RunNS, one.LifeNS = []int64{a.Goroutine}, a.RunNS, t.life(a)
		n := slices.IndexFunc(list, func(s Spin) bool {
			return s.Shape == one.Shape && s.Frame.Function == one.Frame.Function && s.Frame.Line == one.Frame.Line
		})
		if n < 0 {
			list = append(list, one)
			continue
		}
		list[n].join(&one)
	}
	slices.SortStableFunc(list, func(a, b Spin) int { return cmp.Compare(b.Samples, a.Samples) })
	return list
}

func (s *Spin) join(o *Spin) {
	s.Goroutines = append(s.Goroutines, o.Goroutines...)
	s.Samples, s.Asks, s.Work = s.Samples+o.Samples, s.Asks+o.Asks, s.Work+o.Work
	s.RunNS, s.LifeNS = s.RunNS+o.RunNS, s.LifeNS+o.LifeNS
	s.Bench, s.Blind = s.Bench || o.Bench, s.Blind || o.Blind
	for _, i := range o.Sites {
		if !slices.Contains(s.Sites, i) {
			s.Sites = append(s.Sites, i)
		}
	}
}

// life is how long a goroutine was seen.
func (t *Timeline) life(a *evidence.Actor) uint64 {
	last := t.Line.SpanNS
	if a.Ended {
		last = a.LastNS
	}
	return uint64(max(last-a.FirstNS, 0))
}

// restless reports whether a goroutine did nothing but run or want to: no waits, hardly any system calls.
func (t *Timeline) restless(a *evidence.Actor, b SpinBounds) bool {
	life := t.life(a)
	if a.System || life == 0 || life < b.LifeNS || float64(a.RunNS+a.ReadyNS) < b.Active*float64(life) {
		return false
	}
	turns := a.Runs - min(a.Runs, a.Preempted) + a.Syscalls
	return float64(turns) <= b.Events*float64(life)/1e9
}

// catch is a stack that a goroutine was caught at.
type catch struct {
	site   int
	count  uint64
	stack  evidence.Stack
	sample bool // by a CPU sample
}

// caught are the samples of each goroutine that is named with them. Up to Go 1.23 a goroutine that is caught inside the runtime mostly
// has a stack without frames.
func (t *Timeline) caught() map[int64][]catch {
	by := map[int64][]catch{}
	for i := range t.Line.Sites {
		site := &t.Line.Sites[i]
		if site.Kind != evidence.SitePreempt && site.Kind != evidence.SiteSample {
			continue
		}
		s := t.c.Stack(site.Stack)
		for _, share := range site.Top {
			by[share.Goroutine] = append(by[share.Goroutine], catch{i, share.Count, s, site.Kind == evidence.SiteSample})
		}
	}
	return by
}

// spin judges the samples of one goroutine.
func (t *Timeline) spin(all []catch, b SpinBounds) (Spin, bool) {
	list := t.whole(fairest(all, b.Samples))
	total := uint64(0)
	for _, c := range list {
		total += c.count
	}
	if total < max(b.Samples, 1) {
		return Spin{}, false
	}
	function := t.loopFunction(list, total)
	if function == "" {
		return Spin{}, false
	}
	tally := t.tally(list, t.inlinedAsks(list, all, function), function)
	tally.spin.Samples, tally.spin.Blind = total, t.blind(list, total, b)
	tally.spin.Work += total - tally.seen
	best, ok := tally.best()
	least := b.Asks
	if best.shape == PollSleep {
		least = b.Sleeps
	}
	if !ok || float64(tally.spin.Work) > b.Work*float64(total) || float64(tally.spin.Asks) < least*float64(total) {
		return Spin{}, false
	}
	tally.spin.Shape, tally.spin.Frame, tally.spin.Callee = best.shape, best.frame, best.callee
	return tally.spin, true
}

// fairest are the CPU samples where there are enough of them: the clock takes them anywhere, while to be taken from the processor a
// goroutine has to come to a place where it can be.
func fairest(list []catch, enough uint64) []catch {
	var sampled uint64
	for _, c := range list {
		if c.sample {
			sampled += c.count
		}
	}
	if sampled < max(enough, 1) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(c catch) bool { return !c.sample })
}

// blind reports whether preemptions show no more than where a goroutine can be interrupted. One strikes some time after the goroutine was put
// on its processor (10 ms, runtime/proc.go, forcePreemptNS, Go 1.21 to 1.26), at any instruction of Go code, or at the next call of a
// function where that cannot be: in the runtime, in assembly. A loop that only asks is caught at several places of the question and around
// it. One that runs assembly in between is always caught at the first call behind it, or where it makes none hardly ever.
func (t *Timeline) blind(list []catch, total uint64, b SpinBounds) bool {
	var most uint64
	var ran evidence.Histogram
	for _, c := range list {
		if c.sample {
			return false // the clock of a CPU profile strikes in assembly as well
		}
		if c.stack.Len() > 0 && !interrupted(c.stack, 0) {
			most = max(most, c.count)
		}
		for i, n := range t.Line.Sites[c.site].Hist {
			ran[i] += n
		}
	}
	return float64(total-most) < b.Spread*float64(total) || (b.Stretch > 0 && ran.Quantile(0.5) > b.Stretch)
}

// interrupted reports whether a frame is that of an interruption at any instruction.
func interrupted(s evidence.Stack, at int) bool {
	return strings.HasPrefix(s.At(at).Function, "runtime.asyncPreempt")
}

// whole leaves out stacks that lack their inner frames: those that are the outer part of another one, from a call of the program on. Up
// to Go 1.24 a goroutine that is caught at the entry of a function is told to be at its caller. One that really is there, between two
// calls, says no more than that either.
func (t *Timeline) whole(list []catch) []catch {
	outer := map[string]bool{}
	for _, c := range list {
		from := 1
		for c.sample && from < c.stack.Len() && interrupted(c.stack, from-1) {
			from++ // a sample of who is just being interrupted lacks no frame
		}
		for i, ok := t.programFrame(c.stack, from); ok; i, ok = t.programFrame(c.stack, i+1) {
			outer[frameKey(c.stack, i)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(c catch) bool { return c.stack.Len() > 0 && outer[frameKey(c.stack, 0)] })
}

// frameKey tells the parts of stacks from a frame on apart.
func frameKey(s evidence.Stack, from int) string {
	var b strings.Builder
	for i := from; i < s.Len(); i++ {
		fmt.Fprintf(&b, "%d,", s.FrameID(i))
	}
	return b.String()
}

// loopFunction is the innermost function of the program that is on nearly all of the stacks.
func (t *Timeline) loopFunction(list []catch, total uint64) string {
	type depth struct {
		count uint64
		sum   float64 // of the indexes
	}
	by := map[string]depth{}
	for _, c := range list {
		seen := map[string]bool{}
		for i, ok := t.programFrame(c.stack, 0); ok; i, ok = t.programFrame(c.stack, i+1) {
			name := c.stack.At(i).Function
			if !seen[name] {
				seen[name] = true
				d := by[name]
				by[name] = depth{d.count + c.count, d.sum + float64(c.count)*float64(i)}
			}
		}
	}
	best, least := "", 0.0
	for name, d := range by {
		mean := d.sum / float64(d.count)
		if float64(d.count) >= loopShare*float64(total) && (best == "" || mean < least || (mean == least && name < best)) {
			best, least = name, mean
		}
	}
	return best
}

// ask is a way to ask, at a line.
type ask struct {
	shape  PollShape
	frame  evidence.Frame
	callee string
	count  uint64
}

// tally is what the samples of a goroutine come to.
type tally struct {
	spin Spin
	asks []ask
	seen uint64 // samples of the function
}

// strongAsks is the share of the questions from which another one than for the time or the context is what the loop is about: who is
// interrupted inside the runtime is told to be at the next call, so that the calls beside it are over-represented.
const strongAsks = 0.1

// best is the way it asks most.
func (y *tally) best() (ask, bool) {
	var strong, weak ask
	for _, a := range y.asks {
		most := &strong
		if a.shape == PollClock || a.shape == PollContext {
			most = &weak
		}
		if a.count > most.count {
			*most = a
		}
	}
	if strong.count > 0 && float64(strong.count) >= strongAsks*float64(y.spin.Asks) {
		return strong, true
	}
	return weak, weak.count > 0
}

// settle takes a select with a default that stands at a line where the context is asked for what it is: `case <-ctx.Done(): default:`.
func (y *tally) settle() {
	contexts := map[int]int{}
	for i, a := range y.asks {
		if a.shape == PollContext {
			contexts[a.frame.Line] = i
		}
	}
	for i := range y.asks {
		if at, ok := contexts[y.asks[i].frame.Line]; ok && y.asks[i].shape == PollSelect {
			y.asks[at].count += y.asks[i].count
			y.asks[i].count = 0
		}
	}
}

// tally sorts the samples of a function's loop into questions, their surroundings, and what may be work.
func (t *Timeline) tally(list []catch, inlined map[int]ask, function string) *tally {
	y := &tally{}
	helpers, lines := map[string]bool{}, map[int]bool{}
	var undecided []catch
	for _, c := range list {
		at := t.frameOf(c.stack, function)
		if at < 0 {
			continue
		}
		y.seen += c.count
		y.spin.Sites = append(y.spin.Sites, c.site)
		y.spin.Bench = y.spin.Bench || t.benchBody(c.stack, at)
		if next, ok := t.programFrame(c.stack, at+1); ok && y.spin.Caller.Function == "" {
			y.spin.Caller = c.stack.At(next)
		}
		shape, callee, kind := t.question(c.stack, at)
		switch kind {
		case asking:
			y.add(ask{shape, c.stack.At(at), callee, c.count})
			lines[c.stack.At(at).Line] = true
			if h, ok := t.helper(c.stack, at); ok {
				helpers[h] = true
			}
		case besides:
			lines[c.stack.At(at).Line] = true
		case working:
			y.spin.Work += c.count
		case unclear:
			undecided = append(undecided, c)
		}
	}
	for _, c := range undecided { // in the code of the loop itself, or of what it calls
		at := t.frameOf(c.stack, function)
		h, called := t.helper(c.stack, at)
		if a, ok := inlined[c.stack.At(at).Line]; ok && !called {
			y.add(ask{a.shape, c.stack.At(at), a.callee, c.count})
			continue
		}
		if (called && !helpers[h]) || (!called && !lines[c.stack.At(at).Line]) {
			y.spin.Work += c.count
		}
	}
	slices.Sort(y.spin.Sites)
	y.settle()
	return y
}

// inlinedAsks are the questions by line that preemptions have shown to be compiled into the loop, where CPU samples decide: such a question is
// an instruction or two, and a sample stands at the next, which belongs to the loop.
func (t *Timeline) inlinedAsks(list, all []catch, function string) map[int]ask {
	if len(list) == 0 || !list[0].sample {
		return nil
	}
	asks, seen := map[int]ask{}, map[int]uint64{}
	for _, c := range all {
		at := t.frameOf(c.stack, function)
		if c.sample || at < 0 || !interrupted(c.stack, 0) {
			continue
		}
		line := c.stack.At(at).Line
		seen[line] += c.count
		if shape, callee, kind := t.question(c.stack, at); kind == asking {
			asks[line] = ask{shape: shape, callee: callee, count: asks[line].count + c.count}
		}
	}
	for line, a := range asks {
		if 2*a.count < seen[line] {
			delete(asks, line)
		}
	}
	return asks
}

func (y *tally) add(a ask) {
	y.spin.Asks += a.count
	for i := range y.asks {
		if k := &y.asks[i]; k.shape == a.shape && k.frame.Line == a.frame.Line {
			k.count += a.count
			return
		}
	}
	y.asks = append(y.asks, a)
}

// frameOf is the index of the innermost frame of a function, -1 when it is not on the stack.
func (t *Timeline) frameOf(s evidence.Stack, function string) int {
	for i := range s.Len() {
		if s.At(i).Function == function {
			return i
		}
	}
	return -1
}

// helper is the function of the program that the loop at a frame has called.
func (t *Timeline) helper(s evidence.Stack, at int) (string, bool) {
	for i := at - 1; i >= 0; i-- {
		if o := t.f.Owner(s.FrameID(i)); (o == OwnerUser || o == OwnerDependency) && !t.f.made(s, i) {
			return s.At(i).Function, true
		}
	}
	return "", false
}

// questionKind is what a sample says of a loop.
type questionKind uint8

const (
	unclear questionKind = iota // in code of the program
	asking                      // in a call that asks
	besides                     // in what a question needs: a lock, a counter, a deferred call
	working                     // in something else
)

// question says what a loop at a frame was doing: the call that it made itself or through one function of the program decides.
func (t *Timeline) question(s evidence.Stack, at int) (PollShape, string, questionKind) {
	written := 0
	for i := at - 1; i >= 0; i-- {
		name := s.At(i).Function
		switch o := t.f.Owner(s.FrameID(i)); {
		case t.f.made(s, i):
		case o == OwnerUser || o == OwnerDependency:
			if written++; written > 1 {
				return PollNone, "", working
			}
		case interrupted(s, i):
			return PollNone, "", unclear
		default:
			if shape := questionShape(name); shape != PollNone {
				return shape, name, asking
			}
			if lockWork(name) || slices.ContainsFunc(surroundings, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				return PollNone, "", besides
			}
			return PollNone, "", working
		}
	}
	return PollNone, "", unclear
}

// surroundings are begins of the names of functions that a question needs.
var surroundings = []string{"runtime.deferreturn", "time.Time.", "time.Duration."}

// questionShape is how a loop asks that calls a function of the library again and again. Atomics that change are no question: a counter
// is counted.
func questionShape(function string) PollShape {
	switch {
	case strings.HasPrefix(function, "context.") && contextQuestions[BaseName(function)]:
		return PollContext
	case clocks[function]:
		return PollClock
	case function == "net.(*conn).Read" || function == "net.(*conn).Write":
		return PollDeadline // who makes no system call reads nothing: the deadline has passed before
	}
	shape := shapeOf(function)
	if shape == PollSpin {
		if base := BaseName(function); !strings.HasPrefix(base, "Load") && !strings.HasPrefix(base, "CompareAndSwap") && !strings.HasPrefix(base, "Swap") {
			return PollNone
		}
	}
	return shape
}

// contextQuestions are the methods of contexts that say whether they are done.
var contextQuestions = setOf("Err", "Done", "Cause")

// clocks tell the time.
var clocks = setOf("time.Now", "time.Since", "time.Until", "time.now", "time.runtimeNano", "runtime.nanotime")
