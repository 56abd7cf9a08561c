package goroutineleak

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// overTime looks for go statements whose goroutines pile up at a line where nobody wakes them. That is what a leak looks like while it
// happens; a trace proves nothing, because it does not know who could still reach what they wait for.
func (l *leak) overTime(t *derive.Timeline, growths []derive.Growth) {
	l.p.Silent("no go statement started %g goroutines that wait at one line where nobody is woken", l.p.Limit("suspect-goroutines"))
	told := 0
	for i := range growths {
		g := &growths[i]
		if float64(g.Live) < l.p.Limit("suspect-goroutines") || told == maxFindings {
			break // the list is sorted
		}
		for k := range g.Stands {
			s := &g.Stands[k]
			if float64(s.Count) >= l.p.Limit("suspect-goroutines") && l.forgotten(t, g, s) {
				l.p.Report(l.growing(t, g, s))
				told++
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
func (l *leak) growing(t *derive.Timeline, g *derive.Growth, s *derive.Stand) diagnosis.Finding {
	first, _ := l.c.Goroutines().ByID(s.First)
	k := l.causeOf(first)
	row, site := evidence.SpawnRef(g.Rows[0]), evidence.SiteRef(s.Site)
	f := diagnosis.Finding{
		Subject: row, Victims: []evidence.Ref{site}, Affected: s.Count,
		Claim: fmt.Sprintf("%d goroutines were started in %s within %s and %d have ended; %d wait at one line where nobody is woken: they may be leaked",
			g.Created, nameOf(g.At), derive.Lasting(max(g.LastNS-g.FirstNS, 1)), g.Ended, s.Count),
		Confidence: diagnosis.Possible, Severity: diagnosis.Info,
		Fix:    k.fix,
		Settle: "a core of Go 1.22 or later, in which it can be proved that nothing can wake them",
		Next: []string{"compare the number of goroutines in two dumps, some minutes apart",
			"with Go 1.26 and GOEXPERIMENT=goroutineleakprofile, look at /debug/pprof/goroutineleak of a living process"},
	}
	add := func(refs []evidence.Ref, format string, args ...any) {
		f.Because = append(f.Because, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: refs})
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
	l.grade(&f, g, s, rises)
	return f
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
func (l *leak) grade(f *diagnosis.Finding, g *derive.Growth, s *derive.Stand, rises bool) {
	against := func(text string) { f.Against = append(f.Against, diagnosis.Reason{Text: text}) }
	certain := s.Doing.Activity == derive.ActivityForever
	switch {
	case !certain && s.Doing.Activity != derive.ActivitySend:
		against("goroutines that wait for something rare, one for each subscriber or session, look the same while their number grows")
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

// lines adds the line at which they wait and that of the go statement.
func (l *leak) lines(f *diagnosis.Finding, t *derive.Timeline, g *derive.Growth, s *derive.Stand) {
	if at, ok := t.Open(t.Site(s.Site)); ok {
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at, Ref: evidence.SiteRef(s.Site)})
	}
	if g.At.Function != "" {
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleCreator, Frame: g.At, Ref: evidence.SpawnRef(g.Rows[0])})
	}
}
