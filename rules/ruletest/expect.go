package ruletest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// place is a function and a line of code as an expectation names it.
type place struct {
	function, file string
	line           int
}

func (p place) matches(f evidence.Frame) bool {
	if p.function == "" {
		return f == (evidence.Frame{})
	}
	return f.Function == p.function && f.Line == p.line && (f.File == p.file || strings.HasSuffix(f.File, "/"+p.file))
}

// String is the form in which a place is written; "-" for none.
func (p place) String() string {
	if p.function == "" {
		return "-"
	}
	return fmt.Sprintf("%s %s:%d", p.function, p.file, p.line)
}

type otherPlace struct {
	role diagnosis.Role
	place
}

// expectation is one `# want:` with what follows it.
type expectation struct {
	at         int // line of the .case file
	where      place
	severity   diagnosis.Severity
	confidence diagnosis.Confidence
	claims     []string
	because    []string
	against    []string
	also       []otherPlace
}

// plan is what a .case file expects.
type plan struct {
	findings []expectation
	nothing  bool
	silent   []string
	limits   map[string]float64
}

// readPlan reads the expectations of a .case file. An error names the line.
func readPlan(text string) (*plan, error) {
	p := &plan{limits: map[string]float64{}}
	for i, line := range strings.Split(text, "\n") {
		comment, ok := strings.CutPrefix(line, "# ")
		if !ok {
			continue
		}
		key, value, ok := strings.Cut(comment, ":")
		if !ok {
			continue
		}
		if err := p.directive(i+1, key, strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if p.nothing == (len(p.findings) > 0) {
		return nil, fmt.Errorf("want `# want: nothing` or one `# want:` for each finding, and not both")
	}
	return p, nil
}

// directive takes in one comment. Comments whose key is none of ours are prose.
func (p *plan) directive(at int, key, value string) error {
	switch key {
	case "want":
		return p.want(at, value)
	case "silent":
		p.silent = append(p.silent, value)
		return nil
	case "limit":
		name, number, _ := strings.Cut(value, "=")
		v, err := strconv.ParseFloat(number, 64)
		p.limits[name] = v
		return err
	case "claim", "because", "against", "also":
		if len(p.findings) == 0 {
			return fmt.Errorf("%s stands before any want", key)
		}
		return p.findings[len(p.findings)-1].detail(key, value)
	}
	return nil
}

func (p *plan) want(at int, value string) error {
	if value == "nothing" {
		p.nothing = true
		return nil
	}
	head, last := cutLast(value)
	head, middle := cutLast(head)
	e := expectation{at: at}
	var err error
	if e.confidence, err = diagnosis.ParseConfidence(last); err != nil {
		return err
	}
	if e.severity, err = diagnosis.ParseSeverity(middle); err != nil {
		return err
	}
	if e.where, err = parsePlace(head); err != nil {
		return err
	}
	p.findings = append(p.findings, e)
	return nil
}

func (e *expectation) detail(key, value string) error {
	switch key {
	case "claim":
		e.claims = append(e.claims, value)
	case "because":
		e.because = append(e.because, value)
	case "against":
		e.against = append(e.against, value)
	case "also":
		role, rest, _ := strings.Cut(value, " ")
		where, err := parsePlace(rest)
		if err != nil {
			return err
		}
		e.also = append(e.also, otherPlace{diagnosis.Role(role), where})
	}
	return nil
}

// parsePlace reads "function file:line". The names of C++ functions hold spaces, so the file is what follows the last one.
func parsePlace(s string) (place, error) {
	if s == "-" {
		return place{}, nil
	}
	function, where := cutLast(s)
	file, number, ok := cutColon(where)
	line, err := strconv.Atoi(number)
	if function == "" || !ok || err != nil {
		return place{}, fmt.Errorf("%q: want a function and file:line, or -", s)
	}
	return place{function, file, line}, nil
}

func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, ' ')
	return strings.TrimSpace(s[:max(i, 0)]), s[i+1:]
}

func cutColon(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	return s[:max(i, 0)], s[i+1:], i > 0
}

// missing says in what a finding differs from the expectation; empty when it meets it.
func (e *expectation) missing(f *diagnosis.Finding) []string {
	var faults []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	check(f.Severity == e.severity, "severity is %s, want %s", f.Severity, e.severity)
	check(f.Confidence == e.confidence, "confidence is %s, want %s", f.Confidence, e.confidence)
	for _, part := range e.claims {
		check(strings.Contains(f.Claim, part), "the claim %q lacks %q", f.Claim, part)
	}
	for _, part := range e.because {
		check(saysAny(f.Because, part), "no reason says %q", part)
	}
	for _, part := range e.against {
		check(saysAny(f.Against, part), "nothing against it says %q", part)
	}
	for _, other := range e.also {
		check(hasPlace(f.Locations, other), "no location is %s %s", other.role, other.place)
	}
	return faults
}

func saysAny(reasons []diagnosis.Reason, part string) bool {
	for _, r := range reasons {
		if strings.Contains(r.Text, part) {
			return true
		}
	}
	return false
}

func hasPlace(locations []diagnosis.Location, want otherPlace) bool {
	for _, l := range locations {
		if l.Role == want.role && want.matches(l.Frame) {
			return true
		}
	}
	return false
}
