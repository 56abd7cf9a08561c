package syscallchurn

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// verbs say what a place does.
var verbs = map[deed]string{dial: "dials", accept: "accepts", lookup: "looks up or opens files", process: "starts processes"}

// claims are the end of a claim behind "N times a second", fixes what to change.
var claims = map[deed]string{dial: "dials a connection %s times a second and hardly uses it", accept: "accepts a connection %s times a second, for an exchange each",
	lookup: "looks up or opens files %s times a second", process: "starts a process %s times a second"}

var fixes = map[deed]string{
	dial: "Keep connections and use them again: a pool of idle ones, or one http.Client (and Transport) for the whole program whose response bodies are read " +
		"to their end and closed, with MaxIdleConnsPerHost as large as the number of requests at a time.",
	accept: "Let clients keep their connections: leave keep-alives on (http.Server.SetKeepAlivesEnabled, no Connection: close, an IdleTimeout of a minute or " +
		"more), and answer more than one request on each. If clients dial anew, the mending is theirs.",
	lookup: "Read the file once and keep what it says; look again when a time has passed, on SIGHUP, or when the system tells of a change. Embed files that " +
		"never change with go:embed, and remember which look-ups have failed.",
	process: "Use a library instead of the program, start one process for many items and feed it through a pipe, or keep a worker process.",
}

// against is what speaks against a place.
var against = map[deed]string{
	dial:    "to whom it connects is not in a trace: a crawler or a prober dials by trade",
	accept:  "the clients decide how long they keep a connection",
	lookup:  "which files they are, and whether they exist, is not in a trace: many files once looks like one file many times",
	process: "what it starts is not in a trace: a build or a supervisor starts processes by trade",
}

// maxSites is how many sites a reason cites.
const maxSites = 5

func (y *churn) report(l *place) {
	refs := siteRefs(l.sites)
	rate := derive.Amount(l.rate())
	because := []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf("%d times from %s to %s, %s of a processor in these calls alone", l.count,
		derive.Lasting(l.first), derive.Lasting(l.last), derive.Percent(float64(l.total)/float64(l.windowNS())))}}
	if l.deed == dial || l.deed == accept {
		because = append(because, y.use(l, refs)...)
	}
	if l.request {
		because = append(because, diagnosis.Reason{Refs: refs, Text: "it happens in the handler of a request"})
	}
	if l.started {
		because = append(because, diagnosis.Reason{Refs: refs, Text: "the calls are made by goroutines of the library that this line has started"})
	}
	severity := diagnosis.Warning
	if l.deed == process && !l.request {
		severity = diagnosis.Info // by trade, or not: nothing tells
	}
	y.p.Report(diagnosis.Finding{
		Subject: refs[0], Victims: y.victims(l),
		Claim:      fmt.Sprintf("%s "+claims[l.deed], derive.Short(l.frame.Function), rate),
		Because:    because,
		Against:    []diagnosis.Reason{{Text: against[l.deed], Refs: refs}},
		Locations:  []diagnosis.Location{{Role: diagnosis.RoleCaller, Frame: l.frame, Ref: refs[0]}},
		Confidence: confidence[l.deed], Severity: severity, Fix: fixes[l.deed],
		Settle: "strace -f on the living process for a second: it prints names, peers and results",
	})
}

// confidence by what is set up: connections show that they are not used again, files and processes do not show what they are.
var confidence = map[deed]diagnosis.Confidence{dial: diagnosis.Likely, accept: diagnosis.Possible, lookup: diagnosis.Possible, process: diagnosis.Possible}

// use says how much connections are used, and how many goroutines are started for them.
func (y *churn) use(l *place, refs []evidence.Ref) []diagnosis.Reason {
	list := []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf("all connections of the process together saw %d reads and writes, %.1f for each", y.moves,
		float64(y.moves)/float64(l.count*y.sides()))}}
	for i := range y.t.Line.Spawns {
		s := &y.t.Line.Spawns[i]
		if s.System || s.Ended == 0 || s.Created < l.count/2 || s.Created > 2*l.count {
			continue
		}
		list = append(list, diagnosis.Reason{Refs: []evidence.Ref{evidence.SpawnRef(i)}, Text: fmt.Sprintf("%d goroutines were started in %s meanwhile and lived for %s on average",
			s.Created, derive.Short(y.c.Frame(s.Start).Function), derive.Lasting(int64(s.LifeNS/s.Ended)))})
		break
	}
	return list
}

// victims are the goroutines that stand in a table.
func (y *churn) victims(l *place) []evidence.Ref {
	var list []evidence.Ref
	seen := map[int64]bool{}
	for _, s := range l.top {
		if ref := evidence.GoroutineRef(s.Goroutine); !seen[s.Goroutine] && y.c.Resolve(ref) {
			seen[s.Goroutine] = true
			list = append(list, ref)
		}
	}
	return list
}

func siteRefs(sites []int) []evidence.Ref {
	var list []evidence.Ref
	for _, i := range sites[:min(len(sites), maxSites)] {
		list = append(list, evidence.SiteRef(i))
	}
	return list
}
