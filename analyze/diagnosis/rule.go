// Package diagnosis holds what a rule is, what it finds and how a set of rules is run over a Case.
//
// A rule is a pure function of a Case: it reads evidence, and reports findings. What several rules share is a [Derivation],
// computed once per Case. [Validate] refuses a rule without documentation before anything runs.
package diagnosis

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule recognises one class of disease in some kinds of evidence.
type Rule struct {
	Name   string           // "lock-hog": lower case with hyphens; the flag value, the SARIF id, the page in docs/rules
	Class  string           // one of Classes
	Doc    *Doc             // the user's documentation
	Needs  []evidence.Kinds // any one of these sets is enough, best first
	Limits []Limit          // thresholds, settable on the command line as rule.name=value
	Uses   []Dependency     // derivations that Run asks for
	Run    func(*Pass) error
}

// Doc is the page of a rule. All fields but Seen and Before/After are required.
type Doc struct {
	Title   string // one line: "A lock is held during slow work while others wait"
	Sees    string // what it recognises, in which evidence, and how
	Hurts   string // why it matters
	Confirm string // what a reader can do to be sure
	Fix     string // what to change; the finding's fix is this text unless it brings its own
	Not     string // the healthy look-alike, and why it stays silent
	Before  string // Go code with the disease, a few lines
	After   string // the same code without it
	Seen    []string
	Since   string // version of postmortem that first had the rule
}

// Limit is a threshold of a rule.
type Limit struct {
	Name    string // "min-waiters"
	Doc     string // what it bounds, with the unit
	Default float64
	Origin  string // where the number comes from
}

// Classes are the diseases, in the order of how much they explain: when several findings of equal weight fit, the one whose
// class stands earlier comes first, because it is the cause and the later one its symptom.
var Classes = []string{
	"crash-nil", "crash-panic", "crash-fatal", "crash-stack-overflow", "crash-oom", "crash-signal",
	"deadlock-lock", "deadlock-comm", "lock-hog", "resource-exhaustion", "busy-yield", "sched-starvation", "tiny-io",
	"gil-hog", "blocked-event-loop", "lock-hot", "ping-pong", "slow-dependency", "goroutine-explosion", "goroutine-leak", "gc-pressure", "syscall-churn",
	"accept-backlog",
}

// Confidence is how sure a finding is.
type Confidence uint8

// The degrees of confidence. Proved admits no other reading of the evidence.
const (
	Possible Confidence = iota + 1
	Likely
	Proved
)

var confidenceNames = []string{"", "possible", "likely", "proved"}

// String is the name used in reports and flags.
func (c Confidence) String() string { return confidenceNames[min(int(c), len(confidenceNames)-1)] }

// ParseConfidence is the inverse of String.
func ParseConfidence(s string) (Confidence, error) {
	for i, name := range confidenceNames {
		if name == s && i > 0 {
			return Confidence(i), nil
		}
	}
	return 0, fmt.Errorf("confidence %q: want possible, likely or proved", s)
}

// Severity is how bad a finding is.
type Severity uint8

// The severities.
const (
	Info Severity = iota + 1
	Warning
	Critical
)

var severityNames = []string{"none", "info", "warning", "critical"}

// String is the name used in reports and flags.
func (s Severity) String() string { return severityNames[min(int(s), len(severityNames)-1)] }

// ParseSeverity is the inverse of String; "none" is above every severity and gives zero.
func ParseSeverity(s string) (Severity, error) {
	for i, name := range severityNames {
		if name == s {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("severity %q: want critical, warning, info or none", s)
}

// Role says what a location has to do with the finding.
type Role string

// The roles of locations.
const (
	RoleHolder  Role = "holder"  // holds the lock
	RoleWaiter  Role = "waiter"  // waits for it
	RoleLoop    Role = "loop"    // spins
	RoleReader  Role = "reader"  // reads
	RoleWriter  Role = "writer"  // writes
	RoleCrash   Role = "crash"   // where it died
	RoleCaller  Role = "caller"  // called what died
	RoleCreator Role = "creator" // started the goroutine
	RoleRunner  Role = "runner"  // computes
	RoleLock    Role = "lock"    // where the lock was taken
)

// Location is a line of code that belongs to a finding.
type Location struct {
	Role  Role
	Frame evidence.Frame
	Ref   evidence.Ref // the row whose stack holds the frame; zero when it belongs to many
}

// Reason is a sentence and the rows it was read from.
type Reason struct {
	Text string
	Refs []evidence.Ref
}

// Finding is one diagnosis.
type Finding struct {
	Rule, Class string       // filled in by Report
	Subject     evidence.Ref // the guilty goroutine, thread or object
	Victims     []evidence.Ref
	Affected    int        // how many victims there are, when Victims holds only some of them; 0: len(Victims)
	Claim       string     // one sentence, with numbers, without a final stop
	Because     []Reason   // what supports it; never empty
	Against     []Reason   // what speaks against it
	Locations   []Location // the first is the line a developer should open
	Confidence  Confidence
	Severity    Severity
	Fix         string   // empty: the rule's Doc.Fix
	Next        []string // commands or steps that confirm it
	Settle      string   // what evidence would settle what this evidence cannot; empty when nothing is open
	Explained   []string // classes whose critical findings are the cause of this one: they come first
}

// VictimCount is the number of victims, those that Victims leaves out included.
func (f *Finding) VictimCount() int { return max(f.Affected, len(f.Victims)) }

// Location returns the line a developer should open; ok is false when no line is known.
func (f *Finding) Location() (evidence.Frame, bool) {
	if len(f.Locations) == 0 {
		return evidence.Frame{}, false
	}
	return f.Locations[0].Frame, true
}
