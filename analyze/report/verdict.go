package report

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// verdict answers: from the first finding that matters, or from the fact that there is none.
func (m *maker) verdict() {
	v := &m.doc.Verdict
	if len(m.res.Findings) == 0 || m.res.Findings[0].Severity < diagnosis.Warning {
		m.nothingFound(v)
		return
	}
	f := &m.res.Findings[0]
	v.Status, v.Sentence, v.Finding = statusOf(f.Confidence), sentenceOf(f), "F1"
	if !crash(f) && m.doc.Death != nil {
		v.Detail = append(v.Detail, m.doc.Death.Sentence)
	}
	if m.poor() {
		v.Detail = append(v.Detail, "The evidence is incomplete, so something worse may have gone unseen: "+m.doc.Coverage.Sentence)
	}
	v.Detail = append(v.Detail, m.doc.Notes...)
}

func crash(f *diagnosis.Finding) bool { return strings.HasPrefix(f.Class, "crash-") }

// leads begin the sentence: how sure it is, and for the crash classes that the process died.
var leads = map[diagnosis.Confidence]struct{ crash, other string }{
	diagnosis.Proved:   {"Process died: ", ""},
	diagnosis.Likely:   {"Process died, likely: ", "Likely: "},
	diagnosis.Possible: {"Process died, possibly: ", "Possibly: "},
}

// places lead from the claim to the line of code, by the role of the line.
var places = map[diagnosis.Role]string{
	diagnosis.RoleHolder:  "; the holder is in ",
	diagnosis.RoleWaiter:  "; they wait in ",
	diagnosis.RoleLoop:    "; the loop is in ",
	diagnosis.RoleReader:  "; the call is in ",
	diagnosis.RoleWriter:  "; the call is in ",
	diagnosis.RoleCrash:   " in ",
	diagnosis.RoleCaller:  ", called by ",
	diagnosis.RoleCreator: "; started in ",
	diagnosis.RoleRunner:  "; it runs in ",
	diagnosis.RoleLock:    "; locked in ",
}

// sentenceOf writes what happened, where, who and how sure. What the claim says already is not said twice.
func sentenceOf(f *diagnosis.Finding) string {
	lead := leads[f.Confidence].other
	if crash(f) {
		lead = leads[f.Confidence].crash
	}
	claim := Clip(strings.TrimRight(strings.TrimSpace(f.Claim), "."), maxSentence)
	if lead == "" {
		claim = firstWord(claim, unicode.ToUpper)
	} else {
		claim = firstWord(claim, unicode.ToLower)
	}
	return stop(lead + claim + placeOf(f, claim) + callerOf(f, claim) + goroutineOf(f, claim))
}

func placeOf(f *diagnosis.Finding, claim string) string {
	frame, ok := f.Location()
	if !ok {
		return ""
	}
	function, place := ShortFunction(frame.Function), Place(frame.File, frame.Line)
	switch {
	case place != "" && strings.Contains(claim, place):
		return ""
	case function != "" && strings.Contains(claim, function) && place == "":
		return ""
	case function != "" && strings.Contains(claim, function):
		return ", at " + place
	case function == "" && place == "":
		return ""
	}
	lead := cmp.Or(places[f.Locations[0].Role], " in ")
	if f.Locations[0].Role == diagnosis.RoleWaiter && f.VictimCount() == 1 {
		lead = "; it waits in "
	}
	if function == "" || place == "" {
		return lead + function + place
	}
	return lead + function + " at " + place
}

// callerOf names who called the function that died: often that is where the nil or the bad index came from.
func callerOf(f *diagnosis.Finding, claim string) string {
	if !crash(f) || len(f.Locations) == 0 || strings.Contains(claim, "called by") {
		return ""
	}
	for _, l := range f.Locations[1:] {
		function := ShortFunction(l.Frame.Function)
		if l.Role == diagnosis.RoleCaller && function != "" && !strings.Contains(claim, function) {
			return ", called by " + function
		}
	}
	return ""
}

func goroutineOf(f *diagnosis.Finding, claim string) string {
	if f.Subject.Kind != evidence.RefGoroutine {
		return ""
	}
	name := "goroutine " + strconv.FormatUint(f.Subject.ID, 10)
	if at := strings.Index(strings.ToLower(claim), name); at >= 0 && at+len(name) <= len(claim) {
		rest := claim[at+len(name):]
		if rest == "" || rest[0] < '0' || rest[0] > '9' {
			return ""
		}
	}
	return " (" + name + ")"
}

