package report_test

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// The first sentence of each sample: what a person on call reads.
func TestSentences(t *testing.T) {
	want := map[string]struct {
		status   report.Status
		sentence string
	}{
		"crash":       {report.Established, "Process died: nil pointer dereference in (*Session).Close at session.go:88, called by (*Hub).sweep (goroutine 34)."},
		"lockhog":     {report.Supported, "Likely: 125 goroutines wait for one mutex while its holder writes to a file; the holder is in (*Ledger).Append at ledger.go:42 (goroutine 8)."},
		"cycle":       {report.Suspected, "Possibly: goroutines 21 and 22 each hold the mutex that the other waits for; locked in (*Account).Pay at account.go:30 (goroutine 21)."},
		"healthy":     {report.Clean, "Nothing found: 2 rules looked at 40 goroutines and 6 threads, and none of them matched."},
		"remarks":     {report.Clean, "Nothing found that explains a failure: 2 rules looked at 40 goroutines and 6 threads and left 1 remark."},
		"abort":       {report.Clean, "Nothing found: 2 rules looked at 40 goroutines and 6 threads, and none of them matched; the process was ended from outside: SIGABRT was sent by process 4711."},
		"live":        {report.Clean, "Nothing found: 2 rules looked at 40 goroutines and 6 threads, and none of them matched; the process was alive when the evidence was taken, and went on."},
		"partial":     {report.Inconclusive, "Nothing found, and the evidence is incomplete: 2 rules looked at 1,017 goroutines and 9 threads, but only 210 of 1,017 goroutines unwound."},
		"unexplained": {report.Inconclusive, "The process died of its own fault and no rule explains it: 2 rules looked at 40 goroutines and 6 threads; the runtime was ending the process after a fatal error whose text could not be read."},
	}
	for _, s := range samples() {
		w, ok := want[s.name]
		if !ok {
			continue
		}
		if v := report.Build(s.make(), s.meta).Verdict; v.Status != w.status || v.Sentence != w.sentence {
			t.Errorf("%s:\n got %s: %s\nwant %s: %s", s.name, v.Status, v.Sentence, w.status, w.sentence)
		}
	}
}

