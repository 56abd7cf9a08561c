package goroutineleak

import (
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// overTime looks for go statements whose goroutines pile up at a line where nobody wakes them. That is what a leak looks like while it
// happens; a trace proves nothing, because it does not know who could still reach what they wait for.
func (l *leak) overTime(t *derive.Timeline, growths []derive.Growth) {
	l.p.Silent("no go statement started %g goroutines that wait at one line where nobody is woken", l.p.Limit("suspect-goroutines"))
	told := map[evidence.Frame]bool{}
	for i := range growths {
		g := &growths[i]
		if float64(g.Live) < l.p.Limit("suspect-goroutines") || len(told) == maxFindings {
			break // the list is sorted
		}
		if told[g.At] && g.At.Function != "" {
			continue // a library starts several for each call: one disease
		}
		for k := range g.Stands {
			s := &g.Stands[k]
			if float64(s.Count) >= l.p.Limit("suspect-goroutines") && l.forgotten(t, g, s) {
				l.both.Hold(l.growing(t, growths, g, s))
				told[g.At] = true
				break
			}
		}
	}
}

// forgotten decides whether the goroutines at one place look leaked: they become more and more there and nobody is woken, or they are
// senders whose starters are gone. Who receives where others were served may be a worker without work, or a subscriber.
func (l *leak) forgotten(t *derive.Timeline, g *derive.Growth, s *derive.Stand) bool {
	place := nameOf(g.At)
	sends := s.Doing.Activity == derive.ActivitySend
	switch {
	case !forgets[s.Doing.Activity] || s.Site < 0:
		return false
	case !s.Forgotten():
		l.p.Silent("%d goroutines started in %s wait at one line, where %d waits have ended: somebody serves them", s.Count, place, s.Woken())
		return false
	case s.Woken() > 0 && !sends:
		l.p.Silent("%d goroutines started in %s wait at one line for the next of what they have had before: idle workers look like that", s.Count, place)
		return false
	case float64(t.Line.Sites[s.Site].MaxNS) < 1e6*l.p.Limit("min-wait-ms"):
		l.p.Silent("%d goroutines started in %s wait at one line, but not for long", s.Count, place)
		return false
	case !t.Rises(g, l.p.Limit("min-rise")) && !(sends && gone(g)):
		l.p.Silent("%d goroutines started in %s wait at one line, but they do not become more: a batch looks like that", s.Count, place)
		return false
	}
	return true
}

// gone reports whether those that executed the go statement have ended, or have left the function in which it stands.
func gone(g *derive.Growth) bool {
	return g.Parents.Looked > 0 && 10*g.Parents.Gone >= 9*g.Parents.Looked
}

// forgets are the waits that a goroutine can be forgotten in. Who waits for a lock waits for a holder, and a queue is not a leak.
var forgets = map[derive.Activity]bool{derive.ActivitySend: true, derive.ActivityReceive: true, derive.ActivitySelect: true,
	derive.ActivityForever: true, derive.ActivityCond: true, derive.ActivityGroup: true}

// growing tells goroutines that pile up at one place.
func (l *leak) growing(t *derive.Timeline, growths []derive.Growth, g *derive.Growth, s *derive.Stand) diagnosis.Finding {
	first, _ := l.c.Goroutines().ByID(s.First)
	k := l.causeOf(first)
	row, site := evidence.SpawnRef(g.Rows[0]), evidence.SiteRef(s.Site)
	f := diagnosis.Finding{
		Subject: row, Victims: []evidence.Ref{site}, Affected: s.Count,
		Claim: fmt.Sprintf("%d goroutines were started in %s within %s and %d have ended; %d wait at one line where nobody is woken: they may be leaked",
			g.Created, startedIn(g), derive.Lasting(max(g.LastNS-g.FirstNS, 1)), g.Ended, s.Count),
		Confidence: diagnosis.Possible, Severity: diagnosis.Info,
		Fix:    k.fix,
		Settle: "a core of Go 1.22 or later, in which it can be proved that nothing can wake them",
		Next: []string{"compare the number of goroutines in two dumps, some minutes apart",
			"with Go 1.26 and GOEXPERIMENT=goroutineleakprofile, look at /debug/pprof/goroutineleak of a living process"},
	}
	add := func(refs []evidence.Ref, format string, args ...any) {
		f.Because = append(f.Because, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
	}
	if g.Through.Function != "" {
		f.Fix = "Close what the call returned (a response body, rows, a connection, a subscription) on every path, and read it to its end where the library asks " +
			"for it: its goroutines wait for that. Where the library offers a deadline or a context, give it one."
	}
	l.waited(t, s, add)
	rises := t.Rises(g, l.p.Limit("min-rise"))
	if rises {
		add([]evidence.Ref{row}, "%s about %.0f a second are started; there are more and more until the end of the timeline",
			t.Since(g.FirstNS), float64(g.Created)/(float64(max(t.Line.SpanNS-g.FirstNS, 1))/1e9))
	}
	if k.leads != "" {
		add([]evidence.Ref{site}, "as a rule it comes about like this: %s", k.leads)
	}
	if gone(g) {
		add([]evidence.Ref{row}, "those that started them have ended or left the function that did, %d of %d that were looked at", g.Parents.Gone, g.Parents.Looked)
	}
	l.lines(&f, t, g, s)
	l.grade(&f, g, s, rises, rises && l.orphans(growths, g, s))
	return f
}

// startedIn names the go statement: the user's line, and the library's that lies between.
func startedIn(g *derive.Growth) string {
	if g.Through.Function == "" {
		return nameOf(g.At)
	}
	return nameOf(g.At) + " by way of " + nameOf(g.Through)
}

// orphans reports whether nobody is left who could belong to the goroutines: the program's code starts them all the time, none has ended or was
// ever woken, and whoever started them is gone. Beside sessions and subscribers there is a goroutine for each connection, started at the same
// place or in the program's own code.
func (l *leak) orphans(growths []derive.Growth, g *derive.Growth, s *derive.Stand) bool {
	if !g.Mine || g.Ended > 0 || s.Woken() > 0 || !gone(g) {
		return false
	}
	for i := range growths {
		k := &growths[i]
		connected := 0
		for j := range k.Stands {
			stand := &k.Stands[j]
			_, user := l.f.UserFrame(l.c.Stack(stand.Stack))
			if stand.Doing.Activity == derive.ActivityNetwork && (user || k.Mine && k.At.Function == g.At.Function) {
				connected += stand.Count
			}
		}
		if 2*connected >= s.Count {
			return false
		}
	}
	return true
}

// waited says how long they have waited, and how long others waited there.
func (l *leak) waited(t *derive.Timeline, s *derive.Stand, add adder) {
	refs := []evidence.Ref{evidence.SiteRef(s.Site), evidence.GoroutineRef(s.First)}
	oldest := derive.Lasting(int64(t.Line.Sites[s.Site].MaxNS))
	if s.Woken() == 0 {
		add(refs, "%d waits began at that line and none has ended, the oldest after %s: each goroutine %s", s.Began, oldest, s.Doing)
		return
	}
	add(refs, "%d waits began at that line; those that ended took up to %s, and those that have not have lasted for %s on average, the longest for %s: "+
		"each goroutine %s", s.Began, derive.Lasting(s.UsedNS), derive.Lasting(s.AgeNS), oldest, s.Doing)
}

// grade says how sure it is and how bad.
func (l *leak) grade(f *diagnosis.Finding, g *derive.Growth, s *derive.Stand, rises, orphans bool) {
	against := func(text string) { f.Against = append(f.Against, diagnosis.Reason{Text: text}) }
	certain := s.Doing.Activity == derive.ActivityForever
	switch {
	case !certain && s.Doing.Activity != derive.ActivitySend:
		against("goroutines that wait for something rare, one for each subscriber or session, look the same while their number grows")
		if orphans {
			f.Severity = diagnosis.Warning
			f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{f.Subject},
				Text: "none of them has ended or was ever woken, and no connections became more with them that the program's own code waits for"})
		}
	case !rises:
		against("they do not become more: a batch whose results are collected later looks the same")
	default:
		f.Severity = diagnosis.Warning
		if certain || gone(g) {
			f.Confidence = diagnosis.Likely
		}
	}
	if s.Doing.Activity == derive.ActivitySend && !gone(g) {
		against("whoever started them may receive from all of them later")
	}
	against("whether anything still refers to what they wait for is not in a trace")
}

// lines adds the line at which they wait and that of the go statement. Where they wait in a library the user's line that started them comes first.
func (l *leak) lines(f *diagnosis.Finding, t *derive.Timeline, g *derive.Growth, s *derive.Stand) {
	library := false
	if at, ok := t.Open(t.Site(s.Site)); ok {
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: evidence.SiteRef(s.Site)})
		_, user := l.f.UserFrame(l.c.Stack(s.Stack))
		library = !user
	}
	if g.At.Function == "" {
		return
	}
	creator := diagnosis.Location{Role: diagnosis.RoleCreator, Frame: g.At, Ref: evidence.SpawnRef(g.Rows[0])}
	if library && g.Mine {
		f.Locations = slices.Insert(f.Locations, 0, creator)
		return
	}
	f.Locations = append(f.Locations, creator)
}
