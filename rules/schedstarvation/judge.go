package schedstarvation

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// starvation is one run of the rule.
type starvation struct {
	p                *diagnosis.Pass
	both             *derive.Beside
	c                *evidence.Case
	f                *derive.Frames
	rates            derive.Rates
	origins          derive.Origins
	hogs             []evidence.Group // compute
	running          bool             // some of them were found running
	crowd            float64          // all that compute are of one go statement that has so many goroutines
	computing, ready int
	victims          []evidence.Group // ready to run, in other parts of the program
}

// survey finds who computes and who waits for a processor.
func (s *starvation) survey() {
	var queue []evidence.Group
	for _, g := range s.c.Groups() {
		if g.AnyFlag.Has(evidence.FlagSystem) || derive.Dying(g) {
			continue
		}
		switch g.State {
		case evidence.StateRunning:
			if s.computes(g) {
				s.running = true
				s.hogs = append(s.hogs, g)
			}
		case evidence.StateRunnable, evidence.StatePreempted:
			queue = append(queue, g)
		}
	}
	s.split(queue)
}

// computes reports whether a group was computing, in the program's own code or on its behalf.
func (s *starvation) computes(g evidence.Group) bool {
	_, user := s.f.UserFrame(s.c.Stack(g.Stack))
	return user && s.f.Doing(s.c.Goroutines().At(g.First)).Activity == derive.ActivityCompute
}

// split sorts those that are ready. Who was preempted while it computed has had a whole time slice, and ran a moment before: in a
// world that was frozen because everybody was preempted, in a living one because it is what keeps the processor. Beside such a
// goroutine one of a crowd that happened to run is one of those that queue.
func (s *starvation) split(queue []evidence.Group) {
	if !s.running || !s.frozen() {
		for _, g := range queue {
			if s.preempted(g) {
				s.hogs = append(s.hogs, g)
			}
		}
	}
	few := slices.DeleteFunc(slices.Clone(s.hogs), func(g evidence.Group) bool { return s.siblings(g) >= s.p.Limit("crowd") })
	if len(few) > 0 {
		s.hogs = few
	} else if len(s.hogs) > 0 {
		s.crowd = s.siblings(s.hogs[0])
	}
	own := map[string]bool{}
	for _, g := range s.hogs {
		own[s.kind(g)] = true
		s.computing += g.Count
	}
	for _, g := range queue {
		if !own[s.kind(g)] && !slices.ContainsFunc(s.hogs, func(h evidence.Group) bool { return h.First == g.First }) {
			s.victims = append(s.victims, g)
			s.ready += g.Count
		}
	}
}

// preempted reports whether a runnable group was taken off a processor while it computed: by a signal (runtime.asyncPreempt), or at
// the entry of a function, which leaves no frame of the runtime. One that was only just started has its first frame and no other.
func (s *starvation) preempted(g evidence.Group) bool {
	if !s.computes(g) {
		return false
	}
	stack := s.c.Stack(g.Stack)
	if _, async := derive.Has(stack, "runtime.asyncPreempt", "runtime.asyncPreempt2"); async || g.AnyFlag.Has(evidence.FlagAsync) {
		return true
	}
	started := stack.Len() < 2 || stack.At(1).Function == "runtime.goexit"
	return !started && s.f.Owner(stack.FrameID(0)) != derive.OwnerRuntime
}