// What the claim says already is not said twice, and what is not known is left out.
func TestSentenceParts(t *testing.T) {
	at := loc(diagnosis.RoleHolder, evidence.Ref{}, "example.com/a.(*T).F", "/a/t.go", 5)
	caller := loc(diagnosis.RoleCaller, evidence.Ref{}, "main.main", "/a/main.go", 9)
	for _, c := range []struct {
		name, class, claim string
		locations          []diagnosis.Location
		subject            evidence.Ref
		want               string
	}{
		{"place in claim", "lock-hog", "(*T).F at t.go:5 holds it.", []diagnosis.Location{at}, evidence.Ref{}, "(*T).F at t.go:5 holds it."},
		{"function in claim", "lock-hog", "(*T).F holds it", []diagnosis.Location{at}, evidence.Ref{}, "(*T).F holds it, at t.go:5."},
		{"goroutine in claim", "lock-hog", "goroutine 8 holds it", nil, evidence.GoroutineRef(8), "Goroutine 8 holds it."},
		{"another goroutine in claim", "lock-hog", "goroutine 80 waits", nil, evidence.GoroutineRef(8), "Goroutine 80 waits (goroutine 8)."},
		{"no location", "crash-oom", "Out of memory", nil, evidence.Ref{}, "Process died: out of memory."},
		{"capitals stay", "crash-signal", "SIGBUS in C code", nil, evidence.Ref{}, "Process died: SIGBUS in C code."},
		{"language stays", "crash-fatal", "Go ran out of threads", nil, evidence.Ref{}, "Process died: Go ran out of threads."},
		{"caller only of crashes", "lock-hog", "x", []diagnosis.Location{at, caller}, evidence.Ref{}, "X; the holder is in (*T).F at t.go:5."},
		{"function only", "busy-yield", "it spins", []diagnosis.Location{loc(diagnosis.RoleLoop, evidence.Ref{}, "main.spin", "", 0)}, evidence.Ref{}, "It spins; the loop is in main.spin."},
		{"file only", "tiny-io", "it reads", []diagnosis.Location{loc(diagnosis.RoleReader, evidence.Ref{}, "", "/a/t.go", 5)}, evidence.Ref{}, "It reads; the call is in t.go:5."},
		{"no words", "tiny-io", "it reads", []diagnosis.Location{loc(diagnosis.RoleReader, evidence.Ref{}, "", "", 0)}, evidence.Ref{}, "It reads."},
	} {
		res := healthy()
		res.Findings = []diagnosis.Finding{{Rule: "r", Class: c.class, Claim: c.claim, Locations: c.locations, Subject: c.subject,
			Confidence: diagnosis.Proved, Severity: diagnosis.Critical, Because: []diagnosis.Reason{because("x", evidence.GoroutineRef(1))}}}
		if got := report.Build(res, meta()).Verdict.Sentence; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestOpenQuestion: a queue that no rule explains is not a clean result, and who ran is named.
func TestOpenQuestion(t *testing.T) {
	b := newCase()
	b.Coverage(evidence.Coverage{GoroutinesSeen: 1, GoroutinesUnwound: 1})
	spin := frame(b, "main.spin", "/src/spin.go", 9)
	b.Goroutine(evidence.Goroutine{ID: 7, State: evidence.StateRunning, Stack: b.Stack([]evidence.FrameID{spin}, evidence.StackNote{})})
	res := result(b.Finish())
	res.RuledOut = []diagnosis.Silence{{Rule: "lock-hog", Why: "30 goroutines wait for a lock", Open: true}}
	v := report.Build(res, meta()).Verdict
	if v.Status != report.Inconclusive || !strings.Contains(v.Sentence, "30 goroutines wait for a lock") {
		t.Errorf("%s: %s", v.Status, v.Sentence)
	}
	if !strings.Contains(strings.Join(v.Detail, " "), "goroutine 7 in main.spin") {
		t.Errorf("who ran is not named: %q", v.Detail)
	}
}

func TestDeaths(t *testing.T) {
	for _, c := range []struct {
		death evidence.Death
		want  string
	}{
		{evidence.Death{}, "No signal is recorded"},
		{evidence.Death{Fatal: "concurrent map writes"}, "fatal error: concurrent map writes."},
		{evidence.Death{Signal: 11, SignalName: "SIGSEGV", Code: 1, HasFault: true, FaultAddr: 0x18}, "kernel ended the process with SIGSEGV at address 0x18"},
		{evidence.Death{Signal: 31, Code: 1}, "kernel ended the process with signal 31."},
		{evidence.Death{Signal: 6, SignalName: "SIGABRT", Code: -6}, "tgkill"},
		{evidence.Death{Signal: 3, SignalName: "SIGQUIT", Sender: 1234}, "sent SIGQUIT to itself"},
		{evidence.Death{Signal: 3, SignalName: "SIGQUIT", Sender: 9}, "from outside: SIGQUIT was sent by process 9"},
		{evidence.Death{Signal: 3, SignalName: "SIGQUIT"}, "sender is not recorded"},
		{evidence.Death{Signal: 3, SignalName: "SIGQUIT", Code: -1}, "(code -1)"},
		{evidence.Death{Live: true, Signal: 3}, "alive"},
	} {
		b := idle()
		b.Death(func(d *evidence.Death) { *d = c.death })
		doc := report.Build(result(b.Finish()), meta())
		if !strings.Contains(doc.Death.Sentence, c.want) {
			t.Errorf("%+v: %q does not say %q", c.death, doc.Death.Sentence, c.want)
		}
	}
}

// Coverage decides between clean and inconclusive.
func TestPoorCoverage(t *testing.T) {
	for _, c := range []struct {
		name  string
		cover evidence.Coverage
		gap   string
		want  report.Status
	}{
		{"all read", evidence.Coverage{GoroutinesSeen: 1000, GoroutinesUnwound: 999, ThreadsSeen: 9, ThreadsUnwound: 9}, "", report.Clean},
		{"one gap is normal", evidence.Coverage{GoroutinesSeen: 1000, GoroutinesUnwound: 999}, "page missing", report.Clean},
		{"few goroutines", evidence.Coverage{GoroutinesSeen: 1000, GoroutinesUnwound: 900}, "", report.Inconclusive},
		{"few threads", evidence.Coverage{GoroutinesSeen: 10, GoroutinesUnwound: 10, ThreadsSeen: 9, ThreadsUnwound: 2}, "", report.Inconclusive},
		{"truncated", evidence.Coverage{GoroutinesSeen: 10, GoroutinesUnwound: 10}, "the file is truncated", report.Inconclusive},
		{"nothing", evidence.Coverage{}, "", report.Inconclusive},
	} {
		b := newCase()
		b.Coverage(c.cover)
		if c.gap != "" {
			b.Gap("something", c.gap)
		}
		if got := report.Build(result(b.Finish()), meta()).Verdict; got.Status != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, got.Status, got.Sentence, c.want)
		}
	}
}