// firstWord changes the case of the first letter when the first word is an ordinary one: all letters, and lower case after the
// first. Names of functions, signals and of the language are left alone.
func firstWord(s string, change func(rune) rune) string {
	word, _, _ := strings.Cut(s, " ")
	if word == "" || word == "Go" {
		return s
	}
	for i, r := range word {
		if !unicode.IsLetter(r) || i > 0 && !unicode.IsLower(r) {
			return s
		}
	}
	runes := []rune(word)
	runes[0] = change(runes[0])
	return string(runes) + s[len(word):]
}

// stop ends a sentence with one full stop.
func stop(s string) string { return strings.TrimRight(s, ". ") + "." }

// nothingFound is a result of its own: what was looked at, what ended the process, and what that does not rule out.
func (m *maker) nothingFound(v *Verdict) {
	ran := len(m.res.RuledOut)
	looked := fmt.Sprintf("%s looked at %s", Plural(ran, "rule"), m.lookedAt())
	switch {
	case m.poor():
		v.Status = Inconclusive
		v.Sentence = "Nothing found, and the evidence is incomplete: " + looked + ", but " + m.lacking() + "."
		v.Detail = append(v.Detail, "What was not read may hold the cause.")
	case m.unexplained():
		v.Status = Inconclusive
		v.Sentence = "The process died of its own fault and no rule explains it: " + looked + "."
	case m.open() != "":
		v.Status = Inconclusive
		v.Sentence = "Nothing found that is certain: " + looked + ", and something is open: " + m.open() + "."
	default:
		v.Status = Clean
		v.Sentence = "Nothing found: " + looked + ", and none of them matched."
		if n := len(m.res.Findings); n > 0 {
			v.Sentence = "Nothing found that explains a failure: " + looked + " and left " + Plural(n, "remark") + "."
		}
	}
	if d := m.doc.Death; d != nil { // who reads only the first sentence must learn what ended the process
		v.Sentence = strings.TrimSuffix(v.Sentence, ".") + "; " + firstWord(d.Sentence, unicode.ToLower)
	}
	v.Detail = append(v.Detail, m.spending()...)
	if who := m.running(); who != "" {
		v.Detail = append(v.Detail, who)
	}
	if n := len(m.res.NotChecked); n > 0 {
		v.Detail = append(v.Detail, Plural(n, "rule")+" could not be checked.")
	}
	v.Detail = append(v.Detail, "This does not rule out a disease that no rule knows, or one outside this process.")
	v.Detail = append(v.Detail, m.doc.Notes...)
}

// open is what a rule saw and cannot explain; empty when there is nothing of that kind.
func (m *maker) open() string {
	for _, s := range m.res.RuledOut {
		if s.Open {
			return Clip(s.Why, maxSentence)
		}
	}
	return ""
}

// maxRunning is how many places of running goroutines the verdict names.
const maxRunning = 3

// running says which goroutines of the program were on a processor or wanted one: where there is no finding, a loop that nobody
// recognised is among them.
func (m *maker) running() string {
	var parts []string
	for _, g := range m.c.Groups() {
		active := g.State == evidence.StateRunning || g.State == evidence.StateRunnable || g.State == evidence.StatePreempted
		at, ok := m.notable(g.Stack)
		if !active || !ok || g.AnyFlag.Has(evidence.FlagSystem) || len(parts) == maxRunning {
			continue
		}
		who := fmt.Sprintf("goroutine %d", m.c.Goroutines().ID(g.First))
		if g.Count > 1 {
			who = Plural(g.Count, "goroutine")
		}
		if m.c.Timeline != nil { // where a running goroutine is, a trace says only when it stops
			who += ", last seen"
		}
		parts = append(parts, who+" in "+at)
	}
	if len(parts) == 0 {
		return ""
	}
	when := "at that moment"
	if m.c.Timeline != nil {
		when = "at the end"
	}
	return "Running or ready to run " + when + ": " + strings.Join(parts, "; ") + "."
}

func (m *maker) lookedAt() string {
	s := Plural(m.population(), "goroutine")
	if m.c.Timeline != nil {
		s += " over " + m.span()
	}
	if n := max(m.c.Coverage.ThreadsSeen, len(m.c.Threads)); n > 0 {
		s += " and " + Plural(n, "thread")
	}
	return s
}

// unexplained reports a death that the process brought on itself: with no finding, the cause is open.
func (m *maker) unexplained() bool {
	d := m.c.Death
	return d != nil && !d.Live && (d.Throwing || d.Panicking || d.Fatal != "" || d.Signal != 0 && d.Code > 0)
}