// kind is what kind of worker a goroutine is: goroutines of one go statement share the processors as equals, however far each of
// them has come. Where the go statement is not known it is the outermost function of the program on the stack.
func (s *starvation) kind(g evidence.Group) string {
	if created := s.c.Goroutines().Created(g.First); created != 0 {
		f := s.c.Frame(created)
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	stack := s.c.Stack(g.Stack)
	for i := stack.Len() - 1; i >= 0; i-- {
		if o := s.f.Owner(stack.FrameID(i)); o == derive.OwnerUser || o == derive.OwnerDependency {
			return stack.At(i).Function
		}
	}
	return ""
}

func (s *starvation) judge() {
	switch {
	case float64(s.ready) < s.p.Limit("min-runnable"):
		s.p.Silent("%d goroutines are ready to run beside those that compute; %g would be a queue", s.ready, s.p.Limit("min-runnable"))
		return
	case len(s.hogs) == 0:
		s.p.Silent("%d goroutines are ready to run, and none was found computing", s.ready)
		return
	case s.crowd > 0:
		s.p.Silent("%d goroutines are ready to run, and what computes is one of %.0f that the same go statement started: a busy machine",
			s.ready, s.crowd)
		return
	case s.spare():
		s.p.Silent("%d goroutines are ready to run, and processors are idle: they were just woken", s.ready)
		return
	}
	confidence, severity, ok := s.weigh()
	if !ok {
		s.p.Silent("%d goroutines are ready to run, but the processors switch %.0f times a second: a busy machine", s.ready, s.rates.Sched)
		return
	}
	s.both.Report(s.finding(confidence, severity))
}

// siblings is how many living goroutines the go statement of a group has: where there are dozens, any of them is found on the
// processor now and then, and the queue is that of a machine at its limit.
func (s *starvation) siblings(g evidence.Group) float64 {
	created := s.c.Goroutines().Created(g.First)
	at := slices.IndexFunc(s.origins.List, func(o derive.Origin) bool { return o.Created == created })
	if at < 0 {
		return 0
	}
	return float64(s.origins.List[at].Count)
}

// frozen reports whether the world was stopped for the end of the process: then everything that ran was preempted.
func (s *starvation) frozen() bool {
	return s.c.Scheduler == nil || s.c.Scheduler.GCWaiting || (s.c.Death != nil && s.c.Death.Throwing)
}

// spare reports whether a processor is idle. In a world that is being stopped it means nothing.
func (s *starvation) spare() bool {
	return s.c.Scheduler != nil && s.c.Scheduler.IdlePs > 0 && !s.c.Scheduler.GCWaiting
}

func (s *starvation) single() bool { return s.c.Scheduler != nil && s.c.Scheduler.GOMAXPROCS == 1 }

func (s *starvation) held() bool { return s.rates.Known && s.rates.Sched <= s.p.Limit("max-switches") }

func (s *starvation) weigh() (diagnosis.Confidence, diagnosis.Severity, bool) {
	switch {
	case s.held() && float64(s.ready) >= s.p.Limit("critical-runnable"):
		return diagnosis.Likely, diagnosis.Critical, true
	case s.held():
		return diagnosis.Likely, diagnosis.Warning, true
	case s.single() && s.computing == 1:
		return diagnosis.Possible, diagnosis.Warning, true
	case !s.rates.Known && float64(s.ready) >= 2*s.p.Limit("min-runnable"):
		return diagnosis.Possible, diagnosis.Info, true
	}
	return 0, 0, false
}

// maxRefs bounds the rows a finding names.
const maxRefs = 20

func (s *starvation) finding(confidence diagnosis.Confidence, severity diagnosis.Severity) diagnosis.Finding {
	hog := s.c.Goroutines().At(s.hogs[0].First)
	stack := s.c.Stack(hog.Stack)
	i, _ := s.f.UserFrame(stack)
	at := stack.At(i)
	f := diagnosis.Finding{
		Subject: hog.Ref(), Victims: s.rows(s.victims, maxRefs), Affected: s.ready,
		Claim: fmt.Sprintf("%d goroutines are ready to run and get no processor, while %d %s in %s", s.ready, s.computing,
			compute(s.computing), derive.Short(at.Function)),
		Because:    s.because(hog),
		Locations:  s.locations(at, hog.Ref()),
		Confidence: confidence,
		Severity:   severity,
		Settle:     "how long goroutines wait for a processor is in an execution trace; a core shows the queue of one moment",
		Next:       []string{"run the program with GODEBUG=schedtrace=1000 and watch the run queues"},
	}
	if !s.held() {
		text := "how often the processors switch is not in this evidence: the queue may be gone in a moment"
		var refs []evidence.Ref
		if s.rates.Known {
			text = fmt.Sprintf("the busiest processor has switched about %.0f times a second since the start: the queue moves", s.rates.Sched)
			refs = s.rates.Refs
		}
		f.Against = []diagnosis.Reason{{Text: text, Refs: refs}}
	}
	return f
}

func compute(n int) string {
	if n == 1 {
		return "computes"
	}
	return "compute"
}

func (s *starvation) because(hog evidence.Goroutine) []diagnosis.Reason {
	list := []diagnosis.Reason{
		{Text: fmt.Sprintf("%d goroutines of other parts of the program are ready to run", s.ready), Refs: s.rows(s.victims, 5)},
		{Text: fmt.Sprintf("goroutine %d computes", hog.ID), Refs: []evidence.Ref{hog.Ref()}},
	}
	if hog.Flags.Has(evidence.FlagLocked) {
		list[1].Text += ", locked to its thread"
	}
	scheduler := []evidence.Ref{{Kind: evidence.RefScheduler}}
	if s.single() {
		text := "the program may use one processor only (GOMAXPROCS is 1)"
		if n := s.c.Scheduler.CPUs; n > 1 {
			text += fmt.Sprintf("; the machine has %d", n)
		}
		list = append(list, diagnosis.Reason{Text: text, Refs: scheduler})
	}
	if s.held() {
		list = append(list, diagnosis.Reason{Refs: s.rates.Refs, Text: fmt.Sprintf(
			"the busiest processor has switched goroutines %d times in %.1f s: hardly more than forced preemption makes",
			s.rates.Ticks, s.rates.Seconds)})
	}
	return list
}

func (s *starvation) rows(groups []evidence.Group, n int) []evidence.Ref {
	var refs []evidence.Ref
	for _, g := range groups {
		for row := range s.c.Members(g) {
			if len(refs) == n {
				return refs
			}
			refs = append(refs, evidence.GoroutineRef(s.c.Goroutines().ID(row)))
		}
	}
	return refs
}

// locations are the computing line, and where those that wait want to go on.
func (s *starvation) locations(at evidence.Frame, hog evidence.Ref) []diagnosis.Location {
	list := []diagnosis.Location{{Role: diagnosis.RoleRunner, Frame: at, Ref: hog}}
	for _, g := range s.victims[:min(len(s.victims), 3)] {
		stack := s.c.Stack(g.Stack)
		if i, ok := s.f.UserFrame(stack); ok {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: stack.At(i)})
		}
	}
	return list
}
