package crashfatal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// mapFunctions are the beginnings of the names of the runtime's map operations and whether they write: runtime/map.go up to
// Go 1.23, internal/runtime/maps from Go 1.24 (whose exported entries keep the names runtime.mapassign and so on), and what
// reflect calls.
var mapFunctions = []struct {
	begins string
	writes bool
}{
	{"runtime.mapassign", true}, {"runtime.mapdelete", true}, {"runtime.mapclear", true},
	{"reflect.mapassign", true}, {"reflect.mapdelete", true}, {"reflect.mapclear", true},
	{"runtime.mapaccess", false}, {"runtime.mapiter", false}, {"runtime.mapIter", false}, {"runtime.mapclone", false},
	{"reflect.mapaccess", false}, {"reflect.mapiter", false},
}

// suspect is a group of goroutines that may be the other side of a map race.
type suspect struct {
	g      evidence.Group
	line   evidence.Frame
	inMap  bool // it is inside a map operation
	inType bool // it runs code of the type (or the function) that died
}

// suspects adds the other side of a map race, as far as the stacks tell.
func (d *describer) suspects(f *diagnosis.Finding, site derive.CrashSite) {
	list := d.findSuspects(site)
	for _, s := range list[:min(len(list), d.most)] {
		id := d.c.Goroutines().At(s.g.First).Ref()
		f.Because = append(f.Because, diagnosis.Reason{Text: s.text(d.c), Refs: []evidence.Ref{id}})
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleRunner, Frame: s.line, Ref: id})
	}
	against := "the runtime does not record who the other side was"
	switch {
	case len(list) > 0:
		against += ": that it is one of the goroutines named here is possible and not shown"
	default:
		against += ", and no other goroutine is in a map operation any more"
	}
	f.Against = append(f.Against, diagnosis.Reason{Text: against, Refs: []evidence.Ref{d.crash.Subject()}})
}

func (s *suspect) text(c *evidence.Case) string {
	who := fmt.Sprintf("goroutine %d was", c.Goroutines().At(s.g.First).ID)
	if s.g.Count > 1 {
		who = fmt.Sprintf("%d goroutines were", s.g.Count)
	}
	if s.inMap {
		return fmt.Sprintf("%s inside a map operation at %s at that moment", who, derive.Where(s.line))
	}
	return fmt.Sprintf("%s executing, or ready to execute, code of the same type at %s", who, derive.Where(s.line))
}

// findSuspects lists the groups that use a map or run code of the same type, the strongest first. Where a read died, another
// read cannot be the other side.
func (d *describer) findSuspects(site derive.CrashSite) []suspect {
	line := d.crash.Line(site)
	_, writing := mapOperation(d.crash.Stack, site.Exact)
	var list []suspect
	for _, g := range d.c.Groups() {
		stack := d.c.Stack(g.Stack)
		user, ok := d.frames.UserFrame(stack)
		if !ok || d.isCrashed(g) {
			continue
		}
		s := suspect{g: g, line: stack.At(user)}
		inMap, writes := mapOperation(stack, user)
		s.inMap = inMap && (writes || writing)
		s.inType = !inMap && executing(g.State) && owner(s.line.Function) == owner(line.Function) && (writing || !sameLine(s.line, line))
		if s.inMap || s.inType {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b suspect) int {
		return cmp.Compare(strength(b), strength(a))
	})
	return list
}

func strength(s suspect) int {
	if s.inMap {
		return 1
	}
	return 0
}

func sameLine(a, b evidence.Frame) bool { return a.File == b.File && a.Line == b.Line }

// isCrashed reports whether the group is the goroutine that died and nobody else.
func (d *describer) isCrashed(g evidence.Group) bool {
	return g.Count == 1 && d.c.Goroutines().At(g.First).ID == d.crash.Goroutine.ID
}

// mapOperation reports whether one of the frames above the user's is a map operation, and whether that writes.
func mapOperation(s evidence.Stack, user int) (found, writes bool) {
	for i := range user {
		for _, op := range mapFunctions {
			if strings.HasPrefix(s.At(i).Function, op.begins) {
				return true, op.writes
			}
		}
	}
	return false, false
}

// executing reports whether a goroutine of this state may have been in the middle of a map operation of its own code.
func executing(s evidence.State) bool {
	return s == evidence.StateRunning || s == evidence.StateRunnable || s == evidence.StatePreempted
}

// owner is the type of a method, or the function itself: "main.(*Registry)" of main.(*Registry).Get and of its closures.
func owner(function string) string {
	if end := strings.Index(function, ")."); end >= 0 {
		return function[:end+1]
	}
	return function
}

