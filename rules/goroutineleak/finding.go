package goroutineleak

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const mib = 1 << 20

// finding tells one site whose goroutines are proved to be lost.
func (l *leak) finding(s *site, more rest) diagnosis.Finding {
	k := l.causeOf(s.first)
	bytes, counted := s.keeps(l.c.HeapUse)
	f := diagnosis.Finding{
		Subject: s.subject(), Victims: s.sample, Affected: s.count,
		Claim:      l.claim(s, k, bytes, counted),
		Because:    l.because(s, k, bytes, counted, more),
		Locations:  l.locations(s),
		Confidence: diagnosis.Proved,
		Severity:   l.severity(s, bytes),
		Fix:        k.fix,
		Next: []string{"compare the number of goroutines in two dumps or cores, some minutes apart",
			"with Go 1.26 and GOEXPERIMENT=goroutineleakprofile, look at /debug/pprof/goroutineleak of a living process"},
	}
	if p := l.c.Proof; !counted && p != nil && p.Done {
		f.Next = append(f.Next, "what they keep was not counted: `postmortem heap` does")
	}
	if s.count > 1 && s.pool() {
		f.Against = append(f.Against, diagnosis.Reason{Refs: []evidence.Ref{s.first.Ref(), evidence.GoroutineRef(s.parents.alive)},
			Text: "they look like a pool of workers whose work has ended: one goroutine started them all, and they wait for one object"})
	}
	if l.main {
		f.Against = append(f.Against, diagnosis.Reason{Refs: []evidence.Ref{evidence.GoroutineRef(mainID)},
			Text: "the main goroutine can never wake either: what it waits for comes first, and these may be part of it"})
	}
	return f
}

// severity is by number and memory, those included that wait behind. Beside a main goroutine that cannot go on they are a remark, and so
// is who waits for leaked ones: that is their consequence. Neither is a pool worth more whose work has ended.
func (l *leak) severity(s *site, bytes uint64) diagnosis.Severity {
	n, memory := float64(s.count+s.behind), float64(bytes)/mib
	switch {
	case l.main || s.cause != nil:
		return diagnosis.Info
	case n >= l.p.Limit("critical-goroutines") && !s.pool() || memory >= l.p.Limit("critical-mib"):
		return diagnosis.Critical
	case n >= l.p.Limit("warning-goroutines") && !s.pool() || memory >= l.p.Limit("warning-mib"):
		return diagnosis.Warning
	}
	return diagnosis.Info
}

// pool reports whether the goroutines look like a set of workers: they wait for one object, and one goroutine started them all, which is
// still in the function that did. They are as many as somebody wanted, and no more will come.
func (s *site) pool() bool {
	p := s.parents
	return len(s.objects) == 1 && p.looked == min(s.count, maxLooked) && len(p.ids) == 1 && p.left == 0
}

// subject is the goroutine when it is one, and else the stack of most.
func (s *site) subject() evidence.Ref {
	if s.count == 1 || s.first.Stack == 0 {
		return s.first.Ref()
	}
	best, most := s.first.Stack, 0
	for p, n := range s.parts {
		if n > most || n == most && p.stack < best {
			best, most = p.stack, n
		}
	}
	return evidence.StackRef(best)
}

func (l *leak) claim(s *site, k cause, bytes uint64, counted bool) string {
	who, each, alone := "1 goroutine", "it", "it alone keeps"
	if s.count > 1 {
		who, each, alone = fmt.Sprintf("%d goroutines", s.count), "each", "they alone keep"
	}
	text := fmt.Sprintf("%s, started in %s, can never wake: %s %s", who, nameOf(l.creator(s)), each, k.waits+l.thing(s, k))
	switch {
	case k.thing != "":
		text += " that nothing which can still run reaches"
	case k.asks != "":
		text += ", and nothing which can still run reaches its channels"
	}
	if counted {
		text += fmt.Sprintf("; %s %s of memory", alone, size(bytes))
	}
	return text
}

func nameOf(f evidence.Frame) string {
	if f.Function == "" {
		return "an unknown place"
	}
	return derive.Short(f.Function)
}

// creator is the line of the go statement; when that lies in a library and the goroutine that executed it is there, the line of
// that one which called the library.
func (l *leak) creator(s *site) evidence.Frame {
	if l.f.Owner(s.first.Created) == derive.OwnerUser {
		return s.created
	}
	if parent, ok := l.c.Goroutines().ByID(s.first.Parent); ok && s.first.Parent != 0 {
		stack := l.c.Stack(parent.Stack)
		if i, found := l.f.UserFrame(stack); found {
			return stack.At(i)
		}
	}
	return s.created
}

func (l *leak) locations(s *site) []diagnosis.Location {
	var list []diagnosis.Location
	if s.blocked.Function != "" {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: s.blocked, Ref: s.first.Ref()})
	}
	if at := l.creator(s); at.Function != "" {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleCreator, Frame: at})
	}
	if s.cause != nil && s.cause.blocked.Function != "" {
		list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: s.cause.blocked, Ref: s.cause.first.Ref()})
	}
	return list
}

