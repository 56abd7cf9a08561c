package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// HeapUse is what the heap holds, object by object. Absent when nobody counted.
type HeapUse struct {
	Sentence    string      `json:"sentence,omitempty"` // what holds the memory
	Objects     uint64      `json:"objects"`            // allocated, reachable or not
	Bytes       uint64      `json:"bytes"`
	LiveObjects uint64      `json:"live_objects"` // reachable; 0 when that is not known
	LiveBytes   uint64      `json:"live_bytes"`
	Refused     string      `json:"refused,omitempty"` // why reachability is not known
	Types       []HeapType  `json:"types,omitempty"`   // of reachable objects, the most bytes first; an empty name stands for all of no known type
	Classes     []HeapClass `json:"classes,omitempty"` // allocation classes, the most bytes first
	Retained    []Retained  `json:"retained,omitempty"`
	Holders     []Holder    `json:"holders,omitempty"` // a tree, a parent before its children
	Unknown     []string    `json:"unknown,omitempty"` // what is not known, in sentences
	Omitted     *HeapRest   `json:"omitted,omitempty"` // what was left out of the lists
}

// HeapType is the reachable objects of one type.
type HeapType struct {
	Name    string `json:"name"`
	Objects uint64 `json:"objects"`
	Bytes   uint64 `json:"bytes"`
	Trust   string `json:"trust,omitempty"` // read or guessed
}

// HeapClass is the objects of one allocation class.
type HeapClass struct {
	Size        uint64 `json:"size"` // bytes of an object; 0 for objects above 32 KiB
	NoScan      bool   `json:"noscan,omitempty"`
	Objects     uint64 `json:"objects"`
	Bytes       uint64 `json:"bytes"`
	LiveObjects uint64 `json:"live_objects"`
	LiveBytes   uint64 `json:"live_bytes"`
}

// Retained is what goroutines with one stack and one go statement keep alive and nobody else does.
type Retained struct {
	Stack      string     `json:"stack,omitempty"`   // reference
	Place      string     `json:"place,omitempty"`   // where they are, in the program's own code where there is some
	Created    *Location  `json:"created,omitempty"` // the go statement
	Goroutines int        `json:"goroutines"`
	Objects    uint64     `json:"objects"`
	Bytes      uint64     `json:"bytes"`
	StackBytes uint64     `json:"stack_bytes"`     // of their own stacks
	Types      []HeapType `json:"types,omitempty"` // the largest
}

// Holder is a place in the tree of what holds what: roots, and below them types. Each reachable object belongs to one place.
type Holder struct {
	Depth      int    `json:"depth"`
	Kind       string `json:"kind"`            // global, stack, finalizer, runtime; object below
	Name       string `json:"name,omitempty"`  // of the variable or the type
	Stack      string `json:"stack,omitempty"` // reference: of a stack
	Place      string `json:"place,omitempty"` // of a stack: where its goroutines are
	Objects    uint64 `json:"objects"`         // at this place and below
	Bytes      uint64 `json:"bytes"`
	OwnObjects uint64 `json:"own_objects"` // at this place alone
	OwnBytes   uint64 `json:"own_bytes"`
}

// Text names a place for people.
func (h Holder) Text() string {
	switch {
	case h.Kind == evidence.StepGlobal.String() && h.Name == "":
		return "global variables"
	case h.Kind == evidence.StepGlobal.String():
		return "global variable " + h.Name
	case h.Kind == evidence.StepStack.String() && h.Place == "":
		return "stacks of goroutines, " + h.Stack
	case h.Kind == evidence.StepStack.String():
		return "stacks of goroutines in " + h.Place + ", " + h.Stack
	case h.Kind == evidence.StepFinalizer.String():
		return "finalizers and cleanups"
	case h.Kind == evidence.StepRuntime.String():
		return "the runtime"
	case h.Name == "":
		return unknownType
	}
	return h.Name
}

// unknownType stands for a type that is not known.
const unknownType = "(type not known)"

// Text names a type for people.
func (t HeapType) Text() string {
	switch {
	case t.Name == "":
		return unknownType
	case t.Trust == evidence.TrustGuessed.String():
		return t.Name + " (guessed)"
	}
	return t.Name
}

// HeapRest counts what was left out.
type HeapRest struct {
	Types   int `json:"types,omitempty"`
	Classes int `json:"classes,omitempty"`
	Groups  int `json:"groups,omitempty"`
	Holders int `json:"holders,omitempty"`
}

