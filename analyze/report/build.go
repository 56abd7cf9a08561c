package report

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Sources gives lines of source code.
type Sources interface {
	// SourceLines returns the line of a file and up to around lines on each side of it; ok is false when the file is not at
	// hand. The file is named as the compiler recorded it.
	SourceLines(file string, line, around int) (lines []Line, ok bool)
}

// Meta is what a report says beside what was found.
type Meta struct {
	Tool, Version string
	Commands      []string // that reproduce the report
	Sources       Sources  // nil: no source excerpts
	// RuleDocs returns the page of a rule, nil when there is none. A nil function means no pages.
	RuleDocs func(rule string) *diagnosis.Doc
	ShowArgs bool // print the arguments of the process and the names in its environment
	Groups   int  // how many stack groups to keep beside the cited ones; 0 is DefaultGroups, negative is all
}

// Bounds of what a Document holds, so that one hostile or enormous input cannot make a report that nobody can open.
const (
	DefaultGroups = 200  // stack groups: the tail of a large process is ones and twos
	maxText       = 4096 // bytes of one text; a panic value may be megabytes
	maxSentence   = 400  // bytes of the claim inside the verdict: about five lines in a terminal
	maxRefs       = 20   // references of one piece of evidence, and of the sample of victims
	maxHead       = 60   // innermost frames kept of a deep stack: what failed
	maxTail       = 20   // outermost frames kept: who started it
	sourceAround  = 3    // lines of source on each side of the blamed one
)

// maker builds one Document.
type maker struct {
	res  *diagnosis.Result
	c    *evidence.Case
	meta Meta
	doc  *Document

	evidence int                   // number of the last piece of evidence
	resolved map[evidence.Ref]bool // what was asked for, and whether it exists
	cited    []evidence.Ref        // what exists, in the order of citation
	where    map[evidence.Ref]evidence.Frame
}

// Build turns a Result into a Document. A reference that does not resolve is left out and recorded as a Gap: [Faults] lists
// them for tests of rules.
func Build(result *diagnosis.Result, meta Meta) *Document {
	m := newMaker(result.Case, meta)
	m.res = result
	for _, f := range result.Findings {
		for _, l := range f.Locations {
			if _, known := m.where[l.Ref]; !known {
				m.where[l.Ref] = l.Frame
			}
		}
	}
	m.inputs()
	m.findings()
	m.doc.Waits = m.graph(scope{nodes: maxNodes})
	m.doc.Death = m.death()
	m.course()
	m.impact()
	m.timeline()
	m.courseEvents()
	m.doc.RuledOut, m.doc.NotChecked = silences(result.RuledOut), silences(result.NotChecked)
	m.coverage()
	m.proof()
	m.heapUse(heapRows)
	m.process()
	m.doc.Reproduce = slices.Clone(meta.Commands)
	m.doc.ToDo = slices.Clone(toDo)
	m.gaps()
	m.verdict()
	m.next()
	m.stacks()
	m.rows()
	m.valid()
	return m.doc
}

func newMaker(c *evidence.Case, meta Meta) *maker {
	return &maker{res: &diagnosis.Result{Case: c}, c: c, meta: meta, doc: &Document{Schema: Schema, Tool: Tool{meta.Tool, meta.Version}},
		resolved: map[evidence.Ref]bool{}, where: map[evidence.Ref]evidence.Frame{}}
}

func (m *maker) valid() { makeValid(reflect.ValueOf(m.doc).Elem()) }

// makeValid escapes bytes that are not UTF-8 in every text of the Document: JSON cannot hold them, and a report that was saved
// and rendered must equal one that was rendered at once.
func makeValid(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) {
			v.SetString(escapeInvalid(s))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			makeValid(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			makeValid(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			makeValid(v.Index(i))
		}
	}
}

// toDo are the parts of an incident report that no tool can write.
var toDo = []Section{
	{"Customer impact", "Who noticed, what did not work for them, from when to when, and how many were affected?"},
	{"Detection", "How was it noticed, by whom or by what, and how long after it began?"},
	{"Lessons", "What went well, what went badly, where was luck involved, and what will be changed by whom and by when?"},
}

func (m *maker) inputs() {
	for _, s := range m.c.Sources {
		m.doc.Inputs = append(m.doc.Inputs, Input{Path: s.Path, Format: s.Format, SHA256: s.SHA256, Size: s.Size, BuildID: s.BuildID})
	}
}

// files is the end of a command line that reads the inputs again.
func (m *maker) files() string {
	var b strings.Builder
	for _, s := range m.c.Sources {
		b.WriteString(" " + ShellQuote(s.Path))
	}
	return b.String()
}

func (m *maker) tool() string {
	if m.meta.Tool == "" {
		return "postmortem"
	}
	return m.meta.Tool
}

// cite returns the text of a reference, or "" when it does not resolve.
func (m *maker) cite(r evidence.Ref) string {
	ok, asked := m.resolved[r]
	if !asked {
		ok = r != (evidence.Ref{}) && m.c.Resolve(r)
		m.resolved[r] = ok
		if ok {
			m.cited = append(m.cited, r)
		}
	}
	if !ok {
		return ""
	}
	return r.String()
}

func (m *maker) statement(text string, refs ...evidence.Ref) Statement {
	s := Statement{Text: text}
	for _, r := range refs {
		if ref := m.cite(r); ref != "" {
			s.Refs = append(s.Refs, ref)
		}
	}
	return s
}

func silences(list []diagnosis.Silence) []Silence {
	var out []Silence
	for _, s := range list {
		out = append(out, Silence{s.Rule, Clip(s.Why, maxText)})
	}
	return out
}

// gaps copies the gaps of the Case and adds the faults of rules: a citation that leads nowhere is something that the report
// could not show.
func (m *maker) gaps() {
	for _, g := range m.c.Gaps {
		m.doc.Gaps = append(m.doc.Gaps, Gap{g.Source, Clip(g.What, maxText), Clip(g.Why, maxText)})
	}
	for _, fault := range Faults(m.res) {
		m.doc.Gaps = append(m.doc.Gaps, Gap{m.tool(), fault, "a fault of the rule, not of the evidence: please report it"})
	}
}

// next lists what to do now: what the findings ask for, then how to look further.
func (m *maker) next() {
	add := func(step string) {
		if !slices.Contains(m.doc.Next, step) {
			m.doc.Next = append(m.doc.Next, step)
		}
	}
	for _, f := range m.doc.Findings {
		if f.Severity != diagnosis.Info.String() {
			for _, step := range f.Next {
				add(step)
			}
		}
	}
	if len(m.doc.Findings) > 0 {
		add(m.tool() + " explain " + m.doc.Findings[0].Rule)
	}
	if len(m.doc.Waits.Nodes) > 0 {
		add(m.tool() + " graph" + m.files())
	}
	if m.doc.HeapUse != nil {
		add(m.tool() + " heap" + m.files())
	}
	if m.c.Goroutines().Len() > 0 {
		add(m.tool() + " stacks" + m.files())
	}
	if m.c.Timeline != nil {
		kind := m.profileKind()
		add(m.tool() + " profile " + kind + " -o " + kind + ".pb.gz" + m.files())
	}
	if s := m.doc.Verdict.Status; (s == Clean || s == Inconclusive) && m.momentary() {
		add("Take a second capture a few seconds later, or an execution trace, and analyse both: what moves between them is alive")
	}
}

// momentary reports whether all the evidence is of one moment.
func (m *maker) momentary() bool {
	return m.c.Kinds()&(evidence.KindTimeline|evidence.KindSyscalls|evidence.KindProfile) == 0
}
