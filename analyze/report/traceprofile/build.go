package traceprofile

import (
	"math"

	"github.com/google/pprof/profile"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// maxFrames bounds a stack in a profile as cmd/trace does (pprofMaxStack): the innermost are kept.
const maxFrames = 128

type functionKey struct{ name, file string }

type locationKey struct {
	f    functionKey
	line int
	pc   uint64
}

// builder makes a profile.
type builder struct {
	c         *evidence.Case
	p         *profile.Profile
	functions map[functionKey]*profile.Function
	locations map[locationKey]*profile.Location
}

func newBuilder(c *evidence.Case, name string) *builder {
	return &builder{c: c, p: &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "contentions", Unit: "count"}, {Type: "delay", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "trace", Unit: "count"}, Period: 1, TimeNanos: c.Timeline.WallNS, DurationNanos: c.Timeline.SpanNS,
		Comments: []string{"Profile " + name + " of an execution trace."},
	}, functions: map[functionKey]*profile.Function{}, locations: map[locationKey]*profile.Location{}}
}

func (b *builder) sample(id evidence.StackID, s sum) {
	var stack []*profile.Location
	for i, f := range b.c.Stack(id).All() {
		if i == maxFrames {
			break
		}
		stack = append(stack, b.location(f))
	}
	b.p.Sample = append(b.p.Sample, &profile.Sample{Value: []int64{signed(s.count), signed(s.ns)}, Location: stack})
}

// signed is a sum as profiles have it.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// location is a line of a function.
func (b *builder) location(f evidence.Frame) *profile.Location {
	key := locationKey{functionKey{f.Function, f.File}, f.Line, f.PC}
	if at := b.locations[key]; at != nil {
		return at
	}
	fn := b.functions[key.f]
	if fn == nil {
		fn = &profile.Function{ID: uint64(len(b.p.Function) + 1), Name: f.Function, SystemName: f.Function, Filename: f.File}
		b.functions[key.f] = fn
		b.p.Function = append(b.p.Function, fn)
	}
	at := &profile.Location{ID: uint64(len(b.p.Location) + 1), Address: f.PC, Line: []profile.Line{{Function: fn, Line: int64(f.Line)}}}
	b.locations[key] = at
	b.p.Location = append(b.p.Location, at)
	return at
}