func (l *leak) because(s *site, k cause, bytes uint64, counted bool, more rest) []diagnosis.Reason {
	var list []diagnosis.Reason
	add := func(refs []evidence.Ref, format string, args ...any) {
		list = append(list, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
	}
	l.proof(s, add)
	l.object(s, k, add)
	l.start(s, add)
	if s.behind > 0 {
		add([]evidence.Ref{s.first.Ref()}, "%s for these, and with them for ever", derive.Count(s.behind, "goroutine elsewhere waits", "goroutines elsewhere wait"))
	}
	if s.cause != nil {
		add([]evidence.Ref{s.cause.first.Ref()}, "what it waits for is to be done by a goroutine that is leaked itself: %s, in %s", s.cause.first.Ref(), nameOf(s.cause.blocked))
	}
	if counted {
		add([]evidence.Ref{{Kind: evidence.RefHeapUse}}, "%s of objects and stacks would be free if they ended%s", size(bytes), s.mostly(l.c.HeapUse))
	}
	if more.sites > 0 {
		add([]evidence.Ref{s.first.Ref()}, "%d more goroutines of %d other places can never wake either; these are the largest", more.goroutines, more.sites)
	}
	return list
}

// adder adds a reason.
type adder func(refs []evidence.Ref, format string, args ...any)

// proof says who found that they never wake.
func (l *leak) proof(s *site, add adder) {
	first := s.first.Ref()
	if p := l.c.Proof; p != nil && p.Done && s.first.Wake == evidence.WakeNever {
		add([]evidence.Ref{{Kind: evidence.RefProof}, first}, "the heap was walked from all that can still run, as the garbage collector does: of %d "+
			"goroutines that only the program itself can wake, %d wait for what was not reached, these among them", p.Candidates, p.Never)
	}
	if s.marked > 0 {
		add([]evidence.Ref{first}, "the runtime's own leak detector (Go 1.26) has marked %d of them", s.marked)
	}
	if p := l.c.Proof; s.marked == 0 && (p == nil || !p.Done) {
		add([]evidence.Ref{first}, "the evidence says of each that it can never wake")
	}
}

// object says what they wait for.
func (l *leak) object(s *site, k cause, add adder) {
	refs := []evidence.Ref{s.first.Ref()}
	object, ok := l.c.Sync(s.first.WaitsOn)
	if ok {
		refs = append(refs, object.Ref())
	}
	text := fmt.Sprintf("goroutine %d %s", s.first.ID, k.waits)
	switch n := len(l.c.Waits(l.row(s))); {
	case s.first.WaitsOn != 0 && k.thing != "":
		text += fmt.Sprintf(" the %s at 0x%x%s", k.thing, s.first.WaitsOn, describe(object, ok))
	case k.thing == "" && n > 0:
		text += fmt.Sprintf(" with %s", derive.Count(n, "case", "cases"))
	case k.thing != "":
		text += " a " + k.thing
	}
	if k.asks != "" {
		text += "; nobody is left who could " + k.asks
	}
	add(refs, "%s", text)
	if s.cause == nil {
		add(refs[:1], "as a rule it comes about like this: %s", k.leads)
	}
}

func (l *leak) row(s *site) int {
	row, _ := l.c.Goroutines().Row(s.first.ID)
	return row
}

// describe is what the object says of itself, in brackets.
func describe(s evidence.Sync, known bool) string {
	var parts []string
	if s.Where != "" {
		parts = append(parts, s.Where)
	}
	switch {
	case !known:
	case s.Kind == evidence.SyncChannel && s.Cap == 0:
		parts = append(parts, "unbuffered")
	case s.Kind == evidence.SyncChannel:
		parts = append(parts, fmt.Sprintf("%d of %d places taken", s.Len, s.Cap))
	case s.Kind == evidence.SyncWaitGroup:
		parts = append(parts, fmt.Sprintf("counter %d", s.Counter))
	case s.Locked:
		parts = append(parts, "locked")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// start says who started them and what became of that.
func (l *leak) start(s *site, add adder) {
	refs := []evidence.Ref{s.first.Ref()}
	switch p := s.parents; {
	case p.looked == 0:
	case p.gone == p.looked && p.looked == 1:
		add(refs, "goroutine %d, which started it, has ended: whatever it was to do with this one, it will not", s.first.Parent)
	case p.gone == p.looked:
		add(refs, "the goroutines that started them have ended, all of %d that were looked for", p.looked)
	case p.gone > 0:
		add(refs, "of the goroutines that started them, %d of %d have ended", p.gone, p.looked)
	default:
		parent, _ := l.c.Goroutines().ByID(p.alive)
		text := fmt.Sprintf("goroutine %d, which started %s, is alive and %s", p.alive, they(s), l.f.Doing(parent))
		if p.left == p.looked {
			text += "; it has returned from the function that did"
		}
		add(append(refs, parent.Ref()), "%s", text)
	}
	if s.oldest > 0 {
		add(refs, "the oldest has waited for at least %d s", s.oldest)
	}
}

func they(s *site) string {
	if s.count == 1 {
		return "it"
	}
	return "some or all of them"
}

// size is a number of bytes as people say it.
func size(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