// How many rows of each list a report of a diagnosis keeps: `postmortem heap` shows more.
const heapRows = 10

// Heap returns a Document that holds what is on the heap: the first rows of each list, all of them when rows is negative. It is nil when the
// heap was not counted.
func Heap(c *evidence.Case, meta Meta, rows int) *Document {
	if c.HeapUse == nil {
		return nil
	}
	m := newMaker(c, meta)
	m.inputs()
	m.heapUse(rows)
	m.coverage()
	m.doc.Notes = nil
	m.process()
	m.gaps()
	m.stacks()
	m.dropUncited()
	m.rows()
	m.valid()
	return m.doc
}

// HeapOnly reports whether a Document answers what is on the heap, and is no diagnosis: that always has a verdict.
func (d *Document) HeapOnly() bool { return d.HeapUse != nil && d.Verdict.Status == "" }

// dropUncited keeps the stacks that something refers to.
func (m *maker) dropUncited() {
	var kept []Group
	for _, g := range m.doc.Stacks {
		if g.Cited {
			kept = append(kept, g)
		}
	}
	m.doc.Stacks, m.doc.Omitted = kept, nil
}

// heapUse copies what was counted, with so many rows of each list.
func (m *maker) heapUse(rows int) {
	h := m.c.HeapUse
	if h == nil {
		return
	}
	out := &HeapUse{Objects: h.Objects, Bytes: h.Bytes, LiveObjects: h.LiveObjects, LiveBytes: h.LiveBytes, Refused: Clip(h.Refused, maxText)}
	var rest HeapRest
	holders := h.Holders
	types, classes, retained := h.Types, h.Classes, withObjects(h.Retained)
	if rows >= 0 {
		large := slices.DeleteFunc(slices.Clone(retained), func(r evidence.Retained) bool { return float64(r.Bytes) < leastKept*float64(h.LiveBytes) })
		rest = HeapRest{Types: len(types) - min(len(types), rows), Classes: len(classes) - min(len(classes), rows),
			Groups: len(retained) - min(len(large), rows)}
		types, classes, retained = types[:min(len(types), rows)], classes[:min(len(classes), rows)], large[:min(len(large), rows)]
	}
	if rows >= 0 {
		holders = largeHolders(holders, h.LiveBytes, rows)
		rest.Holders = len(h.Holders) - len(holders)
	}
	if rest != (HeapRest{}) {
		out.Omitted = &rest
	}
	for i := range holders {
		out.Holders = append(out.Holders, m.holder(&holders[i]))
	}
	out.Types = heapTypes(types)
	for _, c := range classes {
		out.Classes = append(out.Classes, HeapClass(c))
	}
	for i := range retained {
		out.Retained = append(out.Retained, m.retained(&retained[i]))
	}
	out.Sentence = m.heapSentence(h)
	out.Unknown = heapUnknown(h)
	m.doc.HeapUse = out
}

// leastKept is the share of what is reachable from which a group of goroutines is shown without being asked for.
const leastKept = 0.001

// leastHolder is the share of what is reachable from which a place of the tree is shown without being asked for.
const leastHolder = 0.02

// largeHolders keeps the largest places of the tree, twice as many as rows. A parent is as large as its children at least and stands before
// them, so that it stays a tree.
func largeHolders(list []evidence.Holder, live uint64, rows int) []evidence.Holder {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(list[k].Bytes, list[i].Bytes) })
	order = order[:min(len(order), 2*rows)]
	slices.Sort(order)
	var kept []evidence.Holder
	for _, i := range order {
		if float64(list[i].Bytes) >= leastHolder*float64(live) {
			kept = append(kept, list[i])
		}
	}
	return kept
}

func (m *maker) holder(h *evidence.Holder) Holder {
	out := Holder{Depth: h.Depth, Kind: h.Kind.String(), Name: Clip(h.Name, maxSentence), Objects: h.Objects, Bytes: h.Bytes, OwnObjects: h.OwnObjects, OwnBytes: h.Own}
	if h.Kind == evidence.StepStack {
		out.Stack = m.cite(evidence.StackRef(h.Stack))
		out.Place, _ = m.notable(h.Stack)
	}
	return out
}

