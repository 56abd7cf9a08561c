// Package heapprofile writes what the heap of a dead process holds as a profile, so that go tool pprof can show it.
//
// A sample is a type and who holds it: the types on the way to it, and at the root a global variable or the stack of goroutines. So the flat
// figures of a type are its own objects, and the cumulative ones all that is held through it. Where that way is not known, a sample is a type
// and the stack of the group of goroutines that alone keeps it. Nothing in it says where the objects were allocated: a core does not know.
package heapprofile

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/pprof/profile"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Names of frames that are no functions of the program.
const (
	sharedFrame  = "(kept by global variables, or by several)"
	allFrame     = "(allocated, reachable or not)"
	smallFrame   = "(in small places, left out)"
	unknownFrame = "(type not known)"
)

// ErrNotCounted says that the evidence has no count of the heap.
var ErrNotCounted = errors.New("the heap was not counted")

// Write writes the profile, compressed as pprof wants it. Its sample types are inuse_objects (count) and inuse_space (bytes), as those of
// runtime/pprof; they add up to what is reachable. Where reachability is not known, they are the allocation classes of what is allocated.
func Write(w io.Writer, c *evidence.Case) error {
	if c.HeapUse == nil {
		return ErrNotCounted
	}
	b := &builder{c: c, p: &profile.Profile{
		SampleType:        []*profile.ValueType{{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"}},
		DefaultSampleType: "inuse_space",
		PeriodType:        &profile.ValueType{Type: "space", Unit: "bytes"},
		Period:            1,
		Comments:          []string{"Objects of the heap of a dead process by type and by who keeps them; not by where they were allocated."},
	}, functions: map[functionKey]*profile.Function{}, locations: map[locationKey]*profile.Location{}}
	switch h := c.HeapUse; {
	case len(h.Holders) > 0:
		b.holders(h)
	case h.LiveObjects > 0:
		b.live(h)
	default:
		b.classes(h)
	}
	if err := b.p.CheckValid(); err != nil {
		return fmt.Errorf("making the profile: %w", err)
	}
	if err := b.p.Write(w); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	return nil
}

type functionKey struct{ name, file string }

type locationKey struct {
	f    functionKey
	line int
}

// builder makes a profile.
type builder struct {
	c         *evidence.Case
	p         *profile.Profile
	functions map[functionKey]*profile.Function
	locations map[locationKey]*profile.Location
}

// typeKey tells types apart as they are told.
type typeKey struct {
	name  string
	trust evidence.Trust
}

// holders adds the places of the tree: the leaf is a type, above it stand the types that lead to it, and the root: a variable, or the stack of
// goroutines.
func (b *builder) holders(h *evidence.HeapUse) {
	var path []*profile.Location // from the root to the place
	var starts []int             // of each depth: where its part of the path begins
	rest := evidence.HeapType{Objects: h.LiveObjects, Bytes: h.LiveBytes}
	for _, p := range h.Holders {
		if p.Depth < len(starts) {
			path, starts = path[:starts[p.Depth]], starts[:p.Depth]
		}
		starts = append(starts, len(path))
		if p.Kind == evidence.StepStack {
			stack := b.stack(p.Stack)
			slices.Reverse(stack)
			path = append(path, stack...)
		} else {
			path = append(path, b.frame(rootOrType(p), "", 0))
		}
		if p.OwnObjects > 0 {
			leaf := slices.Clone(path)
			slices.Reverse(leaf)
			b.sample(p.OwnObjects, p.Own, leaf)
			rest.Objects -= min(p.OwnObjects, rest.Objects)
			rest.Bytes -= min(p.Own, rest.Bytes)
		}
	}
	if rest.Objects > 0 {
		b.sample(rest.Objects, rest.Bytes, []*profile.Location{b.frame(smallFrame, "", 0)})
	}
}

func rootOrType(p evidence.Holder) string {
	switch {
	case p.Kind == evidence.StepObject:
		return nameOf(evidence.HeapType{Name: p.Name})
	case p.Kind == evidence.StepGlobal && p.Name != "":
		return "global " + p.Name
	}
	return "(" + p.Kind.String() + ")"
}

// live adds what groups keep alone, and of each type the rest.
func (b *builder) live(h *evidence.HeapUse) {
	alone := map[typeKey]evidence.HeapType{}
	for _, r := range h.Retained {
		stack := b.stack(r.Stack)
		for _, t := range r.Types {
			key := typeKey{t.Name, t.Trust}
			sum := alone[key]
			sum.Objects += t.Objects
			sum.Bytes += t.Bytes
			alone[key] = sum
			b.sample(t.Objects, t.Bytes, append([]*profile.Location{b.frame(nameOf(t), "", 0)}, stack...))
		}
	}
	shared := b.frame(sharedFrame, "", 0)
	for _, t := range h.Types {
		less := alone[typeKey{t.Name, t.Trust}]
		if t.Objects > less.Objects && t.Bytes >= less.Bytes {
			b.sample(t.Objects-less.Objects, t.Bytes-less.Bytes, []*profile.Location{b.frame(nameOf(t), "", 0), shared})
		}
	}
}

// classes adds the allocation classes.
func (b *builder) classes(h *evidence.HeapUse) {
	root := b.frame(allFrame, "", 0)
	for _, c := range h.Classes {
		name := fmt.Sprintf("objects of %d bytes", c.Size)
		if c.Size == 0 {
			name = "objects above 32 KiB"
		}
		if c.NoScan {
			name += " without pointers"
		}
		b.sample(c.Objects, c.Bytes, []*profile.Location{b.frame(name, "", 0), root})
	}
}

func nameOf(t evidence.HeapType) string {
	if t.Name == "" {
		return unknownFrame
	}
	return t.Name
}

func (b *builder) sample(objects, bytes uint64, stack []*profile.Location) {
	b.p.Sample = append(b.p.Sample, &profile.Sample{Value: []int64{int64(objects), int64(bytes)}, Location: stack})
}

// maxFrames bounds a stack in the profile: the innermost are kept.
const maxFrames = 200

// stack is the frames of a stack, the innermost first.
func (b *builder) stack(id evidence.StackID) []*profile.Location {
	var list []*profile.Location
	for i, f := range b.c.Stack(id).All() {
		if i == maxFrames {
			break
		}
		list = append(list, b.frame(f.Function, f.File, f.Line))
	}
	return list
}

// frame is a line of a function.
func (b *builder) frame(name, file string, line int) *profile.Location {
	key := locationKey{functionKey{name, file}, line}
	if at := b.locations[key]; at != nil {
		return at
	}
	f := b.functions[key.f]
	if f == nil {
		f = &profile.Function{ID: uint64(len(b.p.Function) + 1), Name: name, SystemName: name, Filename: file}
		b.functions[key.f] = f
		b.p.Function = append(b.p.Function, f)
	}
	at := &profile.Location{ID: uint64(len(b.p.Location) + 1), Line: []profile.Line{{Function: f, Line: int64(line)}}}
	b.locations[key] = at
	b.p.Location = append(b.p.Location, at)
	return at
}