// asleep is the finding of a deadlock that the runtime noticed: no goroutine died, all of them wait.
func (d *describer) asleep() diagnosis.Finding {
	f := diagnosis.Finding{
		Subject:    evidence.Ref{Kind: evidence.RefDeath},
		Claim:      "every goroutine waited for another, so the runtime ended the process",
		Because:    []diagnosis.Reason{{Text: d.fact().Text, Refs: []evidence.Ref{{Kind: evidence.RefDeath}}}},
		Confidence: diagnosis.Proved,
		Severity:   diagnosis.Critical,
		Fix:        d.kind.fix,
		Settle:     "which of them should have woken which is not decided here: read the waits against the code",
		Explained:  []string{"deadlock-lock", "deadlock-comm"},
	}
	if main, ok := d.c.Goroutines().ByID(1); ok {
		if at, ok := d.waitOf(d.c.Stack(main.Stack)); ok {
			f.Subject = main.Ref()
			f.Claim = fmt.Sprintf("every goroutine waited for another, so the runtime ended the process: main waited for %s in %s",
				what(main.Reason), derive.Where(at))
			f.Claim += d.others()
			f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: main.Ref()})
		}
	}
	d.sleepers(&f)
	return f
}

// others names what most of the other goroutines wait for: that is where main's wake-up is stuck.
func (d *describer) others() string {
	var most evidence.Group
	for _, g := range d.waiting() {
		if g.Count > most.Count && d.c.Goroutines().At(g.First).ID != 1 {
			most = g
		}
	}
	if most.Count == 0 {
		return ""
	}
	at, _ := d.waitOf(d.c.Stack(most.Stack))
	return fmt.Sprintf(", and %s for %s in %s", d.waited(most), what(most.Reason), derive.Where(at))
}

// waited is the beginning of a sentence about a group.
func (d *describer) waited(g evidence.Group) string {
	if g.Count > 1 {
		return fmt.Sprintf("%d goroutines waited", g.Count)
	}
	return fmt.Sprintf("goroutine %d waited", d.c.Goroutines().ID(g.First))
}

// object says what a goroutine waits for beyond its reason, where the evidence has it: a channel and how full it is, a counter.
func (d *describer) object(g evidence.Goroutine) string {
	s, ok := d.c.Sync(g.WaitsOn)
	switch {
	case !ok || g.WaitsOn == 0:
		return ""
	case s.Kind == evidence.SyncChannel && s.Cap == 0:
		return fmt.Sprintf(" (%s, without a buffer)", s.Ref())
	case s.Kind == evidence.SyncChannel:
		return fmt.Sprintf(" (%s, which holds %d of %d elements)", s.Ref(), s.Len, s.Cap)
	}
	return fmt.Sprintf(" (%s)", s.Ref())
}

// sleepers lists what the other goroutines wait for, by groups.
func (d *describer) sleepers(f *diagnosis.Finding) {
	left := 0
	for n, g := range d.waiting() {
		if n >= d.most {
			left += g.Count
			continue
		}
		at, _ := d.waitOf(d.c.Stack(g.Stack))
		first := d.c.Goroutines().At(g.First)
		f.Because = append(f.Because, diagnosis.Reason{
			Text: fmt.Sprintf("%s for %s in %s%s", d.waited(g), what(g.Reason), derive.Where(at), d.object(first)),
			Refs: []evidence.Ref{first.Ref(), evidence.StackRef(g.Stack)},
		})
		if first.ID != 1 {
			f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: first.Ref()})
		}
		for row := range d.c.Members(g) {
			f.Victims = append(f.Victims, d.c.Goroutines().At(row).Ref())
		}
	}
	if left > 0 {
		f.Because = append(f.Because, diagnosis.Reason{Text: fmt.Sprintf("%d more goroutines waited", left), Refs: []evidence.Ref{{Kind: evidence.RefDeath}}})
	}
}

// waiting lists the groups of the program's own goroutines.
func (d *describer) waiting() []evidence.Group {
	return slices.DeleteFunc(slices.Clone(d.c.Groups()), func(g evidence.Group) bool {
		_, ok := d.waitOf(d.c.Stack(g.Stack))
		return !ok || g.Flags.Has(evidence.FlagSystem)
	})
}

func (d *describer) waitOf(s evidence.Stack) (evidence.Frame, bool) {
	at, ok := d.frames.UserFrame(s)
	if !ok {
		return evidence.Frame{}, false
	}
	return s.At(at), true
}

// what is a wait reason for a sentence.
func what(reason string) string {
	if reason == "" {
		return "something"
	}
	return fmt.Sprintf("%q", reason)
}