// withObjects leaves out the groups that keep nothing but their stacks.
func withObjects(list []evidence.Retained) []evidence.Retained {
	var kept []evidence.Retained
	for _, r := range list {
		if r.Objects > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}

func heapTypes(list []evidence.HeapType) []HeapType {
	var out []HeapType
	for _, t := range list {
		out = append(out, HeapType{Clip(t.Name, maxSentence), t.Objects, t.Bytes, t.Trust.String()})
	}
	return out
}

func (m *maker) retained(r *evidence.Retained) Retained {
	out := Retained{Stack: m.cite(evidence.StackRef(r.Stack)), Goroutines: r.Goroutines, Objects: r.Objects, Bytes: r.Bytes,
		StackBytes: r.StackBytes, Types: heapTypes(r.Types)}
	out.Place, _ = m.notable(r.Stack)
	if r.Created != 0 {
		f := m.c.Frame(r.Created)
		out.Created = &Location{Function: f.Function, File: f.File, Line: f.Line}
	}
	return out
}

// largeShare is the share of the heap from which a type or a group is worth a place in the first sentence.
const largeShare = 0.1

// heapSentence says what holds the memory, without a final stop.
func (m *maker) heapSentence(h *evidence.HeapUse) string {
	if h.LiveObjects == 0 {
		return fmt.Sprintf("%s are allocated in %s; what of it is reachable is not known", Size(h.Bytes), Plural(int(h.Objects), "object"))
	}
	s := fmt.Sprintf("%s are reachable in %s", Size(h.LiveBytes), Plural(int(h.LiveObjects), "object"))
	if garbage := h.Bytes - min(h.LiveBytes, h.Bytes); garbage > 0 {
		s += fmt.Sprintf(" (%s more are garbage that was not collected yet)", Size(garbage))
	}
	var parts []string
	for _, t := range h.Types {
		if share := float64(t.Bytes) / float64(h.LiveBytes); share >= largeShare && t.Name != "" && len(parts) < 3 {
			parts = append(parts, fmt.Sprintf("%s is %s", Part(t.Bytes, h.LiveBytes), Clip(t.Name, maxSentence)))
		}
	}
	for i := range h.Retained {
		r := &h.Retained[i]
		if share := float64(r.Bytes) / float64(h.LiveBytes); share >= largeShare {
			parts = append(parts, fmt.Sprintf("%s is kept by %s alone%s", Part(r.Bytes, h.LiveBytes), Plural(r.Goroutines, "goroutine"), m.whereabouts(r)))
			break
		}
	}
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

// Part is a part of a whole in per cent. What is not all is not rounded to all.
func Part(part, whole uint64) string {
	if whole == 0 {
		return "?"
	}
	p := 100 * float64(part) / float64(whole)
	if part < whole && p > 99.9 {
		p = 99.9
	}
	return fmt.Sprintf("%.1f %%", p)
}

// whereabouts says in which function a group is.
func (m *maker) whereabouts(r *evidence.Retained) string {
	place, ok := m.notable(r.Stack)
	if !ok {
		return ""
	}
	return " in " + place
}

// heapUnknown says what is not known.
func heapUnknown(h *evidence.HeapUse) []string {
	if h.Refused != "" || h.LiveObjects == 0 {
		return []string{"What of it is reachable, what types it has and who keeps it: " + Clip(h.Refused, maxText) + "."}
	}
	var none, guessed evidence.HeapType
	for _, t := range h.Types {
		switch {
		case t.Name == "":
			none.Objects += t.Objects
			none.Bytes += t.Bytes
		case t.Trust == evidence.TrustGuessed:
			guessed.Objects += t.Objects
			guessed.Bytes += t.Bytes
		}
	}
	var list []string
	share := func(n uint64) float64 { return 100 * float64(n) / float64(max(h.LiveBytes, 1)) }
	if none.Objects > 0 {
		list = append(list, fmt.Sprintf("The types of %s, %s (%.1f %%): nothing typed leads to them.", Plural(int(none.Objects), "object"),
			Size(none.Bytes), share(none.Bytes)))
	}
	if guessed.Objects > 0 {
		list = append(list, fmt.Sprintf("The types of %s, %s (%.1f %%), are guesses.", Plural(int(guessed.Objects), "object"), Size(guessed.Bytes),
			share(guessed.Bytes)))
	}
	return append(list, "Memory outside of the Go heap: stacks, C, memory that was freed and not given back.")
}
